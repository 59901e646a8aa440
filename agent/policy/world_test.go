package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// world is a site on virtual time: readings go in, decisions come out.
type world struct {
	t    testing.TB
	pol  Policy
	snap *dodai.Snapshot
	mem  Memory
	last Decision
	all  []Decision
}

// start is when a world begins: the host and the agent have been up for long.
const start = 1000 * time.Hour

func newWorld(t testing.TB, change func(*Config)) *world {
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	return &world{t: t, pol: New(cfg), snap: &dodai.Snapshot{At: start, AgentStartedAt: start / 2}}
}

func at(seconds float64) time.Duration { return start + time.Duration(seconds*float64(time.Second)) }

var shortNames = map[string]string{
	"charge": dodai.BatteryCharge, "runtime": dodai.BatteryRuntime, "volts": dodai.InputVoltage, "load": dodai.UPSLoad,
	"timer": dodai.UPSTimerShutdown, "battery": dodai.BatteryVoltage, "low": "battery.voltage.low",
	"nominal": "battery.voltage.nominal", "test": dodai.UPSTestResult, "va": ratings[0], "w": ratings[1],
}

// play reads one step per line and decides on each: seconds, UPS, then status words and
// name=value, or "fails" for a failed poll, or "later" for no poll at all. A value of
// "80@20" is 20 s older than its reading.
func (w *world) play(script string) {
	w.t.Helper()
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		seconds, err := strconv.ParseFloat(words[0], 64)
		if err != nil || len(words) < 3 {
			w.t.Fatalf("bad step %q", line)
		}
		switch words[2] {
		case "later":
			w.decide(at(seconds))
		case "fails":
			w.fail(words[1], at(seconds))
		default:
			w.read(words[1], at(seconds), reading(w.t, words[2:]))
		}
	}
}

func reading(t testing.TB, words []string) *dodai.Reading {
	t.Helper()
	r := &dodai.Reading{Kind: dodai.KindUPS, Vars: dodai.Vars{}, Ages: map[string]time.Duration{}}
	var flags []string
	for _, word := range words {
		name, value, isVar := strings.Cut(word, "=")
		if !isVar {
			flags = append(flags, word)
			continue
		}
		value, age, aged := strings.Cut(value, "@")
		name, known := shortNames[name]
		if !known {
			t.Fatalf("bad word %q", word)
		}
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			r.Vars[name] = dodai.Num(f)
		} else {
			r.Vars[name] = dodai.Text(strings.ReplaceAll(value, "_", " "))
		}
		if aged {
			n, _ := strconv.Atoi(age)
			r.Ages[name] = time.Duration(n) * time.Second
		}
	}
	r.Status, _ = dodai.ParseStatus(strings.Join(flags, " "))
	return r
}

func (w *world) device(name string, kind dodai.Kind) dodai.DeviceState {
	if d := w.snap.Device(name); d != nil {
		return *d
	}
	return dodai.DeviceState{Name: name, Kind: kind, StaleAfter: 15 * time.Second}
}

func (w *world) read(name string, now time.Duration, r *dodai.Reading) {
	d := w.device(name, r.Kind)
	d.Reading, d.At, d.Polls, d.Failures, d.Err = r, now, d.Polls+1, 0, ""
	w.snap = w.snap.With(&d, now, time.Time{})
	w.decide(now)
}

func (w *world) fail(name string, now time.Duration) {
	d := w.device(name, dodai.KindUPS)
	if d.Failures++; d.Failures == 1 {
		d.FailingSince = now
	}
	d.Err = "megatec " + name + ": read Q1 reply: device unreachable"
	w.snap = w.snap.With(&d, now, time.Time{})
	w.decide(now)
}

func (w *world) decide(now time.Duration) {
	w.last, w.mem = w.pol.Decide(w.snap, w.mem, now)
	w.all = append(w.all, w.last)
}

func (w *world) alerts() []string {
	var out []string
	for _, a := range w.last.Alerts {
		out = append(out, strings.TrimPrefix(fmt.Sprintf("%s/%s", a.Device, a.ID), "u1/"))
	}
	return out
}

// events lists all edges but those of alerts, in order, as name@seconds.
func (w *world) events() []string {
	var out []string
	for _, d := range w.all {
		for _, e := range d.Events {
			if e.Name != dodai.EventAlertRaised && e.Name != dodai.EventAlertCleared {
				out = append(out, fmt.Sprintf("%s@%g", e.Name, (e.At-start).Seconds()))
			}
		}
	}
	return out
}

// ever reports whether an alert stood at any time.
func (w *world) ever(id AlertID) bool {
	return slices.ContainsFunc(w.all, func(d Decision) bool {
		return slices.ContainsFunc(d.Alerts, func(a Alert) bool { return a.ID == id })
	})
}

// learned has the battery of a UPS taught a factor, at any load.
func (w *world) learned(name string, factor float64) {
	w.mem.Batteries = map[string]Battery{name: {Bands: []Band{{Factor: factor, Discharges: 1}}}}
}
