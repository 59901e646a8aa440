package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

// lasting is a UPS that says how long its battery lasts.
func lasting(name string, seconds float64) *dodai.DeviceState {
	return device(name, dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL, Vars: dodai.Vars{dodai.BatteryRuntime: dodai.Num(seconds)}})
}

// behind says which UPS stands behind which: "rack<room".
func behind(s *dodai.Snapshot, links string) *dodai.Snapshot {
	for link := range strings.FieldsSeq(links) {
		ups, fedBy, _ := strings.Cut(link, "<")
		s.Links = append(s.Links, dodai.Link{UPS: ups, FedBy: fedBy})
	}
	return s
}

// The supplies of two servers: one that works alone, and two that work.
var (
	single = bmc(supplies(dodai.PSUOK))
	pair   = bmc(nil)
)

// TestSeries: a UPS behind another one.
func TestSeries(t *testing.T) {
	racks := []dodai.Path{{PSU: "10.1", UPS: "rack1", Feed: "A"}, {PSU: "10.2", UPS: "rack2", Feed: "B"}}
	noFeeds := []dodai.Path{{PSU: "10.1", UPS: "rack1"}, {PSU: "10.2", UPS: "rack2"}}
	oneRack := []dodai.Path{{PSU: "10.1", UPS: "rack1", Feed: "A"}, {PSU: "10.2", UPS: "rack1", Feed: "A"}}
	for _, tt := range []struct {
		name string
		s    *dodai.Snapshot
		want []string
	}{
		{"racks on rooms of their own", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room1"), ups("room2"), pair), racks...), "rack1<room1 rack2<room2"), nil},
		{"a room behind one of two", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room"), pair), racks...), "rack1<room"), nil},
		{"a room behind both", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room"), pair), racks...), "rack1<room rack2<room"), []string{"open shared_ups: ups room"}},
		{"a room behind both, feeds not named", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room"), pair), noFeeds...), "rack1<room rack2<room"),
			[]string{"open shared_ups: ups room", "advice feed_unknown: feeds"}},
		{"and its feed", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room"), pair), racks[0], dodai.Path{PSU: "10.2", UPS: "rack2", Feed: "A"}), "rack1<room rack2<room"),
			[]string{"open shared_feed: feed A", "open shared_ups: ups room"}},
		{"one rack behind one room", behind(wired(snapshot(ups("rack1"), ups("room"), pair), oneRack...), "rack1<room"),
			[]string{"open shared_feed: feed A", "open shared_ups: ups rack1", "open shared_ups: ups room"}},
		{"a rack, and the room itself", behind(wired(snapshot(ups("rack1"), ups("room"), pair), racks[0], dodai.Path{PSU: "10.2", UPS: "room", Feed: "B"}), "rack1<room"),
			[]string{"open shared_ups: ups room"}},
		{"a rack, and the mains", behind(wired(snapshot(ups("rack1"), ups("room"), pair), racks[0], dodai.Path{PSU: "10.2", Feed: "B"}), "rack1<room"), nil},
		{"what stands before two rooms", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room1"), ups("room2"), ups("hall"), pair), racks...), "rack1<room1 rack2<room2 room1<hall room2<hall"),
			[]string{"open shared_ups: ups hall"}},
		{"the other supply is dead", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room"), bmc(supplies(dodai.PSUOK, dodai.PSUFailed))), racks...), "rack1<room"),
			[]string{"open shared_feed: feed A", "open supply_alone: psu 10.1", "open shared_ups: ups rack1", "open shared_ups: ups room"}},
		{"no wiring, one behind the other", behind(snapshot(ups("rack1"), ups("room"), pair), "rack1<room"), []string{"open ups_alone: ups rack1", "open ups_alone: ups room"}},
		{"no wiring, two behind one", behind(snapshot(ups("rack1"), ups("rack2"), ups("room"), pair), "rack1<room rack2<room"), []string{"unknown wiring_unknown: wiring"}},
		{"a circle, which no configuration has", behind(wired(snapshot(ups("rack1"), ups("rack2"), pair), racks...), "rack1<rack2 rack2<rack1"),
			[]string{"open shared_ups: ups rack1", "open shared_ups: ups rack2"}},
		{"a UPS behind itself", behind(wired(snapshot(ups("rack1"), ups("rack2"), pair), racks...), "rack1<rack1"), nil},
		{"no wiring, a circle", behind(snapshot(ups("rack1"), ups("rack2"), pair), "rack1<rack2 rack2<rack1"), []string{"unknown wiring_unknown: wiring"}},
		{"a link of a UPS that is not there", behind(snapshot(ups("room"), pair), "rack1<room"), []string{"open ups_alone: ups room"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := Audit(tt.s, Memory{})
			if diff := cmp.Diff(append([]string{}, tt.want...), brief(got)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTransferSwitch: a supply with two inputs is not lost with one of them, but the switch
// is a box of its own.
func TestTransferSwitch(t *testing.T) {
	both := []dodai.Path{{PSU: "10.1", UPS: "u1", Feed: "A"}, {PSU: "10.1", Feed: "B"}}
	other := dodai.Path{PSU: "10.2", UPS: "u1", Feed: "A"}
	for _, tt := range []struct {
		name string
		s    *dodai.Snapshot
		want []string
	}{
		{"before one of two supplies", wired(snapshot(ups("u1"), pair), append(both, other)...), nil},
		{"before each of two, the other way round", wired(snapshot(ups("u1"), pair), append(both, other, dodai.Path{PSU: "10.2", Feed: "B"})...), nil},
		{"before one, the other supply on the same feed as both inputs", wired(snapshot(ups("u1"), pair), both[0], dodai.Path{PSU: "10.1", Feed: "A"}, other),
			[]string{"open shared_feed: feed A"}},
		{"both inputs on one UPS", wired(snapshot(ups("u1"), pair), both[0], dodai.Path{PSU: "10.1", UPS: "u1", Feed: "B"}, other), []string{"open shared_ups: ups u1"}},
		{"before the only supply", wired(snapshot(ups("u1"), single), both...), []string{"open supply_alone: psu 10.1", "open switch_alone: transfer switch of psu 10.1"}},
		{"before the only supply, and no BMC", wired(snapshot(ups("u1")), both...),
			[]string{"open supply_alone: psu 10.1", "open switch_alone: transfer switch of psu 10.1", "advice supplies_unseen: power supplies"}},
		{"before the only supply that works", wired(snapshot(ups("u1"), bmc(supplies(dodai.PSUOK, dodai.PSUInputLost))), append(both, other)...),
			[]string{"open supply_alone: psu 10.1", "open switch_alone: transfer switch of psu 10.1"}},
		{"the wiring leaves a supply out that works", wired(snapshot(ups("u1"), pair), both...), nil},
		{"the wiring leaves a supply out that may work", wired(snapshot(ups("u1"), bmc(supplies(dodai.PSUOK, dodai.PSUUnknown))), both...), []string{"unknown supply_unknown: psu 10.2"}},
		{"between two rooms", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room1"), ups("room2"), pair),
			dodai.Path{PSU: "10.1", UPS: "rack1", Feed: "A"}, dodai.Path{PSU: "10.1", UPS: "rack2", Feed: "B"}, dodai.Path{PSU: "10.2", UPS: "rack1", Feed: "A"}), "rack1<room1 rack2<room2"), nil},
		{"between two racks of one room", behind(wired(snapshot(ups("rack1"), ups("rack2"), ups("room"), pair),
			dodai.Path{PSU: "10.1", UPS: "rack1", Feed: "A"}, dodai.Path{PSU: "10.1", UPS: "rack2", Feed: "B"}, dodai.Path{PSU: "10.2", UPS: "rack1", Feed: "A"}), "rack1<room rack2<room"),
			[]string{"open shared_ups: ups room"}},
		{"one supply on the mains", wired(snapshot(single), dodai.Path{PSU: "10.1", Feed: "A"}), []string{"open shared_feed: feed A", "open supply_alone: psu 10.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := Audit(tt.s, Memory{})
			if diff := cmp.Diff(append([]string{}, tt.want...), brief(got)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			for _, f := range got {
				if f.Consequence == "" || f.Remedy == "" || len(f.Evidence) == 0 {
					t.Errorf("finding %+v is not complete", f)
				}
			}
		})
	}
}

// TestWordsOfSeries: what it means when the UPS before the others is gone.
func TestWordsOfSeries(t *testing.T) {
	two := []dodai.Path{{PSU: "10.1", UPS: "rack1", Feed: "A"}, {PSU: "10.2", UPS: "rack2", Feed: "A"}}
	const used = ", and it goes down when the charge is used up"
	const fails = "when this UPS fails or is switched off "
	for _, tt := range []struct {
		name, links, want string
		devices           []*dodai.DeviceState
		paths             []dodai.Path
		evidence          string
	}{
		{"both last", "rack1<room rack2<room", fails + "nothing feeds the server but the batteries of rack1 and rack2 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 60), lasting("rack2", 120)}, two, "rack2: its own battery lasts 2 min by its own account (5 s ago)"},
		{"a ride-through", "rack1<room rack2<room", fails + "the server goes down within 119 s: the batteries of rack1 and rack2 behind it only bridge that time",
			[]*dodai.DeviceState{lasting("rack1", 60), lasting("rack2", 119)}, two, "rack1: its own battery lasts 60 s by its own account (5 s ago)"},
		{"one does not say it", "rack1<room rack2<room", fails + "nothing feeds the server but the batteries of rack1 and rack2 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 60), ups("rack2")}, two, "rack2: does not say how long its battery lasts (5 s ago)"},
		{"one says nothing, in numbers", "rack1<room rack2<room", fails + "nothing feeds the server but the batteries of rack1 and rack2 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 60), lasting("rack2", 0)}, two, "rack2: does not say how long its battery lasts (5 s ago)"},
		{"one never answered", "rack1<room rack2<room", fails + "nothing feeds the server but the batteries of rack1 and rack2 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 60), silent(ups("rack2"), 0)}, two, "rack2: does not say how long its battery lasts"},
		{"one is not there", "rack1<room rack2<room", fails + "nothing feeds the server but the batteries of rack1 and rack2 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 60)}, two, "rack2 does not say how long its battery lasts"},
		{"one alone", "rack1<room", fails + "nothing feeds the server but the battery of rack1 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 300)}, two[:1], "wiring: 10.1 ← rack1 ← room ← A"},
		{"one alone that only bridges", "rack1<room", fails + "the server goes down within 10 s: the battery of rack1 behind it only bridges that time",
			[]*dodai.DeviceState{lasting("rack1", 10)}, two[:1], "rack1: its own battery lasts 10 s by its own account (5 s ago)"},
		{"three in a row add up", "rack1<floor floor<room", fails + "nothing feeds the server but the batteries of rack1 and floor behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 60), lasting("floor", 60)}, two[:1], "wiring: 10.1 ← rack1 ← floor ← room ← A"},
		{"three in a row that only bridge", "rack1<floor floor<room", fails + "the server goes down within 110 s: the batteries of rack1 and floor behind it only bridge that time",
			[]*dodai.DeviceState{lasting("rack1", 50), lasting("floor", 60)}, two[:1], "floor: its own battery lasts 60 s by its own account (5 s ago)"},
		{"the room feeds one supply itself", "rack1<room", fails + "nothing feeds the server but the battery of rack1 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 600)}, []dodai.Path{two[0], {PSU: "10.2", UPS: "room", Feed: "A"}}, "wiring: 10.2 ← room ← A"},
		{"no other way", "", "the server loses all its power when this UPS fails, is overloaded or is switched off: no working supply hangs on anything else",
			nil, []dodai.Path{{PSU: "10.1", UPS: "room", Feed: "A"}}, "wiring: 10.1 ← room ← A"},
		{"a transfer switch", "rack1<room", fails + "nothing feeds the server but the battery of rack1 behind it" + used,
			[]*dodai.DeviceState{lasting("rack1", 600)}, []dodai.Path{two[0], {PSU: "10.1", UPS: "room", Outlet: "p/1"}}, "wiring: 10.1 ← transfer switch ← p/1 ← room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, _ := Audit(behind(wired(snapshot(append(tt.devices, ups("room"), pair)...), tt.paths...), tt.links), Memory{})
			for _, f := range found {
				if f.ID != IDSharedUPS || f.Component != "ups room" {
					continue
				}
				if f.Consequence != tt.want {
					t.Errorf("consequence\n got %s\nwant %s", f.Consequence, tt.want)
				}
				var evidence []string
				for _, e := range f.Evidence {
					evidence = append(evidence, evidenceText(e))
				}
				if all := strings.Join(evidence, "\n"); !strings.Contains("\n"+all+"\n", "\n"+tt.evidence+"\n") {
					t.Errorf("evidence\n%s\nlacks %s", all, tt.evidence)
				}
				return
			}
			t.Errorf("findings %v: want one about ups room", brief(found))
		})
	}
}

// TestFeedWithoutABattery: no UPS stands between, so the server stops at once.
func TestFeedWithoutABattery(t *testing.T) {
	feed := func(paths ...dodai.Path) string {
		found, _ := Audit(wired(snapshot(ups("u1"), pair), paths...), Memory{})
		for _, f := range found {
			if f.ID == IDSharedFeed {
				return f.Consequence
			}
		}
		return ""
	}
	bare, onUPS := dodai.Path{PSU: "10.1", Feed: "A"}, dodai.Path{PSU: "10.2", UPS: "u1", Feed: "A"}
	if got, want := feed(bare, dodai.Path{PSU: "10.2", Feed: "A"}), "the server loses all its power when this circuit trips: no supply hangs on a UPS"; got != want {
		t.Errorf("two bare supplies: %q, want %q", got, want)
	}
	if got, want := feed(bare, onUPS), "when this circuit trips nothing feeds the server but batteries, and it goes down when they are empty"; got != want {
		t.Errorf("one behind a UPS: %q, want %q", got, want)
	}
}

// TestGoneOnce: a supply that is dead is one fact, however many inputs it has.
func TestGoneOnce(t *testing.T) {
	s := wired(snapshot(ups("u1"), bmc(supplies(dodai.PSUOK, dodai.PSUFailed))),
		dodai.Path{PSU: "10.1", UPS: "u1", Feed: "A"}, dodai.Path{PSU: "10.2", UPS: "u1", Feed: "A"}, dodai.Path{PSU: "10.2", Feed: "B"})
	found, _ := Audit(s, Memory{})
	for _, f := range found {
		if f.ID == IDSharedUPS && len(f.Evidence) != 2 {
			t.Errorf("evidence %+v: want the path and the dead supply, each once", f.Evidence)
		}
	}
	if !Open(found) || len(found) < 2 {
		t.Errorf("findings %v: want the UPS among them", brief(found))
	}
}

// FuzzWiring: whatever hangs on whatever, the audit ends, says the same twice, and what it
// calls shared stands before every supply.
func FuzzWiring(f *testing.F) {
	f.Add("1a 2b", "a<c b<c")
	f.Add("1a 1b 2a", "a<b b<a")
	f.Add("1 1a", "a<a a<b b<c c<a")
	f.Fuzz(func(t *testing.T, wires, links string) {
		if len(wires)+len(links) > 200 {
			return
		}
		s := behind(snapshot(ups("a"), ups("b"), lasting("c", 30), pair), links)
		for wire := range strings.FieldsSeq(wires) {
			s.Paths = append(s.Paths, dodai.Path{PSU: wire[:1], UPS: wire[1:]})
		}
		one, m := Audit(s, Memory{})
		two, _ := Audit(s.With(s.Devices[0], now+time.Second, time.Time{}), m)
		if diff := cmp.Diff(brief(one), brief(two)); diff != "" {
			t.Errorf("second time (-first +second):\n%s", diff)
		}
		for _, found := range one {
			if found.Consequence == "" || found.Remedy == "" || len(found.Evidence) == 0 {
				t.Errorf("finding %+v is not complete", found)
			}
			ups, isUPS := strings.CutPrefix(found.Component, "ups ")
			if found.ID == IDSharedUPS && (!isUPS || strings.Count(evidenceOf(found), "← "+ups) < len(s.Paths)) {
				t.Errorf("%s stands not before every supply:\n%s", found.Component, evidenceOf(found))
			}
		}
	})
}

func evidenceOf(f Finding) string {
	var b strings.Builder
	for _, e := range f.Evidence {
		b.WriteString(evidenceText(e) + "\n")
	}
	return b.String()
}
