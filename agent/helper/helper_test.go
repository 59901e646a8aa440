package helper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/notify"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/shutdown/action"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
	"github.com/dodai-agent/dodai/drivers/smartctl"
)

// house is a helper that is started for each connection, as the service manager does it,
// and a client of it.
type house struct {
	*Client
	Server
	t       *testing.T
	dir     string
	started atomic.Int32
	errs    chan error
}

// newHouse has a configuration with that text. Its folders are nobody's but the test's.
func newHouse(t *testing.T, text string) *house {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dir: dir, errs: make(chan error, 64)}
	h.Server = Server{Config: filepath.Join(dir, "dodai.yaml"), KeepDir: filepath.Join(dir, "keep"), RunDir: filepath.Join(dir, "run"),
		User: uint32(os.Geteuid()), Group: os.Getegid(), Guard: shutdown.NewGuards("/bin/false"), owner: uint32(os.Geteuid())}
	for _, d := range []string{h.KeepDir, h.RunDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.write(text)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		h.Keep(0)
		l.Close()
		serving.Wait()
	})
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			h.started.Add(1)
			serving.Go(func() {
				if err := h.Serve(context.Background(), conn); err != nil {
					select {
					case h.errs <- err:
					default:
					}
				}
			})
		}
	}()
	h.Client = NewClient(l.Addr().String())
	return h
}

func (h *house) write(text string) {
	h.t.Helper()
	if err := os.WriteFile(h.Server.Config, []byte(text), 0o640); err != nil {
		h.t.Fatal(err)
	}
}

// of are the requests about the configuration as it stands there now.
func (h *house) of() Of {
	h.t.Helper()
	text, err := os.ReadFile(h.Server.Config)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.Of(text)
}

// action is a step of the configuration as the daemon has it.
func (h *house) action(name string) shutdown.Action {
	h.t.Helper()
	cfg, err := config.Load(h.Server.Config, all.Find)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range cfg.Shutdown.Steps {
		if s.Name == name {
			do, _, err := action.New(s, action.Deps{})
			if err != nil {
				h.t.Fatal(err)
			}
			return h.of().Action(do, false)
		}
	}
	h.t.Fatalf("no step %s", name)
	return nil
}

func task(step string) shutdown.Task {
	return shutdown.Task{Step: step, Timeout: 20 * time.Second, Env: []string{"DODAI_REASON=runtime", "LD_PRELOAD=/tmp/evil.so", "PATH=/nonexistent"}}
}

const steps = `shutdown:
  steps:
    - {name: say, command: [/bin/sh, -c, "echo $DODAI_REASON $LD_PRELOAD; exit 3"], undo: [/bin/echo, undone]}
    - {name: wait, command: [/bin/sh, -c, "echo $$ >DIR/pid; exec sleep 60"]}
    - {name: none, command: [/nonexistent/program]}
  command: [/bin/echo, off]
hooks:
  - {on: [mains_lost], command: [/bin/echo, "{event}", "{device}", "{took_s}"]}
ups:
  - {name: u1, driver: megatec, port: /dev/ttyS7, killpower: true}
  - {name: u2, driver: megatec, port: /dev/ttyS8}
`

func TestStep(t *testing.T) {
	h := newHouse(t, steps)
	do := h.action("say")
	got := do.Run(t.Context(), task("say"))
	if got.Exit != 3 || got.Output != "runtime" || got.Err != nil {
		t.Errorf("Run = %+v, want exit status 3, and of the environment what is the daemon's to say", got)
	}
	if got := h.of().Action(shutdown.Program{Args: []string{"/bin/rm"}}, true).Run(t.Context(), task("say")); got.Output != "undone" || got.Failure() != nil {
		t.Errorf("the undoing: %+v", got)
	}
	if fs := h.action("none").Check(t.Context(), task("none")); len(fs) != 1 || fs[0].Check != "program_missing" {
		t.Errorf("Check of a program that is not there = %+v", fs)
	}
	if fs := do.Check(t.Context(), task("say")); len(fs) != 0 {
		t.Errorf("Check = %+v, want nothing", fs)
	}
}

