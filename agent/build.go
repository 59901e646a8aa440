package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/drivers"
)

// The longest pause between two polls of a device that stays silent. What stands between
// the mains and the server is asked more often: an outage may begin just when it is back.
const (
	maxBackoff      = time.Minute
	maxBackoffPower = 10 * time.Second
)

func backoff(kind dodai.Kind) time.Duration {
	if kind.IsPower() {
		return maxBackoffPower
	}
	return maxBackoff
}

// configure replaces the configuration: the policy, the hooks, the snapshot's list of
// devices and the collectors, which start when the loop runs. It changes nothing when
// it returns an error.
func (a *Agent) configure(cfg *config.Config) error {
	l := &a.loop
	made, err := a.makeCollectors(cfg)
	if err != nil {
		return err
	}
	way, err := a.plan(cfg)
	if err != nil {
		return err
	}
	executor, err := a.makeExecutor(way, cfg)
	if err != nil {
		return err
	}
	executor.Restore(l.earlyDone)
	a.hooks.set(cfg.Hooks, a.hookRunner(cfg))
	a.pin(cfg)
	l.executor, l.generation = executor, l.generation+1
	l.cfg, l.policy, l.plan = cfg, policy.New(cfg.Policy), way
	l.policy.BootWait, l.policy.BootLimit = bootTimes(cfg)
	snap := &dodai.Snapshot{At: a.clock(), Wall: time.Now(), AgentStartedAt: a.clock(), Paths: cfg.Wiring, Links: cfg.Links(), Maintenance: l.maintenance.standing}
	hostname, _ := os.Hostname() // the rest of what is known of the host comes later
	snap.Host = named(dodai.Host{Name: hostname}, cfg)
	if l.snap != nil {
		snap.AgentStartedAt, snap.Host = l.snap.AgentStartedAt, named(l.snap.Host, cfg)
	}
	for name, c := range made {
		if l.snap != nil {
			if old := l.snap.Device(name); old != nil {
				c.Resume(old)
			}
		}
		snap = snap.With(c.Initial(), snap.At, snap.Wall)
	}
	l.snap, l.collectors = snap, made
	a.measureNeed()
	return nil
}

// makeCollectors makes a collector for each device, or none.
func (a *Agent) makeCollectors(cfg *config.Config) (_ map[string]*collectors.Collector, err error) {
	made := map[string]*collectors.Collector{}
	var opened []drivers.Driver
	defer func() {
		if err != nil {
			for _, drv := range opened {
				_ = drv.Close() // it was never used
			}
		}
	}()
	generation := a.loop.generation + 1
	for _, dev := range cfg.AllDevices() {
		factory, ok := a.opts.Find(dev.Driver)
		if !ok {
			return nil, fmt.Errorf("device %s: there is no driver %q", dev.Name, dev.Driver)
		}
		log := a.log.With("device", dev.Name, "driver", dev.Driver)
		drv, err := a.withTools(factory, cfg).Open(dev.Name, dev.DriverOptions(), log)
		if err != nil {
			return nil, err
		}
		opened = append(opened, drv)
		made[dev.Name] = collectors.New(a.collectorConfig(cfg, dev, factory, drv, log, generation))
	}
	return made, nil
}

func (a *Agent) collectorConfig(cfg *config.Config, dev config.Device, f drivers.Factory, drv drivers.Driver, log *slog.Logger, generation int) collectors.Config {
	line := dev.Poll.D()
	if line == 0 {
		line = f.Poll
	}
	battery := cfg.Policy.PollBattS.D()
	if f.Local {
		battery = collectors.MinGap
	}
	return collectors.Config{
		// Until it has answered, a device is what the list it stands in says: a PDU that
		// is silent must not count as a UPS.
		Name: dev.Name, Kind: cmp.Or(dev.Kind, f.Kind), DriverName: f.Name, Driver: drv, Clock: a.clock, Alarm: a.alarm, Log: log,
		Timeout:    f.Timeout,
		StaleAfter: max(3*line, cfg.Policy.StaleS.D()), // as the player of scenarios has it
		Schedule: collectors.Schedule{
			Line: line, Battery: battery, Retry: cfg.Policy.RetryS.D(), Retries: 3, MaxBackoff: backoff(cmp.Or(dev.Kind, f.Kind)),
		},
		Late:    a.pollLate,
		Publish: func(s *dodai.DeviceState) { a.send(a.ctx, update{device: s, from: generation}) },
	}
}

// handover is how long the collectors of one generation wait for those of the one
// before to let go of their devices: a serial port has one owner.
const handover = 1500 * time.Millisecond

// startCollectors starts the present generation beside the loop.
func (a *Agent) startCollectors() {
	l := &a.loop
	ctx, stop := context.WithCancel(a.ctx)
	before, done := l.collected, make(chan struct{})
	l.stop, l.collected = stop, done
	var running sync.WaitGroup
	for _, c := range l.collectors {
		running.Add(1)
		l.group.Go(func() error {
			defer running.Done()
			if before != nil {
				select {
				case <-before:
				case <-time.After(handover):
				case <-ctx.Done():
				}
			}
			return c.Run(ctx)
		})
	}
	l.group.Go(func() error {
		running.Wait()
		close(done)
		return nil
	})
}

// reload takes a new configuration over, or keeps the old one and says why. It runs in
// the loop.
func (a *Agent) reload(cfg *config.Config) error {
	l := &a.loop
	switch run := a.drill.status(a.clock()); {
	case l.down != nil && !l.down.Finished:
		return errors.New("a shutdown is under way")
	case l.earlyBusy:
		return errors.New("early steps are being run or undone; try again when they are through")
	case run != nil:
		return fmt.Errorf("drill %s is running; try again when it is over", run.ID)
	}
	if cfg.Export != l.cfg.Export || cfg.Journal != l.cfg.Journal {
		a.log.Warn("changes below export and journal take effect when the agent is started anew")
	}
	old := l.stop
	if err := a.configure(cfg); err != nil {
		return err
	}
	old()
	a.startCollectors()
	return nil
}

// Reload reads the configuration again and takes it over. With an error the old one
// stays in force.
func (a *Agent) Reload(ctx context.Context) error {
	err := a.reloadFrom(ctx)
	if err != nil {
		a.emit(dodai.Event{Name: dodai.EventConfigRejected, Text: "the old configuration stays in force: " + err.Error()})
		return err
	}
	a.emit(dodai.Event{Name: dodai.EventConfigReloaded, Text: "the configuration was read again"})
	return nil
}

func (a *Agent) reloadFrom(ctx context.Context) error {
	if a.opts.Reload == nil {
		return fmt.Errorf("the agent runs without a configuration file")
	}
	cfg, err := a.opts.Reload()
	if err != nil {
		return err
	}
	way, err := a.plan(cfg)
	if err != nil {
		return err
	}
	a.store.loadDurations(ctx, stepNames(&way))
	var inLoop error
	if err := a.call(ctx, func() {
		if inLoop = a.reload(cfg); inLoop == nil {
			a.decide() // what is asked for next comes from the new configuration
		}
	}); err != nil {
		return err
	}
	if inLoop == nil {
		a.keepAccepted(cfg.Text)
		a.checks.trigger()
		a.sights.trigger()
	}
	return inLoop
}
