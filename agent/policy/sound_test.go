package policy

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

// filled is a memory in which everything is set, all instants to at.
func filled(at time.Duration) (m Memory) {
	fill(reflect.ValueOf(&m).Elem(), at)
	for name, b := range m.Batteries {
		for i := range b.Bands {
			b.Bands[i].Factor = 0.5
		}
		m.Batteries[name] = b
	}
	return m
}

// TestSound: what cannot have been remembered is left out and named, the rest stays.
func TestSound(t *testing.T) {
	const at = time.Hour
	change := func(f func(u *UPSMemory)) func(m *Memory) {
		return func(m *Memory) {
			u := m.UPS["a"]
			f(&u)
			m.UPS["a"] = u
		}
	}
	battery := func(f func(b *Battery)) func(m *Memory) {
		return func(m *Memory) {
			b := m.Batteries["b"]
			b.Bands = slices.Clone(b.Bands)
			f(&b)
			m.Batteries["b"] = b
		}
	}
	for _, tc := range []struct {
		name   string
		change func(m *Memory)
		want   []string
	}{
		{"as it was", func(*Memory) {}, nil},
		{"a reading of the future", change(func(u *UPSMemory) { u.Read.At = at + 1 }), []string{"a"}},
		{"a transfer of the future", change(func(u *UPSMemory) { u.Transfers[1] = at + 1 }), []string{"a"}},
		{"an instant before there were computers", change(func(u *UPSMemory) { u.LineAt = math.MinInt64 }), []string{"a"}},
		{"a mark that is not set", change(func(u *UPSMemory) { u.FSD = Mark{At: at + 1} }), nil},
		{"a runtime no UPS has", change(func(u *UPSMemory) { u.Available.V = 1e308 }), []string{"a"}},
		{"a lesson of -1e308 s", change(func(u *UPSMemory) { u.Lesson.LegClaim = -1e308 }), []string{"a"}},
		{"a fall no UPS has", change(func(u *UPSMemory) { u.Slope.Points[0].By = 1e10 }), []string{"a"}},
		{"a supply of the future", func(m *Memory) { m.PSUs["b"] = PSUMemory{Lost: []SupplyLoss{{Run: Run{Polls: 1, Last: at + 1}}}} }, []string{"b"}},
		{"an alert of the future", func(m *Memory) { m.Alerts[0].Since = at + 1 }, []string{"alerts"}},
		{"a boot of the future", func(m *Memory) { m.Boot.At = mark(at + 1) }, []string{"boot"}},
		{"a factor above 1", battery(func(b *Battery) { b.Bands[0].Factor = 1.1 }), []string{"the battery of b"}},
		{"a factor of nothing", battery(func(b *Battery) { b.Bands[0].Factor = 0 }), []string{"the battery of b"}},
		{"a load of 1e308 %", battery(func(b *Battery) { b.Bands[1].Load = some(1e308) }), []string{"the battery of b"}},
		{"thousands of loads", battery(func(b *Battery) { b.Bands = make([]Band, 5000) }), []string{"the battery of b"}},
		{"a serial of 10 kB", battery(func(b *Battery) { b.ID.Serial = strings.Repeat("x", 10000) }), []string{"the battery of b"}},
		{"a decision of the future", func(m *Memory) { m.Decided = mark(at + 1) }, []string{"all of it"}},
	} {
		m := filled(at)
		tc.change(&m)
		sound, dropped := m.Sound(at)
		if !slices.Equal(dropped, tc.want) {
			t.Errorf("%s: dropped %q, want %q", tc.name, dropped, tc.want)
		}
		if again, more := sound.Sound(at); more != nil || !cmp.Equal(again, sound) {
			t.Errorf("%s: what is sound drops %q", tc.name, more)
		}
		if len(tc.want) == 0 && !cmp.Equal(sound, m) {
			t.Errorf("%s: changed (-want +got):\n%s", tc.name, cmp.Diff(m, sound))
		}
	}
}

// TestSoundOfDecisions: what Decide leaves is always sound.
func TestSoundOfDecisions(t *testing.T) {
	w := newWorld(t, nil)
	w.discharge(10, 500, 1200, 2, "")
	w.play("900 u1 OB LB runtime=20 charge=3\n901 u1 FSD OB runtime=20\n930 u1 OL runtime=900")
	if len(w.mem.Batteries) == 0 {
		t.Fatal("nothing was learned")
	}
	if _, dropped := w.mem.Sound(w.mem.Decided.At); dropped != nil {
		t.Errorf("dropped %q of a memory that Decide left", dropped)
	}
}

// TestPoisonedMemory: whatever was remembered of discharges, a decision does not panic, is
// never made later for it, and its memory can be written down once it went through Sound.
func TestPoisonedMemory(t *testing.T) {
	for seed := range uint64(400) {
		poison(t, rand.New(rand.NewPCG(seed, 1)), seed)
	}
}

// TestNearestBandIsThere: loads so far apart that their distance is no number.
func TestNearestBandIsThere(t *testing.T) {
	b := Battery{Bands: []Band{{Load: some(-math.MaxFloat64), Factor: 0.5}}}
	if factor, learned := b.FactorAt(some(math.MaxFloat64)); factor != 0.5 || !learned {
		t.Errorf("FactorAt = %v, %v; want 0.5 of the only band", factor, learned)
	}
}

