package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

func TestGoDown(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.read("u1", ups("OL", 100, 3600))
	sameStory(t, st.story())
	st.pass(time.Second)
	st.low()
	want := []string{
		"mains_lost u1", "battery_low u1", "shutdown_decided", "shutdown_started",
		"step_started one", "step_finished one", "step_started two", "step_finished two", "power_off",
	}
	sameStory(t, st.story(), want...)
	if got := st.lines("order"); !slices.Equal(got, []string{"one", "two", "off"}) {
		t.Errorf("the plan ran as %q", got)
	}
	if d := st.loop.down; d == nil || !d.Finished || !slices.Equal(d.Done, []string{"one", "two"}) {
		t.Errorf("state %+v, want it finished with both steps done", d)
	}
	st.pass(time.Second)
	st.read("u1", ups("OB LB", 5, 10)) // nothing is begun twice
	st.idle()
	sameStory(t, st.story(), want...)
	if got := st.Status(); got.State != "powering_off" || got.Shutdown == nil || len(got.Shutdown.StepsDone) != 2 {
		t.Errorf("status %s, %+v", got.State, got.Shutdown)
	}
}

func TestObserveTellsOncePerCause(t *testing.T) {
	s := newSite(t)
	st := s.step(withMode(plain, "observe"), nil)
	for range 5 {
		st.read("u1", ups("OB LB", 9, 20))
		st.pass(time.Second)
	}
	sameStory(t, st.story(), "mains_lost u1", "battery_low u1", "shutdown_decided")
	for range 20 { // the outage is over, and another one comes
		st.read("u1", ups("OL", 50, 2000))
		st.pass(time.Second)
	}
	st.low()
	if n := st.count(dodai.EventShutdownDecided); n != 2 {
		t.Errorf("%d decisions told, want one for each outage", n)
	}
	if st.loop.down != nil || st.lines("order") != nil {
		t.Errorf("something was executed: %+v, %q", st.loop.down, st.lines("order"))
	}
	if got := st.Status(); got.State != "would_shut_down" || got.Shutdown != nil {
		t.Errorf("status %s, %+v", got.State, got.Shutdown)
	}
}

// A machine that still runs long after its power came back decides again.
func TestRearm(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.low()
	for range 40 { // still on battery: no time counts
		st.pass(time.Second)
		st.read("u1", ups("OB LB", 9, 20))
	}
	if st.loop.down == nil {
		t.Fatal("ready to decide again while the power is away")
	}
	back := st.clock()
	for st.loop.down != nil && st.clock()-back < 2*time.Minute {
		st.pass(time.Second)
		st.read("u1", ups("OL", 80, 3000))
	}
	if took := st.clock() - back; took < rearmAfter || took > rearmAfter+15*time.Second {
		t.Errorf("ready to decide again %v after the power came back, want a little more than %v", took, rearmAfter)
	}
	st.low()
	if got := st.lines("order"); !slices.Equal(got, []string{"one", "two", "off", "one", "two", "off"}) {
		t.Errorf("the plan ran as %q, want it twice", got)
	}
}

func TestResumeAfterARestart(t *testing.T) {
	s := newSite(t)
	down := func(st *stepper, done ...string) {
		st.loop.down = &downState{stamp: st.stamp(), Reason: "lb", Explanation: "low", Done: done}
		st.saveDown()
	}
	st := s.step(plain, nil)
	down(st, "one")
	st.end(st.ctx, st.loop.group)

	st = s.step(plain, nil)
	if st.loop.down == nil || st.loop.down.Reason != "lb" {
		t.Fatalf("after the restart: %+v, want the shutdown under way", st.loop.down)
	}
	st.resumeDown()
	st.idle()
	if got := st.lines("order"); !slices.Equal(got, []string{"two", "off"}) {
		t.Errorf("the plan went on as %q, want two, off", got)
	}
	st.end(st.ctx, st.loop.group)

	st = s.step(plain, nil) // what is through is not begun again
	st.resumeDown()
	st.idle()
	if got := st.lines("order"); len(got) != 2 {
		t.Errorf("the plan ran again: %q", got)
	}
	down(st)
	st.end(st.ctx, st.loop.group)

	st = s.step(withMode(plain, "observe"), nil)
	st.resumeDown()
	st.idle()
	if got := st.lines("order"); len(got) != 2 || st.loop.down != nil || !s.logged("not gone on with") {
		t.Errorf("in mode observe: %q, %+v; want nothing run, and a word about it", got, st.loop.down)
	}
	st.end(st.ctx, st.loop.group)
	if st = s.step(plain, nil); st.loop.down != nil {
		t.Errorf("armed again: %+v, want the old shutdown forgotten", st.loop.down)
	}
}

