package action

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// farm is a host with libvirt in virtual time: a domain is off some time after it was
// asked for the nth time.
type farm struct {
	mu    sync.Mutex
	start time.Time
	log   []string
	off   map[string]time.Time // when it is off; zero: it is up
	needs map[string]int       // requests it takes; absent: 1
	takes map[string]time.Duration
	hangs string // a command that never comes back
	now   int    // requests on their way, and the most there were
	most  int
}

func newFarm(names ...string) *farm {
	f := &farm{start: time.Now(), off: map[string]time.Time{}, needs: map[string]int{}, takes: map[string]time.Duration{}}
	for _, n := range names {
		f.off[uuid(n)] = time.Time{}
	}
	return f
}

func uuid(name string) string { return fmt.Sprintf("%036s", name) }

// run is a Runner.
func (f *farm) run(ctx context.Context, c shutdown.Command) shutdown.Result {
	f.mu.Lock()
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.now--; f.mu.Unlock() }()
	command, id := c.Args[3], c.Args[len(c.Args)-1]
	work := 10 * time.Millisecond
	if command == f.hangs {
		work = 24 * time.Hour
	}
	var abort <-chan struct{}
	if c.Abort != nil {
		abort = c.Abort.Done()
	}
	select {
	case <-time.After(min(work, c.Timeout)):
	case <-abort:
		return shutdown.Result{Exit: -1, Err: shutdown.ErrTakenOver}
	case <-ctx.Done():
		return shutdown.Result{Exit: -1, Err: context.Cause(ctx)}
	}
	if work > c.Timeout {
		return shutdown.Result{Exit: -1, Err: fmt.Errorf("%w after %v", shutdown.ErrTimeout, c.Timeout)}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch command {
	case "list":
		var ids []string
		for id, off := range f.off {
			if off.IsZero() || time.Now().Before(off) {
				ids = append(ids, id+" "+strings.TrimLeft(id, "0"))
			}
		}
		slices.Sort(ids)
		return shutdown.Result{Output: strings.Join(ids, "\n")}
	case "domstate":
		return shutdown.Result{Output: "running\n"}
	}
	f.log = append(f.log, fmt.Sprintf("%.0fs %s %s", time.Since(f.start).Seconds(), command, strings.TrimLeft(id, "0")))
	f.needs[id]--
	if command == "destroy" || f.needs[id] <= 0 && f.off[id].IsZero() {
		f.off[id] = time.Now().Add(f.takes[id])
		if command == "destroy" {
			f.off[id] = time.Now()
		}
	}
	return shutdown.Result{}
}

func (f *farm) task(timeout time.Duration) shutdown.Task {
	return shutdown.Task{Step: "step", Timeout: timeout, Process: f.run}
}

