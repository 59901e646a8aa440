package snmp

import "github.com/dodai-agent/dodai"

// upsMIB is where RFC 1628 begins: upsObjects.
const upsMIB = "1.3.6.1.2.1.33.1."

// rfc1628 is the standard UPS MIB. Its runtime is in whole minutes and its volts are
// whole volts, which is why a maker's own branch goes first where there is one.
//
// Source: RFC 1628, "UPS Management Information Base".
var rfc1628 = family{
	name: "rfc1628",
	kind: dodai.KindUPS,
	keys: []string{upsMIB + "4.1.0", upsMIB + "2.1.0"},
	from: "RFC 1628",
	ident: []ident{
		{upsMIB + "1.1.0", manufacturer, "upsIdentManufacturer"},
		{upsMIB + "1.1", manufacturer, "upsIdentManufacturer without an instance, as a Minuteman card has it"},
		{upsMIB + "1.2.0", model, "upsIdentModel"},
		{upsMIB + "1.3.0", firmware, "upsIdentUPSSoftwareVersion"},
		{upsMIB + "1.4.0", cardFirmware, "upsIdentAgentSoftwareVersion"},
	},
	source: []source{
		{oid: upsMIB + "4.1.0", from: "upsOutputSource", means: map[int]dodai.Status{
			2: dodai.OFF, 3: dodai.OL, 4: dodai.OL | dodai.BYPASS, 5: dodai.OB, 6: dodai.OL | dodai.BOOST, 7: dodai.OL | dodai.TRIM,
		}},
	},
	flags: []flag{
		{oid: upsMIB + "2.1.0", from: "upsBatteryStatus", means: map[int]dodai.Status{3: dodai.LB, 4: dodai.LB}},
		{oid: upsMIB + "7.3.0", from: "upsTestResultsSummary", means: map[int]dodai.Status{3: dodai.RB, 5: dodai.TEST}},
	},
	rows:       rfc1628Rows,
	tables:     rfc1628Tables,
	alarms:     upsMIB + "6.2.1.2",
	alarmCount: upsMIB + "6.1.0",
	alarmBase:  upsMIB + "6.3.",
	alarmWords: rfc1628Alarms,
}

var rfc1628Rows = []row{
	{name: "battery.time_on_battery", oid: upsMIB + "2.2.0", hi: 1e7, tier: decide, from: "upsSecondsOnBattery"},
	{name: dodai.BatteryRuntime, oid: upsMIB + "2.3.0", scale: 60, hi: 30 * 86400, zero: zeroIfEmpty, none: []float64{1092, 9999}, tier: decide, from: "upsEstimatedMinutesRemaining"},
	{name: dodai.BatteryCharge, oid: upsMIB + "2.4.0", hi: 100, tier: decide, from: "upsEstimatedChargeRemaining"},
	{name: dodai.BatteryVoltage, oid: upsMIB + "2.5.0", scale: 0.1, hi: 2000, zero: zeroIsNone, tier: decide, from: "upsBatteryVoltage"},
	{name: "battery.current", oid: upsMIB + "2.6.0", scale: 0.1, lo: -5000, hi: 5000, from: "upsBatteryCurrent"},
	{name: "battery.temperature", oid: upsMIB + "2.7.0", lo: -40, hi: 120, zero: zeroIsNone, from: "upsBatteryTemperature"},
	{name: "output.frequency", oid: upsMIB + "4.2.0", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "upsOutputFrequency"},
	{name: "input.bypass.frequency", oid: upsMIB + "5.1.0", scale: 0.1, hi: 500, zero: zeroIsNone, quantity: hertz, from: "upsBypassFrequency"},
	{name: "ups.alarms.present", oid: upsMIB + "6.1.0", hi: 1000, tier: decide, from: "upsAlarmsPresent"},
	{name: dodai.UPSTestResult, oid: upsMIB + "7.3.0", words: map[int]string{
		1: "Done and passed", 2: "Done and warning", 3: "Done and error", 4: "Aborted", 5: "In progress", 6: "No test initiated",
	}, tier: decide, from: "upsTestResultsSummary"},
	{name: dodai.UPSTimerShutdown, oid: upsMIB + "8.2.0", hi: 1e7, zero: zeroIsNone, tier: decide, from: "upsShutdownAfterDelay"},
	{name: dodai.InputVoltageNom, oid: upsMIB + "9.1.0", hi: 1000, zero: zeroIsNone, quantity: lineVolts, tier: settings, from: "upsConfigInputVoltage"},
	{name: "input.frequency.nominal", oid: upsMIB + "9.2.0", scale: 0.1, hi: 500, zero: zeroIsNone, quantity: hertz, tier: settings, from: "upsConfigInputFreq"},
	{name: "output.voltage.nominal", oid: upsMIB + "9.3.0", hi: 1000, zero: zeroIsNone, quantity: lineVolts, tier: settings, from: "upsConfigOutputVoltage"},
	{name: "output.frequency.nominal", oid: upsMIB + "9.4.0", scale: 0.1, hi: 500, zero: zeroIsNone, quantity: hertz, tier: settings, from: "upsConfigOutputFreq"},
	{name: "ups.power.nominal", oid: upsMIB + "9.5.0", hi: 1e7, zero: zeroIsNone, tier: settings, from: "upsConfigOutputVA"},
	{name: "ups.realpower.nominal", oid: upsMIB + "9.6.0", hi: 1e7, zero: zeroIsNone, tier: settings, from: "upsConfigOutputPower"},
	{name: dodai.BatteryRuntimeLow, oid: upsMIB + "9.7.0", scale: 60, hi: 7200, zero: zeroIsNone, tier: settings, from: "upsConfigLowBattTime"},
	{name: "ups.beeper.status", oid: upsMIB + "9.8.0", words: map[int]string{1: "disabled", 2: "enabled", 3: "muted"}, tier: settings, from: "upsConfigAudibleStatus"},
	{name: "input.transfer.low", oid: upsMIB + "9.9.0", hi: 1000, zero: zeroIsNone, quantity: lineVolts, tier: settings, from: "upsConfigLowVoltageTransferPoint"},
	{name: "input.transfer.high", oid: upsMIB + "9.10.0", hi: 1000, zero: zeroIsNone, quantity: lineVolts, tier: settings, from: "upsConfigHighVoltageTransferPoint"},
}

