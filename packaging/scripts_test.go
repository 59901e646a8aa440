package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// TestUpgradeWithWhatTheDaemonLeft: /run/dodai is the daemon's own. Whatever it has put there, an
// upgrade writes nowhere else and comes to its end.
func TestUpgradeWithWhatTheDaemonLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a /run of its own needs root")
	}
	unshare := peer.Need(t, "unshare")
	script, err := filepath.Abs("postinstall")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ left, says string }{
		"nothing":        {"", ""},
		"an older wish":  {"echo 0 >restart-wanted", ""},
		"a link":         {"ln -s $DIR/foreign restart-wanted", ""},
		"a link to them": {"ln -s $DIR restart-wanted", ""},
		"a pipe":         {"mkfifo restart-wanted", ""},
		"a folder":       {"mkdir restart-wanted; touch restart-wanted/x", "cannot be written"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for program, text := range map[string]string{
				"systemctl": "case $1 in show) echo $$ ;; esac", "stat": "echo dodai", "dodai": "echo dodai 2.0", "udevadm": "", "systemd-tmpfiles": "",
			} {
				if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(unshare, "--mount", "sh", "-ec", `mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/dodai
cd /run/dodai
`+tt.left+`
timeout 20 "$SCRIPT" configure 1.0
[ -n "`+tt.says+`" ] || { [ ! -L restart-wanted ] && grep -qx "dodai 2.0" restart-wanted; }
[ -z "$(ls -A /run | grep dodai-)" ]
[ ! -e "$DIR/foreign" ] && [ "$(ls "$DIR" | wc -l)" = 5 ]`)
			cmd.Env = []string{"PATH=" + dir + ":/usr/sbin:/usr/bin:/sbin:/bin", "DIR=" + dir, "SCRIPT=" + script}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.says) {
				t.Errorf("%v, it says %q, want %q", err, out, tt.says)
			}
		})
	}
}

// TestDevicesAreTheDaemonsAlone: the group dodai is for those who may read the status. A device
// of it would let them cut the power, or become the management controller's master.
func TestDevicesAreTheDaemonsAlone(t *testing.T) {
	given := 0
	for line := range strings.Lines(readFile(t, "../systemd/udev.rules")) {
		line, _, _ = strings.Cut(line, "#")
		if strings.Contains(line, "GROUP") || strings.Contains(line, "chgrp") || strings.Contains(line, "MODE=") && !strings.Contains(line, `OWNER="dodai", MODE="0600"`) {
			t.Errorf("%q: want OWNER=\"dodai\", MODE=\"0600\"", line)
		}
		if strings.Contains(line, "OWNER=") {
			given++
		}
	}
	if given < 10 {
		t.Errorf("%d devices are given to the daemon", given)
	}
}
