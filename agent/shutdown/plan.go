package shutdown

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Defaults where the configuration says nothing.
const (
	DefaultStepTimeout     = 60 * time.Second
	DefaultPowerOffTimeout = 15 * time.Second
	DefaultGrace           = 60 * time.Second
	DefaultExpect          = 30 * time.Second
)

// PowerOffStep is the name under which the power-off is reported and its duration kept.
const PowerOffStep = "power_off"

// Plan is the ordered way down. The zero value just powers off.
type Plan struct {
	Steps []Step `yaml:"steps" json:"steps"`
	// Command replaces the built-in power-off; empty: built in.
	Command  []string `yaml:"command" json:"command,omitempty"`
	PowerOff PowerOff `yaml:"power_off" json:"power_off"`
}

// PowerOff tunes the last step. Zero fields mean the defaults.
type PowerOff struct {
	// Timeout is how long each way of asking may take to answer.
	Timeout time.Duration `yaml:"timeout" json:"timeout,omitempty"`
	// Grace is how long the machine may stay up after it was told to go down, before
	// the next, rougher way is tried. Only for the built-in ways.
	Grace time.Duration `yaml:"grace" json:"grace,omitempty"`
	// Expect is how long the machine takes from there to dark, until measured.
	Expect time.Duration `yaml:"expect" json:"expect,omitempty"`
}

// OnFailure is what follows from a failed step.
type OnFailure string

// What may follow from a failed step; empty is Continue.
const (
	Continue OnFailure = "continue" // the next step
	Stop     OnFailure = "stop"     // no further step; power-off at the deadline, at once without one
)

// Step is one step of the plan: either a command or a systemd unit to stop.
type Step struct {
	Name    string   `yaml:"name" json:"name"`
	Command []string `yaml:"command" json:"command,omitempty"` // run as it is, without a shell
	Unit    string   `yaml:"unit" json:"unit,omitempty"`       // "systemctl stop" it
	// Timeout ends the step; 0: DefaultStepTimeout.
	Timeout   time.Duration `yaml:"timeout" json:"timeout,omitempty"`
	Expect    time.Duration `yaml:"expect" json:"expect,omitempty"` // what it will take, until measured; 0: not known
	OnFailure OnFailure     `yaml:"on_failure" json:"on_failure,omitempty"`
	Early     *Early        `yaml:"early" json:"early,omitempty"` // nil: only after the decision
	// Undo reverses the step; empty: a unit is started again, a command cannot be undone.
	Undo []string `yaml:"undo" json:"undo,omitempty"`
}

// Early says when a step is due before the decision: as soon as one of the thresholds
// is crossed while the host runs on battery. Nil thresholds do not count.
type Early struct {
	BelowMargin *time.Duration `yaml:"below_margin" json:"below_margin,omitempty"`
	BelowCharge *float64       `yaml:"below_charge_pct" json:"below_charge_pct,omitempty"` // percent
	OnBattery   *time.Duration `yaml:"on_battery" json:"on_battery,omitempty"`             // for at least so long
}

// State is what early thresholds are held against. Nil: not known, crosses nothing.
type State struct {
	Margin    *time.Duration // available − need − reserve
	Charge    *float64       // percent, the lowest of the UPSes on battery
	OnBattery *time.Duration // since the outage began; nil: on mains, nothing is due
}

// Due reports whether a threshold is crossed, and which.
func (e *Early) Due(s State) (why string, due bool) {
	switch {
	case e == nil || s.OnBattery == nil:
	case e.BelowMargin != nil && s.Margin != nil && *s.Margin < *e.BelowMargin:
		return fmt.Sprintf("margin %v is below %v", s.Margin.Round(time.Second), *e.BelowMargin), true
	case e.BelowCharge != nil && s.Charge != nil && *s.Charge < *e.BelowCharge:
		return fmt.Sprintf("charge %g %% is below %g %%", *s.Charge, *e.BelowCharge), true
	case e.OnBattery != nil && *s.OnBattery >= *e.OnBattery:
		return fmt.Sprintf("on battery for %v", s.OnBattery.Round(time.Second)), true
	}
	return "", false
}

// EarlyDue returns the names of the early steps that are due and not in done, in order.
func (p *Plan) EarlyDue(s State, done map[string]bool) []string {
	var names []string
	for _, step := range p.Steps {
		if _, due := step.Early.Due(s); due && !done[step.Name] {
			names = append(names, step.Name)
		}
	}
	return names
}

// Reversible reports whether the step can be undone.
func (s *Step) Reversible() bool { return len(s.Undo) > 0 || s.Unit != "" }

func (s *Step) args() []string {
	if s.Unit != "" {
		return []string{"systemctl", "--no-ask-password", "stop", "--", s.Unit}
	}
	return s.Command
}

func (s *Step) undoArgs() []string {
	if len(s.Undo) == 0 && s.Unit != "" {
		return []string{"systemctl", "--no-ask-password", "start", "--", s.Unit}
	}
	return s.Undo
}

