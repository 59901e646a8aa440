package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// prometheus is a real one that scrapes one agent every second.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	program, dir := peer.Need(t, "prometheus"), t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- {job_name: dodai, static_configs: [{targets: [%q]}]}\n", target)
	writeFile(t, filepath.Join(dir, "prometheus.yml"), config)
	p := &prometheus{t, fmt.Sprintf("http://127.0.0.1:%d", peer.FreePort(t, "tcp"))}
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+strings.TrimPrefix(p.url, "http://"), "--log.level=warn")
	cmd.Dir = dir
	peer.Start(t, cmd, func() error {
		resp, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("prometheus is not ready: %s", resp.Status)
		}
		return nil
	})
	return p
}

// query returns the values of an instant query, in the order of the answer.
func (p *prometheus) query(q string) []float64 {
	p.t.Helper()
	resp, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(q))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var answer struct {
		Status string
		Data   struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		p.t.Fatalf("query %s: %v\n%s", q, err, body)
	}
	var out []float64
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			p.t.Fatalf("query %s: %v", q, err)
		}
		out = append(out, f)
	}
	return out
}

// is waits until a query has exactly one value, and this one.
func (p *prometheus) is(q string, want float64) {
	p.t.Helper()
	var got []float64
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if got = p.query(q); len(got) == 1 && got[0] == want {
			return
		}
	}
	p.t.Errorf("%s is %v, want %v", q, got, want)
}

// promtool checks a page as Prometheus' own linter does.
func promtool(t *testing.T, what, page string) {
	t.Helper()
	cmd := exec.Command(peer.Need(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics, %s: %v\n%s", what, err, out)
	}
}

// A real Prometheus shows every documented series, with the value the device gave, before
// and in an outage.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	m := startMixed(t, time.Second, "export: {textfile: \"%DIR%/dodai.prom\", interval: 1s}\ndrills: [{name: monthly, scenario: mains_loss, level: tabletop}]\n")
	if out, errs, exit := run(t, "drill", "run", "monthly", "--level", "tabletop", "--socket", m.file("dodai.sock")); exit != 0 {
		t.Fatalf("the drill ends with %d: %s\n%s", exit, errs, out)
	}
	p := startPrometheus(t, fmt.Sprintf("127.0.0.1:%d", m.port))
	for q, want := range map[string]float64{
		`up`:                                                    1,
		`dodai_ups_status{ups="nut",flag="OL"}`:                 1,
		`dodai_ups_status{ups="nut",flag="OB"}`:                 0,
		`dodai_ups_status{ups="serial",flag="OL"}`:              1,
		`dodai_ups_battery_charge_ratio{ups="file"}`:            0.9,
		`dodai_ups_battery_runtime_seconds{ups="nut"}`:          1200,
		`dodai_ups_input_volts{ups="file"}`:                     229.5,
		`dodai_ups_load_ratio{ups="nut"}`:                       0.4,
		`dodai_ups_load_ratio{ups="serial"}`:                    0.21,
		`dodai_ups_load_ratio{ups="card"}`:                      0.3,
		`dodai_ups_reading_age_seconds{ups="nut"} < bool 5`:     1,
		`dodai_shutdown_need_seconds`:                           20,
		`dodai_psu_state{psu="10.1",state="ok"}`:                1,
		`dodai_psu_state{psu="10.2",state="input_lost"}`:        0,
		`dodai_array_state{array="md0",state="degraded"}`:       1,
		`dodai_array_state{array="md0",state="optimal"}`:        0,
		`dodai_disk_verdict{disk="/dev/sda",verdict="warning"}`: 1,
		`max(dodai_spof_open{component="disk sda"})`:            1,
		`count(dodai_build_info)`:                               1,
		`dodai_events_total{event="mains_lost"}`:                0,
		`dodai_events_total{event="agent_started"}`:             1,
		`time() - dodai_drill_last_success_timestamp_seconds{drill="monthly",level="tabletop"} < bool 120`: 1,
	} {
		p.is(q, want)
	}
	p.outage(m)
	m.checkTextfile()
}

// outage takes the mains from the UPSes that feed the server.
func (p *prometheus) outage(m *mixed) {
	p.t.Helper()
	before := p.query(`dodai_power_margin_seconds`)
	if len(before) != 1 {
		p.t.Errorf("dodai_power_margin_seconds is %v on line, want one value", before)
	}
	m.upsd.Set("n1", "battery.runtime", "600")
	m.upsd.Set("n1", "ups.status", "OB DISCHRG")
	m.card.SetRuntime(500 * time.Second)
	m.card.SetMains(false)
	p.is(`dodai_events_total{event="mains_lost"}`, 2)
	p.is(`dodai_ups_status{ups="nut",flag="OB"}`, 1)
	p.is(`dodai_ups_status{ups="card",flag="OB"}`, 1)
	p.is(`dodai_ups_battery_runtime_seconds{ups="card"}`, 500)
	// The server lives as long as either feed does: 600 s, less 20 s of need and 10 s of reserve.
	p.is(`dodai_power_margin_seconds > bool 540 and dodai_power_margin_seconds <= bool 570`, 1)
	p.is(`dodai_ups_on_battery_seconds{ups="nut"} > bool 0`, 1)
	p.is(`dodai_shutdown_decided`, 0)
	m.upsd.Set("n1", "ups.status", "OL")
	m.card.SetMains(true)
	p.is(`dodai_events_total{event="mains_restored"}`, 2)
	p.is(`sum_over_time(up[1m]) / count_over_time(up[1m])`, 1) // no scrape failed meanwhile
}

