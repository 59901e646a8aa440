package vm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// newGuarded boots a machine that the agent guards, with a BMC.
func newGuarded(t *testing.T, opt Options) (*Machine, *SerialUPS, *peer.IPMISim) {
	t.Helper()
	Need(t, true)
	u, bmc := newStoryUPS(t), peer.StartIPMISim(t)
	opt.Devices = append(opt.Devices, u)
	m := New(t, opt)
	m.Boot()
	m.Settle()
	guard(m, bmc)
	return m, u, bmc
}

// TestFaultsAround breaks what is around the agent, one after the other: the wall clock, the
// BMC, the serial line. None of it may end the watch over the rest, and in the end, with the
// clock a year ahead, another time zone and a dead BMC, the machine still goes down in order.
func TestFaultsAround(t *testing.T) {
	m, u, bmc := newGuarded(t, Options{})
	faultTimeZone(t, m)
	faultClock(t, m)
	faultSerialLine(t, m, u)
	faultBMC(t, m, bmc)
	f := goesDown(m, u)
	t.Log(f)
	f.check(t)
}

func faultTimeZone(t *testing.T, m *Machine) {
	before := status(m)
	m.Shell("ln -sf /usr/share/zoneinfo/Pacific/Kiritimati /etc/localtime")
	time.Sleep(3 * time.Second)
	s := status(m)
	if s.State != before.State || len(s.Alerts) != len(before.Alerts) {
		t.Errorf("state %s, alerts %+v after the time zone changed, before %s, %+v", s.State, s.Alerts, before.State, before.Alerts)
	}
	out := m.Shell("journalctl -u dodai -n 1 -o short-iso | tail -n 1")
	t.Logf("time zone: state %s; %s", s.State, out)
}

// faultClock: neither way may raise or clear anything, or lose what was written.
func faultClock(t *testing.T, m *Machine) {
	began := len(events(m))
	for _, way := range []string{"+1 year", "-2 years", "+2 years"} {
		before := status(m)
		steps := countEvents(m, dodai.EventClockStepped)
		m.Shell(`date -s "` + way + `"`)
		m.Eventually("the step is told", fmt.Sprintf("test $(dodai events --json --limit 1000 | grep -c '\"clock_stepped\"') -gt %d", steps), m.Limit(40*time.Second))
		s := status(m)
		if s.State != before.State || quality(s, "rack") != "fresh" {
			t.Errorf("%s: state %s, rack %s, want %s and fresh", way, s.State, quality(s, "rack"), before.State)
		}
	}
	if n := len(events(m)); n < began+3 {
		t.Errorf("%d events after the steps, %d before: want 3 more at least, and none lost", n, began)
	}
	all := events(m)
	i := slices.IndexFunc(all, func(e dodai.Event) bool { return e.Name == dodai.EventClockStepped })
	t.Logf("clock: %q", all[i].Text)
}

func countEvents(m *Machine, name dodai.EventName) (n int) {
	for _, e := range events(m) {
		if e.Name == name {
			n++
		}
	}
	return n
}

// faultSerialLine takes the driver off the serial port, as a pulled adapter does, and the
// node alone.
func faultSerialLine(t *testing.T, m *Machine, u *SerialUPS) {
	port := strings.TrimSpace(m.Shell("basename $(readlink -f /sys/class/tty/ttyS1/device | sed 's,/[^/]*:[0-9.]*/[^/]*:[0-9.]*$,,')"))
	driver := strings.TrimSpace(m.Shell("ls -d /sys/bus/*/drivers/serial/" + port))
	t.Logf("ttyS1 is %s of %s", port, driver)
	began := time.Now()
	m.Shell("echo " + port + " >" + driver[:strings.LastIndex(driver, "/")] + "/unbind")
	s := statusUntil(m, "the loss is told", m.Limit(60*time.Second), func(s agent.Status) bool {
		_, ok := alertOf(s, "comms_lost", "rack")
		return ok
	})
	text, _ := alertOf(s, "comms_lost", "rack")
	t.Logf("serial line: told after %.1f s: %s", time.Since(began).Seconds(), text)
	if up := grep(metrics(m), `dodai_device_up{device="rack"`); !strings.HasSuffix(up, " 0\n") {
		t.Errorf("no metric says that rack is silent: %s", up)
	}
	m.Shell("echo " + port + " >" + driver[:strings.LastIndex(driver, "/")] + "/bind")
	began = time.Now()
	statusUntil(m, "rack answers again", m.Limit(60*time.Second), func(s agent.Status) bool {
		_, lost := alertOf(s, "comms_lost", "rack")
		return !lost && quality(s, "rack") == "fresh"
	})
	t.Logf("serial line: back %.1f s after the port", time.Since(began).Seconds())

	m.Shell("rm /dev/ttyS1")
	time.Sleep(5 * time.Second)
	if s := status(m); quality(s, "rack") != "fresh" {
		t.Errorf("without its node an open line is %s, want it to go on", quality(s, "rack"))
	}
	m.Shell("udevadm trigger --action=add /sys/class/tty/ttyS1; test -e /dev/ttyS1 || mknod -m 660 /dev/ttyS1 c 4 65; chgrp dialout /dev/ttyS1")
	guarded(m)
}

