package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// storyConfig is a small server with one UPS on a serial line and a database.
const storyConfig = `mode: armed
ups:
  - {name: rack, driver: megatec, port: /dev/ttyS1, killpower: true}
arrays: [{name: md, driver: md}]
disks: [{name: disks, driver: smartctl}]
shutdown:
  need: 60s
  reserve: 30s
  steps:
    - {name: database, unit: postgresql.service, timeout: 90s}
`

// heavyUnit waits until the battery could carry another shutdown.
const heavyUnit = `[Unit]
Description=Something heavy
Wants=dodai-boot-hold.service
After=dodai-boot-hold.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
`

// newStoryUPS makes a UPS in which time goes by faster, so that the minute before it cuts
// its output takes seconds, though not fewer than this host needs from there to the dark. Its
// battery never counts.
func newStoryUPS(t *testing.T) *SerialUPS {
	return NewSerialUPS(t, megatec.Config{Speed: max(1, 10/hostFactor(t)), Runtime: 24 * time.Hour})
}

// confirm is what the policy waits for a second reading of low battery: policy.confirm_s.
const confirm = 500 * time.Millisecond

// arm configures an installed machine for the story and returns when the agent guards it.
func arm(m *Machine) {
	m.t.Helper()
	m.Write("/etc/dodai/dodai.yaml", storyConfig)
	m.Write("/etc/systemd/system/heavy.service", heavyUnit)
	m.Shell("systemctl enable --now postgresql.service; systemctl enable heavy.service; dodai check; systemctl restart dodai.service")
	m.Eventually("the agent reads the UPS", "dodai status | grep -Eq '^rack .*healthy'", m.Limit(30*time.Second))
	m.Eventually("the database is up", "pg_lsclusters | grep -q online", m.Limit(time.Minute))
}

// An outage is what the console, the wire and the UPS told of one, in the order it should be.
type outage struct {
	lost, low               time.Time // told the UPS by the test
	seen, decided, stopping time.Time // console
	unmounted, killed, down time.Time // console, wire, console
	off                     time.Time // QEMU
	load                    float64   // of the host
}

func (o outage) String() string {
	s := func(t time.Time) string { return fmt.Sprintf("%.2f s", t.Sub(o.low).Seconds()) }
	return fmt.Sprintf("after low battery: decided %s, first unit stops %s, unmounted %s, cut asked for %s, power down %s, off %s",
		s(o.decided), s(o.stopping), s(o.unmounted), s(o.killed), s(o.down), s(o.off))
}

// The lines of the console that mark the stages of a shutdown.
const (
	lineLost      = `dodai\[\d+\]: .*event=mains_lost`
	lineDecided   = `dodai\[\d+\]: .*event=shutdown_decided`
	lineStopping  = `systemd\[1\]: Stopping postgresql`
	lineDatabase  = `database system is shut down`
	lineUnmounted = `All filesystems.* unmounted|All filesystems, swaps.* detached`
	lineDown      = `reboot: Power down`
	lineRestart   = `reboot: Restarting system`
)

// pullThePlug takes the mains away, then the battery's charge, and waits for the dark.
func pullThePlug(m *Machine, u *SerialUPS) outage {
	m.t.Helper()
	mark := m.Console.Mark()
	o := outage{lost: time.Now()}
	u.SetMains(false)
	o.seen = m.Console.Wait(m.t, lineLost, mark, m.Limit(20*time.Second), m.Off()).At
	time.Sleep(time.Until(o.seen.Add(12 * time.Second))) // within 10 s of the transfer low battery has to hold longer
	o.low = time.Now()
	u.SetBatteryLow(new(true))
	line := func(pattern string, within time.Duration) time.Time {
		return m.Console.Wait(m.t, pattern, mark, m.Limit(within), m.Off()).At
	}
	o.decided = line(lineDecided, 20*time.Second)
	o.stopping = line(lineStopping, 20*time.Second)
	o.unmounted = line(lineUnmounted, 60*time.Second)
	o.down = line(lineDown, 60*time.Second)
	e := m.Wait(m.Limit(20 * time.Second))
	if o.off = e.At; e.Code != 0 {
		m.t.Errorf("QEMU's exit status is %d, want 0", e.Code)
	}
	for _, q := range u.Queries(o.low) {
		if strings.HasPrefix(q.Text, "S") && o.killed.IsZero() {
			o.killed = q.At
		}
	}
	return o
}

