package md

import (
	"fmt"
	"slices"
)

// layout says where a RAID 10 keeps its copies. The zero value is not known.
//
// Sources: md(4), "RAID10"; the numbers in the layout file were checked by failing
// every pair of drives of real arrays with 4, 5 and 6 members.
type layout struct {
	near, far int  // copies within a stripe, and stripes a copy is repeated in
	sets      bool // far copies stay within sets of devices ("devices per set")
}

// layoutFrom decodes sysfs' layout file of a RAID 10: near copies in the lowest byte,
// far copies in the next, bit 16 for offset, higher bits for sets of devices. Far and
// offset differ in where on a drive a copy lies, not in which drive it is on.
func layoutFrom(n int) (layout, error) {
	l := layout{near: n & 0xff, far: n >> 8 & 0xff, sets: n>>17 != 0}
	if n < 0 || l.near == 0 || l.far == 0 {
		return layout{}, fmt.Errorf("raid10 layout %d: want near and far copies", n)
	}
	return l, nil
}

func (l layout) copies() int { return l.near * l.far }

// copySets lists which slots hold the copies of one chunk, for each chunk that differs:
// the data is gone when all slots of one set are. It is nil when the layout does not
// tell for this number of slots.
func (l layout) copySets(disks int) [][]int {
	if l.copies() < 1 || l.copies() > disks || l.sets {
		return nil
	}
	sets := make([][]int, 0, disks)
	for chunk := range disks {
		set := make([]int, 0, l.copies())
		for f := range l.far {
			for n := range l.near {
				set = append(set, (chunk*l.near+n+f*l.near)%disks)
			}
		}
		sets = append(sets, set)
	}
	return sets
}

// redundancy is how many members an array may lose.
type redundancy struct {
	known bool
	left  int    // further members, whichever they are; below 0: data is gone
	spofs []bool // per slot: its loss alone would now lose data; nil when no slot's would
}

// redundancyOf counts what is left of the level's redundancy. extra counts missing
// members that md knows of and slotUp does not show.
func redundancyOf(level string, l layout, slotUp []bool, extra int) redundancy {
	sets := failureSets(level, l, len(slotUp))
	if len(slotUp) == 0 || (sets == nil && level != "raid10") {
		return redundancy{}
	}
	r := redundancy{known: true}
	if sets == nil {
		r.left = leftUnknownLayout(l, slotUp, extra)
	} else {
		r.left = sets.left(slotUp) - extra
	}
	if r.left == 0 {
		r.spofs = spofSlots(sets, slotUp)
	}
	return r
}

// leftUnknownLayout is for a RAID 10 whose copies may be anywhere: it survives one
// failure less than it has copies for certain, and whether data is gone after more,
// only md can say.
func leftUnknownLayout(l layout, slotUp []bool, extra int) int {
	missing := extra
	for _, up := range slotUp {
		if !up {
			missing++
		}
	}
	if missing >= len(slotUp) {
		return -1
	}
	return max(max(l.copies(), 2)-1-missing, 0)
}

// failureSet is a group of slots of which all but spare many must stay.
type failureSet struct {
	slots []int // nil: all slots
	spare int
}

type failureSetList []failureSet

// failureSets describes what each level survives; nil where that is not known.
func failureSets(level string, l layout, disks int) failureSetList {
	switch level {
	case "raid0", "linear":
		return failureSetList{{spare: 0}}
	case "raid1", "multipath":
		return failureSetList{{spare: disks - 1}}
	case "raid4", "raid5":
		return failureSetList{{spare: min(1, disks-1)}}
	case "raid6":
		return failureSetList{{spare: min(2, disks-1)}}
	case "raid10":
		var list failureSetList
		for _, set := range l.copySets(disks) {
			list = append(list, failureSet{slots: set, spare: len(set) - 1})
		}
		return list
	}
	return nil
}

func (s failureSet) left(slotUp []bool) int {
	left := s.spare
	for slot, up := range slotUp {
		if !up && s.has(slot) {
			left--
		}
	}
	return left
}

func (s failureSet) has(slot int) bool {
	return s.slots == nil || slices.Contains(s.slots, slot)
}

// left is what the worst-off set can still lose.
func (list failureSetList) left(slotUp []bool) int {
	least := len(slotUp)
	for _, s := range list {
		least = min(least, s.left(slotUp))
	}
	return least
}

// spofSlots marks the filled slots in a set that can lose no more; without sets, all.
func spofSlots(list failureSetList, slotUp []bool) []bool {
	out := make([]bool, len(slotUp))
	for slot, up := range slotUp {
		out[slot] = up && list == nil
		for _, s := range list {
			if up && s.has(slot) && s.left(slotUp) <= 0 {
				out[slot] = true
			}
		}
	}
	return out
}
