package dodai

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestPrintable(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"Smart-UPS 750", "Smart-UPS 750"},
		{"土台 °C – ü", "土台 °C – ü"},
		{"a\x1b[2Jb\x07", "a�[2Jb�"},
		{"one\ntwo\tthree\r", "one two three "},
		{"abc\u202edef\u200b", "abc�def�"},
		{"c1 \u009b31m", "c1 �31m"},
		{"bad \xff utf8", "bad � utf8"},
		{"", ""},
	} {
		if got := Printable(tc.in); got != tc.want {
			t.Errorf("Printable(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestReadingPrintable(t *testing.T) {
	dirty := func() *Reading {
		return &Reading{
			Kind: KindUPS, Device: Device{Model: "m\x1b"}, Status: OB, Notes: []string{"n\x07"},
			Vars:        Vars{BatteryCharge: Num(5), UPSAlarm: Text("a\x1b"), "odd\x1b": Bool(true)},
			Ages:        map[string]time.Duration{UPSAlarm: time.Second},
			Arrays:      []Array{{ID: "md\x1b", Failing: []string{"s\x1b"}, Missing: new(1)}},
			Disks:       []Disk{{Device: "d", Reasons: []string{"r\x1b"}, TempC: new(30.0)}},
			SystemWatts: new(12.0),
		}
	}
	want := dirty()
	want.Device.Model, want.Notes[0], want.Arrays[0].ID, want.Arrays[0].Failing[0], want.Disks[0].Reasons[0] = "m�", "n�", "md�", "s�", "r�"
	want.Vars = Vars{BatteryCharge: Num(5), UPSAlarm: Text("a�"), "odd�": Bool(true)}
	in := dirty()
	if diff := cmp.Diff(want, in.Printable()); diff != "" {
		t.Errorf("clean copy (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(dirty(), in); diff != "" {
		t.Errorf("the reading itself was changed (-want +got):\n%s", diff)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2J\u202e\xff")
	f.Fuzz(func(t *testing.T, in string) {
		got := Printable(in)
		if Printable(got) != got {
			t.Errorf("Printable(%q) = %q is not printable", in, got)
		}
		if strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("Printable(%q) = %q holds a control character", in, got)
		}
	})
}
