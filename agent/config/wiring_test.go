package config

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

// site is a configuration of UPSes given as "name" or "name<fed_by", and of more lines.
func siteOf(upses string, lines ...string) string {
	var b strings.Builder
	b.WriteString("ups:\n")
	for ups := range strings.FieldsSeq(upses) {
		name, fedBy, behind := strings.Cut(ups, "<")
		b.WriteString("  - name: " + name + "\n    driver: nut\n")
		if behind {
			b.WriteString("    fed_by: " + fedBy + "\n")
		}
	}
	return b.String() + strings.Join(lines, "\n")
}

const seriesWant = ": want the name of another UPS below ups; a utility circuit is `feed` in the wiring, for example fed_by: "

func TestFedByMistakes(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"unknown", siteOf("room rack<roon"), []string{`f:6:13: ups rack is fed by the unknown UPS "roon" (did you mean "room"?)` + seriesWant + "room"}},
		{"unknown like no other", siteOf("room rack<A"), []string{`f:6:13: ups rack is fed by the unknown UPS "A"` + seriesWant + "room"}},
		{"unknown, alone", siteOf("rack<main"), []string{`f:4:13: ups rack is fed by the unknown UPS "main"` + seriesWant + "room"}},
		{"in other letters", siteOf("room rack<Room"), []string{`f:6:13: ups rack is fed by the unknown UPS "Room" (did you mean "room"?)` + seriesWant + "room"}},
		{"itself", siteOf("room rack<rack"), []string{`f:6:13: ups rack is fed by itself` + seriesWant + "room"}},
		{"itself, not alone", siteOf("u1<u2 u2<u2"), []string{`f:7:13: ups u2 is fed by itself` + seriesWant + "u1"}},
		{"a device that is no UPS", siteOf("rack<ats", "pdus: [{name: ats, driver: nut}]"), []string{`f:4:13: ups rack is fed by ats, which is no UPS` + seriesWant + "room"}},
		{"a circle of two", siteOf("u1<u2 u2<u1"), []string{`f:4:13: UPSes feed each other in a circle: u1 ← u2 ← u1: want an end that the mains feed: one of them without fed_by, for example {name: u2, driver: nut}`}},
		{"a circle of three, and one behind it", siteOf("u0<u2 u1<u2 u2<u3 u3<u1"), []string{`f:7:13: UPSes feed each other in a circle: u1 ← u2 ← u3 ← u1: want`}},
		{"two circles", siteOf("a<b b<a c<d d<c"), []string{"f:4:13: UPSes feed each other in a circle: a ← b ← a", "f:10:13: UPSes feed each other in a circle: c ← d ← c"}},
		{"nothing", "ups: [{name: a, driver: nut, fed_by: }]", []string{"f:1:37: fed_by has no value: want a text, for example room"}},
		{"a list", "ups: [{name: a, driver: nut, fed_by: [b]}]", []string{"f:1:38: fed_by is a list: want a text, for example room"}},
		{"empty", `ups: [{name: a, driver: nut, fed_by: ""}]`, []string{`f:1:38: fed_by is "": want a text of one line, for example room`}},
		{"a PDU", siteOf("room", "pdus: [{name: p, driver: nut, fed_by: room}]"), []string{`f:4:31: unknown key "fed_by" in pdus: want fed_by of a device below ups instead, for example ups: [{name: rack, driver: nut, fed_by: room}]`}},
		{"disks", "disks: [{name: d, driver: smartctl, fed_by: x}]", []string{`f:1:37: unknown key "fed_by" in disks: want fed_by of a device below ups instead`}},
		{"arrays", "arrays: [{name: d, driver: md, fed_by: x}]", []string{`f:1:32: unknown key "fed_by" in arrays: want fed_by of`}},
		{"supplies", "psus: [{name: d, driver: ipmi, fed_by: x}]", []string{`f:1:32: unknown key "fed_by" in psus: want fed_by of`}},
		{"a line of the wiring", siteOf("u", "wiring: [{psu: x, ups: u, fed_by: room}]"), []string{`f:4:27: unknown key "fed_by" in wiring: want fed_by of`}},
		{"itself, which feeds no other", siteOf("u1 u2<u2", "policy: {min_supplies: 2}"), []string{`f:6:13: ups u2 is fed by itself`}},
		{"a UPS without a name", "ups: [{driver: nut, fed_by: hall}, {name: room, driver: nut}]", []string{`f:1:7: a device in ups without "name"`}},
		{"two of one name", siteOf("room rack<room rack<room"), []string{`f:7:5: device "rack" again, after line 4`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.in)
			if err == nil {
				t.Fatalf("%s: no error, want %q", c.in, c.want)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("%s: %d errors, want %d:\n%v", c.in, len(lines), len(c.want), err)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("%s:\n got %s\nwant %s…", c.in, lines[i], want)
				}
			}
		})
	}
}

