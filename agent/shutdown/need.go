package shutdown

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Measured is how long a step took once.
type Measured struct {
	Took     time.Duration
	Complete bool // false: it failed or was cut off
}

// trusted is how many complete runs it takes before measurements may say that a step
// is faster than configured; manyRuns, before single slow runs may be left out.
const (
	trusted  = 3
	manyRuns = 20
)

// Basis is what the number of one part of the need rests on.
type Basis string

// What a number may rest on.
const (
	BasisP95        Basis = "p95"        // the 95th percentile of its runs
	BasisLargest    Basis = "largest"    // the largest of its runs, which are fewer than 20
	BasisConfigured Basis = "configured" // its own `expect`
	BasisGuess      Basis = "guess"      // nothing is known
	BasisCutOff     Basis = "cut_off"    // its newest run, which did not end well and lasted longer than all others say
)

// StepNeed is what one part of the way down takes.
type StepNeed struct {
	Step  string        `json:"step"`
	Took  time.Duration `json:"took"`
	Runs  int           `json:"runs"` // complete ones behind the number
	Basis Basis         `json:"basis"`
	// Beside: others that run at the same time take longer; it costs nothing.
	Beside bool `json:"beside,omitempty"`
}

// Need is what a clean shutdown takes, without the reserve.
type Need struct {
	Total time.Duration `json:"total"`
	// Configured is the operator's own estimate of the whole; 0: there is none.
	Configured time.Duration `json:"configured"`
	// Measured is true when Total rests on measurements alone; until then it is never
	// less than Configured.
	Measured bool       `json:"measured"`
	Steps    []StepNeed `json:"steps"` // in order, power_off last; steps already done are left out
}

// Need is the plan's critical path: of the steps that run at the same time the one that
// takes longest, with what it waits for, and the power-off at the end. For each it takes the 95th percentile of its
// runs, the largest of them while there are fewer than 20, and never less than its
// `expect` while fewer than 3 were complete. A run that failed or was cut off counts,
// for as long as it lasted, when that is longer than the complete ones say; the newest
// run counts so in any case. runs are oldest first, under the step's name and
// PowerOffStep.
//
// configured is the operator's own estimate of the whole; 0: there is none. It holds as
// the least while any part, the power-off included, has fewer than 3 complete runs. It is
// never the most: one slow run is enough to exceed it.
func (p *Plan) Need(runs map[string][]Measured, configured time.Duration, done map[string]bool) Need {
	n := Need{Measured: true, Configured: configured}
	known := false
	at := make([]int, len(p.Steps)) // where each stands in n.Steps, 1 for the first; 0: done
	for i := range p.Steps {
		s := &p.Steps[i]
		if done[s.Name] {
			continue
		}
		known = known || len(runs[s.Name]) > 0
		n.add(estimate(s.Name, runs[s.Name], s.Expect, BasisConfigured))
		at[i] = len(n.Steps)
	}
	n.Total = p.critical(n.Steps, at)
	known = known || len(runs[PowerOffStep]) > 0 || configured == 0
	n.add(p.powerOffNeed(runs[PowerOffStep], configured))
	total := n.Total
	if off := n.Steps[len(n.Steps)-1]; !known && off.Basis == BasisGuess {
		total -= off.Took // the operator's word for the whole is the better guess
	}
	n.Total = total
	if !n.Measured {
		n.Total = max(total, configured)
	}
	return n
}

// critical returns the length of the longest path through the steps, and marks those
// that are not on it. at says where each of the plan's steps stands in parts, from 1.
func (p *Plan) critical(parts []StepNeed, at []int) time.Duration {
	ends, from := make([]time.Duration, len(p.Steps)), make([]int, len(p.Steps))
	last := -1
	for _, i := range p.order() {
		from[i] = -1
		for _, k := range p.after(i) {
			if from[i] < 0 || ends[k] > ends[from[i]] {
				from[i] = k
			}
		}
		if from[i] >= 0 {
			ends[i] = ends[from[i]]
		}
		if at[i] > 0 {
			ends[i] += parts[at[i]-1].Took
		}
		if last < 0 || ends[i] >= ends[last] {
			last = i
		}
	}
	if last < 0 {
		return 0
	}
	on := map[int]bool{}
	for i := last; i >= 0; i = from[i] {
		on[i] = true
	}
	for i := range p.Steps {
		if at[i] > 0 && !on[i] {
			parts[at[i]-1].Beside = true
		}
	}
	return ends[last]
}

func (n *Need) add(s StepNeed) {
	n.Steps = append(n.Steps, s)
	n.Total += s.Took // of the power-off, on top of the steps
	n.Measured = n.Measured && s.Runs >= trusted
}

