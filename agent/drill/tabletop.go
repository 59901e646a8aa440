package drill

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// RunTabletop plays the scenario on virtual time from the present snapshot and reports
// the time line it predicts. It takes a moment and touches nothing.
func RunTabletop(ctx context.Context, s Setup) *Report {
	r := s.report()
	res, err := Play(ctx, s.Scenario, PlayOptions{
		Config: &s.Policy.Config, Start: s.Snapshot,
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		r.Verdict, r.Why = Aborted, err.Error()
		r.judge(s.objectives())
		return r
	}
	r.Timeline = append(r.Timeline, res.Timeline...)
	r.DetectedS, r.TookS = res.DetectedS, s.Scenario.End.Seconds()
	if res.Shutdown {
		r.decided(*res.AtS, res.Decision)
		r.predict(*res.AtS, s.Need)
		r.TookS = *res.AtS + s.Need.Total.Seconds()
		r.settle()
	} else {
		r.note(strings.Replace(cmp.Or(res.Decision.Summary, "stay up"), "stay up", "the host stays up", 1), s.Scenario.End.Seconds())
	}
	r.judge(s.objectives())
	return r
}

// settle puts the time line in order, and ends it where the host is off.
func (r *Report) settle() {
	slices.SortStableFunc(r.Timeline, func(a, b Entry) int { return cmp.Compare(a.AtS, b.AtS) })
	r.Timeline = slices.DeleteFunc(r.Timeline, func(e Entry) bool { return e.AtS > r.TookS+0.001 })
}

func (r *Report) note(text string, at float64) {
	r.Timeline = append(r.Timeline, Entry{at, "note", text})
}

// predict lets the plan run on paper after a decision at at.
func (r *Report) predict(at float64, need shutdown.Need) {
	r.StoppedS = new(need.Total.Seconds())
	if !slices.ContainsFunc(need.Steps, func(s shutdown.StepNeed) bool { return s.Runs > 0 }) {
		r.note(fmt.Sprintf("the plan would be through after the %.1f s that are configured; nothing of it was ever measured", need.Total.Seconds()), at+need.Total.Seconds())
		return
	}
	t := at
	for _, s := range need.Steps {
		t += s.Took.Seconds()
		text := fmt.Sprintf("%s would be through, taking %.1f s (measured %d times)", s.Step, s.Took.Seconds(), s.Runs)
		if s.Runs == 0 {
			text = fmt.Sprintf("%s: never measured", s.Step)
			if s.Took > 0 {
				text += fmt.Sprintf(", taken to need %.1f s", s.Took.Seconds())
			}
		}
		r.Timeline = append(r.Timeline, Entry{t, "step", text})
	}
}
