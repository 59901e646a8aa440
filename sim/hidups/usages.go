package hidups

import "time"

// Usages of the power page (0x84) and the battery page (0x85).
const (
	inPowerSummary  usage = 0x840024
	inBatterySystem usage = 0x840010
	inBattery       usage = 0x840012
	inInput         usage = 0x84001a
	inOutput        usage = 0x84001c

	voltage         usage = 0x840030
	current         usage = 0x840031
	frequency       usage = 0x840032
	apparentPower   usage = 0x840033
	activePower     usage = 0x840034
	percentLoad     usage = 0x840035
	temperature     usage = 0x840036
	configVoltage   usage = 0x840040
	configFrequency usage = 0x840042
	configApparent  usage = 0x840043
	configActive    usage = 0x840044
	lowTransfer     usage = 0x840053
	highTransfer    usage = 0x840054
	delayReboot     usage = 0x840055
	delayStartup    usage = 0x840056
	delayShutdown   usage = 0x840057
	selfTest        usage = 0x840058
	audibleAlarm    usage = 0x84005a
	iManufacturer   usage = 0x8400fd
	iProduct        usage = 0x8400fe
	iSerial         usage = 0x8400ff

	capacityLimit      usage = 0x850029
	timeLimit          usage = 0x85002a
	capacityMode       usage = 0x85002c
	remainingCapacity  usage = 0x850066
	fullChargeCapacity usage = 0x850067
	runTimeToEmpty     usage = 0x850068
	designCapacity     usage = 0x850083
	manufacturerDate   usage = 0x850085
	iChemistry         usage = 0x850089
	rechargeable       usage = 0x85008b
	warningLimit       usage = 0x85008c
	granularity1       usage = 0x85008d
	granularity2       usage = 0x85008e
	iOEMInformation    usage = 0x85008f

	apcStatus usage = 0xff860060 // APC's own: 8 on line, 16 on battery, 0 off
)

// flags are the usages that are one bit.
var flags = map[usage]func(*model) bool{
	0x840060: func(*model) bool { return true }, // Present
	0x840061: func(*model) bool { return true }, // Good
	0x840063: func(m *model) bool { return m.input > 0 && !m.mains() },
	0x840065: func(m *model) bool { return m.load > 100 },
	0x840068: func(m *model) bool { return m.counting },
	0x840069: func(m *model) bool { return m.counting || m.onBattery() && m.low() },
	0x84006b: func(m *model) bool { return m.output },
	0x840072: func(m *model) bool { return !m.output && m.onBattery() },
	0x850042: (*model).low,
	0x850043: (*model).timeExpired,
	0x850044: func(m *model) bool { return m.mains() && m.charge < 1 && m.test != testRunning },
	0x850045: (*model).discharging,
	0x850046: func(m *model) bool { return m.charge == 1 && !m.discharging() },
	0x850047: func(m *model) bool { return m.charge == 0 },
	0x85004b: func(m *model) bool { return m.replace },
	0x85008b: func(*model) bool { return true }, // Rechargeable
	0x8500d0: (*model).mains,
	0x8500d1: func(*model) bool { return true }, // BatteryPresent
}

// The string descriptors that the fields and the USB descriptors point to.
const (
	stringManufacturer = iota + 1
	stringProduct
	stringSerial
	stringChemistry
)

