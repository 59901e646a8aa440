package site

import "time"

// tell adds a lie.
func (d *draw) tell(u *ups, k lieKind, p span, v float64) {
	u.claims.lies = append(u.claims.lies, lie{kind: k, span: p, v: v})
	d.s.trait("lie:" + string(k))
}

var always = span{0, never}

// lies draws what is wrong with what the UPSes say, beyond their belief.
func (d *draw) lies() {
	for i, u := range d.s.upses {
		if d.chance(0.33) {
			d.lie(i, u)
		}
	}
	switch d.pick(95, 2, 3) {
	case 1:
		d.leftover()
	case 2:
		d.announce()
	}
	if d.chance(0.003) {
		u := d.s.upses[0]
		u.dies = d.begin + d.grid(5, 120)
		d.s.trait("battery:sudden_death")
	}
}

func (d *draw) lie(i int, u *ups) {
	c := &u.claims
	draws := []func(){
		func() { d.placeholder(u) },
		func() {
			if c.reportsCharge() && c.reportsRuntime() {
				d.tell(u, lieCharge, always, 0)
			}
		},
		func() { d.stuckRuntime(u) },
		func() { d.frozen(u) },
		func() {
			c.refresh, c.phase = tick, d.seconds(0, tick.Seconds())
			d.tell(u, lieLB, always, 1)
		},
		func() { d.bothFlags(u) },
		func() {
			if c.kind != kindStatus {
				d.tell(u, lieOff, always, 0)
			}
		},
		func() { d.tell(u, lieTimer, always, oneOf(d, 0.0, 20, 60, -1, 65535)) },
		func() {
			if c.kind != kindStatus {
				d.tell(u, lieRB, always, 0)
			}
		},
		func() { d.tell(u, lieJump, always, d.between(0.7, 0.9)) },
		func() { d.wild(u) },
		func() {
			if c.kind == kindFull || c.kind == kindCharge {
				c.input = true
				d.tell(u, lieNoVolts, always, 0)
			}
		},
		func() {
			if c.kind != kindStatus {
				c.input = true
				d.tell(u, lieOldVolts, always, 0)
			}
		},
	}
	draws[d.IntN(len(draws))]()
}

// placeholder is a runtime that is none. Without a charge the UPS then tells nothing at
// all, as a contact would.
func (d *draw) placeholder(u *ups) {
	if u.claims.reportsRuntime() && (u.claims.reportsCharge() || d.chance(0.5)) {
		d.tell(u, lieRuntime, always, oneOf(d, 0.0, 65535, -1))
	}
}

// stuckRuntime does not fall; nearly always there is a charge that does.
func (d *draw) stuckRuntime(u *ups) {
	if u.claims.reportsRuntime() && (u.claims.reportsCharge() || d.chance(0.1)) {
		d.tell(u, lieStuckRuntime, always, oneOf(d, 1200.0, 1800, 3600))
	}
}

// frozen is a card that goes on giving the same values for a while; seldom for good.
func (d *draw) frozen(u *ups) {
	from := d.begin + d.seconds(5, 200)
	if d.chance(0.3) {
		from = d.seconds(0, 8)
	}
	to := from + d.seconds(20, 150)
	if d.chance(0.15) {
		to = never
	}
	d.tell(u, lieFrozen, span{from, to}, 0)
}

// bothFlags is OL and OB at once, with mains that never fail.
func (d *draw) bothFlags(u *ups) {
	if u.claims.kind == kindStatus {
		return
	}
	for i := range d.s.feeds {
		if len(d.s.feeds[i].volts) > 0 {
			return
		}
	}
	u.claims.input = true
	from := d.seconds(0, 60)
	d.tell(u, lieBoth, span{from, from + d.seconds(5, 300)}, 0)
}

// wild is one reading out of line, gone before the next poll.
func (d *draw) wild(u *ups) {
	if !u.claims.reportsRuntime() || u.claims.kind == kindSNMP {
		return
	}
	u.claims.refresh, u.claims.phase = tick, d.seconds(0, tick.Seconds())
	at := d.begin
	for range 1 + d.IntN(6) {
		at += d.seconds(0, 20)
		d.tell(u, lieWild, span{at, at + tick}, oneOf(d, 1.0, 5, 30))
		at += 15 * time.Second
	}
}

