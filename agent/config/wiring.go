package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/dodai-agent/dodai"
)

// Links are the UPSes that take their input from another UPS, in the order of the file.
// A configuration that Load has taken has no circle among them, and each names a UPS
// that is configured.
func (c *Config) Links() []dodai.Link {
	var links []dodai.Link
	for _, u := range c.UPS {
		if u.FedBy != "" {
			links = append(links, dodai.Link{UPS: u.Name, FedBy: u.FedBy})
		}
	}
	return links
}

// chain is a UPS and those it stands behind, the nearest first. A circle is gone round
// once.
func (c *Config) chain(ups string) []string {
	var chain []string
	for ups != "" && !slices.Contains(chain, ups) {
		chain = append(chain, ups)
		ups = c.fedBy(ups)
	}
	return chain
}

// fedBy is the UPS before this one, or "".
func (c *Config) fedBy(ups string) string {
	i := slices.IndexFunc(c.UPS, func(u Device) bool { return u.Name == ups })
	if i < 0 {
		return ""
	}
	return c.UPS[i].FedBy
}

// feeds reports whether another UPS stands behind this one.
func (c *Config) feeds(ups string) bool {
	return slices.ContainsFunc(c.UPS, func(u Device) bool { return u.FedBy == ups && u.Name != ups })
}

// supply is a power supply with its lines of the wiring, as indices of Config.Wiring.
// Several are the inputs of a transfer switch before it.
type supply struct {
	psu    string
	inputs []int
}

// wired groups the wiring by power supply, in the order of the file.
func (c *Config) wired() []supply {
	var out []supply
	for i, p := range c.Wiring {
		at := slices.IndexFunc(out, func(s supply) bool { return s.psu == p.PSU })
		if at < 0 {
			at, out = len(out), append(out, supply{psu: p.PSU})
		}
		out[at].inputs = append(out[at].inputs, i)
	}
	return out
}

// WiringText says in words what hangs on what: a line for each UPS behind another one,
// then a line for each power supply of the wiring. Nothing is said where nothing is
// configured.
func (c *Config) WiringText() []string {
	var lines []string
	for _, l := range c.Links() {
		lines = append(lines, "ups "+l.UPS+": fed by ups "+l.FedBy)
	}
	for _, s := range c.wired() {
		words := make([]string, len(s.inputs))
		for i, at := range s.inputs {
			words[i] = c.inputText(c.Wiring[at])
		}
		text := words[0]
		if len(words) > 1 {
			text = "transfer switch of " + and(words)
		}
		lines = append(lines, "psu "+s.psu+": "+text)
	}
	return lines
}

// inputText is one way power comes in: "rack behind room (feed A, outlet pdu1/3)".
func (c *Config) inputText(p dodai.Path) string {
	text, through := "the mains", []string{}
	if p.UPS != "" {
		text = strings.Join(c.chain(p.UPS), " behind ")
	}
	if p.Feed != "" {
		through = append(through, "feed "+p.Feed)
	}
	if p.Outlet != "" {
		through = append(through, "outlet "+p.Outlet)
	}
	if len(through) > 0 {
		text += " (" + strings.Join(through, ", ") + ")"
	}
	return text
}

// and lists things in a sentence: "a, b and c".
func and(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// fedBy is the key of a UPS that stands behind another one. What it names is checked
// once the file is read.
func (d *decoder) fedBy(e *entry) field {
	return field{"fed_by", "fed_by: room", func(n ast.Node) {
		e.fedByAt = nodeAt(n)
		d.text("fed_by", "room", &e.FedBy)(n)
	}}
}

// links checks what UPSes say of each other.
func (d *decoder) links() {
	c := d.cfg
	for _, l := range c.Links() {
		at, others := d.fedByAt[l.UPS], without(deviceNames(c.UPS), l.UPS)
		const want = "the name of another UPS below ups; a utility circuit is `feed` in the wiring"
		example := "fed_by: " + firstOf(first(others), "room")
		switch {
		case l.UPS == "": // has no name, which is another mistake
		case l.UPS == l.FedBy:
			d.problem(at, "ups "+l.UPS+" is fed by itself", want, example)
		case slices.Contains(others, l.FedBy):
		case d.devices[l.FedBy] != position{}:
			d.problem(at, fmt.Sprintf("ups %s is fed by %s, which is no UPS", l.UPS, l.FedBy), want, example)
		default:
			d.problem(at, fmt.Sprintf("ups %s is fed by the unknown UPS %q%s", l.UPS, l.FedBy, Meant(l.FedBy, others)), want, example)
		}
	}
	d.circles()
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == name || s == "" })
}

