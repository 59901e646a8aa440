package snmpups

import (
	"context"
	"math"
	"sync"
	"time"
)

// Flavour is the MIB the card answers.
type Flavour int

// The flavours.
const (
	RFC1628  Flavour = iota // 1.3.6.1.2.1.33 alone
	PowerNet                // APC, 1.3.6.1.4.1.318 alone
	Both                    // APC's branch and RFC 1628 beside it
)

// Config is what a UPS is made from. The zero value is a single-phase RFC 1628 UPS on
// a free port of the loopback interface with the community "public".
type Config struct {
	Flavour   Flavour
	Addr      string // host:port to listen at
	Community string
	// WriteCommunity may set the shutdown objects; empty: nobody may.
	WriteCommunity string
	// DenyWrites is the error state of SNMP version 2 that each SET is answered with; 0:
	// it is carried out.
	DenyWrites int
	Phases     int // 1 or 3
	Model      string
	Serial     string
}

// State is what the UPS model computes with.
type State struct {
	Mains      bool
	Charge     float64       // percent
	Load       float64       // percent of nominal
	Low        bool          // low battery; set by the model under LowAt, or by hand
	Replace    bool          // the battery must be replaced
	Off        bool          // the output is off
	Test       bool          // a self-test runs
	OnBattery  time.Duration // of the present outage
	Runtime    time.Duration // what the card says is left
	Cut        Cut
	fixRuntime bool
	fixLow     bool
}

// The model's constants: a 1,500 W UPS that carries full load for five minutes, runs
// three times as long at half load, charges in an hour, and says low battery with
// two minutes left.
const (
	nominalWatts = 1500
	fullLoadTime = 5 * time.Minute
	chargeTime   = time.Hour
	lowAt        = 2 * time.Minute
	peukert      = 1.585 // log2(3)
)

// UPS is an agent whose objects are kept by a battery model. Time passes only by Step
// or while Run runs.
type UPS struct {
	*Agent
	cfg   Config
	mu    sync.Mutex
	state State
	up    time.Duration // the card's uptime
}

// New starts a UPS on mains with a full battery and 30 % load.
func New(cfg Config) (*UPS, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Community == "" {
		cfg.Community = "public"
	}
	if cfg.Model == "" {
		cfg.Model = "Simulated 1500"
	}
	if cfg.Serial == "" {
		cfg.Serial = "SIM0000001"
	}
	cfg.Phases = max(cfg.Phases, 1)
	agent, err := Listen(cfg.Addr, cfg.Community)
	if err != nil {
		return nil, err
	}
	u := &UPS{Agent: agent, cfg: cfg, up: time.Hour}
	u.Change(func(s *State) { *s = State{Mains: true, Charge: 100, Load: 30, Cut: idleCut} })
	if cfg.WriteCommunity != "" {
		u.AllowWrites(cfg.WriteCommunity, u.take)
	}
	return u, nil
}

// State returns the present state.
func (u *UPS) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state
}

// Change lets f change the state and puts it into the agent's objects at once.
func (u *UPS) Change(f func(*State)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.state)
	u.state.settle()
	for _, b := range u.objects() {
		u.Set(b.OID, b.Value)
	}
}

// SetMains takes the mains away or gives it back.
func (u *UPS) SetMains(present bool) { u.Change(func(s *State) { s.Mains = present }) }

// SetCharge sets the battery's charge in percent.
func (u *UPS) SetCharge(percent float64) { u.Change(func(s *State) { s.Charge = percent }) }

// SetLoad sets the load in percent of nominal.
func (u *UPS) SetLoad(percent float64) { u.Change(func(s *State) { s.Load = percent }) }

// SetRuntime makes the card say this runtime whatever the battery holds, as a card
// with a wrong estimate does; a negative one gives the word back to the model.
func (u *UPS) SetRuntime(left time.Duration) {
	u.Change(func(s *State) { s.fixRuntime, s.Runtime = left >= 0, max(left, 0) })
}

// SetLow makes the card say low battery, or not, whatever the battery holds.
func (u *UPS) SetLow(low bool) { u.Change(func(s *State) { s.fixLow, s.Low = true, low }) }

// Step lets time pass.
func (u *UPS) Step(d time.Duration) {
	u.Change(func(s *State) {
		u.up += d
		switch {
		case s.Mains:
			s.OnBattery = 0
			s.Charge += 100 * d.Seconds() / chargeTime.Seconds()
		case !s.Off:
			s.OnBattery += d
			s.Charge -= 100 * d.Seconds() / s.full().Seconds()
		}
		s.runCut(d)
	})
}

// Run lets time pass, speed times as fast as the clock, until ctx ends.
func (u *UPS) Run(ctx context.Context, speed float64) {
	const tick = 100 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			u.Step(time.Duration(float64(tick) * speed))
		}
	}
}

// full is how long a full battery carries the present load.
func (s *State) full() time.Duration {
	load := max(s.Load, 1) / 100
	return time.Duration(float64(fullLoadTime) * math.Pow(load, -peukert))
}

// settle bounds the state and derives what the card says from it. An empty battery on
// battery switches the output off, and the mains switch it on again.
func (s *State) settle() {
	s.Charge = min(max(s.Charge, 0), 100)
	s.Load = min(max(s.Load, 0), 150)
	if !s.fixRuntime {
		s.Runtime = time.Duration(float64(s.full()) * s.Charge / 100).Round(time.Second)
	}
	if !s.fixLow {
		s.Low = s.Runtime <= lowAt
	}
	if !s.Mains && s.Charge == 0 {
		s.Off = true
	} else if s.Mains && s.Off && s.OnBattery > 0 && !s.Cut.Done {
		s.Off, s.OnBattery = false, 0
	}
}
