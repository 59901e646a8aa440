package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// upsFile is what the real dummy-ups says.
const upsFile = `ups.status: OL
battery.charge: 100
battery.runtime: 1200
input.voltage: 230
ups.load: 40
ups.mfr: Dummy
ups.model: One
`

// chain is a configuration whose commands leave a trace.
func chain(upsd *peer.UPSD, second string) string {
	return fmt.Sprintf(`
mode: armed
ups:
  - {name: u1, driver: nut, address: "%s", options: {ups: u1}, poll: 500ms}
policy: {poll_batt_s: 0.5}
shutdown:
  need: 20s
  reserve: 10s
  steps:
    - {name: first, command: ["/bin/sh", "-c", "echo first >>%%DIR%%/order"], timeout: 5s}
    - {name: second, command: ["/bin/sh", "-c", "%s; echo second >>%%DIR%%/order"], timeout: 30s}
  command: ["/bin/sh", "-c", "echo power-off >>%%DIR%%/order"]
hooks:
  - on: [mains_lost, mains_restored, battery_low, comms_lost, comms_restored, shutdown_started]
    command: ["/bin/sh", "-c", "echo $DODAI_EVENT $DODAI_DEVICE >>%%DIR%%/hooks"]
`, upsd.Addr(), second)
}

// One outage on a real upsd, with the agent killed and started again in its middle.
func TestOutageSurvivesAKill(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	d := newDaemon(t, chain(upsd, "true"))
	d.start()

	lost := time.Now()
	upsd.Set("u1", "ups.status", "OB DISCHRG")
	eventually(t, 10*time.Second, "hook for mains_lost", func() bool { return slices.Contains(d.lines("hooks"), "mains_lost u1") })
	eventually(t, 5*time.Second, "mains_lost in the journal", func() bool { return len(d.events(dodai.EventMainsLost)) == 1 })
	time.Sleep(2 * time.Second)
	d.kill()
	time.Sleep(time.Second)
	d.start()

	s := d.status()
	if len(s.UPSes) != 1 || !s.UPSes[0].OnBattery || s.UPSes[0].OnBattS == nil {
		t.Fatalf("after the restart: %+v, want u1 on battery", s.UPSes)
	}
	real := time.Since(lost).Seconds()
	if got := *s.UPSes[0].OnBattS; got < 3 || got > real {
		t.Errorf("on battery for %.1f s after the restart, want the outage's own age, a little under %.1f s", got, real)
	}
	if s.State != "on_battery" || s.Mode != "armed" {
		t.Errorf("state %s, mode %s; want on_battery, armed", s.State, s.Mode)
	}

	upsd.Set("u1", "ups.status", "OB DISCHRG LB")
	eventually(t, 20*time.Second, "the power-off command", func() bool { return slices.Contains(d.lines("order"), "power-off") })
	if got := d.lines("order"); !slices.Equal(got, []string{"first", "second", "power-off"}) {
		t.Errorf("steps ran as %q, want first, second, power-off", got)
	}
	eventually(t, 5*time.Second, "hook for shutdown_started", func() bool {
		return slices.Contains(d.lines("hooks"), "shutdown_started ") || slices.Contains(d.lines("hooks"), "shutdown_started")
	})
	eventually(t, 5*time.Second, "the power-off in the journal", func() bool { return len(d.events(dodai.EventPowerOff)) == 1 })
	if n := len(d.events(dodai.EventMainsLost)); n != 1 {
		t.Errorf("the journal has %d losses of mains, want one outage: %v", n, d.events(""))
	}
	checkStory(t, d)
}

