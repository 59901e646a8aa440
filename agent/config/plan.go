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
	d.object(n, "shutdown", []field{
		{"need", "need: 120s", d.duration("need", time.Second, day, "120s", &s.Need)},
		{"reserve", "reserve: 60s", d.duration("reserve", 0, day, "60s", &s.Reserve)},
		{"command", `command: ["/bin/sh", "-c", "…"]`, d.command("command", &s.Command)},
		{"steps", "steps: [{name: db, unit: postgresql.service}]", d.list("steps", "[{name: db, unit: postgresql.service}]", d.step)},
	})
}

// powerOff is the name under which the power-off itself is reported.
const powerOff = "power_off"

var unitForm = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|mount|timer|scope|slice|path|swap|automount)$`)

func (d *decoder) step(n ast.Node) {
	s := Step{Timeout: Duration(60 * time.Second), OnFailure: Continue}
	seen := d.object(n, "steps", []field{
		{"name", "name: db", d.name(&s.Name)},
		{"command", `command: ["/usr/local/sbin/drain"]`, d.command("command", &s.Command)},
		{"unit", "unit: postgresql.service", d.unit(&s.Unit)},
		{"timeout", "timeout: 60s", d.duration("timeout", 100*time.Millisecond, day, "60s", &s.Timeout)},
		{"expect", "expect: 20s", d.duration("expect", 0, day, "20s", &s.Expect)},
		{"early", "early: {on_battery: 60s}", d.early(&s)},
		{"undo", `undo: ["/usr/local/sbin/undrain"]`, d.command("undo", &s.Undo)},
		{"on_failure", "on_failure: continue", d.choice("on_failure", []string{string(Continue), string(Stop)}, func(v string) { s.OnFailure = OnFailure(v) })},
	})
	d.required(n, "a step", seen, "name", "name: db")
	d.stepKind(n, s, seen)
	if slices.ContainsFunc(d.cfg.Shutdown.Steps, func(o Step) bool { return o.Name == s.Name && s.Name != "" }) {
		d.problem(seen["name"], fmt.Sprintf("step %q again", s.Name), "each name once", s.Name+"-2")
	}
	d.cfg.Shutdown.Steps = append(d.cfg.Shutdown.Steps, s)
}

func (d *decoder) stepKind(n ast.Node, s Step, seen map[string]position) {
	_, command := seen["command"]
	unit, isUnit := seen["unit"]
	switch {
	case isScalar(n):
	case command && isUnit:
		d.problem(unit, "step "+s.Name+" with both command and unit", "one of them", "unit: postgresql.service")
	case !command && !isUnit:
		d.problem(nodeAt(n), "step "+s.Name+" does nothing", "a command or a unit", "unit: postgresql.service")
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
