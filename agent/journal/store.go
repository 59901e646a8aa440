package journal

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// checkTime bounds the look at the whole database when it is opened.
const checkTime = 5 * time.Second

// store is one database file: a writing connection and a few reading ones.
type store struct {
	writer  *sql.DB // nil in a reader; one connection, replaced after each failure
	readers *sql.DB
	file    os.FileInfo // the file as it was opened
}

// openStore opens or creates the database at path, checks it and brings its schema up
// to date. For a database that cannot be used isCorrupt is true of the error.
func openStore(ctx context.Context, path string) (*store, error) {
	if err := createFile(path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	st := &store{file: info}
	st.writer = openDB(path, 1, "mode=rw", "_txlock=immediate", "_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)",
		"_pragma=busy_timeout(2000)")
	st.readers = openDB(path, 4, "mode=rw", "_pragma=query_only(1)", "_pragma=busy_timeout(2000)")
	for _, step := range []func(context.Context, *sql.DB) error{check, migrate, probe} {
		if err := step(ctx, st.writer); err != nil {
			st.close()
			return nil, err
		}
	}
	return st, syncDir(filepath.Dir(path))
}

// openReadStore opens the database at path without ever changing it.
func openReadStore(ctx context.Context, path string) (*store, error) {
	st := &store{readers: openDB(path, 2, "mode=ro", "_pragma=query_only(1)", "_pragma=busy_timeout(2000)")}
	err := known(ctx, st.readers)
	if err == nil {
		err = probe(ctx, st.readers)
	}
	if err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

func openDB(path string, conns int, params ...string) *sql.DB {
	u := url.URL{Scheme: "file", Path: path}
	if !filepath.IsAbs(path) {
		u = url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	}
	db, err := sql.Open("sqlite", u.String()+"?"+strings.Join(params, "&"))
	if err != nil {
		panic(err) // the driver is not registered: impossible
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db
}

// createFile makes an empty database with mode 0640; SQLite gives -wal and -shm the same.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chmod(0o640) // whatever the umask
}

// check looks at every page. A database too large to check in time is taken as it is.
func check(ctx context.Context, db *sql.DB) error {
	limited, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var verdict string
	err := db.QueryRowContext(limited, "PRAGMA quick_check(1)").Scan(&verdict)
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return nil
	case err != nil:
		return fmt.Errorf("check: %w", err)
	case verdict != "ok":
		return fmt.Errorf("check: %w: %s", ErrCorrupt, verdict)
	}
	return nil
}

// probe makes sure that every table is there with its columns.
func probe(ctx context.Context, db *sql.DB) error {
	for _, q := range []string{
		"SELECT id, boot, name, device, drill, at, wall, text, fields FROM events LIMIT 1",
		"SELECT key, value, crc, saved FROM state LIMIT 1",
		"SELECT id, step, took, complete, source, wall FROM durations LIMIT 1",
		"SELECT device, name, wall, value FROM samples LIMIT 1",
	} {
		rows, err := db.QueryContext(ctx, q)
		if err == nil {
			err = rows.Close()
		}
		if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code() == sqlite3.SQLITE_ERROR {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// untouched reports whether nothing was ever written to the database, not even that it takes
// the place of another.
func (st *store) untouched(ctx context.Context) bool {
	var rows int
	err := st.writer.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM sqlite_sequence) + (SELECT count(*) FROM state)").Scan(&rows)
	return err == nil && rows == 0
}

// transact runs fn in one transaction and commits it.
func (st *store) transact(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	tx, err := st.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(ctx, tx); err != nil {
		tx.Rollback()
		return err
	}
	return tx.Commit()
}

// discard throws the writing connection away: after a failed commit nobody can say
// what state it is in, and a transaction left open would block every later one.
func (st *store) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	conn, err := st.writer.Conn(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Raw(func(any) error { return driver.ErrBadConn })
}

// inPlace reports errVanished when path is no longer the file that is open: what is
// written into a deleted file is gone with the process.
func (st *store) inPlace(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && !os.SameFile(info, st.file):
		return errVanished
	default:
		return nil
	}
}

func (st *store) close() error {
	err := st.readers.Close()
	if st.writer != nil { // last: it folds the WAL into the database
		err = errors.Join(err, st.writer.Close())
	}
	return err
}

func isCorrupt(err error) bool {
	if errors.Is(err, ErrCorrupt) {
		return true
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}
