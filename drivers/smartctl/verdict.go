package smartctl

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// The bits of smartctl's exit status (smartctl(8), "EXIT STATUS"). Bit 2, some command
// failed, says nothing of the disk: logs it does not have, a controller in between.
const (
	exitUsage     = 1 << 0 // command line not understood, or the device type not found
	exitOpen      = 1 << 1 // device not opened, or asleep with -n
	exitFailing   = 1 << 3 // the drive says that it is failing
	exitPrefail   = 1 << 4 // a pre-fail attribute is at its threshold
	exitPast      = 1 << 5 // an attribute was at its threshold in the past
	exitErrorLog  = 1 << 6 // the error log has entries
	exitSelfTests = 1 << 7 // the self-test log has failures
)

// finding is one reason why a disk is not ok.
type finding struct {
	verdict dodai.Verdict
	text    string
}

// findings collects what is wrong with one disk.
type findings struct{ list []finding }

func (f *findings) add(v dodai.Verdict, format string, args ...any) {
	f.list = append(f.list, finding{v, fmt.Sprintf(format, args...)})
}

// urgency orders the verdicts.
func urgency(v dodai.Verdict) int { return slices.Index(dodai.Verdicts, v) }

// verdict is the worst finding, with all of them as reasons, worst first.
func (f *findings) verdict() (dodai.Verdict, []string) {
	slices.SortStableFunc(f.list, func(a, b finding) int { return cmp.Compare(urgency(b.verdict), urgency(a.verdict)) })
	worst, reasons := dodai.VerdictOK, []string(nil)
	for i, one := range f.list {
		if i == 0 {
			worst = one.verdict
		}
		reasons = append(reasons, one.text)
	}
	return worst, reasons
}

// judge makes a disk of what one run of smartctl left. Device and Type are the
// caller's to fill in.
func judge(out drivers.Output) dodai.Disk {
	doc, err := parseDocument(out.Stdout)
	if err != nil {
		return unreadable(dodai.Disk{}, fmt.Sprintf("exit status %d: %v", out.Exit, err))
	}
	disk := doc.identity()
	exit := out.Exit
	if own, ok := doc.Smartctl.ExitStatus.in(0, 255); ok {
		exit |= int(own)
	}
	switch {
	case doc.asleep() || exit == standbyStatus && !doc.hasHealth() && doc.complaints() == "":
		disk.Standby = true
		return unreadable(disk, "asleep, and left asleep")
	case exit&(exitUsage|exitOpen) != 0:
		return unreadable(disk, fmt.Sprintf("smartctl could not read it (exit status %d): %s", exit, cmp.Or(doc.complaints(), "no message")))
	case !doc.hasHealth():
		return unreadable(disk, cmp.Or(doc.complaints(), "neither health flag nor counters: a logical volume of a RAID controller, or no SMART"))
	}
	disk.TempC, disk.PowerOnHours, disk.WearRatio = doc.tempC(), doc.powerOnHours(), doc.wear()
	f := &findings{}
	f.flags(doc, exit)
	f.attributes(doc.ATA.Table, disk.PowerOnHours)
	f.nvme(doc.NVMe)
	f.scsi(doc)
	f.wear(disk.WearRatio)
	f.spare(doc)
	f.temperature(doc, disk.TempC)
	f.selfTests(doc)
	disk.Verdict, disk.Reasons = f.verdict()
	return disk
}

func unreadable(disk dodai.Disk, why string) dodai.Disk {
	disk.Verdict, disk.Reasons = dodai.VerdictUnreadable, []string{why}
	return disk
}

// hasHealth reports that the document says anything a verdict could rest on. Without a
// health flag, what it rests on are counters.
func (doc *document) hasHealth() bool {
	return doc.Status.Passed.ok || len(doc.ATA.Table) > 0 || doc.NVMe != nil || doc.SCSIDefects.ok || doc.SCSIErrors != nil
}

