package site

import (
	"fmt"
	"math"
	"time"
)

// back is how long the mains have to stay for an outage to be over.
const back = 10 * time.Second

// verdict weighs what was done against what was called for.
func (b *bench) verdict(o Outcome) Verdict {
	gone, lost := b.s.PowerGone()
	down := o.At + b.s.cfg.Need
	switch {
	case lost && (!o.Shutdown || down > gone):
		return b.powerFirst(o, gone)
	case o.Shutdown:
		return b.wentDown(o, gone, lost)
	}
	v := Verdict{MarginS: b.marginUp()}
	v.Text = fmt.Sprintf("stayed up, with %.0f s of power left when it was shortest", v.MarginS)
	if math.IsInf(v.MarginS, 1) {
		v.Text = "stayed up, never at risk"
	}
	return v
}

// slack is what an agent may take after a call, which three answers have made, before it
// decides: with the call, three polls and the confirmation.
func (s *Site) slack() time.Duration { return s.cfg.PollBatt + 2*time.Second }

// powerFirst judges a machine that lost its power before it was down.
func (b *bench) powerFirst(o Outcome, gone time.Duration) Verdict {
	decided, margin := "no shutdown was decided", -b.s.cfg.Need.Seconds()
	if o.Shutdown {
		decided = fmt.Sprintf("decided at %s (%s)", seconds(o.At), o.Reason)
		margin = max(margin, (gone - o.At - b.s.cfg.Need).Seconds())
	}
	if r := b.inTime(gone); r != nil {
		return Verdict{
			Unprotected: true, Cause: r.why, MarginS: margin,
			Text: fmt.Sprintf("unprotected: called for at %s by %s; %s; the power went at %s, a shutdown takes %s",
				seconds(r.from), r.why, decided, seconds(gone), seconds(b.s.cfg.Need)),
		}
	}
	called := "nothing called for it"
	if n := len(b.runs); n > 0 {
		called = fmt.Sprintf("called for at %s by %s, too late", seconds(b.runs[n-1].from), b.runs[n-1].why)
	}
	cause := b.s.cause(gone)
	return Verdict{
		Unwarned: true, Cause: cause, MarginS: margin,
		Text: fmt.Sprintf("unwarned (%s): %s; %s; the power went at %s, a shutdown takes %s",
			cause, called, decided, seconds(gone), seconds(b.s.cfg.Need)),
	}
}

// inTime returns a call of the same outage that came early enough before the power went.
func (b *bench) inTime(gone time.Duration) *run {
	for i := range b.runs {
		r := &b.runs[i]
		if r.from+b.s.cfg.Need+b.s.slack() > gone {
			return nil
		}
		if r.to-r.from < b.s.slack() {
			continue
		}
		if ret, ok := b.s.mainsBack(r.from); i == len(b.runs)-1 || !ok || ret > gone {
			return r
		}
	}
	return nil
}

// mainsBack is when, from t on, the mains carry the host again and go on doing so; ok is
// false where they do not before the power is gone or the play is over.
func (s *Site) mainsBack(t time.Duration) (at time.Duration, ok bool) {
	calm := 0
	for k := s.clamp(tickAt(t)); k < len(s.risk); k++ {
		if s.risk[k] {
			calm = 0
			continue
		}
		if calm++; instant(calm) >= back || k == len(s.risk)-1 {
			return instant(k - calm + 1), true
		}
	}
	return 0, false
}

// wentDown judges a shutdown that was through before the power went, or without need.
func (b *bench) wentDown(o Outcome, gone time.Duration, lost bool) Verdict {
	down := o.At + b.s.cfg.Need
	left, ret := math.Inf(1), o.At
	if k := b.s.clamp(tickAt(o.At)); b.s.risk[k] {
		var ok bool
		if ret, ok = b.s.mainsBack(o.At); !ok || lost && ret > gone {
			v := Verdict{MarginS: b.s.hostLeft(tickAt(down)), Cause: "power would have gone"}
			if lost {
				v.MarginS = (gone - down).Seconds()
			}
			v.Text = fmt.Sprintf("decided at %s (%s), down with %.0f s of power left", seconds(o.At), o.Reason, v.MarginS)
			return v
		}
		left = b.s.hostLeft(tickAt(ret) - 1)
	}
	v := Verdict{MarginS: left}
	if ret > down {
		v.MarginS = b.s.hostLeft(tickAt(down))
	}
	sure := 1.1*b.s.cfg.limit().Seconds() + 10
	switch {
	case left < sure:
		v.Cause = "little was left"
	case b.excusedByLines(o.At) || b.excuse && o.At-b.excused <= recent:
		v.Cause = "excused"
	default:
		v.Needless, v.Cause = true, o.Reason
	}
	v.Text = fmt.Sprintf("%s: decided at %s (%s); the mains carried the host from %s on, with %.0f s left of the %s that count as sure",
		v.Cause, seconds(o.At), o.Reason, seconds(ret), left, seconds(time.Duration(sure*float64(time.Second))))
	if v.Needless {
		v.Text = "needless: nothing called for it; " + v.Text
	}
	return v
}