// numbers are usages that mean the same wherever they stand, in SI units and percent.
var numbers = map[usage]func(*model) float64{
	percentLoad:        func(m *model) float64 { return m.load },
	apparentPower:      func(m *model) float64 { return m.load / 100 * m.cfg.Watts },
	activePower:        func(m *model) float64 { return m.load / 100 * m.cfg.Watts },
	temperature:        func(m *model) float64 { return m.tempC + 273.15 },
	configFrequency:    func(m *model) float64 { return m.cfg.Hz },
	configApparent:     func(m *model) float64 { return m.cfg.Watts },
	configActive:       func(m *model) float64 { return m.cfg.Watts },
	selfTest:           func(m *model) float64 { return float64(m.test) },
	delayShutdown:      func(m *model) float64 { return countdown(m.counting, m.offIn) },
	delayReboot:        func(*model) float64 { return -1 },
	delayStartup:       func(m *model) float64 { return m.startup.Seconds() },
	remainingCapacity:  func(m *model) float64 { return 100 * m.charge },
	runTimeToEmpty:     func(m *model) float64 { return m.runtime().Seconds() },
	fullChargeCapacity: func(*model) float64 { return 100 },
	designCapacity:     func(*model) float64 { return 100 },
	capacityMode:       func(*model) float64 { return 2 }, // percent
	warningLimit:       func(m *model) float64 { return min(100, m.settings[capacityLimit]+10) },
	granularity1:       func(*model) float64 { return 1 },
	granularity2:       func(*model) float64 { return 1 },
	manufacturerDate:   func(*model) float64 { return (2024-1980)<<9 | 1<<5 | 15 },
	iManufacturer:      func(*model) float64 { return stringManufacturer },
	iProduct:           func(*model) float64 { return stringProduct },
	iSerial:            func(*model) float64 { return stringSerial },
	iChemistry:         func(*model) float64 { return stringChemistry },
	iOEMInformation:    func(*model) float64 { return stringManufacturer },
	apcStatus:          (*model).apcStatus,
}

func (m *model) apcStatus() float64 {
	switch {
	case !m.output:
		return 0
	case m.discharging():
		return 16
	}
	return 8
}

func countdown(running bool, left time.Duration) float64 {
	if !running {
		return -1
	}
	return left.Seconds()
}

// value is what a field says; 0 where the model knows nothing of it.
func (m *model) value(f *field) float64 {
	u := f.usage()
	if flag, ok := flags[u]; ok {
		if flag(m) {
			return 1
		}
		return 0
	}
	if v, ok := m.settings[u]; ok {
		return v
	}
	if number, ok := numbers[u]; ok {
		return number(m)
	}
	return m.placed(f)
}

// placed are the usages whose meaning depends on the collection they stand in.
func (m *model) placed(f *field) float64 {
	q := &m.cfg.Model
	switch u := f.usage(); {
	case u == voltage && f.within(inInput):
		return m.input
	case u == voltage && f.within(inOutput):
		return m.outputVolts()
	case u == voltage && f.within(inBattery, inBatterySystem, inPowerSummary):
		return m.batteryVolts() * q.BatteryVoltsFactor
	case u == configVoltage && f.within(inBattery, inBatterySystem, inPowerSummary):
		return m.cfg.Battery
	case u == configVoltage:
		return m.cfg.Volts
	case u == frequency && f.within(inInput) && m.input == 0:
		return 0
	case u == frequency:
		return m.cfg.Hz * q.FrequencyFactor
	case u == current && f.within(inOutput):
		return m.load / 100 * m.cfg.Watts / m.cfg.Volts
	}
	return 0
}

// set carries out what a SET_REPORT says about one field, and reports whether the unit
// knows such a thing.
func (m *model) set(f *field, v float64) bool {
	switch u := f.usage(); u {
	case delayShutdown:
		m.cut(seconds(v))
	case delayReboot:
		m.startup = 0
		m.cut(seconds(v))
	case delayStartup:
		m.startup = seconds(v)
	case selfTest:
		m.startTest(v)
	default:
		if _, ok := m.settings[u]; !ok {
			return false
		}
		m.settings[u] = v
	}
	return true
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

// startTest: 1 is a quick test, 2 a deep one, 3 ends it.
func (m *model) startTest(v float64) {
	switch v {
	case 1:
		m.test, m.testFor = testRunning, quickTest
	case 2:
		m.test, m.testFor = testRunning, 0
	case 3:
		if m.test == testRunning {
			m.test = testAborted
		}
	}
}
