package policy

import (
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

// supply is one way power reaches this server: a power supply of a configured path, or
// without wiring simply a UPS.
type supply struct {
	psu, feed string
	ups       *ups // nil: straight from the mains, or a UPS that is not configured

	doomed bool
	lost   bool // no input now
	failed bool // the supply itself is broken
}

func (s *supply) healthy() bool { return !s.doomed && !s.lost && !s.failed }

// suppliesOf lists the supplies: one per path, or one per UPS where no wiring is known.
func suppliesOf(s *dodai.Snapshot, upses []*ups) []supply {
	var out []supply
	if len(s.Paths) == 0 {
		for _, u := range upses {
			out = append(out, supply{ups: u})
		}
		return out
	}
	for _, p := range s.Paths {
		w := supply{psu: p.PSU, feed: p.Feed}
		for _, u := range upses {
			if u.name == p.UPS {
				w.ups = u
			}
		}
		out = append(out, w)
	}
	return out
}

// observe takes a new reading of this server's supplies into the memory.
func (m *PSUMemory) observe(d *dodai.DeviceState, booted time.Duration, cfg *Config) {
	if d.Reading == nil || m.Read == mark(d.At) && m.Polls == d.Polls {
		return
	}
	if m.Read.Set && m.Read.At < booted {
		*m = PSUMemory{}
	}
	var lost, good, failed []string
	for _, p := range d.Reading.PSUs {
		switch {
		case p.State == dodai.PSUAbsent:
			failed = append(failed, p.ID, p.Name)
			continue
		case p.Input == dodai.InputLost, p.State == dodai.PSUInputLost:
			lost = append(lost, p.ID)
			continue
		case p.State == dodai.PSUFailed:
			failed = append(failed, p.ID, p.Name)
		}
		good = append(good, p.ID) // has not lost its input, at least
	}
	all := len(lost) > 0 && len(good) == 0
	if all {
		m.All.see(true, false, d.At, cfg)
	} else {
		m.All = Run{}
	}
	m.Lost = lossesAfter(m.Lost, lost, !all, d.At, cfg)
	m.Good, m.Failed = inputsGood(d.Reading.PSUs), failed
	m.Read, m.Polls = mark(d.At), d.Polls
}

// lossesAfter counts a reading in which the supplies lost have no input. One is
// believed once confirmed, unless every input is reported lost: the host lives.
func lossesAfter(before []SupplyLoss, lost []string, believable bool, at time.Duration, cfg *Config) []SupplyLoss {
	var out []SupplyLoss
	for _, id := range lost {
		l := SupplyLoss{ID: id}
		if i := slices.IndexFunc(before, func(b SupplyLoss) bool { return b.ID == id }); i >= 0 {
			l = before[i]
		}
		l.Run.see(true, false, at, cfg)
		l.Believed = l.Believed || believable && l.Run.confirmed(cfg)
		out = append(out, l)
	}
	return out
}

func inputsGood(psus []dodai.PSU) []string {
	var out []string
	for _, p := range psus {
		if p.Input == dodai.InputOK && p.State != dodai.PSUInputLost && p.State != dodai.PSUFailed && p.State != dodai.PSUAbsent {
			out = append(out, p.ID)
		}
	}
	return out
}

// loss finds what is remembered of a supply by its id.
func (m *PSUMemory) loss(id string) *SupplyLoss {
	for i := range m.Lost {
		if m.Lost[i].ID == id {
			return &m.Lost[i]
		}
	}
	return nil
}

// judgeSupplies finds which supplies are gone, or will be.
func (d *decider) judgeSupplies() {
	d.witnessPSUs()
	d.directFeeds()
	// An output that is off cannot keep this host alive. If nothing else does, the
	// report is false.
	alive := false
	for i := range d.supplies {
		w := &d.supplies[i]
		w.doomed = w.ups != nil && w.ups.doom != ReasonNone
		alive = alive || !w.lost && !w.failed && !d.off(w)
	}
	for i := range d.supplies {
		w := &d.supplies[i]
		if alive && d.off(w) && !w.lost {
			w.lost = true
			if w.doomed = w.ups.doom != ReasonNone; !w.doomed {
				w.ups.why = "has said OFF for " + secs(w.ups.mem.Off.since(d.now)) + ": this feed is lost"
			}
		}
		if w.lost && w.ups != nil {
			w.ups.lost = true
		}
	}
}

// off reports whether the UPS says OFF for good and no good input speaks against it.
func (d *decider) off(w *supply) bool {
	return w.ups != nil && w.ups.offPersists() && !d.inputGood(w.psu, w.ups.mem.Off.At)
}

// inputGood reports whether the supply said that its input is good, at since or later
// and not too long ago.
func (d *decider) inputGood(psu string, since time.Duration) bool {
	for _, dev := range d.s.OfKind(dodai.KindPSUs) {
		m := d.mem.PSUs[dev.Name]
		if m.Read.At >= since && dev.Quality(d.now) == dodai.QualityFresh && slices.Contains(m.Good, psu) && psu != "" {
			return true
		}
	}
	return false
}

// witnessPSUs applies what the supplies themselves say of their inputs.
func (d *decider) witnessPSUs() {
	for _, dev := range d.s.OfKind(dodai.KindPSUs) {
		m := d.mem.PSUs[dev.Name]
		if m.Read.At < d.s.AgentStartedAt && !dev.Answered() {
			continue // not asked yet since the agent started
		}
		if m.All.confirmed(d.cfg) {
			d.psuLie = dev.Name
		}
		for i := range d.supplies {
			w := &d.supplies[i]
			if l := m.loss(w.psu); l != nil && l.Believed {
				w.lost = true
				if w.ups != nil && w.ups.doom == ReasonNone {
					w.ups.why = "power supply " + w.psu + " reports that it has no input"
				}
			}
			w.failed = w.failed || w.psu != "" && slices.Contains(m.Failed, w.psu)
			d.fastPSU(dev.Name, m)
		}
	}
}

// fastPSU asks for the supplies more often while a lost input is not confirmed yet.
func (d *decider) fastPSU(name string, m PSUMemory) {
	for _, l := range m.Lost {
		if !l.Believed && !m.All.confirmed(d.cfg) {
			d.fast[name] = true
		}
	}
}

// directFeeds finds supplies that hang on the mains themselves dead when a UPS on the
// same circuit runs from its battery, unless they have said since that their input is good.
func (d *decider) directFeeds() {
	for i := range d.supplies {
		w := &d.supplies[i]
		if w.ups != nil || w.feed == "" {
			continue
		}
		if dead := d.feedDead(w.feed); dead.Set && !d.inputGood(w.psu, dead.At) {
			w.lost = true
		}
	}
}

// feedDead is since when the circuit's mains have been gone by the word of a UPS. One that
// fell silent since has not taken it back.
func (d *decider) feedDead(feed string) Mark {
	for _, p := range d.s.Paths {
		if p.Feed != feed {
			continue
		}
		for _, u := range d.upses {
			if u.name == p.UPS && u.mem.running() && u.stillTrue() {
				return u.mem.Transfer
			}
		}
	}
	return Mark{}
}

// infer takes a UPS for being on battery that went silent just when another one on the
// same circuit lost its mains.
func (d *decider) infer(u *ups) {
	if !u.silent() || u.mem.Line != LinePresent {
		return
	}
	for _, p := range d.s.Paths {
		if p.UPS != u.name || p.Feed == "" {
			continue
		}
		dead := d.feedDead(p.Feed)
		if gap := dead.At - u.heardAt(); dead.Set && gap > -u.stale() && gap < 2*u.stale() {
			u.inferred = dead
		}
	}
}
