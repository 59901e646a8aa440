package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// life is a site of n UPSes for which time can pass quickly: each call reads all of them.
type life struct {
	*world
	names []string
	polls uint64
}

func newLife(t testing.TB, n int) *life {
	l := &life{world: newWorld(t, nil)}
	for i := range n {
		l.names = append(l.names, fmt.Sprintf("u%02d", i))
		l.snap.Paths = append(l.snap.Paths, dodai.Path{PSU: fmt.Sprintf("p%02d", i), UPS: l.names[i], Feed: "A"})
	}
	return l
}

// tick reads all UPSes, or finds them silent, and decides once.
func (l *life) tick(s float64, status string, charge, runtime float64, silent func(i int) bool) {
	now := at(s)
	l.polls++
	snap := *l.snap
	snap.At, snap.Devices = now, nil
	st, _ := dodai.ParseStatus(status)
	for i, name := range l.names {
		d := l.device(name, dodai.KindUPS)
		if silent != nil && silent(i) {
			d.Failures, d.Err = d.Failures+1, "device unreachable"
		} else {
			d.Reading = &dodai.Reading{Kind: dodai.KindUPS, Status: st, Vars: dodai.Vars{
				dodai.BatteryCharge: dodai.Num(charge), dodai.BatteryRuntime: dodai.Num(runtime),
				dodai.InputVoltage: dodai.Num(0), dodai.UPSLoad: dodai.Num(40 + float64(l.polls%3)),
			}}
			d.At, d.Polls, d.Failures, d.Err = now, l.polls, 0, ""
		}
		snap.Devices = append(snap.Devices, &d)
	}
	l.snap = &snap
	l.last, l.mem = l.pol.Decide(l.snap, l.mem, now)
}

// allocs is how many allocations the next decision takes, on a new reading of each UPS.
func (l *life) allocs(s float64, charge, runtime float64) float64 {
	l.tick(s, "OB DISCHRG", charge, runtime, nil)
	snap, mem, now := l.snap.With(l.snap.Devices[0], at(s+2), time.Time{}), l.mem, at(s+2)
	for i, d := range snap.Devices {
		c := *d
		c.At, c.Polls = now, c.Polls+1
		snap.Devices[i] = &c
	}
	return testing.AllocsPerRun(50, func() { l.pol.Decide(snap, mem, now) })
}

// TestDecideDoesNotGrowWithTime: a decision after an hour on battery, or after a day of
// flapping mains, allocates as much as one early in an outage.
func TestDecideDoesNotGrowWithTime(t *testing.T) {
	for _, brief := range []bool{false, true} {
		t.Run(fmt.Sprintf("brief=%v", brief), func(t *testing.T) {
			l := newLife(t, 2)
			l.pol.Brief = brief
			l.tick(0, "OL", 100, 20000, nil)
			pass := func(from, to float64) {
				for s := from; s < to; s += 2 {
					l.tick(s, "OB DISCHRG", math.Round(100-s/100), 20000-s, nil)
				}
			}
			pass(2, 200)
			early := l.allocs(200, 98, 19800)
			pass(204, 3800)
			hour := l.allocs(3800, 62, 16200)
			for s := 4000.0; s < 4000+86400; s += 10 {
				status := "OL CHRG"
				if int(s/10)%2 == 0 {
					status = "OB DISCHRG"
				}
				l.tick(s, status, 60, 15000+float64(int(s)%100), nil)
			}
			day := l.allocs(90500, 60, 15000)
			t.Logf("%.0f allocations early, %.0f after an hour, %.0f after a day of flapping", early, hour, day)
			if hour > early+2 || day > early*1.5 { // two: a sentence that now has another number in it
				t.Errorf("%.0f allocations early in an outage, %.0f after an hour, %.0f after a day of flapping", early, hour, day)
			}
		})
	}
}

// TestMemoryIsBounded: what is remembered of 50 UPSes does not grow over a week of mains
// that come and go and of devices that fall silent, each outage deep enough to teach.
func TestMemoryIsBounded(t *testing.T) {
	const ups = 50
	l := newLife(t, ups)
	size := func() int {
		data, err := json.Marshal(l.mem)
		if err != nil {
			t.Fatal(err)
		}
		return len(data)
	}
	l.pol.Brief = true
	var most [7]int // bytes, each day
	for s := 0.0; s < 7*86400; s += 60 {
		// Every hour: 20 minutes on battery in which the claimed runtime falls twice as fast
		// as time, then ten minutes of transfers, then mains.
		in := math.Mod(s, 3600)
		status, charge, runtime := "OL CHRG", 100.0, 3000.0
		switch {
		case in < 1200:
			status, charge, runtime = "OB DISCHRG", 100-in/20, 3000-2.2*in
		case in < 1800 && int(in/60)%2 == 0:
			status, charge, runtime = "OB DISCHRG", 40, 400
		}
		hour := int(s / 3600)
		l.tick(s, status, charge, runtime, func(i int) bool { return (i+hour)%5 == 0 && in > 600 && in < 2400 })
		if int(in)%600 == 0 {
			day := int(s / 86400)
			most[day] = max(most[day], size())
		}
	}
	t.Logf("at most %v bytes each day: %d for each UPS", most, most[6]/ups)
	if most[6] > most[0]*11/10 || most[6] > ups*8<<10 {
		t.Errorf("the memory has up to %v bytes on each day; want no growth and at most 8 KiB for each UPS", most)
	}
	if len(l.mem.Batteries) != ups {
		t.Errorf("%d batteries taught anything, want all: the week was too quiet", len(l.mem.Batteries))
	}
}