func TestOnlyWhatTheConfigurationSays(t *testing.T) {
	h := newHouse(t, steps)
	o := h.of()
	for _, args := range [][]string{{"/bin/sh", "-c", "id"}, {"/bin/echo", "off", "x"}, {}, {"systemctl", "stop", "sshd"}} {
		if got := o.Run(t.Context(), shutdown.Command{Args: args, Timeout: time.Second}); got.Err == nil {
			t.Errorf("%q was run: %+v", args, got)
		}
	}
	if got := o.Run(t.Context(), shutdown.Command{Args: []string{"/bin/echo", "off"}, Timeout: time.Second}); got.Output != "off" || got.Failure() != nil {
		t.Errorf("the way of the configuration: %+v", got)
	}
	other := o.Action(shutdown.Program{Args: []string{"/bin/true"}}, false)
	if got := other.Run(t.Context(), task("other")); got.Err == nil {
		t.Errorf("a step that is not there was run: %+v", got)
	}
	if _, err := o.Hook(t.Context(), notify.Command{Hook: 1, Timeout: time.Second}); err == nil {
		t.Error("a hook that is not there was run")
	}
	e := dodai.Event{Name: dodai.EventMainsLost, Device: "u1", Fields: map[string]any{"took_s": 90 * time.Second}}
	if out, err := o.Hook(t.Context(), notify.Command{Event: dodai.Event{Name: "--output=/etc/passwd"}, Timeout: 5 * time.Second}); err == nil {
		t.Errorf("a hook was run for an event that it does not ask for: %q", out)
	}
	out, err := o.Hook(t.Context(), notify.Command{Args: []string{"/bin/rm"}, Event: e, Timeout: 5 * time.Second})
	if out != "mains_lost u1 90" || err != nil {
		t.Errorf("Hook = %q, %v", out, err)
	}
}

