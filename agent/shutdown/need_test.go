package shutdown

import (
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func runs(seconds ...float64) []Measured {
	var out []Measured
	for _, s := range seconds {
		out = append(out, Measured{Took: time.Duration(s * float64(time.Second)), Complete: true})
	}
	return out
}

func cutOff(s float64) Measured { return Measured{Took: time.Duration(s * float64(time.Second))} }

func TestNeed(t *testing.T) {
	a, b := command("a"), command("b")
	b.Expect = 20 * time.Second
	p := Plan{Steps: []Step{a, b}, PowerOff: PowerOff{Expect: 5 * time.Second}}
	twenty := make([]float64, 20)
	for i := range twenty {
		twenty[i] = float64(20 - i) // 1 to 20 s: the 95th percentile is 19 s
	}
	const configured = 120
	three := func(more map[string][]Measured) map[string][]Measured {
		m := map[string][]Measured{"a": runs(1, 1, 1), "b": runs(1, 1, 1), PowerOffStep: runs(2, 2, 2)}
		maps.Copy(m, more)
		return m
	}
	type by = map[string][]Measured
	tests := map[string]struct {
		runs     by
		done     map[string]bool
		want     float64
		measured bool
	}{
		"nothing measured: what is configured":  {want: configured},
		"one step measured: at least that":      {runs: by{"a": runs(30, 30, 30)}, want: configured},
		"one step slower than all configured":   {runs: by{"a": runs(200)}, want: 200 + 20 + 5},
		"a step was cut off and nothing else":   {runs: by{"a": {cutOff(200)}}, want: 200 + 20 + 5},
		"the power-off was never measured":      {runs: by{"a": runs(1, 3, 2), "b": runs(4, 4, 4)}, want: configured},
		"the power-off was measured twice":      {runs: three(by{PowerOffStep: runs(2, 2)}), want: configured},
		"a step was measured twice":             {runs: three(by{"b": runs(1, 1)}), want: configured},
		"the power-off was cut off twice":       {runs: three(by{PowerOffStep: append(runs(2), cutOff(1), cutOff(1))}), want: configured},
		"all measured three times: the largest": {runs: three(by{"a": runs(1, 3, 2), "b": runs(4, 4, 4)}), want: 3 + 4 + 2, measured: true},
		"two runs: not below expect":            {runs: three(by{"a": runs(110, 3, 2), "b": runs(4, 4)}), want: 110 + 20 + 2},
		"twenty runs: the 95th percentile":      {runs: three(by{"a": runs(twenty...)}), want: 19 + 1 + 2, measured: true},
		"one slow run at once":                  {runs: three(by{"a": runs(1, 1, 1, 300)}), want: 300 + 1 + 2, measured: true},
		"one slow power-off at once":            {runs: by{PowerOffStep: runs(300)}, want: 0 + 20 + 300},
		"the newest run was cut off":            {runs: three(by{"a": append(runs(1, 1, 1), cutOff(60))}), want: 60 + 1 + 2, measured: true},
		"an older run was cut off":              {runs: three(by{"a": append([]Measured{cutOff(60)}, runs(1, 1, 1)...)}), want: 60 + 1 + 2, measured: true},
		"one of many was cut off":               {runs: three(by{"a": append([]Measured{cutOff(60)}, runs(twenty...)...)}), want: 20 + 1 + 2, measured: true},
		"the newest of many was cut off":        {runs: three(by{"a": append(runs(twenty...), cutOff(60))}), want: 60 + 1 + 2, measured: true},
		"cut off early teaches nothing":         {runs: three(by{"a": append(runs(9, 9, 9), cutOff(1))}), want: 9 + 1 + 2, measured: true},
		"the power-off was cut off":             {runs: three(by{PowerOffStep: append(runs(2, 2, 2), cutOff(50))}), want: 1 + 1 + 50, measured: true},
		"a step done early":                     {runs: three(by{"a": runs(90, 90, 90)}), done: map[string]bool{"a": true}, want: 1 + 2, measured: true},
		"a step that is no longer in the plan":  {runs: three(by{"old": runs(900, 900, 900)}), want: 1 + 1 + 2, measured: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := p.Need(tt.runs, configured*time.Second, tt.done)
			if got.Total.Seconds() != tt.want || got.Measured != tt.measured {
				t.Errorf("Need = %v measured %v, want %g s measured %v\n%+v", got.Total, got.Measured, tt.want, tt.measured, got.Steps)
			}
		})
	}
}

