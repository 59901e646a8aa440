package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// supplies reads this server's power supplies: "a:ok b:lost c:failed".
func (w *world) supplies(seconds float64, states string) {
	w.t.Helper()
	r := &dodai.Reading{Kind: dodai.KindPSUs}
	for word := range strings.FieldsSeq(states) {
		id, state, _ := strings.Cut(word, ":")
		p := dodai.PSU{ID: id, State: dodai.PSUOK, Input: dodai.InputOK}
		switch state {
		case "lost":
			p.State, p.Input = dodai.PSUInputLost, dodai.InputLost
		case "failed":
			p.State, p.Input = dodai.PSUFailed, dodai.InputUnknown
		case "lost-by-input":
			p.Input = dodai.InputLost
		case "lost-by-state":
			p.State = dodai.PSUInputLost
		case "failed-with-input":
			p.State = dodai.PSUFailed
		case "absent":
			p.State = dodai.PSUAbsent
		case "unknown":
			p.State, p.Input = dodai.PSUUnknown, dodai.InputUnknown
		}
		r.PSUs = append(r.PSUs, p)
	}
	w.read("bmc", at(seconds), r)
}

func TestSupplies(t *testing.T) {
	both := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "B"}}
	mixed := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", Feed: "B"}}
	shared := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "A"}}
	direct := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", Feed: "A"}}
	unnamed := []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b"}}
	for _, tc := range []struct {
		name   string
		paths  []dodai.Path
		min    int
		play   func(w *world)
		want   Reason
		alerts string // host's and BMC's
	}{
		{"all well", both, 1, func(w *world) { w.supplies(1, "a:ok b:ok") }, ReasonNone, ""},
		{"one input lost, once", both, 2, func(w *world) { w.supplies(1, "a:lost b:ok") }, ReasonNone, ""},
		{"one input lost, confirmed", both, 2, func(w *world) { w.supplies(1, "a:lost b:ok"); w.supplies(3, "a:lost b:ok") }, ReasonPathOutage, ""},
		{"one input lost of one needed", both, 1, func(w *world) { w.supplies(1, "a:lost b:ok"); w.supplies(3, "a:lost b:ok") }, ReasonNone, "redundancy_lost"},
		{"all inputs lost at once", both, 2, func(w *world) { w.supplies(1, "a:lost b:lost"); w.supplies(3, "a:lost b:lost") }, ReasonNone, "psu_contradiction"},
		{"one lost, later all", both, 2, func(w *world) {
			w.supplies(1, "a:lost b:ok")
			w.supplies(3, "a:lost b:ok")
			w.supplies(5, "a:lost b:lost")
			w.supplies(7, "a:lost b:lost")
		}, ReasonPathOutage, "psu_contradiction"},
		{"a dead path and a doomed one", both, 1, func(w *world) {
			w.supplies(1, "a:lost b:ok")
			w.supplies(3, "a:lost b:ok")
			w.play("4 u2 OB LB\n6 u2 OB LB")
		}, ReasonLB, "redundancy_lost"},
		{"a broken supply is no reason", both, 2, func(w *world) { w.supplies(1, "a:failed b:ok") }, ReasonNone, ""},
		{"but it cannot carry the host", both, 1, func(w *world) {
			w.supplies(1, "a:failed b:ok")
			w.play("4 u2 OB LB\n6 u2 OB LB")
		}, ReasonLB, "redundancy_lost"},
		{"one input lost, and decided twice", both, 2, func(w *world) { w.supplies(1, "a:lost b:ok"); w.play("4 u1 OL") }, ReasonNone, ""},
		{"lost by its input alone", both, 2, func(w *world) { w.supplies(1, "a:lost-by-input b:ok"); w.supplies(3, "a:lost-by-input b:ok") }, ReasonPathOutage, ""},
		{"lost by its state alone", both, 2, func(w *world) { w.supplies(1, "a:lost-by-state b:ok"); w.supplies(3, "a:lost-by-state b:ok") }, ReasonPathOutage, ""},
		{"lost and back", both, 2, func(w *world) {
			w.supplies(1, "a:lost b:ok")
			w.supplies(3, "a:lost b:ok")
			w.supplies(5, "a:ok b:ok")
		}, ReasonNone, ""},
		{"lost for a moment, twice", both, 2, func(w *world) {
			w.supplies(1, "a:lost b:ok")
			w.supplies(3, "a:ok b:ok")
			w.supplies(5, "a:lost b:ok")
		}, ReasonNone, ""},
		{"all lost for a moment, twice", both, 2, func(w *world) {
			w.supplies(1, "a:lost b:lost")
			w.supplies(3, "a:ok b:ok")
			w.supplies(5, "a:lost b:lost")
		}, ReasonNone, ""},
		{"the only one that is fitted has none", both, 1, func(w *world) {
			w.supplies(1, "a:absent b:lost")
			w.supplies(3, "a:absent b:lost")
		}, ReasonNone, "redundancy_lost psu_contradiction"},
		{"nothing fitted is no contradiction", both, 1, func(w *world) {
			w.supplies(1, "a:absent b:absent")
			w.supplies(3, "a:absent b:absent")
		}, ReasonNone, "redundancy_lost"},
		{"all failed is no contradiction", both, 1, func(w *world) {
			w.supplies(1, "a:failed b:failed")
			w.supplies(3, "a:failed b:failed")
		}, ReasonNone, "redundancy_lost"},
		{"an empty bay cannot carry the host", both, 1, func(w *world) {
			w.supplies(1, "a:absent b:ok")
			w.play("4 u2 OB LB\n6 u2 OB LB")
		}, ReasonLB, "redundancy_lost"},
		{"OFF and broken, then OFF is no lie", both, 2, func(w *world) {
			w.supplies(40, "a:failed-with-input b:ok")
			w.play("1 u1 OL OFF\n41 u1 OL OFF")
		}, ReasonPathOutage, ""},
		{"good input from before OFF says nothing", both, 2, func(w *world) {
			w.supplies(1, "a:ok b:ok")
			w.play("2 u1 OL OFF\n15 u2 OL\n32 u1 OL OFF")
		}, ReasonPathOutage, ""},
		{"nor does one from long ago", both, 2, func(w *world) {
			w.play("1 u1 OL OFF")
			w.supplies(5, "a:ok b:ok")
			w.play("31 u1 OL OFF\n32 u2 OL")
		}, ReasonPathOutage, ""},
		{"OFF is a lie when the other input is lost", both, 1, func(w *world) {
			w.supplies(1, "a:unknown b:lost")
			w.supplies(3, "a:unknown b:lost")
			w.play("4 u1 OL OFF\n35 u1 OL OFF\n36 u2 OL")
		}, ReasonNone, "redundancy_lost"},
		{"OFF is a lie when the other supply is broken", both, 1, func(w *world) {
			w.supplies(1, "a:unknown b:failed")
			w.play("4 u1 OL OFF\n35 u1 OL OFF\n36 u2 OL")
		}, ReasonNone, "redundancy_lost"},
		{"good input speaks against OFF", both, 2, func(w *world) {
			w.supplies(40, "a:ok b:ok")
			w.play("1 u1 OL OFF\n41 u1 OL OFF")
		}, ReasonNone, ""},
		{"without it OFF counts", both, 2, func(w *world) {
			w.supplies(40, "a:unknown b:ok")
			w.play("1 u1 OL OFF\n41 u1 OL OFF")
		}, ReasonPathOutage, ""},
		{"good input does not excuse silence on battery", both, 2, func(w *world) {
			w.play("1 u1 OB charge=90")
			w.supplies(60, "a:ok b:ok")
			w.play("61 u2 OL\n62 u1 later")
		}, ReasonCommsOnBatt, ""},
		{"a supply on the mains carries the host", mixed, 1, func(w *world) { w.play("1 u1 OB LB\n3 u1 OB LB") }, ReasonNone, "redundancy_lost"},
		{"not when they are the mains that failed", direct, 1, func(w *world) { w.play("1 u1 OB LB\n3 u1 OB LB") }, ReasonLB, "redundancy_lost"},
		{"mains of another circuit, perhaps", unnamed, 1, func(w *world) { w.play("1 u1 OB LB\n3 u1 OB LB") }, ReasonNone, "redundancy_lost"},
		{"the mains that failed, and then silence", direct, 1, func(w *world) { w.play("1 u1 OB charge=90\n62 u1 fails") }, ReasonCommsOnBatt, "redundancy_lost"},
		{"the supply says that its mains are good", direct, 1, func(w *world) {
			w.play("1 u1 OB LB\n3 u1 OB LB")
			w.supplies(4, "a:ok b:ok")
		}, ReasonNone, "redundancy_lost"},
		{"that they were good before", direct, 1, func(w *world) {
			w.supplies(1, "a:ok b:ok")
			w.play("2 u1 OB LB\n4 u1 OB LB")
		}, ReasonLB, "redundancy_lost"},
		{"both silent, one of them on battery", shared, 1, func(w *world) {
			w.play("5 u2 OB charge=90\n30 u1 fails\n31 u2 fails\n66 u1 fails")
		}, ReasonCommsOnBatt, "redundancy_lost"},
		{"silent half a minute before", shared, 1, func(w *world) {
			w.play("29.9 u2 OB LB\n33 u2 OB LB\n89 u2 OB LB\n90 u1 fails")
		}, ReasonCommsOnBatt, "redundancy_lost"},
		{"silent for longer before", shared, 1, func(w *world) {
			w.play("30 u2 OB LB\n33 u2 OB LB\n90 u2 OB LB\n91 u1 fails")
		}, ReasonNone, "redundancy_lost"},
		{"silent a little after", shared, 1, func(w *world) {
			w.play("5 u2 OB LB\n7 u2 OB LB\n19.9 u1 OL\n79 u2 OB LB\n80 u1 fails")
		}, ReasonCommsOnBatt, "redundancy_lost"},
		{"on line for a while after", shared, 1, func(w *world) {
			w.play("5 u2 OB LB\n7 u2 OB LB\n20 u1 OL\n79 u2 OB LB\n81 u1 fails")
		}, ReasonNone, "redundancy_lost"},
		{"silent when the other lost the same mains", shared, 1, func(w *world) {
			w.play("5 u2 OB LB\n7 u2 OB LB\n30 u1 fails\n64 u2 OB LB\n66 u1 fails")
		}, ReasonCommsOnBatt, "redundancy_lost"},
		{"silent then, but not for long enough", shared, 1, func(w *world) {
			w.play("5 u2 OB LB\n7 u2 OB LB\n30 u1 fails\n64.9 u2 OB LB")
		}, ReasonNone, "redundancy_lost"},
		{"silent long before that", shared, 1, func(w *world) {
			w.play("500 u2 OB LB\n502 u2 OB LB\n560 u2 OB LB\n561 u1 fails")
		}, ReasonNone, "redundancy_lost"},
		{"silent on another circuit", both, 1, func(w *world) {
			w.play("5 u2 OB LB\n7 u2 OB LB\n30 u1 fails\n64 u2 OB LB\n66 u1 fails")
		}, ReasonNone, "redundancy_lost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.MinSupplies = tc.min })
			w.snap.Paths = tc.paths
			w.play("0 u1 OL charge=100\n0 u2 OL charge=100")
			tc.play(w)
			if w.last.Reason != tc.want || w.last.Shutdown != (tc.want != ReasonNone) {
				t.Errorf("%s, want %s", w.last.Explanation, tc.want)
			}
			var host []string
			for _, a := range w.last.Alerts {
				if a.Device == "" || a.Device == "bmc" {
					host = append(host, string(a.ID))
				}
			}
			want := strings.Fields(tc.alerts)
			for _, a := range want {
				if !w.ever(AlertID(a)) {
					t.Errorf("alert %s was never raised", a)
				}
			}
			if tc.want == ReasonNone && fmt.Sprint(host) != fmt.Sprint(want) {
				t.Errorf("alerts %v, want %v", host, want)
			}
		})
	}
}

