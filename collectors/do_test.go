package collectors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// slow answers a second after it was asked, whatever its context says.
func slow(ctx context.Context) (dodai.Reading, error) {
	time.Sleep(time.Second)
	return good(ctx)
}

// A job runs at once, with the collector's own driver, and does not move the next poll.
func TestDoBetweenPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good}}
		begin, want := time.Now(), errors.New("f's own")
		run(t, drv, 6*time.Second, func(c *Collector) {
			time.Sleep(time.Second)
			for range 2 {
				var got drivers.Driver
				err := c.Do(t.Context(), func(_ context.Context, d drivers.Driver) error { got = d; return want })
				if err != want || got != drivers.Driver(drv) || time.Since(begin) != time.Second {
					t.Errorf("Do = %v with driver %v after %v: want f's error, the driver, at once", err, got, time.Since(begin))
				}
			}
		})
		if len(drv.starts) != 2 || drv.starts[1].Sub(begin) != 5*time.Second {
			t.Errorf("polls at %v, want them at 0 and 5 s", drv.starts)
		}
	})
}

// A job that takes longer than the pause puts the poll off by no more than it takes.
func TestDoLongerThanThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good}}
		begin := time.Now()
		run(t, drv, 8*time.Second, func(c *Collector) {
			time.Sleep(4 * time.Second)
			c.Do(t.Context(), func(context.Context, drivers.Driver) error { time.Sleep(2 * time.Second); return nil })
		})
		if len(drv.starts) != 2 || drv.starts[1].Sub(begin) != 6*time.Second {
			t.Errorf("polls at %v, want the second as soon as the job is done, at 6 s", drv.starts)
		}
	})
}

func TestDoWaitsForThePoll(t *testing.T) {
	tests := []struct {
		name   string
		within time.Duration
		want   time.Duration // when Do returns
		ran    bool
	}{
		{"the poll ends in time", 2 * time.Second, time.Second, true},
		{"the poll takes too long", 500 * time.Millisecond, 500 * time.Millisecond, false},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){slow}}
			ran := false
			run(t, drv, 10*time.Second, func(c *Collector) {
				synctest.Wait() // the first poll is under way
				ctx, cancel := context.WithTimeout(t.Context(), tt.within)
				defer cancel()
				begin := time.Now()
				err := c.Do(ctx, func(context.Context, drivers.Driver) error { ran = true; return nil })
				if took := time.Since(begin); took != tt.want || (err == nil) != tt.ran {
					t.Errorf("%s: Do = %v after %v, want it after %v", tt.name, err, took, tt.want)
				}
				if _, ok := errors.AsType[*drivers.Error](err); err != nil && (!ok || !errors.Is(err, drivers.ErrUnreachable)) {
					t.Errorf("%s: Do = %v, want a driver's error that wraps ErrUnreachable", tt.name, err)
				}
			})
			if ran != tt.ran {
				t.Errorf("%s: f ran: %v, want %v", tt.name, ran, tt.ran)
			}
		})
	}
}

// Behind a poll that hangs for ever a job never runs, not even when the poll comes back.
func TestDoBehindAHungPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hang := func(ctx context.Context) (dodai.Reading, error) { <-release; return good(ctx) }
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){hang, good}}
		ran := false
		run(t, drv, 20*time.Second, func(c *Collector) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := c.Do(ctx, func(context.Context, drivers.Driver) error { ran = true; return nil })
			if !errors.Is(err, drivers.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Do behind a hung poll = %v, want ErrUnreachable by the deadline", err)
			}
			close(release)
		})
		if ran || len(drv.starts) < 2 {
			t.Errorf("f ran: %v, %d polls: want the polls to go on without it", ran, len(drv.starts))
		}
	})
}

// busy is a driver that notices when it is used twice at once.
type busy struct{ inside, twice, polls atomic.Int32 }

func (b *busy) use(d time.Duration) {
	if b.inside.Add(1) != 1 {
		b.twice.Add(1)
	}
	time.Sleep(d)
	b.inside.Add(-1)
}

func (b *busy) Poll(ctx context.Context) (dodai.Reading, error) {
	b.use(time.Millisecond)
	b.polls.Add(1)
	return good(ctx)
}

func (b *busy) Close() error { b.use(0); return nil }

// However many ask, the driver is used by one at a time, polls included.
func TestDoNeverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &busy{}
		c := New(Config{
			Name: "u1", Kind: dodai.KindUPS, DriverName: "busy", Driver: drv,
			Schedule: Schedule{Line: MinGap, Battery: MinGap, Retry: MinGap}, Timeout: time.Second, StaleAfter: time.Second,
			Clock: func() time.Duration { return 0 }, Publish: func(*dodai.DeviceState) {},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { c.Run(ctx) })
		var done atomic.Int32
		var callers sync.WaitGroup
		for i := range 8 {
			callers.Go(func() {
				for range 20 {
					time.Sleep(time.Duration(i) * time.Millisecond)
					if err := c.Do(t.Context(), func(context.Context, drivers.Driver) error { drv.use(time.Millisecond); return nil }); err != nil {
						t.Error(err)
					}
					done.Add(1)
				}
			})
		}
		callers.Wait()
		cancel()
		wg.Wait()
		if drv.twice.Load() != 0 || done.Load() != 160 || drv.polls.Load() == 0 {
			t.Errorf("used twice at once %d times; %d jobs and %d polls done: want 160 and some", drv.twice.Load(), done.Load(), drv.polls.Load())
		}
	})
}

