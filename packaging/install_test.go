package packaging_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// build makes the packages of this machine's kind in dir, as `make packages` does.
func build(t *testing.T, dir, version string) {
	t.Helper()
	cmd := exec.Command(peer.Need(t, "make"), "-C", "..", "packages", "ARCHES="+runtime.GOARCH, "FORMATS=deb", "DIST="+dir, "VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make packages: %v\n%s", err, out)
	}
}

// The states of a UPS that it is told of by a file.
const (
	online    = `{"status":["OL"],"readings":{"battery.charge":100,"battery.runtime":3600,"input.voltage":230}}`
	onBattery = `{"status":["OB","DISCHRG"],"readings":{"battery.charge":80,"battery.runtime":3000,"input.voltage":0}}`
)

const installed = `mode: observe
ups: [{name: u1, driver: dummy, port: /etc/dodai/u1.json, poll: 200ms}]
policy: {hysteresis_s: 1}
shutdown: {need: 20s, reserve: 10s}
`

// installMachine boots a machine that finds the packages of two versions.
func installMachine(t *testing.T) *machine {
	t.Helper()
	peer.Need(t, "dpkg-deb")
	m := bootMachine(t)
	for _, version := range []string{"1.0.0~one", "1.0.0~two"} {
		build(t, filepath.Join(m.dir, "shared", version), version)
	}
	return m
}

func (m *machine) dpkg(version string) string {
	m.t.Helper()
	return m.sh("dpkg -i /media/" + version + "/*.deb 2>&1")
}

// power tells the UPS's state.
func (m *machine) power(state string) {
	m.sh("echo '" + state + "' >/etc/dodai/u1.new; mv /etc/dodai/u1.new /etc/dodai/u1.json")
}

// configure has a UPS and takes it over.
func (m *machine) configure() {
	m.t.Helper()
	m.power(online)
	m.sh("cat >/etc/dodai/dodai.yaml <<'end'\n" + installed + "end\nsystemctl reload dodai")
	m.eventually("dodai status --json | grep -q '\"state\": \"normal\"'")
}

func (m *machine) pid1() string {
	return m.run("systemctl", "show", "--property", "MainPID", "--value", "dodai.service")
}

// dodaiFiles are the files of the machine that have to do with the package, what dpkg and the
// logs remember of it aside.
func (m *machine) dodaiFiles() string {
	return m.sh(`find /etc /usr /run \( -path /usr/local -o -path /run/systemd \) -prune -o -name '*dodai*' -print
find /var \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /var/tmp \) -prune -o -name '*dodai*' -print
grep -l dodai /etc/passwd /etc/group /etc/shadow /etc/gshadow || true`)
}

// TestInstall: a package is installed on a real Debian, upgraded, removed and purged, by its
// own means.
func TestInstall(t *testing.T) {
	t.Parallel()
	m := installMachine(t)
	before := m.dodaiFiles()
	m.dpkg("1.0.0~one")
	m.eventually("dodai status >/dev/null || [ $? = 3 ]")

	m.testRights(t)
	m.testUpgrade(t)

	m.sh("dpkg --remove dodai 2>&1")
	if out := m.sh("pidof dodai || true; systemctl list-units --plain --no-legend 'dodai*'; find /etc/systemd/system -name '*dodai*'"); out != "" {
		t.Errorf("after the removal there is left: %s", out)
	}
	m.sh("test -s /var/lib/dodai/journal.db; grep -q u1 /etc/dodai/dodai.yaml")
	m.dpkg("1.0.0~two")
	if out := m.sh("systemctl is-enabled dodai; systemctl is-active dodai"); out != "enabled\nactive" {
		t.Errorf("installed again it is %q", out)
	}
	m.sh("dpkg --purge dodai 2>&1")
	if after := m.dodaiFiles(); after != before {
		t.Errorf("after the purge there are\n%s\nbefore the installation there were\n%s", after, before)
	}
}

