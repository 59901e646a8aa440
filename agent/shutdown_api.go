package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// reasonOperator is the reason of a shutdown that a person asked for.
const reasonOperator policy.Reason = "operator"

// ShutdownRequest begins the way down, or calls it off: POST and DELETE /v1/shutdown.
type ShutdownRequest struct {
	Reason string `json:"reason,omitempty"` // for the journal, at most 200 bytes; may be empty
}

// ShutdownAnswer is what GET, POST and DELETE /v1/shutdown answer.
type ShutdownAnswer struct {
	Shutdown *DownStatus `json:"shutdown"` // nil: none is under way
	Warning  string      `json:"warning,omitempty"`
}

// DownStatus is a shutdown that is under way.
type DownStatus struct {
	Reason      policy.Reason `json:"reason"`
	Explanation string        `json:"explanation"`
	Since       time.Time     `json:"since"`
	Operator    string        `json:"operator,omitempty"`    // who asked for it; empty: nobody, the power did
	CanCancel   bool          `json:"can_cancel"`            // the point of no return lies ahead
	Cancelled   string        `json:"cancelled,omitempty"`   // why it is being undone; empty: it is not
	AskedByS    *float64      `json:"asked_by_s,omitempty"`  // in so many seconds the power-off is asked for at the latest
	ForcedByS   *float64      `json:"forced_by_s,omitempty"` // and forced
	StepsDone   []string      `json:"steps_done"`            // over, well or badly
	StepsFailed []string      `json:"steps_failed"`          // those of them that failed
	Finished    bool          `json:"power_off_asked"`
	Steps       []StepStatus  `json:"steps"` // in the plan's order, power_off last
}

// StepStatus is how far a step of the plan has come.
type StepStatus struct {
	Step    string         `json:"step"`
	Does    string         `json:"does,omitempty"` // in one line
	State   shutdown.Phase `json:"state"`          // waiting, started, done, failed, skipped, undoing, undone, undo_failed
	Why     string         `json:"why,omitempty"`
	Attempt int            `json:"attempt,omitempty"`
	ForS    *float64       `json:"for_s,omitempty"`     // in this state
	TookS   *float64       `json:"took_s,omitempty"`    // of one that is over
	UsualS  *float64       `json:"usually_s,omitempty"` // what it takes as far as is known
}

func downStatus(v *View, now time.Duration) *DownStatus {
	d := v.Down
	if d == nil {
		return nil
	}
	s := &DownStatus{
		Reason: d.Reason, Explanation: d.Explanation, Since: d.Wall, Operator: d.Operator, Cancelled: d.Off,
		StepsDone: list(d.Done), StepsFailed: list(d.Failed), Finished: d.Finished,
		CanCancel: v.executor.Callable(), Steps: stepStatuses(v, now),
	}
	left := func(at time.Duration) *float64 {
		if at == 0 || d.Finished {
			return nil
		}
		return new(max(0, (at - now).Seconds()))
	}
	s.AskedByS, s.ForcedByS = left(v.ends.Ask), left(v.ends.Force)
	return s
}

func stepStatuses(v *View, now time.Duration) []StepStatus {
	list := []StepStatus{}
	for i, st := range v.executor.States() {
		s := StepStatus{Step: st.Step, State: phaseOf(st, v.Down), Why: st.Why, Attempt: st.Attempt}
		if i < len(v.executor.Plan.Steps) {
			s.Does = v.executor.Plan.Steps[i].Do.String()
		}
		if st.Phase != shutdown.PhaseWaiting {
			s.ForS = new((now - st.Since).Seconds())
		}
		if st.Took > 0 || st.Phase == shutdown.PhaseDone || st.Phase == shutdown.PhaseUndone {
			s.TookS = new(st.Took.Seconds())
		}
		if usual := v.Need.Expected(st.Step); usual > 0 {
			s.UsualS = new(usual.Seconds())
		}
		list = append(list, s)
	}
	return list
}

