package agent

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// operated is a plan of two steps that can be undone and one that cannot.
const operated = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}]
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
shutdown:
  need: 2s
  reserve: 1s
  steps:
    - {name: web, command: ["/bin/sh", "-c", "echo web >>%DIR%/order; sleep 0.3"], undo: ["/bin/sh", "-c", "echo unweb >>%DIR%/order; sleep 0.2"]}
    - {name: db, command: ["/bin/sh", "-c", "echo db >>%DIR%/order; until test -e %DIR%/go -o ! -d %DIR%; do sleep 0.05; done"], undo: ["/bin/sh", "-c", "echo undb >>%DIR%/order"]}
    - {name: burn, command: ["/bin/sh", "-c", "echo burn >>%DIR%/order; until test -e %DIR%/burnt -o ! -d %DIR%; do sleep 0.05; done"]}
  command: ["/bin/sh", "-c", "echo off >>%DIR%/order"]
`

// write makes empty files.
func write(names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, os.WriteFile(name, nil, 0o600))
	}
	return errors.Join(errs...)
}

func refusedWith(t *testing.T, err error, words string) {
	t.Helper()
	if r, ok := errors.AsType[*refusal](err); !ok || r.code != http.StatusConflict || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v, want a refusal that says %q", err, words)
	}
}

func TestOperatorCallsOff(t *testing.T) {
	t.Parallel() // it waits more than it works
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(operated, nil)
	eventually(t, "a reading", func() bool { return isClosed(r.Ready()) })
	refusedWith(t, r.CancelShutdown(t.Context(), "", "eve"), "no shutdown is under way")
	if err := r.ShutDown(t.Context(), "new rack", "ann"); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, r.ShutDown(t.Context(), "", "bob"), "asked for by ann: new rack")
	eventually(t, "the second step", func() bool { return slices.Contains(s.lines("order"), "db") })
	if _, err := r.StartDrill(DrillRequest{Name: "mains_loss", Level: "rehearsal"}); err == nil || !strings.Contains(err.Error(), "a shutdown is under way") {
		t.Errorf("a rehearsal in a shutdown: %v, want it refused", err)
	}
	d := r.Status().Shutdown
	if d == nil || d.Operator != "ann" || !d.CanCancel || d.AskedByS != nil || len(d.Steps) != 4 {
		t.Fatalf("status %+v", d)
	}
	remote := httptest.NewRecorder()
	r.remoteAPI().ServeHTTP(remote, httptest.NewRequest("GET", "/v1/status", nil))
	if body := remote.Body.String(); !strings.Contains(body, `"step": "web"`) || strings.Contains(body, "/bin/sh") {
		t.Errorf("the network is told %s, want the steps without their command lines", body)
	}
	for i, want := range []shutdown.Phase{shutdown.PhaseDone, shutdown.PhaseStarted, shutdown.PhaseWaiting, shutdown.PhaseWaiting} {
		if got := d.Steps[i]; got.State != want || (want == shutdown.PhaseDone) != (got.TookS != nil) || (i < 3) != (got.Does != "") {
			t.Errorf("step %d: %+v, want %s", i, got, want)
		}
	}
	if err := r.CancelShutdown(t.Context(), "wrong rack", "bob"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the undoing", func() bool { return r.Status().Shutdown == nil })
	if got := s.lines("order"); !slices.Equal(got, []string{"web", "db", "undb", "unweb"}) {
		t.Errorf("%q, want both steps undone, the last first", got)
	}
	if n := s.count(dodai.EventShutdownCancelled); n != 1 {
		t.Errorf("%d events shutdown_cancelled, want 1", n)
	}
	// And everything works as before.
	s.set("u1", ups("OB LB", 9, 20), nil)
	if err := write(s.file("go"), s.file("burnt")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the power-off of an outage", func() bool { return slices.Contains(s.lines("order"), "off") })
}

// However soon after it began a shutdown is called off: it is.
func TestOperatorCallsOffAtOnce(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(operated, nil)
	eventually(t, "a reading", func() bool { return isClosed(r.Ready()) })
	for range 5 {
		if err := r.ShutDown(t.Context(), "", "ann"); err != nil {
			t.Fatal(err)
		}
		if err := r.CancelShutdown(t.Context(), "", "ann"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the undoing", func() bool { return r.Status().Shutdown == nil })
	}
	if n := s.count(dodai.EventShutdownCancelled); n != 5 {
		t.Errorf("%d events shutdown_cancelled, want 5", n)
	}
}

func TestOperatorPastThePointOfNoReturn(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(operated, nil)
	eventually(t, "a reading", func() bool { return isClosed(r.Ready()) })
	if err := errors.Join(write(s.file("go")), r.ShutDown(t.Context(), "", "ann")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the step that cannot be undone", func() bool { return slices.Contains(s.lines("order"), "burn") })
	refusedWith(t, r.CancelShutdown(t.Context(), "", "ann"), "point of no return")
	if d := r.Status().Shutdown; d == nil || d.CanCancel {
		t.Errorf("status %+v, want no way back", d)
	}
	if err := write(s.file("burnt")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the power-off", func() bool { return slices.Contains(s.lines("order"), "off") })
	if s.count(dodai.EventShutdownDecided) != 0 {
		t.Error("an operator's shutdown counts as a decision")
	}
}

// The power fails while an operator's shutdown runs, or while it is being undone.
func TestPowerFailsInAnOperatorsShutdown(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, calledOff := range []bool{false, true} {
		s := newSite(t)
		s.set("u1", ups("OL", 100, 3600), nil)
		r := s.run(strings.Replace(operated, "sleep 0.2", "sleep 5", 1), nil)
		eventually(t, "a reading", func() bool { return isClosed(r.Ready()) })
		if err := r.ShutDown(t.Context(), "", "ann"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the second step", func() bool { return slices.Contains(s.lines("order"), "db") })
		want := []string{"web", "db", "burn", "off"}
		if calledOff {
			if err := r.CancelShutdown(t.Context(), "", "ann"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the undoing of the first", func() bool { return slices.Contains(s.lines("order"), "unweb") })
			want = []string{"web", "db", "undb", "unweb", "web", "db", "burn", "off"}
		}
		s.set("u1", ups("OB LB", 9, 20), nil)
		eventually(t, "the decision", func() bool { return s.count(dodai.EventShutdownDecided) == 1 })
		refusedWith(t, r.CancelShutdown(t.Context(), "", "ann"), "point of no return")
		if d := r.Status().Shutdown; d == nil || d.AskedByS == nil || d.CanCancel {
			t.Errorf("status %+v, want a deadline and no way back", d)
		}
		if err := write(s.file("go"), s.file("burnt")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the power-off", func() bool { return slices.Contains(s.lines("order"), "off") })
		if got := s.lines("order"); !slices.Equal(got, want) {
			t.Errorf("called off %v: %q, want %q", calledOff, got, want)
		}
		r.end()
	}
}

func TestOperatorIsRefused(t *testing.T) {
	s := newSite(t)
	st := s.step(withMode(plain, "observe"), nil)
	refusedWith(t, st.mayShutDown(), "mode: armed")
	st.loop.cfg.Mode = "armed"
	if err := st.mayShutDown(); err != nil {
		t.Error(err)
	}
}

// The plan puts the point of no return behind its second step: mains that are back for
// ten seconds before it call the shutdown off; a moment of them does not.
func TestMainsBackBeforeThePointOfNoReturn(t *testing.T) {
	s := newSite(t)
	text := strings.Replace(operated, "  need: 2s", "  point_of_no_return: burn\n  need: 600s", 1)
	st := s.step(text, nil)
	st.read("u1", ups("OB LB", 9, 1200))
	for range 5 {
		st.pass(time.Second)
		st.read("u1", ups("OB LB", 9, 1200))
	}
	st.settle("the second step", func() bool { return slices.Contains(s.lines("order"), "db") })
	if st.loop.down == nil || st.loop.down.NoReturn {
		t.Fatalf("state %+v, want a shutdown that can be called off", st.loop.down)
	}
	for i := range 40 {
		st.pass(time.Second)
		status := "OL"
		if i == 8 { // the mains flicker
			status = "OB"
		}
		st.read("u1", ups(status, 30, 1500))
		if st.loop.down == nil || st.loop.down.Off != "" {
			if i < 18 {
				t.Errorf("called off after %d s, want 10 s of mains without a gap", i)
			}
			break
		}
	}
	st.settle("the undoing", func() bool { return st.loop.down == nil })
	if got := s.lines("order"); !slices.Equal(got, []string{"web", "db", "undb", "unweb"}) {
		t.Errorf("%q, want both steps undone", got)
	}
}

// A battery that goes out faster than it said hurries the shutdown; one wrong reading
// does not.
func TestShutdownIsHurried(t *testing.T) {
	s := newSite(t)
	text := strings.Replace(operated, "  need: 2s\n  reserve: 1s", "  need: 300s\n  reserve: 60s", 1)
	st := s.step(text, nil)
	for range 8 {
		st.read("u1", ups("OB LB", 20, 1000))
		st.pass(time.Second)
	}
	if st.loop.down == nil {
		t.Fatal("no shutdown")
	}
	said := func(runtime float64) time.Duration {
		st.read("u1", ups("OB LB", 20, runtime))
		defer st.pass(time.Second)
		return st.loop.ends.Ask - st.clock()
	}
	before := said(990)
	if before < 800*time.Second {
		t.Fatalf("power-off asked for in %v, want it near the battery's end", before)
	}
	if got := said(985); got > before {
		t.Errorf("asked for in %v, later than %v", got, before)
	}
	var after time.Duration
	for range 10 {
		after = said(200)
	}
	if after > 170*time.Second || after < 60*time.Second {
		t.Errorf("with 200 s left the power-off is asked for in %v, want between 60 s and 170 s", after)
	}
	for range 10 {
		if got := said(5000); got > after {
			t.Errorf("a battery that promises more again moves it to %v", got)
		}
	}
}

// As long as the power's reason stands, a shutdown that was called off would begin anew.
func TestCancelWhileTheCauseStands(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OB LB", 9, 1200), nil)
	r := s.run(strings.Replace(operated, "  need: 2s", "  point_of_no_return: burn\n  need: 600s", 1), nil)
	eventually(t, "the second step", func() bool { return slices.Contains(s.lines("order"), "db") })
	refusedWith(t, r.CancelShutdown(t.Context(), "", "ann"), "while its cause stands")
	if err := write(s.file("go"), s.file("burnt")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the power-off", func() bool { return slices.Contains(s.lines("order"), "off") })
	if got := s.lines("order"); !slices.Equal(got, []string{"web", "db", "burn", "off"}) {
		t.Errorf("%q, want nothing undone", got)
	}
}

// The status tells of steps that an agent before this one has run.
func TestStatusAfterARestart(t *testing.T) {
	s := newSite(t)
	st := s.step(strings.Replace(killed, "%ONCE%", "", 1), nil)
	st.loop.down = &downState{stamp: st.stamp(), Reason: reasonOperator, Operator: "ann", Explanation: "asked for by ann",
		Done: []string{"first", "slow"}, Failed: []string{"slow"}}
	st.publish()
	steps := st.Status().Shutdown.Steps
	for i, want := range []shutdown.Phase{shutdown.PhaseDone, shutdown.PhaseFailed, shutdown.PhaseWaiting, shutdown.PhaseWaiting} {
		if got := steps[i]; got.State != want || got.ForS != nil {
			t.Errorf("step %s: %+v, want it %s, since nobody knows when", got.Step, got, want)
		}
	}
}

func TestFailedPowerOffIsAnAlert(t *testing.T) {
	t.Parallel() // it waits more than it works
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(strings.Replace(plain, `echo off >>%DIR%/order`, `test -e %DIR%/works && echo off >>%DIR%/order`, 1), nil)
	eventually(t, "a reading", func() bool { return isClosed(r.Ready()) })
	s.set("u1", ups("OB LB", 9, 20), nil)
	standing := func() bool {
		return slices.ContainsFunc(r.Status().Alerts, func(a AlertStatus) bool { return a.Alert == policy.AlertShutdownFailed })
	}
	eventually(t, "the alert", standing)
	if err := write(s.file("works")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the power-off", func() bool { return slices.Contains(s.lines("order"), "off") })
}

// What was under way at the end of the agent is gone on with, undone, or left, and what
// must not run twice does not.
func TestKillInTheMiddle(t *testing.T) {
	for name, tt := range map[string]struct {
		once bool
		off  string // the shutdown was called off before
		want []string
	}{
		"run again":        {false, "", []string{"slow", "after", "off"}},
		"never twice":      {true, "", []string{"after", "off"}},
		"undone":           {false, "no longer wanted", []string{"unslow", "unfirst"}},
		"undone, and once": {true, "no longer wanted", []string{"unslow", "unfirst"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			text := strings.Replace(killed, "%ONCE%", map[bool]string{true: "once: true, "}[tt.once], 1)
			st := s.step(text, nil)
			st.loop.down = &downState{stamp: st.stamp(), Reason: reasonOperator, Operator: "ann", Explanation: "asked for by ann", Done: []string{"first"}, Started: []string{"slow"}, Off: tt.off}
			st.saveDown()
			st.end(st.ctx, st.loop.group)
			st = s.step(text, nil)
			st.resumeDown()
			st.idle()
			if got := s.lines("order"); !slices.Equal(got, tt.want) {
				t.Errorf("gone on as %q, want %q", got, tt.want)
			}
		})
	}
}

const killed = `
mode: armed
ups: [{name: u1, driver: fake}]
shutdown:
  steps:
    - {name: first, command: ["/bin/sh", "-c", "echo first >>%DIR%/order"], undo: ["/bin/sh", "-c", "echo unfirst >>%DIR%/order"]}
    - {name: slow, %ONCE%command: ["/bin/sh", "-c", "echo slow >>%DIR%/order"], undo: ["/bin/sh", "-c", "echo unslow >>%DIR%/order"]}
    - {name: after, command: ["/bin/sh", "-c", "echo after >>%DIR%/order"]}
  command: ["/bin/sh", "-c", "echo off >>%DIR%/order"]
