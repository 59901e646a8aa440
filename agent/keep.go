package agent

import (
	"context"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/journal"
)

// How often the readings of UPSes are kept, so that an outage can be looked at
// afterwards, and how often what is too old is removed.
const (
	sampleLine    = time.Minute
	sampleBattery = 10 * time.Second
	pruneFirst    = time.Hour // after the start: a clock that was wrong at the boot may be set right by then
	pruneEvery    = 24 * time.Hour
)

// sampled are the variables worth keeping.
var sampled = []string{
	dodai.BatteryCharge, dodai.BatteryRuntime, dodai.BatteryVoltage, dodai.InputVoltage, dodai.UPSLoad, dodai.UPSTemperature,
}

// runKeep keeps samples of what the loop last saw and removes what is too old, for as
// long as ctx lasts. It works beside the loop and never makes it wait.
func (a *Agent) runKeep(ctx context.Context) error {
	if a.store.journal == nil {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(sampleBattery)
	defer ticker.Stop()
	var keep keeper
	due := a.clock() + pruneFirst
	for {
		a.keepDue(ctx, &keep)
		if now := a.clock(); now >= due {
			a.prune(ctx)
			due = now + pruneEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// keepDue writes the samples that are due. Where none is, nothing is written that could go
// well: the journal must not count as mended by that.
func (a *Agent) keepDue(ctx context.Context, keep *keeper) {
	samples := keep.due(a.View(), a.clock())
	if len(samples) == 0 {
		return
	}
	if err := a.store.write(ctx, func(ctx context.Context) error { return a.store.journal.AppendSamples(ctx, samples...) }); err != nil && ctx.Err() == nil {
		a.log.Debug("samples not kept", "err", err)
	}
}

func (a *Agent) prune(ctx context.Context) {
	keep := a.View().Config.Journal
	if err := a.store.journal.Prune(ctx, keep.KeepEvents.D(), keep.KeepSamples.D()); err != nil && ctx.Err() == nil {
		a.log.Error("old events and samples were not removed", "err", err)
	}
}

// keeper remembers which readings it has kept.
type keeper struct{ at map[string]time.Duration }

// due returns the samples of the readings that are new and due.
func (k *keeper) due(v *View, now time.Duration) []journal.Sample {
	if k.at == nil {
		k.at = map[string]time.Duration{}
	}
	var samples []journal.Sample
	for _, dev := range v.Snapshot.Devices {
		if dev.Reading == nil || !dev.Kind.IsPower() || !k.isDue(v, dev, now) {
			continue
		}
		k.at[dev.Name] = dev.At
		wall := v.Snapshot.Wall.Add(dev.At - v.Snapshot.At)
		for _, name := range sampled {
			if value, ok := dev.Reading.Vars.Float(name); ok {
				samples = append(samples, journal.Sample{Device: dev.Name, Name: name, Value: value, At: wall})
			}
		}
	}
	return samples
}

func (k *keeper) isDue(v *View, dev *dodai.DeviceState, now time.Duration) bool {
	last, kept := k.at[dev.Name]
	every := sampleLine
	if u := v.Decision.UPS(dev.Name); u != nil && u.OnBattery {
		every = sampleBattery
	}
	return !kept || dev.At > last && now-last >= every
}
