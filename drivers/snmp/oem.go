package snmp

import "github.com/dodai-agent/dodai"

// The branches of further makers.
const (
	cpsMIB  = "1.3.6.1.4.1.3808.1.1.1."
	xppcMIB = "1.3.6.1.4.1.935.1.1.1."
	dellMIB = "1.3.6.1.4.1.674.10902.2."
)

// cyberPower is CyberPower's MIB; what a card does not measure is NULL in it.
//
// Source: CPS-MIB (enterprise 3808).
var cyberPower = family{
	name:   "cyberpower",
	vendor: "CyberPower",
	kind:   dodai.KindUPS,
	keys:   []string{cpsMIB + "4.1.1.0"},
	from:   "CPS-MIB",
	ident: []ident{
		{cpsMIB + "1.1.1.0", model, "upsBaseIdentModel"},
		{cpsMIB + "1.2.1.0", firmware, "upsAdvanceIdentFirmwareRevision"},
		{cpsMIB + "1.2.3.0", serial, "upsAdvanceIdentSerialNumber"},
		{cpsMIB + "1.2.4.0", cardFirmware, "upsAdvanceIdentAgentFirmwareRevision"},
		{cpsMIB + "1.2.9.0", cardSerial, "upsAdvanceIdentAgentSerialNumber"},
	},
	source: []source{{oid: cpsMIB + "4.1.1.0", from: "upsBaseOutputStatus", means: map[int]dodai.Status{
		2: dodai.OL, 3: dodai.OB, 4: dodai.OL | dodai.BOOST, 5: dodai.OFF, 6: dodai.OFF, 7: dodai.OFF,
		8: dodai.OL | dodai.ECO, 9: dodai.OL | dodai.BYPASS, 10: dodai.OL | dodai.TRIM, 11: dodai.OL | dodai.OVER,
	}}},
	flags: []flag{
		{oid: cpsMIB + "2.1.1.0", from: "upsBaseBatteryStatus", means: map[int]dodai.Status{3: dodai.LB, 4: dodai.RB}},
		{oid: cpsMIB + "2.2.5.0", from: "upsAdvanceBatteryReplaceIndicator", means: map[int]dodai.Status{2: dodai.RB}},
	},
	rows: []row{
		{name: "ups.power.nominal", oid: cpsMIB + "1.2.6.0", hi: 1e7, zero: zeroIsNone, tier: settings, from: "upsAdvanceIdentLoadPower"},
		{name: "battery.time_on_battery", oid: cpsMIB + "2.1.2.0", scale: 0.01, hi: 1e7, quantity: ticks, tier: decide, from: "upsBaseBatteryTimeOnBattery"},
		{name: dodai.BatteryDate, oid: cpsMIB + "2.1.3.0", text: true, tier: settings, from: "upsBaseBatteryLastReplaceDate"},
		{name: dodai.BatteryCharge, oid: cpsMIB + "2.2.1.0", hi: 100, tier: decide, from: "upsAdvanceBatteryCapacity"},
		{name: dodai.BatteryVoltage, oid: cpsMIB + "2.2.2.0", scale: 0.1, hi: 2000, zero: zeroIsNone, tier: decide, from: "upsAdvanceBatteryVoltage"},
		// RFC 1628 on the same card repeats the UPS's own temperature where this is NULL.
		{name: "battery.temperature", oid: cpsMIB + "2.2.3.0", lo: -40, hi: 120, zero: zeroIsNone, final: true, from: "upsAdvanceBatteryTemperature"},
		{name: dodai.BatteryRuntime, oid: cpsMIB + "2.2.4.0", scale: 0.01, hi: 30 * 86400, zero: zeroIfEmpty, quantity: ticks, tier: decide, from: "upsAdvanceBatteryRunTimeRemaining"},
		{name: "battery.replace", oid: cpsMIB + "2.2.5.0", truth: map[int]bool{1: false, 2: true}, tier: decide, from: "upsAdvanceBatteryReplaceIndicator"},
		{name: "battery.current", oid: cpsMIB + "2.2.7.0", scale: 0.1, lo: -5000, hi: 5000, from: "upsAdvanceBatteryCurrent"},
		{name: "battery.voltage.nominal", oid: cpsMIB + "2.2.8.0", hi: 2000, zero: zeroIsNone, tier: settings, from: "upsAdvanceBatteryVoltageRating"},
		{name: dodai.InputVoltage, oid: cpsMIB + "3.2.1.0", scale: 0.1, hi: 1000, tier: decide, from: "upsAdvanceInputLineVoltage"},
		{name: dodai.InputFrequency, oid: cpsMIB + "3.2.4.0", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "upsAdvanceInputFrequency"},
		{name: dodai.OutputVoltage, oid: cpsMIB + "4.2.1.0", scale: 0.1, hi: 1000, tier: decide, from: "upsAdvanceOutputVoltage"},
		{name: "output.frequency", oid: cpsMIB + "4.2.2.0", scale: 0.1, hi: 500, zero: zeroIfIdle, quantity: hertz, from: "upsAdvanceOutputFrequency"},
		{name: dodai.UPSLoad, oid: cpsMIB + "4.2.3.0", hi: 250, tier: decide, from: "upsAdvanceOutputLoad"},
		{name: "output.current", oid: cpsMIB + "4.2.4.0", scale: 0.1, hi: 5000, zero: zeroIfIdle, from: "upsAdvanceOutputCurrent"},
		{name: dodai.UPSRealpower, oid: cpsMIB + "4.2.5.0", hi: 1e7, zero: zeroIfIdle, quantity: watts, from: "upsAdvanceOutputPower"},
		{name: "ups.power", oid: cpsMIB + "4.2.8.0", hi: 1e7, zero: zeroIfIdle, from: "upsAdvanceOutputApparentPower"},
		{name: dodai.UPSTemperature, oid: cpsMIB + "10.2.0", lo: -40, hi: 150, zero: zeroIsNone, from: "upsBaseSystemTemperature"},
	},
}

