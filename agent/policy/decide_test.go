package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
)

func TestEvents(t *testing.T) {
	for _, tc := range []struct {
		name, script, want string
	}{
		{"an outage", "0 u1 OL\n5 u1 OB\n7 u1 OB\n9 u1 OL\n11 u1 OL", "mains_lost@5 mains_restored@9"},
		{"flapping makes edges each time", "0 u1 OB\n2 u1 OL\n4 u1 OB\n6 u1 OL", "mains_lost@0 mains_restored@2 mains_lost@4 mains_restored@6"},
		{"calibration is no outage", "0 u1 OL\n5 u1 OB CAL volts=230\n9 u1 OL", ""},
		{"the mains fail in it", "0 u1 OL volts=230\n5 u1 OB CAL volts=230\n9 u1 OB CAL volts=0\n12 u1 OL volts=230", "mains_lost@9 mains_restored@12"},
		{"battery low, confirmed and once", "0 u1 OB LB\n2 u1 OB LB\n4 u1 OB LB", "mains_lost@0 battery_low@2"},
		{"battery low in each outage", "0 u1 OB LB\n2 u1 OB LB\n4 u1 OL\n14 u1 OL\n20 u1 OB LB\n22 u1 OB LB", "mains_lost@0 battery_low@2 mains_restored@4 mains_lost@20 battery_low@22"},
		{"LB that lasts on line", "0 u1 OB LB\n1 u1 OL LB\n3 u1 OL LB", "mains_lost@0 mains_restored@1"},
		{"silence", "0 u1 OL\n5 u1 fails\n15 u1 later\n20 u1 fails\n30 u1 OL", "comms_lost@15 comms_restored@30"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.play(tc.script)
			if got := strings.Join(w.events(), " "); got != tc.want {
				t.Errorf("events %q, want %q", got, tc.want)
			}
		})
	}
}

func TestAlertEdges(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL\n0 u2 OL\n5 u1 OL BYPASS\n7 u2 OL BYPASS OVER\n9 u1 OL BYPASS\n12 u2 OL BYPASS\n20 u1 OL")
	var got []string
	for _, d := range w.all {
		for _, e := range d.Events {
			got = append(got, fmt.Sprintf("%s %s %s: %s", e.Name, e.Device, e.Fields["alert"], e.Text))
		}
	}
	want := []string{
		"alert_raised u1 bypass: u1 is in bypass: no battery stands behind it",
		"alert_raised u2 bypass: u2 is in bypass: no battery stands behind it",
		"alert_raised u2 overload: u2 is overloaded",
		"alert_cleared u2 overload: overload is over after 5 s",
		"alert_cleared u1 bypass: bypass is over after 15 s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if since := w.last.Alerts[0].Since; since != at(7) {
		t.Errorf("the bypass of u2 stands since %v, want %v", since, at(7))
	}
}

// TestNext: a time rule fires at the instant Next promised, and not before.
func TestNext(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		change       func(*Config)
		want         float64 // seconds at which Next lies
		reason       Reason  // then
	}{
		{"silence", "0 u1 OL", nil, 15, ReasonNone},
		{"no metrics", "0 u1 OB\n118 u1 OB", nil, 120, ReasonNoMetrics},
		{"limit on battery", "0 u1 OB charge=90", func(c *Config) { c.MaxOnBattS = new(Seconds(7)) }, 7, ReasonMaxOnBatt},
		{"LB distrusted", "0 u1 OB LB charge=90 runtime=900\n50 u1 OB LB charge=88 runtime=850", func(c *Config) { c.LBTrustS = new(Seconds(60)) }, 60, ReasonLB},
		{"the first of two", "0 u1 OL\n3 u2 OL", nil, 15, ReasonNone},
		{"the second of two", "0 u2 OL\n3 u1 OL", nil, 15, ReasonNone},
		{"blind", "0 u1 OB charge=90\n20 u1 fails", nil, 60, ReasonCommsOnBatt},
		{"blind on line", "0 u1 OL\n20 u1 fails", func(c *Config) { c.CommsLostLineS = new(Seconds(40)) }, 40, ReasonPathOutage},
		{"frozen", "0 u1 OB charge=90\n110 u1 OB charge=90", nil, 120, ReasonCommsOnBatt},
		{"flapping ends", "0 u1 OB charge=90\n2 u1 OL\n4 u1 OB charge=90\n6 u1 OL\n8 u1 OB charge=90\n10 u1 OL\n25 u1 OL\n110 u1 OL", nil, 120, ReasonNone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.change)
			w.play(tc.script)
			if w.last.Next != at(tc.want) || w.last.Shutdown {
				t.Fatalf("next %v (shutdown %v), want %v", w.last.Next-start, w.last.Shutdown, tc.want)
			}
			before := w.last.Alerts
			mem := w.mem
			w.decide(w.last.Next - 1)
			if w.last.Reason != ReasonNone || len(w.last.Alerts) != len(before) {
				t.Errorf("just before: %s", w.last.Explanation)
			}
			w.mem = mem
			w.decide(at(tc.want))
			if w.last.Reason != tc.reason {
				t.Errorf("then: %s, want %s", w.last.Explanation, tc.reason)
			}
			if tc.reason == ReasonNone && len(w.last.Alerts) == len(before) {
				t.Errorf("then: alerts %v as before", w.alerts())
			}
		})
	}
}

