package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guardChild is a guard that is real but for its end: it writes a line into file. With
// SHUTDOWN_GUARD_AGENT it is an agent instead, which arms a guard and is killed.
func guardChild(file string) {
	time.AfterFunc(2*time.Minute, func() { os.Exit(1) }) // whatever becomes of the test
	name := os.Getenv("SHUTDOWN_GUARD_NAME")
	if os.Getenv("SHUTDOWN_GUARD_AGENT") != "" {
		os.Unsetenv("SHUTDOWN_GUARD_AGENT")
		fmt.Println(testGuards(name).Arm(context.Background(), time.Hour, GoalPowerOff))
		syscall.Kill(-syscall.Getpid(), syscall.SIGKILL)
	}
	note := func(text string) {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			os.Exit(1)
		}
		defer f.Close()
		fmt.Fprintln(f, text)
	}
	w := Watchman{Note: note, Ready: GuardReady, Force: func(_ context.Context, goal Goal) error {
		note("forced " + string(goal))
		return errBroken
	}}
	for _, a := range os.Args[1:] {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "--at":
			s, _ := strconv.ParseFloat(value, 64)
			w.At = time.Duration(s * float64(time.Second))
		case "--goal":
			w.Goal = Goal(value)
		}
	}
	if err := BecomeGuard(name); err != nil {
		note("ordinary: " + err.Error())
	}
	if err := w.Run(); err != nil {
		note(err.Error())
	}
	note("called off")
}

// testGuards starts guards that are this test's own, without systemd.
func testGuards(name string) *Guards {
	return &Guards{program: []string{os.Args[0]}, name: name, booted: "/nonexistent"}
}

// newGuards also returns what reads the guards' file.
func newGuards(t *testing.T) (*Guards, func() string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "told")
	name := "@dodai-guard-" + strconv.Itoa(os.Getpid()) + "-" + t.Name()
	t.Setenv("SHUTDOWN_GUARD", file)
	t.Setenv("SHUTDOWN_GUARD_NAME", name)
	g := testGuards(name)
	t.Cleanup(func() {
		if err := g.Disarm(t.Context()); err != nil {
			t.Error(err)
		}
		await(t, "no guard left", func() bool { return len(g.standing()) == 0 })
	})
	return g, func() string {
		data, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(data)
	}
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// stands waits for the one guard there is to be, and returns its process.
func stands(t *testing.T, g *Guards) int {
	t.Helper()
	await(t, "one guard", func() bool { return len(g.standing()) == 1 })
	return g.standing()[0].pid
}

func arm(t *testing.T, g *Guards, in time.Duration, goal Goal) int {
	t.Helper()
	if err := g.Arm(t.Context(), in, goal); err != nil {
		t.Fatal(err)
	}
	return stands(t, g)
}

func TestGuardIsHardToEnd(t *testing.T) {
	g, told := newGuards(t)
	pid := arm(t, g, time.Hour, GoalPowerOff)
	proc := func(file string) string { return fmt.Sprintf("/proc/%d/%s", pid, file) }
	if exe, err := os.Readlink(proc("exe")); err != nil || !strings.HasPrefix(exe, "/memfd:") {
		t.Errorf("it runs from %q, %v, want memory", exe, err)
	}
	if dir, err := os.Readlink(proc("cwd")); err != nil || dir != "/" {
		t.Errorf("it works in %q, %v, want /", dir, err)
	}
	if status, err := os.ReadFile(proc("status")); err != nil {
		t.Error(err)
	} else if os.Geteuid() == 0 && strings.Contains(string(status), "VmLck:\t       0 kB") {
		t.Error("nothing of its memory is locked")
	}
	for fd := range 20 {
		file, err := os.Readlink(proc("fd/" + strconv.Itoa(fd)))
		// The runtime reads its share of the processors below /sys.
		harmless := !strings.HasPrefix(file, "/") || strings.HasPrefix(file, "/dev/") || strings.HasPrefix(file, "/memfd:") || strings.HasPrefix(file, "/sys/")
		if err == nil && !harmless {
			t.Errorf("it holds %s open, and with it the file system", file)
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE} {
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatalf("%v: %v", sig, err)
		}
	}
	// It is asked for something after the signals: it answers, so it has survived them.
	if err := g.standing()[0].tell(guardNow); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return strings.Contains(told(), "forced poweroff") })
}