// TestWildNumbersAreAbsent: a number no UPS has is one it did not say.
func TestWildNumbersAreAbsent(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), 1e308, -1e308, 2e9} {
		r := &dodai.Reading{Kind: dodai.KindUPS, Vars: dodai.Vars{}}
		for _, name := range []string{dodai.UPSLoad, dodai.InputVoltage, dodai.InputVoltageNom, dodai.UPSTimerShutdown, dodai.BatteryVoltage, dodai.BatteryCharge, dodai.BatteryRuntime} {
			r.Vars[name] = dodai.Num(v)
		}
		f := factsOf(r, 0, time.Minute, false)
		if f.Load.OK || f.Volts.OK || f.Nominal.OK || f.Timer.OK || f.Charge.OK || f.Runtime.OK || f.Metered {
			t.Errorf("%v: %+v, want nothing", v, f)
		}
	}
}

func poison(t *testing.T, r *rand.Rand, seed uint64) {
	t.Helper()
	wild := []float64{0, -1, 1, 1e308, -1e308, 5e-324, 0.2, 0.5, 1e9, 100, 40, 65535, 1e154}
	n := func() float64 { return wild[r.IntN(len(wild))] }
	num := func() Num { return Num{n(), r.IntN(3) > 0} }
	at := func() Mark { return Mark{time.Duration(n()), r.IntN(3) > 0} }
	var b Battery
	for range r.IntN(6) {
		b.Bands = append(b.Bands, Band{Load: num(), Factor: n(), Scale: num(), Honest: num()})
	}
	l := Lesson{From: at(), Claim: n(), Charge: num(), Load: num(), At: at(), Left: n(), Leg: at(), LegClaim: n(), Jumped: r.IntN(2) > 0, Peak: n()}
	poisoned := Memory{Batteries: map[string]Battery{"u1": b}, UPS: map[string]UPSMemory{"u1": {Lesson: l}}}
	clean, _ := poisoned.Sound(time.Hour)
	for _, m := range []Memory{poisoned, clean} {
		worse := m
		worse.Batteries = nil
		with, without := New(Default()), New(Default())
		without.Without = map[Rule]bool{RuleLearned: true}
		for i := range 60 {
			s := poisonedReading(r, i)
			var got, want Decision
			got, m = with.Decide(s, m, s.At)
			want, worse = without.Decide(s, worse, s.At)
			if want.Shutdown && !got.Shutdown || got.Margin != nil && want.Margin != nil && *got.Margin > *want.Margin {
				t.Fatalf("seed %d, reading %d: without what was learned\n%s\nwith it\n%s", seed, i, want.Explanation, got.Explanation)
			}
		}
		if _, err := json.Marshal(m); err != nil && reflect.DeepEqual(m.UPS, clean.UPS) {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	m := clean
	for i := range 60 {
		s := poisonedReading(r, i)
		_, m = New(Default()).Decide(s, m, s.At)
	}
	if _, err := json.Marshal(m); err != nil {
		t.Fatalf("seed %d: what Sound left: %v", seed, err)
	}
}

// poisonedReading is the i-th reading of an outage, with figures that swing.
func poisonedReading(r *rand.Rand, i int) *dodai.Snapshot {
	at := 1000*time.Hour + time.Duration(i)*2*time.Second
	status, volts := dodai.OL, 230.0
	if i > 3 {
		status, volts = dodai.OB|dodai.DISCHRG, 0
	}
	vars := dodai.Vars{dodai.InputVoltage: dodai.Num(volts), dodai.UPSLoad: dodai.Num([]float64{40, 0, 1e308, -5, 119}[r.IntN(5)]),
		dodai.BatteryCharge: dodai.Num([]float64{80, 79, 5e-324}[r.IntN(3)]), dodai.BatteryRuntime: dodai.Num([]float64{600, 0, 65535, 500, 250}[r.IntN(5)]),
		dodai.BatteryVoltage: dodai.Num(1e308), "battery.voltage.low": dodai.Num(-1e308), "battery.voltage.nominal": dodai.Num(1.5e308)}
	return &dodai.Snapshot{At: at, Wall: time.Unix(1e9, 0), BootedAt: time.Second, AgentStartedAt: time.Minute, Devices: []*dodai.DeviceState{{
		Name: "u1", Kind: dodai.KindUPS, At: at, Polls: uint64(i + 1), StaleAfter: 15 * time.Second,
		Reading: &dodai.Reading{Kind: dodai.KindUPS, Status: status, Vars: vars},
	}}}
}

// TestSwappedAgain: a card that mixes up two batteries makes one event in ten minutes, not
// one every other reading, and a long serial is kept in part.
func TestSwappedAgain(t *testing.T) {
	w := newWorld(t, nil)
	replaced := 0
	for i := range 900 { // half an hour
		r := reading(t, []string{"OL", "runtime=1200", "load=40"})
		r.Vars["battery.serial"] = dodai.Text(strings.Repeat([]string{"A", "B"}[i/2%2], 10000))
		w.read("u1", at(float64(10+2*i)), r)
		for _, ev := range w.last.Events {
			if ev.Name == dodai.EventBatteryReplaced {
				replaced++
			}
		}
	}
	if replaced < 2 || replaced > 4 {
		t.Errorf("replaced %d times in half an hour, want 3", replaced)
	}
	if n := len(w.mem.Batteries["u1"].ID.Pack); n != idLong {
		t.Errorf("a serial of %d bytes is remembered, want %d", n, idLong)
	}
}
