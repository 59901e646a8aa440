// Package all lists the drivers that are built in. Adding one is a folder below
// drivers and a line here.
package all

import (
	"slices"
	"strings"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/dummy"
	"github.com/dodai-agent/dodai/drivers/ipmi"
	"github.com/dodai-agent/dodai/drivers/md"
	"github.com/dodai-agent/dodai/drivers/megatec"
	"github.com/dodai-agent/dodai/drivers/nut"
	"github.com/dodai-agent/dodai/drivers/smartctl"
	"github.com/dodai-agent/dodai/drivers/snmp"
)

// Drivers returns every driver, sorted by name.
func Drivers() []drivers.Factory {
	list := []drivers.Factory{
		dummy.Factory,
		ipmi.Factory,
		md.Factory,
		megatec.Factory,
		nut.Factory,
		smartctl.Factory,
		snmp.Factory,
	}
	slices.SortFunc(list, func(a, b drivers.Factory) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Find returns the driver called name.
func Find(name string) (drivers.Factory, bool) {
	for _, f := range Drivers() {
		if f.Name == name {
			return f, true
		}
	}
	return drivers.Factory{}, false
}
