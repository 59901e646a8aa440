package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// withoutRoot makes d a daemon of the user nobody, and has helpers of root started for it
// as the service manager does: one for each connection, which is its standard input.
func (d *daemon) withoutRoot() {
	d.t.Helper()
	if os.Geteuid() != 0 {
		d.t.Skip("needs root, for the helper")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		d.t.Skip("no user nobody here: ", err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		d.t.Fatal(err)
	}
	d.uid = uint32(uid)
	for _, dir := range []string{"run", "state", "keep"} {
		if err := os.Mkdir(d.file(dir), 0o755); err != nil {
			d.t.Fatal(err)
		}
		if dir != "keep" {
			d.own(dir)
		}
	}
	// What the daemon reads, and the socket that it makes.
	for _, path := range []string{d.dir, d.config} {
		if err := os.Chmod(path, 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.file("helper"), Net: "unix"})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.Chmod(d.file("helper"), 0o666); err != nil {
		d.t.Fatal(err)
	}
	var running sync.WaitGroup
	d.t.Cleanup(func() { l.Close(); running.Wait() })
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			running.Go(func() { d.help(conn) })
		}
	}()
	d.socket = "run/dodai.sock"
	d.args = append(d.args, "--run-dir", d.file("run"), "--helper", d.file("helper"))
}

func (d *daemon) own(dir string) {
	d.t.Helper()
	if err := os.Chown(d.file(dir), int(d.uid), -1); err != nil {
		d.t.Fatal(err)
	}
}

// help is one helper.
func (d *daemon) help(conn *net.UnixConn) {
	f, err := conn.File()
	conn.Close()
	if err != nil {
		return
	}
	defer f.Close()
	cmd := exec.Command(binary, "helper", "--config", d.config, "--keep-dir", d.file("keep"), "--run-dir", d.file("run"), "--user", "nobody")
	cmd.Stdin = f
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Logf("helper: %v\n%s", err, out)
	}
}

// A daemon that is not root watches, decides, and has root's work done as the
// configuration of root says, whose steps end with the daemon and are gone on with by the next one.
func TestDaemonWithoutRoot(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	d := newDaemon(t, fmt.Sprintf(`
mode: armed
ups:
  - {name: u1, driver: nut, address: "%s", options: {ups: u1}, poll: 500ms, killpower: true}
policy: {poll_batt_s: 0.5}
shutdown:
  need: 20s
  reserve: 10s
  steps:
    - {name: root, command: ["/bin/sh", "-c", "echo root $(id -u) $DODAI_REASON >>%%DIR%%/order"]}
    - {name: user, user: daemon, command: ["/bin/sh", "-c", "echo user $(id -un) >>%%DIR%%/user/order"]}
    - {name: middle, timeout: 20s, command: ["/bin/sh", "-c", "echo begin >>%%DIR%%/order; sleep 2; echo end >>%%DIR%%/order"]}
  command: ["/bin/sh", "-c", "echo power-off $(id -u) $DODAI_ACTION >>%%DIR%%/order"]
hooks:
  - {on: [mains_lost], command: ["/bin/sh", "-c", "echo $(id -un) $0 $1 >>%%DIR%%/hooks/log", "{event}", "{device}"]}
`, upsd.Addr()))
	for dir, owner := range map[string]string{"user": "daemon", "hooks": "nobody"} {
		if err := os.Mkdir(d.file(dir), 0o777); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("chown", owner, d.file(dir)).CombinedOutput(); err != nil {
			t.Skipf("chown %s: %v: %s", owner, err, out)
		}
	}
	d.withoutRoot()
	d.start()
	if s := d.status(); s.Preflight != nil && !s.Preflight.OK {
		for _, f := range s.Preflight.Findings {
			if f.Step != "killpower" { // nobody has told upsd of a user that may
				t.Errorf("preflight: %+v", f)
			}
		}
	}
	upsd.Set("u1", "ups.status", "OB DISCHRG LB")
	begun := func() bool { return slices.Contains(d.lines("order"), "begin") }
	eventually(t, 20*time.Second, "the middle step", begun)
	d.kill()
	d.start()
	eventually(t, 30*time.Second, "the power-off command", func() bool { return slices.Contains(d.lines("order"), "power-off 0 poweroff") })
	order := d.lines("order")
	want := []string{"root 0 lb", "begin", "begin", "end", "power-off 0 poweroff"}
	if !slices.Equal(order, want) {
		t.Errorf("what ran, and who ran it: %q, want %q", order, want)
	}
	if got := d.lines("user/order"); !slices.Equal(got, []string{"user daemon"}) {
		t.Errorf("the step of another user: %q", got)
	}
	if got := d.lines("hooks/log"); len(got) == 0 || got[0] != "nobody mains_lost u1" {
		t.Errorf("the hook: %q, want it run by the daemon's user", got)
	}
	if info, err := os.Stat(d.file("run/killpower.json")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("what is left for the late command: %v, %v; want a file of root's for the group", info, err)
	}
}

// Nothing of a configuration that others can write is run, and everybody is told why.
func TestConfigurationOfOthers(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	d := newDaemon(t, killPlan(upsd, `command: ["/bin/sh", "-c", "echo middle >>%DIR%/order"]`))
	d.withoutRoot()
	if err := os.Chmod(d.config, 0o666); err != nil {
		t.Fatal(err)
	}
	d.awaitReady = func(text string) bool { return strings.Contains(text, "can be written by others") }
	d.start()
	eventually(t, 20*time.Second, "the preflight", func() bool { return d.status().Preflight != nil })
	if s := d.status(); s.Preflight.OK || !strings.Contains(s.Preflight.Findings[0].Text, "can be written by others than root") {
		t.Errorf("preflight: %+v", s.Preflight)
	}
	upsd.Set("u1", "ups.status", "OB DISCHRG LB")
	eventually(t, 20*time.Second, "the failure", func() bool { return len(d.events(dodai.EventShutdownFailed)) > 0 })
	if got := d.lines("order"); len(got) > 0 {
		t.Errorf("run was %q", got)
	}
}
