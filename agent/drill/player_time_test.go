package drill

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/policy"
)

func timeline(lines string) string { return "id: T\ntimeline:\n" + lines }

// TestPolls counts the polls of one UPS: every 5 s on line, every 2 s on battery, three
// quick repetitions of a failed one, at once when the agent starts, none on a host that
// is off.
func TestPolls(t *testing.T) {
	const outage = "  - {t: 10, set: {ups.status: OB LB}}\n"
	for _, tc := range []struct {
		name, lines string
		want        int
	}{
		{"on line", "  - {t: 20, event: end}\n", 5},
		{"on battery", "  - {t: 10, set: {ups.status: OB}}\n  - {t: 20, event: end}\n", 8},                                     // 0, 5, 10, 12 … 20
		{"failing", "  - {t: 0, event: comms_lost}\n  - {t: 14, event: end}\n", 6},                                             // 0, 0.5, 1, 1.5, 6.5, 11.5
		{"two UPSes", "  - {t: 10, event: \"u2:comms_lost\"}\n  - {t: 14, event: end}\n", 3 + 6},                               // and 0, 5, 10, 10.5, 11, 11.5
		{"stopped", "  - {t: 20, event: agent_stop}\n  - {t: 60, event: end}\n", 4},                                            // 0 … 15
		{"started again", "  - {t: 20, event: agent_stop}\n  - {t: 52, event: agent_start}\n  - {t: 60, event: end}\n", 6},     // and 52, 57
		{"restarted", "  - {t: 18, event: agent_start}\n  - {t: 24, event: end}\n", 6},                                         // 0 … 15, 18, 23
		{"booted", "  - {t: 18, event: host_boot}\n  - {t: 24, event: end}\n", 6},                                              //
		{"going down", outage + "  - {t: 131, event: end}\n", 3 + 60},                                                          // 0, 5, 10, 12 … 130
		{"off after what a shutdown needs", outage + "  - {t: 600, event: end}\n", 3 + 61},                                     // … 132, decided at 12
		{"off, and booted again", outage + "  - {t: 300, event: host_boot}\n  - {t: 301, event: end}\n", 3 + 61 + 1},           //
		{"not started by nothing", outage + "  - {t: 300, set: {ups.status: OL}}\n  - {t: 600, event: end}\n", 3 + 61},         //
		{"the end is part of it", "  - {t: 4.999, event: end}\n", 1},                                                           //
		{"a slow line", "  - {t: 20, event: end}\nconfig: {poll_line_s: 10}\n", 3},                                             //
		{"fast on battery", "  - {t: 10, set: {ups.status: OB}}\n  - {t: 20, event: end}\nconfig: {poll_batt_s: 1}\n", 2 + 11}, //
		{"slow to retry", "  - {t: 0, event: comms_lost}\n  - {t: 10, event: end}\nconfig: {retry_s: 2}\n", 4},                 // 0, 2, 4, 6
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := timeline(tc.lines)
			if tc.name == "two UPSes" {
				text += "config: {ups: [u1, u2]}\n"
			}
			if r := playOut(t, mustParse(t, text), PlayOptions{}); r.Polls != tc.want {
				t.Errorf("%d polls, want %d", r.Polls, tc.want)
			}
		})
	}
}

// TestTimeRules fire when they are due, whenever the next poll is.
func TestTimeRules(t *testing.T) {
	for _, tc := range []struct {
		lines  string
		want   float64
		reason policy.Reason
	}{
		{"  - {t: 10, set: {ups.status: OB}}\n  - {t: 59, event: comms_lost}\n  - {t: 200, event: end}\n", 118, policy.ReasonCommsOnBatt}, // last heard at 58 s
		{"  - {t: 10, set: {ups.status: OB}}\n  - {t: 200, event: end}\nconfig: {max_onbatt_s: 33.3}\n", 43.3, policy.ReasonMaxOnBatt},
		{"  - {t: 11, event: comms_lost}\n  - {t: 200, event: end}\nconfig: {comms_lost_line_s: 47.5}\n", 57.5, policy.ReasonPathOutage},
	} {
		r := playOut(t, mustParse(t, timeline(tc.lines)), PlayOptions{})
		if r.AtS == nil || *r.AtS != tc.want || r.Reason != tc.reason {
			t.Errorf("%s at %v, want %s at %g s\n%s", r.Reason, r.AtS, tc.reason, tc.want, tc.lines)
		}
		// Few decisions without a reading: not one at each instant.
		if more := r.Decisions - r.Polls; more > 6 {
			t.Errorf("%d decisions on %d polls", r.Decisions, r.Polls)
		}
	}
}

// TestJitter: the first poll comes anywhere within the first interval.
func TestJitter(t *testing.T) {
	s := mustParse(t, timeline("  - {t: 0, event: fsd_set}\n  - {t: 30, event: end}\n"))
	if r := playOut(t, s, PlayOptions{}); *r.AtS != 0 {
		t.Errorf("without jitter decided at %g s", *r.AtS)
	}
	lo, hi := math.Inf(1), 0.0
	for seed := range 200 {
		at := *playOut(t, s, PlayOptions{Jitter: true, Seed: uint64(seed)}).AtS
		lo, hi = min(lo, at), max(hi, at)
	}
	if lo > 0.5 || hi < 4.5 || hi >= 5 {
		t.Errorf("first polls from %g to %g s, want all of 0 to 5 s", lo, hi)
	}
}

