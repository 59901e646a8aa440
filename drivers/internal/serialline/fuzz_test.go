package serialline

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Whatever stands in /proc/locks, a row that names the node is found among it, and without
// one the node is free.
func FuzzFindLock(f *testing.F) {
	f.Add([]byte("1: POSIX  ADVISORY  WRITE 708 00:05:88 0 EOF\n"))
	f.Add([]byte("2: -> FLOCK  ADVISORY  WRITE 513 00:06:92 0 EOF"))
	f.Fuzz(func(t *testing.T, table []byte) {
		const node = "fd:0g:1" // no real row has it
		if pid, locked := findLock(table, node); locked || pid != 0 {
			t.Skip("the node by chance")
		}
		table = fmt.Appendf(table, "\n9: FLOCK  ADVISORY  WRITE 4711 %s 0 EOF\n", node)
		if pid, locked := findLock(table, node); !locked || pid != 4711 {
			t.Errorf("findLock(%q) = %d, %v: want 4711, true", table, pid, locked)
		}
	})
}

// A lock file names a living process or nobody; a process that may not be asked counts as
// living.
func FuzzFileHolder(f *testing.F) {
	f.Add([]byte("      4711\n"))
	f.Add([]byte{1, 0, 0, 0})
	f.Add([]byte("-1"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "LCK..ttyS0")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		pid := fileHolder(path)
		if pid == 0 {
			return
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid < 0 || err != nil {
			t.Errorf("lock file %q is held by %d, which does not live", content, pid)
		}
	})
}
