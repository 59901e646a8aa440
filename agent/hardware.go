package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/sight"
)

// The alerts that are about something else than the power path.
const (
	alertArray  policy.AlertID = "array"          // degraded, rebuilding, failed, or not started
	alertDisk   policy.AlertID = "disk"           // verdict warning or critical
	alertPSU    policy.AlertID = "psu"            // not in order
	alertSilent policy.AlertID = "device_lost"    // a device that is no UPS does not answer
	alertPSUs   policy.AlertID = "psu_redundancy" // lost, degraded or insufficient
	// About what the agent itself lives from.
	alertJournal policy.AlertID = "journal" // it cannot be written
	alertFolder  policy.AlertID = "folder"  // one of the agent's own has no room, or is read-only
	alertStarved policy.AlertID = "starved" // the agent does not get to its work in time
)

// hardwareAlerts are the alerts about arrays, disks, supplies and devices that do not
// answer. The UPSes' are the policy's. unread is what is seen and not read: who says that
// there is nothing to read is believed unless something is seen.
func hardwareAlerts(s *dodai.Snapshot, unread []sight.Sighting, now time.Duration) []policy.Alert {
	var alerts []policy.Alert
	for _, dev := range s.Devices {
		quality := dev.Quality(now)
		silent := quality != dodai.QualityFresh && (quality != dodai.QualityNone || sees(unread, dev.Kind))
		if dev.Kind != dodai.KindUPS && dev.Answered() && silent {
			alerts = append(alerts, policy.Alert{ID: alertSilent, Device: dev.Name, Text: dev.Name + " does not answer: " + dev.Err})
		}
		if dev.Reading != nil {
			alerts = append(alerts, readingAlerts(dev)...)
		}
	}
	return alerts
}

// sees reports whether something of a device's kind is seen and not read.
func sees(unread []sight.Sighting, kind dodai.Kind) bool {
	of := map[dodai.Kind]sight.Kind{dodai.KindArrays: sight.Array, dodai.KindDisks: sight.Disk}[kind]
	return slices.ContainsFunc(unread, func(s sight.Sighting) bool { return s.Kind == of })
}

// ownAlerts are the alerts about the agent's own work.
func (a *Agent) ownAlerts() []policy.Alert {
	var alerts []policy.Alert
	if failed := a.shutdownFailed.Load(); failed != nil {
		alerts = append(alerts, policy.Alert{ID: policy.AlertShutdownFailed, Text: *failed})
	}
	return append(alerts, a.loop.preflight.alerts()...)
}

// standingAlerts fills in from when on each alert stands; since remembers that and is
// brought up to date.
func standingAlerts(alerts []policy.Alert, since map[string]time.Duration, now time.Duration) []policy.Alert {
	standing := map[string]bool{}
	for i := range alerts {
		key := string(alerts[i].ID) + " " + alerts[i].Device
		if _, known := since[key]; !known {
			since[key] = now
		}
		alerts[i].Since, standing[key] = since[key], true
	}
	maps.DeleteFunc(since, func(key string, _ time.Duration) bool { return !standing[key] })
	return alerts
}

func readingAlerts(dev *dodai.DeviceState) []policy.Alert {
	var alerts []policy.Alert
	r := dev.Reading
	for _, a := range r.Arrays {
		if arrayHurt(a) {
			alerts = append(alerts, policy.Alert{ID: alertArray, Device: a.ID, Text: arrayText(a)})
		}
	}
	for _, d := range r.Disks {
		if d.Verdict == dodai.VerdictWarning || d.Verdict == dodai.VerdictCritical || d.Verdict == dodai.VerdictUnreadable && !d.Standby {
			alerts = append(alerts, policy.Alert{ID: alertDisk, Device: strings.TrimSpace(d.Device + " " + d.Type), Text: diskText(d)})
		}
	}
	for _, p := range r.PSUs {
		if p.State != dodai.PSUOK && p.State != dodai.PSUAbsent && p.State != dodai.PSUUnknown {
			alerts = append(alerts, policy.Alert{ID: alertPSU, Device: p.ID, Text: psuText(p)})
		}
	}
	for _, d := range r.Redundancy {
		if d.State == dodai.RedundancyLost || d.State == dodai.RedundancyDegraded || d.State == dodai.RedundancyInsufficient {
			alerts = append(alerts, policy.Alert{ID: alertPSUs, Device: dev.Name, Text: fmt.Sprintf("the redundancy of the power supplies (%s) is %s", d.Domain, d.State)})
		}
	}
	return alerts
}

// withHardware adds the alerts of the hardware to those of the decision, in its order.
func withHardware(d policy.Decision, more []policy.Alert) policy.Decision {
	d.Alerts = append(slices.Clone(d.Alerts), more...)
	slices.SortStableFunc(d.Alerts, func(a, b policy.Alert) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.ID, b.ID))
	})
	return d
}

func arrayText(a dodai.Array) string {
	text := fmt.Sprintf("array %s is %s", described(a.ID, a.Level), a.State)
	if len(a.Failing) > 0 {
		text += ", failing: " + strings.Join(a.Failing, " ")
	}
	return text
}

func psuText(p dodai.PSU) string {
	return fmt.Sprintf("power supply %s: %s", described(p.ID, p.Name), strings.ReplaceAll(string(p.State), "_", " "))
}

func diskText(d dodai.Disk) string {
	serial := ""
	if d.Serial != "" {
		serial = "serial " + d.Serial
	}
	text := fmt.Sprintf("disk %s: %s", described(d.Device, d.Type, d.Model, serial), d.Verdict)
	if len(d.Reasons) > 0 {
		text += " (" + strings.Join(d.Reasons, "; ") + ")"
	}
	return text
}

// described is "id (detail, detail)", without the details that are empty.
func described(id string, details ...string) string {
	details = slices.DeleteFunc(details, func(s string) bool { return s == "" })
	if len(details) == 0 {
		return id
	}
	return id + " (" + strings.Join(details, ", ") + ")"
}