func TestNeedWithoutSteps(t *testing.T) {
	p := Plan{}
	if got := p.Need(nil, 90*time.Second, nil); got.Total != 90*time.Second {
		t.Errorf("Need = %v, want the configured 90 s", got.Total)
	}
	if got := p.Need(nil, 8*time.Second, nil); got.Total != 8*time.Second {
		t.Errorf("Need = %v, want the configured 8 s, less than the guess for a power-off", got.Total)
	}
	if got := p.Need(nil, 0, nil); got.Total != DefaultExpect {
		t.Errorf("Need = %v, want what a power-off is expected to take", got.Total)
	}
	got := p.Need(map[string][]Measured{PowerOffStep: runs(8, 9, 8)}, 90*time.Second, nil)
	if got.Total != 9*time.Second || !got.Measured || got.Expected(PowerOffStep) != 9*time.Second || got.Expected("x") != 0 {
		t.Errorf("Need = %+v, want the measured 9 s", got)
	}
}

// A plan whose steps are expected to take more than the whole contradicts itself: the
// larger holds.
func TestNeedOfAPlanThatExpectsMore(t *testing.T) {
	a := command("a")
	a.Expect = 50 * time.Second
	p := Plan{Steps: []Step{a}}
	if got := p.Need(nil, 20*time.Second, nil); got.Total != 50*time.Second || got.Measured {
		t.Errorf("Need = %+v, want 50 s", got)
	}
}

func TestNeedSaysWhy(t *testing.T) {
	many := make([]float64, 24)
	for i := range many {
		many[i] = 95
	}
	a, b := command("drain-db"), command("vms")
	p := Plan{Steps: []Step{a}}
	measured := map[string][]Measured{"drain-db": runs(many...), PowerOffStep: runs(40, 52, 50.4, 30)}
	if got, want := p.Need(measured, 120*time.Second, nil).String(),
		"need 147 s: drain-db 95 s (p95 of 24 runs), power_off 52 s (largest of 4); configured 120 s"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got, want := p.Need(measured, 0, nil).Parts(), "drain-db 95 s, power_off 52 s"; got != want {
		t.Errorf("parts %q, want %q", got, want)
	}
	b.Expect = 5 * time.Second
	p.Steps = append(p.Steps, b, command("new"))
	measured = map[string][]Measured{"drain-db": {cutOff(1.5)}}
	if got, want := p.Need(measured, 120*time.Second, nil).String(),
		"need 120 s: drain-db 1.5 s (a run that failed or was cut off), vms 5 s (configured), power_off 30 s (a guess); "+
			"what 1 step takes is not known; configured 120 s, which is the least until each has 3 complete runs"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got, want := p.Need(measured, 0, nil).String(), "need 36 s"; !strings.HasPrefix(got, want) || strings.Contains(got, "; configured") {
		t.Errorf("%s\nwant it to begin with %s and nothing configured", got, want)
	}
}

// Until every part has three complete runs the need is never below what the operator
// said, and it is never below any single part.
func TestNeedIsNeverBelowTheOperatorsWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Plan{Steps: []Step{command("a"), command("b")}}
		configured := time.Duration(rapid.Int64Range(1, 600).Draw(t, "configured")) * time.Second
		known, least := map[string][]Measured{}, true
		for _, name := range []string{"a", "b", PowerOffStep} {
			complete := 0
			for range rapid.IntRange(0, 25).Draw(t, "runs of "+name) {
				m := Measured{time.Duration(rapid.Int64Range(0, 900).Draw(t, "took")) * time.Second, rapid.Bool().Draw(t, "complete")}
				known[name] = append(known[name], m)
				if m.Complete {
					complete++
				}
			}
			least = least && complete >= 3
		}
		n := p.Need(known, configured, nil)
		if n.Measured != least || !least && n.Total < configured {
			t.Fatalf("need %v, measured %v; configured %v, all measured three times: %v", n.Total, n.Measured, configured, least)
		}
		for name, r := range known {
			if len(r) == 0 {
				continue
			}
			if newest := r[len(r)-1]; !newest.Complete && n.Total < newest.Took {
				t.Fatalf("need %v although %s was cut off after %v just now", n.Total, name, newest.Took)
			}
		}
	})
}

// A slower run never makes the need smaller, and no step's part is ever outside what
// was measured or configured.
func TestNeedIsMonotonous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.SliceOfN(rapid.Float64Range(0, 1000), 0, 60).Draw(t, "took")
		expect := time.Duration(rapid.Int64Range(0, 1000).Draw(t, "expect")) * time.Second
		p := Plan{Steps: []Step{{Name: "a", Do: Program{Args: []string{"a"}}, Expect: expect}}}
		before := p.Need(map[string][]Measured{"a": runs(took...)}, 0, nil)
		largest := expect
		for i, s := range took {
			largest = max(largest, time.Duration(s*float64(time.Second)))
			took[i] = s + 1
		}
		after := p.Need(map[string][]Measured{"a": runs(took...)}, 0, nil)
		if after.Total < before.Total {
			t.Fatalf("every run a second slower: need fell from %v to %v", before.Total, after.Total)
		}
		if got := before.Expected("a"); got > largest {
			t.Fatalf("need of the step is %v, more than the largest known %v", got, largest)
		}
	})
}
