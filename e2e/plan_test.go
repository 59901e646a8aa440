package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/shutdown/action"
	"github.com/dodai-agent/dodai/drivers/all"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// story writes down what happens, with the order.
type story struct {
	mu    sync.Mutex
	lines []string
}

func (s *story) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *story) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// downLogin is a login manager that takes the machine down: it ends the agent.
type downLogin struct {
	story *story
	down  context.CancelFunc
}

func (downLogin) CanPowerOff() (string, *dbus.Error) { return "yes", nil }

func (l downLogin) PowerOffWithFlags(flags uint64) *dbus.Error {
	l.story.note("logind PowerOff %d", flags)
	time.AfterFunc(200*time.Millisecond, l.down)
	return nil
}

// A plan of twelve steps against real machines beside this one: sshd, a BMC, an HTTP server,
// a port that closes, programs, and logind on a bus of its own. Side by side, one that fails
// for good, one that fails once, one that hangs; and then the same plan called off and undone.
func TestTwelveStepsForReal(t *testing.T) {
	if !has(t, "sshd", "ssh-keygen", "ssh", "ipmi_sim", "sdrcomp", "dbus-daemon") {
		t.Skip("not everything that this needs is here")
	}
	s := &story{}
	sshd, bmc := peer.StartSSHD(t), peer.StartIPMISim(t)
	bmc.HostTakes(2 * time.Second)
	var asked int
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		asked++
		first := asked == 1
		s.mu.Unlock()
		s.note("web %s %s", r.Method, r.URL.Path)
		if r.URL.Path == "/drain" && first {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(web.Close)
	nas, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nas.Close() })
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "password"), peer.IPMIAdminSecret+"\n")
	text := fmt.Sprintf(`
mode: armed
ups: [{name: u1, driver: dummy, port: %[1]s/ups}]
shutdown:
  steps:
    - {name: announce, wall: "going down", retries: 0}
    - {name: page, after: [], notify: "going down"}
    - {name: drain, after: [announce], http: {url: "%[2]s/drain", undo: {url: "%[2]s/undrain"}}, retries: 2, retry_wait: 300ms}
    - {name: web, after: [drain], command: ["/bin/sh", "-c", "echo web >>%[1]s/log"], undo: ["/bin/sh", "-c", "echo unweb >>%[1]s/log"]}
    - {name: db, after: [web], command: ["/bin/sh", "-c", "sleep 0.5; echo db >>%[1]s/log"], undo: ["/bin/sh", "-c", "echo undb >>%[1]s/log"]}
    - {name: fails, after: [announce], command: ["/bin/sh", "-c", "echo fails >>%[1]s/log; exit 3"], undo: ["/bin/true"]}
    - {name: hangs, after: [announce], command: ["/bin/sh", "-c", "trap '' TERM; sleep 100; sleep 100"], timeout: 1s, undo: ["/bin/true"]}
    - {name: remote, after: [announce], ssh: {host: "%[3]s", user: %[7]s, key_file: %[4]s, known_hosts: %[5]s, command: "echo remote >>%[1]s/log", undo: "echo unremote >>%[1]s/log"}}
    - {name: storage, after: [db, remote], command: ["/bin/sh", "-c", "echo storage >>%[1]s/log"], undo: ["/bin/true"]}
    - {name: nas, after: [storage], command: ["/bin/sh", "-c", "touch %[1]s/nas-off"], undo: ["/bin/true"]}
    - {name: nas-off, after: [nas], wait_for: {peers: ["%[6]s"], for: 1s}, timeout: 20s}
    - {name: node, after: [nas], ipmi: {address: "%[8]s", user: %[9]s, password_file: %[1]s/password, cipher: 3}, timeout: 30s}
`, dir, web.URL, sshd.Addr(), sshd.KeyFile, sshd.KnownHosts, nas.Addr(), sshd.User, bmc.Addr(), peer.IPMIAdmin)
	go func() { // the NAS goes off a second after it was asked to
		for {
			if _, err := os.Stat(filepath.Join(dir, "nas-off")); err == nil {
				time.Sleep(time.Second)
				nas.Close()
				return
			}
			if t.Context().Err() != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	ctx, down := context.WithCancel(t.Context())
	defer down()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", loginManager(t, dir, downLogin{s, down}))
	e := executorOf(t, text, s)

	for _, f := range e.Preflight(t.Context(), &shutdown.Hanging{}).Findings() {
		if f.Step != shutdown.PowerOffStep || f.Fatal { // its second way needs systemd as init
			t.Errorf("the preflight finds %+v", f)
		}
	}
	began := time.Now()
	if err := e.Run(ctx, shutdown.Cause{Event: dodai.EventShutdownStarted, Text: "a test"}, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("all the way down in %v", time.Since(began))
	want := map[string]shutdown.Phase{"fails": shutdown.PhaseFailed, "hangs": shutdown.PhaseFailed, shutdown.PowerOffStep: shutdown.PhaseStarted}
	for _, st := range e.States() {
		phase, special := want[st.Step]
		if !special {
			phase = shutdown.PhaseDone
		}
		if st.Phase != phase {
			t.Errorf("step %s: %+v, want %s", st.Step, st, phase)
		}
		if st.Step == "drain" && st.Attempt != 2 {
			t.Errorf("drain took %d attempts, want 2", st.Attempt)
		}
	}
	log := readLines(filepath.Join(dir, "log"))
	for _, pair := range [][2]string{{"web", "db"}, {"db", "storage"}, {"remote", "storage"}} {
		if slices.Index(log, pair[0]) < 0 || slices.Index(log, pair[0]) > slices.Index(log, pair[1]) {
			t.Errorf("%s and %s ran in the wrong order, or not at all: %q", pair[0], pair[1], log)
		}
	}
	if calls := bmc.HostCalls(); !slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "set shutdown") }) {
		t.Errorf("the BMC was asked %q, want a soft shutdown", calls)
	}
	lines := s.all()
	if last := lines[len(lines)-1]; last != "logind PowerOff 16" {
		t.Errorf("the last thing that happened is %q, want the power-off", last)
	}
}

