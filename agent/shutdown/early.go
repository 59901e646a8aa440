package shutdown

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dodai-agent/dodai"
)

// ErrTakenOver ends whatever a Run has interrupted.
var ErrTakenOver = errors.New("a shutdown takes over")

// RunEarly runs the named early steps that are not done yet, each after those of them
// that it waits for in the plan, and returns what failed. A failed one is run again on the way down, unless the way
// down had to wait for it. When ctx ends the
// step that runs is left alone; when a Run takes over, it waits for it.
func (e *Executor) RunEarly(ctx context.Context, cause Cause, names ...string) error {
	if err := e.known(names, func(s *Step) bool { return s.Early != nil }, "is not an early step"); err != nil {
		return err
	}
	over, end, err := e.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	w := e.newWalk(cause, func(s *Step) bool { return slices.Contains(names, s.Name) && !e.isDone(s.Name) })
	w.abort = e.abort
	w.enter = func(*Step) error {
		if over.Err() != nil {
			return ErrTakenOver
		}
		return nil
	}
	w.failed = func(s *Step) {
		if over.Err() != nil { // it had its time; the way down does not wait for it twice
			e.setDone(s.Name, true)
		}
	}
	w.run(ctx)
	if over.Err() != nil && ctx.Err() == nil {
		for _, name := range names {
			if !w.begun[name] && !e.isDone(name) {
				w.errs = append(w.errs, ErrTakenOver)
				break
			}
		}
	}
	return errors.Join(w.errs...)
}

// UndoEarly undoes the named steps, or without names those this executor has done, the
// last one first. One that cannot be undone, or fails to, does not keep the others from
// it. Names help after a restart of the daemon, when only the journal knows. When a Run
// takes over, the undoing is ended as by a time-out and the step counts as not done.
func (e *Executor) UndoEarly(ctx context.Context, cause Cause, names ...string) error {
	if err := e.known(names, func(*Step) bool { return true }, ""); err != nil {
		return err
	}
	over, end, err := e.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return e.undoAll(ctx, over, cause, func(s *Step) bool {
		return slices.Contains(names, s.Name) || len(names) == 0 && s.Early != nil && e.isDone(s.Name)
	})
}

// UndoBegun takes back what a Run that was called off had begun, after a restart of the
// daemon. Steps that cannot be undone stay as they are.
func (e *Executor) UndoBegun(ctx context.Context, cause Cause, names ...string) error {
	over, end, err := e.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return e.undoAll(ctx, over, cause, func(s *Step) bool { return slices.Contains(names, s.Name) && s.Reversible() })
}

func (e *Executor) undoAll(ctx, over context.Context, cause Cause, which func(*Step) bool) error {
	var errs []error
	for _, i := range slices.Backward(e.Plan.order()) {
		s := &e.Plan.Steps[i]
		if !which(s) {
			continue
		}
		if over.Err() != nil {
			return errors.Join(append(errs, ErrTakenOver)...)
		}
		if ctx.Err() != nil {
			return errors.Join(append(errs, context.Cause(ctx))...)
		}
		if err := e.undo(ctx, over, cause, s); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (e *Executor) undo(ctx, over context.Context, cause Cause, s *Step) error {
	if !s.Reversible() {
		return fmt.Errorf("step %s: there is no way to undo it", s.Name)
	}
	e.setDone(s.Name, false)
	e.record(ctx, cause, s.Name, PhaseUndoing, 0)
	start := e.Now()
	res := e.runInverse(ctx, over, cause, s)
	if res.Err != nil && ctx.Err() != nil {
		return res.Err
	}
	took := e.Now() - start
	if err := res.Failure(); err != nil {
		e.record(ctx, cause, s.Name, PhaseUndoFailed, took)
		e.emit(cause, dodai.EventStepFailed, s.Name, fmt.Sprintf("undoing step %s failed after %s: %v", s.Name, seconds(took), err),
			withUndo(res.fields(took)))
		return fmt.Errorf("undo step %s: %w", s.Name, err)
	}
	e.record(ctx, cause, s.Name, PhaseUndone, took)
	e.emit(cause, dodai.EventStepUndone, s.Name, fmt.Sprintf("step %s undone after %s", s.Name, seconds(took)), res.fields(took))
	return nil
}

// runInverse takes a step back, unless an earlier daemon has begun to and it must not be
// done twice.
func (e *Executor) runInverse(ctx, over context.Context, cause Cause, s *Step) Result {
	inverse := s.Inverse()
	begun := e.Orphans != nil && e.Orphans.Known(undoing+s.Name) // by a daemon that has ended in its middle
	e.mu.Lock()
	doubtful := e.doubtful[s.Name] || begun
	delete(e.doubtful, s.Name)
	e.mu.Unlock()
	if doubtful {
		for _, left := range []string{s.Name, undoing + s.Name} { // the step itself may still run
			if err := e.await(ctx, cause, left, s.timeout(), over); err != nil && ctx.Err() != nil {
				e.RestoreDoubtful(s.Name)
				return Result{Exit: -1, Err: err}
			}
		}
	}
	if begun && !inverse.Repeatable() {
		e.Orphans.Ended(undoing + s.Name)
		return Result{Output: "it was under way when the agent ended, and is not to be run twice; how it ended is not known"}
	}
	t := e.task(cause, s.Name, s.timeout(), over)
	defer e.remember(ctx, &t, undoing+s.Name)()
	return inverse.Run(ctx, t)
}

// undoing begins the name under which the process of an undoing is remembered. No step
// has such a name.
const undoing = "undo:"

func withUndo(fields map[string]any) map[string]any {
	fields["undo"] = true
	return fields
}

// known makes sure that all names are steps of the right kind.
func (e *Executor) known(names []string, ok func(*Step) bool, not string) error {
	for _, name := range names {
		i := slices.IndexFunc(e.Plan.Steps, func(s Step) bool { return s.Name == name })
		if i < 0 {
			return fmt.Errorf("shutdown: there is no step %q", name)
		}
		if !ok(&e.Plan.Steps[i]) {
			return fmt.Errorf("shutdown: step %q %s", name, not)
		}
	}
	return nil
}
