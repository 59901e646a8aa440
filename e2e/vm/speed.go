package vm

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// referenceBoot is how long a machine takes to its guest agent on the host that the base
// limits were chosen on.
const referenceBoot = 20 * time.Second

// speed is how much slower than that this host is, at least 1: from its first boot, which
// the cache remembers, and from the slowest one of this process.
var speed struct {
	sync.Mutex
	read   bool
	factor float64
}

// Limit is a time limit for this host: the base is what suffices on a quiet one with two
// processors.
func (m *Machine) Limit(base time.Duration) time.Duration {
	return time.Duration(float64(base) * hostFactor(m.t))
}

func hostFactor(t testing.TB) float64 {
	t.Helper()
	speed.Lock()
	defer speed.Unlock()
	if !speed.read {
		speed.read, speed.factor = true, max(speed.factor, 1)
		if text, err := os.ReadFile(speedFile(t)); err == nil {
			if s, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64); err == nil && s > 0 && !math.IsInf(s, 0) {
				speed.factor = max(speed.factor, min(s/referenceBoot.Seconds(), 20))
			}
		}
	}
	return speed.factor
}

// noteSpeed learns from a boot.
func noteSpeed(t testing.TB, took time.Duration) {
	t.Helper()
	hostFactor(t)
	speed.Lock()
	defer speed.Unlock()
	speed.factor = max(speed.factor, took.Seconds()/referenceBoot.Seconds())
	if _, err := os.Stat(speedFile(t)); os.IsNotExist(err) {
		if err := os.WriteFile(speedFile(t), []byte(strconv.FormatFloat(took.Seconds(), 'f', 1, 64)+"\n"), 0o644); err != nil {
			t.Logf("remember this host's speed: %v", err)
		}
	}
}

func speedFile(t testing.TB) string { return filepath.Join(Cache(t), "first-boot-seconds") }
