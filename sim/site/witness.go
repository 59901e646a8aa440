package site

import (
	"time"

	"github.com/dodai-agent/dodai"
)

// witness is what one UPS has told the agent, read twice: strictly, for what an agent
// must not overlook, and generously, for what excuses one that went down.
type witness struct {
	s *Site
	u *ups

	seen    bool // has answered since the agent started
	ever    bool // has answered at all
	last    values
	lastAt  time.Duration // when it answered last
	ob      bool          // on battery by its own word
	since   time.Duration // since when, flickers of the mains included
	excuse  time.Duration // the same, for excuses: restarts included
	lineAt  time.Duration // when it was back on line
	calm    bool          // … and it has said so again after the hysteresis
	fought  bool          // it has been on battery since the host booted
	booted  bool          // the host has booted, and it has not answered since
	latch   bool          // its FSD stands since before the boot, by all one can tell
	zero    bool          // it has told a charge of 0 on line
	falls   int           // how often its timer has been seen to fall
	lowAt   time.Duration // when LB came, of an LB that stands
	off     bool
	offAt   time.Duration
	moved   time.Duration // when a value changed last, or the agent started
	stood   time.Duration // when a value changed last
	step    time.Duration // longest time between changes that was seen on battery
	changed bool          // a change has been seen on battery

	ran   float64 // runtime told on battery, and since when the same
	ranAt time.Duration

	lesson lesson

	metric  time.Duration // last answer on battery with a runtime or charge that counts
	doubted time.Duration // … that even a sceptic would count

	runtime, charge, low, slope confirm
	anchor                      point
	falling                     bool
	load                        float64 // of which the line from the anchor tells
	points                      []point // charge (or volts as charge) on battery

	called, excused bool
	held            time.Duration // until when it may be taken to end, though nothing says so any more
	why             string
}

// point is one charge that was told.
type point struct {
	at time.Duration
	v  float64
}

// confirm is a condition that has to hold on three answers in a row, over 2.5 s: more
// than any confirmation the operator can have configured.
type confirm struct {
	n     int
	since time.Duration
}

func (c *confirm) hold(ok bool, t time.Duration) {
	if !ok {
		c.n = 0
		return
	}
	if c.n++; c.n == 1 {
		c.since = t
	}
}

func (c *confirm) stands(t time.Duration) bool {
	return c.n >= 3 && t-c.since >= 2500*time.Millisecond
}

// restart is the agent starting anew; after a boot of the host nothing of the outage
// before is known.
func (w *witness) restart(t time.Duration, boot bool) {
	w.seen = false
	w.runtime, w.charge, w.low, w.slope = confirm{}, confirm{}, confirm{}, confirm{}
	w.falling, w.anchor, w.falls = false, point{at: t}, 0
	w.moved, w.step, w.changed = t, 0, false
	if boot {
		w.since, w.fought, w.zero, w.booted, w.latch = t, false, false, true, false
	}
}

// latchHeld is how long the battery has to be used for an FSD left over from before the boot
// to count.
const latchHeld = 4 * time.Second

// deliver takes in an answer.
func (w *witness) deliver(e *entry) {
	v, t := e.values, e.at
	w.line(v, t)
	// A flicker of the mains does not make a leftover a new announcement.
	w.latch = v.status.Has(dodai.FSD) && (!w.ob || t-w.since < latchHeld) && (w.latch || w.booted)
	w.booted = false
	if !w.seen || v != w.last {
		if w.seen && w.ob && w.changed {
			w.step = max(w.step, t-w.moved)
		}
		w.moved, w.changed = t, w.ob
	}
	if !w.ever || v != w.last {
		w.stood = t
	}
	if v.status.Has(dodai.LB) && !w.last.status.Has(dodai.LB) {
		w.lowAt = t
	}
	switch {
	case !w.seen || v.timer == absent || v.timer > w.last.timer:
		w.falls = 0
	case v.timer < w.last.timer:
		w.falls++
	}
	w.last, w.lastAt, w.seen, w.ever = v, t, true, true
	if off := v.status.Has(dodai.OFF); off != w.off {
		w.off, w.offAt = off, t
	}
	w.metrics(v, e)
	w.follow(v, t)
	w.rules(v, e)
}

