package policy

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai"
)

// TestSeries: a UPS behind another one counts with what it could carry itself.
func TestSeries(t *testing.T) {
	link := []dodai.Link{{UPS: "rack", FedBy: "room"}}
	for _, tc := range []struct {
		name, script string
		want         Reason
		margin       string
	}{
		{"mains present: both add up", "0 room OL runtime=900\n0 rack OL runtime=300", ReasonNone, "17m0s"},
		{"the room UPS runs low, the rack UPS carries a shutdown", "0 rack OL runtime=300\n5 room OB LB runtime=100\n20 rack OL runtime=300\n20 room OB LB runtime=85\n22 room OB LB runtime=83", ReasonNone, "2m0s"},
		{"neither of them alone, nor both", "0 rack OL runtime=60\n5 room OB runtime=119\n20 rack OL runtime=60\n20 room OB runtime=105\n22 room OB runtime=103", ReasonRuntime, "-17s"},
		{"both together still", "0 rack OL runtime=120\n5 room OB runtime=150\n20 rack OL runtime=120\n20 room OB runtime=135\n22 room OB runtime=133", ReasonNone, "1m13s"},
		{"low battery leaves nothing that counts", "0 rack OL runtime=120\n5 room OB LB runtime=350\n20 rack OL runtime=120\n20 room OB LB runtime=335\n22 room OB LB runtime=333", ReasonLB, "-1m0s"},
		{"nor when the room UPS was low by another rule before", "0 rack OL runtime=120\n5 room OB charge=15 runtime=350\n20 rack OL runtime=120\n20 room OB charge=14 runtime=335\n22 room OB charge=14 LB runtime=333\n24 room OB LB charge=14 runtime=331", ReasonCharge, "-1m0s"},
		{"nor when it was low, and is silent for too long", "0 rack OL runtime=120\n5 room OB charge=15 runtime=900\n20 room OB charge=14 runtime=885\n80 rack OL runtime=120\n81 room fails", ReasonCharge, "-1m0s"},
		{"the rack UPS says nothing of its battery", "0 rack OL\n5 room OB LB runtime=350\n20 room OB LB\n22 room OB LB", ReasonLB, "none"},
		{"the rack UPS has a bad battery", "0 rack OL LB runtime=900\n5 room OB LB runtime=350\n20 rack OL LB runtime=900\n20 room OB LB runtime=330\n22 room OB LB runtime=330", ReasonLB, "-3m0s"},
		{"the rack UPS is in bypass", "0 rack OL BYPASS runtime=900\n5 room OB LB\n20 rack OL BYPASS runtime=900\n20 room OB LB\n22 room OB LB", ReasonLB, "-3m0s"},
		{"on its own battery it counts alone", "0 room OL runtime=900\n0 rack OB runtime=100\n15 rack OB runtime=85\n17 rack OB runtime=83", ReasonRuntime, "-1m37s"},
		{"and does not wait for the one before it", "0 room OB LB runtime=10\n0 rack OB runtime=600\n15 room OB LB runtime=1\n17 rack OB runtime=583", ReasonNone, "6m43s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.snap.Links = link
			w.play(tc.script)
			margin := "none"
			if w.last.Margin != nil {
				margin = w.last.Margin.String()
			}
			if w.last.Reason != tc.want || margin != tc.margin {
				t.Errorf("%s with margin %s, want %s with %s: %s", w.last.Reason, margin, tc.want, tc.margin, w.last.Explanation)
			}
		})
	}
}

// TestSeriesInACircle ends.
func TestSeriesInACircle(t *testing.T) {
	w := newWorld(t, nil)
	w.snap.Links = []dodai.Link{{UPS: "u1", FedBy: "u2"}, {UPS: "u2", FedBy: "u1"}, {UPS: "u1", FedBy: "u1"}}
	w.play("0 u1 OL runtime=900\n0 u2 OB LB\n5 u2 OB LB")
	if w.last.Explanation == "" {
		t.Error("no explanation")
	}
}

