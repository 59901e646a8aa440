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
	"github.com/dodai-agent/dodai/agent/bootlog"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/export"
	"github.com/dodai-agent/dodai/agent/helper"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/sight"
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
	// RunDir is a directory that does not outlive the boot, for what other processes of
	// this boot have to find; empty: none.
	RunDir string
	// Clocks is where the kernel shows the clocks that can wake the machine
	// (killpower.RTCDir); empty: none is set.
	Clocks string
	// SocketOptional lets the agent run beside another one that answers at Socket, without
	// its local commands: nobody named the socket.
	SocketOptional bool
	Listen         string // TCP address of /metrics, /healthz, /readyz; empty: none
	Version        string
	Clock          collectors.Clock // nil: the system's
	Log            *slog.Logger
	// Rehearse walks through the plan instead of running it: for the demo.
	Rehearse bool
	// Guard and Force are those of shutdown.Config; nil: there is no guard, and a program
	// forces the power-off.
	Guard shutdown.Guard
	Force func(context.Context, shutdown.Goal) error
	// See finds what is in this machine and not read, of all that is not among the devices
	// (sight.Host.Look). It may block; nil: nobody looks.
	See func(devices []sight.Device) []sight.Sighting
	// Helper does what needs rights that this process does not have; nil: this process does
	// everything itself.
	Helper *helper.Client
	// OnEvent is told every event, drills' included. It must not block; nil: nobody.
	OnEvent func(dodai.Event)
	// BootEnd says how an earlier boot ended; nil: systemd's journal does.
	BootEnd func(ctx context.Context, bootID string) (bootlog.End, error)
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
	alarm func() collectors.Alarm // makes one that keeps clock's time

	updates chan update
	calls   chan func()
	notices chan string          // for the service manager
	view    atomic.Pointer[View] // what readers see; replaced by the loop

	store   *store
	metrics *export.Metrics
	hooks   *hookSet
	drill   drillSlot
	checks  *preflights
	sights  *sights
	health  health
	kill    killPowerSlot
	// shutdownFailed is why the way down does not work; nil: it does, or none is under way.
	shutdownFailed atomic.Pointer[string]
	// leaving is why the agent ends by itself; nil: it does not.
	leaving atomic.Pointer[string]

	ready     chan struct{}            // closed once every device has answered or been reported silent
	listening chan struct{}            // closed once sockets and ports are open
	addr      atomic.Pointer[net.Addr] // of the TCP listener; nil: there is none yet
	ended     chan struct{}            // closed when Run returns

	// killed is the event of an agent before this one that was; nil: none was.
	killed *dodai.Event

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
	Boot     policy.BootMemory
	// Batteries is what discharges have taught about the batteries, by UPS.
	Batteries map[string]policy.Battery
	PowerOff  string // what the last power-off taught, or why nothing; empty: there was none
	Policy    policy.Policy
	Preflight *PreflightResult // nil: none has run
	Unread    []sight.Sighting // seen and not read; nil: nobody has looked
	Condition Condition        // of the agent itself
	restart   *restartWish     // nil: none is wanted
	executor  *shutdown.Executor
	ends      shutdown.Ends // of the shutdown that is under way
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
	alarm := collectors.RuntimeAlarm
	if opts.Clock == nil {
		opts.Clock, alarm = collectors.SystemClock(), collectors.KernelAlarm
	}
	if opts.Notify == nil {
		opts.Notify = func(string) {}
	}
	a := &Agent{
		opts: opts, log: opts.Log, clock: opts.Clock, alarm: alarm,
		updates:   make(chan update, 64),
		calls:     make(chan func()),
		notices:   make(chan string, 8),
		metrics:   export.NewMetrics(opts.Version),
		checks:    newPreflights(),
		sights:    newSights(),
		ready:     make(chan struct{}),
		listening: make(chan struct{}),
		ended:     make(chan struct{}),
		loop:      loopState{alertsSince: map[string]time.Duration{}, earlyDone: map[string]bool{}, earlyBegun: map[string]bool{}, earlyFailed: map[string]time.Duration{}},
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
	a.restoreProofs()
	go a.keepAccepted(opts.Config.Text) // a disk that hangs must not keep the agent from starting
	a.publish()
	return a, nil
}

// How long the end may take. Altogether that is under the two seconds after which the
// service manager's patience must not be tried: a driver, a hook or a disk that hangs
// is left behind.
const (
	waitRunning = 700 * time.Millisecond
	waitHooks   = 1200 * time.Millisecond
	waitJournal = 1700 * time.Millisecond
)

// Run runs until ctx ends, and returns nil then; as well when the run directory holds the
// wish for a restart and nothing is under way. Ending it undoes nothing of a shutdown
// that has begun: the service manager ends the agent in the middle of one. It may be
// called once.
func (a *Agent) Run(ctx context.Context) error {
	defer close(a.ended)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	a.ctx = ctx
	before := a.loop.powerOff.before
	group.Go(func() error { return a.runLearnPowerOff(ctx, before) })
	a.start(group)
	if err := a.serve(ctx, group); err != nil {
		stop()
		return errors.Join(err, a.end(ctx, group))
	}
	close(a.listening)
	group.Go(func() error { return a.run(ctx) })
	group.Go(func() error {
		return collectors.RunHost(ctx, 30*time.Second, func(h dodai.Host) { a.send(ctx, update{host: &h}) })
	})
	group.Go(func() error { return a.runTextfile(ctx) })
	group.Go(func() error { return a.runNotify(ctx) })
	group.Go(func() error { return a.runKeep(ctx) })
	group.Go(func() error { return a.runPreflights(ctx) })
	group.Go(func() error { return a.runRestart(ctx) })
	group.Go(func() error { return a.runSights(ctx) })
	group.Go(func() error { return a.runHealth(ctx) })
	return a.end(ctx, group)
}

// end waits for the group, but not for ever once ctx has ended, and then writes down
// what is still queued.
func (a *Agent) end(ctx context.Context, group *errgroup.Group) error {
	over := make(chan error, 1)
	go func() { over <- group.Wait() }()
	var err error
	select {
	case err = <-over:
	case <-ctx.Done():
	}
	began := time.Now()
	if ctx.Err() != nil && err == nil {
		select {
		case err = <-over:
		case <-time.After(waitRunning):
			a.log.Warn("something does not end and is left behind")
			err = context.Cause(ctx)
		}
	}
	a.finish(began)
	if errors.Is(err, context.Canceled) || errors.Is(err, errRestart) {
		return nil
	}
	return err
}

// finish writes down what is still queued.
func (a *Agent) finish(began time.Time) {
	text := "the agent has ended"
	if why := a.leaving.Load(); why != nil {
		text = *why
	}
	a.emit(dodai.Event{Name: dodai.EventAgentStopped, Text: text})
	a.markRun(true)
	within(began.Add(waitHooks), a.hooks.close)
	within(began.Add(waitJournal), func(ctx context.Context) {
		a.store.flush(ctx)
		a.store.close()
	})
}

// within waits for f, whether it heeds its context or not, until deadline.
func within(deadline time.Time, f func(context.Context)) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	waitFor(ctx, func() { f(ctx) })
}

// Addr is the address of the TCP listener, once Run has opened it; nil without one, while
// its port is taken, and when Run has returned before.
func (a *Agent) Addr() net.Addr {
	select {
	case <-a.listening:
		if addr := a.addr.Load(); addr != nil {
			return *addr
		}
		return nil
	case <-a.ended:
		return nil
	}
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
