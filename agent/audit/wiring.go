package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
)

// way is one way power comes to a supply of this server.
type way struct {
	dodai.Path
	// upses are the UPS nearest to the supply and those it stands behind, in that order.
	upses    []string
	switched bool // it is one input of a transfer switch
}

func (w *way) pdu() string {
	pdu, _, _ := strings.Cut(w.Outlet, "/")
	return pdu
}

// wiring looks for what all ways that still carry have in common. A supply behind a
// transfer switch has several ways, so nothing that only one of them hangs on counts.
func (a *auditor) wiring() {
	if len(a.s.Paths) == 0 {
		a.withoutWiring()
		return
	}
	ways, gone := a.carrying()
	if len(ways) == 0 {
		return // the supplies' own findings say it
	}
	a.sharedUPSes(ways, gone)
	a.sharedFeed(ways, gone)
	a.sharedPDU(ways, gone)
	a.oneSupply(ways)
	a.unnamedFeeds(ways)
}

// carrying returns the ways to supplies that are not known to be out of work, and why the
// others are left out.
func (a *auditor) carrying() (ways []way, gone []Evidence) {
	inputs := map[string]int{}
	for _, p := range a.s.Paths {
		inputs[p.PSU]++
	}
	for _, p := range a.s.Paths {
		if d, psu := a.supply(p.PSU); psu != nil && !works(*psu) && psu.State != dodai.PSUUnknown {
			if e := a.fact(d, stateText(*psu)); !slices.ContainsFunc(gone, func(o Evidence) bool { return o.Device == e.Device && o.Text == e.Text }) {
				gone = append(gone, e)
			}
			continue
		}
		ways = append(ways, way{Path: p, upses: a.chain(p.UPS), switched: inputs[p.PSU] > 1})
	}
	return ways, gone
}

// sharedUPSes finds the UPSes that every way leads through. The nearest takes the server
// with it; what one further away feeds runs on from the batteries behind it.
func (a *auditor) sharedUPSes(ways []way, gone []Evidence) {
	for _, ups := range ways[0].upses {
		if slices.ContainsFunc(ways, func(w way) bool { return !slices.Contains(w.upses, ups) }) {
			continue
		}
		var chains [][]string
		for _, w := range ways {
			chains = append(chains, w.upses[:slices.Index(w.upses, ups)])
		}
		f := Finding{
			ID: IDSharedUPS, Component: "ups " + ups, Severity: SeverityOpen,
			Consequence: "the server loses all its power when this UPS fails, is overloaded or is switched off: no working supply hangs on anything else",
			Evidence:    wayEvidence(ways), Remedy: "feed one supply from another UPS, or from the mains",
		}
		if consequence, evidence := a.without(chains); consequence != "" {
			f.Consequence, f.Remedy = consequence, "feed one of the UPSes behind it, or one supply, from another UPS or from the mains"
			f.Evidence = append(f.Evidence, evidence...)
		}
		f.Evidence = append(f.Evidence, gone...)
		a.add(f)
	}
}

// sharedFeed finds the circuit that every way begins at.
func (a *auditor) sharedFeed(ways []way, gone []Evidence) {
	feed := ways[0].Feed
	if feed == "" || slices.ContainsFunc(ways, func(w way) bool { return w.Feed != feed }) {
		return
	}
	consequence := "when this circuit trips nothing feeds the server but batteries, and it goes down when they are empty"
	if !slices.ContainsFunc(ways, func(w way) bool { return w.UPS != "" }) {
		consequence = "the server loses all its power when this circuit trips: no supply hangs on a UPS"
	}
	a.add(Finding{
		ID: IDSharedFeed, Component: "feed " + feed, Severity: SeverityOpen, Consequence: consequence,
		Evidence: append(wayEvidence(ways), gone...), Remedy: "bring a second circuit to one of the supplies",
	})
}

// sharedPDU finds the PDU that every way leads through.
func (a *auditor) sharedPDU(ways []way, gone []Evidence) {
	pdu := ways[0].pdu()
	if pdu == "" || slices.ContainsFunc(ways, func(w way) bool { return w.pdu() != pdu }) {
		return
	}
	a.add(Finding{
		ID: IDSharedPDU, Component: "pdu " + pdu, Severity: SeverityOpen,
		Consequence: "the server loses all its power when this PDU fails",
		Evidence:    append(wayEvidence(ways), gone...), Remedy: "plug one supply into another PDU",
	})
}

