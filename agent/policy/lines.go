package policy

import (
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	flapWindow    = 2 * time.Minute
	flapTransfers = 3
)

// lineOf says what the reading tells of the input, LineUnknown where it tells nothing.
// calibrating is true when the UPS runs from its battery on purpose.
func (u *ups) lineOf(f Facts) (line Line, calibrating bool) {
	st := f.Status
	switch {
	case st.Has(dodai.OL | dodai.OB):
		return u.doubtful(f), false
	case st.Has(dodai.OB):
		if u.onPurpose(f) {
			return LinePresent, true
		}
		return LineAbsent, false
	case u.dyingOnLine(f):
		return LineAbsent, false
	case st.Any(dodai.OL | dodai.CHRG | dodai.TRIM | dodai.BOOST | dodai.BYPASS):
		return LinePresent, st.Any(dodai.CAL | dodai.TEST)
	}
	return LineUnknown, false
}

// setLine takes over what a reading says of the input, with the edges it makes.
func (u *ups) setLine(line Line, f Facts) {
	m := &u.mem
	switch line {
	case LineAbsent:
		u.onBattery(f)
	case LinePresent:
		u.onLine(f)
	default: // keep what was known
		return
	}
	m.Line, m.LineAt, m.Away, m.Earlier, m.Untold = line, f.At, 0, Mark{}, false
}

func (u *ups) onBattery(f Facts) {
	m := &u.mem
	if m.Line == LineAbsent {
		return
	}
	if m.OLSince.Set { // on line nothing had to move
		m.RuntimeMoved.Last.shift(m.OLSince.since(f.At))
	}
	m.OLSince = Mark{}
	m.Transfer = mark(f.At)
	// Never in place: earlier memories share it.
	if m.Transfers = append(slices.Clip(m.Transfers), f.At); len(m.Transfers) > flapTransfers {
		m.Transfers = m.Transfers[1:]
	}
	if !m.OnBattery.Set {
		m.OnBattery = mark(f.At)
		if since := u.dischargesSince(f); since.Set {
			m.OnBattery = since
		}
		if m.Earlier.Set && f.At-u.s.BootedAt <= freshBoot {
			m.OnBattery, m.Transfer = m.Earlier, m.Earlier // nothing has to settle
		}
		m.Moved.restart(f.At)
		m.RuntimeMoved.restart(f.At)
	}
	u.event(dodai.EventMainsLost, u.name+" is on battery"+withNumbers(f), f)
}

func (u *ups) onLine(f Facts) {
	m := &u.mem
	if f.Volts.OK && f.Volts.V > nominalUnknown/2 && !f.Status.Has(dodai.OB) {
		m.LineVolts = f.Volts
	}
	switch {
	case m.Line == LineAbsent:
		m.OLSince = mark(f.At)
		u.event(dodai.EventMainsRestored, u.name+" is back on line"+withNumbers(f), f)
	case m.Untold:
		u.event(dodai.EventMainsRestored, u.name+" is back on line, since before this boot"+withNumbers(f), f)
	}
	if m.OnBattery.Set && m.OLSince.Set && m.OLSince.since(f.At) >= u.cfg.HysteresisS.D() {
		m.endOutage()
	}
}

// endOutage forgets what belongs to the outage that is over.
func (m *UPSMemory) endOutage() {
	m.OnBattery, m.OLSince, m.Collapse, m.ChargeFell = Mark{}, Mark{}, Mark{}, Mark{}
	m.LB, m.Runtime, m.Charge = Run{}, Run{}, Run{}
	m.LastRuntime = Num{} // what the next reading says counts, if it says anything
	m.LowSaid = false
}

// flapping reports whether the mains came and went too often lately, and until when
// that will be so if nothing else happens.
func (m *UPSMemory) flapping(now time.Duration) (until time.Duration, ok bool) {
	if len(m.Transfers) < flapTransfers {
		return 0, false
	}
	until = m.Transfers[len(m.Transfers)-flapTransfers] + flapWindow
	return until, now < until
}

// running reports whether the UPS, when last heard, ran from its battery against its will.
func (m *UPSMemory) running() bool { return m.Line == LineAbsent }
