package snmpups

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata")

// text is an object as the golden file has it.
func (b Binding) text() string {
	v := b.Value
	switch v.Tag {
	case TagOctetString:
		return fmt.Sprintf("%v %q", b.OID, v.Octets)
	case TagOID:
		return fmt.Sprintf("%v -> %v", b.OID, v.OID)
	case TagNull:
		return fmt.Sprintf("%v null", b.OID)
	default:
		return fmt.Sprintf("%v %s%d", b.OID, map[byte]string{TagGauge32: "gauge ", TagTimeTicks: "ticks "}[v.Tag], v.Int)
	}
}

func shown(u *UPS) map[string]bool {
	m := map[string]bool{}
	for _, b := range u.Objects() {
		m[b.text()] = true
	}
	return m
}

// TestObjects shows all objects of a UPS on line, and what changes in an outage and by
// hand. Whoever changes the file checks it against the MIBs, not against the driver.
func TestObjects(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		name string
		cfg  Config
	}{{"RFC 1628", Config{}}, {"both, three phases", Config{Flavour: Both, Phases: 3, Model: "Smart-UPS 9", Serial: "S9"}}} {
		u := newUPS(t, c.cfg)
		before := shown(u)
		fmt.Fprintf(&b, "# %s\n%s\n", c.name, strings.Join(slices.Sorted(maps.Keys(before)), "\n"))
		for _, step := range []struct {
			what   string
			change func(*State)
		}{
			{"mains gone for 90.5 s", func(s *State) { s.Mains, s.Charge, s.OnBattery = false, 70.25, 90500*time.Millisecond }},
			{"low, battery bad, test", func(s *State) { s.fixLow, s.Low, s.Replace, s.Test = true, true, true, true }},
			{"output off", func(s *State) { s.Charge = 0 }},
		} {
			u.Change(step.change)
			after := shown(u)
			fmt.Fprintf(&b, "\n# %s, %s\n", c.name, step.what)
			for _, line := range slices.Sorted(maps.Keys(after)) {
				if !before[line] {
					fmt.Fprintln(&b, line)
				}
			}
			before = after
		}
		b.WriteString("\n")
	}
	for _, l := range newUPS(t, Config{Flavour: PowerNet}).Objects() {
		if strings.HasPrefix(l.OID.String(), rfcMIB) {
			t.Errorf("PowerNet alone has %v", l.OID)
		}
	}
	golden := filepath.Join("testdata", "objects.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	wants, got := strings.Split(string(want), "\n"), strings.Split(b.String(), "\n")
	for i := range min(len(wants), len(got)) {
		if wants[i] != got[i] {
			t.Fatalf("line %d is %s, want %s (go test -update rewrites the file)", i+1, got[i], wants[i])
		}
	}
	if len(wants) != len(got) {
		t.Errorf("%d lines, want %d", len(got), len(wants))
	}
}

// TestRuntime: five minutes at full load, three times as long at half of it, and what
// the operator of the simulator says goes before the model.
func TestRuntime(t *testing.T) {
	u := newUPS(t, Config{})
	for load, want := range map[float64]time.Duration{100: 5 * time.Minute, 50: 15 * time.Minute, 25: 45 * time.Minute, 200: 158 * time.Second} {
		u.SetLoad(load)
		if got := u.State().Runtime; got < want-2*time.Second || got > want+2*time.Second {
			t.Errorf("runtime at %g %% load is %v, want %v", load, got, want)
		}
	}
	u.SetLoad(100)
	for charge, low := range map[float64]bool{100: false, 41: false, 40: true, 0: true, -5: true, 120: false} {
		u.SetCharge(charge)
		if s := u.State(); s.Low != low || s.Charge != min(max(charge, 0), 100) || s.Off {
			t.Errorf("charge %g at full load: %+v, want low %v", charge, s, low)
		}
	}
	u.SetCharge(100)
	u.SetRuntime(0)
	if s := u.State(); s.Runtime != 0 || !s.Low {
		t.Errorf("no runtime by hand: %+v", s)
	}
	u.SetRuntime(-1)
	if s := u.State(); s.Runtime != 5*time.Minute || s.Low {
		t.Errorf("runtime by the model again: %+v", s)
	}
	u.SetLow(true)
	u.SetCharge(99)
	if !u.State().Low {
		t.Error("low battery by hand did not last")
	}
}

func TestOutageEnds(t *testing.T) {
	u := newUPS(t, Config{})
	u.SetLoad(100)
	u.SetMains(false)
	u.Step(150 * time.Second)
	if s := u.State(); s.OnBattery != 150*time.Second || s.Charge < 49.9 || s.Charge > 50.1 || s.Off {
		t.Errorf("after half the battery: %+v", s)
	}
	u.Step(150 * time.Second)
	u.Step(time.Minute) // off already: no more time on battery
	if s := u.State(); s.OnBattery != 300*time.Second || !s.Off {
		t.Errorf("at the end: %+v, want it off after 300 s", s)
	}
	u.SetMains(true)
	if s := u.State(); s.Off || s.OnBattery != 0 {
		t.Errorf("mains back: %+v, want the output on", s)
	}
	u.Change(func(s *State) { s.Off = true })
	u.Step(6 * time.Minute)
	if s := u.State(); !s.Off || s.Charge < 9.9 || s.Charge > 10.1 {
		t.Errorf("switched off by hand: %+v, want it off and a tenth charged", s)
	}
	if v, _ := u.Object(MustOID(sysMIB + ".3.0")); v.Int != 360000+36000+36000 {
		t.Errorf("uptime %d ticks, want an hour and 12 minutes", v.Int)
	}
}

func TestRun(t *testing.T) {
	u := newUPS(t, Config{})
	u.SetMains(false)
	ctx, cancel := context.WithTimeout(t.Context(), 350*time.Millisecond)
	defer cancel()
	u.Run(ctx, 10)
	if s := u.State(); s.OnBattery < time.Second || s.OnBattery > 3*time.Second {
		t.Errorf("%v on battery after 0.35 s at ten times the speed, want about 3 s", s.OnBattery)
	}
}