// TestExampleBreaksACircle follows the advice for one: the UPS as the example has it.
func TestExampleBreaksACircle(t *testing.T) {
	found := problemsOf(t, "ups: [{name: u1, driver: nut, fed_by: u2}, {name: u2, driver: nut, fed_by: u1}]")
	if _, err := parse("ups: [{name: u1, driver: nut, fed_by: u2}, " + found[0].Example + "]"); err != nil {
		t.Errorf("example %s:\n%v", found[0].Example, err)
	}
}

// TestMinSupplies: not more than there is.
func TestMinSupplies(t *testing.T) {
	const dead, most = ": the host would be shut down at once: want at most ", ", for example min_supplies: 1"
	two, three := "policy: {min_supplies: 2}", "policy: {min_supplies: 3}"
	one := "wiring: [{psu: x, ups: a, feed: A}, {psu: x, feed: B}]"
	for _, c := range []struct{ name, in, want string }{
		{"one UPS carries one supply, the mains the other", siteOf("a", two, "wiring: [{psu: x, ups: a}, {psu: y, feed: B}]"), ""},
		{"more than supplies", siteOf("a b", three, "wiring: [{psu: x, ups: a}, {psu: y, ups: b}]"), "f:6:10: min_supplies is 3 with 2 power supplies in the wiring" + dead + "2" + most},
		{"a transfer switch makes no second supply", siteOf("a", two, one), "f:4:10: min_supplies is 2 with 1 power supplies in the wiring" + dead + "1" + most},
		{"wiring without a UPS", strings.Join([]string{two, one[:strings.Index(one, "{")] + "{psu: x, feed: A}]"}, "\n"), "f:1:10: min_supplies is 2 with 1 power supplies in the wiring" + dead + "1" + most},
		{"two UPSes, no wiring", siteOf("a b", two), ""},
		{"three of two UPSes", siteOf("a b", three), "f:6:10: min_supplies is 3 with 2 UPSes" + dead + "2" + most},
		{"one behind the other is one", siteOf("a b<a", two), "f:7:10: min_supplies is 2 with 1 UPSes that feed no other one" + dead + "1" + most},
		{"two behind one are two", siteOf("a b<a c<a", two), ""},
		{"a line that is wrong may be the second", siteOf("a", two, "wiring: [{psu: x, ups: a}, {psu: y, upps: a}]"), `f:5:37: unknown key "upps" in wiring (did you mean "ups"?)`},
		{"the only line is wrong", siteOf("a b", "mode: armed", "wiring: [{psu: x}]"), "f:7:10: wiring of psu x leads nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.in)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s\n%v, want nothing to complain about", c.in, err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%s\n got %v\nwant %s alone", c.in, err, c.want)
			}
		})
	}
}

