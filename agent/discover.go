package agent

import (
	"context"
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
// now. What is not there must not be reported as lost for ever after.
func Discover(ctx context.Context, cfg *config.Config, find func(string) (drivers.Factory, bool), log *slog.Logger) {
	if !cfg.Auto {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	absent := map[string]bool{}
	for _, dev := range cfg.AllDevices() {
		wg.Go(func() {
			if err := tryOnce(ctx, dev, find); err != nil {
				log.Info("not found, not watched", "device", dev.Name, "driver", dev.Driver, "err", err)
				mu.Lock()
				absent[dev.Name] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, list := range []*[]config.Device{&cfg.UPS, &cfg.Arrays, &cfg.Disks, &cfg.PSUs, &cfg.PDUs} {
		*list = slices.DeleteFunc(*list, func(d config.Device) bool { return absent[d.Name] })
	}
}

func tryOnce(ctx context.Context, dev config.Device, find func(string) (drivers.Factory, bool)) error {
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