// circles reports UPSes that feed each other, each circle once, at its first UPS in the
// file.
func (d *decoder) circles() {
	told := map[string]bool{}
	for _, u := range d.cfg.UPS {
		chain := d.cfg.chain(u.Name)
		if len(chain) < 2 || told[u.Name] || d.cfg.fedBy(chain[len(chain)-1]) != u.Name {
			continue // one that leads into a circle does not stand in it
		}
		for _, name := range chain {
			told[name] = true
		}
		d.problem(d.fedByAt[u.Name], "UPSes feed each other in a circle: "+strings.Join(append(chain, u.Name), " ← "),
			"an end that the mains feed: one of them without fed_by", "{name: "+chain[len(chain)-1]+", driver: nut}")
	}
}

// wiring checks what the lines of the wiring name, and what they leave out.
func (d *decoder) wiring() {
	c := d.cfg
	fed := map[string]bool{}
	for i, p := range c.Wiring {
		fed[p.UPS] = true
		d.named(p.UPS, p.Outlet, d.wiringAt[i])
	}
	for _, u := range c.UPS {
		if len(c.Wiring) > 0 && !fed[u.Name] && !c.feeds(u.Name) && u.Name != "" {
			d.warn(d.devices[u.Name], "ups "+u.Name+" feeds no power supply in the wiring", "a line for each supply it feeds", "wiring: [{psu: \"10.1\", ups: "+u.Name+"}]")
		}
	}
	for _, s := range c.wired() {
		d.transferSwitch(s)
	}
}

func (d *decoder) named(ups, outlet string, at position) {
	c := d.cfg
	names := deviceNames(c.UPS)
	if ups != "" && !slices.Contains(names, ups) {
		d.problem(at, fmt.Sprintf("wiring names the unknown UPS %q%s", ups, Meant(ups, names)), "the name of a UPS below ups", "ups: "+firstOf(first(names), "u1"))
	}
	pdu, _, numbered := strings.Cut(outlet, "/")
	names = deviceNames(c.PDUs)
	if numbered && len(names) > 0 && !slices.Contains(names, pdu) {
		d.problem(at, fmt.Sprintf("wiring names the unknown PDU %q%s", pdu, Meant(pdu, names)), "the name of a device below pdus", "outlet: "+names[0]+"/3")
	}
}

// transferSwitch warns of one whose inputs all hang on the same thing: when that fails
// there is nothing to switch to.
func (d *decoder) transferSwitch(s supply) {
	if len(s.inputs) < 2 {
		return
	}
	c := d.cfg
	common := c.partsOf(c.Wiring[s.inputs[0]])
	for _, at := range s.inputs[1:] {
		parts := c.partsOf(c.Wiring[at])
		common = slices.DeleteFunc(common, func(part string) bool { return !slices.Contains(parts, part) })
	}
	if len(common) == 0 {
		return
	}
	all := "both"
	if len(s.inputs) > 2 {
		all = fmt.Sprintf("all %d", len(s.inputs))
	}
	d.warn(d.wiringAt[s.inputs[1]], fmt.Sprintf("%s inputs of the transfer switch before psu %s hang on %s: when that fails there is nothing to switch to", all, s.psu, and(common)),
		"inputs that do not fail together: another UPS and another feed", fmt.Sprintf("{psu: %q, feed: B}", s.psu))
}

// partsOf is all a path hangs on, the nearest first.
func (c *Config) partsOf(p dodai.Path) []string {
	var parts []string
	if pdu, _, numbered := strings.Cut(p.Outlet, "/"); numbered {
		parts = append(parts, "pdu "+pdu)
	}
	for _, ups := range c.chain(p.UPS) {
		parts = append(parts, "ups "+ups)
	}
	if p.Feed != "" {
		parts = append(parts, "feed "+p.Feed)
	}
	return parts
}
