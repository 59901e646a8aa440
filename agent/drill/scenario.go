package drill

import (
	"math"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// Scenario is one outage, or one thing that must not be taken for an outage: what the
// UPSes say second by second, and what the right decision is. It does not change once
// parsed, and may be played by several goroutines at once.
type Scenario struct {
	ID     string
	Title  string
	Source string // where the case was seen; may be empty

	// Config is the policy the scenario is played with: the defaults, with what the
	// scenario overrides. PollLine is the interval on line.
	Config   policy.Config
	PollLine time.Duration
	UPSes    []string      // ids, at least one; what names none is about the first
	End      time.Duration // of the time line
	Expect   Expect

	tracks map[string]*track
	events []happening // about the host and the agent, by time
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

// happening is something that is not about the values of a UPS.
type happening struct {
	at   time.Duration
	what string // agent_stop, agent_start, host_boot, clock_step, psu_input_lost
	ups  string
	step time.Duration // of the wall clock
}

// track is everything that changes at one UPS.
type track struct {
	vars   map[string][]segment // by variable, by time
	comms  []toggle
	frozen []toggle
	fsd    []time.Duration // set, for good
}

type toggle struct {
	at time.Duration
	on bool
}

// segment is one value of a variable, until the next one begins.
type segment struct {
	at     time.Duration
	value  dodai.Value
	absent bool
	ramp   bool
	from   float64
	to     float64
	over   time.Duration
}

func (g segment) valueAt(t time.Duration) (dodai.Value, bool) {
	switch {
	case g.absent:
		return dodai.Value{}, false
	case !g.ramp:
		return g.value, true
	case t-g.at >= g.over:
		return dodai.Num(g.to), true
	}
	part := (t - g.at).Seconds() / g.over.Seconds()
	return dodai.Num(math.Round(g.from + (g.to-g.from)*part)), true
}

// defaults are what every UPS says until the scenario says otherwise.
func defaults() dodai.Reading {
	return dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL, Vars: dodai.Vars{
		dodai.BatteryCharge:  dodai.Num(100),
		dodai.BatteryRuntime: dodai.Num(1200),
		dodai.InputVoltage:   dodai.Num(230),
		dodai.UPSLoad:        dodai.Num(40),
	}}
}

// State is what the UPS called ups says at t. A UPS the scenario does not know keeps
// the defaults.
func (s *Scenario) State(t time.Duration, ups string) State {
	base := defaults()
	return s.StateFrom(&base, t, ups)
}

// StateFrom is State for a UPS that says base where the scenario says nothing: a real
// reading, for a drill that starts from what is. base is not changed.
func (s *Scenario) StateFrom(base *dodai.Reading, t time.Duration, ups string) State {
	out := State{Reading: *base.Clone(), Reachable: true}
	tr := s.tracks[ups]
	if tr == nil {
		return out
	}
	lost, _ := last(tr.comms, t)
	out.Reachable = !lost.on
	if frozen, ok := last(tr.frozen, t); ok && frozen.on {
		out.Frozen, t = true, frozen.at
	}
	if out.Reading.Vars == nil {
		out.Reading.Vars = dodai.Vars{}
	}
	for name, segments := range tr.vars {
		tr.apply(&out.Reading, name, segments, t)
	}
	if len(tr.fsd) > 0 && tr.fsd[0] <= t {
		out.Reading.Status |= dodai.FSD
	}
	return out
}

func (tr *track) apply(r *dodai.Reading, name string, segments []segment, t time.Duration) {
	i, found := slices.BinarySearchFunc(segments, t, func(g segment, t time.Duration) int {
		if g.at <= t {
			return -1
		}
		return 1
	})
	if _ = found; i == 0 {
		return
	}
	v, ok := segments[i-1].valueAt(t)
	delete(r.Ages, name)
	switch {
	case name == statusName:
		r.Status, _ = dodai.ParseStatus(v.String())
	case ok:
		r.Vars[name] = v
	default:
		delete(r.Vars, name)
	}
}

// last is the latest toggle at or before t.
func last(list []toggle, t time.Duration) (toggle, bool) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].at <= t {
			return list[i], true
		}
	}
	return toggle{}, false
}

// mainsBack reports whether a UPS that was without mains at from has them again later.
func (s *Scenario) mainsBack(from time.Duration) bool {
	for _, id := range s.UPSes {
		tr := s.tracks[id]
		if !withoutMains(s.State(from, id).Reading) {
			continue
		}
		for _, g := range tr.vars[statusName] {
			if g.at <= from || g.at > s.End {
				continue
			}
			if st, _ := dodai.ParseStatus(g.value.String()); st.Has(dodai.OL) && !st.Has(dodai.OB) {
				return true
			}
		}
	}
	return false
}

func withoutMains(r dodai.Reading) bool { return r.Status.Has(dodai.OB) && !r.Status.Has(dodai.OL) }
