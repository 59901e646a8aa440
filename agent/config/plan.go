package config

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"
)

func (d *decoder) shutdown(n ast.Node) {
	s := &d.cfg.Shutdown
	var noReturn, command position
	d.object(n, "shutdown", []field{
		{"need", "need: 120s", d.duration("need", time.Second, day, "120s", &s.Need)},
		{"reserve", "reserve: 60s", d.duration("reserve", 0, day, "60s", &s.Reserve)},
		{"command", `command: ["/bin/sh", "-c", "…"]`, d.command("command", &s.Command)},
		{"power_off", "power_off: {grace: 60s}", func(n ast.Node) {
			command = nodeAt(n)
			d.powerOff(n)
		}},
		{"steps", "steps: [{name: db, unit: postgresql.service}]", d.steps},
		{"point_of_no_return", "point_of_no_return: db", func(n ast.Node) {
			noReturn = nodeAt(n)
			d.text("point_of_no_return", "db", &s.NoReturn)(n)
		}},
		{"wake", "wake: true", d.truth("wake", &s.Wake)},
	})
	if len(s.Command) == 0 && (len(s.PowerOff.Second) > 0 || len(s.PowerOff.Forced) > 0) {
		d.problem(command, "second and forced without shutdown.command", "them beside a command; the built-in power-off has its own", `command: ["/usr/local/sbin/off"]`)
	}
	d.order(noReturn)
}

func (d *decoder) powerOff(n ast.Node) {
	p := &d.cfg.Shutdown.PowerOff
	d.object(n, "power_off", []field{
		{"timeout", "timeout: 15s", d.duration("timeout", 100*time.Millisecond, time.Hour, "15s", &p.Timeout)},
		{"grace", "grace: 60s", d.duration("grace", time.Second, time.Hour, "60s", &p.Grace)},
		{"expect", "expect: 30s", d.duration("expect", time.Second, time.Hour, "30s", &p.Expect)},
		{"second", `second: ["/usr/local/sbin/off-by-bmc"]`, d.command("second", &p.Second)},
		{"forced", `forced: ["/usr/local/sbin/off-now"]`, d.command("forced", &p.Forced)},
	})
}

func (d *decoder) bootHold(n ast.Node) {
	b := &d.cfg.BootHold
	d.object(n, "boot_hold", []field{
		{"rank", "rank: 1", d.whole("rank", 0, 1000, "1", &b.Rank)},
		{"stagger", "stagger: 30s", d.duration("stagger", 0, time.Hour, "30s", &b.Stagger)},
		{"limit", "limit: 15m", d.duration("limit", 0, day, "15m", &b.Limit)},
	})
	if turn := time.Duration(b.Rank) * b.Stagger.D(); b.Limit > 0 && turn >= b.Limit.D() { // 0: no limit
		d.warn(nodeAt(n), fmt.Sprintf("boot_hold: the turn of rank %d comes %v after its battery could carry a shutdown, and limit ends every wait %v after the boot: it would not wait for its turn", b.Rank, formatDuration(turn), b.Limit),
			"a longer limit, or a shorter stagger", "limit: "+formatDuration(turn+15*time.Minute))
	}
}

// powerOff is the name under which the power-off itself is reported.
const powerOff = "power_off"

