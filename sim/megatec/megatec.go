// Package megatec is a simulated UPS that speaks Megatec Q1 on a pseudo-terminal, at the
// pace of a 2400 baud line: for the demo, for training and for tests.
//
// It has mains that can be taken away, a battery that empties and fills, the protocol's
// commands (tests, beeper, switching off and on again) and the ways in which real units
// and cables misbehave. It shares no code with the driver that reads it.
//
// Source: Megatec protocol information; the four answers to an unknown command and the
// stuck bits are those reported of real units in the manual page of nutdrv_qx and by
// users of Network UPS Tools.
package megatec

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// Unknown is what the unit does with a command it does not know.
type Unknown int

// The answers to an unknown command.
const (
	Echo   Unknown = iota // sends it back: the protocol's own rule
	Ignore                // nothing
	NAK                   // "(NAK", as Voltronic units do
)

// Behaviour is how the unit, or the cable, treats requests.
type Behaviour int

// The behaviours.
const (
	Normal     Behaviour = iota
	Silent               // takes requests, never answers
	Garbage              // answers with bytes that mean nothing
	Half                 // stops in the middle of each reply
	Late                 // answers after the delay given to Behave, with what was true when it was asked
	Disconnect           // hangs up in the middle of each reply; the path then leads to a new terminal
)

// Config says what unit to simulate. The zero value of each field means the default.
type Config struct {
	Vendor, Model, Firmware string // default DODAI, SIM 1000, V1.00

	Baud    int     // pace of the line; default 2400, negative: no pacing
	Volts   float64 // nominal mains and output voltage; default 230
	Hz      float64 // default 50
	Amps    float64 // nominal output current; default 4
	Battery float64 // nominal battery voltage; default 24
	Load    float64 // percent; default 21

	// Runtime is how long a full battery carries Load; default 10 minutes. A heavier
	// load empties it in proportion.
	Runtime time.Duration
	// Recharge is how long an empty battery takes to fill; default 20 times Runtime.
	Recharge time.Duration
	// LowAt is the charge, 0 to 1, at and below which the unit says battery low;
	// default 0.2.
	LowAt float64
	// Speed is how many seconds pass inside the UPS (battery, tests, countdowns) for each
	// one outside; default 1.
	Speed float64

	Online   bool     // on-line type: constant output, bit b3 is 0; default line-interactive
	PerCell  bool     // the battery voltage is that of one cell
	Unknown  Unknown  // default Echo
	HangsOn  []string // queries after which the unit is silent for ever, as some are on F or I
	StuckB1  bool     // the shutdown-active bit is always 1
	StuckB5  bool     // the bypass bit is 1 on battery, too
	NoSensor bool     // the temperature is --.-
	// OnlyOnBattery: the unit takes no shutdown while the mains are there, and drops one
	// that counts down when they return, without a word about either.
	OnlyOnBattery bool
	IgnoresR      bool // after a shutdown the output is back with the mains, whatever R said

	// Dir is where Path, a link to the terminal, is made; default a temporary directory
	// that Close removes.
	Dir string
}

func (c Config) withDefaults() Config {
	c.Vendor, c.Model, c.Firmware = cmp.Or(c.Vendor, "DODAI"), cmp.Or(c.Model, "SIM 1000"), cmp.Or(c.Firmware, "V1.00")
	c.Baud, c.Volts, c.Hz = cmp.Or(c.Baud, 2400), cmp.Or(c.Volts, 230), cmp.Or(c.Hz, 50)
	c.Amps, c.Battery, c.Load = cmp.Or(c.Amps, 4), cmp.Or(c.Battery, 24), cmp.Or(c.Load, 21)
	c.Runtime = cmp.Or(c.Runtime, 10*time.Minute)
	c.Recharge = cmp.Or(c.Recharge, 20*c.Runtime)
	c.LowAt, c.Speed = cmp.Or(c.LowAt, 0.2), cmp.Or(c.Speed, 1)
	return c
}

// UPS is a simulated UPS. All methods may be called from any goroutine.
type UPS struct {
	cfg  Config
	stop chan struct{} // closed by Close
	wg   sync.WaitGroup

	mu        sync.Mutex
	m         model
	behaviour Behaviour
	delay     time.Duration
	hung      bool
	frame     string // in place of the model's; empty: none
	asked     map[string]int
	term      *terminal // nil for a UPS without one
	closed    bool
}

