package shutdown

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is its own daemon: with SHUTDOWN_CHILD it starts a step and ends. With
// the other variables it is what they say.
func TestMain(m *testing.M) {
	if script := os.Getenv("SHUTDOWN_CHILD"); script != "" {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		Process(ctx, Command{Args: []string{"/bin/sh", "-c", script}, Timeout: time.Minute})
		return
	}
	if dir := os.Getenv("SHUTDOWN_FORCE"); dir != "" {
		forceChild(dir)
		return
	}
	if file := os.Getenv("SHUTDOWN_GUARD"); file != "" {
		guardChild(file)
		return
	}
	os.Exit(m.Run())
}

func sh(t *testing.T, script string, timeout time.Duration) (Result, time.Duration) {
	t.Helper()
	start := time.Now()
	res := Process(t.Context(), Command{Args: []string{"/bin/sh", "-c", script}, Env: os.Environ(), Timeout: timeout})
	return res, time.Since(start)
}

func TestProcessResults(t *testing.T) {
	tests := map[string]struct {
		script string
		exit   int
		output string
		err    bool
	}{
		"success":           {"echo out; echo err >&2", 0, "out\nerr", false},
		"exit status":       {"echo no; exit 7", 7, "no", false},
		"killed by another": {"kill -KILL $$", -1, "", true},
		"no input":          {"cat", 0, "", false},
		"not text":          {`printf 'a\377b'`, 0, "a\uFFFDb", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _ := sh(t, tt.script, 10*time.Second)
			if got.Exit != tt.exit || got.Output != tt.output || (got.Err != nil) != tt.err {
				t.Errorf("%s: %+v, want exit %d, output %q, error %v", tt.script, got, tt.exit, tt.output, tt.err)
			}
		})
	}
	got := Process(t.Context(), Command{Args: []string{"/nonexistent/program"}, Timeout: time.Second})
	if !errors.Is(got.Err, fs.ErrNotExist) || got.Failure() == nil {
		t.Errorf("a program that is not there: %+v, want an error that says so", got)
	}
}

func TestProcessOutputIsBounded(t *testing.T) {
	got, took := sh(t, "echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo last", 20*time.Second)
	if got.Exit != 0 || len(got.Output) > outputHead+outputTail+100 {
		t.Errorf("exit %d, %d bytes of output in %v, want 0 and at most %d", got.Exit, len(got.Output), took, outputHead+outputTail)
	}
	if !strings.HasPrefix(got.Output, "first\n") || !strings.HasSuffix(got.Output, "last") || !strings.Contains(got.Output, "bytes left out") {
		t.Errorf("output is %q … %q, want the beginning, the end and how much is missing", got.Output[:20], got.Output[len(got.Output)-20:])
	}
}

// gone waits until the process has ended (a zombie has).
func gone(t *testing.T, pidFile string) bool {
	t.Helper()
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(b))
	for range 100 {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n, err := strconv.Atoi(pid); err == nil {
		syscall.Kill(n, syscall.SIGKILL) // leave nothing behind
	}
	return false
}

func TestProcessTimeoutEndsTheWholeGroup(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	got, took := sh(t, `sleep 60 & echo $! >`+pid+`; echo working; wait`, 200*time.Millisecond)
	if !errors.Is(got.Err, ErrTimeout) || got.Exit != -1 || got.Output != "working" {
		t.Errorf("%+v, want ErrTimeout with the output so far", got)
	}
	if took > killWait+time.Second {
		t.Errorf("took %v, want little more than the time-out", took)
	}
	if !gone(t, pid) {
		t.Error("a grandchild outlived the time-out")
	}
}

func TestProcessThatIgnoresSIGTERMIsKilled(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	got, took := sh(t, `trap '' TERM; (while :; do sleep 0.1; done) & echo $! >`+pid+`; while :; do sleep 0.1; done`, 100*time.Millisecond)
	if !errors.Is(got.Err, ErrTimeout) {
		t.Errorf("%+v, want ErrTimeout", got)
	}
	if took < killWait || took > killWait+1500*time.Millisecond {
		t.Errorf("took %v, want SIGKILL %v after SIGTERM", took, killWait)
	}
	if !gone(t, pid) {
		t.Error("a grandchild that ignores SIGTERM is still there")
	}
}

func TestProcessMayCleanUpOnSIGTERM(t *testing.T) {
	got, took := sh(t, `trap 'echo cleaned up; exit 0' TERM; sleep 60 & wait`, 100*time.Millisecond)
	if !errors.Is(got.Err, ErrTimeout) || got.Output != "cleaned up" || took > killWait+500*time.Millisecond {
		t.Errorf("%+v after %v, want ErrTimeout and what it said while cleaning up", got, took)
	}
}

