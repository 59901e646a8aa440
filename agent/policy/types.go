// Package policy decides when the machine has to go down, and when it does not.
//
// It is pure: the same snapshot, memory and instant always give the same decision. It
// does no I/O, reads no clock and starts no goroutine, so the agent, a drill, a
// replayed scenario and a test run exactly the same code.
package policy

import (
	"time"

	"github.com/dodai-agent/dodai"
)

// Seconds is a duration as the configuration spells it: a number of seconds.
type Seconds float64

// D returns s as a time.Duration.
func (s Seconds) D() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// Config is the operator's policy. The zero value is not useful; start from Default.
// The yaml keys stand below `policy:` in the configuration, and below `config:` in a
// scenario file.
type Config struct {
	// Need is how long a clean shutdown takes, without Reserve. They are not policy
	// keys: the agent fills them from `shutdown.need` (or what was measured) and
	// `shutdown.reserve`.
	Need    time.Duration `yaml:"-" json:"-"`
	Reserve time.Duration `yaml:"-" json:"-"`
	// BootWait is how long heavy services wait after a boot once the batteries could carry
	// another shutdown: for this host's turn in its rack. BootLimit is how long after the boot
	// they start whatever the UPSes say; 0: never. The agent fills them from `boot_hold`.
	BootWait  time.Duration `yaml:"-" json:"-"`
	BootLimit time.Duration `yaml:"-" json:"-"`

	PollBattS        Seconds  `yaml:"poll_batt_s" json:"poll_batt_s"`                 // network devices on battery
	RetryS           Seconds  `yaml:"retry_s" json:"retry_s"`                         // a failed read is repeated so soon, up to three times
	StaleS           Seconds  `yaml:"stale_s" json:"stale_s"`                         // no successful read for so long = communication lost
	FrozenS          Seconds  `yaml:"frozen_s" json:"frozen_s"`                       // on battery, nothing moved for so long
	MinChargePct     float64  `yaml:"min_charge_pct" json:"min_charge_pct"`           // act at or below, on battery
	ConfirmPolls     int      `yaml:"confirm_polls" json:"confirm_polls"`             // low battery, runtime or charge on so many polls in a row
	ConfirmS         Seconds  `yaml:"confirm_s" json:"confirm_s"`                     // … that span at least so long
	MaxOnBattS       *Seconds `yaml:"max_onbatt_s" json:"max_onbatt_s"`               // act after so long on battery; nil: never
	NoMetricsOnBattS Seconds  `yaml:"no_metrics_onbatt_s" json:"no_metrics_onbatt_s"` // the same without credible runtime and charge
	CommsLostBattS   Seconds  `yaml:"comms_lost_batt_s" json:"comms_lost_batt_s"`     // blind on battery
	CommsLostLineS   *Seconds `yaml:"comms_lost_line_s" json:"comms_lost_line_s"`     // blind, last seen on line; nil: never act
	OffConfirmS      Seconds  `yaml:"off_confirm_s" json:"off_confirm_s"`             // OFF must persist
	HysteresisS      Seconds  `yaml:"hysteresis_s" json:"hysteresis_s"`               // back on line only after OL for so long
	MinSupplies      int      `yaml:"min_supplies" json:"min_supplies"`               // feeds that must be healthy
	IgnoreLB         bool     `yaml:"ignore_lb" json:"ignore_lb"`                     // do not trust the LB flag
	LBTrustS         *Seconds `yaml:"lb_trust_s" json:"lb_trust_s"`                   // on battery for less, LB alone is not believed
	LoadShift        bool     `yaml:"load_shift" json:"load_shift"`                   // wired UPSes carry the host together; what is left of them takes over
	BootMinChargePct float64  `yaml:"boot_min_charge_pct" json:"boot_min_charge_pct"` // below it, hold back heavy services after boot
}

// Default is the policy that applies where the operator says nothing.
func Default() Config {
	return Config{
		Need: 120 * time.Second, Reserve: 60 * time.Second,
		PollBattS: 2, RetryS: 0.5, StaleS: 15, FrozenS: 120,
		MinChargePct: 20, ConfirmPolls: 2, ConfirmS: 0.5,
		NoMetricsOnBattS: 120, CommsLostBattS: 60, OffConfirmS: 30, HysteresisS: 10,
		MinSupplies: 1, LoadShift: true, BootMinChargePct: 30,
	}
}

