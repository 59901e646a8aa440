package policy

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// discharge plays an outage from second from on that lasts for took seconds: the UPS claims
// claim seconds at first, and rate less each second. extra words go into every reading.
func (w *world) discharge(from, took, claim, rate float64, extra string) {
	w.t.Helper()
	w.play(fmt.Sprintf("%g u1 OL runtime=%g load=40", from-5, claim))
	for s := 0.0; s < took; s += 5 {
		w.play(fmt.Sprintf("%g u1 OB runtime=%.0f load=40 %s", from+s, max(1, claim-rate*s), extra))
	}
	w.play(fmt.Sprintf("%g u1 OL runtime=%.0f load=40", from+took, max(1, claim-rate*took)))
}

func (w *world) believed(load float64) float64 {
	b := w.mem.Batteries["u1"]
	f, _ := b.FactorAt(some(load))
	return f
}

func TestLearning(t *testing.T) {
	for _, tc := range []struct {
		name   string
		play   func(w *world)
		factor float64 // at 40 % load
	}{
		{"nothing happened", func(w *world) { w.play("0 u1 OL runtime=1200 load=40") }, 1},
		{"runtime that lies by half", func(w *world) { w.discharge(10, 500, 1200, 2, "") }, 0.5},
		{"an honest battery", func(w *world) { w.discharge(10, 1000, 1200, 1, "") }, 1},
		{"one that claims too little", func(w *world) { w.discharge(10, 1000, 1200, 0.7, "") }, 1},
		{"rounding teaches nothing", func(w *world) { w.discharge(10, 1000, 1200, 1.08, "") }, 1},
		{"whole minutes", func(w *world) {
			w.play("5 u1 OL runtime=360 load=40")
			for s := 10.0; s < 190; s += 5 {
				w.play(fmt.Sprintf("%g u1 OB runtime=%g load=40", s, 60*math.Floor((390-(s-10))/60)))
			}
			w.play("190 u1 OL runtime=180 load=40")
		}, 1},
		{"a test of 10 s", func(w *world) { w.discharge(10, 10, 1200, 40, "") }, 1},
		{"a short outage in which it falls fast", func(w *world) { w.discharge(10, 100, 1200, 10, "") }, 1},
		{"not deep enough", func(w *world) { w.discharge(10, 250, 1200, 2, "") }, 1},
		{"never below a fifth", func(w *world) { w.discharge(10, 200, 12000, 59, "") }, 0.2},
		{"a calibration", func(w *world) { w.discharge(10, 500, 1200, 2, "CAL volts=230") }, 1},
		{"a shed load", func(w *world) {
			w.play("5 u1 OL runtime=1200 load=40")
			for s := 10.0; s < 600; s += 5 { // half the load after 200 s: the claim doubles, and falls on
				load, claim := 40, 1200-(s-10)
				if s > 200 {
					load, claim = 20, 2000-2*(s-200)
				}
				w.play(fmt.Sprintf("%g u1 OB runtime=%g load=%d", s, claim, load))
			}
			w.play("600 u1 OL runtime=1200 load=20")
		}, 1},
		{"a load that rises", func(w *world) {
			w.play("5 u1 OL runtime=1200 load=40")
			for s := 10.0; s < 400; s += 5 {
				load, claim := 40, 1200-(s-10)
				if s > 200 {
					load, claim = 80, (1200-190)/2-(s-200)
				}
				w.play(fmt.Sprintf("%g u1 OB runtime=%g load=%d", s, claim, load))
			}
			w.play("400 u1 OL runtime=300 load=80")
		}, 1},
		{"LB long before the claimed end", func(w *world) {
			w.discharge(10, 480, 1200, 1, "")
			w.mem.Batteries = nil // that alone taught nothing
			w.play("600 u1 OL runtime=1200 load=40")
			for s := 610.0; s < 1110; s += 5 {
				lb := ""
				if s > 1090 {
					lb = "LB"
				}
				w.play(fmt.Sprintf("%g u1 OB %s runtime=%g load=40", s, lb, 1200-(s-610)))
			}
			w.play("1110 u1 OL runtime=700 load=40")
		}, 0.5}, // 465 s and 120 that LB leaves, of 1170
		{"a UPS that corrects itself by a jump", func(w *world) {
			w.play("5 u1 OL runtime=1200 load=40")
			for s := 10.0; s < 400; s += 5 {
				claim := 1200 - (s - 10)
				if s >= 200 {
					claim = 500 - (s - 200)
				}
				w.play(fmt.Sprintf("%g u1 OB runtime=%g load=40", s, claim))
			}
			w.play("400 u1 OL runtime=300 load=40")
		}, 0.57}, // 355 s and 305 still left, of 1170
		{"LB at a full battery", func(w *world) { w.discharge(10, 200, 1200, 1, "LB charge=95") }, 1},
		{"LB at half of it", func(w *world) { w.discharge(10, 200, 1200, 1, "LB charge=45") }, 0.24}, // 165 s and 120, of 1170
		{"silence in the middle", func(w *world) {
			w.discharge(10, 200, 1200, 2, "")
			w.play("215 u1 OL runtime=1200 load=40\n220 u1 OB runtime=1200 load=40\n500 u1 OB runtime=600 load=40\n700 u1 OB runtime=200 load=40\n705 u1 OL runtime=200 load=40")
		}, 1},
		{"in maintenance", func(w *world) {
			w.snap.Maintenance = []dodai.Maintenance{{UPS: "u1", Since: start, Until: at(1000), Reason: "test"}}
			w.discharge(10, 500, 1200, 2, "")
		}, 1},
		{"more is believed again when the end was seen", func(w *world) {
			w.discharge(10, 500, 1200, 2, "")
			w.discharge(2000, 1100, 1200, 1, "")
		}, 0.75},
		{"but not before the end", func(w *world) {
			w.discharge(10, 500, 1200, 2, "")
			w.discharge(2000, 800, 1200, 1, "")
		}, 0.5},
		{"less at once", func(w *world) {
			w.discharge(10, 500, 1200, 2, "")
			w.discharge(2000, 350, 1200, 3, "")
		}, 1.0 / 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			tc.play(w)
			if got := w.believed(40); math.Abs(got-tc.factor) > 0.02 {
				t.Errorf("the runtime is believed to %.3f, want %.3f", got, tc.factor)
			}
		})
	}
}

