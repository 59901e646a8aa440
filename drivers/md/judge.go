package md

import (
	"fmt"
	"slices"

	"github.com/dodai-agent/dodai"
)

// judge concludes from the facts what state an array is in. spares is how many more hot
// spares its container has. The notes say what the array's fields cannot.
func judge(f *facts, spares int) (dodai.Array, []string) {
	a := dodai.Array{
		ID: f.id, Level: f.level, State: dodai.ArrayUnknown,
		Failing: []string{}, Activity: f.activity(), MismatchCount: f.mismatch,
	}
	if f.err != nil {
		a.Activity = ""
		return a, nil
	}
	for _, m := range f.members {
		if m.bad() {
			a.Failing = append(a.Failing, m.name)
		} else if m.suspect != "" {
			a.Suspect = append(a.Suspect, m.name)
		}
	}
	slices.Sort(a.Failing)
	slices.Sort(a.Suspect)
	switch {
	case f.container:
		a.Level, a.State, a.Missing, a.Spares = "container", dodai.ArrayInactive, new(0), new(0)
	case f.inactive:
		a.State, a.Spares = dodai.ArrayInactive, new(0)
	default:
		f.judgeRunning(&a, spares)
	}
	if a.Activity == f.action && a.Activity != dodai.ActivityNone && a.Activity != dodai.ActivityFrozen || a.Activity == dodai.ActivityReplace {
		a.Percent = f.percent
	}
	return a, f.remarks(&a)
}

// judgeRunning fills in what only a running array has.
func (f *facts) judgeRunning(a *dodai.Array, spares int) {
	missing := f.missing()
	shown := 0
	for _, up := range f.slotUp {
		if !up {
			shown++
		}
	}
	red := redundancyOf(f.level, f.layout, f.slotUp, missing-shown)
	a.Missing = new(missing)
	a.Writable = new(!f.readonly)
	for _, m := range f.members {
		if m.hotSpare() {
			spares++
		}
	}
	a.Spares = new(spares)
	switch {
	case f.broken || red.known && red.left < 0:
		a.State = dodai.ArrayFailed
		a.Writable = new(false)
		if missing == 0 {
			a.Missing = nil // md says that one is gone and not which
		}
		return
	case missing > 0 && f.rebuilding():
		a.State = dodai.ArrayRebuilding
	case missing > 0:
		a.State = dodai.ArrayDegraded
	case f.journalLost():
		a.State = dodai.ArrayDegraded
	case red.known:
		a.State = dodai.ArrayOptimal
	}
	if f.journalLost() {
		a.Writable = new(false)
	}
	if red.known && (red.left == 0 || !f.unsettled()) {
		a.ToleranceLeft = new(red.left)
	}
	a.SPOFs = f.spofs(red)
}

// rebuilding reports that a copy onto an empty slot runs now.
func (f *facts) rebuilding() bool {
	return f.activity() == dodai.ActivityRecover
}

// activity is what the array is busy with, in the vocabulary's words.
func (f *facts) activity() dodai.Activity {
	switch {
	case f.action == dodai.ActivityFrozen:
		return dodai.ActivityFrozen
	case f.waiting != "":
		return f.waiting
	case f.action == dodai.ActivityRecover && f.replaces() && !f.fillsEmptySlot():
		return dodai.ActivityReplace
	case f.action == "":
		return dodai.ActivityNone
	}
	return f.action
}

// unsettled reports that the copies may not agree yet, so that how many members could
// be lost is arguable.
func (f *facts) unsettled() bool {
	if f.waiting != "" {
		return f.action != dodai.ActivityCheck
	}
	return f.action == dodai.ActivityResync
}

// spofs names the members that fill, alone, a slot the array cannot lose.
func (f *facts) spofs(red redundancy) []string {
	if red.spofs == nil {
		return nil
	}
	var names []string
	for slot, is := range red.spofs {
		if !is {
			continue
		}
		owners := f.owners(slot)
		if len(owners) == 1 {
			names = append(names, owners[0])
		}
	}
	if !f.slotsSeen { // every working member is one, or nobody can tell which
		if f.level == "raid10" {
			return nil
		}
		names = f.workingNames()
	}
	slices.Sort(names)
	return names
}

func (f *facts) owners(slot int) []string {
	var names []string
	for _, m := range f.members {
		if m.working() && m.slot == slot {
			names = append(names, m.name)
		}
	}
	return names
}

func (f *facts) workingNames() []string {
	var names []string
	for _, m := range f.members {
		if m.working() {
			names = append(names, m.name)
		}
	}
	return names
}

// remarks are the findings an operator should read in words.
func (f *facts) remarks(a *dodai.Array) []string {
	var notes []string
	for _, m := range f.members {
		switch {
		case m.gone && !m.faulty:
			notes = append(notes, fmt.Sprintf("%s has left the machine, md has not noticed yet", m.name))
		case m.suspect != "" && !m.bad():
			notes = append(notes, m.name+": "+m.suspect)
		}
	}
	if !f.inactive && f.journalLost() {
		notes = append(notes, "the write journal has failed or is missing: every write to the array fails")
	}
	if f.broken && len(a.Failing) == 0 {
		notes = append(notes, "md calls the array broken and names no failed member")
	}
	if f.mismatch != nil && *f.mismatch > 0 {
		notes = append(notes, fmt.Sprintf("%d sectors differed at the last check", *f.mismatch))
	}
	return notes
}
