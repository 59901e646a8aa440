package config

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/dodai-agent/dodai"
)

// root reads the whole file.
func (d *decoder) root(n ast.Node) {
	d.object(n, "the file", []field{
		d.deviceList("ups", "[{name: u1, driver: megatec, port: /dev/ttyS0}]", dodai.KindUPS, &d.cfg.UPS),
		d.deviceList("arrays", "[{name: md, driver: md}]", dodai.KindArrays, &d.cfg.Arrays),
		d.deviceList("disks", "[{name: disks, driver: smartctl}]", dodai.KindDisks, &d.cfg.Disks),
		d.deviceList("psus", "[{name: bmc, driver: ipmi}]", dodai.KindPSUs, &d.cfg.PSUs),
		d.deviceList("pdus", `[{name: pdu1, driver: snmp, address: "192.0.2.10:161"}]`, dodai.KindPDU, &d.cfg.PDUs),
		{"wiring", "wiring: [{psu: \"10.1\", ups: u1, feed: A}]", d.list("wiring", "[{psu: \"10.1\", ups: u1}]", d.path)},
		{"host", "host: {name: db1}", d.host},
		{"mode", "mode: observe", d.mode},
		{"shutdown", "shutdown: {need: 120s}", d.shutdown},
		{"boot_hold", "boot_hold: {rank: 1}", d.bootHold},
		{"policy", "policy: {min_charge_pct: 20}", d.policy},
		{"hooks", "hooks: [{on: [mains_lost], command: [\"/usr/local/bin/notify\", \"{event}\"]}]", d.list("hooks", "[{on: [mains_lost], command: [\"/bin/true\"]}]", d.hook)},
		{"export", "export: {listen: \"127.0.0.1:9777\"}", d.export},
		{"journal", "journal: {keep_events: 2y}", d.journal},
		{"drills", "drills: [{name: monthly, scenario: mains_loss}]", d.list("drills", "[{name: monthly, scenario: mains_loss}]", d.drill)},
	})
}

func (d *decoder) mode(n ast.Node) {
	d.modeAt = nodeAt(n)
	d.choice("mode", []string{string(Observe), string(Armed)}, func(s string) { d.cfg.Mode = Mode(s) })(n)
}

func (d *decoder) host(n ast.Node) {
	h := &d.cfg.Host
	d.object(n, "host", []field{
		{"name", "name: db1", d.text("name", "db1", &h.Name)},
		{"tags", "tags: {rack: r7}", d.tags},
	})
}

func (d *decoder) tags(n ast.Node) {
	entries, _ := d.entries(n, "tags", "{rack: r7}")
	seen := map[string]position{}
	for _, e := range entries {
		key, value := e.Key.GetToken().Value, ""
		if d.twice(seen, key, nodeAt(e.Key)) {
			continue
		}
		if !labelName(key) {
			d.problem(nodeAt(e.Key), fmt.Sprintf("tag %q", key), "letters, digits and underscores, not beginning with a digit", "rack: r7")
			continue
		}
		d.text("tag "+key, "r7", &value)(e.Value)
		if d.cfg.Host.Tags == nil {
			d.cfg.Host.Tags = map[string]string{}
		}
		d.cfg.Host.Tags[key] = value
	}
}

