package drill

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Setup is what a drill runs on.
type Setup struct {
	ID         string
	Definition Definition
	Level      Level
	Scenario   *Scenario
	Host       string

	// Snapshot and Decision are the present state, which the drill starts from.
	Snapshot *dodai.Snapshot
	Decision policy.Decision
	Policy   policy.Policy
	Need     shutdown.Need

	Clock func() time.Duration
	// Emit takes the drill's events; it marks them as the drill's.
	Emit func(dodai.Event)
	// Live returns what really is, for a rehearsal: it goes on while the drill runs.
	Live func() (*dodai.Snapshot, policy.Decision)
	// Walk walks through the plan without running its late steps.
	Walk func(context.Context, policy.Decision) ([]shutdown.Rehearsed, error)
}

func (s *Setup) report() *Report {
	return &Report{
		ID: s.ID, Drill: s.Definition.Name, Level: s.Level, Hypothesis: s.Definition.Hypothesis,
		Scenario: s.Definition.Scenario, Host: s.Host, Started: time.Now(), Timeline: []Entry{},
	}
}

// objectives are the drill's own, and what its scenario expects.
func (s *Setup) objectives() Objectives {
	o := s.Definition.Objectives
	if o.Shutdown == nil {
		o.Shutdown = s.Scenario.Expect.Shutdown
	}
	return o
}

// Refuse is the report of a drill that may not start.
func (s *Setup) Refuse(why []string) *Report {
	r := s.report()
	r.Verdict, r.Why, r.Objectives = Refused, strings.Join(why, "; "), []Objective{}
	return r
}

// every is how often a rehearsal reads the injected outage and looks at what really is.
const every = 250 * time.Millisecond

// rehearsal is one that runs.
type rehearsal struct {
	Setup
	began    time.Duration
	report   *Report
	memory   policy.Memory
	injected map[string]*dodai.DeviceState
	bind     map[string]string // the scenario's UPS that a real one plays
}

// RunRehearsal injects the scenario into the live readings, in real time, and lets a
// second decision, with a memory of its own, follow from them. The agent's own decision
// goes on from what is real: when that has something to say, the rehearsal ends at once.
func RunRehearsal(ctx context.Context, s Setup) *Report {
	r := &rehearsal{Setup: s, began: s.Clock(), report: s.report(), injected: map[string]*dodai.DeviceState{}}
	err := r.cast()
	if err == nil {
		err = r.run(ctx)
	}
	r.report.TookS = (s.Clock() - r.began).Seconds()
	if err != nil {
		r.report.Verdict, r.report.Why = Aborted, err.Error()
		r.note("note", "aborted: "+err.Error())
	}
	r.report.judge(s.objectives())
	return r.report
}

// cast says which UPS of the scenario each real one plays.
func (r *rehearsal) cast() (err error) {
	var names []string
	for _, dev := range r.Snapshot.OfKind(dodai.KindUPS) {
		if dev.Reading != nil {
			names = append(names, dev.Name)
		}
	}
	r.bind, err = bindUPSes(r.Scenario.UPSes, nil, names)
	return err
}

func (r *rehearsal) run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		snapshot, decision := r.Live()
		if why := Disturbed(snapshot, decision, r.began); why != "" {
			return fmt.Errorf("%s", why)
		}
		now := r.Clock()
		if d := r.step(snapshot, now); d.Shutdown {
			return r.down(ctx, d, now)
		}
		if now-r.began > r.Scenario.End {
			r.note("note", "the scenario is over and the host is still up")
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// step lets the second decision see the injected outage.
func (r *rehearsal) step(live *dodai.Snapshot, now time.Duration) policy.Decision {
	snap, wall := live, live.Wall.Add(now-live.At) // what is live may be some seconds old
	for ups := range r.bind {
		if dev := live.Device(ups); dev != nil && dev.Reading != nil {
			r.injected[ups] = r.inject(dev, now)
			snap = snap.With(r.injected[ups], now, wall)
		}
	}
	var d policy.Decision
	d, r.memory = r.Policy.Decide(snap, r.memory, now)
	for _, ev := range d.Events {
		if r.report.DetectedS == nil && (ev.Name == dodai.EventMainsLost || ev.Name == dodai.EventCommsLost) {
			r.report.DetectedS = new((now - r.began).Seconds())
		}
		r.note(string(ev.Name), cmp.Or(ev.Text, ev.Device))
		r.Emit(ev)
	}
	return d
}

// inject is the state of a device as the scenario would have it.
func (r *rehearsal) inject(live *dodai.DeviceState, now time.Duration) *dodai.DeviceState {
	dev := *live
	if last := r.injected[live.Name]; last != nil {
		dev = *last
	}
	st := r.Scenario.StateFrom(live.Reading, now-r.began, r.bind[live.Name])
	if !st.Reachable {
		if dev.Failures == 0 {
			dev.FailingSince = now
		}
		dev.Failures++
		dev.Err = "drill: no answer"
		return &dev
	}
	dev.Reading, dev.At = &st.Reading, now
	dev.Polls++
	dev.Failures, dev.Err = 0, ""
	return &dev
}

// down is what follows from the second decision: the plan is walked through.
func (r *rehearsal) down(ctx context.Context, d policy.Decision, now time.Duration) error {
	r.report.decided((now - r.began).Seconds(), d)
	r.note("decision", d.Explanation)
	r.Emit(dodai.Event{Name: dodai.EventShutdownDecided, Text: d.Explanation, Fields: d.Fields()})
	steps, err := r.Walk(ctx, d)
	for _, s := range steps {
		r.note("step", stepText(s))
		r.report.stepFailed = r.report.stepFailed || s.Err != ""
	}
	if err != nil {
		return err
	}
	r.report.StoppedS = new(r.Need.Total.Seconds())
	r.note("note", fmt.Sprintf("the plan would be through %.1f s after the decision", r.Need.Total.Seconds()))
	return nil
}

func stepText(s shutdown.Rehearsed) string {
	switch {
	case s.Err != "":
		return fmt.Sprintf("%s failed: %s", s.Step, s.Err)
	case s.Ran:
		return fmt.Sprintf("%s run and undone, it took %.1f s", s.Step, s.Took.Seconds())
	case s.Expected > 0:
		return fmt.Sprintf("%s not run, expected to take %.1f s", s.Step, s.Expected.Seconds())
	default:
		return fmt.Sprintf("%s not run, never measured", s.Step)
	}
}

func (r *Report) decided(at float64, d policy.Decision) {
	r.DecidedS, r.Reason = &at, string(d.Reason)
	if d.Margin != nil {
		r.MarginS = new(d.Margin.Seconds())
	}
}

func (r *rehearsal) note(what, text string) {
	r.report.Timeline = append(r.report.Timeline, Entry{(r.Clock() - r.began).Seconds(), what, text})
}
