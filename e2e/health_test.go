package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// TestPlannedRestart: the wish that an upgrade leaves ends the daemon with status 0, tells
// why, and is gone once the next one has started, which has nothing to explain.
func TestPlannedRestart(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, files("u1"))
	writeFile(t, d.file("u1"), upsJSON)
	d.start()
	writeFile(t, d.file("restart-wanted"), "dodai 9.9.9 (commit abc)\n")
	select {
	case <-d.Done():
	case <-time.After(30 * time.Second):
		t.Fatalf("the daemon does not end\n%s", d.Output())
	}
	if exit := d.Exit(); exit != 0 {
		t.Errorf("exit status %d, want 0: the service manager starts the new program then\n%s", exit, d.Output())
	}
	d.start()
	eventually(t, 10*time.Second, "the wish to be gone", func() bool {
		_, err := os.Stat(d.file("restart-wanted"))
		return os.IsNotExist(err)
	})
	stopped := d.events(dodai.EventAgentStopped)
	if len(stopped) != 1 || !strings.Contains(stopped[0].Text, "version 9.9.9 lies ready") {
		t.Errorf("%+v, want one agent_stopped that names the version", stopped)
	}
	if killed := d.events(dodai.EventAgentKilled); len(killed) != 0 {
		t.Errorf("%+v: a planned restart is no kill", killed)
	}
}

// TestKillIsTold: after kill -9 the next daemon tells it, once.
func TestKillIsTold(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, files("u1"))
	writeFile(t, d.file("u1"), upsJSON)
	d.start()
	eventually(t, 30*time.Second, "its mark to be on the disk", func() bool {
		j, err := journal.OpenReader(t.Context(), d.file("state"))
		if err != nil {
			return false
		}
		defer j.Close()
		_, _, err = j.LoadState(t.Context(), "run")
		return err == nil
	})
	d.kill()
	d.start()
	eventually(t, 10*time.Second, "the kill to be told", func() bool { return len(d.events(dodai.EventAgentKilled)) == 1 })
	d.term("after a kill")
	d.start()
	if n := len(d.events(dodai.EventAgentKilled)); n != 1 {
		t.Errorf("%d times told, want once", n)
	}
}

// TestNodeGoneAndBack: a UPS whose adapter was unplugged, node and all, is silent until it is
// plugged in again, and then read as before, by the same daemon.
func TestNodeGoneAndBack(t *testing.T) {
	t.Parallel()
	u := startMegatec(t)
	d := newDaemon(t, "mode: armed\nups: [{name: u1, driver: megatec, port: %DIR%/tty, poll: 500ms}]\nshutdown: {need: 20s, command: [\"/bin/true\"]}\n")
	plug := func() {
		t.Helper()
		if err := os.Symlink(u.Path(), d.file("tty")); err != nil {
			t.Fatal(err)
		}
		u.Behave(megatec.Normal, 0)
	}
	plug()
	d.start()
	eventually(t, 20*time.Second, "the UPS to be read", func() bool { dev, _ := d.device("u1"); return dev.Quality == dodai.QualityFresh })
	for range 2 {
		if err := os.Remove(d.file("tty")); err != nil {
			t.Fatal(err)
		}
		u.Behave(megatec.Disconnect, 0)
		eventually(t, 60*time.Second, "the alert", func() bool {
			for _, a := range d.status().Alerts {
				if a.Alert == "comms_lost" && a.Device == "u1" {
					return true
				}
			}
			return false
		})
		if dev, _ := d.device("u1"); !strings.Contains(dev.Error, "no such file") {
			t.Errorf("error %q, want it to say that the node is gone", dev.Error)
		}
		plug()
		eventually(t, 60*time.Second, "the UPS to be read again", func() bool { dev, _ := d.device("u1"); return dev.Quality == dodai.QualityFresh && dev.Error == "" })
	}
	if got := d.status(); got.State == "shutting_down" || got.Shutdown != nil {
		t.Errorf("state %s: a cable that is pulled on line shuts nothing down", got.State)
	}
}
