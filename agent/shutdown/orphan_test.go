package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// orphan is a program that runs on after its daemon has gone, in a session of its own,
// remembered as the step called name.
func orphan(t *testing.T, dir PidDir, name, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait() // as init does for orphans
	t.Cleanup(func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	dir.Begun(name, cmd.Process.Pid)
	return cmd
}

func TestPidDir(t *testing.T) {
	dir := PidDir(t.TempDir())
	if dir.Known("a") || dir.Find("a") != 0 {
		t.Error("a step that never began is known")
	}
	cmd := orphan(t, dir, "a", "sleep 60")
	if got := dir.Find("a"); got != cmd.Process.Pid {
		t.Errorf("Find = %d, want %d", got, cmd.Process.Pid)
	}
	if age := runningFor(cmd.Process.Pid); age > 30*time.Second {
		t.Errorf("running for %v, want next to nothing", age)
	}
	dir.Ended("a")
	if dir.Known("a") {
		t.Error("an ended step is known")
	}
	dir.Begun("a", 0)
	if !dir.Known("a") || dir.Find("a") != 0 {
		t.Error("want a step without a process known, and nothing found")
	}
	for name, text := range map[string]string{
		"another process of the number": fmt.Sprintf("%d 1", os.Getpid()), "init": "1 0", "nothing": "", "no number": "x y",
		"negative": "-5 3", "too long": strings.Repeat("1", 200), "gone": "4194303 12",
	} {
		if err := os.WriteFile(dir.file("b"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := dir.Find("b"); got != 0 {
			t.Errorf("%s: Find = %d, want 0", name, got)
		}
	}
	leader := orphan(t, dir, "c", "sleep 60 & echo $! >"+string(dir)+"/child; wait")
	child := ""
	for deadline := time.Now().Add(10 * time.Second); child == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		data, _ := os.ReadFile(string(dir) + "/child")
		child = strings.TrimSpace(string(data))
	}
	pid, err := strconv.Atoi(child)
	if err != nil {
		t.Fatal(err)
	}
	if dir.Begun("d", pid); dir.Find("d") != 0 {
		t.Error("a process was found that is no step's: it leads no session")
	}
	secret := dir.file("e") + ".target"
	if err := errors.Join(os.Rename(dir.file("c"), secret), os.Symlink(secret, dir.file("e")), os.Symlink(secret, dir.file("e")+".new")); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(secret)
	if got := dir.Find("e"); got != 0 {
		t.Errorf("Find = %d through a link", got)
	}
	dir.Begun("e", leader.Process.Pid)
	if after, _ := os.ReadFile(secret); string(after) != string(before) || dir.Find("e") != leader.Process.Pid {
		t.Errorf("Begun wrote through a link: %q, was %q", after, before)
	}
	PidDir("/nonexistent").Begun("a", os.Getpid()) // nothing is remembered, and nothing breaks
}

// What an earlier daemon has left running is waited for; then the step is run again, or
// left, or given up when it hangs: in no case beside itself.
func TestStepsThatOutliveTheDaemon(t *testing.T) {
	for name, tt := range map[string]struct {
		orphan  string
		once    bool
		timeout time.Duration
		want    string // the log of the step's runs
		phase   Phase
	}{
		"still running, then again":       {"sleep 0.7; echo orphan >>%s", false, 10 * time.Second, "orphan\nagain\n", PhaseDone},
		"still running, never twice":      {"sleep 0.7; echo orphan >>%s", true, 10 * time.Second, "orphan\n", PhaseSkipped},
		"gone, then again":                {"", false, 10 * time.Second, "again\n", PhaseDone},
		"gone, never twice":               {"", true, 10 * time.Second, "", PhaseSkipped},
		"hangs: it has had its time":      {"sleep 60; echo orphan >>%s", false, time.Second, "", PhaseFailed},
		"hangs and is not to run twice":   {"sleep 60; echo orphan >>%s", true, time.Second, "", PhaseFailed},
		"will not end when it is told to": {"trap '' TERM; sleep 60; sleep 60; echo orphan >>%s", false, time.Second, "", PhaseFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := PidDir(t.TempDir())
			log := string(dir) + "/log"
			if tt.orphan != "" {
				orphan(t, dir, "slow", fmt.Sprintf(tt.orphan, log))
			}
			start := time.Now()
			var skipped []string
			e, err := New(Config{
				Plan: Plan{Steps: []Step{{Name: "slow", Timeout: tt.timeout, Do: Program{Args: []string{"/bin/sh", "-c", "echo again >>" + log}, Once: tt.once}}}, Command: []string{"/bin/true"}},
				Run:  Process, Logind: &rig{}, Now: func() time.Duration { return time.Since(start) }, Orphans: dir,
				Emit: func(ev dodai.Event) {
					if ev.Fields["skipped"] == true {
						skipped = append(skipped, ev.Text)
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			e.RestoreDoubtful("slow")
			if err := e.Run(t.Context(), Cause{}, nil); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(log)
			if string(data) != tt.want || err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the step ran as %q, %v, want %q", data, err, tt.want)
			}
			if got := e.States()[0]; got.Phase != tt.phase || (got.Why == "") != (tt.phase == PhaseDone) {
				t.Errorf("state %+v, want %s", got, tt.phase)
			}
			if (len(skipped) == 1) != (tt.phase == PhaseSkipped) {
				t.Errorf("told of as skipped: %q", skipped)
			}
			if dir.Known("slow") && tt.phase != PhaseSkipped {
				t.Error("the step is still remembered")
			}
		})
	}
}

// A daemon that has just started does not know yet when the battery ends. What the one
// before left running is given up all the same when that comes.
func TestOrphanIsCutShort(t *testing.T) {
	dir := PidDir(t.TempDir())
	orphan(t, dir, "slow", "sleep 60")
	start := time.Now()
	slow := command("slow")
	slow.Timeout = 50 * time.Second
	e, err := New(Config{
		Plan: tested(slow), Logind: &rig{}, Now: func() time.Duration { return time.Since(start) }, Orphans: dir,
		Run: func(context.Context, Command) Result { return Result{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	e.RestoreDoubtful("slow")
	hastened := time.AfterFunc(200*time.Millisecond, func() { e.Hasten(Ends{Ask: 500 * time.Millisecond}) })
	defer hastened.Stop()
	if err := e.Run(t.Context(), Cause{}, nil); err != nil {
		t.Fatal(err)
	}
	if got := e.States()[0]; time.Since(start) > 30*time.Second || got.Phase != PhaseFailed || got.Why != errDeadline.Error() {
		t.Errorf("after %v the step is %+v, want it cut short after half a second", time.Since(start), got)
	}
}

// A failed step that stops what comes after it does so for the next daemon, too.
func TestStopOutlivesTheDaemon(t *testing.T) {
	first, other := command("first"), command("other")
	first.OnFailure, other.After = Stop, []string{}
	start := time.Now()
	var ran []string
	e, err := New(Config{
		Plan: tested(first, command("second"), command("third"), other), Logind: &rig{}, Now: func() time.Duration { return time.Since(start) },
		Run: func(_ context.Context, c Command) Result { ran = append(ran, c.Args[0]); return Result{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	e.RestoreFailed("first")
	if err := e.Run(t.Context(), Cause{}, map[string]bool{"first": true, "second": true}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ran, " "); got != "other off" {
		t.Errorf("ran %q, want what is beside the failed step, and the power-off", got)
	}
}

// watched makes an executor of one step whose runs, forward and back, are written to a log.
func watched(t *testing.T, dir PidDir, once bool) (e *Executor, log func() string) {
	t.Helper()
	file := string(dir) + "/log"
	write := func(text string) Program {
		return Program{Args: []string{"/bin/sh", "-c", "echo " + text + " >>" + file}, Once: once}
	}
	start := time.Now()
	e, err := New(Config{
		Plan: Plan{Steps: []Step{{Name: "slow", Timeout: 10 * time.Second, Do: write("done"), Undo: write("undone")}}, Command: []string{"/bin/true"}},
		Run:  Process, Logind: &rig{}, Now: func() time.Duration { return time.Since(start) }, Orphans: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, func() string {
		data, _ := os.ReadFile(file)
		return strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", " ")
	}
}

// A shutdown is called off and being undone when the daemon ends: the next one waits for
// what still runs of that, although it knows the step itself to have been over.
func TestUndoingThatOutlivesTheDaemon(t *testing.T) {
	for name, tt := range map[string]struct {
		once bool
		want string
	}{
		"again":       {false, "orphan undone"},
		"never twice": {true, "orphan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := PidDir(t.TempDir())
			e, log := watched(t, dir, tt.once)
			orphan(t, dir, undoing+"slow", "sleep 0.7; echo orphan >>"+string(dir)+"/log")
			if err := e.UndoBegun(t.Context(), Cause{}, "slow"); err != nil {
				t.Fatal(err)
			}
			if got := log(); got != tt.want {
				t.Errorf("ran %q, want %q", got, tt.want)
			}
			if dir.Known(undoing + "slow") {
				t.Error("the undoing is still remembered")
			}
		})
	}
}

// The power fails again while a step is taken back that the daemon before has begun to: the
// undoing ends, and the step is run, also one that must not run twice.
func TestUndoingThatOutlivesTheDaemonIsEndedByItsStep(t *testing.T) {
	for name, once := range map[string]bool{"a step": false, "a step that runs once": true} {
		for _, doubtful := range []bool{false, true} { // as what was run early is, and what was not
			t.Run(fmt.Sprint(name, ", doubtful ", doubtful), func(t *testing.T) {
				t.Parallel()
				dir := PidDir(t.TempDir())
				e, log := watched(t, dir, once)
				cmd := orphan(t, dir, undoing+"slow", "sleep 30; echo orphan >>"+string(dir)+"/log")
				if doubtful {
					e.RestoreDoubtful("slow")
				}
				if err := e.Run(t.Context(), Cause{}, nil); err != nil {
					t.Fatal(err)
				}
				if got := log(); got != "done" {
					t.Errorf("ran %q, want the step", got)
				}
				if _, err := startOf(cmd.Process.Pid); err == nil {
					t.Error("the undoing runs on beside it")
				}
			})
		}
	}
}

// A step that an operator runs is one that a later daemon has to find, too.
func TestRunOneOutlivesTheDaemon(t *testing.T) {
	dir := PidDir(t.TempDir())
	e, log := watched(t, dir, false)
	for undo, name := range map[bool]string{false: "slow", true: undoing + "slow"} {
		found := make(chan int, 1)
		e.Config.Run = func(ctx context.Context, c Command) Result {
			c.Args = []string{"/bin/sleep", "0.2"}
			started := c.Started
			c.Started = func(pid int) {
				started(pid)
				found <- dir.Find(name)
			}
			return Process(ctx, c)
		}
		if _, _, err := e.RunOne(t.Context(), byHand, "slow", undo); err != nil {
			t.Fatal(err)
		}
		if <-found == 0 || dir.Known(name) {
			t.Errorf("undo %v: remembered while it ran: want yes, and not after it", undo)
		}
		e.Config.Run = Process
		cmd := orphan(t, dir, name, "sleep 30")
		_, took, err := e.RunOne(t.Context(), byHand, "slow", undo)
		if want := fmt.Sprintf("process %d", cmd.Process.Pid); err == nil || took != 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("undo %v: RunOne = %v, %v; want it refused for %s", undo, took, err, want)
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		dir.Ended(name)
	}
	orphan(t, dir, "slow", "sleep 0.5; echo orphan >>"+string(dir)+"/log")
	if err := e.Run(t.Context(), Cause{}, nil); err != nil {
		t.Fatal(err)
	}
	if got := log(); got != "orphan done" {
		t.Errorf("ran %q, want the step after what was left of it", got)
	}
}

// The daemon was killed between the start of a step's process and writing it down.
func TestPidDirFindsWhatWasNotWrittenDown(t *testing.T) {
	dir := PidDir(t.TempDir())
	start := func(mark string, session bool) *exec.Cmd {
		cmd := exec.Command("/bin/sleep", "60")
		cmd.Env = append(os.Environ(), mark)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		return cmd
	}
	start(dir.Mark("a"), false)        // leads no session: a child of a step
	start(dir.Mark("ab"), true)        // another step
	start(dir.Mark("a")+"/more", true) // another still
	start(PidDir("/run/other").Mark("a"), true)
	want := start(dir.Mark("a"), true)
	if got := dir.Find("a"); got != 0 {
		t.Errorf("Find = %d for a step that has not begun", got)
	}
	dir.Begun("a", 0)
	if got := dir.Find("a"); got != want.Process.Pid {
		t.Errorf("Find = %d, want %d", got, want.Process.Pid)
	}
	dir.Begun("b", 0)
	if got := dir.Find("b"); got != 0 {
		t.Errorf("Find = %d for a step without a process", got)
	}
}
