package drill

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/google/go-cmp/cmp"
)

func mustParse(t testing.TB, text string) *Scenario {
	t.Helper()
	s, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParse(t *testing.T) {
	s := mustParse(t, `id: X1
title: a test
source: "#1"
config: {ups: [a, b], need_s: 50, poll_line_s: 3, max_onbatt_s: 90, ignore_lb: true, confirm_polls: 3, comms_lost_line_s: null, min_charge_pct: 25.5}
timeline:
  - {t: 1.5, set: {ups.status: OB, "b:ups.status": "OFF", battery.runtime: null}}
  - {t: 2, event: "clock_step:-3600"}
  - {t: 3, event: psu_input_lost:b}
  - {t: 9, event: end}
expect: {shutdown: true, not_before_s: 1, not_after_s: 8.5, reason: lb, alerts: [fsd], boot_hold: false, power_cycle: true}
`)
	want := policy.Default()
	want.Need, want.Reserve = 0, 50*time.Second
	want.MaxOnBattS, want.IgnoreLB, want.ConfirmPolls, want.MinChargePct = new(policy.Seconds(90)), true, 3, 25.5
	want.LoadShift = false // nothing says how the supplies are wired
	if diff := cmp.Diff(want, s.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	expect := Expect{Shutdown: new(true), NotBeforeS: new(1.0), NotAfterS: new(8.5), Reason: new(policy.ReasonLB),
		Alerts: []policy.AlertID{"fsd"}, BootHold: new(false), PowerCycle: new(true)}
	if diff := cmp.Diff(expect, s.Expect); diff != "" {
		t.Errorf("expect (-want +got):\n%s", diff)
	}
	if s.ID != "X1" || s.PollLine != 3*time.Second || s.End != 9*time.Second || len(s.events) != 1 || s.events[0].Step != -time.Hour {
		t.Errorf("scenario %+v", s)
	}
	if st := s.State(2*time.Second, "b"); st.Reading.Status != dodai.OFF {
		t.Errorf("b says %v, want OFF", st.Reading.Status)
	}
}

func TestParseMistakes(t *testing.T) {
	const head = "id: X\ntimeline:\n"
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "f:1:1: an empty file: want id, timeline and expect"},
		{"no id", "title: x\ntimeline: []\n", "f:1:1: no id: want id"},
		{"no timeline", "id: x\n", "f:1:1: no timeline"},
		{"unknown key", "id: x\ntimelime: []\n", `f:2:1: unknown key "timelime": want config, expect`},
		{"key twice", "id: x\nid: y\ntimeline: []\n", "f:2:1: "},
		{"unknown policy key", "id: x\nconfig: {min_charge: 5}\ntimeline: []\n", `f:2:10: unknown key "min_charge"`},
		{"policy value of another type", "id: x\nconfig: {max_onbatt_s: soon}\ntimeline: []\n", `f:2:24: the text "soon": want max_onbatt_s in seconds, or null, a number`},
		{"percent above 100", "id: x\nconfig: {min_charge_pct: 101}\ntimeline: []\n", `f:2:26: "101": want min_charge_pct, a number from 0 to 100`},
		{"polls in halves", "id: x\nconfig: {confirm_polls: 1.5}\ntimeline: []\n", "f:2:25: confirm_polls is 1.5: want a whole number"},
		{"no UPS", "id: x\nconfig: {ups: []}\ntimeline: []\n", "f:2:15: 0 UPSes"},
		{"UPS twice", "id: x\nconfig: {ups: [a, a]}\ntimeline: []\n", `f:2:19: UPS id "a"`},
		{"bare OFF", head + "  - {t: 1, set: {ups.status: OFF}}\n", `f:3:30: the text "OFF": want a number, a text or null; words such as "OFF" and "ON" in quotes`},
		{"bare on, in a flap", head + "  - {t: 1, flap: {every: 2, on_s: 1, times: 1, on_set: {ups.status: on}, off_set: {}}}\n", `f:3:69: the text "on"`},
		{"truth value", head + "  - {t: 1, set: {ups.status: true}}\n", "f:3:30: the truth value true"},
		{"status that is a number", head + "  - {t: 1, set: {ups.status: 7}}\n", "f:3:18: ups.status is a number: want words"},
		{"ramp of the status", head + "  - {t: 1, ramp: {ups.status: [1, 2, 3]}}\n", "f:3:19: ups.status is a number"},
		{"ramp of two", head + "  - {t: 1, ramp: {battery.charge: [1, 2]}}\n", "f:3:35: a list of 2: want [from, to, seconds]"},
		{"ramp in no time", head + "  - {t: 1, ramp: {battery.charge: [1, 2, 0]}}\n", `f:3:42: "0": want the length in seconds`},
		{"no t", head + "  - {event: end}\n", "an entry without t"},
		{"nothing happens", head + "  - {t: 1}\n", "an entry in which nothing happens"},
		{"negative t", head + "  - {t: -1, event: end}\n", `"-1": want seconds from the start, a number from 0`},
		{"unknown event", head + "  - {t: 1, event: comms_gone}\n", `f:3:19: unknown event "comms_gone": want comms_lost`},
		{"unknown UPS", head + "  - {t: 1, event: \"u2:comms_lost\"}\n", `f:3:19: unknown UPS "u2": want one of u1`},
		{"unknown UPS's supply", head + "  - {t: 1, event: psu_input_lost:u2}\n", `f:3:19: psu_input_lost of unknown UPS "u2"`},
		{"clock step of nothing", head + "  - {t: 1, event: \"clock_step:\"}\n", "f:3:19: clock_step"},
		{"clock step that is not finite", head + "  - {t: 1, event: \"clock_step:Inf\"}\n", "f:3:19: clock_step"},
		{"incomplete flap", head + "  - {t: 1, flap: {every: 2}}\n", "an incomplete flap"},
		{"flap without end", head + "  - {t: 1, flap: {every: 86400, on_s: 1, times: 20000, on_set: {}, off_set: {}}}\n", "a flap that lasts too long"},
		{"on for longer than a cycle", head + "  - {t: 1, flap: {every: 2, on_s: 3, times: 1, on_set: {}, off_set: {}}}\n", "on_s is longer than a cycle"},
		{"times in halves", head + "  - {t: 1, flap: {every: 2, on_s: 1, times: 1.5, on_set: {}, off_set: {}}}\n", "times is no whole number"},
		{"too many steps", head + "  - {t: 1, flap: {every: 2, on_s: 1, times: 20000, on_set: {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1}, off_set: {a: 2, b: 1, c: 1, d: 1, e: 1}}}\n", "too long a time line: want at most 200000 steps"},
		{"variable without a name", head + "  - {t: 1, set: {\"u1:\": 1}}\n", `variable ""`},
		{"variable with a blank", head + "  - {t: 1, set: {\"a b\": 1}}\n", `variable "a b"`},
		{"poll_batt_s of nothing", "id: x\nconfig: {poll_batt_s: 0}\ntimeline: []\n", `f:2:23: "0": want poll_batt_s, a number from 0.01`},
		{"retry_s of nothing", "id: x\nconfig: {retry_s: 0}\ntimeline: []\n", `f:2:19: "0": want retry_s, a number from 0.01`},
		{"too many UPSes", "id: x\nconfig: {ups: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q]}\ntimeline: []\n", "17 UPSes: want 1 to 16"},
		{"UPS without a name", "id: x\nconfig: {ups: [\"\"]}\ntimeline: []\n", `UPS id ""`},
		{"UPS with a colon", "id: x\nconfig: {ups: [\"a:b\"]}\ntimeline: []\n", `UPS id "a:b"`},
		{"clock step of too much", head + "  - {t: 1, event: \"clock_step:1000000001\"}\n", "f:3:19: clock_step"},
		{"clock step that is no number", head + "  - {t: 1, event: \"clock_step:NaN\"}\n", "f:3:19: clock_step"},
		{"unknown reason", head + "  - {t: 1, event: end}\nexpect: {reason: fire}\n", `f:4:18: reason "fire": want one of`},
		{"expectation of another type", head + "  - {t: 1, event: end}\nexpect: {shutdown: 1}\n", `f:4:20: "1": want true or false`},
		{"alias", "id: &a x\ntitle: *a\ntimeline: []\n", `f:1:5: "&": want the value itself`},
		{"reserve of more than the need", "id: x\nconfig: {reserve_s: 61, need_s: 60}\ntimeline: []\n", `f:2:21: "61": want the part of need_s that is reserve, a number from 0 to 60`},
		{"path of an unknown UPS", "id: x\nconfig: {wiring: [{psu: a, ups: u2}]}\ntimeline: []\n", `f:2:33: unknown UPS "u2": want one of u1`},
		{"path of no supply", "id: x\nconfig: {wiring: [{ups: u1}]}\ntimeline: []\n", `power supply "": want psu: with a name`},
		{"path from nowhere", "id: x\nconfig: {wiring: [{psu: a, outlet: x}]}\ntimeline: []\n", "f:2:19: a path from nowhere: want ups or feed"},
		{"path twice", "id: x\nconfig: {wiring: [{psu: a, ups: u1}, {psu: a, ups: u1}]}\ntimeline: []\n", "f:2:38: the same path a second time"},
		{"wiring that is no list", "id: x\nconfig: {wiring: {psu: a}}\ntimeline: []\n", "want a list of {psu, outlet, ups, feed}"},
		{"too long a wiring", "id: x\nconfig: {wiring: [" + strings.Repeat("{psu: a, ups: u1}, ", 65) + "]}\ntimeline: []\n", "65 paths: want at most 64"},
		{"link of an unknown UPS", "id: x\nconfig: {links: [{ups: u1, fed_by: u2}]}\ntimeline: []\n", `f:2:36: unknown UPS "u2"`},
		{"half a link", "id: x\nconfig: {links: [{ups: u1}]}\ntimeline: []\n", "an incomplete link: want ups and fed_by"},
		{"link to itself", "id: x\nconfig: {links: [{ups: u1, fed_by: u1}]}\ntimeline: []\n", "u1 would feed itself"},
		{"links in a circle", "id: x\nconfig: {ups: [a, b, c], links: [{ups: a, fed_by: b}, {ups: b, fed_by: c}, {ups: c, fed_by: a}]}\ntimeline: []\n", "f:2:76: c would feed itself: want UPSes in a row"},
		{"two links of one", "id: x\nconfig: {ups: [a, b, c], links: [{ups: a, fed_by: b}, {ups: a, fed_by: c}]}\ntimeline: []\n", "a is fed a second time"},
		{"negative seed", "id: x\nconfig: {play: {seed: -1}}\ntimeline: []\n", `f:2:23: "-1": want the seed, a whole number from 0`},
		{"seed in halves", "id: x\nconfig: {play: {seed: 1.5}}\ntimeline: []\n", "want the seed, a whole number"},
		{"every read fails", "id: x\nconfig: {play: {fail_rate: 1}}\ntimeline: []\n", "every read fails: want less than 1"},
		{"unknown way to play", "id: x\nconfig: {play: {speed: 1}}\ntimeline: []\n", `unknown key "speed": want clock_steps, fail_rate, jitter, seed`},
		{"state of a supply", head + "  - {t: 1, set: {psu.a: dead}}\n", "f:3:18: no state of a power supply: want one of [ok warning failed"},
		{"supply that is absent by null", head + "  - {t: 1, set: {psu.a: null}}\n", "no state of a power supply"},
		{"ramp of a supply", head + "  - {t: 1, ramp: {psu.a: [1, 2, 3]}}\n", "no state of a power supply"},
		{"supply without a name", head + "  - {t: 1, set: {psu.: ok}}\n", `power supply ""`},
		{"supply that is not wired", "id: x\nconfig: {wiring: [{psu: a, ups: u1}, {psu: b, feed: B}]}\ntimeline: [{t: 1, set: {psu.c: ok}}]\n", `f:3:25: unknown power supply "c": want one of config.wiring: a, b`},
		{"variable of the BMC", head + "  - {t: 1, set: {\"bmc:psu.a\": ok}}\n", `variable "bmc:psu.a": want psu.<id>, without a device`},
		{"FSD of the BMC", head + "  - {t: 1, event: \"bmc:fsd_set\"}\n", `unknown event "bmc:fsd_set"`},
		{"UPS called bmc beside supplies", "id: x\nconfig: {ups: [bmc]}\ntimeline: [{t: 1, event: \"psu_input_lost:bmc\"}]\n", "a UPS called bmc beside power supplies"},
		{"maintenance of nothing", head + "  - {t: 1, event: \"maintenance_on:0\"}\n", `maintenance_on "0": want seconds it lasts, for example maintenance_on:600`},
		{"maintenance without end", head + "  - {t: 1, event: maintenance_on}\n", `maintenance_on ""`},
		{"maintenance of another UPS", head + "  - {t: 1, event: \"u2:maintenance_off\"}\n", `f:3:19: unknown UPS "u2"`},
		{"maintenance that ends in time", head + "  - {t: 1, event: \"maintenance_off:5\"}\n", `unknown UPS "maintenance_off"`},
		{"broken YAML", "id: [x\n", "f:1:"},
		{"deep", "id: " + strings.Repeat("[", 50), "too deep a nesting"},
		{"not UTF-8", "id: \xff", "UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tc.text))
			if _, ok := errors.AsType[*SyntaxError](err); !ok || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestState(t *testing.T) {
	s := mustParse(t, `id: X
config: {ups: [u1, u2]}
timeline:
  - {t: 10, set: {ups.status: OB DISCHRG, input.voltage: null}, ramp: {battery.charge: [100, 90, 10]}}
  - {t: 30, event: comms_lost}
  - {t: 40, event: comms_restored}
  - {t: 50, event: data_frozen}
  - {t: 55, set: {battery.charge: 42}}
  - {t: 60, event: data_thawed}
  - {t: 70, event: "u2:fsd_set"}
`)
	for _, tc := range []struct {
		t         float64
		ups       string
		status    string
		charge    float64
		volts     bool
		reachable bool
		frozen    bool
	}{
		{0, "u1", "OL", 100, true, true, false},
		{9.999, "u1", "OL", 100, true, true, false},
		{10, "u1", "OB DISCHRG", 100, false, true, false},
		{13.4, "u1", "OB DISCHRG", 97, false, true, false},
		{20, "u1", "OB DISCHRG", 90, false, true, false},
		{30, "u1", "OB DISCHRG", 90, false, false, false},
		{40, "u1", "OB DISCHRG", 90, false, true, false},
		{57, "u1", "OB DISCHRG", 90, false, true, true},
		{60, "u1", "OB DISCHRG", 42, false, true, false},
		{60, "u2", "OL", 100, true, true, false},
		{70, "u2", "FSD OL", 100, true, true, false},
	} {
		got := s.State(time.Duration(tc.t*float64(time.Second)), tc.ups)
		charge, _ := got.Reading.Vars.Float(dodai.BatteryCharge)
		_, volts := got.Reading.Vars[dodai.InputVoltage]
		if got.Reading.Status.String() != tc.status || charge != tc.charge || volts != tc.volts || got.Reachable != tc.reachable || got.Frozen != tc.frozen {
			t.Errorf("at %g s %s is %+v, want %+v", tc.t, tc.ups, got, tc)
		}
	}
	if s.End != 70*time.Second {
		t.Errorf("ends at %v, want 70s", s.End)
	}
}

// TestParseLimits: what is just allowed.
func TestParseLimits(t *testing.T) {
	s := mustParse(t, `id: X
source: here
config: {ups: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p], retry_s: 0.01, poll_batt_s: 0.01, confirm_s: 0, need_s: 300, max_onbatt_s: null}
timeline:
  - {t: 0, flap: {every: 2, on_s: 2, times: 10000, on_set: {v: 1}, off_set: {v: 2}}}
  - {t: 1, event: "clock_step:1000000000"}
`)
	if len(s.UPSes) != 16 || s.Config.RetryS != 0.01 || s.Config.ConfirmS != 0 || s.Config.MaxOnBattS != nil || s.Source != "here" {
		t.Errorf("scenario %+v", s)
	}
	if s.Config.Need != 240*time.Second || s.Config.Reserve != time.Minute {
		t.Errorf("need %v and %v, want 300 s of which 60 s are reserve", s.Config.Need, s.Config.Reserve)
	}
}

// TestParseOneDocument: what stands behind a second "---" would be left unplayed.
func TestParseOneDocument(t *testing.T) {
	one := "id: X\ntimeline: [{t: 0, event: end}]\n"
	for _, data := range []string{one, "---\n" + one, one + "---\n"} {
		if _, err := Parse("x.yaml", []byte(data)); err != nil {
			t.Errorf("%q: %v", data, err)
		}
	}
	_, err := Parse("x.yaml", []byte(one+"---\nid: Y\ntimeline: [{t: 0, event: end}]\n"))
	if e, ok := errors.AsType[*SyntaxError](err); !ok || e.Line != 4 || e.Got != "a second document" {
		t.Errorf("two documents: %v, want a mistake in line 4", err)
	}
}

// TestLoadEndless: a file without an end is a mistake, found without reading it all.
func TestLoadEndless(t *testing.T) {
	if _, err := Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "too long a file") {
		t.Errorf("Load(/dev/zero) = %v, want too long a file", err)
	}
}

// TestSimulateOutput: who cannot be told is told apart from a file that cannot be read.
func TestSimulateOutput(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("testdata", "scenarios", "*.yaml"))
	closed, w := io.Pipe()
	closed.Close()
	if _, err := Simulate(t.Context(), w, files[:1], SimulateOptions{}); !errors.Is(err, ErrOutput) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Simulate to a closed pipe = %v, want ErrOutput for %v", err, io.ErrClosedPipe)
	}
	if _, err := Simulate(t.Context(), io.Discard, []string{"nosuch.yaml"}, SimulateOptions{}); err == nil || errors.Is(err, ErrOutput) {
		t.Errorf("Simulate without its file = %v", err)
	}
}

