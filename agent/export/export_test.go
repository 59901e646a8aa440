package export

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/e2e/peer"
)

var update = flag.Bool("update", false, "rewrite testdata")

// site is a server in the middle of an outage: a UPS on battery, one that never
// answered, arrays, disks and supplies with something wrong with each.
func site() State {
	ups := &dodai.DeviceState{Name: "u1", Kind: dodai.KindUPS, Driver: "megatec", At: 95 * time.Second, Polls: 3, StaleAfter: 15 * time.Second, Reading: &dodai.Reading{
		Kind: dodai.KindUPS, Device: dodai.Device{Manufacturer: "APC", Model: "Smart-UPS \"X\" 750", Serial: "A\xff1", Firmware: "9.1"},
		Status: dodai.OB | dodai.DISCHRG,
		Vars: dodai.Vars{dodai.BatteryCharge: dodai.Num(29), dodai.BatteryRuntime: dodai.Num(480), dodai.BatteryVoltage: dodai.Num(51.5),
			dodai.InputVoltage: dodai.Num(3), dodai.OutputVoltage: dodai.Num(229), dodai.UPSLoad: dodai.Num(41.5),
			dodai.UPSRealpower: dodai.Num(333), dodai.UPSTemperature: dodai.Num(31), dodai.UPSTestResult: dodai.Text("passed")},
	}}
	arrays := &dodai.DeviceState{Name: "md", Kind: dodai.KindArrays, Driver: "md", At: 99 * time.Second, StaleAfter: time.Minute, Reading: &dodai.Reading{Kind: dodai.KindArrays, Arrays: []dodai.Array{
		{ID: "md0", Level: "raid6", State: dodai.ArrayRebuilding, Missing: new(1), Failing: []string{"sda"}, Spares: new(2), Activity: dodai.ActivityRecover, Percent: new(12.3), ToleranceLeft: new(1)},
		{ID: "md1", Level: "raid0", State: dodai.ArrayOptimal},
	}}}
	disks := &dodai.DeviceState{Name: "disks", Kind: dodai.KindDisks, Driver: "smartctl", At: 10 * time.Second, StaleAfter: time.Hour, Reading: &dodai.Reading{Kind: dodai.KindDisks, Disks: []dodai.Disk{
		{Device: "/dev/sda", Model: "ST4000", Serial: "Z1", Protocol: "ATA", Verdict: dodai.VerdictWarning, TempC: new(34.0), PowerOnHours: new(int64(12345))},
		{Device: "/dev/bus/0", Type: "megaraid,3", Verdict: dodai.VerdictUnreadable},
		{Device: "/dev/nvme0", Protocol: "NVMe", Verdict: dodai.VerdictOK, WearRatio: new(0.03)},
	}}}
	psus := &dodai.DeviceState{Name: "bmc", Kind: dodai.KindPSUs, Driver: "ipmi", At: 90 * time.Second, StaleAfter: 15 * time.Second, Reading: &dodai.Reading{Kind: dodai.KindPSUs,
		PSUs:       []dodai.PSU{{ID: "10.1", State: dodai.PSUOK, Input: dodai.InputOK, Watts: new(75.0), CapacityWatts: new(800.0)}, {ID: "10.2", State: dodai.PSUInputLost, Input: dodai.InputLost}},
		Redundancy: []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyLost}}, SystemWatts: new(150.0)}}
	silent := &dodai.DeviceState{Name: "u2", Kind: dodai.KindUPS, Driver: "snmp", Failures: 4, Err: "snmp u2: device unreachable"}
	return State{
		Armed: true,
		Snapshot: &dodai.Snapshot{At: 100 * time.Second, Wall: time.Unix(1000, 0), Maintenance: []dodai.Maintenance{{UPS: "u2", Since: 50 * time.Second, Until: 3700 * time.Second, Reason: "battery swap"}}, Devices: []*dodai.DeviceState{psus, disks, arrays, ups, silent},
			Host: dodai.Host{Name: "db1", OS: "debian 12", Kernel: "6.1", Uptime: 100 * time.Second, Load1: 0.5, MemUsed: 1 << 30, MemTotal: 4 << 30}},
		Decision: &policy.Decision{
			Need: 120 * time.Second, Reserve: 60 * time.Second, Available: new(480 * time.Second), Margin: new(300 * time.Second),
			UPSes:  []policy.UPSView{{UPS: "u1", OnBattery: true, OnBatterySince: 40 * time.Second, Factor: 0.83, Doomed: policy.ReasonLB, Rule: policy.RuleSeries}, {UPS: "u2", Factor: 1, Doomed: policy.ReasonNone}},
			Alerts: []policy.Alert{{ID: policy.AlertOnBattery, Device: "u1"}, {ID: policy.AlertRedundancyLost}},
		},
		Need:  []Step{{"databases", 95500 * time.Millisecond, 24}, {"new", 0, 0}, {"power_off", 52 * time.Second, 4}},
		SPOFs: []SPOF{{"ups u1", true}, {"array md1", true}, {"psu 10.1", false}},

		Preflight: &Preflight{At: time.UnixMilli(990500), Findings: 2},
		LoopLag:   1500 * time.Millisecond,
		JournalUp: true,
		Unread:    map[string]int{"bmc": 1, "disk": 0},
	}
}

