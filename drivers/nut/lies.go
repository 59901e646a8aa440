package nut

import (
	"maps"
	"strings"

	"github.com/dodai-agent/dodai"
)

// maxRuntime is the longest battery.runtime, in seconds, that is believed without
// other evidence.
const maxRuntime = 36000

// dropLies takes out of r what cannot be true of any device, and notes what it was.
func dropLies(r *dodai.Reading) {
	checkCharge(r) // first: the runtime is judged by it
	checkRuntime(r)
	checkTimers(r)
}

func drop(r *dodai.Reading, name, why string) {
	note(r, "%s is %s: %s, taken as not reported", name, r.Vars[name], why)
	delete(r.Vars, name)
}

// checkCharge wants 0 to 100 percent. A little more is a full battery in a UPS that
// counts on; 255 is a byte nobody filled in. An empty battery at or above its nominal
// voltage, on line and without LB, is one the UPS does not measure.
func checkCharge(r *dodai.Reading) {
	charge, ok := r.Vars.Float(dodai.BatteryCharge)
	switch {
	case !ok:
	case charge < 0 || charge > 120:
		drop(r, dodai.BatteryCharge, "outside 0 to 100 percent")
	case charge > 100:
		note(r, "battery.charge is %s: more than full, taken as 100", r.Vars[dodai.BatteryCharge])
		r.Vars[dodai.BatteryCharge] = dodai.Num(100)
	case charge == 0 && onLine(r) && !r.Status.Has(dodai.LB) && atNominal(r):
		drop(r, dodai.BatteryCharge, "on line, not low and at the nominal voltage")
	}
}

func onLine(r *dodai.Reading) bool { return r.Status.Has(dodai.OL) && !r.Status.Has(dodai.OB) }

func atNominal(r *dodai.Reading) bool {
	volts, ok := r.Vars.Float(dodai.BatteryVoltage)
	nominal, known := r.Vars.Float("battery.voltage.nominal")
	return ok && known && nominal > 0 && volts >= nominal
}

// checkRuntime drops the values that stand for "unknown".
func checkRuntime(r *dodai.Reading) {
	seconds, ok := r.Vars.Float(dodai.BatteryRuntime)
	if !ok {
		return
	}
	if why := runtimeLie(r, seconds); why != "" {
		drop(r, dodai.BatteryRuntime, why)
	}
}

func runtimeLie(r *dodai.Reading, seconds float64) string {
	charge, charged := r.Vars.Float(dodai.BatteryCharge)
	switch {
	case seconds < 0:
		return "below zero"
	case seconds == 65535 || seconds == 65535*60 || seconds == 999999:
		return "a placeholder"
	case seconds == 0 && charged && charge > 5:
		return "zero with a charged battery"
	case seconds == 0 && !charged && onLine(r) && !r.Status.Has(dodai.LB):
		return "zero while on line and not low"
	case seconds > maxRuntime && !lightLoad(r):
		return "longer than charge and load make credible"
	}
	return ""
}

// lightLoad reports whether so little is drawn from a charged battery that it may last
// for most of a day. A load of 0 is no evidence: it is what UPSes that do not measure
// the load report.
func lightLoad(r *dodai.Reading) bool {
	charge, charged := r.Vars.Float(dodai.BatteryCharge)
	load, loaded := r.Vars.Float(dodai.UPSLoad)
	return charged && charge >= 50 && loaded && load > 0 && load <= 10
}

// checkTimers drops timers that are not armed. NUT shows those as -1, some drivers as
// another negative number or as 65535, which is -1 in the 16 bits of an old protocol.
// That is their meaning and no lie, so there is no note.
func checkTimers(r *dodai.Reading) {
	maps.DeleteFunc(r.Vars, func(name string, v dodai.Value) bool {
		seconds, ok := v.Float()
		return ok && (seconds < 0 || seconds == 65535) && strings.Contains(name, ".timer.")
	})
}