// line keeps track of the state of the input, by the UPS's own word. CAL and TEST with
// input present are no outage.
func (w *witness) line(v values, t time.Duration) {
	st := v.status
	test := st.Any(dodai.CAL|dodai.TEST) && (v.volts == absent || v.volts > nominalVolts/2)
	switch {
	case st.Has(dodai.OB) && !st.Has(dodai.OL) && !test:
		if !w.ob {
			w.transfer(t)
		}
		w.ob, w.fought = true, true
	case st.Has(dodai.OL) || test:
		if w.ob || !w.ever {
			w.lineAt, w.calm = t, false
		}
		w.calm = w.calm || t-w.lineAt >= hysteresis
		w.zero = w.zero || v.charge == 0 && !st.Has(dodai.LB)
		w.ob = false
	}
}

// transfer is the UPS going to battery. Timers go on through a moment on line: for what
// an agent must do that moment is counted short, for what excuses it, long.
func (w *witness) transfer(t time.Duration) {
	if !w.ever || t-w.lineAt >= hysteresis {
		w.since = t
	}
	if !w.ever || w.calm {
		w.excuse, w.doubted, w.points = t, 0, w.points[:0]
	}
	w.metric = 0
	w.falling, w.anchor, w.moved, w.step, w.changed = false, point{}, t, 0, false
}

func (w *witness) lying(k lieKind, e *entry) bool { return w.u.claims.active(k, e.age) != nil }

// metrics notes when there was a runtime or a charge to go by.
func (w *witness) metrics(v values, e *entry) {
	if !w.ob {
		return
	}
	charge := v.charge != absent && !w.lying(lieCharge, e)
	runtime := w.plausible(v, e)
	if v.runtime != w.ran {
		w.ran, w.ranAt = v.runtime, e.at
	}
	if charge || runtime && e.at-max(w.ranAt, w.since) <= frozenAfter { // it would have to fall
		w.metric = e.at
	}
	if charge || runtime && !w.lying(lieStuckRuntime, e) && !v.status.Has(dodai.RB) {
		w.doubted = e.at
	}
}

// plausible is a runtime that is none of the well-known placeholders.
func (w *witness) plausible(v values, e *entry) bool {
	return v.runtime > 0 && v.runtime != 65535 && v.runtime <= 36000 && !w.lying(lieRuntime, e) && !w.lying(lieWild, e)
}

// follow keeps the charges told on battery, from 30 s after the transfer on and anew
// after a jump.
func (w *witness) follow(v values, t time.Duration) {
	c := v.charge
	if c == absent && v.batt != absent {
		c = 100 * (v.batt - battLow) / (battNominal - battLow)
	}
	if !w.ob || c == absent {
		w.falling = false
		return
	}
	if n := len(w.points); n > 0 && abs(w.points[n-1].v-c) > jump {
		if t-w.points[n-1].at <= staleAfter { // after a silence it may have fallen so far
			w.points = w.points[:0]
		}
		w.falling, w.anchor = false, point{at: t}
	}
	if load := float64(w.u.load[w.s.clamp(tickAt(t))]); abs(load-w.load) > 0.1*w.load {
		w.load, w.falling, w.anchor = load, false, point{at: t} // another load falls along another line
	}
	w.points = append(w.points, point{t, c})
	start := max(w.since, w.anchor.at) + 30*time.Second
	switch {
	case w.falling && c > w.anchor.v:
		w.falling, w.anchor = false, point{at: t}
	case !w.falling && t >= start:
		w.falling, w.anchor = true, point{t, c}
	}
}

// jump is a change of the charge, in percent from one answer to the next, that is the
// UPS correcting itself.
const jump = 6

func abs(x float64) float64 { return max(x, -x) }

