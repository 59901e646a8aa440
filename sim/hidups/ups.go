package hidups

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Behaviour is how the unit treats requests for reports.
type Behaviour int

// The behaviours.
const (
	Normal Behaviour = iota
	Silent           // answers nothing at all and sends nothing
	Refuse           // refuses each report
	Frozen           // answers with what was true when it was told to freeze
	Short            // the first half of each report
	Late             // after the delay given to Behave
)

// Config says what unit to simulate. The zero value of each field means the default.
type Config struct {
	Model   Model   // default Standard
	Serial  string  // default SIM0001
	Volts   float64 // nominal mains and output voltage; default the model's, or 230
	Hz      float64 // default 50
	Watts   float64 // what the unit can carry; default the model's, or 600
	Battery float64 // nominal battery voltage; default the model's, or 24
	Load    float64 // percent; default 21

	// Runtime is how long a full battery carries Load; default 10 minutes. A heavier
	// load empties it in proportion.
	Runtime time.Duration
	// Recharge is how long an empty battery takes to fill; default 20 times Runtime.
	Recharge time.Duration
	// LowAt is the charge, 0 to 1, below which the unit says battery low, default 0.2;
	// LowTime the runtime below which it says that the time limit is over, default 0: never.
	LowAt   float64
	LowTime time.Duration
	// Speed is how many seconds pass inside the UPS (battery, tests, countdowns) for each
	// one outside; default 1.
	Speed float64
	// Gap is how long a unit that leaves the bus at a transfer stays away; default 1.5 s.
	Gap time.Duration
}

func (c Config) withDefaults() Config {
	if c.Model.ReportDescriptor == nil {
		c.Model = Standard()
	}
	m := &c.Model
	if c.Volts != 0 && c.Volts != m.Volts {
		m.LowTransfer, m.HighTransfer = 0, 0 // they belong to another voltage
	}
	m.BatteryVoltsFactor, m.FrequencyFactor = cmp.Or(m.BatteryVoltsFactor, 1), cmp.Or(m.FrequencyFactor, 1)
	c.Serial = cmp.Or(c.Serial, "SIM0001")
	c.Volts, c.Hz, c.Watts = cmp.Or(c.Volts, m.Volts, 230), cmp.Or(c.Hz, 50), cmp.Or(c.Watts, m.Watts, 600)
	c.Battery, c.Load = cmp.Or(c.Battery, m.Battery, 24), cmp.Or(c.Load, 21)
	m.LowTransfer, m.HighTransfer = cmp.Or(m.LowTransfer, 0.8*c.Volts), cmp.Or(m.HighTransfer, 1.15*c.Volts)
	c.Runtime = cmp.Or(c.Runtime, 10*time.Minute)
	c.Recharge = cmp.Or(c.Recharge, 20*c.Runtime)
	c.LowAt, c.Speed, c.Gap = cmp.Or(c.LowAt, 0.2), cmp.Or(c.Speed, 1), cmp.Or(c.Gap, 1500*time.Millisecond)
	return c
}

// UPS is a simulated UPS. All methods may be called from any goroutine.
type UPS struct {
	cfg  Config
	desc descriptor
	stop chan struct{} // closed by Close

	mu        sync.Mutex
	m         model
	behaviour Behaviour
	delay     time.Duration
	frozen    map[reportKey][]byte
	forced    map[reportKey][]byte
	asked     map[reportKey]int
	unplugged bool
	awayUntil time.Time     // off the bus by itself until then
	changed   chan struct{} // closed, and made anew, by each change from outside
	closed    bool
}

// New makes a UPS on mains with a full battery. The error says what is wrong with its
// report descriptor. Close ends what serves it.
func New(cfg Config) (*UPS, error) {
	cfg = cfg.withDefaults()
	desc, err := parseDescriptor(cfg.Model.ReportDescriptor)
	if err != nil {
		return nil, err
	}
	u := &UPS{
		cfg: cfg, desc: desc, stop: make(chan struct{}), m: newModel(cfg, time.Now()),
		forced: map[reportKey][]byte{}, asked: map[reportKey]int{}, changed: make(chan struct{}),
	}
	return u, nil
}

// Close ends what serves the UPS. It may be called more than once.
func (u *UPS) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.closed = true
		close(u.stop)
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

