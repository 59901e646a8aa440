package policy

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"pgregory.net/rapid"
)

// More battery never means an earlier shutdown. It holds for sites
//   - whose UPSes are read at the same instants, at least every few seconds on battery: a
//     discharge that is seen to fall by more than 10 % from one reading to the next counts as
//     the UPS correcting itself, and the smaller battery gets there first;
//   - that claim at most ten hours of runtime: what claims more is not believed at all;
//   - whose batteries do not end before the policy has found their feeds doomed. One that is
//     gone between two readings is silence, and silence may last longer than a low battery;
//   - whose chargers grow with their batteries, so that the bigger one is never at a lower
//     percentage: operators set limits in percent;
//   - whose values are seen to move within frozen_s: a runtime in steps that take longer stands
//     still, and is not believed;
//   - where load shifts between two UPSes, that say how much runtime they have: an observed
//     discharge begins anew with a load that doubles, and knows nothing for a minute.
//
// Within the settling time of a transfer trouble has to last slowConfirm instead of
// confirm_s: a battery that is low then may be found so that much later than one that
// becomes low just after it.

// drawLimits is a policy for a plant.
func drawLimits(t *rapid.T) Config {
	cfg := Default()
	cfg.Need = Seconds(rapid.IntRange(10, 400).Draw(t, "need")).D()
	cfg.MinChargePct = float64(rapid.IntRange(1, 60).Draw(t, "min charge"))
	cfg.NoMetricsOnBattS = rapid.SampledFrom([]Seconds{120, 3600}).Draw(t, "no metrics")
	cfg.IgnoreLB = rapid.Bool().Draw(t, "ignore_lb")
	cfg.LBTrustS = rapid.SampledFrom([]*Seconds{nil, new(Seconds(60))}).Draw(t, "trust")
	cfg.MaxOnBattS = rapid.SampledFrom([]*Seconds{nil, nil, new(Seconds(600))}).Draw(t, "max")
	return cfg
}

// drawPair is a plant of one or two UPSes; two that share the load say their runtime.
func drawPair(t *rapid.T, exact bool) plant {
	p := drawPlant(t, exact, rapid.IntRange(1, 2).Draw(t, "packs"))
	for i := range p.Packs {
		if p.Wired && len(p.Packs) > 1 && !strings.Contains(p.Packs[i].Says, "r") {
			p.Packs[i].Says += "r"
		}
	}
	return p
}

// slack is by how many seconds a decision may be earlier because the other one was made
// within the settling time of a transfer.
func (o played) slack(p plant) float64 {
	if o.transfer {
		return slowConfirm.Seconds() + p.Poll
	}
	return 0
}

// TestMoreBatteryIsNeverEarlier: to the reading, where values are shown as they are.
func TestMoreBatteryIsNeverEarlier(t *testing.T) {
	compared := 0
	rapid.Check(t, func(rt *rapid.T) {
		p, cfg := drawPair(rt, true), drawLimits(rt)
		times, which := rapid.Float64Range(1, biggest).Draw(rt, "times"), rapid.IntRange(-1, len(p.Packs)-1).Draw(rt, "which")
		less, bigger := p.play(cfg), p.bigger(which, times)
		if less.unseen {
			return
		}
		compared++
		if more := bigger.play(cfg); more.at < less.at-less.slack(p) {
			rt.Fatalf("with %.2f times the battery in %d down at %g s (%s)\nnot at %g s (%s)\n%+v", times, which, more.at, more.why, less.at, less.why, p)
		}
	})
	if compared == 0 {
		t.Error("nothing was compared")
	}
}

// TestMoreBatteryRounded: the same where values are shown in steps, as they are everywhere.
// When a value last fell is known to a step, and the discharge that is observed by it to two
// of them: the tolerance is what two steps of the charge, or one of the runtime, of the
// smaller battery take, and a reading or two; a twentieth of what a shutdown needs covers how
// far two instants read every few seconds tell a slope.
func TestMoreBatteryRounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, cfg := drawPair(rt, false), drawLimits(rt)
		times, which := rapid.Float64Range(1, biggest).Draw(rt, "times"), rapid.IntRange(-1, len(p.Packs)-1).Draw(rt, "which")
		less, bigger := p.play(cfg), p.bigger(which, times)
		if less.unseen {
			return
		}
		tolerance := less.slack(p) + 2*p.Poll + (cfg.Need+cfg.Reserve).Seconds()/20 + p.steps()
		if more := bigger.play(cfg); more.at < less.at-tolerance {
			rt.Fatalf("with %.2f times the battery in %d down at %g s (%s)\nnot at %g s (%s); %g s are allowed\n%+v",
				times, which, more.at, more.why, less.at, less.why, tolerance, p)
		}
	})
}

