package policy

import (
	"fmt"
	"math"
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
	if a := u.availableAt(); a != nil && !u.ends && (u.doom == ReasonRuntime || u.doom == ReasonCharge || u.doom == ReasonMaxOnBatt) {
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
	left float64 // seconds, at its present load
	load float64 // percent of its rating
	size float64 // what a percent is, in a unit that all share
	gone bool
}

// judgeLoadShift finds the feeds doomed that are on battery together: when the first of
// them ends the others carry its load as well, and end sooner than they say now.
func (d *decider) judgeLoadShift() {
	if len(d.s.Paths) == 0 || !d.cfg.LoadShift || d.pol.off(RuleLoadShift) {
		return
	}
	d.noteShares()
	c := d.carriers()
	if len(c) < 2 {
		return
	}
	d.together = new(seconds(d.ends(c)))
	if *d.together > d.cfg.Need+d.cfg.Reserve {
		return
	}
	for i := range c {
		if u := c[i].u; u.doom == ReasonNone {
			u.doomNow(ReasonRuntime, RuleLoadShift)
			u.why = fmt.Sprintf("on battery with the other feeds, %.0f s left by itself, but %s once it carries their load; a shutdown needs %s",
				u.mem.Available.V, secs(*d.together), u.needs())
		}
	}
}

// carriers are the UPSes that carry this host together, all from their batteries; none
// where some feed is not on battery, or nothing credible says how long one of them lasts.
func (d *decider) carriers() []carrier {
	var out []carrier
	for i := range d.supplies {
		w := &d.supplies[i]
		if w.lost || w.failed {
			continue
		}
		for j := range w.inputs {
			u := w.inputs[j].ups
			switch {
			case w.inputs[j].dead:
				continue
			case u == nil || u.maint != nil || !u.mem.running():
				return nil
			}
			left, ok := u.steady()
			if !ok {
				return nil
			}
			if carrierOf(out, u) == nil {
				out = append(out, carrier{u: u, left: left, load: d.shareOf(u), size: u.size})
			}
		}
	}
	return out
}

func carrierOf(list []carrier, u *ups) *carrier {
	for i := range list {
		if list[i].u == u {
			return &list[i]
		}
	}
	return nil
}

// steady is how many seconds are left by the better of the last two readings, so that a
// single wild one decides nothing; 0 for one that may end at any time.
func (u *ups) steady() (float64, bool) {
	m := &u.mem
	if u.ends {
		return 0, true
	}
	if !m.Available.OK || !m.AvailableWas.OK || m.Transfer.within(settle, u.now) {
		return 0, false
	}
	was := m.AvailableWas.V - m.WasAt.since(u.now).Seconds()
	return max(0, m.Available.V-(u.now-m.Last.At).Seconds(), was), true
}

// ends is in how many seconds fewer supplies than needed live, when each UPS that ends hands
// its load to the rest in equal parts, whatever their sizes.
func (d *decider) ends(list []carrier) float64 {
	known := true
	for i := range list {
		known = known && list[i].load > 0
	}
	for i := range list {
		if !known {
			list[i].load, list[i].size = 1, 1 // alike
		}
	}
	total := 0.0
	for rest := len(list) - 1; rest >= 0; rest-- {
		first := firstToEnd(list)
		total += first.left
		first.gone = true
		if d.living(list) < d.minSupplies() {
			break
		}
		for i := range list {
			if c := &list[i]; !c.gone {
				c.take(first.left, first.load*first.size/float64(rest)/c.size, known)
			}
		}
	}
	return total
}

func firstToEnd(list []carrier) *carrier {
	var first *carrier
	for i := range list {
		if c := &list[i]; !c.gone && (first == nil || c.left < first.left) {
			first = c
		}
	}
	return first
}

// take lets some seconds pass, and then a load come on top of its own.
func (c *carrier) take(passed, more float64, known bool) {
	load := c.load + more
	c.left = (c.left - passed) * math.Pow(c.load/load, peukert)
	if c.load = load; known && load > overloadTrips {
		c.left = 0
	}
}

// living is how many supplies have an input from a UPS that is not gone.
func (d *decider) living(list []carrier) int {
	n := 0
	for i := range d.supplies {
		w := &d.supplies[i]
		if w.lost || w.failed {
			continue
		}
		for j := range w.inputs {
			if c := carrierOf(list, w.inputs[j].ups); c != nil && !c.gone && !w.inputs[j].dead {
				n++
				break
			}
		}
	}
	return n
}

func seconds(s float64) time.Duration { return time.Duration(min(s, 1e8) * float64(time.Second)) }