// checkStory checks that the journal tells the outage in order.
func checkStory(t *testing.T, d *daemon) {
	t.Helper()
	want := []dodai.EventName{
		dodai.EventAgentStarted, dodai.EventMainsLost, dodai.EventAgentStarted, dodai.EventBatteryLow, dodai.EventShutdownDecided,
		dodai.EventShutdownStarted, dodai.EventStepStarted, dodai.EventStepFinished, dodai.EventStepStarted, dodai.EventStepFinished, dodai.EventPowerOff,
	}
	var got []dodai.EventName
	for _, ev := range d.events("") {
		if slices.Contains(want, ev.Name) {
			got = append(got, ev.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the journal tells\n%v\nwant\n%v", got, want)
	}
}

// Killed in the middle of the plan, the agent goes on with it: what is done is not done
// again, what was under way is waited for and done again, and the power-off comes last.
func TestShutdownSurvivesAKill(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	d := newDaemon(t, chain(upsd, "test -e %DIR%/again || { touch %DIR%/again; sleep 4; exit 1; }"))
	d.start()
	upsd.Set("u1", "ups.status", "OB DISCHRG LB")
	eventually(t, 20*time.Second, "the second step", func() bool { return len(d.lines("again")) > 0 })
	d.kill()
	upsd.Set("u1", "ups.status", "OL") // the mains are back: after the point of no return that changes nothing
	d.start()
	if s := d.status(); s.Shutdown == nil || s.Shutdown.Reason != "lb" {
		t.Errorf("after the restart: state %s, shutdown %+v; want the shutdown under way", s.State, s.Shutdown)
	}
	eventually(t, 20*time.Second, "the power-off command", func() bool { return slices.Contains(d.lines("order"), "power-off") })
	if got := d.lines("order"); !slices.Equal(got, []string{"first", "second", "power-off"}) {
		t.Errorf("steps ran as %q, want first once, second, power-off", got)
	}
	if n := len(d.events(dodai.EventShutdownStarted)); n != 1 {
		t.Errorf("%d shutdowns started, want 1", n)
	}
}

// A configuration broken in the middle of a shutdown does not keep an agent that was
// killed from going on with it; without one under way it is refused.
func TestBrokenConfigurationInAShutdown(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	d := newDaemon(t, chain(upsd, "test -e %DIR%/again || { touch %DIR%/again; sleep 3; exit 1; }"))
	d.start()
	upsd.Set("u1", "ups.status", "OB DISCHRG LB")
	eventually(t, 20*time.Second, "the second step", func() bool { return len(d.lines("again")) > 0 })
	d.kill()
	d.write("mode: armd\n")
	d.start()
	eventually(t, 20*time.Second, "the power-off command", func() bool { return slices.Contains(d.lines("order"), "power-off") })
	if !strings.Contains(d.Output(), "going on with the one that was in force") {
		t.Errorf("the log does not say which configuration is in force:\n%s", d.Output())
	}
	if _, stderr, exit := run(t, "agent", "--config", d.config, "--state-dir", d.file("other"), "--socket", d.file("other.sock")); exit != 2 || !strings.Contains(stderr, "dodai.yaml:1:7") {
		t.Errorf("with nothing under way the agent exits with %d: %s; want 2 and the position", exit, stderr)
	}
}

// In mode observe the same outage is decided, journalled and notified, and nothing runs.
func TestObserveExecutesNothing(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	d := newDaemon(t, strings.Replace(chain(upsd, "true"), "mode: armed", "mode: observe", 1))
	d.start()
	upsd.Set("u1", "ups.status", "OB DISCHRG LB")
	eventually(t, 20*time.Second, "the decision in the journal", func() bool { return len(d.events(dodai.EventShutdownDecided)) == 1 })
	eventually(t, 5*time.Second, "the hooks", func() bool { return slices.Contains(d.lines("hooks"), "battery_low u1") })
	time.Sleep(time.Second)
	s := d.status()
	if s.State != "would_shut_down" || s.Mode != "observe" || s.Shutdown != nil {
		t.Errorf("state %s, mode %s, shutdown %v; want would_shut_down, observe, none", s.State, s.Mode, s.Shutdown)
	}
	if lines := d.lines("order"); lines != nil {
		t.Errorf("in mode observe these ran: %q", lines)
	}
	out, _, exit := run(t, "status", "--socket", d.file("dodai.sock"))
	if exit != 3 || !strings.Contains(out, "observe: decides, journals and notifies, but stops nothing") {
		t.Errorf("dodai status exits with %d and says\n%s", exit, out)
	}
}
