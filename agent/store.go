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
	pending map[string]version // states to be written, the latest of each
	latest  map[string]uint64  // number of the newest version of each state, written or not
	waited  map[string]uint64  // the same of those that saveNow was given
	took    []journal.Duration // to be written
	runs    map[string][]shutdown.Measured
	lastErr error
	wake    chan struct{}
	writing chan struct{} // held by whoever writes what is pending
	stop    context.CancelFunc
	done    chan struct{}
}

// version is a state as it was at some time; a newer one has a larger number.
type version struct {
	n    uint64
	data []byte
}

// How long the journal may take at the start. A disk that hangs must not keep the agent
// from watching.
const (
	openLimit = 10 * time.Second
	loadLimit = 5 * time.Second
)

// openStore opens the journal below dir. That another agent holds it is an error: two
// agents on one state would both shut the machine down and neither know. Anything else
// is logged, and the agent works without a journal.
func openStore(ctx context.Context, dir string, log *slog.Logger) (*store, error) {
	s := &store{
		log: log, pending: map[string]version{}, latest: map[string]uint64{}, waited: map[string]uint64{}, runs: map[string][]shutdown.Measured{},
		wake: make(chan struct{}, 1), writing: make(chan struct{}, 1), done: make(chan struct{}),
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
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
	saving, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.saveStates(saving)
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
	s.latest[key]++
	s.pending[key] = version{s.latest[key], data}
	s.mu.Unlock()
	s.rewake()
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

// savePending writes all that is pending. What fails is kept for the next time.
func (s *store) savePending(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-ctx.Done():
		return fmt.Errorf("state: %w", context.Cause(ctx))
	}
	s.mu.Lock()
	batch, took := s.pending, s.took
	s.pending, s.took = map[string]version{}, nil
	s.mu.Unlock()
	for key, v := range batch {
		if err := s.write(ctx, func(ctx context.Context) error {
			return s.journal.SaveStateIf(ctx, key, v.data, func() bool { return s.mayWrite(key, v) })
		}); err != nil {
			s.putBack(batch, took)
			return fmt.Errorf("state %s: %w", key, err)
		}
		delete(batch, key)
	}
	for i, d := range took {
		if err := s.write(ctx, func(ctx context.Context) error { return s.journal.RecordDuration(ctx, d) }); err != nil {
			s.putBack(nil, took[i:])
			return fmt.Errorf("duration of step %s: %w", d.Step, err)
		}
	}
	return nil
}

// mayWrite reports whether nothing newer than v was given to saveNow. That waits for nobody, so
// it may be on the disk before something older that was on its way.
func (s *store) mayWrite(key string, v version) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.n >= s.waited[key]
}

// writeLimit is how long one write may take before it counts as failed.
const writeLimit = 5 * time.Second

func (s *store) write(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	err := f(ctx)
	s.note(err)
	return err
}

// putBack keeps what could not be written, unless something newer has come or was
// written meanwhile.
func (s *store) putBack(batch map[string]version, took []journal.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range batch {
		if v.n == s.latest[key] {
			s.pending[key] = v
		}
	}
	s.took = append(slices.Clone(took), s.took...)
}

func (s *store) note(err error) {
	s.mu.Lock()
	s.lastErr = err
	s.mu.Unlock()
}

// saveNow waits until data is on the disk or ctx ends. When it fails data is written as
// soon as the disk takes it.
func (s *store) saveNow(ctx context.Context, key string, data []byte) error {
	if s.writer == nil {
		return errors.New("there is no journal")
	}
	s.mu.Lock()
	s.latest[key]++
	v := version{s.latest[key], data}
	s.waited[key] = v.n
	delete(s.pending, key) // older
	s.mu.Unlock()
	err := s.writer.SaveStateNow(ctx, key, data)
	s.note(err)
	if err != nil {
		s.putBack(map[string]version{key: v}, nil)
		s.rewake()
	}
	return err
}

// load returns what was saved under key, nil when there is nothing.
func (s *store) load(ctx context.Context, key string) []byte {
	if s.journal == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
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
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	for _, name := range names {
		list, err := s.journal.Durations(ctx, name)
		if err != nil {
			s.log.Error("measured durations cannot be read", "step", name, "err", err)
			continue
		}
		runs := make([]shutdown.Measured, 0, len(list))
		for _, d := range list {
			if !mayHaveTaken(d) {
				s.log.Error("a measured duration that cannot be does not count", "step", name, "took", d.Took, "complete", d.Complete)
				continue
			}
			runs = append(runs, shutdown.Measured{Took: d.Took, Complete: d.Complete})
		}
		s.mu.Lock()
		s.runs[name] = runs
		s.mu.Unlock()
	}
}

// longestStep is longer than anything that has to be over before a battery is.
const longestStep = 24 * time.Hour

// mayHaveTaken reports whether a step can have taken so long. A need made of times below 0,
// or so long that their sum turns negative, would keep the machine up until it crashes.
func mayHaveTaken(d journal.Duration) bool {
	return d.Took <= longestStep && (d.Took > 0 || d.Took == 0 && !d.Complete)
}

func (s *store) durations(step string) []shutdown.Measured {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[step]
}

// measured remembers how long a step took. It does not wait for the disk.
func (s *store) measured(p shutdown.Progress, at time.Time) {
	d := journal.Duration{Step: p.Step, Took: p.Took, Complete: p.Phase == shutdown.PhaseDone, Source: "outage", At: at}
	if p.Drill != "" {
		d.Source = "drill"
	}
	s.mu.Lock()
	s.runs[p.Step] = append(s.runs[p.Step], shutdown.Measured{Took: d.Took, Complete: d.Complete})
	if s.journal != nil {
		s.took = append(s.took, d)
	}
	s.mu.Unlock()
	s.rewake()
}

// learned remembers a duration that was found out later, and writes it together with the
// mark that it was. Without a journal, or when that fails, it is remembered all the same.
func (s *store) learned(ctx context.Context, d journal.Duration, key string, mark []byte) error {
	s.mu.Lock()
	s.runs[d.Step] = append(s.runs[d.Step], shutdown.Measured{Took: d.Took, Complete: d.Complete})
	s.mu.Unlock()
	if s.journal == nil {
		return nil
	}
	return s.write(ctx, func(ctx context.Context) error { return s.journal.RecordDurationOnce(ctx, d, key, mark) })
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

// works reports whether there is a journal whose last write went well.
func (s *store) works() bool { return s.writer != nil && s.health() == "ok" }

// health is "ok", or what is wrong with the journal.
func (s *store) health() string {
	if s.openErr != nil {
		return s.openErr.Error()
	}
	s.mu.Lock()
	err := s.lastErr
	s.mu.Unlock()
	if err == nil && s.writer != nil {
		err = s.writer.Failing()
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// sync waits until everything given to save before is on the disk.
func (s *store) sync(ctx context.Context) error {
	if s.writer == nil {
		return nil // said once, when it was opened
	}
	return s.savePending(ctx)
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