// metrics shows the site, 2 s after the state was set.
func metrics(t testing.TB) *Metrics {
	t.Helper()
	m := NewMetrics("1.2.3")
	begin := time.Unix(1000, 0)
	m.now = func() time.Time { return begin }
	m.Set(site())
	m.now = func() time.Time { return begin.Add(2 * time.Second) }
	for _, d := range m.state.Load().state().Snapshot.Devices {
		m.Polled(d)
	}
	m.Event(dodai.Event{Name: dodai.EventMainsLost, Device: "u1"})
	m.Event(dodai.Event{Name: dodai.EventMainsLost, Device: "u1", Drill: "d1"})
	m.Event(dodai.Event{Name: dodai.EventMainsLost, Device: "u1", Drill: "d1"})
	m.DrillSucceeded("monthly", "tabletop", time.UnixMilli(1700000000500))
	return m
}

var goVersion = regexp.MustCompile(`goversion="[^"]*"`)

func TestPage(t *testing.T) {
	got, err := metrics(t).text()
	if err != nil {
		t.Fatal(err)
	}
	got = goVersion.ReplaceAll(got, []byte(`goversion="go"`))
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("page differs, -want +got (go test -update rewrites it):\n%s", diff)
	}
}

func TestValues(t *testing.T) {
	text, err := metrics(t).text()
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, line := range []string{
		`dodai_ups_status{flag="OB",ups="u1"} 1`, `dodai_ups_status{flag="OL",ups="u1"} 0`,
		`dodai_ups_battery_charge_ratio{ups="u1"} 0.29`, `dodai_ups_load_ratio{ups="u1"} 0.415`,
		`dodai_ups_battery_runtime_seconds{ups="u1"} 480`, `dodai_ups_input_volts{ups="u1"} 3`,
		`dodai_ups_battery_volts{ups="u1"} 51.5`, `dodai_ups_output_volts{ups="u1"} 229`, `dodai_ups_realpower_watts{ups="u1"} 333`, `dodai_ups_temperature_celsius{ups="u1"} 31`,
		`dodai_ups_reading_age_seconds{ups="u1"} 7`, `dodai_ups_on_battery_seconds{ups="u1"} 62`, `dodai_ups_on_battery_seconds{ups="u2"} 0`,
		`dodai_ups_battery_factor_ratio{ups="u1"} 0.83`, `dodai_ups_battery_factor_ratio{ups="u2"} 1`,
		`dodai_ups_doomed{rule="series",ups="u1"} 1`, `dodai_ups_doomed{rule="lb",ups="u1"} 0`, `dodai_ups_doomed{rule="series",ups="u2"} 0`,
		`dodai_decision_rule{rule="runtime"} 0`, `dodai_decision_rule{rule="load_shift"} 0`,
		`dodai_power_margin_seconds 300`, `dodai_shutdown_need_seconds 120`, `dodai_mode_armed 1`,
		`dodai_device_up{device="u1",driver="megatec",kind="ups"} 1`, `dodai_device_up{device="u2",driver="snmp",kind="ups"} 0`,
		`dodai_device_polls_total{device="u2"} 1`, `dodai_device_poll_failures_total{device="u2"} 1`, `dodai_device_poll_failures_total{device="u1"} 0`,
		`dodai_psu_state{psu="10.2",state="input_lost"} 1`, `dodai_psu_state{psu="10.2",state="ok"} 0`,
		`dodai_array_state{array="md0",state="rebuilding"} 1`, `dodai_array_tolerance_members{array="md0"} 1`, `dodai_array_spare_members{array="md0"} 2`,
		`dodai_disk_verdict{disk="/dev/sda",verdict="warning"} 1`, `dodai_disk_verdict{disk="/dev/bus/0 megaraid,3",verdict="unreadable"} 1`,
		`dodai_disk_power_on_seconds{disk="/dev/sda"} 4.4442e+07`,
		`dodai_maintenance{ups="u1"} 0`, `dodai_maintenance{ups="u2"} 1`, `dodai_maintenance_end_timestamp_seconds{ups="u2"} 4600`,
		`dodai_alert{alert="on_battery",device="u1"} 1`, `dodai_alert{alert="redundancy_lost",device=""} 1`,
		`dodai_preflight_ok 0`, `dodai_preflight_findings 2`, `dodai_preflight_last_timestamp_seconds 990.5`,
		`dodai_spof_open{component="ups u1"} 1`, `dodai_spof_open{component="psu 10.1"} 0`,
		`dodai_events_total{event="mains_lost"} 1`, `dodai_events_total{event="mains_restored"} 0`, `dodai_drill_events_total{event="mains_lost"} 2`,
		`dodai_drill_last_success_timestamp_seconds{drill="monthly",level="tabletop"} 1.7000000005e+09`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("page lacks %s", line)
		}
	}
	for _, absent := range []string{`dodai_ups_input_volts{ups="u2"}`, `dodai_ups_status{flag="OB",ups="u2"}`, `dodai_psu_watts{psu="10.2"}`, `dodai_maintenance_end_timestamp_seconds{ups="u1"}`, `dodai_array_tolerance_members{array="md1"}`} {
		if strings.Contains(page, absent) {
			t.Errorf("page has %s, which nobody measured", absent)
		}
	}
}

