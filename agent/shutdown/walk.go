package shutdown

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// walk runs steps of a plan, each as soon as those it waits for are over.
type walk struct {
	e     *Executor
	cause Cause
	which func(*Step) bool // those that run; the others count as over
	abort context.Context  // ends what runs, and starts nothing more; nil: nothing does
	// down: it is the way down, where a failure may stop what comes after it. Early steps
	// wait for each other alone, and a failure stops nothing.
	down  bool
	enter func(*Step) error // asked before a step begins; an error keeps it from that; nil: nothing does

	failed func(*Step) // told of each that fails; nil: nobody is

	over    []bool
	running int
	ended   chan outcome
	blocked []string        // for each step the failed one that keeps it from running; empty: none
	begun   map[string]bool // what it started, or found under way
	stopped string          // the first step that failed with on_failure: stop
	errs    []error
}

type outcome struct {
	step int
	err  error
}

func (e *Executor) newWalk(cause Cause, which func(*Step) bool) *walk {
	n := len(e.Plan.Steps)
	return &walk{
		e: e, cause: cause, which: which, over: make([]bool, n), blocked: make([]string, n),
		ended: make(chan outcome, n), begun: map[string]bool{},
	}
}

// run returns when all steps are over, when ctx has ended, or when abort has and what ran
// is over.
func (w *walk) run(ctx context.Context) {
	chosen, started := make([]bool, len(w.over)), make([]bool, len(w.over))
	for i := range w.over {
		chosen[i] = w.which(&w.e.Plan.Steps[i])
	}
	defer w.leave()
	for ctx.Err() == nil {
		w.startReady(ctx, chosen, started)
		if w.running == 0 {
			return
		}
		select {
		case o := <-w.ended:
			w.running--
			w.end(o)
		case <-ctx.Done():
		}
	}
}

// leave waits for the steps that ctx has ended. They return at once, or break their word.
func (w *walk) leave() {
	patience := time.NewTimer(leaveWait)
	defer patience.Stop()
	for ; w.running > 0; w.running-- {
		select {
		case <-w.ended:
		case <-patience.C:
			return
		}
	}
}

// leaveWait is how long the end of the daemon waits for steps that have to let go at once.
const leaveWait = 200 * time.Millisecond

// startReady starts every step that waits for nothing any more. One that does not run is
// over as soon as it would start: what comes after it waits for what comes before it.
func (w *walk) startReady(ctx context.Context, chosen, started []bool) {
	for again := true; again; {
		again = false
		for i := range chosen {
			switch {
			case started[i] || !w.ready(i):
			case !chosen[i]:
				w.inherit(i)
				started[i], w.over[i], again = true, true, true
			default:
				started[i] = true
				again = w.start(ctx, i) || again
			}
		}
	}
}

func (w *walk) ready(i int) bool {
	for _, k := range w.e.Plan.after(i) {
		if !w.over[k] {
			return false
		}
	}
	return true
}

// start starts step i, or skips it and reports true: others may be ready then.
func (w *walk) start(ctx context.Context, i int) (over bool) {
	e, s := w.e, &w.e.Plan.Steps[i]
	if w.abort != nil && w.abort.Err() != nil || ctx.Err() != nil {
		return false
	}
	w.inherit(i)
	switch left, _ := e.left(); {
	case w.blocked[i] != "":
		e.skip(ctx, w.cause, s, fmt.Sprintf("step %s has failed, and is to stop what comes after it", w.blocked[i]))
	case w.down && left <= 0:
		e.skip(ctx, w.cause, s, "the deadline has passed")
	case w.enter != nil && w.enter(s) != nil:
		return false
	default:
		w.begun[s.Name] = true
		w.running++
		go func() { w.ended <- outcome{i, e.step(ctx, w.cause, s, w.abort)} }()
		return false
	}
	w.over[i] = true
	return true
}

// inherit finds out whether step i comes after one that has failed and stops it, which
// may have been in the time of an earlier daemon.
func (w *walk) inherit(i int) {
	for _, k := range w.e.Plan.after(i) {
		if w.blocked[k] != "" {
			w.blocked[i] = w.blocked[k]
		}
	}
	if s := &w.e.Plan.Steps[i]; w.down && s.OnFailure == Stop && w.e.hasFailed(s.Name) {
		w.stop(i)
	}
}

// stop keeps what comes after step i from running.
func (w *walk) stop(i int) {
	w.blocked[i] = w.e.Plan.Steps[i].Name
	if w.stopped == "" {
		w.stopped = w.blocked[i]
	}
}

func (w *walk) end(o outcome) {
	w.over[o.step] = true
	if o.err == nil {
		return
	}
	w.errs = append(w.errs, o.err)
	s := &w.e.Plan.Steps[o.step]
	if w.failed != nil {
		w.failed(s)
	}
	if w.down && s.OnFailure == Stop {
		w.stop(o.step)
	}
}

