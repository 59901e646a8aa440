package md

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

func poll(t *testing.T, opts map[string]string) (dodai.Reading, error) {
	t.Helper()
	d, err := Factory.Open("arrays", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d.Poll(t.Context())
}

func TestSourcesFrom(t *testing.T) {
	for _, c := range []struct {
		opts map[string]string
		want sources
	}{
		{nil, sources{"/sys", "/proc", "/proc/mdstat"}},
		{map[string]string{"sys": "/s"}, sources{"/s", "", ""}},
		{map[string]string{"proc": "/p"}, sources{"", "/p", "/p/mdstat"}},
		{map[string]string{"sys": "/s", "proc": "/p"}, sources{"/s", "/p", "/p/mdstat"}},
		{map[string]string{"mdstat": "/m"}, sources{"", "", "/m"}},
		{map[string]string{"sys": "/s", "mdstat": "/m"}, sources{"/s", "", "/m"}},
		{map[string]string{"sys": "/s", "proc": "/p", "mdstat": "/m"}, sources{"/s", "", "/m"}},
	} {
		if got := sourcesFrom(c.opts); got != c.want {
			t.Errorf("sourcesFrom(%v) = %+v, want %+v", c.opts, got, c.want)
		}
	}
}

// TestNoArrays tells a machine with md and no array from one without md.
func TestNoArrays(t *testing.T) {
	root := fakeTree(t, nil, "Personalities : [raid1]\nunused devices: <none>\n")
	both := map[string]string{"sys": root + "/sys", "proc": root + "/proc"}
	if r, err := poll(t, both); err != nil || r.Arrays == nil || len(r.Arrays) != 0 {
		t.Errorf("empty mdstat: %+v, %v: want an empty list", r, err)
	}
	if err := os.Remove(root + "/proc/mdstat"); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]map[string]string{
		"no mdstat": both, "sys alone": {"sys": root + "/sys"}, "no tree at all": {"sys": root + "/no", "proc": root + "/no"},
		"no such mdstat": {"mdstat": root + "/proc/mdstat"},
	} {
		if r, err := poll(t, opts); !errors.Is(err, drivers.ErrNoData) {
			t.Errorf("%s: %+v, %v: want ErrNoData", name, r, err)
		}
	}
}

// TestMerge checks that mdstat stands in for what sysfs lacks, array by array.
func TestMerge(t *testing.T) {
	good := fakeArray{level: "raid1", state: "clean", disks: "2", members: []string{"sda 0 in_sync", "sdb 1 in_sync"}}
	garbled := fakeArray{level: "ra\x00d", state: "clean", disks: "2", members: []string{"sdc 0 in_sync", "sdd 1 in_sync"}}
	deaf := fakeArray{level: "raid1", state: "clean", disks: "two", members: []string{"sdg 0 in_sync"}}
	unused := fakeArray{level: "", state: "clear", disks: ""}
	mdstat := mdstatOf("md1 : active raid1 sdc[0] sdd[1](F)\n      1046528 blocks [2/1] [U_]\n\nmd2 : active raid1 sde[0] sdf[1]\n      1046528 blocks [2/2] [UU]\n")
	root := fakeTree(t, map[string]fakeArray{"md0": good, "md1": garbled, "md7": deaf, "md9": unused}, mdstat)
	r := pollWith(t, map[string]string{"sys": root + "/sys", "proc": root + "/proc"})
	want := []string{
		"md0 raid1 optimal missing=0 failing=[] left=1",
		"md1 raid1 degraded missing=1 failing=[sdd] left=0 spofs=[sdc]",
		"md7  unknown missing=<nil> failing=[] ",
		"md2 raid1 optimal missing=0 failing=[] left=1",
	}
	if diff := cmp.Diff(want, lines(r)); diff != "" {
		t.Errorf("arrays (-want +got):\n%s", diff)
	}
	for _, note := range []string{"md1: mdstat is used: unexpected reply", "md2: its files in sysfs are missing", "md7: unexpected reply: raid_disks \"two\""} {
		checkNotes(t, r.Notes, note)
	}
}

