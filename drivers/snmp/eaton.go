package snmp

import "github.com/dodai-agent/dodai"

// The branches of Eaton's cards: XUPS-MIB (Powerware) and MG-SNMP-UPS-MIB (MGE).
const (
	xupsMIB = "1.3.6.1.4.1.534.1."
	mgeMIB  = "1.3.6.1.4.1.705.1."
)

// xups is Powerware's MIB, which Eaton's cards carry. Battery volts and output amperes
// are whole numbers in it; RFC 1628 on the same card has tenths.
//
// Source: Eaton XUPS-MIB (enterprise 534).
var xups = family{
	name:   "xups",
	vendor: "Eaton",
	kind:   dodai.KindUPS,
	keys:   []string{xupsMIB + "4.5.0", xupsMIB + "2.1.0", xupsMIB + "6.1.0"},
	from:   "XUPS-MIB",
	ident: []ident{
		{xupsMIB + "1.1.0", manufacturer, "xupsIdentManufacturer"},
		{xupsMIB + "1.2.0", model, "xupsIdentModel"},
		{xupsMIB + "1.3.0", firmware, "xupsIdentSoftwareVersion"},
		{xupsMIB + "1.6.0", serial, "xupsIdentSerialNumber"},
		{xupsMIB + "14.2.0", cardModel, "xupsAgentModel"},
		{xupsMIB + "14.3.0", cardFirmware, "xupsAgentFirmware"},
	},
	source: []source{{oid: xupsMIB + "4.5.0", from: "xupsOutputSource", means: map[int]dodai.Status{
		2: dodai.OFF, 3: dodai.OL, 4: dodai.OL | dodai.BYPASS, 5: dodai.OB, 6: dodai.OL | dodai.BOOST, 7: dodai.OL | dodai.TRIM,
		8: dodai.OL, 9: dodai.OL, 10: dodai.OL | dodai.ECO, 11: dodai.OL | dodai.BYPASS, 12: dodai.OL | dodai.ECO,
	}}},
	flags: []flag{
		{oid: xupsMIB + "2.5.0", from: "xupsBatteryAbmStatus", means: map[int]dodai.Status{1: dodai.CHRG, 8: dodai.RB}},
		{oid: xupsMIB + "2.7.0", from: "xupsBatteryFailure", means: map[int]dodai.Status{1: dodai.RB}},
		{oid: xupsMIB + "2.9.0", from: "xupsBatteryAged", means: map[int]dodai.Status{1: dodai.RB}},
		{oid: xupsMIB + "8.2.0", from: "xupsTestBatteryStatus", means: map[int]dodai.Status{3: dodai.RB, 4: dodai.TEST}},
	},
	rows: []row{
		{name: dodai.BatteryRuntime, oid: xupsMIB + "2.1.0", hi: 30 * 86400, zero: zeroIfEmpty, tier: decide, from: "xupsBatTimeRemaining"},
		{name: dodai.BatteryVoltage, oid: xupsMIB + "2.2.0", hi: 2000, zero: zeroIsNone, coarse: true, tier: decide, from: "xupsBatVoltage"},
		{name: "battery.current", oid: xupsMIB + "2.3.0", lo: -5000, hi: 5000, coarse: true, from: "xupsBatCurrent"},
		{name: dodai.BatteryCharge, oid: xupsMIB + "2.4.0", hi: 100, tier: decide, from: "xupsBatCapacity"},
		{name: "battery.charger.status", oid: xupsMIB + "2.5.0", words: map[int]string{1: "charging", 2: "discharging", 3: "floating", 4: "resting"}, from: "xupsBatteryAbmStatus"},
		{name: dodai.BatteryDate, oid: xupsMIB + "2.6.0", text: true, tier: settings, from: "xupsBatteryLastReplacedDate"},
		{name: dodai.InputFrequency, oid: xupsMIB + "3.1.0", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "xupsInputFrequency"},
		{name: dodai.UPSLoad, oid: xupsMIB + "4.1.0", hi: 250, tier: decide, from: "xupsOutputLoad"},
		{name: "output.frequency", oid: xupsMIB + "4.2.0", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "xupsOutputFrequency"},
		{name: "input.bypass.frequency", oid: xupsMIB + "5.1.0", scale: 0.1, hi: 500, zero: zeroIsNone, quantity: hertz, from: "xupsBypassFrequency"},
		{name: dodai.UPSTemperature, oid: xupsMIB + "6.1.0", lo: -40, hi: 150, zero: zeroIsNone, from: "xupsEnvAmbientTemp"},
		{name: dodai.AmbientTemp, oid: xupsMIB + "6.5.0", lo: -40, hi: 120, zero: zeroIsNone, from: "xupsEnvRemoteTemp"},
		{name: "ambient.humidity", oid: xupsMIB + "6.6.0", hi: 100, zero: zeroIsNone, from: "xupsEnvRemoteHumidity"},
		{name: dodai.UPSTestResult, oid: xupsMIB + "8.2.0", words: map[int]string{2: "passed", 3: "failed", 4: "in progress", 6: "inhibited", 7: "scheduled"}, tier: decide, from: "xupsTestBatteryStatus"},
	},
	tables: []table{
		{side: inputSide, rows: []row{
			{name: dodai.InputVoltage, phase: "input.%.voltage", oid: xupsMIB + "3.4.1.2", hi: 1000, quantity: lineVolts, tier: decide, from: "xupsInputVoltage"},
			{name: "input.current", phase: "input.%.current", oid: xupsMIB + "3.4.1.3", hi: 5000, zero: zeroIfIdle, coarse: true, from: "xupsInputCurrent"},
			{name: "input.realpower", phase: "input.%.realpower", oid: xupsMIB + "3.4.1.4", lo: -1e6, hi: 1e7, zero: zeroIfIdle, quantity: watts, from: "xupsInputWatts"},
		}},
		{side: outputSide, lines: xupsMIB + "4.3.0", rows: []row{
			{name: dodai.OutputVoltage, phase: "output.%.voltage", oid: xupsMIB + "4.4.1.2", hi: 1000, quantity: lineVolts, tier: decide, from: "xupsOutputVoltage"},
			{name: "output.current", phase: "output.%.current", oid: xupsMIB + "4.4.1.7", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "xupsOutputCurrentHighPrecision"},
			{name: "output.current", phase: "output.%.current", oid: xupsMIB + "4.4.1.3", hi: 5000, zero: zeroIfIdle, coarse: true, from: "xupsOutputCurrent"},
			{name: dodai.UPSRealpower, phase: "output.%.realpower", oid: xupsMIB + "4.4.1.4", lo: -1e6, hi: 1e7, zero: zeroIfIdle, quantity: watts, from: "xupsOutputWatts"},
			{name: "ups.power", phase: "output.%.power", oid: xupsMIB + "4.4.1.9", hi: 1e7, zero: zeroIfIdle, from: "xupsOutputVA"},
		}},
		{side: bypassSide, rows: []row{
			{name: "input.bypass.voltage", phase: "input.bypass.%.voltage", oid: xupsMIB + "5.3.1.2", hi: 1000, zero: zeroIsNone, quantity: lineVolts, from: "xupsBypassVoltage"},
		}},
	},
	alarms:     xupsMIB + "7.2.1.2",
	alarmCount: xupsMIB + "7.1.0",
	alarmBase:  xupsMIB + "7.",
	// The table keeps history as well, such as "mains restored" (5): only what
	// describes a state counts.
	alarmWords: map[string]alarm{
		"3":  {text: "on battery", source: dodai.OB},
		"4":  {text: "low battery", status: dodai.LB},
		"7":  {text: "overload", status: dodai.OVER},
		"11": {text: "on bypass", source: dodai.OL | dodai.BYPASS},
		"16": {text: "shutdown imminent", status: dodai.FSD},
		"23": {text: "battery bad", status: dodai.RB},
		"26": {text: "communication with the UPS lost", lost: true},
	},
}

