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
	Wall   func() time.Time  // nil: time.Now
	Emit   func(dodai.Event) // must not block; nil: nobody listens
	// Record writes progress down. It is waited for, two seconds at most and a tenth
	// of one once it has hung: a full or dead disk never stops the way down. It may then
	// still run while it is called again. Nil: nothing is recorded.
	Record func(context.Context, Progress) error
	Log    *slog.Logger // nil: none
}

// Executor runs a plan. Its methods may be called from any goroutine; only one of them
// acts at a time.
type Executor struct {
	Config
	slot chan struct{} // held by whoever acts
	ends *ends

	mu        sync.Mutex
	done      map[string]bool    // what this executor did and did not undo
	interrupt context.CancelFunc // tells who holds the slot that Run takes over
	cut       context.CancelFunc // ends the early step that holds the slot
	abort     context.Context    // ends with cut; nil: nothing early runs
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
	return &Executor{Config: c, slot: make(chan struct{}, 1), ends: newEnds(), done: map[string]bool{}}, nil
}

// Run goes all the way down: every step that is neither in done nor was run early, in
// order, and then the power-off, tried until it works. With a configured command it
// returns nil when that has succeeded; with the built-in power-off, when ctx ends after
// the machine was told to go down. Otherwise it returns when ctx ends, with its cause,
// and leaves a running step alone.
func (e *Executor) Run(ctx context.Context, cause Cause, done map[string]bool) error {
	if err := e.takeOver(ctx, cause); err != nil {
		return err
	}
	defer func() { <-e.slot }()
	e.ends.set(cause.Ends)
	for i := range e.Plan.Steps {
		s := &e.Plan.Steps[i]
		if done[s.Name] || e.isDone(s.Name) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		timeout, left := s.timeout(), e.left(cause)
		if left <= 0 {
			e.skip(ctx, cause, s)
			continue
		}
		err := e.step(ctx, cause, s, min(timeout, left))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && s.OnFailure == Stop {
			e.hold(ctx, cause, s)
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return e.powerOff(ctx, cause)
}

// Restore tells the executor what was done before it was made: by a daemon that has
// been restarted, or with the configuration before this one. Names that are not in the
// plan are ignored.
func (e *Executor) Restore(done map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.Copy(e.done, done)
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

// left is the time until the deadline; without one there is always enough.
func (e *Executor) left(cause Cause) time.Duration {
	if cause.Ends.Ask == 0 {
		return 24 * time.Hour
	}
	return cause.Ends.Ask - e.Now()
}

// step runs one step and reports it. The error says how it failed, or that ctx ended.
func (e *Executor) step(ctx context.Context, cause Cause, s *Step, timeout time.Duration) error {
	e.record(ctx, cause, s.Name, PhaseStarted, 0)
	e.emit(cause, dodai.EventStepStarted, s.Name, fmt.Sprintf("step %s started", s.Name),
		map[string]any{"timeout_s": timeout.Seconds()})
	start := e.Now()
	e.mu.Lock()
	abort := e.abort
	e.mu.Unlock()
	res := s.Do.Run(ctx, e.task(cause, s.Name, timeout, abort))
	if res.Err != nil && ctx.Err() != nil {
		return res.Err // the process goes on; what becomes of it nobody knows
	}
	took := e.Now() - start
	if err := res.failure(); err != nil {
		e.record(ctx, cause, s.Name, PhaseFailed, took)
		e.emit(cause, dodai.EventStepFailed, s.Name, fmt.Sprintf("step %s failed after %s: %v", s.Name, seconds(took), err), res.fields(took))
		return fmt.Errorf("step %s: %w", s.Name, err)
	}
	e.setDone(s.Name, true)
	e.record(ctx, cause, s.Name, PhaseDone, took)
	e.emit(cause, dodai.EventStepFinished, s.Name, fmt.Sprintf("step %s finished after %s", s.Name, seconds(took)), res.fields(took))
	return nil
}

// task is one run of the step called name.
func (e *Executor) task(cause Cause, name string, timeout time.Duration, abort context.Context) Task {
	return Task{Step: name, Env: environment(cause, name), Cause: cause, Timeout: timeout, Abort: abort, Process: e.Config.Run}
}

func (e *Executor) skip(ctx context.Context, cause Cause, s *Step) {
	e.record(ctx, cause, s.Name, PhaseSkipped, 0)
	e.emit(cause, dodai.EventStepFailed, s.Name, fmt.Sprintf("step %s skipped: the deadline has passed", s.Name),
		map[string]any{"skipped": true})
}

// hold waits for the deadline after a step that stops the others.
func (e *Executor) hold(ctx context.Context, cause Cause, s *Step) {
	if cause.Ends.Ask == 0 {
		return
	}
	left := max(0, e.left(cause))
	e.Log.Warn("steps stopped, power-off at the deadline", "step", s.Name, "left", left)
	select {
	case <-time.After(left):
	case <-ctx.Done():
	}
}

// takeOver gets the slot for Run: an undoing ends at once, an early step is waited for,
// but not beyond the deadline.
func (e *Executor) takeOver(ctx context.Context, cause Cause) error {
	for {
		e.mu.Lock()
		if e.interrupt != nil {
			e.interrupt()
			if e.left(cause) <= 0 {
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