func TestUnconfirmedSupplyIsPolledFast(t *testing.T) {
	w := newWorld(t, nil)
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}}
	w.play("0 u1 OL\n0 u2 OL")
	w.supplies(1, "a:lost b:ok")
	if !w.last.Fast["bmc"] {
		t.Error("a lost input that waits for its confirmation is not polled fast")
	}
	w.supplies(3, "a:lost b:ok")
	if w.last.Fast["bmc"] {
		t.Error("a confirmed one still is")
	}
	for _, s := range []float64{10, 12} {
		w.supplies(s, "a:lost b:lost")
	}
	if w.last.Fast["bmc"] {
		t.Error("a confirmed contradiction still is")
	}
}

// TestLostView: a feed whose supply has no input shows it, and says why.
func TestLostView(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MinSupplies = 2 })
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "B"}}
	w.play("0 u1 OL runtime=900\n0 u2 OL runtime=900")
	w.supplies(1, "a:lost b:ok")
	w.supplies(3, "a:lost b:ok")
	if v := w.last.UPS("u1"); !v.Lost || v.Why != "power supply a reports that it has no input" || w.last.UPS("u2").Lost {
		t.Errorf("view %+v, want it lost by its supply", v)
	}
	if w.last.Margin == nil || *w.last.Margin != -180*time.Second {
		t.Errorf("margin %v, want none left: both are needed", w.last.Margin)
	}
	w.supplies(5, "a:failed b:ok")
	if w.last.Margin == nil || *w.last.Margin != -180*time.Second || w.last.UPS("u1").Lost {
		t.Errorf("margin %v, want none left with a broken supply", w.last.Margin)
	}
	w.supplies(6, "a:lost b:ok")
	w.supplies(8, "a:lost b:ok")
	w.play("9 u1 OL FSD")
	if v := w.last.UPS("u1"); !v.Lost || v.Doomed != ReasonFSD || v.Why != "announces a forced shutdown (FSD)" {
		t.Errorf("view %+v, want it lost, and doomed for its own reason", v)
	}
}