// TestParseSite: how the supplies are fed and which UPS feeds which, wherever it stands.
func TestParseSite(t *testing.T) {
	s := mustParse(t, `id: X
config:
  links: [{ups: rack, fed_by: room}]
  wiring:
    - {psu: a, outlet: pdu1/3, ups: rack, feed: A}
    - {psu: b, feed: B}
    - {psu: b, ups: room}
  reserve_s: 20.5
  ups: [rack, room]
  need_s: 100
timeline: [{t: 1, event: end}]
`)
	paths := []dodai.Path{{PSU: "a", Outlet: "pdu1/3", UPS: "rack", Feed: "A"}, {PSU: "b", Feed: "B"}, {PSU: "b", UPS: "room"}}
	if diff := cmp.Diff(paths, s.Paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]dodai.Link{{UPS: "rack", FedBy: "room"}}, s.Links); diff != "" || s.hasBMC() {
		t.Errorf("links (-want +got), BMC %v:\n%s", s.hasBMC(), diff)
	}
	if c := s.Config; c.Need != 79500*time.Millisecond || c.Reserve != 20500*time.Millisecond {
		t.Errorf("need %v, reserve %v; want 79.5 s and 20.5 s", c.Need, c.Reserve)
	}
	if c := mustParse(t, "id: X\nconfig: {reserve_s: 0}\ntimeline: [{t: 1, event: end}]\n").Config; c.Need != 180*time.Second || c.Reserve != 0 {
		t.Errorf("need %v, reserve %v; want all 180 s as need", c.Need, c.Reserve)
	}
	bmc := mustParse(t, "id: X\nconfig: {ups: [bmc]}\ntimeline: [{t: 1, event: \"bmc:fsd_set\"}, {t: 2, set: {\"bmc:a\": 1}}]\n")
	if bmc.hasBMC() || !bmc.State(time.Second, "bmc").Reading.Status.Has(dodai.FSD) {
		t.Error("a UPS may be called bmc where nothing is said of supplies")
	}
}

