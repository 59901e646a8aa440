package policy

import (
	"slices"
	"time"
)

const (
	slopeSkip   = 30 * time.Second  // after a transfer the charge jumps before it falls
	slopeMin    = 60 * time.Second  // of steady fall, before it says anything
	slopeWindow = 120 * time.Second // what lies further back is another load
	slopeGap    = 60 * time.Second  // no reading for so long: begin anew
	slopeSpace  = 5 * time.Second   // between two points
	slopePoints = 40
	slopeJump   = 10 // percent between two readings that cannot be a discharge
	slopeFirst  = 4  // percent above the step before, and times that step, that are a correction
	slopeFall   = 6  // percent that a battery may fall by at its end, from one reading to the next
	slopeRise   = 2  // percent
)

// Slope is the observed discharge: when the percentage left was seen to fall to what.
type Slope struct {
	Points []Point       `json:"points,omitempty"`
	Prev   float64       `json:"prev"` // percent, in the reading before
	At     time.Duration `json:"at"`   // when that was
	Begun  bool          `json:"begun,omitempty"`
	Start  time.Duration `json:"start"`           // of the observation
	Volts  bool          `json:"volts,omitempty"` // from the battery's voltage, not its charge
}

// Point is one fall. At lies between the two readings that show it.
type Point struct {
	At time.Duration `json:"at"`
	V  float64       `json:"v"`    // percent after it
	By float64       `json:"drop"` // percent since the point before
}

func (s *Slope) shift(d time.Duration) {
	if s.Begun {
		s.At += d
		s.Start += d
	}
	for i := range s.Points {
		s.Points[i].At += d
	}
}

// see takes a reading of the percentage left into account. A jump, either way, is the
// UPS correcting itself: the observation begins anew.
func (s *Slope) see(v float64, volts bool, at time.Duration) {
	fall := s.Prev - v
	if !s.Begun || s.Volts != volts || at-s.At > slopeGap || fall < -slopeRise || fall > s.jump(at-s.At) {
		*s = Slope{Prev: v, At: at, Begun: true, Start: at, Volts: volts}
		return
	}
	s.add(v, fall, s.fellAt(fall, at))
	s.Prev, s.At = v, at
}

// fellAt is when the last step of a fall came that a reading at at shows: half a step's
// time before it, on average, and in the middle of the gap when the fall is one step.
func (s *Slope) fellAt(fall float64, at time.Duration) time.Duration {
	steps := 1.0
	if n := len(s.Points); n > 0 && s.Points[n-1].By > 0 {
		steps = max(1, fall/s.Points[n-1].By)
	}
	return at - time.Duration(float64(at-s.At)/(2*steps)).Round(time.Millisecond) // points must not slip by the rounding of a float
}

func (s *Slope) add(v, fall float64, mid time.Duration) {
	by := fall
	if n := len(s.Points); n > 0 {
		last := s.Points[n-1]
		if by = last.V - v; mid-last.At < slopeSpace {
			return
		}
	}
	if by <= 0 {
		return
	}
	if len(s.Points) == slopePoints {
		s.Points = s.Points[1:]
	}
	s.Points = append(slices.Clip(s.Points), Point{At: mid, V: v, By: by})
}

// jump is the largest fall over gap that can be a discharge.
func (s *Slope) jump(gap time.Duration) float64 {
	n := len(s.Points)
	switch {
	case n == 0:
		return slopeJump
	case n < 3: // no rate yet: the only step is the measure
		return min(slopeJump, max(slopeFall, min(slopeFirst*s.Points[n-1].By, slopeFirst+s.Points[n-1].By))*max(1, gap.Seconds()/slopeSpace.Seconds()))
	}
	step := max(s.Points[n-1].By, s.Points[n-2].By)
	rate, _ := s.rate(s.At)
	return min(max(slopeJump, 2*rate*gap.Seconds()), max(slopeFall, min(3*step, step+slopeFirst), 2*rate*gap.Seconds()))
}

// rate is the fall in percent a second at now, over the last slopeWindow or, where the
// steps are coarse, over the last two steps.
func (s *Slope) rate(now time.Duration) (float64, bool) {
	n := len(s.Points)
	if n < 3 {
		return 0, false
	}
	last, from := s.Points[n-1], s.Points[n-3]
	for i := n - 4; i >= 0 && last.At-from.At < slopeWindow; i-- {
		from = s.Points[i]
	}
	span, watched := last.At-from.At, last.At-s.Start
	if watched < slopeMin {
		return 0, false
	}
	fall := from.V - last.V
	if span < slopeMin { // a few steps after a standstill are no steady fall
		first := s.Points[0]
		fall = min(fall, (first.V+first.By-last.V+last.By)*span.Seconds()/watched.Seconds())
	}
	// When the next step is overdue the fall has slowed down.
	slower := (fall + last.By) / (now - from.At).Seconds()
	return min(fall/span.Seconds(), slower), true
}

// left is how many seconds the observed fall leaves at now.
func (s *Slope) left(now time.Duration) (float64, bool) {
	rate, ok := s.rate(now)
	if !ok || rate <= 0 {
		return 0, false
	}
	last := s.Points[len(s.Points)-1]
	// Shown in whole steps, the value was half a step higher when it changed.
	v := last.V + min(last.By, 1)/2 - min(rate*(now-last.At).Seconds(), last.By)
	return max(0, v/rate), true
}
