package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keepCorrupt is how many databases moved aside are kept, so that a dying disk is not
// filled with them.
const keepCorrupt = 3

const (
	salvageTime = 2 * time.Second  // bounds the attempt to read a corrupt database
	replaceTime = 15 * time.Second // bounds a replacement that nobody waits for any more
)

// replacement is a database being replaced. It lasts until the new one has taken over
// what was kept, however often the disk refuses.
type replacement struct {
	cause error
	moved string // new name of the old database; empty: not moved yet
	kept  salvaged
}

// replace moves the database aside because of cause, starts a new one, carries over
// what can still be read and records the fact. old is the open store, or nil. It runs
// under the write slot, or before anybody else knows of j, and goes on when the caller
// no longer waits.
func (j *Journal) replace(ctx context.Context, cause error, old *store) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replaceTime)
	defer cancel()
	r := &replacement{cause: cause}
	if old != nil {
		r.kept = salvage(ctx, old.writer) // a removed file is still open there
		old.close()
	}
	j.pending = r
	return j.finish(ctx)
}

// resume goes on with a replacement that was cut off when the old database had been moved
// aside and the new one, fresh, had not taken over yet what was kept. Without this a power
// cut in these milliseconds would make the agent forget an outage.
func (j *Journal) resume(ctx context.Context, moved string, fresh *store) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replaceTime)
	defer cancel()
	fresh.close()
	j.pending = &replacement{cause: errCutOff, moved: moved}
	return j.finish(ctx)
}

// finish goes on with the pending replacement from where it stands.
func (j *Journal) finish(ctx context.Context) error {
	r := j.pending
	if r.moved == "" {
		moved, err := moveAside(j.path, j.opts.Now())
		if err != nil {
			return fmt.Errorf("%w; move it aside: %w", r.cause, err)
		}
		r.moved = moved
	}
	if len(r.kept.states)+len(r.kept.durations) == 0 {
		src := openDB(r.moved, 1, "mode=ro")
		r.kept = salvage(ctx, src)
		src.Close()
	}
	st, err := openStore(ctx, j.path)
	if err != nil {
		return fmt.Errorf("%w; start a new one: %w", r.cause, err)
	}
	text := fmt.Sprintf("journal replaced: %v; old one is %s; kept %d states and %d durations",
		r.cause, filepath.Base(r.moved), len(r.kept.states), len(r.kept.durations))
	ev := j.recoveredEvent(text, r.moved)
	err = st.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return errors.Join(r.kept.insert(ctx, tx), j.insertEvent(ctx, tx, ev))
	})
	if err != nil {
		st.close()
		return fmt.Errorf("%w; start a new one: %w", r.cause, err)
	}
	j.store.Store(st)
	j.pending = nil
	j.recovered.Store(&text)
	j.opts.Log.Error("journal replaced", "cause", r.cause, "old", r.moved,
		"states", len(r.kept.states), "durations", len(r.kept.durations))
	return nil
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
	names := movedAside(path)
	for i := range len(names) - keepCorrupt {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			os.Remove(names[i] + suffix)
		}
	}
}

// movedAside are the databases moved aside, the oldest first.
func movedAside(path string) []string {
	names, _ := filepath.Glob(path + ".corrupt-*Z*")
	names = slices.DeleteFunc(names, func(n string) bool {
		return strings.HasSuffix(n, "-wal") || strings.HasSuffix(n, "-shm")
	})
	slices.Sort(names)
	return names
}

// lastMoved is the database moved aside last; empty: none was.
func lastMoved(path string) string {
	names := movedAside(path)
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
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
