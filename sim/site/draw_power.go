package site

import "time"

// outage is one stretch without mains on some circuits.
type outage struct {
	from, to time.Duration
	volts    float64
	feeds    uint // bit i: circuit i
}

// power draws what the mains do.
func (d *draw) power() {
	draws := []struct {
		weight float64
		name   string
		draw   func()
	}{
		{24, "flicker", d.flicker},
		{18, "short", func() { d.single(10, 120) }},
		{25, "minutes", func() { d.single(240, 1200) }},
		{3, "long", func() { d.single(1200, 7200) }},
		{7, "flapping", d.flapping},
		{5, "again", d.again},
		{5, "brownout", d.brownout},
		{13, "none", d.noOutage},
	}
	weights := make([]float64, len(draws))
	for i := range draws {
		weights[i] = draws[i].weight
	}
	i := d.pick(weights...)
	d.s.trait("mains:" + draws[i].name)
	draws[i].draw()
	if d.chance(0.12) && draws[i].name != "none" {
		at := d.begin + d.grid(20, 300)
		d.s.loads = []edge{{at, oneOf(d, 0.5, 0.7, 1.3, 1.5)}}
		d.s.trait("load:changes")
	}
}

// fail takes the mains away from some circuits for a while.
func (d *draw) fail(o outage) {
	for i := range d.s.feeds {
		if o.feeds&(1<<i) != 0 {
			d.s.feeds[i].volts = append(d.s.feeds[i].volts, edge{o.from, o.volts}, edge{o.to, nominalVolts})
		}
	}
	d.last = max(d.last, o.to)
}

const allFeeds = ^uint(0)

// which draws the circuits an outage hits.
func (d *draw) which() uint {
	if len(d.s.feeds) < 2 || d.chance(0.75) {
		return allFeeds
	}
	d.s.trait("mains:one_feed")
	return 1 << d.IntN(len(d.s.feeds))
}

func (d *draw) flicker() {
	at := d.begin
	feeds := d.which()
	for range 1 + d.IntN(3) {
		to := at + max(tick, onGrid(time.Duration(d.spread(0.5, 12)*float64(time.Second))))
		d.fail(outage{from: at, to: to, feeds: feeds})
		at = to + d.grid(5, 40)
	}
}

// single is one outage of so many seconds; with two circuits they may fail one after the
// other.
func (d *draw) single(least, most float64) {
	to := d.begin + onGrid(time.Duration(d.spread(least, most)*float64(time.Second)))
	if len(d.s.feeds) == 2 && d.chance(0.25) {
		d.s.trait("mains:in_sequence")
		first := uint(1) << d.IntN(2)
		second := d.begin + d.grid(5, (to-d.begin).Seconds())
		d.fail(outage{from: d.begin, to: to, feeds: first})
		d.fail(outage{from: second, to: to + d.grid(0, 300), feeds: 3 &^ first})
		return
	}
	d.fail(outage{from: d.begin, to: to, feeds: d.which()})
}

func (d *draw) flapping() {
	at, feeds := d.begin, d.which()
	for range 4 + d.IntN(25) {
		to := at + d.grid(1, 8)
		d.fail(outage{from: at, to: to, feeds: feeds})
		at = to + d.grid(1, 9)
	}
}

// again is a second outage before the battery is full again.
func (d *draw) again() {
	to := d.begin + d.grid(60, 400)
	d.fail(outage{from: d.begin, to: to, feeds: allFeeds})
	at := to + d.grid(20, 300)
	d.fail(outage{from: at, to: at + d.grid(30, 900), feeds: allFeeds})
}

func (d *draw) brownout() {
	feeds := d.which()
	d.fail(outage{from: d.begin, to: d.begin + d.grid(5, 60), volts: d.between(178, 205), feeds: feeds})
	at := d.last
	d.fail(outage{from: at, to: at + d.grid(20, 600), volts: d.between(100, 170), feeds: feeds})
}

// noOutage is what must not be taken for one.
func (d *draw) noOutage() {
	u := d.s.upses[d.IntN(len(d.s.upses))]
	to := d.begin + d.grid(20, 200)
	d.last = to
	switch d.pick(3, 3, 2, 2, 2, 2, 2) {
	case 0:
		d.s.trait("event:self_test")
		u.claims.quick = true
		u.tests, u.testStop = []span{{d.begin, d.begin + d.grid(8, 30)}}, 0.1
		if d.chance(0.5) {
			d.tell(u, lieOffTest, span{d.begin, d.begin + d.seconds(4, 10)}, 0)
		}
	case 1:
		d.s.trait("event:calibration")
		if u.claims.kind == kindStatus {
			return
		}
		d.last = d.begin + d.grid(200, 900)
		u.claims.quick = false
		u.tests, u.testStop = []span{{d.begin, d.last}}, d.between(0.08, 0.3)
	case 2:
		d.s.trait("event:comms_lost")
		d.last = d.begin + d.grid(30, 900)
		u.claims.silent = append(u.claims.silent, span{d.begin, d.last})
	case 3:
		d.s.trait("event:bypass")
		u.bypass = []span{{d.begin, to}}
	case 4:
		d.switchedOff(u, to)
	case 5:
		d.s.trait("event:overload")
		d.s.loads = []edge{{d.begin, 3}, {to, 1}}
	default:
		d.s.trait("event:nothing")
	}
}

// switchedOff is somebody who pushed the wrong button, where the host survives that.
func (d *draw) switchedOff(u *ups, to time.Duration) {
	d.s.trait("event:off")
	if len(d.s.psus) > d.s.needs && !d.s.psus[len(d.s.psus)-1].failed && u.name != "room" && len(d.s.upses) > 1 {
		u.off = []span{{d.begin, to}}
		return
	}
	d.tell(u, lieOffTest, span{d.begin, d.begin + d.seconds(4, 20)}, 0)
}