// leftover is an FSD that stands since before the boot.
func (d *draw) leftover() {
	if len(d.s.happenings) > 0 {
		return
	}
	d.happen(0, "host_boot", 0)
	u := d.s.upses[0]
	u.batt.charge0 = d.between(0.3, 0.9)
	d.tell(u, lieFSD, always, 0)
}

// announce is a UPS that says it will cut its output, and does: by a primary's FSD or a
// timer of its own. Mostly it leaves time enough.
func (d *draw) announce() {
	u := d.s.upses[0]
	lead := d.s.cfg.Need + d.grid(30, 200)
	if d.chance(0.05) {
		lead = d.grid(20, 90)
	}
	at := d.begin + d.grid(2, 120)
	u.cut = at + lead
	d.last = max(d.last, u.cut)
	if d.chance(0.5) {
		u.claims.fsd = at
		d.s.trait("announce:fsd")
		return
	}
	u.claims.timer = at // it counts on battery alone
	d.s.trait("announce:timer")
	for i := range d.s.feeds {
		d.s.feeds[i].volts = nil
	}
	d.fail(outage{from: d.begin, to: u.cut + d.grid(1, 60), feeds: allFeeds})
}

// faults draws what happens to the wires to the devices, to the agent and to its clock.
func (d *draw) faults() {
	d.network()
	for _, u := range d.s.upses {
		if d.chance(0.06) {
			from := d.seconds(0, 400)
			u.claims.silent = append(u.claims.silent, span{from, from + d.seconds(10, 120)})
			d.s.trait("fault:silent")
		}
		if d.chance(0.06) {
			at := d.begin + d.seconds(0, 200)
			for range 3 + d.IntN(8) {
				u.claims.silent = append(u.claims.silent, span{at, at + d.seconds(0.3, 4)})
				at += d.seconds(1, 12)
			}
			d.s.trait("fault:bursts")
		}
	}
	if len(d.s.happenings) == 0 {
		d.agent()
	}
	if d.chance(0.1) {
		for range 1 + d.IntN(3) {
			d.happen(d.seconds(0, 300), "clock_step", oneOf(d, -time.Hour, time.Hour))
		}
	}
}

// network is a switch that dies with the mains, and every network card with it. Most
// operators of such a site set a limit for it; some have learned nothing yet.
func (d *draw) network() {
	var cards []*ups
	for _, u := range d.s.upses {
		if u.claims.kind == kindSNMP {
			cards = append(cards, u)
		}
	}
	if len(cards) == 0 || !d.chance(0.1) {
		return
	}
	d.s.trait("fault:network_dies")
	for _, e := range d.s.feeds[cards[0].feed].volts {
		for _, u := range cards {
			if e.v < 90 {
				u.claims.silent = append(u.claims.silent, span{e.at, never})
			} else if n := len(u.claims.silent); n > 0 && u.claims.silent[n-1].to == never {
				u.claims.silent[n-1].to = e.at + d.seconds(20, 90)
			}
		}
	}
	if d.chance(0.93) {
		limit := d.grid(30, 120)
		d.s.cfg.CommsLostLine = &limit
		d.s.trait("config:comms_lost_line")
		for _, u := range cards {
			least := (limit + d.s.cfg.Need + 45*time.Second).Seconds()
			if t := u.batt.lasts(d.s.startLoad(u)); t < least {
				u.batt.full *= least / t * d.between(1, 1.5)
			}
		}
	}
}

// agent draws crashes and restarts, and boots of the host in the middle of it all.
func (d *draw) agent() {
	switch d.pick(80, 12, 4, 4) {
	case 1:
		at := d.begin + d.seconds(-5, 300)
		d.happen(at, "agent_stop", 0)
		d.happen(at+time.Duration(d.spread(0.2, 60)*1000)*time.Millisecond, "agent_start", 0)
	case 2:
		at := d.begin + d.grid(-5, 100)
		back := at + d.grid(30, 120)
		d.happen(at, "agent_stop", 0)
		d.happen(back, "host_boot", 0)
		d.s.hostOff = span{at, back}
		d.last = max(d.last, back)
	case 3:
		d.happen(0, "host_boot", 0)
		d.s.upses[0].batt.charge0 = d.between(0.15, 0.9)
		d.s.trait("battery:boot_at_low_charge")
	}
}
