package md

import (
	"slices"

	"github.com/dodai-agent/dodai"
)

// drives lists every member once. A drive in a container is shown as the array on it
// uses it.
func (s *survey) drives() []dodai.Drive {
	var out []dodai.Drive
	seen := map[string]bool{}
	for _, containers := range []bool{false, true} {
		for i := range s.sets {
			f := &s.sets[i]
			if f.container != containers || f.err != nil {
				continue
			}
			for _, m := range f.members {
				if !seen[m.name] {
					seen[m.name] = true
					out = append(out, s.drive(f, m))
				}
			}
		}
	}
	return out
}

func (s *survey) drive(f *facts, m member) dodai.Drive {
	d := dodai.Drive{ID: m.name, State: driveState(f, m)}
	if f.container && s.hasSubArrays(f.id) && !m.bad() {
		d.State = dodai.DriveSpare
	}
	if m.slot != noSlot && !m.bad() {
		d.Slot = new(m.slot)
	}
	return d
}

func driveState(f *facts, m member) dodai.DriveState {
	switch {
	case m.journal && m.bad():
		return dodai.DriveJournalFailed
	case m.gone:
		return dodai.DriveMissing
	case m.faulty:
		return dodai.DriveFailed
	case f.inactive || f.container:
		return dodai.DriveOffline
	case m.journal:
		return dodai.DriveJournal
	case m.inSync:
		return dodai.DriveOnline
	case m.replacement:
		return dodai.DriveReplacing
	case m.hotSpare():
		return dodai.DriveSpare
	}
	return dodai.DriveRebuilding
}

func (s *survey) hasSubArrays(container string) bool {
	return slices.ContainsFunc(s.sets, func(f facts) bool { return f.parent == container })
}

// containerSpares counts the drives of f's container that no array on it uses; mdmon
// takes them for whichever of the container's arrays needs one (mdmon(8)).
func (s *survey) containerSpares(f *facts) int {
	if f.parent == "" || f.level == "raid0" || f.level == "linear" {
		return 0
	}
	used := map[string]bool{}
	for _, sub := range s.sets {
		if sub.parent == f.parent {
			for _, m := range sub.members {
				used[m.name] = true
			}
		}
	}
	n := 0
	for _, c := range s.sets {
		if !c.container || c.id != f.parent {
			continue
		}
		for _, m := range c.members {
			if !m.bad() && !used[m.name] {
				n++
			}
		}
	}
	return n
}