// TestLearnedDecides: what a deep discharge has taught brings the next decision forward, and
// is not used within the discharge that taught it.
func TestLearnedDecides(t *testing.T) {
	w := newWorld(t, nil)
	w.discharge(10, 800, 1200, 1.5, "")
	if first := w.decidedAt() - 10; first < 680 || first > 695 { // at 180 s claimed, not earlier
		t.Errorf("decided %g s into the first outage", first)
	}
	w.all = nil
	w.play("1990 u1 OL runtime=1200 load=40")
	if v := w.last.UPS("u1"); math.Abs(v.Factor-2.0/3) > 0.02 || !strings.Contains(v.Source, "corrected") {
		t.Errorf("the view is %+v", v)
	}
	w.discharge(2010, 1000, 1200, 1, "")
	if second := w.decidedAt() - 2010; second < 925 || second > 945 { // at 270 s claimed
		t.Errorf("decided %g s into the second outage", second)
	}
}

// decidedAt is the second of the first decision to go down; NaN: there was none.
func (w *world) decidedAt() float64 {
	for _, d := range w.all {
		if d.Shutdown {
			return (d.At - start).Seconds()
		}
	}
	return math.NaN()
}

// TestCorrectedUPSIsBelieved: nothing is taken twice from a UPS that claims less by itself.
func TestCorrectedUPSIsBelieved(t *testing.T) {
	w := newWorld(t, nil)
	w.mem.Batteries = map[string]Battery{"u1": {Bands: []Band{{Load: some(40), Factor: 0.5, Discharges: 1, Scale: some(12)}}}}
	for _, tc := range []struct {
		reading string
		want    float64
	}{
		{"OL runtime=1200 charge=100 load=40", 0.5},
		{"OL runtime=600 charge=50 load=40", 0.5},
		{"OL runtime=1000 charge=100 load=40", 0.5}, // not enough for a correction
		{"OL runtime=600 charge=100 load=40", 1},
		{"OL runtime=800 charge=100 load=40", 0.75},
		{"OL runtime=600 charge=100 load=80", 0.5}, // so little for twice the load
		{"OL runtime=300 charge=100 load=80", 1},
		{"OL runtime=1200 load=40", 0.5},
	} {
		now := w.snap.At + 5*time.Second
		w.read("u1", now, reading(t, strings.Fields(tc.reading)))
		if got := w.last.UPS("u1").Factor; math.Abs(got-tc.want) > 0.001 {
			t.Errorf("%s: believed to %g, want %g", tc.reading, got, tc.want)
		}
		r := w.snap.Device("u1").Reading
		claim, _ := r.Vars.Float(dodai.BatteryRuntime)
		if got := w.last.UPS("u1").Available.Seconds(); math.Abs(got-claim*tc.want) > 0.1 {
			t.Errorf("%s: %g s available, want %g", tc.reading, got, claim*tc.want)
		}
	}
}

