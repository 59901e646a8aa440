package policy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// restart is the agent coming back at seconds, with what it remembers read from disk.
func (w *world) restart(seconds float64) {
	w.t.Helper()
	var mem Memory
	if err := json.Unmarshal([]byte(asJSON(w.t, w.mem)), &mem); err != nil {
		w.t.Fatal(err)
	}
	snap := *w.snap
	snap.At, snap.AgentStartedAt, snap.Devices = at(seconds), at(seconds), nil
	for _, d := range w.snap.Devices {
		c := *d
		c.Reading, c.At, c.Polls, c.Failures = nil, 0, 0, 0
		snap.Devices = append(snap.Devices, &c)
	}
	w.snap, w.mem = &snap, mem
	w.decide(at(seconds))
}

// TestRestart: what is remembered of an outage counts, but nothing new follows from it
// before the UPS has answered or is known to be silent.
func TestRestart(t *testing.T) {
	limit := func(c *Config) { c.MaxOnBattS = new(Seconds(100)) }
	for _, tc := range []struct {
		name   string
		change func(*Config)
		before string
		at     float64
		after  string
		want   Reason
	}{
		{"the limit has passed, not heard yet", limit, "0 u1 OB charge=90", 150, "151 u1 fails", ReasonNone},
		{"the mains are back", limit, "0 u1 OB charge=90", 150, "151 u1 fails\n152 u1 OL charge=90", ReasonNone},
		{"they are not", limit, "0 u1 OB charge=90", 150, "151 u1 fails\n152 u1 OB charge=80", ReasonMaxOnBatt},
		{"silent", limit, "0 u1 OB charge=90", 150, "164.9 u1 fails", ReasonNone},
		{"silent for good", limit, "0 u1 OB charge=90", 150, "165 u1 fails\n210 u1 fails", ReasonCommsOnBatt},
		{"answers without saying anything", limit, "0 u1 OB charge=90", 150, "151 u1 charge=80", ReasonNone},
		{"no metrics", nil, "0 u1 OB", 150, "151 u1 fails", ReasonNone},
		{"an early LB, no longer trusted too little", func(c *Config) { c.LBTrustS = new(Seconds(60)) },
			"0 u1 OB LB charge=90 runtime=900\n2 u1 OB LB charge=90 runtime=898", 90, "91 u1 fails", ReasonNone},
		{"doomed already", nil, "0 u1 OB charge=15\n2 u1 OB charge=15", 10, "11 u1 fails", ReasonNone},
		{"doomed already, and silent for good", nil, "0 u1 OB charge=15\n2 u1 OB charge=15", 100, "101 u1 fails\n160 u1 fails", ReasonCommsOnBatt},
		{"doomed, and it was no moment only", nil, "0 u1 OB charge=15\n2 u1 OB charge=15", 10, "11 u1 OB charge=15", ReasonCharge},
		{"doomed, and a rise that does not save it", nil, "0 u1 OB charge=15\n2 u1 OB charge=15", 10, "11 u1 OB charge=25", ReasonCharge},
		{"doomed, and the mains are back", nil, "0 u1 OB charge=15\n2 u1 OB charge=15", 10, "12 u1 fails\n13 u1 OL charge=15", ReasonNone},
		{"silence counts from the start on", nil, "0 u1 OB charge=90", 150, "209.9 u1 fails", ReasonNone},
		{"for as long as ever", nil, "0 u1 OB charge=90", 150, "210 u1 fails", ReasonCommsOnBatt},
		{"a runtime that ran on while it was away", nil, "0 u1 OB runtime=600", 200, "219.9 u1 fails", ReasonNone},
		{"leaves less time to wait", nil, "0 u1 OB runtime=600", 200, "220 u1 fails", ReasonCommsOnBatt},
		{"silent on line", func(c *Config) { c.CommsLostLineS = new(Seconds(40)) }, "0 u1 OL", 150, "189.9 u1 fails", ReasonNone},
		{"silent on line for too long", func(c *Config) { c.CommsLostLineS = new(Seconds(40)) }, "0 u1 OL", 150, "190 u1 fails", ReasonPathOutage},
		{"nothing moved before", nil, "0 u1 OB charge=90\n4 u1 OB charge=90", 200, "201 u1 OB charge=90\n315.9 u1 OB charge=90", ReasonNone},
		{"nothing moves since", nil, "0 u1 OB charge=90\n4 u1 OB charge=90", 200, "201 u1 OB charge=90\n316 u1 OB charge=90", ReasonCommsOnBatt},
		{"a silence goes on, not asked yet", nil, "0 u1 OB charge=90\n50 u1 fails", 60, "61 u1 later", ReasonNone},
		{"a silence goes on, asked", nil, "0 u1 OB charge=90\n50 u1 fails", 58, "60 u1 fails", ReasonCommsOnBatt},
		{"not for long enough", nil, "0 u1 OB charge=90\n50 u1 fails", 58, "59.9 u1 fails", ReasonNone},
		{"a silence goes on after a while without an agent", nil, "0 u1 OB charge=90\n50 u1 fails", 300, "309.9 u1 fails", ReasonNone},
		{"for what was missing", nil, "0 u1 OB charge=90\n50 u1 fails", 300, "310 u1 fails", ReasonCommsOnBatt},
		{"the longest gap that is none", nil, "0 u1 OB charge=90\n50 u1 fails", 70, "71 u1 fails", ReasonCommsOnBatt},
		{"a gap", nil, "0 u1 OB charge=90\n50 u1 fails", 70.1, "71 u1 fails", ReasonNone},
		{"a silence that ended", nil, "0 u1 OB charge=90\n50 u1 fails", 58, "59 u1 OB charge=80\n118.9 u1 fails", ReasonNone},
		{"answers without a line state", nil, "0 u1 OB charge=90", 150, "151 u1 ALARM charge=80\n209.9 u1 ALARM charge=70", ReasonNone},
		{"for too long", nil, "0 u1 OB charge=90", 150, "151 u1 ALARM charge=80\n210 u1 ALARM charge=70", ReasonCommsOnBatt},
		{"silence on line goes on", func(c *Config) { c.CommsLostLineS = new(Seconds(40)) }, "0 u1 OL\n30 u1 fails", 31, "40 u1 fails", ReasonPathOutage},
		{"a standstill goes on", nil, "0 u1 OB charge=90\n100 u1 OB charge=90", 110, "111 u1 OB charge=90\n120 u1 OB charge=90", ReasonCommsOnBatt},
		{"FSD set while it was away", nil, "0 u1 OL", 150, "150 u1 OL FSD", ReasonFSD},
		{"charge low while it was away", nil, "0 u1 OB charge=90", 150, "150 u1 OB charge=15\n152 u1 OB charge=15", ReasonCharge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.change)
			w.play(tc.before)
			w.all = nil
			w.restart(tc.at)
			w.play(tc.after)
			for i, d := range w.all {
				if d.Reason != tc.want && (tc.want == ReasonNone || i == len(w.all)-1) {
					t.Errorf("at %v: %s, want %s", d.At-start, d.Explanation, tc.want)
				}
			}
		})
	}
}

