package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/collectors"
)

// TestKillpowerBeforeTheEnd: an operator who tries the command on a machine that runs does
// not cut its power.
func TestKillpowerBeforeTheEnd(t *testing.T) {
	dir := t.TempDir()
	s := &killpower.State{BootID: collectors.BootID(), At: killpower.Boottime()}
	if err := killpower.Write(dir, s); err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(dir, "comm")
	for name, want := range map[string]string{"systemd": "this machine still runs", "systemd-shutdow": "", "init": ""} {
		if err := os.WriteFile(init, []byte(name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := killpowerCmd()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetContext(t.Context())
		err := runKillpower(cmd, killpowerFlags{runDir: dir, init: init}, "poweroff")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("init %s: error %v, want %q", name, err, want)
		}
		if ran := out.Len() > 0; ran != (want == "") {
			t.Errorf("init %s: said %q", name, &out)
		}
	}
}
