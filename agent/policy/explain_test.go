package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// TestExplanation: the rule, the UPS, whose battery the margin is and what is said of each
// supply, at sites of several kinds.
func TestExplanation(t *testing.T) {
	pair := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "B"}}
	twice := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "a", UPS: "u2", Feed: "B"}}
	mains := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", Feed: "A"}}
	series := []dodai.Link{{UPS: "rack", FedBy: "room"}}
	low := "0 u1 OB LB runtime=300\n5 u1 OB LB runtime=295"
	for _, tc := range []struct {
		name    string
		paths   []dodai.Path
		links   []dodai.Link
		min     int
		play    func(w *world)
		rule    Rule
		reason  Reason
		decider string
		want    []string // parts of the explanation
	}{
		{"nothing happens", nil, nil, 1, func(w *world) { w.play("0 u1 OL runtime=900") }, "", ReasonNone, "",
			[]string{"stay up: 1 of 1 supplies healthy, 1 needed; u1: on line", "; margin 720 s = 900 s available (battery.runtime, u1) − 120 s need − 60 s reserve"}},
		{"nobody knows how long", nil, nil, 1, func(w *world) { w.play("0 u1 OL") }, "", ReasonNone, "",
			[]string{"; margin not known (nothing credible says how long the batteries last): 120 s need, 60 s reserve"}},
		{"low battery", nil, nil, 1, func(w *world) { w.play(low) }, RuleLB, ReasonLB, "u1",
			[]string{"shut down (rule lb, u1): 0 of 1 supplies healthy", "says its battery is low (LB)", "margin 115 s = 295 s available (battery.runtime, u1)"}},
		{"runtime that is believed in part", nil, nil, 1, func(w *world) {
			w.learned("u1", 0.5)
			w.play("0 u1 OB runtime=340\n15 u1 OB runtime=325\n17 u1 OB runtime=322")
		}, RuleRuntime, ReasonRuntime, "u1",
			[]string{"on battery, 161 s left by battery.runtime × 0.50 learned; a shutdown needs 120 s and 60 s of reserve", "margin -19 s = 161 s available (battery.runtime × 0.50 learned, u1)"}},
		{"in series", nil, series, 1, func(w *world) {
			w.play("0 rack OL runtime=60\n5 room OB LB runtime=119\n20 room OB LB runtime=105\n22 room OB LB runtime=103")
		},
			RuleSeries, ReasonLB, "rack",
			[]string{"shut down (rule series, rack, reason lb): ", "rack: is fed by room, which ends in", "available (battery.runtime, rack)"}},
		{"silent on line for longer than allowed", nil, nil, 1, func(w *world) {
			w.pol.CommsLostLineS = new(Seconds(30))
			w.play("0 u1 OL runtime=900\n10 u1 fails\n31 u1 fails")
		}, RuleSilentLine, ReasonPathOutage, "u1", []string{"(rule comms_line, u1, reason path_outage)"}},
		{"the others' load", pair, nil, 1, func(w *world) {
			for _, s := range []string{"0", "3", "6", "14", "15", "16"} {
				w.play(s + " u1 OB runtime=20 load=40\n" + s + " u2 OB runtime=380 load=40")
			}
		}, RuleLoadShift, ReasonRuntime, "u2",
			[]string{"rule load_shift, u2, reason runtime", "available (u1 and u2 together, each that ends handing on its load)"}},
		{"a transfer switch that saves", twice, nil, 1, func(w *world) { w.play("0 u2 OL runtime=900\n" + low) }, "", ReasonNone, "",
			[]string{"stay up: 1 of 1 supplies healthy, 1 needed; psu a lives from u2 by its transfer switch; u1: on battery"}},
		{"one that does not", twice, nil, 1, func(w *world) { w.play("0 u2 OB\n" + low + "\n6 u2 OB LB\n9 u2 OB LB") }, RuleLB, ReasonLB, "u2",
			[]string{"; psu a has no input before its transfer switch that will be left; "}},
		{"mains that are gone", mains, nil, 2, func(w *world) { w.play("0 u1 OB runtime=900") }, RulePath, ReasonPathOutage, "",
			[]string{"shut down (rule path_outage): 1 of 2 supplies healthy, 2 needed; psu b hangs on the mains of feed A, which are gone; u1:"}},
		{"a supply that hangs on the mains", mains, nil, 1, func(w *world) { w.play("0 u1 OL runtime=900") }, "", ReasonNone, "",
			[]string{"margin 720 s = 900 s available (battery.runtime, u1)"}},
		{"both are needed and one hangs on the mains", mains, nil, 2, func(w *world) { w.play("0 u1 OL runtime=900") }, "", ReasonNone, "",
			[]string{"margin not known (a supply hangs on the mains themselves)"}},
		{"an output that is off", pair, nil, 2, func(w *world) { w.play("0 u2 OL\n1 u1 OL OFF\n15 u2 OL\n32 u1 OL OFF") }, RulePath, ReasonPathOutage, "u1",
			[]string{"(rule path_outage, u1)", "u1: has said OFF for 31 s"}},
		{"a supply that says so", pair, nil, 2, func(w *world) {
			w.play("0 u1 OL\n0 u2 OL")
			w.supplies(1, "a:lost b:ok")
			w.supplies(3, "a:lost b:ok")
		}, RulePath, ReasonPathOutage, "u1", []string{"u1: power supply a reports that it has no input"}},
		{"a broken supply", pair, nil, 1, func(w *world) { w.play("0 u1 OL\n0 u2 OL"); w.supplies(1, "a:failed b:ok") }, "", ReasonNone, "",
			[]string{"stay up: 1 of 2 supplies healthy, 1 needed; psu a is broken or not there; u1:"}},
		{"maintenance", pair, nil, 1, func(w *world) {
			w.snap.Maintenance = []dodai.Maintenance{{UPS: "u1", Since: start, Until: at(100), Reason: "new battery", By: "root"}}
			w.play("0 u2 OL runtime=900\n" + low)
		}, "", ReasonNone, "", []string{"stay up: 2 of 2", "u1: in maintenance for another 95 s (new battery, declared by root): nothing it says counts"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.MinSupplies = tc.min })
			w.snap.Paths, w.snap.Links = tc.paths, tc.links
			tc.play(w)
			d := w.last
			if d.Rule != tc.rule || d.Reason != tc.reason || d.Decider != tc.decider || !strings.HasPrefix(d.Explanation, d.Summary+"; ") {
				t.Errorf("rule %q, reason %s, about %q; want %q, %s, %q", d.Rule, d.Reason, d.Decider, tc.rule, tc.reason, tc.decider)
			}
			for _, part := range tc.want {
				if !strings.Contains(d.Explanation, part) {
					t.Errorf("%q\nlacks %q", d.Explanation, part)
				}
			}
		})
	}
}

