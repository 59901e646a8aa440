package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/bootlog"
	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// earlier is the boot that tests make of the present one.
const earlier = "11111111-1111-4111-8111-111111111111"

const journaldStopped = "MESSAGE_ID=d93fb3c9c24d451a97cea615ce59c00b"

// rebooted makes what agents have remembered that of an earlier boot, and returns the
// power-off that was asked for in it; nil: none was.
func (s *site) rebooted() *powerOffAsked {
	s.t.Helper()
	j, err := journal.Open(s.t.Context(), s.file("state"), journal.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer j.Close()
	for _, key := range []string{keyPolicy, keyShutdown, keyEarly, keyPowerOff} {
		data, _, err := j.LoadState(s.t.Context(), key)
		if errors.Is(err, journal.ErrNotFound) {
			continue
		}
		if err == nil {
			err = j.SaveState(s.t.Context(), key, []byte(strings.ReplaceAll(string(data), collectors.BootID(), earlier)))
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	data, _, err := j.LoadState(s.t.Context(), keyPowerOff)
	if errors.Is(err, journal.ErrNotFound) {
		return nil
	}
	var asked *powerOffAsked
	if err == nil {
		err = json.Unmarshal(data, &asked)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return asked
}

// endsAt is a journal in which the earlier boot ended so long after its power-off was
// asked for.
func (p *powerOffAsked) endsAt(t *testing.T, after time.Duration, fields string) bootlog.Reader {
	t.Helper()
	boot := strings.ReplaceAll(p.BootID, "-", "")
	return bootlog.Reader{Program: peer.Need(t, "journalctl"), Args: []string{"-D", peer.SystemJournal(t,
		peer.JournalEntry{Boot: boot, Micros: p.Monotonic.Microseconds() - 1_000_000},
		peer.JournalEntry{Boot: boot, Micros: (p.Monotonic + after).Microseconds(), Fields: fields},
		peer.JournalEntry{Boot: strings.Repeat("2", 32), Micros: 5_000_000}, // a boot without the agent
	)}}
}

func with(end func(context.Context, string) (bootlog.End, error)) func(*Options) {
	return func(o *Options) { o.BootEnd = end }
}

const slowPlan = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}]
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
shutdown:
  need: 2s
  reserve: 1s
  steps: [{name: slow, command: ["/bin/sleep", "2.5"], timeout: 20s}]
  command: ["/bin/sh", "-c", "echo off >>%DIR%/order"]
`

// A shutdown that took longer than anybody thought teaches the next one: its slow step
// at once, the power-off from the real journal of the boot before.
func TestSlowShutdownTeachesTheNext(t *testing.T) {
	peer.Need(t, "journalctl")
	peer.Need(t, "systemd-journal-remote")
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(slowPlan, nil)
	eventually(t, "a decision", func() bool { return r.Status().NeedS == 2 })
	s.set("u1", ups("OB LB", 9, 20), nil)
	eventually(t, "the power-off", func() bool { return len(s.lines("order")) == 1 })
	began := monotonic()
	r.end()

	asked := s.rebooted()
	if asked == nil || asked.BootID != earlier || asked.Monotonic > began || began-asked.Monotonic > 5*time.Second {
		t.Fatalf("asked %+v, want it written a moment before %v", asked, began)
	}
	s.set("u1", ups("OL", 100, 3600), nil)
	release := make(chan struct{})
	reader := asked.endsAt(t, 42*time.Second, journaldStopped)
	r = s.run(slowPlan, func(o *Options) {
		o.Listen = "127.0.0.1:0"
		o.BootEnd = func(ctx context.Context, id string) (bootlog.End, error) {
			<-release
			return reader.End(ctx, id)
		}
	})
	eventually(t, "a decision", func() bool { return isClosed(r.Ready()) && r.Status().NeedS > 0 })
	if got := r.Status().NeedS; got < 2.5+2 {
		t.Errorf("need %g s at the next start, want at least the slow step's 2.5 s and the guess of 2 s", got)
	}
	close(release)
	eventually(t, "the power-off to be learned", func() bool { return r.Status().NeedS >= 54.5 })
	got := r.Status().Need
	if len(got.Steps) != 2 || got.Steps[1].Step != "power_off" || got.Steps[1].Runs != 1 || got.Measured ||
		!strings.Contains(got.Why, "power_off 52 s (largest of 1); configured 2 s") || !strings.Contains(got.PowerOff, "took 52.0 s") {
		t.Errorf("status says %+v, want a power-off of 42 s and 10 s allowed", got)
	}
	if got.Steps[0].Runs != 1 || got.Steps[0].TookS < 2.5 || got.Steps[0].Basis != shutdown.BasisLargest {
		t.Errorf("the slow step: %+v", got.Steps[0])
	}
	for _, want := range []string{`dodai_shutdown_step_need_seconds{step="power_off"} 52`, `dodai_shutdown_step_runs{step="slow"} 1`} {
		eventually(t, want, func() bool {
			code, body := get(t, "http://"+r.Addr().String()+"/metrics")
			return code == http.StatusOK && strings.Contains(body, want)
		})
	}
	r.end()

	for range 2 { // however often the agent starts, one shutdown is one run
		s.rebooted()
		r = s.run(slowPlan, with(func(context.Context, string) (bootlog.End, error) {
			t.Error("the journal was asked again")
			return bootlog.End{}, bootlog.ErrNone
		}))
		eventually(t, "a decision", func() bool { return r.Status().NeedS >= 54.5 })
		if n := r.Status().Need.Steps[1].Runs; n != 1 {
			t.Errorf("%d runs of the power-off after a restart, want 1", n)
		}
		r.end()
	}
	if n := s.count(dodai.EventShutdownFailed); n != 0 {
		t.Errorf("%d failures told", n)
	}
}

// down lets an agent go down and the machine boot again.
func (s *site) down() *powerOffAsked {
	s.t.Helper()
	st := s.step(plain, nil)
	st.low()
	st.end(st.ctx, st.loop.group)
	asked := s.rebooted()
	if asked == nil {
		s.t.Fatal("no power-off is remembered")
	}
	return asked
}

// next is the agent after the boot, once it has looked at the journal.
func (s *site) next(end func(context.Context, string) (bootlog.End, error)) *stepper {
	s.t.Helper()
	st := s.step(plain, with(end))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := st.runLearnPowerOff(st.ctx, st.loop.powerOff.before); err != nil {
			s.t.Error(err)
		}
	}()
	st.settle("the journal to be read", func() bool { return isClosed(done) })
	st.read("u1", ups("OL", 100, 3600))
	return st
}

// Power that goes before the machine is down is a protection that failed.
func TestPowerLostBeforeDark(t *testing.T) {
	s := newSite(t)
	asked := s.down()
	st := s.next(asked.endsAt(t, 33*time.Second, "").End)
	if n := st.count(dodai.EventShutdownFailed); n != 1 || !s.logged("lost power before it was down: its journal breaks off 33.0 s after") {
		t.Errorf("told %d times that the power went first, want once, and loud", n)
	}
	if runs := st.store.durations(shutdown.PowerOffStep); !slices.Equal(runs, []shutdown.Measured{{Took: 33 * time.Second}}) {
		t.Errorf("runs %+v, want one of 33 s, not complete", runs)
	}
	if got := st.Status(); got.NeedS < 33 || got.Need.Steps[2].Basis != shutdown.BasisCutOff || got.Need.Measured {
		t.Errorf("need %g s, %+v; want at least the 33 s", got.NeedS, got.Need)
	}
	st.end(st.ctx, st.loop.group)
	st = s.next(asked.endsAt(t, time.Hour, "").End)
	if n := st.count(dodai.EventShutdownFailed); n != 1 || len(st.store.durations(shutdown.PowerOffStep)) != 1 {
		t.Errorf("told %d times after another start, want once", n)
	}
}

func TestNothingIsLearned(t *testing.T) {
	tests := map[string]struct {
		end  bootlog.End
		err  error
		want string
	}{
		"no journal":            {err: bootlog.ErrNone, want: "not measured: " + bootlog.ErrNone.Error()},
		"no sense":              {err: bootlog.ErrOutput, want: "not measured: " + bootlog.ErrOutput.Error()},
		"it ran on for a day":   {end: bootlog.End{At: 24 * 365 * time.Hour, How: bootlog.Stopped}, want: "the machine ran on for"},
		"it ran on and crashed": {end: bootlog.End{At: 24 * 365 * time.Hour, How: bootlog.BrokeOff}, want: "the machine ran on for"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			asked := s.down()
			var ids []string
			st := s.next(func(_ context.Context, id string) (bootlog.End, error) {
				ids = append(ids, id)
				return tt.end, tt.err
			})
			if got := st.Status().Need.PowerOff; !strings.Contains(got, tt.want) {
				t.Errorf("status says %q, want %q", got, tt.want)
			}
			if n := len(st.store.durations(shutdown.PowerOffStep)); n != 0 || !slices.Equal(ids, []string{asked.BootID}) {
				t.Errorf("%d runs, asked for boots %v; want none, and once for %s", n, ids, asked.BootID)
			}
			if st.count(dodai.EventShutdownFailed) != 0 || st.Status().NeedS < 20 {
				t.Errorf("need %g s, want no less than configured; events %v", st.Status().NeedS, st.story())
			}
		})
	}
}

// A machine that stayed up measures nothing, whenever and however it is booted later.
func TestPowerOffThatWasCalledOff(t *testing.T) {
	stay := map[string]func(*stepper){
		"power came back": func(st *stepper) {
			for range 60 {
				st.pass(time.Second)
				st.read("u1", ups("OL", 80, 3000))
			}
		},
		"on battery for long": func(st *stepper) {
			st.pass(stayedUp + time.Second)
			st.read("u1", ups("OB LB", 9, 20))
		},
	}
	for name, f := range stay {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			st := s.step(plain, nil)
			st.low()
			if st.loop.powerOff.asked == nil {
				t.Fatal("no power-off is known to have been asked for")
			}
			f(st)
			if got := st.Status().Need.PowerOff; st.loop.powerOff.asked != nil || !strings.Contains(got, "the machine stayed up") {
				t.Errorf("after that %+v, status says %q", st.loop.powerOff.asked, got)
			}
			flushed(t, st.store)
			st.end(st.ctx, st.loop.group)
			if asked := s.rebooted(); asked != nil {
				t.Errorf("on the disk there is still %+v", asked)
			}
		})
	}
	s := newSite(t)
	st := s.step(plain, nil)
	st.loop.down = &downState{stamp: st.stamp(), Reason: "lb", Done: []string{"one", "two"}}
	st.saveDown()
	st.recordPowerOff(shutdown.Progress{})
	st.end(st.ctx, st.loop.group)
	st = s.step(withMode(plain, "observe"), nil)
	if st.loop.powerOff.asked == nil {
		t.Fatal("the power-off is forgotten by a restart")
	}
	st.resumeDown()
	if st.loop.powerOff.asked != nil {
		t.Error("disarmed, and the power-off still stands")
	}
}

// An agent that was restarted asks again; it began with the first time.
func TestPowerOffAskedTwice(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.loop.down = &downState{stamp: st.stamp(), Reason: "lb", Done: []string{"one"}}
	st.saveDown()
	st.recordPowerOff(shutdown.Progress{})
	first := *st.loop.powerOff.asked
	st.end(st.ctx, st.loop.group)
	st = s.step(plain, nil)
	st.resumeDown()
	st.idle()
	if got := s.lines("order"); !slices.Equal(got, []string{"two", "off"}) {
		t.Fatalf("the plan went on as %q", got)
	}
	if got := st.loop.powerOff.asked; got == nil || got.Monotonic != first.Monotonic || got.At != first.At {
		t.Errorf("asked %+v, want the first time, %+v", got, first)
	}
}

// A journal that hangs holds up neither the start nor the end.
func TestHangingBootLog(t *testing.T) {
	s := newSite(t)
	s.down()
	s.set("u1", ups("OL", 100, 3600), nil)
	began := time.Now()
	r := s.run(plain, with(func(ctx context.Context, _ string) (bootlog.End, error) {
		<-ctx.Done()
		return bootlog.End{}, context.Cause(ctx)
	}))
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("ready after %v", took)
	}
	if took := r.end(); took > time.Second {
		t.Errorf("the end took %v", took)
	}
}

// A journal that does not answer is asked again a few times, a minute apart.
func TestBootLogIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		a := &Agent{log: slog.New(slog.DiscardHandler), calls: make(chan func())}
		a.opts.BootEnd = func(context.Context, string) (bootlog.End, error) {
			at = append(at, time.Since(began))
			time.Sleep(10 * time.Second)
			return bootlog.End{}, bootlog.ErrTimeout
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for {
				select {
				case f := <-a.calls:
					f()
				case <-ctx.Done():
					return
				}
			}
		}()
		if err := a.runLearnPowerOff(ctx, &powerOffAsked{stamp: stamp{BootID: earlier}, Monotonic: 1}); err != nil {
			t.Error(err)
		}
		cancel()
		synctest.Wait()
		if want := []time.Duration{0, 70 * time.Second, 140 * time.Second, 210 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("asked at %v, want %v", at, want)
		}
		if !strings.Contains(a.loop.powerOff.note, "not measured: "+bootlog.ErrTimeout.Error()) {
			t.Errorf("status would say %q", a.loop.powerOff.note)
		}
	})
}

// The steps that a rehearsal walks past, and the power-off, are no runs of them; the early
// step that it really ran and undid is one.
func TestRehearsalTeachesWhatItRan(t *testing.T) {
	t.Parallel() // it waits more than it works
	_, r := drillSite(t)
	id := r.begin("monthly", "rehearsal")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if report, _ := r.Report(id); report != nil {
			break
		}
	}
	if r.finished(id).Verdict != "pass" {
		t.Fatal("the rehearsal was not passed")
	}
	for step, want := range map[string]int{"shed": 1, "gone": 0, "late": 0, shutdown.PowerOffStep: 0} {
		if got := len(r.store.durations(step)); got != want {
			t.Errorf("%d runs of %s, want %d", got, step, want)
		}
	}
}

// Whoever is told of the decision is told what the need is made of.
func TestDecisionSaysNeed(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.store.measured(shutdown.Progress{Step: "one", Phase: shutdown.PhaseDone, Took: 40 * time.Second}, time.Now())
	st.measureNeed()
	st.low()
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.events, func(ev dodai.Event) bool { return ev.Name == dodai.EventShutdownDecided })
	if i < 0 || s.events[i].Fields["need_parts"] != "one 40 s, two 0 s, power_off 20 s" || s.events[i].Fields["need_s"] != 60.0 {
		t.Errorf("event %s, want the parts of the need in it", strconv.Quote(s.events[i].Text))
	}
}
