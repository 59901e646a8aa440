package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

// recorder is a Runner that writes down what it would run, with the time.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	log   []string
	takes map[string]time.Duration // by program
	fails map[string]error
}

func (r *recorder) run(ctx context.Context, c Command) (string, error) {
	r.mu.Lock()
	r.log = append(r.log, fmt.Sprintf("%gs %s", time.Since(r.start).Seconds(), strings.Join(c.Args, " ")))
	takes, err := r.takes[c.Args[0]], r.fails[c.Args[0]]
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	select {
	case <-time.After(takes):
		return "", err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log, "\n")
}

// TestWhatAProgramGets: its arguments, the event, and no word that the service manager
// meant for the agent alone.
func TestWhatAProgramGets(t *testing.T) {
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "KEPT"} {
		t.Setenv(name, "x")
	}
	got := make(chan Command, 2)
	h := New(Config{
		Hooks: []Hook{{On: dodai.EventNames, Command: []string{"p", strings.Repeat("{text}", 20)}}}, Now: func() time.Duration { return 0 },
		Run: func(_ context.Context, c Command) (string, error) { got <- c; return "", nil },
	})
	h.Handle(dodai.Event{Name: dodai.EventPSULost, Text: strings.Repeat("x", maxValue)})
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := <-got
	env := "\n" + strings.Join(c.Env, "\n") + "\n"
	if c.Timeout != 10*time.Second || len(c.Args) != 2 || len(c.Args[1]) != 100<<10 || !strings.Contains(env, "\nKEPT=x\n") || !strings.Contains(env, "\nDODAI_EVENT=psu_lost\n") {
		t.Errorf("time-out %v, %d arguments, environment\n%s", c.Timeout, len(c.Args), env)
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"} {
		if strings.Contains(env, name) {
			t.Errorf("the program is told %s", name)
		}
	}
}

// TestDefaults runs a real program that fails and has a lot to say.
func TestDefaults(t *testing.T) {
	failed := make(chan dodai.Event, 1)
	var log bytes.Buffer
	now := time.Duration(0)
	h := New(Config{
		Hooks:  []Hook{{On: []dodai.EventName{dodai.EventMainsLost}, Command: []string{"sh", "-c", "echo why; exit 3"}}},
		Now:    func() time.Duration { now += 2 * time.Second; return now }, // start, end, report
		Failed: func(e dodai.Event) { failed <- e },
		Log:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	h.Handle(dodai.Event{Name: dodai.EventMainsLost})
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := <-failed
	want := map[string]any{"on": "mains_lost", "took_s": 2.0, "error": "exit status 3", "output": "why"}
	if diff := cmp.Diff(want, e.Fields); diff != "" || e.At != 6*time.Second || time.Since(e.Wall) > time.Minute {
		t.Errorf("event %+v, fields -want +got:\n%s", e, diff)
	}
	if want := `level=WARN msg="hook failed" hook=0 command=sh event=mains_lost error="exit status 3"`; !strings.Contains(log.String(), want) {
		t.Errorf("log %s, want %s", log.String(), want)
	}
	h = New(Config{Hooks: []Hook{{On: dodai.EventNames, Command: []string{"/nonexistent"}}}, Now: func() time.Duration { return 0 }})
	h.Handle(dodai.Event{Name: dodai.EventMainsLost}) // nobody wants to know
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUrgent(t *testing.T) {
	var urgent []dodai.EventName
	for _, name := range dodai.EventNames {
		if Urgent(name) {
			urgent = append(urgent, name)
		}
	}
	want := []dodai.EventName{dodai.EventShutdownDecided, dodai.EventShutdownStarted, dodai.EventPowerOff, dodai.EventShutdownFailed}
	if diff := cmp.Diff(want, urgent); diff != "" {
		t.Error(diff)
	}
}

type rig struct {
	*Hooks
	recorder
	failed chan dodai.Event
}

func newRig(hooks ...Hook) *rig {
	r := &rig{failed: make(chan dodai.Event, 10000)}
	r.start, r.takes, r.fails = time.Now(), map[string]time.Duration{}, map[string]error{}
	r.Hooks = New(Config{
		Hooks: hooks, Run: r.run, Now: func() time.Duration { return time.Since(r.start) },
		Failed: func(e dodai.Event) { r.failed <- e },
	})
	return r
}

func hookOn(program string, names ...dodai.EventName) Hook {
	return Hook{On: names, Command: []string{program, "{device}"}}
}

func (r *rig) events(name dodai.EventName, from, to int) {
	for i := from; i < to; i++ {
		r.Handle(dodai.Event{Name: name, Device: fmt.Sprint(i)})
	}
}

func (r *rig) close(t *testing.T) {
	t.Helper()
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHooksRunInOrderAndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(hookOn("slow", dodai.EventMainsLost), hookOn("fast", dodai.EventMainsLost, dodai.EventPSULost), hookOn("never", dodai.EventDrillStarted))
		r.takes["slow"] = 4 * time.Second
		r.events(dodai.EventMainsLost, 0, 3)
		synctest.Wait()
		r.events(dodai.EventPSULost, 3, 4)
		r.close(t)
		var slow, fast []string
		for line := range strings.Lines(r.String()) {
			if line = strings.TrimSpace(line); strings.Contains(line, "slow") {
				slow = append(slow, line)
			} else {
				fast = append(fast, line)
			}
		}
		if got := strings.Join(slow, ", "); got != "0s slow 0, 4s slow 1, 8s slow 2" {
			t.Errorf("the slow hook: %s", got)
		}
		if got := strings.Join(fast, ", "); got != "0s fast 0, 0s fast 1, 0s fast 2, 0s fast 3" {
			t.Errorf("the fast hook: %s, want it undisturbed by the slow one", got)
		}
	})
}

func TestHungHookIsEndedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hookOn("hangs", dodai.EventMainsLost)
		h.Timeout = 3 * time.Second
		r := newRig(h)
		r.takes["hangs"] = time.Hour
		r.Handle(dodai.Event{Name: dodai.EventMainsLost, Device: "a", Drill: "d1"})
		r.Handle(dodai.Event{Name: dodai.EventMainsLost, Device: "b"})
		r.close(t)
		if got := r.String(); got != "0s hangs a\n3s hangs b" {
			t.Errorf("ran %q", got)
		}
		ev := <-r.failed
		if ev.Name != dodai.EventHookFailed || ev.Device != "hooks[0]" || ev.At != 3*time.Second || ev.Drill != "d1" ||
			ev.Fields["on"] != "mains_lost" || !strings.Contains(ev.Text, "hangs failed on mains_lost") {
			t.Errorf("reported %+v", ev)
		}
	})
}

func TestHookFailureIsNotHookedRoundAndRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(hookOn("breaks", dodai.EventMainsLost), hookOn("breaks too", dodai.EventHookFailed))
		r.fails["breaks"], r.fails["breaks too"] = errors.New("exit status 1"), errors.New("exit status 2")
		r.events(dodai.EventMainsLost, 0, 1)
		synctest.Wait()
		r.Handle(<-r.failed) // as the agent does
		r.close(t)
		if len(r.failed) != 0 {
			t.Errorf("the failure of a hook on hook_failed was reported: %+v", <-r.failed)
		}
		if got := r.String(); got != "0s breaks 0\n0s breaks too hooks[0]" {
			t.Errorf("ran %q", got)
		}
	})
}

func TestUrgentEventsStartAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(hookOn("x", dodai.EventAlertRaised, dodai.EventShutdownDecided, dodai.EventShutdownStarted))
		r.takes["x"] = 9 * time.Second
		r.events(dodai.EventAlertRaised, 0, 100)
		time.Sleep(time.Second)
		r.Handle(dodai.Event{Name: dodai.EventShutdownDecided, Device: "decided"})
		r.Handle(dodai.Event{Name: dodai.EventShutdownStarted, Device: "started"})
		synctest.Wait()
		if r.Pending() != 99 {
			t.Errorf("%d events wait, want 99", r.Pending())
		}
		for range 3 { // two workers are busy, the third takes one, two wait
			r.Handle(dodai.Event{Name: dodai.EventShutdownStarted, Device: "again"})
		}
		synctest.Wait()
		if r.Pending() != 101 {
			t.Errorf("%d events wait, want 101: three urgent programs at once", r.Pending())
		}
		if got := r.String(); !strings.Contains(got, "1s x decided") || !strings.Contains(got, "1s x started") {
			t.Errorf("ran %q, want both at 1 s although the hook hangs and 99 events wait", got)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := r.Close(short)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Close took %v, want 1 s: what runs is killed then", took)
		}
		if ran := strings.Count(r.String(), "\n") + 1; ran != 4 {
			t.Errorf("%d programs ran, want 4 and none after Close", ran)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "101 events dropped") {
			t.Errorf("Close = %v, want the deadline and what was dropped", err)
		}
	})
}

// TestOneWakeForSeveral: events that arrive before a worker wakes find one each.
func TestOneWakeForSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(hookOn("x", dodai.EventPowerOff))
		r.takes["x"] = time.Second
		k := r.hooks[0]
		k.mu.Lock()
		for i := range urgentWorkers {
			k.lanes[urgent].queue = append(k.lanes[urgent].queue, dodai.Event{Name: dodai.EventPowerOff, Device: fmt.Sprint(i)})
		}
		k.lanes[urgent].signal()
		k.mu.Unlock()
		synctest.Wait()
		if got := r.String(); strings.Count(got, "0s x") != urgentWorkers {
			t.Errorf("ran %q, want %d at once", got, urgentWorkers)
		}
		r.close(t)
	})
}

func TestFullQueueDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(hookOn("x", dodai.EventAlertRaised))
		r.takes["x"] = time.Second
		r.events(dodai.EventAlertRaised, 0, 1)
		synctest.Wait() // it runs
		start := time.Now()
		r.events(dodai.EventAlertRaised, 1, queueLimit+11)
		if took := time.Since(start); took != 0 || r.Pending() != queueLimit {
			t.Errorf("Handle took %v, %d pending, want no time and %d", took, r.Pending(), queueLimit)
		}
		r.close(t)
		lines := strings.Split(r.String(), "\n")
		if len(lines) != queueLimit+1 || lines[1] != "1s x 11" {
			t.Errorf("%d runs, the second is %q, want the oldest 10 dropped", len(lines), lines[1])
		}
		ev := <-r.failed
		if len(r.failed) != 0 || ev.Fields["dropped"] != 10 {
			t.Errorf("reported %+v and %d more, want 10 dropped in one event", ev, len(r.failed))
		}
	})
}

func TestCloseWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(hookOn("x", dodai.EventAgentStopped))
		r.takes["x"] = 2 * time.Second
		r.events(dodai.EventAgentStopped, 0, 1)
		start := time.Now()
		r.close(t)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("Close took %v, want the 2 s of the hook", took)
		}
		r.events(dodai.EventAgentStopped, 1, 2)
		r.close(t) // twice is harmless
		if got := r.String(); got != "0s x 0" {
			t.Errorf("ran %q, want nothing after Close", got)
		}
	})
}

func TestHandleAndCloseAtOnce(t *testing.T) {
	for range 200 {
		r := newRig(hookOn("x", dodai.EventMainsLost))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { r.events(dodai.EventMainsLost, 0, 20) })
		}
		wg.Go(func() { r.close(t) })
		wg.Wait()
	}
}
