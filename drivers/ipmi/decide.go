package ipmi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai"
)

// observation is one sensor with what it answered.
type observation struct {
	sensor
	state
}

// inventory is what a supply's FRU says; zero fields are not known.
type inventory struct {
	capacity float64 // watts
	serial   string
}

// supply collects what belongs to one power supply.
type supply struct {
	entity   entity
	extra    string // tells supplies apart that share an entity
	status   []observation
	presence presence
	numbers  []observation
}

func (s *supply) id() string { return s.entity.String() + s.extra }

// decide turns observations into a reading. It is pure.
func decide(obs []observation, assoc []association, stock map[entity]inventory) dodai.Reading {
	r := dodai.Reading{Kind: dodai.KindPSUs}
	meter, hasMeter := systemMeter(obs)
	supplies := group(obs, assoc)
	var sum wattSum
	for i, s := range supplies {
		p, kind := s.psu(i, stock[s.entity], meter)
		r.PSUs = append(r.PSUs, p)
		sum.add(p, kind)
	}
	if hasMeter {
		r.SystemWatts = &meter
	} else if total, ok := sum.total(); ok {
		r.SystemWatts = &total
		r.Notes = append(r.Notes, "system_watts: the BMC has no meter for the whole machine; this is the sum of its supplies")
	}
	r.Redundancy = redundancies(obs, r.PSUs)
	r.Notes = append(r.Notes, notes(obs, supplies, r)...)
	return r
}

// maxParts tells an association that names supplies from one that spans every number
// a supply could have.
const maxParts = 8

// group sorts observations by supply, in the order of their entities.
func group(obs []observation, assoc []association) []*supply {
	var list []*supply
	named := func(e entity, extra string) *supply {
		i := slices.IndexFunc(list, func(s *supply) bool { return s.entity == e && s.extra == extra })
		if i < 0 {
			list = append(list, &supply{entity: e, extra: extra})
			return list[len(list)-1]
		}
		return list[i]
	}
	of := func(e entity) *supply { return named(e, "") }
	for _, o := range obs {
		if o.typ == typeSupply && o.reading == readSpecific {
			s := of(o.entity)
			if s.separate(o) {
				s = named(o.entity, " "+o.name)
			}
			s.status = append(s.status, o)
		}
	}
	for _, o := range obs {
		if isPresence(o.sensor) && o.entity.id == entitySupply {
			s := of(o.entity)
			s.presence = max(s.presence, presenceOf(o.sensor, o.state))
		}
		if o.entity.id == entitySupply && o.analog != nil && o.unit == unitWatts {
			of(o.entity)
		}
	}
	for _, a := range assoc {
		for _, e := range a.parts {
			if e.id == entitySupply && len(a.parts) <= maxParts {
				of(e)
			}
		}
	}
	for _, s := range list {
		for _, o := range obs {
			if o.entity == s.entity && o.analog != nil {
				s.numbers = append(s.numbers, o)
			}
		}
	}
	foreignPresence(list, obs)
	slices.SortStableFunc(list, func(a, b *supply) int {
		return cmp.Or(cmp.Compare(a.entity.id, b.entity.id), cmp.Compare(a.entity.instance, b.entity.instance))
	})
	return list
}

// separate reports whether o is the status of another supply that its BMC lists under
// the same entity: each of the two can say that it is present, and they have names of
// their own. Several sensors about one supply are merged.
func (s *supply) separate(o observation) bool {
	return slices.ContainsFunc(s.status, func(have observation) bool {
		return have.mask&o.mask>>bitPresent&1 == 1 && have.name != o.name
	})
}

func isPresence(s sensor) bool {
	return s.typ == typePresence && (s.reading == readSpecific || s.reading == readPresence) ||
		s.typ == typeSupply && s.reading == readPresence
}

