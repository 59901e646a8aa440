package md

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// checkJudged checks what has to hold of every array, whatever was read.
func checkJudged(t *testing.T, f *facts) {
	t.Helper()
	a, _ := judge(f, 0)
	if !slices.Contains(dodai.ArrayStates, a.State) {
		t.Errorf("state %q is none", a.State)
	}
	if a.Failing == nil {
		t.Error("failing is nil")
	}
	if f.err != nil {
		if !errors.Is(f.err, drivers.ErrProtocol) || a.State != dodai.ArrayUnknown {
			t.Errorf("error %v with state %s: want ErrProtocol and unknown", f.err, a.State)
		}
		return
	}
	if a.Missing != nil && (*a.Missing < 0 || *a.Missing > f.disks) {
		t.Errorf("%d of %d missing", *a.Missing, f.disks)
	}
	if a.ToleranceLeft != nil && (*a.ToleranceLeft < 0 || *a.ToleranceLeft >= max(f.disks, 1)) {
		t.Errorf("tolerance_left %d of %d slots", *a.ToleranceLeft, f.disks)
	}
	if a.Percent != nil && !(*a.Percent >= 0 && *a.Percent <= 100) {
		t.Errorf("percent %v", *a.Percent)
	}
	checkState(t, f, a)
}

// checkState checks what state and numbers say of each other.
func checkState(t *testing.T, f *facts, a dodai.Array) {
	t.Helper()
	switch a.State {
	case dodai.ArrayOptimal:
		if *a.Missing != 0 {
			t.Errorf("optimal with %d missing", *a.Missing)
		}
	case dodai.ArrayRebuilding:
		if *a.Missing == 0 || a.Activity != dodai.ActivityRecover {
			t.Errorf("rebuilding with %d missing and activity %s", *a.Missing, a.Activity)
		}
	case dodai.ArrayFailed:
		if a.ToleranceLeft != nil || *a.Writable {
			t.Errorf("failed with tolerance %v, writable %v", a.ToleranceLeft, *a.Writable)
		}
	}
	working := f.workingNames()
	for _, name := range a.SPOFs {
		if !slices.Contains(working, name) {
			t.Errorf("single point of failure %q does not work", name)
		}
	}
	if a.ToleranceLeft != nil && *a.ToleranceLeft > 0 && len(a.SPOFs) > 0 {
		t.Errorf("tolerance_left %d and single points of failure %v", *a.ToleranceLeft, a.SPOFs)
	}
}

func FuzzMdstat(f *testing.F) {
	files, err := filepath.Glob("testdata/*.mdstat")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("md0 : active raid6\n 0 blocks [2/2] [UU]\n"))
	f.Add([]byte("md0 : active raid1 a[0]\n 8 blocks [2/1] [_U]\nunused devices: <none>\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sets, _, err := parseMdstat(data)
		if err != nil {
			if !errors.Is(err, drivers.ErrProtocol) || sets != nil {
				t.Errorf("error %v with %d arrays: want ErrProtocol alone", err, len(sets))
			}
			return
		}
		s := survey{sets: sets}
		for i := range sets {
			checkJudged(t, &sets[i])
			up, working := 0, len(sets[i].workingNames())
			for _, is := range sets[i].slotUp {
				if is {
					up++
				}
			}
			if working > up {
				t.Errorf("%d members work, in %d filled slots", working, up)
			}
		}
		s.drives()
	})
}

// FuzzSysfs takes an array's files as lines "name value" and "dev-NAME/name value".
func FuzzSysfs(f *testing.F) {
	f.Add("array_state clean\nlevel raid1\nraid_disks 2\ndev-sda/state in_sync\ndev-sda/slot 0\ndev-sdb/state faulty\ndev-sdb/slot none")
	f.Add("array_state active\nlevel raid10\nraid_disks 4\nlayout 513\nsync_action recover\nsync_completed 3 / 9\ndev-a/state spare,replacement\ndev-a/slot 1")
	f.Add("array_state inactive\nlevel \nmetadata_version external:imsm\ndev-a/state spare\ndev-a/slot none")
	f.Add("array_state clean\nlevel raid5\nraid_disks 4 (3)\ndegraded 1\nconsistency_policy journal\ndev-j/state journal,faulty\ndev-j/slot journal")
	f.Fuzz(func(t *testing.T, text string) {
		raw := rawFrom(text)
		got := parseArray("md0", raw)
		checkJudged(t, &got)
		if got.err == nil && len(got.members) != len(raw.members) {
			t.Errorf("%d members, want %d", len(got.members), len(raw.members))
		}
		again := parseArray("md0", raw)
		a, _ := judge(&got, 0)
		b, _ := judge(&again, 0)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("reading the same again differs:\n%s", diff)
		}
		s := survey{sets: []facts{got}}
		s.drives()
	})
}

func rawFrom(text string) rawArray {
	raw := rawArray{files: map[string]string{}}
	for line := range strings.Lines(text) {
		path, value, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		member, name, isMember := strings.Cut(strings.TrimPrefix(path, "dev-"), "/")
		if !isMember {
			raw.files[path] = strings.TrimSpace(value)
			continue
		}
		i := slices.IndexFunc(raw.members, func(m rawMember) bool { return m.name == member })
		if i < 0 {
			i = len(raw.members)
			raw.members = append(raw.members, rawMember{name: member, files: map[string]string{}})
		}
		if name == "gone" {
			raw.members[i].gone = true
		}
		raw.members[i].files[name] = strings.TrimSpace(value)
	}
	return raw
}
