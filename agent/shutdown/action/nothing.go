package action

import (
	"context"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// nothing takes back what leaves nothing behind: a message, or having waited. Without it
// such a step would be the point of no return.
type nothing struct{}

func leavesNothing(s config.Step) bool { return s.Wall != "" || s.Notify != "" || s.WaitFor != nil }

// Kind implements shutdown.Action.
func (nothing) Kind() string { return "nothing" }

// String implements shutdown.Action.
func (nothing) String() string { return "nothing is left to take back" }

// Run implements shutdown.Action.
func (nothing) Run(context.Context, shutdown.Task) shutdown.Result { return shutdown.Result{} }

// Inverse implements shutdown.Action.
func (nothing) Inverse() shutdown.Action { return nil }

// Repeatable implements shutdown.Action.
func (nothing) Repeatable() bool { return true }

// Check implements shutdown.Action.
func (nothing) Check(context.Context, shutdown.Task) []shutdown.Finding { return nil }
