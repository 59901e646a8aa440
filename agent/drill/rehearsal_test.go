package drill

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// site is a server with one or two UPSes on line, whose readings stay fresh.
type site struct {
	begin time.Time
	upses []string
	vars  dodai.Vars
	// trouble, when set, is what the agent's own decision sees from then on.
	trouble func(now time.Duration, d *policy.Decision)
	events  []dodai.Event
	walked  int
	walkErr error
}

func (s *site) clock() time.Duration { return time.Since(s.begin) }

func (s *site) live() (*dodai.Snapshot, policy.Decision) {
	now := s.clock()
	snap := &dodai.Snapshot{At: now, Wall: time.Now()}
	var d policy.Decision
	for _, name := range s.upses {
		r := dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL, Vars: s.vars}
		snap = snap.With(&dodai.DeviceState{Name: name, Kind: dodai.KindUPS, Reading: &r, At: now, Polls: 5, StaleAfter: 15 * time.Second}, now, time.Now())
		d.UPSes = append(d.UPSes, policy.UPSView{UPS: name, Line: policy.LinePresent, Doomed: policy.ReasonNone, Why: "on line"})
	}
	if s.trouble != nil {
		s.trouble(now, &d)
	}
	return snap, d
}

func (s *site) setup(t *testing.T, scenario string) Setup {
	t.Helper()
	snap, d := s.live()
	sc, err := ScenarioFor(scenario, snap)
	if err != nil {
		t.Fatal(err)
	}
	cfg := policy.Default()
	cfg.Need, cfg.Reserve = 120*time.Second, 60*time.Second
	return Setup{
		ID: "20260102T030405Z-x-1", Definition: Definition{Name: "x", Scenario: scenario}, Level: Rehearsal, Scenario: sc,
		Snapshot: snap, Decision: d, Policy: policy.New(cfg), Clock: s.clock, Live: s.live,
		Need: shutdown.Need{Total: 50 * time.Second, Steps: []shutdown.StepNeed{{Step: "db", Took: 20 * time.Second, Runs: 4}, {Step: shutdown.PowerOffStep, Took: 30 * time.Second}}},
		Emit: func(ev dodai.Event) { s.events = append(s.events, ev) },
		Walk: func(context.Context, policy.Decision) ([]shutdown.Rehearsed, error) {
			s.walked++
			return []shutdown.Rehearsed{{Step: "db", Expected: 20 * time.Second}, {Step: "shed", Ran: true, Took: time.Second}}, s.walkErr
		},
	}
}

func newSite(upses ...string) *site {
	return &site{begin: time.Now(), upses: upses, vars: dodai.Vars{
		dodai.BatteryCharge: dodai.Num(100), dodai.BatteryRuntime: dodai.Num(600), dodai.InputVoltage: dodai.Num(230),
	}}
}

func TestRehearsalLowBattery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite("u1")
		setup := s.setup(t, "low_battery")
		limit := 15 * time.Second
		setup.Definition.Objectives = Objectives{Detect: &limit, Decide: &limit}
		r := RunRehearsal(t.Context(), setup)
		if r.Verdict != Pass || r.Reason != string(policy.ReasonLB) || s.walked != 1 {
			t.Fatalf("verdict %s, reason %s, plan walked %d times: %+v", r.Verdict, r.Reason, s.walked, r)
		}
		if *r.DetectedS > 0.5 || *r.DecidedS < 10 || *r.DecidedS > 14 {
			t.Errorf("detected after %v s, decided after %v s: want at once, and a little after 10 s", *r.DetectedS, *r.DecidedS)
		}
		if *r.StoppedS != 50 {
			t.Errorf("stopped after %v s, want the measured need of 50 s", *r.StoppedS)
		}
		var text strings.Builder
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"mains_lost", "db not run, expected to take 20.0 s", "shed run and undone, it took 1.0 s"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("report lacks %q:\n%s", want, text.String())
			}
		}
	})
}

// The real thing takes over within one reading, and the plan is not walked through.
func TestRehearsalEndsWhenTheMainsReallyFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite("u1")
		setup := s.setup(t, "low_battery")
		s.trouble = func(now time.Duration, d *policy.Decision) {
			if now >= 3*time.Second {
				d.UPSes[0].OnBattery, d.UPSes[0].Why = true, "on battery for 0 s"
			}
		}
		r := RunRehearsal(t.Context(), setup)
		if r.Verdict != Aborted || !strings.Contains(r.Why, "a real event: u1") || s.walked != 0 {
			t.Errorf("verdict %s (%s), plan walked %d times: want an abort by the real event", r.Verdict, r.Why, s.walked)
		}
		if r.TookS < 3 || r.TookS > 3.5 {
			t.Errorf("the drill went on until %v s, want an end within %v of 3 s", r.TookS, every)
		}
	})
}

func TestRehearsalAbortedByTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite("u1")
		ctx, abort := context.WithCancelCause(t.Context())
		time.AfterFunc(2*time.Second, func() { abort(errors.New("the operator had enough")) })
		r := RunRehearsal(ctx, s.setup(t, "mains_loss"))
		if r.Verdict != Aborted || r.Why != "the operator had enough" {
			t.Errorf("verdict %s (%s), want the operator's abort", r.Verdict, r.Why)
		}
	})
}

func TestRehearsalTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite("u1")
		s.walkErr = shutdown.ErrTakenOver
		if r := RunRehearsal(t.Context(), s.setup(t, "low_battery")); r.Verdict != Aborted || r.StoppedS != nil {
			t.Errorf("verdict %s, stopped %v: want an abort without a figure", r.Verdict, r.StoppedS)
		}
	})
}

func TestRehearsalCardSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite("u1")
		r := RunRehearsal(t.Context(), s.setup(t, "card_silent"))
		if r.Verdict != Pass || r.Reason != string(policy.ReasonCommsOnBatt) || *r.DecidedS < 60 || *r.DecidedS > 85 {
			t.Errorf("verdict %s, reason %s, decided %v: want blind on battery after about 65 s", r.Verdict, r.Reason, r.DecidedS)
		}
	})
}

// What counts as detected is the loss of the mains or of communication, not an alert that
// stands anyway.
func TestRehearsalDetects(t *testing.T) {
	path := filepath.Join(t.TempDir(), "silent.yaml")
	text := "id: silent\ntimeline:\n  - {t: 0, set: {ups.status: OL BYPASS}}\n  - {t: 10, event: comms_lost}\n  - {t: 40, event: end}\nexpect: {shutdown: false}\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := RunRehearsal(t.Context(), newSite("u1").setup(t, path))
		if r.Verdict != Pass || r.DetectedS == nil || *r.DetectedS != 24.75 { // last answer at 9.75 s
			t.Errorf("verdict %s, detected %v: want the silence found after 15 s", r.Verdict, r.DetectedS)
		}
	})
}

// With a second feed the loss of one is survived: no decision is the right result.
func TestRehearsalFeedLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite("u1", "u2")
		setup := s.setup(t, "feed_loss")
		r := RunRehearsal(t.Context(), setup)
		if r.Verdict != Pass || r.DecidedS != nil || s.walked != 0 {
			t.Errorf("verdict %s, decided %v: want the host to stay up", r.Verdict, r.DecidedS)
		}
	})
}

func TestTabletop(t *testing.T) {
	s := newSite("u1")
	setup := s.setup(t, "mains_loss")
	setup.Level = Tabletop
	decide, detect := 500*time.Second, 10*time.Second
	setup.Definition.Objectives = Objectives{Decide: &decide, Detect: &detect}
	r := RunTabletop(t.Context(), setup)
	if r.Verdict != Pass || r.Reason != string(policy.ReasonRuntime) && r.Reason != string(policy.ReasonCharge) {
		t.Fatalf("verdict %s, reason %s: %+v", r.Verdict, r.Reason, r)
	}
	// 600 s of runtime, need 120 s and reserve 60 s: no later than 420 s.
	if *r.DecidedS < 380 || *r.DecidedS > 430 {
		t.Errorf("decided after %v s, want about 420 s", *r.DecidedS)
	}
	if len(s.events) > 0 || s.walked > 0 {
		t.Errorf("a tabletop emitted %d events and walked %d times, want neither", len(s.events), s.walked)
	}
	if last := r.Timeline[len(r.Timeline)-1]; !strings.Contains(last.Text, shutdown.PowerOffStep) || last.AtS < *r.DecidedS+49 {
		t.Errorf("the time line ends with %+v, want the power-off 50 s after the decision", last)
	}
}

func TestScenarioForErrors(t *testing.T) {
	if _, err := ScenarioFor("mains_loss", &dodai.Snapshot{}); err == nil || !strings.Contains(err.Error(), "no UPS") {
		t.Errorf("without a UPS: %v, want an error that says so", err)
	}
	if _, err := ScenarioFor("/no/such/file.yaml", &dodai.Snapshot{}); err == nil {
		t.Error("a missing file gave no error")
	}
}

// A UPS that tells neither runtime nor charge can be drilled as well.
func TestBuiltinsForPoorUPSes(t *testing.T) {
	for name := range builtins {
		for _, vars := range []dodai.Vars{nil, {dodai.BatteryCharge: dodai.Num(100)}, {dodai.BatteryRuntime: dodai.Num(0.5)}} {
			s := newSite("rack.1", "u-2")
			s.vars = vars
			snap, _ := s.live()
			sc, err := ScenarioFor(name, snap)
			if err != nil {
				t.Errorf("%s with %v: %v", name, vars, err)
				continue
			}
			if st := sc.State(time.Second, "u-2"); name != "feed_loss" && !st.Reading.Status.Has(dodai.OB) {
				t.Errorf("%s with %v: u-2 is %v after 1 s, want OB", name, vars, st.Reading.Status)
			}
		}
	}
}

// What is live is as old as the last poll: a drill's events are not dated before the drill.
func TestRehearsalIsDatedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite("u1")
		setup := s.setup(t, "low_battery")
		stale, d := s.live()
		setup.Live = func() (*dodai.Snapshot, policy.Decision) { return stale, d }
		time.Sleep(4 * time.Second)
		began := time.Now()
		RunRehearsal(t.Context(), setup)
		if len(s.events) == 0 {
			t.Fatal("no events")
		}
		for _, ev := range s.events {
			if !ev.Wall.IsZero() && ev.Wall.Before(began) {
				t.Errorf("%s is dated %v before the drill began", ev.Name, began.Sub(ev.Wall))
			}
		}
	})
}
