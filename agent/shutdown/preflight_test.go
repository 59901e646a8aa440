package shutdown

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// probe is an action whose check is the test's.
type probe struct {
	name  string
	check func(context.Context, Task) []Finding
	back  Action
}

func (p probe) Kind() string                     { return "probe" }
func (p probe) String() string                   { return "probe " + p.name }
func (p probe) Run(context.Context, Task) Result { return Result{} }
func (p probe) Inverse() Action                  { return p.back }
func (p probe) Repeatable() bool                 { return true }
func (p probe) Check(ctx context.Context, t Task) []Finding {
	if p.check == nil {
		return nil
	}
	return p.check(ctx, t)
}

func says(text string) func(context.Context, Task) []Finding {
	return func(context.Context, Task) []Finding { return []Finding{{Check: "planted", Text: text}} }
}

// told is what a preflight found, a line for each finding.
func told(p Preflight) string {
	var lines []string
	for _, f := range p.Findings() {
		lines = append(lines, fmt.Sprintf("%s %s: %s", f.Step, f.Check, f.Text))
	}
	return strings.Join(lines, "\n")
}

func TestPreflight(t *testing.T) {
	hang := func(context.Context, Task) []Finding { time.Sleep(time.Hour); return nil }
	for _, tt := range []struct {
		name  string
		steps []Step
		want  string
		took  time.Duration
	}{
		{"nothing to find", []Step{{Name: "a", Do: probe{name: "a", back: probe{name: "b"}}}}, "", 0},
		{"a fault, and one of the undoing", []Step{
			{Name: "a", Do: probe{name: "a", check: says("no unit"), back: probe{check: says("no program")}}},
			{Name: "b", Do: probe{name: "b"}, Undo: probe{check: says("gone")}},
		}, "a planted: no unit\na planted: undoing it: no program\nb planted: undoing it: gone", 0},
		{"what stands against both is said once", []Step{
			{Name: "a", Do: probe{name: "a", check: says("no user"), back: probe{check: says("no user")}}},
		}, "a planted: no user", 0},
		{"a check that panics", []Step{
			{Name: "a", Do: probe{name: "a", check: func(context.Context, Task) []Finding { panic("nil map") }}},
		}, `a check_broken: the check of "probe a" broke: nil map`, 0},
		{"one that heeds the end of its time", []Step{{Name: "a", Do: probe{name: "a", check: func(ctx context.Context, _ Task) []Finding {
			<-ctx.Done()
			return []Finding{{Check: "silent", Text: context.Cause(ctx).Error()}}
		}}}}, "a silent: timed out after 15s", 15 * time.Second},
		{"one that hangs", []Step{{Name: "a", Do: probe{name: "a", check: hang}}, {Name: "b", Do: probe{name: "b", check: says("seen")}}},
			"a check_hangs: \"probe a\" hangs: its check has not come back after 16s\nb planted: seen", 16 * time.Second},
		{"a step's own time-out is less", []Step{{Name: "a", Timeout: 3 * time.Second, Do: probe{name: "a", check: hang}}},
			`a check_hangs: "probe a" hangs: its check has not come back after 4s`, 4 * time.Second},
		{"what a host says is made fit to be shown", []Step{{Name: "a", Do: probe{name: "a", check: says("\x1b[2Jcleared")}}},
			"a planted: \ufffd[2Jcleared", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tested(tt.steps...))
				start := time.Now()
				p := r.Preflight(t.Context(), &Hanging{})
				if got := withoutPowerOff(p); got != tt.want {
					t.Errorf("found\n%s\nwant\n%s", got, tt.want)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if last := p.Steps[len(p.Steps)-1]; len(p.Steps) != len(tt.steps)+1 || last.Step != PowerOffStep || last.Does != "off" {
					t.Errorf("%d steps, the last %+v; want each, and the power-off last", len(p.Steps), last)
				}
				if ran := r.only("run", "record", "event"); ran != "" {
					t.Errorf("a preflight did:\n%s", ran)
				}
				synctest.Wait()
				time.Sleep(2 * time.Hour) // what hangs ends with the bubble
			})
		})
	}
}

// withoutPowerOff leaves out what the rig's program for the power-off, which is none,
// comes to.
func withoutPowerOff(p Preflight) string {
	p.Steps = p.Steps[:len(p.Steps)-1]
	return told(p)
}

// A check that hangs is not begun again until it has come back.
func TestPreflightHangsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int64
		r := newRig(t, tested(Step{Name: "a", Do: probe{name: "a", check: func(context.Context, Task) []Finding {
			begun.Add(1)
			time.Sleep(time.Hour)
			return nil
		}}}))
		var h Hanging
		beside := make(chan Preflight, 1)
		go func() { beside <- r.Preflight(t.Context(), &h) }()
		r.Preflight(t.Context(), &h)
		if got := withoutPowerOff(<-beside); begun.Load() != 2 || strings.Contains(got, "earlier") {
			t.Errorf("begun %d times by two at once, found %q", begun.Load(), got)
		}
		if got := withoutPowerOff(r.Preflight(t.Context(), &h)); begun.Load() != 2 || !strings.Contains(got, "an earlier check has not come back yet") {
			t.Errorf("begun %d times, found %q", begun.Load(), got)
		}
		time.Sleep(2 * time.Hour)
		r.Preflight(t.Context(), &h)
		if begun.Load() != 3 {
			t.Errorf("begun %d times, want again once it has come back", begun.Load())
		}
		time.Sleep(2 * time.Hour)
	})
}

// The end of whoever asks is not held up by a check that hangs.
func TestPreflightEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		var steps []Step
		for i := range 20 {
			steps = append(steps, Step{Name: fmt.Sprint("s", i), Do: probe{name: fmt.Sprint(i), check: func(context.Context, Task) []Finding {
				time.Sleep(time.Hour)
				return nil
			}}})
		}
		r := newRig(t, tested(steps...))
		start := time.Now()
		if p := r.Preflight(ctx, &Hanging{}); len(p.Steps) != 21 || time.Since(start) != time.Second {
			t.Errorf("%d steps after %v, want it over after 1 s", len(p.Steps), time.Since(start))
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestPreflightEightAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []Step
		for i := range 16 {
			steps = append(steps, Step{Name: fmt.Sprint("s", i), Do: probe{name: fmt.Sprint(i), check: func(context.Context, Task) []Finding {
				time.Sleep(time.Second)
				return nil
			}}})
		}
		r := newRig(t, tested(steps...))
		start := time.Now()
		p := r.Preflight(t.Context(), &Hanging{})
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("16 checks of 1 s took %v, want 2 s", took)
		}
		if p.Steps[3].Step != "s3" || p.Steps[3].TookS != 1 || p.Steps[3].Does != "probe 3" {
			t.Errorf("the fourth is %+v", p.Steps[3])
		}
	})
}

// A program that a check has started is ended with it, not left behind.
func TestPreflightKillsPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "pid")
	e, err := New(Config{Plan: tested(Step{Name: "a", Timeout: time.Second, Do: probe{check: func(ctx context.Context, t Task) []Finding {
		t.Exec(ctx, "", "/bin/sh", "-c", "echo $$ >"+pidFile+"; exec sleep 60")
		return []Finding{{Check: "slow", Text: "it hung"}}
	}}}), Run: Process, Logind: &rig{}, Now: func() time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	if got := withoutPowerOff(e.Preflight(t.Context(), &Hanging{})); got != "a slow: it hung" {
		t.Errorf("found %q", got)
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err == nil {
		t.Errorf("process %s of a check still runs", pid)
	}
}