// SetInputVolts sets the mains' voltage. Between the transfer limits, which are the model's
// until somebody sets others, the unit runs on it.
func (u *UPS) SetInputVolts(volts float64) {
	u.change(func() {
		was := u.m.mains()
		u.m.input = volts
		if u.cfg.Model.LeavesBusAtTransfer && was != u.m.mains() {
			u.awayUntil = time.Now().Add(u.cfg.Gap)
		}
	})
}

// SetLoad sets the load in percent of what the unit can carry.
func (u *UPS) SetLoad(percent float64) { u.change(func() { u.m.load = percent }) }

// SetTemperature sets the temperature in °C.
func (u *UPS) SetTemperature(celsius float64) { u.change(func() { u.m.tempC = celsius }) }

// SetCharge sets the battery's charge, 0 to 1.
func (u *UPS) SetCharge(charge float64) { u.change(func() { u.m.charge = charge }) }

// SetBatteryLow makes the unit say battery low, or not, whatever the charge; nil lets the
// charge decide again.
func (u *UPS) SetBatteryLow(low *bool) { u.change(func() { u.m.forcedLow = low }) }

// SetReplaceBattery makes the unit ask for a new battery.
func (u *UPS) SetReplaceBattery(on bool) { u.change(func() { u.m.replace = on }) }

// SetPlugged pulls the USB plug, or puts it back.
func (u *UPS) SetPlugged(in bool) { u.change(func() { u.unplugged = !in }) }

// SetReport makes the unit answer with these bytes (the id first where the descriptor has
// ids), such as ones recorded from a real unit, whatever its state; nil lets the state
// decide again.
func (u *UPS) SetReport(kind Kind, id byte, report []byte) {
	u.change(func() {
		if key := (reportKey{kind, id}); report == nil {
			delete(u.forced, key)
		} else {
			u.forced[key] = bytes.Clone(report)
		}
	})
}

// Behave changes how requests are answered from now on. delay is for Late.
func (u *UPS) Behave(b Behaviour, delay time.Duration) {
	u.change(func() {
		u.behaviour, u.delay, u.frozen = b, delay, nil
		if b != Frozen {
			return
		}
		frozen := map[reportKey][]byte{}
		for key := range u.desc.bits {
			frozen[key] = u.report(key)
		}
		u.frozen = frozen
	})
}

func (u *UPS) change(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m.advance(time.Now())
	f()
	close(u.changed)
	u.changed = make(chan struct{})
}

// Asked is how many times a report has been asked for.
func (u *UPS) Asked(kind Kind, id byte) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[reportKey{kind, id}]
}

// State is what is really the case in the UPS.
type State struct {
	OnBattery    bool
	BatteryLow   bool
	Output       bool    // the load has power
	Charge       float64 // 0 to 1
	BatteryVolts float64
	Runtime      time.Duration
	Testing      bool
	CountingDown bool // to switching the output off
	OnBus        bool // plugged in, and not away by itself
}

// State returns the state of this moment.
func (u *UPS) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m.advance(time.Now())
	return State{
		OnBattery: u.m.onBattery(), BatteryLow: u.m.low(), Output: u.m.output, Charge: u.m.charge,
		BatteryVolts: u.m.batteryVolts(), Runtime: u.m.runtime(), Testing: u.m.test == testRunning,
		CountingDown: u.m.counting, OnBus: u.onBus(),
	}
}

// onBus needs u.mu.
func (u *UPS) onBus() bool {
	return !u.closed && !u.unplugged && !u.m.dead() && !time.Now().Before(u.awayUntil)
}

// check is how often what has changed by itself is looked for.
const check = 50 * time.Millisecond

// WaitOutput waits until the load has power, or has none, and returns ctx's error where
// that does not happen before ctx ends.
func (u *UPS) WaitOutput(ctx context.Context, on bool) error {
	tick := time.NewTicker(check)
	defer tick.Stop()
	for u.State().Output != on {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for output %v: %w", on, ctx.Err())
		}
	}
	return nil
}

// What a unit does instead of answering.
var (
	errRefused = errors.New("refused") // it has no such report
	errSilent  = errors.New("silent")  // nothing comes
)