// TestArmedInSeries: UPSes in series are no answer to how many the host needs.
func TestArmedInSeries(t *testing.T) {
	guess := "f:1:7: mode is armed with 2 UPSes, and nothing says how many of them the host needs"
	if _, err := parse("mode: armed\n" + siteOf("room rack<room")); err == nil || !strings.HasPrefix(err.Error(), guess) {
		t.Errorf("armed without wiring: %v, want %s", err, guess)
	}
	c, err := parse("mode: armed\n" + siteOf("room rack<room", `wiring: [{psu: "1", ups: rack, feed: A}]`))
	if err != nil || len(c.Warnings) > 0 {
		t.Errorf("armed with wiring: %v, %+v; want neither mistake nor warning", err, c)
	}
}

func TestWiringWarnings(t *testing.T) {
	feedsNothing := "feeds no power supply in the wiring"
	nothing := ": when that fails there is nothing to switch to: want inputs that do not fail together: another UPS and another feed, for example "
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"a UPS that only feeds others", siteOf("room rack<room", "wiring: [{psu: x, ups: rack}]"), nil},
		{"two rooms deep", siteOf("room floor<room rack<floor", "wiring: [{psu: x, ups: rack}]"), nil},
		{"a UPS behind another that feeds nothing", siteOf("room rack<room", "wiring: [{psu: x, ups: room}]"), []string{"f:4:5: ups rack " + feedsNothing}},
		{"a switch between two UPSes and two feeds", siteOf("a b", "wiring: [{psu: x, ups: a, feed: A}, {psu: x, ups: b, feed: B}]"), nil},
		{"feeds that are not named", siteOf("a b", "wiring: [{psu: x, ups: a}, {psu: x, ups: b}]"), nil},
		{"a UPS and the mains", siteOf("a", "wiring: [{psu: x, ups: a, feed: A}, {psu: x, feed: B}]"), nil},
		{"one feed", siteOf("a", "wiring: [{psu: x, ups: a, feed: A}, {psu: x, feed: A}]"),
			[]string{`f:4:37: both inputs of the transfer switch before psu x hang on feed A` + nothing + `{psu: "x", feed: B}`}},
		{"one UPS, as if on two feeds", siteOf("a", "wiring: [{psu: x, ups: a, feed: A}, {psu: x, ups: a, feed: B}]"),
			[]string{"f:4:37: both inputs of the transfer switch before psu x hang on ups a" + nothing}},
		{"one and the same", siteOf("a", "wiring: [{psu: x, ups: a, feed: A, outlet: p/1}, {psu: x, ups: a, feed: A, outlet: p/2}]"),
			[]string{"f:4:50: both inputs of the transfer switch before psu x hang on pdu p, ups a and feed A" + nothing}},
		{"one room behind two racks", siteOf("room a<room b<room", "wiring: [{psu: x, ups: a}, {psu: x, ups: b}]"),
			[]string{"f:10:28: both inputs of the transfer switch before psu x hang on ups room" + nothing}},
		{"one bar of outlets", siteOf("a b", "wiring: [{psu: x, ups: a, outlet: p/1}, {psu: x, ups: b, outlet: p/2}]"),
			[]string{"f:6:41: both inputs of the transfer switch before psu x hang on pdu p" + nothing}},
		{"outlets without a number", siteOf("a b", "wiring: [{psu: x, ups: a, outlet: left}, {psu: x, ups: b, outlet: left}]"), nil},
		{"three inputs, two of them the same", "wiring: [{psu: x, feed: A}, {psu: x, feed: A, outlet: p/1}, {psu: x, feed: B}]", nil},
		{"three inputs on one", "wiring: [{psu: x, feed: A}, {psu: x, feed: A, outlet: p/1}, {psu: x, feed: A, outlet: q/1}]",
			[]string{"f:1:29: all 3 inputs of the transfer switch before psu x hang on feed A" + nothing}},
		{"load_shift without wiring", siteOf("a b", "policy: {load_shift: true}"), []string{
			"f:6:10: load_shift is true with 2 UPSes and without wiring: nothing says which of them carry this host together: want wiring"}},
		{"load_shift with wiring", siteOf("a b", "policy: {load_shift: true}", "wiring: [{psu: x, ups: a}, {psu: y, ups: b}]"), nil},
		{"load_shift with one UPS", siteOf("a", "policy: {load_shift: true}"), nil},
		{"load_shift off, without wiring", siteOf("a b", "policy: {load_shift: false}"), nil},
		{"two supplies on one feed are no switch", siteOf("a", "wiring: [{psu: x, ups: a, feed: A}, {psu: y, ups: a, feed: A}]"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if len(cfg.Warnings) != len(c.want) {
				t.Fatalf("%s: warnings %v, want %d", c.in, cfg.Warnings, len(c.want))
			}
			for i, want := range c.want {
				if !strings.HasPrefix(cfg.Warnings[i].Error(), want) {
					t.Errorf("%s:\n got %v\nwant %s…", c.in, cfg.Warnings[i], want)
				}
			}
		})
	}
}

