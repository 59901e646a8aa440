package shutdown

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// Rehearsed is how one step fared in a rehearsal.
type Rehearsed struct {
	Step     string        `json:"step"`
	Ran      bool          `json:"ran"` // false: walked through
	Took     time.Duration `json:"took,omitempty"`
	Expected time.Duration `json:"expected,omitempty"` // 0: not known
	Err      string        `json:"error,omitempty"`
}

// Rehearse walks through the plan without powering off. Steps for which really returns
// true are run and undone again at the end, the last one first; only reversible steps
// are ever run, and with a nil really none. The others are announced as rehearsed, with
// the duration expected of them. cause.Drill must be set.
//
// When ctx ends the rehearsal ends, and what it ran is undone all the same. When a Run
// takes over nothing is undone: the steps count as done early, and the error is
// ErrTakenOver.
func (e *Executor) Rehearse(ctx context.Context, cause Cause, need Need, really func(Step) bool) ([]Rehearsed, error) {
	if cause.Drill == "" {
		return nil, errors.New("shutdown: a rehearsal without the id of its drill")
	}
	over, end, err := e.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	ran := map[string]bool{}
	var out []Rehearsed
	for _, i := range e.Plan.order() {
		s := &e.Plan.Steps[i]
		if over.Err() != nil || ctx.Err() != nil {
			break
		}
		if e.isDone(s.Name) { // by a real outage: not ours to undo
			continue
		}
		r := Rehearsed{Step: s.Name, Expected: need.Expected(s.Name)}
		if really != nil && s.Reversible() && really(*s) {
			ran[s.Name] = true
			e.rehearse(ctx, cause, s, &r)
		} else {
			e.walkThrough(cause, s.Name, r.Expected)
		}
		out = append(out, r)
	}
	if over.Err() != nil {
		return out, ErrTakenOver
	}
	if ctx.Err() == nil {
		off := Rehearsed{Step: PowerOffStep, Expected: need.Expected(PowerOffStep)}
		e.walkThrough(cause, PowerOffStep, off.Expected)
		out = append(out, off)
	}
	err = e.undoAll(context.WithoutCancel(ctx), over, cause, func(s *Step) bool { return ran[s.Name] })
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	return out, err
}

// rehearse runs a step to its end, even when ctx ends meanwhile: a step cut off could
// not be undone with any certainty.
func (e *Executor) rehearse(ctx context.Context, cause Cause, s *Step, r *Rehearsed) {
	start := e.Now()
	err := e.step(context.WithoutCancel(ctx), cause, s, nil)
	r.Ran, r.Took = true, e.Now()-start
	if err != nil {
		r.Err = err.Error()
	}
}

func (e *Executor) walkThrough(cause Cause, step string, expected time.Duration) {
	text := fmt.Sprintf("step %s rehearsed, not run", step)
	fields := map[string]any{"rehearsed": true}
	if expected > 0 {
		text += fmt.Sprintf("; expected to take %s", seconds(expected))
		fields["expected_s"] = expected.Seconds()
	}
	e.emit(cause, dodai.EventStepFinished, step, text, fields)
}