func TestGuestsOverTime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		guests  []string
		needs   map[string]int
		takes   map[string]time.Duration
		hangs   string
		destroy time.Duration
		timeout time.Duration
		abort   time.Duration
		log     string
		fails   string
		took    time.Duration // and not 2 s more
	}{
		{name: "each in its own time", guests: []string{"a", "b"}, takes: map[string]time.Duration{"a": 5 * time.Second, "b": 90 * time.Second}, timeout: 5 * time.Minute,
			log: "0s shutdown a, 0s shutdown b, 20s shutdown b, 40s shutdown b, 61s shutdown b, 81s shutdown b", took: 90 * time.Second},
		{name: "misses the first request", guests: []string{"a"}, needs: map[string]int{"a": 2}, takes: map[string]time.Duration{"a": 3 * time.Second}, timeout: time.Minute,
			log: "0s shutdown a, 20s shutdown a", took: 23 * time.Second},
		{name: "never", guests: []string{"a", "b"}, needs: map[string]int{"a": 99}, timeout: 30 * time.Second,
			log: "0s shutdown a, 0s shutdown b, 20s shutdown a", fails: "timed out after 30s; still up: a", took: 30 * time.Second},
		{name: "by force", guests: []string{"a", "b"}, needs: map[string]int{"a": 99}, takes: map[string]time.Duration{"b": 10 * time.Second}, destroy: 45 * time.Second, timeout: time.Minute,
			log: "0s shutdown a, 0s shutdown b, 20s shutdown a, 40s shutdown a, 46s destroy a", took: 45 * time.Second},
		{name: "the list hangs", guests: []string{"a"}, hangs: "list", timeout: time.Minute, fails: "timed out after 15s", took: 15 * time.Second},
		{name: "requests hang", guests: []string{"a"}, hangs: "shutdown", timeout: 20 * time.Second, fails: "still up: a", took: 20 * time.Second},
		{name: "requests hang, by force", guests: []string{"a"}, hangs: "shutdown", destroy: 10 * time.Second, timeout: time.Minute, log: "15s destroy a", took: 15 * time.Second},
		{name: "aborted", guests: []string{"a"}, needs: map[string]int{"a": 99}, timeout: time.Minute, abort: 7 * time.Second, log: "0s shutdown a", fails: shutdown.ErrTakenOver.Error(), took: 7 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFarm(tt.guests...)
				f.hangs = tt.hangs
				for name, n := range tt.needs {
					f.needs[uuid(name)] = n
				}
				for name, d := range tt.takes {
					f.takes[uuid(name)] = d
				}
				task := f.task(tt.timeout)
				if tt.abort > 0 {
					abort, cancel := context.WithCancel(t.Context())
					defer cancel()
					task.Abort = abort
					time.AfterFunc(tt.abort, cancel)
				}
				res := Libvirt{Libvirt: config.Libvirt{Destroy: config.Duration(tt.destroy)}}.Run(t.Context(), task)
				expectEnd(t, res, tt.fails)
				slices.Sort(f.log[:min(2, len(f.log))]) // the first two were sent at once
				if got := strings.Join(f.log, ", "); got != tt.log {
					t.Errorf("requests\n%s, want\n%s", got, tt.log)
				}
				if took := time.Since(f.start); took < tt.took || took > tt.took+2*time.Second {
					t.Errorf("took %v, want about %v", took, tt.took)
				}
				if took := time.Since(f.start); took > tt.timeout+time.Second {
					t.Errorf("took %v of %v", took, tt.timeout)
				}
				t.Logf("%v\n%s", res.Err, res.Output)
			})
		})
	}
}

// The end of the daemon ends a run at once, whatever is on its way.
func TestGuestsAndTheEndOfTheDaemon(t *testing.T) {
	for _, hangs := range []string{"", "list", "domstate", "shutdown"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFarm("a", "b")
			f.hangs = hangs
			f.needs[uuid("a")], f.needs[uuid("b")] = 99, 99
			ctx, end := context.WithCancelCause(t.Context())
			ended := errors.New("the daemon ends")
			time.AfterFunc(5*time.Second, func() { end(ended) })
			res := Libvirt{}.Run(ctx, f.task(time.Hour))
			if took := time.Since(f.start); !errors.Is(res.Err, ended) || took != 5*time.Second {
				t.Errorf("with %q hanging: %+v after %v, want its cause at once", hangs, res, took)
			}
		})
	}
}

// However many there are, requests are bounded, and all are asked.
func TestGuestsAreManyAndRequestsFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 200 {
			names = append(names, fmt.Sprintf("g%d", i))
		}
		f := newFarm(names...)
		expectEnd(t, Libvirt{}.Run(t.Context(), f.task(time.Hour)), "")
		if f.most > 17 || len(f.log) != 200 {
			t.Errorf("%d programs at once and %d requests, want 16 with the list beside them, and 200", f.most, len(f.log))
		}
		if took := time.Since(f.start); took > 30*time.Second {
			t.Errorf("200 guests took %v", took)
		}
	})
}