func TestGuardForcesAtItsInstant(t *testing.T) {
	g, told := newGuards(t)
	start := BootTime()
	arm(t, g, 1500*time.Millisecond, GoalReboot)
	await(t, "the end", func() bool { return strings.Contains(told(), "forced reboot\nfailed: broken\n") })
	if took := BootTime() - start; took < 1500*time.Millisecond {
		t.Errorf("forced after %v, want 1.5 s", took)
	}
	// It failed, so it is tried again.
	await(t, "the second time", func() bool { return strings.Count(told(), "forced reboot") == 2 })
}

func TestGuardIsCalledOff(t *testing.T) {
	g, told := newGuards(t)
	arm(t, g, time.Hour, GoalPowerOff)
	other := testGuards(g.name) // an agent that was started since
	if err := other.Disarm(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "its end", func() bool { return told() == "called off\n" })
	if err := other.Disarm(t.Context()); err != nil {
		t.Errorf("nothing to call off: %v", err)
	}
}

func TestGuardIsReplaced(t *testing.T) {
	g, told := newGuards(t)
	first := arm(t, g, time.Hour, GoalPowerOff)
	if err := g.Arm(t.Context(), 30*time.Minute, GoalPowerOff); err != nil {
		t.Fatal(err)
	}
	await(t, "the second alone", func() bool { s := g.standing(); return len(s) == 1 && s[0].pid != first })
	// One for something else goes even when no other can be had.
	g.program = []string{"/bin/false"}
	if err := g.Arm(t.Context(), 20*time.Minute, GoalPowerOff); err == nil {
		t.Error("Arm = nil though the guard did not come up")
	}
	stands(t, g)
	if err := g.Arm(t.Context(), 20*time.Minute, GoalReboot); err == nil {
		t.Error("Arm = nil though the guard did not come up")
	}
	await(t, "none", func() bool { return len(g.standing()) == 0 })
	if told() != "called off\ncalled off\n" {
		t.Errorf("the guards say %q, want twice called off", told())
	}
}

func TestGuardActsNow(t *testing.T) {
	g, told := newGuards(t)
	arm(t, g, time.Hour, GoalPowerOff)
	if err := g.now(t.Context(), GoalPowerOff); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return strings.Contains(told(), "forced poweroff") })
}

func TestGuardThatIsStartedToActNow(t *testing.T) {
	g, told := newGuards(t)
	if err := g.now(t.Context(), GoalReboot); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", func() bool { return strings.Contains(told(), "forced reboot") })
}

// TestForceOfTheAgent: a guard does it, and the agent only what is left when that fails.
func TestForceOfTheAgent(t *testing.T) {
	mounts, err := parseMounts(someMounts)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		program        []string // nil: a guard that works as far as a test may
		guard, in, err string
		never          string // is not asked of the kernel
	}{
		"the guard was told and the machine is up": {nil, "forced reboot\nfailed: broken\n", "reboot again", "told to force", "unmount"},
		"no guard can be had":                      {[]string{"/bin/false"}, "", "unmount /tank", "did not come up", "sync\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g, told := newGuards(t)
			m := &machine{start: time.Now(), list: mounts, free: map[string]bool{}}
			g.kernel, g.work = m.kernel(), 2*time.Second
			if tt.program != nil {
				g.program = tt.program
			}
			err := g.Force(t.Context(), GoalReboot)
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), "still up") {
				t.Errorf("Force = %v, want an error with %q", err, tt.err)
			}
			log := strings.Join(m.log, "\n") + "\n"
			if !strings.Contains(log, " "+tt.in+"\n") || !strings.Contains(log, " reboot again\n") || strings.Contains(log, tt.never) {
				t.Errorf("the kernel is asked\n%swant %q and the reboot in it, and no %q", log, tt.in, tt.never)
			}
			if !strings.Contains(told(), tt.guard) {
				t.Errorf("the guard did %q, want %q", told(), tt.guard)
			}
		})
	}
}

