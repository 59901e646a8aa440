package snmp

import "github.com/dodai-agent/dodai"

// apcUPS is APC's branch for UPSes: upsMIB of the PowerNet MIB.
const apcUPS = "1.3.6.1.4.1.318.1.1.1."

// powerNet is APC's own MIB. The card's model, serial number and firmware stand in
// sysDescr (see cardOf). Objects in tenths may be there without those in whole units,
// or the reverse, value by value.
//
// Source: APC PowerNet MIB (PowerNet-MIB, enterprise 318).
var powerNet = family{
	name:   "apc",
	vendor: "APC",
	kind:   dodai.KindUPS,
	keys:   []string{apcUPS + "4.1.1.0", apcUPS + "2.1.1.0"},
	from:   "PowerNet MIB",
	ident: []ident{
		{apcUPS + "1.1.1.0", model, "upsBasicIdentModel"},
		{apcUPS + "1.2.1.0", firmware, "upsAdvIdentFirmwareRevision"},
		{apcUPS + "1.2.3.0", serial, "upsAdvIdentSerialNumber"},
	},
	source: []source{
		{oid: apcUPS + "4.1.1.0", from: "upsBasicOutputStatus", means: powerNetOutput},
		{oid: apcUPS + "11.1.1.0", bits: true, from: "upsBasicStateOutputState", means: map[int]dodai.Status{
			2: dodai.OB, 4: dodai.OL, 7: dodai.OL | dodai.BOOST, 8: dodai.OL | dodai.TRIM,
			12: dodai.OL | dodai.BYPASS, 13: dodai.OL | dodai.BYPASS, 14: dodai.OL | dodai.BYPASS, 15: dodai.OL | dodai.BYPASS, 16: dodai.OL | dodai.BYPASS,
			17: dodai.OFF, 18: dodai.OFF, 20: dodai.OFF, 58: dodai.OFF,
		}},
	},
	flags: []flag{
		{oid: apcUPS + "2.1.1.0", from: "upsBasicBatteryStatus", means: map[int]dodai.Status{3: dodai.LB, 4: dodai.RB, 5: dodai.RB | dodai.ALARM}},
		{oid: apcUPS + "2.2.4.0", from: "upsAdvBatteryReplaceIndicator", means: map[int]dodai.Status{2: dodai.RB}},
		{oid: apcUPS + "7.2.3.0", from: "upsAdvTestDiagnosticsResults", means: map[int]dodai.Status{2: dodai.RB}},
		{oid: apcUPS + "11.1.1.0", bits: true, from: "upsBasicStateOutputState", means: map[int]dodai.Status{
			3: dodai.LB, 5: dodai.RB, 9: dodai.OVER, 10: dodai.CAL, 29: dodai.TEST, 33: dodai.RB | dodai.ALARM,
		}},
	},
	lost:   []flag{{oid: apcUPS + "8.1.0", from: "upsCommStatus", means: map[int]dodai.Status{2: dodai.ALARM}}},
	rows:   powerNetRows,
	tables: powerNetTables,
}

// powerNetOutput are the values of upsBasicOutputStatus. On a battery test the load
// runs from the battery on purpose: the input decides whether that is an outage
// (see onTest). States of the three-phase models that say nothing of the input (18 to
// 26) count as on line, because the card reports onBattery (3) for an outage.
var powerNetOutput = map[int]dodai.Status{
	2:  dodai.OL,
	3:  dodai.OB,
	4:  dodai.OL | dodai.BOOST,
	5:  dodai.OFF, // timedSleeping
	6:  dodai.OL | dodai.BYPASS,
	7:  dodai.OFF,
	8:  dodai.OFF, // rebooting
	9:  dodai.OL | dodai.BYPASS,
	10: dodai.OL | dodai.BYPASS,
	11: dodai.OFF, // sleepingUntilPowerReturn
	12: dodai.OL | dodai.TRIM,
	13: dodai.OL | dodai.ECO,
	14: dodai.OL, // hotStandby
	15: dodai.OL | dodai.TEST,
	16: dodai.OL | dodai.BYPASS,
	17: dodai.OL | dodai.BYPASS,
	18: dodai.OL, 19: dodai.OL, 20: dodai.OL | dodai.ECO,
	21: dodai.OL, 22: dodai.OL, 23: dodai.OL, 24: dodai.OL, 25: dodai.OL, 26: dodai.OL, 27: dodai.OL,
	28: dodai.OL | dodai.TEST,
}

