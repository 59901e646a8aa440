package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// booted is a world in which the host has booted a minute before, and the agent with it.
func booted(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := newWorld(t, change)
	w.snap.BootedAt, w.snap.AgentStartedAt = start-time.Minute, start-time.Minute
	return w
}

// boots lists each change of the hold as kind@seconds: what holds it back, "unheard", or what
// has released it.
func (w *world) boots() string {
	var out []string
	last := ""
	for _, d := range w.all {
		is := "released"
		if d.BootHeld() {
			var what []string
			for _, r := range d.BootReasons {
				what = append(what, strings.TrimPrefix(r.UPS+"/"+string(r.What), "u1/"))
			}
			is = strings.Join(what, "+")
		}
		if is != last {
			out = append(out, fmt.Sprintf("%s@%g", is, (d.At-start).Seconds()))
		}
		last = is
	}
	return strings.Join(out, " ")
}

func TestBootHoldStory(t *testing.T) {
	wait := func(d time.Duration) func(*Config) { return func(c *Config) { c.BootWait = d } }
	limit := func(d time.Duration) func(*Config) { return func(c *Config) { c.BootLimit = d } }
	for _, tc := range []struct {
		name   string
		change func(*Config)
		script string
		want   string
		by     BootRelease
	}{
		{"a full battery", nil, "0 u1 OL charge=100", "released@0", BootReady},
		{"low, then charged", nil, "0 u1 OL CHRG charge=12\n60 u1 OL CHRG charge=29\n90 u1 OL CHRG charge=30", "charge@0 released@90", BootReady},
		{"too little time", nil, "0 u1 OL runtime=179\n9 u1 OL runtime=180", "runtime@0 released@9", BootReady},
		{"low battery", nil, "0 u1 OL LB charge=90\n9 u1 OL charge=90", "low_battery@0 released@9", BootReady},
		{"a leftover FSD", nil, "0 u1 OL FSD charge=90\n30 u1 OL FSD charge=90\n60 u1 OL charge=90", "fsd@0 released@60", BootReady},
		{"the mains go while it is held", nil, "0 u1 OL CHRG charge=24\n60 u1 OB charge=25\n90 u1 OB charge=24\n120 u1 OL charge=31\n129.9 u1 OL charge=31\n130 u1 OL charge=31",
			"charge@0 on_battery@60 released@130", BootReady},
		{"a boot without mains", nil, "0 u1 OB charge=90 runtime=2000\n20 u1 OL charge=88 runtime=1900\n30 u1 OL charge=88 runtime=1900", "on_battery@0 released@30", BootReady},
		{"the turn", wait(time.Minute), "0 u1 OL charge=90\n59.9 u1 OL charge=90\n60 u1 OL charge=90", "/turn@0 released@60", BootReady},
		{"the turn after the battery", wait(time.Minute), "0 u1 OL charge=12\n30 u1 OL charge=30\n89 u1 OL charge=31\n90 u1 OL charge=31", "charge@0 /turn@30 released@90", BootReady},
		{"the mains go before the turn", wait(time.Minute), "0 u1 OL charge=90\n30 u1 OB charge=89\n40 u1 OL charge=89\n50 u1 OL charge=89\n60 u1 OL charge=89\n109 u1 OL charge=90\n110 u1 OL charge=90",
			"/turn@0 on_battery@30 /turn@50 released@110", BootReady},
		{"silent before the turn", wait(time.Minute), "0 u1 OL charge=90\n40 u1 fails\n60 u1 fails\n70 u1 OL charge=90", "/turn@0 unheard@40 released@70", BootReady},
		{"a slow network card", nil, "0 u1 fails\n100 u1 fails\n200 u1 OL charge=100", "unheard@0 released@200", BootReady},
		{"a slow network card, and low", nil, "0 u1 fails\n100 u1 fails\n200 u1 OL charge=10", "unheard@0 charge@200", ""},
		{"a UPS that never answers", nil, "0 u1 fails\n239 u1 fails\n240 u1 fails", "unheard@0 released@240", BootReady},
		{"silent, last heard low", nil, "0 u1 OL charge=10\n60 u1 fails\n600 u1 fails", "charge@0", ""},
		{"silent, last heard on battery", nil, "0 u1 OB charge=90\n20 u1 fails\n30 u1 fails\n600 u1 fails", "on_battery@0 /going_down+on_battery@600", ""},
		{"the time limit", limit(2 * time.Minute), "0 u1 OL charge=12\n59.9 u1 OL charge=13\n60 u1 OL charge=13", "charge@0 released@60", BootLimit},
		{"the time limit over the turn", func(c *Config) { c.BootWait, c.BootLimit = 5*time.Minute, 2*time.Minute }, "0 u1 OL charge=90\n60 u1 OL charge=90", "/turn@0 released@60", BootLimit},
		{"the time limit, on battery", limit(2 * time.Minute), "0 u1 OB charge=50\n60 u1 OB charge=48", "on_battery@0 released@60", BootLimit},
		{"released is released", nil, "0 u1 OL charge=90\n9 u1 OB charge=89\n99 u1 OB LB charge=9", "released@0", BootReady},
		{"one of two is enough", nil, "0 u2 fails\n0 u1 OL charge=80", "u2/unheard@0 released@0", BootReady},
		{"both are needed", func(c *Config) { c.MinSupplies = 2 }, "0 u2 fails\n0 u1 OL charge=80\n5 u2 OL charge=20\n9 u2 OL charge=31", "u2/unheard@0 u2/charge@5 released@9", BootReady},
		{"the other one may still be good", nil, "0 u2 fails\n0 u1 OL charge=10\n5 u2 OL charge=80", "u2/unheard@0 charge+u2/unheard@0 released@5", BootReady},
		{"silent for longer than the operator allows", func(c *Config) { c.BootWait, c.CommsLostLineS = 2*time.Minute, new(Seconds(40)) }, "0 u1 OL charge=90\n20 u1 fails\n40 u1 fails", "/turn@0 unheard@20 /going_down+feed_ends@40", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := booted(t, tc.change)
			w.play(tc.script)
			if got := w.boots(); got != tc.want || w.mem.Boot.By != tc.by {
				t.Errorf("got  %s, by %q\nwant %s, by %q\n%s", got, w.mem.Boot.By, tc.want, tc.by, w.last.BootHoldWhy)
			}
			if held := w.last.BootHeld(); held != (w.last.BootHoldWhy != "") || held == w.mem.Boot.Released {
				t.Errorf("held %v, why %q, released %v", held, w.last.BootHoldWhy, w.mem.Boot.Released)
			}
		})
	}
}

