package collectors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// ErrEnded is why Do did not get its turn, or lost it: Run has ended. After a reload of
// the configuration the device may have another collector.
var ErrEnded = errors.New("the device is no longer read")

// job is something to do with the driver between two polls.
type job struct {
	ctx  context.Context
	f    func(context.Context, drivers.Driver) error
	done chan error // takes f's result without anybody waiting
}

// Do runs f with the collector's driver between two polls, without waiting for the next
// one, and returns f's error. It may be called from any goroutine; calls wait for each
// other, and before Run for Run.
//
// ctx bounds the wait for a poll under way and then f, whose own context ends with the
// collector as well. Where f has not begun by then it never will, and the error wraps
// drivers.ErrUnreachable; the error wraps ErrEnded when the collector ended first. When Do
// has returned f runs no more, unless it ignored the end of its context for a second; the
// device then counts as hanging until f comes back.
func (c *Collector) Do(ctx context.Context, f func(context.Context, drivers.Driver) error) error {
	j := job{ctx: ctx, f: f, done: make(chan error, 1)}
	select {
	case c.jobs <- j:
	case <-ctx.Done():
		return c.fail("wait for the poll under way", drivers.Unreachable(context.Cause(ctx)))
	case <-c.ended:
		return c.fail("wait for the poll under way", ErrEnded)
	}
	over, late := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case err := <-j.done:
			return err
		case <-c.ended:
			return j.left(c.fail("wait for the command under way", ErrEnded))
		case <-over:
			over, late = nil, time.After(hangGrace) // f needs a moment to notice
		case <-late:
			return c.fail("wait for the command under way", fmt.Errorf("%w: still hanging after its end: %w", drivers.ErrUnreachable, context.Cause(ctx)))
		}
	}
}

// left is the result of a job that the end of the collector may have overtaken.
func (j job) left(otherwise error) error {
	select {
	case err := <-j.done:
		return err
	default:
		return otherwise
	}
}

// do runs a job. The channel it returns is call's.
func (c *Collector) do(ctx context.Context, j job) <-chan result {
	jobCtx, cancel := context.WithCancelCause(j.ctx)
	defer cancel(ErrEnded) // which f sees where ctx ended first
	limit := c.cfg.Timeout
	if end, ok := j.ctx.Deadline(); ok {
		limit = max(0, time.Until(end))
	}
	_, pending := c.call(ctx, "command", limit, func() (r result) {
		defer func() {
			if p := recover(); p != nil {
				r.err = c.fail("command", fmt.Errorf("driver panicked: %v", p))
			}
			j.done <- r.err
		}()
		if err := context.Cause(jobCtx); err != nil {
			return result{err: c.fail("wait for the poll under way", drivers.Unreachable(err))}
		}
		return result{err: j.f(jobCtx, c.cfg.Driver)}
	})
	return pending
}
