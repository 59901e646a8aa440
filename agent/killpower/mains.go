package killpower

import (
	"github.com/dodai-agent/dodai"
)

// Mains is what is known of a UPS's input.
type Mains string

// The states of an input. Present and Absent are said by the UPS itself; Unknown: it was
// silent, or said neither, or both.
const (
	MainsPresent Mains = "present"
	MainsAbsent  Mains = "absent"
	MainsUnknown Mains = "unknown"
)

// noVolts is less than any output has that carries something.
const noVolts = 20

// fromMains are the flags of a unit that lives from its input, as the decision has it: some
// leave OL out where they say one of the others.
const fromMains = dodai.OL | dodai.CHRG | dodai.TRIM | dodai.BOOST | dodai.BYPASS

// MainsOf reads the state of the input from a UPS's reading.
func MainsOf(r dodai.Reading) Mains {
	switch battery := r.Status.Has(dodai.OB); {
	case battery && r.Status.Has(dodai.OL):
		return MainsUnknown
	case battery:
		return MainsAbsent
	case r.Status.Any(fromMains):
		return MainsPresent
	}
	return MainsUnknown
}

// counts reports whether the UPS says that it is about to cut its output, or has just done
// so while the host lives from another one. Some units say it by a forced shutdown, some by
// a timer, some by a bit of their own.
func counts(r dodai.Reading) bool {
	timer, armed := r.Vars.Float(dodai.UPSTimerShutdown)
	volts, known := r.Vars.Float(dodai.OutputVoltage)
	return r.Status.Has(dodai.OFF) || known && volts < noVolts || r.Status.Has(dodai.FSD) || armed && timer >= 0 || r.Vars["ups.shutdown.active"] == dodai.Bool(true)
}

// Effective is the state of a UPS's input as it matters to the host: a UPS behind another one
// that runs from its battery has an input, and yet no mains. of says what is known of
// each UPS by itself.
func Effective(list []UPS, name string, of map[string]Mains) Mains {
	here := of[name]
	for range list { // a circle ends as well
		up := find(list, name)
		if up == nil || up.FedBy == "" {
			break
		}
		if name = up.FedBy; of[name] == MainsAbsent {
			return MainsAbsent
		}
	}
	if here == "" {
		return MainsUnknown
	}
	return here
}

func find(list []UPS, name string) *UPS {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}
