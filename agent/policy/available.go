package policy

import (
	"math"
	"time"

	"github.com/dodai-agent/dodai"
)

// corrected is said of a source that is believed in part.
const corrected = ", corrected by what this battery gave before"

// estimate works out how long the load could still run on this battery: the least of
// what the UPS says and what the discharge shows.
func (u *ups) estimate(f *Facts) {
	m := &u.mem
	u.chargeLie(f)
	u.noteFalls(*f)
	runtime := f.Runtime
	if runtime.OK && u.stuck(f.At) && !u.pol.off(RuleStuck) {
		runtime = Num{} // it would have to fall
	}
	m.AvailableWas, m.WasAt = m.Available, m.Read
	m.Available, m.Source = Num{}, ""
	// A worn battery's runtime is worth nothing as a promise, but still as a limit.
	worn := f.Status.Has(dodai.RB)
	if runtime.OK {
		m.Available, m.Source = some(runtime.V*u.factor), dodai.BatteryRuntime
		if u.factor < 1 {
			m.Source += corrected
		}
	}
	u.observed(*f)
	u.watch(*f, runtime)
	m.Credible = runtime.OK && !worn || f.Charge.OK
	if m.Available.OK {
		m.LastRuntime = m.Available
	}
}

// stuck reports whether a runtime that must fall stands still on battery.
func (u *ups) stuck(at time.Duration) bool {
	m := &u.mem
	return m.running() && m.RuntimeMoved.Last.Set && m.RuntimeMoved.Last.since(at) > m.RuntimeMoved.limit(u.cfg)
}

// observed shortens the available time to what the slope of the charge, or for want of
// it the battery's voltage, predicts. It never lengthens it.
func (u *ups) observed(f Facts) {
	m := &u.mem
	left, volts := f.Charge, false
	if !left.OK && f.Reserve.OK {
		left, volts = f.Reserve, true
	}
	if !m.running() || m.Transfer.within(slopeSkip, f.At) || u.pol.off(RuleDischarge) {
		m.Slope = Slope{}
		return
	}
	if !left.OK {
		return
	}
	m.Slope.see(left.V, volts, f.At)
	s, ok := m.Slope.left(f.At)
	if !ok || m.Available.OK && m.Available.V <= s {
		return
	}
	m.Available, m.Source = some(s), "charge slope"
	if volts {
		m.Source = "battery voltage slope"
	}
}

// chargeLieS is a runtime in seconds that no empty battery has.
const chargeLieS = 60

// chargeLie drops a charge of 0 from a UPS that says so on line although its battery is
// at its voltage, or it would run for long by its own word.
func (u *ups) chargeLie(f *Facts) {
	m := &u.mem
	if !f.Charge.OK || u.pol.off(RuleCredible) {
		return
	}
	if f.Charge.V > 0 {
		m.ChargeLie = false
		return
	}
	volts, ok := u.d.Reading.Vars.Float(dodai.BatteryVoltage)
	nominal, known := u.d.Reading.Vars.Float("battery.voltage.nominal")
	full := ok && known && volts >= nominal || f.Runtime.OK && f.Runtime.V > chargeLieS
	if f.Status.Has(dodai.OL) && !f.Status.Any(dodai.OB|dodai.LB) && full {
		m.ChargeLie = true
	}
	if m.ChargeLie {
		f.Charge = Num{}
	}
}

// noteFalls notes a fall by more than half from one reading to the next.
func (u *ups) noteFalls(f Facts) {
	m := &u.mem
	if !m.OnBattery.Set {
		return
	}
	was := m.Last
	if was.Runtime.OK && f.Runtime.OK && f.Runtime.V < was.Runtime.V/2 && was.Runtime.V > 10 {
		m.Collapse, m.CollapseFrom = mark(f.At), was.Runtime.V
	} else if m.Collapse.Set && f.Runtime.OK && f.Runtime.V >= m.CollapseFrom/2 {
		m.Collapse = Mark{}
	}
	if was.Charge.OK && f.Charge.OK && f.Charge.V < was.Charge.V/2 && was.Charge.V > 10 {
		m.ChargeFell = mark(f.At)
	}
}

// availableAt is the available time at now, counted down since the reading when on battery,
// and no longer than until the UPS cuts its output by itself.
func (u *ups) availableAt() *time.Duration {
	left := u.batteryLeft()
	if cut := u.cutIn(); cut != nil && (left == nil || *cut < *left) {
		return cut
	}
	return left
}

// cutIn is in how long the UPS cuts its output by its own timer; nil: it does not.
func (u *ups) cutIn() *time.Duration {
	m := &u.mem
	if !m.Timer.Set || m.Countdown.V < 0 {
		return nil
	}
	return new(max(0, seconds(m.Countdown.V)-(u.now-m.Countdown.Read.At)))
}

// source says where availableAt comes from.
func (u *ups) source() string {
	left := u.batteryLeft()
	if cut := u.cutIn(); cut != nil && (left == nil || *cut < *left) {
		return dodai.UPSTimerShutdown
	}
	return u.mem.Source
}

func (u *ups) batteryLeft() *time.Duration {
	m := &u.mem
	if !m.Available.OK {
		return nil
	}
	left := time.Duration(math.Min(m.Available.V, 1e9) * float64(time.Second))
	if m.running() {
		left = max(0, left-(u.now-m.Last.At))
	}
	return &left
}