func TestHysteresisKeepsTheStart(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL\n5 u1 OB\n8 u1 OL\n12 u1 OB")
	if v := w.last.UPS("u1"); v == nil || !v.OnBattery || v.OnBatterySince != at(5) || !w.last.Fast["u1"] {
		t.Errorf("view %+v, fast %v; want on battery since 5 s, fast", v, w.last.Fast)
	}
	w.play("14 u1 OL\n23.9 u1 OL")
	if !w.last.UPS("u1").OnBattery {
		t.Error("back on line before the hysteresis has passed")
	}
	w.play("24 u1 OL")
	if w.last.UPS("u1").OnBattery || w.last.Fast["u1"] {
		t.Error("still on battery after the hysteresis")
	}
}

func TestFSDAfterBoot(t *testing.T) {
	for _, tc := range []struct {
		name    string
		started time.Duration // of the agent, after the boot
		script  string
		want    Reason
		hold    bool
		latch   bool
	}{
		{"leftover", time.Minute, "0 u1 OL CHRG FSD charge=90", ReasonNone, true, true},
		{"leftover, found a quarter of an hour after the boot", 15 * time.Minute, "0 u1 OL FSD charge=90", ReasonNone, true, true},
		{"found later", 15*time.Minute + time.Second, "0 u1 OL FSD charge=90", ReasonFSD, false, false},
		{"leftover, then a moment without mains", time.Minute, "0 u1 OL FSD charge=90\n60 u1 OB FSD charge=90\n61.9 u1 OB FSD charge=90", ReasonNone, true, true},
		{"after a restart of the agent", time.Hour, "0 u1 OL CHRG FSD charge=90", ReasonFSD, false, false},
		{"set after the first reading", time.Minute, "0 u1 OL charge=90\n5 u1 OL FSD charge=90", ReasonFSD, false, false},
		{"boot without input", time.Minute, "0 u1 OB FSD charge=90", ReasonFSD, true, false},
		{"leftover, then the mains fail", time.Minute, "0 u1 OL FSD charge=90\n60 u1 OB FSD charge=90\n62 u1 OB FSD charge=90", ReasonFSD, true, true},
		{"leftover, an empty status first", time.Minute, "0 u1 charge=90\n2 u1 OL FSD charge=90", ReasonNone, true, true},
		{"leftover, FSD alone first", time.Minute, "0 u1 FSD charge=90\n2 u1 OL FSD charge=90", ReasonNone, true, true},
		{"leftover, FSD alone for long", time.Minute, "0 u1 FSD charge=90\n14.9 u1 OL FSD charge=90", ReasonNone, true, true},
		{"FSD alone, line not told yet", time.Minute, "0 u1 FSD charge=90\n14.9 u1 FSD charge=90", ReasonNone, true, false},
		{"FSD alone, line never told", time.Minute, "0 u1 FSD charge=90\n15 u1 fails", ReasonFSD, true, false},
		{"FSD alone, told too late", time.Minute, "0 u1 FSD charge=90\n15 u1 OL FSD charge=90", ReasonFSD, true, false},
		{"an empty status for too long", time.Minute, "0 u1 charge=90\n15 u1 OL FSD charge=90", ReasonFSD, true, false},
		{"FSD alone first, and no input", time.Minute, "0 u1 FSD charge=90\n2 u1 OB FSD charge=90", ReasonFSD, true, false},
		{"FSD alone, after a restart of the agent", time.Hour, "0 u1 FSD charge=90", ReasonFSD, false, false},
		{"FSD alone, once the line was told", time.Minute, "0 u1 OL charge=90\n2 u1 FSD charge=90", ReasonFSD, false, false},
		{"leftover goes", time.Minute, "0 u1 OL FSD charge=90\n60 u1 OL charge=90", ReasonNone, false, true},
		{"leftover goes and comes again", time.Minute, "0 u1 OL FSD charge=90\n60 u1 OL charge=90\n70 u1 OL FSD charge=90", ReasonFSD, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.snap.AgentStartedAt = start
			w.snap.BootedAt = start - tc.started
			w.play(tc.script)
			if tc.want == ReasonNone && slices.ContainsFunc(w.all, func(d Decision) bool { return d.Shutdown }) {
				t.Errorf("went down before")
			}
			if w.last.Reason != tc.want || w.last.BootHold != tc.hold || w.ever(AlertFSDLatch) != tc.latch {
				t.Errorf("%s, hold %v, latch %v; want %s, %v, %v", w.last.Explanation, w.last.BootHold, w.ever(AlertFSDLatch), tc.want, tc.hold, tc.latch)
			}
		})
	}
}

