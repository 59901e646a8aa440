package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	queueLimit    = 256             // events that wait for one hook
	urgentWorkers = 3               // programs of one hook that urgent events may run at once
	killedWait    = 2 * time.Second // for programs to end that were killed
)

// Config is what hooks are made of. Now is required.
type Config struct {
	Hooks []Hook
	Now   func() time.Duration // the agent's clock, for the events about failures
	Wall  func() time.Time     // nil: time.Now
	// Failed gets a hook_failed event for each hook that failed. It must not block. A
	// hook that fails over a hook_failed is only logged.
	Failed func(dodai.Event)
	Run    Runner       // nil: Process
	Log    *slog.Logger // nil: none
}

// Hooks runs programs when events happen. Handle may be called from any goroutine.
type Hooks struct {
	cfg   Config
	hooks []*hook
	wg    sync.WaitGroup
	stop  context.CancelFunc // kills what runs
}

// hook is one hook with its queues.
type hook struct {
	Hook
	index int
	lanes [2]lane // ordinary, urgent

	mu      sync.Mutex
	closed  bool
	dropped int // since the last report
}

type lane struct {
	queue []dodai.Event // guarded by hook.mu
	wake  chan struct{}
}

const (
	ordinary = iota
	urgent
)

// New starts the workers of hooks that Validate accepts. Close ends them.
func New(c Config) *Hooks {
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Failed == nil {
		c.Failed = func(dodai.Event) {}
	}
	if c.Run == nil {
		c.Run = Process
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &Hooks{cfg: c, stop: stop}
	for i, one := range c.Hooks {
		k := &hook{Hook: one, index: i}
		h.hooks = append(h.hooks, k)
		for l, workers := range [...]int{ordinary: 1, urgent: urgentWorkers} {
			k.lanes[l].wake = make(chan struct{}, 1)
			for range workers {
				h.wg.Go(func() { h.work(ctx, k, &k.lanes[l]) })
			}
		}
	}
	return h
}

// Urgent reports whether events of the name overtake all others.
func Urgent(name dodai.EventName) bool {
	switch name {
	case dodai.EventShutdownDecided, dodai.EventShutdownStarted, dodai.EventPowerOff, dodai.EventShutdownFailed:
		return true
	}
	return false
}

// Handle hands e to every hook that asked for it. It never blocks.
func (h *Hooks) Handle(e dodai.Event) {
	for _, k := range h.hooks {
		if slices.Contains(k.On, e.Name) {
			k.put(e)
		}
	}
}

// Listens reports whether a hook asked for events of the name.
func (h *Hooks) Listens(name dodai.EventName) bool {
	return slices.ContainsFunc(h.hooks, func(k *hook) bool { return slices.Contains(k.On, name) })
}

// Tell runs the programs of all hooks that asked for e, at once and past everything that
// waits, and returns when they have ended, with what failed. When ctx ends they are
// killed. Failures are reported as those of Handle are.
func (h *Hooks) Tell(ctx context.Context, e dodai.Event) error {
	var wg sync.WaitGroup
	errs := make([]error, len(h.hooks))
	for i, k := range h.hooks {
		if slices.Contains(k.On, e.Name) {
			wg.Go(func() { errs[i] = h.handle(ctx, k, e) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (k *hook) put(e dodai.Event) {
	l := &k.lanes[ordinary]
	if Urgent(e.Name) {
		l = &k.lanes[urgent]
	}
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return
	}
	if len(l.queue) >= queueLimit {
		l.queue = slices.Delete(l.queue, 0, 1)
		k.dropped++
	}
	l.queue = append(l.queue, e)
	l.signal()
	k.mu.Unlock()
}

// signal wakes one worker. The hook's mutex is held and the hook not closed.
func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Pending counts events that no program was started for yet.
func (h *Hooks) Pending() int {
	n := 0
	for _, k := range h.hooks {
		k.mu.Lock()
		n += len(k.lanes[ordinary].queue) + len(k.lanes[urgent].queue)
		k.mu.Unlock()
	}
	return n
}

// Close takes no more events and waits until those it has are handled. When ctx ends
// first, the rest is dropped, what runs is killed, and the error says so.
func (h *Hooks) Close(ctx context.Context) error {
	for _, k := range h.hooks {
		k.mu.Lock()
		if !k.closed {
			k.closed = true
			for l := range k.lanes {
				close(k.lanes[l].wake)
			}
		}
		k.mu.Unlock()
	}
	done := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(done)
	}()
	defer h.stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	left := h.Pending()
	h.stop()
	select {
	case <-done:
	case <-time.After(killedWait):
	}
	return fmt.Errorf("notify: close: hooks still ran, %d events dropped: %w", left, context.Cause(ctx))
}

func (h *Hooks) work(ctx context.Context, k *hook, l *lane) {
	for ctx.Err() == nil {
		e, ok, dropped := k.take(l)
		if dropped > 0 {
			h.failed(k, e, fmt.Sprintf("%d events dropped, the hook is too slow", dropped), map[string]any{"dropped": dropped})
		}
		if ok {
			_ = h.handle(ctx, k, e) // it is reported
			continue
		}
		select {
		case _, open := <-l.wake:
			if !open && k.idle(l) {
				return
			}
		case <-ctx.Done():
		}
	}
}

// take returns the next event, and how many were dropped since the last report.
func (k *hook) take(l *lane) (e dodai.Event, ok bool, dropped int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(l.queue) == 0 {
		return e, false, 0
	}
	e, dropped = l.queue[0], k.dropped
	l.queue = slices.Delete(l.queue, 0, 1)
	k.dropped = 0
	if len(l.queue) > 0 && !k.closed { // work for another one
		l.signal()
	}
	return e, true, dropped
}

func (k *hook) idle(l *lane) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(l.queue) == 0
}

// handle runs the program for one event.
func (h *Hooks) handle(ctx context.Context, k *hook, e dodai.Event) error {
	args, env := Expanded(k.Command, e)
	start := h.cfg.Now()
	out, err := h.cfg.Run(ctx, Command{Args: args, Env: append(inherited(), env...), Timeout: k.timeout(), Hook: k.index, User: k.User, Event: e})
	took := h.cfg.Now() - start
	if err == nil {
		h.cfg.Log.Debug("hook done", "hook", k.index, "event", e.Name, "took", took)
		return nil
	}
	fields := map[string]any{"on": string(e.Name), "took_s": took.Seconds(), "error": err.Error()}
	if out != "" {
		fields["output"] = out
	}
	h.failed(k, e, err.Error(), fields)
	return fmt.Errorf("hook %s: %w", k.Command[0], err)
}

// inherited is the agent's environment without what its service manager told it alone.
func inherited() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "NOTIFY_SOCKET=") || strings.HasPrefix(kv, "WATCHDOG_") || strings.HasPrefix(kv, "LISTEN_")
	})
}

// failed reports a failure, unless that was itself over a reported failure.
func (h *Hooks) failed(k *hook, e dodai.Event, why string, fields map[string]any) {
	h.cfg.Log.Warn("hook failed", "hook", k.index, "command", k.Command[0], "event", e.Name, "error", why)
	if e.Name == dodai.EventHookFailed {
		return
	}
	h.cfg.Failed(dodai.Event{
		Name: dodai.EventHookFailed, Device: fmt.Sprintf("hooks[%d]", k.index), At: h.cfg.Now(), Wall: h.cfg.Wall(),
		Text:   fmt.Sprintf("hook %s failed on %s: %s", k.Command[0], e.Name, why),
		Fields: fields, Drill: e.Drill,
	})
}
