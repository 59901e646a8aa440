package site

import (
	"math"
	"slices"
	"time"
)

// Volts of a feed. Below transferLow a UPS goes to battery.
const (
	nominalVolts = 230
	boostLow     = 207
	transferLow  = 176
)

// power is the state of everything that carries current at one instant.
type power struct {
	s   *Site
	at  time.Duration
	soc []float64 // charge of each UPS, 0 to 1

	flags    []upsFlags
	safe     []bool    // fed by the mains through whatever stands before it
	load     []float64 // part of nominal
	rate     []float64 // charge lost per second
	testOver []bool
	cutOff   []bool
	live     uint16 // bit i: supply i has input, and works
	onMains  uint16 // … from the mains
}

func (s *Site) newPower() *power {
	n := len(s.upses)
	f := make([]float64, 3*n)
	b := make([]bool, 3*n)
	p := &power{s: s, soc: f[:n:n], load: f[n : 2*n : 2*n], rate: f[2*n:], flags: make([]upsFlags, n), safe: b[:n:n], testOver: b[n : 2*n], cutOff: b[2*n:]}
	for i, u := range s.upses {
		p.soc[i] = u.batt.charge0
	}
	return p
}

// settle works out who is fed by what at p.at.
func (p *power) settle() {
	for i, u := range p.s.upses {
		p.settleUPS(i, u)
	}
	p.settleSupplies()
	p.settleLoads()
}

// input is the voltage at the input of a UPS, and whether it comes from the mains.
func (p *power) input(u *ups) (volts float64, mains bool) {
	if u.fedBy < 0 {
		return valueAt(p.s.feeds[u.feed].volts, p.at, nominalVolts), true
	}
	if p.flags[u.fedBy]&outputOK == 0 {
		return 0, false
	}
	return nominalVolts, p.safe[u.fedBy]
}

func (p *power) settleUPS(i int, u *ups) {
	volts, mains := p.input(u)
	var f upsFlags
	if volts >= transferLow && !within(u.around, p.at) {
		f |= inputOK
	}
	in := f&inputOK != 0
	switch {
	case within(u.off, p.at) || u.cut != 0 && p.at >= u.cut || p.cutOff[i]:
		f |= switchedOff
	case within(u.bypass, p.at):
		f |= bypassed
		if in {
			f |= outputOK
		}
	case in && within(u.tests, p.at) && !p.testOver[i] && p.soc[i] > 0:
		f |= inTest | onBatt | outputOK
	case in:
		f |= outputOK
	case p.soc[i] > 0:
		f |= onBatt | outputOK
	}
	p.flags[i] = f
	p.safe[i] = in && mains && f&outputOK != 0
}

func (p *power) settleSupplies() {
	p.live, p.onMains = 0, 0
	for i := range p.s.psus {
		if p.s.psus[i].failed {
			continue
		}
		for _, w := range p.s.psus[i].paths {
			if ok, mains := p.wireLives(w); ok {
				p.live |= 1 << i
				if mains {
					p.onMains |= 1 << i
				}
			}
		}
	}
}

func (p *power) wireLives(w wire) (ok, mains bool) {
	if w.ups < 0 {
		ok = valueAt(p.s.feeds[w.feed].volts, p.at, nominalVolts) > 90 // wide-range supplies
		return ok, ok
	}
	if within(p.s.upses[w.ups].around, p.at) {
		ok = valueAt(p.s.feeds[w.feed].volts, p.at, nominalVolts) > 90
		return ok, ok
	}
	return p.flags[w.ups]&outputOK != 0, p.safe[w.ups]
}

// settleLoads shares the host's load among the supplies that have input; each draws from
// the first of its paths that lives.
func (p *power) settleLoads() {
	factor, n := valueAt(p.s.loads, p.at, 1), 0
	for i, u := range p.s.upses {
		p.load[i] = u.base
	}
	for i := range p.s.psus {
		if p.live&(1<<i) != 0 {
			n++
		}
	}
	for i := range p.s.psus {
		if p.live&(1<<i) == 0 {
			continue
		}
		for _, w := range p.s.psus[i].paths {
			if ok, _ := p.wireLives(w); ok {
				if w.ups >= 0 {
					p.load[w.ups] += p.s.upses[w.ups].host * factor / float64(n)
				}
				break
			}
		}
	}
	for i, u := range slices.Backward(p.s.upses) {
		f := p.flags[i]
		if u.fedBy >= 0 && f&inputOK != 0 && f&onBatt == 0 && f&outputOK != 0 {
			p.load[u.fedBy] += p.load[i] * u.ratio
		}
		p.rate[i] = 0
	}
	for i, u := range p.s.upses {
		if p.flags[i]&onBatt != 0 {
			p.rate[i] = 1 / u.batt.lasts(p.load[i])
		}
	}
}

// enough reports whether the host has the power it needs.
func (p *power) enough() bool { return ones(p.live) >= p.s.needs }

// atRisk reports whether it would not have it without batteries.
func (p *power) atRisk() bool { return ones(p.onMains) < p.s.needs }

func ones(m uint16) int {
	n := 0
	for ; m != 0; m &= m - 1 {
		n++
	}
	return n
}

