package journal

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// fill writes enough that the database has several pages of everything.
func fill(t *testing.T, dir string) {
	t.Helper()
	j := open(t, dir)
	for i := range 40 {
		if err := j.Append(t.Context(), event(dodai.EventMainsLost, strings.Repeat("x", 200)+strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.SaveState(t.Context(), "no_return", []byte("passed")); err != nil {
		t.Fatal(err)
	}
	if err := j.RecordDuration(t.Context(), Duration{Step: "vms", Took: time.Minute, Complete: true, Source: SourceDrill}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptDatabase(t *testing.T) {
	garbage := []byte(strings.Repeat("\xa5garbage", 512)) // one page
	tests := map[string]struct {
		damage func(t *testing.T, path string)
		kept   bool // the state can still be read
	}{
		"no database at all": {func(t *testing.T, path string) {
			os.WriteFile(path, []byte("this is a text file, not a database\n"), 0o640)
		}, false},
		"header gone": {func(t *testing.T, path string) { overwrite(t, path, 0, garbage[:100]) }, false},
		"cut in half": {func(t *testing.T, path string) { os.Truncate(path, 3*4096) }, false},
		"a page of events overwritten": {func(t *testing.T, path string) {
			info, _ := os.Stat(path)
			overwrite(t, path, info.Size()-4096, garbage)
		}, true},
		"a table missing": {func(t *testing.T, path string) {
			db, _ := sql.Open("sqlite", path)
			defer db.Close()
			if _, err := db.Exec("DROP TABLE samples"); err != nil {
				t.Fatal(err)
			}
		}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			tt.damage(t, filepath.Join(dir, fileName))
			j := open(t, dir)
			if !strings.Contains(j.Recovered(), "journal.db.corrupt-") {
				t.Fatalf("Recovered = %q, want the new name of the old file", j.Recovered())
			}
			if moved, _ := filepath.Glob(filepath.Join(dir, "journal.db.corrupt-*")); len(moved) == 0 {
				t.Error("nothing was moved aside")
			}
			got, err := j.Events(t.Context(), Query{})
			if err != nil || len(got) != 1 || got[0].Name != dodai.EventJournalRecovered {
				t.Errorf("Events = %v, %v, want one journal_recovered", got, err)
			}
			v, _, err := j.LoadState(t.Context(), "no_return")
			if d, _ := j.Durations(t.Context(), "vms"); tt.kept && (string(v) != "passed" || len(d) != 1) {
				t.Errorf("state %q, %v, durations %v: want what could be read carried over", v, err, d)
			}
			if err := j.Append(t.Context(), event(dodai.EventMainsLost, "after")); err != nil {
				t.Error(err)
			}
			integrity(t, dir)
		})
	}
}

func TestCorruptWhileOpen(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	j := open(t, dir)
	path := filepath.Join(dir, fileName)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, 4096, []byte(strings.Repeat("\xa5", int(info.Size())-4096)))
	j.store.Load().discard(t.Context()) // its page cache would hide the damage
	if err := j.SaveState(t.Context(), "k", []byte("v")); err != nil {
		t.Fatalf("SaveState = %v, want a new database instead", err)
	}
	if !strings.Contains(j.Recovered(), "corrupt") {
		t.Errorf("Recovered = %q", j.Recovered())
	}
	if v, _, err := j.LoadState(t.Context(), "k"); string(v) != "v" {
		t.Errorf("LoadState = %q, %v, want v", v, err)
	}
	integrity(t, dir)
}

func TestRemovedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if err := j.SaveState(t.Context(), "no_return", []byte("passed")); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(filepath.Join(dir, fileName+suffix))
	}
	if err := j.Append(t.Context(), event(dodai.EventMainsLost, "x")); err != nil {
		t.Fatal(err)
	}
	j.Close()
	again := open(t, dir)
	if v, _, err := again.LoadState(t.Context(), "no_return"); string(v) != "passed" {
		t.Errorf("state after the file was removed = %q, %v, want it carried over", v, err)
	}
	if got, _ := again.Events(t.Context(), Query{Device: "x"}); len(got) != 1 {
		t.Error("an event acknowledged after the file was removed is gone")
	}
}

func TestCorruptFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	for range keepCorrupt + 3 {
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte("garbage that is no database"), 0o640); err != nil {
			t.Fatal(err)
		}
		j, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		j.Close()
	}
	if moved, _ := filepath.Glob(filepath.Join(dir, "*.corrupt-*")); len(moved) != keepCorrupt {
		t.Errorf("%d databases kept, want %d: %v", len(moved), keepCorrupt, moved)
	}
}

// A WAL cut anywhere, as a file system may leave it, costs at most what came after
// the cut, never the database.
func TestTruncatedWAL(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	for i := range 10 {
		if err := j.Append(t.Context(), event(dodai.EventMainsLost, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	db, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(j.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	previous := -1
	for _, cut := range []int{0, 1, 32, 4000, len(wal) / 3, len(wal) / 2, len(wal) - 4096, len(wal) - 1, len(wal)} {
		copied := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(copied, fileName), db, 0o640),
			os.WriteFile(filepath.Join(copied, fileName+"-wal"), wal[:cut], 0o640)); err != nil {
			t.Fatal(err)
		}
		k := open(t, copied)
		got, err := k.Events(t.Context(), Query{})
		if err != nil || k.Recovered() != "" || len(got) < previous {
			t.Errorf("cut at %d of %d: %d events, %v, recovered %q", cut, len(wal), len(got), err, k.Recovered())
		}
		for i, r := range got {
			if r.Device != strconv.Itoa(i) {
				t.Errorf("cut at %d: event %d is %q", cut, i, r.Device)
			}
		}
		previous = len(got)
	}
	if previous != 10 {
		t.Errorf("the whole WAL has %d events, want 10", previous)
	}
}

func TestOldSchemaIsMigrated(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(migrations[0] + `PRAGMA user_version = 1;
		INSERT INTO events (boot, name, device, drill, at, wall, text) VALUES ('b', 'mains_lost', 'u1', '', 5, 7, 'old');`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := OpenReader(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "schema 1") {
		t.Errorf("OpenReader of an old schema = %v, want an error that names it", err)
	}
	j := open(t, dir)
	got, err := j.Events(t.Context(), Query{})
	if err != nil || len(got) != 1 || got[0].Text != "old" || got[0].At != 5 || got[0].Wall.UnixNano() != 7 {
		t.Errorf("events of the old schema = %v, %v", got, err)
	}
	if err := j.AppendSamples(t.Context(), Sample{"u1", "ups.load", 20, time.Now()}); err != nil {
		t.Errorf("the new table: %v", err)
	}
}

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrNewer) {
		t.Errorf("Open = %v, want ErrNewer", err)
	}
	if moved, _ := filepath.Glob(filepath.Join(dir, "*.corrupt-*")); len(moved) != 0 {
		t.Errorf("moved aside: %v", moved)
	}
}
