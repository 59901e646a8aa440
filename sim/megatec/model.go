package megatec

import (
	"fmt"
	"math"
	"time"
)

// model is the UPS itself: mains, battery, output, tests and countdowns. Its time is its
// own; a countdown of zero or less is not running.
type model struct {
	cfg Config
	at  time.Time // the state is the one of this moment

	input, transfer float64 // volts: of the mains, and at the last transfer to battery
	load, tempC     float64
	charge          float64 // 0 to 1
	forcedLow       *bool
	forcedVolts     *float64
	output, beeper  bool

	testFor time.Duration // left of a test
	deep    bool          // the test runs until the battery is low
	offIn   time.Duration // until the output is switched off
	onAfter time.Duration // and how long it then stays off at least
	onIn    time.Duration // until the output may be switched on
	stayOff bool          // not by itself
}

func newModel(cfg Config, now time.Time) model {
	return model{cfg: cfg, at: now, input: cfg.Volts, transfer: cfg.Volts, load: cfg.Load, tempC: 25, charge: 1, output: true, beeper: true}
}

// advance brings the state from m.at to now, in steps short enough for every countdown.
func (m *model) advance(now time.Time) {
	left := time.Duration(float64(now.Sub(m.at)) * m.cfg.Speed)
	m.at = now
	step := max(100*time.Millisecond, left/10000)
	for left > 0 {
		dt := min(step, left)
		m.step(dt)
		left -= dt
	}
}

func (m *model) step(dt time.Duration) {
	seconds := dt.Seconds()
	switch {
	case m.output && (!m.mains() || m.testing()):
		m.charge -= seconds / m.cfg.Runtime.Seconds() * m.load / m.cfg.Load
	case m.mains():
		m.charge += seconds / m.cfg.Recharge.Seconds()
	}
	m.charge = min(1, max(0, m.charge))
	if m.charge == 0 && !m.mains() {
		m.output, m.offIn = false, 0
	}
	m.runTest(dt)
	m.runCountdowns(dt)
}

func (m *model) runTest(dt time.Duration) {
	if m.testFor > 0 {
		m.testFor -= dt
	}
	if m.deep && m.low() {
		m.deep = false
	}
}

func (m *model) runCountdowns(dt time.Duration) {
	if m.offIn > 0 {
		if m.offIn -= dt; m.offIn <= 0 {
			m.output, m.onIn = false, m.onAfter
		}
		return
	}
	m.onIn = max(0, m.onIn-dt)
	if !m.output && !m.stayOff && m.onIn == 0 && m.mains() {
		m.output = true
	}
}

// mains reports whether the input is good enough to run on.
func (m *model) mains() bool {
	return m.input >= 0.75*m.cfg.Volts && m.input <= 1.2*m.cfg.Volts
}

func (m *model) onBattery() bool { return !m.mains() }

func (m *model) testing() bool { return m.testFor > 0 || m.deep }

// dead: out of energy, or switched off without mains. Such a unit does not talk either.
func (m *model) dead() bool { return !m.output && !m.mains() }

func (m *model) low() bool {
	if m.forcedLow != nil {
		return *m.forcedLow
	}
	return m.charge <= m.cfg.LowAt
}

func (m *model) setInput(volts float64) {
	was := m.mains()
	m.input = volts
	switch {
	case was && !m.mains():
		m.transfer = volts
	case !was && m.mains() && m.cfg.OnlyOnBattery:
		m.offIn = 0
	}
}

// outputVolts and whether the unit regulates.
func (m *model) outputVolts() (volts float64, regulating bool) {
	switch ratio := m.input / m.cfg.Volts; {
	case !m.output:
		return 0, false
	case m.onBattery(), m.testing(), m.cfg.Online:
		return m.cfg.Volts, false
	case ratio < 0.9:
		return m.input * 1.15, true
	case ratio > 1.1:
		return m.input * 0.88, true
	}
	return m.input, false
}

// volts is the voltage of the battery string: floating on the mains; on battery a slow
// fall, a knee at 20 % and a sag under load.
func (m *model) volts() float64 {
	if m.forcedVolts != nil {
		return *m.forcedVolts
	}
	part := 1.09 + 0.05*m.charge
	if !m.mains() || m.testing() {
		part = 0.95 + 0.09*(m.charge-0.2)/0.8
		if m.charge < 0.2 {
			part = 0.86 + 0.09*m.charge/0.2
		}
		part -= 0.02 * m.load / 100
	}
	return part * m.cfg.Battery
}

// statusFrame is the answer to Q1, without the closing CR.
func (m *model) statusFrame() string {
	out, _ := m.outputVolts()
	temp := fmt.Sprintf("%04.1f", m.tempC)
	if m.cfg.NoSensor {
		temp = "--.-"
	}
	hz := m.cfg.Hz
	if m.input == 0 && !m.output {
		hz = 0
	}
	return fmt.Sprintf("(%05.1f %05.1f %05.1f %03.0f %04.1f %s %s %08b",
		m.input, m.transfer, out, m.load, hz, m.batteryField(), temp, m.bits())
}

func (m *model) batteryField() string {
	if m.cfg.PerCell { // lead-acid cells of 2 V
		return fmt.Sprintf("%04.2f", m.volts()/math.Round(m.cfg.Battery/2))
	}
	return fmt.Sprintf("%04.1f", m.volts())
}

func (m *model) bits() (b uint8) {
	_, regulating := m.outputVolts()
	for i, on := range []bool{
		m.beeper,
		m.offIn > 0 || m.cfg.StuckB1,
		m.testing(),
		!m.cfg.Online,
		false, // a failed unit
		regulating || m.cfg.StuckB5 && m.onBattery(),
		m.low(),
		m.onBattery(),
	} {
		if on {
			b |= 1 << i
		}
	}
	return b
}
