package peer

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// JournalEntry is an entry of systemd's journal.
type JournalEntry struct {
	Boot   string // its id, without dashes
	Micros int64  // on that boot's CLOCK_MONOTONIC
	Fields string // more of them, "NAME=value", with blanks between
}

// SystemJournal makes a real journal file of entries, as `journalctl -D` reads it, and
// returns its folder. Their wall clock goes backwards: nothing may depend on it. Source:
// systemd's "Journal Export Formats".
func SystemJournal(t testing.TB, entries ...JournalEntry) string {
	t.Helper()
	remote := Need(t, "systemd-journal-remote")
	var export strings.Builder
	for i, e := range entries {
		fmt.Fprintf(&export, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\nPRIORITY=6\nMESSAGE=entry %d\n",
			1_700_000_000_000_000-i*1_000_000, e.Micros, e.Boot, i)
		for f := range strings.FieldsSeq(e.Fields) {
			export.WriteString(f + "\n")
		}
		export.WriteString("\n")
	}
	dir := t.TempDir()
	cmd := exec.Command(remote, "-o", filepath.Join(dir, "system.journal"), "-")
	cmd.Stdin = strings.NewReader(export.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", remote, err, out)
	}
	return dir
}
