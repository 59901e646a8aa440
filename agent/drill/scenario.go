package drill

import (
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// Scenario is one outage, or one thing that must not be taken for an outage: what the
// UPSes say second by second, and what the right decision is. It does not change once
// parsed, and may be played by several goroutines at once; one that a program has made
// (see New) only as far as the program's Read may be called.
type Scenario struct {
	ID     string
	Title  string
	Source string // where the case was seen; may be empty

	// Config is the policy the scenario is played with: the defaults, with what the
	// scenario overrides. PollLine is the interval on line.
	Config   policy.Config
	PollLine time.Duration
	UPSes    []string      // ids, at least one; what names none is about the first
	Paths    []dodai.Path  // how the supplies are fed; empty: each UPS feeds the host
	Links    []dodai.Link  // UPSes behind UPSes
	Mode     Mode          // how it is played where nothing else is said
	End      time.Duration // of the time line
	Expect   Expect

	tracks   map[string]*track // by UPS, and of the BMC under its name
	supplies []string          // ids of the power supplies that the BMC tells about; none: no BMC
	events   []Happening       // about the host, the agent and the operator, by time
	read     func(device string, at time.Duration) (*dodai.Reading, bool)
}

// Mode is how a scenario is played: `config.play` of a scenario file.
type Mode struct {
	Seed       uint64 // of everything random; 1 unless the file says otherwise
	Jitter     bool
	FailRate   float64
	ClockSteps bool
}

// Options are the mode's PlayOptions.
func (m Mode) Options() PlayOptions {
	return PlayOptions{Seed: m.Seed, Jitter: m.Jitter, FailRate: m.FailRate, ClockSteps: m.ClockSteps}
}

// Expect is what has to come of a scenario. A nil field is not checked.
type Expect struct {
	Shutdown   *bool
	NotBeforeS *float64
	NotAfterS  *float64
	Reason     *policy.Reason
	Alerts     []policy.AlertID // a part of those raised
	BootHold   *bool
	PowerCycle *bool
}

// State is what one UPS would say at one instant of a scenario.
type State struct {
	Reading   dodai.Reading
	Reachable bool // false: reads fail
	Frozen    bool // answers, with the values of an earlier moment
}
