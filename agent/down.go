package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/shutdown/action"
)

// persistLimit is how long the way down waits for the journal. A disk that hangs is
// part of what can go wrong in an outage; the machine is shut down all the same.
const persistLimit = time.Second

// act does what the decision asks for.
func (a *Agent) act(now time.Duration) {
	l := &a.loop
	if l.down != nil && l.down.Finished && !l.down.Power && l.decision.Shutdown && l.cfg.Mode == config.Armed {
		a.forgetDown("the machine stayed up, and its power fails") // an operator's power-off that did not
	}
	switch {
	case l.down != nil && l.decision.Shutdown && (!l.down.Power || l.down.Off != "") && l.cfg.Mode == config.Armed && !l.down.Finished:
		a.press()
	case l.down != nil && l.executing:
		a.watchDown(now)
	case l.down != nil:
		a.rearm(now)
	case !l.decision.Shutdown:
		if l.observed != "" {
			a.log.Info("mode observe: the reason to go down is over", "reason", l.observed, "now", l.decision.Summary)
		}
		l.observed = ""
		a.early(now)
	case l.cfg.Mode != config.Armed:
		a.observe()
	default:
		a.goDown()
	}
}

// observe journals and notifies what would have been done, once per cause.
func (a *Agent) observe() {
	l := &a.loop
	if l.observed != "" {
		return
	}
	l.observed = l.decision.Reason
	a.emit(decided(l.decision, l.need, config.Observe))
}

func decided(d policy.Decision, need shutdown.Need, mode config.Mode) dodai.Event {
	fields := d.Fields()
	fields["mode"], fields["need_parts"] = string(mode), need.Parts()
	text := d.Explanation
	if mode == config.Observe {
		text = "mode observe, nothing is stopped: " + text
	}
	return dodai.Event{Name: dodai.EventShutdownDecided, Text: text, Fields: fields}
}

// goDown begins the way down because of the power: it is written down, then acted on.
func (a *Agent) goDown() {
	l := &a.loop
	before := l.down
	l.down = &downState{
		stamp: a.stamp(), Reason: l.decision.Reason, Explanation: l.decision.Explanation,
		Power: true, NoReturn: l.plan.NoReturn == "",
	}
	if before != nil {
		a.inherit(before)
	}
	a.emit(decided(l.decision, l.need, config.Armed))
	a.saveDown()
	a.armKillPower()
	a.emit(dodai.Event{Name: dodai.EventShutdownStarted, Text: l.down.Explanation, Fields: l.decision.Fields()})
	a.execute()
}

// inherit takes into the present shutdown what the one in whose place it comes has done. Of
// one that was being undone the rest is left for when the mains are back.
func (a *Agent) inherit(before *downState) {
	l := &a.loop
	if before.Off == "" {
		l.down.Started, l.down.Done, l.down.Failed = before.Started, before.Done, before.Failed
		return
	}
	done := l.executor.Done()
	for _, name := range before.begun() {
		l.earlyDone[name] = done[name]
	}
	a.saveEarly()
}

// press turns a shutdown that an operator began into one for the power, which has failed
// meanwhile. One that is being undone begins anew.
func (a *Agent) press() {
	l := &a.loop
	to := ends(l.decision, l.need, a.clock())
	if !l.executing || l.executor.Press(to) != nil {
		a.goDown()
		return
	}
	l.ends = to
	l.down.Power, l.down.Reason, l.down.Explanation = true, l.decision.Reason, l.decision.Explanation
	l.down.NoReturn = l.down.NoReturn || l.plan.NoReturn == ""
	a.emit(decided(l.decision, l.need, config.Armed))
	a.saveDown()
	a.armKillPower()
}

// calm is how long the mains must have been back before a shutdown is called off that can
// still be, and worse how long the battery's end must be nearer than it was before the
// shutdown is hurried: one reading may be wrong.
const (
	calm  = 10 * time.Second
	worse = 3 * time.Second
)

// watchDown looks after a shutdown that runs because of the power: the battery may go out
// sooner than it said, and the mains may return, in time to call it off, or for the steps to
// have all their time.
func (a *Agent) watchDown(now time.Duration) {
	l := &a.loop
	if !l.down.Power {
		return
	}
	back := !l.decision.Shutdown && !onBattery(l.decision) && linesPresent(l.decision)
	a.hurry(back, now)
	if !back {
		l.calmSince = 0
		return
	}
	if l.calmSince == 0 {
		l.calmSince = now
	}
	switch {
	case now-l.calmSince < calm:
	case l.down.Operator == "" && l.executor.Callable():
		_ = a.callOff("the mains are back") // it has just passed the point of no return
	case l.ends != (shutdown.Ends{}) && l.powerOff.asked == nil:
		a.log.Info("the mains are back: the steps have all the time they may take")
		l.executor.Relax()
		l.ends, l.worseSince = shutdown.Ends{}, 0
	}
}

