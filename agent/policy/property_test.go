package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// history is a random run of readings, failures and pauses at up to three UPSes.
type history struct {
	cfg   Config
	boot  time.Duration
	site  site
	steps []step
}

// site is what does not change in a history: the wiring, and what operators declared.
type site struct {
	paths []dodai.Path
	links []dodai.Link
	maint []dodai.Maintenance
}

// wirings are kinds of site: nothing known, two circuits, a transfer switch, one supply
// named twice with the same UPS, a UPS that is not configured.
var wirings = [][]dodai.Path{
	nil,
	{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "A"}, {PSU: "c", Feed: "B"}},
	{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "B"}},
	{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "a", UPS: "u2", Feed: "B"}, {PSU: "b", UPS: "u3"}},
	{{PSU: "a", UPS: "u1", Feed: "A"}, {PSU: "a", Feed: "A"}, {PSU: "b", UPS: "u2", Feed: "A"}, {PSU: "c", UPS: "u3", Feed: "A"}},
	{{PSU: "a", UPS: "u1"}, {PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "elsewhere", Feed: "A"}},
	{{UPS: "u1"}, {UPS: "u2"}, {UPS: "u3"}},
}

// serieses are UPSes behind UPSes: none, a pair, a chain, two behind one, a circle.
var serieses = [][]dodai.Link{
	nil,
	{{UPS: "u1", FedBy: "u3"}},
	{{UPS: "u1", FedBy: "u2"}, {UPS: "u2", FedBy: "u3"}},
	{{UPS: "u1", FedBy: "u3"}, {UPS: "u2", FedBy: "u3"}},
	{{UPS: "u1", FedBy: "u2"}, {UPS: "u2", FedBy: "u1"}, {UPS: "u3", FedBy: "u3"}},
}

func drawSite(t *rapid.T) site {
	w := site{paths: rapid.SampledFrom(wirings).Draw(t, "paths"), links: rapid.SampledFrom(serieses).Draw(t, "links")}
	if rapid.IntRange(0, 3).Draw(t, "maintained") == 0 {
		from, length := rapid.IntRange(-60, 60).Draw(t, "maint from"), rapid.IntRange(1, 120).Draw(t, "maint for")
		w.maint = []dodai.Maintenance{{
			UPS: rapid.SampledFrom([]string{"", "u1", "u2"}).Draw(t, "maint of"), Reason: "new battery",
			Since: at(float64(from)), Until: at(float64(from + length)),
		}}
	}
	return w
}

func drawConfig(t *rapid.T) Config {
	cfg := Default()
	cfg.MinSupplies = rapid.IntRange(1, 3).Draw(t, "min")
	cfg.IgnoreLB = rapid.Bool().Draw(t, "ignore_lb")
	limit := rapid.SampledFrom([]*Seconds{nil, new(Seconds(30))})
	cfg.MaxOnBattS, cfg.CommsLostLineS, cfg.LBTrustS = limit.Draw(t, "max"), limit.Draw(t, "line"), limit.Draw(t, "trust")
	return cfg
}

func drawHistory(t *rapid.T) history {
	h := history{cfg: drawConfig(t), site: drawSite(t), boot: rapid.SampledFrom([]time.Duration{start - time.Minute, start / 4}).Draw(t, "boot")}
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		h.steps = append(h.steps, drawStep(t))
	}
	return h
}

type step struct {
	after time.Duration // since the step before
	ups   string
	r     *dodai.Reading // nil: the poll failed
	psus  *dodai.Reading
}

// device is which device the step reads, and what it says; nil: the poll failed.
func (s step) device() (name string, r *dodai.Reading) {
	if s.psus != nil {
		return "bmc", s.psus
	}
	return s.ups, s.r
}

func drawStep(t *rapid.T) step {
	s := step{
		after: time.Duration(rapid.SampledFrom([]int{0, 20, 500, 2000, 5000, 20000, 130000}).Draw(t, "ms")) * time.Millisecond,
		ups:   rapid.SampledFrom([]string{"u1", "u2", "u3"}).Draw(t, "ups"),
	}
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
	case 1:
		s.psus = drawPSUs(t)
	default:
		s.r = drawReading(t)
	}
	return s
}

func drawPSUs(t *rapid.T) *dodai.Reading {
	in := rapid.SampledFrom([]dodai.InputState{dodai.InputOK, dodai.InputLost, dodai.InputUnknown})
	state := rapid.SampledFrom([]dodai.PSUState{dodai.PSUOK, dodai.PSUOK, dodai.PSUOK, dodai.PSUFailed, dodai.PSUAbsent})
	r := &dodai.Reading{Kind: dodai.KindPSUs}
	for _, id := range []string{"a", "b", "c"} {
		r.PSUs = append(r.PSUs, dodai.PSU{ID: id, State: state.Draw(t, id+" state"), Input: in.Draw(t, id)})
	}
	return r
}

var statuses = []string{
	"OL", "OL CHRG", "OB", "OB DISCHRG", "OB LB", "OL LB", "OL OB", "OB CAL", "OL OFF", "OFF", "FSD OL", "FSD OB", "", "ALARM", "OB RB", "OL BYPASS",
	"OL DISCHRG LB", "OB TEST", "OL OB LB", "OL CHRG OB",
}

