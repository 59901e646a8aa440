package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers"
)

// mended is a plan whose program may be missing, and with it the power-off's.
const mended = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}]
shutdown:
  steps: [{name: one, command: ["%DIR%/one"]}]
  command: ["%DIR%/off"]
`

func (s *site) program(name string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(name), []byte("#!/bin/sh\n"), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// alert is the text of the standing alert; empty: it does not stand.
func (r *running) alert(id policy.AlertID) string {
	for _, al := range r.Status().Alerts {
		if al.Alert == id {
			return al.Text
		}
	}
	return ""
}

func (r *running) preflight() *PreflightResult {
	r.t.Helper()
	p, err := r.Preflight(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// What is found is told once when it changes, stands while it does, and is told to be
// over.
func TestPreflightStory(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	s.program("off")
	r := s.run(mended, func(o *Options) { o.Socket = s.file("a.sock") })
	eventually(t, "the alert", func() bool { return r.alert(alertPreflight) != "" })
	if text := r.alert(alertPreflight); !strings.Contains(text, "the way down would not work as planned: one: ") || !strings.Contains(text, s.file("one")) {
		t.Errorf("alert %q, want the step and its cause", text)
	}
	r.preflight() // the same again
	s.program("one")
	p := r.preflight()
	if !p.OK || len(p.Findings) != 0 || len(p.Steps) != 2 || p.Steps[1].Step != shutdown.PowerOffStep || p.User == "" || r.alert(alertPreflight) != "" {
		t.Errorf("mended: %+v, alert %q", p, r.alert(alertPreflight))
	}
	os.Remove(s.file("one"))
	os.Remove(s.file("off"))
	if p := r.preflight(); len(p.Findings) != 2 || p.Findings[0].Fatal || !p.Findings[1].Fatal {
		t.Errorf("both gone: %+v", p.Findings)
	}
	s.program("off")
	r.preflight()
	sameStory(t, r.story(), "preflight_failed", "preflight_passed", "preflight_failed", "preflight_failed")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.events {
		if ev.Name == dodai.EventPreflightFailed && (ev.Fields["findings"] == nil || !strings.Contains(ev.Fields["first"].(string), s.dir)) {
			t.Errorf("event %+v, want how many and the first", ev)
		}
	}
}

// A healthy plan gives no event and no alert.
func TestPreflightHealthy(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, nil)
	eventually(t, "a preflight at the start", func() bool { return r.View().Preflight != nil })
	st := r.Status()
	if p := st.Preflight; p == nil || !p.OK || st.State != "normal" || len(st.Alerts) != 0 || r.readyNow() != nil {
		t.Errorf("status %s, preflight %+v, alerts %+v, ready: %v", st.State, p, st.Alerts, r.readyNow())
	}
	sameStory(t, r.story())
}

// A machine that could not be powered off is not ready, where it is to be.
func TestPreflightReady(t *testing.T) {
	for _, mode := range []string{"armed", "observe"} {
		s := newSite(t)
		s.set("u1", ups("OL", 100, 3600), nil)
		s.program("one")
		r := s.run(withMode(mended, mode), nil)
		eventually(t, "a preflight at the start", func() bool { return r.View().Preflight != nil })
		err := r.readyNow()
		if mode == "observe" {
			if err != nil {
				t.Errorf("observe: %v", err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "could not be powered off") || !strings.Contains(err.Error(), s.file("off")) {
			t.Errorf("ready: %v, want the true cause", err)
		}
		s.program("off")
		r.preflight()
		if err := r.readyNow(); err != nil {
			t.Errorf("mended: %v", err)
		}
	}
}

func TestPreflightAPI(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, func(o *Options) { o.Socket, o.Listen = s.file("a.sock"), "127.0.0.1:0" })
	eventually(t, "a preflight at the start", func() bool { return r.View().Preflight != nil })
	first := r.View().Preflight.At
	c := local(s.file("a.sock"))
	var p PreflightResult
	for _, tc := range []struct {
		method string
		code   int
		newer  bool
	}{{"GET", 200, false}, {"POST", 200, true}, {"GET", 200, true}} {
		code, body := ask(t, c, tc.method, "/v1/preflight", "")
		if err := json.Unmarshal([]byte(body), &p); code != tc.code || err != nil || p.At.After(first) != tc.newer || !p.OK {
			t.Errorf("%s /v1/preflight: %d %s %v", tc.method, code, body, err)
		}
	}
	if _, page := ask(t, c, "GET", "/metrics", ""); !strings.Contains(page, "\ndodai_preflight_ok 1\n") {
		t.Error("the metrics do not say that it was passed")
	}
	if code, body := ask(t, c, "DELETE", "/v1/preflight", ""); code != 405 || !strings.Contains(body, "POST") {
		t.Errorf("DELETE: %d %s", code, body)
	}
}

// A new configuration is tried at once.
func TestPreflightAfterReload(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, func(o *Options) {
		o.Reload = func() (*config.Config, error) {
			return s.parse(strings.Replace(plain, `"/bin/sh"`, `"%DIR%/gone"`, 1)), nil
		}
	})
	eventually(t, "a preflight at the start", func() bool { return r.View().Preflight != nil })
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new plan's fault", func() bool { return strings.Contains(r.alert(alertPreflight), s.file("gone")) })
}

// Where nothing is to be stopped there is nothing to prove, until a plan is written down.
func TestPreflightWithoutAPlan(t *testing.T) {
	const bare = "mode: observe\nups: [{name: u1, driver: fake, poll: 20ms}]\n"
	const planned = bare + "shutdown: {steps: [{name: one, command: [\"%DIR%/one\"]}], command: [\"/bin/true\"]}\n"
	var next atomic.Value
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(bare, func(o *Options) {
		o.Reload = func() (*config.Config, error) { return s.parse(next.Load().(string)), nil }
	})
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	reload := func(text string) {
		t.Helper()
		next.Store(text)
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reload(planned)
	eventually(t, "the fault in the plan", func() bool { return r.alert(alertPreflight) != "" })
	reload(bare)
	eventually(t, "the end of the alert", func() bool { return r.alert(alertPreflight) == "" && r.View().Preflight == nil })
	sameStory(t, r.story(), "config_reloaded", "preflight_failed", "config_reloaded")
}

// Before a drill the plan is tried: without a power-off a rehearsal proves nothing.
func TestPreflightBeforeDrills(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(mended, nil)
	eventually(t, "a preflight at the start", func() bool { return r.View().Preflight != nil })
	report := r.finished(r.begin("low_battery", "rehearsal"))
	if report.Verdict != drill.Refused || !strings.Contains(report.Why, "preflight: power_off: ") || strings.Contains(report.Why, "preflight: one") {
		t.Errorf("rehearsal without a power-off: %s, %s", report.Verdict, report.Why)
	}
	report = r.finished(r.begin("low_battery", "tabletop"))
	if report.Verdict != drill.Pass || len(report.Timeline) < 3 || report.Timeline[0].What != "note" || !strings.Contains(report.Timeline[0].Text, "preflight: one: ") {
		t.Errorf("tabletop: %s, %s; time line %+v; want the findings noted first", report.Verdict, report.Why, report.Timeline)
	}
}

// What early steps have stopped is missing on purpose: nobody is told, and a preflight
// does not run by itself.
func TestPreflightDisturbed(t *testing.T) {
	s := newSite(t)
	st := s.step(mended, nil)
	st.loop.earlyDone["shed"] = true
	var p *PreflightResult
	done := make(chan error, 1)
	go func() {
		var err error
		p, err = st.Preflight(t.Context())
		done <- err
	}()
	st.settle("the preflight", func() bool { return len(done) > 0 })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(p.Findings) != 2 || len(p.Notes) == 0 || !strings.Contains(p.Notes[len(p.Notes)-1], "early steps have been run") {
		t.Errorf("answer %+v, want the findings and a note", p)
	}
	if st.loop.preflight.last != nil || len(st.story()) != 0 {
		t.Errorf("it is remembered: %+v, %v", st.loop.preflight.last, st.story())
	}
	again := make(chan time.Duration, 1)
	go func() { again <- st.preflightByItself(t.Context()) }()
	st.settle("no preflight", func() bool { return len(again) > 0 })
	if wait := <-again; wait != preflightLater || st.loop.preflight.last != nil {
		t.Errorf("by itself: again in %v, %+v", wait, st.loop.preflight.last)
	}
}

// cutter is a driver that would cut the UPS's output, or says why not.
type cutter struct {
	drivers.Driver
	err  error
	hang chan struct{}
	told *atomic.Int64 // the cut it was asked about
}

func (c cutter) CheckCut(_ context.Context, cut drivers.Cut) error {
	if c.hang != nil {
		<-c.hang
	}
	c.told.Store(int64(cut.Off))
	return c.err
}
func (c cutter) Cut(context.Context, drivers.Cut) (drivers.Cut, error) { panic("cut by a preflight") }
func (c cutter) StopCut(context.Context) error                         { panic("called off by a preflight") }

// cutting lets the devices of these names be told to cut.
func (s *site) cutting(devices map[string]cutter) func(string) (drivers.Factory, bool) {
	return func(name string) (drivers.Factory, bool) {
		f, ok := s.find(name)
		inner := f.New
		f.New = func(cfg drivers.Config) (drivers.Driver, error) {
			d, err := inner(cfg)
			c, cuts := devices[cfg.Device]
			if err != nil || !cuts {
				return d, err
			}
			c.Driver = d
			return c, nil
		}
		return f, ok
	}
}

const cuttable = `
mode: armed
policy: {min_supplies: 1}
ups:
  - {name: good, driver: fake, poll: 20ms, killpower: true}
  - {name: denied, driver: fake, poll: 20ms, killpower: true}
  - {name: plain, driver: fake, poll: 20ms, killpower: true}
  - {name: others, driver: fake, poll: 20ms}
