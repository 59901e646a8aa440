package policy

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

var none = Num{}

func TestCredibleRuntime(t *testing.T) {
	for _, tc := range []struct {
		runtime, charge, load Num
		ok                    bool
	}{
		{none, some(90), some(40), false},
		{some(1200), none, none, true},
		{some(-1), none, none, false},
		{some(0), none, none, false},
		{some(0), some(5), none, true},
		{some(0), some(5.5), none, false},
		{some(65535), none, none, false},
		{some(65535), some(100), some(1), false},
		{some(36000), none, none, true},
		{some(36001), none, none, false},
		{some(72000), some(51), some(5), true},
		{some(72001), some(51), some(5), false},
		{some(72000), some(50), some(5), false},
		{some(72000), some(51), some(5.5), false},
		{some(72000), none, some(5), false},
		{some(72000), some(51), none, false},
	} {
		if got := credibleRuntime(tc.runtime, tc.charge, tc.load); got.OK != tc.ok || got.OK && got != tc.runtime {
			t.Errorf("runtime %v, charge %v, load %v: %v, want credible %v", tc.runtime, tc.charge, tc.load, got, tc.ok)
		}
	}
}

func TestCredibleCharge(t *testing.T) {
	for charge, want := range map[Num]Num{none: none, some(-0.1): none, some(0): some(0), some(99.5): some(99.5), some(101): some(100)} {
		if got := credibleCharge(charge); got != want {
			t.Errorf("charge %v: %v, want %v", charge, got, want)
		}
	}
}

func TestVoltageLeft(t *testing.T) {
	for _, tc := range []struct{ volts, low, nominal, want Num }{
		{some(24), some(21), some(24), some(100)},
		{some(27), some(21), some(24), some(100)},
		{some(22.5), some(21), some(24), some(50)},
		{some(20), some(21), some(24), some(0)},
		{none, some(21), some(24), none},
		{some(22), none, some(24), none},
		{some(22), some(21), none, none},
		{some(22), some(24), some(24), none},
	} {
		if got := voltageLeft(tc.volts, tc.low, tc.nominal); got != tc.want {
			t.Errorf("%v V between %v and %v: %v, want %v", tc.volts, tc.low, tc.nominal, got, tc.want)
		}
	}
}

func TestInputGood(t *testing.T) {
	for _, tc := range []struct {
		volts, nominal, onLine Num
		good, known            bool
	}{
		{some(116), some(230), none, true, true},
		{some(115), some(230), none, false, true},
		{some(116), none, some(230), true, true},
		{some(115), none, some(230), false, true},
		{some(100), some(120), some(230), true, true}, // what it says itself goes first
		{some(115), some(0), some(230), false, true},
		{some(51), none, none, true, true},
		{some(50), none, none, false, true},
		{none, some(230), some(230), false, false},
	} {
		good, known := inputGood(Facts{Volts: tc.volts, Nominal: tc.nominal}, tc.onLine)
		if good != tc.good || known != tc.known {
			t.Errorf("%v V, nominal %v, on line %v: good %v, known %v; want %v, %v", tc.volts, tc.nominal, tc.onLine, good, known, tc.good, tc.known)
		}
	}
}

