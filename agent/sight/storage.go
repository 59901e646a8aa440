package sight

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
)

// reason is why something is not read, with what helps.
type reason struct{ why, remedy string }

// disks sees drives whose health nobody reads. Virtual ones have none of their own.
func (h Host) disks(devices []Device) []Sighting {
	readers := of(dodai.KindDisks, devices)
	read, broken := map[string]bool{}, map[string]reason{}
	for _, d := range readers {
		if d.failing() == "" && d.State != nil && d.State.Reading != nil {
			readDisks(d.State.Reading.Disks, read, broken)
		}
	}
	not := map[reason][]string{}
	for _, name := range h.drives() {
		if read[name] {
			continue
		}
		because, ok := broken[name]
		if !ok {
			because, ok = h.whyNoDisk(readers)
		}
		if ok {
			not[because] = append(not[because], filepath.Join(h.Dev, name))
		}
	}
	var seen []Sighting
	for _, r := range slices.SortedFunc(maps.Keys(not), func(a, b reason) int { return strings.Compare(not[a][0], not[b][0]) }) {
		what := "disk"
		if len(not[r]) > 1 {
			what = fmt.Sprintf("%d disks", len(not[r]))
		}
		seen = append(seen, Sighting{Kind: Disk, What: what, Where: strings.Join(not[r], " "), Why: r.why, Remedy: r.remedy})
	}
	return seen
}

