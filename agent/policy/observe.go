package policy

import (
	"math"
	"time"

	"github.com/dodai-agent/dodai"
)

// freshBoot is how soon after the boot the agent must have started for a first reading
// to be the first after the boot, and not just the first without a memory.
const freshBoot = 15 * time.Minute

// fsdLease is how long a forced shutdown counts while the mains are present. Whoever
// announced it has cut the output by then, or never will: a NUT server keeps the flag
// until it is restarted.
const fsdLease = 15 * time.Minute

// ups is one UPS while a decision is being made.
type ups struct {
	name     string
	pol      *Policy
	cfg      *Config
	s        *dodai.Snapshot
	d        *dodai.DeviceState
	now      time.Duration
	mem      UPSMemory          // a copy, stored when the decision is made
	factor   float64            // on the reported runtime
	size     float64            // what a percent of load is, beside that of other UPSes that carry this host
	battery  Battery            // what is known of it
	taught   bool               // battery has changed
	cleanEnd bool               // the agent before ended in good order
	maint    *dodai.Maintenance // an operator works on it; nil: nobody does

	events   []dodai.Event
	inferred Mark // silent, but its feed's mains are known to have failed then

	was    Reason // its doom in the decision before, at an earlier instant
	doom   Reason
	rule   Rule // that says so; empty: none does
	ends   bool // may cut its output at any time
	lost   bool
	why    string
	nextAt time.Duration // earliest instant at which a time rule fires; 0: none
}

// observe takes the latest reading into the memory, if it is a new one.
func (u *ups) observe() {
	m := &u.mem
	r := u.d.Reading
	if m.Read.Set && m.Read.At < u.s.BootedAt {
		u.died(u.cleanEnd)
		u.forgetBoot()
	}
	if r == nil || u.d.At < u.s.BootedAt || m.Read == mark(u.d.At) && m.Polls == u.d.Polls {
		return
	}
	if m.Read.Set && u.d.At < m.Read.At {
		return // older than what is known
	}
	f := factsOf(r, u.d.At, u.stale(), !u.pol.off(RuleCredible))
	if !m.First.Set {
		m.First = mark(f.At)
	}
	if f.Status != 0 {
		m.Heard = mark(f.At)
	}
	u.sameBattery(r)
	u.factor = u.factorFor(f)
	told := m.Line != ""
	m.noteExcuse(f)
	line, calibrating := u.lineOf(f)
	if f.Status == 0 { // says nothing of its state: what was known of it stands
		f.Status = m.Last.Status
	}
	u.setLine(line, f)
	u.moved(r, f)
	u.estimate(&f)
	u.marks(f, told)
	u.runs(f, calibrating)
	m.Read, m.Polls, m.Last = mark(f.At), u.d.Polls, f
}

// forgetBoot drops what was known before the boot: it says nothing about now. But an outage
// that the UPS turns out to be still in has not begun with the boot. Nor was it over with mains
// that came back for a moment.
func (u *ups) forgetBoot() {
	m := &u.mem
	var earlier Mark
	if m.OnBattery.Set && u.s.BootedAt-m.Read.At <= freshBoot {
		earlier = m.OnBattery
	}
	*m = UPSMemory{LineVolts: m.LineVolts, Earlier: earlier, Untold: m.running() || m.Untold}
}

// stale is how old a variable may grow, and how long a UPS may be silent.
func (u *ups) stale() time.Duration {
	if u.mem.running() {
		return u.cfg.StaleS.D()
	}
	return max(u.cfg.StaleS.D(), u.d.StaleAfter)
}

func (u *ups) moved(r *dodai.Reading, f Facts) {
	m := &u.mem
	m.Moved.see(sum(r), f.At)
	if f.Runtime.OK {
		m.RuntimeMoved.see(math.Float64bits(f.Runtime.V), f.At)
	}
}

// marks notes edges in what the UPS announces. told says that an earlier reading since the
// boot told what its line does.
func (u *ups) marks(f Facts, told bool) {
	m := &u.mem
	switch {
	case !f.Status.Has(dodai.FSD):
		m.FSD, m.FSDLatch = Mark{}, false
	case !m.FSD.Set:
		m.FSD = mark(f.At)
		m.FSDLatch = !told && m.Line == LinePresent && u.firstReadings(f.At)
	case !told && m.Line == LinePresent && u.firstReadings(f.At):
		m.FSDLatch = true // what it said before was not enough to tell
	case m.running() && m.Transfer.since(f.At) >= slowConfirm:
		m.FSDLatch = false // a leftover is one only while the input is present
	case m.Line == LinePresent && m.FSD.since(f.At) >= fsdLease && !m.Timer.Set:
		m.FSDLatch = true // nobody cuts so late
	}
	if u.pol.off(RuleLatch) {
		m.FSDLatch = false
	}
	if !f.Status.Has(dodai.OFF) {
		m.Off = Mark{}
	} else if !m.Off.Set {
		m.Off = mark(f.At)
	}
	u.noteTimer(f)
}

// firstReadings reports whether a reading at at is among the first after the boot.
func (u *ups) firstReadings(at time.Duration) bool {
	return u.s.AgentStartedAt-u.s.BootedAt <= freshBoot && u.mem.First.within(u.stale(), at)
}

// runs counts the readings that show trouble. They count during an outage, on line
// readings within its hysteresis included; whether one fires is for the rules.
func (u *ups) runs(f Facts, calibrating bool) {
	m := &u.mem
	if !m.OnBattery.Set || calibrating {
		return
	}
	cfg := u.confirming()
	slow := cfg == u.cfg && (m.Transfer.within(settle, f.At) || m.Collapse.within(settle, f.At) || m.ChargeFell.within(settle, f.At))
	if u.d.Reading.Ages["ups.status"] <= u.stale() && u.d.Reading.Status != 0 {
		m.LB.see(f.Status.Has(dodai.LB), slow, f.At, cfg)
	}
	if f.Charge.OK {
		m.Charge.see(f.Charge.V <= u.cfg.MinChargePct, slow, f.At, cfg)
	}
	if m.Available.OK {
		m.Runtime.see(m.Available.V <= u.budget().Seconds(), slow, f.At, cfg)
	}
	if m.running() && !m.LowSaid && m.LB.confirmed(cfg) {
		m.LowSaid = true
		u.event(dodai.EventBatteryLow, u.name+" says its battery is low"+withNumbers(f), f)
	}
}

// confirming is the configuration that says how trouble is confirmed.
func (u *ups) confirming() *Config {
	if !u.pol.off(RuleConfirm) {
		return u.cfg
	}
	return &unconfirmed
}

// unconfirmed believes trouble at once.
var unconfirmed = Config{ConfirmPolls: 1}

// budget is what has to be left for a clean shutdown.
func (u *ups) budget() time.Duration { return u.cfg.Need + u.cfg.Reserve }

func (u *ups) event(name dodai.EventName, text string, f Facts) {
	fields := map[string]any{}
	if f.Status != 0 {
		fields["ups.status"] = f.Status.String()
	}
	for _, v := range []struct {
		name string
		num  Num
	}{{dodai.BatteryCharge, f.Charge}, {dodai.BatteryRuntime, f.Runtime}, {dodai.InputVoltage, f.Volts}} {
		if v.num.OK {
			fields[v.name] = v.num.V
		}
	}
	u.events = append(u.events, dodai.Event{
		Name: name, Device: u.name, At: u.now, Wall: u.s.Wall, Text: text, Fields: fields,
	})
}
