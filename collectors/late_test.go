package collectors

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// Late is told before each poll but the first. A poll that waited for a command was not
// late, and one that a wish for haste brought forward was not, either.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []time.Duration
		begin := time.Now()
		c := New(Config{
			Name: "u1", Kind: dodai.KindUPS, DriverName: "scripted",
			Driver:   &scripted{polls: []func(context.Context) (dodai.Reading, error){good}},
			Schedule: Schedule{Line: 5 * time.Second, Battery: 2 * time.Second, Retry: time.Second},
			Timeout:  2 * time.Second, StaleAfter: 15 * time.Second,
			Clock:   func() time.Duration { return time.Since(begin) },
			Publish: func(*dodai.DeviceState) {},
			Late:    func(by time.Duration) { told = append(told, by) },
		})
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Second)
		defer cancel()
		go func() {
			time.Sleep(12 * time.Second)
			_ = c.Do(ctx, func(context.Context, drivers.Driver) error { time.Sleep(8 * time.Second); return nil }) // until 20 s
			time.Sleep(3 * time.Second)
			c.SetFast(true)
		}()
		_ = c.Run(ctx)
		if len(told) < 6 {
			t.Fatalf("told %d times, want once for each poll: %v", len(told), told)
		}
		for i, by := range told {
			if by != 0 {
				t.Errorf("poll %d counts as %v late: %v", i+2, by, told)
			}
		}
	})
}

// TestLateIsMeasured: a collector whose goroutine does not get on is late by that much.
func TestLateIsMeasured(t *testing.T) {
	var told time.Duration
	c := New(Config{Late: func(by time.Duration) { told = by }})
	c.late(7 * time.Second)
	if told != 7*time.Second {
		t.Errorf("told %v", told)
	}
	c.late(-time.Second)
	if told != 0 {
		t.Errorf("told %v of a poll that is early", told)
	}
	New(Config{}).late(time.Second) // nobody to tell
}

// TestNothingHere: that there is no array or disk is told apart from one that does not
// answer; of another kind of device it is a failure like any other.
func TestNothingHere(t *testing.T) {
	none := func(context.Context) (dodai.Reading, error) { return dodai.Reading{}, drivers.ErrNoData }
	arrays := func(context.Context) (dodai.Reading, error) { return dodai.Reading{Kind: dodai.KindArrays}, nil }
	for _, tt := range []struct {
		name  string
		kind  dodai.Kind
		polls []func(context.Context) (dodai.Reading, error)
		want  []bool
	}{
		{"no arrays", dodai.KindArrays, []func(context.Context) (dodai.Reading, error){none, arrays, none, silent}, []bool{true, false, true, false}},
		{"no disks", dodai.KindDisks, []func(context.Context) (dodai.Reading, error){none}, []bool{true}},
		{"no UPS", dodai.KindUPS, []func(context.Context) (dodai.Reading, error){none}, []bool{false}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got []bool
			begin := time.Now()
			c := New(Config{
				Name: "x", Kind: tt.kind, DriverName: "scripted", Driver: &scripted{polls: tt.polls},
				Schedule: Schedule{Line: time.Second, Battery: time.Second, Retry: time.Second, MaxBackoff: time.Second}, Timeout: time.Second, StaleAfter: time.Second,
				Clock: func() time.Duration { return time.Since(begin) }, Publish: func(s *dodai.DeviceState) { got = append(got, s.NothingHere) },
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_ = c.Run(ctx)
			if len(got) < len(tt.want) || !slices.Equal(got[:len(tt.want)], tt.want) {
				t.Errorf("%s: %v, want it to begin with %v", tt.name, got, tt.want)
			}
		})
	}
}
