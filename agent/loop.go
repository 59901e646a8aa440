package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/audit"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/export"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/collectors"
)

// saveEvery is how often the policy's memory is written while nothing happens that has
// to be remembered at once.
const saveEvery = 10 * time.Second

// drillMark begins the text of every event that belongs to a drill.
const drillMark = "DRILL: "

// tick is the longest the loop sleeps: ages grow, time rules fire, the watchdog is fed. With
// a device that is read each second the loop needs no tick beside it.
const tick = 1250 * time.Millisecond

// loopState is what the loop alone reads and writes.
type loopState struct {
	cfg      *config.Config
	policy   policy.Policy
	snap     *dodai.Snapshot
	memory   policy.Memory
	decision policy.Decision
	auditMem audit.Memory
	findings []audit.Finding
	// alerts are those the policy does not raise, and since when each stands.
	alerts      []policy.Alert
	alertsSince map[string]time.Duration

	plan     shutdown.Plan
	need     shutdown.Need // what the plan takes, measured where it was
	executor *shutdown.Executor
	// earlyDone has the early steps that will have to be undone: true when one counts as
	// done, false while it runs or is being undone, or was run by a drill.
	earlyDone   map[string]bool
	earlyBegun  map[string]bool          // the early steps that run and were not to be undone before
	earlyFailed map[string]time.Duration // when an early step or its undoing last failed
	earlyBusy   bool                     // early steps are being run or undone

	maintenance maintenanceLoop

	powerOff powerOffLoop

	preflight preflightLoop

	restart *restartWish // nil: none is wanted

	down      *downState
	executing bool          // the executor runs for down
	ends      shutdown.Ends // what it was told of the battery's end
	// worseSince and calmSince are since when the battery's end is nearer than that, and the
	// mains are back; 0: they are not.
	worseSince, calmSince time.Duration
	observed              policy.Reason // in observe mode: what would have been done, told once
	group                 *errgroup.Group

	collectors map[string]*collectors.Collector
	generation int
	stop       context.CancelFunc // ends the present generation of collectors
	collected  <-chan struct{}    // closed when all of that generation have ended; nil: there was none
	readyTold  bool
	fedAt      time.Duration // when the watchdog was
	savedAt    time.Duration
}

// start begins collecting, and decides once from what is remembered, so that whoever
// asks finds a decision. It is called once, before the loop runs.
func (a *Agent) start(group *errgroup.Group) {
	a.loop.group = group
	a.emit(dodai.Event{Name: dodai.EventAgentStarted, Text: "the agent has started, mode " + string(a.loop.cfg.Mode),
		Fields: map[string]any{"version": a.opts.Version, "mode": string(a.loop.cfg.Mode)}})
	if a.killed != nil {
		a.emit(*a.killed)
	}
	a.markRun(false)
	a.startCollectors()
	a.decide()
}

// run is the loop.
func (a *Agent) run(ctx context.Context) error {
	a.notify("READY=1")
	a.resumeDown()
	timer := a.alarm()
	defer timer.Close()
	timer.Set(0)
	var began time.Time // the last round
	for {
		select {
		case <-ctx.Done():
			a.loop.memory.Stopped = true // if the host is dark after this, it is not its battery
			a.saveMemory()
			return nil
		case u := <-a.updates:
			a.apply(u)
			a.drain()
		case f := <-a.calls:
			f()
		case <-timer.C():
		}
		began = a.beat(began)
		a.decide()
		a.feedWatchdog()
		timer.Set(a.sleep())
	}
}

// named gives the host the name that the operator gave it.
func named(h dodai.Host, cfg *config.Config) dodai.Host {
	h.Name = cmp.Or(cfg.Host.Name, h.Name)
	return h
}

// drain takes what else has come in meanwhile, so that one decision sees it all.
func (a *Agent) drain() {
	for range cap(a.updates) {
		select {
		case u := <-a.updates:
			a.apply(u)
		default:
			return
		}
	}
}

// sleep is how long the loop may wait for something to happen.
func (a *Agent) sleep() time.Duration {
	d := tick
	if w := a.opts.Watchdog / 4; w > 0 {
		d = min(d, w)
	}
	if next := a.loop.decision.Next; next > 0 {
		d = min(d, next-a.clock())
	}
	return max(d, time.Millisecond)
}

// feedWatchdog says that the loop decides, four times as often as asked.
func (a *Agent) feedWatchdog() {
	l, now := &a.loop, a.clock()
	if w := a.opts.Watchdog; w > 0 && (l.fedAt == 0 || now-l.fedAt >= w/4) {
		l.fedAt = now
		a.notify("WATCHDOG=1")
	}
}

// notify hands a message for the service manager over and does not wait.
func (a *Agent) notify(state string) {
	select {
	case a.notices <- state:
	default: // it does not listen
	}
}

// runNotify tells the service manager, which may hang, for as long as ctx lasts.
func (a *Agent) runNotify(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case state := <-a.notices:
			a.opts.Notify(state)
		}
	}
}

// apply takes one update into a new snapshot.
func (a *Agent) apply(u update) {
	l := &a.loop
	if u.host != nil {
		s := *l.snap
		s.Host = named(*u.host, l.cfg)
		l.snap = &s
		return
	}
	if u.from != l.generation {
		return
	}
	before := l.snap.Device(u.device.Name)
	if before == nil {
		return // not configured any more
	}
	l.snap = l.snap.With(u.device, a.clock(), time.Now())
	a.metrics.Polled(u.device)
	if !u.device.Kind.IsPower() && (before.Err == "") != (u.device.Err == "") {
		a.sights.trigger()
	}
	for _, ev := range edges(before, u.device) {
		a.emit(ev)
	}
}

