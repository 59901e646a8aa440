package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/bootlog"
	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Keys of what is remembered of a power-off: that it was asked for, and which of them was
// learned from. They are two because one is written before the machine goes down, and the
// other, maybe while the next outage goes on, together with what was measured.
const (
	keyPowerOff        = "power_off"
	keyPowerOffLearned = "power_off_learned"
)

// How long a power-off may take to be one. A machine that runs after its power-off was
// asked for stayed up, and nothing can be learned from when it was stopped by other means.
// systemd forces a power-off that is not through after 30 minutes (poweroff.target,
// JobTimeoutSec).
const (
	stayedUp       = 5 * time.Minute // after a command that said it had powered off, with the agent still running
	longestToDark  = time.Hour
	learnLaterOnce = time.Minute // before a journal that did not answer is asked again
	learnAttempts  = 4
)

// powerOffAsked is a power-off as it was asked for.
type powerOffAsked struct {
	stamp
	Monotonic time.Duration `json:"monotonic"` // CLOCK_MONOTONIC, which the journal's times are on
	Drill     string        `json:"drill,omitempty"`
}

// powerOffMark tells one power-off from all others.
type powerOffMark struct {
	BootID    string        `json:"boot_id"`
	Monotonic time.Duration `json:"monotonic"`
}

func (p *powerOffAsked) mark() powerOffMark { return powerOffMark{p.BootID, p.Monotonic} }

// powerOffLoop is what the loop knows of the power-off.
type powerOffLoop struct {
	asked  *powerOffAsked // in this boot; nil: it was not, or it was called off
	before *powerOffAsked // in an earlier boot, and not yet learned from; nil: there is none
	note   string         // what the last one taught, or why it taught nothing
}

// restorePowerOff reads what is remembered of a power-off.
func restorePowerOff(asked, learned []byte, now stamp) (powerOffLoop, error) {
	var p *powerOffAsked
	if err := json.Unmarshal(asked, &p); err != nil {
		return powerOffLoop{}, fmt.Errorf("saved request of a power-off: %w", err)
	}
	var mark powerOffMark
	if learned != nil {
		if err := json.Unmarshal(learned, &mark); err != nil {
			return powerOffLoop{}, fmt.Errorf("saved mark of a power-off: %w", err)
		}
	}
	switch {
	case p == nil || p.BootID == "" || now.BootID == "" || p.Monotonic <= 0:
		return powerOffLoop{}, nil
	case p.BootID == now.BootID:
		return powerOffLoop{asked: p}, nil
	case p.mark() == mark:
		return powerOffLoop{}, nil
	}
	return powerOffLoop{before: p}, nil
}

// recordPowerOff writes down that the power-off is about to be asked for. An agent that
// was restarted asks again: it began with the first time.
func (a *Agent) recordPowerOff(p shutdown.Progress) {
	l := &a.loop.powerOff
	if l.asked == nil {
		l.asked = &powerOffAsked{stamp: a.stamp(), Monotonic: monotonic().Truncate(time.Microsecond), Drill: p.Drill}
	}
	a.saveWaiting(keyPowerOff, l.asked)
}

// callOffPowerOff forgets a power-off after which the machine stayed up.
func (a *Agent) callOffPowerOff(why string) {
	a.dismissGuard()
	l := &a.loop.powerOff
	if l.asked == nil {
		return
	}
	a.log.Info("the power-off is not measured", "why", why)
	l.asked, l.note = nil, "the last one was not measured: "+why
	a.store.save(keyPowerOff, []byte("null"))
}

// dismissGuard calls off whoever would force down a machine that stays up, and does not
// wait for that.
func (a *Agent) dismissGuard() {
	if a.opts.Guard == nil {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), dismissLimit)
		defer cancel()
		if err := a.opts.Guard.Disarm(ctx); err != nil {
			a.log.Error("a guard that would force this machine down may still stand", "err", err)
		}
	}()
}

// dismissLimit bounds how long that is tried.
const dismissLimit = 10 * time.Second