// marginUp is the least that was left at the end of any time at risk.
func (b *bench) marginUp() float64 {
	least := math.Inf(1)
	for k := 1; k < len(b.s.risk); k++ {
		if b.s.risk[k-1] && !b.s.risk[k] && !b.s.hostOff.has(instant(k)) {
			least = min(least, b.s.hostLeft(k-1))
		}
	}
	return least
}

// cause says why nothing called in time for the power that went.
func (s *Site) cause(gone time.Duration) string {
	window := span{gone - s.cfg.Need - s.slack() - 60*time.Second, gone}
	for _, u := range s.upses {
		switch {
		case u.cut != 0 && u.cut <= gone:
			return "output_cut_too_soon"
		case u.dies != 0 && u.dies <= gone:
			return "sudden_death"
		}
	}
	k := max(0, s.clamp(tickAt(gone))-1)
	begin := k
	for begin > 0 && s.risk[begin-1] && (begin == k || s.risk[begin]) {
		begin--
	}
	switch {
	case !s.risk[k]:
		return "bare_mains" // nothing but mains without a battery was left
	case s.agentAway(window):
		return "agent_away"
	case s.unwitnessed(begin):
		return "mains_without_witness"
	case s.hostLeft(begin) < s.cfg.Need.Seconds()+s.slack().Seconds()+10:
		return "battery_too_small_or_empty"
	}
	return s.saidCause(window)
}

// loadRose is whether a UPS carried much more in the end than before.
func (s *Site) loadRose(window span) bool {
	a, b := s.clamp(tickAt(window.from)), max(0, s.clamp(tickAt(window.to))-1)
	for _, u := range s.upses {
		if u.load[b] > 1.15*u.load[a] {
			return true
		}
	}
	return false
}

func (s *Site) agentAway(window span) bool {
	away := time.Duration(-1)
	for _, h := range s.happenings {
		switch h.What {
		case "agent_stop":
			away = h.At
		case "agent_start", "host_boot":
			if h.At > window.from && h.At > 0 {
				return true
			}
			away = -1
		}
	}
	return away >= 0
}

// unwitnessed is a supply straight on mains that are gone, with nobody to tell.
func (s *Site) unwitnessed(k int) bool {
	for _, p := range s.psus {
		for _, w := range p.paths {
			dark := valueAt(s.feeds[w.feed].volts, instant(s.clamp(k+1)), nominalVolts) < 90
			if w.ups < 0 && dark && (s.bmc == nil || len(p.paths) > 1) {
				return true
			}
		}
	}
	return false
}

func (s *Site) saidCause(window span) string {
	for _, u := range s.upses {
		for _, p := range u.claims.silent {
			if p.from < window.to && p.to > window.from && p.to-p.from > 8*time.Second {
				if p.to == never || p.to-p.from > 150*time.Second {
					return "silent_network"
				}
				return "silent"
			}
		}
		if l := u.claims.active(lieFrozen, window.from+time.Second); l != nil {
			return "frozen"
		}
	}
	if s.loadRose(window) {
		return "load_moved"
	}
	for _, u := range s.upses {
		switch c := &u.claims; {
		case c.knee != 0:
			return "battery_knee"
		case c.kind == kindStatus || c.kind == kindVolts:
			return "tells_nothing"
		case c.kind == kindCharge:
			return "charge_alone"
		case c.kind == kindRuntime || c.active(lieStuckRuntime, window.from) != nil:
			return "lying_runtime"
		case c.factor > 1.05:
			return "battery_weaker_than_told"
		}
	}
	return "too_fast"
}
