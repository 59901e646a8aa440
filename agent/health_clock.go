package agent

import (
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/collectors"
)

// clockStep is how far the wall clock must jump to be worth an event. NTP slews what is
// less than a few hundred milliseconds.
const clockStep = 10 * time.Second

// clocks are the wall clock and the one that nobody moves, read together.
type clocks struct {
	wall time.Time
	boot time.Duration
}

func readClocks() clocks {
	return clocks{wall: time.Now().Round(0), boot: collectors.SystemClock()()}
}

// stepped is by how much the wall clock was set between two readings; 0: it was not, or by
// less than clockStep.
func (c clocks) stepped(later clocks) time.Duration {
	by := later.wall.Sub(c.wall) - (later.boot - c.boot)
	if by.Abs() < clockStep {
		return 0
	}
	return by
}

// tellStep says that the wall clock was set. Nothing is decided by it.
func (a *Agent) tellStep(by time.Duration) {
	way := "forward"
	if by < 0 {
		way = "back"
	}
	by = by.Round(time.Second)
	a.emit(dodai.Event{
		Name: dodai.EventClockStepped, Fields: map[string]any{"by_s": by.Seconds()},
		Text: fmt.Sprintf("the wall clock was set %s by %v: decisions do not use it, but the times of events before and after it do not fit together", way, by.Abs()),
	})
}
