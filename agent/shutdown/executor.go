package shutdown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
)

// How long journalling may hold up the way down: the first time the disk hangs, and
// each time after that until it has answered again.
const (
	recordWait     = 2 * time.Second
	recordWaitHung = 100 * time.Millisecond
)

// Cause is why the executor was called; the steps find it in their environment.
type Cause struct {
	Event  dodai.EventName // DODAI_EVENT
	Reason string          // DODAI_REASON: "runtime", "lb" …
	Device string          // DODAI_DEVICE
	Text   string          // DODAI_TEXT: one sentence
	Drill  string          // DODAI_DRILL: id of the drill; empty: it is the truth
	// Ends is when the power-off must have been asked for, because the energy behind it
	// is gone: steps are cut short to meet it and those that no longer fit are skipped.
	// And when it is forced.
	Ends Ends
	// Operator: a person asked for it. It can be called off until the first step that
	// cannot be undone, see Plan.NoReturn.
	Operator bool
	// Passed: it is gone on with, and the point of no return lies behind it.
	Passed bool
}

// Phase is how far a step has come.
type Phase string

// The phases of a step.
const (
	PhaseStarted    Phase = "started"
	PhaseDone       Phase = "done"
	PhaseFailed     Phase = "failed"  // it ran; running it again would take as long
	PhaseSkipped    Phase = "skipped" // no time was left
	PhaseUndoing    Phase = "undoing" // from here on it has to be done again
	PhaseUndone     Phase = "undone"
	PhaseUndoFailed Phase = "undo_failed"
	// PhaseNoReturn is the point of no return, with the step that passes it.
	PhaseNoReturn Phase = "no_return"
	// PhaseWaiting is a step that has not begun; it is not recorded.
	PhaseWaiting Phase = "waiting"
)

// Progress is what the agent writes down before the executor goes on. Steps in
// PhaseDone and PhaseFailed belong into the done of a later Run.
type Progress struct {
	Step  string        `json:"step"`
	Phase Phase         `json:"phase"`
	At    time.Duration `json:"at"`
	Took  time.Duration `json:"took,omitempty"` // of a step done or failed; worth recording unless a rehearsal only walked through
	Drill string        `json:"drill,omitempty"`
}

// Config is what an executor is made of. Plan, Run, Logind and Now are required: there
// is no default that could power off by accident.
type Config struct {
	Plan   Plan
	Run    Runner // Process for real ones
	Logind Logind // SystemBus() for the real one
	Now    func() time.Duration
	// Return reports, just before the power-off, whether the power is back, so that the
	// machine starts again instead of staying off with nobody to switch it on: it is
	// rebooted. nil: it never is.
	Return func() bool
	// Force takes the machine down past everything that hangs; it returns only when that
	// failed. nil: "poweroff -f -f" is run, or "reboot -f -f". Only for the built-in power-off.
	Force func(context.Context, Goal) error
	// Ways finds out which of the ways of powering off that need root would work, as
	// CheckWays does, where they are gone by somebody else. nil: by this process.
	Ways func(context.Context) ([]Finding, error)
	// Guard forces the machine down when the agent has been ended and the rest of the way
	// down hangs. nil: nobody does. Only for the built-in power-off.
	Guard Guard
	Wall  func() time.Time  // nil: time.Now
	Emit  func(dodai.Event) // must not block; nil: nobody listens
	// Record writes progress down. It is waited for, two seconds at most and a tenth
	// of one once it has hung: a full or dead disk never stops the way down. It may then
	// still run while it is called again. Nil: nothing is recorded.
	Record func(context.Context, Progress) error
	// BeforeOff does what has to be done while the network is still there, once the steps
	// are over: it tells the UPSes behind it. It is waited for, but not for long. nil: nothing
	// has to.
	BeforeOff func(context.Context)
	Log       *slog.Logger // nil: none
	// Orphans finds the processes of steps that outlived the daemon before this one; nil: none
	// are looked for.
	Orphans Orphans
}

// Executor runs a plan. Its methods may be called from any goroutine; only one of them
// acts at a time.
type Executor struct {
	Config
	slot chan struct{} // held by whoever acts
	ends *ends

	mu        sync.Mutex
	done      map[string]bool    // what this executor did and did not undo
	failed    map[string]bool    // what failed in an earlier daemon's time
	doubtful  map[string]bool    // what was under way when an earlier daemon ended
	interrupt context.CancelFunc // tells who holds the slot that Run takes over
	cut       context.CancelFunc // ends the early step that holds the slot
	abort     context.Context    // ends with cut; nil: nothing early runs
	descent   *descent           // the Run that is under way; nil: none
	states    []StepState        // of each step of the plan, and the power-off
	hung      bool               // the latest Record was not waited for to its end
}

