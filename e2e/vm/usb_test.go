package vm

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/sim/hidups"
)

// TestUSBUPS plugs one simulated UPS of each make into a machine. The kernel and NUT's own
// driver, which knows these makes apart, have to find what real ones would tell them.
func TestUSBUPS(t *testing.T) {
	Need(t, true)
	models := hidups.Models()
	models[0].Vendor, models[0].Product = 0x075d, 0x0300 // iDowell's: NUT reads nobody it does not know
	var configs []hidups.Config
	for i, model := range models {
		configs = append(configs, hidups.Config{Model: model, Serial: fmt.Sprintf("SIM%04d", i), Runtime: 20 * time.Minute, Load: 30, Gap: 500 * time.Millisecond})
	}
	bus := NewUSBUPSes(t, configs...)
	bare := Bare(t)
	m := New(t, Options{Image: &bare, Alone: true, Devices: []Device{bus}, Files: map[string]string{"usbtool": USBTool(t)}})
	m.Boot()
	m.Settle()
	m.Eventually("four hidraw nodes", "test $(ls /dev/hidraw* | wc -l) = 4", m.Limit(30*time.Second))
	for i, model := range models {
		t.Logf("%s: the kernel", model.Name)
		checkKernel(t, m, bus.UPSes[i], configs[i])
	}
	checkUnplug(t, m, bus.UPSes[0], "SIM0000")
	var conf strings.Builder
	conf.WriteString("maxretry = 1\n")
	for i, model := range models {
		fmt.Fprintf(&conf, "[%s]\n driver = usbhid-ups\n port = auto\n vendorid = %04x\n productid = %04x\n serial = SIM%04d\n", model.Name, model.Vendor, model.Product, i)
	}
	m.Write("/etc/nut/ups.conf", conf.String())
	for i, model := range models {
		t.Logf("%s: NUT", model.Name)
		checkNUT(t, m, bus.UPSes[i], model)
	}
	m.PowerOff()
}

// hidraw is the node of the UPS with this serial number; none: empty.
func hidraw(m *Machine, serial string) string {
	name := m.Shell("grep -lx HID_UNIQ=" + serial + " /sys/class/hidraw/hidraw*/device/uevent 2>/dev/null | cut -d/ -f5 || true")
	if name = strings.TrimSpace(name); name != "" {
		name = "/dev/" + name
	}
	return name
}

func checkKernel(t *testing.T, m *Machine, u *hidups.UPS, cfg hidups.Config) {
	node := hidraw(m, cfg.Serial)
	if node == "" {
		t.Fatalf("no hidraw node with the serial number %s:\n%s", cfg.Serial, m.Shell("cat /sys/class/hidraw/*/device/uevent; dmesg | grep -i usb | tail -n 40"))
	}
	uevent := m.Shell("cat /sys/class/hidraw/" + strings.TrimPrefix(node, "/dev/") + "/device/uevent")
	for _, want := range []string{
		fmt.Sprintf("HID_ID=0003:%08X:%08X", cfg.Model.Vendor, cfg.Model.Product),
		"HID_NAME=" + cfg.Model.Manufacturer + " " + cfg.Model.Text,
	} {
		if !strings.Contains(uevent, want+"\n") {
			t.Errorf("want %q in\n%s", want, uevent)
		}
	}
	if got := strings.TrimSpace(m.Must("/rig/usbtool", "descriptor", node)); got != hex.EncodeToString(cfg.Model.ReportDescriptor) {
		t.Errorf("report descriptor %s", got)
	}
	status := statusReport[cfg.Model.Name]
	same := func(when string) {
		t.Helper()
		want := hex.EncodeToString(u.Report(hidups.Feature, status))
		if got := strings.TrimSpace(m.Must("/rig/usbtool", "feature", node, fmt.Sprint(status))); got != want {
			t.Errorf("%s: feature report %d is %s, want %s", when, status, got, want)
		}
	}
	same("on mains")
	if r, err := m.Run(m.Limit(time.Minute), "/rig/usbtool", "feature", node, "200"); err != nil || r.Exit != 1 || !strings.Contains(r.Stderr, "broken pipe") {
		t.Errorf("a report it does not have: %+v, %v, want a broken pipe", r, err)
	}
	if cfg.Model.LeavesBusAtTransfer {
		return // checked with the others' plugs
	}
	reader := make(chan string, 1)
	go func() {
		r, err := m.Run(m.Limit(time.Minute), "sh", "-c", "/rig/usbtool input "+node+" 20 20; true")
		reader <- fmt.Sprint(r.Stdout, err)
	}()
	time.Sleep(m.Limit(2 * time.Second))
	u.SetMains(false)
	same("on battery")
	want := hex.EncodeToString(u.Report(hidups.Input, status))
	if got := <-reader; !slices.Contains(strings.Fields(got), want) {
		t.Errorf("input reports %q: want %s among them", got, want)
	}
	u.SetMains(true)
}