// step runs one step, again after a failure as often as the plan says, and reports it.
// The error says how it failed, or that ctx ended.
func (e *Executor) step(ctx context.Context, cause Cause, s *Step, abort context.Context) error {
	if over, err := e.settle(ctx, cause, s, abort); over || err != nil {
		return err
	}
	e.record(ctx, cause, s.Name, PhaseStarted, 0)
	timeout := e.stepTimeout(s)
	e.emit(cause, dodai.EventStepStarted, s.Name, fmt.Sprintf("step %s started", s.Name), map[string]any{"timeout_s": timeout.Seconds()})
	start := e.Now()
	res := e.attempts(ctx, cause, s, abort)
	if res.Err != nil && ctx.Err() != nil {
		return res.Err // the process goes on; what becomes of it the next daemon finds out
	}
	return e.finish(ctx, cause, s, res, e.Now()-start)
}

// stepTimeout is how long a run of s may take now.
func (e *Executor) stepTimeout(s *Step) time.Duration {
	left, _ := e.left()
	return min(s.timeout(), left)
}

// attempts runs a step until it succeeds or may not be tried again.
func (e *Executor) attempts(ctx context.Context, cause Cause, s *Step, abort context.Context) Result {
	for attempt := 1; ; attempt++ {
		e.changeState(s.Name, func(st *StepState) { st.Attempt = attempt })
		res := e.attempt(ctx, cause, s, abort)
		err := res.Failure()
		final := err == nil || attempt > s.Retries || ctx.Err() != nil ||
			abort != nil && abort.Err() != nil || errors.Is(err, errDeadline)
		if left, _ := e.left(); final || left <= s.retryWait() {
			return res
		}
		e.explainState(s.Name, err.Error())
		e.emit(cause, dodai.EventStepRetried, s.Name, fmt.Sprintf("step %s failed, and is tried again in %s: %v", s.Name, seconds(s.retryWait()), err),
			map[string]any{"attempt": attempt, "retry_s": s.retryWait().Seconds()})
		if !e.pauseForRetry(ctx, abort, s.retryWait()) {
			return res
		}
	}
}

// pauseForRetry is a pause that ends, and reports false, as soon as the deadline would come
// before its end.
func (e *Executor) pauseForRetry(ctx, abort context.Context, d time.Duration) bool {
	if abort == nil {
		abort = context.Background()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for until := e.Now() + d; ; {
		now, changed := e.ends.get()
		if now.Ask != 0 && now.Ask <= until {
			return false
		}
		select {
		case <-timer.C:
			return true
		case <-changed:
		case <-abort.Done():
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// pause waits for d, and reports whether nothing has ended it.
func (e *Executor) pause(ctx, abort context.Context, d time.Duration) bool {
	if abort == nil {
		abort = context.Background()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-abort.Done():
	case <-ctx.Done():
	}
	return false
}

// attempt runs a step once, bounded by its time-out and by the ends as they are and
// become.
func (e *Executor) attempt(ctx context.Context, cause Cause, s *Step, abort context.Context) Result {
	if abort == nil {
		abort = context.WithoutCancel(ctx)
	}
	limit, cancel := context.WithCancelCause(abort)
	defer cancel(nil)
	go e.cutShort(limit, cancel)
	t := e.task(cause, s.Name, s.timeout(), limit)
	defer e.remember(ctx, &t, s.Name)()
	return s.Do.Run(ctx, t)
}

// finish reports what came of a step.
func (e *Executor) finish(ctx context.Context, cause Cause, s *Step, res Result, took time.Duration) error {
	if err := res.Failure(); err != nil {
		e.record(ctx, cause, s.Name, PhaseFailed, took)
		e.explainState(s.Name, err.Error())
		e.emit(cause, dodai.EventStepFailed, s.Name, fmt.Sprintf("step %s failed after %s: %v", s.Name, seconds(took), err), res.fields(took))
		return fmt.Errorf("step %s: %w", s.Name, err)
	}
	e.setDone(s.Name, true)
	e.record(ctx, cause, s.Name, PhaseDone, took)
	e.emit(cause, dodai.EventStepFinished, s.Name, fmt.Sprintf("step %s finished after %s", s.Name, seconds(took)), res.fields(took))
	return nil
}

func (e *Executor) skip(ctx context.Context, cause Cause, s *Step, why string) {
	e.record(ctx, cause, s.Name, PhaseSkipped, 0)
	e.explainState(s.Name, why)
	e.emit(cause, dodai.EventStepFailed, s.Name, fmt.Sprintf("step %s skipped: %s", s.Name, why), map[string]any{"skipped": true})
}
