package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
)

// arrays looks at every RAID set of every source.
func (a *auditor) arrays() {
	for _, d := range a.s.OfKind(dodai.KindArrays) {
		if d.Reading == nil {
			continue
		}
		for _, arr := range d.Reading.Arrays {
			if arr.Level != "container" { // holds arrays, and no data of its own
				a.array(d, arr)
			}
		}
	}
}

func (a *auditor) array(d *dodai.DeviceState, arr dodai.Array) {
	evidence := []Evidence{a.fact(d, arrayText(arr))}
	add := func(id string, severity Severity, consequence, remedy string) {
		a.add(Finding{ID: id, Component: "array " + arr.ID, Severity: severity, Consequence: consequence, Evidence: evidence, Remedy: remedy})
	}
	switch {
	case arr.State == dodai.ArrayFailed:
		add(IDArrayDown, SeverityOpen, "the array has failed: its data is gone unless a member comes back or a backup exists",
			"bring the missing members back, or restore from the backup")
	case arr.State == dodai.ArrayInactive, arr.State == dodai.ArrayUnknown, arr.State == "":
		add(IDArrayUnknown, SeverityUnknown, "unknown: not proven. Whether the array would survive the loss of a disk cannot be told",
			"find out why the array is not running")
	case !arr.Redundant():
		add(IDNoRedundancy, SeverityOpen, "its data is lost when any one of its members fails: "+levelName(arr)+" keeps no second copy",
			"move the data to a level with redundancy (raid1, raid5, raid6, raid10, a mirror), or accept it and keep a proven backup")
	default:
		a.redundantArray(d, arr, add)
	}
}

func (a *auditor) redundantArray(d *dodai.DeviceState, arr dodai.Array, add func(string, Severity, string, string)) {
	hurt := arr.State == dodai.ArrayDegraded || arr.State == dodai.ArrayRebuilding
	remedy := "replace what failed" + failingText(arr) + " and let the array rebuild"
	if arr.State == dodai.ArrayRebuilding {
		remedy = "let the rebuild finish" + percentText(arr)
	}
	switch {
	case arr.ToleranceLeft != nil && *arr.ToleranceLeft <= 0:
		add(IDNoTolerance, SeverityOpen, "its data is lost when the wrong one of its remaining members fails: no failure is survived for certain", remedy)
	case arr.ToleranceLeft == nil && hurt:
		add(IDArrayUnknown, SeverityUnknown, "unknown: not proven. The array is degraded, and its source does not say how many failures it still survives", remedy)
	case hurt:
		add(IDArrayDegraded, SeverityAdvice, "the array survives fewer failures than it was built for", remedy)
	case arr.Spares != nil && *arr.Spares == 0:
		add(IDNoSpare, SeverityAdvice, "after a disk fails the array stays degraded until someone replaces it", "add a hot spare, or keep a disk on the shelf and be sure of being alarmed")
	}
	for _, id := range arr.SPOFs {
		a.add(Finding{
			ID: IDLastCopy, Component: "disk " + id, Severity: SeverityOpen,
			Consequence: "this disk holds the last copy of data of array " + arr.ID + ", which is lost with it",
			Evidence:    []Evidence{a.fact(d, arrayText(arr))}, Remedy: remedy,
		})
	}
}

func levelName(arr dodai.Array) string {
	if arr.Level == "" {
		return "its level"
	}
	return arr.Level
}

func arrayText(arr dodai.Array) string {
	text := "array " + arr.ID + ": " + strings.TrimSpace(arr.Level+" "+string(arr.State))
	if arr.ToleranceLeft != nil {
		text += fmt.Sprintf(", %d more failures survived", *arr.ToleranceLeft)
	}
	return text + failingText(arr)
}

func failingText(arr dodai.Array) string {
	if len(arr.Failing) == 0 {
		return ""
	}
	failing := slices.Clone(arr.Failing)
	slices.Sort(failing)
	return " (" + strings.Join(failing, ", ") + ")"
}

func percentText(arr dodai.Array) string {
	if arr.Percent == nil {
		return ""
	}
	return fmt.Sprintf(" (%.1f %% done)", *arr.Percent)
}