// steps is how many seconds the longest steps of the readings may take.
func (p *plant) steps() float64 {
	longest := 0.0
	for _, b := range p.Packs {
		rate := burn(b.Load)
		for _, s := range p.Surges {
			rate = min(rate, burn(b.Load*s.Times))
		}
		charge, volts, runtime := b.Steps[0]/100/b.Fade, b.Steps[2]/12, b.Steps[1]/b.Lie
		longest = max(longest, 2*max(charge, volts)*b.Full/rate, runtime)
	}
	return longest
}

// TestMoreBatteryInSeries: a bigger room UPS, or a bigger rack UPS behind it, where both say
// their runtime. A room UPS beyond a limit of the operator that does not say it gives nothing
// any more, and one whose charge is seen to fall gives what that leaves: there the bigger
// one, whose charge does not fall yet, counts for less. Nor do they fall silent: a rack UPS
// that was last heard on line counts for nothing then, one on battery for a while.
func TestMoreBatteryInSeries(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p, cfg := drawPlant(rt, true, 2), drawLimits(rt)
		p.Packs[0].FedBy, p.Wired, p.Silent = 1, false, [2]float64{}
		for i := range p.Packs {
			p.Packs[i].Says = strings.TrimSuffix(p.Packs[i].Says, "r") + "r"
		}
		times, which := rapid.Float64Range(1, biggest).Draw(rt, "times"), rapid.IntRange(-1, 1).Draw(rt, "which")
		less, bigger := p.play(cfg), p.bigger(which, times)
		if less.unseen {
			return
		}
		if more := bigger.play(cfg); more.at < less.at-less.slack(p) {
			rt.Fatalf("with %.2f times the battery in %d down at %g s (%s)\nnot at %g s (%s)\n%+v", times, which, more.at, more.why, less.at, less.why, p)
		}
	})
}

// TestEndsIsMonotone: what several UPSes last together never falls when one lasts longer.
func TestEndsIsMonotone(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 4).Draw(rt, "ups")
		cfg := Default()
		cfg.MinSupplies = rapid.IntRange(1, n).Draw(rt, "min")
		d := &decider{cfg: &cfg}
		less, more := make([]carrier, n), make([]carrier, n)
		which, by := rapid.IntRange(0, n-1).Draw(rt, "which"), rapid.Float64Range(0, 1000).Draw(rt, "by")
		for i := range n {
			u := &ups{}
			d.supplies = append(d.supplies, supply{inputs: []input{{ups: u}}})
			less[i] = carrier{u: u, left: rapid.Float64Range(0, 1000).Draw(rt, "left"), load: rapid.Float64Range(5, 80).Draw(rt, "load")}
			if more[i] = less[i]; i == which {
				more[i].left += by
			}
		}
		if a, b := d.ends(less), d.ends(more); b < a-1e-9 {
			rt.Fatalf("%g s, and %g s with %g s more in %d", a, b, by, which)
		}
	})
}

// firstDown is the first step at which the history goes down; its length: at none.
func (h history) firstDown(t testing.TB) int {
	at, n := len(h.steps), 0
	h.play(t, 0, func(w *world, _ Memory, _ time.Duration) {
		if w.last.Shutdown && n < at {
			at = n
		}
		n++
	})
	return at
}

// drawSteady is a random history in which trouble is confirmed alike at all times: just
// after a transfer or a collapse it would have to last longer, and what has lasted since
// before would be believed later than what begins then.
func drawSteady(t *rapid.T) history {
	h := drawHistory(t)
	h.cfg.ConfirmS = Seconds(slowConfirm.Seconds())
	return h
}

// TestMoreNeedIsNeverLater: whatever the readings say.
func TestMoreNeedIsNeverLater(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawSteady(rt)
		less := h.firstDown(t)
		more := Seconds(rapid.IntRange(0, 2000).Draw(rt, "more")).D()
		if rapid.Bool().Draw(rt, "reserve") {
			h.cfg.Reserve += more
		} else {
			h.cfg.Need += more
		}
		if with := h.firstDown(t); with > less {
			rt.Fatalf("needing %s more, down at step %d, not at %d", more, with, less)
		}
	})
}

// TestLowerChargeLimitIsNeverEarlier: whatever the readings say.
func TestLowerChargeLimitIsNeverEarlier(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawSteady(rt)
		h.cfg.MinChargePct = float64(rapid.IntRange(0, 100).Draw(rt, "limit"))
		high := h.firstDown(t)
		h.cfg.MinChargePct = rapid.Float64Range(0, h.cfg.MinChargePct).Draw(rt, "lower")
		if low := h.firstDown(t); low < high {
			rt.Fatalf("with the limit at %g %% down at step %d, not at %d", h.cfg.MinChargePct, low, high)
		}
	})
}

