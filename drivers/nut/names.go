package nut

import (
	"regexp"
	"strings"
)

// numeric reports whether NUT defines the variable called name as a number. The look
// of a value decides nothing: a serial number, a version or a hexadecimal id may
// consist of digits alone. A name that is not in NUT's list is text.
//
// Source: RFC 9271, appendix A (the list of variable names), which is NUT's
// nut-names.txt.
func numeric(name string) bool {
	base := baseName(name)
	if strings.HasSuffix(base, ".alarm") {
		return false // ambient.humidity.alarm is enabled or disabled, ….alarm.high a number
	}
	for {
		if numericBases[base] {
			return true
		}
		shorter, last := cutLast(base)
		if !statistics[last] {
			return false
		}
		base = shorter
	}
}

// place matches the parts of a name that say which one of several: an outlet's number,
// a group's, a phase, a line.
var place = regexp.MustCompile(`^([0-9]+|group|L[123]|N|L[123]-N|L[123]-L[123])$`)

// baseName takes the places out of a name: outlet.2.current is outlet.current,
// input.bypass.L1-N.voltage is input.voltage, and device.2.ups.load, of the second
// device of a daisy chain, is ups.load.
func baseName(name string) string {
	parts := strings.Split(name, ".")
	if len(parts) > 3 && parts[0] == "device" && place.MatchString(parts[1]) {
		parts = parts[2:]
	}
	kept := parts[:0]
	for i, part := range parts {
		bypass := part == "bypass" && i == 1 && (parts[0] == "input" || parts[0] == "output")
		if i == 0 || !place.MatchString(part) && !bypass {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ".")
}

func cutLast(name string) (rest, last string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		m[word] = true
	}
	return m
}

// statistics are what may stand behind a number's name and leaves it a number.
var statistics = set(`nominal low high minimum maximum min max peak warning critical
	percent fault alarm total cell`)

// numericBases are the numbers of NUT's list without places and statistics.
var numericBases = set(`
	device.uptime device.count
	ups.temperature ups.load ups.power ups.realpower ups.efficiency
	ups.delay.start ups.delay.reboot ups.delay.shutdown ups.delay.restart
	ups.timer.start ups.timer.reboot ups.timer.shutdown ups.timer.restart
	ups.test.interval
	input.voltage input.current input.frequency input.power input.realpower
	input.powerfactor input.crestfactor input.load input.phases
	input.transfer input.transfer.boost input.transfer.trim input.transfer.eco
	input.transfer.bypass input.transfer.forced input.transfer.frequency input.transfer.delay
	input.transfer.hysteresis input.transfer.bypass.frequency input.transfer.eco.frequency
	output.voltage output.current output.frequency output.power output.realpower
	output.powerfactor output.crestfactor output.load output.phases
	output.voltage.target.battery output.voltage.target.line output.inverter.latency
	battery.charge battery.charge.restart battery.runtime battery.runtime.restart
	battery.voltage battery.current battery.capacity battery.temperature
	battery.packs battery.packs.bad battery.packs.external
	battery.energysave.load battery.energysave.delay battery.energysave.realpower
	ambient.temperature ambient.humidity ambient.count
	outlet.count outlet.voltage outlet.current outlet.frequency outlet.power
	outlet.realpower outlet.powerfactor outlet.crestfactor outlet.load
	outlet.delay.start outlet.delay.reboot outlet.delay.shutdown
	outlet.timer.start outlet.timer.reboot outlet.timer.shutdown
	outlet.autoswitch.charge`)
