package policy

import (
	"time"
)

const (
	// slowConfirm is how long trouble must last within settle of a transfer or after a
	// fall by more than half: some UPSes say LB for a moment at the transfer.
	slowConfirm = 2 * time.Second
	settle      = 10 * time.Second
	// riseHold is how long a confirmed trouble must be gone on battery before it is
	// forgotten: a rise does not extend a deadline at once.
	riseHold = 30 * time.Second
)

// see takes one reading into account.
func (r *Run) see(bad, slow bool, at time.Duration, cfg *Config) {
	switch {
	case bad && r.Polls == 0:
		*r = Run{Polls: 1, First: at, Last: at, Slow: slow}
	case bad:
		r.Polls++
		r.Last, r.Good = at, Mark{}
	case !r.confirmed(cfg):
		*r = Run{}
	case !r.Good.Set:
		r.Good = mark(at)
	case r.Good.since(at) >= riseHold:
		*r = Run{}
	}
}

// confirmed reports whether the trouble held on enough readings for long enough.
func (r *Run) confirmed(cfg *Config) bool {
	span := cfg.ConfirmS.D()
	if r.Slow {
		span = max(span, slowConfirm)
	}
	return r.Polls >= max(1, cfg.ConfirmPolls) && r.Last-r.First >= span
}

// see notes at when sum differs from the one before, and how long it stood still.
func (m *Moves) see(sum uint64, at time.Duration) {
	switch {
	case !m.Last.Set:
		m.Last = mark(at)
	case m.Sum == sum:
		return
	default:
		m.Steps[0], m.Steps[1] = m.Steps[1], at-m.Last.At
		m.Last = mark(at)
	}
	m.Sum = sum
}

// restart forgets the standstills: they belong to another outage.
func (m *Moves) restart(at time.Duration) { m.Last, m.Steps = mark(at), [2]time.Duration{} }

// limit is how long a standstill has to be before the value counts as frozen.
func (m *Moves) limit(cfg *Config) time.Duration {
	return max(cfg.FrozenS.D(), 3*max(m.Steps[0], m.Steps[1]))
}