// TestOneMoreFeedIsNeverEarlier: a healthy UPS more, on a circuit of its own and on line all
// the time, where one feed has to be left. With more than one the host may go down with it
// that stayed up without: what would have had this host dead is a false report, and no
// longer one when another feed may have kept it alive.
func TestOneMoreFeedIsNeverEarlier(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		h.cfg.MinSupplies = 1
		h.site.maint = nil
		less := h.firstDown(t)
		if len(h.site.paths) > 0 {
			h.site.paths = append(h.site.paths[:len(h.site.paths):len(h.site.paths)], dodai.Path{PSU: "more", UPS: "more", Feed: "more"})
		}
		var steps []step
		at := make([]int, 0, len(h.steps)) // where the steps of before are now
		for _, s := range h.steps {
			healthy := step{ups: "more", after: s.after, r: &dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL, Vars: dodai.Vars{dodai.BatteryCharge: dodai.Num(100)}}}
			s.after = 0
			at, steps = append(at, len(steps)+1), append(steps, healthy, s)
		}
		h.steps = steps
		if with := h.firstDown(t); with < len(steps) && (less == len(at) || with < at[less]) {
			rt.Fatalf("down at step %d of %d, without the feed at step %d of %d", with, len(steps), less, len(at))
		}
	})
}

// raisedBy is a reading with charge and runtime so many times as high.
func raisedBy(r *dodai.Reading, charge, runtime float64) *dodai.Reading {
	c := r.Clone()
	for name, times := range map[string]float64{dodai.BatteryCharge: charge, dodai.BatteryRuntime: runtime} {
		if v, ok := c.Vars.Float(name); ok {
			c.Vars[name] = dodai.Num(v * times)
		}
	}
	return c
}

// TestBetterReadingsAreNeverEarlier: the same discharge, with charge and runtime raised at every
// reading by a factor of at least 1 that never falls. It holds for plain statuses (OL, OB,
// with or without LB) and as long as the raised values still fall from one reading to the
// next: what stands still or rises on battery is not believed, nor is a charge above 100 %
// or a runtime of more than ten hours. A status of OL and OB at once, or a test, is decided by
// how fast the charge falls: there a raised one may speak for an outage.
func TestBetterReadingsAreNeverEarlier(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlant(rt, true, 1)
		p.Surges, p.Packs[0].Lie, p.Packs[0].Fade = nil, min(p.Packs[0].Lie, 1), 0.5
		if p.Packs[0].Says == "v" {
			p.Packs[0].Says = "c"
		}
		cfg := drawLimits(rt)
		less := p.play(cfg)
		charge, runtime := rapid.Float64Range(1, 2).Draw(rt, "charge"), rapid.Float64Range(1, biggest).Draw(rt, "runtime")
		grows := rapid.Float64Range(0, 0.2).Draw(rt, "grows") // of what it fell
		p.Raise = func(r *dodai.Reading, left float64) *dodai.Reading {
			most := 1 + grows*(1-left)
			return raisedBy(r, min(charge*most, 2), runtime*most)
		}
		// A charge is taken to be rounded to whole percents, half of one on average: what
		// was raised has fallen by more than one, and is given no more for it than before.
		half := 0.005 / p.Packs[0].Fade * p.Packs[0].Full / burn(p.Packs[0].Load)
		if more := p.play(cfg); more.at < less.at-less.slack(p)-p.Poll-half && !less.unseen {
			rt.Fatalf("raised by %.2f and %.2f down at %g s (%s)\nnot at %g s (%s)\n%+v", charge, runtime, more.at, more.why, less.at, less.why, p.Packs)
		}
	})
}

// TestTenHours shows the edge of what is believed: with nothing else to go by, a claim of
// more than ten hours is none.
func TestTenHours(t *testing.T) {
	p := plant{Poll: 2, Outages: [][2]float64{{10, math.Inf(1)}}, Ends: 400, Packs: []pack{{Full: 30000, Had: 1, Load: 40, Lie: 1, Says: "r", FedBy: -1}}}
	if got := p.play(Default()); !math.IsInf(got.at, 1) {
		t.Errorf("a claim of 30000 s: down at %g s, %s", got.at, got.why)
	}
	bigger := p.bigger(0, 2)
	if got := bigger.play(Default()); !strings.Contains(got.why, string(ReasonNoMetrics)) {
		t.Errorf("a claim of 60000 s: %g s, %s", got.at, got.why)
	}
}
