package vm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/sight"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// maxExposure is what systemd-analyze security may say of the daemon: 0 safe to 10.
const maxExposure = 2.0

// status asks the agent in the machine; its exit status says only whether all is in order.
func status(m *Machine) agent.Status {
	m.t.Helper()
	var s agent.Status
	r, err := m.Run(m.Limit(time.Minute), "dodai", "status", "--json")
	if err == nil && (r.Exit == 0 || r.Exit == 3) {
		err = json.Unmarshal([]byte(r.Stdout), &s)
	}
	if err != nil {
		m.t.Fatalf("dodai status: %v: %+v", err, r)
	}
	return s
}

// events are what the agent in the machine has written down, oldest first.
func events(m *Machine) []dodai.Event {
	m.t.Helper()
	var all []dodai.Event
	if err := json.Unmarshal([]byte(m.Must("dodai", "events", "--json", "--limit", "1000")), &all); err != nil {
		m.t.Fatal(err)
	}
	return all
}

// install installs the package with apt, as an operator does, and waits until the agent answers.
func install(m *Machine) {
	m.t.Helper()
	m.Must("apt-get", "install", "-y", "/rig/dodai.deb")
	m.Eventually("the agent answers", "dodai status >/dev/null; test $? = 0 -o $? = 3", m.Limit(30*time.Second))
}

// checkDaemon holds the running daemon to what it promises of itself.
func checkDaemon(m *Machine) {
	m.t.Helper()
	if state := strings.TrimSpace(m.Must("systemctl", "is-active", "dodai.service")); state != "active" {
		m.t.Errorf("dodai.service is %s, want it active", state)
	}
	if user := strings.TrimSpace(m.Shell("stat -c %U /proc/$(systemctl show --property MainPID --value dodai.service)")); user != "dodai" {
		m.t.Errorf("the daemon runs as %s, want dodai", user)
	}
	report := m.Must("systemd-analyze", "--no-pager", "security", "dodai.service")
	_, score, _ := strings.Cut(report, "Overall exposure level for dodai.service: ")
	score, _, _ = strings.Cut(score, " ")
	if exposure, err := strconv.ParseFloat(score, 64); err != nil || exposure > maxExposure {
		m.t.Errorf("systemd-analyze security says %q, want at most %.1f", score, maxExposure)
	}
	if s := status(m); s.Mode != "observe" || s.Journal != "ok" {
		m.t.Errorf("as installed the mode is %s and the journal %s, want observe and ok", s.Mode, s.Journal)
	}
}

// checkSees: what the packaged configuration reads and names on a machine with an array of
// RAIDA and RAIDB, the NVMe drive NVME1, and a BMC.
func checkSees(m *Machine) {
	m.t.Helper()
	var s agent.Status
	ok := func() bool {
		s = status(m)
		var arrays, disks []string
		for _, d := range s.Devices {
			if d.Reading == nil {
				continue
			}
			for _, a := range d.Reading.Arrays {
				arrays = append(arrays, fmt.Sprint(a.ID, " ", a.Level, " ", a.State))
			}
			for _, k := range d.Reading.Disks {
				disks = append(disks, fmt.Sprint(k.Serial, " ", k.Verdict))
			}
		}
		return slices.Contains(arrays, "md0 raid1 optimal") && slices.Contains(disks, "NVME1 ok")
	}
	for deadline := time.Now().Add(m.Limit(time.Minute)); !ok(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			text, _ := json.MarshalIndent(s.Devices, "", " ")
			m.t.Fatalf("the agent does not read the array md0 and the drive NVME1:\n%s", text)
		}
	}
	for _, kind := range []sight.Kind{sight.BMC} {
		if !slices.ContainsFunc(s.Unread, func(u sight.Sighting) bool { return u.Kind == kind && u.Remedy != "" }) {
			m.t.Errorf("the agent does not name the %s it sees and cannot read: %+v", kind, s.Unread)
		}
	}
}

// makeArray makes the mirror md0.
func makeArray(m *Machine) {
	m.t.Helper()
	m.Must("mdadm", "--create", "/dev/md0", "--run", "--assume-clean", "--level=1", "--raid-devices=2", m.Disk("RAIDA"), m.Disk("RAIDB"))
}

