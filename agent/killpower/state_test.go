package killpower

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// sample is a state with a value in each field.
func sample() *State {
	return &State{
		Version: stateVersion, BootID: "b1", At: time.Hour, Reason: "runtime", Text: "u1 ends", End: 2 * time.Hour,
		Wake: &Wake{At: 1000, Was: 2000},
		UPS: []UPS{{
			Name: "u1", Driver: "megatec", Options: map[string]string{"port": "/dev/ttyS0", "password": "s3cret"}, Local: true, Feeds: true,
			FedBy: "room", Cut: &drivers.Cut{Off: time.Minute, On: 3 * time.Minute}, Mains: MainsAbsent,
		}, {
			Name: "u2", Driver: "nut", Told: &Told{At: 50 * time.Minute, Cut: drivers.Cut{Off: time.Minute, On: time.Minute}}, Mains: MainsUnknown,
		}},
	}
}

func TestStateIsReadAsItWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	for range 2 { // also over an earlier one
		if err := Write(dir, sample()); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v: want 0600", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files in the run directory, want the state alone", len(entries))
	}
	got, err := Read(dir, "b1", 2*time.Hour)
	if diff := cmp.Diff(sample(), got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
	if err := errors.Join(Remove(dir), Remove(dir)); err != nil {
		t.Errorf("Remove twice: %v", err)
	}
	if _, err := Read(dir, "b1", 2*time.Hour); !errors.Is(err, ErrNoState) {
		t.Errorf("after Remove: %v, want ErrNoState", err)
	}
}

// TestStateRefused: whatever is not certainly this boot's own state leads to no cut.
func TestStateRefused(t *testing.T) {
	change := func(from, to string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(data), from) {
				t.Fatalf("%q is not in %s (%v)", from, data, err)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	mode := func(m os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Chmod(path, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name, want string
		spoil      func(t *testing.T, path string)
	}{
		{"another boot", `it is of boot "b0"`, change(`"b1"`, `"b0"`)},
		{"no boot", `it is of boot ""`, change(`"b1"`, `""`)},
		{"from the future", "it is 2h0m0s only", change(`"at": 3600000000000`, `"at": 9600000000000`)},
		{"another version", "version 7", change(`"version": 1`, `"version": 7`)},
		{"unknown key", "unknown field", change(`"reason"`, `"season"`)},
		{"cut short", "unexpected EOF", change("}\n ]\n}", "")},
		{"more behind it", "something follows", change("}\n ]\n}", "}\n ]\n} {}")},
		{"negative time", "instants since the boot", change(`"at": 3600000000000`, `"at": -1`)},
		{"cut too late", "cut after", change(`"Off": 60000000000`, `"Off": 60000000000000000`)},
		{"negative cut", "cut after", change(`"Off": 60000000000`, `"Off": -1`)},
		{"told before the boot", "told at", change(`"at": 3000000000000`, `"at": 0`)},
		{"two of a name", "a name of its own", change(`"u2"`, `"u1"`)},
		{"no driver", "and a driver", change(`"nut"`, `""`)},
		{"mains of another kind", `mains "maybe"`, change(`"absent"`, `"maybe"`)},
		{"alarm before 1970", "seconds of the RTC", change(`"at": 1000`, `"at": -1000`)},
		{"others may write", "mode is 0622", mode(0o622)},
		{"others may read", "mode is 0644", mode(0o644)},
		{"a link", "symbolic link", func(t *testing.T, path string) {
			if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a folder", "want a regular file", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}},
		{"of another user", "belongs to user 4242", func(t *testing.T, path string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			if err := os.Chown(path, 4242, 0); err != nil {
				t.Fatal(err)
			}
		}},
		{"too long", "longer than", func(t *testing.T, path string) {
			if err := os.Truncate(path, maxFile+1); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Write(dir, sample()); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, filepath.Join(dir, FileName))
			s, err := Read(dir, "b1", 2*time.Hour)
			if s != nil || !errors.Is(err, ErrState) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read = %v, %v: want ErrState with %q", s, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

// TestReadAge: what a daemon left behind that never came back is not taken for an outage.
func TestReadAge(t *testing.T) {
	dir := t.TempDir()
	s := sample()
	if err := Write(dir, s); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, "b1", s.At+maxAge); err != nil {
		t.Errorf("after %v: %v", maxAge, err)
	}
	if got, err := Read(dir, "b1", s.At+maxAge+1); got != nil || !errors.Is(err, ErrState) {
		t.Errorf("later than that: %v, %v: want ErrState", got, err)
	}
}

func TestInherit(t *testing.T) {
	old, s := sample(), sample()
	s.Wake, s.UPS[1].Told = &Wake{}, nil
	s.UPS = append(s.UPS, UPS{Name: "new", Driver: "nut"})
	s.Inherit(old)
	if s.Wake.At != 1000 || s.UPS[1].Told == nil || s.UPS[2].Told != nil {
		t.Errorf("inherited %+v, %+v", s.Wake, s.UPS)
	}
}

func TestMainsOf(t *testing.T) {
	for status, want := range map[string]Mains{
		"OL": MainsPresent, "OL CHRG LB": MainsPresent, "BYPASS": MainsPresent, "TRIM": MainsPresent, "FSD OL": MainsPresent,
		"OB": MainsAbsent, "OB LB DISCHRG": MainsAbsent, "OB CHRG": MainsAbsent,
		"OL OB": MainsUnknown, "OFF": MainsUnknown, "FSD": MainsUnknown, "": MainsUnknown,
	} {
		flags, _ := dodai.ParseStatus(status)
		if got := MainsOf(dodai.Reading{Status: flags}); got != want {
			t.Errorf("%q: %s, want %s", status, got, want)
		}
	}
}

func TestEffectiveMains(t *testing.T) {
	rack := []UPS{{Name: "rack", FedBy: "room"}, {Name: "room"}}
	circle := []UPS{{Name: "rack", FedBy: "room"}, {Name: "room", FedBy: "rack"}}
	tests := []struct {
		name       string
		list       []UPS
		rack, room Mains
		want       Mains
	}{
		{"both have mains", rack, MainsPresent, MainsPresent, MainsPresent},
		{"fed from a battery", rack, MainsPresent, MainsAbsent, MainsAbsent},
		{"its own breaker", rack, MainsAbsent, MainsPresent, MainsAbsent},
		{"room is silent", rack, MainsPresent, MainsUnknown, MainsPresent},
		{"nothing known", rack, "", "", MainsUnknown},
		{"a circle", circle, MainsPresent, MainsPresent, MainsPresent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Effective(tt.list, "rack", map[string]Mains{"rack": tt.rack, "room": tt.room}); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// FuzzParse: what is taken is sound, and is written and read as the same.
func FuzzParse(f *testing.F) {
	dir := f.TempDir()
	if err := Write(dir, sample()); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"boot_id":"b","at":1,"reason":"","ups":null}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse(data)
		if err != nil {
			return
		}
		dir := t.TempDir()
		now := s.At + maxAge
		if s.belongs(s.BootID, now) != nil {
			return
		}
		if err := Write(dir, s); err != nil {
			t.Fatal(err)
		}
		again, err := Read(dir, s.BootID, now)
		if err != nil {
			t.Fatalf("%s\nis taken, and then not: %v", data, err)
		}
		if diff := cmp.Diff(s, again, cmp.Comparer(func(a, b map[string]string) bool { return len(a) == 0 && len(b) == 0 || maps.Equal(a, b) })); diff != "" {
			t.Errorf("-first +again:\n%s", diff)
		}
	})
}