// hurry brings the shutdown's ends forward when the battery's end has been nearer for some
// seconds. With the mains back no battery ends.
func (a *Agent) hurry(back bool, now time.Duration) {
	l := &a.loop
	to := ends(l.decision, l.need, now)
	switch {
	case back || to.Ask == 0 || to.Ask > l.ends.Ask-worse && l.ends.Ask != 0:
		l.worseSince = 0
	case l.worseSince == 0:
		l.worseSince = now
	case now-l.worseSince >= worse:
		a.log.Warn("the battery goes out sooner than it said: the shutdown is hurried", "left", (to.Ask - now).Round(time.Second))
		l.ends, l.worseSince = to, 0
		l.executor.Hasten(to)
	}
}

// callOff ends a shutdown before its point of no return.
func (a *Agent) callOff(why string) error {
	l := &a.loop
	if err := l.executor.CallOff(why); err != nil {
		return err
	}
	l.down.Off = why
	a.saveDown()
	return nil
}

// resumeDown goes on with a shutdown that was under way when the agent ended, unless
// the operator has disarmed the agent since.
func (a *Agent) resumeDown() {
	l := &a.loop
	switch {
	case l.down == nil:
		a.disarmKillPower()
		a.callOffPowerOff("the shutdown it belongs to is not known any more")
	case l.down.Finished || l.executing:
	case l.cfg.Mode != config.Armed:
		a.log.Warn("a shutdown had begun; it is not gone on with, because the mode is observe", "reason", l.down.Reason, "done", l.down.Done)
		l.down = nil
		a.saveDown()
		a.disarmKillPower()
		a.callOffPowerOff("the agent was disarmed and the machine stayed up")
	default:
		a.log.Warn("going on with the shutdown that had begun", "reason", l.down.Reason, "done", l.down.Done)
		a.execute()
	}
}

// saveDown writes the state of the shutdown.
func (a *Agent) saveDown() { a.saveWaiting(keyShutdown, a.loop.down) }

// saveWaiting writes a state of the way down and waits for the disk, but not for long,
// and not again and again for one that hangs: what a step may cost is that step.
func (a *Agent) saveWaiting(key string, state any) {
	data, err := json.Marshal(state)
	if err != nil {
		a.log.Error("the state of the shutdown cannot be written", "err", err)
		return
	}
	if !a.store.works() {
		a.store.save(key, data)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), persistLimit)
	defer cancel()
	if err := a.store.saveNow(ctx, key, data); err != nil {
		a.log.Error("the shutdown goes on without being written down", "err", err)
	}
}

// execute runs the plan beside the loop. Each step that is over comes back as a call
// into the loop that writes it down before what comes after it starts.
func (a *Agent) execute() {
	l := &a.loop
	l.executing = true
	down, executor, ctx := l.down, l.executor, a.ctx
	l.ends, l.worseSince, l.calmSince = shutdown.Ends{}, 0, 0
	if down.Power {
		l.ends = ends(l.decision, l.need, a.clock())
	}
	cause := shutdown.Cause{
		Event: dodai.EventShutdownStarted, Reason: string(down.Reason), Text: down.Explanation,
		Ends: l.ends, Operator: !down.Power, Passed: down.NoReturn,
	}
	executor.RestoreDoubtful(down.Started...)
	executor.RestoreFailed(down.Failed...)
	done, off, begun := down.done(), down.Off, down.begun()
	var run func() error
	switch {
	case off != "":
		executor.Restore(done) // a Run that takes over does not do again what is not undone yet
	case !a.opts.Rehearse:
		run = executor.Start(ctx, cause, done) // from now on it can be called off
	}
	l.group.Go(func() error {
		var err error
		switch {
		case a.opts.Rehearse:
			cause.Drill = "demo"
			_, err = executor.Rehearse(ctx, cause, a.View().Need, nil)
		case off != "":
			err = fmt.Errorf("%w: %s", shutdown.ErrCalledOff, off)
			if more := executor.UndoBegun(ctx, cause, begun...); more != nil {
				err = errors.Join(err, more)
			}
		default:
			err = run()
		}
		if ctx.Err() != nil {
			return nil // the service manager ends us; nothing is undone
		}
		return a.call(ctx, func() { a.downEnded(down, err) })
	})
}

// stepsLimit bounds, each way, what is kept from the steps and what is kept for them;
// forceBefore is how long before the end of the battery a power-off that hangs is forced,
// and politely the least that the polite ways get.
const (
	stepsLimit  = 30 * time.Second
	forceBefore = 30 * time.Second
	politely    = 10 * time.Second
)

