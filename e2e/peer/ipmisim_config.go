package peer

import (
	"fmt"
	"strings"
)

// The configuration of an IPMISim, in the languages of ipmi_lan(5), ipmi_sim_cmd(5)
// and sdrcomp(8).

const ipmiName = "dodai"

func ipmiLan(lan, system, console int) string {
	return fmt.Sprintf(`name %q
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %d
    priv_limit admin
    allowed_auths_callback none md5
    allowed_auths_user none md5
    allowed_auths_operator none md5
    allowed_auths_admin none md5
    guid 0d0da1000000000000000000000000b1
  endlan
  serial 15 127.0.0.1 %d codec VM
  startnow false
  chassis_control "./chassis host"
  user 1 true "" "anonymous" user 10 none md5
  user 2 true %q %q admin 10 none md5
  user 3 true %q %q user 10 none md5
console 127.0.0.1 %d
`, ipmiName, lan, system, IPMIAdmin, IPMIAdminSecret, IPMIViewer, IPMIViewerSecret, console)
}

// ipmiSupport is the command that says whether a sensor is scanned and which of its
// states exist.
func ipmiSupport(sensor int, scanning string, mask uint16) string {
	m := fmt.Sprintf("%015b", mask)
	return fmt.Sprintf("sensor_set_event_support 0x20 0 %#x enable %s per-state %s %s %s %s", sensor, scanning, m, m, m, m)
}

func ipmiEmu() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	discrete := func(sensor, typ, reading int, mask uint16, bit int) {
		line("sensor_add 0x20 0 %#x %#x %#x", sensor, typ, reading)
		line("%s", ipmiSupport(sensor, "scanning", mask))
		if bit >= 0 {
			line("sensor_set_bit 0x20 0 %#x %d 1 0", sensor, bit)
		}
	}
	analog := func(sensor, typ, raw int) {
		line("sensor_add 0x20 0 %#x %#x 1", sensor, typ)
		line("%s", ipmiSupport(sensor, "scanning", 0))
		line("sensor_set_value 0x20 0 %#x %d 0", sensor, raw)
	}
	line("mc_setbmc 0x20")
	line("mc_add 0x20 0 no-device-sdrs 0x23 4 2 0x9f 0x2222 0x0101 persist_sdr")
	line("sel_enable 0x20 500 0x0a")
	line("sensor_add 0x20 0 0 35 0x6f event-only") // ipmi_sim wants its watchdog as sensor 0
	line("%s", ipmiSupport(0, "scanning", 0x0f))
	for n := range 2 {
		discrete(IPMIStatus+n, 8, 0x6f, 0x7f, 0)
		analog(IPMIWatts+n, 0x0b, 30)
		analog(IPMIVolts+n, 2, 116)
		line("mc_add_fru_data 0x20 %d 128 data%s", n+1, hexBytes(ipmiFRU(n+1)))
	}
	discrete(IPMIRedundancy, 9, 0x0b, 0xff, 0)
	discrete(IPMIPowerUnit, 9, 0x6f, 0xf3, -1)
	analog(IPMIInlet, 1, 23)
	analog(IPMIMeter, 0x0b, 30)
	line("mc_enable 0x20")
	return b.String()
}

// ipmiFRU is the inventory of supply n: a product area with the serial number and a
// "power supply information" record of 800 W. Source: IPMI Platform Management FRU
// Information Storage Definition 1.0, sections 8, 12 and 18.1.
func ipmiFRU(n int) []byte {
	product := []byte{1, 0, 25}
	for _, text := range []string{"Toride", "TP-800", "TP800-01", "1A", fmt.Sprintf("TP8H%04d", n), "", ""} {
		product = append(append(product, 0xc0|byte(len(text))), text...)
	}
	product = append(product, 0xc1)
	for len(product)%8 != 7 {
		product = append(product, 0)
	}
	product[1] = byte(len(product)+1) / 8
	product = append(product, zeroSum(product))

	supply := make([]byte, 24)
	supply[0], supply[1] = 800&0xff, 800>>8
	supply[17] = 1 << 3 // hot swap
	head := []byte{0, 0x82, byte(len(supply)), zeroSum(supply)}
	head = append(head, zeroSum(head))

	common := []byte{1, 0, 0, 0, 1, byte(8+len(product)) / 8, 0}
	fru := append(append(common, zeroSum(common)), product...)
	fru = append(append(fru, head...), supply...)
	return append(fru, make([]byte, 128-len(fru))...)
}

