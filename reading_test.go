package dodai

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValueJSON(t *testing.T) {
	for _, tc := range []struct {
		v    Value
		want string
	}{
		{Num(99.5), "99.5"}, {Num(0), "0"}, {Num(-3), "-3"},
		{Text("2021/04/25"), `"2021/04/25"`}, {Text("020"), `"020"`}, {Text(""), `""`},
		{Bool(true), "true"}, {Bool(false), "false"}, {Value{}, `""`},
	} {
		got, err := json.Marshal(tc.v)
		if err != nil || string(got) != tc.want {
			t.Errorf("Marshal(%v) = %s, %v; want %s", tc.v, got, err, tc.want)
		}
		var back Value
		if err := json.Unmarshal(got, &back); err != nil || back != tc.v {
			t.Errorf("Unmarshal(%s) = %v, %v; want %v", got, back, err, tc.v)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1)} {
		if data, err := json.Marshal(Num(f)); err == nil {
			t.Errorf("Marshal(%v) = %s, want an error", f, data)
		}
	}
	for _, in := range []string{`null!`, `[1]`, `{}`, `"`} {
		var v Value
		if err := json.Unmarshal([]byte(in), &v); err == nil {
			t.Errorf("Unmarshal(%s) = %v, want an error", in, v)
		}
	}
}

func TestVarsFloat(t *testing.T) {
	vars := Vars{BatteryCharge: Num(0), UPSTestResult: Text("12")}
	if v, ok := vars.Float(BatteryCharge); v != 0 || !ok {
		t.Errorf("a charge of 0 = %v, %v; want 0, true: zero is a value", v, ok)
	}
	for _, name := range []string{UPSTestResult, BatteryRuntime} {
		if v, ok := vars.Float(name); ok {
			t.Errorf("Float(%s) = %v, true; want false: text or absent", name, v)
		}
	}
	if _, ok := Vars(nil).Float(BatteryCharge); ok {
		t.Error("Float on nil Vars found something")
	}
}

func TestReadingJSONRoundTrip(t *testing.T) {
	want := Reading{
		Kind: KindUPS, Device: Device{Model: "Smart-UPS 750"}, Status: OB | LB,
		Vars: Vars{BatteryRuntime: Num(120), "ups.firmware": Text("09.8"), "battery.replace": Bool(false)},
		Ages: map[string]time.Duration{BatteryRuntime: time.Second},
		PSUs: []PSU{{ID: "10.1", State: PSUOK, Watts: new(75.0)}},
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Reading
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reading changed on its way through JSON (-want +got):\n%s", diff)
	}
}

func TestReadingClone(t *testing.T) {
	r := Reading{Vars: Vars{BatteryCharge: Num(100)}}
	c := r.Clone()
	c.Vars[BatteryCharge] = Num(1)
	if v, _ := r.Vars.Float(BatteryCharge); v != 100 {
		t.Errorf("changing the clone changed the original to %v", v)
	}
}

func TestArrayRedundant(t *testing.T) {
	for level, want := range map[string]bool{"raid0": false, "linear": false, "raid1": true, "raid6": true, "raidz2": true, "container": false} {
		if got := (Array{Level: level}).Redundant(); got != want {
			t.Errorf("Redundant(%s) = %v, want %v", level, got, want)
		}
	}
}
