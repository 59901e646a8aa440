package agent

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The mains fail again while a shutdown for the power, which was called off, is undone: it
// takes over at once.
func TestPowerFailsWhileItIsUndone(t *testing.T) {
	s := newSite(t)
	text := strings.Replace(operated, "  need: 2s", "  point_of_no_return: burn\n  need: 600s", 1)
	text = strings.Replace(text, "sleep 0.2", "sleep 9", 1)
	st := s.step(text, nil)
	for range 6 {
		st.read("u1", ups("OB LB", 9, 1200))
		st.pass(time.Second)
	}
	st.settle("the second step", func() bool { return slices.Contains(s.lines("order"), "db") })
	for range 20 {
		st.read("u1", ups("OL", 30, 1500))
		st.pass(time.Second)
	}
	st.settle("the undoing of the first", func() bool { return slices.Contains(s.lines("order"), "unweb") })
	for range 6 {
		st.read("u1", ups("OB LB", 9, 1200))
		st.pass(time.Second)
	}
	began := time.Now()
	st.settle("the second shutdown", func() bool { return len(s.lines("order")) >= 6 })
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("taken over after %v", d)
	}
}

// The agent is started anew in an operator's shutdown, and the power fails before that is
// gone on with: nothing is run twice.
func TestPressBeforeItIsGoneOnWith(t *testing.T) {
	s := newSite(t)
	text := strings.Replace(killed, "%ONCE%", "once: true, ", 1)
	st := s.step(text, nil)
	st.loop.down = &downState{stamp: st.stamp(), Reason: reasonOperator, Operator: "ann", Explanation: "asked for by ann", Done: []string{"first"}, Started: []string{"slow"}}
	st.saveDown()
	st.end(st.ctx, st.loop.group)
	st = s.step(text, nil)
	st.low()
	st.resumeDown()
	st.idle()
	if got := s.lines("order"); !slices.Equal(got, []string{"after", "off"}) {
		t.Errorf("%q", got)
	}
}
