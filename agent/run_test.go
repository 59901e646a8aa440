package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
)

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// From the readings of a driver to the end of the plan, with hooks and metrics.
func TestRunOutage(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain+`
hooks:
  - on: [mains_lost, shutdown_started, agent_stopped]
    command: ["/bin/sh", "-c", "echo $DODAI_EVENT >>%DIR%/hooks"]
`, func(o *Options) { o.Listen = "127.0.0.1:0"; o.Socket = s.file("a.sock") })
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := get(t, "http://"+r.Addr().String()+path); code != http.StatusOK {
			t.Errorf("%s answers %d %s", path, code, body)
		}
	}
	s.set("u1", ups("OB LB", 9, 20), nil)
	eventually(t, "the power-off", func() bool { return len(s.lines("order")) == 3 })
	eventually(t, "the hook", func() bool { return len(s.lines("hooks")) >= 2 })
	if _, body := get(t, "http://"+r.Addr().String()+"/metrics"); !strings.Contains(body, `dodai_events_total{event="shutdown_started"} 1`) {
		t.Error("/metrics does not count the shutdown")
	}
	if took := r.end(); took > time.Second {
		t.Errorf("the end took %v", took)
	}
	if hooks := s.lines("hooks"); hooks[len(hooks)-1] != "agent_stopped" {
		t.Errorf("hooks ran on %q, want agent_stopped last", hooks)
	}
	if d := s.device("u1"); d.open != 0 {
		t.Errorf("%d drivers are left open", d.open)
	}
	if _, err := os.Stat(s.file("a.sock")); err == nil {
		t.Error("the socket is still there")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// A driver, a hook, a step and a disk that hang do not keep the agent from ending in
// the two seconds that a service manager is promised; the step runs on.
func TestRunEndsWhateverHangs(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	s.set("u2", ups("OL", 100, 3600), nil)
	r := s.run(strings.NewReplacer("[{name: u1, driver: fake, poll: 20ms}]", "[{name: u1, driver: fake, poll: 20ms}, {name: u2, driver: fake, poll: 20ms}]",
		"policy: {", "policy: {min_supplies: 2, ", "echo two >>", "echo begun >>%DIR%/order; sleep 4; echo two >>").Replace(plain)+`
hooks: [{on: [shutdown_started, agent_stopped], command: ["/bin/sh", "-c", "sleep 60"], timeout: 1m}]
`, func(o *Options) { o.Socket = s.file("a.sock") })
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	hang := make(chan struct{})
	defer close(hang)
	s.mu.Lock()
	s.devices["u2"].hang = hang
	s.mu.Unlock()
	s.set("u1", ups("OB LB", 9, 20), nil)
	eventually(t, "the second step", func() bool { return len(s.lines("order")) == 2 })
	release := s.blockJournal()
	defer release()
	began := time.Now()
	if took := r.end(); took > 2*time.Second {
		t.Errorf("the end took %v, want less than 2 s", took)
	}
	if got := s.lines("order"); len(got) != 2 {
		t.Errorf("ran %q at the end, want nothing more", got)
	}
	for len(s.lines("order")) < 3 && time.Since(began) < 8*time.Second {
		time.Sleep(20 * time.Millisecond)
	}
	if got := s.lines("order"); len(got) != 3 || got[2] != "two" {
		t.Errorf("ran %q: the step was not left alone", got)
	}
}

// A port that is taken leaves no machine alone: metrics come when it is free.
func TestRunWithoutItsPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	opts := s.options(plain)
	opts.Listen = l.Addr().String()
	a, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	if addr := a.Addr(); addr != nil {
		t.Errorf("address %v while the port is taken, want none", addr)
	}
	select {
	case <-a.Ready():
	case <-time.After(10 * time.Second):
		t.Error("the agent is not ready without its port")
	}
	l.Close()
	for deadline := time.Now().Add(5 * retryOpen); a.Addr() == nil && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if a.Addr() == nil {
		t.Error("no address long after the port was free")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A socket that cannot be had now does not keep the agent from its work; nor does another
// agent's, where nobody asked for that socket.
func TestRunWithoutItsSocket(t *testing.T) {
	for name, change := range map[string]func(*Options, *site){
		"its folder is a file": func(o *Options, s *site) {
			if err := os.WriteFile(s.file("folder"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			o.Socket = s.file("folder/a.sock")
		},
		"another agent's": func(o *Options, s *site) {
			l, err := net.Listen("unix", s.file("a.sock"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			o.Socket, o.SocketOptional = s.file("a.sock"), true
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			opts := s.options(plain)
			change(&opts, s)
			a, err := New(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- a.Run(ctx) }()
			select {
			case <-a.Ready():
			case err := <-ended:
				t.Fatalf("the agent ended: %v", err)
			case <-time.After(10 * time.Second):
				t.Error("the agent is not ready without its socket")
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// A socket that cannot be had is an error, not a hang.
func TestRunCannotListen(t *testing.T) {
	for name, change := range map[string]func(*Options, *site){
		"a socket's name at most": func(o *Options, s *site) {
			o.Socket = s.file(strings.Repeat("x", 120))
		},
	} {
		s := newSite(t)
		opts := s.options(plain)
		change(&opts, s)
		a, err := New(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- a.Run(t.Context()) }()
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("Run = %v, want %q", err, name)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: Run hangs", name)
		}
		if a.Addr() != nil {
			t.Errorf("address %v, want none", a.Addr())
		}
		if d := s.device("u1"); d.open != 0 {
			t.Errorf("%d drivers are left open", d.open)
		}
	}
}

// Devices that do not answer are reported, and count as heard of.
func TestReadyWithASilentDevice(t *testing.T) {
	s := newSite(t)
	hang := make(chan struct{})
	s.devices["u1"] = &fake{hang: hang, err: errDisk}
	r := s.run(plain, nil)
	if err := r.readyNow(); err == nil || !strings.Contains(err.Error(), "u1 has not been heard yet") {
		t.Errorf("ready: %v, want u1 named", err)
	}
	close(hang)
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	if err := r.readyNow(); err != nil {
		t.Errorf("ready: %v", err)
	}
	if st := r.Status(); st.Devices[0].Quality != dodai.QualityNever || st.Devices[0].Error == "" {
		t.Errorf("status of u1: %+v, want it never heard, and why", st.Devices[0])
	}
}

func TestReload(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OB", 90, 3000), nil)
	s.set("bmc", dodai.Reading{Kind: dodai.KindPSUs}, nil)
	next := ""
	var mu sync.Mutex
	say := func(text string) { mu.Lock(); next = text; mu.Unlock() }
	r := s.run(plain, func(o *Options) {
		o.Reload = func() (*config.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			if next == "bad" {
				return nil, fmt.Errorf("test.yaml:1:1: bad")
			}
			return s.parse(next), nil
		}
	})
	eventually(t, "a reading", func() bool { st := r.Status(); return len(st.UPSes) == 1 && st.UPSes[0].OnBattery })

	say("bad")
	if err := r.Reload(t.Context()); err == nil || s.count(dodai.EventConfigRejected) != 1 {
		t.Errorf("a bad file: %v, %d times rejected", err, s.count(dodai.EventConfigRejected))
	}
	if err := os.WriteFile(s.file("refuse"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := r.View().Config
	refused := strings.Replace(plain, "ups:", "psus: [{name: bmc, driver: fake}, {name: zz, driver: fake, options: {refuse: %DIR%/refuse}}]\nups:", 1)
	os.Remove(s.file("refuse"))
	cfg := s.parse(refused)
	if err := os.WriteFile(s.file("refuse"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.call(t.Context(), func() {
		if err := r.reload(cfg); err == nil {
			t.Error("a driver that cannot be made was taken over")
		}
	}); err != nil {
		t.Fatal(err)
	}
	polls := s.device("u1").polls
	eventually(t, "the old collector to go on", func() bool { return s.device("u1").polls > polls+2 })
	if r.View().Config != before || s.device("bmc").open != 0 {
		t.Errorf("the old configuration is not in force, or a driver (%d) is left open", s.device("bmc").open)
	}

	say(strings.Replace(strings.Replace(plain, "need: 20s", "need: 33s", 1), "ups:", "host: {name: rack-7}\npsus: [{name: bmc, driver: fake, poll: 20ms}]\nups:", 1))
	if err := r.Reload(t.Context()); err != nil || s.count(dodai.EventConfigReloaded) != 1 {
		t.Fatalf("a good file: %v", err)
	}
	st := r.Status()
	if len(st.Devices) != 2 || st.NeedS != 33 || !st.UPSes[0].OnBattery {
		t.Errorf("right after the reload: %d devices, need %v, %+v; want two, 33 s, u1 still on battery", len(st.Devices), st.NeedS, st.UPSes)
	}
	eventually(t, "the new device", func() bool { return s.device("bmc").polls > 0 && r.Status().Host == "rack-7" })
	eventually(t, "the old driver to be closed", func() bool { return s.device("u1").open == 1 })
	if d := s.device("u1"); d.clashes != 0 {
		t.Errorf("two collectors had the port at once, %d times", d.clashes)
	}
	if n := s.count(dodai.EventMainsLost); n != 1 {
		t.Errorf("mains_lost was raised %d times, want once", n)
	}

	say(strings.Replace(plain, "{name: u1", "{name: u9", 1))
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old devices to be closed", func() bool { return s.device("u1").open == 0 && s.device("bmc").open == 0 })
	if st := r.Status(); len(st.Devices) != 1 || st.Devices[0].Name != "u9" {
		t.Errorf("devices %+v, want u9 alone", st.Devices)
	}
}

func TestReloadIsRefused(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	if err := st.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "without a configuration file") {
		t.Errorf("Reload without a file = %v", err)
	}
	st.startCollectors()
	for what, busy := range map[string]func(on bool){
		"shutdown is under way": func(on bool) {
			st.loop.down = nil
			if on {
				st.loop.down = &downState{}
			}
		},
		"early steps": func(on bool) { st.loop.earlyBusy = on },
		"drill":       func(on bool) { st.drill.running = map[bool]*runningDrill{true: {id: "x"}}[on] },
	} {
		busy(true)
		if err := st.reload(s.parse(plain)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("reload = %v, want it refused for %q", err, what)
		}
		busy(false)
	}
	if err := st.reload(s.parse(plain + "\nexport: {interval: 20s}")); err != nil || !s.logged("when the agent is started anew") {
		t.Errorf("reload = %v; want it done, with a word about what it does not change", err)
	}
}

// The service manager hears of the start, and that decisions are made, no more often
// than needed.
func TestWatchdog(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OB", 90, 3000), nil) // polled back to back
	var mu sync.Mutex
	said := map[string]int{}
	began := time.Now()
	r := s.run(plain, func(o *Options) {
		o.Watchdog = 400 * time.Millisecond
		o.Notify = func(state string) { mu.Lock(); said[state]++; mu.Unlock() }
	})
	eventually(t, "the watchdog to be fed", func() bool { mu.Lock(); defer mu.Unlock(); return said["WATCHDOG=1"] >= 4 })
	mu.Lock()
	most := int(time.Since(began)/(100*time.Millisecond)) + 1
	if said["READY=1"] != 1 || said["WATCHDOG=1"] > most {
		t.Errorf("said %v, want READY=1 once and at most %d times WATCHDOG=1", said, most)
	}
	mu.Unlock()
	r.end()
}

// A service manager that does not listen does not hold up the loop.
func TestNotifyThatHangs(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3000), nil)
	hang := make(chan struct{})
	defer close(hang)
	r := s.run(plain, func(o *Options) {
		o.Watchdog = 40 * time.Millisecond
		o.Notify = func(string) { <-hang }
	})
	eventually(t, "decisions", func() bool { return s.device("u1").polls > 20 && r.healthy() == nil })
	if took := r.end(); took > 2*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestHealthy(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	if err := st.healthy(); err != nil {
		t.Errorf("healthy right after the start: %v", err)
	}
	st.pass(7 * time.Second)
	if err := st.healthy(); err == nil || !strings.Contains(err.Error(), "7s old") {
		t.Errorf("healthy after 7 s without a decision: %v", err)
	}
}

func TestCallFailsWhenTheAgentEnds(t *testing.T) {
	st := newSite(t).step(plain, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := st.call(ctx, func() {}); err == nil {
		t.Error("a call that nobody takes succeeded")
	}
}

func TestNewRefuses(t *testing.T) {
	s := newSite(t)
	opts := s.options(plain)
	opts.Config.UPS[0].Driver = "gone"
	if _, err := New(t.Context(), opts); err == nil || !strings.Contains(err.Error(), `no driver "gone"`) {
		t.Errorf("New = %v, want the driver named", err)
	}
	if _, err := New(t.Context(), s.options(plain)); err != nil {
		t.Errorf("after a refusal the state is still held: %v", err)
	}
}