// oneSupply finds a server whose power all goes through one supply, and through the transfer
// switch before it: however many inputs that has, it is one box.
func (a *auditor) oneSupply(ways []way) {
	psu := ways[0].PSU
	if slices.ContainsFunc(ways, func(w way) bool { return w.PSU != psu }) || a.otherSupply(psu) {
		return
	}
	if d, _ := a.supply(psu); d == nil {
		a.add(Finding{
			ID: IDSupplyAlone, Component: "psu " + psu, Severity: SeverityOpen,
			Consequence: "the server stops at once when this supply fails: the wiring names no other one",
			Evidence:    wayEvidence(ways), Remedy: "fit a second power supply, or add it to the wiring",
		})
	}
	if ways[0].switched {
		a.add(Finding{
			ID: IDSwitchAlone, Component: "transfer switch of psu " + psu, Severity: SeverityOpen,
			Consequence: "the server stops at once when this transfer switch fails: every input of the only supply goes through it",
			Evidence:    wayEvidence(ways), Remedy: "fit a second power supply that does not hang on the same switch",
		})
	}
}

// otherSupply reports whether a supply that the wiring does not name carries as well, or may.
func (a *auditor) otherSupply(psu string) bool {
	for _, d := range a.s.OfKind(dodai.KindPSUs) {
		if d.Reading != nil && slices.ContainsFunc(d.Reading.PSUs, func(p dodai.PSU) bool {
			wired := slices.ContainsFunc(a.s.Paths, func(path dodai.Path) bool { return path.PSU == p.ID })
			return p.ID != psu && !wired && (works(p) || p.State == dodai.PSUUnknown)
		}) {
			return true
		}
	}
	return false
}

// withoutWiring judges the UPSes alone: one that feeds no other is taken to feed the server.
func (a *auditor) withoutWiring() {
	var last []*dodai.DeviceState
	upses := a.s.OfKind(dodai.KindUPS)
	for _, d := range upses {
		if !slices.ContainsFunc(a.s.Links, func(l dodai.Link) bool { return l.FedBy == d.Name && l.UPS != d.Name && a.s.Device(l.UPS) != nil }) {
			last = append(last, d)
		}
	}
	switch {
	case len(last) == 1:
		a.onlyUPS(last[0], len(upses) == 1)
	case len(upses) > 1:
		a.add(Finding{
			ID: IDWiringUnknown, Component: "wiring", Severity: SeverityUnknown,
			Consequence: "unknown: not proven. All supplies may hang on one UPS or one circuit",
			Evidence:    []Evidence{{Text: fmt.Sprintf("%d UPSes are configured, and no wiring", len(upses))}},
			Remedy:      "configure which supply hangs on which outlet, UPS and feed",
		})
	}
}

// onlyUPS is a server that hangs on one UPS, and on those before it.
func (a *auditor) onlyUPS(d *dodai.DeviceState, alone bool) {
	text, other := "the only UPS that is configured", "there is no other"
	if !alone {
		text, other = "the only UPS that feeds no other UPS", "no other one feeds it"
	}
	guess := Evidence{Text: "no wiring is configured, so it is taken to feed every supply"}
	remedy := "feed a second supply from another UPS, or from the mains, and configure the wiring"
	a.add(Finding{
		ID: IDUPSAlone, Component: "ups " + d.Name, Severity: SeverityOpen,
		Consequence: "the server loses its power when this UPS fails, is overloaded or is switched off: " + other,
		Evidence:    []Evidence{a.fact(d, text), guess}, Remedy: remedy,
	})
	chain := a.chain(d.Name)
	for i := 1; i < len(chain); i++ {
		consequence, evidence := a.without([][]string{chain[:i]})
		a.add(Finding{
			ID: IDUPSAlone, Component: "ups " + chain[i], Severity: SeverityOpen, Consequence: consequence,
			Evidence: append([]Evidence{{Text: "wiring: " + strings.Join(chain, " ← ")}}, evidence...), Remedy: remedy,
		})
	}
}

func (a *auditor) unnamedFeeds(ways []way) {
	if !slices.ContainsFunc(ways, func(w way) bool { return w.Feed == "" }) {
		return
	}
	a.add(Finding{
		ID: IDFeedUnknown, Component: "feeds", Severity: SeverityAdvice,
		Consequence: "whether all supplies hang on one circuit in the end cannot be told",
		Evidence:    wayEvidence(ways), Remedy: "name the feed of every path in the wiring",
	})
}

func wayEvidence(ways []way) []Evidence {
	var list []Evidence
	for _, w := range ways {
		parts := []string{w.PSU}
		if w.switched {
			parts = append(parts, "transfer switch")
		}
		for _, part := range slices.Concat([]string{w.Outlet}, w.upses, []string{w.Feed}) {
			if part != "" {
				parts = append(parts, part)
			}
		}
		list = append(list, Evidence{Text: "wiring: " + strings.Join(parts, " ← ")})
	}
	return list
}
