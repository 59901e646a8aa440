package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// pair is a configuration with two UPSes, one of which is enough.
const pair = `
mode: armed
ups: [{name: u1, driver: fake, poll: 20ms}, {name: u2, driver: fake, poll: 20ms}]
wiring: [{psu: a, ups: u1, feed: A}, {psu: b, ups: u2, feed: B}]
policy: {confirm_polls: 1, confirm_s: 0, hysteresis_s: 0}
shutdown: {need: 20s, reserve: 10s, command: ["/bin/sh", "-c", "echo off >>%DIR%/order"]}
`

// later sets a stepper's clock forward, so that an agent that is started again in the same
// boot finds a clock that has gone on.
func later(by time.Duration) func(*Options) {
	return func(o *Options) {
		clock := o.Clock
		o.Clock = func() time.Duration { return clock() + by }
	}
}

// journaled returns the newest event called name as the journal gives it back.
func (st *stepper) journaled(name dodai.EventName) dodai.Event {
	st.t.Helper()
	st.store.flush(st.t.Context())
	list, err := st.store.events(st.t.Context(), 100)
	if err != nil {
		st.t.Fatal(err)
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Name == name {
			return list[i]
		}
	}
	st.t.Fatalf("the journal has no %s", name)
	return dodai.Event{}
}

// A decision stands with its rule, numbers and readings in the events, the journal, the log
// and the status.
func TestDecisionIsExplainedEverywhere(t *testing.T) {
	s := newSite(t)
	st := s.step(plain, nil)
	st.read("u1", ups("OL", 100, 3600))
	for range 5 {
		st.pass(time.Second)
		st.read("u1", ups("OB LB", 9, 20))
	}
	st.pass(400 * time.Millisecond)
	st.decide()
	status := st.Status()
	if status.Rule != policy.RuleLB || status.DecidedBy != "u1" || len(status.Evidence) == 0 ||
		status.Evidence[0] != (EvidenceStatus{"u1", "ups.status", "OB LB", 0.4}) || status.Evidence[1].Name != dodai.BatteryCharge {
		t.Errorf("status: rule %q, %q, evidence %+v", status.Rule, status.DecidedBy, status.Evidence)
	}
	for _, name := range []dodai.EventName{dodai.EventShutdownDecided, dodai.EventShutdownStarted} {
		ev := st.journaled(name)
		got := fmt.Sprint(ev.Fields["rule"], " ", ev.Fields["reason"], " ", ev.Fields["ups"], " ", ev.Fields["need_s"], " ", ev.Fields["reserve_s"])
		if got != "lb lb u1 20 10" {
			t.Errorf("%s: %s; all fields %v", name, got, ev.Fields)
		}
		left, margin := ev.Fields["available_s"], ev.Fields["margin_s"]
		if left != 20.0 || margin != -10.0 {
			t.Errorf("%s: %v s available, margin %v s; want 20 and -10", name, left, margin)
		}
		if got := ev.Fields["evidence"]; got != "ups.status=OB LB (0.0 s), battery.charge=9 (0.0 s), battery.runtime=20 (0.0 s), input.voltage=230 (0.0 s)" {
			t.Errorf("%s: evidence %q", name, got)
		}
		if !strings.Contains(ev.Text, "(rule lb, u1)") || !strings.HasSuffix(ev.Text, "margin -10 s = 20 s available (battery.runtime, u1) − 20 s need − 10 s reserve") {
			t.Errorf("%s: %s", name, ev.Text)
		}
		want := `rule=lb reason=lb ups=u1 available_s=20 need_s=20 reserve_s=10 margin_s=-10 evidence="ups.status=OB LB (0.0 s), battery.charge=9`
		if !s.logged("event="+string(name)) || !s.logged(want) {
			t.Errorf("the log has no %s with %s", name, want)
		}
	}
	st.idle()
}