// An edit that was not taken over neither changes nor stops what runs; one that nobody has
// pinned is refused.
func TestConfigurationIsPinned(t *testing.T) {
	h := newHouse(t, steps)
	before, say := h.of(), h.action("say")
	if err := before.Pin(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.write(strings.ReplaceAll(steps, "exit 3", "exit 4"))
	if got := say.Run(t.Context(), task("say")); got.Exit != 3 {
		t.Errorf("after an edit: %+v, want what was pinned", got)
	}
	if got := h.action("say").Run(t.Context(), task("say")); got.Exit != 4 {
		t.Errorf("after a reload: %+v", got)
	}
	if err := h.Of([]byte("mode: armed\n")).Pin(t.Context()); err == nil || !strings.Contains(err.Error(), "is not what the daemon has read") {
		t.Errorf("Pin of another text = %v", err)
	}
	if err := os.WriteFile(h.keeper().copyOf(before.hash), []byte("mode: armed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := say.Run(t.Context(), task("say")); got.Err == nil {
		t.Errorf("a copy that was changed is believed: %+v", got)
	}
	for i := range 2 * maxCopies {
		h.write(fmt.Sprintf("%s# %d\n", steps, i))
		if err := h.of().Pin(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := filepath.Glob(filepath.Join(h.KeepDir, copyPrefix+"*")); len(n) != maxCopies {
		t.Errorf("%d copies are kept, want %d", len(n), maxCopies)
	}
}

func TestConfigurationThatOthersCanWrite(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(t *testing.T, dir, path string)
		want string
	}{
		"file":            {func(t *testing.T, _, path string) { must(t, os.Chmod(path, 0o660)) }, "can be written by others"},
		"folder":          {func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir, 0o777)) }, "can be written by others"},
		"somebody else's": {func(t *testing.T, _, path string) { must(t, os.Chown(path, 4242, -1)) }, "belongs to user 4242"},
		"his folder":      {func(t *testing.T, dir, _ string) { must(t, os.Chown(dir, 4242, -1)) }, "belongs to user 4242"},
		"a pipe": {func(t *testing.T, _, path string) {
			must(t, os.Remove(path))
			must(t, exec.Command("mkfifo", path).Run())
		}, "no regular file"},
		"a link to a loop": {func(t *testing.T, _, path string) { must(t, os.Remove(path)); must(t, os.Symlink(path, path)) }, "leads nowhere"},
		"it is not there":  {func(t *testing.T, _, path string) { must(t, os.Remove(path)) }, "no such file"},
		"link to his file": {func(t *testing.T, dir, path string) {
			his := filepath.Join(t.TempDir(), "his")
			must(t, os.Rename(path, his))
			must(t, os.Chown(his, 4242, -1))
			must(t, os.Symlink(his, path))
		}, "belongs to user 4242"},
		"his link to root's file": {func(t *testing.T, dir, path string) {
			other := filepath.Join(dir, "other.yaml")
			must(t, os.Rename(path, other))
			must(t, os.Chmod(dir, os.ModeSticky|0o777)) // as /tmp is
			must(t, os.Symlink(other, path))
			must(t, os.Lchown(path, 4242, -1))
		}, "a link that is not root's"},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root, to give files away")
			}
			h := newHouse(t, steps)
			o, say := h.of(), h.action("say")
			tt.do(t, h.dir, h.Server.Config)
			if err := o.Pin(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Pin = %v, want %q", err, tt.want)
			}
			if got := say.Run(t.Context(), task("say")); got.Err == nil {
				t.Errorf("a step of it was run: %+v", got)
			}
			if fs := say.Check(t.Context(), task("say")); len(fs) != 1 || fs[0].Check != "helper_refuses" || !strings.Contains(fs[0].Text, tt.want) {
				t.Errorf("Check = %+v, want the cause", fs)
			}
			if _, err := o.Hook(t.Context(), notify.Command{Timeout: time.Second}); err == nil {
				t.Error("a hook of it was run")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func alive(pid string) bool {
	_, err := os.Stat("/proc/" + strings.TrimSpace(pid))
	return err == nil
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}

// What runs ends with its time-out, when it is cut short, and with the daemon.
func TestTheEndOfAStep(t *testing.T) {
	taken := errors.New("the battery is nearly empty")
	for name, tt := range map[string]struct {
		how  func(ctx, abort context.CancelCauseFunc)
		wait time.Duration
		is   error
	}{
		"time-out":        {func(_, _ context.CancelCauseFunc) {}, 300 * time.Millisecond, shutdown.ErrTimeout},
		"cut short":       {func(_, abort context.CancelCauseFunc) { abort(taken) }, time.Minute, taken},
		"the daemon ends": {func(ctx, _ context.CancelCauseFunc) { ctx(context.Canceled) }, time.Minute, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, "")
			h.write(strings.ReplaceAll(steps, "DIR", h.dir))
			do := h.action("wait")
			ctx, end := context.WithCancelCause(t.Context())
			abort, cut := context.WithCancelCause(t.Context())
			done := make(chan shutdown.Result, 1)
			go func() {
				done <- do.Run(ctx, shutdown.Task{Step: "wait", Timeout: tt.wait, Abort: abort})
			}()
			var pid []byte
			await(t, "the step runs", func() bool { pid, _ = os.ReadFile(filepath.Join(h.dir, "pid")); return len(pid) > 1 })
			tt.how(end, cut)
			if res := <-done; !errors.Is(res.Err, tt.is) {
				t.Errorf("Run = %+v, want %v", res, tt.is)
			}
			await(t, "its process ends", func() bool { return !alive(string(pid)) })
		})
	}
}

