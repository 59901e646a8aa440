package site

import "time"

// hard draws a site at which one rule alone decides: whoever does without it is convicted.
// Such sites are rare in the field, and would be too rare in the mix to show anything.
func (d *draw) hard() {
	cases := []struct {
		name string
		draw func()
	}{
		{"tired_battery", d.tiredBattery},
		{"off_then_outage", d.offThenOutage},
		{"contacts_with_a_limit", d.contactsWithLimit},
		{"stuck_runtime_alone", d.stuckAlone},
		{"small_rack_ups", d.smallRackUPS},
		{"switch_and_another", d.switchAndAnother},
		{"worked_on", d.workedOn},
		{"lies_twice", d.liesTwice},
	}
	c := cases[d.IntN(len(cases))]
	d.s.trait("hard:" + c.name)
	d.begin = d.grid(8, 25)
	d.last = d.begin
	c.draw()
	d.s.cfg.MinSupplies = d.s.needs
}

// plain adds an honest UPS of a kind, whose full battery lasts for so long under the load
// it has at the start. Its LB comes too late to matter, or never.
func (d *draw) plain(i int, k kind, lasts time.Duration) *ups {
	u := d.s.upses[i]
	d.s.trait("ups:" + string(k))
	u.claims = claims{
		kind: k, refresh: oneOf[time.Duration](d, 500, 1000, 2000) * time.Millisecond, chargeStep: 1, runtimeStep: 1,
		load: k != kindStatus, input: k != kindStatus && d.chance(0.9), factor: 1, exponent: 1.15,
		lb: oneOf(d, lbLate, lbNever), lbRuntime: d.between(5, 30), lbCharge: 1,
	}
	u.claims.phase = d.seconds(0, u.claims.refresh.Seconds())
	d.s.trait("lb:" + string(u.claims.lb))
	u.batt = battery{health: 1, peukert: 1.15, charge0: 1, recharge: d.between(4, 8) * 3600, full: 1}
	u.batt.full = lasts.Seconds() / u.batt.lasts(d.s.startLoad(u))
	return u
}

// longer is an outage of some circuits that no battery here outlasts.
func (d *draw) longer(lasts time.Duration, feeds uint) {
	d.fail(outage{from: d.begin, to: d.begin + lasts + d.grid(60, 300), feeds: feeds})
	d.s.trait("mains:minutes")
}

// tiredBattery begins its outage at a charge just below the operator's limit, and tells
// nothing but that charge: a line through it comes too late.
func (d *draw) tiredBattery() {
	d.oneUPS()
	charge := d.s.cfg.MinChargePct/100 - d.between(0.01, 0.03)
	left := d.s.cfg.Need + d.s.slack() + d.grid(10, 40)
	u := d.plain(0, kindCharge, time.Duration(float64(left)/charge))
	u.batt.charge0 = charge
	d.longer(left, allFeeds)
}

// offThenOutage is an output that was switched off by hand, and the other feed's end after
// it. Without power in it the host dies with the second.
func (d *draw) offThenOutage() {
	d.feedsCalled("A", "B")
	host := d.between(0.25, 0.6)
	a, b := d.addUPS("u1", 0, host), d.addUPS("u2", 1, host)
	d.addPSU("a", wire{a, 0})
	d.addPSU("b", wire{b, 1})
	d.s.wired = d.chance(0.5)
	d.plain(a, kindFull, 20*time.Minute).off = []span{{d.begin, never}}
	u := d.plain(b, kindFull, 20*time.Minute)
	d.begin += d.grid(45, 90)
	// All of the host's load is on it when it is needed.
	left := d.s.cfg.limit() + d.grid(20, 60)
	u.batt.full *= left.Seconds() / u.batt.lasts(u.base+host)
	d.longer(left, allFeeds)
}

