package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// bootScript is the first process of a machine made of namespaces: it gives systemd nothing
// but the two units as they are installed, a heavy service with the drop-in, and the targets
// they name. DIR is the test's, in which programs and units lie; /tmp is no place for them,
// because the daemon's unit has one of its own.
const bootScript = `set -e
mount --make-rprivate /
mount -t proc proc /proc
for d in /run /srv /var/lib; do mount -t tmpfs none $d; done
cp -r $DIR/machine/. /srv/
cp /etc/passwd /etc/group /srv/
echo dodai:x:999:999::/:/usr/sbin/nologin >>/srv/passwd
echo dodai:x:999: >>/srv/group
for f in passwd group; do mount -o bind /srv/$f /etc/$f; done
while mountpoint -q /sys/fs/cgroup; do umount -l /sys/fs/cgroup; done
mount -t cgroup2 none /sys/fs/cgroup
mount -o bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
export container=lxc SYSTEMD_UNIT_PATH=/srv/units
exec setpriv --bounding-set -sys_module,-sys_time,-sys_boot $SYSTEMD --system --unit=boot.target --log-target=console --show-status=no
`

// machine is a booted systemd in namespaces of its own, whose boot time is its own as well.
type machine struct {
	t   *testing.T
	dir string
	pid string // of its first process
}

