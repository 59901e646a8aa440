package policy

import (
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	// timerFalls is on how many readings in a row a shutdown timer must have fallen to be
	// a countdown, where it was not seen being armed.
	timerFalls = 2
	// timerSlack is what a timer that shows whole seconds may be off by.
	timerSlack = 1.0
	// timerFound is for how long a value may have stood when it was first read: network cards
	// refresh theirs every few seconds.
	timerFound = 10 * time.Second
	// timerFar is how far away the end of a countdown may be for it to count at once; above
	// it somebody has planned ahead.
	timerFar = time.Hour
)

// Countdown is the shutdown timer of a UPS. One that always shows the same number is a
// setting, or a placeholder: it counts once it was seen being armed, or falls with time.
type Countdown struct {
	V       float64 `json:"v"`                // seconds, as last known; negative: not armed
	Read    Mark    `json:"read,omitzero"`    // when that was
	Changed Mark    `json:"changed,omitzero"` // when V was first read
	Falls   int     `json:"falls,omitempty"`  // changes in a row that speak for a countdown
	Found   bool    `json:"found,omitempty"`  // V may have stood before it was first read
}

func (c *Countdown) shift(d time.Duration) {
	c.Read.shift(d)
	c.Changed.shift(d)
}

// see takes a value into account that the timer had at at.
func (c *Countdown) see(v float64, at time.Duration) {
	if v < 0 || v == 65535 {
		v = -1
	}
	switch {
	case !c.Read.Set:
		c.Changed, c.Found = mark(at), true
	case at < c.Read.At:
		return
	case v == c.V:
		c.Read = mark(at)
		return
	default:
		c.Falls = c.evidence(v, at)
		c.Changed, c.Found = mark(at), false
	}
	c.V, c.Read = v, mark(at)
}

// evidence is how many changes in a row speak for a countdown when v follows at at.
func (c *Countdown) evidence(v float64, at time.Duration) int {
	switch {
	case v < 0:
		return 0
	case c.V < 0 && v > 0: // armed just now
		return timerFalls
	case c.V == 0 && v > 0: // armed, or set
		return 1
	case v > c.V:
		return 0
	}
	fell, most := c.V-v, at-c.Changed.At
	if c.Found {
		most += timerFound
	}
	if fell > 2*most.Seconds()+timerSlack || 2*(fell+timerSlack) < (at-c.Read.At).Seconds() {
		return 0 // another number, but none that time led to
	}
	if stood := c.Read.At - c.Changed.At; 2*(fell+timerSlack) < stood.Seconds() {
		return 1 // begins to fall
	}
	return c.Falls + 1
}

// moving reports whether the timer is armed and changed lately: worth another look soon.
func (c *Countdown) moving(now time.Duration) bool {
	return c.Read.Set && c.V > 0 && c.Changed.within(settle, now)
}

// noteTimer takes the timer of a reading into account. A reading that lacks it leaves
// what is known of it as it was, for as long as a value may be stale.
func (u *ups) noteTimer(f Facts) {
	m := &u.mem
	c := &m.Countdown
	was := c.V
	if f.Timer.OK {
		c.see(f.Timer.V, f.At-u.d.Reading.Ages[dodai.UPSTimerShutdown])
	}
	switch {
	case !c.Read.Set:
	case f.At-c.Read.At > u.stale():
		m.Timer, c.Falls = Mark{}, 0
	case c.Falls >= timerFalls, c.V >= 0 && u.pol.off(RuleCountdown):
		if !m.Timer.Set {
			m.Timer = mark(f.At)
		}
	case c.V < 0 || c.V > was:
		m.Timer = Mark{} // withdrawn, or set back: wait for it to fall again
	}
}

func (u *ups) judgeTimer() (Reason, string) {
	m := &u.mem
	cut := u.cutIn()
	if cut == nil {
		return ReasonNone, ""
	}
	ends := m.Countdown.Read.At + time.Duration(min(m.Countdown.V, 1e8)*float64(time.Second))
	if acts := ends - timerFar - u.budget(); acts > u.now {
		u.due(acts)
		return ReasonNone, ""
	}
	return ReasonUPSTimer, fmt.Sprintf("counts down to cutting its output, %.0f s left", cut.Seconds())
}
