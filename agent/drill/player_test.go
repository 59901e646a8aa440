package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/google/go-cmp/cmp"
)

func playOut(t testing.TB, s *Scenario, opts PlayOptions) Result {
	t.Helper()
	r, err := Play(t.Context(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const lbOutage = `id: OUT
timeline:
  - {t: 10, set: {ups.status: OB LB DISCHRG, input.voltage: 0}}
  - {t: 60, set: {ups.status: OL, input.voltage: 230}}
  - {t: 100, event: end}
`

// TestPlay follows one outage poll by poll: every 5 s on line, every 2 s on battery,
// and the decision on the second reading that says LB.
func TestPlay(t *testing.T) {
	r := playOut(t, mustParse(t, lbOutage), PlayOptions{})
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"OUT","shutdown":true,"at_s":12,"reason":"lb","alerts":["on_battery","low_battery"],"boot_hold":false,"power_cycle":true}`
	if string(line) != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
	if r.DetectedS == nil || *r.DetectedS != 10 || !strings.Contains(r.Decision.Explanation, "LB") {
		t.Errorf("detected %v, %s", r.DetectedS, r.Decision.Explanation)
	}
	var got []string
	for _, e := range r.Timeline {
		got = append(got, e.What)
	}
	if diff := cmp.Diff([]string{"mains_lost", "alert", "battery_low", "alert", "decision", "mains_restored", "alert", "alert"}, got); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
}

func TestPlayNothing(t *testing.T) {
	r := playOut(t, mustParse(t, "id: N\ntimeline: [{t: 20, event: end}]\n"), PlayOptions{})
	line, _ := json.Marshal(r)
	if want := `{"id":"N","shutdown":false,"at_s":null,"reason":"none","alerts":[],"boot_hold":false,"power_cycle":false}`; string(line) != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
	if !strings.HasPrefix(r.Decision.Explanation, "stay up: ") {
		t.Errorf("the last decision is %q", r.Decision.Explanation)
	}
	if r.Polls != 5 { // at 0, 5, 10, 15 and 20 s
		t.Errorf("%d polls in 20 s, want 5", r.Polls)
	}
}

// TestRetries: three quick repetitions, then the ordinary interval.
func TestRetries(t *testing.T) {
	r := playOut(t, mustParse(t, "id: N\ntimeline: [{t: 0, event: comms_lost}, {t: 14, event: end}]\n"), PlayOptions{})
	if r.Polls != 6 { // 0, 0.5, 1, 1.5, then 6.5, 11.5
		t.Errorf("%d polls, want 6", r.Polls)
	}
}

func TestPlayIsDeterministic(t *testing.T) {
	s := mustParse(t, lbOutage)
	opts := PlayOptions{Seed: 7, Jitter: true, FailRate: 0.3, ClockSteps: true}
	a, b := playOut(t, s, opts), playOut(t, s, opts)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("the same seed differs:\n%s", diff)
	}
	opts.Seed = 8
	if c := playOut(t, s, opts); *c.AtS == *a.AtS && c.Polls == a.Polls {
		t.Errorf("another seed gives the same %g s and %d polls", *c.AtS, c.Polls)
	}
}

func TestPlayStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Play(ctx, mustParse(t, lbOutage), PlayOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

// site is a real snapshot: two UPSes, one supply behind each, and an array.
func twoFeeds() *dodai.Snapshot {
	s := &dodai.Snapshot{At: 500 * time.Second, AgentStartedAt: time.Second}
	for _, d := range []dodai.DeviceState{
		{Name: "bmc", Kind: dodai.KindPSUs, Reading: &dodai.Reading{Kind: dodai.KindPSUs, PSUs: []dodai.PSU{
			{ID: "1", State: dodai.PSUOK, Input: dodai.InputOK}, {ID: "2", State: dodai.PSUOK, Input: dodai.InputOK}}}},
		{Name: "md", Kind: dodai.KindArrays, Reading: &dodai.Reading{Kind: dodai.KindArrays}},
		{Name: "rack-a", Kind: dodai.KindUPS, Reading: &dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL, Vars: dodai.Vars{"battery.runtime": dodai.Num(700)}}},
		{Name: "rack-b", Kind: dodai.KindUPS, Reading: &dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL, Vars: dodai.Vars{"battery.runtime": dodai.Num(800)}}},
	} {
		d.At, d.Polls, d.StaleAfter = 499*time.Second, 9, 15*time.Second
		s = s.With(&d, s.At, time.Time{})
	}
	s.Paths = []dodai.Path{{PSU: "1", UPS: "rack-a"}, {PSU: "2", UPS: "rack-b"}}
	return s
}

func TestPlayFromSnapshot(t *testing.T) {
	const lb = "id: T\ntimeline:\n  - {t: 10, set: {ups.status: OB LB}}\n  - {t: 60, event: end}\n"
	both := map[string]string{"rack-a": "u1", "rack-b": "u1"}
	for _, tc := range []struct {
		name, text string
		opts       PlayOptions
		reason     policy.Reason
		alert      policy.AlertID
	}{
		{"one of two fails", lb, PlayOptions{}, policy.ReasonNone, policy.AlertRedundancyLost},
		{"both play the same part", lb, PlayOptions{Bind: both}, policy.ReasonLB, policy.AlertLowBattery},
		{"the site's own policy", lb, PlayOptions{Config: needBoth()}, policy.ReasonLB, policy.AlertLowBattery},
		{"a supply's input", "id: T\ntimeline:\n  - {t: 10, event: psu_input_lost:u1}\n  - {t: 60, event: end}\n", PlayOptions{}, policy.ReasonNone, policy.AlertRedundancyLost},
		{"a supply by its name", "id: T\ntimeline:\n  - {t: 10, set: {psu.2: input_lost}}\n  - {t: 60, event: end}\n", PlayOptions{}, policy.ReasonNone, policy.AlertRedundancyLost},
		{"what the real UPS said stands", "id: T\ntimeline:\n  - {t: 10, set: {ups.status: OB}}\n  - {t: 60, event: end}\n", PlayOptions{Config: needMuch()}, policy.ReasonRuntime, policy.AlertLowRuntime},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.opts.Start = twoFeeds()
			want, _ := json.Marshal(tc.opts.Start)
			r := playOut(t, mustParse(t, tc.text), tc.opts)
			if r.Reason != tc.reason || !strings.Contains(alertsOf(r), string(tc.alert)) {
				t.Errorf("reason %s, alerts %v; want %s, %s (%s)", r.Reason, r.Alerts, tc.reason, tc.alert, r.Decision.Explanation)
			}
			if got, _ := json.Marshal(tc.opts.Start); !bytes.Equal(got, want) {
				t.Error("the start snapshot was changed")
			}
		})
	}
}

func needBoth() *policy.Config {
	c := policy.Default()
	c.MinSupplies = 2
	return &c
}

func needMuch() *policy.Config {
	c := needBoth()
	c.Need = 700 * time.Second
	return c
}

func alertsOf(r Result) string {
	var out []string
	for _, a := range r.Alerts {
		out = append(out, string(a))
	}
	return strings.Join(out, " ")
}

func TestPlayFromUnfitSnapshot(t *testing.T) {
	three := mustParse(t, "id: T\nconfig: {ups: [a, b, c]}\ntimeline: [{t: 1, event: end}]\n")
	if _, err := Play(t.Context(), three, PlayOptions{Start: twoFeeds()}); err == nil || !strings.Contains(err.Error(), "3 UPSes, only 2") {
		t.Errorf("error %v, want too few UPSes", err)
	}
	if _, err := Play(t.Context(), three, PlayOptions{Start: twoFeeds(), Bind: map[string]string{"rack-z": "a"}}); err == nil || !strings.Contains(err.Error(), "rack-z") {
		t.Errorf("error %v, want rack-z unknown", err)
	}
}

func TestCheck(t *testing.T) {
	s := mustParse(t, lbOutage)
	r := playOut(t, s, PlayOptions{})
	e := Expect{Shutdown: new(false), NotBeforeS: new(20.0), NotAfterS: new(5.0), Reason: new(policy.ReasonFSD),
		Alerts: []policy.AlertID{policy.AlertBypass, policy.AlertOnBattery}, BootHold: new(true), PowerCycle: new(false)}
	if got := r.Check(e); len(got) != 7 {
		t.Errorf("%d violations, want 7:\n%s", len(got), strings.Join(got, "\n"))
	}
	exact := Expect{NotBeforeS: r.AtS, NotAfterS: r.AtS, Alerts: r.Alerts, BootHold: new(false), PowerCycle: new(true), Shutdown: new(true), Reason: new(policy.ReasonLB)}
	if got := r.Check(exact); got != nil {
		t.Errorf("all as expected, yet %v", got)
	}
	up := playOut(t, mustParse(t, "id: N\ntimeline: [{t: 20, event: end}]\n"), PlayOptions{})
	if got := up.Check(Expect{NotBeforeS: new(20.0), NotAfterS: new(5.0)}); got != nil {
		t.Errorf("a decision that never came is late or early: %v", got)
	}
	if got := r.Check(Expect{}); got != nil {
		t.Errorf("nothing expected, yet %v", got)
	}
}

func TestSimulate(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.yaml")
	bad := filepath.Join(dir, "bad.yaml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(good, lbOutage+"expect: {shutdown: true, reason: lb}\n")
	write(bad, lbOutage+"expect: {shutdown: false}\n")
	var out, misses bytes.Buffer
	ok, err := Simulate(t.Context(), &out, []string{good, good}, SimulateOptions{})
	if err != nil || !ok || strings.Count(out.String(), "\n") != 2 || !strings.HasPrefix(out.String(), `{"id":"OUT","shutdown":true,"at_s":12,`) {
		t.Errorf("ok %v, %v:\n%s", ok, err, &out)
	}
	ok, err = Simulate(t.Context(), &out, []string{good, bad}, SimulateOptions{Violations: &misses})
	if err != nil || ok || !strings.HasPrefix(misses.String(), "OUT: shutdown is true, want false") {
		t.Errorf("ok %v, %v: %s", ok, err, &misses)
	}
	out.Reset()
	write(bad, "id: x\n")
	if _, err = Simulate(t.Context(), &out, []string{good, bad}, SimulateOptions{}); err == nil || out.Len() > 0 {
		t.Errorf("error %v, wrote %q; want an error before anything is played", err, &out)
	}
}

// BenchmarkPlay plays twenty minutes of an outage.
func BenchmarkPlay(b *testing.B) {
	s := mustParse(b, "id: B\ntimeline:\n  - {t: 10, set: {ups.status: OB}, ramp: {battery.runtime: [1200, 200, 1190]}}\n  - {t: 1200, event: end}\n")
	b.ReportAllocs()
	for b.Loop() {
		playOut(b, s, PlayOptions{})
	}
}
