package config

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
)

// limit is the range of one policy key, both ends included.
type limit struct {
	lo, hi float64
	unit   string
}

// limits has a row for each number below `policy:`. The seconds' upper ends are there
// to catch milliseconds and slips of the finger.
var limits = map[string]limit{
	"poll_batt_s":         {0.02, 3600, "seconds"},
	"retry_s":             {0.02, 60, "seconds"},
	"stale_s":             {1, 3600, "seconds"},
	"frozen_s":            {1, 86400, "seconds"},
	"min_charge_pct":      {0, 100, "percent"},
	"confirm_polls":       {1, 100, "polls"},
	"confirm_s":           {0, 60, "seconds"},
	"max_onbatt_s":        {0, 604800, "seconds"},
	"no_metrics_onbatt_s": {0, 86400, "seconds"},
	"comms_lost_batt_s":   {0, 86400, "seconds"},
	"comms_lost_line_s":   {1, 604800, "seconds"},
	"off_confirm_s":       {0, 3600, "seconds"},
	"hysteresis_s":        {0, 3600, "seconds"},
	"min_supplies":        {1, 64, "feeds"},
	"lb_trust_s":          {0, 86400, "seconds"},
	"boot_min_charge_pct": {0, 100, "percent"},
}

// policy reads the keys of policy.Config, which names them itself.
func (d *decoder) policy(n ast.Node) {
	v := reflect.ValueOf(&d.cfg.Policy).Elem()
	defaults := reflect.ValueOf(policy.Default())
	var fields []field
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		fields = append(fields, field{key, key + ": " + example(key, defaults.Field(i)), d.policyKey(key, v.Field(i), example(key, defaults.Field(i)))})
	}
	seen := d.object(n, "policy", fields)
	if at, given := seen["min_supplies"]; given {
		d.minSupplies = &at
	}
	if at, given := seen["load_shift"]; given {
		d.loadShift = &at
	}
}

// example is the default, or a plausible value where that is none.
func example(key string, v reflect.Value) string {
	if v.Kind() != reflect.Pointer {
		return fmt.Sprint(v.Interface())
	}
	if key == "lb_trust_s" {
		return "30"
	}
	return "600"
}

func (d *decoder) policyKey(key string, v reflect.Value, example string) reader {
	if v.Kind() == reflect.Bool {
		return d.truth(key, v.Addr().Interface().(*bool))
	}
	l := limits[key]
	return func(n ast.Node) {
		if v.Kind() == reflect.Pointer && isNull(n) {
			v.SetZero()
			return
		}
		before, f := len(d.problems), 0.0
		d.number(key, l.unit, l.lo, l.hi, example, &f)(n)
		if len(d.problems) > before {
			return
		}
		d.set(n, key, v, f, example)
	}
}

func (d *decoder) set(n ast.Node, key string, v reflect.Value, f float64, example string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		v.Elem().SetFloat(f)
	case reflect.Int:
		if f != float64(int(f)) {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %v", key, f), "a whole number", example)
			return
		}
		v.SetInt(int64(f))
	default:
		v.SetFloat(f)
	}
}

// together checks what only the whole file shows.
func (d *decoder) together() {
	c := d.cfg
	c.Policy.Need, c.Policy.Reserve = c.Shutdown.Need.D(), c.Shutdown.Reserve.D()
	d.links()
	d.wiring()
	d.supplies()
	d.listeners()
}

// listeners warns of steps that speak to hooks of which there are none.
func (d *decoder) listeners() {
	for _, h := range d.cfg.Hooks {
		if slices.Contains(h.On, dodai.EventNotification) {
			return
		}
	}
	for i, s := range d.cfg.Shutdown.Steps {
		if s.Notify != "" {
			d.warn(d.stepsAt[i].keys["notify"], fmt.Sprintf("step %s notifies nobody", s.Name), "a hook on the event notification",
				`hooks: [{on: [notification], command: ["/usr/local/bin/notify", "{text}"]}]`)
		}
	}
}

// supplies refuses to be armed on a guess: with several UPSes, a feed that exists only
// in the configuration would keep the host up until it crashes.
func (d *decoder) supplies() {
	c := d.cfg
	n := len(c.UPS)
	if c.Mode == Armed && n > 1 && len(c.Wiring) == 0 && d.minSupplies == nil && !d.wiringBad {
		d.problem(d.modeAt, fmt.Sprintf("mode is armed with %d UPSes, and nothing says how many of them the host needs", n),
			"wiring, or policy.min_supplies", "policy: {min_supplies: 1}")
	}
	if c.Mode == Armed && n == 0 {
		d.warn(d.modeAt, "mode is armed without a UPS: there is nothing to decide from", "a UPS", "ups: [{name: u1, driver: megatec, port: /dev/ttyS0}]")
	}
	if d.loadShift != nil && c.Policy.LoadShift && n > 1 && len(c.Wiring) == 0 && !d.wiringBad {
		d.warn(*d.loadShift, fmt.Sprintf("load_shift is true with %d UPSes and without wiring: nothing says which of them carry this host together", n),
			"wiring, without which each counts by itself", fmt.Sprintf("wiring: [{psu: %q, ups: %s}, {psu: %q, ups: %s}]", "10.1", c.UPS[0].Name, "10.2", c.UPS[1].Name))
	}
	if d.minSupplies != nil && !d.wiringBad {
		d.enough(*d.minSupplies)
	}
}

// enough refuses to need more than there is: power supplies where the wiring names them,
// else UPSes that this host may hang on.
func (d *decoder) enough(at position) {
	c := d.cfg
	n, of := len(c.wired()), "power supplies in the wiring"
	if n == 0 {
		n, of = len(c.UPS), "UPSes"
		for _, u := range c.UPS {
			if c.feeds(u.Name) {
				n, of = n-1, "UPSes that feed no other one"
			}
		}
	}
	if n > 0 && c.Policy.MinSupplies > n {
		d.problem(at, fmt.Sprintf("min_supplies is %d with %d %s: the host would be shut down at once", c.Policy.MinSupplies, n, of),
			fmt.Sprintf("at most %d", n), "min_supplies: 1")
	}
}

func deviceNames(devices []Device) []string {
	names := make([]string, len(devices))
	for i, dev := range devices {
		names[i] = dev.Name
	}
	return names
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