var powerNetRows = []row{
	{name: "battery.time_on_battery", oid: apcUPS + "2.1.2.0", scale: 0.01, hi: 1e7, quantity: ticks, tier: decide, from: "upsBasicBatteryTimeOnBattery"},
	{name: dodai.BatteryDate, oid: apcUPS + "2.1.3.0", text: true, tier: settings, from: "upsBasicBatteryLastReplaceDate"},
	{name: dodai.BatteryCharge, oid: apcUPS + "2.3.1.0", scale: 0.1, hi: 100, tier: decide, from: "upsHighPrecBatteryCapacity"},
	{name: dodai.BatteryCharge, oid: apcUPS + "2.2.1.0", hi: 100, tier: decide, from: "upsAdvBatteryCapacity"},
	{name: "battery.temperature", oid: apcUPS + "2.3.2.0", scale: 0.1, lo: -40, hi: 120, zero: zeroIsNone, from: "upsHighPrecBatteryTemperature"},
	{name: "battery.temperature", oid: apcUPS + "2.2.2.0", lo: -40, hi: 120, zero: zeroIsNone, from: "upsAdvBatteryTemperature"},
	{name: dodai.BatteryRuntime, oid: apcUPS + "2.2.3.0", scale: 0.01, hi: 30 * 86400, zero: zeroIfEmpty, quantity: ticks, tier: decide, from: "upsAdvBatteryRunTimeRemaining"},
	{name: "battery.replace", oid: apcUPS + "2.2.4.0", truth: map[int]bool{1: false, 2: true}, tier: decide, from: "upsAdvBatteryReplaceIndicator"},
	{name: "battery.packs", oid: apcUPS + "2.2.5.0", hi: 1000, from: "upsAdvBatteryNumOfBattPacks"},
	{name: "battery.packs.bad", oid: apcUPS + "2.2.6.0", hi: 1000, from: "upsAdvBatteryNumOfBadBattPacks"},
	{name: "battery.voltage.nominal", oid: apcUPS + "2.2.7.0", hi: 2000, zero: zeroIsNone, tier: settings, from: "upsAdvBatteryNominalVoltage"},
	{name: dodai.BatteryVoltage, oid: apcUPS + "2.3.4.0", scale: 0.1, hi: 2000, zero: zeroIsNone, tier: decide, from: "upsHighPrecBatteryActualVoltage"},
	{name: dodai.BatteryVoltage, oid: apcUPS + "2.2.8.0", hi: 2000, zero: zeroIsNone, tier: decide, from: "upsAdvBatteryActualVoltage"},
	{name: dodai.InputVoltage, oid: apcUPS + "3.3.1.0", scale: 0.1, hi: 1000, tier: decide, from: "upsHighPrecInputLineVoltage"},
	{name: dodai.InputVoltage, oid: apcUPS + "3.2.1.0", hi: 1000, tier: decide, from: "upsAdvInputLineVoltage"},
	{name: dodai.InputFrequency, oid: apcUPS + "3.3.4.0", scale: 0.1, hi: 500, zero: zeroIfIdle, from: "upsHighPrecInputFrequency"},
	{name: dodai.InputFrequency, oid: apcUPS + "3.2.4.0", hi: 500, zero: zeroIfIdle, from: "upsAdvInputFrequency"},
	{name: "input.transfer.reason", oid: apcUPS + "3.2.5.0", words: powerNetReason, tier: decide, from: "upsAdvInputLineFailCause"},
	{name: dodai.OutputVoltage, oid: apcUPS + "4.3.1.0", scale: 0.1, hi: 1000, tier: decide, from: "upsHighPrecOutputVoltage"},
	{name: dodai.OutputVoltage, oid: apcUPS + "4.2.1.0", hi: 1000, tier: decide, from: "upsAdvOutputVoltage"},
	{name: "output.frequency", oid: apcUPS + "4.3.2.0", scale: 0.1, hi: 500, zero: zeroIfIdle, from: "upsHighPrecOutputFrequency"},
	{name: "output.frequency", oid: apcUPS + "4.2.2.0", hi: 500, zero: zeroIfIdle, from: "upsAdvOutputFrequency"},
	{name: dodai.UPSLoad, oid: apcUPS + "4.3.3.0", scale: 0.1, hi: 250, tier: decide, from: "upsHighPrecOutputLoad"},
	{name: dodai.UPSLoad, oid: apcUPS + "4.2.3.0", hi: 250, tier: decide, from: "upsAdvOutputLoad"},
	{name: "output.current", oid: apcUPS + "4.3.4.0", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "upsHighPrecOutputCurrent"},
	{name: "output.current", oid: apcUPS + "4.2.4.0", hi: 5000, zero: zeroIfIdle, from: "upsAdvOutputCurrent"},
	{name: dodai.UPSRealpower, oid: apcUPS + "4.2.8.0", hi: 1e7, zero: zeroIfIdle, quantity: watts, from: "upsAdvOutputActivePower"},
	{name: "ups.power", oid: apcUPS + "4.2.9.0", hi: 1e7, zero: zeroIfIdle, from: "upsAdvOutputApparentPower"},
	{name: dodai.BatteryRuntimeLow, oid: apcUPS + "5.2.8.0", scale: 0.01, hi: 7200, zero: zeroIsNone, quantity: ticks, tier: settings, from: "upsAdvConfigLowBatteryRunTime"},
	{name: "ups.delay.start", oid: apcUPS + "5.2.9.0", scale: 0.01, hi: 86400, quantity: ticks, tier: settings, from: "upsAdvConfigReturnDelay"},
	{name: "ups.delay.shutdown", oid: apcUPS + "5.2.10.0", scale: 0.01, hi: 86400, quantity: ticks, tier: settings, from: "upsAdvConfigShutoffDelay"},
	{name: "battery.charge.restart", oid: apcUPS + "5.2.6.0", hi: 100, tier: settings, from: "upsAdvConfigMinReturnCapacity"},
	{name: dodai.UPSTestResult, oid: apcUPS + "7.2.3.0", words: map[int]string{1: "Ok", 2: "Failed", 3: "Invalid", 4: "In progress"}, tier: decide, from: "upsAdvTestDiagnosticsResults"},
}

