package export

import "github.com/prometheus/client_golang/prometheus"

// The names of all metrics. Code, tests and rules use these.
const (
	BuildInfo = "dodai_build_info"
	ModeArmed = "dodai_mode_armed"

	DeviceUp           = "dodai_device_up"
	DevicePolls        = "dodai_device_polls_total"
	DevicePollFailures = "dodai_device_poll_failures_total"

	UPSInfo             = "dodai_ups_info"
	UPSStatus           = "dodai_ups_status"
	UPSChargeRatio      = "dodai_ups_battery_charge_ratio"
	UPSRuntimeSeconds   = "dodai_ups_battery_runtime_seconds"
	UPSBatteryVolts     = "dodai_ups_battery_volts"
	UPSInputVolts       = "dodai_ups_input_volts"
	UPSOutputVolts      = "dodai_ups_output_volts"
	UPSLoadRatio        = "dodai_ups_load_ratio"
	UPSRealpowerWatts   = "dodai_ups_realpower_watts"
	UPSTemperature      = "dodai_ups_temperature_celsius"
	UPSReadingAge       = "dodai_ups_reading_age_seconds"
	UPSOnBatterySeconds = "dodai_ups_on_battery_seconds"
	UPSDoomed           = "dodai_ups_doomed"
	UPSBatteryFactor    = "dodai_ups_battery_factor_ratio"

	PowerMargin      = "dodai_power_margin_seconds"
	PowerAvailable   = "dodai_power_available_seconds"
	ShutdownNeed     = "dodai_shutdown_need_seconds"
	StepNeed         = "dodai_shutdown_step_need_seconds"
	StepRuns         = "dodai_shutdown_step_runs"
	ShutdownReserve  = "dodai_shutdown_reserve_seconds"
	ShutdownDecided  = "dodai_shutdown_decided"
	DecisionRule     = "dodai_decision_rule"
	BootHold         = "dodai_boot_hold"
	Maintenance      = "dodai_maintenance"
	MaintenanceEnd   = "dodai_maintenance_end_timestamp_seconds"
	Alert            = "dodai_alert"
	SPOFOpen         = "dodai_spof_open"
	Events           = "dodai_events_total"
	DrillEvents      = "dodai_drill_events_total"
	DrillLastSuccess = "dodai_drill_last_success_timestamp_seconds"

	PreflightOK       = "dodai_preflight_ok"
	PreflightLast     = "dodai_preflight_last_timestamp_seconds"
	PreflightFindings = "dodai_preflight_findings"

	Unread = "dodai_unread"

	LoopLag     = "dodai_loop_lag_seconds"
	PollLag     = "dodai_poll_lag_seconds"
	JournalUp   = "dodai_journal_up"
	JournalLost = "dodai_journal_lost_events_total"

	PSUStateName    = "dodai_psu_state"
	PSUInput        = "dodai_psu_input"
	PSUWatts        = "dodai_psu_watts"
	PSUCapacity     = "dodai_psu_capacity_watts"
	RedundancyState = "dodai_redundancy_state"
	SystemWatts     = "dodai_system_watts"

	ArrayStateName = "dodai_array_state"
	ArrayTolerance = "dodai_array_tolerance_members"
	ArrayMissing   = "dodai_array_missing_members"
	ArrayFailing   = "dodai_array_failing_members"
	ArraySpares    = "dodai_array_spare_members"
	ArrayProgress  = "dodai_array_activity_progress_ratio"

	DiskVerdict     = "dodai_disk_verdict"
	DiskInfo        = "dodai_disk_info"
	DiskTemperature = "dodai_disk_temperature_celsius"
	DiskPowerOn     = "dodai_disk_power_on_seconds"
	DiskWear        = "dodai_disk_wear_ratio"

	HostInfo       = "dodai_host_info"
	HostUptime     = "dodai_host_uptime_seconds"
	HostLoad       = "dodai_host_load1"
	HostMemorySize = "dodai_host_memory_size_bytes"
	HostMemoryUsed = "dodai_host_memory_used_bytes"
)