// phaseOf is how far a step has come, also in the time of an agent before this one.
func phaseOf(st shutdown.StepState, d *downState) shutdown.Phase {
	switch {
	case st.Phase != shutdown.PhaseWaiting:
		return st.Phase
	case slices.Contains(d.Failed, st.Step):
		return shutdown.PhaseFailed
	case slices.Contains(d.Done, st.Step):
		return shutdown.PhaseDone
	}
	return st.Phase
}

// ShutDown begins the way down for an operator. The error says why it does not.
func (a *Agent) ShutDown(ctx context.Context, reason, by string) error {
	var refused error
	err := a.call(ctx, func() {
		if refused = a.mayShutDown(); refused == nil {
			a.beginOperator(reason, by)
			a.publish() // for the answer
		}
	})
	return errors.Join(err, refused)
}

func conflict(format string, args ...any) error {
	return &refusal{http.StatusConflict, fmt.Sprintf(format, args...)}
}

func (a *Agent) mayShutDown() error {
	l := &a.loop
	switch run := a.drill.status(a.clock()); {
	case l.cfg.Mode != config.Armed:
		return conflict("the mode is observe, in which nothing is stopped; write mode: armed into the configuration and reload it")
	case l.down != nil:
		return conflict("a shutdown is under way since %s: %s", l.down.Wall.Format(time.TimeOnly), l.down.Explanation)
	case run != nil:
		return conflict("drill %s is running: wait for its end, or end it with `dodai drill abort`", run.ID)
	}
	return nil
}

func (a *Agent) beginOperator(reason, by string) {
	l := &a.loop
	text := "asked for by " + by
	if reason != "" {
		text += ": " + reason
	}
	l.down = &downState{stamp: a.stamp(), Reason: reasonOperator, Explanation: text, Operator: by}
	a.saveDown()
	a.emit(dodai.Event{Name: dodai.EventShutdownStarted, Text: text, Fields: map[string]any{"reason": string(reasonOperator), "operator": by}})
	a.execute()
}

// CancelShutdown calls off the shutdown that is under way, as far as its point of no return
// is not passed; what it did is undone. The error says why not.
func (a *Agent) CancelShutdown(ctx context.Context, reason, by string) error {
	why := "by " + by
	if reason != "" {
		why += ": " + reason
	}
	var refused error
	err := a.call(ctx, func() {
		l := &a.loop
		switch {
		case l.down == nil:
			refused = conflict("no shutdown is under way")
		case l.down.Off != "":
			refused = conflict("it is called off already (%s), and being undone", l.down.Off)
		case l.down.NoReturn:
			refused = conflict("it cannot be called off: %v", shutdown.ErrNoReturn)
		case l.decision.Shutdown: // it would begin anew as soon as it is undone, with less battery
			refused = conflict("it cannot be called off while its cause stands: %s", l.decision.Summary)
		default:
			if err := a.callOff(why); err != nil {
				refused = conflict("it cannot be called off: %v", err)
			}
			a.publish()
		}
	})
	return errors.Join(err, refused)
}

func (a *Agent) getShutdown(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, ShutdownAnswer{Shutdown: downStatus(a.View(), a.clock())})
}

// shutdownRequest lets do act for the operator at the other end, and answers what is under
// way then.
func (a *Agent) shutdownRequest(do func(ctx context.Context, reason, by string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req ShutdownRequest
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			http.Error(w, "shutdown request: "+err.Error()+`; want for example {"reason":"move to rack r8"}`, http.StatusBadRequest)
			return
		}
		reason := strings.TrimSpace(strings.ReplaceAll(dodai.Printable(req.Reason), "\ufffd", ""))
		if len(reason) > maxReason {
			http.Error(w, fmt.Sprintf("reason has %d bytes: want at most %d", len(reason), maxReason), http.StatusBadRequest)
			return
		}
		err := do(r.Context(), reason, peerName(r.Context()))
		writeAnswer(w, ShutdownAnswer{Shutdown: downStatus(a.View(), a.clock())}, err)
	}
}
