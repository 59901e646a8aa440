package dodai

import "time"

// EventName names a kind of event. Hooks, the journal, notifications and the metric
// dodai_events_total use the same spelling.
type EventName string

// The events. Each is an edge: it is raised when something changes, not while it lasts.
const (
	EventMainsLost          EventName = "mains_lost"
	EventMainsRestored      EventName = "mains_restored"
	EventBatteryLow         EventName = "battery_low"
	EventCommsLost          EventName = "comms_lost"
	EventCommsRestored      EventName = "comms_restored"
	EventAlertRaised        EventName = "alert_raised"
	EventAlertCleared       EventName = "alert_cleared"
	EventShutdownDecided    EventName = "shutdown_decided" // also in observe mode, where nothing follows
	EventShutdownStarted    EventName = "shutdown_started" // the point of no return
	EventStepStarted        EventName = "step_started"
	EventStepFinished       EventName = "step_finished"
	EventStepFailed         EventName = "step_failed"
	EventStepUndone         EventName = "step_undone"
	EventPowerOff           EventName = "power_off" // the last thing asked for
	EventShutdownFailed     EventName = "shutdown_failed"
	EventPSULost            EventName = "psu_lost"
	EventPSURestored        EventName = "psu_restored"
	EventArrayDegraded      EventName = "array_degraded"
	EventArrayRestored      EventName = "array_restored"
	EventDiskVerdictChanged EventName = "disk_verdict_changed"
	EventDrillStarted       EventName = "drill_started"
	EventDrillFinished      EventName = "drill_finished"
	EventDrillAborted       EventName = "drill_aborted"
	EventAgentStarted       EventName = "agent_started"
	EventAgentStopped       EventName = "agent_stopped"
	EventAgentKilled        EventName = "agent_killed"  // the agent before this one did not end in order
	EventClockStepped       EventName = "clock_stepped" // the wall clock was set
	EventConfigReloaded     EventName = "config_reloaded"
	EventConfigRejected     EventName = "config_rejected"
	EventHookFailed         EventName = "hook_failed"
	EventJournalRecovered   EventName = "journal_recovered" // a corrupt journal was replaced
	EventMaintenanceStarted EventName = "maintenance_started"
	EventMaintenanceEnded   EventName = "maintenance_ended"
	EventBatteryLearned     EventName = "battery_learned" // a discharge has taught how far a runtime can be believed
	EventBatteryReplaced    EventName = "battery_replaced"
	EventFeedDoomed         EventName = "feed_doomed"        // a feed will not last, or is gone; the others carry the host
	EventFeedRecovered      EventName = "feed_recovered"     // such a feed counts again
	EventStepRetried        EventName = "step_retried"       // it failed and is run again
	EventShutdownCancelled  EventName = "shutdown_cancelled" // before the point of no return; what was done is undone
	EventNotification       EventName = "notification"       // a step of the plan speaks to the operators
	EventPreflightFailed    EventName = "preflight_failed"   // the way down would not work as planned
	EventPreflightPassed    EventName = "preflight_passed"   // it would again
	EventKillPower          EventName = "kill_power"         // a UPS was told to cut its output, or could not be
	EventBootHeld           EventName = "boot_held"          // heavy services have to wait after the boot
	EventBootHoldReleased   EventName = "boot_hold_released" // they may start
)

// EventNames lists every event name, for checking configured hooks.
var EventNames = []EventName{
	EventMainsLost, EventMainsRestored, EventBatteryLow, EventCommsLost, EventCommsRestored,
	EventAlertRaised, EventAlertCleared, EventShutdownDecided, EventShutdownStarted,
	EventStepStarted, EventStepFinished, EventStepFailed, EventStepUndone, EventPowerOff,
	EventShutdownFailed, EventPSULost, EventPSURestored, EventArrayDegraded, EventArrayRestored,
	EventDiskVerdictChanged, EventDrillStarted, EventDrillFinished, EventDrillAborted,
	EventAgentStarted, EventAgentStopped, EventAgentKilled, EventClockStepped, EventConfigReloaded, EventConfigRejected, EventHookFailed,
	EventJournalRecovered, EventMaintenanceStarted, EventMaintenanceEnded, EventBatteryLearned, EventBatteryReplaced,
	EventFeedDoomed, EventFeedRecovered, EventStepRetried, EventShutdownCancelled, EventNotification,
	EventPreflightFailed, EventPreflightPassed, EventKillPower, EventBootHeld, EventBootHoldReleased,
}

// Event is an edge worth remembering.
type Event struct {
	Name   EventName     `json:"event"`
	Device string        `json:"device,omitempty"` // device, step or drill it is about; empty: the host
	At     time.Duration `json:"at"`               // on the agent's monotonic clock
	Wall   time.Time     `json:"time"`             // for display and for the time line
	// Text says in one sentence what happened and, for a decision, why.
	Text string `json:"text,omitempty"`
	// Fields are the facts behind Text: numbers in the units of their names.
	Fields map[string]any `json:"fields,omitempty"`
	// Drill is the id of the drill this event belongs to; empty: it is the truth.
	Drill string `json:"drill,omitempty"`
}