func TestBootHold(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		want         bool
	}{
		{"charge too low", "0 u1 OL charge=29", true},
		{"charge enough", "0 u1 OL charge=30", false},
		{"runtime too low", "0 u1 OL charge=90 runtime=100", true},
		{"LB", "0 u1 OL LB", true},
		{"charge not known", "0 u1 OL", false},
		{"exactly what a shutdown needs", "0 u1 OL charge=90 runtime=180", false},
		{"never answered", "0 u1 fails\n60 u1 fails", false},
		{"answers late, and low", "0 u1 fails\n60 u1 OL charge=10", true},
		{"released once is released", "0 u1 OL charge=20\n9 u1 OL charge=30\n20 u1 OB charge=10", false},
		{"one of two is enough", "0 u2 OL charge=80\n0 u1 OL charge=10", false},
		{"neither of two, one after the other", "0 u2 fails\n0 u1 OL charge=10\n1 u2 OL charge=10", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.snap.BootedAt, w.snap.AgentStartedAt = start-time.Minute, start-time.Minute
			w.play(tc.script)
			if w.last.BootHold != tc.want {
				t.Errorf("boot hold %v, want %v", w.last.BootHold, tc.want)
			}
			w2 := newWorld(t, nil) // a host that has been up for long holds nothing back
			w2.play(tc.script)
			if w2.last.BootHold {
				t.Error("boot hold long after the boot")
			}
		})
	}
}

// TestReboot: what was before the boot says nothing about the outage now.
func TestReboot(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OB LB charge=9\n2 u1 OB LB charge=9")
	if w.last.Reason != ReasonLB {
		t.Fatalf("before: %s", w.last.Explanation)
	}
	w.mem = w.mem.Shift(-at(2) - 300*time.Second)
	w.snap = &dodai.Snapshot{AgentStartedAt: 20 * time.Second}
	d := w.device("u1", dodai.KindUPS)
	w.snap = w.snap.With(&d, 20*time.Second, time.Time{})
	w.decide(20 * time.Second)
	w.decide(200 * time.Second)
	if w.last.Shutdown || w.last.UPS("u1").OnBattery {
		t.Errorf("a silent UPS after the boot: %s", w.last.Explanation)
	}
	w.read("u1", 210*time.Second, reading(t, strings.Fields("OL CHRG charge=9")))
	if w.last.Shutdown || !w.last.BootHold {
		t.Errorf("hold %v, %s; want held back", w.last.BootHold, w.last.Explanation)
	}
}