// A step waits for the end of its run before, whose daemon is gone.
func TestNotBesideItself(t *testing.T) {
	h := newHouse(t, "")
	h.write(strings.ReplaceAll(strings.ReplaceAll(steps, "echo $$ >DIR/pid; exec sleep 60",
		"if [ -e DIR/pid ]; then echo beside; fi; echo $$ >DIR/pid; trap 'sleep 0.5; rm DIR/pid; exit' TERM; sleep 60 & wait"), "DIR", h.dir))
	do := h.action("wait")
	ctx, end := context.WithCancel(t.Context())
	first := make(chan shutdown.Result, 1)
	go func() { first <- do.Run(ctx, task("wait")) }()
	await(t, "the first run", func() bool { _, err := os.Stat(filepath.Join(h.dir, "pid")); return err == nil })
	end()
	<-first
	got := do.Run(t.Context(), shutdown.Task{Step: "wait", Timeout: 2 * time.Second})
	if strings.Contains(got.Output, "beside") || !errors.Is(got.Err, shutdown.ErrTimeout) {
		t.Errorf("the second run: %+v, want it to begin when the first has ended", got)
	}
}

func TestLeave(t *testing.T) {
	h := newHouse(t, steps)
	cfg, err := config.Load(h.Server.Config, all.Find)
	must(t, err)
	state := func(i int, cut bool) *killpower.State {
		u := killpower.UPS{Name: cfg.UPS[i].Name, Driver: "megatec", Options: cfg.UPS[i].DriverOptions(), Local: true}
		if cut {
			u.Cut = &drivers.Cut{Off: time.Minute, On: time.Minute}
		}
		return &killpower.State{BootID: "b", At: killpower.Boottime(), Reason: "runtime", UPS: []killpower.UPS{u}}
	}
	must(t, h.of().Leave(t.Context(), state(0, true)))
	if s, err := killpower.Read(h.RunDir, "b", killpower.Boottime()); err != nil || !slices.Equal(s.Names(), []string{"u1"}) {
		t.Errorf("what was left: %+v, %v", s, err)
	}
	info, err := os.Stat(filepath.Join(h.RunDir, killpower.FileName))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("it is %v, %v; want it for the daemon's group to read", info.Mode(), err)
	}
	wrong := map[string]*killpower.State{"a UPS that is not to be cut": state(1, true), "another device": state(0, true), "another driver": state(0, true), "an unknown UPS": state(0, true), "nonsense": state(0, true)}
	wrong["another device"].UPS[0].Options = map[string]string{"port": "/etc/shadow"}
	wrong["another driver"].UPS[0].Driver = "dummy"
	wrong["an unknown UPS"].UPS[0].Name = "u3"
	wrong["nonsense"].UPS[0].Cut.Off = -time.Second
	for name, s := range wrong {
		if err := h.of().Leave(t.Context(), s); err == nil {
			t.Errorf("%s: left behind", name)
		}
	}
}

func TestSmartctl(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "smartctl")
	must(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\"; exit 4\n"), 0o755))
	h := newHouse(t, "disks: [{name: d, driver: smartctl, options: {smartctl: "+program+"}}]\n")
	out, err := h.of().Tool(t.Context(), program, "--scan", "--json=c")
	if err != nil || out.Exit != 4 || string(out.Stdout) != "--scan --json=c\n" {
		t.Errorf("Tool = %+v, %v", out, err)
	}
	for _, args := range [][]string{{"-s", "off", "/dev/sda"}, {"--json=c", "-t", "long", "/dev/sda"}, {"--json=c", "-i", "/dev/../etc/shadow"}, {"--json=c", "-i", "/dev/sda", "-s", "standby,now"}, {"--json=c", "-d", "-s", "/dev/sda"}, {}} {
		if _, err := h.of().Tool(t.Context(), program, args...); !errors.Is(err, drivers.ErrDenied) {
			t.Errorf("%q: %v, want it refused", args, err)
		}
	}
	if _, err := h.of().Tool(t.Context(), "/bin/echo", "--scan", "--json=c"); !errors.Is(err, drivers.ErrDenied) {
		t.Errorf("another program: %v, want it refused", err)
	}
	// What the driver asks for is what is permitted.
	factory := smartctl.Factory
	factory.Run = func(ctx context.Context, name string, args ...string) (drivers.Output, error) {
		if !smartctl.Reads(args) {
			t.Errorf("the driver's own call %q would be refused", args)
		}
		if args[0] == "--scan" {
			return drivers.Output{Stdout: []byte(`{"devices":[{"name":"/dev/sda","type":"scsi"},{"name":"/dev/nvme0","type":"nvme"},{"name":"/dev/bus/0","type":"megaraid,4"}]}`)}, nil
		}
		return drivers.Output{Stdout: []byte("{}")}, nil
	}
	d, err := factory.Open("disks", nil, nil)
	must(t, err)
	_, _ = d.Poll(t.Context())
}

