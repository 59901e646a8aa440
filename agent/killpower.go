package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/drivers"
)

// keyWake is the alarm that a shutdown has set. It outlives the boot: a machine that runs
// again takes it back, lest it start by itself while somebody works on it.
const keyWake = "kill_power_wake"

// What a UPS is told. The time to the cut is for what follows on the late command: the
// last file system, arrays that end, disks that park. The time to the return keeps the
// output away for long enough that every supply of every machine on it notices.
const (
	cutAfter    = time.Minute
	returnAfter = 3 * time.Minute
)

// How long the parts of it may take that hold the way down up.
const (
	tellLimit = 8 * time.Second
	stopLimit = 5 * time.Second
)

// killPowerSlot keeps those apart who change the state. It is held for the file alone,
// never while a device is asked: the loop takes it as well.
type killPowerSlot struct {
	mu       sync.Mutex
	disarmed int // how many times

	// With a helper the state is written beside the loop: one after the other, and whoever
	// reads it waits for that. written is closed when the last one is; nil: there is none.
	written chan struct{}
}

// writtenDown waits until what was armed so far is written down, or ctx ends.
func (k *killPowerSlot) writtenDown(ctx context.Context) {
	k.mu.Lock()
	written := k.written
	k.mu.Unlock()
	if written == nil {
		return
	}
	select {
	case <-written:
	case <-ctx.Done():
	}
}

// armKillPower writes down for the late command what it needs, once it is decided that the
// machine goes down because of its power. It is called in the loop, and again when the
// reason changes. The shutdown goes on whether it works or not.
func (a *Agent) armKillPower() {
	l := &a.loop
	if a.opts.RunDir == "" || a.opts.Rehearse {
		return
	}
	s := a.killPowerState(l.cfg, l.decision)
	if s == nil {
		return
	}
	a.kill.mu.Lock()
	defer a.kill.mu.Unlock()
	if a.opts.Helper == nil {
		a.writeKillPower(l.cfg, s)
		return
	}
	before, written := a.kill.written, make(chan struct{})
	a.kill.written = written
	disarmed, cfg := a.kill.disarmed, l.cfg
	go func() {
		defer close(written)
		if before != nil {
			<-before
		}
		a.writeKillPower(cfg, s)
		a.kill.mu.Lock()
		defer a.kill.mu.Unlock()
		if a.kill.disarmed != disarmed { // taken back in the meantime
			_ = killpower.Remove(a.opts.RunDir)
		}
	}()
}

func (a *Agent) writeKillPower(cfg *config.Config, s *killpower.State) {
	if old, err := a.readKillPower(); err == nil {
		s.Inherit(old)
	}
	if err := a.leaveSurely(cfg, s); err != nil {
		a.killPowerEvent("", fmt.Sprintf("no UPS will be told to cut its output, and nothing starts the machine again: %v", err), map[string]any{"error": err.Error()})
	}
}

// killPowerState is what the late command has to know; nil: there is no way back to take
// care of.
func (a *Agent) killPowerState(cfg *config.Config, d policy.Decision) *killpower.State {
	now := killpower.Boottime()
	s := &killpower.State{BootID: collectors.BootID(), At: now, Reason: string(d.Reason), Text: d.Summary}
	if d.Available != nil {
		s.End = now + max(0, *d.Available)
	}
	if cfg.Shutdown.Wake {
		s.Wake = &killpower.Wake{}
	}
	feeds, carries := carriers(cfg)
	for _, dev := range cfg.UPS {
		if !carries[dev.Name] && !dev.KillPower {
			continue
		}
		f, _ := a.opts.Find(dev.Driver) // it is there: the device has a collector
		u := killpower.UPS{
			Name: dev.Name, Driver: dev.Driver, Options: dev.DriverOptions(), Local: f.Local,
			Feeds: feeds[dev.Name], FedBy: dev.FedBy, Mains: mainsSeen(d, dev.Name),
		}
		if dev.KillPower {
			u.Cut = &drivers.Cut{Off: cutAfter, On: returnAfter}
		}
		s.UPS = append(s.UPS, u)
	}
	if s.Wake == nil && len(s.Names()) == 0 {
		return nil
	}
	return s
}

