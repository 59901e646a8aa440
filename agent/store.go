package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// store is the journal as the agent uses it: nothing waits for it but the way down,
// and where it cannot be opened the agent goes on without, loudly.
type store struct {
	log     *slog.Logger
	journal *journal.Journal // nil: there is none
	writer  *journal.Writer  // nil with journal
	openErr error

	mu      sync.Mutex
	pending map[string][]byte // states to be written, the latest of each
	runs    map[string][]shutdown.Measured
	lastErr error
	wake    chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

// openStore opens the journal below dir. That another agent holds it is an error: two
// agents on one state would both shut the machine down and neither know. Anything else
// is logged, and the agent works without a journal.
func openStore(ctx context.Context, dir string, log *slog.Logger) (*store, error) {
	s := &store{
		log: log, pending: map[string][]byte{}, runs: map[string][]shutdown.Measured{},
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	j, err := journal.Open(ctx, dir, journal.Options{Log: log})
	if errors.Is(err, journal.ErrLocked) {
		return nil, err
	}
	if err != nil {
		log.Error("no journal: a restart of the agent will forget the outage", "dir", dir, "err", err)
		s.openErr = err
		close(s.done)
		return s, nil
	}
	s.journal, s.writer = j, journal.NewWriter(j, log)
	ctx, s.stop = context.WithCancel(context.Background())
	go s.saveStates(ctx)
	return s, nil
}

func (s *store) event(ev dodai.Event) {
	if s.writer != nil {
		s.writer.Enqueue(ev)
	}
}

// save hands a state over for writing and does not wait.
func (s *store) save(key string, data []byte) {
	if s.writer == nil {
		return
	}
	s.mu.Lock()
	s.pending[key] = data
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// saveStates writes what save was given, the latest of each key, until ctx ends.
func (s *store) saveStates(ctx context.Context) {
	defer close(s.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		if err := s.savePending(ctx); err != nil {
			s.log.Error("state not written, it will be tried again", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
				s.rewake()
			}
		}
	}
}

func (s *store) rewake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *store) savePending(ctx context.Context) error {
	s.mu.Lock()
	batch := s.pending
	s.pending = map[string][]byte{}
	s.mu.Unlock()
	for key, data := range batch {
		write, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := s.writer.SaveStateNow(write, key, data)
		cancel()
		s.note(err)
		if err != nil {
			s.putBack(batch)
			return fmt.Errorf("state %s: %w", key, err)
		}
		delete(batch, key)
	}
	return nil
}

// putBack keeps what could not be written, unless something newer has come.
func (s *store) putBack(batch map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, data := range batch {
		if _, newer := s.pending[key]; !newer {
			s.pending[key] = data
		}
	}
}

func (s *store) note(err error) {
	s.mu.Lock()
	s.lastErr = err
	s.mu.Unlock()
}

// saveNow waits until data is on the disk or ctx ends.
func (s *store) saveNow(ctx context.Context, key string, data []byte) error {
	if s.writer == nil {
		return errors.New("there is no journal")
	}
	err := s.writer.SaveStateNow(ctx, key, data)
	s.note(err)
	return err
}

// load returns what was saved under key, nil when there is nothing.
func (s *store) load(ctx context.Context, key string) []byte {
	if s.journal == nil {
		return nil
	}
	data, _, err := s.journal.LoadState(ctx, key)
	if err != nil && !errors.Is(err, journal.ErrNotFound) {
		s.log.Error("the journal cannot be read", "key", key, "err", err)
	}
	return data
}

// loadDurations reads what was measured of the steps called names.
func (s *store) loadDurations(ctx context.Context, names []string) {
	if s.journal == nil {
		return
	}
	for _, name := range names {
		list, err := s.journal.Durations(ctx, name)
		if err != nil {
			s.log.Error("measured durations cannot be read", "step", name, "err", err)
			continue
		}
		runs := make([]shutdown.Measured, len(list))
		for i, d := range list {
			runs[i] = shutdown.Measured{Took: d.Took, Complete: d.Complete}
		}
		s.mu.Lock()
		s.runs[name] = runs
		s.mu.Unlock()
	}
}

func (s *store) durations(step string) []shutdown.Measured {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[step]
}

// measured writes down how long a step took.
func (s *store) measured(ctx context.Context, p shutdown.Progress, at time.Time) {
	d := journal.Duration{Step: p.Step, Took: p.Took, Complete: p.Phase == shutdown.PhaseDone, Source: "outage", At: at}
	if p.Drill != "" {
		d.Source = "drill"
	}
	s.mu.Lock()
	s.runs[p.Step] = append(s.runs[p.Step], shutdown.Measured{Took: d.Took, Complete: d.Complete})
	s.mu.Unlock()
	if s.journal == nil {
		return
	}
	if err := s.journal.RecordDuration(ctx, d); err != nil {
		s.log.Error("a measured duration was not written", "step", p.Step, "err", err)
	}
}

// events returns the newest events, oldest first.
func (s *store) events(ctx context.Context, limit int) ([]dodai.Event, error) {
	if s.journal == nil {
		return nil, fmt.Errorf("there is no journal: %w", s.openErr)
	}
	records, err := s.journal.Events(ctx, journal.Query{Limit: limit, Newest: true})
	if err != nil {
		return nil, err
	}
	events := make([]dodai.Event, len(records))
	for i, r := range records {
		events[i] = r.Event
	}
	slices.Reverse(events)
	return events, nil
}

// health is "ok", or what is wrong with the journal.
func (s *store) health() string {
	if s.openErr != nil {
		return s.openErr.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr != nil {
		return s.lastErr.Error()
	}
	return "ok"
}

// flush writes what is still queued, as far as ctx allows.
func (s *store) flush(ctx context.Context) {
	if s.writer == nil {
		return
	}
	if err := errors.Join(s.savePending(ctx), s.writer.Flush(ctx)); err != nil {
		s.log.Error("the last events did not reach the journal", "err", err)
	}
}

// close lets go of the journal.
func (s *store) close() {
	if s.journal == nil {
		return
	}
	s.stop()
	<-s.done
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := errors.Join(s.writer.Close(ctx), s.journal.Close()); err != nil {
		s.log.Error("close the journal", "err", err)
	}
}
