package agent

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// keyEarly is where loopState.earlyDone is remembered, so that an agent restarted in the
// middle of an outage neither runs early steps again nor forgets to undo them.
const keyEarly = "early"

// earlyDone is loopState.earlyDone as it lies in the journal.
type earlyDone struct {
	stamp
	Done map[string]bool `json:"done"`
}

// restoreEarly returns the early steps that are done. After a reboot none is: what they
// stopped was started again.
func restoreEarly(data []byte, now stamp) (map[string]bool, error) {
	var e earlyDone
	if err := json.Unmarshal(data, &e); err != nil {
		return map[string]bool{}, err
	}
	if e.BootID != now.BootID || e.BootID == "" || e.Done == nil {
		return map[string]bool{}, nil
	}
	return e.Done, nil
}

// retryEarly is how long to wait before an early step that failed, or its undoing, is
// tried again.
const retryEarly = 30 * time.Second

// early runs the early steps that are due, and undoes them when the mains are back. One
// of the two runs at a time, beside the loop; what is still due then comes next.
func (a *Agent) early(now time.Duration) {
	l := &a.loop
	if l.earlyBusy || l.cfg.Mode != config.Armed || a.opts.Rehearse {
		return
	}
	state := earlyState(l.snap, l.decision, now)
	if due := a.notFailed(l.plan.EarlyDue(state, l.earlyDone), now); len(due) > 0 {
		cause := shutdown.Cause{Event: dodai.EventMainsLost, Text: "on battery"}
		executor, ctx := l.executor, a.ctx
		a.runEarly(func() error { return executor.RunEarly(ctx, cause, due...) })
		return
	}
	if state.OnBattery != nil || !linesPresent(l.decision) || a.drill.status(now) != nil {
		return
	}
	if back := a.notFailed(a.undoable(), now); len(back) > 0 {
		cause := shutdown.Cause{Event: dodai.EventMainsRestored, Text: "the mains are back"}
		executor, ctx := l.executor, a.ctx
		a.runEarly(func() error { return executor.UndoEarly(ctx, cause, back...) })
	}
}

// notFailed leaves out the steps that failed a moment ago.
func (a *Agent) notFailed(steps []string, now time.Duration) []string {
	return slices.DeleteFunc(steps, func(name string) bool {
		at, failed := a.loop.earlyFailed[name]
		return failed && now-at < retryEarly
	})
}

// undoable returns the early steps to take back now that the mains are back. One that
// cannot be undone, or is no longer in the plan, is forgotten: it is due again in the
// next outage.
func (a *Agent) undoable() []string {
	l := &a.loop
	var names []string
	forgotten := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(l.earlyDone)) {
		i := slices.IndexFunc(l.plan.Steps, func(s shutdown.Step) bool { return s.Name == name })
		if i >= 0 && l.plan.Steps[i].Reversible() {
			names = append(names, name)
			continue
		}
		a.log.Info("an early step stays as it is: there is no way to undo it", "step", name)
		delete(l.earlyDone, name)
		forgotten[name] = false
	}
	if len(forgotten) > 0 {
		l.executor.Restore(forgotten)
		a.saveEarly()
	}
	return names
}

// runEarly runs steps, or undoes them, beside the loop.
func (a *Agent) runEarly(run func() error) {
	l := &a.loop
	l.earlyBusy = true
	ctx := a.ctx
	l.group.Go(func() error {
		err := run()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			a.log.Error("early steps", "err", err)
		}
		_ = a.call(ctx, func() { a.loop.earlyBusy = false }) // fails when the agent ends
		return nil
	})
}

// recordEarly remembers what became of an early step before the decision.
func (a *Agent) recordEarly(p shutdown.Progress) {
	l := &a.loop
	switch p.Phase {
	case shutdown.PhaseStarted: // it goes on when the agent ends here, and is to be undone
		if _, known := l.earlyDone[p.Step]; known {
			return
		}
		l.earlyDone[p.Step] = false
		l.earlyBegun[p.Step] = true
	case shutdown.PhaseDone, shutdown.PhaseSkipped: // skipped: an agent before this one has begun it
		l.earlyDone[p.Step] = true
		delete(l.earlyFailed, p.Step)
	case shutdown.PhaseUndoing:
		l.earlyDone[p.Step] = false
	case shutdown.PhaseUndone:
		delete(l.earlyDone, p.Step)
		delete(l.earlyFailed, p.Step)
	case shutdown.PhaseFailed, shutdown.PhaseUndoFailed:
		l.earlyFailed[p.Step] = a.clock()
		if p.Phase == shutdown.PhaseUndoFailed || !l.earlyBegun[p.Step] {
			return
		}
		delete(l.earlyDone, p.Step) // not done
	default:
		return
	}
	if p.Phase != shutdown.PhaseStarted {
		delete(l.earlyBegun, p.Step)
	}
	a.saveEarly()
}

// recordDrill remembers the early steps that a rehearsal really runs, before it does,
// so that they are undone even when the agent ends in its middle.
func (a *Agent) recordDrill(p shutdown.Progress) {
	l := &a.loop
	switch p.Phase {
	case shutdown.PhaseStarted:
		if !l.earlyDone[p.Step] {
			l.earlyDone[p.Step] = false
		}
	case shutdown.PhaseUndone:
		delete(l.earlyDone, p.Step)
	default:
		return
	}
	a.saveEarly()
}

// saveEarly remembers which early steps are done.
func (a *Agent) saveEarly() {
	data, err := json.Marshal(earlyDone{a.stamp(), a.loop.earlyDone})
	if err != nil {
		a.log.Error("the early steps cannot be written", "err", err)
		return
	}
	a.store.save(keyEarly, data)
}

// linesPresent reports whether every UPS has its mains: only then is it safe to take
// back what was done to save the battery.
func linesPresent(d policy.Decision) bool {
	for _, u := range d.UPSes {
		if u.Line != policy.LinePresent {
			return false
		}
	}
	return true
}

// earlyState is what early thresholds are held against. What a UPS says that is worked on
// does not count.
func earlyState(s *dodai.Snapshot, d policy.Decision, now time.Duration) shutdown.State {
	st := shutdown.State{Margin: d.Margin}
	for _, u := range d.UPSes {
		if !u.OnBattery || s.MaintenanceOf(u.UPS, now) != nil {
			continue
		}
		if since := now - u.OnBatterySince; st.OnBattery == nil || since > *st.OnBattery {
			st.OnBattery = &since
		}
		dev := s.Device(u.UPS)
		if dev == nil || dev.Reading == nil {
			continue
		}
		if charge, ok := dev.Reading.Vars.Float(dodai.BatteryCharge); ok && (st.Charge == nil || charge < *st.Charge) {
			st.Charge = &charge
		}
	}
	return st
}
