package policy

import (
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

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

// off reports whether the UPS of an input says OFF for good and no good input of the supply
// speaks against it. Behind a transfer switch a good input may be the other one.
func (d *decider) off(w *supply, in *input) bool {
	return in.ups != nil && in.ups.offPersists() && (len(w.inputs) > 1 || !d.inputGood(w.psu, in.ups.mem.Off.At))
}

// inputGood reports whether the supply said that its input is good, at since or later
// and not too long ago.
func (d *decider) inputGood(psu string, since time.Duration) bool {
	if psu == "" || d.pol.off(RulePSU) {
		return false
	}
	for _, dev := range d.bmcs {
		m := d.mem.PSUs[dev.Name]
		if m.Read.At >= since && dev.Quality(d.now) == dodai.QualityFresh && slices.Contains(m.Good, psu) {
			return true
		}
	}
	return false
}

// witnessPSUs applies what the supplies themselves say of their inputs.
func (d *decider) witnessPSUs() {
	for _, dev := range d.bmcs {
		m := d.mem.PSUs[dev.Name]
		if d.pol.off(RulePSU) || m.Read.At < d.s.AgentStartedAt && !dev.Answered() {
			continue // not asked yet since the agent started
		}
		if m.All.confirmed(d.cfg) {
			d.psuLie = dev.Name
		}
		d.fastPSU(dev.Name, &m)
		for i := range d.supplies {
			w := &d.supplies[i]
			w.failed = w.failed || w.psu != "" && slices.Contains(m.Failed, w.psu)
			l := m.loss(w.psu)
			if l == nil || !l.Believed && !(d.pol.off(RuleHostLives) && l.Run.confirmed(d.cfg)) {
				continue
			}
			w.lost = true
			if u := w.inputs[0].ups; len(w.inputs) == 1 && u != nil {
				u.lost = true // as far as this host is concerned
				if u.doom == ReasonNone {
					u.why = "power supply " + w.psu + " reports that it has no input"
				}
			}
		}
	}
}

// fastPSU asks for the supplies more often while a lost input is not confirmed yet.
func (d *decider) fastPSU(name string, m *PSUMemory) {
	for i := range m.Lost {
		if !m.Lost[i].Believed && !m.All.confirmed(d.cfg) {
			d.askFast(name)
		}
	}
}

// directFeeds finds inputs that hang on the mains themselves dead when a UPS on the same
// circuit runs from its battery, unless the supply has said since that its input is good.
func (d *decider) directFeeds() {
	if d.pol.off(RuleSameFeed) {
		return
	}
	for i := range d.supplies {
		w := &d.supplies[i]
		for j := range w.inputs {
			in := &w.inputs[j]
			if in.ups != nil || in.feed == "" {
				continue
			}
			dead := d.feedDead(in.feed)
			in.dead = dead.Set && (len(w.inputs) > 1 || !d.inputGood(w.psu, dead.At))
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
		if u := d.first(p.UPS); u != nil && u.maint == nil && u.mem.running() && u.stillTrue() {
			return u.mem.Transfer
		}
	}
	return Mark{}
}

// infer takes a UPS for being on battery that went silent just when another one on the
// same circuit lost its mains.
func (d *decider) infer(u *ups) {
	if u.mem.Line != LinePresent || !u.silent() || d.pol.off(RuleSameFeed) {
		return
	}
	for _, p := range d.s.Paths {
		if p.Feed == "" || d.first(p.UPS) != u {
			continue
		}
		dead := d.feedDead(p.Feed)
		if gap := dead.At - u.heardAt(); dead.Set && gap > -u.stale() && gap < 2*u.stale() {
			u.inferred = dead
		}
	}
}
