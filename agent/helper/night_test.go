package helper

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
)

// TestNoRoomForACopy: where no copy can be kept, what lies there and is the same is run.
func TestNoRoomForACopy(t *testing.T) {
	h := newHouse(t, steps)
	say := h.action("say")
	must(t, os.Remove(h.KeepDir))
	if err := h.of().Pin(t.Context()); err == nil || !strings.Contains(err.Error(), "keep the configuration") {
		t.Errorf("Pin = %v, want that no copy can be kept", err)
	}
	if got := say.Run(t.Context(), task("say")); got.Exit != 3 {
		t.Errorf("Run = %+v, want the step to run all the same", got)
	}
	h.write(steps + "# edited\n")
	if got := say.Run(t.Context(), task("say")); got.Err == nil {
		t.Errorf("Run = %+v of what nobody has kept, and stands there no more", got)
	}
}

// TestLeaveWithoutTheSecret: a password that was changed or lost since the daemon has started is
// the daemon's business. Every other option is not.
func TestLeaveWithoutTheSecret(t *testing.T) {
	h := newHouse(t, `ups:
  - {name: u1, driver: snmp, address: 192.0.2.1, killpower: true, options: {community_file: secret, version: "1"}}
  - {name: u2, driver: snmp, address: 192.0.2.2, options: {community_file: other}}
`)
	secret := filepath.Join(h.dir, "secret")
	must(t, os.WriteFile(secret, []byte("fortytwo\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(h.dir, "other"), []byte("fortythree\n"), 0o600))
	cfg, err := config.Load(h.Server.Config, all.Find)
	must(t, err)
	leave := func(options map[string]string) error {
		return h.of().Leave(t.Context(), &killpower.State{BootID: "b", At: killpower.Boottime(), Reason: "runtime", UPS: []killpower.UPS{
			{Name: "u1", Driver: "snmp", Options: options, Cut: &drivers.Cut{Off: time.Minute, On: time.Minute}},
		}})
	}
	must(t, os.WriteFile(secret, []byte("changed\n"), 0o600))
	if err := leave(cfg.UPS[0].DriverOptions()); err != nil {
		t.Errorf("with a password that was changed: %v", err)
	}
	must(t, os.Remove(secret))
	if err := leave(cfg.UPS[0].DriverOptions()); err != nil {
		t.Errorf("with a password that is gone: %v", err)
	}
	s, err := killpower.Read(h.RunDir, "b", killpower.Boottime())
	must(t, err)
	if got := s.UPS[0].Options["community"]; got != "fortytwo" {
		t.Errorf("the late command finds the password %q", got)
	}
	for name, change := range map[string]map[string]string{
		"no password": {"community": ""}, "two lines": {"community": "a\nb"}, "too long": {"community": strings.Repeat("x", maxSecret+1)},
		"another address": {"address": "192.0.2.3"}, "another version": {"version": "3"}, "one more option": {"port": "/etc/shadow"},
	} {
		options := cfg.UPS[0].DriverOptions()
		maps.Copy(options, change)
		if leave(options) == nil {
			t.Errorf("%s: left behind", name)
		}
	}
}