// xppc is the MIB of Megatec's and Phoenixtec's cards, sold under many names. On a
// three-phase UPS the single-phase objects are meaningless, and the battery's volts
// may be those of one cell.
//
// Source: XPPC-MIB (enterprise 935).
var xppc = family{
	name: "xppc",
	kind: dodai.KindUPS,
	keys: []string{xppcMIB + "4.1.1.0"},
	from: "XPPC-MIB",
	ident: []ident{
		{xppcMIB + "1.1.1.0", model, "upsBaseIdentModel"},
		{xppcMIB + "1.2.1.0", firmware, "upsSmartIdentFirmwareRevision"},
		{xppcMIB + "1.2.3.0", serial, "upsSmartIdentUPSSerialNumber"},
		{xppcMIB + "1.2.4.0", cardFirmware, "upsSmartIdentAgentFirmwareRevision"},
	},
	source: []source{{oid: xppcMIB + "4.1.1.0", from: "upsBaseOutputStatus", means: map[int]dodai.Status{
		2: dodai.OL, 3: dodai.OB, 4: dodai.OL | dodai.BOOST, 5: dodai.OFF, 6: dodai.OL | dodai.BYPASS, 7: dodai.OFF, 8: dodai.OFF, 9: dodai.OL | dodai.TRIM,
	}}},
	flags: []flag{{oid: xppcMIB + "2.1.1.0", from: "upsBaseBatteryStatus", means: map[int]dodai.Status{3: dodai.LB}}},
	rows:  xppcRows(),
}

// xppcThree answers with a voltage on a three-phase UPS, in an outage as well.
const xppcThree = xppcMIB + "8.3.2.0"

