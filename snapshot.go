package dodai

import (
	"slices"
	"strings"
	"time"
)

// Quality is how far a device's latest reading can be relied on.
type Quality string

// The qualities of a reading.
const (
	QualityFresh Quality = "fresh" // within its freshness
	QualityStale Quality = "stale" // there is one, but too old
	QualityNever Quality = "never" // the device has never answered
	QualityNone  Quality = "none"  // there is nothing here that it could read, as far as it sees
)

// DeviceState is what is known of one configured device. It is never changed once it
// stands in a snapshot.
type DeviceState struct {
	Name   string `json:"name"`
	Kind   Kind   `json:"kind"`
	Driver string `json:"driver"`

	// Reading is the last good one; nil until the device has answered once. A failed
	// poll leaves it as it is.
	Reading *Reading `json:"reading,omitempty"`
	// At is when Reading was taken; meaningless while Reading is nil.
	At time.Duration `json:"at"`
	// Polls counts good readings since the agent started, so that a reader can tell
	// a new reading that says the same from no new reading.
	Polls uint64 `json:"polls"`

	// Err is why the last poll failed, with device and operation; empty when it
	// succeeded. Failures counts failed polls in a row, FailingSince is when the
	// first of them ended.
	Err          string        `json:"error,omitempty"`
	Failures     int           `json:"failures,omitempty"`
	FailingSince time.Duration `json:"failing_since,omitempty"`
	// NothingHere: the last poll found no array, or no disk, to read. Where there has never
	// been a reading that is no failure.
	NothingHere bool `json:"nothing_here,omitempty"`

	// StaleAfter is how old a reading may grow before it no longer counts as fresh.
	StaleAfter time.Duration `json:"stale_after"`
}

// Age is how old the last good reading is at now; 0 when there is none.
func (d *DeviceState) Age(now time.Duration) time.Duration {
	if d.Reading == nil {
		return 0
	}
	return max(0, now-d.At)
}

// Quality says how far the last good reading can be relied on at now.
func (d *DeviceState) Quality(now time.Duration) Quality {
	switch {
	case d.Reading == nil && d.NothingHere:
		return QualityNone
	case d.Reading == nil:
		return QualityNever
	case d.Age(now) > d.StaleAfter:
		return QualityStale
	default:
		return QualityFresh
	}
}

// Answered reports whether the device has answered, or has been asked and was silent:
// whether anything is known of it.
func (d *DeviceState) Answered() bool { return d.Polls > 0 || d.Failures > 0 }

// Snapshot is everything known at one instant. It is immutable: the agent's loop makes
// a new one for each reading, and whoever holds one may read it without a lock.
type Snapshot struct {
	At   time.Duration `json:"at"`   // on the agent's monotonic clock
	Wall time.Time     `json:"wall"` // for display only
	// BootedAt is when the host booted, on the same clock as At (0 with
	// CLOCK_BOOTTIME); AgentStartedAt is when the agent did.
	BootedAt       time.Duration `json:"booted_at"`
	AgentStartedAt time.Duration `json:"agent_started_at"`

	Devices []*DeviceState `json:"devices"` // sorted by name, one per configured device
	Paths   []Path         `json:"paths,omitempty"`
	Links   []Link         `json:"links,omitempty"` // UPSes behind UPSes
	// Maintenance is what operators have declared; what is over may still stand in it.
	Maintenance []Maintenance `json:"maintenance,omitempty"`
	Host        Host          `json:"host,omitzero"`
}

func byName(d *DeviceState, name string) int { return strings.Compare(d.Name, name) }

// Device returns the device called name, or nil.
func (s *Snapshot) Device(name string) *DeviceState {
	i, ok := slices.BinarySearchFunc(s.Devices, name, byName)
	if !ok {
		return nil
	}
	return s.Devices[i]
}

// OfKind returns the devices of kind, in name order.
func (s *Snapshot) OfKind(kind Kind) []*DeviceState {
	var out []*DeviceState
	for _, d := range s.Devices {
		if d.Kind == kind {
			out = append(out, d)
		}
	}
	return out
}

// With returns a copy of s, taken at now, in which d replaces (or adds) the device of
// the same name. s itself is not changed.
func (s *Snapshot) With(d *DeviceState, now time.Duration, wall time.Time) *Snapshot {
	c := *s
	c.At, c.Wall = now, wall
	i, found := slices.BinarySearchFunc(s.Devices, d.Name, byName)
	if found {
		c.Devices = slices.Clone(s.Devices)
		c.Devices[i] = d
	} else {
		c.Devices = slices.Insert(slices.Clone(s.Devices), i, d)
	}
	return &c
}

// Host is what the agent knows of the machine it runs on. Zero fields are not known.
type Host struct {
	Name     string        `json:"name,omitempty"`
	OS       string        `json:"os,omitempty"`
	Kernel   string        `json:"kernel,omitempty"`
	BootID   string        `json:"boot_id,omitempty"`
	Uptime   time.Duration `json:"uptime,omitempty"`
	Load1    float64       `json:"load1,omitempty"`
	MemUsed  uint64        `json:"memory_used_bytes,omitempty"`
	MemTotal uint64        `json:"memory_total_bytes,omitempty"`
}
