package journal

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
)

// disk is a Storage that can be made to fail or to hang.
type disk struct {
	mu      sync.Mutex
	order   []string // events by device, states by key
	batches []int
	err     error
	hang    chan struct{} // non-nil: Append waits for it
}

func (d *disk) set(err error, hang chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.hang = err, hang
}

func (d *disk) Append(ctx context.Context, events ...dodai.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if hang := d.hang; hang != nil {
		d.mu.Unlock()
		select {
		case <-hang:
		case <-ctx.Done():
		}
		d.mu.Lock()
	}
	if err := errors.Join(d.err, ctx.Err()); err != nil {
		return err
	}
	d.batches = append(d.batches, len(events))
	for _, e := range events {
		d.order = append(d.order, e.Device)
	}
	return nil
}

func (d *disk) SaveState(_ context.Context, key string, _ []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.order = append(d.order, key)
	return d.err
}

func (d *disk) written() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, d.order...)
}

func numbered(name dodai.EventName, from, to int) []dodai.Event {
	var out []dodai.Event
	for i := from; i < to; i++ {
		out = append(out, dodai.Event{Name: name, Device: strconv.Itoa(i)})
	}
	return out
}

func TestWriterKeepsOrderInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{hang: make(chan struct{})}
		w := NewWriter(d, slog.New(slog.DiscardHandler))
		for _, e := range numbered(dodai.EventMainsLost, 0, 600) {
			w.Enqueue(e)
		}
		if w.Pending() != 600 {
			t.Errorf("Pending = %d, want 600", w.Pending())
		}
		close(d.hang)
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, dev := range d.written() {
			if dev != strconv.Itoa(i) {
				t.Fatalf("event %d is %s", i, dev)
			}
		}
		if n := len(d.batches); n > 4 {
			t.Errorf("600 events in %d batches %v, want few", n, d.batches)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestWriterRetriesUntilTheDiskTakesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		d := &disk{err: errors.New("database or disk is full")}
		w := NewWriter(d, slog.New(slog.NewTextHandler(&logged, nil)))
		w.Enqueue(numbered(dodai.EventMainsLost, 0, 3)...)
		time.Sleep(time.Minute)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.Flush(short)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3 events left") || !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("Flush = %v, want the deadline, how many are left and why", err)
		}
		d.set(nil, nil)
		start := time.Now()
		if err := w.Flush(t.Context()); err != nil || time.Since(start) > maxBackoff {
			t.Errorf("Flush once there is room = %v after %v, want within %v", err, time.Since(start), maxBackoff)
		}
		if got := strings.Join(d.written(), " "); got != "0 1 2" {
			t.Errorf("written %q, want each once", got)
		}
		w.Close(t.Context())
		if n := strings.Count(logged.String(), "\n"); n != 2 {
			t.Errorf("%d log lines, want one when it failed and one when it worked again:\n%s", n, logged.String())
		}
	})
}

func TestWriterDropsTheLeastImportant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{err: errors.New("full")}
		w := NewWriter(d, slog.New(slog.DiscardHandler))
		w.Enqueue(numbered(dodai.EventShutdownDecided, 0, 2)...)
		w.Enqueue(numbered(dodai.EventAlertRaised, 2, queueLimit)...)
		w.Enqueue(numbered(dodai.EventMainsLost, 10000, 10003)...)
		if w.Pending() != queueLimit || w.Dropped() != 3 {
			t.Errorf("%d pending, %d dropped, want %d and 3", w.Pending(), w.Dropped(), queueLimit)
		}
		d.set(nil, nil)
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := d.written()
		if strings.Join(got[:3], " ") != "0 1 5" || strings.Join(got[len(got)-3:], " ") != "10000 10001 10002" {
			t.Errorf("written %v … %v, want the decisions and 2, 3, 4 dropped", got[:3], got[len(got)-3:])
		}
		w.Enqueue(numbered(dodai.EventMainsLost, 0, 1)...)
		if w.Dropped() != 4 {
			t.Errorf("Dropped = %d after an event that came too late, want 4", w.Dropped())
		}
	})
}

func TestWriterOnAHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{hang: make(chan struct{})}
		w := NewWriter(d, slog.New(slog.DiscardHandler))
		w.Enqueue(numbered(dodai.EventMainsLost, 0, 1)...)
		synctest.Wait() // the batch hangs
		start := time.Now()
		for range 3 * queueLimit {
			w.Enqueue(dodai.Event{Name: dodai.EventStepStarted})
		}
		if took := time.Since(start); took != 0 || w.Pending() != queueLimit {
			t.Errorf("Enqueue took %v, %d pending; want no time and %d", took, w.Pending(), queueLimit)
		}
		if err := w.SaveStateNow(t.Context(), "no_return", nil); err != nil || d.written()[0] != "no_return" {
			t.Errorf("SaveStateNow = %v, %v; want it before every queued event", err, d.written())
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v, want the deadline", err)
		}
	})
}

// The state overtakes the queue on the real database, too: it waits for one batch at
// most, and nothing is lost.
func TestWriterStateBetweenBatches(t *testing.T) {
	j := open(t, t.TempDir())
	w := NewWriter(j, slog.New(slog.DiscardHandler))
	w.Enqueue(numbered(dodai.EventMainsLost, 0, 4000)...)
	start := time.Now()
	if err := w.SaveStateNow(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	took, left := time.Since(start), w.Pending()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left == 0 {
		t.Error("the state was saved after all events")
	}
	if got, err := j.Events(t.Context(), Query{}); len(got) != 4000 || err != nil {
		t.Errorf("%d events, %v, want 4000", len(got), err)
	}
	t.Logf("state saved after %v with %d of 4000 events still queued", took, left)
}
