package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// queuedLines is how many lines wait for a log that does not take them.
const queuedLines = 4096

// logQueue writes lines in a goroutine of its own, so that a log that hangs (a full
// pipe, a journald whose disk is gone) does not hang who logs. When it is full the
// newest lines are dropped, and counted.
type logQueue struct {
	to    io.Writer
	lines chan []byte
	done  chan struct{}

	mu      sync.Mutex
	closed  bool
	dropped int
}

func newLogQueue(to io.Writer) *logQueue {
	q := &logQueue{to: to, lines: make(chan []byte, queuedLines), done: make(chan struct{})}
	go q.run()
	return q
}

// Write takes one line. It never blocks and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return len(line), nil
	}
	select {
	case q.lines <- append([]byte(nil), line...):
	default:
		q.dropped++
	}
	return len(line), nil
}

func (q *logQueue) run() {
	defer close(q.done)
	for line := range q.lines {
		_, _ = q.to.Write(line) // there is no other place to say so
		q.mu.Lock()
		dropped := q.dropped
		q.dropped = 0
		q.mu.Unlock()
		if dropped > 0 {
			fmt.Fprintf(q.to, "level=WARN msg=\"the log did not take lines, they are lost\" lines=%d\n", dropped)
		}
	}
}

// close writes what is queued, at most for the time given.
func (q *logQueue) close(within time.Duration) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(within):
	}
}
