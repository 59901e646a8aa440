package drill

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// programOf is a scenario file made by a program.
func programOf(s *Scenario) *Scenario {
	self := map[string]string{}
	for _, id := range s.UPSes {
		self[id] = id
	}
	base, supplies := defaults(), s.suppliesAtRest()
	return New(Spec{
		ID: s.ID, Config: s.Config, PollLine: s.PollLine, UPSes: s.UPSes, Paths: s.Paths, Links: s.Links, PSUs: s.hasBMC(), End: s.End, Happenings: s.events,
		Read: func(device string, at time.Duration) (*dodai.Reading, bool) {
			if device == BMC && s.hasBMC() {
				return s.suppliesFrom(supplies, at, s.Paths, self)
			}
			st := s.StateFrom(&base, at, device)
			return &st.Reading, st.Reachable || at == 0
		},
	})
}

// TestProgram: what a program says of an outage and what a file says of it come to the
// same, in every way of playing. A file's reading that comes again is the same one; a
// program's here never is.
func TestProgram(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "scenarios", "*.yaml"))
	if err != nil || len(files) < 70 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	compareAll(t, files)
	t.Run("captures", func(t *testing.T) {
		files, _ := filepath.Glob(filepath.Join(peer.Shared(t, "corpus", "scenarios"), "*.yaml"))
		compareAll(t, files)
	})
}

func compareAll(t *testing.T, files []string) {
	for _, file := range files {
		s, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		made := programOf(s)
		silent := !s.State(0, s.UPSes[0]).Reachable
		for _, m := range modes {
			if silent { // the player tells a program's failed read from a file's
				continue
			}
			m.opts.Seed = 3
			want, got := playOut(t, s, m.opts), playOut(t, made, m.opts)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Result{}, "PowerCycle")); diff != "" {
				t.Errorf("%s, %s (-file +program):\n%s", s.ID, m.name, diff)
			}
			m.opts.Brief = true
			brief := playOut(t, s, m.opts)
			if brief.Shutdown != want.Shutdown || brief.Reason != want.Reason || brief.At != want.At || len(brief.Timeline) > 0 || len(brief.Alerts) > 0 {
				t.Errorf("%s, %s: in brief %v at %v for %s, want %v at %v for %s and no more", s.ID, m.name,
					brief.Shutdown, brief.At, brief.Reason, want.Shutdown, want.At, want.Reason)
			}
		}
	}
}

// watched is a read that was tried.
type watched struct {
	device string
	at     time.Duration
	status string // "-": it failed
}

func watch(list *[]watched) func(string, time.Duration, *dodai.Reading) {
	return func(device string, at time.Duration, r *dodai.Reading) {
		w := watched{device, at, "-"}
		switch {
		case r != nil && r.Kind == dodai.KindUPS:
			w.status = r.Status.String()
		case r != nil:
			w.status = ""
			for _, p := range r.PSUs {
				w.status += " " + p.ID + "=" + string(p.State) + "/" + string(p.Input)
			}
		}
		*list = append(*list, w)
	}
}