func TestBootHoldWhy(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		script string
		want   string
	}{
		{"charge", nil, "0 u1 OL charge=12", "0 of 1 supplies could carry another shutdown, 1 wanted; u1: charge 12 %, 30 % are wanted"},
		{"time", nil, "0 u1 OL charge=50 runtime=100", "0 of 1 supplies could carry another shutdown, 1 wanted; u1: its battery lasts 100 s, a shutdown needs 120 s and 60 s of reserve"},
		{"leftover", nil, "0 u1 OL FSD charge=90", "0 of 1 supplies could carry another shutdown, 1 wanted; u1: announces a forced shutdown (FSD) that is left over from before the boot"},
		{"two", func(c *Config) { c.MinSupplies = 2 }, "0 u1 OL charge=12\n0 u2 OB charge=90\n5 u1 OL charge=12",
			"0 of 2 supplies could carry another shutdown, 2 wanted; u1: charge 12 %, 30 % are wanted; u2: on battery for 5 s"},
		{"the moment after", nil, "0 u1 OB charge=90\n20 u1 OL charge=90\n23 u1 OL charge=90", "0 of 1 supplies could carry another shutdown, 1 wanted; u1: on line again for 3 s, 10 s are wanted"},
		{"turn", func(c *Config) { c.BootWait = 90 * time.Second }, "0 u1 OL charge=100\n30 u1 OL charge=100", "1 of 1 supplies could carry another shutdown, 1 wanted; the turn of this host comes in 60 s"},
		{"silent", nil, "0 u1 fails", "0 of 1 supplies could carry another shutdown, 1 wanted; u1: has not answered yet"},
		{"going down", nil, "0 u1 OB LB charge=9\n2 u1 OB LB charge=9\n12 u1 OB LB charge=9",
			"0 of 1 supplies could carry another shutdown, 1 wanted; this host has to go down; u1: on battery for 12 s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := booted(t, tc.change)
			w.play(tc.script)
			if w.last.BootHoldWhy != tc.want {
				t.Errorf("got  %s\nwant %s", w.last.BootHoldWhy, tc.want)
			}
		})
	}
}

