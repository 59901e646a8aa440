package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/dodai-agent/dodai"
)

// printReading prints what a reading says beside variables: arrays, disks, supplies.
func printReading(w io.Writer, r dodai.Reading) error {
	for _, rows := range [][][]string{arrayRows(r.Arrays), driveRows(r.Drives), diskRows(r.Disks), psuRows(r.PSUs), redundancyRows(r)} {
		if len(rows) < 2 { // the head alone
			continue
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return nil
}

func arrayRows(arrays []dodai.Array) [][]string {
	rows := [][]string{{"ARRAY", "LEVEL", "STATE", "ACTIVITY", "FAILING", "SPARES", "MAY LOSE"}}
	for _, a := range arrays {
		activity := string(a.Activity)
		if a.Percent != nil {
			activity += fmt.Sprintf(" %.1f %%", *a.Percent)
		}
		rows = append(rows, []string{a.ID, a.Level, string(a.State), dash(activity), dash(strings.Join(a.Failing, " ")), whole(a.Spares), whole(a.ToleranceLeft)})
	}
	return rows
}

func driveRows(drives []dodai.Drive) [][]string {
	rows := [][]string{{"DRIVE", "STATE", "SLOT", "SERIAL"}}
	for _, d := range drives {
		rows = append(rows, []string{d.ID, string(d.State), whole(d.Slot), dash(d.Serial)})
	}
	return rows
}

func diskRows(disks []dodai.Disk) [][]string {
	rows := [][]string{{"DISK", "VERDICT", "MODEL", "SERIAL", "°C", "HOURS", "WHY"}}
	for _, d := range disks {
		temp, hours := "-", "-"
		if d.TempC != nil {
			temp = fmt.Sprintf("%.0f", *d.TempC)
		}
		if d.PowerOnHours != nil {
			hours = fmt.Sprint(*d.PowerOnHours)
		}
		device := strings.TrimSpace(d.Device + " " + d.Type)
		rows = append(rows, []string{device, string(d.Verdict), dash(d.Model), dash(d.Serial), temp, hours, dash(strings.Join(d.Reasons, "; "))})
	}
	return rows
}

func psuRows(psus []dodai.PSU) [][]string {
	rows := [][]string{{"SUPPLY", "NAME", "STATE", "INPUT", "WATTS", "RATED WATTS"}}
	for _, p := range psus {
		rows = append(rows, []string{p.ID, dash(p.Name), string(p.State), dash(string(p.Input)), number(p.Watts), number(p.CapacityWatts)})
	}
	return rows
}

func redundancyRows(r dodai.Reading) [][]string {
	rows := [][]string{{"REDUNDANCY OF", "STATE", "REPORTED AS"}}
	for _, d := range r.Redundancy {
		rows = append(rows, []string{d.Domain, string(d.State), dash(d.Reported)})
	}
	return rows
}

func dash(s string) string {
	if s == "" || s == string(dodai.ActivityNone) {
		return "-"
	}
	return s
}

func whole(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func number(f *float64) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", *f)
}
