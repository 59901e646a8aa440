package drill

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/goccy/go-yaml/ast"
)

// psuPrefix begins the variable of a power supply: "psu.<id>".
const psuPrefix = "psu."

// supply is the name of the supply behind a UPS in a scenario without wiring.
func supply(ups string) string { return "psu-" + ups }

// bmcTrack is the track of the BMC, which is there from its first mention on.
func (p *scenarioParser) bmcTrack(n ast.Node) *track {
	if slices.Contains(p.s.UPSes, BMC) {
		p.fail(n, "a UPS called bmc beside power supplies", "another name for the UPS: bmc tells about the power supplies")
	}
	tr := p.s.tracks[BMC]
	if tr == nil {
		tr = newTrack()
		p.s.tracks[BMC] = tr
	}
	return tr
}

// addSupply is a state of a power supply, from at on.
func (p *scenarioParser) addSupply(n ast.Node, name string, g segment) {
	id := strings.TrimPrefix(name, psuPrefix)
	tr := p.bmcTrack(n)
	switch {
	case p.err != nil:
	case len(p.s.Paths) > 0 && !slices.ContainsFunc(p.s.Paths, func(w dodai.Path) bool { return w.PSU == id }):
		p.fail(n, fmt.Sprintf("unknown power supply %q", id), "one of config.wiring: "+strings.Join(wired(p.s.Paths), ", "))
	case id == "" || strings.ContainsAny(id, " :"):
		p.fail(n, fmt.Sprintf("power supply %q", id), "a name such as psu.a")
	case g.absent || g.ramp || !slices.Contains(dodai.PSUStates, dodai.PSUState(g.value.String())):
		p.fail(n, "no state of a power supply", fmt.Sprintf("one of %v", dodai.PSUStates))
	default:
		tr.vars[name] = append(tr.vars[name], g)
	}
}

// psuInput is a psu_input_lost or psu_input_restored.
func (p *scenarioParser) psuInput(at time.Duration, n ast.Node, name, ups string) {
	if !slices.Contains(p.s.UPSes, ups) {
		p.fail(n, fmt.Sprintf("%s of unknown UPS %q", name, ups), name+":u1, with one of "+strings.Join(p.s.UPSes, ", "))
		return
	}
	tr := p.bmcTrack(n)
	tr.inputs[ups] = append(tr.inputs[ups], toggle{at, name == "psu_input_lost"})
}

// settleSupplies says which supplies there are: those of the wiring, or else those the
// time line names. Without wiring a supply psu-<ups> hangs behind each UPS as soon as
// one of them, or the input behind a UPS, is spoken of.
func (s *Scenario) settleSupplies() {
	tr := s.tracks[BMC]
	if tr == nil || slices.Contains(s.UPSes, BMC) {
		return
	}
	s.supplies = wired(s.Paths)
	if len(s.Paths) > 0 {
		return
	}
	own := map[string]bool{}
	for name := range tr.vars {
		own[strings.TrimPrefix(name, psuPrefix)] = true
	}
	behind := len(own) == 0
	for _, ups := range s.UPSes {
		behind = behind || len(tr.inputs[ups]) > 0 || own[supply(ups)]
	}
	s.supplies = []string{}
	if behind {
		s.Config.LoadShift = false // these paths are there for the inputs alone
		for _, ups := range s.UPSes {
			s.supplies = append(s.supplies, supply(ups))
			s.Paths = append(s.Paths, dodai.Path{PSU: supply(ups), UPS: ups})
			delete(own, supply(ups))
		}
	}
	s.supplies = append(s.supplies, slices.Sorted(maps.Keys(own))...)
}

// wired are the supplies of a wiring, each once.
func wired(paths []dodai.Path) []string {
	var ids []string
	for _, w := range paths {
		if !slices.Contains(ids, w.PSU) {
			ids = append(ids, w.PSU)
		}
	}
	return ids
}

// suppliesAtRest is what the BMC says until the scenario says otherwise.
func (s *Scenario) suppliesAtRest() *dodai.Reading {
	r := &dodai.Reading{Kind: dodai.KindPSUs}
	for _, id := range s.supplies {
		r.PSUs = append(r.PSUs, dodai.PSU{ID: id, State: dodai.PSUOK, Input: dodai.InputOK})
	}
	return r
}

// suppliesFrom is what a device says at t of power supplies of which it said base, where
// the scenario says nothing. paths is their wiring, and bind the scenario's UPS that
// plays each UPS of it. base is not changed.
func (s *Scenario) suppliesFrom(base *dodai.Reading, t time.Duration, paths []dodai.Path, bind map[string]string) (*dodai.Reading, bool) {
	tr := s.tracks[BMC]
	if tr == nil || !s.hasBMC() {
		return base, true
	}
	t, reachable, _ := tr.seenAt(t)
	r := *base
	r.PSUs = slices.Clone(r.PSUs)
	for i := range r.PSUs {
		p := &r.PSUs[i]
		segments := tr.vars[psuPrefix+p.ID]
		said := dodai.PSUOK
		if n := begun(segments, t); n > 0 {
			said = dodai.PSUState(segments[n-1].value.String())
			p.State, p.Input = said, inputOf(said)
		}
		if said == dodai.PSUOK && tr.inputLost(p.ID, t, paths, bind) {
			p.State, p.Input = dodai.PSUInputLost, dodai.InputLost
		}
	}
	return &r, reachable
}

// inputOf is what a supply in a state says of its input.
func inputOf(state dodai.PSUState) dodai.InputState {
	switch state {
	case dodai.PSUOK, dodai.PSUPredictive:
		return dodai.InputOK
	case dodai.PSUInputLost:
		return dodai.InputLost
	case dodai.PSUWarning:
		return dodai.InputOutOfRange
	default:
		return dodai.InputUnknown
	}
}

// inputLost reports whether all of the UPSes that feed a supply have left it without
// input. What comes straight from the mains has not.
func (tr *track) inputLost(psu string, t time.Duration, paths []dodai.Path, bind map[string]string) bool {
	lost := false
	for _, w := range paths {
		if w.PSU != psu {
			continue
		}
		g, _ := last(tr.inputs[bind[w.UPS]], t)
		if !g.on {
			return false
		}
		lost = true
	}
	return lost
}
