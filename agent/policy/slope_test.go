package policy

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// leg is n falls by the same, each after the same time.
type leg struct {
	by, every float64 // percent, seconds
	n         int
}

// fell is a slope that saw 100 % at 0 s and then the legs, and when it saw the last.
func fell(legs []leg) (s Slope, now float64) {
	v := 100.0
	s.see(v, false, 0)
	for _, l := range legs {
		for range l.n {
			v, now = v-l.by, now+l.every
			s.see(v, false, time.Duration(now*float64(time.Second)))
		}
	}
	return s, now
}

// TestSlopeLeft is worked out by hand: a fall lies in the middle of the two readings that
// show it, the last of several half of one's share of the time before the second, and in
// whole steps the value was half a step higher then.
func TestSlopeLeft(t *testing.T) {
	for _, tc := range []struct {
		name  string
		legs  []leg
		later float64 // seconds after the last reading
		want  float64 // seconds left; 0: not known
	}{
		{"linear", []leg{{1, 10, 12}}, 0, 880},
		{"until the next step is due", []leg{{1, 10, 12}}, 5, 875},
		{"the next step is overdue", []leg{{1, 10, 12}}, 10, 87.5 / (12.0 / 125)},
		{"long overdue", []leg{{1, 10, 12}}, 80, 87.5 / (12.0 / 195)},
		{"nothing yet", nil, 0, 0},
		{"50 s of fall", []leg{{1, 10, 6}}, 0, 0},
		{"60 s of fall", []leg{{1, 10, 7}}, 0, 930},
		{"what is long past is another load", []leg{{1, 5, 20}, {1, 20, 10}}, 0, 1400},
		{"two coarse steps", []leg{{5, 60, 2}}, 0, 0},
		{"three coarse steps, watched for long enough", []leg{{5, 24, 3}}, 0, 85.5/(10.0/48) - 12},
		{"three steps after a standstill", []leg{{0, 10, 6}, {1, 5, 3}}, 0, 97.5/(4*10/72.5/10) - 2.5},
		{"four coarse steps", []leg{{5, 60, 4}}, 0, 78 / (10.0 / 120)},
		{"readings too far apart", []leg{{5, 61, 4}}, 0, 0},
		{"a slight rise", []leg{{1, 10, 7}, {-2, 10, 1}, {1, 10, 1}}, 0, 92.5 / (7.0 / 85)},
		{"a rise", []leg{{1, 10, 7}, {-2.1, 10, 1}, {1, 10, 1}}, 0, 0},
		{"steps of ten", []leg{{10, 30, 3}}, 0, 65.5 / (20.0 / 60)},
		{"jumps", []leg{{10.1, 30, 3}}, 0, 0},
		{"three steps at once", []leg{{1, 10, 7}, {3, 10, 1}}, 0, 90.5/(27.0/220) - 5.0/3},
		{"a jump after steps of one", []leg{{1, 10, 7}, {6.1, 10, 1}}, 0, 0},
		{"the end of a battery", []leg{{1, 6, 12}, {4, 5, 4}}, 0, 72.5/(27/86.5) - 2.5},
		{"three steps of two at once", []leg{{2, 10, 7}, {6, 10, 1}}, 0, 80.5/(54.0/220) - 5.0/3},
		{"a jump after steps of two", []leg{{2, 10, 7}, {6.1, 10, 1}}, 0, 0},
		{"twice the rate in a gap", []leg{{3, 10, 7}, {18, 30, 1}}, 0, 61.5/(36/92.5) - 2.5},
		{"a jump in a gap", []leg{{3, 10, 7}, {18.1, 30, 1}}, 0, 0},
		{"fine steps are taken together", []leg{{0.4, 2, 50}}, 0, 401.5},
		{"those 5 s apart are not", []leg{{0.5, 5, 30}}, 0, 850},
		{"standing still", []leg{{0, 5, 30}}, 0, 0},
		{"at the end", []leg{{10, 10, 10}}, 100, 0.01},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, now := fell(tc.legs)
			got, ok := s.left(time.Duration((now + tc.later) * float64(time.Second)))
			if ok != (tc.want > 0) || math.Abs(got-tc.want) > 0.1 {
				t.Errorf("%.2f s left, known %v; want %.2f s", got, ok, tc.want)
			}
		})
	}
}

// TestSlopeOfAnother: charge and voltage are two observations.
func TestSlopeOfAnother(t *testing.T) {
	s, now := fell([]leg{{1, 10, 12}})
	s.see(87.9, true, time.Duration(now+5)*time.Second)
	if len(s.Points) != 0 || !s.Volts {
		t.Errorf("the voltage goes on with the slope of the charge: %+v", s)
	}
}

// TestObserved: the discharge shortens what the UPS says, and never lengthens it. The
// first 30 s after a transfer do not count.
func TestObserved(t *testing.T) {
	for _, tc := range []struct {
		name    string
		runtime bool
		charge  func(s float64) float64
		until   float64
		source  string
		want    float64
	}{
		{"falls faster than it says", true, func(s float64) float64 { return 100 - s/4 }, 130, "charge slope", 270},
		{"falls slower", true, func(s float64) float64 { return 100 - s/40 }, 250, "battery.runtime", 650},
		{"runtime unknown", false, func(s float64) float64 { return 100 - s/4 }, 130, "charge slope", 270},
		{"a fall at the transfer alone", false, func(s float64) float64 { return max(94, 100-s/5) - max(0, s-30)/60 }, 125, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.play("0 u1 OL charge=100")
			for s := 0.0; s <= tc.until; s += 2 {
				words := []string{"OB", fmt.Sprintf("charge=%.0f", tc.charge(s))}
				if tc.runtime {
					words = append(words, fmt.Sprintf("runtime=%.0f", 900-s))
				}
				w.read("u1", at(s), reading(t, words))
			}
			v, got := w.last.UPS("u1"), 0.0
			if v.Available != nil {
				got = v.Available.Seconds()
			}
			if v.Source != tc.source || math.Abs(got-tc.want) > 10 {
				t.Errorf("%.0f s by %q, want %.0f by %q", got, v.Source, tc.want, tc.source)
			}
		})
	}
}

// TestEarlyJump: a correction of the charge is one before there is a rate to hold it against.
func TestEarlyJump(t *testing.T) {
	for _, tc := range []struct {
		name  string
		legs  []leg
		began bool // anew
	}{
		{"a step of eight after one of one", []leg{{1, 9, 1}, {8, 2, 1}}, true},
		{"coarse steps", []leg{{5, 40, 2}}, false},
		{"a step that came in a silence", []leg{{1, 9, 1}, {8, 20, 1}}, false},
		{"two coarse steps at once", []leg{{5, 48, 3}, {10, 2, 1}}, true},
		{"two after one", []leg{{1, 9, 1}, {2, 9, 1}}, false},
	} {
		s, _ := fell(tc.legs)
		if began := len(s.Points) == 0; began != tc.began {
			t.Errorf("%s: began anew %v, want %v: %+v", tc.name, began, tc.began, s.Points)
		}
	}
}
