package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Where a duration was measured.
const (
	SourceOutage = "outage"
	SourceDrill  = "drill"
)

// keepDurations is how many runs of one step are kept.
const keepDurations = 200

// Duration is how long one shutdown step took once.
type Duration struct {
	Step     string        `json:"step"`
	Took     time.Duration `json:"took"`
	Complete bool          `json:"complete"` // false: it failed or was cut off, so Took says less
	Source   string        `json:"source"`   // SourceOutage or SourceDrill
	At       time.Time     `json:"at"`       // wall time at its end; zero when recorded: now
}

func (d Duration) valid() error {
	switch {
	case d.Step == "":
		return errors.New("duration without a step")
	case d.Took < 0:
		return fmt.Errorf("step %s took %v: want 0 or more", d.Step, d.Took)
	case d.Source != SourceOutage && d.Source != SourceDrill:
		return fmt.Errorf("step %s: source %q: want %s or %s", d.Step, d.Source, SourceOutage, SourceDrill)
	}
	return nil
}

// RecordDuration stores d, durable on return. The newest 200 of each step are kept.
func (j *Journal) RecordDuration(ctx context.Context, d Duration) error {
	if err := d.valid(); err != nil {
		return wrap("record duration", err)
	}
	if d.At.IsZero() {
		d.At = j.opts.Now()
	}
	return j.write(ctx, "record duration", d.insert)
}

// RecordDurationOnce stores d, and mark under key as SaveState does: both are on the disk
// when it returns nil, and neither without the other. So who finds its mark there knows
// that d has been recorded.
func (j *Journal) RecordDurationOnce(ctx context.Context, d Duration, key string, mark []byte) error {
	if err := d.valid(); err != nil {
		return wrap("record duration", err)
	}
	if d.At.IsZero() {
		d.At = j.opts.Now()
	}
	row := stateRow{key: key, value: mark, crc: sum(key, mark), saved: unixNano(j.opts.Now())}
	return j.write(ctx, "record duration", func(ctx context.Context, tx *sql.Tx) error {
		if err := d.insert(ctx, tx); err != nil {
			return err
		}
		return row.insert(ctx, tx)
	})
}

func (d Duration) insert(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO durations (step, took, complete, source, wall) VALUES (?, ?, ?, ?, ?)",
		d.Step, int64(d.Took), d.Complete, d.Source, unixNano(d.At))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM durations WHERE step = ?1 AND id <= (
		SELECT id FROM durations WHERE step = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`, d.Step, keepDurations)
	return err
}

const durationsQuery = "SELECT step, took, complete, source, wall FROM durations"

// Durations returns the recorded runs of step, or of every step when it is empty,
// oldest first.
func (j *Journal) Durations(ctx context.Context, step string) ([]Duration, error) {
	return read(ctx, j, "durations", func(db *sql.DB) ([]Duration, error) {
		var w where
		if step != "" {
			w.add("step = ?", step)
		}
		rows, err := db.QueryContext(ctx, durationsQuery+w.clause()+" ORDER BY id", w.args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var out []Duration
		for rows.Next() {
			d, err := scanDuration(rows)
			if err != nil {
				return nil, err
			}
			out = append(out, d)
		}
		return out, rows.Err()
	})
}

func scanDuration(rows *sql.Rows) (Duration, error) {
	var d Duration
	var took, wall int64
	if err := rows.Scan(&d.Step, &took, &d.Complete, &d.Source, &wall); err != nil {
		return Duration{}, err
	}
	d.Took, d.At = time.Duration(took), fromNano(wall)
	return d, nil
}