// Whatever the collector is doing when it ends, Do comes back and says so.
func TestDoWhenTheCollectorEnds(t *testing.T) {
	noop := func(context.Context, drivers.Driver) error { return nil }
	waits := func(ctx context.Context, _ drivers.Driver) error { <-ctx.Done(); return context.Cause(ctx) }
	tests := []struct {
		name  string
		poll  func(context.Context) (dodai.Reading, error)
		start time.Duration // of Do; the collector ends after 3 s
		f     func(context.Context, drivers.Driver) error
		takes time.Duration // of Do
	}{
		{"before the job has begun", func(ctx context.Context) (dodai.Reading, error) {
			time.Sleep(3500 * time.Millisecond) // past its deadline and the collector's end
			return good(ctx)
		}, time.Second, noop, 2500 * time.Millisecond},
		{"during the job", good, time.Second, waits, 2 * time.Second},
		{"during a job that ignores it", good, time.Second, func(context.Context, drivers.Driver) error {
			time.Sleep(10 * time.Second)
			return errors.New("too late to matter")
		}, 2*time.Second + hangGrace},
		{"before Do", good, 4 * time.Second, noop, 0},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){tt.poll}}
			run(t, drv, 3*time.Second, func(c *Collector) {
				time.Sleep(tt.start)
				begin := time.Now()
				if err := c.Do(t.Context(), tt.f); !errors.Is(err, ErrEnded) {
					t.Errorf("%s: Do = %v, want ErrEnded", tt.name, err)
				}
				if took := time.Since(begin); took != tt.takes {
					t.Errorf("%s: Do took %v, want %v", tt.name, took, tt.takes)
				}
			})
			time.Sleep(20 * time.Second) // for what was left behind
		})
	}
}

// Do waits for a collector that does not run yet, within its context.
func TestDoBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Name: "u1", DriverName: "scripted"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Do(ctx, func(context.Context, drivers.Driver) error { return nil }); !errors.Is(err, drivers.ErrUnreachable) {
			t.Errorf("Do of a collector that never ran = %v, want ErrUnreachable", err)
		}
	})
}

// A job that ignores the end of its context costs its caller a second, makes the device
// count as hanging, and keeps the polls waiting until it comes back.
func TestDoHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good}}
		begin := time.Now()
		got := run(t, drv, 25*time.Second, func(c *Collector) {
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := c.Do(ctx, func(context.Context, drivers.Driver) error { time.Sleep(15 * time.Second); return nil })
			if took := time.Since(begin); took != 4*time.Second || !errors.Is(err, drivers.ErrUnreachable) || !strings.Contains(fmt.Sprint(err), "hanging") {
				t.Errorf("Do = %v after %v: want ErrUnreachable a second after its 3 s", err, took)
			}
		})
		if len(drv.starts) < 2 || drv.starts[1].Sub(begin) != 16*time.Second {
			t.Errorf("polls at %v, want the second when the job has come back, at 16 s", drv.starts)
		}
		if len(got) < 2 || got[1].Failures != 1 || !strings.Contains(got[1].Err, "command") || got[len(got)-1].Failures != 0 {
			t.Errorf("published %+v: want a hanging command, then readings again", got)
		}
	})
}

func TestDoPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good}}
		run(t, drv, 6*time.Second, func(c *Collector) {
			err := c.Do(t.Context(), func(context.Context, drivers.Driver) error { panic("index out of range") })
			if e, ok := errors.AsType[*drivers.Error](err); !ok || e.Device != "u1" || !strings.Contains(err.Error(), "panicked") {
				t.Errorf("Do = %v, want the panic as a driver's error", err)
			}
		})
		if len(drv.starts) != 2 {
			t.Errorf("%d polls, want them to go on", len(drv.starts))
		}
	})
}

// Calls of PollNow, however many, never put the retry after a failed poll off.
func TestPollNowOnBattery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){bad}}
		begin := time.Now()
		run(t, drv, 3*time.Second, func(c *Collector) {
			c.SetFast(true)
			for range 25 {
				time.Sleep(100 * time.Millisecond)
				c.PollNow()
			}
		})
		if len(drv.starts) < 2 || drv.starts[1].Sub(begin) > 600*time.Millisecond {
			t.Errorf("polls at %v, want the second half a second after the first", drv.starts)
		}
	})
}
