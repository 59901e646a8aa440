package collectors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// hangGrace is how long after its deadline a poll may still return before the device
// is reported as hanging. A driver that honours its context needs none of it.
const hangGrace = time.Second

// Config is what a collector is made from. All fields but Log, Alarm and Late are required.
type Config struct {
	Name       string // the device's configured name
	Kind       dodai.Kind
	DriverName string
	Driver     drivers.Driver
	Schedule   Schedule
	Timeout    time.Duration // of one poll
	StaleAfter time.Duration // how old a reading may grow before it no longer counts
	Clock      Clock
	Alarm      func() Alarm // makes what ends the pauses; nil: RuntimeAlarm
	Log        *slog.Logger
	// Late is told, where it is not nil, how much later than planned a poll begins because
	// this process did not get to it; a command in between (Do) is no such reason. It may be
	// called from the goroutine of Run, and must not block.
	Late func(by time.Duration)
	// Publish takes each new state. It is called from the collector's goroutine and
	// may block it, and nothing else, for a moment.
	Publish func(*dodai.DeviceState)
}

// A Collector polls one device for as long as Run runs.
type Collector struct {
	cfg   Config
	fast  atomic.Bool
	wake  chan struct{}
	jobs  chan job
	ended chan struct{} // closed when Run has ended
	state dodai.DeviceState
	alarm Alarm // ends a pause; nil before the first
}

// New makes a collector. It does not touch the device.
func New(cfg Config) *Collector {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Alarm == nil {
		cfg.Alarm = RuntimeAlarm
	}
	return &Collector{
		cfg:   cfg,
		wake:  make(chan struct{}, 1),
		jobs:  make(chan job),
		ended: make(chan struct{}),
		state: dodai.DeviceState{
			Name: cfg.Name, Kind: cfg.Kind, Driver: cfg.DriverName, StaleAfter: cfg.StaleAfter,
		},
	}
}

// Name is the device's configured name.
func (c *Collector) Name() string { return c.cfg.Name }

// Initial is the state before the first poll: known by name, never heard.
func (c *Collector) Initial() *dodai.DeviceState {
	s := c.state
	return &s
}

// Resume starts from what an earlier collector of the same device knew, so that a
// reload of the configuration does not forget the last good reading. It must be called
// before Run.
func (c *Collector) Resume(last *dodai.DeviceState) {
	fresh := c.state
	c.state = *last
	c.state.Kind, c.state.Driver, c.state.StaleAfter = fresh.Kind, fresh.Driver, fresh.StaleAfter
	if last.Reading != nil && fits(fresh.Kind, last.Reading.Kind) {
		c.state.Kind = last.Reading.Kind
	} else {
		c.state.Reading, c.state.Polls = nil, 0
	}
}

// SetFast switches between the schedule on line and the one on battery. It may be
// called from any goroutine; going fast takes effect at once, not after the present
// interval.
func (c *Collector) SetFast(fast bool) {
	if c.fast.Swap(fast) != fast && fast {
		c.PollNow()
	}
}

// PollNow ends the present pause between two polls.
func (c *Collector) PollNow() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

type result struct {
	reading dodai.Reading
	err     error
}

// Run polls until ctx ends, then closes the driver and returns nil. A driver that does
// not come back from its last call is left behind after a second. Run is called once.
func (c *Collector) Run(ctx context.Context) error {
	defer close(c.ended)
	defer func() {
		if c.alarm != nil {
			c.alarm.Close()
		}
	}()
	var pending <-chan result
	for ctx.Err() == nil {
		start := c.cfg.Clock()
		if pending = c.poll(ctx); ctx.Err() != nil {
			break
		}
		end := c.cfg.Clock()
		pending = c.pause(ctx, c.cfg.Schedule.Next(start, end, c.state.Failures, c.fast.Load())-end, start)
	}
	c.close(pending)
	return nil
}

// poll asks the device once and publishes what came of it. The channel it returns is
// call's.
func (c *Collector) poll(ctx context.Context) <-chan result {
	pollCtx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r, pending := c.call(ctx, "poll", c.cfg.Timeout, func() (r result) {
		r.reading, r.err = c.cfg.Driver.Poll(pollCtx)
		return r
	})
	if pending == nil {
		c.publish(ctx, r)
	}
	return pending
}

