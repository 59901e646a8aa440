package action

import (
	"fmt"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Deps is what the kinds need of the daemon.
type Deps struct {
	// Notify hands text to the hooks of the event notification and waits until they have
	// ended, or ctx has; Listens reports whether there are any. nil: nobody listens.
	Notify  func(text string, t shutdown.Task) error
	Listens func() bool
	// Daemon is the process of the daemon; 0: this one. It must not stop its own unit.
	Daemon int
}

// New makes the action of a step, and the one that takes it back where the configuration
// names it; nil: the action's own inverse. The error is about what the configuration's
// own checks cannot know.
func New(s config.Step, deps Deps) (do, undo shutdown.Action, err error) {
	if len(s.Undo) > 0 {
		undo = shutdown.Program{Args: s.Undo, User: s.User, Once: once(s, false)}
	}
	switch {
	case len(s.Command) > 0:
		do = shutdown.Program{Args: s.Command, User: s.User}
	case s.Unit != "":
		do = Unit{Name: s.Unit, Daemon: deps.Daemon}
	default:
		if do, err = local(s, deps); do == nil && err == nil {
			do, err = remote(s)
		}
	}
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("step %s: %w", s.Name, err)
	case do == nil:
		return nil, nil, fmt.Errorf("step %s does nothing", s.Name)
	}
	if undo == nil && leavesNothing(s) {
		undo = nothing{}
	}
	if s.Once != nil {
		do = repeat{do, !*s.Once}
	}
	return do, undo, nil
}

func once(s config.Step, otherwise bool) bool {
	if s.Once != nil {
		return *s.Once
	}
	return otherwise
}

// repeat overrules what a kind says about being run again.
type repeat struct {
	shutdown.Action
	repeatable bool
}

func (r repeat) Repeatable() bool { return r.repeatable }
