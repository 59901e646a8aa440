package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dodai-agent/dodai"
)

// What a caller may branch on with errors.Is.
var (
	ErrNotFound = errors.New("not found")                         // no state of that key was saved
	ErrLocked   = errors.New("held by another process")           // see LockedError
	ErrNewer    = errors.New("written by a newer version")        // the schema is not known here; nothing was touched
	ErrCorrupt  = errors.New("corrupt")                           // what was stored cannot be what was saved
	ErrClosed   = errors.New("journal is closed")                 // Close was called
	ErrReadOnly = errors.New("journal was opened for reading")    // a write through OpenReader
	errVanished = errors.New("database file removed or replaced") // under our feet
	errCutOff   = errors.New("a replacement was cut off")         // by a power cut or a kill
)

const fileName = "journal.db"

// closeWait bounds how long Close waits for a write that hangs.
const closeWait = time.Second

// Options are what Open may be told. The zero value is right for the agent.
type Options struct {
	// BootID marks the boot in which events happen; empty: the kernel's.
	BootID string
	// Now is the wall clock, for the names of files moved aside and for events that
	// come without a wall time; nil: time.Now.
	Now func() time.Time
	// Log gets a line when a corrupt database was replaced; nil: none.
	Log *slog.Logger
}

// Journal is an open journal. All methods may be called at once from any goroutine;
// writes are done one after the other in the order of the calls.
type Journal struct {
	path string
	opts Options
	lock *os.File // nil in a reader

	store     atomic.Pointer[store]
	slot      chan struct{} // held by the one write in progress
	closed    atomic.Bool
	recovered atomic.Pointer[string]
	pending   *replacement // not finished, because the disk refused; under slot
}

// Open opens the journal in dir and creates both where they do not exist, the
// directory with mode 0750 and the file with 0640. While another process has it open
// the error is a *LockedError. A corrupt database is moved aside and replaced; Recovered
// tells, and so does an event.
func Open(ctx context.Context, dir string, opts Options) (*Journal, error) {
	j := newJournal(dir, opts)
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var err error
	if j.lock, err = lockFile(filepath.Join(dir, "journal.lock")); err != nil {
		return nil, fmt.Errorf("journal %s: %w", dir, err)
	}
	if err := j.openOrReplace(ctx); err != nil {
		j.lock.Close()
		return nil, fmt.Errorf("journal %s: %w", j.path, err)
	}
	return j, nil
}

// OpenReader opens an existing journal for reading, also while the agent holds it.
// Writes fail with ErrReadOnly. The error wraps os.ErrNotExist when there is none.
func OpenReader(ctx context.Context, dir string) (*Journal, error) {
	j := newJournal(dir, Options{})
	if _, err := os.Stat(j.path); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	st, err := await(ctx, func() (*store, error) { return openReadStore(ctx, j.path) })
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", j.path, err)
	}
	j.store.Store(st)
	return j, nil
}

func newJournal(dir string, opts Options) *Journal {
	if opts.BootID == "" {
		opts.BootID = kernelBootID()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Journal{path: filepath.Join(dir, fileName), opts: opts, slot: make(chan struct{}, 1)}
}

func kernelBootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(id))
}

// BootID is the boot that events are recorded under.
func (j *Journal) BootID() string { return j.opts.BootID }

// Recovered says in one sentence what was found wrong with the database and where it
// was put; empty when it was in order.
func (j *Journal) Recovered() string {
	if s := j.recovered.Load(); s != nil {
		return *s
	}
	return ""
}

// Close waits up to a second for the write in progress, closes the database and lets
// go of the lock. Calls after it fail with ErrClosed. Closing twice is harmless.
func (j *Journal) Close() error {
	if j.closed.Swap(true) {
		return nil
	}
	if j.lock != nil {
		defer j.lock.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	if err := j.acquire(ctx); err != nil {
		return fmt.Errorf("journal: close: a write still hangs: %w", err)
	}
	_, err := await(ctx, func() (struct{}, error) { return struct{}{}, j.store.Load().close() })
	return wrap("close", err)
}

func (j *Journal) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	select {
	case j.slot <- struct{}{}: // waiting senders are served in order
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write runs fn in one transaction, which is durable when write returns nil. When ctx
// ends first, write returns at once, even if the disk hangs; the transaction is then
// rolled back as soon as the disk answers, unless it was just being committed.
func (j *Journal) write(ctx context.Context, op string, fn func(context.Context, *sql.Tx) error) error {
	switch {
	case j.closed.Load():
		return wrap(op, ErrClosed)
	case j.lock == nil:
		return wrap(op, ErrReadOnly)
	}
	if err := j.acquire(ctx); err != nil {
		return wrap(op, err)
	}
	_, err := await(ctx, func() (struct{}, error) {
		defer func() { <-j.slot }()
		return struct{}{}, j.transact(ctx, fn)
	})
	return wrap(op, err)
}

// transact runs under the slot.
func (j *Journal) transact(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	if j.pending != nil {
		if err := j.finish(ctx); err != nil {
			return err
		}
	}
	st := j.store.Load()
	err := st.inPlace(j.path)
	if err == nil {
		if err = st.transact(ctx, fn); err == nil {
			return nil
		}
		st.discard(ctx)
		if ctx.Err() != nil {
			return err
		}
	}
	if !isCorrupt(err) && !errors.Is(err, errVanished) {
		return err
	}
	if err := j.replace(ctx, err, st); err != nil {
		return err
	}
	return j.store.Load().transact(ctx, fn)
}

// read runs fn with the pool of readers, which never waits for a write.
func read[T any](ctx context.Context, j *Journal, op string, fn func(*sql.DB) (T, error)) (T, error) {
	if j.closed.Load() {
		var zero T
		return zero, wrap(op, ErrClosed)
	}
	v, err := await(ctx, func() (T, error) { return fn(j.store.Load().readers) })
	return v, wrap(op, err)
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("journal: %s: %w", op, err)
}

// await runs fn and waits for it until ctx ends; fn itself then ends when it can.
func await[T any](ctx context.Context, fn func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := fn()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done: // both at once: what is known beats what is not
		return r.v, r.err
	default:
		var zero T
		return zero, context.Cause(ctx)
	}
}

// openOrReplace opens the database, and starts a new one when it is corrupt. Where that was
// begun before and cut off, it is gone on with.
func (j *Journal) openOrReplace(ctx context.Context) error {
	st, err := await(ctx, func() (*store, error) { return openStore(ctx, j.path) })
	if err == nil {
		moved := lastMoved(j.path)
		if moved == "" || !st.untouched(ctx) {
			j.store.Store(st)
			return nil
		}
		_, err = await(ctx, func() (struct{}, error) { return struct{}{}, j.resume(ctx, moved, st) })
		return err
	}
	if !isCorrupt(err) {
		return err
	}
	_, err = await(ctx, func() (struct{}, error) { return struct{}{}, j.replace(ctx, err, nil) })
	return err
}

// recoveredEvent is what the new journal begins with.
func (j *Journal) recoveredEvent(text, moved string) dodai.Event {
	return dodai.Event{
		Name: dodai.EventJournalRecovered, Device: "journal", At: bootTime(), Wall: j.opts.Now(),
		Text: text, Fields: map[string]any{"moved_to": moved},
	}
}
