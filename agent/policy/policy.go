package policy

import (
	"time"

	"github.com/dodai-agent/dodai"
)

// Policy decides by an operator's limits. It holds no state and may be used by several
// goroutines at once.
type Policy struct {
	Config
	// Without names rules that do not apply. It shows what each of them is good for, in
	// simulations and tests; a running agent has none.
	Without map[Rule]bool
	// Brief leaves out the words: why a feed that is healthy is, the explanation of a
	// decision to stay up, the texts of alerts, the evidence. Deciding again without it, on
	// the same input, gives them. Simulations that decide a billion times need no words.
	Brief bool
}

// New is a policy with cfg.
func New(cfg Config) Policy { return Policy{Config: cfg} }

// decider is one decision in the making.
type decider struct {
	pol *Policy
	cfg *Config
	s   *dodai.Snapshot
	mem Memory // the next memory
	now time.Duration

	upses    []*ups               // in name order
	bmcs     []*dodai.DeviceState // devices that report power supplies
	supplies []supply
	carried  float64        // load on all UPSes that feed supplies, in VA, W or percent: see sizeUp
	together *time.Duration // how long the UPSes last that carry the host together; nil: not known
	fast     map[string]bool
	psuLie   string  // device that reports every input lost; empty: none
	alerts   []Alert // never nil
	events   []dodai.Event
	nextAt   time.Duration
}

// Decide says what to do about s, and what to remember for the next call. The only time
// it knows is now, on the monotonic clock of s, whose readings must not be younger. m
// and s are not changed.
func (p Policy) Decide(s *dodai.Snapshot, m Memory, now time.Duration) (Decision, Memory) {
	d := &decider{pol: &p, cfg: &p.Config, s: s, mem: m, now: now, alerts: []Alert{}}
	d.noteBoot()
	d.observe()
	for _, u := range d.upses {
		d.infer(u)
		u.judge()
	}
	d.supplies = d.suppliesOf()
	d.judgeSupplies()
	out := Decision{At: now, Need: p.Need, Reserve: p.Reserve, UPSes: make([]UPSView, 0, len(d.upses))}
	healthy := d.verdict(&out)
	d.margin(&out)
	if out.Shutdown || !p.Brief {
		d.explain(&out, healthy)
	}
	d.raiseAlerts(out.Shutdown)
	d.judgeBoot(&out)
	d.finish(&out)
	return out, d.mem
}

// observe takes all new readings into the memory.
func (d *decider) observe() {
	away := d.absence()
	upses := make(map[string]UPSMemory, len(d.mem.UPS))
	psus := make(map[string]PSUMemory, len(d.mem.PSUs))
	for _, dev := range d.s.Devices {
		if was := d.mem.UPS[dev.Name]; dev.Kind != dodai.KindUPS && was.OnBattery.Set {
			dev = speechless(dev)
		}
		switch dev.Kind {
		case dodai.KindUPS:
			u := &ups{name: dev.Name, pol: d.pol, cfg: d.cfg, s: d.s, d: dev, now: d.now, mem: d.mem.UPS[dev.Name], doom: ReasonNone,
				factor: 1, battery: d.mem.Batteries[dev.Name], cleanEnd: d.mem.Stopped}
			u.noteBefore(d.mem.Decided)
			u.absent(away)
			u.maintain()
			u.observe()
			u.noteSilence()
			d.upses = append(d.upses, u)
		case dodai.KindPSUs:
			m := d.mem.PSUs[dev.Name]
			m.observe(dev, d.s.BootedAt, d.cfg)
			psus[dev.Name] = m
			d.bmcs = append(d.bmcs, dev)
		}
	}
	d.mem.UPS, d.mem.PSUs = upses, psus // devices that are gone are forgotten
}

// speechless is a UPS on battery whose readings have become those of another kind of
// device: it stays a UPS, and says nothing.
func speechless(dev *dodai.DeviceState) *dodai.DeviceState {
	d := *dev
	d.Kind, d.Reading = dodai.KindUPS, nil
	return &d
}

// verdict counts the healthy supplies and says whether they are too few.
func (d *decider) verdict(out *Decision) (healthy int) {
	energy := false
	var latest *ups
	for i := range d.supplies {
		w := &d.supplies[i]
		if w.healthy() {
			healthy++
		}
		energy = energy || w.doomed || w.lost
		if u := w.energy(); w.doomed && (latest == nil || u.mem.DoomedAt > latest.mem.DoomedAt) {
			latest = u
		}
	}
	out.Reason = ReasonNone
	// A supply that broke is no reason by itself: the host lives on the others.
	if healthy < d.minSupplies() && energy {
		out.Shutdown, out.Reason, out.Rule = true, ReasonPathOutage, RulePath
		if latest != nil {
			out.Reason, out.Rule, out.Decider = latest.doom, latest.rule, latest.name
		} else {
			out.Decider = d.lostUPS()
		}
	}
	return healthy
}

// lostUPS names a UPS whose feed is gone; empty: none is.
func (d *decider) lostUPS() string {
	for _, u := range d.upses {
		if u.lost {
			return u.name
		}
	}
	return ""
}

// askFast has a device polled as often as on battery.
func (d *decider) askFast(name string) {
	if d.fast == nil {
		d.fast = map[string]bool{}
	}
	d.fast[name] = true
}

func (d *decider) minSupplies() int { return max(1, d.cfg.MinSupplies) }

// finish fills in what needs no deciding, and stores the memory.
func (d *decider) finish(out *Decision) {
	if !d.pol.Brief && len(d.upses) > 0 {
		out.Evidence = make([]Evidence, 0, evidencePerUPS*len(d.upses))
	}
	for _, u := range d.upses {
		d.mem.UPS[u.name] = u.mem
		d.keepBattery(u)
		out.UPSes = append(out.UPSes, u.view())
		if !d.pol.Brief {
			out.Evidence = u.evidence(out.Evidence)
		}
		if u.fast() {
			d.askFast(u.name)
		}
		if u.nextAt != 0 && (d.nextAt == 0 || u.nextAt < d.nextAt) {
			d.nextAt = u.nextAt
		}
	}
	if !d.pol.Brief {
		out.Evidence = d.supplyEvidence(out.Evidence)
	}
	d.mem.Decided, d.mem.Stopped = mark(d.now), false
	out.Alerts, out.Events, out.Fast, out.Next = d.alerts, d.events, d.fast, d.nextAt
}
