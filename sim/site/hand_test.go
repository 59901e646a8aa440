package site

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// sec is a number of seconds.
func sec(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// honest is a UPS that reports everything as it is, and lasts 600 s.
func honest(name string) *ups {
	u := &ups{name: name, fedBy: -1, host: 0.4, ratio: 1}
	u.batt = battery{full: 1, health: 1, peukert: 1.2, charge0: 1, recharge: 4 * 3600}
	u.batt.full = 600 / u.batt.lasts(0.4)
	u.claims = claims{
		kind: kindFull, refresh: time.Second, load: true, input: true, chargeStep: 1, runtimeStep: 1,
		factor: 1, exponent: 1.2, lb: lbNever,
	}
	return u
}

// one is a site with one honest UPS whose mains fail at 20 s, for so long; 0: not at all.
func one(outage float64) *Site {
	s := &Site{id: "hand", cfg: defaultConfig(), needs: 1, feeds: []feed{{name: "A"}}, upses: []*ups{honest("u1")}}
	s.psus = []psu{{id: "a", paths: []wire{{0, 0}}}}
	s.outage(0, 20, outage)
	return s
}

// outage takes the mains from a circuit, from then on for so many seconds.
func (s *Site) outage(feed int, from, lasts float64) {
	if lasts > 0 {
		s.feeds[feed].volts = append(s.feeds[feed].volts, edge{sec(from), 0}, edge{sec(from + lasts), nominalVolts})
	}
	s.horizon = max(s.horizon, sec(from+lasts+60))
}

// two has two of them on two circuits, one supply behind each.
func two(outageA, outageB float64) *Site {
	s := one(outageA)
	s.feeds = append(s.feeds, feed{name: "B"})
	u := honest("u2")
	u.feed = 1
	s.upses = append(s.upses, u)
	s.psus = append(s.psus, psu{id: "b", paths: []wire{{1, 1}}})
	s.wired = true
	s.outage(1, 20, outageB)
	return s
}

// circuit has both on one.
func circuit(outage float64) *Site {
	s := two(outage, 0)
	s.feeds, s.upses[1].feed, s.psus[1].paths[0].feed = s.feeds[:1], 0, 0
	return s
}

// goesDown is an agent that decides at the first reading from then on.
type goesDown struct{ at time.Duration }

func (goesDown) start() {}

func (g goesDown) told(_ string, at time.Duration, _ *dodai.Reading) (bool, string) {
	return g.at > 0 && at >= g.at, "script"
}

func lieAlways(k lieKind, v float64) func(*Site) {
	return func(s *Site) {
		s.upses[0].claims.lies = append(s.upses[0].claims.lies, lie{kind: k, span: always, v: v})
	}
}

func claim(change func(*claims)) func(*Site) { return func(s *Site) { change(&s.upses[0].claims) } }

// TestVerdicts has a case for each line of the judge.
func TestVerdicts(t *testing.T) {
	tests := []struct {
		name    string
		site    *Site
		change  func(*Site)
		decides float64 // seconds; 0: never
		want    string  // unprotected, needless, unwarned or fine
		cause   string  // a part of it
	}{
		{"honest, to the end, never decided", one(900), nil, 0, "unprotected", "runtime"},
		{"honest, to the end, decided in time", one(900), nil, 445, "fine", "power would have gone"},
		{"honest, to the end, decided early", one(900), nil, 25, "fine", "power would have gone"},
		{"honest, to the end, decided too late", one(900), nil, 510, "unprotected", "runtime"},
		{"honest, stays up", one(100), nil, 0, "fine", ""},
		{"honest, down at the transfer", one(100), nil, 21, "needless", "script"},
		{"honest, down after the mains were back", one(100), nil, 150, "needless", "script"},
		{"honest, down when called for", one(440), nil, 455, "fine", "little was left"},
		{"little was left", one(410), nil, 400, "fine", "little was left"},
		{"no outage", one(0), nil, 40, "needless", "script"},

		{"LB that is there too early", one(100), claim(func(c *claims) { c.lb, c.lbCharge = lbEarly, 99 }), 50, "fine", "excused"},
		{"the same, not to be trusted", one(100), func(s *Site) {
			s.upses[0].claims.lb, s.upses[0].claims.lbCharge, s.cfg.IgnoreLB = lbEarly, 99, true
		}, 50, "needless", ""},
		{"the same, not to be trusted so soon", one(100), func(s *Site) {
			s.upses[0].claims.lb, s.upses[0].claims.lbCharge, s.cfg.LBTrust = lbEarly, 99, new(sec(90))
			s.upses[0].batt.full *= 3
		}, 50, "needless", ""},
		{"LB that is true", one(900), claim(func(c *claims) { c.kind, c.factor, c.lb, c.lbRuntime = kindRuntime, 3, lbTrue, 200 }), 0, "unprotected", "low battery"},
		{"LB flicker at the transfer", one(100), lieAlways(lieLB, 1), 20.5, "needless", ""},
		{"LB flicker that froze", one(100), func(s *Site) {
			lieAlways(lieLB, 1)(s)
			lieFrom(20.5, lieFrozen)(s)
			s.upses[0].claims.refresh = tick
		}, 26, "fine", "excused"},
		{"a fall that came in a silence", one(310), func(s *Site) {
			s.upses[0].claims.kind, s.upses[0].claims.counts = kindCharge, true
			s.upses[0].claims.factor, s.upses[0].claims.correct = 3, 0.55
			s.upses[0].claims.silent = []span{{sec(255), sec(305)}}
		}, 306, "fine", "excused"},
		{"runtime told much too low", one(100), claim(func(c *claims) { c.factor = 0.3 }), 50, "fine", "excused"},
		{"runtime 0 for ever", one(100), lieAlways(lieRuntime, 0), 50, "needless", ""},
		{"charge 0 for ever", one(100), lieAlways(lieCharge, 0), 50, "needless", ""},
		{"one wild runtime", one(100), func(s *Site) {
			s.upses[0].claims.lies = []lie{{kind: lieWild, span: span{sec(50), sec(51)}, v: 3}}
		}, 50, "needless", ""},
		{"0 V at the input, on line", one(0), lieAlways(lieNoVolts, 0), 40, "needless", ""},
		{"OL and OB, really on line", one(0), lieAlways(lieBoth, 0), 40, "needless", ""},
		{"OFF for ever, alone", one(100), lieAlways(lieOff, 0), 60, "needless", ""},
		{"OFF for ever, beside another", two(100, 0), func(s *Site) {
			s.needs, s.cfg.MinSupplies = 2, 2
			lieAlways(lieOff, 0)(s)
		}, 60, "fine", "excused"},
		{"constant timer", one(100), lieAlways(lieTimer, 20), 50, "needless", ""},
		{"FSD left over from before the boot", one(0), func(s *Site) {
			lieAlways(lieFSD, 0)(s)
			s.happenings = []Happening{{What: "host_boot"}}
		}, 20, "needless", ""},
		{"the same, once the mains fail", one(100), func(s *Site) {
			lieAlways(lieFSD, 0)(s)
			s.happenings = []Happening{{What: "host_boot"}}
		}, 30, "fine", "excused"},
		{"calibration", one(0), func(s *Site) { s.upses[0].tests, s.horizon = []span{{sec(10), sec(300)}}, sec(400) }, 200, "needless", ""},

		{"battery weaker than told", one(900), claim(func(c *claims) { c.kind, c.factor = kindRuntime, 3 }), 0, "unwarned", "lying_runtime"},
		{"the same, gone in its reserve", one(900), claim(func(c *claims) { c.kind, c.factor = kindRuntime, 1.6 }), 515, "unwarned", "lying_runtime"},
		{"charge alone, falling steadily", one(900), claim(func(c *claims) { c.kind = kindCharge }), 0, "unprotected", "observed discharge"},
		{"charge alone, down by its line", one(470), claim(func(c *claims) { c.kind = kindCharge }), 450, "fine", ""},
		{"charge alone, long before its line", one(300), claim(func(c *claims) { c.kind = kindCharge }), 200, "needless", ""},
		{"charge in time for a long battery", one(9000), func(s *Site) {
			s.upses[0].claims.kind = kindCharge
			s.upses[0].batt.full *= 6
		}, 0, "unprotected", "charge"},
		{"nothing told but OB", one(900), claim(func(c *claims) { c.kind = kindStatus }), 0, "unprotected", "without metrics"},
		{"the same, down by its limit", one(200), claim(func(c *claims) { c.kind = kindStatus }), 143, "fine", "excused"},
		{"the same, before its limit", one(200), claim(func(c *claims) { c.kind = kindStatus }), 80, "needless", ""},
		{"time on battery", one(900), func(s *Site) { s.cfg.MaxOnBatt, s.upses[0].claims.kind = new(sec(60)), kindStatus }, 0, "unprotected", "time on battery"},
		{"time on battery, obeyed", one(100), func(s *Site) { s.cfg.MaxOnBatt = new(sec(60)) }, 82, "fine", "excused"},

		{"silent on battery", one(900), claim(func(c *claims) { c.silent = []span{{sec(60), never}} }), 0, "unprotected", "silence on battery"},
		{"silent on battery, obeyed", one(200), claim(func(c *claims) { c.silent = []span{{sec(60), never}} }), 122, "fine", "excused"},
		{"silent on battery, at once", one(200), claim(func(c *claims) { c.silent = []span{{sec(60), never}} }), 80, "needless", ""},
		{"silent on line", one(900), claim(func(c *claims) { c.silent = []span{{sec(10), never}} }), 0, "unwarned", "silent_network"},
		{"silent on line, with a limit", one(900), func(s *Site) {
			s.upses[0].claims.silent, s.cfg.CommsLostLine = []span{{sec(10), never}}, new(sec(60))
		}, 0, "unprotected", "silent on line"},
		{"silent on line without an outage", one(0), claim(func(c *claims) { c.silent = []span{{sec(10), never}} }), 70, "needless", ""},
		{"the same, with a limit", one(0), func(s *Site) {
			s.upses[0].claims.silent, s.cfg.CommsLostLine = []span{{sec(10), never}}, new(sec(40))
		}, 60, "fine", "excused"},
		{"frozen on battery", one(900), lieFrom(30, lieFrozen), 0, "unprotected", "frozen"},
		{"frozen on battery, obeyed", one(240), lieFrom(30, lieFrozen), 155, "fine", "excused"},
		{"frozen on battery, at once", one(240), lieFrom(30, lieFrozen), 60, "needless", ""},
		{"frozen on line", one(900), lieFrom(5, lieFrozen), 0, "unwarned", "frozen"},

		{"FSD and cut, ignored", one(0), announced(true, 200), 0, "unprotected", "forced shutdown"},
		{"FSD and cut, obeyed", one(0), announced(true, 200), 62, "fine", ""},
		{"FSD and cut too soon", one(0), announced(true, 60), 0, "unwarned", "output_cut_too_soon"},
		{"FSD and cut, before it was said", one(0), announced(true, 200), 50, "needless", ""},
		{"timer and cut, ignored", one(300), announced(false, 200), 0, "unprotected", "timer"},
		{"a cell that fails", one(900), func(s *Site) { s.upses[0].dies = sec(100) }, 0, "unwarned", "sudden_death"},
		{"a battery too small", one(900), func(s *Site) { s.upses[0].batt.full /= 6 }, 22, "unwarned", "too_small"},
		{"the agent was away", one(900), func(s *Site) {
			s.happenings = []Happening{{sec(30), "agent_stop", 0, ""}, {sec(560), "agent_start", 0, ""}}
		}, 0, "unwarned", "agent_away"},
		{"the agent was back in time", one(900), func(s *Site) {
			s.happenings = []Happening{{sec(30), "agent_stop", 0, ""}, {sec(300), "agent_start", 0, ""}}
		}, 0, "unprotected", "runtime"},
		{"nobody is judged for a host that was off", one(900), func(s *Site) {
			s.happenings, s.hostOff = []Happening{{sec(300), "agent_stop", 0, ""}}, span{sec(300), never}
		}, 0, "fine", ""},

		{"one of two ends", two(900, 0), nil, 0, "fine", ""},
		{"one of two ends, down for it", two(1100, 0), nil, 1000, "needless", ""},
		{"one of two ends, both needed", two(2000, 0), func(s *Site) { s.needs, s.cfg.MinSupplies = 2, 2 }, 0, "unprotected", "u1: charge"},
		{"both end", two(3000, 3000), nil, 0, "unprotected", ""},
		{"load that moves, ignored until the other is low", two(3000, 3000), func(s *Site) {
			s.upses[0].batt.full /= 5
			s.upses[1].batt.full /= 3.4
		}, 260, "unprotected", "load that moves"},
		{"silent beside another that says the circuit is dark", circuit(3000), claim(func(c *claims) { c.silent = []span{{sec(20), never}} }), 0, "unprotected", ""},
		{"the same, obeyed when the other is low", circuit(170), func(s *Site) {
			s.upses[0].claims.silent = []span{{sec(20), never}}
			s.upses[1].claims.lb, s.upses[1].claims.lbCharge = lbEarly, 99
		}, 100, "fine", "excused"},
		{"frozen, then silent, beside another", circuit(900), func(s *Site) {
			s.upses[0].claims.silent = []span{{sec(200), never}}
			lieFrom(5, lieFrozen)(s)
			s.upses[0].batt.full /= 4
		}, 0, "unwarned", ""},
		{"bare mains beside a UPS, told by the BMC", mixed(900, true), nil, 0, "unprotected", ""},
		{"bare mains fail alone", mixed(0, true), func(s *Site) { s.outage(1, 20, 300) }, 100, "needless", ""},
		{"the BMC says that all inputs are lost", mixed(0, true), func(s *Site) { s.bmc.allLost = []span{{sec(20), sec(60)}} }, 40, "needless", ""},
		{"a supply that is broken leaves the other", mixed(900, true), func(s *Site) { s.psus[1].failed = true }, 0, "unprotected", "u1: runtime"},
		{"nothing but bare mains", mixed(2000, true), func(s *Site) {
			s.feeds[1].volts = []edge{{sec(1500), 0}}
		}, 0, "unwarned", "bare_mains"},
		{"bare mains without a witness", mixed(900, false), func(s *Site) {
			s.upses[0].feed, s.psus[0].paths[0].feed, s.feeds[0].volts = 1, 1, nil
			s.psus[1].paths[0].feed, s.wired = 0, false
			s.feeds[0].volts = s.feeds[1].volts
		}, 0, "unwarned", "mains_without_witness"},
		{"room UPS ends, the rack's does not", chain(900, 600), nil, 560, "needless", ""},
		{"rack UPS ends after the room's", chain(2000, 600), nil, 0, "unprotected", "rack: runtime"},
		{"small rack UPS has to be counted in", chain(2000, 100), nil, 0, "unprotected", "together"},
		{"transfer switch holds on its second input", switched(900, 0), nil, 500, "needless", ""},
		{"transfer switch without any input", switched(3000, 3000), nil, 0, "unprotected", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(tc.site)
			}
			tc.site.finish()
			o := play(tc.site, goesDown{sec(tc.decides)})
			if o.Shutdown != (tc.decides > 0) {
				t.Fatalf("decided at %v, want %g s: the play ends at %v", o.At, tc.decides, tc.site.End())
			}
			v := tc.site.Judge(o)
			got := map[bool]string{true: "unprotected"}[v.Unprotected] + map[bool]string{true: "needless"}[v.Needless] + map[bool]string{true: "unwarned"}[v.Unwarned]
			if got == "" {
				got = "fine"
			}
			if got != tc.want || !strings.Contains(v.Cause, tc.cause) {
				t.Errorf("%s (%s): %s\nwant %s (%s)", got, v.Cause, v.Text, tc.want, tc.cause)
			}
			if v.Text == "" || math.IsNaN(v.MarginS) {
				t.Errorf("verdict %+v has no text or no margin", v)
			}
		})
	}
}

