package ipmi

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

// Observations in short.
func status(instance byte, name string, bits, mask uint16) observation {
	return observation{
		sensor{owner: 0x20, entity: entity{10, instance}, typ: typeSupply, reading: readSpecific, mask: mask, name: name},
		state{valid: true, bits: bits},
	}
}

func value(e entity, name string, unit byte, v float64) observation {
	typ := byte(typeOther)
	if unit == unitVolts {
		typ = typeVoltage
	}
	return observation{
		sensor{owner: 0x20, entity: e, typ: typ, reading: readThreshold, name: name, unit: unit, analog: &formula{m: int(v * 10), rExp: -1}},
		state{valid: true, raw: 1},
	}
}

func unavailable(o observation) observation {
	o.state = state{}
	return o
}

func separatePresence(e entity, name string, reading byte, bits uint16) observation {
	return observation{sensor{owner: 0x20, entity: e, typ: typePresence, reading: reading, name: name}, state{valid: true, bits: bits}}
}

func redundancy(e entity, typ byte, bits uint16) observation {
	return observation{sensor{owner: 0x20, entity: e, typ: typ, reading: readRedundancy, name: "PS Redundancy"}, state{valid: true, bits: bits}}
}

func TestSupplyState(t *testing.T) {
	const all, noPresence = 0x7f, 0x7e
	for _, tt := range []struct {
		name      string
		bits      uint16
		mask      uint16
		elsewhere presence
		want      dodai.PSUState
		input     dodai.InputState
	}{
		{"present", 0x01, all, presenceUnknown, dodai.PSUOK, dodai.InputOK},
		{"all clear, the record knows presence", 0, all, presenceUnknown, dodai.PSUAbsent, dodai.InputUnknown},
		{"all clear, the record does not", 0, noPresence, presenceUnknown, dodai.PSUOK, dodai.InputOK},
		{"all clear, a presence sensor says present", 0, all, present, dodai.PSUOK, dodai.InputOK},
		{"a presence sensor says absent", 0x01, all, absent, dodai.PSUAbsent, dodai.InputUnknown},
		{"pulled with input lost left", 0x08, all, presenceUnknown, dodai.PSUAbsent, dodai.InputUnknown},
		{"input lost without a presence bit", 0x08, noPresence, presenceUnknown, dodai.PSUInputLost, dodai.InputLost},
		{"failed and without input", 0x0b, all, presenceUnknown, dodai.PSUInputLost, dodai.InputLost},
		{"failed and predicted", 0x07, all, presenceUnknown, dodai.PSUFailed, dodai.InputOK},
		{"standby", 0x81, all | 0x80, presenceUnknown, dodai.PSUOK, dodai.InputOK},
		{"a record without input states", 0x01, 0x07, presenceUnknown, dodai.PSUOK, dodai.InputUnknown},
		{"input lost although not in the mask", 0x09, 0x07, presenceUnknown, dodai.PSUInputLost, dodai.InputLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := state{valid: true, bits: tt.bits}
			got := supplyState(s, tt.mask, tt.elsewhere)
			if in := inputState(s, tt.mask, got); got != tt.want || in != tt.input {
				t.Errorf("bits %#x, mask %#x: %s, input %s: want %s, %s", tt.bits, tt.mask, got, in, tt.want, tt.input)
			}
		})
	}
}

func TestRedundancyState(t *testing.T) {
	for _, tt := range []struct {
		bits uint16
		want dodai.RedundancyState
	}{
		{0, dodai.RedundancyUnknown}, {1 << 0, dodai.RedundancyFull}, {1<<1 | 1<<3, dodai.RedundancyLost},
		{1<<0 | 1<<2, dodai.RedundancyDegraded}, {1<<1 | 1<<5 | 1<<6, dodai.RedundancyInsufficient},
	} {
		if got, _ := redundancyState(state{valid: true, bits: tt.bits}); got != tt.want {
			t.Errorf("bits %#x: %s, want %s", tt.bits, got, tt.want)
		}
	}
	if got, _ := redundancyState(state{bits: 1}); got != dodai.RedundancyUnknown {
		t.Errorf("not scanned: %s, want unknown", got)
	}
}

func TestRedundancyByCount(t *testing.T) {
	const ok, lost, gone, what = dodai.PSUOK, dodai.PSUInputLost, dodai.PSUAbsent, dodai.PSUUnknown
	for _, tt := range []struct {
		states []dodai.PSUState
		want   dodai.RedundancyState
	}{
		{nil, dodai.RedundancyUnknown},
		{[]dodai.PSUState{ok}, dodai.RedundancyNone},
		{[]dodai.PSUState{ok, gone}, dodai.RedundancyNone},
		{[]dodai.PSUState{ok, ok}, dodai.RedundancyUnknown},
		{[]dodai.PSUState{ok, lost}, dodai.RedundancyLost},
		{[]dodai.PSUState{ok, dodai.PSUFailed, gone}, dodai.RedundancyLost},
		{[]dodai.PSUState{ok, what}, dodai.RedundancyUnknown},
		{[]dodai.PSUState{ok, ok, lost}, dodai.RedundancyUnknown},
	} {
		var psus []dodai.PSU
		for _, s := range tt.states {
			psus = append(psus, dodai.PSU{State: s})
		}
		if got := redundancyByCount(psus); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.states, got, tt.want)
		}
	}
}

