package ipmi

import (
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

var private = cmp.AllowUnexported(sensor{}, entity{}, formula{}, state{}, records{}, association{}, fruLocator{}, inventory{}, observation{}, reply{})

// record builds a record of a type around its body.
func record(typ byte, body ...byte) []byte {
	return append([]byte{1, 0, 0x51, typ, byte(len(body))}, body...)
}

// compactBody is a compact record's body up to the name; sharing as in table 43-2.
func compactBody(number byte, e entity, typ, reading byte, mask uint16, count, how byte, name string) []byte {
	m := []byte{byte(mask), byte(mask >> 8)}
	b := []byte{0x20, 0, number, e.id, e.instance, 0x67, 0, typ, reading, m[0], m[1], m[0], m[1], m[0], m[1]}
	b = append(b, 0xc0, 0, 0, count, how, 0, 0, 0, 0, 0, 0, 0xc0|byte(len(name)))
	return append(b, name...)
}

// fullBody is a full record's body for an analog sensor.
func fullBody(number byte, e entity, typ, unit byte, m, b int, rExp, bExp int, dir direction, name string) []byte {
	body := []byte{0x20, 0, number, e.id, e.instance, 0x67, 0, typ, 1, 0, 0, 0, 0, 0, 0, 0x00, unit, 0, 0,
		byte(m), byte(m>>2) & 0xc0, byte(b), byte(b>>2) & 0xc0, byte(dir), byte(rExp)<<4 | byte(bExp)&0x0f}
	body = append(body, make([]byte, 42-len(body))...)
	return append(append(body, 0xc0|byte(len(name))), name...)
}

func TestParseCompactRecord(t *testing.T) {
	var got records
	if err := got.add(record(recordCompact, compactBody(0x61, entity{10, 0x80 | 2}, 8, 0x6f, 0x807f, 0, 0, "PS2 Status")...)); err != nil {
		t.Fatal(err)
	}
	want := records{sensors: []sensor{{
		owner: 0x20, number: 0x61, entity: entity{10, 2}, typ: 8, reading: 0x6f, mask: 0x7f, name: "PS2 Status",
	}}}
	if diff := cmp.Diff(want, got, private); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestShareRecord(t *testing.T) {
	for _, tt := range []struct {
		name       string
		count, how byte
		want       []string
	}{
		{"numeric from 1, instances count", 3, 0x81, []string{"PS1 (10.96, 61h)", "PS2 (10.97, 62h)", "PS3 (10.98, 63h)"}},
		{"alphabetic, one entity", 0x12, 0x00, []string{"PSA (10.96, 61h)", "PSB (10.96, 62h)"}},
		{"alphabetic from Z", 0x12, 0x19, []string{"PSZ (10.96, 61h)", "PSAA (10.96, 62h)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r records
			if err := r.add(record(recordCompact, compactBody(0x61, entity{10, 96}, 8, 0x6f, 1, tt.count, tt.how, "PS")...)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range r.sensors {
				got = append(got, s.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sensors (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseFormula(t *testing.T) {
	for _, tt := range []struct {
		name             string
		m, b, rExp, bExp int
		format           byte
		raw              byte
		want             float64
	}{
		{"watts times 4", 4, 0, 0, 0, 0, 45, 180},
		{"amps in fifths", 2, 0, -1, 0, 0, 1, 0.2},
		{"negative m", -2, 0, 0, 0, 0, 10, -20},
		{"largest m", 511, 0, 0, 0, 0, 255, 130305},
		{"offset", 1, 50, 0, 1, 0, 10, 510},
		{"negative offset and exponents", 1, -512, -2, -1, 0, 100, 0.488},
		{"two's complement", 1, 0, 0, 0, 2, 0xff, -1},
		{"one's complement", 1, 0, 0, 0, 1, 0xfe, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := record(recordFull, fullBody(0x64, entity{10, 1}, 0x0b, unitWatts, tt.m, tt.b, tt.rExp, tt.bExp, input, "In")...)
			rec[20] |= tt.format << 6
			list, err := parseSensor(rec)
			if err != nil || list[0].analog == nil {
				t.Fatalf("parseSensor = %+v, %v", list, err)
			}
			if got := list[0].analog.value(tt.raw); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("value(%#x) of %+v = %v, want %v", tt.raw, *list[0].analog, got, tt.want)
			}
		})
	}
	for name, spoil := range map[string]func([]byte){
		"no analog reading": func(b []byte) { b[20] = 0xc0 },
		"percentage":        func(b []byte) { b[20] = 1 },
		"rate":              func(b []byte) { b[20] = 3 << 3 },
		"not linear":        func(b []byte) { b[23] = 7 },
	} {
		rec := record(recordFull, fullBody(0x64, entity{10, 1}, 0x0b, unitWatts, 4, 0, 0, 0, input, "In")...)
		spoil(rec)
		if f := parseFormula(rec); f != nil {
			t.Errorf("%s: formula %+v, want none", name, *f)
		}
	}
}

func TestWhichRecordsMatter(t *testing.T) {
	for _, tt := range []struct {
		name string
		rec  []byte
		want int
	}{
		{"supply status", compactBody(1, entity{10, 1}, typeSupply, 0x6f, 1, 0, 0, ""), 1},
		{"presence of a supply", compactBody(1, entity{10, 1}, typePresence, 0x6f, 3, 0, 0, ""), 1},
		{"presence of a processor", compactBody(1, entity{3, 1}, typePresence, 0x6f, 3, 0, 0, ""), 0},
		{"redundancy on the board", compactBody(1, entity{7, 1}, typeSupply, 0x0b, 0xff, 0, 0, ""), 1},
		{"redundancy of fans", compactBody(1, entity{7, 1}, 0x04, 0x0b, 0xff, 0, 0, ""), 0},
		{"memory", compactBody(1, entity{32, 1}, 0x0c, 0x6f, 1, 0, 0, ""), 0},
		{"watts of a supply", fullBody(1, entity{10, 1}, 0x0b, unitWatts, 1, 0, 0, 0, 0, ""), 1},
		{"system meter", fullBody(1, entity{7, 1}, 0x03, unitWatts, 1, 0, 0, 0, 0, ""), 1},
		{"board voltage", fullBody(1, entity{7, 1}, 0x02, unitVolts, 1, 0, 0, 0, 0, ""), 0},
		{"temperature of a supply", fullBody(1, entity{10, 1}, 0x01, 1, 1, 0, 0, 0, 0, ""), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			typ := byte(recordCompact)
			if len(tt.rec) >= 43 {
				typ = recordFull
			}
			rec := record(typ, tt.rec...)
			var r records
			if err := r.add(rec); err != nil || len(r.sensors) != tt.want {
				t.Errorf("kept %d sensors, %v: want %d", len(r.sensors), err, tt.want)
			}
			if tt.want == 1 && !wanted(rec[:21]) {
				t.Error("wanted says from its first bytes that the record does not matter")
			}
		})
	}
}

func TestParseOtherRecords(t *testing.T) {
	var got records
	for _, rec := range [][]byte{
		record(recordAssociation, 0x13, 1, 0x80, 10, 1, 10, 3, 20, 1, 20, 1),
		record(recordAssociation, 0x13, 2, 0, 10, 4, 10, 6, 0, 0, 0, 0),
		record(recordFRU, 0x20, 7, 0x80, 0, 0, 0x10, 0, 10, 2, 0, 0xc0),
		record(recordFRU, 0x20, 8, 0x80, 0, 0, 0x10, 0, 7, 1, 0, 0xc0),  // of the board
		record(recordFRU, 0x20, 9, 0x00, 0, 0, 0x10, 0, 10, 2, 0, 0xc0), // not logical
		record(0xc0, 1, 2, 3), // OEM
	} {
		if err := got.add(rec); err != nil {
			t.Errorf("add(% x): %v", rec, err)
		}
	}
	want := records{
		associations: []association{
			{entity{0x13, 1}, []entity{{10, 1}, {10, 2}, {10, 3}, {20, 1}}},
			{entity{0x13, 2}, []entity{{10, 4}, {10, 6}}},
		},
		frus: []fruLocator{{7, entity{10, 2}}},
	}
	if diff := cmp.Diff(want, got, private); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestBadRecords(t *testing.T) {
	for name, rec := range map[string][]byte{
		"empty":             {},
		"shorter than said": {1, 0, 0x51, 2, 40, 1, 2},
		"compact too short": record(recordCompact, make([]byte, 26)...),
		"full too short":    record(recordFull, make([]byte, 42)...),
	} {
		var r records
		if err := r.add(rec); !errors.Is(err, drivers.ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", name, err)
		}
	}
}

func TestDecodeText(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"8 bit", []byte("\xc5PS3 S"), "PS3 S"},
		{"packed 6 bit, the example of the specification", []byte{0x83, 0x29, 0xdc, 0xa6}, "IPMI"},
		{"BCD plus", []byte{0x42, 0x12, 0xc4}, "12.4"},
		{"longer than there is", []byte{0xdf, 'P', 'S'}, "PS"},
		{"control characters", []byte{0xc4, 'P', 0, 'S', 0xff}, "PSÿ"},
		{"blanks", []byte("\xc6 PS 1 "), "PS 1"},
		{"nothing", nil, ""},
	} {
		if got := decodeText(tt.in); got != tt.want {
			t.Errorf("%s: decodeText(% x) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

func TestParseReading(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		want state
		bad  bool
	}{
		{"present and AC lost", "00c00900", state{true, 0, 0x09}, false},
		{"reserved top bit", "00c00180", state{true, 0, 0x01}, false},
		{"without the fourth byte", "00c002", state{true, 0, 0x02}, false},
		{"analog alone", "5ac0", state{true, 0x5a, 0}, false},
		{"scanning off, stale bits", "00800100", state{}, false},
		{"reading unavailable", "00e00100", state{}, false},
		{"nothing", "", state{}, true},
		{"one byte", "00", state{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, _ := hex.DecodeString(tt.in)
			got, err := parseReading(in)
			if tt.bad != errors.Is(err, drivers.ErrProtocol) {
				t.Errorf("error %v, want ErrProtocol: %v", err, tt.bad)
			}
			if diff := cmp.Diff(tt.want, got, private); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseFRU(t *testing.T) {
	board := append([]byte{1, 3, 25, 0, 0, 0, 0xc2, 'A', 'B', 0xc0, 0xc3, 'S', 'N', '1', 0xc1}, make([]byte, 9)...)
	multi := func(capacity uint16, sumOff byte) []byte {
		body := append([]byte{byte(capacity), byte(capacity >> 8)}, make([]byte, 22)...)
		head := []byte{0, 0x82, 24, -sum(body) + sumOff}
		return append(append(head, -sum(head)), body...)
	}
	other := func() []byte { head := []byte{0xc1, 0x02, 2, 0}; return append(append(head, -sum(head)), 0, 0) }
	image := func(parts ...[]byte) []byte {
		head := []byte{1, 0, 0, 1, 0, 4, 0}
		b := append(append(head, -sum(head)), board...)
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want inventory
	}{
		{"750 W", image(multi(750, 0)), inventory{750, "SN1"}},
		{"top bits are reserved", image(multi(0xf000|750, 0)), inventory{750, "SN1"}},
		{"behind an OEM record", image(other(), multi(1600, 0)), inventory{1600, "SN1"}},
		{"record sum wrong", image(multi(750, 1)), inventory{0, "SN1"}},
		{"cut short", image(multi(750, 0))[:40], inventory{0, "SN1"}},
		{"no multirecord", image(), inventory{0, "SN1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseFRU(tt.in)
			if err != nil || got != tt.want {
				t.Errorf("parseFRU = %+v, %v: want %+v", got, err, tt.want)
			}
		})
	}
	if _, err := parseFRU([]byte{1, 0, 0, 1, 0, 4, 0, 0}); !errors.Is(err, drivers.ErrProtocol) {
		t.Errorf("header with a wrong sum: %v, want ErrProtocol", err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(record(recordCompact, compactBody(0x61, entity{10, 2}, 8, 0x6f, 0x7f, 3, 0x81, "PS")...))
	f.Add(record(recordFull, fullBody(0x64, entity{10, 1}, 0x0b, unitWatts, 4, -3, -1, 2, input, "PS1 In")...))
	f.Add(record(recordAssociation, 0x13, 1, 0x80, 10, 1, 10, 3, 20, 1, 20, 1))
	f.Add(record(recordFRU, 0x20, 7, 0x80, 0, 0, 0x10, 0, 10, 2, 0, 0xc0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r records
		if err := r.add(b); err != nil {
			if !errors.Is(err, drivers.ErrProtocol) {
				t.Fatalf("error %v is not ErrProtocol", err)
			}
			return
		}
		if len(r.sensors) > 15 {
			t.Errorf("%d sensors in one record", len(r.sensors))
		}
		for _, s := range r.sensors {
			if len(b) >= 14 && !wanted(b) {
				t.Errorf("kept %v, which wanted would not have fetched", s)
			}
			if s.mask&0x8000 != 0 || s.entity.instance > 127+15 {
				t.Errorf("sensor %+v out of range", s)
			}
			for raw := range 256 {
				if s.analog != nil && (math.IsNaN(s.analog.value(byte(raw))) || math.IsInf(s.analog.value(byte(raw)), 0)) {
					t.Errorf("%+v gives no number for %d", *s.analog, raw)
				}
			}
		}
		for _, a := range r.associations {
			if len(a.parts) > 2*128 {
				t.Errorf("%d parts", len(a.parts))
			}
		}
	})
}

// FuzzReading checks that no answer is read as a good supply unless the BMC says that
// it scans the sensor and, where the record has a presence bit, that the bit is set.
func FuzzReading(f *testing.F) {
	f.Add([]byte{0, 0xc0, 1, 0}, uint16(0x7f))
	f.Add([]byte{0, 0x80, 1, 0}, uint16(0x7f))
	f.Add([]byte{0, 0xc0}, uint16(0x08))
	f.Fuzz(func(t *testing.T, b []byte, mask uint16) {
		s, err := parseReading(b)
		if err != nil {
			return
		}
		got := supplyState(s, mask, presenceUnknown)
		good := got == dodai.PSUOK || got == dodai.PSUWarning || got == dodai.PSUPredictive
		scanned := b[1]&0x60 == 0x40
		if good && (!scanned || mask&1 == 1 && (len(b) < 3 || b[2]&1 == 0)) {
			t.Errorf("% x with mask %04x is %s", b, mask, got)
		}
		if lost := len(b) > 2 && b[2]&0x18 != 0; lost && good {
			t.Errorf("% x has lost its input and is %s", b, got)
		}
		if in := inputState(s, mask, got); in == dodai.InputOK && (!scanned || mask&0x38 == 0) {
			t.Errorf("% x with mask %04x: input %s", b, mask, in)
		}
	})
}

func FuzzFRU(f *testing.F) {
	f.Add([]byte{1, 0, 0, 1, 0, 4, 0, 0xfa, 1, 3, 25, 0, 0, 0, 0xc2, 'A', 'B', 0xc0, 0xc3, 'S', 'N', '1', 0xc1})
	f.Fuzz(func(t *testing.T, b []byte) {
		inv, err := parseFRU(b)
		if err == nil && (inv.capacity < 0 || inv.capacity > 4095) {
			t.Errorf("capacity %v", inv.capacity)
		}
		if strings.ContainsRune(inv.serial, 0) {
			t.Errorf("serial %q", inv.serial)
		}
	})
}
