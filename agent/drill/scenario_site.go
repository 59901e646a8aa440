package drill

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/goccy/go-yaml/ast"
)

const scenarioMaxPaths = 64

// wiring reads how the power supplies are fed: [{psu, outlet, ups, feed}].
func (p *scenarioParser) wiring(n ast.Node) {
	nodes := p.list(n, "a list of {psu, outlet, ups, feed}")
	if p.err == nil && len(nodes) > scenarioMaxPaths {
		p.fail(n, fmt.Sprintf("%d paths", len(nodes)), fmt.Sprintf("at most %d", scenarioMaxPaths))
	}
	for _, n := range nodes {
		var w dodai.Path
		p.object(n, "a path", map[string]func(ast.Node){
			"psu":    func(n ast.Node) { w.PSU = p.text(n, "a power supply") },
			"outlet": func(n ast.Node) { w.Outlet = p.text(n, "an outlet") },
			"ups":    func(n ast.Node) { w.UPS = p.ups(n) },
			"feed":   func(n ast.Node) { w.Feed = p.text(n, "a feed") },
		})
		switch {
		case p.err != nil:
			return
		case w.PSU == "" || strings.ContainsAny(w.PSU, ": "):
			p.fail(n, fmt.Sprintf("power supply %q", w.PSU), "psu: with a name, without blanks and colons")
		case w.UPS == "" && w.Feed == "":
			p.fail(n, "a path from nowhere", "ups or feed")
		case slices.Contains(p.s.Paths, w):
			p.fail(n, "the same path a second time", "each path once")
		}
		p.s.Paths = append(p.s.Paths, w)
	}
}

// ups reads the name of one of the scenario's UPSes.
func (p *scenarioParser) ups(n ast.Node) string {
	id := p.text(n, "a UPS id")
	if p.err == nil && !slices.Contains(p.s.UPSes, id) {
		p.fail(n, fmt.Sprintf("unknown UPS %q", id), "one of "+strings.Join(p.s.UPSes, ", "))
	}
	return id
}

// links reads which UPS takes its input from which: [{ups, fed_by}].
func (p *scenarioParser) links(n ast.Node) {
	for _, n := range p.list(n, "a list of {ups, fed_by}") {
		var l dodai.Link
		p.object(n, "a link", map[string]func(ast.Node){
			"ups":    func(n ast.Node) { l.UPS = p.ups(n) },
			"fed_by": func(n ast.Node) { l.FedBy = p.ups(n) },
		})
		switch {
		case p.err != nil:
			return
		case l.UPS == "" || l.FedBy == "":
			p.fail(n, "an incomplete link", "ups and fed_by")
		case slices.ContainsFunc(p.s.Links, func(k dodai.Link) bool { return k.UPS == l.UPS }):
			p.fail(n, fmt.Sprintf("%s is fed a second time", l.UPS), "one fed_by for each UPS")
		case p.upstream(l.FedBy, l.UPS):
			p.fail(n, fmt.Sprintf("%s would feed itself", l.UPS), "UPSes in a row")
		}
		p.s.Links = append(p.s.Links, l)
	}
}

// upstream reports whether a UPS is from, or feeds from by way of others.
func (p *scenarioParser) upstream(from, ups string) bool {
	for range len(p.s.Links) + 1 {
		if from == ups {
			return true
		}
		i := slices.IndexFunc(p.s.Links, func(k dodai.Link) bool { return k.UPS == from })
		if i < 0 {
			return false
		}
		from = p.s.Links[i].FedBy
	}
	return false
}
