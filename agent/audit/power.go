package audit

import (
	"fmt"

	"github.com/dodai-agent/dodai"
)

func works(p dodai.PSU) bool {
	return p.State == dodai.PSUOK || p.State == dodai.PSUWarning || p.State == dodai.PSUPredictive
}

// supplies looks at each source of readings about this server's power supplies.
func (a *auditor) supplies() {
	devices := a.s.OfKind(dodai.KindPSUs)
	for _, d := range devices {
		if d.Reading != nil {
			a.supplySet(d, d.Reading)
		}
	}
	if len(devices) == 0 && len(a.s.Devices) > 0 {
		a.add(Finding{
			ID: IDNoSupplies, Component: "power supplies", Severity: SeverityAdvice,
			Consequence: "nothing tells when a power supply dies or loses its input, so a server with two may run on one unnoticed",
			Evidence:    []Evidence{{Text: "no device of kind psus is configured"}},
			Remedy:      "read the supplies from the BMC: psus: [{name: bmc, driver: ipmi}]",
		})
	}
}

func (a *auditor) supplySet(d *dodai.DeviceState, r *dodai.Reading) {
	var working, unknown []dodai.PSU
	for _, p := range r.PSUs {
		switch {
		case works(p):
			working = append(working, p)
		case p.State == dodai.PSUUnknown:
			unknown = append(unknown, p)
		}
		a.failing(d, p)
	}
	for _, p := range unknown {
		a.unknownSupply(d, p)
	}
	switch {
	case len(r.PSUs) == 0:
		a.noSupply(d, "names no power supply")
	case len(working) == 0 && len(unknown) == 0:
		a.noSupply(d, "says that no supply works, while the server runs")
	case len(working) == 1 && len(unknown) == 0:
		a.alone(d, r, working[0])
	case len(working) > 1:
		a.redundancy(d, r, working)
	}
}

// noSupply is a source whose word cannot be the whole truth.
func (a *auditor) noSupply(d *dodai.DeviceState, text string) {
	a.add(Finding{
		ID: IDSupplyUnknown, Component: "power supplies", Severity: SeverityUnknown,
		Consequence: "unknown: not proven. Whether the server would survive the loss of a power supply cannot be told",
		Evidence:    []Evidence{a.fact(d, text)},
		Remedy:      "look at the BMC itself; `dodai probe ipmi` shows what it says now",
	})
}

// failing is advice on a supply that still works but says that it will not for long.
func (a *auditor) failing(d *dodai.DeviceState, p dodai.PSU) {
	if p.State != dodai.PSUPredictive {
		return
	}
	a.add(Finding{
		ID: IDSupplyFailing, Component: "psu " + p.ID, Severity: SeverityAdvice,
		Consequence: "this supply predicts its own failure; when it fails the others are on their own",
		Evidence:    []Evidence{a.fact(d, stateText(p))},
		Remedy:      "replace the supply",
	})
}

func (a *auditor) unknownSupply(d *dodai.DeviceState, p dodai.PSU) {
	a.add(Finding{
		ID: IDSupplyUnknown, Component: "psu " + p.ID, Severity: SeverityUnknown,
		Consequence: "unknown: not proven. If this supply does not work, the loss of another one may stop the server",
		Evidence:    []Evidence{a.fact(d, stateText(p))},
		Remedy:      "find out why the BMC does not read this supply",
	})
}

// alone is the supply on which the server hangs alone.
func (a *auditor) alone(d *dodai.DeviceState, r *dodai.Reading, left dodai.PSU) {
	evidence := []Evidence{a.fact(d, stateText(left))}
	remedy := "fit a second power supply"
	for _, p := range r.PSUs {
		if p.ID == left.ID {
			continue
		}
		evidence = append(evidence, a.fact(d, stateText(p)))
		if p.State == dodai.PSUInputLost {
			remedy = "bring the input of " + p.ID + " back"
		} else if p.State == dodai.PSUFailed {
			remedy = "replace supply " + p.ID
		}
	}
	if len(r.PSUs) == 1 {
		evidence = append(evidence, a.fact(d, "names no other supply"))
	}
	a.add(Finding{
		ID: IDSupplyAlone, Component: "psu " + left.ID, Severity: SeverityOpen,
		Consequence: "the server stops at once when this supply fails or loses its input: no other one works",
		Evidence:    evidence, Remedy: remedy,
	})
}

