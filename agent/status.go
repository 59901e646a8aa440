package agent

import (
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/audit"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/sight"
)

// Status is what `dodai status --json` prints and GET /v1/status answers. Durations
// are seconds (names end in _s); a value that is not known is left out.
type Status struct {
	Version string    `json:"version"`
	Host    string    `json:"host,omitempty"`
	Time    time.Time `json:"time"`
	Mode    string    `json:"mode"` // armed or observe
	// State is normal, alert, on_battery, would_shut_down (observe), shutting_down,
	// powering_off, drill, maintenance, or nothing_watched where no device is configured or found.
	State       string `json:"state"`
	Explanation string `json:"explanation"`
	// Summary is how Explanation begins, without what it says of each UPS and of the margin.
	Summary string        `json:"summary"`
	Reason  policy.Reason `json:"reason"`
	// Rule decided, about the UPS DecidedBy; both empty while the machine stays up.
	Rule      policy.Rule `json:"rule"`
	DecidedBy string      `json:"decided_by,omitempty"`
	// Margin is the margin as a sum in words, AvailableFrom whose battery available_s is and
	// by which figure, or why it is not known.
	Margin        string           `json:"margin"`
	AvailableFrom string           `json:"available_from,omitempty"`
	Evidence      []EvidenceStatus `json:"evidence"` // the readings the decision used
	MarginS       *float64         `json:"margin_s,omitempty"`
	AvailableS    *float64         `json:"available_s,omitempty"`
	NeedS         float64          `json:"need_s"`
	ReserveS      float64          `json:"reserve_s"`
	Need          NeedStatus       `json:"need"`      // what need_s is made of
	BootHold      bool             `json:"boot_hold"` // heavy services have to wait after the boot
	BootHoldWhy   string           `json:"boot_hold_why,omitempty"`
	UPSes         []UPSStatus      `json:"ups"`
	Devices       []DeviceStatus   `json:"devices"`
	Alerts        []AlertStatus    `json:"alerts"`
	SPOFs         []SPOFStatus     `json:"spofs"`
	Shutdown      *DownStatus      `json:"shutdown,omitempty"`
	Drill         *DrillStatus     `json:"drill,omitempty"`
	// Restart is one that waits until nothing is under way; nil: none does.
	Restart *RestartStatus `json:"restart,omitempty"`
	// Preflight is what stood against the way down when it was last tried; nil: it was not.
	Preflight *PreflightStatus `json:"preflight,omitempty"`
	// Maintenance has the UPSes that are worked on, Unguarded what that leaves without a
	// guard; nil: the machine is guarded.
	Maintenance []MaintenanceStatus `json:"maintenance"`
	Unguarded   *Unguarded          `json:"unguarded,omitempty"`
	Journal     string              `json:"journal"` // ok, or what is wrong with it
	// LoopLagS and PollLagS are how late decisions and polls were at worst within the last
	// minute.
	LoopLagS float64 `json:"loop_lag_s"`
	PollLagS float64 `json:"poll_lag_s"`
	// Unread is what stands in this machine and is not read, with why and what helps. It
	// is no alert.
	Unread []sight.Sighting `json:"unread"`
}

// NeedStatus is what the way down takes, part by part, without the reserve.
type NeedStatus struct {
	TotalS      float64 `json:"total_s"`
	ConfiguredS float64 `json:"configured_s"` // shutdown.need, the least until all parts are measured
	Measured    bool    `json:"measured"`     // every part has three complete runs
	Why         string  `json:"why"`          // one sentence
	// PowerOff is what the last power-off taught, or why it taught nothing.
	PowerOff string     `json:"power_off,omitempty"`
	Steps    []NeedStep `json:"steps"` // in order, power_off last
}

// NeedStep is one part of the way down.
type NeedStep struct {
	Step  string         `json:"step"`
	TookS float64        `json:"took_s"`
	Runs  int            `json:"runs"`  // complete ones that were measured
	Basis shutdown.Basis `json:"basis"` // p95, largest, cut_off: measured; configured; guess
	// Beside: others that run at the same time take longer; it adds nothing to the total.
	Beside bool `json:"beside,omitempty"`
}

// UPSStatus is what the decision makes of one UPS.
type UPSStatus struct {
	Name       string       `json:"name"`
	Status     dodai.Status `json:"status"`
	Line       policy.Line  `json:"line"`
	OnBattery  bool         `json:"on_battery"`
	OnBattS    *float64     `json:"on_battery_s,omitempty"`
	AvailableS *float64     `json:"available_s,omitempty"`
	Source     string       `json:"source,omitempty"` // where available_s comes from
	// Factor is which part of the runtime that the UPS claims is believed, Learned what
	// earlier discharges have shown of its battery; nil: nothing yet.
	Factor  float64       `json:"factor"`
	Learned *Learned      `json:"learned,omitempty"`
	Doomed  policy.Reason `json:"doomed"`
	Rule    policy.Rule   `json:"rule,omitempty"` // by which it is doomed or lost
	Lost    bool          `json:"lost"`
	Why     string        `json:"why"`
}

