package audit

import (
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// chain is a UPS and those it stands behind, the nearest first. A circle, which no
// configuration has, is gone round once.
func (a *auditor) chain(ups string) []string {
	var chain []string
	for ups != "" && !slices.Contains(chain, ups) {
		chain = append(chain, ups)
		i := slices.IndexFunc(a.s.Links, func(l dodai.Link) bool { return l.UPS == ups })
		if i < 0 {
			break
		}
		ups = a.s.Links[i].FedBy
	}
	return chain
}

// rideThrough is what batteries have to last to be more than a bridge over the transfer: what
// a shutdown takes where nothing else is known.
const rideThrough = 2 * time.Minute

// without says what happens when a UPS is gone that stands before all of these chains, each
// of them the UPSes between it and a supply, and what their own batteries are good for. It
// says nothing where nothing stands between.
func (a *auditor) without(chains [][]string) (consequence string, evidence []Evidence) {
	behind, longest, known := []string{}, time.Duration(0), true
	for _, chain := range chains {
		sum := time.Duration(0) // in series they add up
		for _, name := range chain {
			left := a.battery(name)
			sum, known = sum+left, known && left > 0
			if !slices.Contains(behind, name) {
				behind, evidence = append(behind, name), append(evidence, a.batteryFact(name, left))
			}
		}
		longest = max(longest, sum)
	}
	if len(behind) == 0 {
		return "", nil
	}
	batteries, bridge := "the battery of "+behind[0], "bridges"
	if last := len(behind) - 1; last > 0 {
		batteries, bridge = "the batteries of "+strings.Join(behind[:last], ", ")+" and "+behind[last], "bridge"
	}
	if known && longest < rideThrough {
		return "when this UPS fails or is switched off the server goes down within " + duration(longest.Seconds()) + ": " +
			batteries + " behind it only " + bridge + " that time", evidence
	}
	return "when this UPS fails or is switched off nothing feeds the server but " + batteries +
		" behind it, and it goes down when the charge is used up", evidence
}

// battery is how long a UPS would run on its own, by its own account; 0 where it does not
// say so.
func (a *auditor) battery(name string) time.Duration {
	d := a.s.Device(name)
	if d == nil || d.Reading == nil {
		return 0
	}
	seconds, ok := d.Reading.Vars.Float(dodai.BatteryRuntime)
	if !ok || !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, 1e8) * float64(time.Second))
}

func (a *auditor) batteryFact(name string, left time.Duration) Evidence {
	d, text := a.s.Device(name), "does not say how long its battery lasts"
	if left > 0 {
		text = "its own battery lasts " + duration(left.Seconds()) + " by its own account"
	}
	if d == nil {
		return Evidence{Text: name + " " + text}
	}
	return a.fact(d, text)
}