// The agent and all it started are killed; the guard is not.
func TestGuardOutlivesTheAgent(t *testing.T) {
	g, _ := newGuards(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHUTDOWN_GUARD_AGENT=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.Output()
	if exit, is := errors.AsType[*exec.ExitError](err); !is || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || strings.TrimSpace(string(out)) != "<nil>" {
		t.Fatalf("the agent ended with %v and said %q, want it killed after the guard stood", err, out)
	}
	stands(t, g)
}

func TestGuardThatDoesNotComeUp(t *testing.T) {
	for name, program := range map[string][]string{
		"it fails":        {"/bin/false"},
		"it is not there": {"/nonexistent/dodai"},
		"it says nothing": {"/bin/sh", "-c", "exec sleep 60"},
	} {
		g := &Guards{program: program, name: "@no-such-guard", booted: "/nonexistent"}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		start := time.Now()
		if err := g.Arm(ctx, time.Hour, GoalPowerOff); err == nil || time.Since(start) > 5*time.Second {
			t.Errorf("%s: Arm = %v after %v, want an error within its time", name, err, time.Since(start))
		}
		cancel()
	}
}

// fakeRun is systemd-run as far as a guard needs it: it writes down what it is told, and
// starts the program. An old one does not know every property.
const fakeRun = `#!/bin/sh
echo "$@" >>%[1]s/asked
case " $* " in *" --property=SurviveFinalKillSignal=yes "*) if %[2]v; then echo "Unknown assignment: SurviveFinalKillSignal=yes" >&2; exit 1; fi;; esac
while [ "$1" != -- ]; do shift; done
shift
mkfifo %[1]s/ready
setsid "$@" >%[1]s/ready 2>/dev/null &
read line <%[1]s/ready
[ "$line" = ready ]
`

func TestGuardInAUnit(t *testing.T) {
	for name, old := range map[string]bool{"systemd 255": false, "systemd 252": true} {
		t.Run(name, func(t *testing.T) {
			g, told := newGuards(t)
			dir := t.TempDir()
			g.booted, g.run = dir, filepath.Join(dir, "systemd-run")
			if err := os.WriteFile(g.run, fmt.Appendf(nil, fakeRun, dir, old), 0o755); err != nil {
				t.Fatal(err)
			}
			arm(t, g, time.Hour, GoalPowerOff)
			asked, err := os.ReadFile(filepath.Join(dir, "asked"))
			if err != nil {
				t.Fatal(err)
			}
			calls := strings.Split(strings.TrimSpace(string(asked)), "\n")
			if len(calls) != 1+map[bool]int{true: 1}[old] {
				t.Errorf("systemd-run is called %q; want once more for an old one", calls)
			}
			last := strings.Fields(calls[len(calls)-1])
			for _, arg := range []string{"--property=DefaultDependencies=no", "--property=IgnoreOnIsolate=yes", "--property=OOMScoreAdjust=-1000", "--goal=poweroff"} {
				if !slices.Contains(last, arg) {
					t.Errorf("%q is missing in %q", arg, last)
				}
			}
			if slices.Contains(last, survive) == old {
				t.Errorf("old: %v, asked %q", old, last)
			}
			if err := g.Disarm(t.Context()); err != nil {
				t.Fatal(err)
			}
			await(t, "its end", func() bool { return told() == "called off\n" })
		})
	}
}

func TestSystemdThatRefusesOrHangs(t *testing.T) {
	for script, want := range map[string]string{"echo no bus; exit 1": "no bus", "exec sleep 60": "deadline"} {
		dir := t.TempDir()
		g := &Guards{program: []string{"/bin/true"}, name: "@no-such-guard", booted: dir, run: filepath.Join(dir, "systemd-run")}
		if err := os.WriteFile(g.run, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		start := time.Now()
		if err := g.Arm(ctx, time.Hour, GoalPowerOff); err == nil || !strings.Contains(err.Error(), want) || time.Since(start) > 10*time.Second {
			t.Errorf("%s: Arm = %v after %v, want an error with %q", script, err, time.Since(start), want)
		}
		cancel()
	}
}

func TestGuardRefusesASlipOfThePen(t *testing.T) {
	now := BootTime()
	for _, w := range []Watchman{
		{At: now + time.Minute},
		{At: now + time.Minute, Goal: "halt"},
		{At: now - 2*time.Minute, Goal: GoalPowerOff},
		{At: now + 25*time.Hour, Goal: GoalPowerOff},
		{Goal: GoalReboot, At: -time.Hour},
	} {
		w.Force = func(context.Context, Goal) error {
			t.Error("forced")
			return nil
		}
		if err := w.Run(); err == nil {
			t.Errorf("%+v: Run = nil, want an error", w)
		}
	}
}