// TestOrder: entries count by their time, wherever they stand in the file.
func TestOrder(t *testing.T) {
	entries := []string{
		"  - {t: 10, set: {ups.status: OB}, ramp: {battery.charge: [90, 80, 10]}}\n", "  - {t: 15, set: {battery.charge: 50}}\n",
		"  - {t: 20, event: comms_lost}\n", "  - {t: 30, event: comms_restored}\n", "  - {t: 40, event: data_frozen}\n", "  - {t: 50, event: data_thawed}\n",
		"  - {t: 60, event: fsd_set}\n", "  - {t: 61, event: fsd_set}\n", "  - {t: 70, event: agent_stop}\n", "  - {t: 80, event: agent_start}\n",
	}
	want := mustParse(t, timeline(strings.Join(entries, "")))
	slices.Reverse(entries)
	got := mustParse(t, timeline(strings.Join(entries, "")))
	for at := range 90 {
		at := time.Duration(at) * time.Second
		if diff := cmp.Diff(want.State(at, "u1"), got.State(at, "u1")); diff != "" {
			t.Errorf("at %v (-want +got):\n%s", at, diff)
		}
	}
	if got.events[0].What != "agent_stop" || got.events[1].What != "agent_start" {
		t.Errorf("events %+v", got.events)
	}
}