// TestFailRate: about so many reads fail, each on its own, and each is repeated.
func TestFailRate(t *testing.T) {
	s := mustParse(t, timeline("  - {t: 50000, event: end}\n"))
	for rate, want := range map[float64]float64{0: 10001, 0.1: 10001 / 0.9} {
		if r := playOut(t, s, PlayOptions{FailRate: rate, Seed: 3}); math.Abs(float64(r.Polls)-want) > rate*1500 {
			t.Errorf("rate %g: %d polls, want about %.0f", rate, r.Polls, want)
		}
	}
}

// TestSilenceIsNoticed when three polls have failed, or after stale_s.
func TestSilenceIsNoticed(t *testing.T) {
	for config, want := range map[string]float64{"": 25, "config: {poll_line_s: 10}\n": 40, "config: {stale_s: 33}\n": 43} {
		r := playOut(t, mustParse(t, timeline("  - {t: 11, event: comms_lost}\n  - {t: 99, event: end}\n")+config), PlayOptions{})
		if r.DetectedS == nil || *r.DetectedS != want || r.Timeline[0].What != "comms_lost" || r.Timeline[0].Text != "u1 does not answer: no answer" {
			t.Errorf("%q: %+v, want comms_lost at %g s", config, r.Timeline, want)
		}
	}
}

// TestWallClock: steps move what the events show, and no decision.
func TestWallClock(t *testing.T) {
	const lines = "  - {t: 600, set: {ups.status: OB LB}}\n  - {t: 700, event: end}\n"
	played := func(text string, opts PlayOptions) (offset time.Duration) {
		t.Helper()
		r := playOut(t, mustParse(t, timeline(text)), opts)
		if *r.AtS != 602 || len(r.Decision.Events) == 0 {
			t.Fatalf("decided at %g s with %d events, want 602 s", *r.AtS, len(r.Decision.Events))
		}
		return r.Decision.Events[0].Wall.Sub(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).Add(602 * time.Second))
	}
	if got := played(lines, PlayOptions{}); got != 0 {
		t.Errorf("a clock that nobody steps is off by %v", got)
	}
	for _, at := range []float64{5, 601} {
		if got := played(fmt.Sprintf("  - {t: %g, event: \"clock_step:-3600\"}\n", at)+lines, PlayOptions{}); got != -time.Hour {
			t.Errorf("stepped by an hour at %g s: off by %v", at, got)
		}
	}
	if got := played(lines+"  - {t: 603, event: \"clock_step:60\"}\n", PlayOptions{}); got != 0 {
		t.Errorf("a step that comes later: off by %v", got)
	}
	early, late := 0, 0
	for seed := range 40 {
		got := played(lines, PlayOptions{ClockSteps: true, Seed: uint64(seed)})
		if got < -time.Minute {
			early++
		}
		if got > time.Minute {
			late++
		}
		if got.Abs() > 40*time.Hour {
			t.Errorf("seed %d: off by %v after 10 minutes of steps by an hour at most", seed, got)
		}
	}
	if early < 5 || late < 5 {
		t.Errorf("of 40 clocks %d are slow and %d fast, want some of each", early, late)
	}
}

// TestPlayFromNow: time goes on from the snapshot's.
func TestPlayFromNow(t *testing.T) {
	start := twoFeeds()
	start.Wall = time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	s := mustParse(t, timeline("  - {t: 10, set: {ups.status: OB LB}}\n  - {t: 60, event: end}\n"))
	r := playOut(t, s, PlayOptions{Start: start, Bind: map[string]string{"rack-a": "u1", "rack-b": "u1"}})
	if *r.AtS != 12 || r.Decision.At != 512*time.Second {
		t.Errorf("decided at %g s, which is %v; want 12 s after 500 s", *r.AtS, r.Decision.At)
	}
	short := mustParse(t, timeline("  - {t: 4, event: end}\n"))
	silent := *start.Device("rack-b")
	silent.Name, silent.Reading = "rack-c", nil
	if r := playOut(t, short, PlayOptions{Start: start.With(&silent, start.At, start.Wall)}); r.Polls != 3 {
		t.Errorf("%d polls, want one of the supplies and of each UPS that has answered", r.Polls)
	}
	if wall := r.Decision.Events[0].Wall; !wall.Equal(start.Wall.Add(12 * time.Second)) {
		t.Errorf("at %v on the wall clock, want 12 s after %v", wall, start.Wall)
	}
}

