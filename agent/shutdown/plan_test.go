package shutdown

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const planYAML = `
steps:
  - name: shed
    command: ["/usr/local/sbin/shed", "--all"]
    timeout: 30s
    expect: 10s
    early: {below_margin: 5m, below_charge_pct: 60, on_battery: 2m}
    undo: ["/usr/local/sbin/unshed"]
  - name: postgresql
    unit: postgresql@15-main.service
    timeout: 90s
    on_failure: stop
command: ["/bin/true"]
power_off: {timeout: 5s, grace: 30s, expect: 12s}
`

func TestPlanYAML(t *testing.T) {
	var got Plan
	if err := yaml.UnmarshalWithOptions([]byte(planYAML), &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want := Plan{
		Steps: []Step{
			{
				Name: "shed", Command: []string{"/usr/local/sbin/shed", "--all"}, Timeout: 30 * time.Second, Expect: 10 * time.Second,
				Early: &Early{BelowMargin: new(5 * time.Minute), BelowCharge: new(60.0), OnBattery: new(2 * time.Minute)},
				Undo:  []string{"/usr/local/sbin/unshed"},
			},
			{Name: "postgresql", Unit: "postgresql@15-main.service", Timeout: 90 * time.Second, OnFailure: Stop},
		},
		Command:  []string{"/bin/true"},
		PowerOff: PowerOff{Timeout: 5 * time.Second, Grace: 30 * time.Second, Expect: 12 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if errs := got.Validate(); len(errs) != 0 {
		t.Errorf("Validate = %v, want nothing", errs)
	}
}

func TestValidate(t *testing.T) {
	good := command("a")
	tests := map[string]struct {
		plan Plan
		want string // field; empty: nothing is wrong
		text string
	}{
		"the empty plan":       {Plan{}, "", ""},
		"an empty command":     {Plan{Command: []string{}}, "command", "is missing"},
		"no name":              {Plan{Steps: []Step{good, {Command: []string{"x"}}}}, "steps[1].name", "name: databases"},
		"a name with a space":  {Plan{Steps: []Step{command("a b")}}, "steps[0].name", `"a b"`},
		"the reserved name":    {Plan{Steps: []Step{command(PowerOffStep)}}, "steps[0].name", "not power_off"},
		"a name used twice":    {Plan{Steps: []Step{good, command("b"), good}}, "steps[2].name", "steps[0] has this one"},
		"nothing to do":        {Plan{Steps: []Step{{Name: "a"}}}, "steps[0].command", "a command or a unit"},
		"two things to do":     {Plan{Steps: []Step{{Name: "a", Unit: "x.service", Command: []string{"x"}}}}, "steps[0].unit", "not both"},
		"a unit that is flags": {Plan{Steps: []Step{{Name: "a", Unit: "--force"}}}, "steps[0].unit", "systemd unit"},
		"an escaped unit":      {Plan{Steps: []Step{{Name: "a", Unit: `srv-big\x2ddisk.mount`}}}, "", ""},
		"a program of no name": {Plan{Steps: []Step{{Name: "a", Command: []string{"", "x"}}}}, "steps[0].command", ""},
		"a zero byte":          {Plan{Steps: []Step{{Name: "a", Command: []string{"x", "a\x00b"}}}}, "steps[0].command[1]", `"a\x00b"`},
		"a negative time-out":  {Plan{Steps: []Step{{Name: "a", Unit: "u", Timeout: -time.Second}}}, "steps[0].timeout", "-1s"},
		"an endless time-out":  {Plan{Steps: []Step{{Name: "a", Unit: "u", Timeout: 25 * time.Hour}}}, "steps[0].timeout", "24h"},
		"another on_failure":   {Plan{Steps: []Step{{Name: "a", Unit: "u", OnFailure: "panic"}}}, "steps[0].on_failure", "continue or stop"},
		"early for no reason":  {Plan{Steps: []Step{{Name: "a", Unit: "u", Early: &Early{}}}}, "steps[0].early", "on_battery: 5m"},
		"a charge of 150":      {Plan{Steps: []Step{{Name: "a", Unit: "u", Early: &Early{BelowCharge: new(150.0)}}}}, "steps[0].early.below_charge_pct", "150"},
		"an empty undo":        {Plan{Steps: []Step{{Name: "a", Unit: "u", Undo: []string{}}}}, "steps[0].undo", ""},
		"a negative grace":     {Plan{PowerOff: PowerOff{Grace: -1}}, "power_off.grace", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			errs := tt.plan.Validate()
			if tt.want == "" && len(errs) == 0 {
				return
			}
			if len(errs) != 1 || errs[0].Field != tt.want || !strings.Contains(errs[0].Error(), tt.text) ||
				!strings.HasPrefix(errs[0].Error(), "shutdown."+tt.want) {
				t.Errorf("Validate = %v, want one error at %q that says %q", errs, tt.want, tt.text)
			}
		})
	}
}

func TestEarlyDue(t *testing.T) {
	p := Plan{Steps: []Step{
		{Name: "margin", Early: &Early{BelowMargin: new(2 * time.Minute)}},
		{Name: "late"},
		{Name: "charge", Early: &Early{BelowCharge: new(50.0)}},
		{Name: "time", Early: &Early{OnBattery: new(time.Minute)}},
	}}
	tests := map[string]struct {
		s    State
		want string
	}{
		"on mains nothing is due":        {State{Margin: new(time.Duration(0)), Charge: new(1.0)}, ""},
		"nothing is known but the time":  {State{OnBattery: new(59 * time.Second)}, ""},
		"at the threshold of time":       {State{OnBattery: new(time.Minute)}, "time"},
		"at the threshold of margin":     {State{OnBattery: new(time.Second), Margin: new(2 * time.Minute)}, ""},
		"below the threshold of margin":  {State{OnBattery: new(time.Second), Margin: new(119 * time.Second)}, "margin"},
		"negative margin and low charge": {State{OnBattery: new(time.Second), Margin: new(-time.Second), Charge: new(49.9)}, "margin charge"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(p.EarlyDue(tt.s, nil), " "); got != tt.want {
				t.Errorf("EarlyDue(%+v) = %q, want %q", tt.s, got, tt.want)
			}
		})
	}
	if got := p.EarlyDue(State{OnBattery: new(time.Hour)}, map[string]bool{"time": true}); len(got) != 0 {
		t.Errorf("EarlyDue = %v, want nothing that is done", got)
	}
}

// decode guards against the library: goccy/go-yaml v1.19.2 dereferences nil when a list
// is written as a scalar with an unknown tag.
func decode(text string, p *Plan) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return yaml.UnmarshalWithOptions([]byte(text), p, yaml.Strict())
}

// Whatever a file says, the plan is either refused with the field or can be run.
func FuzzPlan(f *testing.F) {
	f.Add(planYAML)
	f.Add("steps: [{name: a, unit: b, early: {on_battery: -1s}}]")
	f.Add("steps: [{name: a, command: !x 0}]")
	f.Add("steps: [{name: a, command: [], timeout: 99h}]\ncommand: ['']")
	f.Fuzz(func(t *testing.T, text string) {
		var p Plan
		if decode(text, &p) != nil {
			return
		}
		errs := p.Validate()
		for _, err := range errs {
			if err.Field == "" || err.Want == "" {
				t.Fatalf("an error without field or wish: %+v", err)
			}
		}
		if len(errs) > 0 {
			return
		}
		if n := p.Need(nil, 0, nil); n.Total < 0 {
			t.Fatalf("need of a valid plan is %v", n.Total)
		}
		for i := range p.Steps {
			s := &p.Steps[i]
			if args := s.args(); len(args) == 0 || args[0] == "" || s.timeout() <= 0 || s.Reversible() != (len(s.undoArgs()) > 0) {
				t.Fatalf("a valid step that cannot be run: %+v", s)
			}
		}
	})
}
