package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