// ends are when a shutdown stops being patient because the battery ends: the power-off is
// asked for so early that it is through, and forced, before that. What it takes is, until
// that was measured, a part of the need the operator gave for the whole. A battery that
// says next to nothing may lie, so steps and polite ways are given some time in any case.
// None: nothing credible says when the battery ends.
func ends(d policy.Decision, need shutdown.Need, now time.Duration) shutdown.Ends {
	if d.Available == nil {
		return shutdown.Ends{}
	}
	off := d.Need / 4
	for _, s := range need.Steps {
		if s.Step == shutdown.PowerOffStep && (s.Runs > 0 || s.Basis == shutdown.BasisCutOff) {
			off = s.Took
		}
	}
	off = min(off, stepsLimit)
	least := min(max(d.Reserve, d.Need)/2, stepsLimit)
	force := *d.Available - max(0, min(forceBefore, *d.Available/2)) // a short one is not given away by half and more
	ask := max(force-off, least)
	return shutdown.Ends{Ask: now + ask, Force: now + max(force, ask+max(off, politely))}
}

// record is told by the executor what became of a step. What has to be remembered of
// the way down is on the disk when it returns, or the disk does not take it.
func (a *Agent) record(ctx context.Context, p shutdown.Progress) error {
	if p.Phase == shutdown.PhaseDone || p.Phase == shutdown.PhaseFailed {
		a.store.measured(p, time.Now())
	}
	down := false
	err := a.call(ctx, func() {
		if p.Step == shutdown.PowerOffStep && p.Phase == shutdown.PhaseStarted {
			a.recordPowerOff(p)
		}
		switch down = a.loop.down != nil; {
		case p.Drill != "":
			a.recordDrill(p)
		case down:
			a.recordDown(p)
		default:
			a.recordEarly(p)
		}
		a.measureNeed()
	})
	if err != nil || down {
		return err
	}
	return a.store.sync(ctx) // not in the loop: nothing else waits for the disk
}

func (a *Agent) recordDown(p shutdown.Progress) {
	d := a.loop.down
	switch p.Phase {
	case shutdown.PhaseNoReturn:
		d.NoReturn = true
	case shutdown.PhaseStarted:
		if p.Step == shutdown.PowerOffStep {
			return // remembered by itself
		}
		d.markStarted(p.Step)
	case shutdown.PhaseDone, shutdown.PhaseFailed, shutdown.PhaseSkipped:
		if p.Phase != shutdown.PhaseSkipped && !slices.Contains(d.Started, p.Step) {
			return // of a shutdown that was called off, and that this one has taken over from
		}
		d.markDone(p.Step, p.Phase == shutdown.PhaseFailed)
	case shutdown.PhaseUndone:
		d.markUndone(p.Step)
		if _, early := a.loop.earlyDone[p.Step]; early {
			delete(a.loop.earlyDone, p.Step)
			a.saveEarly()
		}
	case shutdown.PhaseUndoing: // of an early step, which the way down has interrupted; or it is called off
		if _, early := a.loop.earlyDone[p.Step]; early || d.Off == "" {
			a.loop.earlyDone[p.Step] = false
			a.saveEarly()
			return
		}
		d.markUndone(p.Step) // the next agent has to look after it
		d.markStarted(p.Step)
	default:
		return
	}
	a.saveDown()
}

// downEnded is called in the loop when the plan is through. down is the shutdown that it
// belongs to, which may have been replaced by another one.
func (a *Agent) downEnded(down *downState, err error) {
	l := &a.loop
	if l.down != down || down == nil {
		return
	}
	l.executing = false
	if errors.Is(err, shutdown.ErrCalledOff) {
		a.downCalledOff(err)
		return
	}
	if err != nil {
		a.emit(dodai.Event{Name: dodai.EventShutdownFailed, Text: fmt.Sprintf("the way down failed: %v", err)})
	}
	l.down.Finished, l.down.FinishedAt = true, a.clock()
	a.saveDown()
}

// downCalledOff ends a shutdown that was undone.
func (a *Agent) downCalledOff(err error) {
	l := &a.loop
	a.emit(dodai.Event{Name: dodai.EventShutdownCancelled, Text: fmt.Sprintf("the shutdown was %s", oneLine(err)),
		Fields: map[string]any{"reason": string(l.down.Reason), "left": l.down.begun()}})
	a.forgetDown("it was called off")
}