// contactsWithLimit is a UPS that tells nothing, and an operator who knows how long it lasts.
func (d *draw) contactsWithLimit() {
	d.oneUPS()
	limit := 60 * time.Second
	d.s.cfg.MaxOnBatt = &limit
	d.s.trait("config:max_onbatt")
	lasts := limit + d.s.cfg.Need + late + d.s.slack() + d.grid(5, 35)
	d.plain(0, kindStatus, lasts)
	d.longer(lasts, allFeeds)
}

// stuckAlone is a runtime that never falls, and no charge. The load it shows wavers, so it
// is not frozen.
func (d *draw) stuckAlone() {
	d.oneUPS()
	lasts := 2*noMetricsAfter + 2*late + d.s.cfg.Need + d.s.slack() + d.grid(20, 300)
	u := d.plain(0, kindRuntime, lasts)
	u.claims.wavers = true
	d.tell(u, lieStuckRuntime, always, oneOf(d, 1200.0, 1800, 3600))
	d.longer(lasts, allFeeds)
}

// smallRackUPS is one that could not carry a shutdown, behind a room UPS that can.
func (d *draw) smallRackUPS() {
	d.series()
	d.s.bmc = nil
	rack := d.plain(1, kindFull, d.grid(25, d.s.cfg.Need.Seconds()-15))
	room := d.plain(0, oneOf(d, kindFull, kindSNMP), d.s.cfg.limit()+d.grid(60, 400))
	room.claims.refresh = min(room.claims.refresh, time.Second)
	d.longer(20*time.Minute, allFeeds)
	_ = rack
}

// switchAndAnother has one supply behind a transfer switch whose inputs are both well, and
// needs another one that is not.
func (d *draw) switchAndAnother() {
	d.feedsCalled("A", "B")
	host := d.between(0.25, 0.6)
	a, b := d.addUPS("u1", 1, host), d.addUPS("u2", 0, host)
	d.addPSU("a", wire{a, 1}, wire{-1, 1})
	d.addPSU("b", wire{b, 0})
	d.s.needs, d.s.wired = 2, true
	lasts := d.s.cfg.limit() + d.grid(60, 400)
	d.plain(a, kindFull, 20*time.Minute)
	d.plain(b, oneOf(d, kindFull, kindRuntime), lasts)
	d.longer(lasts, 1)
}

// workedOn is a UPS that somebody has taken out of the way: the mains feed the host past
// it, and what it says means nothing.
func (d *draw) workedOn() {
	d.oneUPS()
	d.s.wired = d.chance(0.5)
	u := d.plain(0, oneOf(d, kindFull, kindCharge, kindStatus), d.grid(200, 500))
	to := d.begin + d.grid(240, 700)
	u.around = []span{{d.begin, to}}
	d.last = to + d.grid(15, 40)
	d.happen(d.begin-2*time.Second, "maintenance_on", d.last-d.begin)
	d.s.happenings[0].Device = u.name
	if d.chance(0.4) {
		from := d.begin + d.seconds(10, 100)
		u.claims.silent = []span{{from, to}}
	}
}

// liesTwice is a UPS without a charge that claims too much, in a deep discharge and again in
// the outage that follows: only who has learned from the first is down in time.
func (d *draw) liesTwice() {
	d.oneUPS()
	lie := d.between(1.8, 2.4)
	// It must show half of its claim in the first, and not be low by it; what is left for
	// the second has to be enough for a shutdown.
	least := d.s.cfg.limit().Seconds() + d.s.cfg.Need.Seconds() + 60
	lasts := seconded(least / 0.35 * d.between(1, 1.3))
	u := d.plain(0, kindRuntime, lasts)
	u.claims.factor = lie
	d.s.trait("belief:age_unknown")
	first := seconded(0.62 * lasts.Seconds())
	d.fail(outage{from: d.begin, to: d.begin + first, feeds: allFeeds})
	d.begin += first + d.grid(20, 40)
	d.longer(lasts, allFeeds)
	d.s.trait("mains:again")
}

func seconded(s float64) time.Duration { return onGrid(time.Duration(s * float64(time.Second))) }