// check holds an outage to its order.
func (o outage) check(t *testing.T) {
	t.Helper()
	if limit := time.Duration(float64(1500*time.Millisecond)*hostFactor(t)) + confirm; o.stopping.Sub(o.low) > limit {
		t.Errorf("the first unit is stopped %v after low battery, want at most %v", o.stopping.Sub(o.low), limit)
	}
	if o.killed.IsZero() {
		t.Fatal("the UPS was not told to cut its output")
	}
	if o.killed.Before(o.unmounted) || o.killed.After(o.down) {
		t.Errorf("the cut was asked for %v after the file systems were unmounted, power down came %v after that: want it between",
			o.killed.Sub(o.unmounted), o.down.Sub(o.unmounted))
	}
}

// upsCycle waits until the UPS has cut its output, brings the mains back, and waits
// until it feeds the machine again, with a battery that is as good as empty.
func upsCycle(t *testing.T, u *SerialUPS) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := u.WaitOutput(ctx, false); err != nil {
		t.Fatal(err)
	}
	u.SetMains(true)
	if err := u.WaitOutput(ctx, true); err != nil {
		t.Fatal(err)
	}
}

// TestStory is the whole way: a bare machine, the package installed by apt, configured, armed, and its
// mains taken away until the battery is low; then the way back.
func TestStory(t *testing.T) {
	Need(t, false)
	bare := Bare(t)
	u := newStoryUPS(t)
	m := New(t, Options{
		Image: &bare, Alone: true, Disks: installDisks, Devices: []Device{u, &BMC{Sim: peer.StartIPMISim(t)}},
		Files: map[string]string{"dodai.deb": Deb(t, "")},
	})
	m.Boot()
	m.Settle()
	makeArray(m)
	install(m)
	checkDaemon(m)
	checkSees(m)
	arm(m)

	o := pullThePlug(m, u)
	t.Log(o)
	o.check(t)
	upsCycle(t, u)

	m.Boot()
	checkWayBack(m, u)
	checkTold(m)
}

// checkWayBack: the heavy service starts when the battery is better, and not before.
func checkWayBack(m *Machine, u *SerialUPS) {
	m.t.Helper()
	m.Eventually("services are held", "dodai boot-hold --status; test $? = 3", m.Limit(time.Minute))
	if state := strings.TrimSpace(m.Must("systemctl", "show", "--property=ActiveState", "--value", "heavy.service")); state != "inactive" {
		m.t.Errorf("heavy.service is %s while the battery is low, want it inactive", state)
	}
	m.Eventually("the database, which nobody ordered to wait, is up", "pg_lsclusters | grep -q online", m.Limit(time.Minute))
	u.SetBatteryLow(new(false))
	m.Eventually("the heavy service starts", "systemctl is-active --quiet heavy.service", m.Limit(time.Minute))
	if log := m.Shell("cat /var/log/postgresql/*.log"); !strings.Contains(log, lineDatabase) || strings.Contains(log, "not properly shut down") {
		m.t.Errorf("PostgreSQL was not stopped cleanly:\n%s", log)
	}
}

// told is what an outage has to read like afterwards, in this order.
var told = []string{
	"mains_lost rack", "battery_low rack", "shutdown_decided ", "shutdown_started ", "step_started database", "step_finished database",
	"power_off ", "agent_started ", "boot_held ", "boot_hold_released ",
}

// checkTold: the journal has the whole outage, across the reboot.
func checkTold(m *Machine) {
	m.t.Helper()
	var got []string
	for _, e := range events(m) {
		got = append(got, string(e.Name)+" "+e.Device)
	}
	at := 0
	for _, want := range told {
		i := slices.Index(got[at:], want)
		if i < 0 {
			m.t.Fatalf("the events do not tell %q after %v:\n%s", want, got[:at], strings.Join(got, "\n"))
		}
		at += i + 1
	}
	if !slices.Contains(got, "mains_restored rack") {
		m.t.Errorf("the events do not tell that the mains are back:\n%s", strings.Join(got, "\n"))
	}
}
