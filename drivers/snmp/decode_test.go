package snmp

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// TestTraps reads the walk with one of each trap.
func TestTraps(t *testing.T) {
	r := mustPoll(t, openDriver(t, map[string]string{"address": serve(t, fixture(t)).Addr()}))
	want := dodai.Vars{
		"battery.time_on_battery": dodai.Num(0), dodai.BatteryCharge: dodai.Num(87), dodai.BatteryVoltage: dodai.Num(54.7),
		dodai.InputVoltage: dodai.Num(231.3), dodai.InputFrequency: dodai.Num(50), dodai.OutputVoltage: dodai.Num(230.1),
		"output.current": dodai.Num(2.2), dodai.UPSLoad: dodai.Num(43), "output.voltage.nominal": dodai.Num(230),
	}
	if diff := cmp.Diff(want, r.Vars); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if want := (dodai.Device{Manufacturer: "Example Power", Model: "UPS 1000"}); r.Device != want {
		t.Errorf("identity %+v, want %+v", r.Device, want)
	}
	if r.Status != dodai.OL || len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "tenths of a volt") || !strings.Contains(r.Notes[1], "ups.realpower of 1 left out") {
		t.Errorf("status %v, notes %q: want OL, a word on the tenths of a volt and one on the watts", r.Status, r.Notes)
	}
}

// pollWalk polls a made-up walk of single objects.
func pollWalk(t *testing.T, objects map[string]snmpups.Value) dodai.Reading {
	t.Helper()
	var list []snmpups.Binding
	for oid, v := range objects {
		list = append(list, snmpups.Binding{OID: snmpups.MustOID(oid), Value: v})
	}
	return mustPoll(t, openDriver(t, map[string]string{"address": serve(t, list).Addr()}))
}

func ints(prefix string, values map[string]int64) map[string]snmpups.Value {
	m := map[string]snmpups.Value{}
	for suffix, n := range values {
		m[prefix+suffix] = snmpups.Int(n)
	}
	return m
}