// installDisks are the disks that checkSees wants to find.
var installDisks = []Disk{{ID: "RAIDA"}, {ID: "RAIDB"}, {ID: "NVME1", Kind: NVMe}}

// TestInstall: the package on a bare machine, from the first installation over an upgrade to a
// purge that leaves nothing.
func TestInstall(t *testing.T) {
	Need(t, true)
	bare := Bare(t)
	m := New(t, Options{
		Image: &bare, Alone: true, Disks: installDisks, Devices: []Device{&BMC{Sim: peer.StartIPMISim(t)}},
		Files: map[string]string{"dodai.deb": Deb(t, ""), "newer.deb": Deb(t, "9999.0")},
	})
	m.Boot()
	m.Settle()
	makeArray(m)
	before := inventory(m)
	install(m)
	checkDaemon(m)
	checkSees(m)
	checkUpgrade(m)
	checkDaemon(m)
	checkPurge(m, before)
	m.PowerOff()
}

// checkUpgrade: journal and configuration stay, and the new daemon runs without anybody's doing.
func checkUpgrade(m *Machine) {
	m.t.Helper()
	m.Shell("echo '# ours' >>/etc/dodai/dodai.yaml")
	config, told := m.Read("/etc/dodai/dodai.yaml"), events(m)
	m.Must("apt-get", "install", "-y", "/rig/newer.deb")
	for deadline := time.Now().Add(m.Limit(time.Minute)); ; time.Sleep(time.Second) {
		r, err := m.Run(m.Limit(time.Minute), "sh", "-c", "dodai status --json | grep '\"version\": \"9999.0\"'")
		if err == nil && r.Exit == 0 {
			break
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("after the upgrade the daemon of version 9999.0 does not run:\n%s", m.Shell("dodai status || true; systemctl status dodai.service || true"))
		}
	}
	if m.Read("/etc/dodai/dodai.yaml") != config {
		m.t.Error("the upgrade has changed the configuration")
	}
	after := events(m)
	for i, e := range told {
		if len(after) <= i || after[i].Name != e.Name || !after[i].Wall.Equal(e.Wall) {
			m.t.Fatalf("the upgrade has lost event %d, %s of %v", i, e.Name, e.Wall)
		}
	}
}

// inventory is every path that a package could have left behind, and the users. What changes
// on any machine is left out.
func inventory(m *Machine) []string {
	m.t.Helper()
	list := m.Shell(`find / /run \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /rig \
		-o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/lib/systemd -o -path /run/systemd -o -path /run/udev \
		-o -path /run/user -o -path /run/log -o -path /var/backups \) -prune -o -print
	find / -xdev -path '*dodai*' -not -path '/rig/*' -not -path '/var/log/*' -not -path '/var/backups/*'
	getent passwd; getent group; systemctl list-unit-files --no-legend --plain`)
	lines := strings.Split(strings.TrimSpace(list), "\n")
	slices.Sort(lines)
	return slices.Compact(lines)
}

// purgeLeaves are paths that are there after any installation and removal of any package.
var purgeLeaves = []string{"/etc/.pwd.lock", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/run/reboot-required"}

func checkPurge(m *Machine, before []string) {
	m.t.Helper()
	m.Must("apt-get", "purge", "-y", "dodai")
	for _, line := range inventory(m) {
		if _, found := slices.BinarySearch(before, line); !found && !slices.Contains(purgeLeaves, line) {
			m.t.Errorf("the purge has left %s", line)
		}
	}
	if r, err := m.Run(m.Limit(20*time.Second), "pgrep", "-a", "dodai"); err != nil || r.Exit != 1 {
		m.t.Errorf("the purge has left processes: %s %v", r.Stdout, err)
	}
	if r, err := m.Run(m.Limit(20*time.Second), "systemctl", "list-units", "--all", "--plain", "--no-legend", "dodai*"); err != nil || strings.TrimSpace(r.Stdout) != "" {
		m.t.Errorf("the purge has left units: %s %v", r.Stdout, err)
	}
}
