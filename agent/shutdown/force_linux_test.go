package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a kernel that only writes down what it is asked.
type machine struct {
	start time.Time
	list  []mount // nil: cannot be read
	hangs []string
	fails map[string]error

	mu   sync.Mutex
	log  []string
	free map[string]bool // unmounted or read-only
}

func (m *machine) do(what, path string) error {
	line := strings.TrimSpace(what + " " + path)
	m.mu.Lock()
	m.log = append(m.log, fmt.Sprintf("%gs %s", time.Since(m.start).Seconds(), line))
	m.mu.Unlock()
	if slices.Contains(m.hangs, line) || slices.Contains(m.hangs, what) {
		time.Sleep(time.Hour)
	}
	if err := m.fails[line]; err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if what == "unmount" || what == "readonly" {
		m.free[path] = true
	}
	if line == "sysrq u" {
		for _, mnt := range m.list {
			m.free[mnt.path] = m.free[mnt.path] || m.fails["sysrq u "+mnt.path] == nil
		}
	}
	return nil
}

func (m *machine) kernel() kernel {
	return kernel{
		mounts: func() ([]mount, error) {
			if slices.Contains(m.hangs, "mounts") {
				time.Sleep(time.Hour)
			}
			if m.list == nil {
				return nil, errBroken
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			return slices.DeleteFunc(slices.Clone(m.list), func(mnt mount) bool { return m.free[mnt.path] }), nil
		},
		sync:     func() error { return m.do("sync", "") },
		syncfs:   func(path string) error { return m.do("syncfs", path) },
		unmount:  func(path string) error { return m.do("unmount", path) },
		readonly: func(mnt mount) error { return m.do("readonly", mnt.path) },
		key:      func(k byte) error { return m.do("sysrq", string(k)) },
		reboot: func(cmd int) error {
			return m.do("reboot", map[int]string{unix.LINUX_REBOOT_CMD_POWER_OFF: "off", unix.LINUX_REBOOT_CMD_RESTART: "again"}[cmd])
		},
	}
}

func TestForced(t *testing.T) {
	mounts, err := parseMounts(someMounts)
	if err != nil {
		t.Fatal(err)
	}
	busy := map[string]error{"unmount /tank": unix.EBUSY}
	tests := map[string]struct {
		goal   Goal
		list   []mount
		hangs  []string
		fails  map[string]error
		want   []string // lines in this order, others may come between
		never  []string // in no line
		end    float64  // seconds at which the kernel is told
		err    string   // is in the error
		errNot string   // is not
	}{
		"a healthy machine": {list: mounts, want: []string{
			"0s syncfs /tank", "0s sysrq s", "0s unmount /var/lib/docker/overlay2/x/merged", "0s unmount /tank/my guests", "0s unmount /tank",
			"0s readonly /", "0s sysrq u", "0s reboot off", "0s sysrq o",
		}, never: []string{"unmount /\n", "/proc", "/boot", "/run", "sync\n"}, err: "returned, and the machine is still up"},
		"again":                                {goal: GoalReboot, list: mounts, want: []string{"0s reboot again", "0s sysrq b"}, never: []string{"off", "sysrq o"}},
		"each file system is written out once": {list: mounts, want: []string{"0s syncfs /srv/bound"}, never: []string{"syncfs /\n"}},
		"in use":                               {list: mounts, fails: busy, want: []string{"0s unmount /tank", "0s readonly /tank", "0s readonly /", "0s sysrq u", "0s reboot off"}},
		"in use by writers": {list: mounts, fails: map[string]error{"unmount /tank": unix.EBUSY, "readonly /tank": unix.EBUSY},
			want: []string{"0s readonly /tank", "0s sysrq u", "0s reboot off"}},
		"a dead pool": {list: mounts, hangs: []string{"syncfs /tank", "unmount /tank", "syncfs /tank/my guests", "unmount /tank/my guests"}, end: 14, want: []string{
			"10s sysrq s", "10s unmount /srv/bound", "12s unmount /tank", "14s readonly /", "14s sysrq u", "14s reboot off",
		}},
		"everything hangs": {list: mounts, hangs: []string{"syncfs", "unmount", "readonly", "sysrq", "reboot"}, end: 16,
			want: []string{"0s syncfs /tank", "10s sysrq s", "10.5s unmount /var/lib/docker/overlay2/x/merged", "12.5s unmount /tank/my guests", "15.5s sysrq u", "16s reboot off", "26s sysrq o"}, err: "timed out"},
		"the kernel cannot make it read-only": {list: mounts, fails: map[string]error{"readonly /": unix.EBUSY, "sysrq u /": errBroken}, end: 2.1,
			want: []string{"0s sysrq u", "2.1s reboot off"}},
		"no list of mounts":            {want: []string{"0s sync", "0s sysrq s", "0s sysrq u", "0s reboot off"}, never: []string{"unmount", "syncfs"}},
		"the list hangs, and the sync": {hangs: []string{"mounts", "sync"}, end: 11.5, want: []string{"0.5s sync", "10.5s sysrq s", "11s sysrq u", "11.5s reboot off"}},
		"not permitted": {list: mounts, fails: map[string]error{"reboot off": unix.EPERM, "sysrq o": unix.EACCES}, want: []string{"0s reboot off", "0s sysrq o"},
			err: "CAP_SYS_BOOT is missing"},
		"a driver hangs": {list: mounts, hangs: []string{"reboot off"}, want: []string{"0s reboot off", "10s sysrq o"}, err: "timed out after 10s", errNot: "CAP_SYS_BOOT"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer time.Sleep(5 * time.Hour) // let the hung calls end
				m := &machine{start: time.Now(), list: tt.list, hangs: tt.hangs, fails: tt.fails, free: map[string]bool{}}
				if tt.goal == "" {
					tt.goal = GoalPowerOff
				}
				var notes []string
				err := m.kernel().force(t.Context(), tt.goal, func(s string) { notes = append(notes, s) })
				if err == nil || !strings.Contains(err.Error(), tt.err) || tt.errNot != "" && strings.Contains(err.Error(), tt.errNot) {
					t.Errorf("force = %v, want an error with %q", err, tt.err)
				}
				m.mu.Lock()
				log := slices.Clone(m.log)
				m.mu.Unlock()
				all := strings.Join(log, "\n") + "\n"
				rest := log
				for _, line := range tt.want {
					i := slices.Index(rest, line)
					if i < 0 {
						t.Fatalf("%q is missing, or comes too early, in\n%s", line, all)
					}
					rest = rest[i+1:]
				}
				for _, text := range tt.never {
					if strings.Contains(all, text) {
						t.Errorf("%q is in\n%s", text, all)
					}
				}
				if told := slices.IndexFunc(log, func(l string) bool { return strings.Contains(l, " reboot ") }); !strings.HasPrefix(log[told], fmt.Sprintf("%gs ", tt.end)) || tt.end > 20 {
					t.Errorf("the kernel is told at %q, want %g s, in any case within 20 s\n%s", log[told], tt.end, strings.Join(notes, "\n"))
				}
			})
		})
	}
}

