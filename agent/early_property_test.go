package agent

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"pgregory.net/rapid"
)

// threeEarly is a plan with three early steps that can be undone, due one after the other.
const threeEarly = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}]
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
shutdown:
  need: 20s
  reserve: 10s
  steps:
    - {name: late, command: ["/bin/sh", "-c", "echo late >>%DIR%/order"]}
    - name: a
      command: ["/bin/sh", "-c", "echo a >>%DIR%/order"]
      undo: ["/bin/sh", "-c", "echo -a >>%DIR%/order"]
      early: {on_battery: 3s}
    - name: b
      command: ["/bin/sh", "-c", "echo b >>%DIR%/order"]
      undo: ["/bin/sh", "-c", "echo -b >>%DIR%/order"]
      early: {below_charge_pct: 60}
    - name: c
      command: ["/bin/sh", "-c", "echo c >>%DIR%/order"]
      undo: ["/bin/sh", "-c", "echo -c >>%DIR%/order"]
      early: {on_battery: 6s}
  command: ["/bin/sh", "-c", "echo off >>%DIR%/order"]
`

// mortal is an agent that ends at an event of its steps, as if it had been killed there.
type mortal struct {
	*stepper
	life context.Context
	left int // events until it ends; negative: it lives on
}

// born starts an agent at an instant with what the one before left behind.
func (s *site) born(at int64, left int) *mortal {
	m := &mortal{left: left}
	var die context.CancelFunc
	m.stepper = s.step(threeEarly, func(o *Options) {
		record := o.OnEvent
		o.OnEvent = func(ev dodai.Event) {
			record(ev)
			if strings.HasPrefix(string(ev.Name), "step_") && die != nil {
				if m.left--; m.left == 0 {
					die()
				}
			}
		}
	})
	m.life, die = context.WithCancel(m.Agent.ctx)
	s.t.Cleanup(die)
	m.Agent.ctx = m.life
	if at != 0 {
		m.now.Store(at)
	}
	return m
}

// second is one reading, and what follows from it until the agent is idle or dead.
func (m *mortal) second(status string, charge float64) (alive bool) {
	m.read("u1", ups(status, charge, 3000))
	m.settle("the steps, or the end", func() bool {
		return m.life.Err() != nil || !m.loop.earlyBusy && !m.loop.executing
	})
	m.pass(time.Second)
	return m.life.Err() == nil
}

// weather is mains that go and come back.
type weather struct {
	status string
	charge float64
	secs   int
	ends   int // the agent is killed at so many events of steps from here on; 0: it is not
	again  bool
}

func drawWeather(t *rapid.T) []weather {
	var out []weather
	for range rapid.IntRange(1, 4).Draw(t, "outages") {
		out = append(out, weather{
			status: "OB", charge: rapid.SampledFrom([]float64{50, 90}).Draw(t, "charge"), secs: rapid.IntRange(1, 9).Draw(t, "out for"),
			ends: rapid.IntRange(0, 6).Draw(t, "ends"), again: rapid.IntRange(0, 3).Draw(t, "restart") == 0,
		}, weather{
			status: "OL", charge: 90, secs: rapid.IntRange(1, 4).Draw(t, "back for"),
			ends: rapid.IntRange(0, 6).Draw(t, "ends on line"), again: rapid.IntRange(0, 3).Draw(t, "restart on line") == 0,
		})
	}
	return out
}

// live plays the weather and returns the agent that is left, and how often one was killed.
func (s *site) live(days []weather) (m *mortal, killed int) {
	m = s.born(0, -1)
	for _, w := range days {
		if m.left = -1; w.ends > 0 {
			m.left = w.ends
		}
		for range w.secs {
			if !m.second(w.status, w.charge) {
				killed++
				m = s.reborn(m)
			}
		}
		if w.again {
			m = s.reborn(m)
		}
	}
	m.left = -1
	return m, killed
}

func (s *site) reborn(m *mortal) *mortal {
	m.end(m.life, m.loop.group)
	s.t.Helper()
	time.Sleep(20 * time.Millisecond) // a step that ran when the agent was killed runs on
	return s.born(m.now.Load(), -1)
}

// balance checks the steps that ran, up to the decision: each undone as often as done, the
// last one first. One that was interrupted may have been repeated.
func balance(order []string, exact bool) error {
	var done []string
	for i, word := range order {
		name, undo := strings.CutPrefix(word, "-")
		at := slices.Index(done, name)
		switch {
		case !undo && at < 0:
			done = append(done, name)
		case !undo && exact:
			return fmt.Errorf("%s was done twice (%d): %v", name, i, order)
		case undo && at < 0 && exact:
			return fmt.Errorf("%s was undone and had not been done (%d): %v", name, i, order)
		case undo && at >= 0:
			done = slices.Delete(done, at, at+1)
		}
	}
	for i := 1; i < len(order); i++ { // a, b, c is the plan's order
		if exact && order[i-1][0] == '-' && order[i][0] == '-' && order[i] > order[i-1] {
			return fmt.Errorf("%s was undone after %s: %v", order[i], order[i-1], order)
		}
	}
	if len(done) > 0 {
		return fmt.Errorf("never undone: %v in %v", done, order)
	}
	return nil
}

// TestEarlyStepsAreUndone: however the mains come and go, and wherever in a step the agent is
// killed or restarted: when they are back, all that was done early is undone, and without a
// kill exactly once and the last first. After the decision nothing is undone any more,
// whatever the mains do.
func TestEarlyStepsAreUndone(t *testing.T) {
	checks := flag.Lookup("rapid.checks")
	if was := checks.Value.String(); was == "100" { // nobody has asked for more
		if err := checks.Value.Set("25"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = checks.Value.Set(was) })
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := newSite(t)
		m, killed := s.live(drawWeather(rt))
		for range 3 {
			m.second("OL", 90)
		}
		if err := balance(s.lines("order"), killed == 0); err != nil {
			rt.Fatalf("%v (killed %d times)\n%s", err, killed, strings.Join(s.story(), "\n"))
		}
		if len(m.loop.earlyDone) != 0 {
			rt.Fatalf("still to be undone: %v", m.loop.earlyDone)
		}
		s.decided(rt, m)
	})
}

// decided goes down after some seconds on battery, and has the mains come back.
func (s *site) decided(rt *rapid.T, m *mortal) {
	for range rapid.IntRange(0, 8).Draw(rt, "before the decision") {
		m.second("OB", 90)
	}
	before := len(s.lines("order"))
	cut := rapid.IntRange(0, 8).Draw(rt, "killed on the way down")
	if m.left = -1; cut > 0 {
		m.left = cut
	}
	for range 5 {
		if !m.second("OB LB", 9) {
			m = s.reborn(m)
			m.resumeDown()
		}
	}
	for range 4 {
		m.second("OL", 20)
	}
	after := s.lines("order")[before:]
	if m.loop.down == nil || !m.loop.down.Finished {
		rt.Fatalf("not gone through with: %+v; %v", m.loop.down, s.lines("order"))
	}
	for _, word := range after {
		if word[0] == '-' {
			rt.Fatalf("%s after the decision: %v", word, after)
		}
	}
	for _, name := range []string{"a", "b", "c", "late", "off"} {
		if n := count(s.lines("order"), name) - count(s.lines("order"), "-"+name); n < 1 {
			rt.Fatalf("%s was not done when the machine went down: %v", name, s.lines("order"))
		}
	}
}

func count(list []string, word string) (n int) {
	for _, w := range list {
		if w == word {
			n++
		}
	}
	return n
}

// A step that was under way when the agent ended runs on; it is undone like any other.
func TestEarlyStepUnderWayWhenTheAgentEnds(t *testing.T) {
	s := newSite(t)
	m := s.born(0, 1)
	for range 5 {
		if !m.second("OB", 90) {
			break
		}
	}
	if m.life.Err() == nil || s.count(dodai.EventStepFinished) != 0 {
		t.Fatalf("not killed in the middle of a step: %v", s.story())
	}
	m = s.reborn(m)
	m.second("OL", 90)
	m.second("OL", 90)
	expectOrder(t, s, "mains back", "a", "-a")
}

// One that failed has nothing to undo, also when others run beside it.
func TestEarlyStepThatFailedIsNotUndone(t *testing.T) {
	failing := strings.Replace(earlyPlan, "echo shed >>", "sleep 0.1; echo shed >>%DIR%/order; exit 1; echo >>", 1)
	beside := strings.Replace(failing, "    - name: gone", `    - {name: beside, after: [], command: ["/bin/true"], undo: ["/bin/true"], early: {on_battery: 10s}}
    - name: gone`, 1)
	for name, plan := range map[string]string{"alone": failing, "beside another": beside} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			st := s.step(plan, nil)
			st.outage("OB", 90, 12*time.Second)
			st.outage("OL", 90, 5*time.Second)
			expectOrder(t, s, "mains back", "shed")
			if len(st.loop.earlyDone) != 0 {
				t.Errorf("still to be undone: %v", st.loop.earlyDone)
			}
		})
	}
}
