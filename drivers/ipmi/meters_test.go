package ipmi

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

func TestSide(t *testing.T) {
	for _, tt := range []struct {
		name    string
		towards direction
		want    direction
	}{
		{"PS1 Output", input, output}, {"PS1 POUT", unspecified, output}, {"PS1 Input", output, input}, {"PS1_PIN", output, input},
		{"PS1 Power", output, output}, {"PS1 Power", input, input}, {"PS1 Power", unspecified, input},
	} {
		if got := (observation{sensor: sensor{name: tt.name, towards: tt.towards}}).side(); got != tt.want {
			t.Errorf("%q, record says %d: side %d, want %d", tt.name, tt.towards, got, tt.want)
		}
	}
}

// TestSystemMeter: the better name wins, of two as good the larger value.
func TestSystemMeter(t *testing.T) {
	board := entity{7, 1}
	watts := func(name string, v float64) observation { return value(board, name, unitWatts, v) }
	at := func(e entity) observation { return value(e, "Power", unitWatts, 50) }
	for _, tt := range []struct {
		name string
		obs  []observation
		want float64 // 0: none
	}{
		{"a name that says nothing", []observation{watts("X", 99)}, 99},
		{"consumption before total", []observation{watts("Total", 300), watts("Pwr Consumption", 200)}, 200},
		{"total before system", []observation{watts("Sys", 300), watts("Total", 200)}, 200},
		{"system before meter", []observation{watts("Meter", 300), watts("System", 200)}, 200},
		{"sys before meter", []observation{watts("Sys_Pwr", 200), watts("Meter", 300)}, 200},
		{"meter before input", []observation{watts("Input", 300), watts("Meter", 200)}, 200},
		{"input before pwr", []observation{watts("Pwr", 300), watts("Input", 200)}, 200},
		{"pwr before power", []observation{watts("Power", 300), watts("Pwr", 200)}, 200},
		{"power before watt", []observation{watts("Watts", 300), watts("Power", 200)}, 200},
		{"watt before nothing", []observation{watts("X", 300), watts("Watts", 200)}, 200},
		{"the larger of two as good", []observation{watts("Power 1", 100), watts("Power 2", 300), watts("Power 3", 200)}, 300},
		{"zero is no measurement", []observation{watts("Pwr Consumption", 0), watts("X", 5)}, 5},
		{"parts", []observation{
			watts("CPU Power", 1), watts("Proc Power", 1), watts("Mem Power", 1), watts("DIMM Power", 1), watts("Fan Power", 1), watts("GPU Power", 1),
			watts("HDD Power", 1), watts("Disk Power", 1), watts("PCIe Power", 1), watts("Power Budget", 1), watts("Power Limit", 1), watts("Power Cap", 1),
		}, 0},
		{"not scanned", []observation{unavailable(watts("Power", 100))}, 0},
		{"volts", []observation{value(board, "Power", unitVolts, 12)}, 0},
		{"board", []observation{at(entity{7, 1})}, 50},
		{"power unit", []observation{at(entity{0x13, 1})}, 50},
		{"power management", []observation{at(entity{0x15, 1})}, 50},
		{"chassis", []observation{at(entity{0x17, 1})}, 50},
		{"power module", []observation{at(entity{0x14, 1})}, 0},
		{"processor", []observation{at(entity{3, 1})}, 0},
	} {
		if got, ok := systemMeter(tt.obs); got != tt.want || ok != (tt.want > 0) {
			t.Errorf("%s: %v, %v: want %v", tt.name, got, ok, tt.want)
		}
	}
}

