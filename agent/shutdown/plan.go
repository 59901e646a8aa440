package shutdown

import (
	"cmp"
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
	DefaultRetryWait       = 2 * time.Second
)

// PowerOffStep is the name under which the power-off is reported and its duration kept.
const PowerOffStep = "power_off"

// Plan is the way down. The zero value just powers off.
type Plan struct {
	Steps []Step
	// Command replaces the built-in power-off; empty: built in.
	Command  []string
	PowerOff PowerOff
	// NoReturn names the step whose start is the point of no return: until then a
	// shutdown is called off, and what was done undone, when its cause is over. Whatever
	// may run before it is reversible. Empty: the decision itself is, and of a shutdown
	// that an operator started the first step that cannot be undone, or the power-off.
	NoReturn string
}

// PowerOff tunes the last step. Zero fields mean the defaults.
type PowerOff struct {
	// Timeout is how long each way of asking may take to answer.
	Timeout time.Duration
	// Grace is how long the machine may stay up after it was told to go down, before
	// the next, rougher way is tried. Only for the built-in ways.
	Grace time.Duration
	// Expect is how long the machine takes from there to dark, until measured.
	Expect time.Duration
	// Second is tried when the plan's Command has failed or hangs, and Forced when that
	// has, or when the end of the battery is near. Empty: there is none. Both are only
	// for plans with a Command; the built-in ways have their own.
	Second, Forced []string
}

// OnFailure is what follows from a failed step.
type OnFailure string

// What may follow from a failed step; empty is Continue.
const (
	Continue OnFailure = "continue" // what comes after it
	// Stop: nothing that comes after it runs, and the power-off is asked for at the
	// deadline, at once without one. Steps beside it go on.
	Stop OnFailure = "stop"
)

// Step is one step of the plan.
type Step struct {
	Name string
	Do   Action // what it does
	// After names the steps that must be over, well or badly, before it starts. nil: the
	// one before it in the plan; empty: none, it starts at once.
	After []string
	// Timeout ends each run of it; 0: DefaultStepTimeout.
	Timeout time.Duration
	Expect  time.Duration // what it will take, until measured; 0: not known
	// Retries is how often it is run again after a failure, RetryWait what passes
	// before; 0: DefaultRetryWait.
	Retries   int
	RetryWait time.Duration
	OnFailure OnFailure
	Early     *Early // nil: only after the decision
	// Undo takes it back; nil: Do's own inverse, where it has one.
	Undo Action
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
func (s *Step) Reversible() bool { return s.Inverse() != nil }

// Inverse is what takes the step back; nil: nothing does.
func (s *Step) Inverse() Action {
	if s.Undo != nil {
		return s.Undo
	}
	if s.Do == nil {
		return nil
	}
	return s.Do.Inverse()
}

func (s *Step) timeout() time.Duration {
	if s.Timeout == 0 {
		return DefaultStepTimeout
	}
	return s.Timeout
}

func (s *Step) retryWait() time.Duration { return cmp.Or(s.RetryWait, DefaultRetryWait) }

// maxRetries bounds what a step that always fails may cost.
const maxRetries = 20

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
	c.after(p)
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
	if s.Do == nil {
		c.add(at+"command", "", "what to do: a command, a unit, or another kind", `command: ["/usr/local/sbin/drain"]`)
	}
	for _, p := range []Action{s.Do, s.Undo} {
		if p, is := p.(Program); is {
			c.command(at+"command", p.Args)
		}
	}
	if s.Retries < 0 || s.Retries > maxRetries {
		c.add(at+"retries", fmt.Sprint(s.Retries), fmt.Sprintf("a whole number from 0 to %d", maxRetries), "2")
	}
	c.duration(at+"retry_wait", s.RetryWait)
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

// after checks the graph: known names, and no way round in a circle.
func (c *checker) after(p *Plan) {
	for i, s := range p.Steps {
		for k, name := range s.After {
			if p.index(name) < 0 {
				c.add(fmt.Sprintf("steps[%d].after[%d]", i, k), fmt.Sprintf("%q", name), "the name of a step", "")
			}
		}
	}
	if circle := p.circle(); circle != nil {
		c.add(fmt.Sprintf("steps[%d].after", p.index(circle[0])), strings.Join(circle, " after "), "an order: no step after itself", "")
	}
	if p.NoReturn == "" {
		return
	}
	at := p.index(p.NoReturn)
	if at < 0 {
		c.add("point_of_no_return", fmt.Sprintf("%q", p.NoReturn), "the name of a step", "")
		return
	}
	after := p.descendants(at)
	for i := range p.Steps {
		if i != at && !after[i] && !p.Steps[i].Reversible() {
			c.add("point_of_no_return", fmt.Sprintf("%q", p.NoReturn),
				fmt.Sprintf("a step after which %s comes, which cannot be undone", p.Steps[i].Name), "")
		}
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
