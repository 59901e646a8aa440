package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// pruneChunk is how many rows one transaction removes, so that pruning never keeps an
// event waiting for long; keepNewest is how many events stay whatever their age, so
// that a clock that jumps to another century does not empty the journal.
const (
	pruneChunk = 2000
	keepNewest = 1000
)

// Sample is one number a device reported, in the unit of its name.
type Sample struct {
	Device string    `json:"device"`
	Name   string    `json:"name"` // "battery.charge"
	Value  float64   `json:"value"`
	At     time.Time `json:"at"` // wall time
}

// SampleQuery selects samples. Zero fields select everything.
type SampleQuery struct {
	Device, Name string
	Since        time.Time // inclusive
	Until        time.Time // exclusive
	Limit        int       // at most so many, the oldest; 0: all
}

// AppendSamples stores samples; a second one of the same device, name and instant
// replaces the first. A value that is not finite is left out and reported, the others
// are stored all the same.
func (j *Journal) AppendSamples(ctx context.Context, samples ...Sample) error {
	if len(samples) == 0 {
		return nil
	}
	var bad []error
	err := j.write(ctx, "append samples", func(ctx context.Context, tx *sql.Tx) error {
		bad = nil // a retry starts over
		stmt, err := tx.PrepareContext(ctx, "INSERT OR REPLACE INTO samples (device, name, wall, value) VALUES (?, ?, ?, ?)")
		if err != nil {
			return err
		}
		defer stmt.Close()
		for _, s := range samples {
			if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
				bad = append(bad, fmt.Errorf("journal: sample %s of %s is %v: want a finite number", s.Name, s.Device, s.Value))
				continue
			}
			if _, err := stmt.ExecContext(ctx, s.Device, s.Name, unixNano(s.At), s.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(bad...)
}

// Samples returns what q selects, oldest first.
func (j *Journal) Samples(ctx context.Context, q SampleQuery) ([]Sample, error) {
	return read(ctx, j, "samples", func(db *sql.DB) ([]Sample, error) {
		var w where
		if q.Device != "" {
			w.add("device = ?", q.Device)
		}
		if q.Name != "" {
			w.add("name = ?", q.Name)
		}
		w.span(q.Since, q.Until)
		rows, err := db.QueryContext(ctx, "SELECT device, name, wall, value FROM samples"+w.clause()+
			" ORDER BY wall, device, name"+limit(q.Limit), w.args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var out []Sample
		for rows.Next() {
			var s Sample
			var wall int64
			if err := rows.Scan(&s.Device, &s.Name, &wall, &s.Value); err != nil {
				return nil, err
			}
			s.At = fromNano(wall)
			out = append(out, s)
		}
		return out, rows.Err()
	})
}

// Prune removes events and samples older than given by the wall clock; 0 or less keeps
// all of that kind. The newest 1000 events stay whatever their age. What one call removes
// of a kind lies within two days from the oldest on: a clock that is years ahead must not
// cost more than that before somebody has set it right.
func (j *Journal) Prune(ctx context.Context, keepEvents, keepSamples time.Duration) error {
	now := j.opts.Now()
	if keepEvents > 0 {
		before, err := j.pruneBefore(ctx, "SELECT min(wall) FROM events", now.Add(-keepEvents))
		if err != nil {
			return err
		}
		err = j.pruneChunks(ctx, `DELETE FROM events WHERE id IN (SELECT id FROM events
			WHERE wall < ?1 AND id <= (SELECT max(id) FROM events) - ?3 LIMIT ?2)`, before, keepNewest)
		if err != nil {
			return err
		}
	}
	if keepSamples <= 0 {
		return nil
	}
	before, err := j.pruneBefore(ctx, "SELECT min(wall) FROM samples", now.Add(-keepSamples))
	if err != nil {
		return err
	}
	return j.pruneChunks(ctx, `DELETE FROM samples WHERE (device, name, wall) IN
		(SELECT device, name, wall FROM samples WHERE wall < ?1 LIMIT ?2)`, before)
}

// pruneSpan is how much of the past one call of Prune removes at most.
const pruneSpan = 48 * time.Hour

// pruneBefore is before, or pruneSpan after the oldest record where that is earlier.
func (j *Journal) pruneBefore(ctx context.Context, oldest string, before time.Time) (time.Time, error) {
	first, err := read(ctx, j, "prune", func(db *sql.DB) (sql.NullInt64, error) {
		var wall sql.NullInt64
		err := db.QueryRowContext(ctx, oldest).Scan(&wall)
		return wall, err
	})
	if most := fromNano(first.Int64).Add(pruneSpan); err == nil && first.Valid && most.Before(before) {
		return most, nil
	}
	return before, err
}

func (j *Journal) pruneChunks(ctx context.Context, query string, before time.Time, more ...any) error {
	args := append([]any{unixNano(before), pruneChunk}, more...)
	for {
		var n int64
		err := j.write(ctx, "prune", func(ctx context.Context, tx *sql.Tx) error {
			res, err := tx.ExecContext(ctx, query, args...)
			if err == nil {
				n, err = res.RowsAffected()
			}
			return err
		})
		if err != nil || n < pruneChunk {
			return err
		}
	}
}