// mge is the MIB of MGE's UPSes, kept by Eaton. "Utility off" (7.7) is the mains, not
// the output, and a line-interactive model on mains says that its inverter is off:
// neither makes OFF, for which RFC 1628 is asked.
//
// Source: MG-SNMP-UPS-MIB (enterprise 705).
var mge = family{
	name: "mge",
	kind: dodai.KindUPS,
	keys: []string{mgeMIB + "7.3.0"},
	from: "MG-SNMP-UPS-MIB",
	ident: []ident{
		{mgeMIB + "1.1.0", model, "upsmgIdentFamilyName"},
		{mgeMIB + "1.2.0", modelSuffix, "upsmgIdentModelName"},
		{mgeMIB + "1.4.0", firmware, "upsmgIdentFirmwareVersion"},
		{mgeMIB + "1.7.0", serial, "upsmgIdentSerialNumber"},
	},
	source: []source{{oid: mgeMIB + "7.3.0", from: "upsmgOutputOnBattery", means: map[int]dodai.Status{1: dodai.OB, 2: dodai.OL}}},
	flags: []flag{
		{oid: mgeMIB + "5.9.0", from: "upsmgBatteryFaultBattery", means: map[int]dodai.Status{1: dodai.RB}},
		{oid: mgeMIB + "5.11.0", from: "upsmgBatteryReplacement", means: map[int]dodai.Status{1: dodai.RB}},
		{oid: mgeMIB + "5.14.0", from: "upsmgBatteryLowBattery", means: map[int]dodai.Status{1: dodai.LB}},
		{oid: mgeMIB + "5.16.0", from: "upsmgBatteryLowCondition", means: map[int]dodai.Status{1: dodai.LB}},
		{oid: mgeMIB + "7.4.0", from: "upsmgOutputOnByPass", means: map[int]dodai.Status{1: dodai.BYPASS}},
		{oid: mgeMIB + "7.8.0", from: "upsmgOutputOnBoost", means: map[int]dodai.Status{1: dodai.BOOST}},
		{oid: mgeMIB + "7.10.0", from: "upsmgOutputOverLoad", means: map[int]dodai.Status{1: dodai.OVER}},
		{oid: mgeMIB + "7.12.0", from: "upsmgOutputOnBuck", means: map[int]dodai.Status{1: dodai.TRIM}},
	},
	rows: []row{
		{name: dodai.BatteryRuntimeLow, oid: mgeMIB + "4.7.0", hi: 7200, zero: zeroIsNone, tier: settings, from: "upsmgConfigLowBatteryTime"},
		{name: dodai.BatteryChargeLow, oid: mgeMIB + "4.8.0", hi: 100, zero: zeroIsNone, tier: settings, from: "upsmgConfigLowBatteryLevel"},
		{name: "ups.power.nominal", oid: mgeMIB + "4.12.0", hi: 1e7, zero: zeroIsNone, tier: settings, from: "upsmgConfigOutputNominalPower"},
		{name: dodai.BatteryRuntime, oid: mgeMIB + "5.1.0", hi: 30 * 86400, zero: zeroIfEmpty, tier: decide, from: "upsmgBatteryRemainingTime"},
		{name: dodai.BatteryCharge, oid: mgeMIB + "5.2.0", hi: 100, tier: decide, from: "upsmgBatteryLevel"},
		{name: dodai.BatteryVoltage, oid: mgeMIB + "5.5.0", scale: 0.1, hi: 2000, zero: zeroIsNone, tier: decide, from: "upsmgBatteryVoltage"},
		{name: "battery.current", oid: mgeMIB + "5.6.0", scale: 0.1, lo: -5000, hi: 5000, from: "upsmgBatteryCurrent"},
		{name: "battery.temperature", oid: mgeMIB + "5.7.0", lo: -40, hi: 120, zero: zeroIsNone, from: "upsmgBatteryTemperature"},
		{name: "battery.replace", oid: mgeMIB + "5.11.0", truth: map[int]bool{1: true, 2: false}, tier: decide, from: "upsmgBatteryReplacement"},
	},
	tables: []table{
		{side: inputSide, rows: []row{
			{name: dodai.InputVoltage, phase: "input.%.voltage", oid: mgeMIB + "6.2.1.2", scale: 0.1, hi: 1000, quantity: lineVolts, tier: decide, from: "mginputVoltage"},
			{name: dodai.InputFrequency, oid: mgeMIB + "6.2.1.3", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "mginputFrequency"},
			{name: "input.current", phase: "input.%.current", oid: mgeMIB + "6.2.1.6", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "mginputCurrent"},
		}},
		{side: outputSide, rows: []row{
			{name: dodai.OutputVoltage, phase: "output.%.voltage", oid: mgeMIB + "7.2.1.2", scale: 0.1, hi: 1000, quantity: lineVolts, tier: decide, from: "mgoutputVoltage"},
			{name: "output.frequency", oid: mgeMIB + "7.2.1.3", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "mgoutputFrequency"},
			{name: dodai.UPSLoad, phase: "output.%.power.percent", oid: mgeMIB + "7.2.1.4", hi: 250, tier: decide, from: "mgoutputLoadPerPhase"},
			{name: "output.current", phase: "output.%.current", oid: mgeMIB + "7.2.1.5", scale: 0.1, hi: 5000, zero: zeroIfIdle, coarse: true, from: "mgoutputCurrent"},
		}},
	},
}
