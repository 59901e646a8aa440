package snmp

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
)

var (
	oidSyntax  = regexp.MustCompile(`^1\.3\.6\.1(\.\d+)+$`)
	nameSyntax = regexp.MustCompile(`^(battery|input|output|ups|ambient)(\.(L[123](-N)?|[a-z_%]+))+$`)
	// Extensions of our own beside NUT's names.
	extensions = []string{"battery.replace", "battery.time_on_battery", "ups.alarms.present", "ups.health", "ups.realpower.hourly_average"}
	// nutNames are the variables the tables may use, beside phases.
	nutNames = []string{
		dodai.BatteryChargeLow, "battery.charger.status", dodai.UPSTemperature, dodai.AmbientTemp, "ambient.humidity",
		dodai.BatteryCharge, "battery.charge.restart", dodai.BatteryRuntime, dodai.BatteryRuntimeLow, dodai.BatteryVoltage, "battery.voltage.nominal",
		"battery.current", "battery.temperature", dodai.BatteryDate, "battery.packs", "battery.packs.bad",
		dodai.InputVoltage, dodai.InputVoltageNom, dodai.InputFrequency, "input.frequency.nominal", "input.current", "input.realpower",
		"input.transfer.reason", "input.transfer.low", "input.transfer.high",
		"input.bypass.voltage", "input.bypass.current", "input.bypass.realpower", "input.bypass.frequency",
		dodai.OutputVoltage, "output.voltage.nominal", "output.frequency", "output.frequency.nominal", "output.current",
		dodai.UPSLoad, "ups.power", "ups.power.nominal", dodai.UPSRealpower, "ups.realpower.nominal", dodai.UPSTestResult,
		dodai.UPSTimerShutdown, "ups.delay.start", "ups.delay.shutdown", "ups.beeper.status",
	}
)

// TestTables loads every row of every family.
func TestTables(t *testing.T) {
	rows := 0
	for _, f := range families {
		if f.name == "" || f.kind == "" || f.from == "" || len(f.keys) == 0 || (len(f.source) == 0) != (f == &dell) {
			t.Errorf("family %q: want a name, a kind, a document, key objects and (except Dell's) a source of power", f.name)
		}
		seen := map[string]bool{}
		for _, r := range f.rows {
			checkRow(t, f, r)
			if !strings.HasSuffix(r.oid, ".0") || r.phase != "" {
				t.Errorf("%s %s: a scalar ends in .0 and has no phase", f.name, r.oid)
			}
			if seen[r.oid+r.name] {
				t.Errorf("%s %s: twice for %s", f.name, r.oid, r.name)
			}
			seen[r.oid+r.name] = true
		}
		for _, table := range f.tables {
			for _, r := range table.rows {
				checkRow(t, f, r)
				if strings.HasSuffix(r.oid, ".0") || (r.phase != "" && strings.Count(r.phase, "%") != 1) {
					t.Errorf("%s %s: want a column, and one %% in %q", f.name, r.oid, r.phase)
				}
			}
			rows += len(table.rows)
		}
		rows += len(f.rows)
		checkObjects(t, f)
	}
	t.Logf("%d rows in %d families", rows, len(families))
}

// plainName is a variable's name without its phase.
func plainName(name string) string {
	for _, phase := range []string{".L1", ".L2", ".L3"} {
		name = strings.Replace(strings.Replace(name, phase+"-N", "", 1), phase, "", 1)
	}
	if name == "output.power.percent" {
		return dodai.UPSLoad
	}
	return name
}

func checkRow(t *testing.T, f *family, r row) {
	t.Helper()
	if !oidSyntax.MatchString(r.oid) || r.from == "" {
		t.Errorf("%s %q (%s): want an object identifier and its name in the MIB", f.name, r.oid, r.name)
	}
	if !nameSyntax.MatchString(r.name) || !slices.Contains(nutNames, plainName(r.name)) && !slices.Contains(extensions, r.name) {
		t.Errorf("%s %s: %q is neither NUT's name nor an extension", f.name, r.oid, r.name)
	}
	kinds := 0
	for _, is := range []bool{r.text, r.words != nil, r.truth != nil, r.hi > r.lo} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		t.Errorf("%s %s (%s): want exactly one of a range, words, truth and text", f.name, r.oid, r.name)
	}
}

func checkObjects(t *testing.T, f *family) {
	t.Helper()
	for _, s := range f.source {
		if !oidSyntax.MatchString(s.oid) || s.from == "" || len(s.means) == 0 {
			t.Errorf("%s source %q: want an object, its name and meanings", f.name, s.oid)
		}
		for n, means := range s.means {
			power := means & (dodai.OL | dodai.OB | dodai.OFF)
			if power != dodai.OL && power != dodai.OB && power != dodai.OFF {
				t.Errorf("%s source %s value %d is %v: want exactly one of OL, OB, OFF", f.name, s.from, n, means)
			}
		}
	}
	for _, g := range slices.Concat(f.flags, f.lost) {
		if !oidSyntax.MatchString(g.oid) || g.from == "" || len(g.means) == 0 {
			t.Errorf("%s flag %q: want an object, its name and meanings", f.name, g.oid)
		}
		for n, means := range g.means {
			if means == 0 || means.Any(dodai.OL|dodai.OB|dodai.OFF) {
				t.Errorf("%s flag %s value %d is %v: want flags, none of OL, OB, OFF", f.name, g.from, n, means)
			}
		}
	}
	for _, id := range f.ident {
		if !oidSyntax.MatchString(id.oid) || id.from == "" {
			t.Errorf("%s identity %q: want an object and its name", f.name, id.oid)
		}
	}
	for n, a := range f.alarmWords {
		if a.text == "" || a.status.Any(dodai.OL|dodai.OB|dodai.OFF) || (a.source != 0 && !a.source.Any(dodai.OL|dodai.OB)) {
			t.Errorf("%s alarm %s is %+v: want a text, flags, and a source of power only as such", f.name, n, a)
		}
	}
	if (f.alarms == "") != (f.alarmCount == "") || (f.alarms == "") != (len(f.alarmWords) == 0) {
		t.Errorf("%s: an alarm table wants a column, a count and words", f.name)
	}
}

func TestRecognise(t *testing.T) {
	for _, r := range recognised {
		if !oidSyntax.MatchString(r.prefix) || (r.key != "" && !oidSyntax.MatchString(r.key)) || r.what == "" {
			t.Errorf("recognised %+v: want identifiers and a name", r)
		}
	}
	for _, tc := range []struct{ id, key, want string }{
		{"1.3.6.1.4.1.318.1.3.4.6", "", "APC rack PDU"},
		{"1.3.6.1.4.1.318.1.3.27", "1.3.6.1.4.1.318.1.1.8.1.5.0", "APC rack transfer switch"},
		{"1.3.6.1.4.1.3808", "", "CyberPower UPS"},
		{"1.3.6.1.4.1.3808.1.1.3.1", "", "CyberPower PDU"},
		{"1.3.6.1.4.1.3180", "", ""},
		{"1.3.6.1.4.1.8072.3.2.10", "", ""},
	} {
		if got := recognise(tc.id, func(oid string) bool { return oid == tc.key }); got != tc.want {
			t.Errorf("recognise(%s, %q) = %q, want %q", tc.id, tc.key, got, tc.want)
		}
	}
}
