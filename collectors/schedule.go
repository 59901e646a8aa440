package collectors

import "time"

// Schedule says when to ask a device. It is pure, so that a replayed scenario polls
// exactly as the agent does. All intervals are greater than zero.
type Schedule struct {
	Line    time.Duration // start to start, on line
	Battery time.Duration // start to start, on battery or doubtful; a local device has MinGap here: back to back
	Retry   time.Duration // end to start, after a failed read
	Retries int           // so many quick retries before the ordinary interval
	// MaxBackoff bounds the interval for a device that stays silent on line; 0: no
	// back-off. A device that was last heard on battery is never backed off from.
	MaxBackoff time.Duration
}

// MinGap is the pause between two back-to-back polls of a local device. It keeps a
// driver that fails at once from spinning, and a paced serial line is busy anyway.
const MinGap = 20 * time.Millisecond

// Next returns when to start the next poll, after one that ran from start to end.
// failures counts failed polls in a row, this one included; 0 when it succeeded.
// fast is true while the device's UPS is on battery, doubtful or flapping.
func (s Schedule) Next(start, end time.Duration, failures int, fast bool) time.Duration {
	every := s.Line
	if fast {
		every = min(s.Battery, s.Line)
	}
	switch {
	case failures == 0:
	case failures <= s.Retries:
		return end + min(s.Retry, max(every, MinGap))
	case !fast && s.MaxBackoff > every:
		for range min(failures-s.Retries, 16) {
			every = min(2*every, s.MaxBackoff)
		}
	}
	return max(start+every, end+MinGap)
}
