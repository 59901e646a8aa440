package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// levelStep is what runs in the drills' place while a step is run by hand.
const levelStep drill.Level = "step"

// StepRequest asks for one step of the plan: POST /v1/step.
type StepRequest struct {
	Step string `json:"step"`
	Run  bool   `json:"run"`            // really; false: only say what would be run, and check it
	Undo bool   `json:"undo,omitempty"` // what takes the step back
}

// StepResult answers a StepRequest.
type StepResult struct {
	Step     string  `json:"step"`
	Undo     bool    `json:"undo,omitempty"`
	Kind     string  `json:"kind"`
	Does     string  `json:"does"`
	User     string  `json:"user"` // with whose rights
	TimeoutS float64 `json:"timeout_s"`
	Retries  int     `json:"retries"`
	// RetryWaitS passes before each of them.
	RetryWaitS float64 `json:"retry_wait_s,omitempty"`
	// UsualS is what the step takes, as far as it is known; Basis is what that rests on.
	UsualS float64        `json:"usual_s,omitempty"`
	Basis  shutdown.Basis `json:"basis,omitempty"`
	// Findings stand against it; they are only looked for where it is not run.
	Findings []shutdown.Finding `json:"findings"`
	Ran      *StepRun           `json:"ran,omitempty"` // nil: it was not run
}

// StepRun is how a step ended that was run by hand.
type StepRun struct {
	ID      string    `json:"id"` // marks its events
	Started time.Time `json:"started"`
	TookS   float64   `json:"took_s"` // of all tries
	OK      bool      `json:"ok"`
	Exit    int       `json:"exit"` // -1: there was none
	Error   string    `json:"error,omitempty"`
	Output  string    `json:"output"` // of the last try
}

// Step says what one step of the plan would do and checks it, or really runs it. In an
// outage, a shutdown or a drill it is refused: what is stopped then is not an operator's
// to stop or start. A step that runs goes on when ctx ends, until its time-out. by is who
// asks.
func (a *Agent) Step(ctx context.Context, req StepRequest, by string) (*StepResult, error) {
	v := a.View()
	r, step, err := a.describeStep(v, req)
	if err != nil {
		return nil, err
	}
	if req.Run {
		return r, a.runStep(req, by, r, step)
	}
	r.Findings = v.executor.CheckStep(ctx, &a.checks.hanging, step).Findings
	return r, ctx.Err()
}

// describeStep says what would be run.
func (a *Agent) describeStep(v *View, req StepRequest) (*StepResult, *shutdown.Step, error) {
	plan := &v.executor.Plan
	i := slices.IndexFunc(plan.Steps, func(s shutdown.Step) bool { return s.Name == req.Step })
	if i < 0 {
		names := stepNames(plan)
		return nil, nil, badRequest("there is no step %q%s: want one of %s", req.Step, config.Meant(req.Step, names), cmp.Or(strings.Join(names, ", "), "none, the plan is empty"))
	}
	s := &plan.Steps[i]
	do := s.Do
	if req.Undo {
		if do = s.Inverse(); do == nil {
			return nil, nil, badRequest("step %s cannot be undone: what it does has no undo of its own (libvirt, proxmox and containers have one where they name what they stop), and its configuration gives none", s.Name)
		}
	}
	r := &StepResult{
		Step: s.Name, Undo: req.Undo, Kind: do.Kind(), Does: do.String(), User: a.stepUser(), Findings: []shutdown.Finding{},
		TimeoutS: cmp.Or(s.Timeout, shutdown.DefaultStepTimeout).Seconds(), Retries: s.Retries,
	}
	if s.Retries > 0 {
		r.RetryWaitS = cmp.Or(s.RetryWait, shutdown.DefaultRetryWait).Seconds()
	}
	for _, c := range v.Config.Shutdown.Steps {
		if c.Name == s.Name && c.User != "" {
			r.User = c.User
		}
	}
	for _, n := range v.Need.Steps {
		if n.Step == s.Name && !req.Undo {
			r.UsualS, r.Basis = n.Took.Seconds(), n.Basis
		}
	}
	return r, s, nil
}