// TestTransferSwitch: a supply with two inputs lives while either does.
func TestTransferSwitch(t *testing.T) {
	two := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "a", UPS: "u2", Feed: "B"}}
	mains := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "a", Feed: "B"}}
	same := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "a", Feed: "A"}}
	low := "0 u1 OB LB\n5 u1 OB LB"
	for _, tc := range []struct {
		name   string
		paths  []dodai.Path
		script string
		want   Reason
	}{
		{"one ends", two, "0 u2 OL\n" + low, ReasonNone},
		{"both end", two, "0 u2 OB\n" + low + "\n6 u2 OB LB\n9 u2 OB LB", ReasonLB},
		{"the other is the mains", mains, low, ReasonNone},
		{"the other is the same mains", same, low, ReasonLB},
		{"one is off for good", two, "0 u2 OL\n0 u1 OL OFF\n40 u1 OL OFF", ReasonNone},
		{"one is off, the other ends", two, "0 u2 OL\n0 u1 OL OFF\n40 u1 OL OFF\n45 u2 OB LB\n50 u2 OB LB", ReasonLB},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.snap.Paths = tc.paths
			w.play(tc.script)
			if w.last.Reason != tc.want {
				t.Errorf("%s, want %s: %s", w.last.Reason, tc.want, w.last.Explanation)
			}
		})
	}
}

// TestLoadShift is worked out by hand: when a feed ends, what is left of the other is
// shortened by (load / new load) to the power of 1.2.
func TestLoadShift(t *testing.T) {
	pair := []dodai.Path{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "B"}}
	half := math.Pow(0.5, 1.2) // of the time at twice the load
	for _, tc := range []struct {
		name           string
		u1, u2         string
		available      float64
		want           Reason
		unwired, onOne bool
	}{
		{name: "both with plenty", u1: "runtime=600 load=40", u2: "runtime=900 load=40", available: 600 + 300*half, want: ReasonNone},
		{name: "alone enough, together not", u1: "runtime=20 load=40", u2: "runtime=380 load=40", available: 20 + 360*half, want: ReasonRuntime},
		{name: "a light one makes little difference", u1: "runtime=20 load=5", u2: "runtime=380 load=50", available: 20 + 360*math.Pow(50.0/55, 1.2), want: ReasonNone},
		{name: "too much for the one that is left", u1: "runtime=100 load=60", u2: "runtime=900 load=60", available: 100, want: ReasonRuntime},
		{name: "loads not known: alike", u1: "runtime=20", u2: "runtime=380", available: 20 + 360*half, want: ReasonRuntime},
		{name: "onto a smaller one", u1: "runtime=20 load=10 va=3000", u2: "runtime=380 load=40 va=750", available: 20 + 360*half, want: ReasonRuntime},
		{name: "onto a larger one", u1: "runtime=20 load=40 va=750", u2: "runtime=380 load=10 va=3000", available: 20 + 360*half, want: ReasonRuntime},
		{name: "far too much for a smaller one", u1: "runtime=100 load=40 w=2700", u2: "runtime=900 load=30 w=500", available: 100, want: ReasonRuntime},
		{name: "next to nothing for a larger one", u1: "runtime=20 load=40 va=300", u2: "runtime=380 load=40 va=30000", available: 20 + 360*math.Pow(40/40.4, 1.2), want: ReasonNone},
		{name: "only one says its size", u1: "runtime=20 load=40 va=300", u2: "runtime=380 load=40", available: 20 + 360*half, want: ReasonRuntime},
		{name: "sizes in different units", u1: "runtime=20 load=40 va=300", u2: "runtime=380 load=40 w=30000", available: 20 + 360*half, want: ReasonRuntime},
		{name: "sizes that cannot be", u1: "runtime=20 load=40 va=0", u2: "runtime=380 load=40 va=1e300", available: 20 + 360*half, want: ReasonRuntime},
		{name: "sizes, but no loads", u1: "runtime=20 va=300", u2: "runtime=380 va=30000", available: 20 + 360*half, want: ReasonRuntime},
		{name: "no wiring: nothing is known of it", u1: "runtime=20 load=40", u2: "runtime=380 load=40", available: 380, want: ReasonNone, unwired: true},
		{name: "one feed on line carries all", u1: "runtime=20 load=40", u2: "runtime=380 load=40", available: 380, want: ReasonNone, onOne: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			if w.snap.Paths = pair; tc.unwired {
				w.snap.Paths = nil
			}
			status := "OB"
			if tc.onOne {
				status = "OL"
			}
			for _, s := range []int{0, 14, 15, 16} {
				w.play(fmt.Sprintf("%d u1 OB %s\n%d u2 %s %s", s, tc.u1, s, status, tc.u2))
			}
			if got := w.last.Available.Seconds(); math.Abs(got-tc.available) > 0.01 || w.last.Reason != tc.want {
				t.Errorf("%.1f s available and %s, want %.1f and %s: %s", got, w.last.Reason, tc.available, tc.want, w.last.Explanation)
			}
		})
	}
}

