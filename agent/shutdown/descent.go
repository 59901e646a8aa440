package shutdown

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
)

// What CallOff and a Run that was called off return.
var (
	ErrNoReturn   = errors.New("the point of no return is passed")
	ErrNotRunning = errors.New("no shutdown is under way")
	ErrCalledOff  = errors.New("called off")
)

// descent is one Run.
type descent struct {
	abort context.Context // ends when it is called off

	mu     sync.Mutex
	off    context.CancelCauseFunc
	why    error // it was called off
	passed bool  // the point of no return
	named  bool  // only the plan's own step passes it
}

// Run goes all the way down: every step that is neither in done nor was run early, in
// the order of the plan's graph, and then the power-off, tried until it works. With a
// configured command it returns nil when that has succeeded; with the built-in
// power-off, when ctx ends after the machine was told to go down. Otherwise it returns
// when ctx ends, with its cause, and leaves running steps alone; or ErrCalledOff, when
// CallOff has ended it and what it did is undone.
func (e *Executor) Run(ctx context.Context, cause Cause, done map[string]bool) error {
	return e.Start(ctx, cause, done)()
}

// Start is Run in two parts: when it has returned the Run can be hurried, pressed and called
// off, and what it returns does the work, once.
func (e *Executor) Start(ctx context.Context, cause Cause, done map[string]bool) (run func() error) {
	d := e.startDescent(ctx, cause)
	return func() error { return e.descend(ctx, cause, d, done) }
}

func (e *Executor) descend(ctx context.Context, cause Cause, d *descent, done map[string]bool) error {
	defer e.endDescent(d)
	if err := e.takeOver(ctx); err != nil {
		return err
	}
	defer func() { <-e.slot }()
	w := e.newWalk(cause, func(s *Step) bool { return !done[s.Name] && !e.isDone(s.Name) })
	w.abort, w.down = d.abort, true
	w.begun = e.begunBefore(done)
	w.enter = func(s *Step) error { return e.enter(ctx, cause, d, s.Name, s.Reversible()) }
	w.run(ctx)
	if ctx.Err() == nil && w.stopped != "" {
		e.hold(ctx, d.abort, w.stopped)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := e.enter(ctx, cause, d, PowerOffStep, false); err != nil {
		return e.undoDescent(ctx, cause, d, w.begun)
	}
	return e.powerOff(ctx, cause)
}

// begunBefore are the steps that an earlier daemon has begun on the same way down: when that
// is called off they are taken back as well.
func (e *Executor) begunBefore(done map[string]bool) map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	begun := maps.Clone(e.doubtful)
	maps.Copy(begun, done)
	return begun
}

func (e *Executor) startDescent(ctx context.Context, cause Cause) *descent {
	d := &descent{passed: cause.Passed || !cause.Operator && e.Plan.NoReturn == "", named: e.Plan.NoReturn != ""}
	d.abort, d.off = context.WithCancelCause(context.WithoutCancel(ctx))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.descent = d
	e.ends.set(cause.Ends)
	return d
}

// endDescent forgets d and its ends, unless another Run has taken its place.
func (e *Executor) endDescent(d *descent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.descent == d {
		e.descent = nil
		e.ends.set(Ends{})
	}
}

// enter is asked before a step begins. The error is that the shutdown was called off. The
// first step behind which nothing can be taken back is written down as that before it begins.
func (e *Executor) enter(ctx context.Context, cause Cause, d *descent, step string, reversible bool) error {
	d.mu.Lock()
	passes := !d.passed && (step == PowerOffStep || step == e.Plan.NoReturn || !d.named && !reversible)
	err := d.why
	if err == nil && passes {
		d.passed = true
	}
	d.mu.Unlock()
	if err == nil && passes {
		e.record(ctx, cause, step, PhaseNoReturn, 0)
	}
	return err
}

// current is the Run that is under way; nil: none is.
func (e *Executor) current() *descent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.descent
}

// CallOff ends the Run that is under way, as far as the point of no return is not passed:
// what runs is ended, and what was begun undone, the last first, which Run does before
// it returns ErrCalledOff. why is told.
func (e *Executor) CallOff(why string) error {
	d := e.current()
	if d == nil {
		return ErrNotRunning
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.passed:
		return ErrNoReturn
	case d.why != nil:
		return d.why
	}
	d.why = fmt.Errorf("%w: %s", ErrCalledOff, why)
	d.off(d.why)
	return nil
}

// Press takes the time out of a Run that an operator began, because the power has failed
// meanwhile: ends hold now, and it cannot be called off any more, unless the plan puts
// the point of no return behind a step of its own. The error is that none is under way,
// or that it has just been called off.
func (e *Executor) Press(to Ends) error {
	d := e.current()
	if d == nil {
		return ErrNotRunning
	}
	d.mu.Lock()
	err := d.why
	d.passed = d.passed || err == nil && !d.named
	d.mu.Unlock()
	if err == nil {
		e.Hasten(to)
	}
	return err
}

// Callable reports whether CallOff would end the Run that is under way.
func (e *Executor) Callable() bool {
	d := e.current()
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.passed && d.why == nil
}

// undoDescent takes back what the Run began. A Run that begins meanwhile takes over.
func (e *Executor) undoDescent(ctx context.Context, cause Cause, d *descent, begun map[string]bool) error {
	over, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	e.mu.Lock()
	e.interrupt, e.cut = cancel, func() {}
	if e.descent == d { // the ends of a Run that waits for this one to be through are its own
		e.ends.set(Ends{})
	}
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.interrupt, e.cut = nil, nil
	}()
	return errors.Join(d.why, e.undoAll(ctx, over, cause, func(s *Step) bool { return begun[s.Name] && s.Reversible() }))
}

// hold waits for the deadline after a step that stops the others.
func (e *Executor) hold(ctx, abort context.Context, step string) {
	left, bounded := e.left()
	if !bounded {
		return
	}
	e.Log.Warn("steps stopped, power-off at the deadline", "step", step, "left", left)
	abort, cancel := context.WithCancel(abort)
	defer cancel()
	go func() { // an end that is taken away is none to wait for
		for now, changed := e.ends.get(); now.Ask != 0; now, changed = e.ends.get() {
			select {
			case <-changed:
			case <-abort.Done():
				return
			}
		}
		cancel()
	}()
	e.untilAsk(ctx, abort)
}
