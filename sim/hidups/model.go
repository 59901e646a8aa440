package hidups

import "time"

// model is the UPS itself: mains, battery, output, tests and countdowns.
type model struct {
	cfg Config
	at  time.Time // the state is the one of this moment

	input     float64 // volts of the mains
	load      float64 // percent
	tempC     float64
	charge    float64 // 0 to 1
	forcedLow *bool
	replace   bool
	output    bool

	test     test
	testFor  time.Duration // left of a quick one
	offIn    time.Duration // until the output is switched off
	counting bool          // offIn counts
	startup  time.Duration // DelayBeforeStartup as it was set; negative: the output stays off
	onIn     time.Duration // what is left of it
	told     bool          // the output is off because somebody said so
	settings map[usage]float64
}

// test is what the usage Test reads.
type test int

// The values of Test, as they are read.
const (
	testPassed  test = 1
	testAborted test = 4
	testRunning test = 5
	testNone    test = 6
)

// quickTest is how long a quick test takes.
const quickTest = 10 * time.Second

// The battery's voltage as parts of its nominal one.
const (
	floating       = 1.13
	fullOnBattery  = 1.04
	emptyOnBattery = 0.86
)

func newModel(cfg Config, now time.Time) model {
	return model{
		cfg: cfg, at: now, input: cfg.Volts, load: cfg.Load, tempC: 25, charge: 1, output: true, test: testNone,
		settings: map[usage]float64{
			audibleAlarm: 2, lowTransfer: cfg.Model.LowTransfer, highTransfer: cfg.Model.HighTransfer,
			capacityLimit: 100 * cfg.LowAt, timeLimit: cfg.LowTime.Seconds(),
		},
	}
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
	switch {
	case m.output && (!m.mains() || m.test == testRunning):
		m.charge -= float64(dt) / float64(m.cfg.Runtime) * m.load / m.cfg.Load
	case m.mains():
		m.charge += float64(dt) / float64(m.cfg.Recharge)
	}
	m.charge = min(1, max(0, m.charge))
	if m.charge == 0 && !m.mains() {
		m.output, m.counting, m.told = false, false, false
	}
	m.runTest(dt)
	m.runCountdowns(dt)
}

func (m *model) runTest(dt time.Duration) {
	if m.test != testRunning {
		return
	}
	if m.testFor > 0 {
		if m.testFor -= dt; m.testFor > 0 {
			return
		}
		m.test = testPassed
	} else if m.low() { // a deep one
		m.test = testPassed
	}
}

func (m *model) runCountdowns(dt time.Duration) {
	if m.counting {
		if m.offIn -= dt; m.offIn <= 0 {
			m.output, m.counting, m.told, m.onIn = false, false, true, m.startup
		}
		return
	}
	if m.output || m.told && m.startup < 0 {
		return
	}
	if restarts := m.mains() || m.told && m.startup > 0 && m.cfg.Model.RestartsWithoutMains; !restarts {
		return
	}
	if m.onIn = max(0, m.onIn-dt); m.onIn == 0 && m.charge > 0 {
		m.output, m.told = true, false
	}
}

// cut begins the countdown to switching the output off; a negative one forgets it.
func (m *model) cut(after time.Duration) {
	m.offIn, m.counting = after, after >= 0
}

// mains reports whether the input is good enough to run on.
func (m *model) mains() bool {
	return m.input >= m.settings[lowTransfer] && m.input <= m.settings[highTransfer]
}

func (m *model) onBattery() bool { return !m.mains() }

// dead: out of energy, or switched off without mains. Such a unit is not on the bus either.
func (m *model) dead() bool { return !m.output && !m.mains() }

func (m *model) low() bool {
	if m.forcedLow != nil {
		return *m.forcedLow
	}
	return 100*m.charge < m.settings[capacityLimit]
}

func (m *model) timeExpired() bool {
	return m.forcedLow == nil && m.onBattery() && m.runtime().Seconds() < m.settings[timeLimit]
}

// discharging: the battery carries the load.
func (m *model) discharging() bool { return m.output && (m.onBattery() || m.test == testRunning) }

// runtime is how long the battery would carry the load.
func (m *model) runtime() time.Duration {
	if m.load <= 0 {
		return 18 * time.Hour // 16 bits of seconds are full
	}
	return min(18*time.Hour, time.Duration(m.charge*float64(m.cfg.Runtime)*m.cfg.Load/m.load))
}

// batteryVolts is the voltage of the battery string.
func (m *model) batteryVolts() float64 {
	part := floating
	if m.discharging() {
		part = emptyOnBattery + (fullOnBattery-emptyOnBattery)*m.charge
	}
	return part * m.cfg.Battery
}

// outputVolts: regulated on battery, passed through otherwise.
func (m *model) outputVolts() float64 {
	switch {
	case !m.output:
		return 0
	case m.discharging():
		return m.cfg.Volts
	}
	return m.input
}
