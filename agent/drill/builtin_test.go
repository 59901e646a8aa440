package drill

import (
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// TestBuiltins looks at what each built-in outage does to two UPSes, of which the first
// has 600 s and 90 % left, and the second tells neither.
func TestBuiltins(t *testing.T) {
	type says struct {
		at, ups         string
		status          string
		charge, runtime float64 // -1: absent
		reachable       bool
	}
	const end = "660s"
	for name, list := range map[string][]says{
		"mains_loss": {
			{"0s", "u1", "OB DISCHRG", 90, 600, true}, {"300s", "u1", "OB DISCHRG", 45, 300, true}, {end, "u1", "OB DISCHRG", 0, 0, true},
			{"0s", "u2", "OB DISCHRG", -1, -1, true},
		},
		"low_battery": {
			{"9.9s", "u1", "OB DISCHRG", 89, 590, true}, {"10s", "u1", "OB LB DISCHRG", 89, 590, true}, {"10s", "u2", "OB LB DISCHRG", -1, -1, true},
		},
		"card_silent": {
			{"4.9s", "u1", "OB DISCHRG", 89, 595, true}, {"5s", "u1", "OB DISCHRG", 89, 595, false}, {"5s", "u2", "OB DISCHRG", -1, -1, false}, {end, "u1", "OB DISCHRG", 0, 0, false},
		},
		"feed_loss": {{"0s", "u1", "OB DISCHRG", 90, 600, true}, {end, "u2", "OL", -1, -1, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite("u1", "u2", "u3")
			snap, _ := s.live()
			snap.Device("u1").Reading.Vars = dodai.Vars{dodai.BatteryCharge: dodai.Num(90), dodai.BatteryRuntime: dodai.Num(600), dodai.InputVoltage: dodai.Num(230)}
			snap.Device("u2").Reading.Vars = dodai.Vars{dodai.InputVoltage: dodai.Num(230)}
			snap.Device("u3").Reading = nil // has not answered yet: takes no part
			sc, err := ScenarioFor(name, snap)
			if err != nil || sc.ID != name || len(sc.UPSes) != 2 || sc.Title == "" {
				t.Fatalf("scenario %+v, %v", sc, err)
			}
			if sc.End.String() != "11m0s" {
				t.Errorf("ends at %v, want a minute after the battery", sc.End)
			}
			for _, want := range list {
				at, _ := time.ParseDuration(want.at)
				st := sc.StateFrom(snap.Device(want.ups).Reading, at, want.ups)
				got := says{want.at, want.ups, st.Reading.Status.String(), -1, -1, st.Reachable}
				if v, ok := st.Reading.Vars.Float(dodai.BatteryCharge); ok {
					got.charge = v
				}
				if v, ok := st.Reading.Vars.Float(dodai.BatteryRuntime); ok {
					got.runtime = v
				}
				if got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				if volts, _ := st.Reading.Vars.Float(dodai.InputVoltage); (volts == 0) != st.Reading.Status.Has(dodai.OB) {
					t.Errorf("%s at %s: %g V with %v", want.ups, want.at, volts, st.Reading.Status)
				}
			}
		})
	}
}

// TestBuiltinLasts: a runtime that means "unknown" is none, and the shortest outage is
// long enough to see what follows from it.
func TestBuiltinLasts(t *testing.T) {
	for runtime, want := range map[float64]string{
		600: "11m0s", 1: "3m0s", 119: "3m0s", 121: "3m1s", 36000: "10h1m0s", // as it says, and a minute
		0: "11m0s", -1: "11m0s", 65535: "11m0s", 1e7: "11m0s", // taken for ten minutes
	} {
		s := newSite("u1")
		s.vars[dodai.BatteryRuntime] = dodai.Num(runtime)
		snap, _ := s.live()
		sc, err := ScenarioFor("mains_loss", snap)
		if err != nil {
			t.Errorf("runtime %g: %v", runtime, err)
			continue
		}
		if sc.End.String() != want {
			t.Errorf("runtime %g: ends at %v, want %s", runtime, sc.End, want)
		}
		got, _ := sc.StateFrom(snap.Device("u1").Reading, time.Second, "u1").Reading.Vars.Float(dodai.BatteryCharge)
		if runtime != 1 && got < 99 {
			t.Errorf("runtime %g: the charge is at %g %% after a second", runtime, got)
		}
	}
}