func drawReading(t *rapid.T) *dodai.Reading {
	r := &dodai.Reading{Kind: dodai.KindUPS, Vars: dodai.Vars{}, Ages: map[string]time.Duration{}}
	r.Status, _ = dodai.ParseStatus(rapid.SampledFrom(statuses).Draw(t, "status"))
	value := rapid.SampledFrom([]float64{-1, 0, 1, 5, 15, 20, 21, 50, 79, 80, 81, 100, 179, 180, 230, 400, 1200, 65535})
	for _, name := range []string{dodai.BatteryCharge, dodai.BatteryRuntime, dodai.InputVoltage, dodai.UPSTimerShutdown, dodai.UPSLoad} {
		if rapid.IntRange(0, 3).Draw(t, "has "+name) > 0 {
			r.Vars[name] = dodai.Num(value.Draw(t, name))
		}
		if rapid.IntRange(0, 9).Draw(t, "aged "+name) == 0 {
			r.Ages[name] = 20 * time.Second
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "volts") == 0 {
		r.Vars[dodai.BatteryVoltage] = dodai.Num(rapid.Float64Range(10, 14).Draw(t, "battery"))
		r.Vars["battery.voltage.low"], r.Vars["battery.voltage.nominal"] = dodai.Num(10.5), dodai.Num(12)
	}
	if rapid.IntRange(0, 9).Draw(t, "tests") == 0 {
		r.Vars[dodai.UPSTestResult] = dodai.Text("in progress")
	}
	return r
}

// begin is the world of the history on a clock moved by shift, before its first step.
func (h history) begin(t testing.TB, shift time.Duration) *world {
	w := newWorld(t, nil)
	w.pol.Config = h.cfg
	w.snap = &dodai.Snapshot{
		At: start + shift, BootedAt: h.boot + shift, AgentStartedAt: h.boot + shift + time.Second, Paths: h.site.paths, Links: h.site.links,
	}
	for _, m := range h.site.maint {
		m.Since, m.Until = m.Since+shift, m.Until+shift
		w.snap.Maintenance = append(w.snap.Maintenance, m)
	}
	return w
}

// take puts a step into the snapshot and decides nothing.
func (w *world) take(s step, now time.Duration) {
	name, r := s.device()
	kind := dodai.KindUPS
	if s.psus != nil {
		kind = dodai.KindPSUs
	}
	d := w.device(name, kind)
	if r != nil {
		d.Reading, d.At, d.Polls, d.Failures = r, now, d.Polls+1, 0
	} else {
		d.Failures++
	}
	w.snap = w.snap.With(&d, now, time.Time{})
}

// play runs the history on a clock moved by shift and hands each decision to see.
func (h history) play(t testing.TB, shift time.Duration, see func(w *world, before Memory, now time.Duration)) {
	w, now := h.begin(t, shift), start+shift
	for _, s := range h.steps {
		now += s.after
		w.take(s, now)
		before := w.mem
		w.decide(now)
		see(w, before, now)
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPure: the same input gives the same decision, and is left as it was.
func TestPure(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		h.play(t, 0, func(w *world, before Memory, now time.Duration) {
			was, snap := asJSON(t, before), asJSON(t, w.snap)
			again, mem := w.pol.Decide(w.snap, before, now)
			if diff := cmp.Diff(asJSON(t, w.last), asJSON(t, again)); diff != "" {
				rt.Fatalf("second decision differs:\n%s", diff)
			}
			if diff := cmp.Diff(w.mem, mem); diff != "" {
				rt.Fatalf("second memory differs:\n%s", diff)
			}
			if now := asJSON(t, before); now != was {
				rt.Fatalf("the memory was changed:\n%s\n%s", was, now)
			}
			if now := asJSON(t, w.snap); now != snap {
				rt.Fatalf("the snapshot was changed")
			}
		})
	})
}

// TestMemoryRoundTrip: what was on disk decides as what was not.
func TestMemoryRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		drawHistory(rt).play(t, 0, func(w *world, before Memory, now time.Duration) {
			var read Memory
			if err := json.Unmarshal([]byte(asJSON(t, before)), &read); err != nil {
				rt.Fatal(err)
			}
			got, mem := w.pol.Decide(w.snap, read, now)
			if diff := cmp.Diff(asJSON(t, w.last), asJSON(t, got)); diff != "" {
				rt.Fatalf("decision differs:\n%s", diff)
			}
			if diff := cmp.Diff(asJSON(t, w.mem), asJSON(t, mem)); diff != "" {
				rt.Fatalf("memory differs:\n%s", diff)
			}
		})
	})
}

