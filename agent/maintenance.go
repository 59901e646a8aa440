package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
)

// keyMaintenance is where it is remembered which UPSes are worked on.
const keyMaintenance = "maintenance"

const (
	// maxMaintenance is how long a UPS may be declared to be worked on at a time. Whoever
	// needs longer declares it again: what is forgotten must end.
	maxMaintenance = 168 * time.Hour
	// maintenanceEvery is how often what stands is written anew, so that after a reboot
	// the wall clock has to tell of little more than the reboot.
	maintenanceEvery = time.Minute
	// remindBefore is how long before its end the log says that the protection comes back.
	remindBefore = 10 * time.Minute
)

// How a maintenance ends, but for "ended by NAME".
const (
	endedExpired  = "expired"
	endedReplaced = "replaced"
	endedRemoved  = "ups removed"
)

// maintenanceLoop is what the loop keeps of UPSes that are worked on.
type maintenanceLoop struct {
	standing []dodai.Maintenance // one for each UPS, never changed in place: snapshots share it
	savedAt  time.Duration
	reminded map[string]time.Duration // the end that was announced, by UPS
}

// maintenanceState is what stands as it lies in the journal.
type maintenanceState struct {
	stamp
	Standing []dodai.Maintenance `json:"standing"`
}

var (
	errDamaged   = errors.New("saved maintenance")
	errClockBack = errors.New("the wall clock went back over the reboot: nobody knows how much of the maintenance is left, so it has ended")
)

// restoreMaintenance reads back what stood and moves it to the present clock. In the same
// boot the instants are right as they are. After a reboot the wall clock tells how long
// the machine was away, and that much less is left; it was away at least as long as the
// host has been up. Where the wall clock cannot be right nothing is left: a maintenance
// that ends too early may cost a clean shutdown beside an operator who is there, one that
// ends too late leaves a machine unprotected that nobody looks at. The list is valid
// beside errClockBack, and nil beside other errors.
func restoreMaintenance(data []byte, now stamp) ([]dodai.Maintenance, error) {
	var s maintenanceState
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if s.At < 0 || s.At > 1<<62 {
		return nil, fmt.Errorf("%w: written at %v, want an instant of the agent's clock", errDamaged, s.At)
	}
	known := map[string]bool{}
	for _, m := range s.Standing {
		if !plausible(m, s.At) {
			return nil, fmt.Errorf("%w: %q from %v to %v, written at %v: want at most %v", errDamaged, m.UPS, m.Since, m.Until, s.At, maxMaintenance)
		}
		if known[m.UPS] {
			return nil, fmt.Errorf("%w: %q a second time, want each UPS once", errDamaged, m.UPS)
		}
		known[m.UPS] = true
	}
	if s.BootID == now.BootID && s.BootID != "" && s.At <= now.At {
		return s.Standing, nil
	}
	away := now.Wall.Sub(s.Wall)
	if s.BootID != now.BootID && s.BootID != "" && now.BootID != "" {
		away = max(away, now.At)
	}
	var err error
	if now.Wall.Before(s.Wall) && len(s.Standing) > 0 {
		away, err = 2*maxMaintenance, errClockBack
	}
	shift := now.At - s.At - min(away, 2*maxMaintenance)
	for i := range s.Standing {
		s.Standing[i].Since += shift
		s.Standing[i].Until += shift
	}
	return s.Standing, err
}

// plausible reports whether m is one that may have stood at at.
func plausible(m dodai.Maintenance, at time.Duration) bool {
	return m.UPS != "" && m.Since >= at-maxMaintenance && m.Since <= at && m.Until > m.Since && m.Until <= at+maxMaintenance
}

// checkMaintenance ends what is over and what is about a UPS that is not configured any
// more. It runs in the loop before each decision.
func (a *Agent) checkMaintenance(now time.Duration) {
	l := &a.loop.maintenance
	if len(l.standing) == 0 {
		return
	}
	names := upsNames(a.loop.cfg)
	var standing []dodai.Maintenance
	for _, m := range l.standing {
		switch {
		case !slices.Contains(names, m.UPS):
			a.maintenanceEnded(m, endedRemoved)
		case now >= m.Until:
			a.maintenanceEnded(m, endedExpired)
		default:
			standing = append(standing, m)
			a.remind(m, now)
		}
	}
	if len(standing) != len(l.standing) || now-l.savedAt >= maintenanceEvery {
		a.setMaintenance(standing)
	}
}

// upsNames are the names of the UPSes of a configuration.
func upsNames(cfg *config.Config) []string {
	names := make([]string, len(cfg.UPS))
	for i, u := range cfg.UPS {
		names[i] = u.Name
	}
	return names
}

// setMaintenance replaces what stands, in the snapshot and in the journal, without
// waiting for the disk.
func (a *Agent) setMaintenance(standing []dodai.Maintenance) {
	l := &a.loop
	l.maintenance.standing, l.maintenance.savedAt = standing, a.clock()
	s := *l.snap
	s.Maintenance = standing
	l.snap = &s
	data, err := json.Marshal(maintenanceState{a.stamp(), standing})
	if err != nil {
		a.log.Error("the maintenance cannot be written", "err", err)
		return
	}
	a.store.save(keyMaintenance, data)
}