// The real calls, on file systems in a mount namespace of the test's own.
func TestForcedUnmountsForReal(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHUTDOWN_FORCE="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		t.Skip("no mount namespace for ordinary users here")
	}
	got := strings.ReplaceAll(strings.TrimSpace(string(out)), dir, "")
	want := `left: /held ro, /written rw
sysrq s, sysrq u, reboot, sysrq o
unmount: /written: device or resource busy; read-only: device or resource busy; still writable: /written
the kernel is told: poweroff
reboot(2): returned, and the machine is still up`
	if err != nil || got != want {
		t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, want)
	}
}

// forceChild mounts file systems below dir, two of them in use, forces the machine down
// as far as these go, and says what is left.
func forceChild(dir string) {
	must := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for _, d := range []string{"a", "a/deep er", "a/deep er/deepest", "held", "written"} {
		path := filepath.Join(dir, d)
		must(os.MkdirAll(path, 0o755))
		must(unix.Mount("none", path, "tmpfs", 0, "size=1m"))
		must(os.WriteFile(filepath.Join(path, "file"), []byte("x"), 0o644))
	}
	held, err := os.Open(filepath.Join(dir, "held", "file"))
	must(err)
	defer held.Close()
	written, err := os.OpenFile(filepath.Join(dir, "written", "file"), os.O_WRONLY, 0)
	must(err)
	defer written.Close()
	k := theKernel()
	k.mounts = func() ([]mount, error) {
		all, err := readMounts()
		all = slices.DeleteFunc(all, func(m mount) bool { return !strings.HasPrefix(m.path, dir+"/") })
		for i := range all {
			all[i].fstype = "test" // a tmpfs has nothing to lose
		}
		return all, err
	}
	var told []string
	k.key = func(key byte) error { told = append(told, "sysrq "+string(key)); return nil }
	k.reboot = func(int) error { told = append(told, "reboot"); return nil }
	var notes []string
	_ = k.force(context.Background(), GoalPowerOff, func(s string) { notes = append(notes, s) })
	list, err := k.mounts()
	must(err)
	var left []string
	for _, m := range list {
		left = append(left, m.path+map[bool]string{true: " rw", false: " ro"}[m.writable])
	}
	slices.Sort(left)
	fmt.Println("left: " + strings.Join(left, ", "))
	fmt.Println(strings.Join(told, ", "))
	fmt.Println(strings.Join(notes, "\n"))
}
