package policy

import "fmt"

// maintain takes the operator's word into account. What the UPS said while it was worked
// on says nothing about the time after it: with the end the memory of it starts anew, but
// for what its battery has taught and for which reading was the last.
func (u *ups) maintain() {
	m := &u.mem
	if !u.pol.off(RuleMaintenance) {
		u.maint = u.s.MaintenanceOf(u.name, u.now)
	}
	if m.Maint && u.maint == nil {
		*m = UPSMemory{LineVolts: m.LineVolts, Read: m.Read, Polls: m.Polls, Heard: m.Heard, Silent: m.Silent}
	}
	m.Maint = u.maint != nil
	if m.Maint {
		u.due(u.maint.Until)
	}
}

// maintained says what stands instead of a judgement.
func (u *ups) maintained() string {
	reason := u.maint.Reason
	if u.maint.By != "" {
		reason += ", declared by " + u.maint.By
	}
	return fmt.Sprintf("in maintenance for another %s (%s): nothing it says counts", secs(u.maint.Until-u.now), reason)
}