// foreignPresence finds presence sensors that stand on another entity, by the name they
// share with the status sensor: "PS1 Presence" beside "PS1 Status".
func foreignPresence(list []*supply, obs []observation) {
	for _, o := range obs {
		stem, ok := cutWord(o.name, "presence")
		if !ok || stem == "" || !isPresence(o.sensor) || o.entity.id == entitySupply {
			continue
		}
		for _, s := range list {
			if len(s.status) > 0 && s.presence == presenceUnknown && strings.EqualFold(stem, s.stem()) {
				s.presence = presenceOf(o.sensor, o.state)
			}
		}
	}
}

// stem is the status sensor's name without the word for it; empty where that is all.
func (s *supply) stem() string {
	if len(s.status) == 0 {
		return ""
	}
	stem, _ := cutWord(s.status[0].name, "status")
	return stem
}

// cutWord cuts word off the end of a name, with what separates it.
func cutWord(name, word string) (string, bool) {
	if len(name) < len(word) || !strings.EqualFold(name[len(name)-len(word):], word) {
		return name, false
	}
	return strings.TrimRight(name[:len(name)-len(word)], " _-."), true
}

// psu decides one supply's state; i is its place among them. meter is the whole
// machine's consumption, 0 where it is not measured.
func (s *supply) psu(i int, inv inventory, meter float64) (dodai.PSU, direction) {
	merged, mask := s.merge()
	p := dodai.PSU{
		ID: s.id(), Name: cmp.Or(s.stem(), fmt.Sprintf("PSU %d", i+1)), Serial: inv.serial,
		State: supplyState(merged, mask, s.presence),
	}
	p.Input = inputState(merged, mask, p.State)
	if p.State == dodai.PSUAbsent {
		p.Serial = ""
		return p, unspecified // and whatever its meters show is left over
	}
	if inv.capacity > 0 {
		p.CapacityWatts = &inv.capacity
	}
	p.Volts = s.number(unitVolts, input, func(v float64) bool { return v >= 0 && v < 600 })
	p.Amps = s.number(unitAmps, input, func(v float64) bool { return v >= 0 && v < 200 })
	believe := func(v float64) bool { return v >= 0 && credible(v, inv.capacity, meter) && !s.junk(v) }
	kind := output
	if p.Watts = s.number(unitWatts, output, believe); p.Watts == nil {
		kind, p.Watts = input, s.number(unitWatts, input, believe)
	}
	return p, kind
}

// merge joins several status sensors of one supply: a fault any of them sees is one.
func (s *supply) merge() (state, uint16) {
	var merged state
	var mask uint16
	for _, o := range s.status {
		if o.valid {
			merged.valid = true
			merged.bits |= o.bits
		}
		mask |= o.mask
	}
	return merged, mask
}

// number is the first believable value in unit that is measured on that side. What
// says of itself neither counts as input.
func (s *supply) number(unit byte, side direction, believe func(float64) bool) *float64 {
	for _, o := range s.numbers {
		if o.unit != unit || !o.valid || o.side() != side || unit == unitVolts && o.analog.fullScale() < leastInputScale {
			continue
		}
		if v := o.analog.value(o.raw); believe(v) {
			return &v
		}
	}
	return nil
}

// leastInputScale is what a sensor of input volts can show at least: one for a 12 V
// output ends at 25 V or so, one for 48 V DC input reaches beyond 60 V.
const leastInputScale = 60

// side tells input from output by the name, which operators read, and then by the
// record, which nobody does.
func (o observation) side() direction {
	name := strings.ToLower(o.name)
	switch {
	case strings.Contains(name, "out"):
		return output
	case strings.Contains(name, "in"):
		return input
	case o.towards == output:
		return output
	default:
		return input
	}
}

// credible refuses watts beyond what the supply is built for, or three times what the
// whole machine draws. An unknown limit is 0.
func credible(watts, capacity, meter float64) bool {
	return (capacity <= 0 || watts <= 1.5*capacity) && (meter <= 0 || watts <= 3*meter)
}

