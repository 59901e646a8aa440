package policy

// supply is one power supply of this server, or without wiring simply a UPS.
type supply struct {
	psu    string
	inputs []input // several: a transfer switch stands before it

	doomed bool // nothing will be left of its inputs, and a battery is what ends
	lost   bool // no input now
	failed bool // the supply itself is broken
}

// input is one way power reaches a supply.
type input struct {
	feed string
	ups  *ups // nil: straight from the mains, or a UPS that is not configured
	dead bool // the circuit is, or the output of the UPS
}

func (s *supply) healthy() bool { return !s.doomed && !s.lost && !s.failed }

// healthy reports whether the input is there, and will be.
func (i *input) healthy() bool {
	return !i.dead && (i.ups == nil || i.ups.doom == ReasonNone)
}

// suppliesOf lists the supplies: those of the configured paths, or one per UPS that feeds
// no other where no wiring is known.
func (d *decider) suppliesOf() []supply {
	if len(d.s.Paths) == 0 {
		out := make([]supply, 0, len(d.upses))
		for _, u := range d.upses {
			if !d.feedsUPS(u) {
				out = append(out, supply{inputs: []input{{ups: u}}})
			}
		}
		return out
	}
	out := make([]supply, 0, len(d.s.Paths))
	for _, p := range d.s.Paths {
		in := input{feed: p.Feed, ups: d.byName(p.UPS)}
		if at := indexOf(out, p.PSU); at >= 0 && !d.pol.off(RuleSwitch) {
			out[at].inputs = append(out[at].inputs, in)
			continue
		}
		out = append(out, supply{psu: p.PSU, inputs: []input{in}})
	}
	return out
}

func indexOf(list []supply, psu string) int {
	for i := range list {
		if list[i].psu == psu && psu != "" {
			return i
		}
	}
	return -1
}

func (d *decider) byName(name string) *ups {
	for _, u := range d.upses {
		if u.name == name {
			return u
		}
	}
	return nil
}

// judgeSupplies finds which supplies are gone, or will be.
func (d *decider) judgeSupplies() {
	d.witnessPSUs()
	d.directFeeds()
	d.judgeOff()
	d.judgeSeries()
	d.judgeLoadShift()
	for i := range d.supplies {
		w := &d.supplies[i]
		healthy, gone := 0, 0
		for j := range w.inputs {
			if w.inputs[j].healthy() {
				healthy++
			}
			if w.inputs[j].dead {
				gone++
			}
		}
		w.lost = w.lost || gone == len(w.inputs)
		w.doomed = healthy == 0 && w.energy() != nil
	}
}

// energy is the UPS whose doom came last among those of the supply; nil: none is doomed.
func (s *supply) energy() *ups {
	var latest *ups
	for i := range s.inputs {
		if u := s.inputs[i].ups; u != nil && u.doom != ReasonNone && (latest == nil || u.mem.DoomedAt > latest.mem.DoomedAt) {
			latest = u
		}
	}
	return latest
}

// judgeOff takes the word of UPSes that say OFF for good. An output that is off cannot keep
// this host alive: if nothing else does, the report is false.
func (d *decider) judgeOff() {
	alive := d.pol.off(RuleHostLives)
	for i := range d.supplies {
		w := &d.supplies[i]
		for j := range w.inputs {
			alive = alive || !w.lost && !w.failed && !w.inputs[j].dead && !d.off(w, &w.inputs[j])
		}
	}
	for i := range d.supplies {
		w := &d.supplies[i]
		for j := range w.inputs {
			u := w.inputs[j].ups
			if !alive || w.lost || !d.off(w, &w.inputs[j]) {
				continue
			}
			w.inputs[j].dead, u.lost = true, true
			if u.doom == ReasonNone {
				u.why = "has said OFF for " + secs(u.mem.Off.since(d.now)) + ": this feed is lost"
			}
		}
	}
}