// redundancy judges supplies of which several work.
func (a *auditor) redundancy(d *dodai.DeviceState, r *dodai.Reading, working []dodai.PSU) {
	for _, red := range r.Redundancy {
		severity, consequence := redundancyMeans(red.State)
		if severity == "" || red.State == dodai.RedundancyUnknown && a.wouldCarry(r, working) {
			continue
		}
		text := fmt.Sprintf("redundancy of %s: %s", red.Domain, red.State)
		if red.Reported != "" {
			text += " (" + red.Reported + ")"
		}
		a.add(Finding{
			ID: IDNotRedundant, Component: "power supplies " + red.Domain, Severity: severity,
			Consequence: consequence, Evidence: []Evidence{a.fact(d, text)},
			Remedy: "look at the supplies in the BMC: a failed, unplugged or mismatched one, a lost input, or a policy without redundancy; then prove it by a transfer drill",
		})
	}
	a.overload(d, r, working)
}

func redundancyMeans(s dodai.RedundancyState) (Severity, string) {
	switch s {
	case dodai.RedundancyLost, dodai.RedundancyNone, dodai.RedundancyInsufficient:
		return SeverityOpen, "the server stops when any of its working supplies fails: by its own account the others cannot carry it"
	case dodai.RedundancyDegraded:
		return SeverityAdvice, "the supplies can lose fewer than when all is in order"
	case dodai.RedundancyUnknown:
		return SeverityAdvice, "several supplies work, but neither the BMC nor their ratings say whether the others could carry the server"
	default:
		return "", ""
	}
}

// spareWatts is what the working supplies are rated for together when the largest is
// gone, 0 where a rating is not known.
func spareWatts(working []dodai.PSU) float64 {
	sum, largest := 0.0, 0.0
	for _, p := range working {
		if p.CapacityWatts == nil {
			return 0
		}
		sum += *p.CapacityWatts
		largest = max(largest, *p.CapacityWatts)
	}
	return sum - largest
}

// carryLimit is how much of their rating supplies are trusted to carry for long.
const carryLimit = 0.9

func (a *auditor) wouldCarry(r *dodai.Reading, working []dodai.PSU) bool {
	spare := spareWatts(working)
	return spare > 0 && r.SystemWatts != nil && *r.SystemWatts <= carryLimit*spare
}

// overload compares what the server draws now with what would be left without its
// largest supply; the load at its peak may be higher.
func (a *auditor) overload(d *dodai.DeviceState, r *dodai.Reading, working []dodai.PSU) {
	spare := spareWatts(working)
	if spare <= 0 || r.SystemWatts == nil || *r.SystemWatts <= carryLimit*spare {
		return
	}
	f := Finding{
		ID: IDOverload, Component: "power supplies", Severity: SeverityAdvice,
		Consequence: "without the largest supply the others would run close to their rating",
		Evidence:    []Evidence{a.fact(d, fmt.Sprintf("%.0f W drawn, %.0f W left without the largest supply", *r.SystemWatts, spare))},
		Remedy:      "lower the load or fit larger supplies",
	}
	if *r.SystemWatts > spare {
		f.Severity, f.Consequence = SeverityOpen, "the server stops when its largest supply fails: the others are not rated for the load"
	}
	a.add(f)
}

func stateText(p dodai.PSU) string {
	if p.Input != "" && p.Input != dodai.InputOK && p.Input != dodai.InputUnknown {
		return fmt.Sprintf("supply %s: %s, input %s", p.ID, p.State, p.Input)
	}
	return fmt.Sprintf("supply %s: %s", p.ID, p.State)
}

func (a *auditor) supply(id string) (*dodai.DeviceState, *dodai.PSU) {
	for _, d := range a.s.OfKind(dodai.KindPSUs) {
		if d.Reading == nil {
			continue
		}
		for i, p := range d.Reading.PSUs {
			if p.ID == id {
				return d, &d.Reading.PSUs[i]
			}
		}
	}
	return nil, nil
}