func TestMargin(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		script string
		want   string // seconds of margin, or none
	}{
		{"on line", nil, "0 u1 OL runtime=1200\n9 u1 later", "17m0s"},
		{"counted down on battery", nil, "0 u1 OB runtime=1200\n9 u1 later", "16m51s"},
		{"not known", nil, "0 u1 OL charge=90", "none"},
		{"the longer of two", nil, "0 u1 OL runtime=600\n0 u2 OL runtime=1200", "17m0s"},
		{"the shorter when both are needed", func(c *Config) { c.MinSupplies = 2 }, "0 u1 OL runtime=600\n0 u2 OL runtime=1200", "7m0s"},
		{"too late", nil, "0 u1 OB runtime=100", "-1m20s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.change)
			w.play(tc.script)
			got := "none"
			if w.last.Margin != nil {
				got = w.last.Margin.String()
			}
			if got != tc.want {
				t.Errorf("margin %s, want %s", got, tc.want)
			}
		})
	}
}

// TestFactor: what earlier discharges taught shortens what the UPS says.
func TestFactor(t *testing.T) {
	for _, tc := range []struct{ factor, want float64 }{{0.5, 500}, {0.2, 200}, {0.01, 200}, {-1, 200}, {3, 1000}, {math.NaN(), 1000}} {
		w := newWorld(t, nil)
		w.learned("u1", tc.factor)
		w.play("0 u1 OB runtime=1000")
		if got := w.last.Available.Seconds(); got != tc.want {
			t.Errorf("factor %g: %g s available, want %g", tc.factor, got, tc.want)
		}
	}
}

func TestEvidence(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OB charge=90@5 volts=0\n4 u1 later")
	want := []Evidence{
		{"u1", "ups.status", "OB", 4 * time.Second},
		{"u1", "battery.charge", "90", 9 * time.Second},
		{"u1", "input.voltage", "0", 4 * time.Second},
	}
	if diff := cmp.Diff(want, w.last.Evidence); diff != "" {
		t.Error(diff)
	}
}

func TestFast(t *testing.T) {
	for script, want := range map[string]bool{
		"0 u1 OL": false, "0 u1 OB": true, "0 u1 OL OFF": true, "0 u1 OL OB volts=230": true, "0 u1 OL FSD": true,
		"0 u1 OL LB": true, "0 u1 OB CAL": true, "0 u1 OL BYPASS": false, "0 u1 OL timer=60\n2 u1 OL timer=58": true,
		"0 u1 OB\n2 u1 OL\n4 u1 OB\n6 u1 OL\n8 u1 OB\n10 u1 OL\n25 u1 OL": true, "0 u1 OB\n2 u1 OL": true, "0 u1 OB\n2 u1 OL\n12 u1 OL": false,
	} {
		w := newWorld(t, nil)
		w.play(script)
		if w.last.Fast["u1"] != want {
			t.Errorf("%s: fast %v, want %v", script, !want, want)
		}
	}
}

func TestNoUPS(t *testing.T) {
	w := newWorld(t, nil)
	w.decide(start)
	if w.last.Shutdown || w.last.BootHold || !strings.Contains(w.last.Explanation, "no UPS") || slices.Contains(w.alerts(), "/redundancy_lost") {
		t.Errorf("decision %+v", w.last)
	}
}

// TestTestIsNoEvidence: a charge that fell in a self-test does not decide between OL and OB.
func TestTestIsNoEvidence(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL volts=230 charge=100\n10 u1 OL OB volts=230 charge=100\n15 u1 OL OB TEST volts=230 charge=99\n25 u1 OL OB TEST volts=230 charge=95")
	w.play("30 u1 OL OB volts=230 charge=95\n80 u1 OL OB volts=230 charge=95\n200 u1 OL OB volts=230 charge=95")
	if w.last.UPS("u1").OnBattery {
		t.Errorf("taken for an outage: %s", w.last.Explanation)
	}
	w.play("210 u1 OL OB volts=230 charge=93")
	if !w.last.UPS("u1").OnBattery {
		t.Errorf("a fall outside of it counts for nothing: %s", w.last.Explanation)
	}
}
