package vm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// guardedUnit is what a plan stops: nothing of it needs the disk.
const guardedUnit = `[Unit]
Description=Something guarded
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
`

// guardedConfig is a server with one UPS on a serial line and a BMC that is read over the
// network.
func guardedConfig(bmc *peer.IPMISim) string {
	_, port, _ := strings.Cut(bmc.Addr(), ":")
	return fmt.Sprintf(`mode: armed
ups: [{name: rack, driver: megatec, port: /dev/ttyS1, killpower: true}]
psus:
  - name: bmc
    driver: ipmi
    address: 10.0.2.2:%s
    poll: 5s
    options: {user: %s, password: %s, cipher: 3}
wiring:
  - {psu: "10.1", ups: rack, feed: A}
  - {psu: "10.2", ups: rack, feed: A}
shutdown:
  need: 60s
  reserve: 30s
  steps:
    - {name: guarded, unit: guarded.service, timeout: 60s}
export: {listen: "127.0.0.1:9777"}
`, port, peer.IPMIViewer, peer.IPMIViewerSecret)
}

// guard configures a machine with the package installed and returns when the agent guards it.
func guard(m *Machine, bmc *peer.IPMISim) {
	m.t.Helper()
	m.Write("/etc/dodai/dodai.yaml", guardedConfig(bmc))
	m.Write("/etc/systemd/system/guarded.service", guardedUnit)
	m.Shell("systemctl enable --now guarded.service; dodai check; systemctl restart dodai.service")
	guarded(m)
}

// guarded waits until the agent reads the UPS and would be ready.
func guarded(m *Machine) {
	m.t.Helper()
	m.Eventually("the agent reads the UPS", "dodai status | grep -Eq '^rack .*healthy'", m.Limit(60*time.Second))
}

// A fall is how a machine went down after its UPS had said battery low.
type fall struct{ low, decided, stopping, unmounted, killed, down time.Time }

func (f fall) String() string {
	s := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return fmt.Sprintf("%.1f s", t.Sub(f.low).Seconds())
	}
	return fmt.Sprintf("after low battery: decided %s, unit stops %s, unmounted %s, cut asked for %s, power down %s",
		s(f.decided), s(f.stopping), s(f.unmounted), s(f.killed), s(f.down))
}

// goesDown takes the mains away, then the battery's charge, and waits for the dark.
func goesDown(m *Machine, u *SerialUPS) fall {
	m.t.Helper()
	mark := m.Console.Mark()
	u.SetMains(false)
	seen := m.Console.Wait(m.t, lineLost, mark, m.Limit(60*time.Second), m.Off())
	time.Sleep(time.Until(seen.At.Add(12 * time.Second))) // within 10 s of the transfer low battery has to hold longer
	return endsDown(m, u, mark)
}

// endsDown says battery low on a machine that runs from its battery, and waits for the dark.
func endsDown(m *Machine, u *SerialUPS, mark int) fall {
	m.t.Helper()
	f := fall{low: time.Now()}
	u.SetBatteryLow(new(true))
	line := func(pattern string, within time.Duration) time.Time {
		m.t.Helper()
		return m.Console.Wait(m.t, pattern, mark, m.Limit(within), m.Off()).At
	}
	f.decided = line(lineDecided, 60*time.Second)
	f.stopping = line(`Stopping .*guarded`, 60*time.Second)
	f.unmounted = line(lineUnmounted, 90*time.Second)
	f.down = line(lineDown, 60*time.Second)
	if e := m.Wait(m.Limit(20 * time.Second)); e.Code != 0 {
		m.t.Errorf("QEMU's exit status is %d, want 0", e.Code)
	}
	for _, q := range u.Queries(f.low) {
		if strings.HasPrefix(q.Text, "S") && f.killed.IsZero() {
			f.killed = q.At
		}
	}
	return f
}

// check holds a fall to what a fault must not change: the machine goes down by the plan,
// and the UPS is told to cut its output when nothing is written any more.
func (f fall) check(t testing.TB) {
	t.Helper()
	if f.killed.IsZero() || f.killed.Before(f.unmounted) || f.killed.After(f.down) {
		t.Errorf("%v: want the cut asked for between unmounting and power down", f)
	}
}

// backUp has the mains back with a full battery, and boots.
func backUp(m *Machine, u *SerialUPS) {
	m.t.Helper()
	u.SetMains(true)
	u.SetBatteryLow(nil)
	u.SetCharge(1)
	m.Boot()
	guarded(m)
}

// statusUntil asks the agent until ok is content with what it says.
func statusUntil(m *Machine, what string, within time.Duration, ok func(agent.Status) bool) agent.Status {
	m.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(500 * time.Millisecond) {
		s := status(m)
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			text, _ := json.MarshalIndent(s, "", " ")
			m.t.Fatalf("%s: not within %v; the agent says:\n%s", what, within, text)
		}
	}
}

// alertOf is the standing alert of this name and device; empty device: of any. ok says
// whether there is one.
func alertOf(s agent.Status, id, device string) (text string, ok bool) {
	for _, a := range s.Alerts {
		if string(a.Alert) == id && (device == "" || a.Device == device) {
			return a.Text, true
		}
	}
	return "", false
}

// quality is how fresh a device's reading is.
func quality(s agent.Status, device string) string {
	for _, d := range s.Devices {
		if d.Name == device {
			return fmt.Sprint(d.Quality)
		}
	}
	return "none"
}

// metrics is the page that Prometheus reads.
func metrics(m *Machine) string {
	m.t.Helper()
	return m.Must("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9777; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3")
}
