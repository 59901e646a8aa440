package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// early steps that leave a trace; gone cannot be undone.
const earlyPlan = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}]
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
shutdown:
  need: 20s
  reserve: 10s
  steps:
    - name: shed
      command: ["/bin/sh", "-c", "echo shed >>%DIR%/order"]
      undo: ["/bin/sh", "-c", "echo unshed >>%DIR%/order"]
      early: {on_battery: 10s}
    - name: gone
      command: ["/bin/sh", "-c", "echo gone >>%DIR%/order"]
      early: {below_charge_pct: 50}
    - {name: late, command: ["/bin/sh", "-c", "echo late >>%DIR%/order"]}
  command: ["/bin/sh", "-c", "echo off >>%DIR%/order"]
`

func (st *stepper) outage(status string, charge float64, d time.Duration) {
	for range int(d / time.Second) {
		st.read("u1", ups(status, charge, 3000))
		st.settle("early steps", func() bool { return !st.loop.earlyBusy })
		st.pass(time.Second)
	}
}

func expectOrder(t *testing.T, s *site, when string, want ...string) {
	t.Helper()
	if got := s.lines("order"); !slices.Equal(got, want) {
		t.Fatalf("%s: ran %q, want %q", when, got, want)
	}
}

func TestEarlySteps(t *testing.T) {
	s := newSite(t)
	st := s.step(earlyPlan, nil)
	st.outage("OL", 100, 3*time.Second)
	st.outage("OB", 90, 8*time.Second)
	expectOrder(t, s, "8 s on battery")
	st.outage("OB", 90, 4*time.Second)
	expectOrder(t, s, "12 s on battery", "shed")
	st.outage("OB", 40, 5*time.Second)
	expectOrder(t, s, "at 40 %", "shed", "gone")
	st.outage("OL", 45, 20*time.Second)
	expectOrder(t, s, "mains back", "shed", "gone", "unshed")
	if len(st.loop.earlyDone) != 0 {
		t.Errorf("still done: %v", st.loop.earlyDone)
	}
	st.outage("OB", 45, 12*time.Second)
	expectOrder(t, s, "the next outage", "shed", "gone", "unshed", "gone", "shed")
	st.low()
	expectOrder(t, s, "the way down", "shed", "gone", "unshed", "gone", "shed", "late", "off")
}

// What was done early is not done again by an agent that was restarted, nor forgotten.
func TestEarlyStepsOverARestart(t *testing.T) {
	s := newSite(t)
	restart := func(st *stepper) *stepper {
		st.end(st.ctx, st.loop.group)
		return s.step(earlyPlan, nil)
	}
	st := s.step(earlyPlan, nil)
	st.outage("OB", 90, 12*time.Second)
	expectOrder(t, s, "12 s on battery", "shed")
	at := st.now.Load()
	st = restart(st)
	st.now.Store(at)
	st.outage("OB", 90, 5*time.Second)
	expectOrder(t, s, "after the restart", "shed")
	st.outage("OL", 90, 15*time.Second)
	expectOrder(t, s, "mains back", "shed", "unshed")

	st.outage("OB", 90, 12*time.Second)
	at = st.now.Load()
	st = restart(st)
	st.now.Store(at)
	st.low()
	expectOrder(t, s, "the way down after a restart", "shed", "unshed", "shed", "gone", "late", "off")
}

// A step that has left the plan does not keep the others from being undone.
func TestEarlyStepsOverAReload(t *testing.T) {
	s := newSite(t)
	st := s.step(earlyPlan, nil)
	st.startCollectors()
	st.loop.earlyDone["left the plan"] = true
	st.outage("OB", 90, 12*time.Second)
	if err := st.reload(s.parse(strings.Replace(earlyPlan, "need: 20s", "need: 25s", 1))); err != nil {
		t.Fatal(err)
	}
	st.outage("OB", 90, 3*time.Second)
	expectOrder(t, s, "after the reload", "shed")
	st.outage("OL", 90, 15*time.Second)
	expectOrder(t, s, "mains back", "shed", "unshed")
	if len(st.loop.earlyDone) != 0 {
		t.Errorf("still done: %v", st.loop.earlyDone)
	}
}

func TestEarlyStepThatFailsIsTriedAgainLater(t *testing.T) {
	s := newSite(t)
	st := s.step(strings.Replace(earlyPlan, "echo shed >>", "echo shed >>%DIR%/order; exit 1; echo >>", 1), nil)
	st.outage("OB", 90, 12*time.Second)
	expectOrder(t, s, "12 s on battery", "shed")
	st.outage("OB", 40, 3*time.Second) // another one is not held up
	expectOrder(t, s, "at 40 %", "shed", "gone")
	st.outage("OB", 40, retryEarly)
	expectOrder(t, s, "half a minute later", "shed", "gone", "shed")
	if n := st.count(dodai.EventStepFailed); n != 2 {
		t.Errorf("%d failures reported, want 2", n)
	}
}

func TestEarlyStepsInModeObserve(t *testing.T) {
	s := newSite(t)
	st := s.step(withMode(earlyPlan, "observe"), nil)
	st.outage("OB", 40, 20*time.Second)
	expectOrder(t, s, "in mode observe")
}

// A rehearsal's step is to be undone from before it begins, and does not count as done.
func TestEarlyStepOfADrill(t *testing.T) {
	s := newSite(t)
	st := s.step(earlyPlan, nil)
	st.read("u1", ups("OL", 100, 3600))
	undo, err := st.rehearse(t)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(undo, func(s string) bool { return strings.Contains(s, `"done":{"shed":false}`) }) {
		t.Errorf("the journal never said that shed has to be undone: %q", undo)
	}
	expectOrder(t, s, "after the rehearsal", "shed", "unshed")
	if len(st.loop.earlyDone) != 0 {
		t.Errorf("still to be undone: %v", st.loop.earlyDone)
	}

	st.loop.earlyDone["shed"] = false // the agent ended in its middle
	st.saveEarly()
	st.end(st.ctx, st.loop.group)
	st = s.step(earlyPlan, nil)
	st.outage("OL", 100, 3*time.Second)
	expectOrder(t, s, "after a crash", "shed", "unshed", "unshed")
}

// rehearse walks through the plan as a drill does, and returns what the journal said of
// early steps meanwhile.
func (st *stepper) rehearse(t *testing.T) (said []string, err error) {
	walk := st.rehearsePlan("drill-1", st.View())
	over := make(chan error, 1)
	go func() {
		_, err := walk(t.Context(), policy.Decision{})
		over <- err
	}()
	st.settle("the rehearsal", func() bool {
		said = append(said, string(st.store.load(t.Context(), keyEarly)))
		select {
		case err = <-over:
			return true
		default:
			return false
		}
	})
	return said, err
}

func TestEarlyState(t *testing.T) {
	now := 100 * time.Second
	snap := (&dodai.Snapshot{}).
		With(&dodai.DeviceState{Name: "u1", Reading: new(ups("OB", 70, 100))}, now, time.Time{}).
		With(&dodai.DeviceState{Name: "u2", Reading: new(ups("OB", 60, 100))}, now, time.Time{}).
		With(&dodai.DeviceState{Name: "u3", Reading: new(ups("OL", 10, 100))}, now, time.Time{}).
		With(&dodai.DeviceState{Name: "u4"}, now, time.Time{})
	d := policy.Decision{UPSes: []policy.UPSView{
		{UPS: "u1", OnBattery: true, OnBatterySince: 40 * time.Second},
		{UPS: "u2", OnBattery: true, OnBatterySince: 70 * time.Second},
		{UPS: "u3"}, {UPS: "u4", OnBattery: true, OnBatterySince: 90 * time.Second}, {UPS: "gone", OnBattery: true, OnBatterySince: 99 * time.Second},
	}}
	got := earlyState(snap, d, now)
	if got.OnBattery == nil || *got.OnBattery != 60*time.Second || got.Charge == nil || *got.Charge != 60 || got.Margin != nil {
		t.Errorf("state %+v: want the longest outage, the lowest charge on battery, no margin", got)
	}
	if got := earlyState(snap, policy.Decision{UPSes: []policy.UPSView{{UPS: "u3"}}}, now); got.OnBattery != nil || got.Charge != nil {
		t.Errorf("on mains: %+v, want nothing", got)
	}
}
