package agent

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

func openTestStore(t *testing.T, dir string) *store {
	t.Helper()
	s, err := openStore(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

func flushed(t *testing.T, s *store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	s.flush(ctx)
}

// TestImpossibleDurations: what no step can have taken does not make the need small, or so
// large that the sum turns negative.
func TestImpossibleDurations(t *testing.T) {
	site := newSite(t)
	s := openTestStore(t, site.file("state"))
	s.measured(shutdown.Progress{Step: "one", Phase: shutdown.PhaseDone, Took: 3 * time.Second}, time.Now())
	flushed(t, s)
	db, err := sql.Open("sqlite", "file:"+site.file("state/journal.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, took := range []int64{math.MinInt64, -1, 0, int64(25 * time.Hour), math.MaxInt64} {
		if _, err := db.Exec("INSERT INTO durations (step, took, complete, source, wall) VALUES ('one', ?, 1, 'outage', 1)", took); err != nil {
			t.Fatal(err)
		}
	}
	s.loadDurations(t.Context(), []string{"one"})
	if runs := s.durations("one"); len(runs) != 1 || runs[0].Took != 3*time.Second {
		t.Errorf("runs %+v, want the one of 3 s", runs)
	}
}

func TestStoreKeepsTheLatestOfEachState(t *testing.T) {
	dir := newSite(t).file("state")
	s := openTestStore(t, dir)
	for range 100 {
		s.save("policy", []byte("old"))
	}
	s.save("policy", []byte("new"))
	s.save("early", []byte("{}"))
	if err := s.saveNow(t.Context(), "shutdown", []byte("down")); err != nil {
		t.Fatal(err)
	}
	s.event(dodai.Event{Name: dodai.EventMainsLost, Device: "u1"})
	s.event(dodai.Event{Name: dodai.EventMainsRestored, Device: "u1"})
	s.measured(shutdown.Progress{Step: "one", Phase: shutdown.PhaseDone, Took: time.Second}, time.Now())
	s.measured(shutdown.Progress{Step: "one", Phase: shutdown.PhaseFailed, Took: 2 * time.Second, Drill: "d"}, time.Now())
	flushed(t, s)
	s.close()

	s = openTestStore(t, dir)
	for key, want := range map[string]string{"policy": "new", "early": "{}", "shutdown": "down", "never": ""} {
		if got := string(s.load(t.Context(), key)); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	events, err := s.events(t.Context(), 1)
	if err != nil || len(events) != 1 || events[0].Name != dodai.EventMainsRestored {
		t.Errorf("the newest event is %v, %v; want mains_restored", events, err)
	}
	if events, err = s.events(t.Context(), 10); err != nil || len(events) != 2 || events[0].Name != dodai.EventMainsLost {
		t.Errorf("events %v, %v; want mains_lost first", events, err)
	}
	s.loadDurations(t.Context(), []string{"one", "unknown"})
	if runs := s.durations("one"); len(runs) != 2 || !runs[0].Complete || runs[1].Complete || runs[1].Took != 2*time.Second {
		t.Errorf("runs of step one: %+v, want a complete one of 1 s and one cut off at 2 s", runs)
	}
	if s.health() != "ok" || !s.works() {
		t.Errorf("health %q", s.health())
	}
}

// What was put back because the disk refused it never replaces what came later.
func TestStorePutBack(t *testing.T) {
	s := &store{pending: map[string]version{}, latest: map[string]uint64{"a": 3, "b": 1, "c": 2}}
	s.pending["c"] = version{2, []byte("newer")}
	s.took = []journal.Duration{{Step: "later"}}
	s.putBack(map[string]version{
		"a": {2, []byte("older, and a newer one was written")}, "b": {1, []byte("latest")}, "c": {1, []byte("older")},
	}, []journal.Duration{{Step: "earlier"}})
	if _, back := s.pending["a"]; back {
		t.Error("an old state would be written over a newer one")
	}
	if got := string(s.pending["b"].data); got != "latest" {
		t.Errorf("b is pending as %q, want it put back", got)
	}
	if got := string(s.pending["c"].data); got != "newer" {
		t.Errorf("c is pending as %q, want the newer one", got)
	}
	if len(s.took) != 2 || s.took[0].Step != "earlier" {
		t.Errorf("durations %+v, want them in their order", s.took)
	}
}

// A state that was to be written some time is not written over one that was waited for, however
// the two came to the disk.
func TestStoreKeepsTheOrderOfOneState(t *testing.T) {
	site := newSite(t)
	s := openTestStore(t, site.file("state"))
	for round := range 10 { // the pending ones are written in any order
		release := site.blockJournal()
		s.save("shutdown", []byte("older"))
		for i := range 10 {
			s.save(strconv.Itoa(i), []byte("other"))
		}
		eventually(t, "the pending states to be on their way", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.pending) == 0
		})
		saved := make(chan error)
		go func() { saved <- s.saveNow(t.Context(), "shutdown", []byte("newer")) }()
		eventually(t, "the newer one to be on its way", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.latest["shutdown"] == uint64(2*round+2)
		})
		release()
		if err := <-saved; err != nil {
			t.Fatal(err)
		}
		if err := s.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := string(s.load(t.Context(), "shutdown")); got != "newer" {
			t.Fatalf("round %d: the journal has the %s state, want the newer", round, got)
		}
	}
}

// A disk that hangs costs saveNow its context, and what was given is written later.
func TestStoreHangingDisk(t *testing.T) {
	site := newSite(t)
	s := openTestStore(t, site.file("state"))
	release := site.blockJournal()
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := s.saveNow(ctx, "shutdown", []byte("first"))
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 500*time.Millisecond {
		t.Errorf("saveNow = %v after %v, want the deadline after 0.1 s", err, took)
	}
	if s.works() || s.health() == "ok" {
		t.Error("the journal is said to work")
	}
	began = time.Now()
	for range 1000 {
		s.save("policy", []byte("memory"))
		s.save("shutdown", []byte("second"))
		s.event(dodai.Event{Name: dodai.EventMainsLost})
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("1000 saves took %v beside a hanging disk, want them not to wait", took)
	}
	release()
	eventually(t, "the states to be written", func() bool {
		return string(s.load(t.Context(), "shutdown")) == "second" && string(s.load(t.Context(), "policy")) == "memory"
	})
	eventually(t, "the journal to be well again", s.works)
}

// Two agents on one state would both shut the machine down.
func TestStoreIsHeldByOneAgent(t *testing.T) {
	site := newSite(t)
	openTestStore(t, site.file("state"))
	if _, err := openStore(t.Context(), site.file("state"), slog.New(slog.DiscardHandler)); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a second agent gets %v, want journal.ErrLocked", err)
	}
	if _, err := New(t.Context(), site.options(plain)); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("New = %v, want journal.ErrLocked", err)
	}
}

