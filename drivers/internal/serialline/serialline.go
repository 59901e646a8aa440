// Package serialline opens serial ports for the drivers: the modem lines in the state
// the cable needs from the first moment, the port locked against other programs, and
// silence turned into an error with a deadline.
//
// A driver talks to a Conn, which a Port, a net.Conn and each end of a net.Pipe are; so
// its tests run on a pipe and virtual time. Read, Write and Flush add a context to it.
package serialline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// Conn is the line as a driver sees it. A Read or Write that is not done at the
// deadline returns an error that wraps os.ErrDeadlineExceeded. SetDeadline may be called
// while another goroutine reads or writes and then applies to what is under way; the
// zero time means no deadline.
type Conn interface {
	io.ReadWriteCloser
	SetDeadline(t time.Time) error
}

// flusher is a Conn that can throw away what came in without reading it.
type flusher interface{ FlushInput() error }

// waiter is a Conn that knows a cheaper way to wait than a timer of the Go runtime.
type waiter interface {
	Sleep(ctx context.Context, d time.Duration)
}

// Sleep waits for d or until ctx ends, as c does it best. It is for the goroutine that
// reads.
func Sleep(ctx context.Context, c Conn, d time.Duration) {
	if s, ok := c.(waiter); ok {
		s.Sleep(ctx, d)
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Read reads what there is into p, waiting for the first byte until the instant until
// (zero: no limit of its own) or the end of ctx. Running out of time, ctx's included,
// is an error that wraps os.ErrDeadlineExceeded; a cancelled ctx is its own error.
func Read(ctx context.Context, c Conn, p []byte, until time.Time) (n int, err error) {
	err = within(ctx, c, until, func() error {
		n, err = c.Read(p)
		return err
	})
	if n > 0 { // what came just in time is not lost
		return n, nil
	}
	return n, err
}

// Write writes all of p. It ends with ctx as Read does.
func Write(ctx context.Context, c Conn, p []byte) error {
	return within(ctx, c, time.Time{}, func() error {
		_, err := c.Write(p)
		return err
	})
}

// within runs one operation on c under the nearer of until and ctx's end.
func within(ctx context.Context, c Conn, until time.Time, op func() error) error {
	if end, ok := ctx.Deadline(); ok && (until.IsZero() || end.Before(until)) {
		until = end
	}
	if err := c.SetDeadline(until); err != nil {
		return err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.SetDeadline(time.Unix(1, 0)) // long ago: wakes what is blocked
		close(done)
	})
	err := op()
	if !stop() {
		<-done // or it would cut short the next operation
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("%w (%w)", os.ErrDeadlineExceeded, ctx.Err())
	default:
		return err
	}
}

// maxChatter is how much unasked input Flush and Quiet throw away before they give up: more
// than a kernel's serial buffer holds.
const maxChatter = 16 << 10

// Flush throws away what has already come in, so that it is not taken for the answer to
// the next request. It does not wait for what is still on its way.
func Flush(ctx context.Context, c Conn) error {
	if f, ok := c.(flusher); ok {
		return f.FlushInput()
	}
	return Quiet(ctx, c, time.Millisecond)
}

// Quiet throws away what comes in until nothing has come for the time gap. A line that
// never falls quiet is an ErrProtocol.
func Quiet(ctx context.Context, c Conn, gap time.Duration) error {
	buf := make([]byte, 256)
	for total := 0; total < maxChatter; {
		n, err := Read(ctx, c, buf, time.Now().Add(gap))
		total += n
		switch {
		case err == nil:
		case ctx.Err() == nil && errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return err
		}
	}
	return fmt.Errorf("%w: more than %d bytes that nobody asked for: want a quiet line", drivers.ErrProtocol, maxChatter)
}

// Broken reports whether err, of Read, Write or Flush, says that the connection itself is
// gone (adapter pulled, port closed), so that the port has to be opened anew.
func Broken(err error) bool {
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, drivers.ErrProtocol)
}