func TestFacts(t *testing.T) {
	const stale = 15 * time.Second
	aged := func(age time.Duration) *dodai.Reading {
		return &dodai.Reading{Status: dodai.OB, Vars: dodai.Vars{dodai.BatteryCharge: dodai.Num(80)},
			Ages: map[string]time.Duration{"ups.status": age, dodai.BatteryCharge: age}}
	}
	if f := factsOf(aged(stale), 0, stale, true); f.Status != dodai.OB || f.Charge != some(80) || !f.Metered {
		t.Errorf("just not stale: %+v", f)
	}
	if f := factsOf(aged(stale+1), 0, stale, true); f.Status != 0 || f.Charge.OK || f.Metered {
		t.Errorf("stale: %+v", f)
	}
	for _, v := range []dodai.Value{dodai.Num(math.NaN()), dodai.Num(math.Inf(1)), dodai.Text("soon")} {
		if f := factsOf(&dodai.Reading{Vars: dodai.Vars{dodai.BatteryCharge: v}}, 0, stale, true); f.Charge.OK {
			t.Errorf("charge %v is taken for %v", v, f.Charge)
		}
	}
	for _, name := range []string{dodai.BatteryCharge, dodai.BatteryRuntime, dodai.BatteryVoltage, dodai.UPSLoad} {
		r := &dodai.Reading{Vars: dodai.Vars{name: dodai.Num(24), "battery.voltage.low": dodai.Num(21), "battery.voltage.nominal": dodai.Num(24)}}
		f := factsOf(r, 0, stale, true)
		if f.Metered != (name != dodai.UPSLoad) || f.Reserve.OK != (name == dodai.BatteryVoltage) {
			t.Errorf("%s alone: metered %v, reserve %v", name, f.Metered, f.Reserve)
		}
	}
	both := dodai.Vars{dodai.BatteryVoltage: dodai.Num(23), "battery.voltage.low": dodai.Num(21), "battery.voltage.nominal": dodai.Num(24)}
	for _, better := range []string{dodai.BatteryCharge, dodai.BatteryRuntime} {
		vars := dodai.Vars{better: dodai.Num(50)}
		maps.Copy(vars, both)
		if f := factsOf(&dodai.Reading{Vars: vars}, 0, stale, true); f.Reserve.OK {
			t.Errorf("the voltage counts although %s is known", better)
		}
	}
}

// TestTestText: a test that runs is told by its result, or by why the UPS changed to battery. A
// result that stands from an earlier test says nothing.
func TestTestText(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{dodai.UPSTestResult, "In progress", true},
		{dodai.UPSTestResult, "Self test passed", false},
		{dodai.UPSTestResult, "Done and passed", false},
		{dodai.UPSTestResult, "", false},
		{"input.transfer.reason", "selfTest", true},
		{"input.transfer.reason", "Self test", true},
		{"input.transfer.reason", "self-test", true},
		{"input.transfer.reason", "input voltage out of range", false},
		{"ups.alarm", "Self test in progress", false},
	} {
		r := &dodai.Reading{Status: dodai.OB, Vars: dodai.Vars{tc.name: dodai.Text(tc.text)}}
		f := factsOf(r, 0, time.Minute, true)
		if f.TextTest != tc.want || f.onPurpose() != tc.want {
			t.Errorf("%s %q: test %v, on purpose %v; want %v", tc.name, tc.text, f.TextTest, f.onPurpose(), tc.want)
		}
		if f.Status = dodai.OL; f.onPurpose() {
			t.Errorf("%s %q: on purpose on line", tc.name, tc.text)
		}
	}
}

func TestSum(t *testing.T) {
	base := func() *dodai.Reading {
		return &dodai.Reading{Status: dodai.OB, Vars: dodai.Vars{
			"battery.charge": dodai.Num(80), "input.voltage": dodai.Num(0), "ups.alarm": dodai.Text("none"),
			"ups.time": dodai.Text("12:00"), "ups.date": dodai.Text("1"), "device.uptime": dodai.Num(5), "driver.state": dodai.Text("quiet"),
		}}
	}
	want := sum(base())
	for name, moves := range map[string]bool{
		"battery.charge": true, "input.voltage": true, "ups.alarm": true, "new": true,
		"ups.time": false, "ups.date": false, "device.uptime": false, "driver.state": false, "driver.new": false,
	} {
		for _, v := range []dodai.Value{dodai.Num(7), dodai.Text("other")} {
			r := base()
			r.Vars[name] = v
			if (sum(r) != want) != moves {
				t.Errorf("%s becomes %v: moved %v, want %v", name, v, !moves, moves)
			}
		}
	}
	for range 20 { // in whatever order a map is walked through
		if sum(base()) != want {
			t.Fatal("the same reading has another sum")
		}
	}
	r := base()
	r.Status |= dodai.LB
	if sum(r) == want {
		t.Error("a status that changes does not move")
	}
	seen := map[uint64]string{}
	for charge := range 101 {
		for runtime := range 50 {
			r := &dodai.Reading{Vars: dodai.Vars{"battery.charge": dodai.Num(float64(charge)), "battery.runtime": dodai.Num(float64(runtime))}}
			what := fmt.Sprint(charge, runtime)
			if other := seen[sum(r)]; other != "" {
				t.Fatalf("%s and %s have the same sum", what, other)
			}
			seen[sum(r)] = what
		}
	}
}