// TestAgentAndHost: what the agent remembers survives its restart, the start of heavy
// services is held back after a boot, and the time line says what happened.
func TestAgentAndHost(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		at         float64 // of the decision; 0: none
		hold       bool
		notes      string
	}{
		{"restart", "  - {t: 10, set: {ups.status: OB}}\n  - {t: 20, event: agent_stop}\n  - {t: 30, event: agent_start}\n  - {t: 99, event: end}\nconfig: {max_onbatt_s: 60}\n", 70, false,
			"mains_lost@10 agent_stop@20 agent_start@30 decision@70"},
		{"the outage goes on over a boot", "  - {t: 10, set: {ups.status: OB}}\n  - {t: 30, event: host_boot}\n  - {t: 99, event: end}\nconfig: {max_onbatt_s: 60}\n", 70, false,
			"mains_lost@10 host_boot@30 mains_lost@30 decision@70"},
		{"boot with little charge", "  - {t: 10, set: {battery.charge: 20}}\n  - {t: 20, event: host_boot}\n  - {t: 99, event: end}\n", 0, true, "host_boot@20 note@20"},
		{"boot with enough", "  - {t: 20, event: host_boot}\n  - {t: 30, set: {battery.charge: 20}}\n  - {t: 99, event: end}\n", 0, false, "host_boot@20"},
		{"restart with little charge", "  - {t: 10, set: {battery.charge: 20}}\n  - {t: 20, event: agent_start}\n  - {t: 99, event: end}\n", 0, false, "agent_start@20"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := playOut(t, mustParse(t, timeline(tc.text)), PlayOptions{})
			var notes []string
			for _, e := range r.Timeline {
				if e.What != "alert" {
					notes = append(notes, fmt.Sprintf("%s@%g", e.What, e.AtS))
				}
			}
			if got := strings.Join(notes, " "); got != tc.notes || r.BootHold != tc.hold {
				t.Errorf("%s, hold %v; want %s, %v", got, r.BootHold, tc.notes, tc.hold)
			}
			if r.Shutdown != (tc.at > 0) || r.Shutdown && *r.AtS != tc.at {
				t.Errorf("decided at %v, want %g s", r.AtS, tc.at)
			}
		})
	}
}

// TestSuppliesOfAScenario: each UPS feeds a supply of its own as soon as one is mentioned.
func TestSuppliesOfAScenario(t *testing.T) {
	for _, tc := range []struct{ ups, lost, alert string }{
		{"[u1, u2]", "  - {t: 9, event: psu_input_lost:u2}\n", "redundancy_lost"},
		{"[u1, u2]", "  - {t: 9, event: psu_input_lost:u2}\n  - {t: 9, event: psu_input_lost:u1}\n", "psu_contradiction"},
		{"[u1]", "  - {t: 9, event: psu_input_lost:u1}\n", "psu_contradiction"},
		{"[u1, u2]", "", ""},
	} {
		r := playOut(t, mustParse(t, timeline(tc.lost+"  - {t: 60, event: end}\n")+"config: {ups: "+tc.ups+"}\n"), PlayOptions{})
		if r.Shutdown || alertsOf(r) != tc.alert {
			t.Errorf("%s with %q lost: alerts %q, shutdown %v; want %q", tc.ups, tc.lost, alertsOf(r), r.Shutdown, tc.alert)
		}
	}
}

// TestMainsBack: the host comes back by itself when a UPS that was without mains at the decision
// has them again afterwards.
func TestMainsBack(t *testing.T) {
	const lb = "  - {t: 10, set: {ups.status: OB LB}}\n"
	for _, tc := range []struct {
		name, lines string
		want        bool
	}{
		{"never", lb + "  - {t: 99, event: end}\n", false},
		{"later", lb + "  - {t: 60, set: {ups.status: OL}}\n  - {t: 99, event: end}\n", true},
		{"at the end", lb + "  - {t: 99, set: {ups.status: OL}}\n  - {t: 99, event: end}\n", true},
		{"after the end", lb + "  - {t: 100, set: {ups.status: OL}}\n  - {t: 99, event: end}\n", false},
		{"to bypass", lb + "  - {t: 60, set: {ups.status: BYPASS}}\n  - {t: 99, event: end}\n", false},
		{"by halves", lb + "  - {t: 60, set: {ups.status: OL OB}}\n  - {t: 99, event: end}\n", false},
		{"before", "  - {t: 2, set: {ups.status: OB}}\n  - {t: 4, set: {ups.status: OL}}\n" + lb + "  - {t: 99, event: end}\n", false},
		{"they were there", "  - {t: 10, event: fsd_set}\n  - {t: 60, set: {ups.status: OL CHRG}}\n  - {t: 99, event: end}\n", false},
		{"no decision", "  - {t: 10, set: {ups.status: OB}}\n  - {t: 60, set: {ups.status: OL}}\n  - {t: 99, event: end}\n", false},
		{"the other UPS", lb + "  - {t: 10, set: {\"u2:ups.status\": OB LB}}\n  - {t: 60, set: {\"u2:ups.status\": OL}}\n  - {t: 99, event: end}\nconfig: {ups: [u1, u2]}\n", true},
	} {
		if r := playOut(t, mustParse(t, timeline(tc.lines)), PlayOptions{}); r.PowerCycle != tc.want {
			t.Errorf("%s: power cycle %v, want %v", tc.name, r.PowerCycle, tc.want)
		}
	}
}