func TestLint(t *testing.T) {
	families, err := metrics(t).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestPromtool(t *testing.T) {
	promtool := peer.Need(t, "promtool")
	page := httptest.NewRecorder()
	metrics(t).Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = bytes.NewReader(page.Body.Bytes())
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestNothingSpoilsThePage has what would make the library refuse the whole page.
func TestNothingSpoilsThePage(t *testing.T) {
	twice := &dodai.Reading{PSUs: []dodai.PSU{{ID: "1", State: dodai.PSUOK}, {ID: "1", State: dodai.PSUFailed}, {ID: "1"}, {ID: "\xff"}, {ID: "\xfe"}},
		Disks:      []dodai.Disk{{Device: "/dev/sda"}, {Device: "/dev/sda"}},
		Redundancy: []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyFull}},
		Arrays:     []dodai.Array{{ID: "c0/v1", State: "odd"}, {ID: "c0/v1"}}}
	odd := &dodai.Reading{Vars: dodai.Vars{dodai.InputVoltage: dodai.Num(math.NaN()), dodai.OutputVoltage: dodai.Num(math.Inf(1)), dodai.BatteryVoltage: dodai.Num(math.Inf(-1)), dodai.UPSLoad: dodai.Text("41")}}
	m := NewMetrics("\xff")
	m.Set(State{Snapshot: &dodai.Snapshot{Devices: []*dodai.DeviceState{
		{Name: "a", Reading: twice}, {Name: "b", Reading: twice}, {Name: "c", Kind: dodai.KindUPS, Reading: odd}, {Name: "c", Kind: dodai.KindUPS, Reading: odd},
	}}, SPOFs: []SPOF{{"x", true}, {"x", false}}})
	m.Polled(&dodai.DeviceState{Name: "\xff"})
	m.Event(dodai.Event{Name: "\xff"})
	text, err := m.text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`dodai_psu_state{psu="1",state="ok"} 1`, `dodai_psu_state{psu="a/1",state="failed"} 1`, `dodai_psu_state{psu="b/1",state="ok"} 1`,
		`dodai_array_state{array="c0/v1",state="optimal"} 0`, `dodai_array_state{array="b/c0/v1",state="optimal"} 0`,
		`dodai_redundancy_state{domain="system",state="full"} 1`, `dodai_redundancy_state{domain="b/system",state="full"} 1`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("page lacks %s", want)
		}
	}
	for _, absent := range []string{"_volts{", "dodai_ups_load_ratio{", "dodai_ups_status{", "dodai_psu_input{", "dodai_host_info{"} {
		if strings.Contains(string(text), absent) {
			t.Errorf("page has %s, which is not known or no number", absent)
		}
	}
}