func lieFrom(at float64, k lieKind) func(*Site) {
	return func(s *Site) {
		s.upses[0].claims.lies = append(s.upses[0].claims.lies, lie{kind: k, span: span{sec(at), never}})
	}
}

// announced is an output that is cut so long after it was announced at 60 s.
func announced(fsd bool, lead float64) func(*Site) {
	return func(s *Site) {
		u := s.upses[0]
		u.cut, s.horizon = sec(60+lead), sec(400)
		if fsd {
			u.claims.fsd = sec(60)
		} else {
			u.claims.timer = sec(60)
		}
	}
}

// mixed has a UPS before one supply, and bare mains of another circuit before the other.
func mixed(outage float64, witness bool) *Site {
	s := one(outage)
	s.feeds = append(s.feeds, feed{name: "B"})
	s.psus = append(s.psus, psu{id: "b", paths: []wire{{-1, 1}}})
	s.wired = true
	s.outage(1, 20, outage)
	if witness {
		s.bmc = &bmc{refresh: 2 * time.Second}
	}
	return s
}

// chain has a room UPS that lasts 600 s before a rack UPS that lasts so long.
func chain(outage, rack float64) *Site {
	s := one(outage)
	s.upses[0].name, s.upses[0].host = "room", 0
	u := honest("rack")
	u.fedBy = 0
	u.batt.full *= rack / 600
	s.upses = append(s.upses, u)
	s.psus[0].paths[0].ups, s.wired = 1, true
	return s
}

// switched has one supply behind a transfer switch with two inputs.
func switched(outageA, outageB float64) *Site {
	s := two(outageA, outageB)
	s.psus = []psu{{id: "a", paths: []wire{{0, 0}, {1, 1}}}}
	return s
}