// TestHonestClaims: what a UPS claims that never claimed more than after it had corrected
// itself is believed, without a charge to compare as well.
func TestHonestClaims(t *testing.T) {
	w := newWorld(t, nil)
	w.mem.Batteries = map[string]Battery{"u1": {Bands: []Band{{Load: some(40), Factor: 0.5, Discharges: 1, Honest: some(400)}}}}
	for _, tc := range []struct {
		reading string
		want    float64
	}{
		{"OL runtime=380 load=40", 1},
		{"OB runtime=370 load=40", 1},
		{"OL runtime=1000 load=40", 0.5},
		{"OB runtime=1000 load=40", 0.5},
		{"OB runtime=900 load=40", 0.5},
		{"OB runtime=800 load=40", 0.5},
		{"OB runtime=700 load=40", 0.5},
		{"OB runtime=600 load=40", 0.5},
		{"OB runtime=500 load=40", 0.5},
		{"OB runtime=390 load=40", 0.5}, // it should have jumped before
	} {
		for range 2 {
			now := w.snap.At + 40*time.Second
			w.read("u1", now, reading(t, strings.Fields(tc.reading)))
		}
		if got := w.last.UPS("u1").Factor; math.Abs(got-tc.want) > 0.001 {
			t.Errorf("%s: believed to %g, want %g", tc.reading, got, tc.want)
		}
	}
}

// TestLoadBands: what was learned counts at that load and at heavier ones.
func TestLoadBands(t *testing.T) {
	b := Battery{Bands: []Band{{Load: some(40), Factor: 0.5}, {Load: some(80), Factor: 0.3}}}
	for _, tc := range []struct {
		load Num
		want float64
	}{{some(10), 1}, {some(29), 1}, {some(30), 0.5}, {some(59), 0.5}, {some(70), 0.3}, {some(100), 0.3}, {Num{}, 0.3}} {
		if got, _ := b.FactorAt(tc.load); got != tc.want {
			t.Errorf("at %v: %g, want %g", tc.load, got, tc.want)
		}
	}
	if f, ok := (&Battery{}).FactorAt(some(40)); f != 1 || ok {
		t.Errorf("nothing learned gives %g, %v", f, ok)
	}
}

// TestDiedTeaches: a host that went dark on battery, undecided, had less than was claimed;
// one that was rebooted or shut down had not.
func TestDiedTeaches(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before func(w *world)
		factor float64
	}{
		{"the power went", func(*world) {}, 300.0 / 1170},
		{"rebooted by hand", func(w *world) { w.mem.Stopped = true }, 1},
		{"shut down in time", func(w *world) { w.play("345 u1 OB LB runtime=800 load=40\n347 u1 OB LB runtime=800 load=40") }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.play("5 u1 OL runtime=1200 load=40")
			for s := 10.0; s <= 340; s += 5 {
				w.play(fmt.Sprintf("%g u1 OB runtime=%g load=40", s, 1200-(s-10)))
			}
			tc.before(w)
			w.snap.BootedAt, w.snap.AgentStartedAt = at(1000), at(1010)
			w.play("1011 u1 OL runtime=900 load=40")
			if got := w.believed(40); math.Abs(got-tc.factor) > 0.02 {
				t.Errorf("the runtime is believed to %.3f, want %.3f", got, tc.factor)
			}
		})
	}
}

