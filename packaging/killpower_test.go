package packaging_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers/all"
)

// TestShutdownHook runs what systemd-shutdown does: it hands the action on, says how it
// ended, and is quiet where the program is gone.
func TestShutdownHook(t *testing.T) {
	const path = "../systemd/dodai.shutdown"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("mode %v, %v: systemd runs only what is executable", info.Mode(), err)
	}
	dir := t.TempDir()
	program, hook := filepath.Join(dir, "dodai"), filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, bytes.ReplaceAll(data, []byte("/usr/bin/dodai"), []byte(program)), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func() (string, int) {
		cmd := exec.Command(hook, "poweroff")
		cmd.Env = []string{} // there is none at the end
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run(); out != "" || code != 0 {
		t.Errorf("without the program: %q, exit %d: want silence and 0", out, code)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$#: $*\"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, code := run(); out != "2: killpower poweroff\n" || code != 1 {
		t.Errorf("%q, exit %d: want the action handed on and the program's own exit status", out, code)
	}
}

// TestUnitLeavesTheState: the service manager removes the run directory with the agent's end
// unless told otherwise, and with it all that the hook could know.
func TestUnitLeavesTheState(t *testing.T) {
	data, err := os.ReadFile("../systemd/dodai.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"RuntimeDirectory=dodai", "RuntimeDirectoryPreserve=yes"} {
		if !regexp.MustCompile("(?m)^" + line + "$").Match(data) {
			t.Errorf("the unit has no line %q", line)
		}
	}
}

// TestKillpowerPage reads the example of the page.
func TestKillpowerPage(t *testing.T) {
	page, err := os.ReadFile("../docs/killpower.md")
	if err != nil {
		t.Fatal(err)
	}
	m := example.FindSubmatch(page)
	if m == nil {
		t.Fatal("the page has no example")
	}
	c, err := config.Parse("killpower.md", m[1], all.Find)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.UPS) != 1 || !c.UPS[0].KillPower || !c.Shutdown.Wake {
		t.Errorf("%+v: want one UPS that is cut, and the clock", c)
	}
}
