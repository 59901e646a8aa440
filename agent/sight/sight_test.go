package sight

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
)

// tree is a machine made of files: a name that ends in "->" is a link to its text.
type tree map[string]string

// apcUPS is how the descriptor of a UPS begins.
const apcUPS = "\x05\x84\x09\x04\xa1\x01\x09\x24"

func (f tree) host(t *testing.T, denied ...string) Host {
	t.Helper()
	dir := t.TempDir()
	for _, root := range []string{"sys", "dev", "proc", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, root), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range f {
		link, isLink := strings.CutSuffix(name, "->")
		path := filepath.Join(dir, link)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case isLink:
			err = errors.Join(err, os.MkdirAll(filepath.Join(dir, text), 0o755), os.Symlink(filepath.Join(dir, text), path))
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		default:
			err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Host{
		Sys: dir + "/sys", Dev: dir + "/dev", Proc: dir + "/proc", Run: dir + "/run",
		MayOpen:   func(path string) bool { return !slices.Contains(denied, filepath.Base(path)) },
		Installed: func(string) bool { return false },
	}
}

func (f tree) with(more tree) tree {
	all := tree{}
	for _, m := range []tree{f, more} {
		maps.Copy(all, m)
	}
	return all
}

func state(r *dodai.Reading, err string) *dodai.DeviceState {
	s := &dodai.DeviceState{Reading: r, Err: err}
	if r != nil {
		s.Polls = 1
	}
	if err != "" {
		s.Failures = 1
	}
	return s
}

func smart(r *dodai.Reading, err string) Device {
	return Device{Kind: dodai.KindDisks, Driver: "smartctl", State: state(r, err)}
}

func disksRead(disks ...dodai.Disk) *dodai.Reading {
	return &dodai.Reading{Kind: dodai.KindDisks, Disks: disks}
}

var (
	apc = tree{
		"sys/devices/usb1/1-1/idVendor": "051d\n", "sys/devices/usb1/1-1/idProduct": "0002\n",
		"sys/devices/usb1/1-1/manufacturer": "American Power Conversion\n", "sys/devices/usb1/1-1/product": "Back-UPS RS 1000G\n",
		"sys/bus/usb/devices/1-1->":  "sys/devices/usb1/1-1",
		"sys/bus/usb/devices/usb1->": "sys/devices/usb1", "sys/devices/usb1/idVendor": "1d6b\n", "sys/devices/usb1/idProduct": "0002\n",
	}
	apcHID = apc.with(tree{
		"sys/devices/usb1/1-1/1-1:1.0/0003:051D:0002.0001/report_descriptor": apcUPS,
		"sys/class/hidraw/hidraw0/device->":                                  "sys/devices/usb1/1-1/1-1:1.0/0003:051D:0002.0001",
		"dev/hidraw0":                                                        "",
	})
	virtual = tree{
		"sys/devices/virtual/misc/uhid/0003:0764:0501.0001/report_descriptor": apcUPS,
		"sys/devices/virtual/misc/uhid/0003:0764:0501.0001/uevent":            "DRIVER=hid-generic\nHID_ID=0003:00000764:00000501\nHID_NAME=CPS EC850LCD\n",
		"sys/class/hidraw/hidraw3/device->":                                   "sys/devices/virtual/misc/uhid/0003:0764:0501.0001",
	}
	keyboard = tree{
		"sys/devices/usb1/1-2/idVendor": "046d\n", "sys/devices/usb1/1-2/idProduct": "c31c\n", "sys/bus/usb/devices/1-2->": "sys/devices/usb1/1-2",
		"sys/devices/usb1/1-2/1-2:1.0/0003:046D:C31C.0001/report_descriptor": "\x05\x01\x09\x06\xa1\x01",
		"sys/class/hidraw/hidraw1/device->":                                  "sys/devices/usb1/1-2/1-2:1.0/0003:046D:C31C.0001",
	}
	ports = tree{
		"sys/class/tty/ttyS0/type": "4\n", "sys/class/tty/ttyS1/type": "4\n", "sys/class/tty/ttyS2/type": "0\n", "sys/class/tty/ttyUSB0/dev": "188:0\n",
		"sys/class/tty/tty1/dev": "4:1\n", "sys/class/tty/console/active": "tty0 ttyS0\n", "dev/ttyS1": "", "dev/ttyUSB0": "",
	}
	twoDisks = tree{
		"sys/block/sda/size": "1000\n", "sys/block/sda/removable": "0\n", "sys/block/nvme0n1/size": "1000\n", "sys/block/nvme0n2/size": "1000\n",
		"sys/block/loop0/size": "0\n", "sys/block/vda/size": "1000\n", "sys/block/md0/md/level": "raid1\n", "sys/block/sdb/removable": "1\n", "sys/block/sdb/size": "5\n",
	}
	member = tree{
		"run/udev/data/b8:17": "S:disk/by-id/x\nE:ID_FS_TYPE=linux_raid_member\nE:ID_FS_UUID=1\n", "sys/dev/block/8:17->": "sys/devices/ata1/sdb/sdb1",
		"run/udev/data/b8:1": "E:ID_FS_TYPE=ext4\n", "sys/dev/block/8:1->": "sys/devices/ata1/sda/sda1",
	}
)

func raid(vendor, seller string) tree {
	return tree{
		"sys/bus/pci/devices/0000:01:00.0/class": "0x010400\n", "sys/bus/pci/devices/0000:01:00.0/vendor": vendor + "\n",
		"sys/bus/pci/devices/0000:01:00.0/device": "0x0016\n", "sys/bus/pci/devices/0000:01:00.0/subsystem_vendor": seller + "\n",
		"sys/bus/pci/devices/0000:00:1f.2/class": "0x010601\n", "sys/bus/pci/devices/0000:00:1f.2/vendor": vendor + "\n",
	}
}

// want is what has to stand in a sighting; %where% is relative to the tree.
type want struct {
	kind        Kind
	where       string
	why, remedy string
}

func TestLook(t *testing.T) {
	mdReader := Device{Kind: dodai.KindArrays, Driver: "md", State: state(&dodai.Reading{}, "")}
	tests := []struct {
		name    string
		tree    tree
		denied  []string
		devices []Device
		want    []want
	}{
		{"an empty machine", tree{}, nil, nil, nil},

		{"a BMC with its node", tree{"dev/ipmi0": ""}, nil, nil, []want{{BMC, "dev/ipmi0", "over the network", "psus: [{name: bmc, driver: ipmi"}}},
		{"a BMC with an older node", tree{"dev/ipmidev/0": ""}, nil, nil, []want{{BMC, "dev/ipmidev/0", "", ""}}},
		{"a BMC that is read", tree{"dev/ipmi0": ""}, nil, []Device{{Kind: dodai.KindPSUs, Driver: "redfish"}}, nil},
		{"SMBIOS 38, no modules", tree{"sys/firmware/dmi/entries/38-0/raw": ""}, nil, nil, []want{{BMC, "sys/firmware/dmi/entries/38-0", "not loaded: ipmi_si, ipmi_devintf", "modprobe -a ipmi_si ipmi_devintf"}}},
		{"one module missing", tree{"sys/bus/platform/devices/dmi-ipmi-si.0/": "", "sys/module/ipmi_si/": ""}, nil, nil, []want{{BMC, "sys/bus/platform/devices/dmi-ipmi-si.0", "not loaded: ipmi_devintf", "modprobe -a ipmi_devintf"}}},
		{"a BMC on SMBus", tree{"sys/bus/platform/devices/dmi-ipmi-ssif.0/": ""}, nil, nil, []want{{BMC, "sys/bus/platform/devices/dmi-ipmi-ssif.0", "ipmi_ssif", "modprobe -a ipmi_ssif"}}},
		{"ACPI, all modules, no node", tree{"sys/bus/acpi/devices/IPI0001:00/": "", "sys/module/ipmi_si/": "", "sys/module/ipmi_devintf/": ""}, nil, nil, []want{{BMC, "sys/bus/acpi/devices/IPI0001:00", "no /dev/ipmi0", "psus:"}}},

		{"a UPS on USB", apcHID, nil, nil, []want{{UPS, "dev/hidraw0", "no driver for UPSes on USB", "usbhid-ups"}}},
		{"its node denied", apcHID, []string{"hidraw0"}, nil, []want{{UPS, "dev/hidraw0", "may not open", `ATTRS{idVendor}=="051d"`}}},
		{"without a node, by its ids", apc, nil, nil, []want{{UPS, "sys/bus/usb/devices/1-1", "no driver", ""}}},
		{"taken by NUT", apc.with(tree{"sys/bus/usb/devices/1-1:1.0/driver->": "sys/bus/usb/drivers/usbfs"}), nil, nil, []want{{UPS, "sys/bus/usb/devices/1-1", "speaks to it already", "upsc -l"}}},
		{"read through NUT here", apcHID, nil, []Device{{Kind: dodai.KindUPS, Driver: "nut", Address: "127.0.0.1:3493/apc"}}, nil},
		{"NUT elsewhere", apcHID, nil, []Device{{Kind: dodai.KindUPS, Driver: "nut", Address: "192.0.2.1:3493/apc"}}, []want{{UPS, "dev/hidraw0", "", ""}}},
		{"its node is configured", apcHID, nil, []Device{{Kind: dodai.KindUPS, Driver: "hid", Port: "/dev/hidraw0"}}, nil},
		{"a HID UPS that is on no bus", virtual, nil, nil, []want{{UPS, "dev/hidraw3", "", ""}}},
		{"a keyboard", keyboard, nil, nil, nil},
		{"a UPS beside a keyboard", keyboard.with(apcHID), nil, nil, []want{{UPS, "dev/hidraw0", "", ""}}},

		{"serial ports", ports, nil, nil, []want{{Serial, "dev/ttyS1 dev/ttyUSB0", "without talking to it", "probe megatec port="}}},
		{"serial ports, denied", ports, []string{"ttyS1"}, nil, []want{{Serial, "dev/ttyS1 dev/ttyUSB0", "may not open", "dialout"}}},
		{"serial ports, a UPS is known", ports, nil, []Device{{Kind: dodai.KindUPS, Driver: "snmp"}}, nil},
		{"a port that something else uses", ports, nil, []Device{{Kind: dodai.KindPDU, Driver: "x", Port: "/dev/ttyS1"}}, []want{{Serial, "dev/ttyUSB0", "", ""}}},

		{"disks, no smartctl", twoDisks, nil, []Device{mdReader}, []want{{Disk, "dev/nvme0 dev/sda", "not installed", "apt install smartmontools"}}},
		{"disks, not asked yet", twoDisks, nil, []Device{mdReader, smart(nil, "")}, nil},
		{"disks, no smartctl, configured", twoDisks, nil, []Device{mdReader, smart(nil, "program smartctl is not installed")}, []want{{Disk, "dev/nvme0 dev/sda", "not installed", "apt install"}}},
		{"disks, no rights", twoDisks, nil, []Device{mdReader, smart(nil, "access denied: permission denied")}, []want{{Disk, "dev/nvme0 dev/sda", "denied", "dodai-helper.socket"}}},
		{"disks, one read, one not", twoDisks, nil, []Device{mdReader, smart(disksRead(
			dodai.Disk{Device: "/dev/nvme0", Verdict: dodai.VerdictOK}, dodai.Disk{Device: "/dev/sda", Verdict: dodai.VerdictUnreadable, Reasons: []string{"Permission denied"}}), "")},
			[]want{{Disk, "dev/sda", "Permission denied", "helper"}}},
		{"disks, one not listed", twoDisks, nil, []Device{mdReader, smart(disksRead(dodai.Disk{Device: "/dev/sda", Verdict: dodai.VerdictWarning}), "")}, []want{{Disk, "dev/nvme0", "does not list it", "--scan"}}},
		{"disks, asleep", twoDisks, nil, []Device{mdReader, smart(disksRead(
			dodai.Disk{Device: "/dev/nvme0n1", Verdict: dodai.VerdictOK}, dodai.Disk{Device: "/dev/sda", Verdict: dodai.VerdictUnreadable, Standby: true}), "")}, nil},

		{"arrays that nobody reads", tree{"sys/block/md127/md/level": "raid1"}, nil, nil, []want{{Array, "dev/md127", "nothing in the configuration", "driver: md"}}},
		{"arrays that cannot be read", tree{"sys/block/md127/md/level": "raid1"}, nil, []Device{{Kind: dodai.KindArrays, Driver: "md", State: state(nil, "input/output error")}}, []want{{Array, "dev/md127", "input/output error", ""}}},
		{"arrays that are read", tree{"sys/block/md127/md/level": "raid1"}, nil, []Device{mdReader}, nil},
		{"a member, no mdstat", member, nil, nil, []want{{Array, "dev/sdb1", "/proc/mdstat", "modprobe md_mod"}}},
		{"a member, no array", member.with(tree{"proc/mdstat": "Personalities :\n"}), nil, nil, []want{{Array, "dev/sdb1", "no array holds", "mdadm --examine"}}},
		{"a member of a running array", member.with(tree{"sys/devices/ata1/sdb/sdb1/holders/md0": ""}), nil, nil, nil},

		{"a Broadcom controller", raid("0x1000", "0x15d9"), nil, nil, []want{{Controller, "sys/bus/pci/devices/0000:01:00.0", "storcli is not installed", "storcli"}}},
		{"a Dell controller", raid("0x1000", "0x1028"), nil, nil, []want{{Controller, "sys/bus/pci/devices/0000:01:00.0", "", "perccli"}}},
		{"an HPE controller", raid("0x9005", "0x103c"), nil, nil, []want{{Controller, "sys/bus/pci/devices/0000:01:00.0", "", "ssacli"}}},
		{"an Adaptec controller", raid("0x9005", "0x9005"), nil, nil, []want{{Controller, "sys/bus/pci/devices/0000:01:00.0", "", "arcconf"}}},
		{"an unknown controller", raid("0x17d3", "0x17d3"), nil, nil, []want{{Controller, "sys/bus/pci/devices/0000:01:00.0", "no driver", "maker's tool"}}},
		{"Intel's leave it to md", raid("0x8086", "0x8086"), nil, nil, nil},
		{"a controller whose tool is configured", raid("0x1000", "0x15d9"), nil, []Device{{Kind: dodai.KindArrays, Driver: "storcli"}}, nil},

		{"lockdown", tree{"sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}, nil, nil, []want{{Kernel, "sys/kernel/security/lockdown", "may fail", "nothing that dodai itself reads"}}},
		{"no lockdown", tree{"sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, nil, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.tree.host(t, tt.denied...)
			root := filepath.Dir(h.Sys) + "/"
			got := h.Look(tt.devices)
			if len(got) != len(tt.want) {
				t.Fatalf("%+v\nwant %+v", got, tt.want)
			}
			for i, w := range tt.want {
				g := got[i]
				if g.Kind != w.kind || strings.ReplaceAll(g.Where, root, "") != w.where || !strings.Contains(g.Why, w.why) || !strings.Contains(g.Remedy, w.remedy) {
					t.Errorf("%+v\nwant %+v", g, w)
				}
				if g.What == "" || g.Why == "" || g.Remedy == "" {
					t.Errorf("%+v: want every part said", g)
				}
			}
		})
	}
}

// TestNames: what the device says of itself is shown, and cannot be more than text.
func TestNames(t *testing.T) {
	got := apcHID.host(t).Look(nil)
	if len(got) != 1 || got[0].What != "UPS American Power Conversion Back-UPS RS 1000G" {
		t.Errorf("%+v", got)
	}
	if got := virtual.host(t, "hidraw3").Look(nil); len(got) != 1 || got[0].What != "UPS CPS EC850LCD" || !strings.Contains(got[0].Remedy, `"0764"`) {
		t.Errorf("%+v", got)
	}
	loud := apc.with(tree{"sys/devices/usb1/1-1/product": "\x1b[2J" + strings.Repeat("x", 5000)})
	got = loud.host(t).Look(nil)
	if len(got) != 1 || strings.ContainsRune(got[0].What, 0x1b) || len([]rune(got[0].What)) > maxText+1 {
		t.Errorf("%q", got)
	}
}

// TestInstalled: a tool that is there is not to be installed.
func TestInstalled(t *testing.T) {
	h := raid("0x1000", "0x15d9").with(twoDisks).host(t)
	h.Installed = func(string) bool { return true }
	for _, s := range h.Look([]Device{{Kind: dodai.KindArrays, Driver: "md", State: state(&dodai.Reading{}, "")}}) {
		if strings.Contains(s.Why, "not installed") || strings.Contains(s.Remedy, "install ") {
			t.Errorf("%+v", s)
		}
	}
}

// TestThisHost: it can be looked at here, and what is installed is found by its mode.
func TestThisHost(t *testing.T) {
	h := ThisHost()
	h.Look(nil)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for name, mode := range map[string]os.FileMode{"tool": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if !h.Installed("tool") || h.Installed("text") || h.Installed("there-is-no-such-program") {
		t.Error("want the tool alone")
	}
	if !h.MayOpen("/dev/null") || h.MayOpen(filepath.Join(dir, "nothing")) {
		t.Error("want /dev/null alone")
	}
}

// TestBounded: a tree that is larger than any machine's is cut, not walked for ever.
func TestBounded(t *testing.T) {
	f := tree{}
	for i := range 200 {
		dir := "sys/bus/pci/devices/" + strings.Repeat("x", i+1)
		f[dir+"/class"], f[dir+"/vendor"] = "0x010400", "0x1000"
	}
	if got := f.host(t).Look(nil); len(got) != maxSightings {
		t.Errorf("%d sightings, want %d", len(got), maxSightings)
	}
}

func TestLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:3493": true, "127.0.0.1:3493/rack": true, "localhost/rack": true, "[::1]:3493/rack": true, "::1": true,
		"192.0.2.1:3493/rack": false, "upsd.example": false, "": false,
	} {
		if got := local(address); got != want {
			t.Errorf("%q: %v, want %v", address, got, want)
		}
	}
}

// FuzzLook: whatever stands in the files, Look comes back and its texts are printable.
func FuzzLook(f *testing.F) {
	f.Add("051d", "0002", apcUPS, "0x010400", "none [integrity]", "HID_ID=3:4:5\nHID_NAME=x")
	f.Add("", "\x00", "", "0x0104", "]x[", "HID_ID=::")
	f.Fuzz(func(t *testing.T, vendor, product, descriptor, class, lockdown, uevent string) {
		h := tree{
			"sys/bus/usb/devices/1-1/idVendor": vendor, "sys/bus/usb/devices/1-1/product": product, "sys/class/hidraw/hidraw0/device/report_descriptor": descriptor,
			"sys/class/hidraw/hidraw0/device/uevent": uevent, "sys/bus/pci/devices/a/class": class, "sys/bus/pci/devices/a/vendor": vendor,
			"sys/kernel/security/lockdown": lockdown, "run/udev/data/b8:1": uevent, "sys/class/tty/console/active": class,
		}.host(t, "hidraw0")
		for _, s := range h.Look(nil) {
			for _, text := range []string{s.What, s.Where, s.Why, s.Remedy} {
				if text != dodai.Printable(text) || len([]rune(text)) > maxText+1 || text == "" {
					t.Errorf("%q", text)
				}
			}
		}
	})
}
