package journal

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	queueLimit   = 4096                   // events in memory while the disk does not take them
	batchLimit   = 256                    // events in one transaction
	firstBackoff = 100 * time.Millisecond // after a failed write
	maxBackoff   = 5 * time.Second
)

// Storage is what a Writer writes to; *Journal is one.
type Storage interface {
	Append(ctx context.Context, events ...dodai.Event) error
	SaveState(ctx context.Context, key string, v []byte) error
}

// Writer hands events to a journal without ever making the caller wait. Events keep
// their order; while the disk fails they wait in a bounded queue and are tried again.
// When the queue is full the oldest event that is not part of an outage's story is
// dropped and counted. All methods may be called at once.
type Writer struct {
	to  Storage
	log *slog.Logger

	mu      sync.Mutex
	queue   []queued
	last    uint64 // number of the newest event taken
	dropped uint64
	failing error         // of the latest write; nil: it went well
	moved   chan struct{} // closed and replaced whenever the queue or failing changes
	closed  bool

	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

type queued struct {
	n     uint64
	event dodai.Event
}

// NewWriter starts a writer to j. Close ends it.
func NewWriter(j Storage, log *slog.Logger) *Writer {
	ctx, stop := context.WithCancel(context.Background())
	w := &Writer{
		to: j, log: log, stop: stop,
		moved: make(chan struct{}), wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go w.run(ctx)
	return w
}

// Enqueue takes events for writing. It never blocks. After Close it drops them.
func (w *Writer) Enqueue(events ...dodai.Event) {
	w.mu.Lock()
	for _, e := range events {
		if w.closed {
			w.dropped++
			continue
		}
		w.last++
		w.queue = append(w.queue, queued{w.last, e})
		if len(w.queue) > queueLimit {
			w.dropOne()
		}
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// dropOne makes room. The batch being written counts as well, so an event that is on
// its way may be dropped from the queue only after it was written.
func (w *Writer) dropOne() {
	i := slices.IndexFunc(w.queue, func(q queued) bool { return !essential(q.event) })
	w.queue = slices.Delete(w.queue, max(0, i), max(0, i)+1)
	w.dropped++
}

// essential reports whether e belongs to the story of an outage, a shutdown or a drill.
func essential(e dodai.Event) bool {
	switch e.Name {
	case dodai.EventAlertRaised, dodai.EventAlertCleared, dodai.EventCommsLost, dodai.EventCommsRestored,
		dodai.EventDiskVerdictChanged, dodai.EventConfigReloaded, dodai.EventConfigRejected, dodai.EventHookFailed:
		return false
	}
	return true
}

// Dropped counts events that were lost because the queue was full or the writer closed.
func (w *Writer) Dropped() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Failing is why events are not written at present; nil: the latest write went well.
func (w *Writer) Failing() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing
}

// Pending counts events not yet on the disk.
func (w *Writer) Pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// SaveStateNow saves a state ahead of all queued events and waits for it, at most as
// long as ctx lasts: at worst one batch of events goes before it.
func (w *Writer) SaveStateNow(ctx context.Context, key string, v []byte) error {
	return w.to.SaveState(ctx, key, v)
}

// Flush waits until every event taken before the call is on the disk (or was dropped),
// or ctx ends; the error then names what the disk said last.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	upTo := w.last
	w.mu.Unlock()
	for {
		w.mu.Lock()
		left, failing, moved := 0, w.failing, w.moved
		if len(w.queue) > 0 && w.queue[0].n <= upTo {
			left = int(min(uint64(len(w.queue)), upTo-w.queue[0].n+1))
		}
		w.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-moved:
		case <-w.done:
			return fmt.Errorf("journal: flush: %d events left: %w", left, ErrClosed)
		case <-ctx.Done():
			if failing != nil {
				return fmt.Errorf("journal: flush: %d events left: %w: %w", left, context.Cause(ctx), failing)
			}
			return fmt.Errorf("journal: flush: %d events left: %w", left, context.Cause(ctx))
		}
	}
}

// Close takes no more events, flushes until ctx ends and stops. The error says what
// could not be written.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	err := w.Flush(ctx)
	w.stop()
	<-w.done
	return err
}

func (w *Writer) run(ctx context.Context) {
	defer close(w.done)
	backoff := firstBackoff
	for {
		batch := w.peek()
		if len(batch) == 0 {
			select {
			case <-w.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		// No time-out of its own: an unknown outcome would have to be repeated.
		err := w.to.Append(ctx, events(batch)...)
		w.settle(batch, err)
		if err == nil {
			backoff = firstBackoff
			continue
		}
		select {
		case <-time.After(backoff):
			backoff = min(2*backoff, maxBackoff)
		case <-ctx.Done():
			return
		}
	}
}

func events(batch []queued) []dodai.Event {
	out := make([]dodai.Event, len(batch))
	for i, q := range batch {
		out[i] = q.event
	}
	return out
}

// peek copies the head of the queue; the events stay in it until they are written.
func (w *Writer) peek() []queued {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.queue[:min(len(w.queue), batchLimit)])
}

// settle takes a written batch out of the queue, notes how the write went, logs when
// that changes, and wakes who waits.
func (w *Writer) settle(batch []queued, err error) {
	w.mu.Lock()
	if err == nil {
		last := batch[len(batch)-1].n
		w.queue = slices.DeleteFunc(w.queue, func(q queued) bool { return q.n <= last })
	}
	before, dropped, pending := w.failing, w.dropped, len(w.queue)
	w.failing = err
	close(w.moved)
	w.moved = make(chan struct{})
	w.mu.Unlock()
	switch {
	case err != nil && before == nil:
		w.log.Error("journal does not take events", "error", err, "pending", pending)
	case err == nil && before != nil:
		w.log.Info("journal takes events again", "dropped", dropped, "pending", pending)
	}
}
