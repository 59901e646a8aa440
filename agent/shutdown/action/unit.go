package action

import (
	"context"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Unit stops a systemd unit, or starts it.
type Unit struct {
	Name  string
	Start bool
}

// Kind implements shutdown.Action.
func (Unit) Kind() string { return "unit" }

func (u Unit) args() []string {
	verb := "stop"
	if u.Start {
		verb = "start"
	}
	return []string{"systemctl", "--no-ask-password", verb, "--", u.Name}
}

// String implements shutdown.Action.
func (u Unit) String() string { return shutdown.Quoted(u.args()) }

// Run implements shutdown.Action.
func (u Unit) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	return t.Exec(ctx, "", u.args()...)
}

// Inverse implements shutdown.Action.
func (u Unit) Inverse() shutdown.Action {
	if u.Start {
		return nil
	}
	return Unit{Name: u.Name, Start: true}
}

// Repeatable implements shutdown.Action: to stop what is stopped does nothing.
func (Unit) Repeatable() bool { return true }

// Check implements shutdown.Action.
func (u Unit) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding { return nil }
