package drill

import (
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// minCharge is the charge in percent below which a drill beyond the table is refused:
// an outage right after it has to find a battery that can carry the shutdown.
const minCharge = 90

// Interlocks returns why a drill of this level may not start now, nothing when it may.
// A tabletop touches nothing and is never refused; whoever plans it during a real
// outage has better things to look at, but it does no harm.
func Interlocks(level Level, s *dodai.Snapshot, d policy.Decision) []string {
	if level == Tabletop {
		return nil
	}
	why := maintenanceInterlocks(s)
	why = append(why, powerInterlocks(s, d)...)
	for _, dev := range s.Devices {
		q := dev.Quality(s.At)
		if q == dodai.QualityNone {
			continue
		}
		if q != dodai.QualityFresh {
			why = append(why, fmt.Sprintf("%s (%s): its reading is %s", dev.Name, dev.Driver, q))
			continue
		}
		why = append(why, readingInterlocks(dev.Reading)...)
	}
	return why
}

// maintenanceInterlocks are about UPSes that are worked on. A drill plays its outage on all
// of them, and one that is worked on neither says nor does what it will after that.
func maintenanceInterlocks(s *dodai.Snapshot) []string {
	var why []string
	for _, dev := range s.OfKind(dodai.KindUPS) {
		if m := s.MaintenanceOf(dev.Name, s.At); m != nil {
			why = append(why, fmt.Sprintf("%s is in maintenance for another %v: %s", dev.Name, (m.Until-s.At).Round(time.Second), m.Reason))
		}
	}
	return why
}

// powerInterlocks are about the UPSes: a real event in progress, a battery not charged.
func powerInterlocks(s *dodai.Snapshot, d policy.Decision) []string {
	var why []string
	if d.Shutdown {
		why = append(why, "a shutdown has been decided: "+d.Explanation)
	}
	if len(d.UPSes) == 0 {
		why = append(why, "there is no UPS")
	}
	for _, u := range d.UPSes {
		if u.OnBattery || u.Lost || u.Doomed != policy.ReasonNone || u.Line != policy.LinePresent {
			why = append(why, fmt.Sprintf("%s is not in order: %s", u.UPS, u.Why))
		}
	}
	for _, dev := range s.OfKind(dodai.KindUPS) {
		if dev.Reading == nil {
			continue
		}
		if charge, ok := dev.Reading.Vars.Float(dodai.BatteryCharge); ok && charge < minCharge {
			why = append(why, fmt.Sprintf("%s: the battery is at %.0f %%, want at least %d %%", dev.Name, charge, minCharge))
		}
		if dev.Reading.Status.Any(dodai.RB | dodai.CAL | dodai.TEST | dodai.OVER | dodai.BYPASS) {
			why = append(why, fmt.Sprintf("%s reports %s", dev.Name, dev.Reading.Status))
		}
	}
	return why
}

func readingInterlocks(r *dodai.Reading) []string {
	var why []string
	for _, a := range r.Arrays {
		if a.State != dodai.ArrayOptimal {
			why = append(why, fmt.Sprintf("array %s is %s", a.ID, a.State))
		}
	}
	for _, p := range r.PSUs {
		if p.State != dodai.PSUOK {
			why = append(why, fmt.Sprintf("power supply %s is %s", p.ID, p.State))
		}
	}
	return why
}

// Disturbed says why a running drill has to end at once because of what really
// happens: the real thing takes over. began is when the drill did.
func Disturbed(s *dodai.Snapshot, d policy.Decision, began time.Duration) string {
	if d.Shutdown {
		return "a real shutdown has been decided: " + d.Explanation
	}
	if why := maintenanceInterlocks(s); len(why) > 0 {
		return why[0]
	}
	for _, u := range d.UPSes {
		if u.OnBattery || u.Lost || u.Doomed != policy.ReasonNone {
			return fmt.Sprintf("a real event: %s: %s", u.UPS, u.Why)
		}
	}
	for _, dev := range s.OfKind(dodai.KindUPS) {
		if dev.Quality(s.At) != dodai.QualityFresh && s.At > began {
			return fmt.Sprintf("%s has not been heard for %v", dev.Name, dev.Age(s.At).Round(time.Second))
		}
	}
	return ""
}
