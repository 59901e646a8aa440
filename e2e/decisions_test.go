package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// way is the end of a configuration: short need, a command and hooks that leave traces.
const way = `
shutdown:
  need: 20s
  reserve: 10s
  command: ["/bin/sh", "-c", "echo off >>%DIR%/command"]
hooks:
  - on: [mains_lost, mains_restored, battery_low, comms_lost, comms_restored, shutdown_started]
    command: ["/bin/sh", "-c", "echo \"$0 [$1]\" >>%DIR%/hooks", "{event}", "{device}"]
`

func (d *daemon) hooked(event, device string) bool {
	return slices.Contains(d.lines("hooks"), event+" ["+device+"]")
}

// stays fails the test when the command runs within the time.
func (d *daemon) stays(within time.Duration, why string) {
	d.t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if d.lines("command") != nil {
			d.t.Fatalf("it was shut down, although %s\n%s", why, d.Output())
		}
	}
}

// goesDown waits for the command and checks the reason.
func (d *daemon) goesDown(within time.Duration, reason string) {
	d.t.Helper()
	begin := time.Now()
	eventually(d.t, within, "the command", func() bool { return d.lines("command") != nil })
	d.t.Logf("%s: the command ran after %v", reason, time.Since(begin).Round(10*time.Millisecond))
	if s := d.status(); s.Shutdown == nil || string(s.Shutdown.Reason) != reason {
		d.t.Errorf("shutdown is %+v, want for the reason %s", s.Shutdown, reason)
	}
}

// Each event that a hook can ask for reaches it, once, with the event's and the device's
// names as arguments.
func TestHookEvents(t *testing.T) {
	t.Parallel()
	policy := "policy: {min_supplies: 1, stale_s: 2, hysteresis_s: 1, comms_lost_batt_s: 600}"
	d := newDaemon(t, strings.Replace(files("u1"), "policy: {min_supplies: 1}", policy, 1)+way)
	file := d.file("u1")
	writeFile(t, file, upsJSON)
	d.start()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "comms_lost", func() bool { return d.hooked("comms_lost", "u1") })
	writeFile(t, file, upsJSON)
	eventually(t, 15*time.Second, "comms_restored", func() bool { return d.hooked("comms_restored", "u1") })
	writeFile(t, file, onBattery)
	eventually(t, 5*time.Second, "mains_lost", func() bool { return d.hooked("mains_lost", "u1") })
	writeFile(t, file, upsJSON)
	eventually(t, 5*time.Second, "mains_restored", func() bool { return d.hooked("mains_restored", "u1") })
	writeFile(t, file, lowBattery)
	eventually(t, 10*time.Second, "battery_low", func() bool { return d.hooked("battery_low", "u1") })
	eventually(t, 10*time.Second, "shutdown_started", func() bool { return d.hooked("shutdown_started", "") })
	want := []string{"comms_lost [u1]", "comms_restored [u1]", "mains_lost [u1]", "mains_restored [u1]", "mains_lost [u1]"}
	if got := d.lines("hooks"); len(got) != 7 || !slices.Equal(got[:5], want) { // the last two: the urgent one overtakes
		t.Errorf("hooks were told %q", got)
	}
}

// What a primary announces through upsd counts at once, on line as well.
func TestForcedShutdown(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"n1": upsFile})
	d := newDaemon(t, fmt.Sprintf("mode: armed\nups: [{name: u1, driver: nut, address: %q, options: {ups: n1}, poll: 500ms}]\n", upsd.Addr())+way)
	d.start()
	upsd.FSD("n1")
	d.goesDown(5*time.Second, "fsd")
}

// A UPS that falls silent on battery is waited for as long as the operator said; one that
// falls silent on line is an alarm.
func TestSilence(t *testing.T) {
	t.Parallel()
	u := startMegatec(t)
	d := newDaemon(t, fmt.Sprintf("mode: armed\nups: [{name: u1, driver: megatec, port: %s, poll: 500ms}]\npolicy: {stale_s: 3, comms_lost_batt_s: 6}\n", u.Path())+way)
	d.start()
	u.Behave(megatec.Silent, 0)
	eventually(t, 15*time.Second, "comms_lost", func() bool { return d.hooked("comms_lost", "u1") })
	d.stays(7*time.Second, "a UPS silent on line is an alarm only")
	u.Behave(megatec.Normal, 0)
	eventually(t, 30*time.Second, "comms_restored", func() bool { return d.hooked("comms_restored", "u1") })
	u.SetMains(false)
	eventually(t, 5*time.Second, "mains_lost", func() bool { return d.hooked("mains_lost", "u1") })
	silent := time.Now()
	u.Behave(megatec.Silent, 0)
	d.goesDown(12*time.Second, "comms_onbatt")
	if took := time.Since(silent); took < 5*time.Second {
		t.Errorf("it went down after %v of silence, want about 6 s", took)
	}
}

// With two feeds of which one suffices the machine outlives the end of either, and goes
// down when the other ends, too.
func TestTwoFeeds(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"a": upsFile, "b": upsFile})
	d := newDaemon(t, fmt.Sprintf(`
mode: armed
ups:
  - {name: a, driver: nut, address: "%[1]s", options: {ups: a}, poll: 500ms}
  - {name: b, driver: nut, address: "%[1]s", options: {ups: b}, poll: 500ms}
wiring:
  - {psu: "10.1", ups: a, feed: A}
  - {psu: "10.2", ups: b, feed: B}
policy: {poll_batt_s: 0.5}
`, upsd.Addr())+way)
	d.start()
	upsd.Set("a", "ups.status", "OB DISCHRG LB")
	eventually(t, 10*time.Second, "battery_low", func() bool { return d.hooked("battery_low", "a") })
	d.stays(4*time.Second, "the other feed is healthy")
	if s := d.status(); s.State != "on_battery" || !slices.ContainsFunc(s.Alerts, func(a agent.AlertStatus) bool { return a.Alert == "redundancy_lost" }) {
		t.Errorf("state %s, alerts %+v; want on_battery and redundancy_lost", s.State, s.Alerts)
	}
	upsd.Set("b", "ups.status", "OB DISCHRG LB")
	d.goesDown(10*time.Second, "lb")
	if n := len(d.events(dodai.EventMainsLost)); n != 2 {
		t.Errorf("%d losses of mains, want 2", n)
	}
}

// The whole upsd goes away in an outage: what was last heard counts.
func TestServerGoneOnBattery(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"n1": upsFile})
	d := newDaemon(t, fmt.Sprintf("mode: armed\nups: [{name: u1, driver: nut, address: %q, options: {ups: n1}, poll: 500ms}]\npolicy: {comms_lost_batt_s: 5, stale_s: 2, poll_batt_s: 0.5}\n", upsd.Addr())+way)
	d.start()
	upsd.Set("n1", "ups.status", "OB DISCHRG")
	eventually(t, 10*time.Second, "mains_lost", func() bool { return d.hooked("mains_lost", "u1") })
	upsd.Stop()
	eventually(t, 10*time.Second, "comms_lost", func() bool { return d.hooked("comms_lost", "u1") })
	d.goesDown(10*time.Second, "comms_onbatt")
}
