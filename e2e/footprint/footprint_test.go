package footprint

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// What a guard may cost the server it guards.
const (
	rssLimit = 31 << 20 // bytes
	cpuLimit = 4.5      // seconds an hour, children included
)

// scrapeEvery is Prometheus' usual interval for a machine's own exporters.
const scrapeEvery = 15 * time.Second

// daemon is the measured process.
type daemon struct {
	t testing.TB
	*peer.Process
	page    string // URL of /metrics
	began   time.Time
	scrapes int
	seen    map[int]time.Time // the processes that live now, and since when they were seen
	most    int               // most processes at once that had lived for a while
}

// start runs the agent on a server with 1 UPS, 2 power supplies, 4 arrays and 8 disks.
func start(t testing.TB) *daemon {
	t.Helper()
	ups, err := megatec.New(megatec.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ups.Close() })
	bmc := peer.StartIPMISim(t)
	dir := t.TempDir()
	writeArrays(t, dir)
	write(t, filepath.Join(dir, "dodai.yaml"), fmt.Sprintf(`
mode: armed
ups: [{name: rack, driver: megatec, port: %s, poll: 1s}]
psus: [{name: bmc, driver: ipmi, address: "%s", options: {user: %s, password: %s, cipher: 3}}]
arrays: [{name: md, driver: md, options: {sys: %s/sys, proc: %[5]s/proc}}]
disks: [{name: disks, driver: smartctl, options: {smartctl: %s}}]
wiring:
  - {psu: "10.1", ups: rack, feed: A}
  - {psu: "10.2", ups: rack, feed: A}
shutdown: {need: 20s, reserve: 10s, command: ["/bin/true"]}
`, ups.Path(), bmc.Addr(), peer.IPMIViewer, peer.IPMIViewerSecret, dir, writeDisks(t, filepath.Join(dir, "smart"))))
	d := &daemon{t: t, seen: map[int]time.Time{}}
	d.launch(dir)
	return d
}

func (d *daemon) launch(dir string) {
	d.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", peer.FreePort(d.t, "tcp"))
	d.page = "http://" + address + "/metrics"
	run, err := os.MkdirTemp("", "dodai-run-") // a test's own folder is too long for a socket's name
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { os.RemoveAll(run) })
	cmd := exec.Command(binary, "agent", "--config", filepath.Join(dir, "dodai.yaml"), "--state-dir", filepath.Join(dir, "state"),
		"--socket", filepath.Join(run, "dodai.sock"), "--listen", address)
	d.began = time.Now()
	d.Process = peer.Start(d.t, cmd, func() error {
		resp, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %s", resp.Status)
		}
		return nil
	})
}

// scrape asks for the page as Prometheus does, and returns it.
func (d *daemon) scrape() string {
	d.t.Helper()
	req, err := http.NewRequest("GET", d.page, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1")
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			d.t.Fatal(err)
		}
	}
	text, err := io.ReadAll(body)
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("scrape: %s, %v\n%s", resp.Status, err, text)
	}
	d.scrapes++
	return string(text)
}

// watch scrapes and counts processes until the time is over.
func (d *daemon) watch(until time.Time) {
	d.t.Helper()
	next := time.Now()
	for now := next; now.Before(until); now = time.Now() {
		if !now.Before(next) {
			d.scrape()
			next = next.Add(scrapeEvery)
		}
		d.count(now)
		time.Sleep(min(time.Second, time.Until(until)))
	}
}

// passing is how long a program that was run once may take. What lives longer is resident.
const passing = 5 * time.Second

func (d *daemon) count(now time.Time) {
	d.t.Helper()
	alive := processes(d.PID(), binary)
	maps.DeleteFunc(d.seen, func(pid int, _ time.Time) bool { _, ok := alive[pid]; return !ok })
	resident := 0
	for pid := range alive {
		if _, known := d.seen[pid]; !known {
			d.seen[pid] = now
		}
		if pid == d.PID() || now.Sub(d.seen[pid]) >= passing {
			resident++
		}
	}
	d.most = max(d.most, resident)
}

// cost is what was measured.
type cost struct {
	took                time.Duration
	cpu, own, withStart float64 // processor seconds an hour; children included, without them, from the first instruction on
	rss, peak, pss      int64   // bytes
	written             float64 // bytes an hour
	switches            float64 // of its threads, an hour
	collections         float64 // of garbage, an hour
	processes, files    int
	goroutines          int
}

// rounding is how much more CPU than there was may have been counted, in seconds an hour: the
// kernel tells each of the four times that are added up in whole ticks.
func (c cost) rounding() float64 { return 4.0 / ticks / c.took.Hours() }