// TestSuppliesAfterBoot: an input that was lost before the boot has to be lost anew.
func TestSuppliesAfterBoot(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MinSupplies = 2 })
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}}
	w.play("0 u1 OL\n0 u2 OL")
	w.supplies(1, "a:lost b:ok")
	w.supplies(3, "a:lost b:ok")
	w.snap.BootedAt = at(100)
	w.supplies(110, "a:lost b:ok")
	if w.last.Shutdown {
		t.Errorf("one reading after the boot: %s", w.last.Explanation)
	}
	w.supplies(112, "a:lost b:ok")
	if !w.last.Shutdown {
		t.Errorf("two readings after the boot: %s", w.last.Explanation)
	}
}

// TestSlope plays discharges that a UPS reports by its charge alone.
func TestSlope(t *testing.T) {
	for _, tc := range []struct {
		name   string
		charge func(s float64) float64 // percent, s seconds after the transfer
		until  float64
		want   float64 // seconds after the transfer at which 180 s are left; 0: never
		within float64
	}{
		{"linear", func(s float64) float64 { return 100 - s/5 }, 480, 320, 10},
		{"off a knee", func(s float64) float64 { return min(100-s/20, 100-15-(s-300)/4) }, 500, 460, 20},
		{"coarse steps of 5", func(s float64) float64 { return 100 - 5*float64(int(s/25)) }, 480, 320, 30},
		{"a jump at the transfer", func(s float64) float64 { return 92 - s/40 }, 600, 0, 0},
		{"a jump on the way", func(s float64) float64 {
			if s > 200 {
				return 55 - s/40
			}
			return 100 - s/40
		}, 600, 0, 0},
		{"jumps both ways", func(s float64) float64 { return 80 + 14*float64(int(s/40)%2) }, 600, 0, 0},
		{"load shed at half time", func(s float64) float64 {
			if s < 120 {
				return 100 - s/6
			}
			return 80 - (s-120)/60
		}, 900, 0, 0},
		{"still", func(float64) float64 { return 70 }, 100, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) { c.MinChargePct = 1 })
			w.play("0 u1 OL charge=100")
			got := 0.0
			for s := 0.0; s < tc.until && got == 0; s += 2 {
				w.play(fmt.Sprintf("%g u1 OB charge=%.0f load=%g", 5+s, tc.charge(s), 40+s/1000))
				if w.last.Shutdown {
					got = s
				}
			}
			if got < tc.want-tc.within || got > tc.want+tc.within {
				t.Errorf("went down after %g s, want %g ± %g; %s", got, tc.want, tc.within, w.last.Explanation)
			}
		})
	}
}

