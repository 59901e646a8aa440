package e2e

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// freshBoot is a daemon that remembers having started with this boot of the host: a test
// cannot boot the machine it runs on.
func freshBoot(t *testing.T, upsd *peer.UPSD, hold string) *daemon {
	t.Helper()
	d := newDaemon(t, fmt.Sprintf(`
mode: observe
ups:
  - {name: u1, driver: nut, address: "%s", options: {ups: u1}, poll: 500ms}
policy: {poll_batt_s: 0.5, hysteresis_s: 1, boot_min_charge_pct: 30}
shutdown: {need: 20s, reserve: 10s}
boot_hold: %s
`, upsd.Addr(), hold))
	j, err := journal.Open(t.Context(), d.file("state"), journal.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	now := collectors.SystemClock()()
	data, err := json.Marshal(map[string]any{
		"boot_id": collectors.BootID(), "at": now, "wall": time.Now(),
		"memory": policy.Memory{Boot: policy.BootMemory{At: policy.Mark{Set: true}, Fresh: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.SaveState(t.Context(), "policy", data); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// hold is the program that dodai-boot-hold.service runs.
func (d *daemon) hold() *peer.Process {
	d.t.Helper()
	return peer.Start(d.t, exec.Command(binary, "boot-hold", "--socket", d.file("dodai.sock")), func() error { return nil })
}

func says(t *testing.T, p *peer.Process, text string) {
	t.Helper()
	eventually(t, 10*time.Second, text, func() bool { return strings.Contains(p.Output(), text) })
}

// goneWell waits for the end of a hold.
func goneWell(t *testing.T, p *peer.Process, within time.Duration) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(within):
		t.Fatalf("it still waits after %v:\n%s", within, p.Output())
	}
	if p.Exit() != 0 {
		t.Errorf("exit status %d:\n%s", p.Exit(), p.Output())
	}
}

const lowUPS = `ups.status: OL CHRG
battery.charge: 12
battery.runtime: 1200
input.voltage: 230
`

// After a boot with a low battery the hold lasts over an outage and a kill of the daemon,
// until the battery is charged, and then until this host's turn.
func TestBootHold(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": lowUPS})
	d := freshBoot(t, upsd, "{rank: 2, stagger: 1500ms, limit: 0s}")
	h := d.hold() // before the daemon
	says(t, h, "waiting for the agent")
	d.start()
	says(t, h, "held: 0 of 1 supplies could carry another shutdown, 1 wanted; u1: charge 12 %, 30 % are wanted")
	socket := d.file("dodai.sock")
	if out, _, exit := run(t, "boot-hold", "--status", "--socket", socket); exit != 3 || !strings.HasPrefix(out, "held: ") {
		t.Errorf("--status exits with %d: %s", exit, out)
	}
	if out, _, _ := run(t, "status", "--socket", socket); !strings.Contains(out, "u1: charge 12 %") {
		t.Errorf("the status does not say it:\n%s", out)
	}

	upsd.Set("u1", "battery.charge", "40")
	upsd.Set("u1", "ups.status", "OB DISCHRG")
	says(t, h, "u1: on battery for")
	d.kill()
	eventually(t, 10*time.Second, "the daemon to be missed", func() bool { return strings.Count(h.Output(), "waiting for the agent") == 2 })
	d.start()
	eventually(t, 10*time.Second, "the hold to go on", func() bool { return strings.Count(h.Output(), "u1: on battery for") == 2 })

	upsd.Set("u1", "ups.status", "OL CHRG")
	says(t, h, "the turn of this host comes in")
	goneWell(t, h, 15*time.Second)
	if out := h.Output(); !strings.HasSuffix(out, "not held: the battery could carry another shutdown\n") {
		t.Errorf("its last word:\n%s", out)
	}
	for name, want := range map[dodai.EventName]int{dodai.EventBootHeld: 1, dodai.EventBootHoldReleased: 1} {
		if got := d.events(name); len(got) != want {
			t.Errorf("%s %d times, want %d: %v", name, len(got), want, got)
		}
	}
	upsd.Set("u1", "battery.charge", "5")
	goneWell(t, d.hold(), 10*time.Second) // for good
}

// An operator lets the services go; the daemon remembers it over a kill.
func TestBootHoldReleasedByAnOperator(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": lowUPS})
	d := freshBoot(t, upsd, "{limit: 0s}")
	d.start()
	h := d.hold()
	says(t, h, "u1: charge 12 %")
	socket := d.file("dodai.sock")
	out, stderr, exit := run(t, "boot-hold", "release", "--why", "the shop has to open", "--socket", socket)
	if exit != 0 || !strings.HasPrefix(out, "not held: released by ") || stderr != "" {
		t.Errorf("release exits with %d: %s%s", exit, out, stderr)
	}
	d.kill() // at once: what was answered is on the disk
	d.start()
	goneWell(t, h, 10*time.Second)
	var s agent.BootHoldStatus
	if d.get("/v1/boot-hold", &s); s.Held || s.Released != policy.BootOperator || !strings.HasSuffix(s.Why, ": the shop has to open") {
		t.Errorf("after the kill: %+v", s)
	}
}

// A time limit that has passed lets the services go whatever the UPS says, with a warning.
func TestBootHoldLimit(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": lowUPS})
	d := freshBoot(t, upsd, "{limit: 1s}")
	d.start()
	h := d.hold()
	goneWell(t, h, 10*time.Second)
	if out := h.Output(); !strings.Contains(out, "services start although the battery could not carry another shutdown: the time limit has passed") {
		t.Errorf("it does not warn:\n%s", out)
	}
	var got []dodai.Event
	eventually(t, 10*time.Second, "boot_hold_released in the journal, which is not waited for", func() bool {
		got = d.events(dodai.EventBootHoldReleased)
		return len(got) > 0
	})
	if len(got) != 1 || got[0].Fields["reason"] != "limit" {
		t.Errorf("boot_hold_released: %v", got)
	}
}