// measure watches for so long, and scales what was used to an hour. The start counts
// apart: it happens once.
func measure(t testing.TB, d *daemon, long time.Duration) cost {
	t.Helper()
	time.Sleep(time.Second)
	collections := d.value("go_gc_duration_seconds_count")
	before := used(t, d.PID())
	d.watch(before.at.Add(long))
	after := used(t, d.PID())
	hours := after.at.Sub(before.at).Hours()
	c := cost{
		took:      after.at.Sub(before.at),
		cpu:       (after.cpu() - before.cpu()).Seconds() / hours,
		own:       (after.own - before.own).Seconds() / hours,
		withStart: after.cpu().Seconds() / after.at.Sub(d.began).Hours(),
		written:   float64(after.written-before.written) / hours,
		switches:  float64(after.switches-before.switches) / hours,
		rss:       number(t, d.PID(), "status", "VmRSS") << 10,
		peak:      number(t, d.PID(), "status", "VmHWM") << 10,
		pss:       number(t, d.PID(), "smaps_rollup", "Pss") << 10,
		processes: d.most, files: openFiles(t, d.PID()),
	}
	c.goroutines = int(d.value("go_goroutines"))
	c.collections = (d.value("go_gc_duration_seconds_count") - collections) / hours
	return c
}

// value is a series of the page.
func (d *daemon) value(series string) float64 {
	d.t.Helper()
	page := d.scrape()
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				d.t.Fatalf("%s: %v", series, err)
			}
			return f
		}
	}
	d.t.Fatalf("the page has no %s:\n%s", series, page)
	return 0
}

// whole makes sure that what was measured really watches everything.
func (d *daemon) whole() {
	d.t.Helper()
	page := d.scrape()
	for part, want := range map[string]int{
		`dodai_ups_status{flag="OL",ups="rack"} 1`: 1, `state="ok"} 1`: 2, `state="optimal"} 1`: 4, `verdict="ok"} 1`: 8,
		`dodai_device_up{`: 4,
	} {
		if got := strings.Count(page, part); got != want {
			d.t.Errorf("the page has %s %d times, want %d", part, got, want)
		}
	}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "dodai_device_up{") && !strings.HasSuffix(line, " 1\n") {
			d.t.Errorf("a device does not answer: %s", line)
		}
	}
	if d.t.Failed() {
		d.t.Log(page)
	}
}

func (c cost) String() string {
	mib := func(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
	return strings.Join([]string{
		fmt.Sprintf("watched for  %v", c.took.Round(time.Second)),
		fmt.Sprintf("processes    %d", c.processes),
		fmt.Sprintf("VmRSS        %s, %d bytes of %d", mib(c.rss), c.rss, rssLimit),
		fmt.Sprintf("VmHWM        %s", mib(c.peak)),
		fmt.Sprintf("PSS          %s", mib(c.pss)),
		fmt.Sprintf("CPU          %.2f s/h of %.1f, %.2f of it its own; %.2f s/h with the start", c.cpu, cpuLimit, c.own, c.withStart),
		fmt.Sprintf("written      %.1f MiB/h", c.written/(1<<20)),
		fmt.Sprintf("switches     %.1f a second", c.switches/3600),
		fmt.Sprintf("collections  %.0f an hour", c.collections),
		fmt.Sprintf("goroutines   %d", c.goroutines),
		fmt.Sprintf("open files   %d", c.files),
	}, "\n")
}

func (c cost) figures() []peer.Figure {
	return []peer.Figure{
		{Value: float64(c.rss), Unit: "rss-B"}, {Value: float64(c.peak), Unit: "peak-rss-B"}, {Value: float64(c.pss), Unit: "pss-B"},
		{Value: c.cpu, Unit: "cpu-s/h"}, {Value: c.own, Unit: "own-cpu-s/h"}, {Value: c.withStart, Unit: "cpu-with-start-s/h"},
		{Value: c.written, Unit: "written-B/h"}, {Value: c.switches, Unit: "switches/h"}, {Value: c.collections, Unit: "collections/h"},
		{Value: float64(c.processes), Unit: "processes"}, {Value: float64(c.goroutines), Unit: "goroutines"}, {Value: float64(c.files), Unit: "files"},
	}
}

// TestFootprint is the promise: one process, and that one small. What it takes of the
// processor is judged only where that was to be measured: a few ticks of a machine that
// runs other tests beside it prove nothing.
func TestFootprint(t *testing.T) {
	d := start(t)
	c := measure(t, d, *watchFor)
	d.whole()
	t.Logf("\n%s", c)
	peer.Figures("Footprint", 1, c.figures()...)
	if c.processes != 1 {
		t.Errorf("%d processes stay, want 1: %v", c.processes, slices.Collect(maps.Values(processes(d.PID(), binary))))
	}
	if c.rss > rssLimit {
		t.Errorf("VmRSS is %d bytes, want at most %d", c.rss, rssLimit)
	}
	if peer.Measuring && c.cpu-c.rounding() > cpuLimit {
		t.Errorf("CPU is %.2f s/h, %.2f of it may be rounding, want at most %.1f", c.cpu, c.rounding(), cpuLimit)
	}
}