// A disk that hangs costs the way down a second, not one for each step.
func TestGoDownWithAHangingDisk(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.read("u1", ups("OL", 100, 3600))
	release := s.blockJournal()
	defer release()
	began := time.Now()
	st.low()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the way down took %v beside a hanging disk, want little more than %v", took, persistLimit)
	}
	if got := st.lines("order"); !slices.Equal(got, []string{"one", "two", "off"}) {
		t.Errorf("the plan ran as %q", got)
	}
	if d := st.loop.down; !slices.Equal(d.Done, []string{"one", "two"}) || len(st.store.durations("one")) != 1 {
		t.Errorf("done %v, durations %v: want both steps remembered", d.Done, st.store.durations("one"))
	}
	release()
	eventually(t, "the state to reach the disk", func() bool {
		return strings.Contains(string(st.store.load(t.Context(), keyShutdown)), `"finished":true`)
	})
}

// A failing journal is no reason to stay up either.
func TestGoDownWithoutAJournal(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, func(o *Options) { o.StateDir = "/proc/nothing-can-be-made-here" })
	st.low()
	if got := st.lines("order"); !slices.Equal(got, []string{"one", "two", "off"}) {
		t.Errorf("the plan ran as %q", got)
	}
	if got := st.Status(); got.Journal == "ok" {
		t.Error("status says that the journal is ok")
	}
}

func TestRehearseInPlaceOfTheWayDown(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, func(o *Options) { o.Rehearse = true })
	st.low()
	if got := st.lines("order"); got != nil {
		t.Errorf("these ran: %q", got)
	}
	if d := st.loop.down; d == nil || !d.Finished || st.count(dodai.EventStepFinished) != 3 {
		t.Errorf("state %+v, %d steps walked through; want 3", d, st.count(dodai.EventStepFinished))
	}
}

func TestMeasuredNeed(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	if st.loop.policy.Need != 20*time.Second {
		t.Errorf("need %v before anything was measured, want the configured 20 s", st.loop.policy.Need)
	}
	for range 3 {
		st.store.measured(shutdown.Progress{Step: "one", Phase: shutdown.PhaseDone, Took: 40 * time.Second}, time.Now())
		st.store.measured(shutdown.Progress{Step: "two", Phase: shutdown.PhaseDone, Took: 2 * time.Second}, time.Now())
	}
	st.measureNeed()
	if got := st.loop.policy.Need; got < 42*time.Second {
		t.Errorf("need %v after three runs of 42 s, want no less", got)
	}
	flushed(t, st.store)
	st.end(st.ctx, st.loop.group)
	if st = s.step(plain, nil); st.loop.policy.Need < 42*time.Second {
		t.Errorf("need %v after a restart, want what was measured", st.loop.policy.Need)
	}
}

func TestPlan(t *testing.T) {
	cfg := newSite(t).parse(`
shutdown:
  command: ["/bin/true"]
  steps:
    - {name: a, unit: a.service, timeout: 3s, expect: 1s, on_failure: stop, early: {below_margin: 2m, below_charge_pct: 50}}
    - {name: b, command: ["/bin/b"], undo: ["/bin/unb"], early: {on_battery: 5m}}
`)
	p, err := (&Agent{}).plan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Command) != 1 || len(p.Steps) != 2 {
		t.Fatalf("plan %+v", p)
	}
	a, b := p.Steps[0], p.Steps[1]
	if a.Do.String() != "systemctl --no-ask-password stop -- a.service" || a.Timeout != 3*time.Second || a.Expect != time.Second || a.OnFailure != shutdown.Stop ||
		*a.Early.BelowMargin != 2*time.Minute || *a.Early.BelowCharge != 50 || a.Early.OnBattery != nil {
		t.Errorf("step a: %+v, early %+v", a, a.Early)
	}
	if b.OnFailure == shutdown.Stop || *b.Early.OnBattery != 5*time.Minute || b.Undo.String() != "/bin/unb" || !b.Reversible() {
		t.Errorf("step b: %+v, early %+v", b, b.Early)
	}
	if cfg.Mode != config.Observe {
		t.Errorf("mode %s without a word about it, want observe", cfg.Mode)
	}
}