func (s *Step) timeout() time.Duration {
	if s.Timeout == 0 {
		return DefaultStepTimeout
	}
	return s.Timeout
}

// FieldError is a wrong value in the plan. Field is its path below `shutdown:`, such as
// "steps[2].timeout".
type FieldError struct {
	Field   string
	Got     string // empty: it is missing
	Want    string
	Example string
}

func (e *FieldError) Error() string {
	got := "is missing"
	if e.Got != "" {
		got = fmt.Sprintf("is %s", e.Got)
	}
	s := fmt.Sprintf("shutdown.%s %s: want %s", e.Field, got, e.Want)
	if e.Example != "" {
		s += ", for example " + e.Example
	}
	return s
}

// Validate returns what is wrong with the plan, nil when nothing is.
func (p *Plan) Validate() []*FieldError {
	c := &checker{}
	if p.Command != nil {
		c.command("command", p.Command)
	}
	c.duration("power_off.timeout", p.PowerOff.Timeout)
	c.duration("power_off.grace", p.PowerOff.Grace)
	c.duration("power_off.expect", p.PowerOff.Expect)
	seen := map[string]int{}
	for i := range p.Steps {
		c.step(fmt.Sprintf("steps[%d].", i), &p.Steps[i])
		if first, dup := seen[p.Steps[i].Name]; dup {
			c.add(fmt.Sprintf("steps[%d].name", i), fmt.Sprintf("%q", p.Steps[i].Name),
				fmt.Sprintf("a name of its own; steps[%d] has this one", first), "")
		}
		seen[p.Steps[i].Name] = i
	}
	return c.errs
}

type checker struct{ errs []*FieldError }

func (c *checker) add(field, got, want, example string) {
	c.errs = append(c.errs, &FieldError{Field: field, Got: got, Want: want, Example: example})
}

func (c *checker) step(at string, s *Step) {
	switch {
	case s.Name == "":
		c.add(at+"name", "", "a short name", `name: databases`)
	case s.Name == PowerOffStep || len(s.Name) > 64 || strings.ContainsFunc(s.Name, notInName):
		c.add(at+"name", fmt.Sprintf("%q", s.Name), "at most 64 letters, digits and . _ @ -, not power_off", "databases")
	}
	switch {
	case s.Unit == "" && s.Command == nil:
		c.add(at+"command", "", "a command or a unit", `command: ["/usr/local/sbin/drain"]`)
	case s.Unit != "" && s.Command != nil:
		c.add(at+"unit", fmt.Sprintf("%q", s.Unit), "a command or a unit, not both", "")
	case s.Unit != "" && (strings.HasPrefix(s.Unit, "-") || strings.ContainsFunc(s.Unit, notInUnit)):
		c.add(at+"unit", fmt.Sprintf("%q", s.Unit), "the name of a systemd unit", "postgresql.service")
	case s.Command != nil:
		c.command(at+"command", s.Command)
	}
	if s.Undo != nil {
		c.command(at+"undo", s.Undo)
	}
	c.duration(at+"timeout", s.Timeout)
	c.duration(at+"expect", s.Expect)
	if !slices.Contains([]OnFailure{"", Continue, Stop}, s.OnFailure) {
		c.add(at+"on_failure", fmt.Sprintf("%q", s.OnFailure), "continue or stop", "")
	}
	c.early(at+"early", s.Early)
}

func (c *checker) early(at string, e *Early) {
	if e == nil {
		return
	}
	if e.BelowMargin == nil && e.BelowCharge == nil && e.OnBattery == nil {
		c.add(at, "", "below_margin, below_charge_pct or on_battery", "{on_battery: 5m}")
	}
	if e.BelowCharge != nil && !(*e.BelowCharge > 0 && *e.BelowCharge <= 100) {
		c.add(at+".below_charge_pct", fmt.Sprint(*e.BelowCharge), "percent, above 0 and at most 100", "50")
	}
	if e.OnBattery != nil && *e.OnBattery < 0 {
		c.add(at+".on_battery", e.OnBattery.String(), "0s or more", "5m")
	}
}

func (c *checker) command(at string, args []string) {
	if len(args) == 0 || args[0] == "" {
		c.add(at, "", "a program with its arguments, as a list", `["/usr/local/sbin/drain", "--all"]`)
	}
	for i, a := range args {
		if strings.ContainsRune(a, 0) {
			c.add(fmt.Sprintf("%s[%d]", at, i), fmt.Sprintf("%q", a), "text without a zero byte", "")
		}
	}
}

func (c *checker) duration(at string, d time.Duration) {
	if d < 0 || d > 24*time.Hour {
		c.add(at, d.String(), "between 0s and 24h", "30s")
	}
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._@-", r))
}

func notInUnit(r rune) bool { return notInName(r) && !strings.ContainsRune(`:\`, r) }
