package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
)

// edges compares two states of one device and returns what changed for the worse or
// the better. The edges of UPSes are the policy's, because they need its memory; these
// are the others'. A device's first reading raises only what is wrong already, so that
// a restart of the agent on a healthy server is silent.
func edges(before, after *dodai.DeviceState) []dodai.Event {
	if after.Reading == nil || before != nil && before.Reading == after.Reading {
		return nil
	}
	var old dodai.Reading
	if before != nil && before.Reading != nil {
		old = *before.Reading
	}
	var events []dodai.Event
	events = append(events, psuEdges(after.Name, old.PSUs, after.Reading.PSUs)...)
	events = append(events, arrayEdges(old.Arrays, after.Reading.Arrays)...)
	events = append(events, diskEdges(old.Disks, after.Reading.Disks)...)
	return events
}

func psuLost(s dodai.PSUState) bool {
	return s == dodai.PSUFailed || s == dodai.PSUInputLost || s == dodai.PSUAbsent
}

func psuEdges(device string, old, now []dodai.PSU) []dodai.Event {
	was := map[string]dodai.PSUState{}
	for _, p := range old {
		was[p.ID] = p.State
	}
	now = withGone(old, now, func(p dodai.PSU) string { return p.ID }, func(p dodai.PSU) dodai.PSU {
		return dodai.PSU{ID: p.ID, Name: p.Name, State: dodai.PSUAbsent}
	})
	var events []dodai.Event
	for _, p := range now {
		before, known := was[p.ID]
		fields := map[string]any{"psu": p.ID, "state": string(p.State), "input": string(p.Input), "bmc": device}
		switch {
		case psuLost(p.State) && !psuLost(before) && (known || p.State != dodai.PSUAbsent):
			events = append(events, dodai.Event{Name: dodai.EventPSULost, Device: p.ID, Fields: fields,
				Text: psuText(p)})
		case known && psuLost(before) && p.State == dodai.PSUOK:
			events = append(events, dodai.Event{Name: dodai.EventPSURestored, Device: p.ID, Fields: fields,
				Text: fmt.Sprintf("%s again, it was %s", psuText(p), strings.ReplaceAll(string(before), "_", " "))})
		}
	}
	return events
}

// arrayHurt reports whether an array has lost something. One that could not be started
// has; a container, which only holds others, is never active.
func arrayHurt(a dodai.Array) bool {
	switch a.State {
	case dodai.ArrayDegraded, dodai.ArrayRebuilding, dodai.ArrayFailed:
		return true
	case dodai.ArrayInactive:
		return a.Level != "container"
	}
	return false
}

// arrayDown reports whether an array serves no data any more.
func arrayDown(s dodai.ArrayState) bool { return s == dodai.ArrayFailed || s == dodai.ArrayInactive }

func arrayEdges(old, now []dodai.Array) []dodai.Event {
	was := map[string]dodai.Array{}
	for _, a := range old {
		was[a.ID] = a
	}
	now = withGone(old, now, func(a dodai.Array) string { return a.ID }, func(a dodai.Array) dodai.Array {
		return dodai.Array{ID: a.ID, Level: a.Level, State: dodai.ArrayInactive, Failing: []string{}}
	})
	var events []dodai.Event
	for _, a := range now {
		before, known := was[a.ID]
		fields := map[string]any{"array": a.ID, "level": a.Level, "state": string(a.State), "failing": a.Failing}
		worse := arrayHurt(a) && (!arrayHurt(before) || len(a.Failing) > len(before.Failing) || arrayDown(a.State) && !arrayDown(before.State))
		switch {
		case worse:
			events = append(events, dodai.Event{Name: dodai.EventArrayDegraded, Device: a.ID, Fields: fields,
				Text: arrayText(a)})
		case known && arrayHurt(before) && a.State == dodai.ArrayOptimal:
			events = append(events, dodai.Event{Name: dodai.EventArrayRestored, Device: a.ID, Fields: fields,
				Text: arrayText(a) + " again"})
		}
	}
	return events
}

func diskEdges(old, now []dodai.Disk) []dodai.Event {
	was := map[string]dodai.Verdict{}
	for _, d := range old {
		if !d.Standby {
			was[d.Device+d.Type] = d.Verdict
		}
	}
	var events []dodai.Event
	now = withGone(old, now, func(d dodai.Disk) string { return d.Device + d.Type }, func(d dodai.Disk) dodai.Disk {
		d.Verdict, d.Reasons, d.Standby = dodai.VerdictUnreadable, []string{"the disk is not there any more"}, false
		return d
	})
	for _, d := range now {
		if d.Standby { // asleep and left asleep: nothing new is known
			continue
		}
		before, known := was[d.Device+d.Type]
		if before == d.Verdict || !known && d.Verdict == dodai.VerdictOK {
			continue
		}
		events = append(events, dodai.Event{Name: dodai.EventDiskVerdictChanged, Device: d.Device,
			Fields: map[string]any{"disk": d.Device, "type": d.Type, "serial": d.Serial, "verdict": string(d.Verdict), "before": string(before), "reasons": d.Reasons},
			Text:   diskText(d) + ", before: " + orNone(string(before))})
	}
	return events
}

// withGone adds to now, as gone makes it, whatever stood in old and does not any more: a
// thing that has vanished from a reading is an event, not silence.
func withGone[T any](old, now []T, id func(T) string, gone func(T) T) []T {
	all := slices.Clone(now)
	for _, o := range old {
		if !slices.ContainsFunc(now, func(n T) bool { return id(n) == id(o) }) {
			all = append(all, gone(o))
		}
	}
	return all
}

func orNone(s string) string {
	if s == "" {
		return "not seen before"
	}
	return s
}
