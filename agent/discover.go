package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers"
)

// discoverTimeout bounds the search for devices where there is no configuration.
const discoverTimeout = 10 * time.Second

// Discover leaves in a configuration that nobody wrote only the devices that answer
// now, and those that were still being read when the time was up and may take longer: many
// disks do. What is not there must not be reported as lost for ever after.
func Discover(ctx context.Context, cfg *config.Config, find func(string) (drivers.Factory, bool), log *slog.Logger) {
	if !cfg.Auto {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	var mu sync.Mutex
	keep := map[string]bool{}
	var wg sync.WaitGroup
	for _, dev := range cfg.AllDevices() {
		f, _ := find(dev.Driver)
		mu.Lock()
		keep[dev.Name] = f.Timeout > discoverTimeout
		mu.Unlock()
		wg.Go(func() {
			err := tryOnce(ctx, dev, find)
			if err != nil && ctx.Err() != nil && f.Timeout > discoverTimeout {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			keep[dev.Name] = err == nil
			if err != nil {
				log.Info("not found, not watched", "device", dev.Name, "driver", dev.Driver, "err", err)
				return
			}
			log.Info("found", "device", dev.Name, "driver", dev.Driver)
		})
	}
	waitFor(ctx, wg.Wait)
	mu.Lock()
	defer mu.Unlock()
	for _, list := range []*[]config.Device{&cfg.UPS, &cfg.Arrays, &cfg.Disks, &cfg.PSUs, &cfg.PDUs} {
		*list = slices.DeleteFunc(*list, func(d config.Device) bool { return !keep[d.Name] })
	}
}

// waitFor waits for f until ctx ends, and a moment longer for what heeds it.
func waitFor(ctx context.Context, f func()) {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(50 * time.Millisecond):
	}
}

// tryOnce asks a device once. A driver that panics or never comes back is one that does
// not answer.
func tryOnce(ctx context.Context, dev config.Device, find func(string) (drivers.Factory, bool)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("driver panicked: %v", p)
		}
	}()
	factory, ok := find(dev.Driver)
	if !ok {
		return drivers.ErrNoData
	}
	drv, err := factory.Open(dev.Name, dev.DriverOptions(), nil)
	if err != nil {
		return err
	}
	defer drv.Close()
	_, err = drv.Poll(ctx)
	return err
}
