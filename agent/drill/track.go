package drill

import (
	"math"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

// track is everything that changes at one device.
type track struct {
	vars   map[string][]segment // by variable, by time; of the BMC by "psu.<id>"
	comms  []toggle
	frozen []toggle
	fsd    []time.Duration     // set, for good
	inputs map[string][]toggle // of the BMC: the supplies behind a UPS have no input
}

func newTrack() *track {
	return &track{vars: map[string][]segment{}, inputs: map[string][]toggle{}}
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
	t, out.Reachable, out.Frozen = tr.seenAt(t)
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

// seenAt is the moment whose values are read at t: an earlier one while they are frozen.
func (tr *track) seenAt(t time.Duration) (at time.Duration, reachable, isFrozen bool) {
	lost, _ := last(tr.comms, t)
	if frozen, ok := last(tr.frozen, t); ok && frozen.on {
		return frozen.at, !lost.on, true
	}
	return t, !lost.on, false
}

// steady is how long, from t on, a read of the device goes on giving the same: until
// something of it changes, and not at all while a value moves.
func (tr *track) steady(t time.Duration) time.Duration {
	until := time.Duration(math.MaxInt64)
	for _, list := range [][]toggle{tr.comms, tr.frozen} {
		until = nextToggle(list, t, until)
	}
	for _, list := range tr.inputs {
		until = nextToggle(list, t, until)
	}
	if len(tr.fsd) > 0 && tr.fsd[0] > t {
		until = min(until, tr.fsd[0])
	}
	for _, segments := range tr.vars {
		i := begun(segments, t)
		if i > 0 && segments[i-1].ramp && t < segments[i-1].at+segments[i-1].over {
			return t
		}
		if i < len(segments) {
			until = min(until, segments[i].at)
		}
	}
	return until
}

func nextToggle(list []toggle, t, until time.Duration) time.Duration {
	for _, g := range list {
		if g.at > t {
			return min(until, g.at)
		}
	}
	return until
}

// begun counts the segments that have begun at t.
func begun(segments []segment, t time.Duration) int {
	i, _ := slices.BinarySearchFunc(segments, t, func(g segment, t time.Duration) int {
		if g.at <= t {
			return -1
		}
		return 1
	})
	return i
}

func (tr *track) apply(r *dodai.Reading, name string, segments []segment, t time.Duration) {
	i := begun(segments, t)
	if i == 0 {
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