// TestNotHeardSinceTheRestart: one that never answers is judged when it counts as silent.
func TestNotHeardSinceTheRestart(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxOnBattS = new(Seconds(100)) })
	w.play("0 u1 OB charge=90")
	w.restart(150)
	if want := at(165); w.last.Next != want {
		t.Errorf("next decision at %v, want %v", w.last.Next-start, 165*time.Second)
	}
	if w.last.Fast["u1"] != true || !w.last.UPS("u1").OnBattery {
		t.Error("an outage that is remembered is not polled fast")
	}
}

// TestRememberedDoomWaitsForAReading: a machine that lived for an hour after its battery was
// said to be empty has mains again, more likely than not.
func TestRememberedDoomWaitsForAReading(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL charge=90\n5 u1 OB LB charge=10\n12 u1 OB LB charge=9\n18 u1 OB LB charge=8")
	if !w.last.Shutdown {
		t.Fatalf("no shutdown in the outage: %s", w.last.Explanation)
	}
	w.restart(3618)
	if w.last.Shutdown || !strings.Contains(w.last.Explanation, "was doomed (lb) when last heard") {
		t.Errorf("before any reading: %s", w.last.Explanation)
	}
	w.play("3619 u1 OL CHRG charge=40\n3700 u1 OL CHRG charge=41")
	if w.last.Shutdown {
		t.Errorf("with the mains back: %s", w.last.Explanation)
	}
}

