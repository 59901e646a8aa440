package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dodai-agent/dodai"
)

// raiseAlerts lists what stands now, with since when, and makes the edges.
func (d *decider) raiseAlerts(down bool) {
	for _, u := range d.upses {
		u.alerts(d.raise)
		d.events = append(d.events, u.events...)
	}
	d.hostAlerts()
	slices.SortFunc(d.alerts, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.ID, b.ID))
	})
	before := d.mem.Alerts
	d.mem.Alerts = nil // not in place: earlier memories share it
	for i := range d.alerts {
		a := &d.alerts[i]
		was := find(before, a.ID, a.Device)
		if was != nil {
			a.Since = was.Since
		} else {
			d.edge(dodai.EventAlertRaised, a.ID, a.Device, a.Text)
		}
		d.mem.Alerts = append(d.mem.Alerts, Standing{ID: a.ID, Device: a.Device, Since: a.Since})
	}
	for _, was := range before {
		if find(d.mem.Alerts, was.ID, was.Device) == nil {
			d.edge(dodai.EventAlertCleared, was.ID, was.Device, fmt.Sprintf("%s is over after %s", was.ID, secs(d.now-was.Since)))
		}
	}
}

func find(list []Standing, id AlertID, device string) *Standing {
	for i := range list {
		if list[i].ID == id && list[i].Device == device {
			return &list[i]
		}
	}
	return nil
}

func (d *decider) raise(id AlertID, device, text string) {
	d.alerts = append(d.alerts, Alert{ID: id, Device: device, Since: d.now, Text: text})
}

func (d *decider) edge(name dodai.EventName, id AlertID, device, text string) {
	d.events = append(d.events, dodai.Event{
		Name: name, Device: device, At: d.now, Wall: d.s.Wall, Text: text, Fields: map[string]any{"alert": string(id)},
	})
}

func (d *decider) hostAlerts() {
	healthy := 0
	for i := range d.supplies {
		w := &d.supplies[i]
		if w.healthy() {
			healthy++
		}
		for j := range w.inputs {
			if u := w.inputs[j].ups; u != nil && d.off(w, &w.inputs[j]) && !u.lost {
				d.raise(AlertOffContradiction, u.name, u.name+" says that its output is off, yet this host lives from it")
			}
		}
	}
	if total := len(d.supplies); healthy <= d.minSupplies() && total > d.minSupplies() {
		then := "the next loss stops this host"
		if healthy < d.minSupplies() {
			then = "too few to carry this host"
		}
		d.raise(AlertRedundancyLost, "", fmt.Sprintf("%d of %d supplies are healthy, %d needed: %s", healthy, total, d.minSupplies(), then))
	}
	if d.psuLie != "" {
		d.raise(AlertPSUContradiction, d.psuLie, "every power supply reports that it has no input, yet this host lives")
	}
}

// alerts raises what stands for this UPS. The texts are only made for what does.
func (u *ups) alerts(raise func(AlertID, string, string)) {
	say := func(id AlertID, format string, args ...any) {
		if u.pol.Brief {
			raise(id, u.name, "")
			return
		}
		raise(id, u.name, u.name+" "+fmt.Sprintf(format, args...))
	}
	u.lineAlerts(say)
	u.batteryAlerts(say)
	u.statusAlerts(say)
}

type sayFunc func(id AlertID, format string, args ...any)

func (u *ups) lineAlerts(say sayFunc) {
	m := &u.mem
	switch on := secs(m.OnBattery.since(u.now)); {
	case m.OnBattery.Set && m.OLSince.Set:
		say(AlertOnBattery, "is on line again, not yet for good; the outage began %s ago", on)
	case m.OnBattery.Set:
		say(AlertOnBattery, "has been on battery for %s", on)
	case m.Untold || m.Earlier.Set:
		say(AlertOnBattery, "was on battery when this host went down, and has said nothing since")
	}
	if until, flapping := m.flapping(u.now); flapping {
		u.due(until)
		say(AlertFlapping, "changed to battery %d times within %s", flapTransfers, secs(flapWindow))
	}
	if m.Silent {
		say(AlertCommsLost, "has not said what it does for %s", secs(u.now-u.heardAt()))
	}
	if since, frozen := u.frozen(); frozen {
		say(AlertStale, "answers on battery, but nothing has moved for %s", secs(u.now-since))
	}
}

func (u *ups) batteryAlerts(say sayFunc) {
	m := &u.mem
	if m.running() {
		u.lowAlerts(say)
	}
	if m.Collapse.Set {
		say(AlertRuntimeCollapse, "lost more than half of its runtime of %.0f s in one reading", m.CollapseFrom)
	}
	low := m.Last.Status.Has(dodai.LB) || m.Available.OK && m.Available.V < u.budget().Seconds()
	if low && !m.OnBattery.Set && m.Line == LinePresent && !m.Last.onPurpose() {
		say(AlertWouldNotSurvive, "could not carry a shutdown if the mains failed now%s", withNumbers(m.Last))
	}
}

func (u *ups) lowAlerts(say sayFunc) {
	m := &u.mem
	if u.stands(&m.LB) {
		say(AlertLowBattery, "says that its battery is low")
	}
	if u.stands(&m.Runtime) {
		say(AlertLowRuntime, "has too little time left for a shutdown, which needs %s", u.needs())
	}
	if u.stands(&m.Charge) {
		say(AlertLowCharge, "is at or below %g %% charge", u.cfg.MinChargePct)
	}
}

func (u *ups) statusAlerts(say sayFunc) {
	m := &u.mem
	st := m.Last.Status
	if m.Last.onPurpose() {
		say(AlertCalibrating, "runs from its battery on purpose (%s)", st)
	}
	for _, a := range statusAlerts {
		if st.Has(a.flag) {
			say(a.id, "%s", a.text)
		}
	}
	if m.Last.contradicts() {
		say(AlertStatusContradiction, "says on line and on battery at once (%s)", st)
	}
	switch {
	case m.FSD.Set && m.FSDLatch:
		say(AlertFSDLatch, "still shows the forced shutdown of the last outage; restart its driver or server")
	case m.FSD.Set:
		say(AlertFSD, "announces a forced shutdown")
	}
	if cut := u.cutIn(); cut != nil {
		say(AlertUPSTimer, "counts down to cutting its output, %.0f s left", cut.Seconds())
	}
}

// statusAlerts are the flags that are alerts by themselves.
var statusAlerts = []struct {
	flag dodai.Status
	id   AlertID
	text string
}{
	{dodai.BYPASS, AlertBypass, "is in bypass: no battery stands behind it"},
	{dodai.OVER, AlertOverload, "is overloaded"},
	{dodai.RB, AlertReplaceBattery, "wants its battery replaced: its runtime is worth nothing"},
}
