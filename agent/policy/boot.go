package policy

import (
	"time"

	"github.com/dodai-agent/dodai"
)

// noteBoot starts a new boot hold when the host has booted since the memory was made.
func (d *decider) noteBoot() {
	b := &d.mem.Boot
	if b.At.Set && d.s.BootedAt-b.At.At < time.Second {
		return
	}
	fresh := b.At.Set || d.s.AgentStartedAt-d.s.BootedAt <= freshBoot
	*b = BootMemory{At: mark(d.s.BootedAt), Fresh: fresh}
}

// bootHold reports whether the start of heavy services should wait: after a boot, until
// enough batteries could carry another shutdown. Once released it stays released until
// the next boot. Before a UPS has answered nothing speaks against it, nor for it: the agent
// waits for the first answers.
func (d *decider) bootHold() bool {
	b := &d.mem.Boot
	if !b.Fresh || b.Released {
		return false
	}
	ready, sure, answered := 0, 0, false
	for i := range d.supplies {
		can, known := false, false
		for _, in := range d.supplies[i].inputs {
			ok := in.ups == nil || in.ups.readyForOutage()
			can, known = can || ok, known || ok && (in.ups == nil || in.ups.maint != nil || in.ups.mem.Heard.Set)
			answered = answered || in.ups != nil && in.ups.mem.Heard.Set
		}
		if can {
			ready++
		}
		if known {
			sure++
		}
	}
	b.Released = answered && sure >= d.minSupplies()
	return ready < d.minSupplies() && len(d.supplies) > 0
}

// readyForOutage reports whether nothing is known against this battery carrying a shutdown.
func (u *ups) readyForOutage() bool {
	m := &u.mem
	switch {
	case u.maint != nil:
		return true
	case m.FSD.Set, m.Last.Status.Has(dodai.LB):
		return false
	case m.Last.Charge.OK && m.Last.Charge.V < u.cfg.BootMinChargePct:
		return false
	}
	return !m.Available.OK || m.Available.V >= u.budget().Seconds()
}