// Helpers that stand by are used, replaced, and let go.
func TestAtHand(t *testing.T) {
	h := newHouse(t, steps)
	h.Keep(2)
	await(t, "two that stand by", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.idle) == 2 })
	do := h.action("say")
	for range 3 {
		if got := do.Run(t.Context(), task("say")); got.Exit != 3 {
			t.Fatalf("Run = %+v", got)
		}
	}
	await(t, "two again", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.idle) == 2 && h.open == 2 })
	h.mu.Lock()
	for _, l := range h.idle { // those that were killed are not taken
		l.conn.CloseWrite()
	}
	h.mu.Unlock()
	await(t, "their end", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return !slices.ContainsFunc(h.idle, (*link).alive)
	})
	if got := do.Run(t.Context(), task("say")); got.Exit != 3 {
		t.Errorf("with dead ones at hand: %+v", got)
	}
	h.Keep(0)
	if h.open != 0 || len(h.idle) != 0 {
		t.Errorf("%d are still open", h.open)
	}
}

func TestNoHelper(t *testing.T) {
	o := NewClient(filepath.Join(t.TempDir(), "nobody")).Of([]byte("x"))
	do := o.Action(shutdown.Program{Args: []string{"/bin/true"}}, false)
	if got := do.Run(t.Context(), task("x")); !errors.Is(got.Err, ErrUnavailable) {
		t.Errorf("Run = %+v", got)
	}
	if fs := do.Check(t.Context(), task("x")); len(fs) != 1 || fs[0].Check != "helper_unavailable" {
		t.Errorf("Check = %+v", fs)
	}
	if _, err := o.Tool(t.Context(), "smartctl", "--scan", "--json=c"); !errors.Is(err, drivers.ErrDenied) {
		t.Errorf("Tool = %v", err)
	}
	if err := o.Arm(t.Context(), time.Minute, shutdown.GoalPowerOff); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Arm = %v", err)
	}
}

// A helper that hangs before it says anything does not hold up the way down for long.
func TestStrangers(t *testing.T) {
	h := newHouse(t, steps)
	for _, said := range []string{"", "\n", "{}\n", `{"op":"rm"}` + "\n", `{"op":"step"}` + "\n", `{"op":"step","timeout":-1}` + "\n", "[]\n", `{"op":"force","goal":"halt"}` + "\n", `{"op":"arm"}` + "\n", strings.Repeat("x", 3*maxRequest)} {
		conn, err := net.Dial("unix", h.path)
		must(t, err)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, len(hello))
		if _, err := conn.Read(buf); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(said))
		conn.(*net.UnixConn).CloseWrite()
		answer := make([]byte, 4096)
		n, _ := conn.Read(answer)
		if got := string(answer[:n]); got != "" && !strings.Contains(got, `"refused"`) {
			t.Errorf("%.40q: %q", said, got)
		}
		conn.Close()
	}
}
