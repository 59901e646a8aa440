package megatec

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// workedExamples are status frames with what they mean, on a unit rated "#230.0 004 024.0
// 50.0". nut is what nutdrv_qx of Network UPS Tools 2.8.0 makes of the same frame, empty
// where it gives up; charge is both our estimate and its battery.charge.
var workedExamples = []struct {
	name, frame string
	want, nut   string
	charge      float64
	nutCharge   string // where it differs
	note        string // part of a note that must be there; empty: none may be
}{
	{"on line", "(230.4 230.4 230.4 021 50.0 27.4 25.0 00001001", "OL", "OL", 100, "", ""},
	{"on battery", "(000.0 000.0 230.4 021 50.0 24.0 25.0 10001001", "OB", "OB", 62, "", ""},
	{"battery low", "(000.0 000.0 230.4 021 50.0 21.0 25.0 11001001", "OB LB", "OB LB", 4, "", ""},
	{"boost", "(180.0 180.0 215.0 021 50.0 27.0 25.0 00101001", "OL BOOST", "OL BOOST", 100, "", ""},
	{"trim", "(262.0 262.0 236.0 021 50.0 27.0 25.0 00101001", "OL TRIM", "OL TRIM", 100, "", ""},
	{"bypass of an on-line type", "(230.0 230.0 229.0 021 50.0 27.0 25.0 00100001", "OL BYPASS", "OL BYPASS", 100, "", ""},
	{"countdown with the mains present", "(230.4 230.4 230.4 021 50.0 27.4 25.0 00001011", "OL", "OL FSD", 100, "", "counting down"},
	{"countdown on battery", "(000.0 000.0 230.4 021 50.0 24.0 25.0 10001011", "FSD OB", "OB FSD", 62, "", ""},
	{"a mere test", "(230.4 230.4 230.4 021 50.0 25.4 25.0 00001101", "OL TEST", "OL CAL", 88, "", ""},
	{"voltage of a cell", "(230.4 230.4 230.4 021 50.0 2.26 25.0 00000001", "OL", "OL", 100, "0", ""},
	{"no temperature", "(230.4 230.4 230.4 021 50.0 27.4 --.- 00001001", "OL", "OL", 100, "", ""},
	{"regulation bit left set on battery", "(000.0 180.0 215.0 021 50.0 27.0 25.0 10101001", "OB", "", 100, "", ""},
	{"regulation bit, nonsense ratio", "(230.0 230.0 100.0 021 50.0 27.0 25.0 00101001", "OL", "", 100, "", "do not explain"},
	{"regulation bit, input of zero", "(000.0 230.0 230.0 021 50.0 27.0 25.0 00101001", "OL", "", 100, "", "do not explain"},
	{"failed unit", "(230.4 230.4 230.4 021 50.0 27.4 25.0 00011001", "OL ALARM", "OL", 100, "", ""},
	{"low on line", "(230.4 230.4 230.4 021 50.0 21.0 25.0 01001001", "OL LB", "OL LB", 4, "", ""},
	{"everything at once", "(000.0 000.0 230.4 021 50.0 24.0 25.0 11111111", "FSD OB LB TEST ALARM", "", 62, "", ""},
}

// rated is a driver that has read ratings and identity.
func rated(t *testing.T, set settings) *driver {
	t.Helper()
	d := newDriver(drivers.Config{Device: "u1", Log: slog.New(slog.DiscardHandler)}, set, nil)
	var err error
	if d.ratings, err = parseF([]byte("#230.0 004 024.0 50.0")); err != nil {
		t.Fatal(err)
	}
	d.ratedAt = d.ratedAt.AddDate(2026, 0, 0)
	return d
}

func read(t *testing.T, d *driver, frame string) dodai.Reading {
	t.Helper()
	s, err := parseQ1([]byte(frame))
	if err != nil {
		t.Fatalf("parseQ1(%q): %v", frame, err)
	}
	return d.reading(s)
}

func TestWorkedExamples(t *testing.T) {
	for _, ex := range workedExamples {
		t.Run(ex.name, func(t *testing.T) {
			r := read(t, rated(t, settings{}), ex.frame)
			if got := r.Status.String(); got != ex.want {
				t.Errorf("%q: status %q, want %q", ex.frame, got, ex.want)
			}
			if got, ok := r.Vars.Float("battery.charge.estimated"); !ok || got != ex.charge {
				t.Errorf("%q: estimated charge %v, want %v", ex.frame, got, ex.charge)
			}
			for _, absent := range []string{dodai.BatteryCharge, dodai.BatteryRuntime} {
				if v, ok := r.Vars[absent]; ok {
					t.Errorf("%q: %s is %v, and the protocol has none", ex.frame, absent, v)
				}
			}
			switch notes := strings.Join(r.Notes, "; "); {
			case ex.note == "" && notes != "":
				t.Errorf("%q: note %q, want none", ex.frame, notes)
			case !strings.Contains(notes, ex.note):
				t.Errorf("%q: notes %q, want %q among them", ex.frame, notes, ex.note)
			}
		})
	}
}