// Reason is why the machine has to go down.
type Reason string

// The reasons. ReasonRuntime is also given when the observed discharge predicts the
// end; ReasonPathOutage when a UPS last seen on line has been silent for longer than
// allowed, or too few feeds are left although none of them is doomed.
const (
	ReasonNone        Reason = "none"
	ReasonLB          Reason = "lb"
	ReasonRuntime     Reason = "runtime"
	ReasonCharge      Reason = "charge"
	ReasonMaxOnBatt   Reason = "max_onbatt"
	ReasonNoMetrics   Reason = "no_metrics"
	ReasonCommsOnBatt Reason = "comms_onbatt"
	ReasonFSD         Reason = "fsd"
	ReasonUPSTimer    Reason = "ups_timer"
	ReasonPathOutage  Reason = "path_outage"
)

// AlertID names something an operator should know. Alerts stand while their cause
// does; going down is not one of them.
type AlertID string

// The alerts of the power path.
const (
	AlertOnBattery           AlertID = "on_battery"
	AlertFlapping            AlertID = "flapping" // 3 transfers within 2 min
	AlertLowBattery          AlertID = "low_battery"
	AlertLowRuntime          AlertID = "low_runtime"
	AlertLowCharge           AlertID = "low_charge"
	AlertRuntimeCollapse     AlertID = "runtime_collapse"     // fell by more than half from one reading to the next
	AlertWouldNotSurvive     AlertID = "would_not_survive"    // on line, yet LB or less left than a shutdown needs
	AlertCalibrating         AlertID = "calibrating"          //
	AlertBypass              AlertID = "bypass"               //
	AlertOverload            AlertID = "overload"             //
	AlertReplaceBattery      AlertID = "replace_battery"      //
	AlertStatusContradiction AlertID = "status_contradiction" // OL and OB
	AlertOffContradiction    AlertID = "off_contradiction"    // OFF while the load lives
	AlertCommsLost           AlertID = "comms_lost"           //
	AlertStale               AlertID = "stale"                // answers, but nothing moves on battery
	AlertFSD                 AlertID = "fsd"
	AlertFSDLatch            AlertID = "fsd_latch"
	AlertUPSTimer            AlertID = "ups_timer"
	AlertRedundancyLost      AlertID = "redundancy_lost"
	AlertPSUContradiction    AlertID = "psu_contradiction"
	AlertShutdownFailed      AlertID = "shutdown_failed"
)

// Alert is one standing alert.
type Alert struct {
	ID     AlertID       `json:"id"`
	Device string        `json:"device,omitempty"` // empty: the host
	Since  time.Duration `json:"since"`
	Text   string        `json:"text"` // one sentence: what, with the numbers
}

// Line is what is known of a UPS's input.
type Line string

// The states of a UPS's input.
const (
	LinePresent Line = "present"
	LineAbsent  Line = "absent"
	LineUnknown Line = "unknown"
)

// UPSView is what the decision makes of one UPS.
type UPSView struct {
	UPS       string `json:"ups"`
	Line      Line   `json:"line"`
	OnBattery bool   `json:"on_battery"`
	// OnBatterySince is when the outage began; meaningless unless OnBattery. A
	// flapping outage keeps the first start until the hysteresis has passed.
	OnBatterySince time.Duration `json:"on_battery_since,omitempty"`
	// Available is how long the load could still run on this battery, the least of
	// what the UPS says and what was observed; nil when nothing credible says so.
	Available *time.Duration `json:"available,omitempty"`
	// Source says where Available comes from: "battery.runtime", "charge slope" or "battery
	// voltage slope", with ", corrected by …" where it is believed in part; empty: nowhere.
	Source string `json:"source,omitempty"`
	// Factor is which part of the runtime that the UPS claims is believed at its present
	// load, 0.2 to 1: less than 1 where earlier discharges showed that it claims too much.
	Factor float64 `json:"factor"`
	// Doomed is why this feed will be gone; ReasonNone: it is healthy, or Lost.
	Doomed Reason `json:"doomed"`
	// Rule is the one by which it is doomed or lost; empty: neither. It is not spelled like
	// Doomed where a feed ends because of another one (series, load_shift).
	Rule Rule `json:"rule,omitempty"`
	// Lost means that the feed is gone already.
	Lost bool `json:"lost"`
	// Maintenance means that an operator works on this UPS: nothing it says counts.
	Maintenance bool `json:"maintenance,omitempty"`
	// Why is one sentence on the state of this feed, with the numbers.
	Why string `json:"why"`
}

