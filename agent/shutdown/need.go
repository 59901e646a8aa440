package shutdown

import (
	"cmp"
	"slices"
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

// StepNeed is what one part of the way down takes.
type StepNeed struct {
	Step string        `json:"step"`
	Took time.Duration `json:"took"`
	Runs int           `json:"runs"` // complete ones behind the number
}

// Need is what a clean shutdown takes, without the reserve.
type Need struct {
	Total time.Duration `json:"total"`
	// Measured is true when Total rests on measurements alone; until then it is never
	// less than what was configured for the whole.
	Measured bool       `json:"measured"`
	Steps    []StepNeed `json:"steps"` // in order, power_off last; steps already done are left out
}

// Need adds up the plan: the steps run one after the other, so the critical path is
// their sum with the power-off's own. For each it takes the 95th percentile of its
// complete runs, the largest of them while there are fewer than 20, and never less than
// its `expect` while there are fewer than 3. A newest run that did not complete counts
// for as long as it lasted when that is longer. runs are oldest first, under the step's
// name and PowerOffStep; configured is the operator's own estimate of the whole, and
// holds as the least while any step has fewer than 3 complete runs.
func (p *Plan) Need(runs map[string][]Measured, configured time.Duration, done map[string]bool) Need {
	n := Need{Measured: len(p.Steps) > 0}
	for i := range p.Steps {
		s := &p.Steps[i]
		if done[s.Name] {
			continue
		}
		part := estimate(s.Name, runs[s.Name], s.Expect)
		n.Measured = n.Measured && part.Runs >= trusted
		n.Steps = append(n.Steps, part)
	}
	off := estimate(PowerOffStep, runs[PowerOffStep], cmp.Or(p.PowerOff.Expect, DefaultExpect))
	n.Measured = n.Measured || len(p.Steps) == 0 && off.Runs >= trusted
	n.Steps = append(n.Steps, off)
	runsBehind := 0
	for _, s := range n.Steps {
		n.Total += s.Took
		runsBehind += s.Runs
	}
	switch {
	case n.Measured:
	case runsBehind == 0 && configured > 0: // the operator's word for the whole is the better one
		n.Total = configured
	default:
		n.Total = max(n.Total, configured)
	}
	return n
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

func estimate(name string, runs []Measured, configured time.Duration) StepNeed {
	var took []time.Duration
	for _, r := range runs {
		if r.Complete {
			took = append(took, r.Took)
		}
	}
	slices.Sort(took)
	e := StepNeed{Step: name, Runs: len(took)}
	switch n := len(took); {
	case n >= manyRuns:
		e.Took = took[(n*95+99)/100-1] // nearest rank
	case n > 0:
		e.Took = took[n-1]
	}
	if len(took) < trusted {
		e.Took = max(e.Took, configured)
	}
	if n := len(runs); n > 0 && !runs[n-1].Complete {
		e.Took = max(e.Took, runs[n-1].Took)
	}
	return e
}