`

// Behind the point of no return mains that are back for good give the steps their time.
func TestMainsBackGiveTime(t *testing.T) {
	s := newSite(t)
	st := s.step(strings.Replace(operated, "  need: 2s\n  reserve: 1s", "  need: 300s\n  reserve: 60s", 1), nil)
	for range 8 {
		st.read("u1", ups("OB LB", 20, 400))
		st.pass(time.Second)
	}
	if st.loop.down == nil || st.loop.ends.Ask == 0 {
		t.Fatalf("no shutdown with an end: %+v, %+v", st.loop.down, st.loop.ends)
	}
	for i := range 40 {
		st.read("u1", ups("OL", 20, 400))
		st.pass(time.Second)
		if st.loop.ends.Ask == 0 {
			if i < 9 {
				t.Errorf("the end is gone after %d s of mains, want 10", i)
			}
			break
		}
	}
	if st.loop.down == nil || st.loop.ends.Ask != 0 {
		t.Fatalf("%+v, %+v, want the shutdown without an end", st.loop.down, st.loop.ends)
	}
	for range 20 {
		st.read("u1", ups("OL", 20, 400))
		st.pass(time.Second)
		if st.loop.ends.Ask != 0 {
			t.Fatalf("with the mains back the shutdown is hurried again: %+v", st.loop.ends)
		}
	}
	for range 10 { // and away again
		st.read("u1", ups("OB LB", 20, 200))
		st.pass(time.Second)
	}
	if st.loop.ends.Ask == 0 {
		t.Error("the mains are away again, and there is no end")
	}
}

// What a step has printed is for who may open the socket, not for everybody on the network.
func TestNetworkIsNotToldWhatStepsSay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	plan := strings.Replace(operated, "echo web >>%DIR%/order; sleep 0.3", "echo the password is swordfish; exit 1", 1)
	r := s.run(plan, nil)
	eventually(t, "a reading", func() bool { return isClosed(r.Ready()) })
	if err := r.ShutDown(t.Context(), "", "ann"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second step", func() bool { return slices.Contains(s.lines("order"), "db") })
	for where, api := range map[string]http.Handler{"socket": r.localAPI(), "network": r.remoteAPI()} {
		answer := httptest.NewRecorder()
		api.ServeHTTP(answer, httptest.NewRequest("GET", "/v1/status", nil))
		body := answer.Body.String()
		if !strings.Contains(body, `"state": "failed"`) || strings.Contains(body, "swordfish") != (where == "socket") {
			t.Errorf("the %s is told %s", where, body)
		}
	}
}

// A step of a shutdown that was called off may end when the next one has begun: that is not
// the next one's, or a daemon that is restarted then would leave the step out.
func TestEndOfAStepOfTheShutdownBefore(t *testing.T) {
	st := newSite(t).step(operated, nil)
	st.loop.down = &downState{Power: true}
	st.recordDown(shutdown.Progress{Step: "web", Phase: shutdown.PhaseFailed})
	if d := st.loop.down; len(d.Done) != 0 || len(d.Failed) != 0 {
		t.Errorf("over: %v, failed: %v; want neither", d.Done, d.Failed)
	}
	for _, phase := range []shutdown.Phase{shutdown.PhaseStarted, shutdown.PhaseFailed} {
		st.recordDown(shutdown.Progress{Step: "web", Phase: phase})
	}
	st.recordDown(shutdown.Progress{Step: "db", Phase: shutdown.PhaseSkipped})
	if d := st.loop.down; !slices.Equal(d.Done, []string{"web", "db"}) || !slices.Equal(d.Failed, []string{"web"}) {
		t.Errorf("over: %v, failed: %v; want both steps, and the one that failed", d.Done, d.Failed)
	}
}
