package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/drivers"
)

// cutLog is what UPSes were told.
type cutLog struct {
	mu      sync.Mutex
	told    map[string]drivers.Cut
	stopped map[string]int
	err     error
	longest time.Duration // that a unit can wait; 0: whatever it is told
	wait    chan struct{} // when not nil a cut waits for it
}

// unit is a UPS that cuts its output.
type unit struct {
	drivers.Driver
	name string
	*cutLog
}

func (u unit) CheckCut(context.Context, drivers.Cut) error { return nil }

func (u unit) Cut(_ context.Context, c drivers.Cut) (drivers.Cut, error) {
	if u.wait != nil {
		<-u.wait
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return drivers.Cut{}, u.err
	}
	if u.longest > 0 {
		c.Off = min(c.Off, u.longest)
	}
	u.told[u.name] = c
	return c, nil
}

func (u unit) StopCut(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped[u.name]++
	return nil
}

func (c *cutLog) count() (told, stopped int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.stopped {
		stopped += n
	}
	return len(c.told), stopped
}

// killing is an agent whose UPSes can be told to cut their output; those called net… are
// behind the network.
func (s *site) killing(c *cutLog) func(*Options) {
	c.told, c.stopped = map[string]drivers.Cut{}, map[string]int{}
	return func(o *Options) {
		o.RunDir, o.Clocks = s.file("run"), s.file("rtc")
		o.Find = func(name string) (drivers.Factory, bool) {
			f, ok := s.find("fake")
			inner := f.New
			f.Local = name != "net"
			f.New = func(cfg drivers.Config) (drivers.Driver, error) {
				d, err := inner(cfg)
				return unit{Driver: d, name: cfg.Device, cutLog: c}, err
			}
			return f, ok
		}
		for i := range o.Config.UPS {
			if d := &o.Config.UPS[i]; strings.HasPrefix(d.Name, "net") {
				d.Driver = "net"
			}
		}
	}
}

func (s *site) killState() *killpower.State {
	st, err := killpower.Read(s.file("run"), collectors.BootID(), killpower.Boottime())
	if err != nil && !errors.Is(err, killpower.ErrNoState) {
		s.t.Errorf("state: %v", err)
	}
	return st
}

const cutArmed = `
mode: armed
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
ups:
  - {name: u1, driver: fake, poll: 20ms, port: /dev/ttyS7, killpower: true}
shutdown: {need: 20s, reserve: 10s, power_off: {expect: 25s}, command: ["/bin/true"]}
`

func TestArmKillPower(t *testing.T) {
	s := newSite(t)
	st := s.step(cutArmed, s.killing(&cutLog{}))
	st.read("u1", ups("OL", 100, 3600))
	if s.killState() != nil {
		t.Fatal("a state without a decision")
	}
	st.low()
	got := s.killState()
	if got == nil {
		t.Fatal("no state after the decision")
	}
	want := &killpower.State{
		Version: 1, BootID: collectors.BootID(), Reason: "lb", Wake: &killpower.Wake{},
		UPS: []killpower.UPS{{
			Name: "u1", Driver: "fake", Options: map[string]string{"port": "/dev/ttyS7"}, Local: true, Feeds: true,
			Cut: &drivers.Cut{Off: time.Minute, On: 3 * time.Minute}, Mains: killpower.MainsAbsent,
		}},
	}
	if left := got.End - got.At; got.Text == "" || left < 0 || left > 20*time.Second {
		t.Errorf("text %q, battery ends in %v: want a text and at most 20 s", got.Text, left)
	}
	got.At, got.Text, got.End, got.Reason = 0, "", 0, "lb"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for st.loop.down != nil { // the machine stays up
		st.pass(time.Second)
		st.read("u1", ups("OL", 80, 3000))
	}
	if s.killState() != nil {
		t.Error("the state is left although the machine stays up")
	}
}

func TestNothingToArm(t *testing.T) {
	other := strings.Replace(cutArmed, ", killpower: true", "", 1)
	tests := map[string]struct {
		text   string
		change func(*Options)
		want   bool
	}{
		"observe":               {withMode(cutArmed, "observe"), func(*Options) {}, false},
		"no run directory":      {cutArmed, func(o *Options) { o.RunDir = "" }, false},
		"walked through":        {cutArmed, func(o *Options) { o.Rehearse = true }, false},
		"nobody cuts nor wakes": {strings.Replace(other, "need: 20s", "need: 20s, wake: false", 1), func(*Options) {}, false},
		"only the clock":        {other, func(*Options) {}, true},
		"only the UPS":          {strings.Replace(cutArmed, "need: 20s", "need: 20s, wake: false", 1), func(*Options) {}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			st := s.step(tt.text, func(o *Options) { s.killing(&cutLog{})(o); tt.change(o) })
			st.low()
			if got := s.killState() != nil; got != tt.want {
				t.Errorf("state there: %v, want %v", got, tt.want)
			}
		})
	}
}