// drain lets dt seconds pass. It reports whether somebody's battery ended or test did.
func (p *power) drain(dt float64) (changed bool) {
	for i, u := range p.s.upses {
		f := p.flags[i]
		switch {
		case f&onBatt != 0:
			p.soc[i] -= dt * p.rate[i]
			if f&inTest != 0 && p.soc[i] <= u.testStop {
				p.testOver[i], changed = true, true
			}
			if u.dies != 0 && p.at >= u.dies {
				p.soc[i] = 0
			}
			if p.soc[i] <= 0 {
				p.soc[i], changed = 0, true
			}
		case f&inputOK != 0 && f&(bypassed|switchedOff) == 0:
			p.soc[i] = min(1, p.soc[i]+dt/u.batt.recharge)
		}
	}
	return changed
}

// changes lists the ticks at which something from outside changes.
func (s *Site) changes() []int {
	var out []int
	add := func(t time.Duration) { out = append(out, tickAt(t)) }
	for i := range s.feeds {
		for _, e := range s.feeds[i].volts {
			add(e.at)
		}
	}
	for _, e := range s.loads {
		add(e.at)
	}
	for _, u := range s.upses {
		for _, list := range [][]span{u.off, u.bypass, u.tests, u.around} {
			for _, p := range list {
				add(p.from)
				add(p.to)
			}
		}
		if u.cut != 0 {
			add(u.cut)
		}
	}
	slices.Sort(out)
	return out
}

// afterLoss is how long a play goes on when the host has lost its power.
const afterLoss = 2 * time.Second

// simulate computes the truth from the start to the horizon, or to a little after the
// host has lost its power.
func (s *Site) simulate() {
	n := tickAt(s.horizon) + 1
	for _, u := range s.upses {
		f := make([]float32, 2*n)
		u.soc, u.load, u.flags = f[:0:n], f[n:n], make([]upsFlags, 0, n)
	}
	s.risk, s.powers, s.lost, s.end = make([]bool, 0, n), make([]uint16, 0, n), -1, s.horizon
	p, changes, changed := s.newPower(), s.changes(), true
	for k := range n {
		p.at = instant(k)
		for len(changes) > 0 && changes[0] <= k {
			changes, changed = changes[1:], true
		}
		if changed {
			p.settle()
			changed = false
		}
		s.record(p, k)
		if s.lost >= 0 && p.at >= instant(s.lost)+afterLoss {
			s.end = p.at
			break
		}
		changed = p.drain(tick.Seconds())
	}
}

// record writes down one tick.
func (s *Site) record(p *power, k int) {
	for i, u := range s.upses {
		f := p.flags[i]
		if before := k > 0 && u.flags[k-1]&onBatt != 0; f&onBatt != 0 && !before {
			u.transfers = append(u.transfers, p.at)
		}
		u.soc = append(u.soc, float32(p.soc[i]))
		u.load = append(u.load, float32(p.load[i]))
		u.flags = append(u.flags, f)
	}
	s.risk = append(s.risk, p.atRisk())
	s.powers = append(s.powers, p.live)
	if s.lost < 0 && !p.enough() && !s.hostOff.has(p.at) {
		s.lost = k
	}
}

// clamp keeps a tick within the truth that was computed.
func (s *Site) clamp(k int) int { return min(max(k, 0), len(s.risk)-1) }

// trueLeft is how many seconds the battery of a UPS would carry its present load.
func (u *ups) trueLeft(k int) float64 {
	k = min(max(k, 0), len(u.soc)-1)
	return float64(u.soc[k]) * u.batt.lasts(float64(u.load[k]))
}

// hostLeft is how many seconds the host would have power from tick k on if nothing
// outside changed any more: no mains come back, none fail. Batteries end one after the
// other and their load moves on. +Inf: for ever.
func (s *Site) hostLeft(k int) float64 {
	k = s.clamp(k)
	p := s.newPower()
	p.at = instant(k)
	for i, u := range s.upses {
		p.soc[i] = float64(u.soc[k])
		p.testOver[i] = u.flags[k]&inTest == 0
	}
	left := 0.0
	for range 4 * (len(s.upses) + 1) {
		p.settle()
		if !p.enough() {
			return left
		}
		dt, which, cut := p.nextEnd(left)
		if math.IsInf(dt, 1) {
			return dt
		}
		left += dt
		p.drain(dt)
		if cut {
			p.cutOff[which] = true
		} else {
			p.soc[which] = 0
		}
	}
	return left
}

// nextEnd is in how many seconds the next battery ends, or output is cut, and whose;
// passed seconds have gone by since p.at.
func (p *power) nextEnd(passed float64) (dt float64, which int, cut bool) {
	dt = math.Inf(1)
	for i, u := range p.s.upses {
		if p.flags[i]&(onBatt|inTest) == onBatt && p.soc[i]/p.rate[i] < dt {
			dt, which, cut = p.soc[i]/p.rate[i], i, false
		}
		if u.cut > p.at && !p.cutOff[i] {
			if until := max(0, (u.cut-p.at).Seconds()-passed); until < dt {
				dt, which, cut = until, i, true
			}
		}
	}
	return dt, which, cut
}