// TestUnreadable checks that an error comes where no array can be read at all.
func TestUnreadable(t *testing.T) {
	for name, a := range map[string]fakeArray{
		"array_state": {level: "raid1", state: "tidy", disks: "2"},
		"level":       {level: "raid", state: "clean", disks: "2"},
		"raid_disks":  {level: "raid1", state: "clean", disks: "-1"},
		"slots":       {level: "raid1", state: "clean", disks: "9999999999"},
		"degraded":    {level: "raid1", state: "clean", disks: "2", files: "degraded=some"},
		"sync_action": {level: "raid1", state: "clean", disks: "2", files: "sync_action=dance"},
		"mismatch":    {level: "raid1", state: "clean", disks: "2", files: "mismatch_cnt=-4"},
		"state":       {level: "raid1", state: "clean", disks: "2", members: []string{"sda 0 in_s"}},
		"slot":        {level: "raid1", state: "clean", disks: "2", members: []string{"sda first in_sync"}},
		"layout":      {level: "raid10", state: "clean", disks: "2", files: "layout=near"},
	} {
		root := fakeTree(t, map[string]fakeArray{"md0": a}, "")
		if r, err := poll(t, map[string]string{"sys": root + "/sys"}); !errors.Is(err, drivers.ErrProtocol) {
			t.Errorf("%s: %+v, %v: want ErrProtocol", name, r, err)
		}
	}
	dir := t.TempDir()
	if _, err := poll(t, map[string]string{"mdstat": dir}); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("a directory for mdstat: %v, want ErrUnreachable", err)
	}
	mustWrite(t, dir+"/huge", "Personalities :\n"+strings.Repeat("x\n", maxMdstat))
	if _, err := poll(t, map[string]string{"mdstat": dir + "/huge"}); !errors.Is(err, drivers.ErrProtocol) {
		t.Errorf("an endless mdstat: %v, want ErrProtocol", err)
	}
}

// TestLinks checks how a drive that left the machine is told.
func TestLinks(t *testing.T) {
	root := t.TempDir()
	mustWrite(t, root+"/block/sda/size", "8")
	for _, c := range []struct {
		name, to string
		want     bool
	}{
		{"there", "block/sda", false}, {"gone", "block/sdb", true}, {"none", "", false},
		{"there, as on the host", "/sys/block/sda", false}, {"gone, as on the host", "/sys/block/sdz9", true},
		{"gone, elsewhere", "/nowhere/sda", true},
	} {
		link := filepath.Join(root, "link")
		os.Remove(link)
		if c.to != "" {
			if err := os.Symlink(c.to, link); err != nil {
				t.Fatal(err)
			}
		}
		if got := dangling(root, link); got != c.want {
			t.Errorf("%s (%s): dangling %v, want %v", c.name, c.to, got, c.want)
		}
	}
}

// TestSlotFromLink checks that rdN stands in for a slot file that is not there.
func TestSlotFromLink(t *testing.T) {
	arrays, _ := raid1(false)
	root := fakeTree(t, arrays, "")
	md := root + "/sys/block/md0/md"
	for name, rd := range map[string]string{"sda": "rd1", "sdb": "rd0"} {
		if err := errors.Join(os.Remove(md+"/dev-"+name+"/slot"), os.Symlink("dev-"+name, md+"/"+rd)); err != nil {
			t.Fatal(err)
		}
	}
	r := pollWith(t, map[string]string{"sys": root + "/sys"})
	if got := *r.Drives[0].Slot; r.Arrays[0].State != dodai.ArrayOptimal || got != 1 {
		t.Errorf("%s, sda in slot %d: want optimal and slot 1", lines(r), got)
	}
}