func (m *machine) testRights(t *testing.T) {
	modes := m.sh("cd /; stat -c '%A %U:%G %n' etc/dodai etc/dodai/* var/lib/dodai run/dodai run/dodai-helper/socket")
	if want := `drwxr-x--- root:dodai etc/dodai
drwx------ root:root etc/dodai/credentials
-rw-r----- root:dodai etc/dodai/dodai.yaml
drwxr-x--- dodai:dodai var/lib/dodai
drwxr-xr-x dodai:dodai run/dodai
srw-rw---- root:dodai run/dodai-helper/socket`; modes != want {
		t.Errorf("there is\n%s\nwant\n%s", modes, want)
	}
	process := m.sh("grep -E '^(Uid|Gid|Groups|CapEff|NoNewPrivs):' /proc/" + m.pid1() + "/status; id -u dodai; id -g dodai")
	ids := regexp.MustCompile(`(?s)Uid:\t(\d+)\t.*Gid:\t(\d+)\t.*CapEff:\t0000000000400000\n.*NoNewPrivs:\t1\n(\d+)\n(\d+)`).FindStringSubmatch(process)
	if ids == nil || ids[1] != ids[3] || ids[2] != ids[4] || ids[1] == "0" {
		t.Errorf("the daemon runs with\n%s\nwant the user dodai and reboot(2) alone", process)
	}
	// logind asks polkit; a challenge is what an ordinary user would have to answer.
	for user, want := range map[string]string{"dodai": `s "yes"`, "nobody": `s "challenge"`} {
		for _, can := range []string{"CanPowerOff", "CanReboot"} {
			got := m.run("setpriv", "--reuid", user, "--clear-groups", "busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", can)
			if got != want {
				t.Errorf("%s of %s: %s, want %s", can, user, got, want)
			}
		}
	}
	if got := m.run("setpriv", "--reuid", "dodai", "--clear-groups", "busctl", "call", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager", "CanHalt"); got == `s "yes"` {
		t.Error("dodai may halt the machine, which is not what it is for")
	}
	m.sh("echo secret >/etc/dodai/credentials/bmc; systemctl restart dodai")
	if got := m.sh("cat /proc/" + m.pid1() + "/root/run/credentials/dodai.service/credentials_bmc"); got != "secret" {
		t.Errorf("the daemon's credential is %q", got)
	}
	m.sh("rm -r /etc/dodai/credentials; systemctl restart dodai")
	m.sh("systemd-tmpfiles --create dodai.conf; test -d /etc/dodai/credentials")
	if got := m.sh("udevadm test --action=add /sys/class/mem/null 2>&1 | grep -i 'dodai.*\\(invalid\\|unknown\\|error\\)' || true"); got != "" {
		t.Errorf("udev: %s", got)
	}
}

// testUpgrade: the daemon is replaced when nothing is under way, and only then, whether it
// knows of the wish for a restart or is of the kind that runs as root.
func (m *machine) testUpgrade(t *testing.T) {
	m.configure()
	old := m.pid1()
	m.dpkg("1.0.0~two")
	m.eventually("dodai status --json | grep -q '\"version\": \"1.0.0~two\"'")
	if now := m.pid1(); now == old {
		t.Errorf("the daemon is still the one before, %s", old)
	}
	m.sh("test ! -e /run/dodai/restart-wanted; grep -q u1 /etc/dodai/dodai.yaml; dodai events --json | grep -q agent_stopped")

	m.power(onBattery)
	m.eventually("dodai status --json | grep -q '\"state\": \"would_shut_down\\|\"state\": \"on_battery\"'")
	old = m.pid1()
	m.dpkg("1.0.0~one")
	m.sh("sleep 8; dodai status | grep -q 'restart'")
	if now := m.pid1(); now != old {
		t.Error("the daemon was restarted on battery")
	}
	m.power(online)
	m.eventually("dodai status --json | grep -q '\"version\": \"1.0.0~one\"'")

	m.sh(`mkdir -p /etc/systemd/system/dodai.service.d
printf '[Service]\nUser=root\nGroup=root\nCapabilityBoundingSet=~CAP_SYS_TTY_CONFIG\n' >/etc/systemd/system/dodai.service.d/root.conf
systemctl daemon-reload; systemctl restart dodai; test "$(stat -c %U /proc/$(systemctl show -p MainPID --value dodai))" = root
rm -r /etc/systemd/system/dodai.service.d`)
	m.power(onBattery)
	m.eventually("dodai status --json | grep -q '\"state\": \"would_shut_down\\|\"state\": \"on_battery\"'")
	old = m.pid1()
	if out := m.dpkg("1.0.0~two"); !strings.Contains(out, "runs on, because something is under way") || m.pid1() != old {
		t.Errorf("on battery, from the daemon that is root:\n%s", out)
	}
	m.power(online)
	m.eventually("dodai status --json | grep -q '\"state\": \"normal\"'")
	m.dpkg("1.0.0~one")
	m.eventually("dodai status --json | grep -q '\"version\": \"1.0.0~one\"'")
	if user := m.sh("stat -c %U /proc/$(systemctl show -p MainPID --value dodai) /var/lib/dodai/journal.db | sort -u"); user != "dodai" {
		t.Errorf("after the upgrade from the daemon that was root there is %s", user)
	}
}