// left is how many seconds a straight line from the anchor gives; false: no line yet.
func (w *witness) left(t time.Duration) (float64, bool) {
	n := len(w.points)
	least := 75 * time.Second
	if w.last.charge == absent {
		least = 120 * time.Second // volts come in coarse steps
	}
	if !w.falling || n == 0 || t-w.anchor.at < least {
		return 0, false
	}
	now := w.points[n-1].v
	if now >= w.anchor.v {
		return 0, false
	}
	return now / (w.anchor.v - now) * (t - w.anchor.at).Seconds(), true
}

// soonest is the shortest time that any line through what was told gives at t: the
// generous reading, in which a value that stands goes on falling unseen.
func (w *witness) soonest(t time.Duration) (seconds float64) {
	seconds = never.Seconds()
	n := len(w.points)
	if n == 0 || !w.ob {
		return seconds
	}
	now := w.points[n-1]
	for i := n - 1; i >= 0 && w.points[i].v == now.v; i-- {
		now.at = w.points[i].at
	}
	for _, p := range w.points {
		if p.at-w.excuse < 20*time.Second || now.at-p.at < 45*time.Second || p.v <= now.v {
			continue
		}
		seconds = min(seconds, now.v/(p.v-now.v)*(now.at-p.at).Seconds()-(t-now.at).Seconds())
	}
	return seconds
}

// rules takes an answer through the rules that need confirmation.
func (w *witness) rules(v values, e *entry) {
	cfg, t := &w.s.cfg, e.at
	limit := cfg.limit().Seconds()
	k := w.s.clamp(tickAt(e.age))
	near := w.u.trueLeft(k) <= 1.25*limit+15
	if w.u.claims.correct == 0 && len(w.s.loads) == 0 {
		w.lesson.take(v, t, w.ob, w.since)
	}
	runtime := w.plausible(v, e) && !w.lying(lieStuckRuntime, e) && v.runtime*w.lesson.believed() <= limit
	w.runtime.hold(w.ob && runtime && near, t)
	charge := v.charge != absent && !w.lying(lieCharge, e) && v.charge <= cfg.MinChargePct
	w.charge.hold(w.ob && charge && 100*float64(w.u.soc[k]) <= cfg.MinChargePct+10, t)
	low := v.status.Has(dodai.LB) && !cfg.IgnoreLB && !w.shielded(v, t-w.since)
	w.low.hold(w.ob && low && (near || w.u.soc[k] <= 0.3), t)
	left, line := w.left(t)
	w.slope.hold(w.ob && line && left <= 0.9*limit, t)
}

// shielded is LB alone that the operator does not believe so soon after the transfer.
func (w *witness) shielded(v values, onBattery time.Duration) bool {
	trust := w.s.cfg.LBTrust
	told := v.runtime != 65535 && v.runtime <= 36000 && v.runtime > 3*w.s.cfg.limit().Seconds()
	return trust != nil && onBattery < *trust && told && v.charge > 50
}

// lesson is what a deep discharge of this play has shown about the runtime a UPS claims: it
// makes a claim that is known to be too long as good as a true one. It is only drawn on
// where the load stays the same and the UPS does not correct itself.
type lesson struct {
	from, at    time.Duration
	claim, left float64
	watching    bool
	part        float64 // of a claim that is true; 0: nothing was shown
}

func (l *lesson) take(v values, t time.Duration, ob bool, since time.Duration) {
	switch {
	case v.runtime == absent || v.charge != absent:
		return
	case ob && !l.watching && t-since >= 30*time.Second:
		*l = lesson{from: t, at: t, claim: v.runtime, left: v.runtime, watching: true, part: l.part}
	case ob:
		l.at, l.left = t, v.runtime
	case l.watching:
		l.watching = false
		took, fell := (l.at - l.from).Seconds(), l.claim-l.left
		if took >= 120 && fell >= 0.55*l.claim && took/fell < 0.85 && l.part == 0 {
			l.part = max(0.2, took/fell)
		}
	}
}

// believed is which part of a claim is called true now.
func (l *lesson) believed() float64 {
	if l.part == 0 {
		return 1
	}
	return l.part
}
