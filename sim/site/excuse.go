package site

import (
	"math"
	"time"
)

// excusedAt is whether a careful agent may think at t that too few feeds are left.
func (b *bench) excusedAt(t time.Duration) bool {
	return b.holding(func(i int) bool { return b.upsExcused(i, t, false) }, t) < b.s.cfg.MinSupplies
}

// excusedByLines is the same with every straight line through what was told, and with the
// load that moves taken as heavily as one may.
func (b *bench) excusedByLines(t time.Duration) bool {
	if b.holding(func(i int) bool { return b.upsExcused(i, t, true) }, t) < b.s.cfg.MinSupplies {
		return true
	}
	return b.shifted(t) <= 1.15*b.s.cfg.limit().Seconds()
}

// holding counts the supplies that hold when some UPSes do not.
func (b *bench) holding(gone func(ups int) bool, t time.Duration) (n int) {
	all := uint16(1)<<len(b.s.psus) - 1
	for i := range b.s.psus {
		p := &b.s.psus[i]
		if p.failed && b.bmcSeen || b.bits&(1<<i) != 0 && b.bits != all {
			continue
		}
		for _, w := range p.paths {
			if w.ups >= 0 && !gone(w.ups) || w.ups < 0 && !b.dark(w.feed, t) {
				n++
				break
			}
		}
	}
	return n
}

// lately is whether a UPS is on battery, or may still be taken to be.
func (w *witness) lately(t time.Duration) bool {
	return w.ob || w.fought && t-w.lineAt <= hysteresis+6*time.Second
}

// dark is whether a UPS that hangs on a circuit says, or said just now, that it is gone.
func (b *bench) dark(feed int, t time.Duration) bool {
	for i := range b.w {
		w := &b.w[i]
		if b.s.wired && w.u.fedBy < 0 && w.u.feed == feed && w.lately(t) {
			return true
		}
	}
	return false
}

// blind is whether a UPS last heard on line is silent while another says that their
// circuit is gone: it has to be taken for one that went silent on battery.
func (b *bench) blind(i int, t, allow time.Duration) bool {
	w := &b.w[i]
	heard := w.seen
	if allow < 0 { // an agent may remember what it heard before it was restarted
		heard = w.ever
	}
	if w.ob || !heard || w.u.fedBy >= 0 || t-w.lastAt < w.blindFor()+allow {
		return false
	}
	if allow > 0 {
		return b.feeds[w.u.feed].stands(t) && b.wentWith(w)
	}
	return b.dark(w.u.feed, t)
}

// wentWith is whether a UPS went silent when the mains of its circuit failed: neither
// long before, nor after it had gone on saying that they are there.
func (b *bench) wentWith(w *witness) bool {
	for i := range b.w {
		o := &b.w[i]
		near := (w.lastAt - o.since).Abs() <= b.s.cfg.PollLine+staleAfter
		if near && o.ob && o.u.fedBy < 0 && o.u.feed == w.u.feed {
			return true
		}
	}
	return false
}

// upsExcused is whether a UPS may be taken for one that ends.
func (b *bench) upsExcused(i int, t time.Duration, lines bool) bool {
	if b.s.workedOn(b.w[i].u.name, t) {
		return false
	}
	w, limit := &b.w[i], b.s.cfg.limit().Seconds()
	if w.called || w.excused || t < w.held || b.blind(i, t, -early) || lines && w.soonest(t) <= 1.15*limit {
		return true
	}
	if w.u.fedBy < 0 {
		return false
	}
	up := &b.w[w.u.fedBy]
	if up.u.claims.fsd != 0 || up.u.claims.timer != 0 {
		return up.called || up.excused
	}
	sum, ok := b.sum(i)
	if ok && up.ob && sum <= limit+2 {
		return true
	}
	return b.upsExcused(w.u.fedBy, t, lines) && (!ok || w.last.runtime <= limit || t-w.lastAt >= staleAfter-early)
}

// shiftPower is the heaviest exponent with which a load that moves may be taken.
const shiftPower = 1.6

// shifted is how many seconds the host has at least when the UPSes end one after the
// other and hand their load to those that are left, in equal parts.
func (b *bench) shifted(t time.Duration) float64 {
	ends, loads := make([]float64, len(b.w)), make([]float64, len(b.w))
	known := true
	for i := range b.w {
		ends[i], loads[i] = b.endsIn(i, t), b.w[i].last.load
		known = known && loads[i] > 0
	}
	for i := range loads {
		if !known {
			loads[i] = 1
		}
	}
	passed, done := 0.0, make([]bool, len(b.w))
	for range b.w {
		first := -1
		for i := range ends {
			if !done[i] && (first < 0 || ends[i] < ends[first]) {
				first = i
			}
		}
		passed += max(0, ends[first])
		done[first] = true
		if math.IsInf(passed, 1) || b.holding(func(i int) bool { return done[i] }, t) < b.s.cfg.MinSupplies {
			return passed
		}
		b.handOver(first, ends, loads, done)
	}
	return passed
}

// handOver moves the load of a UPS that has ended to the others, in equal parts.
func (b *bench) handOver(first int, ends, loads []float64, done []bool) {
	left := 0.0
	for i := range done {
		if !done[i] && !math.IsInf(ends[i], 1) {
			left++
		}
	}
	for i := range done {
		if done[i] || math.IsInf(ends[i], 1) {
			continue
		}
		more := loads[i] + loads[first]/left
		ends[i] = (ends[i] - max(0, ends[first])) * math.Pow(loads[i]/more, shiftPower)
		if loads[i] = more; more > 100 {
			ends[i] = 0
		}
	}
}

// endsIn is how many seconds a UPS may be taken to have at least.
func (b *bench) endsIn(i int, t time.Duration) float64 {
	w := &b.w[i]
	switch {
	case b.upsExcused(i, t, true):
		return 0
	case !w.lately(t), b.s.workedOn(w.u.name, t):
		return math.Inf(1)
	}
	least := w.soonest(t)
	e := entry{age: w.u.sampledAt(max(0, w.lastAt))}
	if w.plausible(w.last, &e) {
		least = min(least, w.last.runtime-(t-w.lastAt).Seconds())
	}
	return least
}
