package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/notify"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// hookSet is the hooks of the present configuration.
type hookSet struct {
	make func([]notify.Hook, notify.Runner) *notify.Hooks
	now  atomic.Pointer[notify.Hooks]
}

func (a *Agent) newHookSet() *hookSet {
	return &hookSet{make: func(hooks []notify.Hook, run notify.Runner) *notify.Hooks {
		return notify.New(notify.Config{Hooks: hooks, Now: a.clock, Failed: a.emit, Run: run, Log: a.log})
	}}
}

// hookGrace is how long hooks of an older configuration may still run.
const hookGrace = time.Minute

// set replaces the hooks, which run runs. Those that run already, or wait, come to their end.
func (h *hookSet) set(list []config.Hook, run notify.Runner) {
	hooks := make([]notify.Hook, len(list))
	for i, c := range list {
		hooks[i] = notify.Hook{On: c.On, Command: c.Command, Timeout: c.Timeout.D(), User: c.User}
	}
	if old := h.now.Swap(h.make(hooks, run)); old != nil {
		go closeHooks(old, hookGrace)
	}
}

func closeHooks(h *notify.Hooks, within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_ = h.Close(ctx) // what did not end in time was killed, and has reported that
}

func (h *hookSet) handle(ev dodai.Event) {
	if hooks := h.now.Load(); hooks != nil {
		hooks.Handle(ev)
	}
}

func (h *hookSet) close(ctx context.Context) {
	if hooks := h.now.Load(); hooks != nil {
		_ = hooks.Close(ctx)
	}
}

// listens reports whether a hook asked for events of the name.
func (h *hookSet) listens(name dodai.EventName) bool {
	hooks := h.now.Load()
	return hooks != nil && hooks.Listens(name)
}

// tellOperators hands the text of a step to the hooks of the event notification, and waits for
// them as long as the step may take.
func (a *Agent) tellOperators(text string, t shutdown.Task) error {
	ctx, cancel := t.Context(a.ctx)
	defer cancel()
	ev := dodai.Event{Name: dodai.EventNotification, Device: t.Step, At: a.clock(), Wall: time.Now(), Text: text, Drill: t.Cause.Drill,
		Fields: map[string]any{"reason": t.Cause.Reason, "why": t.Cause.Text}}
	if ev.Drill != "" {
		ev.Text = drillMark + ev.Text
	}
	a.note(ev)
	hooks := a.hooks.now.Load()
	if hooks == nil || !hooks.Listens(ev.Name) {
		return errors.New("no hook listens to the event notification")
	}
	return hooks.Tell(ctx, ev)
}
