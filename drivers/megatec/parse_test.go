package megatec

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/drivers"
)

func TestParseQ1(t *testing.T) {
	full := status{In: new(230.4), Fault: new(229.0), Out: new(230.4), Load: new(21.0), Hz: new(50.0), Battery: new(27.4), TempC: new(25.0), Bits: 0b00001001}
	noTemp, wide := full, full
	noTemp.TempC = nil
	wide.In, wide.Battery, wide.Load = new(1000.0), new(384.25), new(121.0)
	below := full
	below.TempC = new(-5.5)
	tests := []struct {
		name, frame string
		want        status
	}{
		{"as in the protocol paper", "(230.4 229.0 230.4 021 50.0 27.4 25.0 00001001", full},
		{"no temperature sensor", "(230.4 229.0 230.4 021 50.0 27.4 --.- 00001001", noTemp},
		{"no value in words", "(230.4 229.0 230.4 021 50.0 27.4 N/A 00001001", noTemp},
		{"temperature out of all range", "(230.4 229.0 230.4 021 50.0 27.4 999.9 00001001", noTemp},
		{"widened fields", "(01000.0 229.0 230.4 0121 50.0 384.25 25.0 00001001", wide},
		{"frost", "(230.4 229.0 230.4 021 50.0 27.4 -5.5 00001001", below},
		{"more fields behind the bits", "(230.4 229.0 230.4 021 50.0 27.4 25.0 00001001 000 99", full},
		{"blanks all over", "(  230.4   229.0 230.4 021 50.0 27.4 25.0 00001001   ", full},
		{"a hundred percent and no numbers", "(---.- ---.- ---.- --- --.- --.- --.- 11000000", status{Bits: 0b11000000}},
		{"numbers only strconv would take", "(0x1p4 NaN 1e2 1_0 Inf +Inf infinity 00000000", status{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseQ1([]byte(tt.frame))
			if err != nil {
				t.Fatalf("parseQ1(%q): %v", tt.frame, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("parseQ1(%q) (-want +got):\n%s", tt.frame, diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	q1 := func(b []byte) error { _, err := parseQ1(b); return err }
	f := func(b []byte) error { _, err := parseF(b); return err }
	i := func(b []byte) error { _, err := parseI(b); return err }
	tests := []struct {
		name, frame string
		parse       func([]byte) error
	}{
		{"Q1: nothing", "", q1},
		{"Q1: the mark alone", "(", q1},
		{"Q1: another mark", "#230.4 229.0 230.4 021 50.0 27.4 25.0 00001001", q1},
		{"Q1: garbage before the mark", "x(230.4 229.0 230.4 021 50.0 27.4 25.0 00001001", q1},
		{"Q1: a field short", "(230.4 230.4 021 50.0 27.4 25.0 00001001", q1},
		{"Q1: seven bits", "(230.4 229.0 230.4 021 50.0 27.4 25.0 0001001", q1},
		{"Q1: nine bits", "(230.4 229.0 230.4 021 50.0 27.4 25.0 000001001", q1},
		{"Q1: a bit of 2", "(230.4 229.0 230.4 021 50.0 27.4 25.0 00001002", q1},
		{"Q1: bits with a sign", "(230.4 229.0 230.4 021 50.0 27.4 25.0 +0001001", q1},
		{"Q1: bits with a line below", "(230.4 229.0 230.4 021 50.0 27.4 25.0 0000_001", q1},
		{"Q1: cut off in the bits", "(230.4 229.0 230.4 021 50.0 27.4 25.0 0000", q1},
		{"Q1: too long", "(230.4 229.0 230.4 021 50.0 27.4 25.0 00001001" + strings.Repeat(" ", 300), q1},
		{"F: three numbers", "#220.0 000 024.0", f},
		{"F: an identity", "#MEGATEC         SIM 1000   V1.00     ", f},
		{"F: all zero", "#000.0 000 00.00 00.0", f},
		{"F: a status", "(230.4 229.0 230.4 021 50.0 27.4 25.0 00001001", f},
		{"I: nothing", "", i},
		{"I: a status", "(230.4 229.0 230.4 021 50.0 27.4 25.0 00001001", i},
		{"I: a column overrun", "#A VENDOR WITH A LONG NAME MODEL V1", i},
		{"I: too long", "#MEGATEC         SIM 1000   V1.00      V2", i},
		{"I: bytes that are no text", "#MEGATEC\x07", i},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.parse([]byte(tt.frame)); !errors.Is(err, drivers.ErrProtocol) {
				t.Errorf("%q: %v, want ErrProtocol", tt.frame, err)
			}
		})
	}
}

func TestParseF(t *testing.T) {
	tests := []struct {
		name, frame string
		want        ratings
	}{
		{"current not known", "#220.0 000 024.0 50.0", ratings{Volts: new(220.0), Battery: new(24.0), Hz: new(50.0)}},
		{"all known", "#230.0 004 024.0 50.0", ratings{Volts: new(230.0), Amps: new(4.0), Battery: new(24.0), Hz: new(50.0)}},
		{"wide battery", "#230.0 004 384.0 60.0 ", ratings{Volts: new(230.0), Amps: new(4.0), Battery: new(384.0), Hz: new(60.0)}},
		{"some missing", "#230.0 --- --.-- 50.0", ratings{Volts: new(230.0), Hz: new(50.0)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseF([]byte(tt.frame))
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("parseF(%q): %v (-want +got):\n%s", tt.frame, err, diff)
			}
		})
	}
}

func TestParseI(t *testing.T) {
	tests := []struct {
		name, frame string
		want        identity
	}{
		{"full", "#MEGATEC         UPS 1000   V2.10     ", identity{"MEGATEC", "UPS 1000", "V2.10"}},
		{"one byte short", "#MEGATEC         UPS 1000   V2.10    ", identity{"MEGATEC", "UPS 1000", "V2.10"}},
		{"trailing blanks cut", "#MEGATEC         UPS 1000   V2.10", identity{"MEGATEC", "UPS 1000", "V2.10"}},
		{"no vendor", "#                UPS 1000   V2.10     ", identity{"", "UPS 1000", "V2.10"}},
		{"all blanks", "#                                     ", identity{}},
		{"the mark alone", "#", identity{}},
		{"columns full to the last", "#ABCDEFGHIJKLMNO 0123456789 9876543210", identity{"ABCDEFGHIJKLMNO", "0123456789", "9876543210"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseI([]byte(tt.frame))
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("parseI(%q): %v (-want +got):\n%s", tt.frame, err, diff)
			}
		})
	}
}

// Whatever is accepted is in range, and encoding it and decoding that gives the same.
func FuzzParseQ1(f *testing.F) {
	for _, ex := range workedExamples {
		f.Add([]byte(ex.frame))
	}
	f.Add([]byte("(1.00000000000000000000000000000 0.1 -0 0 0 0 -98.999999999999999999 11111111 x"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		s, err := parseQ1(frame)
		if err != nil {
			if !errors.Is(err, drivers.ErrProtocol) {
				t.Fatalf("parseQ1(%q) = %v, want ErrProtocol", frame, err)
			}
			return
		}
		for i, field := range statusFields {
			if v := *field.field(&s); v != nil && !(*v >= field.lo && *v <= field.hi) {
				t.Errorf("parseQ1(%q): field %d is %v, want %v to %v", frame, i, *v, field.lo, field.hi)
			}
		}
		again, err := parseQ1([]byte(s.encode()))
		if diff := cmp.Diff(s, again); err != nil || diff != "" {
			t.Errorf("parseQ1(%q) encoded is %q, which decodes to (%v):\n%s", frame, s.encode(), err, diff)
		}
	})
}

func FuzzParseF(f *testing.F) {
	f.Add([]byte("#220.0 000 024.0 50.0"))
	f.Add([]byte("#230.0 --- --.-- 50.0 x"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := parseF(frame)
		if err != nil {
			return
		}
		for _, v := range []*float64{r.Volts, r.Amps, r.Battery, r.Hz} {
			if v != nil && !(*v > 0 && *v <= 1000) {
				t.Errorf("parseF(%q): %v, want above 0 and at most 1000", frame, *v)
			}
		}
		again, err := parseF([]byte(r.encode()))
		if diff := cmp.Diff(r, again); err != nil || diff != "" {
			t.Errorf("parseF(%q) encoded is %q, which decodes to (%v):\n%s", frame, r.encode(), err, diff)
		}
	})
}

func FuzzParseI(f *testing.F) {
	f.Add([]byte("#MEGATEC         UPS 1000   V2.10     "))
	f.Add([]byte("#"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		id, err := parseI(frame)
		if err != nil {
			return
		}
		if len(id.Vendor) > 15 || len(id.Model) > 10 || len(id.Firmware) > 10 {
			t.Errorf("parseI(%q) = %+v: longer than its column", frame, id)
		}
		again, err := parseI([]byte(id.encode()))
		if err != nil || again != id {
			t.Errorf("parseI(%q) = %+v, encoded %q, which decodes to %+v, %v", frame, id, id.encode(), again, err)
		}
	})
}

func BenchmarkParseQ1(b *testing.B) {
	frame := []byte("(230.4 230.4 230.4 021 50.0 27.4 25.0 00001001")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseQ1(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseF(b *testing.B) {
	frame := []byte("#230.0 004 024.0 50.0")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseF(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseI(b *testing.B) {
	frame := []byte("#MEGATEC         UPS 1000   V2.10     ")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseI(frame); err != nil {
			b.Fatal(err)
		}
	}
}
