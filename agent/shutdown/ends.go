package shutdown

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Ends are the instants on the agent's clock at which a shutdown stops being patient,
// because the energy behind it goes out. 0: there is no such instant.
type Ends struct {
	Ask   time.Duration // the power-off is asked for now at the latest
	Force time.Duration // and forced, whatever hangs
}

// ends are what Run was given, and what Hasten has made of it.
type ends struct {
	mu      sync.Mutex
	now     Ends
	changed chan struct{} // closed when now has changed
}

func newEnds() *ends { return &ends{changed: make(chan struct{})} }

func (e *ends) set(to Ends) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = to
	close(e.changed)
	e.changed = make(chan struct{})
}

// get returns the present ends and what is closed as soon as they have changed.
func (e *ends) get() (Ends, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now, e.changed
}

// Hasten brings the ends of a running shutdown forward: the battery goes out faster than
// it said. Later ones than those that are known change nothing.
func (e *Executor) Hasten(to Ends) {
	now, _ := e.ends.get()
	next := Ends{earlier(now.Ask, to.Ask), earlier(now.Force, to.Force)}
	if next != now {
		e.ends.set(next)
	}
}

// Relax takes the ends away from a Run whose steps are under way: the mains are back. It
// changes nothing once the power-off has begun.
func (e *Executor) Relax() {
	if e.States()[len(e.Plan.Steps)].Phase == PhaseWaiting {
		e.ends.set(Ends{})
	}
}

// earlier is the earlier of two instants, of which 0 is none.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// left is the time until the power-off has to be asked for; bounded is false when there
// is no such time.
func (e *Executor) left() (left time.Duration, bounded bool) {
	now, _ := e.ends.get()
	if now.Ask == 0 {
		return longestLeft, false
	}
	return now.Ask - e.Now(), true
}

// longestLeft stands for having all the time one wants.
const longestLeft = 24 * time.Hour

// errDeadline is why a step is cut short whose own time-out is not over.
var errDeadline = fmt.Errorf("%w: what is left of the battery is for the power-off", ErrTimeout)

// untilAsk waits until the power-off has to be asked for, for ever where there is no such
// instant. It returns sooner, and false, when ctx or other ends; other may be nil.
func (e *Executor) untilAsk(ctx, other context.Context) bool {
	if other == nil {
		other = context.Background()
	}
	for {
		now, changed := e.ends.get()
		var due <-chan time.Time
		if now.Ask != 0 {
			timer := time.NewTimer(max(0, now.Ask-e.Now()))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-due:
			return true
		case <-changed:
		case <-ctx.Done():
			return false
		case <-other.Done():
			return false
		}
	}
}

// cutShort cancels with errDeadline when the power-off has to be asked for before ctx ends.
func (e *Executor) cutShort(ctx context.Context, cancel context.CancelCauseFunc) {
	if e.untilAsk(ctx, nil) {
		cancel(errDeadline)
	}
}
