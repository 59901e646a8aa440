package snmp

import (
	"slices"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
)

// ranges is what is believed of each variable, whichever family it comes from.
var ranges = []struct {
	names  string
	lo, hi float64
}{
	{"ambient.humidity battery.charge battery.charge.low battery.charge.restart", 0, 100},
	{"ambient.temperature battery.temperature", -40, 120},
	{"ups.temperature", -40, 150},
	{"ups.load", 0, 250},
	{"battery.current", -5000, 5000},
	{"input.current input.bypass.current output.current", 0, 5000},
	{"battery.voltage battery.voltage.nominal", 0, 2000},
	{"input.voltage input.voltage.nominal input.bypass.voltage input.transfer.low input.transfer.high output.voltage output.voltage.nominal", 0, 1000},
	{"input.frequency input.frequency.nominal input.bypass.frequency output.frequency output.frequency.nominal", 0, 500},
	{"input.realpower input.bypass.realpower", -1e6, 1e7},
	{"ups.power ups.power.nominal ups.realpower.nominal ups.realpower.hourly_average", 0, 1e7},
	{"battery.runtime", 0, 30 * 86400},
	{"battery.runtime.low", 0, 7200},
	{"ups.delay.start ups.delay.shutdown", 0, 86400},
	{"battery.time_on_battery ups.timer.shutdown", 0, 1e7},
	{"battery.packs battery.packs.bad ups.alarms.present", 0, 1000},
}

func allRows() (list []row) {
	for _, f := range families {
		list = slices.Concat(list, f.rows, tableRows(f))
	}
	return slices.DeleteFunc(list, func(r row) bool { return r.text || r.words != nil || r.truth != nil })
}

// TestRanges: each row has its variable's range, takes both ends of it, and nothing
// beyond.
func TestRanges(t *testing.T) {
	for _, r := range allRows() {
		name, lo, hi := plainName(r.name), 0.0, 0.0
		for _, known := range ranges {
			if slices.Contains(strings.Fields(known.names), name) {
				lo, hi = known.lo, known.hi
			}
		}
		switch {
		case name == dodai.UPSRealpower:
			lo, hi = r.lo, 1e7 // what flows back is negative, where the MIB has a sign
		case name == dodai.BatteryVoltage && r.lo == 5:
			lo, hi = 5, 2000 // less is the voltage of one cell
		}
		if r.lo != lo || r.hi != hi {
			t.Errorf("%s (%s) from %g to %g: want %g to %g", r.from, name, r.lo, r.hi, lo, hi)
		}
		believed := func(v float64) bool {
			raw := v / r.factor()
			_, ok := r.number(number(raw), limits{load: 1, charge: 1})
			return ok || r.hole(raw)
		}
		scaled := r.quantity == hertz || r.quantity == lineVolts // what is too high comes in another unit
		if !believed(hi) || !scaled && believed(hi+1) || believed(lo-2) {
			t.Errorf("%s: %g believed %v, %g believed %v, %g believed %v", r.from, hi, believed(hi), hi+1, believed(hi+1), lo-2, believed(lo-2))
		}
	}
}

// TestTiers: what a decision needs is asked for in each poll, what somebody has to
// change by hand rarely.
func TestTiers(t *testing.T) {
	asked := map[tier][]string{
		decide: strings.Fields(`battery.charge battery.runtime battery.voltage battery.time_on_battery battery.replace input.voltage output.voltage ups.load
			input.transfer.reason ups.test.result ups.alarms.present ups.timer.shutdown`),
		settings: strings.Fields(`battery.date battery.voltage.nominal battery.runtime.low battery.charge.low battery.charge.restart ups.delay.start ups.delay.shutdown
			input.voltage.nominal input.frequency.nominal output.voltage.nominal output.frequency.nominal ups.power.nominal ups.realpower.nominal
			ups.beeper.status input.transfer.low input.transfer.high`),
	}
	for _, f := range families {
		for _, r := range slices.Concat(f.rows, tableRows(f)) {
			want := measure
			for tier, names := range asked {
				if slices.Contains(names, plainName(r.name)) {
					want = tier
				}
			}
			if r.tier != want {
				t.Errorf("%s (%s): tier %d, want %d", r.from, r.name, r.tier, want)
			}
		}
	}
}