var unitForm = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|mount|timer|scope|slice|path|swap|automount)$`)

// maxSteps bounds a plan: what is checked of each with each other stays cheap.
const maxSteps = 200

func (d *decoder) steps(n ast.Node) {
	const example = "[{name: db, unit: postgresql.service}]"
	if seq, ok := n.(*ast.SequenceNode); ok && len(seq.Values) > maxSteps {
		d.problem(nodeAt(seq.Values[maxSteps]), fmt.Sprintf("%d steps", len(seq.Values)), fmt.Sprintf("at most %d", maxSteps), "")
		return
	}
	d.list("steps", example, d.step)(n)
}

// stepPlace is where the parts of a step stand.
type stepPlace struct {
	keys  map[string]position
	after []position // of each name in it
}

func (d *decoder) step(n ast.Node) {
	s := Step{Timeout: Duration(60 * time.Second), OnFailure: Continue}
	var after []position
	d.spans = nil
	fields := []field{
		{"name", "name: db", d.name(&s.Name)},
		{"after", "after: [guests]", d.after(&s, &after)},
		{"timeout", "timeout: 60s", d.duration("timeout", 100*time.Millisecond, day, "60s", &s.Timeout)},
		{"expect", "expect: 20s", d.duration("expect", 0, day, "20s", &s.Expect)},
		{"retries", "retries: 2", d.whole("retries", 0, 20, "2", &s.Retries)},
		{"retry_wait", "retry_wait: 2s", d.duration("retry_wait", 0, time.Hour, "2s", &s.RetryWait)},
		{"early", "early: {on_battery: 60s}", d.early(&s)},
		{"undo", `undo: ["/usr/local/sbin/undrain"]`, d.command("undo", &s.Undo)},
		{"user", "user: postgres", d.text("user", "postgres", &s.User)},
		{"once", "once: true", func(n ast.Node) {
			s.Once = new(bool)
			d.truth("once", s.Once)(n)
		}},
		{"on_failure", "on_failure: continue", d.choice("on_failure", []string{string(Continue), string(Stop)}, func(v string) { s.OnFailure = OnFailure(v) })},
	}
	kinds := slices.Concat(d.localKinds(&s.Do), d.remoteKinds(&s.Do))
	seen := d.object(n, "steps", slices.Concat(fields, kinds))
	d.required(n, "a step", seen, "name", "name: db")
	d.stepKind(n, s, seen, kinds)
	d.stepTimes(s)
	if slices.ContainsFunc(d.cfg.Shutdown.Steps, func(o Step) bool { return o.Name == s.Name && s.Name != "" }) {
		d.problem(seen["name"], fmt.Sprintf("step %q again", s.Name), "each name once", s.Name+"-2")
	}
	d.cfg.Shutdown.Steps = append(d.cfg.Shutdown.Steps, s)
	d.stepsAt = append(d.stepsAt, stepPlace{seen, after})
}

// after reads the names of steps; none at all means to wait for none.
func (d *decoder) after(s *Step, at *[]position) reader {
	const example = "[guests]"
	return func(n ast.Node) {
		if isNull(n) {
			d.problem(nodeAt(n), "after has no value", "a list of steps; [] where it waits for none", example)
			return
		}
		s.After = []string{}
		d.list("after", example, func(item ast.Node) {
			var name string
			d.text("an item of after", "guests", &name)(item)
			switch {
			case name == "":
			case slices.Contains(s.After, name):
				d.problem(nodeAt(item), fmt.Sprintf("after has %q twice", name), "each once", example)
			default:
				s.After, *at = append(s.After, name), append(*at, nodeAt(item))
			}
		})(n)
	}
}

// stepTimes refuses what the step's own time-out would come before.
func (d *decoder) stepTimes(s Step) {
	for _, span := range d.spans {
		if span.length >= s.Timeout {
			d.problem(span.at, fmt.Sprintf("%s is %s, and step %s ends after %s", span.key, span.length, s.Name, s.Timeout), "less than the step's timeout", "timeout: "+(2*span.length).String())
		}
	}
}

// stepKind makes sure that a step does one thing.
func (d *decoder) stepKind(n ast.Node, s Step, seen map[string]position, kinds []field) {
	var names, given []string
	for _, k := range kinds {
		names = append(names, k.key)
		if _, is := seen[k.key]; is {
			given = append(given, k.key)
		}
	}
	switch {
	case isScalar(n):
	case len(given) > 1:
		d.problem(seen[given[1]], fmt.Sprintf("step %s with both %s and %s", s.Name, given[0], given[1]), "one of them", "unit: postgresql.service")
	case len(given) == 0:
		d.problem(nodeAt(n), "step "+s.Name+" does nothing", oneOf(names), "unit: postgresql.service")
	}
	if at, is := seen["user"]; is && len(s.Command) == 0 && len(s.Undo) == 0 {
		d.problem(at, "user for a step without a command", "user beside command or undo", "")
	}
	if at, is := seen["undo"]; is && (s.HTTP != nil && s.HTTP.Undo != nil || s.SSH != nil && s.SSH.Undo != "") {
		d.problem(at, "undo again, beside the one of "+given[0], "one of them", "")
	}
	if s.Name == powerOff {
		d.problem(seen["name"], "step "+powerOff+", which is the last step's own name", "another name", "name: shutdown-storage")
	}
}

func (d *decoder) unit(into *string) reader {
	return func(n ast.Node) {
		const want, example = "the name of a systemd unit with its type", "postgresql.service"
		s, ok := d.scalar(n, "unit", want, example)
		if ok && (!unitForm.MatchString(s) || len(s) > 255) {
			d.problem(nodeAt(n), fmt.Sprintf("unit is %q", s), want, example)
			return
		}
		*into = s
	}
}

func (d *decoder) early(s *Step) reader {
	return func(n ast.Node) {
		var e Early
		before := len(d.problems)
		span := func(key string, into **Duration) field {
			return field{key, key + ": 60s", func(n ast.Node) {
				*into = new(Duration)
				d.duration(key, 0, day, "60s", *into)(n)
			}}
		}
		seen := d.object(n, "early", []field{
			span("on_battery", &e.OnBattery),
			span("below_margin", &e.BelowMargin),
			{"below_charge_pct", "below_charge_pct: 80", func(n ast.Node) {
				e.BelowChargePct = new(float64)
				d.number("below_charge_pct", "percent", 1, 100, "80", e.BelowChargePct)(n)
			}},
		})
		if len(seen) == 0 && len(d.problems) == before {
			d.problem(nodeAt(n), "early without a condition", "on_battery, below_margin or below_charge_pct", "early: {on_battery: 60s}")
		}
		s.Early = &e
	}
}
