package md

import (
	"cmp"
	"slices"
)

// slots works out which members fill the slots that are up. mdstat tells how many, and
// each member's number, which is its slot only until it is replaced: the new drive gets
// the next free number from the number of slots on. A drive being rebuilt is listed like
// a working one.
func (a *mdstatArray) slots(up []bool) {
	live := a.clearSlots()
	working := 0
	for _, is := range up {
		if is {
			working++
		}
	}
	targets := max(0, len(live)-working)
	// The likeliest target first: a number whose slot is empty, then the highest.
	slices.SortFunc(live, func(x, y liveMember) int {
		return cmp.Or(-compareBool(x.inEmptySlot(up), y.inEmptySlot(up)), cmp.Compare(y.number, x.number))
	})
	for i, l := range live {
		a.members[l.index].inSync = i >= targets
	}
	a.slotsSeen = a.placeWorking(live[targets:], up)
	a.placeTargets(live[:targets], up)
}

type liveMember struct {
	index  int // in members
	number int
}

func (l liveMember) inEmptySlot(up []bool) bool { return l.number < len(up) && !up[l.number] }

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return 1
	}
	return -1
}

// clearSlots takes the members' numbers away and returns those that are neither failed,
// spare, journal nor replacement.
func (a *mdstatArray) clearSlots() []liveMember {
	var live []liveMember
	for i := range a.members {
		m := &a.members[i]
		if !m.faulty && !m.spare && !m.journal && !m.replacement {
			live = append(live, liveMember{index: i, number: m.slot})
		}
		m.slot = noSlot
	}
	return live
}

// placeWorking gives each working member its slot, and reports whether it could for all.
func (a *mdstatArray) placeWorking(working []liveMember, up []bool) bool {
	taken := make([]bool, len(up))
	var left []liveMember
	for _, l := range working {
		if l.number < len(up) && up[l.number] && !taken[l.number] {
			taken[l.number] = true
			a.members[l.index].slot = l.number
		} else {
			left = append(left, l)
		}
	}
	var free []int
	for slot, is := range up {
		if is && !taken[slot] {
			free = append(free, slot)
		}
	}
	if len(left) == 1 && len(free) == 1 {
		a.members[left[0].index].slot = free[0]
		return true
	}
	return len(left) == 0 && len(free) == 0
}

// placeTargets puts the members being rebuilt into the empty slots: each into the slot
// of its number, else into any, since which one is not told.
func (a *mdstatArray) placeTargets(targets []liveMember, up []bool) {
	taken := slices.Clone(up)
	for _, own := range []bool{true, false} {
		for _, l := range targets {
			if a.members[l.index].slot != noSlot {
				continue
			}
			slot := slices.Index(taken, false)
			if own {
				slot = l.number
			}
			if slot >= 0 && slot < len(taken) && !taken[slot] {
				taken[slot] = true
				a.members[l.index].slot = slot
			}
		}
	}
}
