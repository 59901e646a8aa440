package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// A UPS on a real upsd says that its battery is at its end while somebody works on it: the
// machine stays up, also over a kill -9. When the maintenance ends by itself and the UPS
// still says so, the machine goes down by the ordinary rules.
func TestMaintenanceSurvivesAKill(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	d := newDaemon(t, strings.Replace(chain(upsd, "true"), "shutdown_started]", "shutdown_started, maintenance_started, maintenance_ended]", 1))
	d.start()
	out, stderr, exit := run(t, "maintenance", "on", "--for", "15s", "--reason", "battery swap", "--socket", d.file("dodai.sock"), "--json")
	var answer agent.MaintenanceAnswer
	if err := json.Unmarshal([]byte(out), &answer); exit != 0 || err != nil || len(answer.Maintenance) != 1 || answer.Warning != "" {
		t.Fatalf("dodai maintenance on exits with %d: %v\n%s%s", exit, err, out, stderr)
	}
	until := time.Now().Add(time.Duration(answer.Maintenance[0].LeftS * float64(time.Second)))
	d.kill() // at once: what was answered is on the disk
	upsd.Set("u1", "ups.status", "OB DISCHRG LB")
	upsd.Set("u1", "battery.charge", "5")
	d.start()
	eventually(t, 5*time.Second, "the UPS on battery", func() bool {
		s := d.status()
		return len(s.UPSes) == 1 && s.UPSes[0].Status.Has(dodai.OB|dodai.LB)
	})
	if s := d.status(); len(s.Maintenance) != 1 || s.Maintenance[0].Reason != "battery swap" || s.Unguarded == nil {
		t.Errorf("after the kill the status has %+v, %+v", s.Maintenance, s.Unguarded)
	}
	time.Sleep(time.Until(until) - 500*time.Millisecond)
	if s := d.status(); s.Shutdown != nil || d.lines("order") != nil {
		t.Fatalf("in maintenance: state %s, %q ran", s.State, d.lines("order"))
	}
	eventually(t, 15*time.Second, "the power-off", func() bool { return slices.Contains(d.lines("order"), "power-off") })
	eventually(t, 5*time.Second, "the hook for the end", func() bool { return slices.Contains(d.lines("hooks"), "maintenance_ended u1") })
	checkMaintenanceStory(t, d, until)
}

// checkMaintenanceStory checks that the end came when it was to, and then the decision.
func checkMaintenanceStory(t *testing.T, d *daemon, until time.Time) {
	t.Helper()
	ended, decided := d.events(dodai.EventMaintenanceEnded), d.events(dodai.EventShutdownDecided)
	if len(ended) != 1 || len(decided) != 1 || len(d.events(dodai.EventMaintenanceStarted)) != 1 {
		t.Fatalf("%d ends, %d decisions, want one each: %v", len(ended), len(decided), d.events(""))
	}
	if late := ended[0].Wall.Sub(until); late < -200*time.Millisecond || late > 2*time.Second || ended[0].Fields["ended"] != "expired" {
		t.Errorf("it ended %v after its time, %v; want expired, within 2 s", late, ended[0].Fields["ended"])
	}
	late := decided[0].Wall.Sub(until)
	if late < -200*time.Millisecond || late > 10*time.Second || decided[0].Fields["reason"] != "lb" && decided[0].Fields["reason"] != "charge" {
		t.Errorf("decided %v after the end for %v", late, decided[0].Fields["reason"])
	}
	t.Logf("ended %v, decided %v after the time that was given", ended[0].Wall.Sub(until).Round(time.Millisecond), late.Round(time.Millisecond))
}