// runStep runs a step in the drills' place, so that neither a drill nor another step nor
// a new configuration comes between.
func (a *Agent) runStep(req StepRequest, by string, r *StepResult, s *shutdown.Step) error {
	if a.opts.Rehearse {
		return &refusal{http.StatusConflict, "this agent only shows how it would go, and runs no step"}
	}
	var run *runningDrill
	var executor *shutdown.Executor
	var refused error
	if err := a.call(a.ctx, func() {
		if refused = a.mayRunStep(req); refused == nil {
			run, refused = a.drill.take(s.Name, a.clock())
		}
		executor = a.loop.executor
	}); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	defer a.drill.give(run)
	done := &StepRun{ID: run.id, Started: time.Now()}
	res, took, err := executor.RunOne(a.ctx, shutdown.Cause{Text: by + " runs it by hand", Drill: run.id}, s.Name, req.Undo)
	if took == 0 {
		return &refusal{http.StatusConflict, err.Error()}
	}
	done.TookS, done.OK, done.Exit, done.Output = took.Seconds(), err == nil, res.Exit, res.Output
	if err != nil {
		done.Error = err.Error()
	}
	r.Ran = done
	a.stepRun(req, run.id, took, err)
	return nil
}

// mayRunStep says why a step must not be run by hand now, in the loop.
func (a *Agent) mayRunStep(req StepRequest) error {
	l := &a.loop
	because := func(why string) error {
		return &refusal{http.StatusConflict, fmt.Sprintf("step %s is not run: %s", req.Step, why)}
	}
	_, pending := l.earlyDone[req.Step]
	switch {
	case l.down != nil && !l.down.Finished:
		return because("a shutdown is under way")
	case l.decision.Shutdown || onBattery(l.decision):
		return because("the machine runs on battery; what is stopped now is for the plan to say")
	case l.earlyBusy:
		return because("early steps are being run or undone; try again when they are through")
	case pending && !req.Undo:
		return because("it has been run early and is to be undone (--undo does that now)")
	}
	return nil
}

// stepRun remembers how long a step took, and that an early one was undone.
func (a *Agent) stepRun(req StepRequest, id string, took time.Duration, err error) {
	switch {
	case errors.Is(err, shutdown.ErrTakenOver) || a.ctx.Err() != nil:
		return // cut off from outside: that says nothing of the step
	case !req.Undo:
		p := shutdown.Progress{Step: req.Step, Phase: shutdown.PhaseDone, Took: took, Drill: id}
		if err != nil {
			p.Phase = shutdown.PhaseFailed
		}
		a.store.measured(p, time.Now())
	}
	_ = a.call(a.ctx, func() { // fails when the agent ends
		l := &a.loop
		if _, pending := l.earlyDone[req.Step]; pending && req.Undo && err == nil {
			delete(l.earlyDone, req.Step)
			delete(l.earlyFailed, req.Step)
			a.saveEarly()
		}
		a.measureNeed()
	})
}

// take puts a step in the place of the one drill that may run at a time.
func (d *drillSlot) take(step string, now time.Duration) (*runningDrill, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running != nil {
		return nil, &refusal{http.StatusConflict, fmt.Sprintf("step %s is not run: drill %s is running", step, d.running.id)}
	}
	d.last++
	d.running = &runningDrill{
		id:   fmt.Sprintf("step-%s-%s-%d", time.Now().UTC().Format("20060102T150405Z"), step, d.last),
		name: step, level: levelStep, began: now, done: make(chan struct{}),
	}
	return d.running, nil
}

func (d *drillSlot) give(run *runningDrill) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = nil
	close(run.done)
}

// answerLate is what an answer may take beyond the step's own time.
const answerLate = time.Minute

func (a *Agent) postStep(w http.ResponseWriter, r *http.Request) {
	var req StepRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields() // a slip of the pen must not make a run of what was to be a look
	if err := dec.Decode(&req); err != nil {
		http.Error(w, "step request: "+err.Error()+`; want for example {"step":"databases","run":false}`, http.StatusBadRequest)
		return
	}
	limit := answerLate
	if d, _, err := a.describeStep(a.View(), req); err == nil {
		limit += time.Duration(float64(d.Retries+1) * (d.TimeoutS + d.RetryWaitS) * float64(time.Second))
	}
	answerWithin(w, limit)
	result, err := a.Step(r.Context(), req, peerName(r.Context()))
	writeAnswer(w, result, err)
}
