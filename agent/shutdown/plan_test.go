package shutdown

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	good := command("a")
	tests := map[string]struct {
		plan Plan
		want string // field; empty: nothing is wrong
		text string
	}{
		"the empty plan":       {Plan{}, "", ""},
		"an empty command":     {Plan{Command: []string{}}, "command", "is missing"},
		"no name":              {Plan{Steps: []Step{good, {Do: Program{Args: []string{"x"}}}}}, "steps[1].name", "name: databases"},
		"a name with a space":  {Plan{Steps: []Step{command("a b")}}, "steps[0].name", `"a b"`},
		"the reserved name":    {Plan{Steps: []Step{command(PowerOffStep)}}, "steps[0].name", "not power_off"},
		"a name used twice":    {Plan{Steps: []Step{good, command("b"), good}}, "steps[2].name", "steps[0] has this one"},
		"nothing to do":        {Plan{Steps: []Step{{Name: "a"}}}, "steps[0].command", "a command, a unit"},
		"a program of no name": {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"", "x"}}}}}, "steps[0].command", ""},
		"a zero byte":          {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"x", "a\x00b"}}}}}, "steps[0].command[1]", `"a\x00b"`},
		"a negative time-out":  {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"u"}}, Timeout: -time.Second}}}, "steps[0].timeout", "-1s"},
		"an endless time-out":  {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"u"}}, Timeout: 25 * time.Hour}}}, "steps[0].timeout", "24h"},
		"another on_failure":   {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"u"}}, OnFailure: "panic"}}}, "steps[0].on_failure", "continue or stop"},
		"early for no reason":  {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"u"}}, Early: &Early{}}}}, "steps[0].early", "on_battery: 5m"},
		"a charge of 150":      {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"u"}}, Early: &Early{BelowCharge: new(150.0)}}}}, "steps[0].early.below_charge_pct", "150"},
		"an empty undo":        {Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"u"}}, Undo: Program{Args: []string{}}}}}, "steps[0].command", ""},
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