// TestEnd: a time line lasts until the last thing in it, unless it says otherwise.
func TestEnd(t *testing.T) {
	for lines, want := range map[string]time.Duration{
		"  - {t: 7, set: {a: 1}}\n":            7 * time.Second,
		"  - {t: 7, ramp: {a: [1, 2, 8.5]}}\n": 15500 * time.Millisecond,
		"  - {t: 7, flap: {every: 10, on_s: 4, times: 3, on_set: {a: 1}, off_set: {a: 2}}}\n": 31 * time.Second,
		"  - {t: 7, event: comms_lost}\n":  7 * time.Second,
		"  - {t: 7, event: data_frozen}\n": 7 * time.Second,
		"  - {t: 7, event: fsd_set}\n":     7 * time.Second,
		"  - {t: 7, event: host_boot}\n":   7 * time.Second,
		"  - {t: 9, event: agent_stop}\n  - {t: 7, event: comms_lost}\n  - {t: 8, set: {a: 1}}\n":    9 * time.Second,
		"  - {t: 7, ramp: {a: [1, 2, 8]}}\n  - {t: 8, event: comms_lost}\n  - {t: 9, set: {b: 1}}\n": 15 * time.Second,
		"  - {t: 7, set: {a: 1}}\n  - {t: 3, event: end}\n":                                          3 * time.Second,
	} {
		if got := mustParse(t, timeline(lines)).End; got != want {
			t.Errorf("ends at %v, want %v:\n%s", got, want, lines)
		}
	}
}

