package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// SimulateOptions say how `dodai simulate` plays its files. What is nil is as each file
// says in its `config.play`.
type SimulateOptions struct {
	Seed       *uint64
	Jitter     *bool
	FailRate   *float64
	ClockSteps *bool
	// Without switches rules of the policy off.
	Without map[policy.Rule]bool
	// Violations gets a line per expectation that did not hold; nil: they only count.
	Violations io.Writer
}

// play is how a file is played that wants to be played like m.
func (o *SimulateOptions) play(m Mode) PlayOptions {
	set(&m.Seed, o.Seed)
	set(&m.Jitter, o.Jitter)
	set(&m.FailRate, o.FailRate)
	set(&m.ClockSteps, o.ClockSteps)
	opts := m.Options()
	opts.Without = o.Without
	return opts
}

func set[T any](v *T, to *T) {
	if to != nil {
		*v = *to
	}
}

// ErrOutput is an answer that could not be written.
var ErrOutput = errors.New("simulate: answer not written")

// Simulate plays scenario files and writes one JSON object a line. ok is false when an
// expectation did not hold. A file that cannot be read is an error, before anything is
// played; so is the end of ctx, and, wrapping ErrOutput, that w does not take the answer.
func Simulate(ctx context.Context, w io.Writer, files []string, opts SimulateOptions) (ok bool, err error) {
	scenarios := make([]*Scenario, len(files))
	for i, file := range files {
		if scenarios[i], err = Load(file); err != nil {
			return false, err
		}
	}
	ok = true
	enc := json.NewEncoder(w)
	for _, s := range scenarios {
		result, err := Play(ctx, s, opts.play(s.Mode))
		if err != nil {
			return false, err
		}
		if err := enc.Encode(result); err != nil {
			return false, fmt.Errorf("%w: %w", ErrOutput, err)
		}
		for _, v := range result.Check(s.Expect) {
			ok = false
			if opts.Violations != nil {
				fmt.Fprintf(opts.Violations, "%s: %s\n", dodai.Printable(s.ID), dodai.Printable(v))
			}
		}
	}
	return ok, nil
}

// Check lists the expectations that did not hold, with what came and what was wanted.
func (r *Result) Check(e Expect) []string {
	var out []string
	miss := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if e.Shutdown != nil && *e.Shutdown != r.Shutdown {
		miss("shutdown is %v, want %v (%s)", r.Shutdown, *e.Shutdown, r.Decision.Explanation)
	}
	if r.AtS != nil && e.NotBeforeS != nil && *r.AtS < *e.NotBeforeS {
		miss("decided at %g s, want not before %g s (%s)", *r.AtS, *e.NotBeforeS, r.Decision.Explanation)
	}
	if r.AtS != nil && e.NotAfterS != nil && *r.AtS > *e.NotAfterS {
		miss("decided at %g s, want not after %g s (%s)", *r.AtS, *e.NotAfterS, r.Decision.Explanation)
	}
	if e.Reason != nil && *e.Reason != r.Reason {
		miss("reason is %s, want %s (%s)", r.Reason, *e.Reason, r.Decision.Explanation)
	}
	for _, a := range e.Alerts {
		if !slices.Contains(r.Alerts, a) {
			miss("alert %s was not raised, only %v", a, r.Alerts)
		}
	}
	if e.BootHold != nil && *e.BootHold != r.BootHold {
		miss("boot hold is %v, want %v", r.BootHold, *e.BootHold)
	}
	if e.PowerCycle != nil && *e.PowerCycle != r.PowerCycle {
		miss("power cycle is %v, want %v", r.PowerCycle, *e.PowerCycle)
	}
	return out
}