// TestLoadShiftThroughASwitch: the transfer switch puts the load of the UPS that ends on
// the one that idled.
func TestLoadShiftThroughASwitch(t *testing.T) {
	w := newWorld(t, nil)
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "a", UPS: "u2"}}
	for _, s := range []int{0, 14, 15, 16} {
		w.play(fmt.Sprintf("%d u1 OB runtime=20 load=36\n%d u2 OB runtime=420 load=4", s, s))
	}
	want := 20 + 400*math.Pow(4.0/40, 1.2)
	if got := w.last.Available.Seconds(); math.Abs(got-want) > 0.01 || w.last.Reason != ReasonRuntime {
		t.Errorf("%.1f s available, want %.1f: %s", got, want, w.last.Explanation)
	}
}

// TestLoadShiftIsConfirmed: a single wild reading moves nothing.
func TestLoadShiftIsConfirmed(t *testing.T) {
	w := newWorld(t, nil)
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}}
	w.play("0 u1 OB runtime=500 load=40\n0 u2 OB runtime=500 load=40\n20 u1 OB runtime=480 load=40\n20 u2 OB runtime=480 load=40")
	w.play("22 u2 OB runtime=30 load=40\n22 u1 OB runtime=20 load=40")
	if w.last.Shutdown {
		t.Fatalf("decided on one reading: %s", w.last.Explanation)
	}
	w.play("24 u2 OB runtime=200 load=40\n24 u1 OB runtime=20 load=40")
	if !w.last.Shutdown || w.last.Reason != ReasonRuntime {
		t.Errorf("the second says so too: %s", w.last.Explanation)
	}
}

func TestMaintenance(t *testing.T) {
	both := []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}}
	for _, tc := range []struct {
		name   string
		ups    string // in maintenance for 100 s
		paths  []dodai.Path
		play   func(w *world)
		want   Reason
		alerts string
	}{
		{"low battery counts for nothing", "u1", nil, func(w *world) { w.play("5 u1 OB LB\n9 u1 OB LB") }, ReasonNone, ""},
		{"all of them", "", nil, func(w *world) { w.play("5 u1 OB LB FSD\n9 u1 OB LB FSD") }, ReasonNone, ""},
		{"silence, too", "u1", nil, func(w *world) { w.play("5 u1 OB\n9 u1 fails\n99 u1 later") }, ReasonNone, ""},
		{"and OFF", "u1", both, func(w *world) { w.play("0 u2 OL\n5 u1 OL OFF\n50 u1 OL OFF") }, ReasonNone, ""},
		{"another one still counts", "u2", nil, func(w *world) { w.play("5 u1 OB LB\n5 u2 OB LB\n9 u1 OB LB\n9 u2 OB LB") }, ReasonNone, "redundancy_lost"},
		{"both are needed", "u2", nil, func(w *world) {
			w.pol.MinSupplies = 2
			w.play("5 u1 OB LB\n5 u2 OB LB\n9 u1 OB LB\n9 u2 OB LB")
		}, ReasonLB, ""},
		{"a supply without input is believed", "u1", both, func(w *world) {
			w.supplies(5, "a:lost b:ok")
			w.supplies(8, "a:lost b:ok")
			w.play("10 u2 OB LB\n14 u2 OB LB")
		}, ReasonLB, "redundancy_lost"},
		{"it ends by itself", "u1", nil, func(w *world) { w.play("5 u1 OB LB\n9 u1 OB LB\n101 u1 OB LB\n104 u1 OB LB") }, ReasonLB, ""},
		{"but what was before its end does not count", "u1", nil, func(w *world) { w.play("5 u1 OB LB\n9 u1 OB LB\n101 u1 later\n300 u1 later") }, ReasonNone, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.snap.Paths = tc.paths
			w.play("0 u1 OL")
			w.snap.Maintenance = []dodai.Maintenance{{UPS: tc.ups, Since: start, Until: at(100), Reason: "new battery", By: "root"}}
			tc.play(w)
			var host []string
			for _, a := range w.last.Alerts {
				if a.Device == "" {
					host = append(host, string(a.ID))
				}
			}
			if got := strings.Join(host, " "); w.last.Reason != tc.want || got != tc.alerts {
				t.Errorf("%s with alerts %q, want %s with %q: %s", w.last.Reason, got, tc.want, tc.alerts, w.last.Explanation)
			}
		})
	}
}

