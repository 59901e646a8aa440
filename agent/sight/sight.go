// Package sight finds what stands in this machine and bears on its power or its storage,
// but is not read: a management controller, a UPS on USB, a serial port, disks, arrays, a
// RAID controller. Of each it says why it is not read and what would help.
//
// It looks at names and attributes that the kernel and udev show, and opens no device: a
// serial line that is opened moves its control lines, and a UPS may hang on them.
package sight

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
)

// Kind is what sort of thing was seen.
type Kind string

// The kinds of things seen.
const (
	BMC        Kind = "bmc"
	UPS        Kind = "ups"
	Serial     Kind = "serial" // ports on which a UPS may hang
	Disk       Kind = "disk"
	Array      Kind = "array"
	Controller Kind = "controller" // of a hardware RAID
	Kernel     Kind = "kernel"     // what the kernel forbids
)

// Kinds lists every kind, for metrics that export one series each.
var Kinds = []Kind{BMC, UPS, Serial, Disk, Array, Controller, Kernel}

// Sighting is one thing that was seen and is not read.
type Sighting struct {
	Kind   Kind   `json:"kind"`
	What   string `json:"what"`   // "UPS American Power Conversion Back-UPS RS 1000G"
	Where  string `json:"where"`  // device nodes, or what stands for them in sysfs
	Why    string `json:"why"`    // it is not read
	Remedy string `json:"remedy"` // what the operator can do
}

// Host is where to look. All fields are required.
type Host struct {
	Sys, Dev, Proc, Run string // mount points
	// MayOpen reports whether the daemon may open the node at path to read and write.
	MayOpen func(path string) bool
	// Installed reports whether there is a program of the name.
	Installed func(name string) bool
}

// ThisHost is the machine this process runs on, with the rights it has.
func ThisHost() Host {
	return Host{
		Sys: "/sys", Dev: "/dev", Proc: "/proc", Run: "/run", Installed: installed,
		MayOpen: func(path string) bool {
			return unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK, unix.AT_EACCESS) == nil
		},
	}
}

// installed looks at the modes of files alone: this process may be in a sandbox where nothing
// can be executed, and the tool be run by a helper outside.
func installed(name string) bool {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// Device is one that is configured.
type Device struct {
	Kind          dodai.Kind
	Driver        string
	Port, Address string             // the driver's options of these names
	State         *dodai.DeviceState // nil: nothing is known of it
}

// failing is why the device does not answer; empty: it does, or has not been asked yet.
func (d *Device) failing() string {
	if d.State == nil {
		return ""
	}
	return d.State.Err
}

// asked reports whether the device has answered or failed once.
func (d *Device) asked() bool { return d.State != nil && d.State.Answered() }

// limits of what is told: a machine with more of it has other troubles.
const (
	maxSightings = 64
	maxText      = 500
	maxEntries   = 4096 // of one directory
)

// Look returns what is seen and not read, in a fixed order. Files may be missing, hold
// anything, or vanish meanwhile; what cannot be looked at is not seen. It may block for as
// long as a file of the kernel does.
func (h Host) Look(devices []Device) []Sighting {
	var all []Sighting
	for _, look := range []func([]Device) []Sighting{h.bmc, h.usb, h.serial, h.disks, h.arrays, h.controllers, h.lockdown} {
		all = append(all, look(devices)...)
	}
	for i := range all {
		s := &all[i]
		for _, text := range []*string{&s.What, &s.Where, &s.Why, &s.Remedy} {
			*text = short(dodai.Printable(*text))
		}
	}
	slices.SortStableFunc(all, func(a, b Sighting) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)), cmp.Compare(a.Where, b.Where))
	})
	return all[:min(len(all), maxSightings)]
}

func short(s string) string {
	if runes := []rune(s); len(runes) > maxText {
		return string(runes[:maxText]) + "…"
	}
	return s
}

// entries are the names in a directory, sorted, or none.
func entries(path ...string) []string {
	dir, err := os.Open(filepath.Join(path...))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(maxEntries) // what could be read counts
	slices.Sort(names)
	return names
}

// matching are the entries that match a pattern of path.Match.
func matching(pattern string, path ...string) []string {
	return slices.DeleteFunc(entries(path...), func(name string) bool {
		ok, _ := filepath.Match(pattern, name)
		return !ok
	})
}

// attribute is the first line of a small file, or empty.
func attribute(path ...string) string {
	line, _, _ := strings.Cut(string(head(filepath.Join(path...))), "\n")
	return strings.TrimSpace(line)
}

// head is the first 4 KiB of a file, or nothing.
func head(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data := make([]byte, 4096)
	n, _ := f.Read(data) // one read is one attribute
	return data[:max(0, n)]
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

// resolved is the path without symbolic links, or as it is where it leads nowhere.
func resolved(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	return filepath.Clean(path)
}

// node is where a path below /dev lies on this Host.
func (h Host) node(path string) string {
	if rel, err := filepath.Rel("/dev", path); err == nil && filepath.IsLocal(rel) {
		return resolved(filepath.Join(h.Dev, rel))
	}
	return resolved(path)
}

// ports are the nodes that configured devices use.
func (h Host) ports(devices []Device) map[string]bool {
	used := map[string]bool{}
	for _, d := range devices {
		if d.Port != "" {
			used[h.node(d.Port)] = true
		}
	}
	return used
}

// of returns the devices of a kind.
func of(kind dodai.Kind, devices []Device) []Device {
	return slices.DeleteFunc(slices.Clone(devices), func(d Device) bool { return d.Kind != kind })
}

// takeOver is how a change of the configuration comes into force.
const takeOver = "in /etc/dodai/dodai.yaml, then `systemctl reload dodai`"

// lockdown says what a kernel that protects itself from root forbids. Reading a disk's
// health, a serial line or a hidraw node is not among it.
// Source: kernel_lockdown(7).
func (h Host) lockdown([]Device) []Sighting {
	_, mode, _ := strings.Cut(attribute(h.Sys, "kernel/security/lockdown"), "[")
	mode, _, ok := strings.Cut(mode, "]")
	if !ok || mode != "integrity" && mode != "confidentiality" {
		return nil
	}
	return []Sighting{{
		Kind: Kernel, What: "kernel lockdown (" + mode + ")", Where: filepath.Join(h.Sys, "kernel/security/lockdown"),
		Why:    "this kernel forbids even root /dev/mem, I/O ports, direct PCI access, unsigned modules and module parameters that name hardware: tools of RAID and board makers that need them may fail",
		Remedy: "nothing that dodai itself reads needs them; where a maker's tool fails, use one that goes through the kernel's driver",
	}}
}
