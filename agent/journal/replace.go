package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// keepCorrupt is how many databases moved aside are kept, so that a dying disk is not
// filled with them.
const keepCorrupt = 3

// salvageTime bounds the attempt to read a corrupt database.
const salvageTime = 2 * time.Second

// replace moves the database aside because of cause, starts a new one, carries over
// what can still be read and records the fact. old is the open store, or nil. It runs
// under the write slot, or before anybody else knows of j.
func (j *Journal) replace(ctx context.Context, cause error, old *store) error {
	kept := salvaged{}
	if old != nil {
		kept = salvage(ctx, old.writer) // a removed file is still open there
		old.close()
	}
	moved, err := moveAside(j.path, j.opts.Now())
	if err != nil {
		return fmt.Errorf("%w; move it aside: %w", cause, err)
	}
	if old == nil {
		src := openDB(moved, 1, "mode=ro")
		kept = salvage(ctx, src)
		src.Close()
	}
	st, err := openStore(ctx, j.path)
	if err != nil {
		return fmt.Errorf("%w; start a new one: %w", cause, err)
	}
	j.store.Store(st)
	text := fmt.Sprintf("journal replaced: %v; moved to %s; kept %d states and %d durations",
		cause, filepath.Base(moved), len(kept.states), len(kept.durations))
	j.recovered.Store(&text)
	j.opts.Log.Error("journal replaced", "cause", cause, "moved_to", moved,
		"states", len(kept.states), "durations", len(kept.durations))
	ev := j.recoveredEvent(text, moved)
	return st.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(kept.insert(ctx, tx), j.insertEvent(ctx, tx, ev))
	})
}

// moveAside renames the database with its -wal and -shm, so that they still belong
// together, and returns the new name.
func moveAside(path string, now time.Time) (string, error) {
	base := path + ".corrupt-" + now.UTC().Format("20060102T150405Z")
	to := base
	for i := 1; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s.%d", base, i)
	}
	// The database goes last: a power cut in between leaves a database without its
	// WAL, which is found corrupt or merely older, never a WAL without its database.
	for _, suffix := range []string{"-shm", "-wal", ""} {
		if err := os.Rename(path+suffix, to+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	dropOldest(path)
	return to, syncDir(filepath.Dir(path))
}

func dropOldest(path string) {
	names, _ := filepath.Glob(path + ".corrupt-*Z*")
	names = slices.DeleteFunc(names, func(n string) bool {
		return len(n) > 4 && (n[len(n)-4:] == "-wal" || n[len(n)-4:] == "-shm")
	})
	slices.Sort(names)
	for i := range len(names) - keepCorrupt {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(names[i] + suffix)
		}
	}
}

// salvaged is what must not be lost if it can be helped: what decisions remember, and
// what drills have taught.
type salvaged struct {
	states    []stateRow
	durations []Duration
}

// salvage reads as far as it gets. States are checked one by one against their sums.
func salvage(ctx context.Context, db *sql.DB) salvaged {
	ctx, cancel := context.WithTimeout(ctx, salvageTime)
	defer cancel()
	var s salvaged
	rows, err := db.QueryContext(ctx, "SELECT key, value, crc, saved FROM state")
	for err == nil && rows.Next() {
		var r stateRow
		if err := rows.Scan(&r.key, &r.value, &r.crc, &r.saved); err == nil && r.intact() {
			s.states = append(s.states, r)
		}
	}
	closeRows(rows)
	rows, err = db.QueryContext(ctx, durationsQuery+" ORDER BY id")
	for err == nil && rows.Next() {
		if d, err := scanDuration(rows); err == nil && d.valid() == nil {
			s.durations = append(s.durations, d)
		}
	}
	closeRows(rows)
	return s
}

func closeRows(rows *sql.Rows) {
	if rows != nil {
		rows.Close()
	}
}

func (s salvaged) insert(ctx context.Context, tx *sql.Tx) error {
	for _, r := range s.states {
		if err := r.insert(ctx, tx); err != nil {
			return err
		}
	}
	for _, d := range s.durations {
		if err := d.insert(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}