// junk reports whether watts is a full-scale value of a supply whose other meters show
// nothing: its controller does not answer, and FFh is what the BMC read.
func (s *supply) junk(watts float64) bool {
	full, dead := false, false
	for _, o := range s.numbers {
		if !o.valid {
			continue
		}
		v := o.analog.value(o.raw)
		full = full || o.unit == unitWatts && o.raw == 0xff && v == watts
		dead = dead || (o.unit == unitVolts || o.unit == unitAmps) && v == 0
	}
	return full && dead
}

// wattSum adds up the supplies, as long as all of them measure the same side.
type wattSum struct {
	watts   float64
	count   int
	kind    direction
	missing bool
}

func (s *wattSum) add(p dodai.PSU, kind direction) {
	switch {
	case p.State == dodai.PSUAbsent:
	case p.Watts == nil, s.count > 0 && kind != s.kind:
		s.missing = true
	default:
		s.watts += *p.Watts
		s.kind = kind
		s.count++
	}
}

func (s *wattSum) total() (float64, bool) { return s.watts, s.count > 0 && !s.missing }

// meterWords order the names of system meters, best first; partWords are meters of
// parts that stand on the system board's entity.
var (
	meterWords = []string{"consumption", "total", "system", "sys", "meter", "input", "pwr", "power", "watt"}
	partWords  = []string{"cpu", "proc", "mem", "dimm", "fan", "gpu", "hdd", "disk", "pcie", "budget", "limit", "cap"}
)

// systemMeter finds the one sensor that measures the whole machine.
func systemMeter(obs []observation) (watts float64, ok bool) {
	best := len(meterWords) + 1
	for _, o := range obs {
		if o.analog == nil || o.unit != unitWatts || !o.valid || !isSystem(o.entity) || hasWord(o.name, partWords) < len(partWords) {
			continue
		}
		v := o.analog.value(o.raw)
		if rank := hasWord(o.name, meterWords); v > 0 && (rank < best || rank == best && v > watts) {
			best, watts, ok = rank, v, true
		}
	}
	return watts, ok
}

// hasWord is the place of the first word that name contains, len(words) if none.
func hasWord(name string, words []string) int {
	name = strings.ToLower(name)
	for i, w := range words {
		if strings.Contains(name, w) {
			return i
		}
	}
	return len(words)
}

// redundancies reads the sensors that are about redundancy and about power, which their
// types say and not their names or entities; without one that speaks, counting decides.
func redundancies(obs []observation, psus []dodai.PSU) []dodai.Redundancy {
	var list []dodai.Redundancy
	silent := true
	for _, o := range obs {
		if isRedundancy(o.sensor) {
			state, reported := redundancyState(o.state)
			list = append(list, dodai.Redundancy{Domain: o.name, State: state, Reported: reported})
			silent = silent && state == dodai.RedundancyUnknown
		}
	}
	if silent && len(psus)+len(list) > 0 {
		return []dodai.Redundancy{{Domain: "system", State: redundancyByCount(psus)}}
	}
	if len(list) == 1 {
		list[0].Domain = "system"
	}
	return list
}

func isRedundancy(s sensor) bool {
	return s.reading == readRedundancy && (s.typ == typeSupply || s.typ == typeUnit)
}

// notes are what an operator should read but no state says.
func notes(obs []observation, supplies []*supply, r dodai.Reading) []string {
	var list []string
	for _, o := range obs {
		if o.owner != types.BMC_SA {
			list = append(list, fmt.Sprintf("%s: belongs to controller %02xh, which is not asked", o.sensor, o.owner))
		}
		for bit := range 8 {
			if text := unitNotes[bit]; text != "" && o.typ == typeUnit && o.reading == readSpecific && o.valid && o.has(bit) {
				list = append(list, fmt.Sprintf("%s: %s", o.name, text))
			}
		}
	}
	for _, s := range supplies {
		if len(s.status) == 0 && s.presence != absent {
			list = append(list, s.id()+": the BMC has no status sensor for this supply")
		}
	}
	for _, red := range r.Redundancy {
		if red.State == dodai.RedundancyFull && redundancyByCount(r.PSUs) != dodai.RedundancyUnknown {
			list = append(list, "the redundancy sensor says full, yet at most one supply works")
		}
	}
	return list
}
