package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers"
)

// site is a set of devices that tests change under the agent's eyes.
type site struct {
	t       *testing.T
	dir     string // files of the test; short enough for a socket's name
	mu      sync.Mutex
	devices map[string]*fake
	events  []dodai.Event
	log     strings.Builder
}

// fake is what the driver called "fake" says for the device of a name.
type fake struct {
	reading dodai.Reading
	err     error
	hang    chan struct{} // when not nil a poll waits for it, whatever its context says
	open    int           // drivers that were made and not closed
	busy    int           // drivers that have polled and are not closed: owners of the port
	clashes int           // polls while another driver owned the port
	polls   int
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "dodai-agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &site{t: t, dir: dir, devices: map[string]*fake{}}
}

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

// set makes the device answer with r, or fail when err is not nil.
func (s *site) set(name string, r dodai.Reading, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[name]
	if d == nil {
		d = &fake{}
		s.devices[name] = d
	}
	d.reading, d.err = r, err
}

func (s *site) device(name string) fake {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.devices[name]; d != nil {
		return *d
	}
	return fake{}
}

// find knows the driver "fake" alone; the device's reading decides on its kind.
func (s *site) find(name string) (drivers.Factory, bool) {
	return drivers.Factory{
		Name: "fake", Kind: dodai.KindUPS, AnyKind: true, Local: true, Poll: 20 * time.Millisecond, Timeout: 500 * time.Millisecond,
		Options: []drivers.Option{{Key: "port"}, {Key: "refuse"}},
		New: func(cfg drivers.Config) (drivers.Driver, error) {
			if cfg.Options["refuse"] == s.file("refuse") {
				if _, err := os.Stat(s.file("refuse")); err == nil { // the file is there: no driver can be made
					return nil, &drivers.OptionError{Key: "refuse", Got: "yes", Want: "no"}
				}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			d := s.devices[cfg.Device]
			if d == nil {
				d = &fake{err: drivers.ErrNoData}
				s.devices[cfg.Device] = d
			}
			d.open++
			return &fakeDriver{site: s, fake: d, device: cfg.Device}, nil
		},
	}, name == "fake"
}

type fakeDriver struct {
	site          *site
	fake          *fake
	device        string
	owner, closed bool
}

func (d *fakeDriver) Poll(context.Context) (dodai.Reading, error) {
	s := d.site
	s.mu.Lock()
	f := d.fake
	f.polls++
	if !d.owner {
		d.owner = true
		if f.busy++; f.busy > 1 {
			f.clashes++
		}
	}
	r, err, hang := f.reading, f.err, f.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if err != nil {
		return dodai.Reading{}, &drivers.Error{Driver: "fake", Device: d.device, Op: "read", Err: err}
	}
	return r, nil
}

func (d *fakeDriver) Close() error {
	d.site.mu.Lock()
	defer d.site.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.fake.open--
		if d.owner {
			d.fake.busy--
		}
	}
	return nil
}

// ups is the reading of a UPS.
func ups(status string, charge, runtime float64) dodai.Reading {
	st, unknown := dodai.ParseStatus(status)
	if unknown != nil {
		panic(unknown)
	}
	return dodai.Reading{Kind: dodai.KindUPS, Status: st, Vars: dodai.Vars{
		dodai.BatteryCharge: dodai.Num(charge), dodai.BatteryRuntime: dodai.Num(runtime), dodai.InputVoltage: dodai.Num(230),
	}}
}

// parse reads a configuration in which %DIR% is the test's folder.
func (s *site) parse(text string) *config.Config {
	s.t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(strings.ReplaceAll(text, "%DIR%", s.dir)), s.find)
	if err != nil {
		s.t.Fatalf("configuration: %v", err)
	}
	return cfg
}

func (s *site) options(text string) Options {
	return Options{
		Config: s.parse(text), Find: s.find, StateDir: s.file("state"), Version: "test",
		Log: slog.New(slog.NewTextHandler(lockedWriter{s}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnEvent: func(ev dodai.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, ev)
		},
	}
}

type lockedWriter struct{ *site }

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (s *site) logged(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.log.String(), text)
}

