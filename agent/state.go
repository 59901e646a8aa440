package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/policy"
)

// Keys of what has to survive a restart of the agent.
const (
	keyPolicy   = "policy"
	keyShutdown = "shutdown"
)

// stamp says when, on which clock and in which boot a state was saved, so that its
// instants can be moved to another boot's clock.
type stamp struct {
	BootID string        `json:"boot_id"`
	At     time.Duration `json:"at"`
	Wall   time.Time     `json:"wall"`
}

// policyState is the policy's memory as it lies in the journal.
type policyState struct {
	stamp
	Memory policy.Memory `json:"memory"`
}

// restorePolicy reads a saved memory and moves its instants to the present clock. In
// the same boot they are right as they are; after a reboot the wall clock, the only
// one that ran on, tells how long it was. Whatever it says, what was saved lies before
// this boot, which is instant 0: a machine whose clock lost its battery must not take
// the outage that ended it for one of today. What cannot have been saved is left out: the
// memory is valid beside errUnsound, and empty beside other errors.
func restorePolicy(data []byte, now stamp) (policy.Memory, error) {
	var s policyState
	if err := json.Unmarshal(data, &s); err != nil {
		return policy.Memory{}, fmt.Errorf("saved memory of the policy: %w", err)
	}
	if s.At < 0 || s.At > longestUp {
		return policy.Memory{}, fmt.Errorf("%w: written at %v, want an instant of the agent's clock", errUnsound, s.At)
	}
	m, dropped := s.Memory.Sound(s.At)
	var err error
	if dropped != nil {
		err = fmt.Errorf("%w: %s", errUnsound, strings.Join(dropped, ", "))
	}
	if s.BootID == now.BootID && s.BootID != "" && s.At <= now.At {
		return m, err
	}
	at := now.At - min(max(0, now.Wall.Sub(s.Wall)), longestUp)
	if s.BootID != "" && now.BootID != "" {
		at = min(at, -time.Second)
	}
	return m.Shift(at - s.At), err
}

// longestUp is longer than a machine runs, or stands still.
const longestUp = 50 * 365 * 24 * time.Hour

// errUnsound is what no agent can have saved.
var errUnsound = errors.New("saved memory of the policy holds what cannot be")

// downState is a shutdown of this host, from the decision on.
type downState struct {
	stamp
	Reason      policy.Reason `json:"reason"`
	Explanation string        `json:"explanation"`
	// Operator is who asked for it; empty: the decision did. Power is true when the power
	// has failed, from the start or since.
	Operator string `json:"operator,omitempty"`
	Power    bool   `json:"power,omitempty"`
	// NoReturn: it cannot be called off any more. Off is why it was called off, and is
	// being undone; empty: it was not.
	NoReturn bool   `json:"no_return,omitempty"`
	Off      string `json:"off,omitempty"`
	// Started are the steps that have begun and are not over.
	Started []string `json:"started,omitempty"`
	// Done are the steps that are over, well, badly or skipped: they are not run again
	// when the agent was restarted in between.
	Done []string `json:"done,omitempty"`
	// Failed are those of them that failed.
	Failed []string `json:"failed,omitempty"`
	// Finished is set when the power-off has been asked for successfully.
	Finished bool `json:"finished,omitempty"`
	// FinishedAt is when.
	FinishedAt time.Duration `json:"finished_at,omitempty"`
}

func (d *downState) done() map[string]bool {
	m := make(map[string]bool, len(d.Done))
	for _, name := range d.Done {
		m[name] = true
	}
	return m
}

func (d *downState) markStarted(step string) {
	if !slices.Contains(d.Started, step) {
		d.Started = append(d.Started, step)
	}
}

// markUndone forgets a step that is taken back.
func (d *downState) markUndone(step string) {
	for _, list := range []*[]string{&d.Started, &d.Done, &d.Failed} {
		*list = slices.DeleteFunc(*list, func(s string) bool { return s == step })
	}
}

func (d *downState) clone() *downState {
	c := *d
	c.Started, c.Done, c.Failed = slices.Clone(d.Started), slices.Clone(d.Done), slices.Clone(d.Failed)
	return &c
}

// begun are the steps that have to be undone when it is called off.
func (d *downState) begun() []string { return slices.Concat(d.Done, d.Started) }

func (d *downState) markDone(step string, failed bool) {
	d.Started = slices.DeleteFunc(d.Started, func(s string) bool { return s == step })
	if !slices.Contains(d.Done, step) {
		d.Done = append(d.Done, step)
	}
	if failed && !slices.Contains(d.Failed, step) {
		d.Failed = append(d.Failed, step)
	}
}

// restoreDown returns the shutdown that was under way when the agent ended, or nil.
// One that belongs to another boot has done what it was for: the host went down.
func restoreDown(data []byte, now stamp) (*downState, error) {
	var d *downState
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("saved state of a shutdown: %w", err)
	}
	if d == nil || d.BootID != now.BootID || d.BootID == "" {
		return nil, nil
	}
	return d, nil
}