// New returns an executor for a plan that Validate accepts.
func New(c Config) (*Executor, error) {
	if c.Run == nil || c.Logind == nil || c.Now == nil {
		return nil, errors.New("shutdown: Run, Logind and Now are required")
	}
	if errs := c.Plan.Validate(); len(errs) > 0 {
		return nil, errs[0]
	}
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Emit == nil {
		c.Emit = func(dodai.Event) {}
	}
	if c.Record == nil {
		c.Record = func(context.Context, Progress) error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Executor{Config: c, slot: make(chan struct{}, 1), ends: newEnds(), done: map[string]bool{}, failed: map[string]bool{}, doubtful: map[string]bool{}, states: freshStates(&c.Plan)}, nil
}

// Restore tells the executor what was done before it was made: by a daemon that has
// been restarted, or with the configuration before this one. Names that are not in the
// plan are ignored.
func (e *Executor) Restore(done map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.Copy(e.done, done)
}

// RestoreFailed tells the executor which steps failed on the way down before the daemon
// was restarted: they may be to stop what comes after them.
func (e *Executor) RestoreFailed(steps ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range steps {
		e.failed[s] = true
	}
}

func (e *Executor) hasFailed(step string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed[step]
}

// Done returns the steps that are done and not undone.
func (e *Executor) Done() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	done := map[string]bool{}
	for name, yes := range e.done {
		if yes {
			done[name] = true
		}
	}
	return done
}

// task is one run of the step called name.
func (e *Executor) task(cause Cause, name string, timeout time.Duration, abort context.Context) Task {
	return Task{Step: name, Env: environment(cause, name), Cause: cause, Timeout: timeout, Abort: abort, Process: e.Config.Run}
}

// takeOver gets the slot for Run: an undoing ends at once, an early step is waited for,
// but not beyond the deadline.
func (e *Executor) takeOver(ctx context.Context) error {
	for {
		left, _ := e.left()
		e.mu.Lock()
		if e.interrupt != nil {
			e.interrupt()
			if left <= 0 {
				e.cut()
			}
		}
		e.mu.Unlock()
		select {
		case e.slot <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond): // somebody else may have come first
		}
	}
}

// begin gets the slot for anything that Run may interrupt; over ends when it does.
func (e *Executor) begin(ctx context.Context) (over context.Context, end func(), err error) {
	select {
	case e.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	over, cancel := context.WithCancel(context.WithoutCancel(ctx))
	abort, cut := context.WithCancel(context.WithoutCancel(ctx))
	e.mu.Lock()
	e.interrupt, e.cut, e.abort = cancel, cut, abort
	e.mu.Unlock()
	return over, func() {
		e.mu.Lock()
		e.interrupt, e.cut, e.abort = nil, nil, nil
		e.mu.Unlock()
		cancel()
		cut()
		<-e.slot
	}, nil
}

func (e *Executor) isDone(step string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.done[step]
}

func (e *Executor) setDone(step string, done bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[step] = done
}

// record waits for the journal even when ctx has just ended: what was done counts.
func (e *Executor) record(ctx context.Context, cause Cause, step string, phase Phase, took time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.recordWait())
	defer cancel()
	p := Progress{Step: step, Phase: phase, At: e.Now(), Took: took, Drill: cause.Drill}
	e.setState(p)
	done := make(chan error, 1)
	go func() { done <- e.Record(ctx, p) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.setHung(ctx.Err() != nil)
	if err != nil {
		e.Log.Error("progress not recorded", "step", step, "phase", phase, "error", err)
	}
}

func (e *Executor) recordWait() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hung {
		return recordWaitHung
	}
	return recordWait
}

func (e *Executor) setHung(hung bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hung = hung
}

func (e *Executor) emit(cause Cause, name dodai.EventName, step, text string, fields map[string]any) {
	e.Emit(dodai.Event{
		Name: name, Device: step, At: e.Now(), Wall: e.Wall(), Text: text, Fields: fields, Drill: cause.Drill,
	})
}

// notForSteps are variables that tell the agent's own service manager about the agent.
var notForSteps = []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MAINPID"}

func environment(cause Cause, step string) []string {
	env := withoutVars(os.Environ(), notForSteps)
	for _, kv := range [][2]string{
		{"EVENT", string(cause.Event)}, {"REASON", cause.Reason}, {"DEVICE", cause.Device},
		{"TEXT", cause.Text}, {"DRILL", cause.Drill}, {"STEP", step},
	} {
		env = append(env, "DODAI_"+kv[0]+"="+fitForEnv(kv[1]))
	}
	return env
}

// fitForEnv keeps a strange text from making the kernel refuse to start a step: no zero
// bytes, and far from the limit of 128 KiB for one string.
func fitForEnv(s string) string {
	return strings.ReplaceAll(s[:min(len(s), 4096)], "\x00", "")
}

// seconds prints a duration as a person reads it.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
