package random

import (
	"context"
	"errors"
	"testing"

	"github.com/dodai-agent/dodai/agent/policy"
)

// mutantRuns is how many outages a rule that is switched off may survive.
const mutantRuns = 100000

// TestEveryRuleIsNeeded switches each rule of the policy off in turn: the judge must convict
// an agent that does without it. A rule nobody misses is either of no use or not tested.
func TestEveryRuleIsNeeded(t *testing.T) {
	for _, rule := range policy.Rules {
		t.Run(string(rule), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var convicted *Run
			_, err := Do(ctx, Options{N: mutantRuns, Seed: 1, Without: []policy.Rule{rule}, OnFailure: func(r Run) {
				if convicted == nil {
					convicted = &r
					cancel()
				}
			}})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if convicted == nil {
				t.Fatalf("%d outages without it, and nobody was harmed", mutantRuns)
			}
			t.Logf("run %d: %s", convicted.Index, convicted.Verdict.Text)
			with, err := Play(t.Context(), convicted.Seed, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if with.Failed() {
				t.Errorf("with the rule it is convicted as well: %s", with.Verdict.Text)
			}
		})
	}
}
