package site

import (
	"maps"
	"slices"
	"testing"
)

func TestConvictsDumbAgents(t *testing.T) {
	const n = 3000
	for name, a := range map[string]agent{"sleeper": sleeper{}, "panicker": panicker{}, "low waiter": lowWaiter{}} {
		var unprotected, needless, unwarned, lost, shut int
		causes := map[string]int{}
		for seed := range uint64(n) {
			s := New(seed)
			o := play(s, a)
			v := s.Judge(o)
			if o.Shutdown {
				shut++
			}
			if _, ok := s.PowerGone(); ok {
				lost++
			}
			if v.Unprotected {
				unprotected++
			}
			if v.Needless {
				needless++
			}
			if v.Unwarned {
				unwarned++
				causes[v.Cause]++
			}
		}
		if unprotected+needless < n/20 {
			t.Errorf("%s: %d unprotected and %d needless of %d, want many", name, unprotected, needless, n)
		}
		t.Logf("%s: %d sites, %d lose power, %d shut down: %d unprotected, %d needless, %d unwarned", name, n, lost, shut, unprotected, needless, unwarned)
		for _, c := range slices.Sorted(maps.Keys(causes)) {
			t.Logf("  %s %d", c, causes[c])
		}
	}
}