// flags are the drive's own verdict and smartctl's.
func (f *findings) flags(doc *document, exit int) {
	if doc.Status.Passed.ok && !doc.Status.Passed.set || exit&exitFailing != 0 {
		f.add(dodai.VerdictCritical, "the drive reports that it is failing")
	}
	if exit&exitPrefail != 0 {
		f.add(dodai.VerdictCritical, "a pre-fail attribute is at its threshold")
	}
	if exit&exitPast != 0 {
		f.add(dodai.VerdictNotice, "an attribute was at its threshold in the past")
	}
	entries := max(doc.ATAErrors.Summary.Count.v, doc.ATAErrors.Extended.Count.v)
	switch {
	case entries >= 1:
		f.add(dodai.VerdictNotice, "%.0f entries in the error log", entries)
	case exit&exitErrorLog != 0:
		f.add(dodai.VerdictNotice, "entries in the error log")
	}
	if exit&exitSelfTests != 0 {
		f.add(dodai.VerdictWarning, "the self-test log has failures")
	}
}

// nvmeWarnings are the bits of critical_warning (NVM Express Base Specification, SMART /
// Health Information log). The temperature bit is a warning: the drive protects itself.
var nvmeWarnings = []finding{
	{dodai.VerdictCritical, "spare space below its threshold"},
	{dodai.VerdictWarning, "temperature outside the drive's own limits"},
	{dodai.VerdictCritical, "reliability degraded by media errors"},
	{dodai.VerdictCritical, "the medium is read-only"},
	{dodai.VerdictCritical, "volatile memory backup failed: a power loss can lose cached writes"},
	{dodai.VerdictCritical, "persistent memory region unreliable"},
}

func (f *findings) nvme(log *nvmeLog) {
	if log == nil {
		return
	}
	if bits, ok := log.Warning.in(1, 255); ok {
		for bit, w := range nvmeWarnings {
			if int(bits)>>bit&1 != 0 {
				f.add(w.verdict, "critical_warning %.0f: %s", bits, w.text)
			}
		}
	}
	if n := log.MediaErrs; n.ok && n.v > 0 {
		f.add(dodai.VerdictWarning, "media_errors %.0f", n.v)
	}
}

// spare compares the spare blocks left with their threshold; a threshold of 0 is none.
func (f *findings) spare(doc *document) {
	left, limit := doc.SpareAvailable.Percent, doc.SpareAvailable.Threshold
	if doc.NVMe != nil {
		left, limit = doc.NVMe.Spare, doc.NVMe.SpareLimit
	}
	if left.ok && limit.ok && limit.v > 0 && left.v < limit.v {
		f.add(dodai.VerdictCritical, "available spare %.0f %% below its threshold of %.0f %%", left.v, limit.v)
	}
}

// scsi judges grown defects and uncorrected errors of SAS and SCSI drives.
func (f *findings) scsi(doc *document) {
	defects, _ := doc.SCSIDefects.positive()
	uncorrected := 0.0
	if e := doc.SCSIErrors; e != nil {
		read, _ := e.Read.Uncorrected.in(1, 1<<53)
		written, _ := e.Write.Uncorrected.in(1, 1<<53)
		if uncorrected = read + written; uncorrected > 0 {
			v := dodai.VerdictWarning
			if defects > 50 {
				v = dodai.VerdictCritical
			}
			f.add(v, "uncorrected errors: %.0f read, %.0f write", read, written)
		}
	}
	switch {
	case defects > 10:
		f.add(dodai.VerdictWarning, "%.0f grown defects", defects)
	case defects > 0:
		f.add(dodai.VerdictNotice, "%.0f grown defects", defects)
	}
}

func (f *findings) wear(ratio *float64) {
	switch {
	case ratio == nil || *ratio < 0.7:
	case *ratio >= 0.9:
		f.add(dodai.VerdictWarning, "%.0f %% of the rated endurance used", 100**ratio)
	default:
		f.add(dodai.VerdictNotice, "%.0f %% of the rated endurance used", 100**ratio)
	}
}

// Limits of temperature where the drive names none: °C for disks that turn, for SSDs.
const (
	maxTempHDD = 60
	maxTempSSD = 70
)

func (f *findings) temperature(doc *document, temp *float64) {
	if temp == nil {
		return
	}
	limit := float64(maxTempSSD)
	if turns, ok := doc.Rotation.in(1, 1e6); ok && turns > 0 {
		limit = maxTempHDD
	}
	if trip, ok := doc.Temperature.DriveTrip.in(40, 110); ok {
		limit = min(limit, trip)
	}
	if *temp > limit {
		f.add(dodai.VerdictWarning, "%.0f °C, above %.0f °C", *temp, limit)
	}
}
