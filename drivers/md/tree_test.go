package md

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeArray is an array of a sysfs tree for tests.
type fakeArray struct {
	level, state string
	disks        string
	files        string   // "sync_action=recover sync_completed=5 / 10": separated by ", "
	members      []string // "sda slot state [gone|nolink] [file=value …]"
}

// fakeTree builds root/sys/block from arrays and root/proc/mdstat from mdstat.
func fakeTree(t testing.TB, arrays map[string]fakeArray, mdstat string) string {
	t.Helper()
	root := t.TempDir()
	mustWrite(t, root+"/sys/block/vda/size", "8")
	for id, a := range arrays {
		a.write(t, root+"/sys/block", id)
	}
	if mdstat != "" {
		mustWrite(t, root+"/proc/mdstat", mdstat)
	}
	return root
}

func (a fakeArray) write(t testing.TB, block, id string) {
	t.Helper()
	dir := filepath.Join(block, id, "md")
	mustWrite(t, dir+"/array_state", a.state+"\n")
	mustWrite(t, dir+"/level", a.level+"\n")
	mustWrite(t, dir+"/raid_disks", a.disks+"\n")
	mustWrite(t, dir+"/uuid", "00000000-0000-0000-0000-000000000000\n")
	mustWrite(t, dir+"/metadata_version", "1.2\n")
	if a.level != "raid0" && a.level != "linear" && a.level != "" {
		mustWrite(t, dir+"/degraded", "0\n")
		mustWrite(t, dir+"/sync_action", "idle\n")
		mustWrite(t, dir+"/sync_completed", "none\n")
		mustWrite(t, dir+"/chunk_size", "524288\n")
	}
	for pair := range strings.SplitSeq(a.files, ", ") {
		if name, value, ok := strings.Cut(pair, "="); ok {
			mustWrite(t, dir+"/"+name, value+"\n")
		}
	}
	for _, m := range a.members {
		writeMember(t, block, dir, strings.Fields(m))
	}
}

func writeMember(t testing.TB, block, dir string, words []string) {
	t.Helper()
	name, sub := words[0], dir+"/dev-"+words[0]
	mustWrite(t, sub+"/slot", words[1]+"\n")
	mustWrite(t, sub+"/state", words[2]+"\n")
	mustWrite(t, sub+"/errors", "0\n")
	gone, nolink := false, false
	for _, w := range words[3:] {
		file, value, isFile := strings.Cut(w, "=")
		switch {
		case isFile:
			mustWrite(t, sub+"/"+file, value+"\n")
		case w == "gone":
			gone = true
		case w == "nolink":
			nolink = true
		}
	}
	if !gone {
		mustWrite(t, filepath.Join(block, name, "size"), "8\n")
	}
	if !nolink {
		if err := os.Symlink("../../../"+name, sub+"/block"); err != nil {
			t.Fatal(err)
		}
	}
}

func mustWrite(t testing.TB, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// raid1 is a healthy mirror, or one with sdb failed.
func raid1(failed bool) (map[string]fakeArray, string) {
	a := fakeArray{level: "raid1", state: "clean", disks: "2", files: "mismatch_cnt=0", members: []string{"sda 0 in_sync", "sdb 1 in_sync"}}
	line, counts := "sdb[1] sda[0]", "[2/2] [UU]"
	if failed {
		a.files += ", degraded=1"
		a.members[1] = "sdb none faulty"
		line, counts = "sdb[1](F) sda[0]", "[2/1] [U_]"
	}
	mdstat := fmt.Sprintf("Personalities : [raid1]\nmd0 : active raid1 %s\n      1046528 blocks super 1.2 %s\n\nunused devices: <none>\n", line, counts)
	return map[string]fakeArray{"md0": a}, mdstat
}
