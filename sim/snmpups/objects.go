package snmpups

import (
	"fmt"
	"math"
	"time"
)

// Where the MIBs begin. Sources: RFC 1628; APC PowerNet MIB, upsMIB.
const (
	sysMIB = "1.3.6.1.2.1.1"
	rfcMIB = "1.3.6.1.2.1.33.1"
	apcMIB = "1.3.6.1.4.1.318.1.1.1"
)

// objects is what the card answers in the present state.
func (u *UPS) objects() []Binding {
	list := u.system()
	if u.cfg.Flavour != PowerNet {
		list = append(list, u.rfc1628()...)
	}
	if u.cfg.Flavour != RFC1628 {
		list = append(list, u.powerNet()...)
	}
	return append(list, u.control()...)
}

func at(prefix, suffix string, v Value) Binding { return Binding{MustOID(prefix + "." + suffix), v} }

func (u *UPS) system() []Binding {
	id, descr := "1.3.6.1.2.1.33", "Simulated UPS card"
	if u.cfg.Flavour != RFC1628 {
		id = "1.3.6.1.4.1.318.1.3.27"
		descr = "APC Web/SNMP Management Card (MB:v4.1.0 PF:v7.0.8 PN:sim.bin AF1:v7.0.9 AN1:sim.bin MN:AP9631 HR:08 SN: SIMCARD001 MD:01/01/2020) (Embedded PowerNet SNMP Agent)"
	}
	return []Binding{
		at(sysMIB, "1.0", Text(descr)),
		at(sysMIB, "2.0", Pointer(MustOID(id))),
		at(sysMIB, "3.0", ticks(u.up)),
	}
}

func ticks(d time.Duration) Value { return Ticks(d.Milliseconds() / 10) }

// tenths is a number in tenths of its unit.
func tenths(f float64) int64 { return int64(math.Round(f * 10)) }

// inputVolts, outputVolts, watts and batteryVolts are the analogue side of the model.
func (s *State) inputVolts() float64 {
	if s.Mains {
		return 231
	}
	return 0
}

func (s *State) outputVolts() float64 {
	if s.Off {
		return 0
	}
	return 230
}

func (s *State) watts() float64 {
	if s.Off {
		return 0
	}
	return nominalWatts * s.Load / 100
}

func (s *State) batteryVolts() float64 { return 42 + 12*s.Charge/100 }

func pick(cond bool, yes, no int64) int64 {
	if cond {
		return yes
	}
	return no
}

func (u *UPS) rfc1628() []Binding {
	s := &u.state
	source := pick(s.Mains, 3, 5)
	if s.Off {
		source = 2
	}
	list := []Binding{
		at(rfcMIB, "1.1.0", Text("dodai")),
		at(rfcMIB, "1.2.0", Text(u.cfg.Model)),
		at(rfcMIB, "1.3.0", Text("1.0")),
		at(rfcMIB, "1.4.0", Text("card 1.0")),
		at(rfcMIB, "2.1.0", Int(pick(s.Low, 3, 2))),
		at(rfcMIB, "2.2.0", Int(int64(s.OnBattery.Seconds()))),
		at(rfcMIB, "2.3.0", Int(int64(s.Runtime.Minutes()))),
		at(rfcMIB, "2.4.0", Int(int64(s.Charge))),
		at(rfcMIB, "2.5.0", Int(tenths(s.batteryVolts()))),
		at(rfcMIB, "2.6.0", Int(-1)), // not measured
		at(rfcMIB, "2.7.0", Int(25)),
		at(rfcMIB, "3.2.0", Int(int64(u.cfg.Phases))),
		at(rfcMIB, "4.1.0", Int(source)),
		at(rfcMIB, "4.2.0", Int(500)),
		at(rfcMIB, "4.3.0", Int(int64(u.cfg.Phases))),
		at(rfcMIB, "5.1.0", Null()), // no bypass line
		at(rfcMIB, "6.1.0", Gauge(pick(s.Replace, 1, 0))),
		at(rfcMIB, "7.3.0", Int(pick(s.Test, 5, 6))),
		at(rfcMIB, "9.1.0", Int(230)),
		at(rfcMIB, "9.5.0", Int(nominalWatts)),
		at(rfcMIB, "9.7.0", Int(int64(lowAt.Minutes()))),
	}
	for phase := range u.cfg.Phases {
		list = append(list, u.rfcPhase(phase+1)...)
	}
	return append(list, u.rfcAlarms()...)
}

