package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
)

// maxWho is how many bytes the name of who wants a release may have.
const maxWho = 64

// BootHoldStatus says whether heavy services have to wait after the boot: GET /v1/boot-hold.
// Durations are seconds.
type BootHoldStatus struct {
	Held bool `json:"held"`
	// Why is one sentence: what is waited for, or what has let them start.
	Why     string              `json:"why"`
	Reasons []policy.BootReason `json:"reasons"` // what is waited for, part by part
	// Released is what let them start; empty while they are held, and where the agent came
	// too long after the boot to hold anything.
	Released policy.BootRelease `json:"released,omitempty"`
	UpS      float64            `json:"up_s"` // since the boot
	Rank     int                `json:"rank"`
	StaggerS float64            `json:"stagger_s"`
	LimitS   float64            `json:"limit_s"` // after the boot; 0: none
	// LeftS is how long it will take by how the batteries charge, LimitLeftS how long it can
	// take at most; nil: not known, or no limit.
	LeftS      *float64 `json:"left_s,omitempty"`
	LimitLeftS *float64 `json:"limit_left_s,omitempty"`
	Warning    string   `json:"warning,omitempty"` // it is in force, but something is not as it should be
}

// BootHoldRequest lets heavy services start, whatever the UPSes say: POST /v1/boot-hold.
type BootHoldRequest struct {
	Release bool   `json:"release"`       // must be true
	Who     string `json:"who,omitempty"` // whom the peer asks for, at most 64 bytes
	Why     string `json:"why,omitempty"` // at most 200 bytes
}

// bootTimes are how long this host waits for its turn, and how long at most.
func bootTimes(cfg *config.Config) (wait, limit time.Duration) {
	return time.Duration(cfg.BootHold.Rank) * cfg.BootHold.Stagger.D(), cfg.BootHold.Limit.D()
}

// bootEdges are the beginning and the end of a hold. They are told from what is remembered,
// so that a restart of the agent tells none of them twice. A boot that nothing was known
// against makes none.
func bootEdges(was *policy.Decision, before policy.Memory, now *policy.Decision, after policy.Memory) []dodai.Event {
	b, old := after.Boot, before.Boot
	if b.At != old.At {
		old = policy.BootMemory{}
	}
	switch {
	case b.Held && !old.Held:
		return []dodai.Event{{Name: dodai.EventBootHeld, Fields: map[string]any{"reasons": whats(now.BootReasons)},
			Text: "heavy services have to wait after the boot: " + now.BootHoldWhy}}
	case b.Released && !old.Released && b.By == policy.BootLimit:
		return []dodai.Event{bootReleased(b, "heavy services may start after the time limit, although "+orUnknown(was.BootHoldWhy))}
	case b.Released && !old.Released && b.Held:
		return []dodai.Event{bootReleased(b, "heavy services may start: "+releasedText(b))}
	}
	return nil
}

func orUnknown(why string) string {
	if why == "" {
		return "nobody knows whether the battery could carry another shutdown"
	}
	return why
}

func whats(reasons []policy.BootReason) []string {
	names := []string{}
	for _, r := range reasons {
		names = append(names, string(r.What))
	}
	return names
}

func bootReleased(b policy.BootMemory, text string) dodai.Event {
	return dodai.Event{Name: dodai.EventBootHoldReleased, Text: text, Fields: map[string]any{"reason": string(b.By), "by": b.Said}}
}

// releasedText is what let heavy services start.
func releasedText(b policy.BootMemory) string {
	switch b.By {
	case policy.BootReady:
		return "the battery could carry another shutdown"
	case policy.BootLimit:
		return "the time limit has passed"
	case policy.BootOperator:
		return "released by " + b.Said
	}
	return "this host has been up for long"
}

// BootHold says whether heavy services have to wait now. While this host is being shut down
// none starts, however long ago the boot was.
func (a *Agent) BootHold() BootHoldStatus {
	v, now := a.View(), a.clock()
	cfg, d := v.Config.BootHold, &v.Decision
	s := BootHoldStatus{
		Held: d.BootHeld(), Why: d.BootHoldWhy, Reasons: list(d.BootReasons), UpS: (now - v.Snapshot.BootedAt).Seconds(),
		Rank: cfg.Rank, StaggerS: cfg.Stagger.D().Seconds(), LimitS: cfg.Limit.D().Seconds(),
	}
	switch {
	case v.Down != nil:
		s.Held, s.Why = true, "this host is being shut down"
		s.Reasons = []policy.BootReason{{What: policy.BootGoingDown, Text: s.Why}}
		return s
	case !s.Held:
		s.Released, s.Why = v.Boot.By, releasedText(v.Boot)
		return s
	}
	if d.BootHoldLeft != nil {
		s.LeftS = new(max(0, (*d.BootHoldLeft - (now - d.At)).Seconds()))
	}
	if cfg.Limit > 0 {
		s.LimitLeftS = new(max(0, (v.Snapshot.BootedAt + cfg.Limit.D() - now).Seconds()))
	}
	return s
}

// said checks a request and returns what is remembered of it. by is the peer.
func (r BootHoldRequest) said(by string) (string, error) {
	if !r.Release {
		return "", badRequest(`release is false: want true, for example {"release":true,"why":"needed now"}`)
	}
	who, err := oneText("who", r.Who, maxWho)
	if err != nil {
		return "", err
	}
	why, err := oneText("why", r.Why, maxReason)
	if err != nil {
		return "", err
	}
	if who != "" && who != by {
		by += " for " + who
	}
	if why != "" {
		by += ": " + why
	}
	return by, nil
}

// oneText is a text as it can be shown on a line.
func oneText(name, value string, most int) (string, error) {
	value = strings.TrimSpace(strings.ReplaceAll(dodai.Printable(value), "\ufffd", ""))
	if len(value) > most {
		return "", badRequest("%s has %d bytes: want at most %d", name, len(value), most)
	}
	return value, nil
}

// ReleaseBootHold lets heavy services start until the next boot. by is who asks. Where
// nothing is held nothing changes, which is no error. It is on the disk when ReleaseBootHold
// returns, or the answer warns.
func (a *Agent) ReleaseBootHold(ctx context.Context, req BootHoldRequest, by string) (BootHoldStatus, error) {
	said, err := req.said(by)
	if err != nil {
		return BootHoldStatus{}, err
	}
	released := false
	if err := a.call(ctx, func() {
		l := &a.loop
		var memory policy.Memory
		if memory, released = l.memory.ReleaseBoot(said); !released {
			return
		}
		why := l.decision.BootHoldWhy
		l.memory = memory
		a.emit(bootReleased(memory.Boot, "heavy services may start, "+releasedText(memory.Boot)+", although "+orUnknown(why)))
		a.decide()
		a.saveMemory()
	}); err != nil {
		return BootHoldStatus{}, err
	}
	s := a.BootHold()
	if released {
		s.Warning = a.unwritten(ctx)
	}
	return s, nil
}

func (a *Agent) getBootHold(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.BootHold()) }

func (a *Agent) postBootHold(w http.ResponseWriter, r *http.Request) {
	var req BootHoldRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		http.Error(w, fmt.Sprintf(`boot-hold request: %v; want for example {"release":true,"why":"needed now"}`, err), http.StatusBadRequest)
		return
	}
	s, err := a.ReleaseBootHold(r.Context(), req, peerName(r.Context()))
	writeAnswer(w, s, err)
}
