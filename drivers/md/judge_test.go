package md

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

// line shows an array in one line, for comparing.
func line(a dodai.Array) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s %s missing=%v failing=%v", a.ID, a.Level, a.State, deref(a.Missing), a.Failing)
	for _, f := range []struct {
		name string
		v    any
	}{{"spares", deref(a.Spares)}, {"percent", deref(a.Percent)}, {"left", deref(a.ToleranceLeft)}, {"writable", deref(a.Writable)}} {
		if f.v != nil && f.v != true && f.v != 0 || f.name == "left" && f.v != nil {
			fmt.Fprintf(&s, " %s=%v", f.name, f.v)
		}
	}
	if a.Activity != dodai.ActivityNone {
		s.WriteString(" " + string(a.Activity))
	}
	if a.SPOFs != nil {
		fmt.Fprintf(&s, " spofs=%v", a.SPOFs)
	}
	if a.Suspect != nil {
		fmt.Fprintf(&s, " suspect=%v", a.Suspect)
	}
	return s.String()
}

// TestStates reads one small tree per state an array can be in.
func TestStates(t *testing.T) {
	four := func(sdc string) []string { return []string{"sda 0 in_sync", "sdb 1 in_sync", sdc, "sdd 3 in_sync"} }
	for _, c := range []struct {
		name  string
		array fakeArray
		want  string
		note  string // part of a note, empty: no note at all
	}{
		{"near-2, sdc failed", fakeArray{"raid10", "clean", "4", "layout=258, degraded=1", four("sdc none faulty")},
			"md0 raid10 degraded missing=1 failing=[sdc] left=0 spofs=[sdd]", ""},
		{"far-2, sdc failed", fakeArray{"raid10", "clean", "4", "layout=513, degraded=1", four("sdc none faulty")},
			"md0 raid10 degraded missing=1 failing=[sdc] left=0 spofs=[sdb sdd]", ""},
		{"offset-2, sdc failed", fakeArray{"raid10", "clean", "4", "layout=66049, degraded=1", four("sdc none faulty")},
			"md0 raid10 degraded missing=1 failing=[sdc] left=0 spofs=[sdb sdd]", ""},
		{"near-3, sdc failed", fakeArray{"raid10", "clean", "4", "layout=259, degraded=1", four("sdc none faulty")},
			"md0 raid10 degraded missing=1 failing=[sdc] left=1", ""},
		{"far sets, sdc failed", fakeArray{"raid10", "clean", "4", "layout=131585, degraded=1", four("sdc none faulty")},
			"md0 raid10 degraded missing=1 failing=[sdc] left=0 spofs=[sda sdb sdd]", ""},
		{"unknown layout", fakeArray{"raid10", "clean", "4", "layout=7", four("sdc 2 in_sync")},
			"md0 raid10 optimal missing=0 failing=[] left=1", "layout 7"},
		{"last copy refused", fakeArray{"raid10", "broken", "4", "layout=258, degraded=1", four("sdc none faulty")},
			"md0 raid10 failed missing=1 failing=[sdc] writable=false", ""},
		{"both copies gone", fakeArray{"raid10", "clean", "4", "layout=258", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync gone", "sdd 3 in_sync gone"}},
			"md0 raid10 failed missing=2 failing=[sdc sdd] writable=false", "sdc has left the machine"},
		{"two of different pairs gone", fakeArray{"raid10", "clean", "4", "layout=258", []string{"sda 0 in_sync gone", "sdb 1 in_sync", "sdc 2 in_sync gone", "sdd 3 in_sync"}},
			"md0 raid10 degraded missing=2 failing=[sda sdc] left=0 spofs=[sdb sdd]", "sda has left"},
		{"two slots empty, one being filled", fakeArray{"raid6", "active", "5", "degraded=2, sync_action=recover, sync_completed=250 / 1000", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync", "sdd 3 spare"}},
			"md0 raid6 rebuilding missing=2 failing=[] percent=25 left=0 recover spofs=[sda sdb sdc]", ""},
		{"rebuild beside a replacement", fakeArray{"raid5", "active", "3", "degraded=1, sync_action=recover, sync_completed=1 / 3", []string{"sda 0 in_sync,want_replacement", "sdb 1 in_sync", "sdc 2 spare", "sdd 0 spare,replacement"}},
			"md0 raid5 rebuilding missing=1 failing=[] percent=33.3 left=0 recover spofs=[sda sdb] suspect=[sda]", "wants it replaced"},
		{"replacement copied, not yet in charge", fakeArray{"raid1", "active", "2", "", []string{"sda 0 in_sync", "sdb 1 in_sync gone", "sdd 0 in_sync,replacement"}},
			"md0 raid1 degraded missing=1 failing=[sdb] left=0", "sdb has left"},
		{"rebuild waits", fakeArray{"raid5", "clean", "3", "degraded=1, sync_action=recover, sync_completed=delayed", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 spare"}},
			"md0 raid5 degraded missing=1 failing=[] left=0 delayed spofs=[sda sdb]", ""},
		{"check waits", fakeArray{"raid5", "clean", "3", "sync_action=check, sync_completed=delayed", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync"}},
			"md0 raid5 optimal missing=0 failing=[] left=1 delayed", ""},
		{"repair", fakeArray{"raid1", "active", "2", "sync_action=repair, sync_completed=99 / 100", []string{"sda 0 in_sync", "sdb 1 in_sync"}},
			"md0 raid1 optimal missing=0 failing=[] percent=99 left=1 check", ""},
		{"resync before the first write", fakeArray{"raid1", "read-auto", "2", "resync_start=0", []string{"sda 0 in_sync", "sdb 1 in_sync"}},
			"md0 raid1 optimal missing=0 failing=[] pending", ""},
		{"resync after a crash", fakeArray{"raid1", "active", "2", "sync_action=resync, sync_completed=0 / 100", []string{"sda 0 in_sync", "sdb 1 in_sync"}},
			"md0 raid1 optimal missing=0 failing=[] percent=0 resync", ""},
		{"frozen with a target", fakeArray{"raid1", "clean", "2", "degraded=1, sync_action=frozen, sync_completed=7 / 9", []string{"sda 0 in_sync", "sdb 1 spare"}},
			"md0 raid1 degraded missing=1 failing=[] left=0 frozen spofs=[sda]", ""},
		{"growing by one", fakeArray{"raid5", "active", "4 (3)", "sync_action=reshape, sync_completed=10 / 20", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync", "sdd 3 in_sync"}},
			"md0 raid5 optimal missing=0 failing=[] percent=50 left=1 reshape", ""},
		{"read-only", fakeArray{"raid1", "readonly", "2", "", []string{"sda 0 in_sync", "sdb 1 in_sync"}},
			"md0 raid1 optimal missing=0 failing=[] left=1 writable=false", ""},
		{"journal pulled", fakeArray{"raid5", "clean", "3", "consistency_policy=journal", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync", "sdj journal journal gone"}},
			"md0 raid5 degraded missing=0 failing=[sdj] left=1 writable=false", "every write to the array fails"},
		{"journal taken out", fakeArray{"raid5", "clean", "3", "consistency_policy=journal", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync"}},
			"md0 raid5 degraded missing=0 failing=[] left=1 writable=false", "every write to the array fails"},
		{"hot spare pulled", fakeArray{"raid1", "clean", "2", "", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc none spare gone", "sdd none spare"}},
			"md0 raid1 optimal missing=0 failing=[sdc] spares=1 left=1", "sdc has left"},
		{"failed sixth member", fakeArray{"raid1", "clean", "2", "", []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc none faulty"}},
			"md0 raid1 optimal missing=0 failing=[sdc] left=1", ""},
		{"bad signs", fakeArray{"raid1", "clean", "2", "mismatch_cnt=128", []string{"sda 0 in_sync errors=4", "sdb 1 in_sync,write_error"}},
			"md0 raid1 optimal missing=0 failing=[] left=1 suspect=[sda sdb]", "128 sectors differed"},
		{"unreadable places", fakeArray{"raid1", "clean", "2", "", []string{"sda 0 in_sync bad_blocks=2048", "sdb 1 in_sync"}},
			"md0 raid1 optimal missing=0 failing=[] left=1 suspect=[sda]", "1 unreadable places"},
		{"md counts more missing than its members show", fakeArray{"raid6", "clean", "4", "degraded=1", four("sdc 2 in_sync")},
			"md0 raid6 degraded missing=1 failing=[] left=1", ""},
		{"linear", fakeArray{"linear", "clean", "2", "", []string{"sda 0 in_sync", "sdb 1 in_sync"}},
			"md0 linear optimal missing=0 failing=[] left=0 spofs=[sda sdb]", ""},
		{"linear, one pulled", fakeArray{"linear", "clean", "2", "", []string{"sda 0 in_sync", "sdb 1 in_sync gone"}},
			"md0 linear failed missing=1 failing=[sdb] writable=false", "sdb has left"},
		{"raid0 broken, nobody knows which", fakeArray{"raid0", "broken", "2", "", []string{"sda 0 in_sync nolink", "sdb 1 in_sync nolink"}},
			"md0 raid0 failed missing=<nil> failing=[] writable=false", "names no failed member"},
		{"not started", fakeArray{"", "inactive", "0", "", []string{"sda none spare", "sdb none faulty"}},
			"md0  inactive missing=<nil> failing=[sdb]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := pollWith(t, map[string]string{"sys": fakeTree(t, map[string]fakeArray{"md0": c.array}, "") + "/sys"})
			if len(r.Arrays) != 1 {
				t.Fatalf("%d arrays, want 1", len(r.Arrays))
			}
			if got := line(r.Arrays[0]); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			checkNotes(t, r.Notes, c.note)
		})
	}
}

func checkNotes(t *testing.T, notes []string, want string) {
	t.Helper()
	all := strings.Join(notes, "\n")
	if !strings.Contains(all, want) {
		t.Errorf("notes %q: want one with %q", notes, want)
	}
}

// TestContainers checks arrays on external metadata: the container is no array, and
// what none of its arrays uses is their spare.
func TestContainers(t *testing.T) {
	r := pollWith(t, map[string]string{"mdstat": "testdata/containers.mdstat"})
	want := []string{
		"md126 raid1 optimal missing=0 failing=[] spares=1 left=1",
		"md125 raid0 optimal missing=0 failing=[] left=0 spofs=[sda sdb]",
		"md127 container inactive missing=0 failing=[]",
	}
	if diff := cmp.Diff(want, lines(r)); diff != "" {
		t.Errorf("arrays (-want +got):\n%s", diff)
	}
	wantDrives := map[string]dodai.DriveState{"sda": dodai.DriveOnline, "sdb": dodai.DriveOnline, "sdc": dodai.DriveSpare}
	if diff := cmp.Diff(wantDrives, driveStates(r)); diff != "" {
		t.Errorf("drives (-want +got):\n%s", diff)
	}
}

func lines(r dodai.Reading) []string {
	var out []string
	for _, a := range r.Arrays {
		out = append(out, line(a))
	}
	return out
}

func driveStates(r dodai.Reading) map[string]dodai.DriveState {
	states := map[string]dodai.DriveState{}
	for _, d := range r.Drives {
		states[d.ID] = d.State
	}
	return states
}

// TestDrives checks every state a member can have.
func TestDrives(t *testing.T) {
	a := fakeArray{"raid6", "active", "6", "degraded=2, sync_action=recover, sync_completed=1 / 2", []string{
		"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync", "sdd 3 in_sync", "sde 4 spare", "sdf none faulty",
		"sdg 0 spare,replacement", "sdh none spare", "sdi journal journal", "sdk none spare gone",
	}}
	r := pollWith(t, map[string]string{"sys": fakeTree(t, map[string]fakeArray{"md0": a}, "") + "/sys"})
	want := map[string]dodai.DriveState{
		"sda": dodai.DriveOnline, "sdb": dodai.DriveOnline, "sdc": dodai.DriveOnline, "sdd": dodai.DriveOnline,
		"sde": dodai.DriveRebuilding, "sdf": dodai.DriveFailed, "sdg": dodai.DriveReplacing, "sdh": dodai.DriveSpare,
		"sdi": dodai.DriveJournal, "sdk": dodai.DriveMissing,
	}
	if diff := cmp.Diff(want, driveStates(r)); diff != "" {
		t.Errorf("drives (-want +got):\n%s", diff)
	}
}