var rfc1628Tables = []table{
	{side: inputSide, lines: upsMIB + "3.2.0", rows: []row{
		{name: dodai.InputFrequency, oid: upsMIB + "3.3.1.2", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "upsInputFrequency"},
		{name: dodai.InputVoltage, phase: "input.%.voltage", oid: upsMIB + "3.3.1.3", hi: 1000, quantity: lineVolts, tier: decide, from: "upsInputVoltage"},
		{name: "input.current", phase: "input.%.current", oid: upsMIB + "3.3.1.4", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "upsInputCurrent"},
		{name: "input.realpower", phase: "input.%.realpower", oid: upsMIB + "3.3.1.5", lo: -1e6, hi: 1e7, zero: zeroIfIdle, quantity: watts, from: "upsInputTruePower"},
	}},
	{side: outputSide, lines: upsMIB + "4.3.0", rows: []row{
		{name: dodai.OutputVoltage, phase: "output.%.voltage", oid: upsMIB + "4.4.1.2", hi: 1000, quantity: lineVolts, tier: decide, from: "upsOutputVoltage"},
		{name: "output.current", phase: "output.%.current", oid: upsMIB + "4.4.1.3", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "upsOutputCurrent"},
		{name: dodai.UPSRealpower, phase: "output.%.realpower", oid: upsMIB + "4.4.1.4", lo: -1e6, hi: 1e7, zero: zeroIfIdle, quantity: watts, from: "upsOutputPower"},
		{name: dodai.UPSLoad, phase: "output.%.power.percent", oid: upsMIB + "4.4.1.5", hi: 250, tier: decide, from: "upsOutputPercentLoad"},
	}},
	{side: bypassSide, lines: upsMIB + "5.2.0", rows: []row{
		{name: "input.bypass.voltage", phase: "input.bypass.%.voltage", oid: upsMIB + "5.3.1.2", hi: 1000, zero: zeroIsNone, quantity: lineVolts, from: "upsBypassVoltage"},
		{name: "input.bypass.current", phase: "input.bypass.%.current", oid: upsMIB + "5.3.1.3", scale: 0.1, hi: 5000, zero: zeroIsNone, from: "upsBypassCurrent"},
		{name: "input.bypass.realpower", phase: "input.bypass.%.realpower", oid: upsMIB + "5.3.1.4", lo: -1e6, hi: 1e7, zero: zeroIsNone, quantity: watts, from: "upsBypassPower"},
	}},
}

// rfc1628Alarms are the well-known alarm conditions, 1.3.6.1.2.1.33.1.6.3.N. "Output
// off as requested" and the like do not set OFF: only upsOutputSource does.
var rfc1628Alarms = map[string]alarm{
	"1":  {text: "battery bad", status: dodai.RB},
	"2":  {text: "on battery", source: dodai.OB},
	"3":  {text: "low battery", status: dodai.LB},
	"4":  {text: "depleted battery", status: dodai.LB},
	"5":  {text: "temperature out of range"},
	"6":  {text: "input out of range"},
	"7":  {text: "output out of range"},
	"8":  {text: "overload", status: dodai.OVER},
	"9":  {text: "on bypass", source: dodai.OL | dodai.BYPASS},
	"10": {text: "bypass out of range"},
	"11": {text: "output off as requested"},
	"12": {text: "UPS off as requested"},
	"13": {text: "charger failed"},
	"14": {text: "output off"},
	"15": {text: "UPS system off"},
	"16": {text: "fan failure"},
	"17": {text: "fuse failure"},
	"18": {text: "general fault"},
	"19": {text: "diagnostic test failed"},
	"20": {text: "communication with the UPS lost", lost: true},
	"21": {text: "awaiting power"},
	"22": {text: "shutdown pending"},
	"23": {text: "shutdown imminent", status: dodai.FSD},
	"24": {text: "test in progress", status: dodai.TEST},
}
