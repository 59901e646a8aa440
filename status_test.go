package dodai

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseStatus(t *testing.T) {
	for _, tc := range []struct {
		in      string
		want    Status
		unknown []string
	}{
		{"OL", OL, nil},
		{"OB DISCHRG LB", OB | DISCHRG | LB, nil},
		{"  LB   OL CHRG ", LB | OL | CHRG, nil},
		{"ALARM OL FSD", ALARM | OL | FSD, nil},
		{"", 0, nil},
		{"WAIT", 0, nil},
		{"OL VENDORWORD", OL, []string{"VENDORWORD"}},
		{"OB DEPLETED", OB | LB, nil},
		{"ol", 0, []string{"ol"}}, // words are upper case; anything else is not ours to guess
	} {
		got, unknown := ParseStatus(tc.in)
		if got != tc.want || !slices.Equal(unknown, tc.unknown) {
			t.Errorf("ParseStatus(%q) = %v, %q; want %v, %q", tc.in, got, unknown, tc.want, tc.unknown)
		}
	}
}

func TestStatusFlagsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range StatusFlags() {
		if f.String() == "" || seen[f.String()] {
			t.Errorf("flag %#x is called %q: want a name of its own", uint32(f), f)
		}
		seen[f.String()] = true
	}
	if len(seen) != 17 {
		t.Errorf("%d flags are named, want 17", len(seen))
	}
}

func TestStatusRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Status(rapid.Uint32Range(0, 1<<17-1).Draw(t, "status"))
		if got, unknown := ParseStatus(s.String()); got != s || unknown != nil {
			t.Errorf("ParseStatus(%q) = %v, %q", s, got, unknown)
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back Status
		if err := json.Unmarshal(data, &back); err != nil || back != s {
			t.Errorf("%s unmarshalled to %v, %v; want %v", data, back, err, s)
		}
	})
}

func TestStatusUnmarshalErrors(t *testing.T) {
	for _, in := range []string{`"OL"`, `["OL","NONSENSE"]`, `{}`, `[1]`} {
		var s Status
		if err := json.Unmarshal([]byte(in), &s); err == nil || !strings.Contains(err.Error(), "ups.status") {
			t.Errorf("Unmarshal(%s): %v, want an error that names ups.status", in, err)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	for _, s := range []string{"OL CHRG", "OB LB", "WAIT", "\x00OL", "OL\nOB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		status, _ := ParseStatus(in)
		if again, unknown := ParseStatus(status.String()); again != status || unknown != nil {
			t.Errorf("ParseStatus(%q) = %v does not survive printing: %v, %q", in, status, again, unknown)
		}
	})
}