// New starts a UPS on a pseudo-terminal of its own. Close stops it.
func New(cfg Config) (*UPS, error) {
	u := Detached(cfg)
	t, err := openTerminal(cfg.Dir)
	if err != nil {
		return nil, err
	}
	u.term = t
	u.wg.Go(u.serveTerminal)
	return u, nil
}

// Detached makes a UPS without a terminal, for Serve.
func Detached(cfg Config) *UPS {
	cfg = cfg.withDefaults()
	return &UPS{cfg: cfg, stop: make(chan struct{}), m: newModel(cfg, time.Now()), asked: map[string]int{}}
}

// Path is a link to the terminal to open, or empty for a detached UPS. It stays the same
// when the unit hangs up and comes back on another terminal, as a link below
// /dev/serial/by-id does.
func (u *UPS) Path() string {
	if u.term == nil {
		return ""
	}
	return u.term.link
}

// Close stops everything and removes what New made. It may be called more than once.
func (u *UPS) Close() error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil
	}
	u.closed = true
	close(u.stop)
	u.mu.Unlock()
	if u.term != nil {
		u.term.hangUp()
	}
	u.wg.Wait()
	if u.term != nil {
		return u.term.remove()
	}
	return nil
}

// SetMains gives the mains back at their nominal voltage, or takes them away.
func (u *UPS) SetMains(on bool) {
	volts := 0.0
	if on {
		volts = u.cfg.Volts
	}
	u.SetInputVolts(volts)
}

// SetInputVolts sets the mains' voltage. Within 25 % below and 20 % above nominal the unit
// runs on it, with boost or trim where it is a line-interactive one.
func (u *UPS) SetInputVolts(volts float64) {
	u.change(func(m *model) { m.setInput(volts) })
}

// SetLoad sets the load in percent.
func (u *UPS) SetLoad(percent float64) { u.change(func(m *model) { m.load = percent }) }

// SetTemperature sets the temperature in °C.
func (u *UPS) SetTemperature(celsius float64) { u.change(func(m *model) { m.tempC = celsius }) }

// SetCharge sets the battery's charge, 0 to 1.
func (u *UPS) SetCharge(charge float64) { u.change(func(m *model) { m.charge = charge }) }

// SetBatteryLow makes the unit say battery low, or not, whatever the charge; nil lets the
// charge decide again.
func (u *UPS) SetBatteryLow(low *bool) { u.change(func(m *model) { m.forcedLow = low }) }

// SetBatteryVolts makes the unit report a battery voltage, whatever the charge; nil lets
// the charge decide again.
func (u *UPS) SetBatteryVolts(volts *float64) { u.change(func(m *model) { m.forcedVolts = volts }) }

func (u *UPS) change(f func(*model)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m.advance(time.Now())
	f(&u.m)
}

// Behave changes how requests are answered from now on. delay is for Late. A reply that is
// already on its way, however late, still comes.
func (u *UPS) Behave(b Behaviour, delay time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.behaviour, u.delay = b, delay
}

// SetFrame makes the unit answer Q1 with this text, such as one recorded from a real unit,
// whatever its state; empty lets the state decide again.
func (u *UPS) SetFrame(frame string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.frame = frame
}

// Exchanges is how many requests have come in, answered or not.
func (u *UPS) Exchanges() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, k := range u.asked {
		n += k
	}
	return n
}

// Asked is how many times query has come in.
func (u *UPS) Asked(query string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[query]
}

// Output reports whether the load has power.
func (u *UPS) Output() bool { return u.State().Output }

// outputCheck is how often WaitOutput looks.
const outputCheck = 5 * time.Millisecond

// WaitOutput waits until the load has power, or has none, and returns ctx's error where
// that does not happen before ctx ends.
func (u *UPS) WaitOutput(ctx context.Context, on bool) error {
	tick := time.NewTicker(outputCheck)
	defer tick.Stop()
	for u.Output() != on {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for output %v: %w", on, ctx.Err())
		}
	}
	return nil
}

// State is what is really the case in the UPS.
type State struct {
	OnBattery    bool
	BatteryLow   bool
	Output       bool    // the load has power
	Charge       float64 // 0 to 1
	BatteryVolts float64 // of the string
	Testing      bool
	CountingDown bool // to switching the output off
	Beeper       bool
}

// State returns the state of this moment.
func (u *UPS) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m.advance(time.Now())
	return State{
		OnBattery: u.m.onBattery(), BatteryLow: u.m.low(), Output: u.m.output, Charge: u.m.charge,
		BatteryVolts: u.m.volts(), Testing: u.m.testing(), CountingDown: u.m.offIn > 0, Beeper: u.m.beeper,
	}
}
