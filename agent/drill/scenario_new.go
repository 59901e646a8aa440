package drill

import (
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// BMC is the device that tells about the power supplies of a scenario that has any.
const BMC = "bmc"

// Spec is a scenario that a program makes instead of a file.
type Spec struct {
	ID       string
	Config   policy.Config
	PollLine time.Duration // 0: 5 s
	UPSes    []string      // names; none: u1
	Paths    []dodai.Path
	Links    []dodai.Link
	PSUs     bool // there is the device BMC, which tells about the power supplies
	End      time.Duration

	// Read is what a device says at an instant from the start; ok is false when the
	// read fails. It is asked in the order of time for each device, never before 0: the
	// poll before the start is told what stands at 0. The reading is not changed by
	// the player, and must not be changed by anyone else. Only one goroutine calls it,
	// and only while Play runs.
	Read func(device string, at time.Duration) (r *dodai.Reading, ok bool)
	// Happenings are about the host, the agent and the operator, in any order.
	Happenings []Happening
}

// Happening is something that is not about the values of a device.
type Happening struct {
	At time.Duration // from the start
	// What is agent_stop, agent_start, host_boot, clock_step, maintenance_on or
	// maintenance_off; anything else is nothing.
	What   string
	Device string        // of a maintenance: the UPS; empty: all
	Step   time.Duration // of the wall clock; of a maintenance its length
}

// New is the scenario that spec describes. Its result's PowerCycle is always false: a
// program that makes an outage knows by itself when the mains come back.
func New(spec Spec) *Scenario {
	s := &Scenario{
		ID: spec.ID, Config: spec.Config, PollLine: spec.PollLine, UPSes: spec.UPSes, Paths: spec.Paths,
		Links: spec.Links, Mode: Mode{Seed: 1}, End: spec.End, events: slices.Clone(spec.Happenings), read: spec.Read,
	}
	if s.PollLine <= 0 {
		s.PollLine = defaultPollLine
	}
	if len(s.UPSes) == 0 {
		s.UPSes = []string{"u1"}
	}
	if spec.PSUs {
		s.supplies = []string{}
	}
	s.sortEvents()
	return s
}

func (s *Scenario) sortEvents() {
	slices.SortStableFunc(s.events, func(a, b Happening) int { return int(a.At - b.At) })
}

// hasBMC reports whether there is a device that tells about the power supplies.
func (s *Scenario) hasBMC() bool { return s.supplies != nil }