// statusReport is the report with PresentStatus.
var statusReport = map[string]byte{"standard": 5, "backups": 0x16, "cyberpower": 0x0b, "santak": 0x01}

func checkUnplug(t *testing.T, m *Machine, u *hidups.UPS, serial string) {
	u.SetPlugged(false)
	m.Eventually("the node is gone", "! grep -qx HID_UNIQ="+serial+" /sys/class/hidraw/hidraw*/device/uevent", m.Limit(20*time.Second))
	u.SetPlugged(true)
	m.Eventually("the node is back", "grep -qx HID_UNIQ="+serial+" /sys/class/hidraw/hidraw*/device/uevent", m.Limit(20*time.Second))
}

// checkNUT reads the UPS with NUT's driver on mains, on battery, and with a low one.
func checkNUT(t *testing.T, m *Machine, u *hidups.UPS, model hidups.Model) {
	for _, step := range []struct {
		status string
		set    func()
	}{
		{"OL", func() {}},
		{"OB", func() { u.SetMains(false) }},
		{"LB", func() { u.SetBatteryLow(new(true)) }},
	} {
		step.set()
		var vars map[string]string
		var r Result
		for deadline := time.Now().Add(m.Limit(time.Minute)); time.Now().Before(deadline); time.Sleep(time.Second) {
			r, _ = m.Run(m.Limit(time.Minute), "timeout", "50", "/lib/nut/usbhid-ups", "-u", "root", "-a", model.Name, "-d", "1")
			if vars = dumped(r.Stdout); slices.Contains(strings.Fields(vars["ups.status"]), step.status) {
				break
			}
		}
		t.Logf("%s: %v", step.status, vars)
		if !slices.Contains(strings.Fields(vars["ups.status"]), step.status) || vars["ups.serial"] == "" || vars["battery.charge"] == "" || vars["battery.runtime"] == "" {
			t.Errorf("want %s, serial number, charge and runtime: %v\n%s", step.status, vars, r.Stderr)
		}
	}
	u.SetBatteryLow(nil)
	u.SetMains(true)
}

// dumped are the variables of a driver's dump, "name: value" a line.
func dumped(text string) map[string]string {
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ": "); ok {
			vars[name] = strings.TrimSpace(value)
		}
	}
	return vars
}

// TestUHIDUPS: the same simulated UPS as a hidraw node without USB, made inside the machine.
func TestUHIDUPS(t *testing.T) {
	Need(t, true)
	bare := Bare(t)
	m := New(t, Options{Image: &bare, Alone: true, Files: map[string]string{"usbtool": USBTool(t)}})
	m.Boot()
	m.Shell("modprobe uhid; systemd-run --unit=uhidups /rig/usbtool serve backups /run/uhidups")
	m.Eventually("the node is there", "test -c /dev/hidraw0 -a -p /run/uhidups", m.Limit(30*time.Second))
	model := hidups.BackUPS()
	if got := strings.TrimSpace(m.Must("/rig/usbtool", "descriptor", "/dev/hidraw0")); got != hex.EncodeToString(model.ReportDescriptor) {
		t.Errorf("report descriptor %s", got)
	}
	feature := func(id, want string) {
		t.Helper()
		if got := strings.TrimSpace(m.Must("/rig/usbtool", "feature", "/dev/hidraw0", id)); got != want {
			t.Errorf("feature report %s is %s, want %s", id, got, want)
		}
	}
	feature("0x16", "160c000000")
	feature("0x31", "317800")
	got := m.Shell("/rig/usbtool input /dev/hidraw0 100 10 & sleep 3; echo mains off >/run/uhidups; wait; true")
	if !slices.Contains(strings.Fields(got), "160a000000") {
		t.Errorf("input reports %q: want 160a000000 among them", got)
	}
	feature("0x16", "160a000000")
	m.Shell("/rig/usbtool set /dev/hidraw0 153c00") // DelayBeforeShutdown of a minute
	if got := m.Must("/rig/usbtool", "feature", "/dev/hidraw0", "0x15"); !strings.HasPrefix(got, "15") || strings.HasPrefix(got, "15ffff") {
		t.Errorf("a countdown that was begun reads %s", got)
	}
	m.Shell("echo low on >/run/uhidups; sleep 1")
	if got := m.Must("/rig/usbtool", "feature", "/dev/hidraw0", "0x16"); !strings.HasPrefix(got, "163a") {
		t.Errorf("battery low reads %s, want 163a…", got)
	}
	m.Shell("echo behave refuse >/run/uhidups; sleep 1; ! /rig/usbtool feature /dev/hidraw0 0x16")
	m.Shell("echo plug out >/run/uhidups")
	m.Eventually("the node is gone", "! test -e /dev/hidraw0", m.Limit(10*time.Second))
	m.Shell("systemctl stop uhidups")
	m.PowerOff()
}