// labelName reports whether s can be the name of a Prometheus label of an operator.
func labelName(s string) bool {
	for i, r := range s {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 64 && !strings.HasPrefix(s, "__")
}

// path reads one line of the wiring. What it names is checked once the file is read.
func (d *decoder) path(n ast.Node) {
	var p dodai.Path
	before := len(d.problems)
	d.object(n, "wiring", []field{
		{"psu", `psu: "10.1"`, d.text("psu", `"10.1"`, &p.PSU)},
		{"outlet", "outlet: pdu1/3", d.text("outlet", "pdu1/3", &p.Outlet)},
		{"ups", "ups: u1", d.text("ups", "u1", &p.UPS)},
		{"feed", "feed: A", d.text("feed", "A", &p.Feed)},
	})
	defer func() { d.wiringBad = d.wiringBad || len(d.problems) > before }()
	if len(d.problems) > before {
		return
	}
	switch pos := nodeAt(n); {
	case p.PSU == "":
		d.problem(pos, "wiring without a psu", "the power supply this line is about", `psu: "10.1"`)
	case p.UPS == "" && p.Outlet == "" && p.Feed == "":
		d.problem(pos, "wiring of psu "+p.PSU+" leads nowhere", "at least one of outlet, ups, feed", "ups: u1")
	case slices.Contains(d.cfg.Wiring, p):
		d.problem(pos, "the same wiring again", "each path once", `{psu: "10.2", ups: u2}`)
	default:
		d.cfg.Wiring = append(d.cfg.Wiring, p)
		d.wiringAt = append(d.wiringAt, pos)
	}
}

func (d *decoder) hook(n ast.Node) {
	h := Hook{Timeout: Duration(10 * time.Second)}
	seen := d.object(n, "hooks", []field{
		{"on", "on: [mains_lost]", d.events(&h.On)},
		{"command", `command: ["/usr/local/bin/notify", "{event}"]`, func(n ast.Node) {
			d.command("command", &h.Command)(n)
			d.placeholders(n, h.Command)
		}},
		{"timeout", "timeout: 10s", d.duration("timeout", 100*time.Millisecond, time.Hour, "10s", &h.Timeout)},
		{"user", "user: nobody", d.text("user", "nobody", &h.User)},
	})
	d.required(n, "a hook", seen, "on", "on: [mains_lost]")
	d.required(n, "a hook", seen, "command", `command: ["/usr/local/bin/notify", "{event}"]`)
	d.cfg.Hooks = append(d.cfg.Hooks, h)
}

// required reports a key that is not there.
func (d *decoder) required(n ast.Node, what string, seen map[string]position, key, example string) {
	if _, there := seen[key]; !there && !isScalar(n) {
		d.problem(nodeAt(n), fmt.Sprintf("%s without %q", what, key), key, example)
	}
}

func isScalar(n ast.Node) bool {
	switch n.(type) {
	case nil, *ast.NullNode, *ast.MappingNode, *ast.MappingValueNode:
		return false
	}
	return true
}

func (d *decoder) events(into *[]dodai.EventName) reader {
	known := make([]string, len(dodai.EventNames))
	for i, name := range dodai.EventNames {
		known[i] = string(name)
	}
	return func(n ast.Node) {
		d.list("on", "[mains_lost, mains_restored]", func(item ast.Node) {
			s, ok := d.scalar(item, "an event", "a name", "mains_lost")
			if ok && !slices.Contains(known, s) {
				d.problem(nodeAt(item), fmt.Sprintf("unknown event %q%s", s, Meant(s, known)), oneOf(known), "mains_lost")
				return
			}
			*into = append(*into, dodai.EventName(s))
		})(n)
		if seq, ok := n.(*ast.SequenceNode); isNull(n) || (ok && len(seq.Values) == 0) {
			d.problem(nodeAt(n), "on is empty", "at least one event", "[mains_lost]")
		}
	}
}

// command reads a program and its arguments.
func (d *decoder) command(where string, into *[]string) reader {
	return func(n ast.Node) {
		d.texts(where, `["/usr/bin/systemctl", "stop", "app.service"]`, into)(n)
		if len(*into) > 0 && (*into)[0] == "" {
			d.problem(nodeAt(n), where+" names no program", "the program first", `["/bin/sh", "-c", "…"]`)
		}
		if seq, ok := n.(*ast.SequenceNode); ok && len(seq.Values) > 0 && len(*into) == len(seq.Values) {
			d.program(nodeAt(seq.Values[0]), where, (*into)[0])
		}
	}
}

func (d *decoder) export(n ast.Node) {
	e := &d.cfg.Export
	d.object(n, "export", []field{
		{"listen", `listen: "127.0.0.1:9777"`, d.listen},
		{"textfile", "textfile: /var/lib/prometheus/node-exporter/dodai.prom", d.textfile},
		{"interval", "interval: 15s", d.duration("interval", time.Second, time.Hour, "15s", &e.Interval)},
	})
}

func (d *decoder) listen(n ast.Node) {
	const want, example = "host:port", `"127.0.0.1:9777"`
	s, ok := d.scalar(n, "listen", want, example)
	if !ok {
		return
	}
	_, port, err := net.SplitHostPort(s)
	if number, bad := strconv.Atoi(port); err != nil || bad != nil || number < 0 || number > 65535 {
		d.problem(nodeAt(n), fmt.Sprintf("listen is %q", s), want, example)
		return
	}
	d.cfg.Export.Listen = s
}

func (d *decoder) textfile(n ast.Node) {
	const example = "/var/lib/prometheus/node-exporter/dodai.prom"
	var s string
	d.text("textfile", example, &s)(n)
	if s != "" && (!filepath.IsAbs(s) || filepath.Ext(s) != ".prom") {
		d.problem(nodeAt(n), fmt.Sprintf("textfile is %q", s), "an absolute path that ends in .prom; node_exporter reads no others", example)
		return
	}
	d.cfg.Export.Textfile = s
}

func (d *decoder) journal(n ast.Node) {
	j := &d.cfg.Journal
	d.object(n, "journal", []field{
		{"dir", "dir: /var/lib/dodai", d.absolute("dir", "/var/lib/dodai", &j.Dir)},
		{"keep_events", "keep_events: 2y", d.duration("keep_events", day, 100*year, "2y", &j.KeepEvents)},
		{"keep_samples", "keep_samples: 30d", d.duration("keep_samples", time.Hour, 100*year, "30d", &j.KeepSamples)},
	})
}

func (d *decoder) absolute(where, example string, into *string) reader {
	return func(n ast.Node) {
		var s string
		d.text(where, example, &s)(n)
		if s != "" && !filepath.IsAbs(s) {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), "an absolute path", example)
			return
		}
		*into = s
	}
}