// TestArmFails: the shutdown goes on, and somebody hears of it.
func TestArmFails(t *testing.T) {
	s := newSite(t)
	if err := os.WriteFile(s.file("run"), nil, 0o644); err != nil { // no folder
		t.Fatal(err)
	}
	st := s.step(cutArmed, s.killing(&cutLog{}))
	st.low()
	if n := s.count(dodai.EventKillPower); n == 0 || s.count(dodai.EventPowerOff) != 1 {
		t.Errorf("%d kill_power events in %v, want one at least, and the power-off", n, st.story())
	}
}

func TestCarriers(t *testing.T) {
	s := newSite(t)
	cfg := s.parse(`
ups: [{name: rack, driver: fake, fed_by: room}, {name: room, driver: fake}, {name: b, driver: fake}, {name: lab, driver: fake}]
wiring: [{psu: "1", ups: rack, feed: A}, {psu: "2", ups: b, feed: B}]
`)
	feeds, carries := carriers(cfg)
	if diff := cmp.Diff(map[string]bool{"rack": true, "b": true}, feeds); diff != "" {
		t.Errorf("feeds: %s", diff)
	}
	if diff := cmp.Diff(map[string]bool{"rack": true, "b": true, "room": true}, carries); diff != "" {
		t.Errorf("carries: %s", diff)
	}
	cfg.Wiring = nil
	if feeds, _ = carriers(cfg); feeds["room"] || !feeds["rack"] || !feeds["lab"] {
		t.Errorf("without wiring %v feed, want each that feeds no other", feeds)
	}
}

const twoNets = `
mode: armed
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0, min_supplies: 1}
ups:
  - {name: net1, driver: fake, poll: 20ms, killpower: true}
  - {name: net2, driver: fake, poll: 20ms, killpower: true}
shutdown:
  need: 20s
  reserve: 10s
  power_off: {expect: 25s}
  command: ["/bin/true"]
  steps: [{name: wait, timeout: 30s, command: ["/bin/sh", "-c", "while ! [ -e %DIR%/go ]; do sleep 0.02; done"]}]
`

// armed runs an agent until it has decided; goOn lets it come to the power-off.
func (s *site) armed(text string, c *cutLog, names ...string) *running {
	s.t.Helper()
	for _, name := range names {
		s.set(name, ups("OB LB", 5, 10), nil)
	}
	r := s.run(text, s.killing(c))
	eventually(s.t, "the decision", func() bool { return s.killState() != nil })
	return r
}

