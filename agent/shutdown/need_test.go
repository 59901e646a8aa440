package shutdown

import (
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
	tests := map[string]struct {
		runs     map[string][]Measured
		done     map[string]bool
		want     float64
		measured bool
	}{
		"nothing measured: what is configured":  {want: configured},
		"one step measured: at least that":      {runs: map[string][]Measured{"a": runs(30, 30, 30)}, want: configured},
		"one step slower than all configured":   {runs: map[string][]Measured{"a": runs(200)}, want: 200 + 20 + 5},
		"all measured three times: the largest": {runs: map[string][]Measured{"a": runs(1, 3, 2), "b": runs(4, 4, 4)}, want: 3 + 4 + 5, measured: true},
		"two runs: not below expect":            {runs: map[string][]Measured{"a": runs(110, 3, 2), "b": runs(4, 4)}, want: 110 + 20 + 5},
		"twenty runs: the 95th percentile":      {runs: map[string][]Measured{"a": runs(twenty...), "b": runs(1, 1, 1)}, want: 19 + 1 + 5, measured: true},
		"power-off measured":                    {runs: map[string][]Measured{"a": runs(1, 1, 1), "b": runs(1, 1, 1), PowerOffStep: runs(7)}, want: 1 + 1 + 7, measured: true},
		"the newest run was cut off":            {runs: map[string][]Measured{"a": append(runs(1, 1, 1), cutOff(60)), "b": runs(1, 1, 1)}, want: 60 + 1 + 5, measured: true},
		"an older run was cut off":              {runs: map[string][]Measured{"a": append([]Measured{cutOff(60)}, runs(1, 1, 1)...), "b": runs(1, 1, 1)}, want: 1 + 1 + 5, measured: true},
		"cut off early teaches nothing":         {runs: map[string][]Measured{"a": append(runs(9, 9, 9), cutOff(1)), "b": runs(1, 1, 1)}, want: 9 + 1 + 5, measured: true},
		"a step done early":                     {runs: map[string][]Measured{"a": runs(90, 90, 90), "b": runs(1, 1, 1)}, done: map[string]bool{"a": true}, want: 1 + 5, measured: true},
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
	if got := p.Need(nil, 0, nil); got.Total != DefaultExpect {
		t.Errorf("Need = %v, want what a power-off is expected to take", got.Total)
	}
	got := p.Need(map[string][]Measured{PowerOffStep: runs(8, 9, 8)}, 90*time.Second, nil)
	if got.Total != 9*time.Second || got.Expected(PowerOffStep) != 9*time.Second || got.Expected("x") != 0 {
		t.Errorf("Need = %+v, want the measured 9 s", got)
	}
}

// A slower run never makes the need smaller, and no step's part is ever outside what
// was measured or configured.
func TestNeedIsMonotonous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.SliceOfN(rapid.Float64Range(0, 1000), 0, 60).Draw(t, "took")
		expect := time.Duration(rapid.Int64Range(0, 1000).Draw(t, "expect")) * time.Second
		p := Plan{Steps: []Step{{Name: "a", Command: []string{"a"}, Expect: expect}}}
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
