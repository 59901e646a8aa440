package md

import (
	"slices"

	"github.com/dodai-agent/dodai"
)

// noSlot is the slot of a member that fills none: a hot spare, a failed drive, a
// journal, or one whose slot the source does not tell.
const noSlot = -1

// maxDisks bounds a number of slots read from a file; md allows 1920 and fewer.
const maxDisks = 4096

// facts is what a source says of one array, before anything is concluded.
type facts struct {
	id    string
	level string // empty where the source has none
	err   error  // why nothing else here is to be believed

	layout    layout // raid10 only
	disks     int    // slots
	degraded  int    // md's own count of missing members, 0 where it keeps none
	container bool   // a container of external metadata: holds drives, no data
	parent    string // the container this array's drives come from

	inactive bool // assembled, not running
	broken   bool // md itself has given up on it
	readonly bool // not counting the automatic one that ends with the first write

	action  dodai.Activity // what kind of sync runs, waits or stands still
	waiting dodai.Activity // delayed or pending instead of running; else empty
	percent *float64       // of the running action

	journaled bool // writes go through a journal device
	mismatch  *int64
	members   []member
	slotUp    []bool // per slot: a member with all its data
	slotsSeen bool   // which member fills which slot is known
	notes     []string
}

// member is one device of an array.
type member struct {
	name        string
	slot        int
	faulty      bool
	spare       bool // md's word: has no data yet, so also a rebuild target
	journal     bool
	replacement bool
	inSync      bool
	gone        bool   // its block device has left the machine
	suspect     string // why a member that works should be looked at
}

// bad members are failed or gone.
func (m member) bad() bool { return m.faulty || m.gone }

// working members hold the data of their slot.
func (m member) working() bool { return m.inSync && !m.bad() && !m.journal }

// target members are being filled, or wait for it.
func (m member) target() bool {
	return !m.inSync && !m.bad() && !m.journal && !m.replacement && m.slot != noSlot
}

// hotSpare members wait to be used.
func (m member) hotSpare() bool {
	return m.spare && !m.bad() && !m.journal && !m.replacement && m.slot == noSlot
}

// missing counts the slots without a working member; md's own count may be higher.
func (f *facts) missing() int {
	n := 0
	for _, up := range f.slotUp {
		if !up {
			n++
		}
	}
	return max(n, min(f.degraded, f.disks))
}

// journalLost reports that writes go through a journal which is failed or not there.
// md then fails every write, while it still calls the array clean with 0 missing.
func (f *facts) journalLost() bool {
	if slices.ContainsFunc(f.members, func(m member) bool { return m.journal && !m.bad() }) {
		return false
	}
	return f.journaled || slices.ContainsFunc(f.members, func(m member) bool { return m.journal })
}

// fillsEmptySlot reports that a member is being built up for a slot without data, as
// against a replacement, whose slot still has its old member.
func (f *facts) fillsEmptySlot() bool {
	for _, m := range f.members {
		if m.target() && (m.slot >= len(f.slotUp) || !f.slotUp[m.slot]) {
			return true
		}
	}
	return false
}

func (f *facts) replaces() bool {
	return slices.ContainsFunc(f.members, func(m member) bool { return m.replacement && !m.inSync && !m.bad() })
}

// fillSlots derives slotUp from the members' own slots.
func (f *facts) fillSlots() {
	f.slotUp = make([]bool, f.disks)
	f.slotsSeen = true
	for _, m := range f.members {
		if m.working() && m.slot >= 0 && m.slot < f.disks {
			f.slotUp[m.slot] = true
		}
	}
}