// drives are the names of the real disks: of an NVMe drive that of its controller.
func (h Host) drives() []string {
	var names []string
	for _, name := range entries(h.Sys, "block") {
		dir := filepath.Join(h.Sys, "block", name)
		if attribute(dir, "removable") == "1" || attribute(dir, "size") == "0" || attribute(dir, "hidden") == "1" {
			continue
		}
		if name = drive(name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// drive is the name by which a block device's health is read; empty: it has none.
func drive(name string) string {
	switch {
	case strings.HasPrefix(name, "sd"), strings.HasPrefix(name, "hd"):
		return name
	case strings.HasPrefix(name, "nvme"):
		controller, _, _ := strings.Cut(strings.TrimPrefix(name, "nvme"), "n")
		return "nvme" + controller
	}
	return ""
}

// readDisks sorts the disks of a reading into those that were read and those that were not.
func readDisks(disks []dodai.Disk, read map[string]bool, broken map[string]reason) {
	for _, d := range disks {
		name := drive(filepath.Base(resolved(d.Device)))
		if d.Verdict != dodai.VerdictUnreadable || d.Standby {
			read[name] = true
			continue
		}
		broken[name] = withRemedy(strings.Join(d.Reasons, "; "), "`dodai probe smartctl device="+d.Device+"` says more")
	}
}

// whyNoDisk is why none of the readers has a disk; not ok: they have not been asked yet.
func (h Host) whyNoDisk(readers []Device) (r reason, ok bool) {
	if len(readers) == 0 {
		if !h.Installed("smartctl") {
			return reason{"smartctl is not installed", "`apt install smartmontools`, then `systemctl restart dodai`"}, true
		}
		return reason{"nothing in the configuration reads it, or smartctl read no disk when the daemon started",
			"`dodai probe smartctl` says why; disks: [{name: disks, driver: smartctl}] " + takeOver}, true
	}
	for _, d := range readers {
		if why := d.failing(); why != "" {
			return withRemedy(why, "`dodai probe smartctl` says more"), true
		}
	}
	if slices.ContainsFunc(readers, func(d Device) bool { return !d.asked() }) {
		return reason{}, false
	}
	return reason{"smartctl does not list it, or the configuration names other disks only", "`smartctl --scan` shows what it lists; device: and type: in the options of a device under disks: name one"}, true
}

// withRemedy finds what helps against an error of smartctl.
func withRemedy(why, otherwise string) reason {
	switch lower := strings.ToLower(why); {
	case strings.Contains(lower, "not installed"):
		return reason{why, "`apt install smartmontools`"}
	case strings.Contains(lower, "permission") || strings.Contains(lower, "denied") || strings.Contains(lower, "not permitted"):
		return reason{why, "reading a disk needs root: the helper does it for the daemon, `systemctl status dodai-helper.socket` says whether it listens"}
	}
	return reason{why, otherwise}
}

// arrays sees md arrays that nobody reads, and members of arrays that do not run.
func (h Host) arrays(devices []Device) []Sighting {
	var seen []Sighting
	if running := h.mdArrays(); len(running) > 0 {
		if why, ok := whyNoArray(of(dodai.KindArrays, devices)); ok {
			seen = append(seen, Sighting{
				Kind: Array, What: "md arrays", Where: strings.Join(running, " "), Why: why, Remedy: "arrays: [{name: md, driver: md}] " + takeOver,
			})
		}
	}
	members := h.idleMembers()
	if len(members) == 0 {
		return seen
	}
	s := Sighting{
		Kind: Array, What: "members of md arrays that do not run", Where: strings.Join(members, " "),
		Why:    "no array holds them",
		Remedy: "`mdadm --examine " + members[0] + "` says which array it belonged to, `mdadm --assemble --scan` starts it; `mdadm --zero-superblock` where it is a disk that was taken out",
	}
	if !exists(h.Proc, "mdstat") {
		s.Why = "the kernel has no /proc/mdstat: its md module is not loaded"
		s.Remedy = "`modprobe md_mod`, then `mdadm --assemble --scan`"
	}
	return append(seen, s)
}

func (h Host) mdArrays() []string {
	var running []string
	for _, name := range matching("md*", h.Sys, "block") {
		if exists(h.Sys, "block", name, "md") {
			running = append(running, filepath.Join(h.Dev, name))
		}
	}
	return running
}

// whyNoArray is why md's arrays are not read; not ok: they are, or will be in a moment.
func whyNoArray(readers []Device) (why string, ok bool) {
	for _, d := range readers {
		if d.Driver == "md" {
			return d.failing(), d.failing() != ""
		}
	}
	return "nothing in the configuration reads them", true
}

// idleMembers are the block devices with md's superblock that nothing holds, as udev knows
// them.
func (h Host) idleMembers() []string {
	var idle []string
	for _, entry := range matching("b[0-9]*:[0-9]*", h.Run, "udev/data") {
		if !strings.Contains("\n"+string(head(filepath.Join(h.Run, "udev/data", entry))), "\nE:ID_FS_TYPE=linux_raid_member\n") {
			continue
		}
		dir := resolved(filepath.Join(h.Sys, "dev/block", entry[1:]))
		if exists(dir) && len(entries(dir, "holders")) == 0 {
			idle = append(idle, filepath.Join(h.Dev, filepath.Base(dir)))
		}
	}
	return idle
}

// raidClass is the PCI class of RAID controllers, without the programming interface.
const raidClass = "0x0104"

// controllers sees hardware RAID controllers. Intel's of that class (VMD, RST) leave the
// arrays to the kernel's md.
func (h Host) controllers(devices []Device) []Sighting {
	var seen []Sighting
	for _, name := range entries(h.Sys, "bus/pci/devices") {
		dir := filepath.Join(h.Sys, "bus/pci/devices", name)
		vendor := attribute(dir, "vendor")
		if !strings.HasPrefix(attribute(dir, "class"), raidClass) || vendor == "0x8086" {
			continue
		}
		maker, tool := raidMaker(vendor, attribute(dir, "subsystem_vendor"))
		if tool != "" && slices.ContainsFunc(devices, func(d Device) bool { return d.Driver == tool }) {
			continue
		}
		seen = append(seen, h.controller(dir, maker, tool))
	}
	return seen
}

func (h Host) controller(dir, maker, tool string) Sighting {
	s := Sighting{
		Kind: Controller, What: strings.TrimSpace(maker + " RAID controller"), Where: dir,
		Why:    "there is no driver for it: arrays, cache and drives behind it are not watched, unless smartctl lists the drives",
		Remedy: "watch it with its maker's tool",
	}
	if id := attribute(dir, "vendor") + ":" + attribute(dir, "device"); maker == "" {
		s.What += " " + id
	}
	if tool == "" {
		return s
	}
	s.Remedy = "watch it with " + tool
	if !h.Installed(tool) {
		s.Why += "; " + tool + " is not installed, or not in the PATH"
		s.Remedy = "install " + tool + " and watch it with that"
	}
	return s
}

// raidMaker names the maker of a controller and its tool, by PCI vendor and by who sells
// it. Source: the PCI ID repository, pci-ids.ucw.cz.
func raidMaker(vendor, seller string) (maker, tool string) {
	switch {
	case vendor == "0x1000" && seller == "0x1028":
		return "Dell (Broadcom)", "perccli"
	case vendor == "0x1000":
		return "Broadcom (LSI)", "storcli"
	case vendor == "0x103c", vendor == "0x9005" && (seller == "0x103c" || seller == "0x1590"):
		return "HPE Smart Array", "ssacli"
	case vendor == "0x9005":
		return "Adaptec (Microchip)", "arcconf"
	}
	return "", ""
}
