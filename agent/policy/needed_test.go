package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// need is a case that is decided otherwise when one rule is switched off.
type need struct {
	rule          Rule
	name          string
	change        func(*Config)
	site          site
	factor        float64       // what was learned of u1; 0: nothing
	booted        time.Duration // before the case; 0: long ago
	play          func(w *world)
	with, without Reason
}

// script is a case of readings alone.
func script(s string) func(*world) { return func(w *world) { w.play(s) } }

func two(c *Config) { c.MinSupplies = 2 }

var (
	pair   = []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "B"}}
	atsOn2 = []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "a", UPS: "u2", Feed: "B"}, {PSU: "b", UPS: "u3", Feed: "B"}}
	mains  = []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", Feed: "A"}}
)

// needs has at least one case for each rule.
var needs = []need{
	{rule: RuleFSD, name: "announced on line", play: script("0 u1 OL\n5 u1 OL FSD"), with: ReasonFSD, without: ReasonNone},
	{rule: RuleUPSTimer, name: "armed on line", play: script("0 u1 OL timer=-1\n5 u1 OL timer=60"), with: ReasonUPSTimer, without: ReasonNone},
	{rule: RuleLB, name: "says LB alone", play: script("0 u1 OB\n20 u1 OB LB\n22 u1 OB LB"), with: ReasonLB, without: ReasonNone},
	{rule: RuleRuntime, name: "less than a shutdown takes", play: script("0 u1 OB runtime=300\n130 u1 OB runtime=170\n132 u1 OB runtime=168"), with: ReasonRuntime, without: ReasonNone},
	{rule: RuleCharge, name: "charge alone", play: script("0 u1 OB charge=90\n20 u1 OB charge=20\n22 u1 OB charge=20"), with: ReasonCharge, without: ReasonNone},
	{
		rule: RuleMaxOnBatt, name: "the operator's limit", change: func(c *Config) { c.MaxOnBattS = new(Seconds(60)) },
		play: script("0 u1 OB charge=90\n60 u1 OB charge=89"), with: ReasonMaxOnBatt, without: ReasonNone,
	},
	{rule: RuleNoMetrics, name: "contacts", play: script("0 u1 OB\n120 u1 OB"), with: ReasonNoMetrics, without: ReasonNone},
	{rule: RuleSilence, name: "the cable falls out in an outage", play: script("0 u1 OB charge=90\n60 u1 fails"), with: ReasonCommsOnBatt, without: ReasonNone},
	{
		rule: RuleSilentLine, name: "the network dies with the mains", change: func(c *Config) { c.CommsLostLineS = new(Seconds(60)) },
		play: script("0 u1 OL charge=90\n60 u1 fails"), with: ReasonPathOutage, without: ReasonNone,
	},
	{
		rule: RulePath, name: "one of two feeds was switched off", change: two,
		play: script("0 u2 OL\n0 u1 OL OFF\n31 u1 OL OFF\n32 u2 OL"), with: ReasonPathOutage, without: ReasonNone,
	},
	{rule: RuleConfirm, name: "a blip of LB at the transfer", play: script("0 u1 OB LB\n1.5 u1 OB LB"), with: ReasonNone, without: ReasonLB},
	{rule: RuleCredible, name: "a runtime of 0 with a full battery", play: script("0 u1 OB charge=90 runtime=0\n20 u1 OB charge=89 runtime=0"), with: ReasonNone, without: ReasonRuntime},
	{
		rule: RuleFrozen, name: "a driver that repeats itself", play: script("0 u1 OB charge=90 runtime=900\n120 u1 OB charge=90 runtime=900"),
		with: ReasonCommsOnBatt, without: ReasonNone,
	},
	{
		rule: RuleStuck, name: "a runtime that is a setting", play: script("0 u1 OB runtime=900 load=40\n121 u1 OB runtime=900 load=41"),
		with: ReasonNoMetrics, without: ReasonNone,
	},
	{rule: RuleDischarge, name: "a charge that falls faster than the runtime says", play: falls, with: ReasonRuntime, without: ReasonNone},
	{
		rule: RuleLearned, name: "a battery that gave half of what it claimed", factor: 0.5,
		play: script("0 u1 OB runtime=330\n20 u1 OB runtime=310\n22 u1 OB runtime=308"), with: ReasonRuntime, without: ReasonNone,
	},
	{
		rule: RuleOnPurpose, name: "a calibration runs the battery down", play: script("0 u1 OL charge=100 volts=230\n5 u1 OB CAL LB charge=9 volts=230\n9 u1 OB CAL LB charge=9 volts=230"),
		with: ReasonNone, without: ReasonLB,
	},
	{
		rule: RuleDoubt, name: "OL and OB with mains present", play: script("0 u1 OL OB LB charge=90 volts=230\n20 u1 OL OB LB charge=90 volts=230"),
		with: ReasonNone, without: ReasonLB,
	},
	{rule: RuleLatch, name: "FSD left over from before the boot", booted: time.Minute, play: script("0 u1 OL FSD charge=90"), with: ReasonNone, without: ReasonFSD},
	{rule: RuleCountdown, name: "a timer that is a setting", play: script("0 u1 OL timer=60\n60 u1 OL timer=60"), with: ReasonNone, without: ReasonUPSTimer},
	{rule: RuleHostLives, name: "the only feed says OFF", play: script("0 u1 OL OFF\n31 u1 OL OFF"), with: ReasonNone, without: ReasonPathOutage},
	{
		rule: RuleHostLives, name: "no supply has input", site: site{paths: pair},
		play: func(w *world) {
			w.play("0 u1 OL\n0 u2 OL")
			w.supplies(1, "a:lost b:lost")
			w.supplies(3, "a:lost b:lost")
		}, with: ReasonNone, without: ReasonPathOutage,
	},
	{
		rule: RulePSU, name: "a cable pulled behind a healthy UPS", change: two, site: site{paths: pair},
		play: func(w *world) {
			w.play("0 u1 OL\n0 u2 OL")
			w.supplies(1, "a:lost b:ok")
			w.supplies(3, "a:lost b:ok")
		}, with: ReasonPathOutage, without: ReasonNone,
	},
	{
		rule: RuleSameFeed, name: "a supply on the circuit that failed", site: site{paths: mains},
		play: script("0 u1 OB LB\n20 u1 OB LB\n22 u1 OB LB"), with: ReasonLB, without: ReasonNone,
	},
	{
		rule: RuleSeries, name: "the rack UPS carries a shutdown", site: site{links: []dodai.Link{{UPS: "u1", FedBy: "u2"}}}, change: two,
		play: script("0 u1 OL runtime=300\n5 u2 OB LB\n20 u1 OL runtime=300\n20 u2 OB LB\n22 u2 OB LB"), with: ReasonNone, without: ReasonLB,
	},
	{
		rule: RuleSwitch, name: "two inputs of one supply are not two supplies", site: site{paths: atsOn2}, change: two,
		play: script("0 u1 OL\n0 u2 OL\n0 u3 OB LB\n20 u3 OB LB\n22 u3 OB LB"), with: ReasonLB, without: ReasonNone,
	},
	{
		rule: RuleLoadShift, name: "neither alone, nor one after the other", site: site{paths: pair},
		play: script("0 u1 OB runtime=120 load=40\n0 u2 OB runtime=400 load=40\n20 u1 OB runtime=100 load=40\n20 u2 OB runtime=280 load=40\n22 u1 OB runtime=98 load=40\n22 u2 OB runtime=278 load=40"),
		with: ReasonRuntime, without: ReasonNone,
	},
	{
		rule: RuleMaintenance, name: "its battery is being changed", site: site{maint: []dodai.Maintenance{{UPS: "u1", Since: start, Until: at(100), Reason: "battery"}}},
		play: script("0 u1 OL\n5 u1 OB LB\n9 u1 OB LB"), with: ReasonNone, without: ReasonLB,
	},
}

