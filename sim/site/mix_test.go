package site

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// tally is what came of many sites.
type tally struct {
	lost, shut, unprotected, needless, unwarned int
	causes                                      map[string]int
}

func (y *tally) add(s *Site, o Outcome) {
	v := s.Judge(o)
	count := func(n *int, yes bool) {
		if yes {
			*n++
		}
	}
	_, lost := s.PowerGone()
	count(&y.lost, lost)
	count(&y.shut, o.Shutdown)
	count(&y.unprotected, v.Unprotected)
	count(&y.needless, v.Needless)
	count(&y.unwarned, v.Unwarned)
	if v.Unwarned {
		y.causes[v.Cause]++
	}
}

// TestConvictsDumbAgents: three agents nobody should trust are convicted often, each for
// what it does wrong.
func TestConvictsDumbAgents(t *testing.T) {
	const n = 3000
	tests := []struct {
		name                       string
		agent                      agent
		unprotected, needless, not int // at least, at least, unprotected at most
	}{
		{"never shuts down", sleeper{}, n / 10, 0, n},
		{"shuts down on OB", panicker{}, 0, n / 2, n / 50},
		{"waits for LB alone", lowWaiter{}, n / 25, n / 50, n},
	}
	for _, tc := range tests {
		y := tally{causes: map[string]int{}}
		for seed := range uint64(n) {
			s := New(seed)
			y.add(s, play(s, tc.agent))
		}
		t.Logf("%s: of %d sites %d lose power, %d shut down: %d unprotected, %d needless, %d unwarned %v",
			tc.name, n, y.lost, y.shut, y.unprotected, y.needless, y.unwarned, y.causes)
		if y.unprotected < tc.unprotected || y.needless < tc.needless || y.unprotected > tc.not {
			t.Errorf("%s: %d unprotected and %d needless of %d, want at least %d and %d, and at most %d unprotected",
				tc.name, y.unprotected, y.needless, n, tc.unprotected, tc.needless, tc.not)
		}
		if tc.name == "never shuts down" && (y.needless > 0 || y.unprotected+y.unwarned != y.lost) {
			t.Errorf("%s: %+v: want nobody needless, and each loss of power judged", tc.name, y)
		}
	}
}

// TestMix: each kind of everything occurs, and what can be seen of the mix is as it was
// meant.
func TestMix(t *testing.T) {
	const n = 2000
	count := map[string]int{}
	for seed := range uint64(n) {
		for _, trait := range New(seed).Traits() {
			count[trait]++
		}
	}
	var want []string
	for _, k := range kinds {
		want = append(want, "ups:"+string(k))
	}
	for _, k := range lieKinds {
		want = append(want, "lie:"+string(k))
	}
	for _, m := range lbModes {
		want = append(want, "lb:"+string(m))
	}
	for group, names := range map[string]string{
		"wiring":   "one_ups one_ups_wired two_ups two_ups_wired ups_and_mains three_supplies series transfer_switch switch_of_two_ups feeds_a_b needs_all",
		"mains":    "flicker short minutes long flapping again brownout none one_feed in_sequence",
		"event":    "self_test calibration comms_lost bypass off overload nothing",
		"fault":    "silent bursts network_dies agent_stop agent_start host_boot clock_step psu_failed maintenance_on",
		"bmc":      "true all_lost silent",
		"battery":  "aged li_ion knee sudden_death boot_at_low_charge",
		"belief":   "too_much too_little age_unknown corrected",
		"announce": "fsd timer",
		"config":   "max_onbatt comms_lost_line ignore_lb lb_trust",
		"load":     "changes",
		"hard":     "tired_battery off_then_outage contacts_with_a_limit stuck_runtime_alone small_rack_ups switch_and_another worked_on lies_twice",
	} {
		for name := range strings.FieldsSeq(names) {
			want = append(want, group+":"+name)
		}
	}
	for _, trait := range want {
		if count[trait] == 0 {
			t.Errorf("%s does not occur in %d sites", trait, n)
		}
	}
	for _, trait := range slices.Sorted(maps.Keys(count)) {
		if !slices.Contains(want, trait) {
			t.Errorf("%s is drawn, but nobody says so", trait)
		}
		t.Logf("%-32s %5.1f %%", trait, 100*float64(count[trait])/n)
	}
}