// TestShift: a clock with another zero decides the same, on itself and with a memory
// carried over to it.
func TestShift(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := drawHistory(rt)
		shift := time.Duration(rapid.Int64Range(-int64(start/8), int64(start)).Draw(rt, "shift"))
		var want []Decision
		var memories []Memory
		h.play(t, 0, func(w *world, before Memory, _ time.Duration) {
			want, memories = append(want, w.last), append(memories, before)
		})
		i := 0
		h.play(t, shift, func(w *world, _ Memory, now time.Duration) {
			if diff := cmp.Diff(asJSON(t, want[i]), asJSON(t, shifted(w.last, -shift))); diff != "" {
				rt.Fatalf("decision %d on the shifted clock:\n%s", i, diff)
			}
			got, _ := w.pol.Decide(w.snap, memories[i].Shift(shift), now)
			if diff := cmp.Diff(asJSON(t, want[i]), asJSON(t, shifted(got, -shift))); diff != "" {
				rt.Fatalf("decision %d with the shifted memory:\n%s", i, diff)
			}
			i++
		})
	})
}

// shifted moves the instants of a decision, not those of its JSON-invisible parts.
func shifted(d Decision, by time.Duration) Decision {
	d.At += by
	if d.Next != 0 {
		d.Next += by
	}
	d.UPSes = slices.Clone(d.UPSes)
	for i := range d.UPSes {
		if d.UPSes[i].OnBattery {
			d.UPSes[i].OnBatterySince += by
		}
	}
	d.Alerts = slices.Clone(d.Alerts)
	for i := range d.Alerts {
		d.Alerts[i].Since += by
	}
	d.Events = slices.Clone(d.Events)
	for i := range d.Events {
		d.Events[i].At += by
	}
	return d
}

// TestInvariants hold for every decision whatever the readings say.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		drawHistory(rt).play(t, 0, func(w *world, _ Memory, now time.Duration) {
			d := w.last
			switch {
			case d.Shutdown != (d.Reason != ReasonNone):
				rt.Fatalf("shutdown %v with reason %q", d.Shutdown, d.Reason)
			case d.Next != 0 && d.Next <= now:
				rt.Fatalf("next %v is not after %v", d.Next, now)
			case d.Explanation == "":
				rt.Fatal("no explanation")
			case d.Margin != nil && *d.Margin != *d.Available-d.Need-d.Reserve:
				rt.Fatalf("margin %v of %v available", *d.Margin, *d.Available)
			}
			for _, v := range d.UPSes {
				if v.Why == "" || v.Doomed == "" || v.Available != nil && *v.Available < 0 {
					rt.Fatalf("view %+v", v)
				}
			}
		})
	})
}

// BenchmarkDecide is one reading of one of two UPSes, in the middle of an outage.
func BenchmarkDecide(b *testing.B) {
	w := newWorld(b, nil)
	w.play("0 u1 OL charge=100 runtime=1200 volts=230\n0 u2 OL charge=100 runtime=1200 volts=230")
	for s := 10; s < 200; s += 2 {
		for _, u := range []string{"u1", "u2"} {
			w.read(u, at(float64(s)), &dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OB | dodai.DISCHRG, Vars: dodai.Vars{
				dodai.BatteryCharge: dodai.Num(float64(100 - s/8)), dodai.BatteryRuntime: dodai.Num(float64(1210 - s)), dodai.InputVoltage: dodai.Num(0),
			}})
		}
	}
	d := *w.snap.Device("u1")
	d.At, d.Polls = at(202), d.Polls+1
	snap := w.snap.With(&d, at(202), time.Time{})
	b.ReportAllocs()
	for b.Loop() {
		w.pol.Decide(snap, w.mem, at(202))
	}
}

// BenchmarkDecideSites is one reading in the middle of an outage at sites of several sizes,
// early in it and after an hour: a decision must not grow with time.
func BenchmarkDecideSites(b *testing.B) {
	for _, n := range []int{1, 4, 50} {
		for _, seconds := range []int{200, 3800} {
			for _, brief := range []bool{false, true} {
				b.Run(fmt.Sprintf("ups=%d/after=%ds/brief=%v", n, seconds, brief), func(b *testing.B) {
					w := newWorld(b, nil)
					w.pol.Brief = true
					outage(w, n, seconds)
					d := *w.snap.Device("u00")
					now := at(float64(seconds + 2))
					d.At, d.Polls = now, d.Polls+1
					snap := w.snap.With(&d, now, time.Time{})
					w.pol.Brief = brief
					b.ReportAllocs()
					for b.Loop() {
						w.pol.Decide(snap, w.mem, now)
					}
				})
			}
		}
	}
}

// outage plays one of so many seconds at n UPSes, each read every 2 s.
func outage(w *world, n, length int) {
	for s := 0; s <= length; s += 2 {
		now := at(float64(s))
		for i := range n {
			name := fmt.Sprintf("u%02d", i)
			r := &dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OB | dodai.DISCHRG, Vars: dodai.Vars{
				dodai.BatteryCharge: dodai.Num(math.Round(100 - float64(s)/80)), dodai.BatteryRuntime: dodai.Num(float64(8000 - s)),
				dodai.InputVoltage: dodai.Num(0), dodai.UPSLoad: dodai.Num(40),
			}}
			d := w.device(name, dodai.KindUPS)
			d.Reading, d.At, d.Polls = r, now, d.Polls+1
			w.snap = w.snap.With(&d, now, time.Time{})
		}
		w.last, w.mem = w.pol.Decide(w.snap, w.mem, now)
	}
}
