package snmpups

import "time"

// Cut is what the UPS has been told about cutting its output. The settings are those of
// the MIBs, the countdowns run with the model's time.
type Cut struct {
	// RFC 1628, upsControl. A countdown below zero is not running.
	Type        int64         // 1: the output, 2: the UPS
	AutoRestart bool          // back with the mains, after a cut during an outage
	OffIn       time.Duration // until the output is cut
	OnIn        time.Duration // until it is started, mains provided

	// PowerNet: the delays of a graceful reboot, and whether one is under way.
	ShutoffDelay, ReturnDelay time.Duration
	Reboot                    bool

	// Done: the output is off because it was told so. Outage: the mains were gone then.
	Done, Outage bool
	back         time.Duration // since the mains are back; PowerNet
}

// idle is a countdown that is not running.
const idle = -time.Second

// idleCut is a UPS nobody has told anything, as it leaves the factory.
var idleCut = Cut{Type: 2, OffIn: idle, OnIn: idle, ShutoffDelay: 20 * time.Second}

// Pending reports whether the UPS will cut its output.
func (c Cut) Pending() bool { return c.OffIn >= 0 }

// runCut lets d pass for the countdowns.
func (s *State) runCut(d time.Duration) {
	c, cutNow := &s.Cut, false
	if c.OffIn >= 0 {
		left := c.OffIn - d
		if cutNow = left <= 0; cutNow {
			c.Done, c.Outage, s.Off, c.back = true, !s.Mains, true, 0
			left = idle
		}
		c.OffIn = left
	}
	if c.OnIn >= 0 {
		c.OnIn = max(0, c.OnIn-d)
	}
	if c.Done && !cutNow && s.mayReturn(d) {
		s.Off, s.OnBattery = false, 0
		c.Done, c.Reboot, c.OnIn = false, false, idle
	} else if !c.Done && c.OnIn == 0 {
		c.OnIn = idle // the output is on already
	}
}

// mayReturn: after a reboot, as PowerNet has it, the return delay after the mains; in RFC
// 1628 when the startup countdown is over, or with AutoRestart where the mains had gone,
// and never without mains.
func (s *State) mayReturn(d time.Duration) bool {
	c := &s.Cut
	if !s.Mains {
		c.back = 0
		return false
	}
	c.back += d
	switch {
	case c.Reboot:
		return c.back >= c.ReturnDelay
	case c.OnIn >= 0:
		return c.OnIn == 0
	}
	return c.AutoRestart && c.Outage
}

// control are the objects for cutting the output.
func (u *UPS) control() []Binding {
	c, list := &u.state.Cut, []Binding(nil)
	if u.cfg.Flavour != PowerNet {
		list = append(list,
			at(rfcMIB, "8.1.0", Int(c.Type)), at(rfcMIB, "8.2.0", Int(int64(c.OffIn/time.Second))),
			at(rfcMIB, "8.3.0", Int(int64(c.OnIn/time.Second))), at(rfcMIB, "8.5.0", Int(pick(c.AutoRestart, 1, 2))))
	}
	if u.cfg.Flavour != RFC1628 {
		list = append(list, at(apcMIB, "5.2.9.0", ticks(c.ReturnDelay)), at(apcMIB, "5.2.10.0", ticks(c.ShutoffDelay)), at(apcMIB, "6.2.2.0", Int(1)))
	}
	return list
}

// take carries out an assignment to one of them.
func (u *UPS) take(b Binding) int {
	if u.cfg.DenyWrites != 0 {
		return u.cfg.DenyWrites
	}
	was, found := u.Object(b.OID)
	set, known := controls[b.OID.String()]
	switch {
	case !found || !known:
		return errNotWritable
	case was.Tag != b.Value.Tag:
		return errWrongType
	}
	status := 0
	u.Change(func(s *State) {
		if !set(&s.Cut, b.Value.Int) {
			status = errWrongValue
		}
	})
	return status
}

// controls set each object; false refuses the value.
var controls = map[string]func(c *Cut, n int64) bool{
	rfcMIB + ".8.1.0": func(c *Cut, n int64) bool { return within(n, 1, 2, func() { c.Type = n }) },
	rfcMIB + ".8.2.0": func(c *Cut, n int64) bool {
		return within(n, -1, 1<<31-1, func() { c.OffIn = time.Duration(n) * time.Second })
	},
	rfcMIB + ".8.3.0": func(c *Cut, n int64) bool {
		return within(n, -1, 1<<31-1, func() { c.OnIn = time.Duration(n) * time.Second })
	},
	rfcMIB + ".8.5.0": func(c *Cut, n int64) bool { return within(n, 1, 2, func() { c.AutoRestart = n == 1 }) },
	apcMIB + ".5.2.9.0": func(c *Cut, n int64) bool {
		c.ReturnDelay = nextLower(n, 0, 60, 120, 180, 240, 300)
		return true
	},
	apcMIB + ".5.2.10.0": func(c *Cut, n int64) bool {
		c.ShutoffDelay = nextLower(n, 20, 180, 300, 600)
		return true
	},
	apcMIB + ".6.2.2.0": func(c *Cut, n int64) bool {
		return within(n, 1, 3, func() {
			if n == 3 {
				c.OffIn, c.Reboot = c.ShutoffDelay, true
			}
		})
	},
}

func within(n, lo, hi int64, do func()) bool {
	if n < lo || n > hi {
		return false
	}
	do()
	return true
}

// nextLower is how a PowerNet card takes a delay in hundredths of a second: as the next
// lower one that the UPS has. Source: PowerNet MIB Reference Guide, note on upsAdvConfig.
func nextLower(hundredths int64, seconds ...int64) time.Duration {
	best := seconds[0]
	for _, s := range seconds {
		if s*100 <= hundredths {
			best = s
		}
	}
	return time.Duration(best) * time.Second
}
