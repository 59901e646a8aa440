package smartctl

import (
	"cmp"
	"math"
	"strings"

	"github.com/dodai-agent/dodai"
)

// identity is who the drive says it is.
func (doc *document) identity() dodai.Disk {
	vendorModel := strings.TrimSpace(string(doc.SCSIVendor + " " + doc.SCSIProduct))
	disk := dodai.Disk{
		Model:    cmp.Or(string(doc.ModelName), string(doc.SCSIModel), vendorModel),
		Serial:   string(doc.Serial),
		Firmware: cmp.Or(string(doc.Firmware), string(doc.SCSIRev)),
		Protocol: string(doc.Device.Protocol),
	}
	for _, n := range []number{doc.Capacity.Bytes, doc.NVMeCapacity} {
		if bytes, ok := n.in(1, 1<<62); ok {
			disk.Capacity = new(int64(bytes))
			break
		}
	}
	return disk
}

// tempC is the drive's temperature. 0 is what a drive without a sensor says, as are
// values no drive survives.
func (doc *document) tempC() *float64 {
	current := doc.Temperature.Current
	switch {
	case current.ok:
	case doc.NVMe != nil:
		current = doc.NVMe.Temp
	default:
		current = doc.attributeTemp()
	}
	if t, ok := current.in(-40, 125); ok && t != 0 {
		return new(t)
	}
	return nil
}

// attributeTemp is the temperature among the ATA attributes: 194, else 190.
func (doc *document) attributeTemp() number {
	for _, id := range []float64{194, 190} {
		for _, a := range doc.ATA.Table {
			if a.ID.v == id && a.named("temperature") {
				n, ok := a.count()
				return number{n, ok}
			}
		}
	}
	return number{}
}

// maxHours bounds power-on hours: a century.
const maxHours = 1 << 20

// powerOnHours prefers smartctl's own figure. The raw value of attribute 9 is often
// packed with minutes, so there it is the rendering that counts.
func (doc *document) powerOnHours() *int64 {
	hours := doc.PowerOn.Hours
	if !hours.ok && doc.NVMe != nil {
		hours = doc.NVMe.Hours
	}
	for _, a := range doc.ATA.Table {
		if id, _ := a.ID.in(9, 9); id == 9 && !hours.ok && a.named("power_on_hours") {
			if n, ok := a.count(); ok {
				hours = number{n, true}
			}
		}
	}
	if h, ok := hours.in(0, maxHours); ok {
		return new(int64(h))
	}
	return nil
}

// wearAttributes are the ATA attributes whose normalised value falls from 100 to 0 or 1
// as an SSD's endurance is used up, by their names in smartctl's drive database and the
// models they are known from: the same number means other things on other drives.
var wearAttributes = []struct{ name, model string }{
	{name: "Media_Wearout_Indicator"},
	{name: "SSD_Life_Left"},
	{name: "Percent_Lifetime_Remain"},
	{name: "Wear_Leveling_Count", model: "samsung"},
}

// wear is the part of an SSD's rated endurance that is used up; nil for disks that
// turn, and where the drive does not say.
func (doc *document) wear() *float64 {
	if doc.NVMe != nil {
		return ratio(doc.NVMe.Used)
	}
	if turns, ok := doc.Rotation.in(1, math.MaxInt32); ok && turns > 1 {
		return nil
	}
	for _, n := range []number{doc.EnduranceUsed.Percent, doc.SCSIEndurance, doc.statistic("Percentage Used Endurance Indicator")} {
		if r := ratio(n); r != nil {
			return r
		}
	}
	return doc.attributeWear()
}

func (doc *document) attributeWear() *float64 {
	model := strings.ToLower(string(doc.ModelName))
	for _, w := range wearAttributes {
		for _, a := range doc.ATA.Table {
			if left, ok := a.Value.in(0, 100); ok && string(a.Name) == w.name && strings.Contains(model, w.model) {
				return ratio(number{100 - left, true})
			}
		}
	}
	return nil
}

// ratio turns percent into a ratio; one byte of percent reads at most 255.
func ratio(percent number) *float64 {
	if p, ok := percent.in(0, 255); ok {
		return new(p / 100)
	}
	return nil
}

// statistic finds a value of the ATA device statistics log.
func (doc *document) statistic(name string) number {
	for _, page := range doc.ATAStatistics.Pages {
		for _, row := range page.Table {
			if string(row.Name) == name {
				return row.Value
			}
		}
	}
	return number{}
}