func TestMaintenanceIsExplained(t *testing.T) {
	w := newWorld(t, nil)
	w.snap.Maintenance = []dodai.Maintenance{{UPS: "u1", Since: start, Until: at(100), Reason: "new battery", By: "root"}}
	w.play("5 u1 OB LB\n9 u1 OB LB")
	want := "stay up: 1 of 1 supplies healthy, 1 needed; u1: in maintenance for another 91 s (new battery, declared by root): nothing it says counts; margin not known (u1 is in maintenance): 120 s need, 60 s reserve"
	if w.last.Explanation != want || !w.last.UPS("u1").Maintenance || w.last.Next != at(100) || w.last.Margin != nil {
		t.Errorf("%q, next %v, margin %v, view %+v", w.last.Explanation, w.last.Next-start, w.last.Margin, w.last.UPS("u1"))
	}
}

// TestFSDIsALease: one that stands for long with mains present is left over from
// something that did not happen.
func TestFSDIsALease(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MinSupplies = 1 })
	w.play("0 u2 OL\n0 u1 OL\n5 u1 OL FSD")
	if w.last.UPS("u1").Doomed != ReasonFSD {
		t.Fatalf("FSD counts for nothing: %s", w.last.Explanation)
	}
	for s := 10; s < 904; s += 5 {
		w.play(fmt.Sprintf("%d u1 OL FSD", s))
	}
	if w.last.UPS("u1").Doomed != ReasonFSD {
		t.Fatalf("the lease ended too early: %s", w.last.Explanation)
	}
	w.play("905 u1 OL FSD")
	if w.last.UPS("u1").Doomed != ReasonNone || !w.ever(AlertFSDLatch) {
		t.Fatalf("the lease never ends: %s", w.last.Explanation)
	}
	w.play("910 u1 OB FSD\n913 u1 OB FSD")
	if w.last.UPS("u1").Doomed != ReasonFSD {
		t.Errorf("on battery it counts again: %s", w.last.Explanation)
	}
}

// TestFeedOfAChain: the UPS that stands on the circuit says whether it is dead, not the one
// behind it.
func TestFeedOfAChain(t *testing.T) {
	for _, tc := range []struct {
		script string
		want   Reason
	}{
		{"0 room OB\n0 rack OL", ReasonPathOutage},
		{"0 room OL\n0 rack OB", ReasonNone},
	} {
		w := newWorld(t, func(c *Config) { c.MinSupplies = 2 })
		w.snap.Links = []dodai.Link{{UPS: "rack", FedBy: "room"}}
		w.snap.Paths = []dodai.Path{{PSU: "1", UPS: "rack", Feed: "A"}, {PSU: "2", Feed: "A"}}
		if w.play(tc.script); w.last.Reason != tc.want {
			t.Errorf("%q: %s, want %s: %s", tc.script, w.last.Reason, tc.want, w.last.Explanation)
		}
	}
}

