package collectors

import (
	"context"
	"time"

	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"

	"github.com/dodai-agent/dodai"
)

// HostFacts reads what the machine says of itself. What cannot be read stays zero: no
// decision depends on it.
func HostFacts(ctx context.Context) dodai.Host {
	h := dodai.Host{BootID: BootID()}
	if info, err := host.InfoWithContext(ctx); err == nil {
		h.Name, h.OS, h.Kernel = info.Hostname, info.Platform+" "+info.PlatformVersion, info.KernelVersion
		h.Uptime = time.Duration(info.Uptime) * time.Second
	}
	if avg, err := load.AvgWithContext(ctx); err == nil {
		h.Load1 = avg.Load1
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		h.MemUsed, h.MemTotal = m.Used, m.Total
	}
	return h
}

// RunHost publishes the host's facts at once and then at each interval until ctx ends.
func RunHost(ctx context.Context, every time.Duration, publish func(dodai.Host)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		publish(HostFacts(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