// powerNetReason are the causes of the last transfer, which says nothing of the
// present state.
var powerNetReason = map[int]string{
	1: "noTransfer", 2: "highLineVoltage", 3: "brownout", 4: "blackout", 5: "smallMomentarySag", 6: "deepMomentarySag",
	7: "smallMomentarySpike", 8: "largeMomentarySpike", 9: "selfTest", 10: "rateOfVoltageChange",
}

// powerNetTables are the phases of the larger models (Symmetra, Galaxy).
var powerNetTables = []table{
	{side: inputSide, rows: []row{
		{name: dodai.InputVoltage, phase: "input.%.voltage", oid: apcUPS + "9.2.3.1.14", hi: 1000, quantity: lineVoltsN, tier: decide, from: "upsPhaseInputVoltagePN"},
		{name: dodai.InputVoltage, phase: "input.%.voltage", oid: apcUPS + "9.2.3.1.3", hi: 1000, quantity: lineVolts, tier: decide, from: "upsPhaseInputVoltage"},
		{name: "input.current", phase: "input.%.current", oid: apcUPS + "9.2.3.1.6", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "upsPhaseInputCurrent"},
	}},
	{side: outputSide, rows: []row{
		{name: dodai.OutputVoltage, phase: "output.%.voltage", oid: apcUPS + "9.3.3.1.22", hi: 1000, quantity: lineVoltsN, tier: decide, from: "upsPhaseOutputVoltagePN"},
		{name: dodai.OutputVoltage, phase: "output.%.voltage", oid: apcUPS + "9.3.3.1.3", hi: 1000, quantity: lineVolts, tier: decide, from: "upsPhaseOutputVoltage"},
		{name: "output.current", phase: "output.%.current", oid: apcUPS + "9.3.3.1.4", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "upsPhaseOutputCurrent"},
		{name: "ups.power", phase: "output.%.power", oid: apcUPS + "9.3.3.1.7", hi: 1e7, zero: zeroIfIdle, from: "upsPhaseOutputLoad"},
		{name: dodai.UPSLoad, phase: "output.%.power.percent", oid: apcUPS + "9.3.3.1.10", hi: 250, tier: decide, from: "upsPhaseOutputPercentLoad"},
		{name: dodai.UPSRealpower, phase: "output.%.realpower", oid: apcUPS + "9.3.3.1.13", hi: 1e7, zero: zeroIfIdle, quantity: watts, from: "upsPhaseOutputPower"},
	}},
}