// call runs f, which asks the driver something that should take no longer than limit.
// While the driver hangs beyond that, call keeps publishing the failure and waits: a
// driver is never called twice at once. The channel it returns delivers a call still
// under way when ctx ended, and is nil otherwise.
func (c *Collector) call(ctx context.Context, op string, limit time.Duration, f func() result) (result, <-chan result) {
	done := make(chan result, 1)
	go func() {
		defer func() {
			// A parser's bug must cost one device its reading, not the machine its guard.
			if p := recover(); p != nil {
				done <- result{err: fmt.Errorf("driver panicked: %v", p)}
			}
		}()
		done <- f()
	}()
	begin := c.cfg.Clock()
	hang := time.NewTimer(limit + hangGrace)
	defer hang.Stop()
	for {
		select {
		case r := <-done:
			return r, nil
		case <-hang.C:
			c.publish(ctx, result{err: c.fail(op,
				fmt.Errorf("%w: still hanging after %v", drivers.ErrUnreachable, (c.cfg.Clock()-begin).Round(time.Millisecond)))})
			hang.Reset(max(c.cfg.Schedule.Line, hangGrace))
		case <-ctx.Done():
			return result{}, done
		}
	}
}

func (c *Collector) fail(op string, err error) error {
	return &drivers.Error{Driver: c.cfg.DriverName, Device: c.cfg.Name, Op: op, Err: err}
}

func (c *Collector) publish(ctx context.Context, r result) {
	if r.err != nil && ctx.Err() != nil && errors.Is(r.err, ctx.Err()) {
		return // we are being stopped; that says nothing about the device
	}
	now := c.cfg.Clock()
	if r.reading.Kind == "" {
		r.reading.Kind = c.cfg.Kind
	}
	if r.err == nil && !fits(c.cfg.Kind, r.reading.Kind) {
		r.err = c.fail("poll", drivers.Protocol("a reading of kind", []byte(r.reading.Kind), "one of kind "+string(c.cfg.Kind)+", as it is configured"))
	}
	if r.err == nil {
		c.state.Reading, c.state.Kind, c.state.At = r.reading.Printable(), r.reading.Kind, now
		c.state.Polls++
		c.state.Err, c.state.Failures, c.state.FailingSince, c.state.NothingHere = "", 0, 0, false
	} else {
		if c.state.Failures == 0 {
			c.state.FailingSince = now
		}
		c.state.Failures++
		c.state.NothingHere = errors.Is(r.err, drivers.ErrNoData) && (c.cfg.Kind == dodai.KindArrays || c.cfg.Kind == dodai.KindDisks)
		c.state.Err = dodai.Printable(drivers.Plain(r.err))
		c.cfg.Log.Debug("poll failed", "device", c.cfg.Name, "err", r.err, "failures", c.state.Failures)
	}
	s := c.state
	c.cfg.Publish(&s)
}

// fits reports whether a device that was configured as one kind may say it is another. A
// UPS that calls itself something else must not slip out of the decision; it counts as
// silent. PDUs and transfer switches stand in one list.
func fits(configured, got dodai.Kind) bool {
	return got == configured || configured == dodai.KindPDU && got == dodai.KindATS
}

// pause waits d, or until the device has to be polled earlier, and does the jobs that come
// meanwhile. A device that has just gone on battery is polled at once, but not sooner than
// MinGap after its last poll. The channel it returns is call's.
func (c *Collector) pause(ctx context.Context, d time.Duration, start time.Duration) <-chan result {
	if c.alarm == nil {
		c.alarm = c.cfg.Alarm()
	}
	c.alarm.Set(max(d, MinGap))
	defer c.alarm.Stop()
	wake, due := c.wake, time.Now().Add(max(d, MinGap))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.alarm.C():
			c.late(time.Since(due))
			return nil
		case j := <-c.jobs:
			if pending := c.do(ctx, j); pending != nil {
				return pending
			}
			due = later(due, time.Now())
		case <-wake:
			now := c.cfg.Clock()
			early := c.cfg.Schedule.Next(start, now, c.state.Failures, true) - now
			if early <= 0 || !c.fast.Load() {
				return nil
			}
			c.alarm.Set(min(early, max(d, MinGap)))
			due = time.Now().Add(min(early, max(d, MinGap)))
			wake = nil // a second call must not put the poll off
		}
	}
}

// late tells how late a poll begins.
func (c *Collector) late(by time.Duration) {
	if c.cfg.Late != nil {
		c.cfg.Late(max(0, by))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// close closes the driver, after a call still under way has come back.
func (c *Collector) close(pending <-chan result) {
	if pending != nil {
		select {
		case <-pending:
		case <-time.After(hangGrace):
			c.cfg.Log.Warn("driver does not come back, left behind", "device", c.cfg.Name)
			return
		}
	}
	if err := c.cfg.Driver.Close(); err != nil {
		c.cfg.Log.Debug("close", "device", c.cfg.Name, "err", err)
	}
}