// Evidence is one reading a decision used.
type Evidence struct {
	Device string `json:"device"`
	// Name is a NUT variable, "ups.status", or of a power supply "psu.ID.input" (ok, lost,
	// out_of_range, unknown) and, where it is not in order, "psu.ID.state".
	Name  string        `json:"name"`
	Value string        `json:"value"` // as the device has it; of any length
	Age   time.Duration `json:"age"`   // of the value when it was used; never negative
}

// Decision is what follows from a snapshot.
type Decision struct {
	At time.Duration `json:"at"`
	// Shutdown is true when this host has to go down now. It stays true in later
	// decisions only while its cause stands; the agent goes through with the first.
	Shutdown bool   `json:"shutdown"`
	Reason   Reason `json:"reason"`
	// Rule is the one that decided, of DecidingRules; empty when staying up.
	Rule Rule `json:"rule,omitempty"`
	// Decider is the UPS it decided about, the last one doomed of those too many or one that
	// is lost; empty when staying up, and where only the mains decided.
	Decider string `json:"decider,omitempty"`
	// Explanation says why, or why not: the rule, the numbers of each UPS, the margin.
	// Summary is how it begins, without what is said of each UPS and of the margin.
	Explanation string     `json:"explanation"`
	Summary     string     `json:"summary"`
	Evidence    []Evidence `json:"evidence,omitempty"`

	UPSes  []UPSView `json:"upses"`  // in name order
	Alerts []Alert   `json:"alerts"` // standing now, by device and id

	// Margin is Available − Need − Reserve of the power path that decides, on line
	// too; nil when nothing credible says how long the battery would last.
	Available *time.Duration `json:"available,omitempty"`
	Need      time.Duration  `json:"need"`
	Reserve   time.Duration  `json:"reserve"`
	Margin    *time.Duration `json:"margin,omitempty"`
	// AvailableFrom says in words whose battery Available is, and by which figure:
	// "battery.runtime × 0.83 learned, u1". With a nil Available, why it is not known.
	AvailableFrom string `json:"available_from,omitempty"`

	// BootHold asks to hold back the start of heavy services, because of what is known.
	// BootUnheard means that nothing is known against it, and not enough for it either. Both
	// false: they may start, and may so until the next boot.
	BootHold    bool `json:"boot_hold"`
	BootUnheard bool `json:"boot_unheard,omitempty"`
	// BootReasons are what they wait for, BootHoldWhy is that in one sentence; empty: they
	// may start.
	BootReasons []BootReason `json:"boot_reasons,omitempty"`
	BootHoldWhy string       `json:"boot_hold_why,omitempty"`
	// BootHoldLeft is how long they will have to wait, by how the batteries charge and whose
	// turn it is; nil: nobody knows. BootLimit may end it sooner.
	BootHoldLeft *time.Duration `json:"boot_hold_left,omitempty"`
	// Fast names the UPSes to poll as fast as on battery: on battery, doubtful
	// (FSD, OFF, contradiction) or flapping.
	Fast map[string]bool `json:"fast,omitempty"`
	// Next is when to decide again even if no new reading has come; 0: no need.
	Next time.Duration `json:"next,omitempty"`
	// Events are the edges since the decision before: mains_lost, mains_restored,
	// battery_low, battery_learned, battery_replaced, comms_lost, comms_restored,
	// alert_raised, alert_cleared. At, Device, Text and Fields are filled in.
	Events []dodai.Event `json:"events,omitempty"`
}

// UPS returns the view of the UPS called name, or nil.
func (d *Decision) UPS(name string) *UPSView {
	for i := range d.UPSes {
		if d.UPSes[i].UPS == name {
			return &d.UPSes[i]
		}
	}
	return nil
}