// A feed that will not last while another one carries the host is told once, and so is its
// return; a restart in between tells neither again.
func TestFeedEdges(t *testing.T) {
	s := newSite(t)
	st := s.step(pair, nil)
	step := func(status1, status2 string, charge float64) {
		st.pass(time.Second)
		st.read("u1", ups(status1, charge, 3600))
		st.read("u2", ups(status2, 100, 3600))
	}
	step("OL", "OL", 100)
	for range 4 {
		step("OB LB", "OL", 15)
	}
	sameStory(t, st.story(), "mains_lost u1", "battery_low u1", "feed_doomed u1")
	ev := st.journaled(dodai.EventFeedDoomed)
	if !strings.Contains(ev.Text, "u1 does not count any more (rule lb): on battery") || !strings.HasSuffix(ev.Text, "stay up: 1 of 2 supplies healthy, 1 needed") ||
		ev.Fields["rule"] != "lb" || ev.Fields["ups"] != "u1" || !strings.HasPrefix(fmt.Sprint(ev.Fields["evidence"]), "ups.status=OB LB (0.0 s)") {
		t.Errorf("%s %v", ev.Text, ev.Fields)
	}
	began := st.clock()
	st.end(st.ctx, st.loop.group)

	st = s.step(pair, later(began-morning))
	for range 4 {
		step("OB LB", "OL", 15)
	}
	if n := st.count(dodai.EventFeedDoomed); n != 1 {
		t.Errorf("told %d times over the restart, want once", n)
	}
	for range 3 {
		step("OL", "OL", 50)
	}
	ev = st.journaled(dodai.EventFeedRecovered)
	if n := st.count(dodai.EventFeedRecovered); n != 1 || ev.Fields["before"] != "lb" || !strings.Contains(ev.Text, "u1 counts again: on line") {
		t.Errorf("recovered %d times: %s %v", n, ev.Text, ev.Fields)
	}
	if st.loop.down != nil || st.count(dodai.EventShutdownDecided) != 0 {
		t.Error("it went down although u2 carried the host")
	}
}

// Where the doom takes the host down the decision tells it, and no feed edge does.
func TestFeedEdgesOfADecision(t *testing.T) {
	s := newSite(t)
	st := s.step(withMode(plain, "observe"), nil)
	for range 4 {
		st.pass(time.Second)
		st.read("u1", ups("OB LB", 9, 20))
	}
	if st.count(dodai.EventFeedDoomed) != 0 || st.count(dodai.EventShutdownDecided) != 1 {
		t.Errorf("story %v", st.story())
	}
	for range 3 {
		st.pass(time.Second)
		st.read("u1", ups("OL", 50, 2000))
	}
	if !s.logged("the reason to go down is over") || st.count(dodai.EventFeedRecovered) != 1 {
		t.Errorf("the change of mind is not told: %v", st.story())
	}
}

// Feeds that are lost, and those of which nothing is known yet.
func TestFeedEdgesOfLostFeeds(t *testing.T) {
	view := func(lost bool) *policy.Decision {
		return &policy.Decision{UPSes: []policy.UPSView{{UPS: "u1", Doomed: policy.ReasonNone, Lost: lost, Rule: policy.RulePath}}}
	}
	read := policy.Memory{UPS: map[string]policy.UPSMemory{"u1": {Read: policy.Mark{Set: true}}}}
	for name, tc := range map[string]struct {
		was, now *policy.Decision
		before   policy.Memory
		after    policy.Memory
		want     dodai.EventName
	}{
		"lost":                            {view(false), view(true), read, read, dodai.EventFeedDoomed},
		"still lost":                      {view(true), view(true), read, read, ""},
		"back":                            {view(true), view(false), read, read, dodai.EventFeedRecovered},
		"lost since before the agent was": {&policy.Decision{}, view(true), read, read, ""},
		"healthy from the start":          {&policy.Decision{}, view(false), read, read, ""},
		"forgotten with a reboot": {&policy.Decision{}, view(false),
			policy.Memory{UPS: map[string]policy.UPSMemory{"u1": {Doomed: policy.ReasonLB}}}, policy.Memory{UPS: map[string]policy.UPSMemory{"u1": {}}}, ""},
	} {
		var got dodai.EventName
		for _, ev := range feedEdges(tc.was, tc.before, tc.now, tc.after) {
			got += ev.Name
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
