package site

import (
	"time"

	"github.com/dodai-agent/dodai"
)

// sample is what one device answers from an instant on.
type sample struct {
	at time.Duration // of the values
	values
	bits uint16 // of the BMC: supplies whose input is lost
	r    *dodai.Reading
}

// Read is what the device would answer at that instant after the start; before the start
// it is what it answers at the start. ok is false when it cannot be reached, or is not
// known. The reading is shared and must not be changed; equal answers are one reading.
func (s *Site) Read(device string, at time.Duration) (r *dodai.Reading, ok bool) {
	at = max(at, 0)
	if device == BMC && s.bmc != nil {
		return s.readBMC(at)
	}
	i := s.upsNamed(device)
	if i < 0 || !s.reachable(i, at) {
		return nil, false
	}
	u := s.upses[i]
	t := u.sampledAt(at)
	if u.answered && u.now.at == t {
		return u.now.r, true
	}
	v := s.report(u, t)
	if !u.answered || u.now.values != v {
		u.now.values, u.now.r = v, u.reading(v)
	}
	u.now.at, u.answered = t, true
	return u.now.r, true
}

// reachable is whether the UPS answers: a card without power does not.
func (s *Site) reachable(i int, t time.Duration) bool {
	u := s.upses[i]
	if within(u.claims.silent, t) {
		return false
	}
	return u.flags[s.clamp(tickAt(t))]&(inputOK|outputOK) != 0
}

// reading puts values into NUT's vocabulary.
func (u *ups) reading(v values) *dodai.Reading {
	r := &dodai.Reading{Kind: dodai.KindUPS, Status: v.status, Vars: make(dodai.Vars, 8)}
	put := func(name string, f float64) {
		if f != absent {
			r.Vars[name] = dodai.Num(f)
		}
	}
	put(dodai.BatteryCharge, v.charge)
	put(dodai.BatteryRuntime, v.runtime)
	put(dodai.InputVoltage, v.volts)
	put(dodai.UPSLoad, v.load)
	put(dodai.UPSTimerShutdown, v.timer)
	if v.batt != absent {
		put(dodai.BatteryVoltage, v.batt)
		put(battLowName, battLow)
		put(battNomName, battNominal)
	}
	if u.claims.lowVar {
		put(dodai.BatteryChargeLow, u.claims.lbCharge)
	}
	return r
}

// decode reads the values out of any reading of a UPS.
func decode(r *dodai.Reading) values {
	get := func(name string) float64 {
		if f, ok := r.Vars.Float(name); ok {
			return f
		}
		return absent
	}
	return values{
		status: r.Status, charge: get(dodai.BatteryCharge), runtime: get(dodai.BatteryRuntime), volts: get(dodai.InputVoltage),
		load: get(dodai.UPSLoad), batt: get(dodai.BatteryVoltage), timer: get(dodai.UPSTimerShutdown),
	}
}

// bmc reports the power supplies.
type bmc struct {
	refresh, phase time.Duration
	silent         []span
	allLost        []span // it says that no supply has input
	now            sample
	answered       bool
}

func (b *bmc) sampledAt(t time.Duration) time.Duration {
	if t < b.phase {
		return 0
	}
	return b.phase + (t-b.phase)/b.refresh*b.refresh
}

func (s *Site) readBMC(at time.Duration) (*dodai.Reading, bool) {
	b := s.bmc
	if within(b.silent, at) {
		return nil, false
	}
	t := b.sampledAt(at)
	if b.answered && b.now.at == t {
		return b.now.r, true
	}
	lost := s.saidLost(t)
	if !b.answered || b.now.bits != lost {
		b.now.bits, b.now.r = lost, s.psuReading(lost)
	}
	b.now.at, b.answered = t, true
	return b.now.r, true
}

// saidLost has a bit for each supply that reports its input lost.
func (s *Site) saidLost(t time.Duration) uint16 {
	all := uint16(1)<<len(s.psus) - 1
	if within(s.bmc.allLost, t) {
		return all
	}
	lost := all &^ s.powers[s.clamp(tickAt(t))]
	for i := range s.psus {
		if s.psus[i].failed {
			lost &^= 1 << i
		}
	}
	return lost
}

func (s *Site) psuReading(lost uint16) *dodai.Reading {
	r := &dodai.Reading{Kind: dodai.KindPSUs, PSUs: make([]dodai.PSU, len(s.psus))}
	for i := range s.psus {
		r.PSUs[i] = dodai.PSU{ID: s.psus[i].id, State: dodai.PSUOK, Input: dodai.InputOK}
		switch {
		case s.psus[i].failed:
			r.PSUs[i].State, r.PSUs[i].Input = dodai.PSUFailed, dodai.InputUnknown
		case lost&(1<<i) != 0:
			r.PSUs[i].State, r.PSUs[i].Input = dodai.PSUInputLost, dodai.InputLost
		}
	}
	return r
}

// entry is one read attempt of the agent.
type entry struct {
	at     time.Duration
	device int8 // index of the UPS; -1: the BMC
	ok     bool
	values
	bits uint16
	age  time.Duration // at what instant the values were so
}

// Saw tells what the agent really got from a device at that instant; r nil: the read
// failed. It is called in order of time, for each attempt.
func (s *Site) Saw(device string, at time.Duration, r *dodai.Reading) {
	e := entry{at: at, device: -1, ok: r != nil}
	if i := s.upsNamed(device); i >= 0 {
		e.device = int8(i)
		if u := s.upses[i]; r != nil {
			e.age = u.sampledAt(max(at, 0))
			if u.answered && u.now.r == r {
				e.values = u.now.values
			} else {
				e.values = decode(r)
			}
		}
	} else if s.bmc == nil {
		return
	}
	if e.device < 0 && r != nil {
		e.bits, e.age = s.lostBits(r), s.bmc.sampledAt(max(at, 0))
	}
	s.log = append(s.log, e)
}

func (s *Site) lostBits(r *dodai.Reading) uint16 {
	var bits uint16
	for i := range s.psus {
		for j := range r.PSUs {
			if r.PSUs[j].ID == s.psus[i].id && r.PSUs[j].Input == dodai.InputLost {
				bits |= 1 << i
			}
		}
	}
	return bits
}