func (s *site) goOn() {
	s.t.Helper()
	if err := os.WriteFile(s.file("go"), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// toTheEnd waits until the power-off was asked for, which comes after the telling.
func (r *running) toTheEnd() {
	r.t.Helper()
	r.goOn()
	eventually(r.t, "the end of the shutdown", func() bool { d := r.View().Down; return d != nil && d.Finished })
}

func TestCutNetworkUPSes(t *testing.T) {
	s, c := newSite(t), &cutLog{}
	r := s.armed(twoNets, c, "net1", "net2")
	r.toTheEnd()
	want := drivers.Cut{Off: time.Minute, On: 3 * time.Minute} // 25 s and 10 s are less than any late command gets
	for _, u := range s.killState().UPS {
		if u.Told == nil || u.Told.Cut != want || c.told[u.Name] != want || u.Local || u.Mains != killpower.MainsAbsent {
			t.Errorf("%s: %+v, told %+v: want %+v", u.Name, u, u.Told, want)
		}
	}
	if n := s.count(dodai.EventKillPower); n != 2 {
		t.Errorf("%d kill_power events, want one for each UPS", n)
	}
	if !r.keepNetworkUPSes(t.Context()) {
		t.Error("the cuts are not called off")
	}
	if _, stopped := c.count(); stopped != 2 || s.killState().UPS[0].Told != nil {
		t.Errorf("%d cuts called off, state %+v: want both, because the machine starts anew", stopped, s.killState().UPS)
	}
	r.cutNetworkUPSes(t.Context()) // and off after all
	r.disarm()
	eventually(t, "the cuts called off", func() bool { _, stopped := c.count(); return stopped == 4 })
	if s.killState() != nil {
		t.Error("the state is left")
	}
}

// TestForcedBeforeTheCut: a machine whose UPSes were told to cut is forced down before they
// do, although their batteries would last.
func TestForcedBeforeTheCut(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"all cut":           {twoNets, true},
		"one is not ours":   {strings.Replace(twoNets, "{name: net2, driver: fake, poll: 20ms, killpower: true}", "{name: net2, driver: fake, poll: 20ms}", 1), false},
		"one is told later": {strings.Replace(twoNets, "name: net2", "name: u2", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			for _, u := range []string{"net1", "net2", "u2"} {
				s.set(u, ups("OB LB", 80, 3000), nil)
			}
			r := s.run(tt.text, s.killing(&cutLog{}))
			eventually(t, "the decision", func() bool { return s.killState() != nil })
			r.toTheEnd()
			var force time.Duration
			if err := r.call(t.Context(), func() { force = r.loop.ends.Force }); err != nil {
				t.Fatal(err)
			}
			if soon := force != 0 && force-r.clock() <= time.Minute-forceBefore; soon != tt.want {
				t.Errorf("forced in %v, want before the cut in a minute: %v", force-r.clock(), tt.want)
			}
		})
	}
}

func (r *running) disarm() {
	r.t.Helper()
	if err := r.call(r.t.Context(), r.disarmKillPower); err != nil {
		r.t.Fatal(err)
	}
}

func TestCutNetworkNot(t *testing.T) {
	t.Run("mains back on one", func(t *testing.T) {
		s, c := newSite(t), &cutLog{}
		r := s.armed(twoNets, c, "net1", "net2")
		s.set("net2", ups("OL", 20, 100), nil)
		r.toTheEnd()
		if told, _ := c.count(); told != 0 || s.count(dodai.EventKillPower) != 0 {
			t.Errorf("%v told, want none: net2 keeps the machine powered", c.told)
		}
		if got := s.killState().Back(); !cmp.Equal(got, []string{"net2"}) {
			t.Errorf("the late command hears that %v are back, want net2", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		s, c := newSite(t), &cutLog{err: drivers.ErrDenied}
		r := s.armed(twoNets, c, "net1", "net2")
		r.toTheEnd()
		if s.count(dodai.EventKillPower) != 2 || s.killState().UPS[0].Told != nil {
			t.Errorf("events %v, state %+v: want two refusals", s.story(), s.killState().UPS)
		}
	})
	t.Run("would cut too soon", func(t *testing.T) {
		s, c := newSite(t), &cutLog{longest: 30 * time.Second}
		r := s.armed(twoNets, c, "net1", "net2")
		r.toTheEnd()
		if told, stopped := c.count(); told != 2 || stopped != 2 || s.killState().UPS[0].Told != nil {
			t.Errorf("%d told, %d called off, state %+v: want both called off", told, stopped, s.killState().UPS)
		}
	})
	t.Run("without a decision", func(t *testing.T) {
		s, c := newSite(t), &cutLog{}
		s.set("net1", ups("OB", 90, 3000), nil)
		s.set("net2", ups("OB", 90, 3000), nil)
		r := s.run(twoNets, s.killing(c))
		eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
		r.cutNetworkUPSes(t.Context())
		if told, _ := c.count(); told != 0 {
			t.Errorf("%v told by an operator's shutdown", c.told)
		}
	})
}

// TestDisarmedMeanwhile: the machine is found to stay up while a UPS is being told.
func TestDisarmedMeanwhile(t *testing.T) {
	s, c := newSite(t), &cutLog{wait: make(chan struct{})}
	r := s.armed(twoNets, c, "net1", "net2")
	r.goOn()
	eventually(t, "the power-off", func() bool { return s.count(dodai.EventPowerOff) == 1 })
	time.Sleep(100 * time.Millisecond) // a UPS is being told by then; if not, the test is just easier
	r.disarm()
	close(c.wait)
	eventually(t, "what was told called off", func() bool {
		told, stopped := c.count()
		d := r.View().Down
		return d != nil && d.Finished && stopped >= told
	})
	if s.killState() != nil {
		t.Error("the state is back")
	}
}

// TestWakeIsTakenBack: also by the agent of the next boot.
func TestWakeIsTakenBack(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(s.file("rtc"), "rtc0")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "since_epoch"), []byte("5000\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "wakealarm"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	alarm := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "wakealarm"))
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(data))
	}
	r := s.armed(twoNets, &cutLog{}, "net1", "net2")
	r.toTheEnd()
	if w := s.killState().Wake; w == nil || w.At < 5000+15*60 || alarm() == "" {
		t.Fatalf("wake %+v, the clock has %q: want it set more than a quarter of an hour ahead", w, alarm())
	}
	r.end()
	if err := killpower.Remove(s.file("run")); err != nil { // the next boot
		t.Fatal(err)
	}
	s.set("net1", ups("OL", 90, 3000), nil)
	s.set("net2", ups("OL", 90, 3000), nil)
	again := s.run(withMode(twoNets, "observe"), s.killing(&cutLog{}))
	again.disarm()
	eventually(t, "the alarm taken back", func() bool { return alarm() == "0" })
}