func (u *UPS) rfcPhase(i int) []Binding {
	s, n := &u.state, float64(u.cfg.Phases)
	row := func(column string, v int64) Binding { return at(rfcMIB, fmt.Sprintf("%s.%d", column, i), Int(v)) }
	hertz := pick(s.Mains, 500, 0)
	return []Binding{
		row("3.3.1.2", hertz), row("3.3.1.3", int64(s.inputVolts())), row("3.3.1.4", 0), row("3.3.1.5", 0),
		row("4.4.1.2", int64(s.outputVolts())), row("4.4.1.3", tenths(s.watts()/n/230)),
		row("4.4.1.4", int64(s.watts()/n)), row("4.4.1.5", int64(s.Load)),
	}
}

// rfcAlarms is the alarm table: upsAlarmBatteryBad while the battery must be replaced.
func (u *UPS) rfcAlarms() []Binding {
	id, descr, since := rfcMIB+".6.2.1.1.7", rfcMIB+".6.2.1.2.7", rfcMIB+".6.2.1.3.7"
	if !u.state.Replace {
		for _, oid := range []string{id, descr, since} {
			u.Remove(MustOID(oid))
		}
		return nil
	}
	return []Binding{
		{MustOID(id), Int(7)},
		{MustOID(descr), Pointer(MustOID(rfcMIB + ".6.3.1"))},
		{MustOID(since), ticks(u.up)},
	}
}

func (u *UPS) powerNet() []Binding {
	s := &u.state
	output := pick(s.Mains, 2, 3)
	switch {
	case s.Off:
		output = 7
	case s.Test:
		output = 15
	}
	return []Binding{
		at(apcMIB, "1.1.1.0", Text(u.cfg.Model)),
		at(apcMIB, "1.2.1.0", Text("SIM 1.0")),
		at(apcMIB, "1.2.3.0", Text(u.cfg.Serial)),
		at(apcMIB, "2.1.1.0", Int(pick(s.Low, 3, 2))),
		at(apcMIB, "2.1.2.0", ticks(s.OnBattery)),
		at(apcMIB, "2.2.1.0", Gauge(int64(s.Charge))),
		at(apcMIB, "2.2.2.0", Gauge(25)),
		at(apcMIB, "2.2.3.0", ticks(s.Runtime)),
		at(apcMIB, "2.2.4.0", Int(pick(s.Replace, 2, 1))),
		at(apcMIB, "2.2.5.0", Int(-1)), // packs are not counted
		at(apcMIB, "2.3.1.0", Gauge(tenths(s.Charge))),
		at(apcMIB, "2.3.4.0", Int(tenths(s.batteryVolts()))),
		at(apcMIB, "3.2.5.0", Int(pick(s.Mains, 1, 4))),
		at(apcMIB, "3.3.1.0", Gauge(tenths(s.inputVolts()))),
		at(apcMIB, "3.3.4.0", Gauge(pick(s.Mains, 500, 0))),
		at(apcMIB, "4.1.1.0", Int(output)),
		at(apcMIB, "4.2.8.0", Int(int64(s.watts()))),
		at(apcMIB, "4.3.1.0", Gauge(tenths(s.outputVolts()))),
		at(apcMIB, "4.3.2.0", Gauge(500)),
		at(apcMIB, "4.3.3.0", Gauge(tenths(s.Load))),
		at(apcMIB, "4.3.4.0", Gauge(tenths(s.watts()/230))),
		at(apcMIB, "8.1.0", Int(1)),
	}
}