func TestBeforeTheFirstState(t *testing.T) {
	text, err := NewMetrics("1").text()
	if err != nil || !strings.Contains(string(text), `dodai_events_total{event="mains_lost"} 0`) || strings.Contains(string(text), PowerMargin) {
		t.Errorf("page before the first state: %v\n%s\nwant counters at 0 and no margin", err, text)
	}
}

func TestConcurrentScrapes(t *testing.T) {
	m := NewMetrics("1")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				m.Set(site())
				m.Event(dodai.Event{Name: dodai.EventMainsLost})
				m.Polled(m.state.Load().state().Snapshot.Devices[0])
				if _, err := m.text(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	text, err := m.text()
	if want := `dodai_events_total{event="mains_lost"} 200`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%v, page lacks %s", err, want)
	}
}

func TestHTTP(t *testing.T) {
	mux, ready := http.NewServeMux(), fmt.Errorf("u1 has not been heard yet")
	Mount(mux, metrics(t), func() error { return nil }, func() error { return ready })
	get := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if h := w.Header(); strings.HasSuffix(path, "z") && (h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: headers %v, want plain text that is not cached", path, h)
		}
		return w.Code, w.Body.String()
	}
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/healthz", 200, "ok\n"}, {"HEAD", "/healthz", 200, ""}, {"GET", "/readyz", 503, "u1 has not been heard yet\n"},
		{"GET", "/metrics", 200, "\ndodai_power_margin_seconds 300\n"}, {"GET", "/metrics", 200, "\ngo_goroutines "}, {"POST", "/metrics", 405, ""},
	} {
		if code, body := get(c.method, c.path); code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s %s = %d %.80q, want %d with %q", c.method, c.path, code, body, c.code, c.body)
		}
	}
	ready = nil
	if code, _ := get("GET", "/readyz"); code != 200 {
		t.Errorf("/readyz = %d once ready, want 200", code)
	}
}

