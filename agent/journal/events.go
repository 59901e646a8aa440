package journal

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// Record is an event as it lies in the journal.
type Record struct {
	ID     int64  `json:"id"` // grows with each event, never used again
	BootID string `json:"boot_id"`
	dodai.Event
}

// Query selects events. Zero fields select everything.
type Query struct {
	Since   time.Time // wall time, inclusive
	Until   time.Time // wall time, exclusive
	Names   []dodai.EventName
	Device  string
	Drill   string // events of this drill
	Real    bool   // only events that belong to no drill
	AfterID int64  // only events recorded later than this one
	Limit   int    // at most so many; 0 or less: all
	Newest  bool   // newest first, so that Limit keeps the newest; otherwise oldest first
}

// Append records events, in order and together: when it returns nil all of them are on
// the disk, otherwise none is, except that with ctx ended the outcome is not known. An
// event without wall time gets the present one. Fields that JSON cannot hold are
// recorded as text.
func (j *Journal) Append(ctx context.Context, events ...dodai.Event) error {
	if len(events) == 0 {
		return nil
	}
	return j.write(ctx, "append", func(ctx context.Context, tx *sql.Tx) error {
		for _, e := range events {
			if err := j.insertEvent(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

const insertEventSQL = `INSERT INTO events (boot, name, device, drill, at, wall, text, fields) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

func (j *Journal) insertEvent(ctx context.Context, tx *sql.Tx, e dodai.Event) error {
	wall := e.Wall
	if wall.IsZero() {
		wall = j.opts.Now()
	}
	_, err := tx.ExecContext(ctx, insertEventSQL, j.opts.BootID, string(e.Name), e.Device, e.Drill,
		int64(e.At), unixNano(wall), e.Text, encodeFields(e.Fields))
	return err
}

// encodeFields returns a JSON object, or nil for none. It never fails: an event is
// worth more than the exact form of one of its facts.
func encodeFields(fields map[string]any) any {
	if len(fields) == 0 {
		return nil
	}
	b, err := json.Marshal(fields)
	if err == nil {
		return string(b)
	}
	safe := make(map[string]any, len(fields))
	for k, v := range fields {
		if _, err := json.Marshal(v); err != nil {
			v = fmt.Sprint(v)
		}
		safe[k] = v
	}
	b, _ = json.Marshal(safe)
	return string(b)
}

// Events returns what q selects. Numbers in Fields come back as float64, wall times in
// UTC.
func (j *Journal) Events(ctx context.Context, q Query) ([]Record, error) {
	return read(ctx, j, "events", func(db *sql.DB) ([]Record, error) {
		query, args := q.sql()
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var out []Record
		for rows.Next() {
			r, err := scanRecord(rows)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		return out, rows.Err()
	})
}

func scanRecord(rows *sql.Rows) (Record, error) {
	var r Record
	var at, wall int64
	var fields sql.NullString
	if err := rows.Scan(&r.ID, &r.BootID, &r.Name, &r.Device, &r.Drill, &at, &wall, &r.Text, &fields); err != nil {
		return Record{}, err
	}
	r.At, r.Wall = time.Duration(at), fromNano(wall)
	if fields.Valid {
		if err := json.Unmarshal([]byte(fields.String), &r.Fields); err != nil {
			return Record{}, fmt.Errorf("%w: fields of event %d: %w", ErrCorrupt, r.ID, err)
		}
	}
	return r, nil
}

func (q Query) sql() (string, []any) {
	var w where
	w.span(q.Since, q.Until)
	if len(q.Names) > 0 {
		names := make([]any, len(q.Names))
		for i, n := range q.Names {
			names[i] = string(n)
		}
		w.add("name IN (?"+strings.Repeat(", ?", len(names)-1)+")", names...)
	}
	if q.Device != "" {
		w.add("device = ?", q.Device)
	}
	if q.Drill != "" {
		w.add("drill = ?", q.Drill)
	}
	if q.Real {
		w.add("drill = ''")
	}
	if q.AfterID > 0 {
		w.add("id > ?", q.AfterID)
	}
	order := " ORDER BY id"
	if q.Newest {
		order += " DESC"
	}
	return "SELECT id, boot, name, device, drill, at, wall, text, fields FROM events" + w.clause() + order + limit(q.Limit), w.args
}

// where collects conditions that must all hold.
type where struct {
	conds []string
	args  []any
}

func (w *where) add(cond string, args ...any) {
	w.conds = append(w.conds, cond)
	w.args = append(w.args, args...)
}

func (w *where) span(since, until time.Time) {
	if !since.IsZero() {
		w.add("wall >= ?", unixNano(since))
	}
	if !until.IsZero() {
		w.add("wall < ?", unixNano(until))
	}
}

func (w *where) clause() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

func limit(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" LIMIT %d", n)
}

// The instants that nanoseconds since 1970 can hold: 1677 to 2262. A broken clock may
// claim any other.
var minNano, maxNano = time.Unix(0, math.MinInt64), time.Unix(0, math.MaxInt64)

func unixNano(t time.Time) int64 {
	switch {
	case t.Before(minNano):
		return math.MinInt64
	case t.After(maxNano):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromNano(ns int64) time.Time { return time.Unix(0, ns).UTC() }
