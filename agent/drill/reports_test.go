package drill

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// reportCases are drills whose whole report, and the events they emit, stand in the
// golden file.
var reportCases = []struct {
	name     string
	level    Level
	scenario string
	upses    []string
	change   func(s *site, setup *Setup)
}{
	{"a tabletop", Tabletop, "mains_loss", []string{"u1"}, nil},
	{"a tabletop with nothing measured", Tabletop, "low_battery", []string{"u1"}, func(_ *site, setup *Setup) {
		setup.Need.Steps[0].Runs = 0
	}},
	{"a tabletop with a step that was never measured", Tabletop, "low_battery", []string{"u1"}, func(_ *site, setup *Setup) {
		setup.Need.Steps = append(setup.Need.Steps, shutdown.StepNeed{Step: "mail"})
	}},
	{"a tabletop in which the host stays up", Tabletop, "feed_loss", []string{"u1", "u2"}, func(_ *site, setup *Setup) {
		setup.Definition.Objectives.Shutdown = new(false)
	}},
	{"a tabletop with the scenario's own expectation", Tabletop, "feed_loss", []string{"u1", "u2"}, func(_ *site, setup *Setup) {
		setup.Scenario.Expect.Shutdown = new(true)
	}},
	{"a tabletop that does not fit", Tabletop, "mains_loss", []string{"u1", "u2"}, func(_ *site, setup *Setup) {
		setup.Scenario.UPSes = []string{"a", "b", "c"}
	}},
	{"a rehearsal", Rehearsal, "low_battery", []string{"u1"}, func(_ *site, setup *Setup) {
		setup.Definition.Hypothesis, setup.Host = "the battery carries the shutdown", "host1"
		limit := 15 * time.Second
		setup.Definition.Objectives = Objectives{Detect: &limit, Decide: &limit, Stopped: &limit, Margin: &limit}
	}},
	{"a rehearsal with a silent card", Rehearsal, "card_silent", []string{"u1"}, nil},
	{"a rehearsal in which the host stays up", Rehearsal, "feed_loss", []string{"u1", "u2"}, nil},
	{"a rehearsal whose plan fails", Rehearsal, "low_battery", []string{"u1"}, func(s *site, setup *Setup) {
		s.walkErr = errors.New("the plan is not readable")
	}},
	{"a rehearsal with steps of all kinds", Rehearsal, "low_battery", []string{"u1"}, func(_ *site, setup *Setup) {
		setup.Walk = func(context.Context, policy.Decision) ([]shutdown.Rehearsed, error) {
			return []shutdown.Rehearsed{{Step: "a", Err: "exit status 1", Ran: true}, {Step: "b"}, {Step: "c", Expected: time.Second}}, nil
		}
	}},
	{"a rehearsal that does not fit", Rehearsal, "mains_loss", []string{"u1"}, func(_ *site, setup *Setup) {
		setup.Scenario.UPSes = []string{"a", "b"}
	}},
}

func TestReports(t *testing.T) {
	var golden strings.Builder
	for _, tc := range reportCases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(tc.upses...)
				time.Sleep(100 * time.Second) // the agent's clock does not begin with the drill
				setup := s.setup(t, tc.scenario)
				if setup.Level = tc.level; tc.change != nil {
					tc.change(s, &setup)
				}
				run := RunRehearsal
				if tc.level == Tabletop {
					run = RunTabletop
				}
				r := run(t.Context(), setup)
				fmt.Fprintf(&golden, "=== %s, took %.1f s\n", tc.name, r.TookS)
				if err := r.WriteText(&golden); err != nil {
					t.Fatal(err)
				}
				for _, e := range s.events {
					fmt.Fprintf(&golden, "  event %s %s %q\n", e.Name, e.Device, e.Text)
				}
			})
		})
	}
	refused := (&Setup{ID: "1", Scenario: &Scenario{}, Level: Rehearsal}).Refuse([]string{"no UPS", "no time"})
	refused.Started = time.Time{}
	if err := refused.WriteText(&golden); err != nil {
		t.Fatal(err)
	}
	const path = "testdata/reports.txt"
	if *update {
		if err := os.WriteFile(path, []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), golden.String()); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites):\n%s", path, diff)
	}
}

// TestTabletopAborted says who ended it.
func TestTabletopAborted(t *testing.T) {
	ctx, abort := context.WithCancelCause(t.Context())
	abort(errors.New("the operator had enough"))
	s := newSite("u1")
	setup := s.setup(t, "mains_loss")
	setup.Definition.Objectives.Shutdown = new(true)
	r := RunTabletop(ctx, setup)
	if r.Verdict != Aborted || r.Why != "the operator had enough" || len(r.Objectives) != 1 {
		t.Errorf("report %+v, want the operator's abort, and the objective", r)
	}
}

// TestInject: a device answers as the scenario says, with every poll counted, or fails.
func TestInject(t *testing.T) {
	s := newSite("u1")
	setup := s.setup(t, "card_silent")
	r := &rehearsal{Setup: setup, began: time.Minute, injected: map[string]*dodai.DeviceState{}, bind: map[string]string{"u1": "u1"}}
	live := setup.Snapshot.Device("u1")
	look := func(seconds float64) *dodai.DeviceState {
		d := r.inject(live, time.Minute+time.Duration(seconds*float64(time.Second)))
		r.injected["u1"] = d
		return d
	}
	one, two := look(1), look(2)
	if one.Polls != live.Polls+1 || two.Polls != live.Polls+2 || two.At != 62*time.Second || !two.Reading.Status.Has(dodai.OB) || two.Failures != 0 {
		t.Errorf("answers: %+v, then %+v", one, two)
	}
	three, four := look(5), look(6)
	if four.Failures != 2 || four.FailingSince != 65*time.Second || four.At != two.At || four.Polls != two.Polls || four.Err == "" || three.Failures != 1 {
		t.Errorf("fails: %+v, then %+v", three, four)
	}
	r.began += 10 * time.Second // the scenario has not come so far
	if back := look(6); back.Failures != 0 || back.Err != "" {
		t.Errorf("answers again: %+v", back)
	}
	if live.Reading.Status != dodai.OL || live.Polls != 5 {
		t.Errorf("what really is was changed: %+v", live)
	}
}
