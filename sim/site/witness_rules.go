package site

import (
	"time"

	"github.com/dodai-agent/dodai"
)

// Allowances: a rule that goes by time is called a little late for what an agent must do,
// and a little early for what excuses it.
const (
	late  = 5 * time.Second
	early = 1500 * time.Millisecond
)

// riseHeld is how long a feed that was found to end may be held to that on battery, though
// what it says has become better: a rise does not extend a deadline at once.
const riseHeld = 30 * time.Second

// judge says what stands at t: a call nobody may overlook, and an excuse.
func (w *witness) judge(t time.Duration) {
	if w.s.workedOn(w.u.name, t) {
		w.called, w.excused = false, false
		return
	}
	w.called, w.why = w.call(t)
	switch w.excused = w.excuses(t); {
	case w.excused:
		w.held = t + riseHeld
	case !w.lately(t):
		w.held = 0
	}
}

// workedOn is whether the operator has said that a UPS is.
func (s *Site) workedOn(name string, t time.Duration) bool {
	for _, h := range s.happenings {
		if h.What == "maintenance_on" && h.Device == name && h.At <= t && t < h.At+h.Step {
			return true
		}
	}
	return false
}

// call is whether this UPS calls for a shutdown at t, and by what.
func (w *witness) call(t time.Duration) (bool, string) {
	if !w.seen {
		return false, ""
	}
	if st := w.last.status; st.Has(dodai.FSD) && !w.latch && w.u.claims.fsd != 0 && t >= w.u.claims.fsd {
		return true, "forced shutdown"
	}
	if w.off && t-w.offAt >= offAfter+late && w.trulyOff(t) {
		return true, "off"
	}
	if !w.ob {
		return w.silentOnLine(t), "silent on line"
	}
	max := w.s.cfg.MaxOnBatt
	switch {
	case w.falls >= 2 && w.u.claims.timer != 0 && t >= w.u.claims.timer:
		return true, "its timer"
	case w.runtime.stands(w.lastAt):
		return true, "runtime"
	case w.charge.stands(w.lastAt):
		return true, "charge"
	case w.low.stands(w.lastAt):
		return true, "low battery"
	case w.slope.stands(w.lastAt):
		return true, "observed discharge"
	case t-w.lastAt >= w.blindFor()+late:
		return true, "silence on battery"
	case w.frozenFor(t, w.moved) >= frozenLimit(w.step)+w.mayWait()+late:
		return true, "frozen on battery"
	case max != nil && t-w.since >= *max+late:
		return true, "time on battery"
	case w.noMetrics(t) >= noMetricsAfter+late:
		return true, "time on battery without metrics"
	}
	return false, ""
}

func (w *witness) trulyOff(t time.Duration) bool {
	return w.u.flags[w.s.clamp(tickAt(t))]&switchedOff != 0
}

func (w *witness) silentOnLine(t time.Duration) bool {
	limit := w.s.cfg.CommsLostLine
	return limit != nil && !w.ob && t-w.lastAt >= *limit+late
}

// mayWait is how long a UPS that is blind on battery may be waited for.
func (w *witness) mayWait() time.Duration { return w.waitFor(w.last.runtime) }

func (w *witness) waitFor(r float64) time.Duration {
	if r > 0 && r != 65535 && r <= 36000 {
		half := time.Duration(r/2*float64(time.Second)) - w.s.cfg.limit()
		return max(0, min(silentAfter, half))
	}
	return silentAfter
}

// blindFor counts from the last answer: nobody is blind before that is stale.
func (w *witness) blindFor() time.Duration { return max(staleAfter, w.mayWait()) }

// blindSoonest is the same with the shortest time that may be made of what was told.
func (w *witness) blindSoonest() time.Duration {
	r := w.last.runtime
	if line := w.soonest(w.lastAt); r <= 0 || line < r {
		r = max(1, line)
	}
	return min(w.blindFor(), max(staleAfter, w.waitFor(r)))
}

// frozenFor is how long nothing has moved where something should; 0 where nothing has to.
func (w *witness) frozenFor(t, since time.Duration) time.Duration {
	if v := w.last; v.charge == absent && v.runtime == absent && v.batt == absent {
		return 0
	}
	return t - since
}

func frozenLimit(step time.Duration) time.Duration { return max(frozenAfter, 3*step) }

// noMetrics is how long the UPS has been on battery without anything to go by.
func (w *witness) noMetrics(t time.Duration) time.Duration { return t - max(w.since, w.metric) }

// excuses is whether what this UPS told, true or not, may bring a careful agent to shut
// down: everything but the lies that can be seen through.
func (w *witness) excuses(t time.Duration) bool {
	if !w.ever {
		return w.excusedSilence(t)
	}
	st, v, age := w.last.status, w.last, w.u.sampledAt(max(0, w.lastAt))
	c := &w.u.claims
	if st.Has(dodai.FSD) && (w.fought || c.active(lieFSD, age) == nil) {
		return true
	}
	if w.falls >= 2 && c.timer != 0 && t >= c.timer { // on line too
		return true
	}
	if w.off && t-w.offAt >= offAfter-early && w.s.inputs() > 1 {
		return true
	}
	if !w.ob && (!w.fought || w.calm && (t-w.lastAt > staleAfter || t-w.lineAt > hysteresis+6*time.Second)) {
		return w.excusedSilence(t)
	}
	limit, maxOn := w.s.cfg.limit().Seconds(), w.s.cfg.MaxOnBatt
	e := entry{age: age}
	switch {
	case c.timer != 0 && v.timer != absent && t >= c.timer:
	case w.plausible(v, &e) && v.runtime <= limit+2:
	case v.runtime == 0 && c.active(lieRuntime, age) == nil: // truly at its end
	case v.charge != absent && (c.active(lieCharge, age) == nil || !w.zero) && v.charge <= w.s.cfg.MinChargePct:
	case st.Has(dodai.LB) && !w.s.cfg.IgnoreLB && !(w.shielded(v, t-w.excuse) && w.soonest(t) > 3.45*limit) && !w.glitch(age):
	case t-w.lastAt >= staleAfter-early && t-w.lastAt >= w.blindSoonest()-early:
	case w.frozenFor(t, w.stood) >= frozenAfter-early:
	case maxOn != nil && t-w.excuse >= *maxOn-early:
	case t-max(w.excuse, w.doubted) >= noMetricsAfter-early:
	default:
		return !w.ob && w.excusedSilence(t)
	}
	return true
}

// inputs counts the ways in which current comes to the host.
func (s *Site) inputs() (n int) {
	for i := range s.psus {
		n += len(s.psus[i].paths)
	}
	return n
}

// glitchMost is how long an LB at the transfer may stand and yet be seen through.
const glitchMost = 1500 * time.Millisecond

// glitch is an LB at the transfer that is gone at once.
func (w *witness) glitch(t time.Duration) bool {
	l := w.u.claims.active(lieLB, t)
	if l == nil || w.lastAt-w.lowAt > glitchMost {
		return false
	}
	for _, at := range w.u.transfers {
		if (span{at, at + time.Duration(l.v*float64(time.Second))}).has(t) {
			return true
		}
	}
	return false
}

func (w *witness) excusedSilence(t time.Duration) bool {
	limit := w.s.cfg.CommsLostLine
	return limit != nil && t-w.lastAt >= *limit-early
}