// TestEveryDoomHasItsRule: whatever is said and happens, a feed that does not count has a
// rule, one that counts has none, and a decision to go down has that of its UPS.
func TestEveryDoomHasItsRule(t *testing.T) {
	for _, tc := range ruleCases {
		w := newWorld(t, tc.change)
		w.play(tc.script)
		for _, d := range w.all {
			if d.Shutdown != (d.Rule != "") || d.Shutdown && !slices.Contains(DecidingRules, d.Rule) {
				t.Errorf("%s: shutdown %v by rule %q", tc.name, d.Shutdown, d.Rule)
			}
			for _, v := range d.UPSes {
				if bad := v.Doomed != ReasonNone || v.Lost; bad != (v.Rule != "") || bad && !slices.Contains(DecidingRules, v.Rule) {
					t.Errorf("%s: %+v", tc.name, v)
				}
			}
			if v := d.UPS(d.Decider); d.Shutdown && (v == nil || v.Rule != d.Rule) {
				t.Errorf("%s: rule %q about %q, whose own is %+v", tc.name, d.Rule, d.Decider, v)
			}
		}
	}
}

// TestBriefMakesNoWords: none of it is made where nobody reads it, and all else is the same.
func TestBriefMakesNoWords(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL runtime=900\n5 u1 OB runtime=890")
	brief := w.pol
	brief.Brief = true
	d, _ := brief.Decide(w.snap, w.mem, at(6))
	if d.Explanation+d.Summary+d.AvailableFrom != "" || d.Evidence != nil || d.UPSes[0].Why != "" {
		t.Errorf("words are made: %+v", d)
	}
	if full, _ := w.pol.Decide(w.snap, w.mem, at(6)); *full.Margin != *d.Margin || full.Rule != d.Rule || full.AvailableFrom == "" {
		t.Errorf("%+v\nbriefly %+v", full, d)
	}
}

func TestMarginText(t *testing.T) {
	for _, tc := range []struct {
		d    Decision
		want string
	}{
		{Decision{Need: 17400 * time.Millisecond, Reserve: 10600 * time.Millisecond, Available: new(30 * time.Second)}, "margin 2 s = 30 s available − 17 s need − 11 s reserve"},
		{Decision{Need: time.Second, Available: new(time.Duration(0)), AvailableFrom: "x, u1"}, "margin -1 s = 0 s available (x, u1) − 1 s need − 0 s reserve"},
		{Decision{Need: time.Second}, "margin not known: 1 s need, 0 s reserve"},
	} {
		if got := tc.d.MarginText(); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