// TestObserve: every read that is tried is told, the one before the start included.
func TestObserve(t *testing.T) {
	s := mustParse(t, timeline("  - {t: 7, event: comms_lost}\n  - {t: 10.5, event: comms_restored}\n  - {t: 10.6, set: {ups.status: OB}}\n  - {t: 12.5, event: end}\n"))
	var got []watched
	playOut(t, s, PlayOptions{Observe: watch(&got)})
	sec := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	want := []watched{{"u1", sec(-5), "OL"}, {"u1", 0, "OL"}, {"u1", sec(5), "OL"}, {"u1", sec(10), "-"}, {"u1", sec(10.5), "OL"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(watched{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = nil
	r := playOut(t, s, PlayOptions{FailRate: 0.5, Seed: 2, Jitter: true, Observe: watch(&got)})
	failed := len(slices.DeleteFunc(slices.Clone(got), func(w watched) bool { return w.status != "-" }))
	if len(got) != r.Polls+1 || failed < 2 || got[0].at >= 0 || got[0].status != "OL" {
		t.Errorf("%d reads told, %d failed, first at %v; %d polls", len(got), failed, got[0].at, r.Polls)
	}
}

// TestSpecDefaults: a program need not say what has a default, and is never asked before
// the start; a device that it does not let answer then has never been heard.
func TestSpecDefaults(t *testing.T) {
	asked := []time.Duration{}
	s := New(Spec{ID: "P", Config: policy.Default(), End: 6 * time.Second,
		Happenings: []Happening{{At: 4 * time.Second, What: "agent_start"}, {At: time.Second, What: "clock_step", Step: time.Hour}},
		Read: func(device string, at time.Duration) (*dodai.Reading, bool) {
			asked = append(asked, at)
			return nil, device == "u1" // nothing is no answer
		}})
	var got []watched
	r := playOut(t, s, PlayOptions{Observe: watch(&got)})
	if r.ID != "P" || r.Shutdown || len(got) == 0 || got[0] != (watched{"u1", -5 * time.Second, "-"}) {
		t.Errorf("%+v, read %v", r, got)
	}
	if !slices.IsSorted(asked) || asked[0] != 0 || asked[1] != 0 {
		t.Errorf("asked at %v, want from 0 on", asked)
	}
	if !slices.ContainsFunc(got, func(w watched) bool { return w.at == 4*time.Second }) {
		t.Errorf("no read when the agent starts: %v", got)
	}
}

const bmcFile = `id: B
config:
  ups: [u1, u2]
  wiring: [{psu: a, ups: u1, feed: A}, {psu: b, outlet: p/1, ups: u1}, {psu: b, ups: u2}, {psu: c, feed: B}]
timeline:
  - {t: 6, event: "psu_input_lost:u1"}
  - {t: 11, set: {psu.c: absent}}
  - {t: 16, event: "psu_input_lost:u2"}
  - {t: 21, event: "bmc:data_frozen"}
  - {t: 22, event: "psu_input_restored:u1"}
  - {t: 26, event: "bmc:data_thawed"}
  - {t: 27, set: {psu.c: ok, psu.a: failed}}
  - {t: 31, event: "bmc:comms_lost"}
  - {t: 36, event: "bmc:comms_restored"}
  - {t: 37, set: {psu.a: unknown, psu.b: warning}}
  - {t: 41, event: end}
`

// TestSupplies: what the BMC tells of the power supplies. One behind a transfer switch
// has input while any of its UPSes does, and what hangs on the mains always.
func TestSupplies(t *testing.T) {
	s := mustParse(t, bmcFile)
	self := map[string]string{"u1": "u1", "u2": "u2"}
	for at, want := range map[float64]string{
		0:  "a=ok/ok b=ok/ok c=ok/ok",
		6:  "a=input_lost/lost b=ok/ok c=ok/ok",
		15: "a=input_lost/lost b=ok/ok c=absent/unknown",
		20: "a=input_lost/lost b=input_lost/lost c=absent/unknown",
		25: "a=input_lost/lost b=input_lost/lost c=absent/unknown",
		26: "a=ok/ok b=ok/ok c=absent/unknown",
		30: "a=failed/unknown b=ok/ok c=ok/ok",
		35: "-",
		40: "a=unknown/unknown b=warning/out_of_range c=ok/ok",
	} {
		var got []watched
		r, ok := s.suppliesFrom(s.suppliesAtRest(), time.Duration(at*float64(time.Second)), s.Paths, self)
		if !ok {
			r = nil
		}
		watch(&got)(BMC, 0, r)
		if strings.TrimSpace(got[0].status) != want {
			t.Errorf("at %g s%s, want %s", at, got[0].status, want)
		}
	}
	var got []watched
	playOut(t, s, PlayOptions{Observe: watch(&got)})
	heard := slices.DeleteFunc(got, func(w watched) bool { return w.device != BMC })
	if len(heard) < 10 || !slices.ContainsFunc(heard, func(w watched) bool { return w.status == "-" }) {
		t.Errorf("the BMC as played: %v", heard)
	}
}

// TestWhichSupplies: there is a BMC as soon as the file speaks of a supply, and without
// wiring a supply behind each UPS where one of those is meant.
func TestWhichSupplies(t *testing.T) {
	const wiring = ", wiring: [{psu: x, ups: u2}, {psu: x, feed: B}]"
	for _, tc := range []struct{ wiring, entry, supplies, paths string }{
		{"", "event: comms_lost", "", ""},
		{wiring, "event: comms_lost", "", "x u2, x "},
		{"", `event: "bmc:comms_lost"`, "psu-u1 psu-u2", "psu-u1 u1, psu-u2 u2"},
		{"", `event: "psu_input_restored:u2"`, "psu-u1 psu-u2", "psu-u1 u1, psu-u2 u2"},
		{"", "set: {psu.psu-u2: ok, psu.b: ok}", "psu-u1 psu-u2 b", "psu-u1 u1, psu-u2 u2"},
		{"", "set: {psu.b: ok, psu.a: ok}", "a b", ""},
		{wiring, "set: {psu.x: ok}", "x", "x u2, x "},
		{wiring, `event: "psu_input_lost:u1"`, "x", "x u2, x "},
	} {
		s := mustParse(t, "id: W\nconfig: {ups: [u1, u2]"+tc.wiring+"}\ntimeline:\n  - {t: 1, "+tc.entry+"}\n")
		var paths []string
		for _, w := range s.Paths {
			paths = append(paths, w.PSU+" "+w.UPS)
		}
		if got := strings.Join(s.supplies, " "); got != tc.supplies || s.hasBMC() != (tc.supplies != "") || strings.Join(paths, ", ") != tc.paths {
			t.Errorf("%s with %q: supplies %q, paths %q; want %q, %q", tc.entry, tc.wiring, got, paths, tc.supplies, tc.paths)
		}
	}
}

// TestMaintenance: nothing the UPS says counts while it lasts, and everything after.
func TestMaintenance(t *testing.T) {
	const lb = "  - {t: 10, set: {ups.status: OB LB, \"u2:ups.status\": OB LB}}\n"
	for _, tc := range []struct {
		name, lines string
		from, to    float64 // of the decision; 0: none
	}{
		{"none", "", 10, 13},
		{"for both", "  - {t: 5, event: \"maintenance_on:100\"}\n", 105, 112},
		{"for one is enough", "  - {t: 5, event: \"u2:maintenance_on:100\"}\n", 105, 112},
		{"ended", "  - {t: 5, event: \"maintenance_on:1000\"}\n  - {t: 50, event: maintenance_off}\n", 50, 57},
		{"ended for one, the other lasts", "  - {t: 5, event: \"maintenance_on:1000\"}\n  - {t: 50, event: \"u2:maintenance_off\"}\n", 0, 0},
		{"declared again", "  - {t: 5, event: \"maintenance_on:20\"}\n  - {t: 8, event: \"maintenance_on:60\"}\n", 68, 75},
		{"over a restart", "  - {t: 5, event: \"maintenance_on:100\"}\n  - {t: 30, event: agent_start}\n", 105, 112},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := playOut(t, mustParse(t, "id: M\nconfig: {ups: [u1, u2]}\ntimeline:\n"+tc.lines+lb+"  - {t: 200, event: end}\n"), PlayOptions{})
			if r.Shutdown != (tc.to > 0) || r.Shutdown && (*r.AtS < tc.from || *r.AtS > tc.to) {
				t.Errorf("shutdown %v at %v, want within %g to %g s: %s", r.Shutdown, r.AtS, tc.from, tc.to, r.Decision.Explanation)
			}
		})
	}
}

// TestMaintenanceOfARealSite: the scenario's UPS is the one that plays it, and the
// snapshot's own maintenance stands.
func TestMaintenanceOfARealSite(t *testing.T) {
	start := twoFeeds()
	start.Maintenance = []dodai.Maintenance{{UPS: "rack-b", Until: start.At + time.Hour, Reason: "fans"}}
	s := mustParse(t, timeline("  - {t: 5, event: \"u1:maintenance_on:30\"}\n  - {t: 10, set: {ups.status: OB LB}}\n  - {t: 99, event: end}\n"))
	r := playOut(t, s, PlayOptions{Start: start, Bind: map[string]string{"rack-a": "u1"}, Config: needBoth()})
	if r.AtS == nil || *r.AtS < 35 || *r.AtS > 42 || len(start.Maintenance) != 1 {
		t.Errorf("decided at %v, want soon after 35 s; the snapshot has %v", r.AtS, start.Maintenance)
	}
}

// TestWithout: a rule that is switched off does nothing.
func TestWithout(t *testing.T) {
	s := mustParse(t, lbOutage)
	if r := playOut(t, s, PlayOptions{Without: map[policy.Rule]bool{policy.RuleLB: true}}); r.Shutdown {
		t.Errorf("without lb: down at %g s for %s", *r.AtS, r.Reason)
	}
	if r := playOut(t, s, PlayOptions{Without: map[policy.Rule]bool{policy.RuleConfirm: true}}); r.AtS == nil || *r.AtS != 10 {
		t.Errorf("without confirm: %v, want at once", r.AtS)
	}
}

// TestMode: a file is played as it says, unless the caller says otherwise.
func TestMode(t *testing.T) {
	const text = "id: M\nconfig: {play: {seed: 18446744073709551615, jitter: true, fail_rate: 0.25, clock_steps: true}}\ntimeline: [{t: 1, event: end}]\n"
	s := mustParse(t, text)
	if want := (Mode{Seed: 1<<64 - 1, Jitter: true, FailRate: 0.25, ClockSteps: true}); s.Mode != want {
		t.Errorf("mode %+v, want %+v", s.Mode, want)
	}
	if m := mustParse(t, lbOutage).Mode; m != (Mode{Seed: 1}) {
		t.Errorf("mode %+v of a file that says nothing", m)
	}
	var asIs SimulateOptions
	if got := asIs.play(s.Mode); got.Seed != 1<<64-1 || !got.Jitter || got.FailRate != 0.25 || !got.ClockSteps {
		t.Errorf("played with %+v, want as the file says", got)
	}
	other := SimulateOptions{Seed: new(uint64(0)), Jitter: new(false), FailRate: new(0.0), ClockSteps: new(false), Without: map[policy.Rule]bool{policy.RuleLB: true}}
	if got := other.play(s.Mode); got.Seed != 0 || got.Jitter || got.FailRate != 0 || got.ClockSteps || !got.Without[policy.RuleLB] {
		t.Errorf("played with %+v, want as the caller says", got)
	}
}

// TestRest: a decision that asks to be made again at once, for ever, does not stop time;
// one that asks for many later instants is heard.
func TestRest(t *testing.T) {
	var p player
	for i := range maxSpin {
		if p.last.Next = 1; i == maxSpin-1 {
			break
		}
		if p.rest(); p.last.Next != 1 {
			t.Fatalf("not heard after %d times", i+1)
		}
	}
	if p.rest(); p.last.Next != 0 {
		t.Errorf("heard %d times at one instant", maxSpin)
	}
	for range 2 * maxSpin {
		p.now++
		p.last.Next = 1
		if p.rest(); p.last.Next != 1 {
			t.Fatal("not heard at a later instant")
		}
	}
}

// BenchmarkProgram plays ten minutes of an outage at so many UPSes, in brief.
func BenchmarkProgram(b *testing.B) {
	for _, ids := range [][]string{{"u1"}, {"u1", "u2"}} {
		b.Run(strings.Join(ids, "+"), func(b *testing.B) {
			readings := make([]*dodai.Reading, 601)
			for i := range readings {
				readings[i] = &dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OB | dodai.DISCHRG, Vars: dodai.Vars{
					dodai.BatteryCharge: dodai.Num(float64(100 - i/10)), dodai.BatteryRuntime: dodai.Num(float64(1200 - i)),
					dodai.InputVoltage: dodai.Num(0), dodai.UPSLoad: dodai.Num(40), dodai.BatteryVoltage: dodai.Num(27 - float64(i)/200)}}
			}
			s := New(Spec{ID: "B", Config: policy.Default(), UPSes: ids, End: 600 * time.Second,
				Read: func(_ string, at time.Duration) (*dodai.Reading, bool) { return readings[int(at/time.Second)], true }})
			b.ReportAllocs()
			polls := 0
			for b.Loop() {
				polls += playOut(b, s, PlayOptions{Brief: true, Jitter: true}).Polls
			}
			b.ReportMetric(float64(polls)/float64(b.N), "polls/op")
		})
	}
}