// A step that starts a daemon is finished when it says so.
func TestProcessDoesNotWaitForWhatItLeavesBehind(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	got, took := sh(t, `sleep 30 & echo $! >`+pid+`; echo started`, 10*time.Second)
	b, _ := os.ReadFile(pid)
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
		defer syscall.Kill(n, syscall.SIGKILL)
		if syscall.Kill(n, 0) != nil {
			t.Error("what the step left behind was killed")
		}
	}
	if got.Err != nil || got.Output != "started" || took > time.Second {
		t.Errorf("%+v after %v, want success at once", got, took)
	}
}

func TestProcessAbort(t *testing.T) {
	abort, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	got := Process(t.Context(), Command{Args: []string{"sleep", "60"}, Timeout: time.Minute, Abort: abort})
	if !errors.Is(got.Err, ErrTakenOver) || time.Since(start) > 3*time.Second {
		t.Errorf("%+v after %v, want ErrTakenOver at once", got, time.Since(start))
	}
}

// The daemon ends in the middle of a step that goes on printing: the step is not
// killed, not by SIGPIPE either, and comes to its end.
func TestProcessOutlivesTheDaemon(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "SHUTDOWN_CHILD=cd "+dir+"; while ! [ -e daemon-ended ]; do sleep 0.05; done; "+
		"for i in 1 2 3; do echo still printing; done; touch finished")
	if err := cmd.Run(); err != nil { // returns, although the step still waits
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "daemon-ended"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if _, err := os.Stat(filepath.Join(dir, "finished")); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the step did not come to its end after the daemon had ended")
}

func TestEnvironmentIsTheStepsOwn(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("KEPT", "yes")
	got := Process(t.Context(), Command{
		Args:    []string{"/bin/sh", "-c", `echo "$NOTIFY_SOCKET|$KEPT|$DODAI_REASON|$DODAI_STEP"; ps -o sid=,pgid= -p $$ | tr -d ' \n'; echo; echo $$$$`},
		Env:     environment(Cause{Reason: "lb", Text: strings.Repeat("x", 1<<20)}, "s"),
		Timeout: 10 * time.Second,
	})
	lines := strings.Split(got.Output, "\n")
	if len(lines) != 3 || lines[0] != "|yes|lb|s" || lines[1] != lines[2] {
		t.Errorf("%+v, want no NOTIFY_SOCKET, the reason, and a session and group of its own", got)
	}
}

// The whole executor with real programs.
func TestExecutorWithRealSteps(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	script := func(s string) []string { return []string{"/bin/sh", "-c", s} }
	e, err := New(Config{
		Plan: Plan{
			Steps: []Step{
				{Name: "one", Do: Program{Args: script(`echo one >>` + dir + `/log; sleep 0.2`)}},
				{Name: "hangs", Do: Program{Args: script(`echo hangs >>` + dir + `/log; sleep 60`)}, Timeout: 200 * time.Millisecond},
				{Name: "fails", Do: Program{Args: script(`echo fails >>` + dir + `/log; exit 3`)}},
				{Name: "two", Do: Program{Args: script(`echo "$DODAI_STEP $DODAI_REASON" >>` + dir + `/log`)}},
			},
			Command: script(`echo off >>` + dir + `/log`),
		},
		Run: Process, Logind: &rig{}, Now: func() time.Duration { return time.Since(start) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context(), Cause{Reason: "charge"}, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(dir + "/log")
	if want := "one\nhangs\nfails\ntwo charge\noff\n"; string(b) != want || err != nil {
		t.Errorf("log = %q, %v, want %q", b, err, want)
	}
	t.Logf("four steps, one hung, and power-off in %v", time.Since(start))
}

// TestFailureSaysWhy: an error has the last line of what was printed, whatever that is.
func TestFailureSaysWhy(t *testing.T) {
	tests := map[string]struct {
		result Result
		want   string
	}{
		"silent":        {Result{Exit: 3}, "exit status 3"},
		"blank":         {Result{Exit: 3, Output: " \n\n"}, "exit status 3"},
		"the last line": {Result{Exit: 3, Output: "flushing\nno such volume \n\n"}, "exit status 3: no such volume"},
		"a terminal's":  {Result{Exit: 3, Output: "a\x1b[2Jb"}, "exit status 3: a\uFFFD[2Jb"},
		"long":          {Result{Exit: 3, Output: strings.Repeat("ä", 5000)}, "exit status 3: " + strings.Repeat("ä", saidLimit) + "…"},
		"its own error": {Result{Exit: -1, Output: "working", Err: ErrTimeout}, "timed out"},
	}
	for name, tt := range tests {
		if got := tt.result.Failure(); got == nil || got.Error() != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
	if got := (Result{Output: "all is well"}).Failure(); got != nil {
		t.Errorf("a success with output: %v", got)
	}
}