// zeroSum is the byte that makes the sum of b and itself zero.
func zeroSum(b []byte) byte {
	var sum byte
	for _, v := range b {
		sum += v
	}
	return -sum
}

func ipmiRecords() string {
	var b strings.Builder
	b.WriteString(`sdr type 18
	device_slave_address 0x20
	device_channel_number 0
	chassis true
	sel true
	sdr true
	sensor true
	fru_inventory true
	entity_id system_board
	entity_instance 1
	id_string "dodai BMC"
endsdr
`)
	for n := range 2 {
		ipmiCompact(&b, IPMIStatus+n, "power_supply", n+1, "Power_Supply", 0x6f, 0x7f, fmt.Sprintf("PSU%d Status", n+1))
		ipmiFull(&b, IPMIWatts+n, "power_supply", n+1, "Other_Units_Based_Sensor", "Watts", 5, fmt.Sprintf("PSU%d Pwr In", n+1))
		ipmiFull(&b, IPMIVolts+n, "power_supply", n+1, "Voltage", "Volts", 2, fmt.Sprintf("PSU%d Volt In", n+1))
		fmt.Fprintf(&b, "sdr type 0x11\n\tdevice_access_address 0x20\n\tfru_device_address %d\n\tlogical_fru true\n\tlun 0\n"+
			"\tdevice_type 0x10\n\tdevice_type_modifier 0\n\tfru_entity_id power_supply\n\tfru_entity_instance %d\n"+
			"\tid_string \"PSU%d FRU\"\nendsdr\n", n+1, n+1, n+1)
	}
	ipmiCompact(&b, IPMIRedundancy, "power_unit", 1, "Power_Unit", 0x0b, 0xff, "PSU Redundancy")
	ipmiCompact(&b, IPMIPowerUnit, "power_unit", 1, "Power_Unit", 0x6f, 0xf3, "Power Unit")
	ipmiFull(&b, IPMIInlet, "system_board", 1, "Temperature", "degrees_C", 1, "Inlet")
	ipmiFull(&b, IPMIMeter, "system_board", 1, "Other_Units_Based_Sensor", "Watts", 10, "Power Meter")
	b.WriteString("sdr type 8\n\tcontainer_entity_id power_unit\n\tcontainer_entity_inst 1\n\tentities_are_range false\n" +
		"\tentity_1_id power_supply\n\tentity_1_inst 1\n\tentity_2_id power_supply\n\tentity_2_inst 2\nendsdr\n")
	return b.String()
}

func ipmiHead(b *strings.Builder, record, sensor int, entity string, instance int, typ string, reading int) {
	fmt.Fprintf(b, "sdr type %d\n\tsensor_owner_id 0x20\n\tsensor_owner_lun 0\n\tchannel_number 0\n\tsensor_number %d\n"+
		"\tentity_id %s\n\tentity_instance %d\n\tinit_scanning true\n\tinit_sensor_type true\n\tdefault_sensor_scan_on true\n"+
		"\tsensor_event_msg_ctrl per_state\n\tsensor_type %s\n\tevent_reading_type_code %#x\n",
		record, sensor, entity, instance, typ, reading)
}

func ipmiCompact(b *strings.Builder, sensor int, entity string, instance int, typ string, reading int, mask uint16, name string) {
	ipmiHead(b, 2, sensor, entity, instance, typ, reading)
	for bit := range 15 {
		if mask>>bit&1 == 1 {
			fmt.Fprintf(b, "\tassert_event%d true\n\tdeassert_event%d true\n\tevent%d_state_ret true\n", bit, bit, bit)
		}
	}
	fmt.Fprintf(b, "\tid_string %q\nendsdr\n", name)
}

func ipmiFull(b *strings.Builder, sensor int, entity string, instance int, typ, unit string, factor int, name string) {
	ipmiHead(b, 1, sensor, entity, instance, typ, 1)
	fmt.Fprintf(b, "\tanalog_data_format unsigned\n\trate_unit none\n\tmodifier_unit none\n\tpercentage false\n\tbase_unit %s\n"+
		"\tmodifier_unit_code unspecified\n\tlinearization linear\n\tm %d\n\ttolerance 0\n\tb 0\n\taccuracy 1\n\taccuracy_exp 0\n"+
		"\tsensor_direction input\n\tr_exp 0\n\tb_exp 0\n\tsensor_maximum 255\n\tsensor_minimum 0\n\tid_string %q\nendsdr\n",
		unit, factor, name)
}
