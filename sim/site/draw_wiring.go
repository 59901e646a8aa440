package site

// wiring draws how the host is fed.
func (d *draw) wiring() {
	draws := []struct {
		weight float64
		name   string
		draw   func()
	}{
		{46, "one_ups", d.oneUPS},
		{4, "one_ups_wired", d.oneUPSWired},
		{10, "two_ups", d.twoUPS},
		{16, "two_ups_wired", d.twoUPSWired},
		{7, "ups_and_mains", d.upsAndMains},
		{5, "three_supplies", d.threeSupplies},
		{6, "series", d.series},
		{6, "transfer_switch", d.transferSwitch},
	}
	weights := make([]float64, len(draws))
	for i := range draws {
		weights[i] = draws[i].weight
	}
	i := d.pick(weights...)
	d.s.trait("wiring:" + draws[i].name)
	draws[i].draw()
	d.s.cfg.MinSupplies = d.s.needs
	if n := len(d.s.psus); d.s.wired && n > d.s.needs && d.s.bmc != nil && d.chance(0.04) {
		d.s.psus[n-1].failed = true
		d.s.trait("fault:psu_failed")
	}
}

// feedsCalled makes the circuits.
func (d *draw) feedsCalled(names ...string) {
	for _, n := range names {
		d.s.feeds = append(d.s.feeds, feed{name: n})
	}
}

// addUPS adds one on a circuit, that carries the whole host with the given part of its
// nominal load.
func (d *draw) addUPS(name string, feed int, host float64) int {
	d.s.upses = append(d.s.upses, &ups{name: name, feed: feed, fedBy: -1, base: d.between(0, 0.2), host: host, ratio: 1})
	return len(d.s.upses) - 1
}

func (d *draw) addPSU(id string, paths ...wire) {
	d.s.psus = append(d.s.psus, psu{id: id, paths: paths})
}

func (d *draw) addBMC(p float64) {
	if !d.chance(p) {
		return
	}
	d.s.bmc = &bmc{refresh: d.seconds(1, 10), phase: d.seconds(0, 5)}
	d.s.trait("bmc:true")
	if d.chance(0.08) {
		from := d.seconds(5, 300)
		d.s.bmc.allLost = []span{{from, from + d.seconds(3, 60)}}
		d.s.trait("bmc:all_lost")
	}
	if d.chance(0.08) {
		from := d.seconds(0, 200)
		d.s.bmc.silent = []span{{from, from + d.seconds(10, 900)}}
		d.s.trait("bmc:silent")
	}
}

func (d *draw) oneUPS() {
	d.feedsCalled("A")
	u := d.addUPS("u1", 0, d.between(0.15, 0.6))
	d.addPSU("a", wire{u, 0})
}

func (d *draw) oneUPSWired() {
	d.oneUPS()
	d.s.wired = true
	d.addBMC(0.8)
}

// twoUPS has a supply behind each; the operator has told how many the host needs.
func (d *draw) twoUPS() {
	second := 0
	d.feedsCalled("A")
	if d.chance(0.5) {
		d.feedsCalled("B")
		second = 1
		d.s.trait("wiring:feeds_a_b")
	}
	host := d.between(0.25, 0.7)
	a, b := d.addUPS("u1", 0, host), d.addUPS("u2", second, host*d.between(0.8, 1.2))
	d.addPSU("a", wire{a, 0})
	d.addPSU("b", wire{b, second})
	if d.chance(0.2) {
		d.s.needs = 2
		d.s.trait("wiring:needs_all")
	}
}

func (d *draw) twoUPSWired() {
	d.twoUPS()
	d.s.wired = true
	d.addBMC(0.6)
}

// upsAndMains has one supply on a UPS, the other straight on the mains: without a BMC
// nobody could tell that the second is gone, so nearly everybody has one.
func (d *draw) upsAndMains() {
	d.feedsCalled("A", "B")
	u := d.addUPS("u1", 0, d.between(0.2, 0.7))
	second := d.IntN(2)
	d.addPSU("a", wire{u, 0})
	d.addPSU("b", wire{-1, second})
	d.s.wired = true
	d.addBMC(0.97)
	if d.s.bmc != nil {
		d.s.bmc.silent = nil
	}
}

func (d *draw) threeSupplies() {
	d.feedsCalled("A", "B")
	host := d.between(0.3, 0.8)
	a, b := d.addUPS("u1", 0, host), d.addUPS("u2", 1, host)
	d.addPSU("a", wire{a, 0})
	d.addPSU("b", wire{b, 1})
	switch d.IntN(3) {
	case 0:
		d.addPSU("c", wire{-1, 1})
		d.addBMC(1)
		d.s.bmc.silent = nil
	case 1:
		d.addPSU("c", wire{b, 1})
		d.addBMC(0.6)
	default:
		c := d.addUPS("u3", d.IntN(2), host)
		d.addPSU("c", wire{c, d.s.upses[c].feed})
		d.addBMC(0.6)
	}
	d.s.needs, d.s.wired = 2, true
}

// series is a rack UPS behind a room UPS.
func (d *draw) series() {
	d.feedsCalled("A")
	room := d.addUPS("room", 0, 0)
	rack := d.addUPS("rack", 0, d.between(0.2, 0.6))
	d.s.upses[rack].fedBy = room
	d.s.upses[rack].ratio = d.between(0.1, 0.5)
	d.s.upses[room].base = d.between(0.1, 0.4)
	d.addPSU("a", wire{rack, 0})
	d.s.wired = true
	d.addBMC(0.4)
}

// transferSwitch has supplies behind a switch with two inputs.
func (d *draw) transferSwitch() {
	d.feedsCalled("A", "B")
	host := d.between(0.2, 0.6)
	first := wire{d.addUPS("u1", 0, host), 0}
	second := wire{-1, 1}
	if d.chance(0.85) {
		second.ups = d.addUPS("u2", 1, host)
		d.s.trait("wiring:switch_of_two_ups")
	}
	d.addPSU("a", first, second)
	if d.chance(0.3) {
		d.addPSU("b", second, first)
	}
	d.s.wired = true
	d.addBMC(0.5)
}