shutdown: {need: 20s, reserve: 10s, power_off: {expect: 25s}, command: ["/bin/true"]}
`

func TestPreflightKillPower(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"good", "denied", "plain", "others"} {
		s.set(name, ups("OL", 100, 3600), nil)
	}
	var told atomic.Int64
	find := s.cutting(map[string]cutter{
		"good":   {told: &told},
		"denied": {told: new(atomic.Int64), err: &drivers.Error{Driver: "fake", Device: "denied", Op: "shutdown.return", Err: drivers.ErrDenied}},
	})
	check := func(who string, p *PreflightResult) {
		t.Helper()
		var got []string
		for _, f := range p.Findings {
			got = append(got, f.Step+" "+f.Device+" "+f.Check+": "+f.Text)
		}
		want := []string{
			"killpower denied cut_refused: denied would not cut its output: ",
			"killpower plain cannot_cut: driver fake cannot tell plain to cut its output",
		}
		if len(got) != len(want) || len(p.Steps) != 4 || p.Steps[1].Step != killPowerStep {
			t.Fatalf("%s: findings %q in %d steps", who, got, len(p.Steps))
		}
		for i := range want {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%s: finding %q, want %q", who, got[i], want[i])
			}
		}
		if off := time.Duration(told.Load()); off != cutAfter {
			t.Errorf("%s: asked about a cut after %v, want %v", who, off, cutAfter)
		}
	}
	r := s.run(cuttable, func(o *Options) { o.Find = find })
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	check("agent", r.preflight())
	r.end()
	told.Store(0)
	alone, err := PreflightAlone(t.Context(), s.parse(cuttable), find, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	check("alone", alone)
	if d := s.device("good"); d.open != 0 {
		t.Errorf("%d drivers are left open", d.open)
	}
	if d := s.device("others"); d.open != 0 {
		t.Errorf("a UPS that is none of its business is open %d times", d.open)
	}
}

// A driver that hangs holds up neither the decisions nor, for ever, the preflight.
func TestPreflightBesideTheLoop(t *testing.T) {
	s := newSite(t)
	s.set("good", ups("OL", 100, 3600), nil)
	hang := make(chan struct{})
	defer close(hang)
	cfg := strings.Replace(cuttable, "  - {name: denied, driver: fake, poll: 20ms, killpower: true}\n  - {name: plain, driver: fake, poll: 20ms, killpower: true}\n", "", 1)
	s.set("others", ups("OL", 100, 3600), nil)
	r := s.run(cfg, func(o *Options) {
		o.Find = s.cutting(map[string]cutter{"good": {told: new(atomic.Int64), hang: hang}})
	})
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	if _, err := r.Preflight(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Preflight = %v, want it given up", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := r.healthy(); err != nil {
		t.Errorf("while a check hangs: %v", err)
	}
	polls := r.Status().Devices[1].Polls
	eventually(t, "the other UPS to be read on", func() bool { return r.Status().Devices[1].Polls > polls })
}

// A UPS behind the network has to wait until the machine is down.
func TestPreflightCut(t *testing.T) {
	s := newSite(t)
	cfg := s.parse(strings.Replace(cuttable, "reserve: 10s", "reserve: 50s", 1))
	need := (&shutdown.Plan{PowerOff: shutdown.PowerOff{Expect: 25 * time.Second}}).Need(nil, 0, nil)
	for local, want := range map[bool]time.Duration{true: cutAfter, false: 75 * time.Second} {
		find := func(string) (drivers.Factory, bool) { return drivers.Factory{Local: local}, true }
		if got := (preflight{cfg: cfg, find: find, need: need}).cut(cfg.UPS[0]); got.Off != want || got.On != returnAfter {
			t.Errorf("local %v: %+v, want it off after %v", local, got, want)
		}
	}
}

func TestPreflightNotes(t *testing.T) {
	dir := t.TempDir()
	clocks := filepath.Join(dir, "rtc*", "wakealarm")
	rtc := func() {
		if err := os.MkdirAll(filepath.Join(dir, "rtc0"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "rtc0", "wakealarm"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(t)
	for _, tt := range []struct {
		name, text string
		rtc, note  bool
	}{
		{"observe", withMode(plain, "observe"), false, false},
		{"nothing wakes it", plain, false, true},
		{"a UPS that cuts", strings.Replace(plain, "poll: 20ms", "poll: 20ms, killpower: true", 1), false, false},
		{"a clock", plain, true, false},
		{"a clock that is not to", strings.Replace(plain, "need: 20s", "need: 20s\n  wake: false", 1), true, true},
	} {
		if tt.rtc {
			rtc()
		}
		notes := preflight{cfg: s.parse(tt.text)}.notes(clocks)
		if (len(notes) == 1) != tt.note || tt.note && !strings.Contains(notes[0], "no way back") {
			t.Errorf("%s: notes %q", tt.name, notes)
		}
	}
}

func TestLateCommand(t *testing.T) {
	root := t.TempDir()
	if f := lateCommand("u1", root); f != nil {
		t.Errorf("%+v where systemd is not init", f)
	}
	hook := filepath.Join(root, "usr/lib/systemd/system-shutdown/dodai")
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755), os.MkdirAll(filepath.Dir(hook), 0o755)); err != nil {
		t.Fatal(err)
	}
	if f := lateCommand("u1", root); f == nil || f.Check != "late_command_missing" || f.Device != "u1" || !strings.Contains(f.Text, "no such file") {
		t.Errorf("%+v, want that the command is missing", f)
	}
	if err := os.WriteFile(hook, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := lateCommand("u1", root); f == nil || !strings.Contains(f.Text, "cannot be executed") {
		t.Errorf("%+v, want that it cannot be executed", f)
	}
	if err := os.Chmod(hook, 0o755); err != nil {
		t.Fatal(err)
	}
	if f := lateCommand("u1", root); f != nil {
		t.Errorf("%+v, want nothing", f)
	}
}