// report is a report as the unit sends it when nothing is wrong; nil: there is none. The
// caller holds u.mu.
func (u *UPS) report(key reportKey) []byte {
	if forced, ok := u.forced[key]; ok {
		return bytes.Clone(forced)
	}
	n := u.desc.bytes(key)
	if n == 0 {
		return nil
	}
	report := make([]byte, n+u.cfg.Model.ExtraBytes)
	body := report
	if u.desc.ids {
		report[0], body = key.id, report[1:]
	}
	for i := range u.desc.fields {
		if f := &u.desc.fields[i]; f.kind == key.kind && f.report == key.id {
			f.put(body, f.encode(u.m.value(f)))
		}
	}
	return report
}

// Report is what the unit would answer to a request for a report at this moment if nothing
// were wrong with it, its id first where the descriptor has ids; nil: it has none such.
func (u *UPS) Report(kind Kind, id byte) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m.advance(time.Now())
	return u.report(reportKey{kind, id})
}

// getReport answers a request, and says how long that takes.
func (u *UPS) getReport(kind Kind, id byte) (report []byte, after time.Duration, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m.advance(time.Now())
	key := reportKey{kind, id}
	u.asked[key]++
	report = u.report(key)
	switch {
	case u.behaviour == Silent:
		return nil, 0, errSilent
	case report == nil || u.behaviour == Refuse:
		return nil, 0, errRefused
	case u.behaviour == Frozen:
		report = bytes.Clone(u.frozen[key])
	case u.behaviour == Short:
		report = report[:len(report)/2]
	case u.behaviour == Late:
		after = u.delay
	}
	return report, after, nil
}

// setReport takes what somebody sets; report begins with its id where the descriptor has
// ids.
func (u *UPS) setReport(kind Kind, id byte, report []byte) error {
	var err error
	u.change(func() { err = u.take(reportKey{kind, id}, report) })
	return err
}

func (u *UPS) take(key reportKey, report []byte) error {
	switch {
	case u.behaviour == Silent:
		return errSilent
	case u.behaviour == Refuse || len(report) < u.desc.bytes(key):
		return errRefused
	}
	if u.desc.ids && len(report) > 0 {
		report = report[1:]
	}
	known := false
	for i := range u.desc.fields {
		if f := &u.desc.fields[i]; f.kind == key.kind && f.report == key.id {
			known = u.m.set(f, f.decode(f.get(report))) || known
		}
	}
	if !known {
		return errRefused
	}
	return nil
}

// inputs are the ids of the reports the unit sends by itself.
func (u *UPS) inputs() []byte {
	var ids []byte
	for key := range u.desc.bits {
		if key.kind == Input && !u.cfg.Model.NoInputReports {
			ids = append(ids, key.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// link is a way by which the unit is connected.
type link interface {
	// onBus says that the unit has come to the bus, or left it.
	onBus(there bool)
	// input passes on an input report and reports whether anybody wants such.
	input(report []byte) (wanted bool)
}

// drive keeps a link in step with the unit until stop is closed or the UPS is: it says at
// once whether the unit is there, and sends each input report that is not what it was.
func (u *UPS) drive(l link, stop <-chan struct{}) {
	tick := time.NewTicker(check)
	defer tick.Stop()
	ids, sent, was := u.inputs(), map[byte][]byte{}, false
	for {
		there, reports, changed := u.look(ids)
		if there != was {
			l.onBus(there)
			clear(sent)
			was = there
		}
		for id, r := range reports {
			if bytes.Equal(sent[id], r) {
				continue
			}
			delete(sent, id)
			if l.input(r) {
				sent[id] = r
			}
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-stop:
			return
		case <-u.stop:
			return
		}
	}
}

// look is what a link has to know: whether the unit is there, the input reports of this
// moment, and what is closed by the next change from outside.
func (u *UPS) look(ids []byte) (there bool, reports map[byte][]byte, changed <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.m.advance(time.Now())
	there, changed = u.onBus(), u.changed
	if !there || u.behaviour == Silent {
		return there, nil, changed
	}
	reports = map[byte][]byte{}
	for _, id := range ids {
		key := reportKey{Input, id}
		if reports[id] = u.report(key); u.behaviour == Frozen {
			reports[id] = u.frozen[key]
		}
	}
	return there, reports, changed
}