func (d *decoder) drill(n ast.Node) {
	r := Drill{Level: Levels[0]}
	var scenarioAt position
	seen := d.object(n, "drills", []field{
		{"name", "name: monthly", d.name(&r.Name)},
		{"scenario", "scenario: mains_loss", func(n ast.Node) {
			scenarioAt = nodeAt(n)
			d.text("scenario", "mains_loss", &r.Scenario)(n)
		}},
		{"level", "level: tabletop", d.level(&r.Level)},
		{"objectives", "objectives: {detect_s: 5}", d.objectives(&r.Objectives)},
	})
	d.required(n, "a drill", seen, "name", "name: monthly")
	d.required(n, "a drill", seen, "scenario", "scenario: mains_loss")
	if r.Scenario != "" {
		d.scenario(scenarioAt, r.Scenario)
	}
	if d.files != nil && r.Scenario != "" && !slices.Contains(Scenarios, r.Scenario) {
		r.Scenario = d.files.path(r.Scenario) // the agent works in another folder
	}
	if slices.ContainsFunc(d.cfg.Drills, func(o Drill) bool { return o.Name == r.Name && r.Name != "" }) {
		d.problem(seen["name"], fmt.Sprintf("drill %q again", r.Name), "each name once", r.Name+"-2")
	}
	d.cfg.Drills = append(d.cfg.Drills, r)
}

func (d *decoder) level(into *string) reader {
	known := Levels
	return func(n ast.Node) {
		s, ok := d.scalar(n, "level", oneOf(known), known[0])
		switch planned := d.files == nil && slices.Contains(plannedLevels, s); {
		case !ok:
		case slices.Contains(known, s) || planned:
			*into = s
		default:
			d.problem(nodeAt(n), fmt.Sprintf("level is %q%s", s, Meant(s, known)), oneOf(known), known[0])
		}
	}
}

// scenario checks a built-in name, or the path of a file, which has a slash or ends in
// .yaml.
func (d *decoder) scenario(pos position, s string) {
	if slices.Contains(Scenarios, s) {
		return
	}
	if !strings.Contains(s, "/") && !strings.HasSuffix(s, ".yaml") {
		d.problem(pos, fmt.Sprintf("unknown scenario %q%s", s, Meant(s, Scenarios)), oneOf(Scenarios)+", or the path of a .yaml file", "mains_loss")
		return
	}
	if d.files != nil {
		if err := d.files.exists(s); err != nil {
			d.problem(pos, fmt.Sprintf("scenario %s: %v", s, err), "a file that can be read", "/etc/dodai/scenarios/storm.yaml")
		}
	}
}

func (d *decoder) objectives(o *Objectives) reader {
	return func(n ast.Node) {
		seconds := func(key string, into **float64) field {
			return field{key, key + ": 5", func(n ast.Node) {
				*into = new(float64)
				d.number(key, "seconds", 0, 86400, "5", *into)(n)
			}}
		}
		d.object(n, "objectives", []field{
			seconds("detect_s", &o.DetectS), seconds("decide_s", &o.DecideS),
			seconds("stopped_s", &o.StoppedS), seconds("margin_s", &o.MarginS),
		})
	}
}