func TestVariables(t *testing.T) {
	online := read(t, rated(t, settings{}), "(230.4 229.0 231.0 021 50.1 2.26 25.5 00000010")
	standby := read(t, rated(t, settings{}), "(230.4 229.0 231.0 --- 50.1 27.4 --.- 00011001")
	tests := []struct {
		name string
		r    dodai.Reading
		want map[string]any // nil: absent
	}{
		{"on-line type, voltage of a cell", online, map[string]any{
			"input.voltage": 230.4, "input.voltage.fault": 229.0, "output.voltage": 231.0, "ups.load": 21.0,
			"input.frequency": 50.1, "battery.voltage": 27.12, "battery.voltage.cell": 2.26, "ups.temperature": 25.5,
			"input.voltage.nominal": 230.0, "input.current.nominal": 4.0, "input.frequency.nominal": 50.0,
			"battery.voltage.nominal": 24.0, "ups.type": "online", "ups.beeper.status": "disabled",
			"ups.shutdown.active": true, "ups.alarm": nil,
		}},
		{"standby type, values missing", standby, map[string]any{
			"ups.load": nil, "ups.temperature": nil, "battery.voltage": 27.4, "battery.voltage.cell": nil,
			"ups.type": "offline / line interactive", "ups.beeper.status": "enabled", "ups.shutdown.active": false,
			"ups.alarm": "UPS failed",
		}},
	}
	for _, tt := range tests {
		for name, want := range tt.want {
			got, ok := tt.r.Vars[name]
			if want == nil && ok || want != nil && got.Any() != want {
				t.Errorf("%s: %s is %v (there: %v), want %v", tt.name, name, got, ok, want)
			}
		}
	}
	for _, name := range []string{"input.voltage.nominal", "battery.voltage.nominal"} {
		if _, ok := online.Ages[name]; !ok {
			t.Errorf("%s is cached and has no age: %v", name, online.Ages)
		}
	}
	if _, ok := online.Ages[dodai.InputVoltage]; ok {
		t.Errorf("input.voltage is fresh and has an age: %v", online.Ages)
	}
}

func TestBatteryVoltage(t *testing.T) {
	const mains, gone = "00000001", "10000001"
	frame := func(volts, bits string) string { return "(230.0 230.0 230.0 021 50.0 " + volts + " 25.0 " + bits }
	tests := []struct {
		name    string
		nominal float64
		frame   string
		want    float64 // 0: battery.voltage absent
		charge  float64 // -1: no estimate
	}{
		{"12 cells", 24, frame("2.26", mains), 27.12, 100},
		{"6 cells", 12, frame("2.26", mains), 13.56, 100},
		{"96 cells", 192, frame("2.26", mains), 216.96, 100},
		{"a discharged cell stays one of 12", 24, frame("1.55", gone), 18.6, 0},
		{"an on-line type's battery near zero is no cell", 24, frame("0.90", mains), 0.9, 0},
		{"nominal not known", 0, frame("2.26", mains), 0, -1},
		{"string voltage needs no nominal", 0, frame("27.4", mains), 27.4, -1},
		{"a flat battery is no cell of a standby type", 24, frame("2.00", "00001001"), 2, 0},
		{"no battery", 24, frame("0.00", mains), 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDriver(drivers.Config{}, settings{batteryNominal: tt.nominal}, nil)
			r := read(t, d, tt.frame)
			if got, _ := r.Vars.Float(dodai.BatteryVoltage); got != tt.want {
				t.Errorf("battery.voltage %v, want %v", got, tt.want)
			}
			if got, ok := r.Vars.Float("battery.charge.estimated"); ok != (tt.charge >= 0) || ok && got != tt.charge {
				t.Errorf("battery.charge.estimated %v (there: %v), want %v", got, ok, tt.charge)
			}
		})
	}
}

func TestBatteryOptions(t *testing.T) {
	d := rated(t, settings{batteryNominal: 36, batteryLow: 30, batteryHigh: 40})
	r := read(t, d, "(230.0 230.0 230.0 021 50.0 37.5 25.0 00001001")
	if got, _ := r.Vars.Float("battery.charge.estimated"); got != 75 {
		t.Errorf("estimated charge %v between the configured limits, want 75", got)
	}
	if got, _ := r.Vars.Float("battery.voltage.nominal"); got != 36 {
		t.Errorf("battery.voltage.nominal %v, want the configured 36", got)
	}
	if age, ok := r.Ages["battery.voltage.nominal"]; ok {
		t.Errorf("the configured nominal voltage has an age of %v", age)
	}
}

func TestNoFSD(t *testing.T) {
	r := read(t, rated(t, settings{noFSD: true}), "(000.0 000.0 230.4 021 50.0 24.0 25.0 10001011")
	if r.Status != dodai.OB || len(r.Notes) != 1 {
		t.Errorf("status %v, notes %q: want OB and a note", r.Status, r.Notes)
	}
}