// powerOffNeed is the operating system's own part. As long as it was never measured and
// nobody said what it takes, a guess stands for it, at most what the whole is said to take.
func (p *Plan) powerOffNeed(runs []Measured, configured time.Duration) StepNeed {
	if p.PowerOff.Expect > 0 {
		return estimate(PowerOffStep, runs, p.PowerOff.Expect, BasisConfigured)
	}
	guess := min(DefaultExpect, cmp.Or(configured, DefaultExpect))
	return estimate(PowerOffStep, runs, guess, BasisGuess)
}

// Expected returns the duration of the step called name, 0 when nothing is known.
func (n Need) Expected(name string) time.Duration {
	for _, s := range n.Steps {
		if s.Step == name {
			return s.Took
		}
	}
	return 0
}

// Parts says in a short text what each part takes: "drain-db 95 s, power_off 52 s".
func (n Need) Parts() string {
	parts := make([]string, len(n.Steps))
	for i, s := range n.Steps {
		parts[i] = s.Step + " " + short(s.Took)
		if s.Beside {
			parts[i] += " (beside others)"
		}
	}
	return strings.Join(parts, ", ")
}

// String says what the need is and why: "need 147 s: drain-db 95 s (p95 of 24 runs),
// power_off 52 s (largest of 4); configured 120 s". It names the steps that add up to it
// and counts those of which nothing is known; one beside others adds nothing.
func (n Need) String() string {
	var parts []string
	unknown := 0
	for _, s := range n.Steps {
		switch {
		case s.unknown():
			unknown++
		case !s.Beside:
			parts = append(parts, s.String())
		}
	}
	text := fmt.Sprintf("need %s: %s", short(n.Total), strings.Join(parts, ", "))
	switch unknown {
	case 0:
	case 1:
		text += "; what 1 step takes is not known"
	default:
		text += fmt.Sprintf("; what %d steps take is not known", unknown)
	}
	switch {
	case n.Configured == 0:
		return text
	case !n.Measured && n.Total == n.Configured:
		return fmt.Sprintf("%s; configured %s, which is the least until each has %d complete runs", text, short(n.Configured), trusted)
	}
	return text + "; configured " + short(n.Configured)
}

// unknown reports whether nobody can say what the step takes.
func (s StepNeed) unknown() bool { return s.Took == 0 && s.Basis == BasisGuess }

// String says what the part takes and what that rests on: "power_off 52 s (largest of 4)".
func (s StepNeed) String() string {
	why := string(s.Basis)
	switch s.Basis {
	case BasisP95:
		why = fmt.Sprintf("p95 of %d runs", s.Runs)
	case BasisLargest:
		why = fmt.Sprintf("largest of %d", s.Runs)
	case BasisCutOff:
		why = "a run that failed or was cut off"
	case BasisGuess:
		why = "a guess"
	}
	return fmt.Sprintf("%s %s (%s)", s.Step, short(s.Took), why)
}

// short prints whole seconds, and tenths below ten.
func short(d time.Duration) string {
	if d < 10*time.Second && d%time.Second != 0 {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// estimate says what a step takes. known, which rests on basis, is what was said of it
// before it was measured; 0: nothing.
func estimate(name string, runs []Measured, known time.Duration, basis Basis) StepNeed {
	var took []time.Duration
	for _, r := range runs {
		if r.Complete {
			took = append(took, r.Took)
		}
	}
	e := StepNeed{Step: name, Runs: len(took)}
	e.Took, e.Basis = quantile(took)
	if cut := withCutOff(runs, took, e.Took); cut > e.Took {
		e.Took, e.Basis = cut, BasisCutOff
	}
	if e.Runs < trusted && known > e.Took {
		e.Took, e.Basis = known, basis
	}
	return e
}

// withCutOff is what the complete runs say together with those that did not end well and
// lasted longer; the newest of all counts in full.
func withCutOff(runs []Measured, complete []time.Duration, longer time.Duration) time.Duration {
	var newest time.Duration
	all := slices.Clone(complete)
	for _, r := range runs {
		if newest = 0; !r.Complete && r.Took > longer {
			all, newest = append(all, r.Took), r.Took
		}
	}
	took, _ := quantile(all)
	return max(took, newest)
}

// quantile returns the 95th percentile by nearest rank, the largest of fewer than 20.
func quantile(took []time.Duration) (time.Duration, Basis) {
	slices.Sort(took)
	switch n := len(took); {
	case n >= manyRuns:
		return took[(n*95+99)/100-1], BasisP95
	case n > 0:
		return took[n-1], BasisLargest
	}
	return 0, BasisGuess
}
