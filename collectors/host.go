package collectors

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
)

// HostFacts reads what the machine says of itself. What cannot be read stays zero: no
// decision depends on it. It runs no program, as gopsutil does to learn the system's name.
func HostFacts(ctx context.Context) dodai.Host {
	h := dodai.Host{BootID: BootID(), OS: osName("/etc/os-release")}
	h.Name, _ = os.Hostname()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
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

// osName is the system and its version, "debian 12"; empty where path does not tell. Source:
// os-release(5).
func osName(path string) string {
	data, err := os.ReadFile(path)
	if err != nil || len(data) > 64<<10 {
		return ""
	}
	var id, version string
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return dodai.Printable(strings.TrimSpace(id + " " + version))
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