// falls is a charge that ends in 200 s under a runtime that says 600 s.
func falls(w *world) {
	w.play("0 u1 OL charge=100 runtime=600")
	for s := 1.0; s < 110; s += 2 {
		r := reading(w.t, []string{"OB"})
		r.Vars[dodai.BatteryCharge], r.Vars[dodai.BatteryRuntime] = dodai.Num(100-s/2), dodai.Num(600-s)
		w.read("u1", at(s), r)
	}
}

// run plays the case without a rule; empty: with all of them.
func (n need) run(t *testing.T, without Rule) Decision {
	w := newWorld(t, n.change)
	w.snap.Paths, w.snap.Links, w.snap.Maintenance = n.site.paths, n.site.links, n.site.maint
	if without != "" {
		w.pol.Without = map[Rule]bool{without: true}
	}
	if n.factor > 0 {
		w.learned("u1", n.factor)
	}
	if n.booted > 0 {
		w.snap.BootedAt, w.snap.AgentStartedAt = start-n.booted, start-n.booted
	}
	n.play(w)
	return w.last
}

// TestEveryRuleIsNeeded: for each rule there is a case that is decided otherwise without it.
func TestEveryRuleIsNeeded(t *testing.T) {
	shown := map[Rule]bool{}
	for _, n := range needs {
		t.Run(string(n.rule)+"/"+n.name, func(t *testing.T) {
			with, without := n.run(t, ""), n.run(t, n.rule)
			if with.Reason != n.with || with.Shutdown != (n.with != ReasonNone) {
				t.Errorf("with all rules: %s, want %s: %s", with.Reason, n.with, with.Explanation)
			}
			if without.Reason != n.without || without.Shutdown != (n.without != ReasonNone) {
				t.Errorf("without %s: %s, want %s: %s", n.rule, without.Reason, n.without, without.Explanation)
			}
			if with.Shutdown == without.Shutdown {
				t.Errorf("it shows nothing: %v either way", with.Shutdown)
			}
			shown[n.rule] = shown[n.rule] || with.Shutdown != without.Shutdown && !t.Failed()
		})
	}
	for _, rule := range Rules {
		if !shown[rule] {
			t.Errorf("nothing shows what the rule %s is good for", rule)
		}
	}
	for rule := range shown {
		if !slices.Contains(Rules, rule) {
			t.Errorf("the rule %s is not in the list", rule)
		}
	}
}