func TestWiringText(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"a UPS without wiring", siteOf("a"), nil},
		{"one after the other", siteOf("room rack<room", `wiring: [{psu: "10.1", ups: rack, feed: A, outlet: pdu1/3}, {psu: "10.2", feed: B}, {psu: "10.3", outlet: left}]`), []string{
			"ups rack: fed by ups room", "psu 10.1: rack behind room (feed A, outlet pdu1/3)", "psu 10.2: the mains (feed B)", "psu 10.3: the mains (outlet left)"}},
		{"a transfer switch", siteOf("u1", `wiring: [{psu: "1", ups: u1, feed: A}, {psu: "2", ups: u1}, {psu: "1", feed: B}]`), []string{
			"psu 1: transfer switch of u1 (feed A) and the mains (feed B)", "psu 2: u1"}},
		{"three inputs", siteOf("a b", "wiring: [{psu: x, ups: a}, {psu: x, ups: b}, {psu: x, feed: C}]"), []string{"psu x: transfer switch of a, b and the mains (feed C)"}},
		{"three UPSes in a row", siteOf("a b<a c<b", "wiring: [{psu: x, ups: c}]"), []string{"ups b: fed by ups a", "ups c: fed by ups b", "psu x: c behind b behind a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, cfg.WiringText()); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", c.in, diff)
			}
		})
	}
}

// TestLinks: from the file to the words of the snapshot, and back into a file.
func TestLinks(t *testing.T) {
	c, err := parse(siteOf("rack2<room room rack1<room"))
	if err != nil {
		t.Fatal(err)
	}
	want := []dodai.Link{{UPS: "rack2", FedBy: "room"}, {UPS: "rack1", FedBy: "room"}}
	if diff := cmp.Diff(want, c.Links()); diff != "" {
		t.Errorf("links, -want +got:\n%s", diff)
	}
	again(t, c)
	text, err := json.Marshal(c)
	if err != nil || strings.Count(string(text), `"fed_by":"room"`) != 2 {
		t.Errorf("JSON %s, %v: want both links", text, err)
	}
	if got := base().Links(); got != nil {
		t.Errorf("links of an empty file: %v", got)
	}
}

// FuzzLinks: whatever UPSes say of each other, every walk along them ends, and what is
// taken has an end that the mains feed.
func FuzzLinks(f *testing.F) {
	for _, seed := range []string{"", "a", "ab", "ba", "bca", "bc.a", "aaaa", "bcdea", ".a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, fedBy string) {
		names := strings.Split("a b c d e f g h", " ")
		c := base()
		for i, name := range names {
			u := Device{Name: name, Driver: "nut"}
			if i < len(fedBy) && slices.Contains(names, fedBy[i:i+1]) {
				u.FedBy = fedBy[i : i+1]
			}
			c.UPS = append(c.UPS, u)
		}
		text, err := c.Spell()
		if err != nil {
			t.Fatal(err)
		}
		c.WiringText()
		taken, err := parse(string(text))
		if err != nil {
			return
		}
		for _, u := range taken.UPS {
			if chain := taken.chain(u.Name); taken.fedBy(chain[len(chain)-1]) != "" {
				t.Errorf("%q was taken, and %v has no end", fedBy, chain)
			}
		}
	})
}