// carriers are the UPSes that a supply of this host hangs on, and these together with
// those that they are fed by. Without wiring each UPS that feeds no other is a supply, as
// the decision has it.
func carriers(cfg *config.Config) (feeds, carries map[string]bool) {
	feeds, carries = map[string]bool{}, map[string]bool{}
	upstream := map[string]string{}
	for _, l := range cfg.Links() {
		upstream[l.UPS] = l.FedBy
	}
	for _, p := range cfg.Wiring {
		if p.UPS != "" {
			feeds[p.UPS] = true
		}
	}
	if len(cfg.Wiring) == 0 {
		for _, dev := range cfg.UPS {
			feeds[dev.Name] = true
		}
		for _, up := range upstream {
			delete(feeds, up)
		}
	}
	for name := range feeds {
		for ; name != "" && !carries[name]; name = upstream[name] {
			carries[name] = true
		}
	}
	return feeds, carries
}

func mainsSeen(d policy.Decision, ups string) killpower.Mains {
	switch u := d.UPS(ups); {
	case u == nil:
	case u.Line == policy.LinePresent:
		return killpower.MainsPresent
	case u.Line == policy.LineAbsent:
		return killpower.MainsAbsent
	}
	return killpower.MainsUnknown
}

func (a *Agent) readKillPower() (*killpower.State, error) {
	if a.opts.RunDir == "" {
		return nil, killpower.ErrNoState
	}
	return killpower.Read(a.opts.RunDir, collectors.BootID(), killpower.Boottime())
}

// forceBeforeCut brings the instant at which the machine is forced down before the one at
// which all its power is cut, which no battery knows of: what hangs until then would be cut
// off while file systems are written.
func (a *Agent) forceBeforeCut(ctx context.Context, s *killpower.State) {
	dark := s.Dark()
	if dark == 0 {
		return
	}
	left := dark - killpower.Boottime()
	force := a.clock() + left - min(forceBefore, left/2)
	err := a.call(ctx, func() {
		l := &a.loop
		if l.executor == nil || !l.executing || l.ends.Force != 0 && l.ends.Force <= force {
			return
		}
		l.ends.Force = force
		l.executor.Hasten(shutdown.Ends{Force: force})
	})
	if err != nil {
		a.log.Warn("the machine is not forced down before its UPSes cut", "err", err)
	}
}

// cutNetworkUPSes is called right before the power-off is asked for: it tells the UPSes that
// cannot be reached any more once the network is down to cut their output when the machine
// is, and sets the clock that wakes it. It returns within ten seconds. It must not be
// called in the loop, whose part it waits for. Without armKillPower it does nothing.
func (a *Agent) cutNetworkUPSes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tellLimit)
	defer cancel()
	a.kill.writtenDown(ctx)
	a.kill.mu.Lock()
	s, err := a.readKillPower()
	disarmed := a.kill.disarmed
	a.kill.mu.Unlock()
	switch {
	case errors.Is(err, killpower.ErrNoState):
		return
	case err != nil:
		a.killPowerEvent("", fmt.Sprintf("no UPS is told to cut its output: %v", err), map[string]any{"error": err.Error()})
		return
	}
	ask, v := a.asker(ctx), a.View()
	a.setWake(ctx, s)
	off := v.Need.Expected(shutdown.PowerOffStep) + v.Config.Shutdown.Reserve.D()
	for _, r := range (killpower.Network{Ask: ask}).Tell(ctx, s, off) {
		a.toldEvent(r, s.Back())
	}
	a.forceBeforeCut(ctx, s)
	if !a.keepKillPower(s, disarmed) { // taken back in the meantime
		a.stopCuts(s, ask)
		a.clearWake()
	}
}

