package nut

import (
	"bufio"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/google/go-cmp/cmp"
)

// loadDev reads a .dev file: "name: value" lines, with comments behind a '#' that
// follows a blank.
func loadDev(t testing.TB, path string) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	vars := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		name, value, ok := strings.Cut(line, ":")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		for _, mark := range []string{"\t#", " #"} {
			value, _, _ = strings.Cut(value, mark)
		}
		vars[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return vars
}

func listOf(vars map[string]string) []variable {
	var list []variable
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		list = append(list, variable{name, vars[name]})
	}
	return list
}

func mustRead(t *testing.T, vars map[string]string) dodai.Reading {
	t.Helper()
	r, err := makeReading(listOf(vars))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReading(t *testing.T) {
	got := mustRead(t, loadDev(t, filepath.Join("testdata", "online.dev")))
	n, s := dodai.Num, dodai.Text
	want := dodai.Reading{
		Kind:   dodai.KindUPS,
		Device: dodai.Device{Manufacturer: "EXAMPLE POWER", Model: "DC 1500", Serial: "0012345", Firmware: "01.10"},
		Status: dodai.OL | dodai.CHRG | dodai.ALARM,
		Vars: dodai.Vars{
			"battery.charge": n(99), "battery.charge.low": n(20), "battery.charge.restart": n(0), "battery.date": s("2021/04/25"),
			"battery.packs": n(1), "battery.runtime": n(1980), "battery.runtime.low": n(180), "battery.type": s("PbAc"),
			"battery.voltage": n(54.6), "battery.voltage.nominal": n(48), "device.mfr": s("EXAMPLE POWER"), "device.model": s("DC 1500"),
			"device.part": s("7700"), "device.serial": s("0012345"), "device.type": s("ups"), "driver.name": s("dummy-ups"),
			"driver.version": s("2.8.0"), "driver.version.internal": s("0.15"), "input.frequency": n(50), "input.phases": n(1),
			"input.sensitivity": s("3"), "input.transfer.high": n(294), "input.transfer.low": n(160),
			"input.transfer.reason": s("input voltage out of range"), "input.voltage": n(229.8), "outlet.1.desc": s("1"),
			"outlet.1.delay.shutdown": n(65535), "outlet.1.id": s("1"), "outlet.1.status": s("on"), "output.voltage": n(230),
			"ups.alarm": s("Fan 2 slow"), "ups.beeper.status": s("enabled"), "ups.efficiency": s("LoadTooLow"), "ups.firmware": s("01.10"),
			"ups.id": s("65535"), "ups.load": n(24), "ups.mfr.date": s("2019"), "ups.productid": s("0001"), "ups.temperature": n(-3.5),
			"ups.timer.start": n(30), "ups.vendorid": s("0463"),
		},
		Notes: []string{
			`ups.status has the word "NOVEL", which means nothing to us`,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reading (-want +got):\n%s", diff)
	}
}

func TestNumericByName(t *testing.T) {
	tests := map[bool]string{
		true: `battery.charge battery.charge.low battery.charge.warning battery.charge.restart battery.runtime.low battery.voltage.cell.max
			input.voltage.nominal input.L1-N.voltage input.L1-L2.voltage.maximum input.bypass.L2-N.voltage input.bypass.frequency input.L3.current.high.critical
			input.transfer.low input.transfer.high.max input.transfer.boost.low input.transfer.trim.high output.L1.power.percent
			output.power.maximum.percent output.N.current outlet.1.current outlet.10.delay.shutdown outlet.2.autoswitch.charge.low outlet.group.1.delay.reboot
			outlet.count outlet.group.count outlet.1.current.high.warning ambient.temperature ambient.1.humidity.alarm.high ambient.2.temperature.low ups.load
			ups.load.high ups.realpower.nominal ups.timer.shutdown ups.delay.start ups.test.interval device.uptime device.2.ups.load device.1.outlet.3.realpower`,
		false: `battery.charge.approx battery.date battery.mfr.date battery.type battery.charger.status battery.alarm.threshold battery.protection
			device.serial device.model device.part device.2.serial ups.serial ups.id ups.productid ups.vendorid ups.firmware ups.firmware.aux ups.mfr.date
			ups.status ups.test.result ups.test.date ups.date ups.time ups.contacts driver.version driver.parameter.pollinterval driver.parameter.voltage
			input.voltage.status input.voltage.extended input.frequency.status input.quality input.sensitivity input.source input.transfer.reason
			outlet.1.id outlet.1.status outlet.1.switchable outlet.1.desc outlet.group.2.name ambient.humidity.alarm ambient.1.present
			experimental.output.energy voltage low "" nominal . .. load.low`,
	}
	for want, names := range tests {
		for name := range strings.FieldsSeq(names) {
			if got := numeric(name); got != want {
				t.Errorf("numeric(%s) = %v, want %v", name, got, want)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	tests := []struct {
		name, text string
		want       dodai.Status
		note       string
	}{
		{"on line", "OL", dodai.OL, ""},
		{"latched", "FSD OB LB", dodai.FSD | dodai.OB | dodai.LB, ""},
		{"unknown words", "OL TIP NOCOMM", dodai.OL, `"TIP"`},
		{"contradiction", "OL OB", dodai.OL | dodai.OB, "at once"},
		{"empty", "", 0, "not known"},
		{"blanks", "  OB   DISCHRG ", dodai.OB | dodai.DISCHRG, ""},
		{"waiting, with variables", "WAIT", 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := mustRead(t, map[string]string{"ups.status": test.text, "ups.load": "1"})
			notes := strings.Join(r.Notes, "\n")
			if r.Status != test.want || !strings.Contains(notes, test.note) || (test.note == "") != (notes == "") {
				t.Errorf("%q reads as %v with notes %q, want %v and a note on %q", test.text, r.Status, notes, test.want, test.note)
			}
			if _, there := r.Vars["ups.status"]; there {
				t.Error("ups.status is among the variables")
			}
		})
	}
}

func TestKinds(t *testing.T) {
	for deviceType, want := range map[string]dodai.Kind{"": dodai.KindUPS, "ups": dodai.KindUPS, "PDU": dodai.KindPDU, "ats": dodai.KindATS, "scd": dodai.KindUPS} {
		r := mustRead(t, map[string]string{"device.type": deviceType})
		if r.Kind != want {
			t.Errorf("device.type %q is of kind %s, want %s", deviceType, r.Kind, want)
		}
		if noted := len(r.Notes) > 0; noted != (want == dodai.KindUPS) {
			t.Errorf("device.type %q without ups.status: notes %q", deviceType, r.Notes)
		}
	}
}

func TestLies(t *testing.T) {
	const absent = -1
	tests := []struct {
		name            string
		vars            string
		charge, runtime float64 // wanted
	}{
		{"honest", "status=OL charge=100 runtime=1200 load=40", 100, 1200},
		{"negative runtime", "status=OL charge=100 runtime=-1", 100, absent},
		{"16 bits full", "status=OL charge=100 runtime=65535 load=1", 100, absent},
		{"16 bits of minutes", "status=OL charge=100 runtime=3932100 load=1", 100, absent},
		{"six nines", "status=OL charge=100 runtime=999999 load=1", 100, absent},
		{"zero, charged", "status=OB charge=100 runtime=0", 100, absent},
		{"zero, empty", "status=OB charge=5 runtime=0", 5, 0},
		{"zero on line, charge unknown", "status=OL runtime=0", absent, absent},
		{"zero on battery, charge unknown", "status=OB runtime=0", absent, 0},
		{"zero and low", "status=OL&LB runtime=0", absent, 0},
		{"ten hours", "status=OL charge=100 runtime=36000 load=40", 100, 36000},
		{"longer under load", "status=OL charge=100 runtime=36001 load=40", 100, absent},
		{"longer, load unknown", "status=OL charge=100 runtime=59940", 100, absent},
		{"longer, load not measured", "status=OL charge=100 runtime=59940 load=0", 100, absent},
		{"longer, hardly loaded", "status=OL charge=100 runtime=70000 load=4", 100, 70000},
		{"longer, nearly empty", "status=OL charge=20 runtime=70000 load=4", 20, absent},
		{"byte not filled in", "status=OL charge=255 runtime=600", absent, 600},
		{"byte not filled in, zero runtime", "status=OL charge=255 runtime=0", absent, absent},
		{"a little over", "status=OL charge=101.5", 100, absent},
		{"negative charge", "status=OL charge=-3", absent, absent},
		{"empty at nominal voltage", "status=OL charge=0 voltage=27.1 nominal=24", absent, absent},
		{"empty at low voltage", "status=OL charge=0 voltage=21.1 nominal=24", 0, absent},
		{"empty on battery", "status=OB charge=0 voltage=27.1 nominal=24", 0, absent},
		{"empty and low", "status=OL&LB charge=0 voltage=27.1 nominal=24", 0, absent},
	}
	names := map[string]string{"status": "ups.status", "charge": "battery.charge", "runtime": "battery.runtime",
		"load": "ups.load", "voltage": "battery.voltage", "nominal": "battery.voltage.nominal"}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			vars := map[string]string{}
			for field := range strings.FieldsSeq(test.vars) {
				key, value, _ := strings.Cut(field, "=")
				vars[names[key]] = strings.ReplaceAll(value, "&", " ")
			}
			r := mustRead(t, vars)
			for name, want := range map[string]float64{"battery.charge": test.charge, "battery.runtime": test.runtime} {
				got, reported := r.Vars.Float(name)
				if reported != (want != absent) || reported && got != want {
					t.Errorf("%s = %v (reported: %v), want %v", name, got, reported, want)
				}
				// What was left out or changed is told, with the value.
				_, sent := vars[name]
				changed := sent && (!reported || r.Vars[name].String() != vars[name])
				if told := strings.Contains(strings.Join(r.Notes, "\n"), name+" is "+vars[name]+":"); told != changed {
					t.Errorf("%s was %s, notes %q: value told: %v, want %v", name, vars[name], r.Notes, told, changed)
				}
			}
		})
	}
}

func TestTimersNotArmed(t *testing.T) {
	r := mustRead(t, map[string]string{"ups.status": "OL", "ups.timer.shutdown": "-1", "ups.timer.start": "0",
		"ups.timer.reboot": "-10", "outlet.1.timer.shutdown": "065535", "ups.delay.start": "-1"})
	want := dodai.Vars{"ups.timer.start": dodai.Num(0), "ups.delay.start": dodai.Num(-1)}
	if diff := cmp.Diff(want, r.Vars); diff != "" || len(r.Notes) != 0 {
		t.Errorf("variables (-want +got):\n%s, notes %q", diff, r.Notes)
	}
}

func TestOddValues(t *testing.T) {
	r := mustRead(t, map[string]string{"ups.status": "OL", "ups.mfr": "  padded \t", "ups.model": "bad \xff byte", "ups.serial": "",
		"ups.load": "NaN", "input.voltage": "1e3", "output.voltage": "0x10", "battery.voltage": strings.Repeat("9", 40),
		"driver.parameter.authPassword": "x", "driver.parameter.community": "x", "driver.parameter.port": "auto"})
	want := dodai.Vars{"ups.mfr": dodai.Text("padded"), "ups.model": dodai.Text("bad \uFFFD byte"), "ups.load": dodai.Text("NaN"),
		"input.voltage": dodai.Text("1e3"), "output.voltage": dodai.Text("0x10"), "battery.voltage": dodai.Text(strings.Repeat("9", 40)),
		"driver.parameter.port": dodai.Text("auto")}
	if diff := cmp.Diff(want, r.Vars); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("as JSON: %v", err)
	}
}

// checkPlausible holds for a reading of any list of variables whatever.
func checkPlausible(t *testing.T, list []variable) {
	t.Helper()
	r, err := makeReading(list)
	if err != nil {
		if !errors.Is(err, drivers.ErrUnreachable) {
			t.Fatalf("makeReading(%q): %v", list, err)
		}
		return
	}
	if charge, ok := r.Vars.Float(dodai.BatteryCharge); ok && (charge < 0 || charge > 100) {
		t.Errorf("battery.charge = %v, want 0 to 100", charge)
	}
	runtime, ok := r.Vars.Float(dodai.BatteryRuntime)
	if load, _ := r.Vars.Float(dodai.UPSLoad); ok && (runtime < 0 || runtime == 65535 || runtime > 36000 && (load <= 0 || load > 10)) {
		t.Errorf("battery.runtime = %v with load %v", runtime, load)
	}
	for name, v := range r.Vars {
		if f, ok := v.Float(); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			t.Errorf("%s = %v", name, f)
		}
		if v.String() == "" {
			t.Errorf("%s is empty, want it absent", name)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("as JSON: %v", err)
	}
}
