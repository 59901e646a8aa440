package collectors

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScheduleNext(t *testing.T) {
	const ms = time.Millisecond
	network := Schedule{Line: 5 * time.Second, Battery: 2 * time.Second, Retry: 500 * ms, Retries: 3, MaxBackoff: 30 * time.Second}
	serial := Schedule{Line: time.Second, Battery: MinGap, Retry: 500 * ms, Retries: 3, MaxBackoff: 30 * time.Second}
	for _, tc := range []struct {
		name     string
		s        Schedule
		took     time.Duration
		failures int
		fast     bool
		want     time.Duration // after the poll's start
	}{
		{"on line, start to start", network, 100 * ms, 0, false, 5 * time.Second},
		{"on battery, network", network, 100 * ms, 0, true, 2 * time.Second},
		{"on battery, local: back to back", serial, 220 * ms, 0, true, 220*ms + MinGap},
		{"a poll longer than its interval", serial, 1500 * ms, 0, false, 1500*ms + MinGap},
		{"first quick retry counts from the end", network, time.Second, 1, false, 1500 * ms},
		{"third quick retry", network, time.Second, 3, false, 1500 * ms},
		{"retries used up: the interval, doubled", network, time.Second, 4, false, 10 * time.Second},
		{"doubled again", network, time.Second, 5, false, 20 * time.Second},
		{"back-off is bounded", network, time.Second, 50, false, 30 * time.Second},
		{"never backed off on battery", network, time.Second, 50, true, 2 * time.Second},
		{"a retry is not slower than the interval", serial, 220 * ms, 1, true, 220*ms + MinGap},
		{"poll faster on line than the battery default", Schedule{Line: time.Second, Battery: 2 * time.Second}, 10 * ms, 0, true, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := 100 * time.Second
			if got := tc.s.Next(start, start+tc.took, tc.failures, tc.fast) - start; got != tc.want {
				t.Errorf("Next(took %v, failures %d, fast %v) = +%v, want +%v", tc.took, tc.failures, tc.fast, got, tc.want)
			}
		})
	}
}

// Whatever the device does, the next poll starts after the last one ended, and within
// the longest interval there is.
func TestScheduleNextBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := func(name string, lo, hi time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(int64(lo), int64(hi)).Draw(t, name))
		}
		s := Schedule{
			Line: d("line", MinGap, time.Hour), Battery: d("battery", MinGap, time.Minute),
			Retry: d("retry", 0, time.Second), Retries: rapid.IntRange(0, 5).Draw(t, "retries"),
			MaxBackoff: d("backoff", 0, time.Minute),
		}
		start := d("start", 0, time.Hour)
		end := start + d("took", 0, time.Minute)
		got := s.Next(start, end, rapid.IntRange(0, 1000).Draw(t, "failures"), rapid.Bool().Draw(t, "fast"))
		if got < end {
			t.Errorf("next poll at %v before the last ended at %v", got, end)
		}
		if latest := end + max(s.Line, s.MaxBackoff, MinGap); got > latest {
			t.Errorf("next poll at %v, want at most %v", got, latest)
		}
	})
}