// TestFlap: so many cycles, each with its part on battery, and then it stays on line.
func TestFlap(t *testing.T) {
	s := mustParse(t, timeline("  - {t: 10, flap: {every: 8, on_s: 3, times: 2, on_set: {ups.status: OB}, off_set: {ups.status: OL}}}\n  - {t: 99, event: end}\n"))
	for at, want := range map[float64]dodai.Status{9.9: dodai.OL, 10: dodai.OB, 12.9: dodai.OB, 13: dodai.OL, 17.9: dodai.OL, 18: dodai.OB, 21: dodai.OL, 26: dodai.OL, 60: dodai.OL} {
		if got := s.State(time.Duration(at*float64(time.Second)), "u1").Reading.Status; got != want {
			t.Errorf("at %g s %v, want %v", at, got, want)
		}
	}
}

// TestStateFrom: a drill starts from what a real UPS says, and does not change that.
func TestStateFrom(t *testing.T) {
	s := mustParse(t, "id: X\ntimeline:\n  - {t: 10, set: {ups.status: OB, battery.charge: 50}}\n")
	base := &dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL | dodai.CHRG, Vars: dodai.Vars{"battery.charge": dodai.Num(97), "ups.temperature": dodai.Num(31)},
		Ages: map[string]time.Duration{"battery.charge": time.Minute, "ups.temperature": time.Minute}}
	before := base.Clone()
	if got := s.StateFrom(base, 5*time.Second, "u1").Reading; !cmp.Equal(got, *before) {
		t.Errorf("before anything happens: %+v", got)
	}
	got := s.StateFrom(base, 10*time.Second, "u1").Reading
	if got.Status != dodai.OB || got.Vars["battery.charge"] != dodai.Num(50) || got.Vars["ups.temperature"] != dodai.Num(31) || got.Ages["battery.charge"] != 0 {
		t.Errorf("then: %+v", got)
	}
	if !cmp.Equal(base, before) {
		t.Errorf("the real reading was changed: %+v", base)
	}
}

// FuzzParse: what parses has values in range at any time, and is refused with a place
// otherwise.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob(filepath.Join("testdata", "scenarios", "*.yaml"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("id: x\ntimeline:\n- {t: 0, flap: {every: 1, on_s: 1, times: 3, on_set: {a: 1}, off_set: {a: null}}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("f", data)
		if err != nil {
			if e, ok := errors.AsType[*SyntaxError](err); !ok || e.Line < 1 || e.Col < 1 || e.Want == "" {
				t.Fatalf("error %#v, want a place and what was expected", err)
			}
			return
		}
		if s.ID == "" || s.End < 0 || len(s.UPSes) == 0 || s.PollLine <= 0 {
			t.Fatalf("scenario %+v", s)
		}
		for _, at := range []time.Duration{0, s.End / 2, s.End} {
			for name, v := range s.State(at, s.UPSes[0]).Reading.Vars {
				if f, ok := v.Float(); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
					t.Fatalf("%s is %v at %v", name, f, at)
				}
			}
		}
	})
}