// gauges has one row for each metric that a scrape makes from the state.
var gauges = []struct {
	name, help string
	labels     []string
}{
	{ModeArmed, "Whether decisions are acted upon (1) or only recorded (0).", nil},

	{DeviceUp, "Whether the device's last reading is fresh; no series where it finds nothing to read.", []string{"device", "kind", "driver"}},

	{UPSInfo, "What the UPS says of itself.", []string{"ups", "manufacturer", "model", "serial", "firmware"}},
	{UPSStatus, "Whether a flag of NUT's ups.status is set; no series while the status is not known.", []string{"ups", "flag"}},
	{UPSChargeRatio, "Charge of the battery, 0 to 1.", []string{"ups"}},
	{UPSRuntimeSeconds, "Time on battery that the UPS itself predicts.", []string{"ups"}},
	{UPSBatteryVolts, "Voltage of the battery.", []string{"ups"}},
	{UPSInputVolts, "Voltage of the input.", []string{"ups"}},
	{UPSOutputVolts, "Voltage of the output.", []string{"ups"}},
	{UPSLoadRatio, "Load as a part of the nominal power, 0 to 1 and above when overloaded.", []string{"ups"}},
	{UPSRealpowerWatts, "Real power of the load.", []string{"ups"}},
	{UPSTemperature, "Temperature in the UPS.", []string{"ups"}},
	{UPSReadingAge, "Age of the last good reading; no series before the first.", []string{"ups"}},
	{UPSOnBatterySeconds, "How long the present outage has lasted; 0 on line.", []string{"ups"}},
	{UPSDoomed, "Whether the feed does not count by the rule: it will not last, or is gone. 1 for one rule at most.", []string{"ups", "rule"}},
	{UPSBatteryFactor, "Part of the runtime the UPS predicts that is believed at its present load, from what earlier discharges have shown; 1 where nothing was learned.", []string{"ups"}},

	{PowerMargin, "Seconds available on battery beyond need and reserve; no series while nothing credible says so.", nil},
	{PowerAvailable, "Seconds the power path that decides could still carry the host.", nil},
	{ShutdownNeed, "Seconds a clean shutdown takes, without the reserve.", nil},
	{StepNeed, "What one part of the shutdown takes; power_off is the operating system's own part, and the sum may be less than was configured for the whole; no series for a step of which nothing is known.", []string{"step"}},
	{StepRuns, "Complete runs that were measured of one part of the shutdown; with fewer than 3 of any the configured need is the least.", []string{"step"}},
	{ShutdownReserve, "Seconds kept on top of the need.", nil},
	{ShutdownDecided, "Whether the host has to go down now.", nil},
	{DecisionRule, "Whether the rule is the one by which the host has to go down now; 0 for all of them while it stays up.", []string{"rule"}},
	{BootHold, "Whether heavy services have to wait after the boot, until the battery could carry another shutdown.", nil},
	{Maintenance, "Whether the UPS is worked on: nothing it says leads to a shutdown.", []string{"ups"}},
	{MaintenanceEnd, "When the maintenance of the UPS ends by itself; no series while none stands.", []string{"ups"}},
	{Alert, "An alert that stands; no series when it does not. The device is empty for the host.", []string{"alert", "device"}},
	{PreflightOK, "Whether nothing was found against the way down when it was last tried; no series before that.", nil},
	{PreflightLast, "When the way down was last tried without stopping anything.", nil},
	{PreflightFindings, "What was found against the way down when it was last tried.", nil},
	{Unread, "Things in this machine that are seen and not read; `dodai status` names them, and what helps.", []string{"kind"}},
	{LoopLag, "How late the agent was to decide, at worst within the last minute.", nil},
	{PollLag, "How late it was to ask a device, at worst within the last minute.", nil},
	{JournalUp, "Whether the journal takes what it is given.", nil},
	{JournalLost, "Events since the start that the journal will never have, because it did not take them in time.", nil},
	{SPOFOpen, "Whether the component's loss alone would stop this server or lose its data.", []string{"component"}},

	{PSUStateName, "Whether the power supply is in the state.", []string{"psu", "state"}},
	{PSUInput, "Whether the power supply says so of its input.", []string{"psu", "input"}},
	{PSUWatts, "Power of the supply: output where measured, else input.", []string{"psu"}},
	{PSUCapacity, "Rated power of the supply.", []string{"psu"}},
	{RedundancyState, "Whether the supplies of the domain are in the state of redundancy.", []string{"domain", "state"}},
	{SystemWatts, "Power the server draws, as its management controller measures it.", []string{"device"}},

	{ArrayStateName, "Whether the array is in the state.", []string{"array", "state"}},
	{ArrayTolerance, "How many more members may fail, whichever they are.", []string{"array"}},
	{ArrayMissing, "Slots without a working member.", []string{"array"}},
	{ArrayFailing, "Members that are failed, offline or missing.", []string{"array"}},
	{ArraySpares, "Hot spares this array can take.", []string{"array"}},
	{ArrayProgress, "Progress of what the array is busy with, 0 to 1; no series while nothing runs.", []string{"array", "activity"}},

	{DiskVerdict, "Whether the disk's own health data amounts to the verdict.", []string{"disk", "verdict"}},
	{DiskInfo, "What the disk says of itself.", []string{"disk", "model", "serial", "firmware", "protocol"}},
	{DiskTemperature, "Temperature of the disk.", []string{"disk"}},
	{DiskPowerOn, "How long the disk has been powered, in its whole life.", []string{"disk"}},
	{DiskWear, "Used part of an SSD's endurance, 0 to 1 and above.", []string{"disk"}},

	{HostInfo, "The machine the agent runs on.", []string{"name", "os", "kernel"}},
	{HostUptime, "Time since the host booted.", nil},
	{HostLoad, "Load average over one minute.", nil},
	{HostMemorySize, "Memory of the host.", nil},
	{HostMemoryUsed, "Memory in use.", nil},
}

// descs are the rows of gauges in the form the library wants.
var descs = func() map[string]*prometheus.Desc {
	m := make(map[string]*prometheus.Desc, len(gauges))
	for _, g := range gauges {
		m[g.name] = prometheus.NewDesc(g.name, g.help, g.labels, nil)
	}
	return m
}()