func TestDecide(t *testing.T) {
	one, two := entity{10, 1}, entity{10, 2}
	psu := func(id, name string, watts *float64) dodai.PSU {
		return dodai.PSU{ID: id, Name: name, State: dodai.PSUOK, Input: dodai.InputOK, Watts: watts}
	}
	both := []observation{status(1, "PS1 Status", 1, 0x7f), status(2, "PS2 Status", 1, 0x7f)}
	full := []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyFull, Reported: "Fully Redundant"}}
	byCount := func(s dodai.RedundancyState) []dodai.Redundancy {
		return []dodai.Redundancy{{Domain: "system", State: s}}
	}
	sumNote := []string{"system_watts: the BMC has no meter for the whole machine; this is the sum of its supplies"}
	for _, tt := range []struct {
		name  string
		obs   []observation
		assoc []association
		stock map[entity]inventory
		want  dodai.Reading
	}{
		{"output before input, sum where all measure it",
			append(both[:2:2], value(one, "PS1 Pwr In", unitWatts, 110), value(one, "PS1 Pwr Out", unitWatts, 100),
				value(two, "PS2_PIN", unitWatts, 55), value(two, "PS2_POUT", unitWatts, 50), redundancy(entity{0x15, 1}, typeUnit, 1)), nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PS1", new(100.0)), psu("10.2", "PS2", new(50.0))},
				Redundancy: full, SystemWatts: new(150.0), Notes: sumNote}},
		{"no sum of one measured supply",
			append(both[:2:2], value(one, "PS1 Pwr In", unitWatts, 110)), nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PS1", new(110.0)), psu("10.2", "PS2", nil)}, Redundancy: byCount(dodai.RedundancyUnknown)}},
		{"meter of the machine, not of its parts or modules",
			append(both[:2:2], value(entity{7, 1}, "CPU Power", unitWatts, 90), value(entity{20, 1}, "HSC0 Input", unitWatts, 33),
				value(entity{7, 1}, "Pwr Consumption", unitWatts, 208)), nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PS1", nil), psu("10.2", "PS2", nil)},
				Redundancy: byCount(dodai.RedundancyUnknown), SystemWatts: new(208.0)}},
		{"watts beyond belief",
			append(both[:2:2], value(one, "PS1 Output", unitWatts, 2550), value(two, "PS2 Output", unitWatts, 1300),
				value(entity{7, 1}, "Power Meter", unitWatts, 500)), nil, map[entity]inventory{two: {capacity: 800, serial: "S2"}},
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PS1", nil),
				{ID: "10.2", Name: "PS2", State: dodai.PSUOK, Input: dodai.InputOK, CapacityWatts: new(800.0), Serial: "S2"}},
				Redundancy: byCount(dodai.RedundancyUnknown), SystemWatts: new(500.0)}},
		{"volts of an output are not the input's",
			append(both[:1:1], observation{sensor{owner: 0x20, entity: one, typ: typeVoltage, reading: readThreshold, name: "PS1 12V", unit: unitVolts,
				analog: &formula{m: 1, rExp: -1}}, state{valid: true, raw: 120}}, value(one, "PS1 Input", unitVolts, 229)), nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{{ID: "10.1", Name: "PS1", State: dodai.PSUOK, Input: dodai.InputOK, Volts: new(229.0)}},
				Redundancy: byCount(dodai.RedundancyNone)}},
		{"presence on the board, found by name; the status has no presence bit",
			[]observation{status(96, "PS1 Status", 0, 0x7e), status(97, "PS2 Status", 0, 0x7e),
				separatePresence(entity{7, 96}, "PS1 Presence", readPresence, 2), separatePresence(entity{7, 96}, "PS2 Presence", readPresence, 1)}, nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.96", "PS1", nil), {ID: "10.97", Name: "PS2", State: dodai.PSUAbsent, Input: dodai.InputUnknown}},
				Redundancy: byCount(dodai.RedundancyNone)}},
		{"an empty bay whose status is not scanned",
			[]observation{status(1, "Status", 1, 0x7f), unavailable(status(2, "Status", 0, 0x7f)),
				separatePresence(one, "Presence", readSpecific, 1), separatePresence(two, "Presence", readSpecific, 2),
				unavailable(redundancy(entity{7, 1}, typeSupply, 0))}, nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PSU 1", nil), {ID: "10.2", Name: "PSU 2", State: dodai.PSUAbsent, Input: dodai.InputUnknown}},
				Redundancy: byCount(dodai.RedundancyNone)}},
		{"two supplies under one entity",
			[]observation{status(1, "PS1 Status", 1, 0x7f), status(1, "PS2 Status", 9, 0x7f)}, nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PS1", nil), {ID: "10.1 PS2 Status", Name: "PS2", State: dodai.PSUInputLost, Input: dodai.InputLost}},
				Redundancy: byCount(dodai.RedundancyLost)}},
		{"a supply known only from its association",
			both[:1:1], []association{{entity{0x13, 1}, []entity{one, two}}}, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PS1", nil), {ID: "10.2", Name: "PSU 2", State: dodai.PSUUnknown, Input: dodai.InputUnknown}},
				Redundancy: byCount(dodai.RedundancyUnknown), Notes: []string{"10.2: the BMC has no status sensor for this supply"}}},
		{"two redundancy sensors keep their names",
			append(both[:2:2], redundancy(entity{7, 1}, typeSupply, 1), redundancy(entity{21, 1}, typeUnit, 2)), nil, nil,
			dodai.Reading{PSUs: []dodai.PSU{psu("10.1", "PS1", nil), psu("10.2", "PS2", nil)},
				Redundancy: []dodai.Redundancy{full[0], {Domain: "PS Redundancy", State: dodai.RedundancyLost, Reported: "Redundancy Lost"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Kind = dodai.KindPSUs
			if len(tt.want.Redundancy) == 2 {
				tt.want.Redundancy[0].Domain = "PS Redundancy"
			}
			if diff := cmp.Diff(tt.want, decide(tt.obs, tt.assoc, tt.stock)); diff != "" {
				t.Errorf("reading (-want +got):\n%s", diff)
			}
		})
	}
}

