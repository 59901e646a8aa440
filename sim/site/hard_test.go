package site

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// TestHardVerdicts is about what the judge says of the rules that the hard sites are for.
func TestHardVerdicts(t *testing.T) {
	off := func(s *Site) { s.upses[0].off = []span{{sec(10), never}} }
	stuck := func(wavers bool) func(*Site) {
		return func(s *Site) {
			c := &s.upses[0].claims
			c.kind, c.wavers = kindRuntime, wavers
			s.upses[0].batt.full *= 1.5
			lieAlways(lieStuckRuntime, 1800)(s)
		}
	}
	worked := func(declared bool) func(*Site) {
		return func(s *Site) {
			u := s.upses[0]
			u.around, u.claims.lb, u.claims.lbCharge = []span{{sec(20), sec(700)}}, lbByCharge, 20
			s.horizon = sec(760)
			if declared {
				s.happenings = []Happening{{What: "maintenance_on", Device: "u1", At: sec(15), Step: sec(720)}}
			}
		}
	}
	twice := func(factor float64) func(*Site) {
		return func(s *Site) {
			u := s.upses[0]
			u.claims.kind, u.claims.factor = kindRuntime, factor
			u.batt.full *= 3 // 1800 s
			s.outage(0, 1200, 900)
		}
	}
	tests := []struct {
		name    string
		site    *Site
		change  func(*Site)
		decides float64 // seconds; 0: never
		want    string
		cause   string
	}{
		{"off by hand, then the other ends", two(0, 900), off, 0, "unprotected", "off"},
		{"off by hand, the host has the other", two(0, 0), off, 60, "needless", ""},
		{"off by hand, and both are needed", two(0, 0), func(s *Site) { off(s); s.needs, s.cfg.MinSupplies = 2, 2 }, 60, "unwarned", ""},
		{"a runtime that is stuck", one(1200), stuck(true), 0, "unprotected", "without metrics"},
		{"the same, obeyed", one(200), stuck(true), 145, "fine", "excused"},
		{"the same, long before", one(100), stuck(true), 60, "needless", ""},
		{"worked on, without a word", one(0), worked(false), 600, "fine", "excused"},
		{"worked on, as declared", one(0), worked(true), 600, "needless", ""},
		{"lies for the second time", one(1100), twice(2), 0, "unprotected", "runtime"},
		{"the same, never shown", one(0), func(s *Site) { twice(2)(s); s.upses[0].batt.full /= 3 }, 0, "unwarned", "lying_runtime"},
		{"honest twice", one(1100), twice(1), 0, "unprotected", "runtime"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.site
			tc.change(s)
			s.finish()
			v := s.Judge(play(s, goesDown{sec(tc.decides)}))
			got := "fine"
			switch {
			case v.Unprotected:
				got = "unprotected"
			case v.Needless:
				got = "needless"
			case v.Unwarned:
				got = "unwarned"
			}
			if got != tc.want || !strings.Contains(v.Cause, tc.cause) {
				t.Errorf("%s by %q (%s), want %s by %q", got, v.Cause, v.Text, tc.want, tc.cause)
			}
		})
	}
}

// TestHardSites: each kind is drawn, costs its host the power if nobody acts (or carries it
// on, where it is worked on), and calls for a shutdown in time.
func TestHardSites(t *testing.T) {
	convicted, drawn := map[string]int{}, map[string]int{}
	for seed := range uint64(6000) {
		s := New(seed)
		i := slices.IndexFunc(s.Traits(), func(t string) bool { return strings.HasPrefix(t, "hard:") })
		if i < 0 {
			continue
		}
		kind := s.Traits()[i]
		drawn[kind]++
		var a agent = sleeper{}
		if kind == "hard:worked_on" {
			a = restless{}
		}
		if v := s.Judge(play(s, a)); v.Unprotected || v.Needless {
			convicted[kind]++
		} else if kind != "hard:worked_on" {
			t.Errorf("seed %d, %s: who never acts is not convicted: %+v", seed, kind, v)
		}
	}
	if len(drawn) != 8 {
		t.Errorf("drawn are %v", drawn)
	}
	for kind, n := range drawn {
		if convicted[kind] < n*3/4 {
			t.Errorf("%s: %d of %d convicted", kind, convicted[kind], n)
		}
	}
	t.Log(drawn, convicted)
}

// restless goes down a minute after the first word of a battery.
type restless struct{}

func (restless) start() {}

func (restless) told(_ string, at time.Duration, r *dodai.Reading) (bool, string) {
	return r != nil && r.Status.Has(dodai.OB) && at > 90*time.Second, "on battery"
}