// TestLoadShiftCountsSupplies: a UPS that feeds two of three supplies carries on alone.
func TestLoadShiftCountsSupplies(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MinSupplies = 2 })
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}, {PSU: "c", UPS: "u2"}}
	for _, s := range []int{0, 14, 15, 16} {
		w.play(fmt.Sprintf("%d u1 OB runtime=20 load=10\n%d u2 OB runtime=900 load=40", s, s))
	}
	if w.last.Shutdown {
		t.Errorf("the smaller one decides: %s", w.last.Explanation)
	}
}

// TestChargeOfNothing: no battery is empty and runs for long.
func TestChargeOfNothing(t *testing.T) {
	for _, tc := range []struct {
		script string
		want   Reason
	}{
		{"0 u1 OL charge=0 runtime=900\n20 u1 OB charge=0 runtime=890\n30 u1 OB charge=0 runtime=880\n32 u1 OB charge=0 runtime=878", ReasonNone},
		{"0 u1 OL charge=0 runtime=30\n20 u1 OB charge=0 runtime=30\n30 u1 OB charge=0 runtime=30\n32 u1 OB charge=0 runtime=30", ReasonRuntime},
		{"0 u1 OL LB charge=0 runtime=900\n20 u1 OB charge=0 runtime=890\n30 u1 OB charge=0 runtime=880\n32 u1 OB charge=0 runtime=878", ReasonCharge},
		{"0 u1 OL charge=50 runtime=900\n20 u1 OB charge=0 runtime=890\n30 u1 OB charge=0 runtime=880\n32 u1 OB charge=0 runtime=878", ReasonCharge},
	} {
		w := newWorld(t, nil)
		if w.play(tc.script); w.last.Reason != tc.want {
			t.Errorf("%q: %s, want %s", tc.script, w.last.Reason, tc.want)
		}
	}
}

// TestLoadIsHandedOnOnce: when a UPS has ended and another one carries its load, that load
// is not counted again for the UPS that says nothing any more.
func TestLoadIsHandedOnOnce(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before int // percent on u2 while u1 carries 40
		after  int // when u1 is silent
		sizes  [2]string
		down   bool
	}{
		{"all of it", 40, 80, [2]string{}, false},
		{"most of it", 40, 75, [2]string{}, false},
		{"none yet, and it would be too much", 75, 75, [2]string{}, true},
		{"none yet, and it would not", 40, 40, [2]string{}, false},
		{"all of a small one", 75, 79, [2]string{"va=300", "va=3000"}, false},
		{"not all, for all that is known", 75, 79, [2]string{"va=300"}, true},
		{"none yet of a small one", 75, 75, [2]string{"va=300", "va=3000"}, false},
		{"none yet of a big one", 40, 40, [2]string{"w=900", "w=450"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.snap.Paths = pair
			for _, s := range []int{2, 14, 20, 22} {
				w.play(fmt.Sprintf("%d u2 OB runtime=%d load=%d %s\n%d u1 OB runtime=%d load=40 %s", s, 4000-s, tc.before, tc.sizes[1], s, 902-s, tc.sizes[0]))
			}
			if w.last.Shutdown {
				t.Fatalf("too early: %s", w.last.Explanation)
			}
			w.play(fmt.Sprintf("24 u1 OB LB runtime=300 load=40 %[2]s\n24 u2 OB runtime=3976 load=%[1]d %[3]s\n25 u1 OB LB runtime=299 load=40 %[2]s", tc.before, tc.sizes[0], tc.sizes[1]))
			for s := 26; s < 120; s += 2 {
				w.play(fmt.Sprintf("%d u2 OB runtime=%d load=%d %s\n%d u1 fails", s, 2000-s, tc.after, tc.sizes[1], s))
			}
			if w.last.Shutdown != tc.down {
				t.Errorf("%s, want it down: %v", w.last.Explanation, tc.down)
			}
		})
	}
}