// TestHoles: no row takes a placeholder for a value, in whatever type it comes.
func TestHoles(t *testing.T) {
	for _, r := range allRows() {
		for _, raw := range []float64{-1, 2147483647, 4294967295, -2147483648} {
			if v, ok := r.number(number(raw), limits{load: -1, charge: -1}); ok {
				t.Errorf("%s takes %g for %g", r.from, raw, v)
			}
		}
		for _, raw := range []float64{65534, 65535, 655350, -2731, -273} {
			if v, ok := r.number(number(raw), limits{load: -1, charge: -1}); ok && r.quantity != ticks {
				t.Errorf("%s takes %g for %g", r.from, raw, v)
			}
		}
	}
	for text, want := range map[string]bool{
		"": false, "UNKNOWN": false, "NotSupported": false, "not supported": false, "N/A": false, "na": false, "none": false, "noTempSensorInstalled": false,
		"--": false, "-": false, "null": false, "<private>": false, "anonymized": false, "UPS_IDEN": false, "01/01/2001": false, "01/01/01": false,
		"2001-01-01": false, "1980/01/01": false, "01/01/1980": false, "Default string": false, "123456789": false,
		"FFFF": false, "ffffff": false, "0000": false, "XXXXXXXX": false, "xxxx": false, "????": false, "****": false,
		"FFF": true, "0001": true, "AAAA": true, "FFFG": true, "Smart-UPS": true, "2": true,
	} {
		if _, ok := (value{kind: isText, text: text}).words(); ok != want {
			t.Errorf("text %q believed: %v, want %v", text, ok, want)
		}
	}
}

// TestLineToLine has voltages around the bounds.
func TestLineToLine(t *testing.T) {
	for _, tc := range []struct {
		neutral, plain float64 // of a table that has both columns
		want           bool
	}{
		{0, 349, false}, {0, 350, true}, {0, 230, false}, {10, 230, false}, {11, 230, true}, {230, 345, false}, {230, 346, true}, {120, 208, true},
	} {
		f := facts{families: []*family{&powerNet}, columns: map[string][]string{}, val: func(oid string) value {
			switch oid {
			case apcUPS + "9.2.3.1.14.1":
				return number(tc.neutral)
			case apcUPS + "9.2.3.1.3.1":
				return number(tc.plain)
			}
			return value{}
		}}
		for _, r := range powerNet.tables[0].rows {
			f.columns[r.oid] = []string{"1"}
		}
		if got := f.lineToLine(&powerNet.tables[0], limits{load: -1, charge: -1}); got != tc.want {
			t.Errorf("%g V to neutral, %g V otherwise: line to line %v, want %v", tc.neutral, tc.plain, got, tc.want)
		}
	}
}

// TestInputDead: less than half of the first nominal voltage that is known.
func TestInputDead(t *testing.T) {
	for _, tc := range []struct {
		vars map[string]float64
		want bool
	}{
		{map[string]float64{}, false},
		{map[string]float64{dodai.InputVoltage: 9}, true},
		{map[string]float64{dodai.InputVoltage: 10}, false},
		{map[string]float64{dodai.InputVoltage: 114, dodai.InputVoltageNom: 230}, true},
		{map[string]float64{dodai.InputVoltage: 115, dodai.InputVoltageNom: 230}, false},
		{map[string]float64{dodai.InputVoltage: 100, "output.voltage.nominal": 230}, true},
		{map[string]float64{dodai.InputVoltage: 100, dodai.OutputVoltage: 230}, true},
		{map[string]float64{dodai.InputVoltage: 100, dodai.InputVoltageNom: 120, dodai.OutputVoltage: 230}, false},
		{map[string]float64{dodai.InputVoltage: 100, dodai.InputVoltageNom: 10, dodai.OutputVoltage: 230}, true},
		{map[string]float64{dodai.InputVoltage: 100, dodai.OutputVoltage: 0}, false},
	} {
		d := decoded{vars: dodai.Vars{}}
		for name, v := range tc.vars {
			d.vars[name] = dodai.Num(v)
		}
		if got := d.inputDead(); got != tc.want {
			t.Errorf("%v: input dead %v, want %v", tc.vars, got, tc.want)
		}
	}
}
