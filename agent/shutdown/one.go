package shutdown

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// oneWait is how long RunOne waits for whoever acts to be through.
const oneWait = time.Second

// RunOne runs the step called name because an operator asks for it, or with undo what
// takes it back, with its time-out and its retries. It returns how the last try ended,
// how long all of them took, and an error when the step failed, or did not begin: then
// the duration is 0. cause.Drill must be set.
//
// What it did is not remembered: the next shutdown runs the step again, because who
// stopped something by hand may start it by hand. Only a shutdown that takes over
// meanwhile waits for the step and does not run it twice; an undoing ends for it at once.
// When ctx ends the step goes on by itself.
func (e *Executor) RunOne(ctx context.Context, cause Cause, name string, undo bool) (Result, time.Duration, error) {
	if cause.Drill == "" {
		return Result{}, 0, errors.New("shutdown: a single step without an id of its own")
	}
	i := e.Plan.index(name)
	if i < 0 {
		return Result{}, 0, fmt.Errorf("shutdown: there is no step %q", name)
	}
	s := &e.Plan.Steps[i]
	if undo && !s.Reversible() {
		return Result{}, 0, fmt.Errorf("step %s: there is no way to undo it", name)
	}
	wait, cancel := context.WithTimeoutCause(ctx, oneWait, errors.New("other steps are being run"))
	over, end, err := e.begin(wait)
	cancel()
	if err != nil {
		return Result{}, 0, fmt.Errorf("step %s: %w", name, err)
	}
	defer end()
	if pid := e.leftover(name); pid != 0 {
		return Result{}, 0, fmt.Errorf("step %s: it, or its undoing, still runs, started by the agent before (process %d)", name, pid)
	}
	return e.runOne(ctx, over, cause, s, undo)
}

func (e *Executor) runOne(ctx, over context.Context, cause Cause, s *Step, undo bool) (Result, time.Duration, error) {
	do, what, abort, known := s.Do, "step "+s.Name, e.aborted(), s.Name
	finished := dodai.EventStepFinished
	if undo {
		e.setDone(s.Name, false)
		do, what, abort, known = s.Inverse(), "undoing step "+s.Name, over, undoing+s.Name
		finished = dodai.EventStepUndone
	}
	fields := func(res Result, took time.Duration) map[string]any {
		f := res.fields(took)
		if undo {
			f = withUndo(f)
		}
		return f
	}
	if !undo { // of an undoing only its end is told, as in an outage
		e.emit(cause, dodai.EventStepStarted, s.Name, what+" started: "+cause.Text, map[string]any{"timeout_s": s.timeout().Seconds()})
	}
	start := e.Now()
	res := e.tries(ctx, over, cause, s, do, abort, known)
	took := max(e.Now()-start, 1) // it has begun
	switch err := res.Failure(); {
	case err != nil && ctx.Err() != nil:
		return res, took, fmt.Errorf("%s: %w", what, err)
	case err != nil:
		e.emit(cause, dodai.EventStepFailed, s.Name, fmt.Sprintf("%s failed after %s: %v", what, seconds(took), err), fields(res, took))
		return res, took, fmt.Errorf("%s: %w", what, err)
	case !undo && over.Err() != nil:
		e.setDone(s.Name, true)
	}
	e.emit(cause, finished, s.Name, fmt.Sprintf("%s finished after %s", what, seconds(took)), fields(res, took))
	return res, took, nil
}

// tries runs do until it succeeds, as often as the step may be tried, and no longer once
// a shutdown takes over. Its process is remembered as known.
func (e *Executor) tries(ctx, over context.Context, cause Cause, s *Step, do Action, abort context.Context, known string) Result {
	for attempt := 1; ; attempt++ {
		t := e.task(cause, s.Name, s.timeout(), abort)
		forget := e.remember(ctx, &t, known)
		res := do.Run(ctx, t)
		forget()
		err := res.Failure()
		if err == nil || attempt > s.Retries || ctx.Err() != nil || over.Err() != nil {
			return res
		}
		e.emit(cause, dodai.EventStepRetried, s.Name, fmt.Sprintf("step %s failed, and is tried again in %s: %v", s.Name, seconds(s.retryWait()), err),
			map[string]any{"attempt": attempt, "retry_s": s.retryWait().Seconds()})
		if !e.pause(ctx, over, s.retryWait()) {
			return res
		}
	}
}

// aborted ends with what is to be cut short for a shutdown that cannot wait.
func (e *Executor) aborted() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.abort
}
