package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
)

// TestView: what a UPS last said of its line stands as long as a reading may be stale.
func TestView(t *testing.T) {
	for _, tc := range []struct {
		script, source string
		line           Line
		available      float64 // seconds; 0: not known
	}{
		{"0 u1 OL", "", LinePresent, 0},
		{"0 u1 OL\n15 u1 later", "", LinePresent, 0},
		{"0 u1 OL\n15.1 u1 later", "", LineUnknown, 0},
		{"0 u1 ALARM", "", LineUnknown, 0},
		{"0 u1 OB charge=90", "", LineAbsent, 0},
		{"0 u1 OB charge=90\n5 u1 OFF charge=90\n16 u1 OFF charge=89", "", LineUnknown, 0},
		{"0 u1 OB runtime=900\n9 u1 later", "battery.runtime, corrected by what this battery gave before", LineAbsent, 441},
		{"10 u1 OB charge=90\n5 u1 OL charge=90", "", LineAbsent, 0}, // older than what is known
		{"0 u1 TRIM", "", LinePresent, 0},
		{"0 u1 BOOST", "", LinePresent, 0},
		{"0 u1 BYPASS", "", LinePresent, 0},
		{"0 u1 OVER", "", LineUnknown, 0},
		{"0 u1 OL volts=115\n5 u1 OL OB volts=58", "", LinePresent, 0}, // half of what it was on line
		{"0 u1 OL volts=115\n5 u1 OL OB volts=57", "", LineAbsent, 0},
		{"0 u1 OL volts=230\n5 u1 OL volts=50\n9 u1 OL OB volts=60", "", LineAbsent, 0},           // 50 V are no line voltage
		{"0 u1 OL volts=230\n5 u1 OL OB CHRG volts=100\n9 u1 OL OB volts=100", "", LineAbsent, 0}, // nor is what a doubtful status comes with
		{"0 u1 OL runtime=900\n9 u1 later", "battery.runtime, corrected by what this battery gave before", LinePresent, 450},
		{"0 u1 OB runtime=5\n9 u1 later", "battery.runtime, corrected by what this battery gave before", LineAbsent, 0},
	} {
		w := newWorld(t, nil)
		w.learned("u1", 0.5)
		w.play(tc.script)
		v := w.last.UPS("u1")
		got := 0.0
		if v.Available != nil {
			got = v.Available.Seconds()
		}
		if v.Line != tc.line || v.Source != tc.source || got != tc.available {
			t.Errorf("%q: %+v with %g s, want %+v", tc.script, v, got, tc)
		}
	}
}

// TestDoubt: a status that says OL and OB means battery once the charge has fallen by two
// percent in a minute or more; the outage began with the contradiction.
func TestDoubt(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		since        float64 // of the outage, in seconds; negative: none
	}{
		{"falls in a minute", "5 u1 OL OB charge=90\n65 u1 OL OB charge=88", 5},
		{"though the input looks good", "5 u1 OL OB charge=90 volts=230\n65 u1 OL OB charge=88 volts=230", 5},
		{"falls in less", "5 u1 OL OB charge=90\n64.9 u1 OL OB charge=88", -1},
		{"falls by less", "5 u1 OL OB charge=90\n65 u1 OL OB charge=88.5", -1},
		{"rises", "5 u1 OL OB charge=88\n65 u1 OL OB charge=90", -1},
		{"rises, then falls", "5 u1 OL OB charge=88\n20 u1 OL OB charge=90\n65 u1 OL OB charge=88", 5},
		{"charge known later", "5 u1 OL OB\n20 u1 OL OB charge=90\n65 u1 OL OB charge=88", 5},
		{"charge no longer known", "5 u1 OL OB charge=90\n65 u1 OL OB", -1},
		{"charge never known", "5 u1 OL OB\n65 u1 OL OB", -1},
		{"falls, but charges", "5 u1 OL OB charge=90\n65 u1 OL OB CHRG charge=88", -1},
		{"a contradiction that ended", "5 u1 OL OB charge=90\n30 u1 OL charge=89\n40 u1 OL OB charge=89\n70 u1 OL OB charge=87", -1},
		{"and began anew", "5 u1 OL OB charge=90\n30 u1 OL charge=89\n40 u1 OL OB charge=89\n100 u1 OL OB charge=87", 40},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.play("0 u1 OL charge=95\n" + tc.script)
			v, since := w.last.UPS("u1"), -1.0
			if v.OnBattery {
				since = (v.OnBatterySince - start).Seconds()
			}
			if since != tc.since || v.OnBattery != (v.Line == LineAbsent) {
				t.Errorf("on battery since %g s, line %s; want since %g s", since, v.Line, tc.since)
			}
		})
	}
}

// TestSlowDevice: one that is asked rarely may be silent for longer, but not on battery.
func TestSlowDevice(t *testing.T) {
	for script, want := range map[string]float64{"0 u1 OL": 60, "0 u1 OB": 15} {
		w := newWorld(t, nil)
		d := w.device("u1", dodai.KindUPS)
		d.StaleAfter = time.Minute
		w.snap = w.snap.With(&d, start, time.Time{})
		w.play(script)
		if w.last.Next != at(want) {
			t.Errorf("%s: silent at %v, want %g s", script, w.last.Next-start, want)
		}
	}
}

// TestEventFields: an event carries the figures it was made from, and no others.
func TestEventFields(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL\n5 u1 OB charge=90 volts=0\n30 u1 fails")
	var got []string
	for _, d := range w.all {
		for _, e := range d.Events {
			if e.Fields["alert"] == nil {
				got = append(got, fmt.Sprintf("%s %s %v", e.Device, e.Text, e.Fields))
			}
		}
	}
	want := []string{
		"u1 u1 is on battery (OB, charge 90 %, input 0 V) map[battery.charge:90 input.voltage:0 ups.status:OB]",
		"u1 u1 does not answer: megatec u1: read Q1 reply: device unreachable map[]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
