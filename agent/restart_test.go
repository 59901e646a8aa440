package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// wish leaves what an upgrade leaves.
func (s *site) wish(text string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(restartFile), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) inRunDir(o *Options) { o.RunDir = s.dir }

// quiet is a configuration of one UPS, and no plan.
const quiet = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}]
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
shutdown: {need: 20s, reserve: 10s, command: ["/bin/true"]}
`

// TestRestartWhenCalm: a wish that is older than the agent is taken away; one that comes
// while it is on battery waits, says so, and is fulfilled when the mains are back. The end
// is an event with its reason, and no end that has to be explained.
func TestRestartWhenCalm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	s.wish("0.0.1\n")
	r := s.run(quiet, s.inRunDir)
	eventually(t, "the old wish to be taken away", func() bool {
		_, err := os.Stat(s.file(restartFile))
		return os.IsNotExist(err)
	})
	s.set("u1", ups("OB", 90, 3000), nil)
	eventually(t, "the outage", func() bool { return onBattery(r.View().Decision) })
	s.wish("dodai 1.2.3 (commit abc, today, go linux/amd64)\n")
	eventually(t, "the restart to wait", func() bool { return r.Status().Restart != nil })
	if got := r.Status().Restart; got.Version != "1.2.3" || got.Until != "the mains are back for good" || got.ForS < 0 {
		t.Errorf("restart %+v, want version 1.2.3 until the mains are back", got)
	}
	select {
	case err := <-r.ended:
		t.Fatalf("the agent ended on battery: %v", err)
	case <-time.After(2 * restartLook):
	}
	s.set("u1", ups("OL", 90, 3000), nil)
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
		r.ended <- nil
	case <-time.After(20 * time.Second):
		t.Fatal("the agent does not end though the mains are back")
	}
	s.mu.Lock()
	last := s.events[len(s.events)-1]
	s.mu.Unlock()
	if last.Name != dodai.EventAgentStopped || !strings.Contains(last.Text, "version 1.2.3") {
		t.Errorf("last event %+v, want agent_stopped with the version that lies ready", last)
	}
}

// TestRestartWishIsTakenBack: who removes the file has changed his mind.
func TestRestartWishIsTakenBack(t *testing.T) {
	s := newSite(t)
	st := s.step(quiet, nil)
	st.read("u1", ups("OB", 90, 3000))
	if st.wishRestart(&restartWish{}) {
		t.Fatal("ready on battery")
	}
	st.decide()
	if got := st.Status().Restart; got == nil || got.Version != "" {
		t.Errorf("restart %+v, want one without a version", got)
	}
	st.wishRestart(nil)
	st.decide()
	if got := st.Status().Restart; got != nil {
		t.Errorf("restart %+v after the wish was taken back", got)
	}
}

// TestUnderWay: each thing that a restart would disturb holds it up, and nothing else does.
func TestUnderWay(t *testing.T) {
	tests := []struct {
		name  string
		make  func(*stepper)
		until string // part of it
	}{
		{"nothing", func(*stepper) {}, ""},
		{"not heard yet", func(st *stepper) { st.loop.readyTold = false }, "asked once"},
		{"on battery", func(st *stepper) { st.read("u1", ups("OB", 90, 3000)) }, "mains"},
		{"silent on battery", func(st *stepper) {
			st.read("u1", ups("OB", 90, 3000))
			for range 3 {
				st.pass(time.Second)
				dev := *st.loop.snap.Device("u1")
				dev.Err, dev.Failures = "gone", dev.Failures+1
				st.apply(update{from: st.loop.generation, device: &dev})
				st.decide()
			}
		}, "mains"},
		{"would shut down", func(st *stepper) { st.loop.decision.Shutdown = true }, "go down"},
		{"shutdown", func(st *stepper) { st.loop.down = &downState{} }, "shutdown is over"},
		{"powered off and still here", func(st *stepper) { st.loop.down = &downState{Finished: true} }, "shutdown is over"},
		{"called off", func(st *stepper) { st.loop.down = &downState{Off: "by root"} }, "undone"},
		{"early steps run", func(st *stepper) { st.loop.earlyBusy = true }, "early steps"},
		{"early steps done", func(st *stepper) { st.loop.earlyDone["shed"] = true }, "early steps"},
		{"a step by hand", func(st *stepper) {
			run, err := st.drill.take("web", st.clock())
			if err != nil {
				st.t.Fatal(err)
			}
			st.t.Cleanup(func() { st.drill.give(run) })
		}, "web (step) is over"},
		{"preflight", func(st *stepper) {
			st.checks.slot <- struct{}{}
			st.t.Cleanup(func() { <-st.checks.slot })
		}, "preflight"},
		{"boot hold", func(st *stepper) { st.loop.decision.BootHold = true }, "heavy services"},
		{"maintenance", func(st *stepper) { st.work(time.Hour) }, ""},
		{"maintenance without a journal", func(st *stepper) {
			st.work(time.Hour)
			st.store.note(errDisk)
		}, "maintenance"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			st := s.step(quiet, nil)
			st.read("u1", ups("OL", 100, 3600))
			tt.make(st)
			got := st.underWay()
			if tt.until == "" && got != "" || !strings.Contains(got, tt.until) {
				t.Errorf("waits until %q, want %q", got, tt.until)
			}
			if ready := st.wishRestart(&restartWish{version: "2.0"}); ready != (tt.until == "") {
				t.Errorf("ready %v while it waits until %q", ready, got)
			}
		})
	}
}

// TestWishThatCannotBeRemoved: it must not be a restart each second.
func TestWishThatCannotBeRemoved(t *testing.T) {
	s := newSite(t)
	st := s.step(quiet, nil)
	path := s.file(restartFile)
	if err := os.MkdirAll(filepath.Join(path, "child"), 0o700); err != nil { // a folder that is not empty
		t.Fatal(err)
	}
	old := st.takeWish(path)
	if old == nil || !s.logged("cannot be removed") {
		t.Error("nothing was said of a wish that cannot be removed")
	}
	if readWish(path, nil) != nil {
		t.Error("a folder is no wish")
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	s.wish("1")
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if readWish(path, info) != nil {
		t.Error("the wish that could not be removed counts again")
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if w := readWish(path, info); w == nil || w.version != "1" {
		t.Errorf("a new wish: %+v", w)
	}
}

func TestReadWish(t *testing.T) {
	s := newSite(t)
	for text, want := range map[string]string{
		"": "", "\n": "", "1.2.3": "1.2.3", "1.2.3\nmore\n": "1.2.3", "dodai 1.2.3 (commit x)": "1.2.3", "dodai": "dodai",
		"\x1b[2J": "\ufffd[2J", strings.Repeat("9", 1000): strings.Repeat("9", maxWish),
	} {
		s.wish(text)
		if got := readWish(s.file(restartFile), nil); got == nil || got.version != want {
			t.Errorf("%q: %+v: want %q", text, got, want)
		}
	}
	if readWish(s.file("nothing"), nil) != nil {
		t.Error("a wish where there is none")
	}
}

// TestRestartForTheJournal: an agent that began without a journal ends, when nothing is under
// way, as soon as one could be opened, where somebody starts it again; elsewhere it stays.
func TestRestartForTheJournal(t *testing.T) {
	for _, watched := range []bool{true, false} {
		s := newSite(t)
		if err := os.WriteFile(s.file("state"), nil, 0o600); err != nil { // a file in its place
			t.Fatal(err)
		}
		st := s.step(quiet, func(o *Options) {
			if watched {
				o.Watchdog = time.Minute
			}
		})
		if st.journalBack(t.Context()) {
			t.Error("a file counts as a journal")
		}
		if err := os.Remove(s.file("state")); err != nil {
			t.Fatal(err)
		}
		if back := st.journalBack(t.Context()); back != watched {
			t.Errorf("with a service manager %v: ends %v", watched, back)
		}
	}
	s := newSite(t)
	st := s.step(quiet, func(o *Options) { o.Watchdog = time.Minute })
	if st.journalBack(t.Context()) {
		t.Error("an agent that has a journal ends for it")
	}
	st.read("u1", ups("OL", 100, 3600))
	if w := (&restartWish{journal: true}); !st.wishRestart(w) || !strings.Contains(*st.leaving.Load(), "journal") {
		t.Errorf("%+v does not end the agent, or does not say why", w)
	}
}