// DeviceStatus is one device with its last good reading and the age of it.
type DeviceStatus struct {
	Name    string         `json:"name"`
	Kind    dodai.Kind     `json:"kind"`
	Driver  string         `json:"driver"`
	Quality dodai.Quality  `json:"quality"`
	AgeS    *float64       `json:"age_s,omitempty"` // of the last good reading
	Polls   uint64         `json:"polls"`
	Error   string         `json:"error,omitempty"` // why the last poll failed
	Reading *dodai.Reading `json:"reading,omitempty"`
}

// AlertStatus is one standing alert.
type AlertStatus struct {
	Alert  policy.AlertID `json:"alert"`
	Device string         `json:"device,omitempty"`
	ForS   float64        `json:"for_s"`
	Text   string         `json:"text"`
}

// SPOFStatus is one open single point of failure.
type SPOFStatus = audit.Finding

// DrillStatus is a drill that is running.
type DrillStatus struct {
	ID    string  `json:"id"`
	Name  string  `json:"name"`
	Level string  `json:"level"`
	ForS  float64 `json:"for_s"`
}

// Status describes the present state for a person or a script.
func (a *Agent) Status() Status {
	v, now := a.View(), a.clock()
	d := v.Decision
	s := Status{
		Version: a.opts.Version, Host: v.Snapshot.Host.Name, Time: time.Now(), Mode: string(v.Mode),
		State: state(v), Explanation: d.Explanation, Summary: d.Summary, Reason: d.Reason, Rule: d.Rule, DecidedBy: d.Decider,
		Margin: d.MarginText(), AvailableFrom: d.AvailableFrom, Evidence: evidenceStatus(&d, now),
		MarginS: seconds(d.Margin), AvailableS: seconds(d.Available), NeedS: d.Need.Seconds(), ReserveS: d.Reserve.Seconds(),
		BootHold: d.BootHeld(), BootHoldWhy: d.BootHoldWhy, UPSes: []UPSStatus{}, Devices: []DeviceStatus{}, Alerts: []AlertStatus{},
		Need: needStatus(v), SPOFs: list(v.Findings), Journal: a.store.health(), Drill: a.drill.status(now),
	}
	for _, u := range d.UPSes {
		s.UPSes = append(s.UPSes, upsStatus(u, v, now))
	}
	for _, dev := range v.Snapshot.Devices {
		s.Devices = append(s.Devices, deviceStatus(dev, now))
	}
	for _, al := range d.Alerts {
		s.Alerts = append(s.Alerts, AlertStatus{al.ID, al.Device, (now - al.Since).Seconds(), al.Text})
	}
	s.Shutdown = downStatus(v, now)
	s.Maintenance, s.Unguarded = maintenanceStatus(v.Snapshot, now), unguarded(v, now)
	s.Preflight = v.preflightStatus()
	s.LoopLagS, s.PollLagS = v.Condition.LoopLag.Seconds(), v.Condition.PollLag.Seconds()
	s.Restart, s.Unread = v.restartStatus(now), list(v.Unread)
	if s.Drill != nil && s.State == "normal" {
		s.State = "drill"
	}
	if len(s.Maintenance) > 0 && s.State == "normal" {
		s.State = "maintenance"
	}
	return s
}

func needStatus(v *View) NeedStatus {
	n := NeedStatus{
		TotalS: v.Need.Total.Seconds(), ConfiguredS: v.Need.Configured.Seconds(), Measured: v.Need.Measured, Why: v.Need.String(),
		PowerOff: v.PowerOff, Steps: make([]NeedStep, len(v.Need.Steps)),
	}
	for i, s := range v.Need.Steps {
		n.Steps[i] = NeedStep{s.Step, s.Took.Seconds(), s.Runs, s.Basis, s.Beside}
	}
	return n
}

func state(v *View) string {
	switch {
	case v.Down != nil && v.Down.Finished:
		return "powering_off"
	case v.Down != nil:
		return "shutting_down"
	case v.Decision.Shutdown:
		return "would_shut_down"
	case onBattery(v.Decision):
		return "on_battery"
	case len(v.Snapshot.Devices) == 0:
		return "nothing_watched"
	case len(v.Decision.Alerts) > 0:
		return "alert"
	default:
		return "normal"
	}
}

func upsStatus(u policy.UPSView, v *View, now time.Duration) UPSStatus {
	s := UPSStatus{
		Name: u.UPS, Line: u.Line, OnBattery: u.OnBattery, AvailableS: seconds(u.Available), Source: u.Source, Factor: u.Factor,
		Learned: learned(v.Batteries[u.UPS]), Doomed: u.Doomed, Rule: u.Rule, Lost: u.Lost, Why: u.Why,
	}
	if u.OnBattery {
		s.OnBattS = new((now - u.OnBatterySince).Seconds())
	}
	if dev := v.Snapshot.Device(u.UPS); dev != nil && dev.Reading != nil {
		s.Status = dev.Reading.Status
	}
	return s
}

func deviceStatus(dev *dodai.DeviceState, now time.Duration) DeviceStatus {
	s := DeviceStatus{
		Name: dev.Name, Kind: dev.Kind, Driver: dev.Driver, Quality: dev.Quality(now), Polls: dev.Polls,
		Error: dev.Err, Reading: dev.Reading,
	}
	if dev.Reading != nil {
		s.AgeS = new(dev.Age(now).Seconds())
	}
	return s
}

func seconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	return new(d.Seconds())
}