// bootMachine boots one with a UPS that has little charge.
func bootMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a machine made of namespaces needs root")
	}
	for _, name := range []string{"unshare", "nsenter", "setpriv", "mountpoint"} {
		peer.Need(t, name)
	}
	systemd := "/lib/systemd/systemd"
	if _, err := os.Stat(systemd); err != nil {
		systemd = peer.Need(t, "systemd")
	}
	dir, err := os.MkdirTemp("", "dodai-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir}
	t.Cleanup(m.remove)
	t.Cleanup(func() {
		if t.Failed() && m.pid != "" {
			t.Log(m.run("sh", "-c", "cd /srv; tail -n 20 *.log; systemctl list-units --all --plain --no-legend; systemctl list-jobs"))
		}
	})
	m.install()
	up := collectors.SystemClock()().Truncate(time.Second) - 5*time.Second
	group := filepath.Base(dir)
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", fmt.Sprintf(`mkdir $DIR/cgroup
mount -t cgroup2 none $DIR/cgroup && mkdir $DIR/cgroup/%s && echo $$ >$DIR/cgroup/%[1]s/cgroup.procs
exec unshare --mount --pid --fork --uts --net --ipc --cgroup --time --boottime -%d --kill-child=KILL sh -c "$BOOT"`, group, max(0, int(up.Seconds()))))
	cmd.Env = append(os.Environ(), "DIR="+dir, "SYSTEMD="+systemd, "BOOT="+bootScript)
	p := peer.Start(t, cmd, func() error { return nil })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.PID()))
		m.pid = strings.TrimSpace(string(children))
		name, _ := os.ReadFile("/proc/" + m.pid + "/comm") // before, there are the script's own
		if string(name) == "systemd\n" {
			if is := m.run("systemctl", "is-system-running"); is != "" && is != "offline" {
				return m
			}
		}
		select {
		case <-p.Done():
			t.Skipf("no machine can be made of namespaces here: %s", p.Output())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("systemd does not come up:\n%s", p.Output())
		}
	}
}

// install writes what the machine finds below /srv.
func (m *machine) install() {
	m.t.Helper()
	program, err := os.ReadFile(binary)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("dodai", string(program), 0o755)
	m.write("dodai.yaml", `
mode: observe
ups: [{name: u1, driver: dummy, port: /srv/u1.json, poll: 200ms}]
policy: {hysteresis_s: 1}
shutdown: {need: 20s, reserve: 10s}
boot_hold: {rank: 1, stagger: 2s, limit: 10m}
`, 0o644)
	m.write("u1.json", `{"status":["OL","CHRG"],"readings":{"battery.charge":12,"battery.runtime":3600,"input.voltage":230}}`, 0o644)
	paths := strings.NewReplacer("/usr/bin/dodai", "/srv/dodai", "/etc/dodai/dodai.yaml", "/srv/dodai.yaml", "ConfigurationDirectory=dodai\n", "")
	for _, name := range []string{"dodai", "dodai-boot-hold"} {
		text, err := os.ReadFile("../systemd/" + name + ".service")
		if err != nil {
			m.t.Fatal(err)
		}
		m.write("units/"+name+".service", paths.Replace(string(text)), 0o644)
		m.write("units/"+name+".service.d/log.conf", fmt.Sprintf("[Service]\nStandardOutput=append:/srv/%s.log\nStandardError=append:/srv/%[1]s.log\n", name), 0o644)
	}
	m.write("units/heavy.service", "[Unit]\nWants=dodai-boot-hold.service\nAfter=dodai-boot-hold.service\n[Service]\nExecStart=/bin/sleep 1000\n", 0o644)
	m.write("units/boot.target", "[Unit]\nWants=dodai.service heavy.service\n", 0o644)
	for _, name := range []string{"sysinit", "basic", "shutdown", "umount", "network", "local-fs"} {
		m.write("units/"+name+".target", "[Unit]\nDefaultDependencies=no\n", 0o644)
	}
}

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	path := filepath.Join(m.dir, "machine", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

// run runs a program in the machine and returns what it prints.
func (m *machine) run(args ...string) string {
	cmd := exec.CommandContext(m.t.Context(), "nsenter", append([]string{"-t", m.pid, "-m", "-p", "-u", "-n", "-i", "-C", "-T"}, args...)...)
	out, _ := cmd.Output() // the status of a unit is in the exit status as well
	return strings.TrimSpace(string(out))
}

// active is what systemd says of a unit: active, inactive, activating, failed.
func (m *machine) active(unit string) string { return m.run("systemctl", "is-active", unit) }

// remove takes the machine's folder and control group away, once its processes have ended.
func (m *machine) remove() {
	group := filepath.Join(m.dir, "cgroup", filepath.Base(m.dir))
	script := `mount -t cgroup2 none $0 2>/dev/null || exit 0
[ ! -d $1 ] || for i in $(seq 50); do find $1 -depth -type d -exec rmdir {} + 2>/dev/null; [ -d $1 ] || break; sleep 0.1; done
[ ! -d $1 ]`
	if out, err := exec.Command("unshare", "--mount", "sh", "-c", script, filepath.Dir(group), group).CombinedOutput(); err != nil {
		m.t.Errorf("its control group is left: %v %s", err, out)
	}
	os.RemoveAll(m.dir)
}

// A real systemd boots with the units as they are installed: what is ordered after the hold
// waits for the battery and its turn, over a restart of the daemon, and runs on when the hold is stopped.
func TestBootHoldUnderSystemd(t *testing.T) {
	t.Parallel()
	m := bootMachine(t)
	log := func() string { return m.run("cat", "/srv/dodai-boot-hold.log") }
	eventually(t, 30*time.Second, "the hold", func() bool { return strings.Contains(log(), "held: 0 of 1 supplies could carry another shutdown") })
	m.run("systemctl", "restart", "dodai.service")
	if got := m.active("heavy.service"); got != "inactive" {
		t.Errorf("the heavy service is %q while it is held", got)
	}
	m.run("sed", "-i", "s/:12,/:40,/", "/srv/u1.json")
	eventually(t, 30*time.Second, "the heavy service", func() bool { return m.active("heavy.service") == "active" })
	if got := log(); !strings.Contains(got, "the turn of this host comes in") || !strings.HasSuffix(got, "not held: the battery could carry another shutdown") {
		t.Errorf("the log of the hold:\n%s", got)
	}
	m.run("systemctl", "stop", "dodai-boot-hold.service")
	if got := m.active("heavy.service"); got != "active" {
		t.Errorf("after a stop of the hold the heavy service is %q", got)
	}
}

// Stopping the unit lets what waits for it start, and is no failure.
func TestBootHoldStoppedUnderSystemd(t *testing.T) {
	t.Parallel()
	m := bootMachine(t)
	eventually(t, 30*time.Second, "the hold", func() bool { return strings.Contains(m.run("cat", "/srv/dodai-boot-hold.log"), "held: ") })
	m.run("systemctl", "stop", "dodai-boot-hold.service")
	eventually(t, 30*time.Second, "the heavy service", func() bool { return m.active("heavy.service") == "active" })
	if got := m.active("dodai-boot-hold.service"); got != "inactive" {
		t.Errorf("the hold is %q: want it to be over, and no failure", got)
	}
	if out := m.run("cat", "/srv/dodai-boot-hold.log"); !strings.Contains(out, "told to end") {
		t.Errorf("the log of the hold:\n%s", out)
	}
}
