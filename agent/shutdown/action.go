package shutdown

import (
	"context"
	"time"
)

// Action is what a step does: stop a unit, run a program, ask a host over ssh. The kinds
// are in package action; Program is the one that needs nothing but this package. An
// Action does not change, and its methods may be called at once from several goroutines.
type Action interface {
	// Kind is its key in the configuration: "unit", "ssh".
	Kind() string
	// String says in one line what Run does: "systemctl stop postgresql.service". It
	// shows no secret.
	String() string
	// Run does it, once: retries are the executor's business. It ends when the work is
	// done, has failed, t.Timeout has passed or t.Abort has ended; what it started is
	// ended then. When ctx ends, because the daemon does, it returns at once with
	// ctx's cause and leaves alone what runs outside the daemon.
	Run(ctx context.Context, t Task) Result
	// Inverse takes back what Run did; nil: nothing does.
	Inverse() Action
	// Repeatable reports whether it may be run again when nobody knows how far it came,
	// because the daemon was killed meanwhile.
	Repeatable() bool
	// Check proves, as far as that is possible without stopping or changing anything,
	// that Run could do its work now: with the same program, user, network and login.
	// It returns what stands against that, with the true cause, and nil when nothing
	// does. It is bound by ctx.
	Check(ctx context.Context, t Task) []Finding
}

// Task is one run of an action.
type Task struct {
	Step    string        // its name
	Env     []string      // the environment of what it starts, see Cause
	Cause   Cause         // why
	Timeout time.Duration // greater than 0
	Abort   context.Context
	// Process runs programs. Started, when not nil, is told the process that Run waits
	// for as soon as it runs.
	Process Runner
	Started func(pid int)
}

// Context bounds work inside the daemon as Run demands: it ends with ctx, after
// t.Timeout, or with t.Abort, and its cause says which: ErrTimeout, t.Abort's own or
// ErrTakenOver, or ctx's own.
func (t Task) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, timeout := context.WithTimeoutCause(ctx, t.Timeout, timedOut(t.Timeout))
	if t.Abort == nil {
		return ctx, timeout
	}
	ctx, abort := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.Abort, func() { abort(abortCause(t.Abort)) })
	return ctx, func() {
		stop()
		abort(context.Canceled)
		timeout()
	}
}

// Aborted returns why the task is cut short; nil: it is not.
func (t Task) Aborted() error {
	if t.Abort == nil || t.Abort.Err() == nil {
		return nil
	}
	return abortCause(t.Abort)
}

// Exec runs a program as part of the task.
func (t Task) Exec(ctx context.Context, user string, args ...string) Result {
	return t.Process(ctx, Command{Args: args, Env: t.Env, User: user, Timeout: t.Timeout, Abort: t.Abort, Started: t.Started})
}

// Failed is the Result of work inside the daemon that ended with err, which may be nil.
// output is what there is to read about it; it may be empty.
func Failed(err error, output string) Result {
	if err != nil {
		return Result{Exit: -1, Err: err, Output: output}
	}
	return Result{Output: output}
}

// Finding is one thing that stands against the way down. Its JSON is part of
// `dodai preflight --json`.
type Finding struct {
	// Step is the step it is about, PowerOffStep, or "killpower" with Device.
	Step   string `json:"step"`
	Device string `json:"device,omitempty"`
	// Check names the test that failed, for scripts: "program_missing", "host_key".
	Check string `json:"check"`
	Text  string `json:"text"`             // the true cause, in one sentence
	Fix   string `json:"repair,omitempty"` // what to do about it
	// Fatal: the machine could not be powered off.
	Fatal bool `json:"fatal,omitempty"`
}