// TestBootHoldLeft: how long it goes on is told once the charge has shown how it rises.
func TestBootHoldLeft(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		script string
		want   string
	}{
		{"not known at first", nil, "0 u1 OL charge=10", "unknown"},
		{"not after a moment", nil, "0 u1 OL charge=10\n59 u1 OL charge=15", "unknown"},
		{"by the charge", nil, "0 u1 OL charge=10\n100 u1 OL charge=15", "5m0s"},
		{"and then the turn", func(c *Config) { c.BootWait = time.Minute }, "0 u1 OL charge=10\n100 u1 OL charge=15", "6m0s"},
		{"by the time", nil, "0 u1 OL runtime=80\n100 u1 OL runtime=130", "1m40s"},
		{"it does not charge", nil, "0 u1 OL charge=10\n600 u1 OL charge=10", "unknown"},
		{"it falls", nil, "0 u1 OL charge=20\n600 u1 OL charge=10", "unknown"},
		{"hardly", nil, "0 u1 OL charge=10\n80000 u1 OL charge=11", "24h0m0s"},
		{"not while on battery", nil, "0 u1 OL charge=10\n100 u1 OB charge=15", "unknown"},
		{"anew after an outage", nil, "0 u1 OL charge=10\n100 u1 OB charge=20\n200 u1 OL charge=10\n210 u1 OL charge=10\n310 u1 OL charge=20", "1m40s"},
		{"the better of two", nil, "0 u1 OL charge=10\n0 u2 OL charge=10\n100 u1 OL charge=15\n100 u2 OL charge=20", "1m40s"},
		{"the worse, where both are needed", func(c *Config) { c.MinSupplies = 2 }, "0 u1 OL charge=10\n0 u2 OL charge=10\n100 u1 OL charge=15\n100 u2 OL charge=20", "5m0s"},
		{"a UPS that may never answer", nil, "0 u1 fails\n100 u1 fails", "2m20s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := booted(t, tc.change)
			w.configured("u1")
			if strings.Contains(tc.script, "u2") {
				w.configured("u2")
			}
			w.play(tc.script)
			got := "unknown"
			if w.last.BootHoldLeft != nil {
				got = w.last.BootHoldLeft.String()
			}
			if got != tc.want || !w.last.BootHeld() {
				t.Errorf("left %s, want %s: %s", got, tc.want, w.last.BootHoldWhy)
			}
		})
	}
}

// TestBootHoldAsksAgain: what ends the hold without a reading is decided on time.
func TestBootHoldAsksAgain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		script string
		want   float64
	}{
		{"the turn", func(c *Config) { c.BootWait = 7 * time.Second }, "0 u1 OL charge=90", 7},
		{"the limit", func(c *Config) { c.BootLimit = 68 * time.Second }, "0 u1 OL charge=10", 8},
		{"a UPS that does not answer", nil, "0 u1 fails\n230 u1 fails", 240},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := booted(t, tc.change)
			w.play(tc.script)
			if w.last.Next != at(tc.want) || !w.last.BootHeld() {
				t.Fatalf("next %v, held %v; want %g s and held", w.last.Next-start, w.last.BootHeld(), tc.want)
			}
			if w.decide(at(tc.want) - 1); !w.last.BootHeld() {
				t.Error("released too soon")
			}
			if w.decide(at(tc.want)); w.last.BootHeld() {
				t.Errorf("not released: %s", w.last.BootHoldWhy)
			}
		})
	}
}