// TestRememberedLossWaitsForAReading: the same for an output that was off, and for a
// circuit that was dead by the word of a UPS.
func TestRememberedLossWaitsForAReading(t *testing.T) {
	for _, tc := range []struct {
		name, before, after string
		paths               []dodai.Path
	}{
		{"OFF", "0 u1 OL OFF\n0 u2 OL\n31 u1 OL OFF\n32 u2 OL", "3601 u1 OL\n3601 u2 OL", nil},
		{"a dead circuit", "0 u1 OB charge=90", "3601 u1 OL charge=90",
			[]dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", Feed: "A"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.MinSupplies = 2 })
			w.snap.Paths = tc.paths
			w.play(tc.before)
			if w.last.Reason != ReasonPathOutage {
				t.Fatalf("before: %s", w.last.Explanation)
			}
			w.restart(3600)
			if w.last.Shutdown {
				t.Errorf("before any reading: %s", w.last.Explanation)
			}
			again := w.mem
			w.play("3615 u1 fails\n3616 u2 OL")
			if w.last.Reason != ReasonPathOutage {
				t.Errorf("once it is silent: %s", w.last.Explanation)
			}
			w.mem = again
			w.restart(3600)
			if w.play(tc.after); w.last.Shutdown {
				t.Errorf("after the answers: %s", w.last.Explanation)
			}
		})
	}
}

// TestRememberedInputLossWaits: and for a supply without input.
func TestRememberedInputLossWaits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MinSupplies = 2 })
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}}
	w.play("0 u1 OL\n0 u2 OL")
	w.supplies(1, "a:lost b:ok")
	w.supplies(3, "a:lost b:ok")
	if w.last.Reason != ReasonPathOutage {
		t.Fatalf("before: %s", w.last.Explanation)
	}
	w.restart(100)
	if w.last.Shutdown {
		t.Errorf("before any reading: %s", w.last.Explanation)
	}
	d := w.device("bmc", dodai.KindPSUs)
	d.Failures = 1
	w.snap = w.snap.With(&d, at(101), time.Time{})
	if w.decide(at(101)); w.last.Reason != ReasonPathOutage {
		t.Errorf("asked, and no answer: %s", w.last.Explanation)
	}
}

// TestCrashLoop: an agent that never lives for long still comes to the end of a silence.
func TestCrashLoop(t *testing.T) {
	for _, tc := range []struct {
		name   string
		last   string  // what the UPS said last
		values string  // "" is silence
		want   float64 // seconds; at most one life later
		reason Reason
	}{
		{"silent", "OB charge=90", "", 6, ReasonCommsOnBatt},
		{"frozen", "OB charge=90", "OB charge=90", 20, ReasonCommsOnBatt},
		{"silent on line", "OL", "", 0, ReasonNone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.StaleS, c.CommsLostBattS, c.FrozenS = 6, 6, 20 })
			w.play("0 u1 " + tc.last)
			fell := 0.0
			for s := 2.5; s < 60 && fell == 0; s += 2.5 {
				w.restart(s)
				if w.last.Shutdown {
					t.Fatalf("before the UPS was asked: %s", w.last.Explanation)
				}
				if tc.values == "" {
					w.fail("u1", at(s+1))
				} else {
					w.play(fmt.Sprintf("%g u1 %s", s+1, tc.values))
				}
				if w.last.Shutdown {
					fell = s + 1
				}
			}
			if fell < tc.want || fell > tc.want+2.5 || w.last.Reason != tc.reason {
				t.Errorf("at %g s: %s; want %s at %g s", fell, w.last.Explanation, tc.reason, tc.want)
			}
		})
	}
}

