package vm

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stories is how many outages TestStories plays: DODAI_STORIES, 20 unless said.
func stories(t *testing.T) int {
	t.Helper()
	text := os.Getenv("DODAI_STORIES")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DODAI_STORIES is %q, want a number of outages", text)
	}
	return n
}

// TestStories is the story of one machine's many outages, with a table of its stages.
// DODAI_RESULTS names the folder it is written to.
func TestStories(t *testing.T) {
	Need(t, true)
	u := newStoryUPS(t)
	m := New(t, Options{Devices: []Device{u}})
	m.Boot()
	m.Settle()
	arm(m)
	var all []outage
	for n := stories(t); ; m.Boot() {
		ready(m)
		u.SetBatteryLow(new(false))
		m.Settle()
		o := pullThePlug(m, u)
		t.Logf("outage %d: %v", len(all)+1, o)
		o.check(t)
		o.load = load()
		all = append(all, o)
		upsCycle(t, u)
		if len(all) == n {
			break
		}
	}
	m.Boot()
	checkWayBack(m, u)
	m.PowerOff()
	writeResults(t, all)
}

// load is the host's load average of the last minute, -1 where it cannot be read.
func load() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return v
}

// stages are what the table shows of an outage: seconds after low battery, or after mains lost.
var stages = []struct {
	name string
	took func(outage) time.Duration
}{
	{"on battery → event", func(o outage) time.Duration { return o.seen.Sub(o.lost) }},
	{"low battery → decided", func(o outage) time.Duration { return o.decided.Sub(o.low) }},
	{"→ first unit stops", func(o outage) time.Duration { return o.stopping.Sub(o.low) }},
	{"→ file systems unmounted", func(o outage) time.Duration { return o.unmounted.Sub(o.low) }},
	{"→ UPS told to cut", func(o outage) time.Duration { return o.killed.Sub(o.low) }},
	{"→ power down", func(o outage) time.Duration { return o.down.Sub(o.low) }},
	{"→ QEMU gone", func(o outage) time.Duration { return o.off.Sub(o.low) }},
}

func resultTable(all []outage) string {
	var b strings.Builder
	var loads []float64
	for _, o := range all {
		loads = append(loads, o.load)
	}
	slices.Sort(loads)
	fmt.Fprintf(&b, "| %d outages | least | median | most |\n|---|---|---|---|\n", len(all))
	for _, s := range stages {
		var took []time.Duration
		for _, o := range all {
			took = append(took, s.took(o))
		}
		slices.Sort(took)
		fmt.Fprintf(&b, "| %s | %.2f s | %.2f s | %.2f s |\n", s.name, took[0].Seconds(), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	}
	fmt.Fprintf(&b, "| the host's load average then | %.1f | %.1f | %.1f |\n", loads[0], loads[len(loads)/2], loads[len(loads)-1])
	return b.String()
}

func writeResults(t *testing.T, all []outage) {
	t.Helper()
	table := resultTable(all)
	t.Logf("\n%s", table)
	dir := os.Getenv("DODAI_RESULTS")
	if dir == "" {
		return
	}
	qemu, _ := exec.Command("qemu-system-x86_64", "--version").Output()
	version, _, _ := strings.Cut(string(qemu), "\n")
	text := fmt.Sprintf(`# A whole machine's outages: what was measured

%s. A virtual machine without acceleration (%s, 2 virtual processors), Debian 12, the package installed, PostgreSQL 15 as the
one step of the plan, a simulated Megatec UPS at 2400 baud on the second serial port. Repeated by

`+"```sh\nmake vm-test-long     # DODAI_STORIES=20, all tests of e2e/vm\n```"+`

Times are of the host's clock: when the test told the UPS, when the line came on the machine's serial console, when the request came
over the UPS's line. Low battery is told more than 10 s after the mains went, and has to hold for %.1f s (`+"`policy.confirm_s`"+`).
PostgreSQL was stopped cleanly each time, and ran again after each boot.

%s`, time.Now().Format(time.DateOnly), version, confirm.Seconds(), table)
	if err := os.WriteFile(dir+"/machine.md", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