// decide asks the policy what follows from the present snapshot, and acts.
func (a *Agent) decide() {
	l := &a.loop
	now := a.clock()
	a.checkMaintenance(now)
	s := *l.snap
	s.At, s.Wall, s.Maintenance = now, time.Now(), l.maintenance.standing
	l.snap = &s
	was, before := l.decision, l.memory
	l.decision, l.memory = l.policy.Decide(l.snap, l.memory, now)
	for name, c := range l.collectors {
		c.SetFast(l.decision.Fast[name])
	}
	edges := append(slices.Clip(l.decision.Events), feedEdges(&was, before, &l.decision, l.memory)...)
	edges = append(edges, bootEdges(&was, before, &l.decision, l.memory)...)
	for _, ev := range edges {
		a.emit(ev)
	}
	l.alerts = standingAlerts(append(hardwareAlerts(l.snap, a.sights.unread(), now), append(a.ownAlerts(), a.healthAlerts(now)...)...), l.alertsSince, now)
	l.findings, l.auditMem = audit.Audit(l.snap, l.auditMem)
	a.act(now)
	a.standBy(onBattery(l.decision) || l.down != nil && !l.down.Finished)
	if len(edges) > 0 || now-l.savedAt > saveEvery {
		a.saveMemory()
	}
	a.checkReady()
	a.publish()
}

// saveMemory hands the policy's memory to the journal without waiting for the disk.
func (a *Agent) saveMemory() {
	l := &a.loop
	l.savedAt = a.clock()
	data, err := json.Marshal(policyState{a.stamp(), l.memory})
	if err != nil {
		a.log.Error("the policy's memory cannot be written", "err", err)
		return
	}
	a.store.save(keyPolicy, data)
}

func (a *Agent) stamp() stamp {
	return stamp{BootID: collectors.BootID(), At: a.clock(), Wall: time.Now()}
}

// restore reads back what an earlier run of the agent left.
func (a *Agent) restore(ctx context.Context) {
	l := &a.loop
	now := a.stamp()
	var heard *stamp
	if data := a.store.load(ctx, keyPolicy); data != nil {
		heard = stampOf(data)
		var err error
		if l.memory, err = restorePolicy(data, now); err != nil {
			a.log.Error("starting without memory, or without a part of it", "err", err)
		}
	}
	a.killed = a.killedBefore(ctx, heard)
	if data := a.store.load(ctx, keyShutdown); data != nil {
		d, err := restoreDown(data, now)
		if err != nil {
			a.log.Error("starting without the state of an earlier shutdown", "err", err)
		}
		l.down = d
	}
	if data := a.store.load(ctx, keyPowerOff); data != nil {
		var err error
		if l.powerOff, err = restorePowerOff(data, a.store.load(ctx, keyPowerOffLearned), now); err != nil {
			a.log.Error("the last power-off is not measured", "err", err)
		}
	}
	if data := a.store.load(ctx, keyEarly); data != nil {
		var err error
		if l.earlyDone, err = restoreEarly(data, now); err != nil {
			a.log.Error("starting without knowing which early steps were done", "err", err)
		}
		l.executor.Restore(l.earlyDone)
		for name, done := range l.earlyDone {
			if !done {
				l.executor.RestoreDoubtful(name)
			}
		}
	}
	if data := a.store.load(ctx, keyMaintenance); data != nil {
		a.restoreStanding(data, now)
	}
	a.store.loadDurations(ctx, append(stepNames(&l.plan), shutdown.PowerOffStep))
	a.measureNeed()
}

// checkReady tells once that every device has answered or been found silent.
func (a *Agent) checkReady() {
	l := &a.loop
	if l.readyTold {
		return
	}
	for _, d := range l.snap.Devices {
		if !d.Answered() {
			return
		}
	}
	l.readyTold = true
	close(a.ready)
}

// publish makes the present state visible to everybody else.
func (a *Agent) publish() {
	l := &a.loop
	v := &View{Snapshot: l.snap, Decision: withHardware(l.decision, l.alerts), Findings: l.findings, Mode: l.cfg.Mode, Config: l.cfg,
		Need: l.need, Boot: l.memory.Boot, Batteries: l.memory.Batteries, PowerOff: l.powerOff.note, Policy: l.policy, Preflight: l.preflight.last, Unread: a.sights.unread(), Condition: a.condition(), restart: l.restart, executor: l.executor, ends: l.ends}
	if l.down != nil {
		v.Down = l.down.clone()
	}
	a.view.Store(v)
	a.metrics.SetLater(func() export.State { return exportState(v) })
}

// emit stamps an event and hands it to everybody who listens. It may be called from
// any goroutine and waits for none of them.
func (a *Agent) emit(ev dodai.Event) {
	if ev.At == 0 {
		ev.At = a.clock()
	}
	if ev.Drill != "" && !strings.HasPrefix(ev.Text, drillMark) {
		ev.Text = drillMark + ev.Text // wherever it goes, nobody takes it for the truth
	}
	if ev.Wall.IsZero() {
		ev.Wall = time.Now()
	}
	if ev.Name == dodai.EventShutdownFailed && ev.Drill == "" {
		a.shutdownFailed.Store(&ev.Text)
	}
	a.hooks.handle(ev)
	a.note(ev)
}

// note writes an event down and shows it, without the hooks.
func (a *Agent) note(ev dodai.Event) {
	a.store.event(ev)
	a.metrics.Event(ev)
	if a.opts.OnEvent != nil {
		a.opts.OnEvent(ev)
	}
	a.logEvent(ev)
}