// keepKillPower writes s, unless the machine has been found to stay up since disarmed was
// read.
func (a *Agent) keepKillPower(s *killpower.State, disarmed int) bool {
	if a.opts.Helper == nil {
		a.kill.mu.Lock()
		defer a.kill.mu.Unlock()
		if a.kill.disarmed != disarmed {
			return false
		}
		a.keepState(s)
		return true
	}
	// The loop takes the lock as well, and does not wait for a helper.
	if a.disarmedSince(disarmed) {
		return false
	}
	a.keepState(s)
	a.kill.mu.Lock()
	defer a.kill.mu.Unlock()
	if a.kill.disarmed == disarmed {
		return true
	}
	_ = killpower.Remove(a.opts.RunDir)
	return false
}

func (a *Agent) disarmedSince(disarmed int) bool {
	a.kill.mu.Lock()
	defer a.kill.mu.Unlock()
	return a.kill.disarmed != disarmed
}

// keepState writes s, or tells that it could not.
func (a *Agent) keepState(s *killpower.State) {
	if err := a.leave(a.View().Config, s); err != nil {
		a.killPowerEvent("", fmt.Sprintf("what the UPSes were told is not written down: %v", err), map[string]any{"error": err.Error()})
	}
}

// askFunc runs f with the driver of the UPS called name, as its collector does.
type askFunc = func(ctx context.Context, name string, f func(context.Context, drivers.Driver) error) error

// asker gives the present devices' drivers to who asks by name.
func (a *Agent) asker(ctx context.Context) askFunc {
	var present map[string]*collectors.Collector
	if err := a.call(ctx, func() { present = a.loop.collectors }); err != nil {
		a.log.Warn("the loop does not answer", "err", err)
	}
	return askAmong(present)
}

func askAmong(present map[string]*collectors.Collector) askFunc {
	return func(ctx context.Context, name string, f func(context.Context, drivers.Driver) error) error {
		if c, ok := present[name]; ok {
			return c.Do(ctx, f)
		}
		return fmt.Errorf("%s: %w: it is not configured any more", name, drivers.ErrUnreachable)
	}
}

func (a *Agent) toldEvent(r killpower.Result, back []string) {
	switch {
	case r.Err != nil:
		text := drivers.Plain(r.Err)
		a.killPowerEvent(r.UPS, r.UPS+" could not be told to cut its output: "+text, map[string]any{"error": text})
	case r.Told != nil:
		a.killPowerEvent(r.UPS, fmt.Sprintf("%s cuts its output in %.0f s and restores it %.0f s after the mains are back", r.UPS, r.Told.Off.Seconds(), r.Told.On.Seconds()),
			map[string]any{"off_s": r.Told.Off.Seconds(), "on_s": r.Told.On.Seconds()})
	default:
		a.log.Info("not told to cut its output: the mains are back", "ups", r.UPS, "on", back)
	}
}

func (a *Agent) killPowerEvent(device, text string, fields map[string]any) {
	a.emit(dodai.Event{Name: dodai.EventKillPower, Device: device, Text: text, Fields: fields})
}

// setWake sets the clock, and remembers over the boot that it did.
func (a *Agent) setWake(ctx context.Context, s *killpower.State) {
	if s.Wake == nil || a.opts.Clocks == "" {
		return
	}
	rtc, err := killpower.FindRTC(a.opts.Clocks)
	if err != nil {
		a.log.Info("the machine will not be woken", "why", err)
		return
	}
	w, err := rtc.Wake(*s.Wake, killpower.WakeIn(s.End-killpower.Boottime()))
	if err != nil {
		a.killPowerEvent("", fmt.Sprintf("the clock is not set to wake the machine: %v", err), map[string]any{"error": err.Error()})
		return
	}
	if w.Was != 0 || w.Foreign {
		a.log.Warn("the clock had an alarm of somebody else", "alarm", w.At, "gave_way", w.Was, "left_alone", w.Foreign)
	}
	s.Wake = &w
	a.saveWake(ctx, w)
}

