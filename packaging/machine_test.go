package packaging_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// rootScript gives a machine made of namespaces this system's files, over which it writes
// into memory, and nothing of its processes, devices and what is mounted. DIR is the test's,
// which the machine finds as /media.
const rootScript = `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none $DIR/over
mkdir $DIR/over/upper $DIR/over/work
mount -t overlay -o lowerdir=/,upperdir=$DIR/over/upper,workdir=$DIR/over/work none $DIR/root
cd $DIR/root
mount -t proc none proc
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
for d in dev run tmp; do mount -t tmpfs -o mode=755 none $d; done
chmod 1777 tmp
for n in null zero full random urandom tty; do touch dev/$n; mount --bind /dev/$n dev/$n; done
mkdir dev/pts dev/shm run/old
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none dev/pts
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount --bind $DIR/shared media
pivot_root . run/old
exec chroot . sh -ec "$BOOT"
`

// bootScript starts systemd with what is asked for by the bus, by logind and polkit. Services of this
// system stay where they are.
const bootScript = `umount -l /run/old
mount --make-rshared /
rm -rf /etc/systemd/system/*.wants /usr/sbin/policy-rc.d /etc/dodai /var/lib/dodai
mkdir -p /run/systemd/system
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=dbus.socket dbus.service systemd-logind.service\nAllowIsolate=yes\n' >/run/systemd/system/machine.target
export container=lxc
exec setpriv --bounding-set -sys_module,-sys_time /lib/systemd/systemd --system --unit=machine.target --log-target=journal --show-status=no
`

// machine is a Debian of this one's files, booted in namespaces of its own. What is
// installed there is gone with it.
type machine struct {
	t   *testing.T
	dir string
	pid string // of its first process
}

func bootMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a machine made of namespaces needs root")
	}
	for _, name := range []string{"unshare", "nsenter", "setpriv", "pivot_root", "dpkg", "busctl"} {
		peer.Need(t, name)
	}
	dir, err := os.MkdirTemp("", "dodai-packaging-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir}
	t.Cleanup(m.remove)
	for _, d := range []string{"over", "root", "cgroup", "shared"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	group := filepath.Base(dir)
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", fmt.Sprintf(`mount -t cgroup2 none $DIR/cgroup
mkdir $DIR/cgroup/%s && echo $$ >$DIR/cgroup/%[1]s/cgroup.procs
exec unshare --mount --pid --fork --uts --net --ipc --cgroup --kill-child=KILL sh -c "$ROOT"`, group))
	cmd.Env = append(os.Environ(), "DIR="+dir, "ROOT="+rootScript, "BOOT="+bootScript)
	p := peer.Start(t, cmd, func() error { return nil })
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.PID()))
		m.pid = strings.TrimSpace(string(children))
		name, _ := os.ReadFile("/proc/" + m.pid + "/comm") // before, there are the script's own
		if string(name) == "systemd\n" {
			if out, _ := m.try("systemctl", "is-active", "dbus.service"); strings.TrimSpace(out) == "active" {
				return m
			}
		}
		select {
		case <-p.Done():
			t.Skipf("no machine can be made of namespaces here: %s", p.Output())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the machine does not come up:\n%s", p.Output())
		}
	}
}

// try runs a program in the machine and returns what it prints.
func (m *machine) try(args ...string) (string, error) {
	in := []string{"-t", m.pid, "-m", "-p", "-u", "-n", "-i", "-C", "-r", "-w", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	out, err := exec.CommandContext(m.t.Context(), "nsenter", append(in, args...)...).CombinedOutput()
	return string(out), err
}

// run is try for what has to succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		log, _ := m.try("journalctl", "--no-pager", "-n", "30", "-u", "dodai*")
		m.t.Fatalf("%q: %v\n%s\n%s", args, err, out, log)
	}
	return strings.TrimRight(out, "\n")
}

// sh runs a script.
func (m *machine) sh(script string) string {
	m.t.Helper()
	return m.run("sh", "-ec", script)
}

// eventually waits until a script has succeeded.
func (m *machine) eventually(script string) {
	m.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := m.try("sh", "-ec", script)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := m.try("journalctl", "--no-pager", "-n", "30", "-u", "dodai*")
			m.t.Fatalf("not within 30 s: %s: %v\n%s\n%s", script, err, out, log)
		}
	}
}

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