// Without a journal everything goes on, and says so.
func TestStoreWithoutAJournal(t *testing.T) {
	site := newSite(t)
	if err := os.WriteFile(site.file("state"), []byte("no folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openTestStore(t, filepath.Join(site.file("state"), "below"))
	s.event(dodai.Event{Name: dodai.EventMainsLost})
	s.save("policy", []byte("x"))
	s.measured(shutdown.Progress{Step: "one", Phase: shutdown.PhaseDone, Took: time.Second}, time.Now())
	if err := s.saveNow(t.Context(), "shutdown", nil); err == nil {
		t.Error("saveNow without a journal succeeded")
	}
	if err := s.sync(t.Context()); err != nil {
		t.Errorf("sync = %v, want nothing to wait for", err)
	}
	if s.load(t.Context(), "policy") != nil || len(s.durations("one")) != 1 {
		t.Errorf("durations %v, want what was measured in this run", s.durations("one"))
	}
	if _, err := s.events(t.Context(), 10); err == nil || !strings.Contains(err.Error(), "no journal") {
		t.Errorf("events = %v, want an error that says why there are none", err)
	}
	if s.works() || s.health() == "ok" {
		t.Errorf("health is %q, want what is wrong", s.health())
	}
	s.loadDurations(t.Context(), []string{"one"})
	flushed(t, s)
}

// blockJournal holds the database's write lock, as a disk that hangs would: writes wait.
func (s *site) blockJournal() (release func()) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.file("state/journal.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := db.Conn(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := conn.ExecContext(context.Background(), "BEGIN IMMEDIATE"); err != nil {
		s.t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := errors.Join(conn.Close(), db.Close()); err != nil {
			s.t.Error(err)
		}
	})
}