// TestArrayStopped takes the tree away while one of its files is being read: the array
// is left out with a note, and the others stay.
func TestArrayStopped(t *testing.T) {
	arrays, mdstat := raid1(false)
	second := arrays["md0"]
	second.members = []string{"sdc 0 in_sync", "sdd 1 in_sync"}
	arrays["md1"] = second
	root := fakeTree(t, arrays, mdstat)
	md0 := root + "/sys/block/md0"
	fifo := newFIFO(t, md0+"/md/raid_disks")
	d, err := Factory.Open("arrays", map[string]string{"sys": root + "/sys", "proc": root + "/proc"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		r   dodai.Reading
		err error
	}
	done := make(chan answer)
	go func() {
		r, err := d.Poll(t.Context())
		done <- answer{r, err}
	}()
	fifo.waitReader(t)
	if err := os.Rename(md0, root+"/stopped"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, root+"/proc/mdstat", strings.ReplaceAll(mdstat, "md0", "md1"))
	fifo.release(t)
	a := <-done
	if a.err != nil || len(a.r.Arrays) != 1 || a.r.Arrays[0].ID != "md1" {
		t.Fatalf("Poll = %q, %v: want md1 alone", lines(a.r), a.err)
	}
	checkNotes(t, a.r.Notes, "md0: stopped while it was read")
}

// TestMemberRemoved takes a member away while it is read: the array is read again.
func TestMemberRemoved(t *testing.T) {
	arrays, _ := raid1(false)
	a := arrays["md0"]
	a.members = append(a.members, "sdc none faulty")
	root := fakeTree(t, map[string]fakeArray{"md0": a}, "")
	member := root + "/sys/block/md0/md/dev-sdc"
	fifo := newFIFO(t, member+"/slot")
	done := make(chan rawArray, 1)
	go func() {
		raw, err := readStable(context.Background(), root+"/sys", root+"/sys/block/md0/md")
		if err != nil {
			t.Errorf("readStable: %v", err)
		}
		done <- raw
	}()
	fifo.waitReader(t)
	if err := os.Rename(member, root+"/removed"); err != nil {
		t.Fatal(err)
	}
	fifo.release(t)
	if raw := <-done; len(raw.members) != 2 {
		t.Errorf("%d members, want the 2 that are left", len(raw.members))
	}
}

// fifo is a file whose reader waits until it is released.
type fifo struct{ path string }

func newFIFO(t testing.TB, path string) fifo {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	moved := path + ".open"
	if err := os.Link(path, moved); err != nil { // stays when the path goes
		t.Fatal(err)
	}
	f := fifo{filepath.Join(t.TempDir(), "fifo")}
	if err := os.Rename(moved, f.path); err != nil {
		t.Fatal(err)
	}
	return f
}

// waitReader returns once somebody waits for the file: only then can a writer open it.
func (f fifo) waitReader(t testing.TB) {
	t.Helper()
	for range 500 {
		w, err := syscall.Open(f.path, syscall.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			go func() { // the reader's open returned: hold the other end, so that it waits for data
				time.Sleep(100 * time.Millisecond)
				syscall.Close(w)
			}()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody reads")
}

// release lets every reader read an empty file.
func (f fifo) release(t testing.TB) {
	t.Helper()
	w, err := syscall.Open(f.path, syscall.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.Close(w)
}

// TestProcfsPanics checks that a slip of the library costs the cross-check and no more.
func TestProcfsPanics(t *testing.T) {
	arrays, mdstat := raid1(false)
	root := fakeTree(t, arrays, strings.Replace(mdstat, "[raid1]", "x", 1))
	if _, err := guarded(mdstatWitnesses, root+"/proc"); err == nil {
		t.Log("procfs no longer stumbles over a one-letter personality: guarded may go")
	}
	r := pollWith(t, map[string]string{"sys": root + "/sys", "proc": root + "/proc"})
	if len(r.Arrays) != 1 || r.Arrays[0].State != dodai.ArrayOptimal || len(r.Notes) != 0 {
		t.Errorf("%q, notes %q: want one optimal array", lines(r), r.Notes)
	}
}

// TestDisagreement checks that the other witness is heard, and only then.
func TestDisagreement(t *testing.T) {
	arrays, mdstat := raid1(false)
	failed, _ := raid1(true)
	for _, c := range []struct {
		name   string
		arrays map[string]fakeArray
		want   []string
	}{
		{"agree", arrays, nil},
		{"differ", failed, []string{"md0: mdstat counts 2 of 2 members working, the members themselves 1 of 2"}},
	} {
		root := fakeTree(t, c.arrays, mdstat)
		r := pollWith(t, map[string]string{"sys": root + "/sys", "proc": root + "/proc"})
		if diff := cmp.Diff(c.want, r.Notes); diff != "" {
			t.Errorf("%s: notes (-want +got):\n%s", c.name, diff)
		}
	}
	s := &survey{}
	s.compare([]witness{{"sysfs", "md5", 2, 2}})
	checkNotes(t, s.disagreements, "md5: procfs finds it in sysfs")
}

// TestThisMachine reads the arrays of the machine the test runs on: none, or some.
func TestThisMachine(t *testing.T) {
	d, err := Factory.Open("arrays", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Poll(t.Context())
	if err != nil && !errors.Is(err, drivers.ErrNoData) {
		t.Errorf("Poll: %v, want a reading or ErrNoData", err)
	}
	for _, a := range r.Arrays {
		if a.State == "" || a.Failing == nil {
			t.Errorf("array %+v is not filled in", a)
		}
	}
}

// BenchmarkPoll reads two arrays of five members each, from files on disk.
func BenchmarkPoll(b *testing.B) {
	five := fakeArray{level: "raid6", state: "clean", disks: "5", members: []string{"sda 0 in_sync", "sdb 1 in_sync", "sdc 2 in_sync", "sdd 3 in_sync", "sde 4 in_sync"}}
	root := fakeTree(b, map[string]fakeArray{"md0": five, "md1": five}, "Personalities : [raid6]\nunused devices: <none>\n")
	d, err := Factory.Open("arrays", map[string]string{"sys": root + "/sys", "proc": root + "/proc"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := d.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
