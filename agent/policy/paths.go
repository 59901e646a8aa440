package policy

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

// upstream is the UPS that u takes its input from, nil: none that is configured.
func (d *decider) upstream(u *ups) *ups {
	if u == nil {
		return nil
	}
	for _, l := range d.s.Links {
		if l.UPS == u.name && l.FedBy != u.name && !d.pol.off(RuleSeries) {
			return d.byName(l.FedBy)
		}
	}
	return nil
}

// first is the UPS of a chain that stands on the circuit itself: the one called name, or the
// one that feeds it.
func (d *decider) first(name string) *ups {
	u := d.byName(name)
	for range d.s.Links {
		from := d.upstream(u)
		if from == nil {
			break
		}
		u = from
	}
	return u
}

// feedsUPS reports whether another UPS takes its input from u.
func (d *decider) feedsUPS(u *ups) bool {
	for _, l := range d.s.Links {
		if l.FedBy == u.name && l.UPS != u.name && d.byName(l.UPS) != nil && !d.pol.off(RuleSeries) {
			return true
		}
	}
	return false
}

// judgeSeries finds UPSes doomed with the one they are fed by: what they would carry
// themselves, and what that one still has, do not cover a shutdown. A UPS that runs from
// its own battery already is judged by that alone: whether its input comes back from the
// UPS before it is not known.
func (d *decider) judgeSeries() {
	for range d.s.Links { // a chain is as long as that at most
		for _, u := range d.upses {
			from := d.upstream(u)
			if from == nil || u.doom != ReasonNone || u.mem.running() || u.maint != nil || from.doom == ReasonNone {
				continue
			}
			own, given := u.ownLeft(), from.givesStill()
			if own+given > u.budget() {
				continue
			}
			u.doomNow(from.doom, RuleSeries)
			u.why = fmt.Sprintf("is fed by %s, which ends in %s (%s), and could itself carry %s; a shutdown needs %s",
				from.name, secs(given), u.doom, secs(own), u.needs())
		}
	}
}

// ownLeft is how long a UPS on line would carry the load if its input ended now; 0 when
// nothing credible says so.
func (u *ups) ownLeft() time.Duration {
	m := &u.mem
	if a := u.availableAt(); a != nil && !u.silent() && m.Line == LinePresent && !m.Last.Status.Any(dodai.LB|dodai.BYPASS|dodai.OFF|dodai.RB) {
		return *a
	}
	return 0
}

// givesStill is how long a doomed UPS will go on to feed what hangs on it, as far as its
// own figures say so.
func (u *ups) givesStill() time.Duration {
	if a := u.availableAt(); a != nil && (u.doom == ReasonRuntime || u.doom == ReasonCharge || u.doom == ReasonMaxOnBatt) {
		return *a
	}
	return 0
}

// peukert says how much faster than in proportion a battery ends under a heavier load.
// Source: Peukert exponents of lead-acid batteries lie between 1.1 and 1.3.
const peukert = 1.2

// overloadTrips is the load in percent above which a UPS is expected to cut its output.
const overloadTrips = 110

// carrier is one UPS on battery among those that carry the host together.
type carrier struct {
	u    *ups
	n    int     // supplies of this host that it feeds
	left float64 // seconds, at its present load
	load float64 // percent of its rating
}

// judgeLoadShift finds the feeds doomed that are on battery together: when the first of
// them ends the others carry its load as well, and end sooner than they say now.
func (d *decider) judgeLoadShift() {
	carriers := d.carriers()
	if len(carriers) < 2 {
		return
	}
	d.together = new(seconds(ends(carriers, d.minSupplies())))
	if *d.together > d.cfg.Need+d.cfg.Reserve {
		return
	}
	for _, c := range carriers {
		if u := c.u; u.doom == ReasonNone {
			u.doomNow(ReasonRuntime, RuleLoadShift)
			u.why = fmt.Sprintf("on battery with the other feeds, %.0f s left by itself, but %s once it carries their load; a shutdown needs %s",
				c.left, secs(*d.together), u.needs())
		}
	}
}

// carriers are the UPSes that carry this host together, all from their batteries; none
// where the wiring is not known, some feed is not on battery, or nothing credible says how
// long one of them lasts.
func (d *decider) carriers() []carrier {
	if len(d.s.Paths) == 0 || !d.cfg.LoadShift || d.pol.off(RuleLoadShift) {
		return nil
	}
	var out []carrier
	for i := range d.supplies {
		w := &d.supplies[i]
		if w.lost || w.failed || len(w.inputs) == 1 && w.inputs[0].dead {
			continue
		}
		if len(w.inputs) > 1 || w.inputs[0].ups == nil {
			return nil
		}
		u := w.inputs[0].ups
		left, ok := u.steady()
		if !ok || !u.mem.running() || u.maint != nil {
			return nil
		}
		i := slices.IndexFunc(out, func(c carrier) bool { return c.u == u })
		if i < 0 {
			i = len(out)
			out = append(out, carrier{u: u, left: left, load: u.share()})
		}
		out[i].n++
	}
	return out
}

// steady is how many seconds are left by the better of the last two readings, so that a
// single wild one decides nothing; 0 for one that may end at any time.
func (u *ups) steady() (float64, bool) {
	m := &u.mem
	switch u.doom {
	case ReasonLB, ReasonFSD, ReasonUPSTimer, ReasonCommsOnBatt:
		return 0, true
	}
	if !m.Available.OK || !m.AvailableWas.OK || m.Transfer.within(settle, u.now) {
		return 0, false
	}
	was := m.AvailableWas.V - m.WasAt.since(u.now).Seconds()
	return max(0, m.Available.V-(u.now-m.Last.At).Seconds(), was), true
}

// share is the load in percent; where it is not known all UPSes count alike.
func (u *ups) share() float64 {
	if load := u.mem.Last.Load; load.OK && load.V > 0 {
		return load.V
	}
	return 0
}

// ends is in how many seconds fewer than need supplies are left, when each UPS that ends
// hands its load to the rest in equal parts.
func ends(list []carrier, need int) float64 {
	known, supplies := true, 0
	for _, c := range list {
		known = known && c.load > 0
		supplies += c.n
	}
	left := make([]carrier, len(list))
	for i, c := range list {
		if left[i] = c; !known {
			left[i].load = overloadTrips / 4 // alike, and never too much for one of them
		}
	}
	total := 0.0
	for len(left) > 0 && supplies >= need {
		first := 0
		for i := range left {
			if left[i].left < left[first].left {
				first = i
			}
		}
		gone := left[first]
		total += gone.left
		supplies -= gone.n
		left = append(left[:first], left[first+1:]...)
		for i := range left {
			c := &left[i]
			load := c.load + gone.load/float64(len(left))
			c.left = (c.left - gone.left) * math.Pow(c.load/load, peukert)
			if c.load = load; known && load > overloadTrips {
				c.left = 0
			}
		}
	}
	return total
}

func seconds(s float64) time.Duration { return time.Duration(min(s, 1e8) * float64(time.Second)) }