func TestStatus(t *testing.T) {
	apcFlags := func(set ...int) snmpups.Value {
		s := []byte(strings.Repeat("0", 64))
		for _, n := range set {
			s[n-1] = '1'
		}
		return snmpups.Text(string(s))
	}
	for _, tc := range []struct {
		name string
		rfc  map[string]int64
		apc  map[string]int64
		bits snmpups.Value
		want dodai.Status
	}{
		{name: "unknown", rfc: map[string]int64{"4.1.0": 1, "2.1.0": 1}},
		{name: "none", rfc: map[string]int64{"4.1.0": 2}, want: dodai.OFF},
		{name: "booster", rfc: map[string]int64{"4.1.0": 6}, want: dodai.OL | dodai.BOOST},
		{name: "reducer", rfc: map[string]int64{"4.1.0": 7}, want: dodai.OL | dodai.TRIM},
		{name: "low on line", rfc: map[string]int64{"4.1.0": 3, "2.1.0": 3}, want: dodai.OL | dodai.LB},
		{name: "depleted", rfc: map[string]int64{"4.1.0": 5, "2.1.0": 4}, want: dodai.OB | dodai.LB},
		{name: "out of the enumeration", rfc: map[string]int64{"4.1.0": 99}},
		{name: "test", rfc: map[string]int64{"4.1.0": 3, "7.3.0": 5}, want: dodai.OL | dodai.TEST},
		{name: "battery faulty", apc: map[string]int64{"4.1.1.0": 2, "2.1.1.0": 4}, want: dodai.OL | dodai.RB},
		{name: "no battery", apc: map[string]int64{"4.1.1.0": 2, "2.1.1.0": 5}, want: dodai.OL | dodai.RB | dodai.ALARM},
		{name: "eco", apc: map[string]int64{"4.1.1.0": 13}, want: dodai.OL | dodai.ECO},
		{name: "asleep", apc: map[string]int64{"4.1.1.0": 11}, want: dodai.OFF},
		{name: "battery test on line", apc: map[string]int64{"4.1.1.0": 15, "3.3.1.0": 2300, "4.3.1.0": 2300}, want: dodai.OL | dodai.TEST},
		{name: "battery test in an outage", apc: map[string]int64{"4.1.1.0": 15, "3.3.1.0": 0, "4.3.1.0": 2300}, want: dodai.OB | dodai.TEST},
		{name: "the maker does not know, RFC 1628 does", apc: map[string]int64{"4.1.1.0": 1, "2.1.1.0": 2}, rfc: map[string]int64{"4.1.0": 5}, want: dodai.OB},
		{name: "contradiction", apc: map[string]int64{"4.1.1.0": 2}, rfc: map[string]int64{"4.1.0": 5}, want: dodai.OL},
		{name: "contradiction with a dead input", apc: map[string]int64{"4.1.1.0": 2, "3.3.1.0": 0, "4.3.1.0": 2300}, rfc: map[string]int64{"4.1.0": 5}, want: dodai.OB},
		{name: "contradiction the other way", apc: map[string]int64{"4.1.1.0": 3}, rfc: map[string]int64{"4.1.0": 3}, want: dodai.OB},
		{name: "flags", apc: map[string]int64{"4.1.1.0": 2}, bits: apcFlags(4, 5, 9, 19), want: dodai.OL | dodai.RB | dodai.OVER},
		{name: "flags know what the number does not", apc: map[string]int64{"4.1.1.0": 1}, bits: apcFlags(2, 3), want: dodai.OB | dodai.LB},
		{name: "calibration", apc: map[string]int64{"4.1.1.0": 3}, bits: apcFlags(2, 10), want: dodai.OB | dodai.CAL},
		{name: "no flags", apc: map[string]int64{"4.1.1.0": 2}, bits: snmpups.Text("UNKNOWN"), want: dodai.OL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects := ints(upsMIB, tc.rfc)
			maps.Copy(objects, ints(apcUPS, tc.apc))
			if tc.bits.Tag != 0 {
				objects[apcUPS+"11.1.1.0"] = tc.bits
			}
			if r := pollWalk(t, objects); r.Status != tc.want {
				t.Errorf("status %v, want %v; notes %q", r.Status, tc.want, r.Notes)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	find := func(name string, f *family) *row {
		for i := range f.rows {
			if f.rows[i].name == name {
				return &f.rows[i]
			}
		}
		t.Fatalf("no row %s", name)
		return nil
	}
	busy, idle := limits{load: 30, charge: 100}, limits{load: 2, charge: 3}
	for _, tc := range []struct {
		row    *row
		raw    float64
		limits limits
		want   float64 // NaN: not believed
	}{
		{find(dodai.BatteryRuntime, &rfc1628), 22, busy, 1320},
		{find(dodai.BatteryRuntime, &rfc1628), 0, busy, math.NaN()},
		{find(dodai.BatteryRuntime, &rfc1628), 0, idle, 0}, // the battery is empty indeed
		{find(dodai.BatteryRuntime, &rfc1628), 65535, busy, math.NaN()},
		{find(dodai.BatteryRuntime, &rfc1628), 1092, busy, math.NaN()},
		{find(dodai.BatteryRuntime, &powerNet), 10976200, busy, 109762},
		{find(dodai.BatteryRuntime, &powerNet), 65535, busy, 655.35}, // hundredths of a second
		{find(dodai.BatteryRuntime, &powerNet), 6553500, busy, math.NaN()},
		{find(dodai.BatteryRuntime, &powerNet), -1, busy, math.NaN()},
		{find("battery.current", &rfc1628), -1, busy, math.NaN()},
		{find("battery.current", &rfc1628), -25, busy, -2.5},
		{find("battery.temperature", &rfc1628), 0, busy, math.NaN()},
		{find("battery.temperature", &rfc1628), -273, busy, math.NaN()},
		{find("output.current", &powerNet), 0, busy, math.NaN()},
		{find("output.current", &powerNet), 0, idle, 0},
		{find(dodai.BatteryCharge, &powerNet), 1000, busy, 100},
		{find(dodai.BatteryCharge, &rfc1628), 101, busy, math.NaN()},
		{find("output.frequency", &rfc1628), 5001, busy, 50.01},
	} {
		got, ok := tc.row.number(number(tc.raw), tc.limits)
		if !ok {
			got = math.NaN()
		}
		if got != tc.want && !(math.IsNaN(got) && math.IsNaN(tc.want)) {
			t.Errorf("%s raw %v = %v, want %v", tc.row.from, tc.raw, got, tc.want)
		}
	}
}

func TestThreePhases(t *testing.T) {
	values := map[string]int64{
		"4.1.0": 3, "3.2.0": 3, "4.3.0": 3,
		"3.3.1.3.1": 398, "3.3.1.3.2": 400, "3.3.1.3.3": 401, // between lines
		"4.4.1.2.1": 230, "4.4.1.2.2": 231, "4.4.1.2.3": 229,
		"4.4.1.5.1": 10, "4.4.1.5.2": 20, "4.4.1.5.3": 60, "4.4.1.4.1": 100, "4.4.1.4.2": 200, "4.4.1.4.3": 600,
	}
	want := dodai.Vars{
		"input.L1-L2.voltage": dodai.Num(398), "input.L2-L3.voltage": dodai.Num(400), "input.L3-L1.voltage": dodai.Num(401),
		"output.L1-N.voltage": dodai.Num(230), "output.L2-N.voltage": dodai.Num(231), "output.L3-N.voltage": dodai.Num(229),
		"output.L1.power.percent": dodai.Num(10), "output.L2.power.percent": dodai.Num(20), "output.L3.power.percent": dodai.Num(60),
		"output.L1.realpower": dodai.Num(100), "output.L2.realpower": dodai.Num(200), "output.L3.realpower": dodai.Num(600),
		dodai.UPSLoad: dodai.Num(30), dodai.UPSRealpower: dodai.Num(900),
	}
	if diff := cmp.Diff(want, pollWalk(t, ints(upsMIB, values)).Vars); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}

// A dead phase, or a dead input, must not turn a three-phase UPS into another one.
func TestPhasesStayInAnOutage(t *testing.T) {
	values := map[string]int64{
		"4.1.0": 3, "3.3.1.3.1": 231, "3.3.1.3.2": 230, "3.3.1.3.3": 229, "4.4.1.2.1": 230, "4.4.1.2.2": 230, "4.4.1.2.3": 230,
	}
	var list []snmpups.Binding
	for oid, v := range ints(upsMIB, values) {
		list = append(list, snmpups.Binding{OID: snmpups.MustOID(oid), Value: v})
	}
	agent := serve(t, list)
	d := openDriver(t, map[string]string{"address": agent.Addr()})
	mustPoll(t, d)
	agent.Set(snmpups.MustOID(upsMIB+"4.1.0"), snmpups.Int(5))
	for i := 1; i <= 3; i++ {
		agent.Set(snmpups.MustOID(fmt.Sprintf("%s3.3.1.3.%d", upsMIB, i)), snmpups.Int(0))
	}
	r := mustPoll(t, d)
	for i := 1; i <= 3; i++ {
		if v, ok := r.Vars.Float(fmt.Sprintf("input.L%d-N.voltage", i)); !ok || v != 0 {
			t.Errorf("input.L%d-N.voltage = %v (there: %v), want 0", i, v, ok)
		}
	}
}

func TestCard(t *testing.T) {
	for descr, want := range map[string]dodai.Device{
		"APC Web/SNMP Management Card (MB:v4.1.0 PF:v7.0.8 PN:apc_hw05_aos_708.bin AF1:v7.0.7 AN1:apc.bin MN:AP9631 HR:08 SN: ZA0001 MD:04/10/2018) (Embedded)": {CardModel: "AP9631", CardSerial: "ZA0001", CardFirmware: "v7.0.7"},
		"APC Web/SNMP Management Card (MB:v3.9.2 PF:v3.7.3 MN:UPS_IDEN HR:A10 SN: FFFFFFFFFFFF MD:06/28/2010)":                                                  {CardFirmware: "v3.7.3"},
		"APC Web/SNMP Management Card (MB:v3.9.2 SN: MD:06/28/2010)":                                                                                            {},
		"Linux": {}, "(MB:": {}, "(MB:) SN:": {},
	} {
		var got dodai.Device
		if cardOf(descr, &got); got != want {
			t.Errorf("cardOf(%q) = %+v, want %+v", descr, got, want)
		}
	}
}

func TestValues(t *testing.T) {
	for _, tc := range []struct {
		pdu  gosnmp.SnmpPDU
		want value
	}{
		{gosnmp.SnmpPDU{Type: gosnmp.Integer, Value: -4}, number(-4)},
		{gosnmp.SnmpPDU{Type: gosnmp.Gauge32, Value: uint(4294967295)}, number(-1)},
		{gosnmp.SnmpPDU{Type: gosnmp.Gauge32, Value: uint(4294964565)}, number(-2731)},
		{gosnmp.SnmpPDU{Type: gosnmp.TimeTicks, Value: uint32(100)}, number(100)},
		{gosnmp.SnmpPDU{Type: gosnmp.Counter64, Value: uint64(1 << 40)}, number(1 << 40)},
		{gosnmp.SnmpPDU{Type: gosnmp.OpaqueFloat, Value: float32(math.Inf(1))}, value{}},
		{gosnmp.SnmpPDU{Type: gosnmp.OctetString, Value: []byte(" a\x00b\x1b[1m\xff \x00")}, value{kind: isText, text: "a b [1m"}},
		{gosnmp.SnmpPDU{Type: gosnmp.ObjectIdentifier, Value: ".1.3.6"}, value{kind: isPointer, text: "1.3.6"}},
		{gosnmp.SnmpPDU{Type: gosnmp.IPAddress, Value: "127.0.0.1"}, value{}},
		{gosnmp.SnmpPDU{Type: gosnmp.Null}, value{}},
		{gosnmp.SnmpPDU{Type: gosnmp.NoSuchInstance}, value{}},
	} {
		if got := valueOf(tc.pdu); got != tc.want {
			t.Errorf("%v %v is %+v, want %+v", tc.pdu.Type, tc.pdu.Value, got, tc.want)
		}
	}
}
