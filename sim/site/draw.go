package site

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// draw makes a site from random numbers.
type draw struct {
	*rand.Rand
	s     *Site
	begin time.Duration // of the first outage or event
	last  time.Duration // when all is back for good
}

// New draws the site of a seed: the same seed gives the same site, always.
func New(seed uint64) *Site {
	d := &draw{
		Rand: rand.New(rand.NewPCG(seed, 0x73697465)),
		s:    &Site{id: fmt.Sprintf("random-%d", seed), seed: seed, cfg: defaultConfig(), needs: 1},
	}
	d.config()
	if d.chance(hardShare) {
		d.hard()
	} else {
		d.usual()
	}
	d.s.horizon = onGrid(d.last + d.seconds(60, 75))
	d.s.finish()
	return d.s
}

// hardShare is which part of the sites are drawn by hard.
const hardShare = 0.05

// usual draws what racks are like.
func (d *draw) usual() {
	d.wiring()
	for i := range d.s.upses {
		d.device(i)
	}
	d.begin = d.grid(8, 25)
	d.last = d.begin
	d.power()
	d.lies()
	d.faults()
	d.operator()
}

// finish computes the truth and what follows from it.
func (s *Site) finish() {
	s.simulate()
	for _, u := range s.upses {
		if c := &u.claims; c.correct > 0 {
			c.learned = never
			for k := range u.soc {
				if u.flags[k]&onBatt != 0 && float64(u.soc[k]) <= c.correct {
					c.learned = instant(k)
					break
				}
			}
		}
	}
	for i, h := range s.happenings {
		if h.At >= s.end {
			s.happenings = s.happenings[:i]
			break
		}
	}
}

func (d *draw) chance(p float64) bool { return d.Float64() < p }

func (d *draw) between(a, b float64) float64 { return a + (b-a)*d.Float64() }

// spread is between a and b with small values as often as great ones.
func (d *draw) spread(a, b float64) float64 { return a * math.Pow(b/a, d.Float64()) }

// seconds is between a and b seconds, in whole milliseconds.
func (d *draw) seconds(a, b float64) time.Duration {
	return time.Duration(d.between(a, b)*1000) * time.Millisecond
}

// grid is seconds on the grid of the truth.
func (d *draw) grid(a, b float64) time.Duration { return onGrid(d.seconds(a, b)) }

// pick returns the index of one of the weights.
func (d *draw) pick(weights ...float64) int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	x := d.Float64() * sum
	for i, w := range weights {
		if x < w {
			return i
		}
		x -= w
	}
	return len(weights) - 1
}

// oneOf picks one of several equally likely ones.
func oneOf[T any](d *draw, list ...T) T { return list[d.IntN(len(list))] }

func (d *draw) config() {
	c := &d.s.cfg
	if d.chance(0.3) {
		c.Need = oneOf[time.Duration](d, 60, 90, 180, 240) * time.Second
	}
	if d.chance(0.25) {
		c.Reserve = oneOf[time.Duration](d, 30, 45, 90, 120) * time.Second
	}
	if d.chance(0.15) {
		c.PollLine = oneOf[time.Duration](d, 2, 3, 10) * time.Second
	}
	if d.chance(0.15) {
		c.PollBatt = oneOf[time.Duration](d, 1, 3, 5) * time.Second
	}
	if d.chance(0.12) {
		c.MinChargePct = oneOf(d, 10.0, 15, 25, 30)
	}
	d.s.failRate = [...]float64{0, d.between(0, 0.03), d.between(0.03, 0.1)}[d.pick(50, 30, 20)]
}

// operator adds the limits an operator sets who knows his site.
func (d *draw) operator() {
	c, u := &d.s.cfg, d.s.upses[0]
	blind := u.claims.kind == kindStatus || u.claims.kind == kindVolts
	if d.chance(0.04) || blind && d.chance(0.2) {
		c.MaxOnBatt = new(oneOf[time.Duration](d, 60, 90, 120, 300, 600, 1200) * time.Second)
		d.s.trait("config:max_onbatt")
	}
	early := false
	for _, u := range d.s.upses {
		early = early || u.claims.lb == lbEarly || u.claims.active(lieLB, d.begin) != nil
	}
	if early && d.chance(0.3) || d.chance(0.01) {
		c.IgnoreLB = true
		d.s.trait("config:ignore_lb")
	} else if early && d.chance(0.3) || d.chance(0.02) {
		c.LBTrust = new(oneOf[time.Duration](d, 20, 60, 120) * time.Second)
		d.s.trait("config:lb_trust")
	}
}

// happen puts a happening into the order of time.
func (d *draw) happen(at time.Duration, what string, step time.Duration) {
	list := append(d.s.happenings, Happening{At: at, What: what, Step: step})
	for i := len(list) - 1; i > 0 && list[i].At < list[i-1].At; i-- {
		list[i], list[i-1] = list[i-1], list[i]
	}
	d.s.happenings = list
	d.s.trait("fault:" + what)
}
