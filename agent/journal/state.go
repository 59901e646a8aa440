package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stateRow is one saved state. Its sum tells a value that was saved from one that a
// corrupt database made up.
type stateRow struct {
	key   string
	value []byte
	crc   int64
	saved int64
}

func sum(key string, value []byte) int64 {
	crc := crc32.Update(0, castagnoli, []byte(key+"\x00"))
	return int64(crc32.Update(crc, castagnoli, value))
}

func (r stateRow) intact() bool { return r.crc == sum(r.key, r.value) }

func (r stateRow) insert(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO state (key, value, crc, saved) VALUES (?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value, crc = excluded.crc, saved = excluded.saved`,
		r.key, r.value, r.crc, r.saved)
	return err
}

// SaveState stores v under key in place of what was there; it is on the disk when
// SaveState returns nil. Meant for a few small values.
func (j *Journal) SaveState(ctx context.Context, key string, v []byte) error {
	return j.write(ctx, "save state "+key, j.stateRow(key, v).insert)
}

func (j *Journal) stateRow(key string, v []byte) stateRow {
	if v == nil {
		v = []byte{}
	}
	return stateRow{key: key, value: v, crc: sum(key, v), saved: unixNano(j.opts.Now())}
}

// SaveStateIf is SaveState for who may have written something newer by the time of its turn:
// wanted is asked then, and where it says no nothing is written, which is no error. It must
// not use the journal.
func (j *Journal) SaveStateIf(ctx context.Context, key string, v []byte, wanted func() bool) error {
	row := j.stateRow(key, v)
	return j.write(ctx, "save state "+key, func(ctx context.Context, tx *sql.Tx) error {
		if !wanted() {
			return nil
		}
		return row.insert(ctx, tx)
	})
}

// LoadState returns what was saved last under key, and when by the wall clock. The
// error wraps ErrNotFound when nothing was, ErrCorrupt when it is not what was saved.
func (j *Journal) LoadState(ctx context.Context, key string) (value []byte, saved time.Time, err error) {
	r, err := read(ctx, j, "load state "+key, func(db *sql.DB) (stateRow, error) {
		r := stateRow{key: key}
		err := db.QueryRowContext(ctx, "SELECT value, crc, saved FROM state WHERE key = ?", key).Scan(&r.value, &r.crc, &r.saved)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return r, ErrNotFound
		case err == nil && !r.intact():
			return r, fmt.Errorf("%w: %d bytes do not match their sum", ErrCorrupt, len(r.value))
		}
		return r, err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return r.value, fromNano(r.saved), nil
}

// DeleteState forgets key; it is no error when there is none.
func (j *Journal) DeleteState(ctx context.Context, key string) error {
	return j.write(ctx, "delete state "+key, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM state WHERE key = ?", key)
		return err
	})
}
