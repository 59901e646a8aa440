package shutdown

import (
	"context"
	"sync"
	"time"
)

// Guard forces the machine down at an instant, from outside the agent: the service
// manager ends the agent as soon as the polite power-off has begun, and then may hang
// itself, on a file system whose disks are gone.
type Guard interface {
	// Arm has goal forced when in has passed, in place of what was armed before.
	Arm(ctx context.Context, in time.Duration, goal Goal) error
	// Disarm calls it off, whoever armed it. There may be nothing to call off.
	Disarm(ctx context.Context) error
}

// guardWait bounds how long the power-off waits for its guard.
const guardWait = 5 * time.Second

// watch is what the guard was told last.
type watch struct {
	mu   sync.Mutex
	at   time.Duration // 0: nothing, or it failed
	goal Goal
}

// keepGuard arms the guard before anything is asked, and again whenever the instant
// comes nearer, until round ends. It stays armed when the agent ends: that is what it
// is for.
func (o *off) keepGuard(ctx, round context.Context) {
	if o.e.Guard == nil || len(o.e.Plan.Command) > 0 {
		return
	}
	a := o.aim
	ends, changed := o.e.ends.get()
	o.arm(ctx, a, ends)
	go func() {
		for {
			select {
			case <-changed:
			case <-round.Done():
				return
			}
			ends, changed = o.e.ends.get()
			o.arm(ctx, a, ends)
		}
	}()
}

func (o *off) arm(ctx context.Context, a aim, ends Ends) {
	o.guard.mu.Lock()
	defer o.guard.mu.Unlock()
	at := a.forceAt(ends)
	left := at - o.e.Now()
	if at == 0 || left <= 0 || at == o.guard.at && a.goal == o.guard.goal {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, guardWait, timedOut(guardWait))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- o.e.Guard.Arm(ctx, left, a.goal) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		o.e.Log.Error("no guard is left behind: if the power-off hangs once the agent is ended, nobody forces it", "error", err)
		o.guard.at = 0
		return
	}
	o.guard.at, o.guard.goal = at, a.goal
}