func TestCredible(t *testing.T) {
	for _, tt := range []struct {
		watts, capacity, meter float64
		want                   bool
	}{
		{9999, 0, 0, true}, {1200, 800, 0, true}, {1201, 800, 0, false}, {900, 0, 300, true}, {901, 0, 300, false}, {1000, 800, 300, false}, {0, 800, 300, true},
	} {
		if got := credible(tt.watts, tt.capacity, tt.meter); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// reads is what a supply with the sensors shows: volts, amperes, watts.
func reads(obs ...observation) [3]float64 {
	r := decide(append([]observation{status(1, "PS1 Status", 1, 0x7f)}, obs...), nil, nil)
	var got [3]float64
	for i, v := range []*float64{r.PSUs[0].Volts, r.PSUs[0].Amps, r.PSUs[0].Watts} {
		if got[i] = -1; v != nil {
			got[i] = *v
		}
	}
	return got
}

func TestSupplyNumbers(t *testing.T) {
	one := entity{10, 1}
	full := func(o observation, raw byte) observation { o.raw = raw; return o }
	for _, tt := range []struct {
		name string
		got  [3]float64
		want [3]float64
	}{
		{"all three", reads(value(one, "PS1 Input", unitVolts, 230), value(one, "PS1 Input", unitAmps, 1.5), value(one, "PS1 Input", unitWatts, 300)), [3]float64{230, 1.5, 300}},
		{"zeros", reads(value(one, "PS1 Input", unitAmps, 0), value(one, "PS1 Input", unitWatts, 0)), [3]float64{-1, 0, 0}},
		{"of another supply", reads(value(entity{10, 2}, "PS2 Input", unitVolts, 230)), [3]float64{-1, -1, -1}},
		{"outputs are no inputs", reads(value(one, "PS1 Vout", unitVolts, 53), value(one, "PS1 Iout", unitAmps, 5)), [3]float64{-1, -1, -1}},
		{"12 V can only be an output", reads(value(one, "PS1 Volts", unitVolts, 0.2)), [3]float64{-1, -1, -1}},
		{"volts beyond belief", reads(value(one, "PS1 Input", unitVolts, 600)), [3]float64{-1, -1, -1}},
		{"volts within it", reads(value(one, "PS1 Input", unitVolts, 599)), [3]float64{599, -1, -1}},
		{"amperes beyond belief", reads(value(one, "PS1 Input", unitAmps, 200)), [3]float64{-1, -1, -1}},
		{"amperes within it", reads(value(one, "PS1 Input", unitAmps, 199)), [3]float64{-1, 199, -1}},
		{"negative", reads(value(one, "PS1 Input", unitVolts, -230), value(one, "PS1 Input", unitAmps, -1), value(one, "PS1 Input", unitWatts, -5)), [3]float64{-1, -1, -1}},
		{"the next one where the first is not believed", reads(value(one, "PS1 Input 1", unitVolts, 700), value(one, "PS1 Input 2", unitVolts, 231)), [3]float64{231, -1, -1}},
		{"the next one where the first is not scanned", reads(unavailable(value(one, "PS1 Input 1", unitVolts, 229)), value(one, "PS1 Input 2", unitVolts, 231)), [3]float64{231, -1, -1}},
		{"full scale beside a live meter", reads(full(value(one, "PS1 Input", unitWatts, 2), 0xff), value(one, "PS1 Input", unitVolts, 230)), [3]float64{230, -1, 510}},
		{"full scale beside a dead meter", reads(full(value(one, "PS1 Input", unitWatts, 2), 0xff), value(one, "PS1 Input", unitAmps, 0)), [3]float64{-1, 0, -1}},
		{"full scale beside one not scanned", reads(full(value(one, "PS1 Input", unitWatts, 2), 0xff), unavailable(value(one, "PS1 Input", unitAmps, 0))), [3]float64{-1, -1, 510}},
		{"nearly full scale beside a dead meter", reads(full(value(one, "PS1 Input", unitWatts, 2), 0xfe), value(one, "PS1 Input", unitAmps, 0)), [3]float64{-1, 0, 508}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: volts, amperes, watts %v: want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestWattSum(t *testing.T) {
	psu := func(state dodai.PSUState, watts ...float64) dodai.PSU {
		p := dodai.PSU{State: state}
		if len(watts) > 0 {
			p.Watts = &watts[0]
		}
		return p
	}
	for _, tt := range []struct {
		name  string
		psus  []dodai.PSU
		kinds []direction
		want  float64 // negative: none
	}{
		{"none", nil, nil, -1},
		{"one", []dodai.PSU{psu(dodai.PSUOK, 0)}, []direction{input}, 0},
		{"two", []dodai.PSU{psu(dodai.PSUOK, 100), psu(dodai.PSUOK, 50)}, []direction{input, input}, 150},
		{"an empty bay", []dodai.PSU{psu(dodai.PSUAbsent), psu(dodai.PSUOK, 50)}, []direction{unspecified, output}, 50},
		{"one unmeasured", []dodai.PSU{psu(dodai.PSUOK, 100), psu(dodai.PSUOK)}, []direction{input, input}, -1},
		{"two sides", []dodai.PSU{psu(dodai.PSUOK, 100), psu(dodai.PSUOK, 90)}, []direction{input, output}, -1},
	} {
		var sum wattSum
		for i, p := range tt.psus {
			sum.add(p, tt.kinds[i])
		}
		if got, ok := sum.total(); ok != (tt.want >= 0) || ok && got != tt.want {
			t.Errorf("%s: %v, %v: want %v", tt.name, got, ok, tt.want)
		}
	}
}

func TestCutWord(t *testing.T) {
	for _, tt := range []struct {
		name, word, want string
		ok               bool
	}{
		{"PS1 Status", "status", "PS1", true}, {"PS1_STATUS", "status", "PS1", true}, {"PS1-.Status", "status", "PS1", true}, {"Status", "status", "", true},
		{"PS1 Stat", "status", "PS1 Stat", false}, {"tatus", "status", "tatus", false}, {"Status PS1", "status", "Status PS1", false},
	} {
		if got, ok := cutWord(tt.name, tt.word); got != tt.want || ok != tt.ok {
			t.Errorf("cutWord(%q, %q) = %q, %v: want %q, %v", tt.name, tt.word, got, ok, tt.want, tt.ok)
		}
	}
}

func TestNotes(t *testing.T) {
	unit := func(bits uint16) observation {
		return observation{sensor{owner: 0x20, entity: entity{0x13, 1}, typ: typeUnit, reading: readSpecific, name: "Power Unit"}, state{valid: true, bits: bits}}
	}
	foreign := status(1, "PS1 Status", 1, 0x7f)
	foreign.owner = 0x2c
	ok := status(1, "PS1 Status", 1, 0x7f)
	for _, tt := range []struct {
		name string
		obs  []observation
		want []string
	}{
		{"powered off, cycled", []observation{ok, unit(3)}, nil},
		{"everything else", []observation{ok, unit(0xfc)}, []string{"Power Unit: 240 VA power down", "Power Unit: interlock power down", "Power Unit: AC lost",
			"Power Unit: soft power control failure", "Power Unit: failure detected", "Power Unit: failure predicted"}},
		{"not scanned", []observation{ok, unavailable(unit(0xfc))}, nil},
		{"of another controller", []observation{foreign}, []string{"PS1 Status (10.1, 00h): belongs to controller 2ch, which is not asked"}},
		{"without a status sensor", []observation{ok, separatePresence(entity{10, 2}, "PS2", readSpecific, 1)}, []string{"10.2: the BMC has no status sensor for this supply"}},
		{"an empty bay without one", []observation{ok, separatePresence(entity{10, 2}, "PS2", readSpecific, 2)}, nil},
		{"full with both", []observation{ok, status(2, "PS2 Status", 1, 0x7f), redundancy(entity{7, 1}, typeUnit, 1)}, nil},
		{"full with one that has failed", []observation{ok, status(2, "PS2 Status", 3, 0x7f), redundancy(entity{7, 1}, typeUnit, 1)}, []string{"the redundancy sensor says full, yet at most one supply works"}},
		{"degraded with one that has failed", []observation{ok, status(2, "PS2 Status", 3, 0x7f), redundancy(entity{7, 1}, typeUnit, 4)}, nil},
	} {
		if diff := cmp.Diff(tt.want, decide(tt.obs, nil, nil).Notes); diff != "" {
			t.Errorf("%s: notes (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestPresence(t *testing.T) {
	for _, tt := range []struct {
		reading byte
		bits    uint16
		want    presence
	}{
		{readSpecific, 1, present}, {readSpecific, 2, absent}, {readSpecific, 3, present}, {readSpecific, 0, presenceUnknown}, {readSpecific, 4, presenceUnknown},
		{readPresence, 1, absent}, {readPresence, 2, present}, {readPresence, 3, present}, {readPresence, 0, presenceUnknown},
		{readRedundancy, 3, presenceUnknown},
	} {
		s := sensor{typ: typePresence, reading: tt.reading}
		if got := presenceOf(s, state{valid: true, bits: tt.bits}); got != tt.want {
			t.Errorf("reading type %02xh, bits %b: %d, want %d", tt.reading, tt.bits, got, tt.want)
		}
		if got := presenceOf(s, state{bits: tt.bits}); got != presenceUnknown {
			t.Errorf("reading type %02xh, not scanned: %d, want unknown", tt.reading, got)
		}
	}
	// Which sensors are about presence at all.
	var got []byte
	for _, s := range []sensor{
		{number: 1, typ: typePresence, reading: readSpecific}, {number: 2, typ: typePresence, reading: readPresence}, {number: 3, typ: typePresence, reading: readRedundancy},
		{number: 4, typ: typeSupply, reading: readPresence}, {number: 5, typ: typeSupply, reading: readSpecific}, {number: 6, typ: typeUnit, reading: readPresence},
	} {
		if isPresence(s) {
			got = append(got, s.number)
		}
	}
	if !slices.Equal(got, []byte{1, 2, 4}) {
		t.Errorf("sensors %v are about presence, want 1, 2, 4", got)
	}
}

// TestEverySupplyBit has one bit at a time, of a sensor that has them all.
func TestEverySupplyBit(t *testing.T) {
	for bit, want := range []struct {
		state dodai.PSUState
		input dodai.InputState
	}{
		{dodai.PSUOK, dodai.InputOK}, {dodai.PSUFailed, dodai.InputOK}, {dodai.PSUPredictive, dodai.InputOK}, {dodai.PSUInputLost, dodai.InputLost},
		{dodai.PSUInputLost, dodai.InputLost}, {dodai.PSUWarning, dodai.InputOutOfRange}, {dodai.PSUFailed, dodai.InputOK}, {dodai.PSUOK, dodai.InputOK},
	} {
		r := decide([]observation{status(1, "PS1 Status", 1<<bit|1, 0xff)}, nil, nil)
		if p := r.PSUs[0]; p.State != want.state || p.Input != want.input {
			t.Errorf("bit %d: %s, input %s: want %s, %s", bit, p.State, p.Input, want.state, want.input)
		}
	}
	// Each of the three input bits is enough to know that the input is in order.
	for bit, want := range map[int]dodai.InputState{1: dodai.InputUnknown, 2: dodai.InputUnknown, 3: dodai.InputOK, 4: dodai.InputOK, 5: dodai.InputOK, 6: dodai.InputUnknown} {
		if got := inputState(state{valid: true, bits: 1}, 1|1<<bit, dodai.PSUOK); got != want {
			t.Errorf("a record with bit %d alone: input %s, want %s", bit, got, want)
		}
	}
}
