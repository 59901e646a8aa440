package site

import "time"

// device draws what kind of UPS it is, its battery, and how it reports.
func (d *draw) device(i int) {
	u := d.s.upses[i]
	k := kinds[d.pick(24, 16, 8, 9, 7, 18, 18)]
	if u.fedBy >= 0 || u.name == "room" {
		k = oneOf(d, kindFull, kindSNMP, kindCoarse)
	}
	d.s.trait("ups:" + string(k))
	u.claims = claims{
		kind: k, refresh: oneOf[time.Duration](d, 500, 1000, 1000, 2000) * time.Millisecond, chargeStep: 1, runtimeStep: 1,
		load: k != kindStatus && d.chance(0.9), input: k != kindStatus && d.chance(0.9), lowVar: k == kindFull && d.chance(0.5),
		factor: 1, exponent: d.between(1, 1.3), quick: d.chance(0.5),
	}
	if k != kindCoarse && d.chance(0.3) {
		u.claims.runtimeStep = oneOf(d, 10.0, 15, 30)
	}
	switch k {
	case kindSNMP:
		u.claims.refresh = d.seconds(5, 10)
	case kindCoarse:
		u.claims.chargeStep, u.claims.runtimeStep = 5, 60
	}
	u.claims.phase = d.seconds(0, u.claims.refresh.Seconds())
	d.battery(u)
	d.belief(u)
	d.lowBattery(u)
}

// startLoad is the load before anything happens.
func (s *Site) startLoad(u *ups) float64 {
	load, n := u.base, 0
	for i := range s.psus {
		if !s.psus[i].failed {
			n++
		}
	}
	for i := range s.psus {
		if w := s.psus[i].paths[0]; !s.psus[i].failed && w.ups >= 0 && s.upses[w.ups] == u {
			load += u.host / float64(n)
		}
	}
	for _, down := range s.upses {
		if down.fedBy >= 0 && s.upses[down.fedBy] == u {
			load += s.startLoad(down) * down.ratio
		}
	}
	return max(load, 0.03)
}

// backed reports whether the host's other supply hangs on bare mains.
func (s *Site) backed(u *ups) bool {
	for i := range s.psus {
		if s.psus[i].paths[0].ups < 0 {
			return u.fedBy < 0 && len(s.upses) == 1
		}
	}
	return false
}

// battery draws how long it really lasts: mostly 4 to 20 minutes, and mostly enough for
// what the operator configured, since he would have been told.
func (d *draw) battery(u *ups) {
	b := &u.batt
	b.health = d.between(0.6, 1)
	if d.chance(0.2) {
		b.health = d.between(0.3, 0.6)
		d.s.trait("battery:aged")
	}
	if b.peukert = d.between(1.1, 1.3); d.chance(0.15) {
		b.peukert = d.between(1, 1.05)
		d.s.trait("battery:li_ion")
	}
	need := d.s.cfg.limit().Seconds()
	t := [...]float64{d.spread(240, 1200), d.spread(1200, 10800), d.spread(130, 240)}[d.pick(84, 12, 4)]
	least := need*1.15 + 25
	switch u.claims.kind {
	case kindStatus, kindVolts:
		least = max(least, noMetricsAfter.Seconds()+d.s.cfg.Need.Seconds()+45)
	case kindCharge:
		least = max(least, need+130)
	}
	if t < least && !d.chance(0.02) {
		t = least * d.between(1, 1.5)
	}
	load := d.s.startLoad(u)
	if d.s.backed(u) {
		load = u.base + u.host // it was bought to carry the host alone
	}
	b.full = 1
	b.full = t / b.lasts(load)
	b.recharge = d.between(2, 8) * 3600
	b.charge0 = 1
	if d.chance(0.08) {
		b.charge0 = d.between(0.7, 1)
	}
}

// belief draws what the UPS thinks of its battery.
func (d *draw) belief(u *ups) {
	c := &u.claims
	switch d.pick(62, 14, 16, 8) {
	case 0:
		c.factor = d.between(0.95, 1.05)
		c.counts = d.chance(0.2)
	case 1:
		c.factor = d.between(0.4, 0.9)
		c.counts = d.chance(0.1)
		d.s.trait("belief:too_little")
	case 2:
		c.factor = d.between(1.05, 1.25)
		d.s.trait("belief:too_much")
	case 3:
		c.factor = d.between(1.3, 2.5)
		d.s.trait("belief:age_unknown")
		if d.chance(0.9) {
			c.correct = d.between(0.6, 0.95)
			c.counts = d.chance(0.5)
			d.s.trait("belief:corrected")
		}
	}
	if d.chance(0.06) {
		c.knee = d.between(0.2, 0.5)
		d.s.trait("battery:knee")
	}
}

// lowBattery draws the LB flag. A UPS that tells nothing else mostly has an honest one,
// and so has one whose charge falls off a knee.
func (d *draw) lowBattery(u *ups) {
	c := &u.claims
	weights := []float64{30, 30, 20, 8, 7, 5}
	switch {
	case c.knee != 0 && d.chance(0.9):
		weights = []float64{0, 0, 1, 0, 0, 0}
	case c.kind == kindVolts || c.kind == kindStatus:
		weights = []float64{0, 0, 70, 15, 10, 5}
	case c.kind == kindCharge:
		weights = []float64{55, 0, 25, 8, 7, 5}
	case c.kind == kindRuntime:
		weights = []float64{0, 55, 25, 8, 7, 5}
	}
	c.lb = lbModes[d.pick(weights...)]
	c.lbCharge = oneOf(d, 10.0, 15, 20, 30)
	c.lbRuntime = oneOf(d, 60.0, 120, 180, 300)
	switch c.lb {
	case lbTrue:
		c.lbRuntime = d.s.cfg.limit().Seconds() * d.between(0.9, 1.3)
	case lbLate:
		c.lbRuntime = d.between(10, 40)
	case lbEarly:
		c.lbCharge = d.between(60, 98)
	}
	d.s.trait("lb:" + string(c.lb))
}