// TestBootHoldOverARestart of the agent: what was known stands, what was waited is counted,
// and nothing is let go before a UPS has answered.
func TestBootHoldOverARestart(t *testing.T) {
	turn := func(c *Config) { c.BootWait = 10 * time.Minute }
	for _, tc := range []struct {
		name   string
		change func(*Config)
		before string
		at     float64
		after  string
		want   string
	}{
		{"low", nil, "0 u1 OL charge=10", 5, "6 u1 fails\n7 u1 OL charge=11\n20 u1 OL charge=30", "charge@5 released@20"},
		{"in the turn", turn, "0 u1 OL charge=90", 590, "591 u1 fails\n599 u1 fails\n601 u1 OL charge=90", "unheard@590 released@601"},
		{"in the turn, and the mains have gone", turn, "0 u1 OL charge=90", 590, "601 u1 OB charge=90", "unheard@590 on_battery@601"},
		{"after its end", nil, "0 u1 OL charge=90", 5, "6 u1 OL charge=10", "released@5"},
		{"long after the boot", nil, "0 u1 OL charge=10", 3600, "3601 u1 OL charge=10", "charge@3600"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := booted(t, tc.change)
			w.play(tc.before)
			w.all = nil
			w.restart(tc.at)
			w.play(tc.after)
			if got := w.boots(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestNoBootHoldLongAfterTheBoot: an agent that is installed, or found again, on a machine
// that has been up for long keeps nothing from starting.
func TestNoBootHoldLongAfterTheBoot(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL charge=10")
	if w.last.BootHeld() {
		t.Errorf("without a memory: %s", w.last.BootHoldWhy)
	}
	w.snap.BootedAt, w.snap.AgentStartedAt = at(100), at(100)+freshBoot+1
	w.play("2000 u1 OL charge=10")
	if w.last.BootHeld() {
		t.Errorf("with one of the boot before: %s", w.last.BootHoldWhy)
	}
	w.snap.BootedAt, w.snap.AgentStartedAt = at(3000), at(3000)+freshBoot
	w.play("4000 u1 OL charge=10")
	if !w.last.BootHeld() {
		t.Error("not held, although the agent came with the boot")
	}
}

// TestReleaseBoot: an operator's word counts until the next boot.
func TestReleaseBoot(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL charge=10")
	if _, ok := w.mem.ReleaseBoot("nobody"); ok {
		t.Error("released what was not held")
	}
	w = booted(t, nil)
	w.play("0 u1 OL charge=10")
	mem, ok := w.mem.ReleaseBoot("root: needed now")
	if !ok || w.mem.Boot.Released {
		t.Fatalf("released %v, the memory before %+v", ok, w.mem.Boot)
	}
	w.mem = mem
	w.play("9 u1 OB LB charge=5")
	if w.last.BootHeld() || w.mem.Boot.By != BootOperator || w.mem.Boot.Said != "root: needed now" {
		t.Errorf("held %v, %+v", w.last.BootHeld(), w.mem.Boot)
	}
	if _, ok := w.mem.ReleaseBoot("again"); ok {
		t.Error("released a second time")
	}
	w.restart(20)
	if w.play("21 u1 OL charge=10"); w.last.BootHeld() {
		t.Error("held again after a restart of the agent")
	}
	w.snap.BootedAt, w.snap.AgentStartedAt = at(100), at(101)
	if w.play("102 u1 OL charge=10"); !w.last.BootHeld() || w.mem.Boot.Said != "" {
		t.Errorf("not held after the next boot: %+v", w.mem.Boot)
	}
}

// TestBootHoldWired: in series, behind a switch, beside the mains themselves.
func TestBootHoldWired(t *testing.T) {
	series := []dodai.Link{{UPS: "u1", FedBy: "u0"}}
	for _, tc := range []struct {
		name   string
		paths  []dodai.Path
		links  []dodai.Link
		min    int
		script string
		want   string
	}{
		{"in series they add up", []dodai.Path{{PSU: "a", UPS: "u1"}}, series, 1, "0 u0 OL charge=80 runtime=120\n0 u1 OL charge=80 runtime=100", "released"},
		{"not enough together", []dodai.Path{{PSU: "a", UPS: "u1"}}, series, 1, "0 u0 OL charge=80 runtime=50\n0 u1 OL charge=80 runtime=100", "u1/runtime"},
		{"the one before it is on battery", []dodai.Path{{PSU: "a", UPS: "u1"}}, series, 1, "0 u0 OB charge=80 runtime=2000\n0 u1 OL charge=80 runtime=2000", "u1/on_battery"},
		{"the mains themselves carry nothing", []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", Feed: "B"}}, nil, 1, "0 u1 OL charge=10", "u1/charge"},
		{"and are not waited for", []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", Feed: "B"}}, nil, 2, "0 u1 OL charge=80", "released"},
		{"no UPS at all", []dodai.Path{{PSU: "b", Feed: "B"}}, nil, 1, "0 u1 OL charge=10", "released"},
		{"a switch takes the better input", []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "a", UPS: "u2"}}, nil, 1, "0 u2 OL charge=90\n0 u1 OL charge=10", "released"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := booted(t, func(c *Config) { c.MinSupplies = tc.min })
			w.snap.Paths, w.snap.Links = tc.paths, tc.links
			w.configured("u1")
			w.play(tc.script)
			got := "released"
			if w.last.BootHeld() {
				got = w.last.BootReasons[0].UPS + "/" + string(w.last.BootReasons[0].What)
			}
			if got != tc.want {
				t.Errorf("%s, want %s: %s", got, tc.want, w.last.BootHoldWhy)
			}
		})
	}
}

// TestBootHoldOfABrokenSupply: what its UPS could carry does not count.
func TestBootHoldOfABrokenSupply(t *testing.T) {
	w := booted(t, nil)
	w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}}
	w.configured("u1", "u2")
	w.play("0 u2 OL charge=10")
	w.supplies(0, "a:failed b:ok")
	w.play("1 u1 OL charge=90")
	if got := w.boots(); !strings.HasSuffix(got, "u2/charge@0") {
		t.Errorf("%s, want u2 to be waited for", got)
	}
}

// TestBriefBootHold: without words the hold is the same.
func TestBriefBootHold(t *testing.T) {
	for _, brief := range []bool{false, true} {
		w := booted(t, func(c *Config) { c.BootWait = 30 * time.Second })
		w.pol.Brief = brief
		w.play("0 u1 OL charge=12\n20 u1 OL charge=40\n49 u1 OL charge=40")
		if !w.last.BootHold || (w.last.BootHoldWhy == "") != brief {
			t.Errorf("brief %v: hold %v, why %q", brief, w.last.BootHold, w.last.BootHoldWhy)
		}
		if w.play("50 u1 OL charge=40"); w.last.BootHeld() {
			t.Errorf("brief %v: held after the turn", brief)
		}
	}
}