// declareMaintenance lets UPSes be worked on from now on. What stood for one of them is
// replaced. It runs in the loop.
func (a *Agent) declareMaintenance(upses []string, length time.Duration, reason, by string) {
	now := a.clock()
	var standing []dodai.Maintenance
	for _, m := range a.loop.maintenance.standing {
		if slices.Contains(upses, m.UPS) {
			a.maintenanceEnded(m, endedReplaced)
			continue
		}
		standing = append(standing, m)
	}
	for _, name := range upses {
		m := dodai.Maintenance{UPS: name, Since: now, Until: now + length, Reason: reason, By: by}
		standing = append(standing, m)
		a.emit(dodai.Event{Name: dodai.EventMaintenanceStarted, Device: name, Fields: a.maintenanceFields(m, nil),
			Text: fmt.Sprintf("%s is in maintenance until %s, declared by %s: %s", name, a.endText(m), by, reason)})
	}
	slices.SortFunc(standing, byUPS)
	a.setMaintenance(standing)
}

// endMaintenance ends what stands for UPSes, and returns for which of them something did.
// It runs in the loop.
func (a *Agent) endMaintenance(upses []string, by string) []string {
	var standing []dodai.Maintenance
	var ended []string
	for _, m := range a.loop.maintenance.standing {
		if !slices.Contains(upses, m.UPS) {
			standing = append(standing, m)
			continue
		}
		ended = append(ended, m.UPS)
		a.maintenanceEnded(m, "ended by "+by)
	}
	if len(ended) > 0 {
		a.setMaintenance(standing)
	}
	return ended
}

// maintenanceEnded tells that one is over, and what its UPS says now that it counts again.
func (a *Agent) maintenanceEnded(m dodai.Maintenance, ended string) {
	text := fmt.Sprintf("the maintenance of %s has ended (%s): %s", m.UPS, ended, m.Reason)
	if ended != endedReplaced && ended != endedRemoved {
		if against := standsAgainst(a.loop.snap.Device(m.UPS), a.clock()); against != "" {
			a.log.Warn("the maintenance is over and what the UPS says counts again", "ups", m.UPS, "state", against)
			text += "; " + m.UPS + " " + against
		}
	}
	delete(a.loop.maintenance.reminded, m.UPS)
	a.emit(dodai.Event{Name: dodai.EventMaintenanceEnded, Device: m.UPS, Text: text, Fields: a.maintenanceFields(m, &ended)})
}

// maintenanceFields are the facts of the events; ended is nil for the one that begins it.
func (a *Agent) maintenanceFields(m dodai.Maintenance, ended *string) map[string]any {
	fields := map[string]any{"ups": m.UPS, "until": a.wallOf(m.Until).Format(time.RFC3339), "reason": m.Reason, "by": m.By}
	if ended != nil {
		fields["ended"] = *ended
	}
	return fields
}

// wallOf is what the wall clock shows at an instant of the agent's clock, to the second.
func (a *Agent) wallOf(at time.Duration) time.Time {
	return time.Now().Add(at - a.clock()).Round(time.Second)
}

// endText is the local time of the end, with the date where it is not today's.
func (a *Agent) endText(m dodai.Maintenance) string {
	end := a.wallOf(m.Until)
	if end.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return end.Format("15:04")
	}
	return end.Format("2006-01-02 15:04")
}

// remind says once, some time before the end, that the protection comes back and what the
// UPS says that stands against it.
func (a *Agent) remind(m dodai.Maintenance, now time.Duration) {
	l := &a.loop.maintenance
	if m.Until-now > remindBefore || m.Until-m.Since <= remindBefore || l.reminded[m.UPS] == m.Until {
		return
	}
	if l.reminded == nil {
		l.reminded = map[string]time.Duration{}
	}
	l.reminded[m.UPS] = m.Until
	if against := standsAgainst(a.loop.snap.Device(m.UPS), now); against != "" {
		a.log.Warn("the maintenance ends soon, then what the UPS says counts again", "ups", m.UPS, "until", a.endText(m), "state", against)
		return
	}
	a.log.Info("the maintenance ends soon, then what the UPS says counts again", "ups", m.UPS, "until", a.endText(m))
}

// standsAgainst says what of a UPS would be trouble if it were not worked on; "" is nothing.
func standsAgainst(dev *dodai.DeviceState, now time.Duration) string {
	switch {
	case dev == nil || dev.Reading == nil:
		return "has never been heard"
	case dev.Quality(now) != dodai.QualityFresh:
		return fmt.Sprintf("has not been heard for %v", dev.Age(now).Round(time.Second))
	case dev.Reading.Status.Has(dodai.OFF):
		return "says that its output is off"
	case dev.Reading.Status.Has(dodai.FSD):
		return "announces a forced shutdown"
	case dev.Reading.Status.Has(dodai.OB | dodai.LB):
		return "is on battery, which is low"
	case dev.Reading.Status.Has(dodai.OB):
		return "is on battery"
	case dev.Reading.Status.Has(dodai.BYPASS):
		return "is in bypass"
	}
	return ""
}