// TestSilenceOverARestart makes no edges: it is one silence.
func TestSilenceOverARestart(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL\n20 u1 fails")
	w.restart(30)
	w.play("31 u1 fails\n40 u1 fails\n50 u1 OL")
	if got, want := strings.Join(w.events(), " "), "comms_lost@20 comms_restored@50"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestOutageOverABoot: a host that boots in the middle of an outage has been on battery since
// the outage began, unless the UPS says first that it is over, or nobody can know any more.
func TestOutageOverABoot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		boot   float64 // seconds after the last reading
		script string
		want   Reason
	}{
		{"still out", 60, "+5 u1 OB", ReasonMaxOnBatt},
		{"over", 60, "+5 u1 OL\n+20 u1 OB", ReasonNone},
		{"silent at first", 60, "+5 u1 fails\n+100 u1 OB", ReasonMaxOnBatt},
		{"says nothing at first", 60, "+5 u1 ALARM\n+10 u1 OB", ReasonMaxOnBatt},
		{"back for a moment", 60, "+5 u1 OB", ReasonMaxOnBatt},
		{"off for long", 1000, "+5 u1 OB", ReasonNone},
		{"silent for long", 60, "+5 u1 fails\n+1000 u1 OB", ReasonNone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.MaxOnBattS = new(Seconds(100)) })
			last := "OB"
			if tc.name == "back for a moment" {
				last = "OL"
			}
			w.play("0 u1 OL charge=100\n5 u1 OB charge=100\n55 u1 " + last + " charge=95")
			boot := 55 + tc.boot
			w.snap.BootedAt, w.snap.AgentStartedAt = at(boot), at(boot+1)
			for line := range strings.Lines(tc.script) {
				after, rest, _ := strings.Cut(strings.TrimPrefix(line, "+"), " ")
				s, err := strconv.ParseFloat(after, 64)
				if err != nil {
					t.Fatal(err)
				}
				w.play(fmt.Sprintf("%g %s charge=90", boot+s, strings.TrimSpace(rest)))
			}
			if w.last.Reason != tc.want {
				t.Errorf("%s, want %s: %s", w.last.Reason, tc.want, w.last.Explanation)
			}
		})
	}
}

// TestEndOfAnOutageIsToldAfterTheBoot: who was told that the mains are gone is told that they
// are back, once, however long the host was off.
func TestEndOfAnOutageIsToldAfterTheBoot(t *testing.T) {
	for name, tc := range map[string]struct{ before, after, want string }{
		"over":          {"5 u1 OB", "OL", "mains_lost@5 mains_restored@9005"},
		"over before":   {"5 u1 OB\n20 u1 OL\n60 u1 OL", "OL", "mains_lost@5 mains_restored@20"},
		"no outage":     {"5 u1 OL", "OL", ""},
		"silent before": {"5 u1 OB\n20 u1 fails\n30 u1 fails", "OL", "mains_lost@5 comms_lost@20 mains_restored@9005"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.play("0 u1 OL\n" + tc.before)
			w.snap.BootedAt, w.snap.AgentStartedAt = at(9000), at(9001)
			w.play("9005 u1 " + tc.after + "\n9010 u1 " + tc.after)
			if got := strings.Join(w.events(), " "); !strings.HasPrefix(got, tc.want) || strings.Count(got, "mains_restored") != strings.Count(tc.want, "mains_restored") {
				t.Errorf("events %q, want %q", got, tc.want)
			}
		})
	}
}