// TestJunkWatts is the full-scale value of a supply that shows 0 V.
func TestJunkWatts(t *testing.T) {
	e := entity{10, 1}
	junk := value(e, "PS1 Input", unitWatts, 10)
	junk.raw = 0xff
	volts := value(e, "PS1 Volt", unitVolts, 100)
	volts.raw = 0
	r := decide([]observation{status(1, "PS1 Status", 9, 0x7f), junk, volts}, nil, nil)
	if r.PSUs[0].Watts != nil {
		t.Errorf("watts %v, want none", *r.PSUs[0].Watts)
	}
}

// FuzzDecide takes a repository and the answers to its sensors from a BMC that may say
// anything. Whatever it says, each supply has an id of its own, states are known ones,
// numbers are numbers, and no supply is in order whose sensor says nothing.
func FuzzDecide(f *testing.F) {
	seed := record(recordCompact, compactBody(0x61, entity{10, 1}, 8, 0x6f, 0x7f, 3, 0x81, "PS")...)
	seed = append(seed, record(recordFull, fullBody(0x64, entity{10, 1}, 0x0b, unitWatts, 4, -3, -1, 2, input, "PS1 In")...)...)
	seed = append(seed, record(recordAssociation, 0x13, 1, 0x80, 10, 1, 10, 3, 20, 1, 20, 1)...)
	f.Add(seed, []byte{0, 0xc0, 1, 0, 0, 0xc0, 9, 0, 0, 0x80, 1, 0, 0x2d, 0xc0, 0, 0})
	f.Fuzz(func(t *testing.T, repo, answers []byte) {
		var r records
		for len(repo) > recordHeader {
			n := min(len(repo), recordHeader+int(repo[4]))
			_ = r.add(repo[:n])
			repo = repo[n:]
		}
		var obs []observation
		for i, s := range r.sensors {
			o := observation{sensor: s}
			if at := 4 * i; at+4 <= len(answers) {
				o.state, _ = parseReading(answers[at : at+4])
			}
			obs = append(obs, o)
		}
		checkDecision(t, decide(obs, r.associations, nil), obs)
	})
}

func checkDecision(t *testing.T, got dodai.Reading, obs []observation) {
	t.Helper()
	seen := map[string]bool{}
	for _, p := range got.PSUs {
		if seen[p.ID] {
			t.Errorf("two supplies %q", p.ID)
		}
		seen[p.ID] = true
		if !slices.Contains(dodai.PSUStates, p.State) || p.Input == "" {
			t.Errorf("supply %+v", p)
		}
		valid := slices.ContainsFunc(obs, func(o observation) bool { return o.valid && o.typ == typeSupply })
		if p.State == dodai.PSUOK && !valid {
			t.Errorf("supply %s is ok, and no status sensor said anything", p.ID)
		}
		for _, v := range []*float64{p.Watts, p.Volts, p.Amps} {
			if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0) || *v < 0) {
				t.Errorf("supply %s has a value of %v", p.ID, *v)
			}
		}
	}
	if w := got.SystemWatts; w != nil && (math.IsNaN(*w) || math.IsInf(*w, 0) || *w < 0) {
		t.Errorf("system watts %v", *w)
	}
	if len(got.PSUs) > 0 && len(got.Redundancy) == 0 {
		t.Error("supplies without a word on their redundancy")
	}
}
