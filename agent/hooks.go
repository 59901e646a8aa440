package agent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/notify"
)

// hookSet is the hooks of the present configuration.
type hookSet struct {
	make func([]notify.Hook) *notify.Hooks
	now  atomic.Pointer[notify.Hooks]
}

func (a *Agent) newHookSet() *hookSet {
	return &hookSet{make: func(hooks []notify.Hook) *notify.Hooks {
		return notify.New(notify.Config{Hooks: hooks, Now: a.clock, Failed: a.emit, Log: a.log})
	}}
}

// hookGrace is how long hooks of an older configuration may still run.
const hookGrace = time.Minute

// set replaces the hooks. Those that run already, or wait, come to their end.
func (h *hookSet) set(list []config.Hook) {
	hooks := make([]notify.Hook, len(list))
	for i, c := range list {
		hooks[i] = notify.Hook{On: c.On, Command: c.Command, Timeout: c.Timeout.D()}
	}
	if old := h.now.Swap(h.make(hooks)); old != nil {
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