// story is the events so far, without those about agent and configuration.
func (s *site) story() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, ev := range s.events {
		switch ev.Name {
		case dodai.EventAgentStarted, dodai.EventAgentStopped, dodai.EventAlertRaised, dodai.EventAlertCleared:
			continue
		}
		out = append(out, strings.TrimSpace(string(ev.Name)+" "+ev.Device))
	}
	return out
}

func (s *site) count(name dodai.EventName) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, ev := range s.events {
		if ev.Name == name {
			n++
		}
	}
	return n
}

// lines are the lines of a file that commands write.
func (s *site) lines(name string) []string {
	data, err := os.ReadFile(s.file(name))
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", what)
}

// running is an agent that really runs.
type running struct {
	*site
	*Agent
	stop  context.CancelFunc
	ended chan error
}

func (s *site) run(text string, change func(*Options)) *running {
	s.t.Helper()
	opts := s.options(text)
	if change != nil {
		change(&opts)
	}
	a, err := New(s.t.Context(), opts)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{site: s, Agent: a, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- a.Run(ctx) }()
	s.t.Cleanup(func() { r.end() })
	return r
}

// end ends the agent and returns how long that took.
func (r *running) end() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
		r.ended <- nil
	case <-time.After(10 * time.Second):
		r.t.Fatal("Run does not return")
	}
	return time.Since(began)
}

// stepper is an agent whose loop the test is: time stands still, and nothing is decided
// unless the test asks.
type stepper struct {
	*site
	*Agent
	now   atomic.Int64
	polls uint64
}

// morning is when a stepper begins: the host has been up for long.
const morning = 100 * time.Hour

func (s *site) step(text string, change func(*Options)) *stepper {
	s.t.Helper()
	st := &stepper{site: s}
	st.now.Store(int64(morning))
	opts := s.options(text)
	opts.Clock = func() time.Duration { return time.Duration(st.now.Load()) }
	if change != nil {
		change(&opts)
	}
	a, err := New(s.t.Context(), opts)
	if err != nil {
		s.t.Fatal(err)
	}
	st.Agent = a
	ctx, cancel := context.WithCancel(context.Background())
	a.loop.group, a.ctx = errgroup.WithContext(ctx)
	s.t.Cleanup(func() {
		cancel()
		a.end(a.ctx, a.loop.group)
	})
	return st
}

// pass lets time pass, with nothing happening.
func (st *stepper) pass(d time.Duration) { st.now.Add(int64(d)) }

// read takes one reading of a device in and decides.
func (st *stepper) read(name string, r dodai.Reading) {
	st.polls++
	st.apply(update{from: st.loop.generation, device: &dodai.DeviceState{
		Name: name, Kind: r.Kind, Driver: "fake", Reading: &r, At: st.clock(), Polls: st.polls, StaleAfter: 15 * time.Second,
	}})
	st.decide()
}

// low is an outage with a battery that is low, until what follows from that is through.
func (st *stepper) low() {
	st.t.Helper()
	for range 5 { // a sudden fall is not believed at once
		st.read("u1", ups("OB LB", 9, 20))
		st.pass(time.Second)
	}
	st.idle()
}

// settle is the loop until ok: it runs what others ask it to.
func (st *stepper) settle(what string, ok func() bool) {
	st.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if ok() {
			return
		}
		select {
		case f := <-st.calls:
			f()
		case <-time.After(2 * time.Millisecond):
		}
	}
	st.t.Fatalf("not within 30 s: %s; events %v", what, st.story())
}

// idle is the loop until nothing runs beside it.
func (st *stepper) idle() {
	st.t.Helper()
	st.settle("everything to end", func() bool { return !st.loop.earlyBusy && !st.loop.executing })
}

func sameStory(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("story:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// plain is a configuration with one UPS and a plan that leaves a trace.
const plain = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}]
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
shutdown:
  need: 20s
  reserve: 10s
  steps:
    - {name: one, command: ["/bin/sh", "-c", "echo one >>%DIR%/order"], timeout: 5s}
    - {name: two, command: ["/bin/sh", "-c", "echo two >>%DIR%/order"], timeout: 5s}
  command: ["/bin/sh", "-c", "echo off >>%DIR%/order"]
`

func withMode(text, mode string) string {
	return strings.Replace(text, "mode: armed", "mode: "+mode, 1)
}

var errDisk = fmt.Errorf("%w: cable", drivers.ErrUnreachable)