func grep(text, part string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func faultBMC(t *testing.T, m *Machine, bmc *peer.IPMISim) {
	statusUntil(m, "the BMC is read", m.Limit(60*time.Second), func(s agent.Status) bool { return quality(s, "bmc") == "fresh" })
	bmc.Stop()
	began := time.Now()
	s := statusUntil(m, "its silence is told", m.Limit(2*time.Minute), func(s agent.Status) bool {
		_, ok := alertOf(s, "device_lost", "bmc")
		return ok
	})
	text, _ := alertOf(s, "device_lost", "bmc")
	t.Logf("BMC: told after %.1f s: %s", time.Since(began).Seconds(), text)
	bmc.Restart()
	began = time.Now()
	statusUntil(m, "it is read again", m.Limit(3*time.Minute), func(s agent.Status) bool {
		_, lost := alertOf(s, "device_lost", "bmc")
		return !lost && quality(s, "bmc") == "fresh"
	})
	t.Logf("BMC: read again %.1f s after its start", time.Since(began).Seconds())
	bmc.Stop()
}

// TestFaultsDisk: the agent's folder full, then all of the disk full and read-only. The
// journal cannot be written, which is told; the machine still goes down.
func TestFaultsDisk(t *testing.T) {
	m, u, _ := newGuarded(t, Options{})
	faultStateFull(t, m)

	m.Shell("dd if=/dev/zero of=/var/tmp/fill bs=1M 2>/dev/null || true; dd if=/dev/zero of=/var/tmp/fill2 bs=1k 2>/dev/null || true; df /")
	s := statusUntil(m, "the full disk is told", m.Limit(60*time.Second), func(s agent.Status) bool {
		_, ok := alertOf(s, "folder", "/var/lib/dodai")
		return ok
	})
	text, _ := alertOf(s, "folder", "/var/lib/dodai")
	t.Logf("/ full: %s", text)
	f := goesDown(m, u)
	t.Logf("/ full: %v", f)
	f.check(t)

	backUp(m, u)
	m.Shell("rm -f /var/tmp/fill*; echo u >/proc/sysrq-trigger; sleep 2; ! touch /var/tmp/x")
	s = statusUntil(m, "the read-only disk is told", m.Limit(60*time.Second), func(s agent.Status) bool {
		text, _ := alertOf(s, "folder", "/var/lib/dodai")
		return strings.Contains(text, "is read-only")
	})
	text, _ = alertOf(s, "folder", "/var/lib/dodai")
	t.Logf("/ read-only: %s", text)
	f = goesDown(m, u)
	t.Logf("/ read-only: %v", f)
	f.check(t)

	backUp(m, u)
	m.Shell("! test -e /var/tmp/x")
	if s := status(m); s.Journal != "ok" {
		t.Errorf("after all of it the journal is %q, want ok", s.Journal)
	}
	m.Shell("dd if=/dev/zero of=/run/fill bs=1k 2>/dev/null || true; df /run")
	s = statusUntil(m, "a full /run is told", m.Limit(60*time.Second), func(s agent.Status) bool {
		_, ok := alertOf(s, "folder", "/run/dodai")
		return ok
	})
	text, _ = alertOf(s, "folder", "/run/dodai")
	f = goesDown(m, u)
	t.Logf("/run full: %s; %v", text, f)
}

// faultStateFull gives the agent a small state folder of its own and fills it.
func faultStateFull(t *testing.T, m *Machine) {
	m.Shell(`systemctl stop dodai.service
mount -t tmpfs -o size=24m,mode=0750,uid=dodai,gid=dodai none /var/lib/dodai
systemctl start dodai.service`)
	guarded(m)
	m.Shell("dd if=/dev/zero of=/var/lib/dodai/fill bs=64k 2>/dev/null || true; df /var/lib/dodai")
	began := time.Now()
	s := statusUntil(m, "the full folder is told", m.Limit(60*time.Second), func(s agent.Status) bool {
		_, folder := alertOf(s, "folder", "/var/lib/dodai")
		_, journal := alertOf(s, "journal", "")
		return folder && journal
	})
	folder, _ := alertOf(s, "folder", "/var/lib/dodai")
	journal, _ := alertOf(s, "journal", "")
	t.Logf("state folder full: told after %.1f s: %s | %s", time.Since(began).Seconds(), folder, journal)
	if page := metrics(m); !strings.Contains(page, "\ndodai_journal_up 0\n") {
		t.Errorf("the metrics do not say that the journal is down: %s", grep(page, "journal"))
	}
	if quality(s, "rack") != "fresh" {
		t.Errorf("rack is %s, want it watched as before", quality(s, "rack"))
	}
	m.Shell("rm /var/lib/dodai/fill")
	began = time.Now()
	statusUntil(m, "there is room again", m.Limit(2*time.Minute), func(s agent.Status) bool {
		_, folder := alertOf(s, "folder", "/var/lib/dodai")
		_, journal := alertOf(s, "journal", "")
		return !folder && !journal && s.Journal == "ok"
	})
	t.Logf("state folder full: over %.1f s after there was room", time.Since(began).Seconds())
	m.Shell("systemctl stop dodai.service; umount /var/lib/dodai; systemctl start dodai.service")
	guarded(m)
}

// TestFaultProcessor: one processor that other programs take. Against those at the highest
// priority the agent loses, and says so; those that merely run wild must not be in its way.
func TestFaultProcessor(t *testing.T) {
	m, u, _ := newGuarded(t, Options{CPUs: 1})
	const busy = 45 * time.Second
	began := time.Now()
	burn(m, 4, "-20", busy)
	time.Sleep(busy + 20*time.Second) // nobody could be asked meanwhile
	m.Eventually("they have ended", "! systemctl is-active --quiet 'burn*'", m.Limit(2*time.Minute))
	guarded(m)
	told := m.Shell("journalctl -u dodai -o cat | grep -E 'late|starved' || true")
	gap := longestGap(u.Queries(began))
	t.Logf("beside four busy loops at nice -20 the UPS was not asked for %.1f s at most; lag:\n%stold: %q", gap.Seconds(), grep(metrics(m), "_lag_seconds "), told)
	if gap > 15*time.Second && told == "" {
		t.Errorf("the UPS was not asked for %v, and nothing says so", gap)
	}

	burn(m, 8, "0", time.Hour)
	time.Sleep(m.Limit(10 * time.Second))
	f := goesDown(m, u)
	t.Logf("beside eight busy loops: %v", f)
	f.check(t)
	if limit := m.Limit(10 * time.Second); f.decided.Sub(f.low) > limit {
		t.Errorf("%v: want it decided within %v", f, limit)
	}
}

func longestGap(queries []Query) (longest time.Duration) {
	for i := 1; i < len(queries); i++ {
		longest = max(longest, queries[i].At.Sub(queries[i-1].At))
	}
	return longest
}

// burn starts programs that do nothing but that, each a service of its own. They begin
// when the guest agent has had time to answer.
func burn(m *Machine, n int, nice string, d time.Duration) {
	m.t.Helper()
	m.Shell(fmt.Sprintf("for i in $(seq %d); do systemd-run -q --collect --unit=burn%s-$i -p Nice=%s sh -c 'sleep 8; exec timeout %.0f sh -c \"while :; do :; done\"'; done",
		n, strings.TrimPrefix(nice, "-"), nice, d.Seconds()))
}

// TestFaultMemory: in an outage the agent is killed for its memory. The next one goes on
// where it was.
func TestFaultMemory(t *testing.T) {
	m, u, _ := newGuarded(t, Options{})
	t.Logf("memory of the service: %s", strings.ReplaceAll(m.Shell("systemctl show -p MemoryCurrent -p MemoryMax dodai.service; grep -E 'VmHWM|VmRSS' /proc/$(systemctl show -p MainPID --value dodai.service)/status"), "\n", " "))
	mark := m.Console.Mark()
	u.SetMains(false)
	m.Console.Wait(t, lineLost, mark, m.Limit(20*time.Second), m.Off())
	lost := time.Now()
	time.Sleep(5 * time.Second) // what it remembers of the outage is on the disk
	pid := strings.TrimSpace(m.Shell("systemctl show -p MainPID --value dodai.service"))
	m.Shell("systemctl set-property --runtime dodai.service MemoryMax=6M")
	m.Eventually("the agent is killed", "test $(systemctl show -p MainPID --value dodai.service) != "+pid, m.Limit(60*time.Second))
	m.Shell("systemctl set-property --runtime dodai.service MemoryMax=256M")
	s := statusUntil(m, "the next one sees the outage", m.Limit(60*time.Second), func(s agent.Status) bool {
		return len(s.UPSes) == 1 && s.UPSes[0].OnBattS != nil
	})
	if got, want := *s.UPSes[0].OnBattS, time.Since(lost).Seconds(); got < want-5 {
		t.Errorf("on battery for %.0f s by the agent that came after, want about %.0f", got, want)
	}
	if n := countEvents(m, dodai.EventMainsLost); n != 1 {
		t.Errorf("mains_lost is told %d times, want once", n)
	}
	all := events(m)
	i := slices.IndexFunc(all, func(e dodai.Event) bool { return e.Name == dodai.EventAgentKilled })
	if i < 0 {
		t.Errorf("nothing tells that the agent was killed: %+v", all)
	} else {
		t.Logf("%q", all[i].Text)
	}
	t.Log(strings.TrimSpace(m.Shell("journalctl -k --no-pager | grep -i 'memory cgroup out of memory' | tail -n 1; systemctl show -p NRestarts dodai.service")))
	f := endsDown(m, u, mark)
	t.Log(f)
	f.check(t)
}