// runLearnPowerOff finds out, once after the boot, how long the power-off before took. It
// works beside the loop: a journal that hangs holds up nothing.
func (a *Agent) runLearnPowerOff(ctx context.Context, p *powerOffAsked) error {
	if p == nil {
		return nil
	}
	find := a.opts.BootEnd
	if find == nil {
		find = bootlog.Reader{}.End
	}
	var end bootlog.End
	var err error
	for attempt := range learnAttempts {
		if end, err = find(ctx, p.BootID); !errors.Is(err, bootlog.ErrTimeout) || attempt == learnAttempts-1 {
			break
		}
		a.notePowerOff(ctx, "the last one is not measured yet: "+err.Error())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(learnLaterOnce):
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = a.learnPowerOff(ctx, p, end)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("nothing was learned from the last power-off", "err", err)
		a.notePowerOff(ctx, "the last one was not measured: "+err.Error())
	}
	return nil
}

// learnPowerOff takes the end of the boot before into what the power-off is known to take.
func (a *Agent) learnPowerOff(ctx context.Context, p *powerOffAsked, end bootlog.End) error {
	m, err := p.measured(end)
	if err != nil {
		return err
	}
	mark, err := json.Marshal(p.mark())
	if err != nil {
		return err
	}
	d := journal.Duration{Step: shutdown.PowerOffStep, Took: m.Took, Complete: m.Complete, Source: journal.SourceOutage, At: p.Wall.Add(m.Took)}
	if p.Drill != "" {
		d.Source = journal.SourceDrill
	}
	if err := a.store.learned(ctx, d, keyPowerOffLearned, mark); err != nil && ctx.Err() == nil {
		a.log.Error("how long the power-off took is not written; it will be found out again", "err", err)
	}
	ev := p.event(m, end)
	if err := a.call(ctx, func() {
		a.loop.powerOff.note = ev.Text
		a.measureNeed()
	}); err != nil {
		return err
	}
	a.emit(ev)
	return nil
}

// measured is how long the power-off took: from the moment before it was asked for to the
// last entry of that boot's journal, and the allowance for what no journal shows. A
// journal that breaks off means that it was not through: it counts for as long as it lasted.
func (p *powerOffAsked) measured(end bootlog.End) (shutdown.Measured, error) {
	since := end.At - p.Monotonic
	switch {
	case since > longestToDark:
		return shutdown.Measured{}, fmt.Errorf("the machine ran on for %v after it was asked for", since.Round(time.Second))
	case since < 0 || !end.Clean(): // what was written last did not even reach the disk
		return shutdown.Measured{Took: max(0, since)}, nil
	}
	return shutdown.Measured{Took: since + end.After(), Complete: true}, nil
}

// event tells of a power-off that was measured. One that was not through is a protection
// that failed, and as loud as that.
func (p *powerOffAsked) event(m shutdown.Measured, end bootlog.End) dodai.Event {
	when := p.Wall.Format("2006-01-02 15:04")
	ev := dodai.Event{
		Name: dodai.EventStepFinished, Device: shutdown.PowerOffStep, Drill: p.Drill,
		Text: fmt.Sprintf("the power-off of %s took %.1f s, of which %.0f s are allowed for what the journal does not show",
			when, m.Took.Seconds(), end.After().Seconds()),
		Fields: map[string]any{"took_s": m.Took.Seconds(), "allowed_s": end.After().Seconds()},
	}
	if !m.Complete {
		ev.Name = dodai.EventShutdownFailed
		ev.Text = fmt.Sprintf("the machine lost power before it was down: its journal breaks off %.1f s after the power-off of %s was asked for (or it was forced off or reset)",
			m.Took.Seconds(), when)
		ev.Fields = map[string]any{"took_s": m.Took.Seconds(), "lost_power": true}
	}
	return ev
}

// notePowerOff remembers for the status what became of it.
func (a *Agent) notePowerOff(ctx context.Context, text string) {
	_ = a.call(ctx, func() { a.loop.powerOff.note = text }) // fails when the agent ends
}

// monotonic is the clock that the journal of this boot counts on.
func monotonic() time.Duration {
	var ts unix.Timespec
	// It cannot fail: the clock is in every Linux and ts is ours.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}