// forgetDown makes the agent able to decide again.
func (a *Agent) forgetDown(why string) {
	l := &a.loop
	executor, err := a.makeExecutor(l.plan, l.cfg) // the old one remembers which steps it did
	if err != nil {
		a.log.Error("cannot decide again", "err", err)
		return
	}
	executor.Restore(l.earlyDone)
	l.executor, l.down = executor, nil
	a.shutdownFailed.Store(nil)
	a.saveDown()
	a.disarmKillPower()
	a.callOffPowerOff(why)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// rearmAfter is how long the power must have been back before a machine that is still
// running after its power-off may decide again.
const rearmAfter = 30 * time.Second

// rearm makes the agent able to decide again when the plan is through and yet the
// machine still runs with its power back: the power-off was a command that does not
// cut this machine, or it failed. An agent that stayed mute after that would be
// no protection in the next outage.
func (a *Agent) rearm(now time.Duration) {
	l := &a.loop
	if !l.down.Finished || l.executing {
		return
	}
	if asked := l.powerOff.asked; asked != nil && now-asked.At > stayedUp {
		a.callOffPowerOff("the machine stayed up")
	}
	if l.decision.Shutdown || onBattery(l.decision) {
		l.down.FinishedAt = now
		return
	}
	if now-l.down.FinishedAt < rearmAfter {
		return
	}
	a.forgetDown("the machine stayed up")
	a.log.Warn("power is back and the machine still runs: ready to decide again")
}

func onBattery(d policy.Decision) bool {
	for _, u := range d.UPSes {
		if u.OnBattery {
			return true
		}
	}
	return false
}

// powerIsBack reports whether the power that was the reason for a shutdown is back, and no
// UPS cuts it in a moment. It must not be called in the loop.
func (a *Agent) powerIsBack() bool {
	v := a.View()
	d := v.Decision
	back := v.Down != nil && v.Down.Power && !d.Shutdown && !onBattery(d) && len(d.UPSes) > 0 && linesPresent(d)
	return back && a.keepNetworkUPSes(a.ctx)
}

// measureNeed takes what the journal knows about how long steps took into the policy.
func (a *Agent) measureNeed() {
	l := &a.loop
	p := &l.plan
	runs := map[string][]shutdown.Measured{}
	for _, name := range append(stepNames(p), shutdown.PowerOffStep) {
		runs[name] = a.store.durations(name)
	}
	l.need = p.Need(runs, l.cfg.Shutdown.Need.D(), nil)
	l.policy.Need = l.need.Total
}

func stepNames(p *shutdown.Plan) []string {
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Name)
	}
	return names
}

// makeExecutor makes the executor of cfg's plan.
func (a *Agent) makeExecutor(p shutdown.Plan, cfg *config.Config) (*shutdown.Executor, error) {
	var orphans shutdown.Orphans
	if a.opts.RunDir != "" {
		orphans = shutdown.PidDir(a.opts.RunDir)
	}
	run, ways := shutdown.Process, (func(context.Context) ([]shutdown.Finding, error))(nil)
	if a.opts.Helper != nil {
		of := a.opts.Helper.Of(cfg.Text)
		run, ways = of.Run, of.Ways
	}
	return shutdown.New(shutdown.Config{
		Orphans: orphans, Ways: ways, Guard: a.opts.Guard, Force: a.opts.Force, Return: a.powerIsBack, BeforeOff: a.cutNetworkUPSes,
		Plan: p, Run: run, Logind: shutdown.SystemBus(), Now: a.clock,
		Emit: a.emit, Record: a.record, Log: a.log,
	})
}

// plan turns the configured way down into the executor's.
func (a *Agent) plan(cfg *config.Config) (shutdown.Plan, error) {
	c := cfg.Shutdown
	p := shutdown.Plan{Command: c.Command, NoReturn: c.NoReturn, PowerOff: shutdown.PowerOff{
		Timeout: c.PowerOff.Timeout.D(), Grace: c.PowerOff.Grace.D(), Expect: c.PowerOff.Expect.D(),
		Second: c.PowerOff.Second, Forced: c.PowerOff.Forced,
	}}
	for _, s := range c.Steps {
		do, undo, err := action.New(s, action.Deps{
			Notify: a.tellOperators, Listens: func() bool { return a.hooks.listens(dodai.EventNotification) },
		})
		if err != nil {
			return shutdown.Plan{}, err
		}
		if a.opts.Helper != nil {
			of := a.opts.Helper.Of(cfg.Text)
			do, undo = of.Action(do, false), of.Action(undo, true)
		}
		step := shutdown.Step{
			Name: s.Name, Do: do, Undo: undo, After: s.After, Timeout: s.Timeout.D(), Expect: s.Expect.D(),
			Retries: s.Retries, RetryWait: s.RetryWait.D(), OnFailure: shutdown.OnFailure(s.OnFailure),
		}
		if s.Early != nil {
			step.Early = &shutdown.Early{
				BelowMargin: durationOf(s.Early.BelowMargin), BelowCharge: s.Early.BelowChargePct, OnBattery: durationOf(s.Early.OnBattery),
			}
		}
		p.Steps = append(p.Steps, step)
	}
	return p, nil
}

func durationOf(d *config.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	return new(d.D())
}