// TestNewBattery: what the old one taught is forgotten, once it is certain.
func TestNewBattery(t *testing.T) {
	read := func(w *world, s float64, vars ...string) {
		r := reading(t, []string{"OL", "runtime=1200", "load=40"})
		for i := 0; i < len(vars); i += 2 {
			r.Vars[vars[i]] = dodai.Text(vars[i+1])
		}
		w.read("u1", at(s), r)
	}
	for _, tc := range []struct {
		name   string
		then   func(w *world)
		forgot bool
	}{
		{"another date", func(w *world) { read(w, 600, "battery.date", "2026-11"); read(w, 605, "battery.date", "2026-11") }, true},
		{"another date, once", func(w *world) { read(w, 600, "battery.date", "2026-11"); read(w, 605, "battery.date", "2020-01") }, false},
		{"no date any more", func(w *world) { read(w, 600); read(w, 605) }, false},
		{"a date and a serial more", func(w *world) {
			read(w, 600, "battery.date", "2020-01", "battery.serial", "b7")
			read(w, 605, "battery.date", "2020-01", "battery.serial", "b7")
		}, false},
		{"another serial in two steps", func(w *world) {
			read(w, 600, "battery.serial", "b7")
			read(w, 605, "battery.serial", "b8")
			read(w, 610, "battery.serial", "b8")
		}, true},
		{"another UPS", func(w *world) { read(w, 600, "ups.serial", "X"); read(w, 605, "ups.serial", "X") }, true},
		{"the operator says so", func(w *world) { w.mem = w.mem.Replaced("u1") }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			read(w, 0, "battery.date", "2020-01", "ups.serial", "S")
			w.discharge(10, 500, 1200, 2, "")
			if w.believed(40) > 0.6 {
				t.Fatal("nothing was learned")
			}
			tc.then(w)
			if forgot := w.believed(40) == 1; forgot != tc.forgot {
				t.Errorf("forgot %v, want %v: %+v", forgot, tc.forgot, w.mem.Batteries)
			}
		})
	}
}

// TestBatteriesOutliveTheirDevice: a UPS that is taken out of the configuration for a while
// has not got a new battery.
func TestBatteriesOutliveTheirDevice(t *testing.T) {
	w := newWorld(t, nil)
	w.discharge(10, 500, 1200, 2, "")
	devices := w.snap.Devices
	w.snap = &dodai.Snapshot{At: at(600), AgentStartedAt: start / 2}
	w.decide(at(600))
	if _, known := w.mem.UPS["u1"]; known {
		t.Fatal("the device is still remembered")
	}
	w.snap = &dodai.Snapshot{At: at(700), AgentStartedAt: start / 2, Devices: devices}
	w.decide(at(700))
	if got := w.last.UPS("u1").Factor; math.Abs(got-0.5) > 0.02 {
		t.Errorf("the runtime is believed to %g", got)
	}
}

// TestLessonsAreBounded: neither bands nor batteries grow without end.
func TestLessonsAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	u := &ups{name: "u1", pol: &w.pol, cfg: &w.pol.Config, s: w.snap, now: start}
	for load := range 1000 {
		u.teach(Lesson{Load: some(float64(load))}, 0.5, false, 300)
	}
	if len(u.battery.Bands) != bandsMax {
		t.Errorf("%d bands", len(u.battery.Bands))
	}
	u.teach(Lesson{Load: some(900)}, 0.3, false, 300)
	if f, _ := u.battery.FactorAt(some(900)); f != 0.3 || len(u.battery.Bands) != bandsMax {
		t.Errorf("one load more is believed to %g in %d bands, want 0.3", f, len(u.battery.Bands))
	}
	d := &decider{}
	for i := range 1000 {
		d.keepBattery(&ups{name: fmt.Sprint(i), taught: true})
	}
	if len(d.mem.Batteries) != batteries {
		t.Errorf("%d batteries", len(d.mem.Batteries))
	}
}
