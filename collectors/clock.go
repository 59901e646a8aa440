package collectors

import (
	"os"
	"strings"
	"time"
)

// Clock is the agent's clock: the time since some fixed instant, never going back,
// moved neither by NTP nor by an operator, and running on through suspend. On Linux
// the fixed instant is the host's boot, so that instants of one boot can be compared
// across restarts of the agent.
type Clock func() time.Duration

// BootID identifies the running boot of this host, empty where the kernel does not
// tell. Two instants are comparable when their boot ids are equal and not empty.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
