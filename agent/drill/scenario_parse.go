package drill

import (
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/goccy/go-yaml/ast"
)

const (
	statusName = "ups.status"

	scenarioMaxS     = 30 * 86400 // seconds a time line may last
	scenarioMaxSteps = 200000     // values set, flaps counted out
	scenarioMaxTimes = 20000      // cycles of a flap
	scenarioMaxUPSes = 16

	defaultPollLine = 5 * time.Second
)

// Load reads and parses a scenario file. It reads no more than one byte above what a
// scenario may have: a device that never ends must not fill the memory.
func Load(path string) (*Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, scenarioMaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a scenario. Every mistake is a *SyntaxError with the place in file and
// what was expected there; unknown keys and values of the wrong type are mistakes.
func Parse(file string, data []byte) (*Scenario, error) {
	r := &reader{file: file}
	root := r.document(data)
	s := &Scenario{Config: policy.Default(), PollLine: defaultPollLine, UPSes: []string{"u1"}, Mode: Mode{Seed: 1}, tracks: map[string]*track{}}
	var config, timeline, expect ast.Node
	r.object(root, "a scenario", map[string]func(ast.Node){
		"id":       func(n ast.Node) { s.ID = r.text(n, "the scenario's name") },
		"title":    func(n ast.Node) { s.Title = r.text(n, "a title") },
		"source":   func(n ast.Node) { s.Source = r.text(n, "where the case was seen") },
		"config":   func(n ast.Node) { config = n },
		"timeline": func(n ast.Node) { timeline = n },
		"expect":   func(n ast.Node) { expect = n },
	})
	p := &scenarioParser{reader: r, s: s}
	if config != nil {
		p.config(config)
	}
	for _, id := range s.UPSes {
		s.tracks[id] = newTrack()
	}
	switch {
	case r.err != nil:
	case s.ID == "":
		r.fail(root, "no id", "id: with the scenario's name")
	case timeline == nil:
		r.fail(root, "no timeline", "timeline: with a list of {t, set | ramp | flap | event}")
	default:
		p.timeline(timeline)
	}
	if expect != nil {
		p.expect(expect)
	}
	if r.err != nil {
		return nil, r.err
	}
	s.settle(p.end)
	s.settleSupplies()
	return s, nil
}

type scenarioParser struct {
	*reader
	s     *Scenario
	end   *time.Duration // of an explicit end
	steps int
}

// settle puts everything in order of time, and finds the end.
func (s *Scenario) settle(end *time.Duration) {
	for _, tr := range s.tracks {
		s.End = max(s.End, tr.settle())
	}
	s.sortEvents()
	for _, e := range s.events {
		s.End = max(s.End, e.At)
	}
	if end != nil {
		s.End = *end
	}
}

// settle puts what changes at a device in order of time, and returns when it is over.
func (tr *track) settle() (end time.Duration) {
	for _, segments := range tr.vars {
		slices.SortStableFunc(segments, func(a, b segment) int { return int(a.at - b.at) })
		for _, g := range segments {
			end = max(end, g.at+g.over)
		}
	}
	lists := append([][]toggle{tr.comms, tr.frozen}, slices.Collect(maps.Values(tr.inputs))...)
	for _, list := range lists {
		slices.SortStableFunc(list, func(a, b toggle) int { return int(a.at - b.at) })
		for _, g := range list {
			end = max(end, g.at)
		}
	}
	slices.Sort(tr.fsd)
	for _, at := range tr.fsd {
		end = max(end, at)
	}
	return end
}

func (p *scenarioParser) timeline(n ast.Node) {
	for _, entry := range p.list(n, "a list of {t, set | ramp | flap | event}") {
		var at *time.Duration
		var parts []func(time.Duration)
		later := func(part func(time.Duration, ast.Node)) func(ast.Node) {
			return func(n ast.Node) { parts = append(parts, func(t time.Duration) { part(t, n) }) }
		}
		// A ramp begins after a set of the same entry, wherever it stands.
		var ramps []func(time.Duration)
		p.object(entry, "an entry of the time line", map[string]func(ast.Node){
			"t":     func(n ast.Node) { at = new(p.seconds(n, 0, scenarioMaxS, "seconds from the start")) },
			"set":   later(p.set),
			"ramp":  func(n ast.Node) { ramps = append(ramps, func(t time.Duration) { p.ramp(t, n) }) },
			"flap":  later(p.flap),
			"event": later(p.event),
		})
		switch {
		case p.err != nil:
			return
		case at == nil:
			p.fail(entry, "an entry without t", "t: with the seconds from the start")
			return
		case len(parts)+len(ramps) == 0:
			p.fail(entry, "an entry in which nothing happens", "set, ramp, flap or event")
		}
		for _, part := range append(parts, ramps...) {
			if p.err != nil {
				return
			}
			part(*at)
		}
	}
}

// target splits "u2:battery.charge" into the UPS and the rest; without a UPS the first
// one is meant.
func (p *scenarioParser) target(n ast.Node, word string) (*track, string) {
	id, rest, found := strings.Cut(word, ":")
	if !found {
		return p.s.tracks[p.s.UPSes[0]], word
	}
	if id == BMC && !slices.Contains(p.s.UPSes, BMC) {
		return p.bmcTrack(n), rest
	}
	tr := p.s.tracks[id]
	if tr == nil {
		p.fail(n, fmt.Sprintf("unknown UPS %q", id), "one of "+strings.Join(p.s.UPSes, ", "))
		tr = newTrack()
	}
	return tr, rest
}

func (p *scenarioParser) add(n ast.Node, name string, g segment) {
	if p.steps++; p.steps > scenarioMaxSteps {
		p.fail(n, "too long a time line", fmt.Sprintf("at most %d steps", scenarioMaxSteps))
		return
	}
	if strings.HasPrefix(name, psuPrefix) {
		p.addSupply(n, name, g)
		return
	}
	if strings.HasPrefix(name, BMC+":") && !slices.Contains(p.s.UPSes, BMC) {
		p.fail(n, fmt.Sprintf("variable %q", name), "psu.<id>, without a device")
		return
	}
	tr, name := p.target(n, name)
	if name == "" || strings.ContainsAny(name, " :") {
		p.fail(n, fmt.Sprintf("variable %q", name), "a name such as battery.charge or u2:battery.charge")
		return
	}
	if name == statusName && (g.ramp || !g.absent && isNumber(g.value)) {
		p.fail(n, "ups.status is a number", "words such as OB DISCHRG")
		return
	}
	tr.vars[name] = append(tr.vars[name], g)
}

func isNumber(v dodai.Value) bool {
	_, ok := v.Float()
	return ok
}

func (p *scenarioParser) set(at time.Duration, n ast.Node) {
	p.values(n, func(key ast.Node, name string, v dodai.Value, absent bool) {
		p.add(key, name, segment{at: at, value: v, absent: absent})
	})
}

// values reads {variable: value}; null is an absent variable.
func (p *scenarioParser) values(n ast.Node, each func(key ast.Node, name string, v dodai.Value, absent bool)) {
	for _, kv := range p.pairs(n, "{variable: value}") {
		v, absent := p.value(kv.value)
		if p.err == nil {
			each(kv.key, kv.name, v, absent)
		}
	}
}

func (p *scenarioParser) ramp(at time.Duration, n ast.Node) {
	for _, kv := range p.pairs(n, "{variable: [from, to, seconds]}") {
		parts := p.list(kv.value, "[from, to, seconds]")
		if p.err == nil && len(parts) != 3 {
			p.fail(kv.value, fmt.Sprintf("a list of %d", len(parts)), "[from, to, seconds]")
		}
		if p.err != nil {
			return
		}
		g := segment{at: at, ramp: true}
		g.from = p.number(parts[0], -1e9, 1e9, "the first value")
		g.to = p.number(parts[1], -1e9, 1e9, "the last value")
		g.over = p.seconds(parts[2], 0.001, scenarioMaxS, "the length in seconds")
		if p.err == nil {
			p.add(kv.key, kv.name, g)
		}
	}
}

func (p *scenarioParser) flap(at time.Duration, n ast.Node) {
	var every, on time.Duration
	var times float64
	var onSet, offSet ast.Node
	seen := p.object(n, "a flap", map[string]func(ast.Node){
		"every":   func(n ast.Node) { every = p.seconds(n, 0.001, scenarioMaxS, "the cycle in seconds") },
		"on_s":    func(n ast.Node) { on = p.seconds(n, 0, scenarioMaxS, "seconds of a cycle") },
		"times":   func(n ast.Node) { times = p.number(n, 1, scenarioMaxTimes, "the number of cycles") },
		"on_set":  func(n ast.Node) { onSet = n },
		"off_set": func(n ast.Node) { offSet = n },
	})
	switch {
	case p.err != nil:
	case seen != 5:
		p.fail(n, "an incomplete flap", "every, on_s, times, on_set and off_set")
	case on > every:
		p.fail(n, "on_s is longer than a cycle", "at most every")
	case times != math.Trunc(times):
		p.fail(n, "times is no whole number", "the number of cycles")
	}
	for i := 0; i < int(times) && p.err == nil; i++ {
		start := at + time.Duration(i)*every
		if (start + on).Seconds() > scenarioMaxS {
			p.fail(n, "a flap that lasts too long", fmt.Sprintf("at most %d s", scenarioMaxS))
			return
		}
		p.set(start, onSet)
		p.set(start+on, offSet)
	}
}

var reasons = []policy.Reason{
	policy.ReasonNone, policy.ReasonLB, policy.ReasonRuntime, policy.ReasonCharge, policy.ReasonMaxOnBatt, policy.ReasonNoMetrics,
	policy.ReasonCommsOnBatt, policy.ReasonFSD, policy.ReasonUPSTimer, policy.ReasonPathOutage,
}

func (p *scenarioParser) expect(n ast.Node) {
	e := &p.s.Expect
	p.object(n, "the expectations", map[string]func(ast.Node){
		"shutdown":     func(n ast.Node) { e.Shutdown = new(p.truth(n)) },
		"boot_hold":    func(n ast.Node) { e.BootHold = new(p.truth(n)) },
		"power_cycle":  func(n ast.Node) { e.PowerCycle = new(p.truth(n)) },
		"not_before_s": func(n ast.Node) { e.NotBeforeS = new(p.number(n, 0, scenarioMaxS, "seconds")) },
		"not_after_s":  func(n ast.Node) { e.NotAfterS = new(p.number(n, 0, scenarioMaxS, "seconds")) },
		"reason": func(n ast.Node) {
			r := policy.Reason(p.text(n, "a reason"))
			if p.err == nil && !slices.Contains(reasons, r) {
				p.fail(n, fmt.Sprintf("reason %q", r), fmt.Sprintf("one of %v", reasons))
			}
			e.Reason = &r
		},
		"alerts": func(n ast.Node) {
			for _, a := range p.list(n, "a list of alerts") {
				e.Alerts = append(e.Alerts, policy.AlertID(p.text(a, "an alert")))
			}
		},
	})
}
