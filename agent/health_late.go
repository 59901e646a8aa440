package agent

import (
	"fmt"
	"sync"
	"time"

	"github.com/dodai-agent/dodai/agent/policy"
)

// When the agent counts as starved: it was so late, so often, within lateWindow.
const (
	tooLate    = 5 * time.Second
	lateOften  = 3
	lateWindow = time.Minute
)

// lateness is how late something was that is done again and again. It may be used from any
// goroutine. Times are those of time.Now: a machine that was suspended was not late.
type lateness struct {
	mu    sync.Mutex
	first time.Time   // of the first that was added; slots are counted from it
	slots [6]lateSlot // the last ones, of lateWindow/6 each
}

type lateSlot struct {
	n     int // which slot since first, from 1
	worst time.Duration
	often int // how often it was later than tooLate
}

func (l *lateness) slot(now time.Time) int {
	return 1 + int(max(0, now.Sub(l.first))/(lateWindow/time.Duration(len(l.slots))))
}

// add remembers that it was late by so much at now.
func (l *lateness) add(by time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first.IsZero() {
		l.first = now
	}
	n := l.slot(now)
	s := &l.slots[n%len(l.slots)]
	if s.n != n {
		*s = lateSlot{n: n}
	}
	s.worst = max(s.worst, by)
	if by > tooLate {
		s.often++
	}
}

// lately is the worst within about lateWindow before now, and how often it was too late.
func (l *lateness) lately(now time.Time) (worst time.Duration, often int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.slot(now)
	for _, s := range l.slots {
		if s.n > n-len(l.slots) {
			worst, often = max(worst, s.worst), often+s.often
		}
	}
	return worst, often
}

// beat is called by the loop each time it begins a round; last is when it did before.
func (a *Agent) beat(last time.Time) time.Time {
	now := time.Now()
	if last.IsZero() {
		return now
	}
	by := max(0, now.Sub(last)-tick)
	a.health.loop.add(by, now)
	if by > tooLate {
		a.log.Warn("the loop was late", "by", by.Round(time.Millisecond))
	}
	return now
}

// pollLate is told by the collectors how late a poll began.
func (a *Agent) pollLate(by time.Duration) { a.health.polls.add(by, time.Now()) }

// lateAlerts say that the agent does not get to its work in time.
func (a *Agent) lateAlerts(now time.Time) []policy.Alert {
	for _, what := range []struct {
		name string
		*lateness
	}{{"deciding", &a.health.loop}, {"asking the devices", &a.health.polls}} {
		if worst, often := what.lately(now); often >= lateOften {
			return []policy.Alert{{ID: alertStarved, Text: fmt.Sprintf(
				"the agent does not get to %s in time: %d times more than %v late within a minute, %v at worst; `top` shows what takes the processor or the memory, CPUWeight= and Nice= of dodai.service give it more",
				what.name, often, tooLate, worst.Round(100*time.Millisecond))}}
		}
	}
	return nil
}
