package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/audit"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/export"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/drivers"
)

// Options are what the agent is made from. Config, StateDir, Find and Log are required.
type Options struct {
	Config *config.Config
	// Reload reads the configuration again; nil: SIGHUP has nothing to read.
	Reload   func() (*config.Config, error)
	Find     func(driver string) (drivers.Factory, bool)
	StateDir string // journal and drill reports
	Socket   string // Unix socket for the local commands; empty: none
	Listen   string // TCP address of /metrics, /healthz, /readyz; empty: none
	Version  string
	Clock    collectors.Clock // nil: the system's
	Log      *slog.Logger
	// Rehearse walks through the plan instead of running it: for the demo.
	Rehearse bool
	// OnEvent is told every event, drills' included. It must not block; nil: nobody.
	OnEvent func(dodai.Event)
	// Notify tells the service manager; nil: nobody.
	Notify func(state string)
	// Watchdog is how often the loop has to report that it decides; 0: not asked.
	Watchdog time.Duration
}

// Agent is the daemon. Make it with New, run it with Run.
type Agent struct {
	opts  Options
	log   *slog.Logger
	clock collectors.Clock

	updates chan update
	calls   chan func()
	view    atomic.Pointer[View] // what readers see; replaced by the loop

	store   *store
	metrics *export.Metrics
	hooks   *hookSet
	drill   drillSlot

	ready     chan struct{} // closed once every device has answered or been reported silent
	listening chan struct{} // closed once sockets and ports are open
	addr      net.Addr      // of the TCP listener, valid once listening is closed

	ctx  context.Context // ends when Run does
	loop loopState       // owned by the loop's goroutine
}

// View is what the loop last saw and decided. It is immutable.
type View struct {
	Snapshot *dodai.Snapshot
	Decision policy.Decision
	Findings []audit.Finding
	Mode     config.Mode
	Down     *downState // nil: no shutdown is under way
	Config   *config.Config
	Need     shutdown.Need // what the way down takes, step by step
	Policy   policy.Policy
	executor *shutdown.Executor
}

// update is one thing a collector has to tell: a device's new state or the host's facts.
type update struct {
	device *dodai.DeviceState
	host   *dodai.Host
	from   int // generation of the collectors it comes from; older ones are dropped
}

// New makes an agent. It opens the journal, reads back what has to survive a restart,
// and touches no device. The error is about what cannot work at all: another agent
// holding the same state, or a driver's option; a journal that cannot be written is a
// warning, because a machine without a journal still has to be shut down in time.
func New(ctx context.Context, opts Options) (*Agent, error) {
	if opts.Clock == nil {
		opts.Clock = collectors.SystemClock()
	}
	if opts.Notify == nil {
		opts.Notify = func(string) {}
	}
	a := &Agent{
		opts: opts, log: opts.Log, clock: opts.Clock,
		updates:   make(chan update, 64),
		calls:     make(chan func()),
		metrics:   export.NewMetrics(opts.Version),
		ready:     make(chan struct{}),
		listening: make(chan struct{}),
		loop:      loopState{earlyDone: map[string]bool{}},
	}
	var err error
	if a.store, err = openStore(ctx, opts.StateDir, opts.Log); err != nil {
		return nil, err
	}
	a.hooks = a.newHookSet()
	if err := a.configure(opts.Config); err != nil {
		a.store.close()
		return nil, err
	}
	a.restore(ctx)
	a.publish()
	return a, nil
}

// Run runs until ctx ends, and returns nil then. Ending it undoes nothing of a shutdown
// that has begun: the service manager ends the agent in the middle of one.
func (a *Agent) Run(ctx context.Context) error {
	defer a.store.close()
	group, ctx := errgroup.WithContext(ctx)
	a.ctx = ctx
	a.start(ctx, group)
	if err := a.serve(ctx, group); err != nil {
		a.loop.stopCollectors()
		return errors.Join(err, group.Wait())
	}
	close(a.listening)
	group.Go(func() error { return a.run(ctx) })
	group.Go(func() error {
		return collectors.RunHost(ctx, 30*time.Second, func(h dodai.Host) { a.send(ctx, update{host: &h}) })
	})
	group.Go(func() error { return a.runTextfile(ctx) })
	err := group.Wait()
	a.finish()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Addr is the address of the TCP listener, once Run has opened it; nil without one.
func (a *Agent) Addr() net.Addr {
	<-a.listening
	return a.addr
}

// Ready is closed once every configured device has answered or been reported silent.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// View returns what the loop last saw and decided. It never blocks.
func (a *Agent) View() *View { return a.view.Load() }

// send hands an update to the loop, or drops it when the agent ends.
func (a *Agent) send(ctx context.Context, u update) {
	select {
	case a.updates <- u:
	case <-ctx.Done():
	}
}

// call runs f in the loop and waits for it. It fails when the agent ends first.
func (a *Agent) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.calls <- func() { f(); close(done) }:
	case <-ctx.Done():
		return fmt.Errorf("agent: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("agent: %w", ctx.Err())
	}
}

// finish writes down what is still queued, within the time the service manager gives.
func (a *Agent) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	a.emit(dodai.Event{Name: dodai.EventAgentStopped, Text: "the agent has ended"})
	a.hooks.close(ctx)
	a.store.flush(ctx)
}