func (a *Agent) saveWake(ctx context.Context, w killpower.Wake) {
	data, err := json.Marshal(w)
	if err != nil || !a.store.works() {
		a.store.save(keyWake, data)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, persistLimit)
	defer cancel()
	if err := a.store.saveNow(ctx, keyWake, data); err != nil {
		a.log.Warn("the alarm of the clock is not written down", "err", err)
	}
}

// disarmKillPower takes everything back that a shutdown has prepared, because the machine
// stays up, or has just started again: the state of the late command at once, and beside
// the loop, in which it is called, the cuts that UPSes were told and the alarm of the
// clock. It may be called without anything to take back.
func (a *Agent) disarmKillPower() {
	if a.opts.RunDir == "" || a.opts.Rehearse {
		return
	}
	a.kill.mu.Lock()
	defer a.kill.mu.Unlock()
	a.kill.disarmed++
	s, err := a.readKillPower()
	if err != nil && !errors.Is(err, killpower.ErrNoState) {
		a.log.Warn("what is left of an earlier shutdown is removed", "err", err)
	}
	if err := killpower.Remove(a.opts.RunDir); err != nil {
		a.killPowerEvent("", fmt.Sprintf("what was prepared for the end of the machine is not removed; a power-off in the next hours would be taken for the outage's: %v", err), map[string]any{"error": err.Error()})
	}
	ask := askAmong(a.loop.collectors)
	a.loop.group.Go(func() error {
		if s != nil {
			a.stopCuts(s, ask)
		}
		a.clearWake()
		return nil
	})
}

// keepNetworkUPSes calls off what cutNetworkUPSes began, because the machine will start anew
// instead of going off: it is not to lose its power while it does. It reports whether a supply
// keeps its power; where none does, the machine had better be off when its output is cut,
// and starts when that comes back. It must not be called in the loop.
func (a *Agent) keepNetworkUPSes(ctx context.Context) bool {
	a.kill.mu.Lock()
	s, err := a.readKillPower()
	disarmed := a.kill.disarmed
	a.kill.mu.Unlock()
	if err != nil {
		return errors.Is(err, killpower.ErrNoState) // nothing was told
	}
	asking, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	kept := a.stopCuts(s, a.asker(asking))
	for i := range s.UPS {
		if slices.Contains(kept, s.UPS[i].Name) {
			s.UPS[i].Told = nil
		}
	}
	a.keepKillPower(s, disarmed)
	return slices.ContainsFunc(s.UPS, func(u killpower.UPS) bool { return u.Feeds && u.Told == nil })
}

// stopCuts calls off what UPSes behind the network were told, and returns the names of those
// that took it.
func (a *Agent) stopCuts(s *killpower.State, ask askFunc) (kept []string) {
	ctx, cancel := context.WithTimeout(a.ctx, stopLimit)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, u := range s.UPS {
		if u.Told == nil {
			continue
		}
		all.Go(func() {
			err := ask(ctx, u.Name, func(ctx context.Context, d drivers.Driver) error {
				if cutter, ok := d.(drivers.Cutter); ok {
					return cutter.StopCut(ctx)
				}
				return nil
			})
			if err != nil {
				text := drivers.Plain(err)
				a.killPowerEvent(u.Name, u.Name+" may cut its output although that is called off: "+text, map[string]any{"error": text})
				return
			}
			mu.Lock()
			defer mu.Unlock()
			kept = append(kept, u.Name)
		})
	}
	all.Wait()
	return kept
}

// clearWake takes the alarm back that this shutdown, or the one before the boot, has set.
func (a *Agent) clearWake() {
	data := a.store.load(a.ctx, keyWake)
	var w killpower.Wake
	if json.Unmarshal(data, &w) != nil || w.At == 0 || a.opts.Clocks == "" {
		return
	}
	a.store.save(keyWake, []byte("null"))
	rtc, err := killpower.FindRTC(a.opts.Clocks)
	if err == nil {
		err = rtc.Clear(w)
	}
	if err != nil {
		a.log.Warn("the alarm that was to wake the machine is left as it is", "err", err)
	}
}
