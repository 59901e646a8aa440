package policy

import (
	"math"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	runtimeMax     = 36000 // seconds; above it the load must be next to nothing
	runtimeLoadMax = 5     // percent of load at which more than runtimeMax is believed
	nominalUnknown = 100   // volts; the lowest mains voltage there is
)

// factsOf reads what the decision uses from a reading taken at at. A variable older than
// stale counts as absent, and so does, unless doubt is false, one that cannot be true.
func factsOf(r *dodai.Reading, at, stale time.Duration, doubt bool) Facts {
	get := func(name string) Num {
		if r.Ages[name] > stale {
			return Num{}
		}
		v, ok := r.Vars.Float(name)
		if !ok || !(math.Abs(v) <= numberMost) { // also what is no number
			return Num{}
		}
		return some(v)
	}
	f := Facts{At: at, Ratings: ratingsOf(r), Volts: get(dodai.InputVoltage), Nominal: get(dodai.InputVoltageNom), Timer: get(dodai.UPSTimerShutdown), Load: get(dodai.UPSLoad)}
	if r.Ages["ups.status"] <= stale {
		f.Status = r.Status
	}
	charge, runtime, volts := get(dodai.BatteryCharge), get(dodai.BatteryRuntime), get(dodai.BatteryVoltage)
	f.Charge, f.Runtime = charge, runtime
	if doubt {
		f.Charge = credibleCharge(charge)
		f.Runtime = credibleRuntime(runtime, f.Charge, f.Load)
	}
	f.Metered = f.Charge.OK || f.Runtime.OK || volts.OK
	if !charge.OK && !runtime.OK {
		f.Reserve = voltageLeft(volts, get("battery.voltage.low"), get("battery.voltage.nominal"))
	}
	f.TextTest = says(r.Vars[dodai.UPSTestResult], "in progress") || says(r.Vars["input.transfer.reason"], "selftest")
	return f
}

// onPurpose reports whether the UPS tests or calibrates its battery.
func (f Facts) onPurpose() bool {
	return f.Status.Any(dodai.CAL|dodai.TEST) || f.TextTest && f.Status.Has(dodai.OB)
}

// says reports whether a text contains word, however it is spelled.
func says(v dodai.Value, word string) bool {
	text := v.String()
	return text != "" && strings.Contains(spelling.Replace(strings.ToLower(text)), spelling.Replace(word))
}

var spelling = strings.NewReplacer(" ", "", "-", "", "_", "")

func credibleCharge(c Num) Num {
	if !c.OK || c.V < 0 {
		return Num{}
	}
	return some(min(c.V, 100))
}

// credibleRuntime sorts out the values that mean "unknown": negative, 0 with a charge
// that says otherwise, 65535 and whatever is too long to be true.
// Source: values of battery.runtime in NUT's device dumps.
func credibleRuntime(r, charge, load Num) Num {
	switch {
	case !r.OK, r.V < 0, r.V == 65535:
		return Num{}
	case r.V == 0 && !(charge.OK && charge.V <= 5):
		return Num{}
	case r.V > runtimeMax && !(r.V < 2*runtimeMax+1 && charge.OK && charge.V > 50 && load.OK && load.V <= runtimeLoadMax):
		return Num{}
	}
	return r
}

// voltageLeft is how far the battery is above its low voltage, in percent.
func voltageLeft(v, low, nominal Num) Num {
	if !v.OK || !low.OK || !nominal.OK || nominal.V <= low.V {
		return Num{}
	}
	return some(100 * max(0, min(1, (v.V-low.V)/(nominal.V-low.V))))
}

// inputGood reports what the input voltage says of the mains: known is false when the
// UPS does not report it.
func inputGood(f Facts, onLine Num) (good, known bool) {
	return f.Volts.V > f.nominal(onLine)/2, f.Volts.OK
}

// inputGone reports whether the input voltage says that there is none.
func inputGone(f Facts, onLine Num) bool { return f.Volts.OK && f.Volts.V < f.nominal(onLine)/10 }

// nominal is what the input voltage should be, onLine what it was when last on line.
func (f Facts) nominal(onLine Num) float64 {
	nominal := float64(nominalUnknown)
	if onLine.OK {
		nominal = onLine.V
	}
	if f.Nominal.OK && f.Nominal.V > 0 {
		nominal = f.Nominal.V
	}
	return nominal
}

// sum is a number that changes when any value of the reading does. Clocks do not count:
// they run on in a device whose readings stand still.
func sum(r *dodai.Reading) uint64 {
	total := uint64(r.Status) * 0x9e3779b97f4a7c15
	for name, v := range r.Vars {
		if name == "ups.time" || name == "ups.date" || name == "device.uptime" || strings.HasPrefix(name, "driver.") {
			continue
		}
		h := hash(0xcbf29ce484222325, name)
		if f, ok := v.Float(); ok {
			h = mix(h ^ math.Float64bits(f))
		} else {
			h = hash(h, v.String())
		}
		total += mix(h) // the order of a map must not matter
	}
	return total
}

// mix spreads each bit over all others: whole numbers differ in the upper bits of a
// float64 alone. Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
// Generators", the finalizer.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// hash is FNV-1a.
func hash(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}
