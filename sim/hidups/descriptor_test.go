package hidups

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := parseHex(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return b
}

// text is a field as the tests below write it.
func (f *field) text() string {
	var path []string
	for _, u := range f.path {
		path = append(path, fmt.Sprintf("%02x.%02x", uint32(u)>>16, uint32(u)&0xffff))
	}
	return fmt.Sprintf("%d/%d %d+%d %s %d..%d", f.kind, f.report, f.at, f.bits, strings.Join(path, " "), f.min, f.max)
}

func TestDescriptorFields(t *testing.T) {
	for _, tt := range []struct {
		name, descriptor string
		want             []string
	}{
		{"ids, padding, one usage for two values", `05 84 09 04 a1 01 15 00 25 01 85 07 75 01 95 01 09 60 81 02
			95 07 81 03 75 08 95 02 26 ff 00 09 30 b1 02 c0`,
			[]string{"1/7 0+1 84.04 84.60 0..1", "3/7 0+8 84.04 84.30 0..255", "3/7 8+8 84.04 84.30 0..255"}},
		{"without ids, two pages", "05 84 09 04 a1 01 75 08 95 01 15 80 25 7f 05 85 09 66 81 02 c0",
			[]string{"1/0 0+8 84.04 85.66 -128..127"}},
		{"a maximum without room for its sign", "05 84 09 04 a1 01 75 10 95 01 15 00 26 ff ff 09 30 b1 02 c0",
			[]string{"3/0 0+16 84.04 84.30 0..65535"}},
		{"push and pop", "05 84 09 04 a1 01 15 00 25 01 75 01 95 01 a4 05 85 75 08 09 66 b1 02 b4 09 60 b1 02 c0",
			[]string{"3/0 0+8 84.04 85.66 0..1", "3/0 8+1 84.04 84.60 0..1"}},
		{"a usage with its page in it", "05 84 09 04 a1 01 75 08 95 01 25 64 0b 66 00 85 00 b1 02 c0",
			[]string{"3/0 0+8 84.04 85.66 0..100"}},
		{"a list of keys is no value", "05 84 09 04 a1 01 75 08 95 01 25 64 09 60 b1 00 c0", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := parseDescriptor(unhex(t, tt.descriptor))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range d.fields {
				got = append(got, d.fields[i].text())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadDescriptors(t *testing.T) {
	for name, tt := range map[string]struct{ descriptor, want string }{
		"cut short":         {"05 84 09 04 a1 01 26 ff", "the item at byte 6 wants 2 bytes more, 1 are left"},
		"no end":            {"05 84 09 04 a1 01", "a collection does not end"},
		"an end too many":   {"c0", "did not begin"},
		"pop without push":  {"b4", "pop without a push"},
		"nested for ever":   {strings.Repeat("a1 01", 17), "nested deeper than 16"},
		"pushed for ever":   {strings.Repeat("a4", 17), "more than 16 pushes"},
		"an endless report": {"77 ff ff ff ff 97 ff ff ff ff 81 02", "longer than 4096 bits"},
		"grows bit by bit":  {"75 20 95 7f 09 01 81 02 09 01 81 02", "longer than 4096 bits"},
		"larger than HID's": {strings.Repeat("05 84", 2049), "4098 bytes: want at most 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Model: Model{ReportDescriptor: unhex(t, tt.descriptor)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v: want one with %q", err, tt.want)
			}
		})
	}
}

// TestModelDescriptors: the number of bytes and of values in each.
func TestModelDescriptors(t *testing.T) {
	for _, tt := range []struct {
		model         Model
		bytes, fields int
	}{
		{Standard(), 418, 64}, {BackUPS(), 1133, 103}, {CyberPower(), 496, 57}, {Santak(), 926, 166},
	} {
		d, err := parseDescriptor(tt.model.ReportDescriptor)
		if err != nil {
			t.Errorf("%s: %v", tt.model.Name, err)
		}
		if n := len(tt.model.ReportDescriptor); n != tt.bytes || len(d.fields) != tt.fields || !d.ids {
			t.Errorf("%s: %d bytes, %d fields, ids %v: want %d, %d, ids", tt.model.Name, n, len(d.fields), d.ids, tt.bytes, tt.fields)
		}
	}
}

func TestValues(t *testing.T) {
	volt, va := uint32(0x00F0D121), uint32(0x0000D121)
	for _, tt := range []struct {
		name string
		f    field
		v    float64
		raw  uint64
		back float64
	}{
		{"volts", field{bits: 16, max: 65535, unit: volt, exponent: 7}, 230.4, 230, 230},
		{"tenths of volts", field{bits: 16, max: 65535, unit: volt, exponent: 6}, 230.44, 2304, 230.4},
		{"hundredths of volts", field{bits: 16, max: 65535, unit: volt, exponent: 5}, 27.12, 2712, 27.12},
		{"beyond the declared maximum", field{bits: 16, max: 70, unit: volt, exponent: 7}, 225, 225, 225},
		{"watts", field{bits: 16, max: 65535, unit: va, exponent: 7}, 126, 126, 126},
		{"tenths of hertz", field{bits: 16, max: 65535, unit: 0xF001, exponent: -1}, 50, 500, 50},
		{"no room", field{bits: 8, max: 255}, 300, 255, 255},
		{"below nothing", field{bits: 8, max: 255}, -3, 0, 0},
		{"signed", field{bits: 16, min: -32768, max: 32767}, -5, 0xfffb, -5},
		{"none", field{bits: 16, min: -1, max: 32767, pmin: -60, pmax: 1966020}, -1, 0xffff, -60},
		{"minutes", field{bits: 16, min: -1, max: 32767, pmin: -60, pmax: 1966020}, 180, 3, 180},
		{"thirty seconds in minutes", field{bits: 16, min: -1, max: 32767, pmin: -60, pmax: 1966020}, 20, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := tt.f.encode(tt.v)
			if back := tt.f.decode(raw); raw != tt.raw || back < tt.back-1e-9 || back > tt.back+1e-9 {
				t.Errorf("%v becomes %#x and %v again: want %#x and %v", tt.v, raw, back, tt.raw, tt.back)
			}
		})
	}
}

func FuzzDescriptor(f *testing.F) {
	for _, m := range Models() {
		f.Add(m.ReportDescriptor)
	}
	f.Add([]byte{0xa4, 0x75, 0x20, 0x95, 0x05, 0x09, 0x66, 0x81, 0x02, 0xb4})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := New(Config{Model: Model{ReportDescriptor: b}})
		if err != nil || len(b) == 0 {
			return
		}
		for key, bits := range u.desc.bits {
			if n := u.desc.bytes(key); n > maxReportBits/8+1 || len(u.Report(key.kind, key.id)) != n || bits > maxReportBits {
				t.Fatalf("report %+v of % s: %d bytes", key, hex.EncodeToString(b), n)
			}
		}
		for i := range u.desc.fields {
			f := &u.desc.fields[i]
			if f.at+f.bits > u.desc.bits[reportKey{f.kind, f.report}] {
				t.Fatalf("field %s lies outside its report", f.text())
			}
		}
	})
}
