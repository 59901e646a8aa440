package journal

import (
	"context"
	"database/sql"
	"fmt"
)

// migrations bring a database from user_version i to i+1. What has been released is
// never edited; a change is a new entry.
var migrations = []string{
	// 1: events, state and durations
	`CREATE TABLE events (
		id     INTEGER PRIMARY KEY AUTOINCREMENT,
		boot   TEXT NOT NULL,
		name   TEXT NOT NULL,
		device TEXT NOT NULL,
		drill  TEXT NOT NULL,
		at     INTEGER NOT NULL, -- ns on the agent's clock, within boot
		wall   INTEGER NOT NULL, -- ns since 1970, UTC
		text   TEXT NOT NULL,
		fields TEXT              -- JSON object, or NULL
	);
	CREATE INDEX events_wall ON events (wall);
	CREATE TABLE state (
		key   TEXT PRIMARY KEY,
		value BLOB NOT NULL,
		crc   INTEGER NOT NULL, -- CRC-32C of key, a zero byte, and value
		saved INTEGER NOT NULL
	) WITHOUT ROWID;
	CREATE TABLE durations (
		id       INTEGER PRIMARY KEY AUTOINCREMENT,
		step     TEXT NOT NULL,
		took     INTEGER NOT NULL, -- ns
		complete INTEGER NOT NULL,
		source   TEXT NOT NULL,
		wall     INTEGER NOT NULL
	);
	CREATE INDEX durations_step ON durations (step, id);`,

	// 2: samples of readings
	`CREATE TABLE samples (
		device TEXT NOT NULL,
		name   TEXT NOT NULL,
		wall   INTEGER NOT NULL,
		value  REAL NOT NULL,
		PRIMARY KEY (device, name, wall)
	) WITHOUT ROWID;
	CREATE INDEX samples_wall ON samples (wall);`,
}

func version(ctx context.Context, db *sql.DB) (int, error) {
	var v int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v); err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	if v > len(migrations) || v < 0 {
		return 0, fmt.Errorf("schema %d, this program knows up to %d: %w", v, len(migrations), ErrNewer)
	}
	return v, nil
}

// known refuses a schema other than the present one.
func known(ctx context.Context, db *sql.DB) error {
	v, err := version(ctx, db)
	if err == nil && v != len(migrations) {
		err = fmt.Errorf("schema %d, want %d: start the agent once to bring it up to date", v, len(migrations))
	}
	return err
}

// migrate brings the schema up to date, each step in a transaction of its own: a power
// cut leaves the old version or the new one.
func migrate(ctx context.Context, db *sql.DB) error {
	from, err := version(ctx, db)
	if err != nil {
		return err
	}
	for v := from; v < len(migrations); v++ {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("migrate to schema %d: %w", v+1, err)
		}
		_, err = tx.ExecContext(ctx, migrations[v]+fmt.Sprintf("PRAGMA user_version = %d;", v+1))
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			tx.Rollback()
			return fmt.Errorf("migrate to schema %d: %w", v+1, err)
		}
	}
	return nil
}
