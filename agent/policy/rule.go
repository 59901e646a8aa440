package policy

// Rule names one thing the decision does: a reason to go down, or a reason to believe or
// not to believe what a device says.
type Rule string

// The rules by which a feed is doomed. They are spelled like the reasons they give, but for
// comms_line, whose reason is path_outage.
const (
	RuleFSD        Rule = "fsd"
	RuleUPSTimer   Rule = "ups_timer"
	RuleLB         Rule = "lb"
	RuleRuntime    Rule = "runtime"
	RuleCharge     Rule = "charge"
	RuleMaxOnBatt  Rule = "max_onbatt"
	RuleNoMetrics  Rule = "no_metrics"
	RuleSilence    Rule = "comms_onbatt" // silent for too long, last heard on battery
	RuleSilentLine Rule = "comms_line"   // silent for longer than the operator allows, last heard on line
	RulePath       Rule = "path_outage"  // OFF that persists, a power supply without input
)

// The rules about what to believe.
const (
	RuleConfirm     Rule = "confirm"     // trouble must hold on several readings, longer just after a transfer
	RuleCredible    Rule = "credible"    // placeholders and impossible values count as absent
	RuleFrozen      Rule = "frozen"      // answers on battery, but nothing moves: silence
	RuleStuck       Rule = "stuck"       // a runtime that stands still on battery is not believed
	RuleDischarge   Rule = "discharge"   // the observed fall shortens what the UPS says
	RuleLearned     Rule = "learned"     // so does what earlier discharges showed
	RuleOnPurpose   Rule = "on_purpose"  // a calibration or a test with mains present is no outage
	RuleDoubt       Rule = "doubt"       // OL and OB at once are decided by other evidence
	RuleLatch       Rule = "fsd_latch"   // a forced shutdown left over from before the boot, or long past, is none
	RuleCountdown   Rule = "countdown"   // a shutdown timer that does not fall is a setting
	RuleHostLives   Rule = "host_lives"  // a report that would have this host dead is false
	RulePSU         Rule = "psu_inputs"  // power supplies bear witness to their inputs
	RuleSameFeed    Rule = "same_feed"   // what one UPS says of a circuit holds for its neighbours
	RuleSeries      Rule = "series"      // UPSes one behind the other add up
	RuleSwitch      Rule = "switch"      // a transfer switch lives while any of its inputs does
	RuleLoadShift   Rule = "load_shift"  // the UPS that is left carries the load of the others
	RuleMaintenance Rule = "maintenance" // a UPS that is worked on says nothing that counts
)

// Rules lists every rule.
var Rules = []Rule{
	RuleFSD, RuleUPSTimer, RuleLB, RuleRuntime, RuleCharge, RuleMaxOnBatt, RuleNoMetrics, RuleSilence, RuleSilentLine, RulePath,
	RuleConfirm, RuleCredible, RuleFrozen, RuleStuck, RuleDischarge, RuleLearned, RuleOnPurpose, RuleDoubt, RuleLatch,
	RuleCountdown, RuleHostLives, RulePSU, RuleSameFeed, RuleSeries, RuleSwitch, RuleLoadShift, RuleMaintenance,
}

// DecidingRules are those by which a machine goes down: the Rule of a Decision and of a
// UPSView is one of them.
var DecidingRules = []Rule{
	RuleFSD, RuleUPSTimer, RuleLB, RuleRuntime, RuleCharge, RuleMaxOnBatt, RuleNoMetrics, RuleSilence, RuleSilentLine, RulePath,
	RuleSeries, RuleLoadShift,
}

// off reports whether the rule is switched off.
func (p *Policy) off(r Rule) bool { return p.Without != nil && p.Without[r] }