func xppcRows() []row {
	rows := []row{
		{name: dodai.BatteryCharge, oid: xppcMIB + "2.2.1.0", hi: 100, tier: decide, from: "upsSmartBatteryCapacity"},
		{name: dodai.BatteryVoltage, oid: xppcMIB + "2.2.2.0", scale: 0.1, lo: 5, hi: 2000, coarse: true, tier: decide, from: "upsSmartBatteryVoltage"},
		{name: "battery.temperature", oid: xppcMIB + "2.2.3.0", scale: 0.1, lo: -40, hi: 120, zero: zeroIsNone, from: "upsSmartBatteryTemperature"},
		{name: dodai.BatteryRuntime, oid: xppcMIB + "2.2.4.0", hi: 30 * 86400, zero: zeroIfEmpty, none: []float64{9999}, tier: decide, from: "upsSmartBatteryRunTimeRemaining"},
		{name: dodai.InputVoltage, oid: xppcMIB + "3.2.1.0", scale: 0.1, hi: 1000, unless: xppcThree, tier: decide, from: "upsSmartInputLineVoltage"},
		{name: dodai.InputFrequency, oid: xppcMIB + "3.2.4.0", scale: 0.1, hi: 500, zero: zeroIfIdle, unless: xppcThree, from: "upsSmartInputFrequency"},
		{name: dodai.OutputVoltage, oid: xppcMIB + "4.2.1.0", scale: 0.1, hi: 1000, unless: xppcThree, tier: decide, from: "upsSmartOutputVoltage"},
		{name: "output.frequency", oid: xppcMIB + "4.2.2.0", scale: 0.1, hi: 500, zero: zeroIfIdle, unless: xppcThree, from: "upsSmartOutputFrequency"},
		{name: dodai.UPSLoad, oid: xppcMIB + "4.2.3.0", hi: 250, unless: xppcThree, tier: decide, from: "upsSmartOutputLoad"},
		{name: dodai.InputFrequency, oid: xppcMIB + "8.2.1.0", scale: 0.1, hi: 500, zero: zeroIsNone, from: "upsThreePhaseInputFrequency"},
		{name: "output.frequency", oid: xppcMIB + "8.3.1.0", scale: 0.1, hi: 500, zero: zeroIsNone, from: "upsThreePhaseOutputFrequency"},
		{name: "input.bypass.frequency", oid: xppcMIB + "8.4.1.0", scale: 0.1, hi: 500, zero: zeroIsNone, from: "upsThreePhaseBypassSourceFrequency"},
	}
	for i, arcs := range [3][4]string{{"8.2.2", "8.3.2", "8.4.2", "8.3.5"}, {"8.2.3", "8.3.3", "8.4.3", "8.3.6"}, {"8.2.4", "8.3.4", "8.4.4", "8.3.7"}} {
		phase := [3]string{"L1", "L2", "L3"}[i]
		rows = append(rows,
			row{name: "input." + phase + "-N.voltage", oid: xppcMIB + arcs[0] + ".0", scale: 0.1, hi: 1000, zero: zeroIsNone, tier: decide, from: "upsThreePhaseInputVoltage"},
			row{name: "output." + phase + "-N.voltage", oid: xppcMIB + arcs[1] + ".0", scale: 0.1, hi: 1000, zero: zeroIsNone, tier: decide, from: "upsThreePhaseOutputVoltage"},
			row{name: "input.bypass." + phase + "-N.voltage", oid: xppcMIB + arcs[2] + ".0", scale: 0.1, hi: 1000, zero: zeroIsNone, from: "upsThreePhaseBypassSourceVoltage"},
			row{name: "output." + phase + ".power.percent", oid: xppcMIB + arcs[3] + ".0", scale: 0.1, hi: 250, zero: zeroIsNone, tier: decide, from: "upsThreePhaseOutputLoadPercentage"})
	}
	return rows
}

// dell is what Dell's cards have beside RFC 1628, which has the status.
//
// Source: DELL-SNMP-UPS-MIB (enterprise 674).
var dell = family{
	name:   "dell",
	vendor: "Dell",
	kind:   dodai.KindUPS,
	keys:   []string{dellMIB + "110.1.0"},
	from:   "DELL-SNMP-UPS-MIB",
	ident: []ident{
		{dellMIB + "100.1.0", model, "productIdentificationDisplayName"},
		{dellMIB + "100.4.0", firmware, "productIdentificationVersion"},
		{dellMIB + "120.1.2.0", serial, "physicalUPSSerialNumber"},
	},
	rows: []row{
		{name: "ups.health", oid: dellMIB + "110.1.0", words: map[int]string{3: "ok", 4: "non-critical", 5: "critical"}, from: "productStatusGlobalStatus"},
		{name: "ups.realpower.hourly_average", oid: dellMIB + "120.2.6.0", hi: 1e7, from: "physicalUPSOutputPowerHourly"},
		{name: dodai.BatteryRuntime, oid: dellMIB + "120.5.3.0", hi: 30 * 86400, zero: zeroIfEmpty, tier: decide, from: "physicalUPSBatterySecsRemaining"},
	},
}