// checkTextfile compares the file for node_exporter with the page.
func (m *mixed) checkTextfile() {
	m.t.Helper()
	_, page := m.page("/metrics")
	promtool(m.t, "/metrics", page)
	data, err := os.ReadFile(m.file("dodai.prom"))
	if err != nil {
		m.t.Fatal(err)
	}
	promtool(m.t, "textfile", string(data))
	if got, want := families(string(data)), families(page); !slices.Equal(got, want) || len(want) < 20 {
		m.t.Errorf("the textfile has\n%v\nthe page has\n%v", got, want)
	}
	for name := range series(string(data)) {
		if !strings.HasPrefix(name, "dodai_") {
			m.t.Errorf("the textfile has %s, which is node_exporter's own", name)
		}
	}
}

// scrapes measures n scrapes, fastest first.
func (d *daemon) scrapes(n int) []time.Duration {
	d.t.Helper()
	var took []time.Duration
	for range n {
		begin := time.Now()
		if status, body := d.page("/metrics"); status != http.StatusOK || !strings.Contains(body, "dodai_build_info") {
			d.t.Fatalf("scrape: status %d\n%s", status, body)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took
}

// A scrape takes as long when every device is silent as when all answer: it waits for none.
func TestScrapeWaitsForNoDevice(t *testing.T) {
	t.Parallel()
	m := startMixed(t, 500*time.Millisecond, "")
	const n = 300
	m.scrapes(20) // connections and buffers
	healthy := m.scrapes(n)
	m.mute()
	eventually(t, 20*time.Second, "every device to fail", func() bool {
		return !slices.ContainsFunc(m.status().Devices, func(s agent.DeviceStatus) bool { return s.Error == "" })
	})
	muted := m.scrapes(n)
	p95 := func(d []time.Duration) time.Duration { return d[n*95/100-1] }
	t.Logf("%d scrapes, all healthy: p50 %v, p95 %v, max %v", n, healthy[n/2], p95(healthy), healthy[n-1])
	t.Logf("%d scrapes, all silent:  p50 %v, p95 %v, max %v", n, muted[n/2], p95(muted), muted[n-1])
	peer.Figures("Scrape/healthy", n, spread(healthy)...)
	peer.Figures("Scrape/silent", n, spread(muted)...)
	if limit := 2*p95(healthy) + 50*time.Millisecond; p95(muted) > limit || muted[n/2] > 2*healthy[n/2]+20*time.Millisecond {
		t.Errorf("scrapes are slower when the devices are silent: p95 %v, before %v", p95(muted), p95(healthy))
	}
	_, page := m.page("/metrics")
	got := series(page)
	for _, ups := range []string{"nut", "serial", "card", "file"} {
		if got[`dodai_ups_battery_charge_ratio{ups="`+ups+`"}`] == "" && ups != "serial" { // which knows no charge
			t.Errorf("the last good charge of %s is gone from the page", ups)
		}
		if age, err := strconv.ParseFloat(got[`dodai_ups_reading_age_seconds{ups="`+ups+`"}`], 64); err != nil || age < 1 {
			t.Errorf("the age of %s is %v, %v; want the seconds since it fell silent", ups, age, err)
		}
	}
}

// mute silences every device, each in the way it can be.
func (m *mixed) mute() {
	m.t.Helper()
	m.serial.Behave(megatec.Silent, 0)
	if err := m.card.Break(snmpups.Mute, 0); err != nil {
		m.t.Fatal(err)
	}
	m.upsd.Hang()
	for _, name := range []string{"ups", "psus", "arrays", "disks"} {
		if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// A scrape asks no device: with an interval of an hour the devices are asked once, however
// often somebody scrapes.
func TestScrapeAsksNoDevice(t *testing.T) {
	t.Parallel()
	m := startMixed(t, time.Hour, "")
	time.Sleep(time.Second) // the questions of the start are over
	serial, card := m.serial.Exchanges(), m.card.Counts().All()
	polls := map[string]uint64{}
	for _, dev := range m.status().Devices {
		polls[dev.Name] = dev.Polls
	}
	m.scrapes(200)
	if got := m.serial.Exchanges(); got != serial || serial == 0 {
		t.Errorf("the serial UPS was asked %d times, after 200 scrapes %d times", serial, got)
	}
	if got := m.card.Counts().All(); got != card || card == 0 {
		t.Errorf("the card was asked %d times, after 200 scrapes %d times", card, got)
	}
	for _, dev := range m.status().Devices {
		if dev.Polls != polls[dev.Name] || dev.Polls != 1 {
			t.Errorf("%s was read %d times, after 200 scrapes %d times, want 1", dev.Name, polls[dev.Name], dev.Polls)
		}
	}
	if n := len(m.events(dodai.EventAgentStarted)); n != 1 {
		t.Errorf("the agent has started %d times", n)
	}
}