// TestWhatIsNotKnown has a decision without a margin, and a host of which little is known.
func TestWhatIsNotKnown(t *testing.T) {
	page := func(h dodai.Host) string {
		m := NewMetrics("1")
		m.Set(State{Snapshot: &dodai.Snapshot{Host: h}, Decision: &policy.Decision{Need: time.Minute}})
		text, err := m.text()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, c := range []struct {
		host        dodai.Host
		info, bytes bool
	}{
		{dodai.Host{}, false, false},
		{dodai.Host{Uptime: time.Hour, Load1: 1}, false, false},
		{dodai.Host{Name: "db1"}, true, false},
		{dodai.Host{Kernel: "6.1"}, true, false},
		{dodai.Host{MemTotal: 1}, true, true},
	} {
		got := page(c.host)
		if info, bytes := strings.Contains(got, HostInfo+"{"), strings.Contains(got, HostMemorySize+" "); info != c.info || bytes != c.bytes {
			t.Errorf("%+v: info %v, memory %v: want %v, %v", c.host, info, bytes, c.info, c.bytes)
		}
		if !strings.Contains(got, ShutdownNeed+" 60") || strings.Contains(got, PowerMargin) || strings.Contains(got, PowerAvailable) {
			t.Errorf("page\n%s\nwant the need, no margin and nothing available", got)
		}
	}
	m := NewMetrics("1")
	m.Set(State{})
	if text, err := m.text(); err != nil || strings.Contains(string(text), ModeArmed) {
		t.Errorf("page of no snapshot: %v\n%s", err, text)
	}
}

// TestDecisionRule: exactly the rule that decided is 1, and every rule has its series.
func TestDecisionRule(t *testing.T) {
	for _, rule := range append([]policy.Rule{""}, policy.DecidingRules...) {
		m := NewMetrics("1")
		m.Set(State{Snapshot: &dodai.Snapshot{}, Decision: &policy.Decision{Shutdown: rule != "", Rule: rule,
			UPSes: []policy.UPSView{{UPS: "u1", Rule: rule}}}})
		text, err := m.text()
		if err != nil {
			t.Fatal(err)
		}
		for _, metric := range []string{DecisionRule, UPSDoomed} {
			all := regexp.MustCompile(`(?m)^`+metric+`\{rule="([a-z_]+)"[^}]*\} ([01])$`).FindAllStringSubmatch(string(text), -1)
			var on []string
			for _, m := range all {
				if m[2] == "1" {
					on = append(on, m[1])
				}
			}
			if len(all) != len(policy.DecidingRules) || strings.Join(on, " ") != string(rule) {
				t.Errorf("rule %q: %s has %d series, 1 for %q", rule, metric, len(all), on)
			}
		}
	}
}

// broken is a collector that fails.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}

func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(errors.New("broken")), errors.New("broken"))
}

// TestOneCollectorFails: what the others have is served all the same. The textfile has
// to be whole, or stay as it is.
func TestOneCollectorFails(t *testing.T) {
	m := metrics(t)
	m.runtime.MustRegister(broken{})
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "\ndodai_power_margin_seconds 300\n") {
		t.Errorf("scrape = %d %.80q, want our metrics", w.Code, w.Body)
	}
	m.registry.MustRegister(broken{})
	path := filepath.Join(t.TempDir(), "dodai.prom")
	if err := m.WriteTextfile(path); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("WriteTextfile: %v, want the collector's error", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a textfile was written although a part is missing")
	}
}

// TestDescribe: a pedantic registry takes nothing that was not described.
func TestDescribe(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(metrics(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Gather(); err != nil {
		t.Error(err)
	}
}

// BenchmarkScrape is a usual server: 1 UPS, 2 PSUs, 4 arrays, 8 disks.
func BenchmarkScrape(b *testing.B) {
	s := site()
	devices := s.Snapshot.Devices[:4]
	disks, arrays := devices[1].Reading, devices[2].Reading
	for len(disks.Disks) < 8 {
		d := disks.Disks[0]
		d.Device = fmt.Sprintf("/dev/sd%c", 'a'+len(disks.Disks))
		disks.Disks = append(disks.Disks, d)
	}
	for len(arrays.Arrays) < 4 {
		a := arrays.Arrays[0]
		a.ID = fmt.Sprintf("md%d", len(arrays.Arrays))
		arrays.Arrays = append(arrays.Arrays, a)
	}
	s.Snapshot.Devices = devices
	m := NewMetrics("1")
	m.Set(s)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.text(); err != nil {
			b.Fatal(err)
		}
	}
}
