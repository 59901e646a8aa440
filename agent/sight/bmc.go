package sight

import (
	"path/filepath"
	"strings"

	"github.com/dodai-agent/dodai"
)

const bmcRemedy = "read it over the network: psus: [{name: bmc, driver: ipmi, address: ADDRESS, options: {user: USER, password_file: FILE}}] " +
	takeOver + "; `ipmitool lan print 1` shows the address"

// bmc sees a management controller that no configured device reads. The kernel knows of one
// from its local node, from SMBIOS (type 38) and from ACPI (IPI0001), and shows the latter
// two without any module of IPMI.
// Source: Linux, drivers/char/ipmi/ipmi_dmi.c, ipmi_si_platform.c.
func (h Host) bmc(devices []Device) []Sighting {
	if len(of(dodai.KindPSUs, devices)) > 0 {
		return nil
	}
	for _, dir := range []struct{ dir, pattern string }{{"", "ipmi[0-9]*"}, {"ipmi", "[0-9]*"}, {"ipmidev", "[0-9]*"}} {
		if nodes := matching(dir.pattern, h.Dev, dir.dir); len(nodes) > 0 {
			return []Sighting{{
				Kind: BMC, What: "management controller (BMC)", Where: filepath.Join(h.Dev, dir.dir, nodes[0]),
				Why: "there is no driver for its local interface: BMCs are read over the network, and none is configured", Remedy: bmcRemedy,
			}}
		}
	}
	where, ssif := h.firmwareBMC()
	if where == "" {
		return nil
	}
	module := "ipmi_si"
	if ssif {
		module = "ipmi_ssif"
	}
	var missing []string
	for _, m := range []string{module, "ipmi_devintf"} {
		if !exists(h.Sys, "module", m) {
			missing = append(missing, m)
		}
	}
	why, first := "the firmware names one, but there is no /dev/ipmi0", ""
	if len(missing) > 0 {
		why += ": not loaded: " + strings.Join(missing, ", ")
		first = "`modprobe -a " + strings.Join(missing, " ") + "` makes /dev/ipmi0 for ipmitool; then "
	}
	return []Sighting{{Kind: BMC, What: "management controller (BMC)", Where: where, Why: why, Remedy: first + bmcRemedy}}
}

// firmwareBMC is where the firmware's word of a BMC stands, and whether it is one on SMBus.
func (h Host) firmwareBMC() (where string, ssif bool) {
	for _, p := range []struct{ dir, pattern string }{
		{"firmware/dmi/entries", "38-*"}, {"class/dmi/entries", "38-*"},
		{"bus/platform/devices", "dmi-ipmi-*"}, {"bus/acpi/devices", "IPI0001:*"},
	} {
		names := matching(p.pattern, h.Sys, p.dir)
		if len(names) > 0 && where == "" {
			where = filepath.Join(h.Sys, p.dir, names[0])
		}
		ssif = ssif || len(names) > 0 && strings.HasPrefix(names[0], "dmi-ipmi-ssif")
	}
	return where, ssif
}