// The same, called off by an operator in the middle: everything that was begun is undone.
func TestStepsCalledOffForReal(t *testing.T) {
	if !has(t, "sshd", "ssh-keygen", "ssh") {
		t.Skip("not everything that this needs is here")
	}
	s := &story{}
	sshd := peer.StartSSHD(t)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s.note("web %s", r.URL.Path) }))
	t.Cleanup(web.Close)
	dir := t.TempDir()
	e := executorOf(t, fmt.Sprintf(`
mode: armed
ups: [{name: u1, driver: dummy, port: %[1]s/ups}]
shutdown:
  command: ["/bin/sh", "-c", "echo off >>%[1]s/log"]
  steps:
    - {name: drain, http: {url: "%[2]s/drain", undo: {url: "%[2]s/undrain"}}}
    - {name: remote, after: [drain], ssh: {host: "%[3]s", user: %[6]s, key_file: %[4]s, known_hosts: %[5]s, command: "echo remote >>%[1]s/log", undo: "echo unremote >>%[1]s/log"}}
    - {name: hangs, after: [remote], command: ["/bin/sh", "-c", "touch %[1]s/hangs; sleep 100"], undo: ["/bin/sh", "-c", "echo unhangs >>%[1]s/log"]}
    - {name: burn, after: [hangs], command: ["/bin/sh", "-c", "echo burn >>%[1]s/log"]}
`, dir, web.URL, sshd.Addr(), sshd.KeyFile, sshd.KnownHosts, sshd.User), s)
	go func() {
		eventually(t, 20*time.Second, "the step that hangs", func() bool { _, err := os.Stat(filepath.Join(dir, "hangs")); return err == nil })
		if err := e.CallOff("no longer wanted"); err != nil {
			t.Error(err)
		}
	}()
	err := e.Run(t.Context(), shutdown.Cause{Operator: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "called off: no longer wanted") {
		t.Errorf("Run = %v, want that it was called off", err)
	}
	if got := readLines(filepath.Join(dir, "log")); !slices.Equal(got, []string{"remote", "unhangs", "unremote"}) {
		t.Errorf("%q, want what was begun undone, the last first, and nothing else", got)
	}
	if got := s.all(); !slices.Equal(got, []string{"web /drain", "web /undrain"}) {
		t.Errorf("%q, want the drain and its undoing", got)
	}
}

// executorOf makes the executor of a configuration, with real programs and the system bus.
func executorOf(t *testing.T, text string, s *story) *shutdown.Executor {
	t.Helper()
	cfg, err := config.Parse("test.yaml", []byte(text), all.Find)
	if err != nil {
		t.Fatal(err)
	}
	plan := shutdown.Plan{Command: cfg.Shutdown.Command}
	deps := action.Deps{
		Notify:  func(text string, _ shutdown.Task) error { s.note("notify %s", text); return nil },
		Listens: func() bool { return true },
	}
	for _, c := range cfg.Shutdown.Steps {
		do, undo, err := action.New(c, deps)
		if err != nil {
			t.Fatal(err)
		}
		plan.Steps = append(plan.Steps, shutdown.Step{
			Name: c.Name, Do: do, Undo: undo, After: c.After, Timeout: c.Timeout.D(), Retries: c.Retries, RetryWait: c.RetryWait.D(),
		})
	}
	start := time.Now()
	e, err := shutdown.New(shutdown.Config{
		Plan: plan, Run: shutdown.Process, Logind: shutdown.SystemBus(), Now: func() time.Duration { return time.Since(start) },
		Force: func(context.Context, shutdown.Goal) error { t.Error("the machine would be forced off"); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func readLines(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}
