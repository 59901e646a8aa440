package export

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
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
		Vars: dodai.Vars{dodai.BatteryCharge: dodai.Num(29), dodai.BatteryRuntime: dodai.Num(480), dodai.InputVoltage: dodai.Num(0),
			dodai.UPSLoad: dodai.Num(41.5), dodai.UPSTestResult: dodai.Text("passed")},
	}}
	arrays := &dodai.DeviceState{Name: "md", Kind: dodai.KindArrays, Driver: "md", At: 99 * time.Second, StaleAfter: time.Minute, Reading: &dodai.Reading{Kind: dodai.KindArrays, Arrays: []dodai.Array{
		{ID: "md0", Level: "raid6", State: dodai.ArrayRebuilding, Missing: new(1), Failing: []string{"sda"}, Spares: new(0), Activity: dodai.ActivityRecover, Percent: new(12.3), ToleranceLeft: new(1)},
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
		Snapshot: &dodai.Snapshot{At: 100 * time.Second, Devices: []*dodai.DeviceState{psus, disks, arrays, ups, silent},
			Host: dodai.Host{Name: "db1", OS: "debian 12", Kernel: "6.1", Uptime: 100 * time.Second, Load1: 0.5, MemUsed: 1 << 30, MemTotal: 4 << 30}},
		Decision: &policy.Decision{
			Need: 120 * time.Second, Reserve: 60 * time.Second, Available: new(480 * time.Second), Margin: new(300 * time.Second),
			UPSes:  []policy.UPSView{{UPS: "u1", OnBattery: true, OnBatterySince: 40 * time.Second}, {UPS: "u2"}},
			Alerts: []policy.Alert{{ID: policy.AlertOnBattery, Device: "u1"}, {ID: policy.AlertRedundancyLost}},
		},
		SPOFs: []SPOF{{"ups u1", true}, {"array md1", true}, {"psu 10.1", false}},
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
	for _, d := range m.state.Load().Snapshot.Devices {
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
		`dodai_ups_battery_runtime_seconds{ups="u1"} 480`, `dodai_ups_input_volts{ups="u1"} 0`,
		`dodai_ups_reading_age_seconds{ups="u1"} 7`, `dodai_ups_on_battery_seconds{ups="u1"} 62`, `dodai_ups_on_battery_seconds{ups="u2"} 0`,
		`dodai_power_margin_seconds 300`, `dodai_shutdown_need_seconds 120`, `dodai_mode_armed 1`,
		`dodai_device_up{device="u1",driver="megatec",kind="ups"} 1`, `dodai_device_up{device="u2",driver="snmp",kind="ups"} 0`,
		`dodai_device_polls_total{device="u2"} 1`, `dodai_device_poll_failures_total{device="u2"} 1`, `dodai_device_poll_failures_total{device="u1"} 0`,
		`dodai_psu_state{psu="10.2",state="input_lost"} 1`, `dodai_psu_state{psu="10.2",state="ok"} 0`,
		`dodai_array_state{array="md0",state="rebuilding"} 1`, `dodai_array_tolerance_members{array="md0"} 1`,
		`dodai_disk_verdict{disk="/dev/sda",verdict="warning"} 1`, `dodai_disk_verdict{disk="/dev/bus/0 megaraid,3",verdict="unreadable"} 1`,
		`dodai_disk_power_on_seconds{disk="/dev/sda"} 4.4442e+07`,
		`dodai_alert{alert="on_battery",device="u1"} 1`, `dodai_alert{alert="redundancy_lost",device=""} 1`,
		`dodai_spof_open{component="ups u1"} 1`, `dodai_spof_open{component="psu 10.1"} 0`,
		`dodai_events_total{event="mains_lost"} 1`, `dodai_events_total{event="mains_restored"} 0`, `dodai_drill_events_total{event="mains_lost"} 2`,
		`dodai_drill_last_success_timestamp_seconds{drill="monthly",level="tabletop"} 1.7000000005e+09`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("page lacks %s", line)
		}
	}
	for _, absent := range []string{`dodai_ups_output_volts{`, `dodai_ups_status{flag="OB",ups="u2"}`, `dodai_psu_watts{psu="10.2"}`, `dodai_array_tolerance_members{array="md1"}`} {
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
		Disks:  []dodai.Disk{{Device: "/dev/sda"}, {Device: "/dev/sda"}},
		Arrays: []dodai.Array{{ID: "c0/v1", State: "odd"}, {ID: "c0/v1"}}}
	odd := &dodai.Reading{Status: dodai.OL, Vars: dodai.Vars{dodai.InputVoltage: dodai.Num(zero() / zero())}}
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
	for _, want := range []string{`dodai_psu_state{psu="1",state="ok"} 1`, `dodai_psu_state{psu="a/1",state="failed"} 1`, `dodai_psu_state{psu="b/1",state="ok"} 1`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("page lacks %s", want)
		}
	}
	if strings.Contains(string(text), "dodai_ups_input_volts{") {
		t.Error("page shows a voltage that is no number")
	}
}

func zero() float64 { return 0 }

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
				m.Polled(m.state.Load().Snapshot.Devices[0])
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

func TestTextfile(t *testing.T) {
	dir := t.TempDir()
	path, m := filepath.Join(dir, "dodai.prom"), metrics(t)
	victim := filepath.Join(t.TempDir(), "victim")
	for _, name := range []string{path, filepath.Join(dir, ".dodai.prom.new")} { // somebody's traps
		if err := os.Symlink(victim, name); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := m.WriteTextfile(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("textfile: %v, %v; want a regular file with mode 0644", info.Mode(), err)
	}
	if _, err := os.Stat(victim); err == nil {
		t.Error("wrote through a link")
	}
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte("\ndodai_power_margin_seconds 300\n")) || bytes.Contains(text, []byte("\ngo_")) {
		t.Errorf("textfile: %v\n%s\nwant our metrics and none of Go's", err, text)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files left in the folder, want 1", len(entries))
	}
	if err := m.WriteTextfile(filepath.Join(dir, "none", "dodai.prom")); err == nil {
		t.Error("WriteTextfile into a folder that is not there: no error")
	}
}

// TestTextfileNeverHalf reads while pages are written.
func TestTextfileNeverHalf(t *testing.T) {
	path, m := filepath.Join(t.TempDir(), "dodai.prom"), metrics(t)
	if err := m.WriteTextfile(path); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range 20 {
			if err := m.WriteTextfile(path); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for reads := 0; ; reads++ {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d: %v, %d bytes, want the whole page of %d", reads, err, len(got), len(want))
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

func TestRunTextfileReportsEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "sub", "dodai.prom")
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		go metrics(t).RunTextfile(ctx, path, 15*time.Second, func(err error) { got = append(got, fmt.Sprint(err != nil)) })
		time.Sleep(50 * time.Second) // fails four times, reported once
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Error(err)
		}
		time.Sleep(50 * time.Second)
		cancel()
		synctest.Wait()
		if diff := cmp.Diff([]string{"true", "false"}, got); diff != "" {
			t.Errorf("reports of failure, -want +got:\n%s", diff)
		}
	})
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