// TestVoltageSlope: without charge and runtime the battery's voltage is the last resort.
func TestVoltageSlope(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.NoMetricsOnBattS = 3600 })
	w.play("0 u1 OL battery=27 low=21 nominal=24")
	for s := 0.0; s < 600 && !w.last.Shutdown; s += 2 {
		w.play(fmt.Sprintf("%g u1 OB battery=%.1f low=21 nominal=24", 5+s, 24-s/200))
	}
	if got := (w.last.At - start).Seconds(); w.last.Reason != ReasonRuntime || got < 390 || got > 460 || w.last.UPS("u1").Source != "battery voltage slope" {
		t.Errorf("%s at %g s; want runtime near 425 s by the voltage", w.last.Explanation, got)
	}
}

func TestSlopeIsBounded(t *testing.T) {
	var s Slope
	for i := range 5000 {
		s.see(100-float64(i)*0.01, false, time.Duration(i)*5*time.Second)
	}
	if len(s.Points) > slopePoints {
		t.Errorf("%d points, want at most %d", len(s.Points), slopePoints)
	}
	if !slices.IsSortedFunc(s.Points, func(a, b Point) int { return int(a.At - b.At) }) {
		t.Error("points out of order")
	}
}

// TestKindChanges: a UPS on battery stays one, whatever its readings say that it is.
func TestKindChanges(t *testing.T) {
	for _, tc := range []struct {
		name, before string
		kind         dodai.Kind
		want         Reason
	}{
		{"a UPS on battery", "0 u1 OB charge=90", dodai.KindPDU, ReasonCommsOnBatt},
		{"on line again, not for good", "0 u1 OB charge=15\n2 u1 OB charge=15\n4 u1 OL", dodai.KindATS, ReasonNone},
		{"a doomed UPS", "0 u1 OB charge=15\n2 u1 OB charge=15", dodai.KindPSUs, ReasonCharge},
		{"a UPS on line", "0 u1 OL", dodai.KindPDU, ReasonNone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.play(tc.before)
			outage := w.last.UPS("u1").OnBattery
			for s := 5.0; s <= 70; s += 5 {
				r := reading(t, []string{"OL"})
				r.Kind = tc.kind
				d := w.device("u1", tc.kind)
				d.Kind, d.Reading, d.At, d.Polls = tc.kind, r, at(s), d.Polls+1
				w.snap = w.snap.With(&d, at(s), time.Time{})
				w.decide(at(s))
			}
			if w.last.Reason != tc.want || (w.last.UPS("u1") != nil) != outage {
				t.Errorf("%s, view %+v; want %s", w.last.Explanation, w.last.UPS("u1"), tc.want)
			}
			if outage && !w.ever(AlertCommsLost) {
				t.Error("its silence is no alert")
			}
		})
	}
}
