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

// keyEarly is where the early steps that are done and not undone are remembered, so
// that an agent restarted in the middle of an outage still undoes them.
const keyEarly = "early"

// early runs the early steps that are due, and undoes them when the mains are back. One
// of the two runs at a time, beside the loop; what is still due then comes next.
func (a *Agent) early(now time.Duration) {
	l := &a.loop
	if l.earlyBusy || l.cfg.Mode != config.Armed || a.opts.Rehearse {
		return
	}
	state := earlyState(l.snap, l.decision, now)
	if due := l.plan.EarlyDue(state, l.earlyDone); len(due) > 0 {
		a.runEarly(shutdown.Cause{Event: dodai.EventMainsLost, Text: "on battery"}, func(c shutdown.Cause) error {
			return l.executor.RunEarly(a.ctx, c, due...)
		})
		return
	}
	if len(l.earlyDone) > 0 && state.OnBattery == nil && linesPresent(l.decision) {
		done := slices.Sorted(maps.Keys(l.earlyDone))
		a.runEarly(shutdown.Cause{Event: dodai.EventMainsRestored, Text: "the mains are back"}, func(c shutdown.Cause) error {
			return l.executor.UndoEarly(a.ctx, c, done...)
		})
	}
}

// retryEarly is how long to wait after an early step, or its undoing, failed.
const retryEarly = 30 * time.Second

func (a *Agent) runEarly(cause shutdown.Cause, run func(shutdown.Cause) error) {
	l := &a.loop
	l.earlyBusy = true
	ctx := a.ctx
	l.group.Go(func() error {
		err := run(cause)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			a.log.Error("early steps", "err", err)
			select {
			case <-time.After(retryEarly):
			case <-ctx.Done():
				return nil
			}
		}
		return a.call(ctx, func() { a.loop.earlyBusy = false })
	})
}

// saveEarly remembers which early steps are done.
func (a *Agent) saveEarly() {
	data, err := json.Marshal(slices.Sorted(maps.Keys(a.loop.earlyDone)))
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

// earlyState is what early thresholds are held against.
func earlyState(s *dodai.Snapshot, d policy.Decision, now time.Duration) shutdown.State {
	st := shutdown.State{Margin: d.Margin}
	for _, u := range d.UPSes {
		if !u.OnBattery {
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
