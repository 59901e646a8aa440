package audit

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

const now = 1000 * time.Second

// snapshot holds devices, each answered 5 s ago unless it says otherwise.
func snapshot(devices ...*dodai.DeviceState) *dodai.Snapshot {
	s := &dodai.Snapshot{At: now}
	for _, d := range devices {
		s = s.With(d, now, time.Time{})
	}
	return s
}

func device(name string, r dodai.Reading) *dodai.DeviceState {
	return &dodai.DeviceState{Name: name, Kind: r.Kind, Reading: &r, At: now - 5*time.Second, StaleAfter: 15 * time.Second, Polls: 1}
}

func ups(name string) *dodai.DeviceState {
	return device(name, dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL})
}

func psu(id string, state dodai.PSUState) dodai.PSU {
	return dodai.PSU{ID: id, State: state, Input: dodai.InputOK, CapacityWatts: new(800.0)}
}

// bmc has two good supplies and full redundancy unless told otherwise.
func bmc(change func(*dodai.Reading)) *dodai.DeviceState {
	r := dodai.Reading{
		Kind: dodai.KindPSUs, PSUs: []dodai.PSU{psu("10.1", dodai.PSUOK), psu("10.2", dodai.PSUOK)},
		Redundancy: []dodai.Redundancy{{Domain: "system", State: dodai.RedundancyFull}}, SystemWatts: new(300.0),
	}
	if change != nil {
		change(&r)
	}
	return device("bmc", r)
}

func supplies(states ...dodai.PSUState) func(*dodai.Reading) {
	return func(r *dodai.Reading) {
		r.PSUs = nil
		for i, s := range states {
			r.PSUs = append(r.PSUs, psu("10."+string(rune('1'+i)), s))
		}
	}
}

func redundancy(s dodai.RedundancyState) func(*dodai.Reading) {
	return func(r *dodai.Reading) { r.Redundancy[0].State = s }
}

func arrays(list ...dodai.Array) *dodai.DeviceState {
	return device("md", dodai.Reading{Kind: dodai.KindArrays, Arrays: list})
}

func array(level string, state dodai.ArrayState, left, spares int) dodai.Array {
	return dodai.Array{ID: "md0", Level: level, State: state, ToleranceLeft: new(left), Spares: new(spares)}
}

func silent(d *dodai.DeviceState, age time.Duration) *dodai.DeviceState {
	c := *d
	c.Err, c.Failures = "device unreachable", 3
	if c.At = now - age; age == 0 {
		c.Reading, c.Polls = nil, 0
	}
	return &c
}

func wired(s *dodai.Snapshot, paths ...dodai.Path) *dodai.Snapshot {
	s.Paths = paths
	return s
}

var twoFeeds = []dodai.Path{
	{PSU: "10.1", Outlet: "pdu1/1", UPS: "u1", Feed: "A"}, {PSU: "10.2", Outlet: "pdu2/1", UPS: "u2", Feed: "B"},
}

// brief is a finding in one line.
func brief(findings []Finding) []string {
	list := []string{}
	for _, f := range findings {
		list = append(list, string(f.Severity)+" "+f.ID+": "+f.Component)
	}
	return list
}

func TestAudit(t *testing.T) {
	same := func(change func(*dodai.Path)) []dodai.Path {
		list := slices.Clone(twoFeeds)
		for i := range list {
			change(&list[i])
		}
		return list
	}
	lost := dodai.PSU{ID: "10.2", State: dodai.PSUInputLost, Input: dodai.InputLost}
	for _, tt := range []struct {
		name string
		s    *dodai.Snapshot
		want []string
	}{
		{"nothing is configured", snapshot(), nil},
		{"all in order", wired(snapshot(ups("u1"), ups("u2"), bmc(nil), arrays(array("raid1", "optimal", 1, 1))), twoFeeds...), nil},

		{"one UPS", snapshot(ups("u1"), bmc(nil)), []string{"open ups_alone: ups u1"}},
		{"two UPSes, no wiring", snapshot(ups("u1"), ups("u2"), bmc(nil)), []string{"unknown wiring_unknown: wiring"}},
		{"both on one UPS", wired(snapshot(ups("u1"), ups("u2"), bmc(nil)), same(func(p *dodai.Path) { p.UPS = "u1" })...),
			[]string{"open shared_ups: ups u1"}},
		{"both on one feed", wired(snapshot(ups("u1"), ups("u2"), bmc(nil)), same(func(p *dodai.Path) { p.Feed = "A" })...),
			[]string{"open shared_feed: feed A"}},
		{"both on one PDU", wired(snapshot(ups("u1"), ups("u2"), bmc(nil)), same(func(p *dodai.Path) { p.Outlet = "pdu1/" + p.PSU })...),
			[]string{"open shared_pdu: pdu pdu1"}},
		{"feeds without names", wired(snapshot(ups("u1"), ups("u2"), bmc(nil)), same(func(p *dodai.Path) { p.Feed = "" })...),
			[]string{"advice feed_unknown: feeds"}},
		{"one UPS, and the mains", wired(snapshot(ups("u1"), bmc(nil)), dodai.Path{PSU: "10.1", UPS: "u1", Feed: "A"}, dodai.Path{PSU: "10.2", Feed: "B"}), nil},
		{"one supply on each, one of them dead", wired(snapshot(ups("u1"), ups("u2"), bmc(func(r *dodai.Reading) { r.PSUs[1] = lost })), twoFeeds...),
			[]string{"open shared_feed: feed A", "open shared_pdu: pdu pdu1", "open supply_alone: psu 10.1", "open shared_ups: ups u1"}},
		{"both supplies dead, says the BMC", wired(snapshot(ups("u1"), ups("u2"), bmc(supplies(dodai.PSUInputLost, dodai.PSUFailed))), twoFeeds...),
			[]string{"unknown supply_unknown: power supplies"}},
		{"a supply that is not readable may carry", wired(snapshot(bmc(supplies(dodai.PSUOK, dodai.PSUUnknown))), twoFeeds...),
			[]string{"unknown supply_unknown: psu 10.2"}},
		{"wiring, and a BMC that never answered", wired(snapshot(silent(bmc(nil), 0)), twoFeeds...), []string{"unknown silent_device: device bmc"}},
		{"four supplies, two on each", wired(snapshot(bmc(nil)), append(slices.Clone(twoFeeds), twoFeeds...)...), nil},

		{"no source for the supplies", wired(snapshot(ups("u1"), ups("u2")), twoFeeds...), []string{"advice supplies_unseen: power supplies"}},
		{"one supply fitted", snapshot(bmc(supplies(dodai.PSUOK))), []string{"open supply_alone: psu 10.1"}},
		{"one bay empty", snapshot(bmc(supplies(dodai.PSUAbsent, dodai.PSUOK))), []string{"open supply_alone: psu 10.2"}},
		{"one failed", snapshot(bmc(supplies(dodai.PSUOK, dodai.PSUFailed))), []string{"open supply_alone: psu 10.1"}},
		{"one failed of three", snapshot(bmc(supplies(dodai.PSUOK, dodai.PSUFailed, dodai.PSUOK))), nil},
		{"one predicts its failure", snapshot(bmc(supplies(dodai.PSUOK, dodai.PSUPredictive))), []string{"advice supply_failing: psu 10.2"}},
		{"one warns", snapshot(bmc(supplies(dodai.PSUOK, dodai.PSUWarning))), nil},
		{"one of three unknown", snapshot(bmc(supplies(dodai.PSUOK, dodai.PSUOK, dodai.PSUUnknown))), []string{"unknown supply_unknown: psu 10.3"}},
		{"both unknown", snapshot(bmc(supplies(dodai.PSUUnknown, dodai.PSUUnknown))),
			[]string{"unknown supply_unknown: psu 10.1", "unknown supply_unknown: psu 10.2"}},
		{"one unknown", snapshot(bmc(supplies(dodai.PSUOK, dodai.PSUUnknown))), []string{"unknown supply_unknown: psu 10.2"}},
		{"none works, says the BMC", snapshot(bmc(supplies(dodai.PSUInputLost, dodai.PSUInputLost))), []string{"unknown supply_unknown: power supplies"}},
		{"none named", snapshot(bmc(supplies())), []string{"unknown supply_unknown: power supplies"}},
		{"redundancy lost", snapshot(bmc(redundancy(dodai.RedundancyLost))), []string{"open supplies_not_redundant: power supplies system"}},
		{"redundancy none", snapshot(bmc(redundancy(dodai.RedundancyNone))), []string{"open supplies_not_redundant: power supplies system"}},
		{"redundancy insufficient", snapshot(bmc(redundancy(dodai.RedundancyInsufficient))), []string{"open supplies_not_redundant: power supplies system"}},
		{"redundancy degraded", snapshot(bmc(redundancy(dodai.RedundancyDegraded))), []string{"advice supplies_not_redundant: power supplies system"}},
		{"redundancy unknown, ratings suffice", snapshot(bmc(redundancy(dodai.RedundancyUnknown))), nil},
		{"redundancy unknown, load unknown", snapshot(bmc(func(r *dodai.Reading) { redundancy(dodai.RedundancyUnknown)(r); r.SystemWatts = nil })),
			[]string{"advice supplies_not_redundant: power supplies system"}},
		{"redundancy unknown, ratings just suffice", snapshot(bmc(func(r *dodai.Reading) { redundancy(dodai.RedundancyUnknown)(r); r.SystemWatts = new(720.0) })), nil},
		{"redundancy unknown, ratings do not suffice", snapshot(bmc(func(r *dodai.Reading) { redundancy(dodai.RedundancyUnknown)(r); r.SystemWatts = new(721.0) })),
			[]string{"advice supplies_overloaded: power supplies", "advice supplies_not_redundant: power supplies system"}},
		{"a rating unknown", snapshot(bmc(func(r *dodai.Reading) {
			redundancy(dodai.RedundancyUnknown)(r)
			r.PSUs[0].CapacityWatts = nil
		})), []string{"advice supplies_not_redundant: power supplies system"}},
		{"ratings of nothing", snapshot(bmc(func(r *dodai.Reading) {
			redundancy(dodai.RedundancyUnknown)(r)
			r.PSUs[0].CapacityWatts, r.PSUs[1].CapacityWatts, r.SystemWatts = new(0.0), new(0.0), new(0.0)
		})), []string{"advice supplies_not_redundant: power supplies system"}},
		{"ratings of one watt", snapshot(bmc(func(r *dodai.Reading) {
			r.PSUs[0].CapacityWatts, r.PSUs[1].CapacityWatts, r.SystemWatts = new(1.0), new(1.0), new(0.95)
		})), []string{"advice supplies_overloaded: power supplies"}},
		{"all that one carries", snapshot(bmc(func(r *dodai.Reading) { r.SystemWatts = new(800.0) })), []string{"advice supplies_overloaded: power supplies"}},
		{"too much load for one", snapshot(bmc(func(r *dodai.Reading) { r.SystemWatts = new(801.0) })), []string{"open supplies_overloaded: power supplies"}},
		{"nearly too much load for one", snapshot(bmc(func(r *dodai.Reading) { r.SystemWatts = new(721.0) })), []string{"advice supplies_overloaded: power supplies"}},
		{"load that one carries", snapshot(bmc(func(r *dodai.Reading) { r.SystemWatts = new(720.0) })), nil},

		{"raid0", snapshot(bmc(nil), arrays(array("raid0", "optimal", 0, 0))), []string{"open array_without_redundancy: array md0"}},
		{"linear", snapshot(bmc(nil), arrays(array("linear", "optimal", 0, 0))), []string{"open array_without_redundancy: array md0"}},
		{"container", snapshot(bmc(nil), arrays(array("container", "inactive", 0, 0))), nil},
		{"no spare", snapshot(bmc(nil), arrays(array("raid6", "optimal", 2, 0))), []string{"advice array_no_spare: array md0"}},
		{"spares not known", snapshot(bmc(nil), arrays(dodai.Array{ID: "md0", Level: "raid1", State: "optimal", ToleranceLeft: new(1)})), nil},
		{"degraded, one failure left", snapshot(bmc(nil), arrays(array("raid6", "degraded", 1, 0))), []string{"advice array_degraded: array md0"}},
		{"degraded, none left", snapshot(bmc(nil), arrays(array("raid5", "degraded", 0, 0))), []string{"open array_no_tolerance: array md0"}},
		{"rebuilding, none left", snapshot(bmc(nil), arrays(array("raid5", "rebuilding", 0, 0))), []string{"open array_no_tolerance: array md0"}},
		{"degraded, not known", snapshot(bmc(nil), arrays(dodai.Array{ID: "md0", Level: "raid5", State: "degraded"})), []string{"unknown array_unknown: array md0"}},
		{"a mirror of one", snapshot(bmc(nil), arrays(array("raid1", "optimal", 0, 0))), []string{"open array_no_tolerance: array md0"}},
		{"last copies", snapshot(bmc(nil), arrays(dodai.Array{ID: "md0", Level: "raid10", State: "degraded", ToleranceLeft: new(0), SPOFs: []string{"sdb", "sdd"}})),
			[]string{"open array_no_tolerance: array md0", "open last_copy: disk sdb", "open last_copy: disk sdd"}},
		{"failed", snapshot(bmc(nil), arrays(array("raid5", "failed", -1, 0))), []string{"open array_down: array md0"}},
		{"state not known", snapshot(bmc(nil), arrays(array("raid5", "unknown", 1, 1))), []string{"unknown array_unknown: array md0"}},
		{"no state", snapshot(bmc(nil), arrays(array("raid5", "", 1, 1))), []string{"unknown array_unknown: array md0"}},
		{"rebuilding, one failure left", snapshot(bmc(nil), arrays(array("raid6", "rebuilding", 1, 1))), []string{"advice array_degraded: array md0"}},
		{"rebuilding, not known", snapshot(bmc(nil), arrays(dodai.Array{ID: "md0", Level: "raid5", State: "rebuilding"})), []string{"unknown array_unknown: array md0"}},
		{"optimal, tolerance not known", snapshot(bmc(nil), arrays(dodai.Array{ID: "md0", Level: "raid5", State: "optimal", Spares: new(0)})), []string{"advice array_no_spare: array md0"}},
		{"worst first", snapshot(ups("u1"), silent(bmc(nil), time.Minute), arrays(array("raid6", "degraded", 1, 0))),
			[]string{"open ups_alone: ups u1", "unknown silent_device: device bmc", "advice array_degraded: array md0"}},
		{"inactive", snapshot(bmc(nil), arrays(array("raid5", "inactive", 0, 0))), []string{"unknown array_unknown: array md0"}},

		{"supplies silent, good when last seen", snapshot(silent(bmc(nil), time.Minute)), []string{"unknown silent_device: device bmc"}},
		{"supplies silent, one left when last seen", snapshot(silent(bmc(supplies(dodai.PSUOK)), time.Minute)),
			[]string{"open supply_alone: psu 10.1", "unknown silent_device: device bmc"}},
		{"never answered", snapshot(silent(bmc(nil), 0), silent(arrays(), 0), silent(ups("u1"), 0)),
			[]string{"open ups_alone: ups u1", "unknown silent_device: device bmc", "unknown silent_device: device md", "unknown silent_device: device u1"}},
		{"a silent PDU proves nothing", snapshot(bmc(nil), silent(device("p", dodai.Reading{Kind: dodai.KindPDU}), 0)), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := Audit(tt.s, Memory{})
			if diff := cmp.Diff(append([]string{}, tt.want...), brief(got)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			open := slices.ContainsFunc(tt.want, func(s string) bool { return !strings.HasPrefix(s, "advice") })
			if Open(got) != open {
				t.Errorf("Open = %v, want %v", Open(got), open)
			}
			for _, f := range got {
				if f.Consequence == "" || f.Remedy == "" || len(f.Evidence) == 0 || f.Open != (f.Severity != SeverityAdvice) || f.Since != now {
					t.Errorf("finding %+v is not complete", f)
				}
			}
		})
	}
}

func TestSince(t *testing.T) {
	source := bmc(supplies(dodai.PSUOK))
	source.StaleAfter = time.Hour
	alone := snapshot(source)
	good := snapshot(bmc(nil))
	_, m := Audit(alone, Memory{})
	before := m.Since["supply_alone psu 10.1"]
	later := alone.With(alone.Devices[0], now+time.Minute, time.Time{})
	found, m := Audit(later, m)
	if before != now || found[0].Since != now || found[0].ForS != 60 {
		t.Errorf("first seen %v, a minute later since %v, for %v s: want %v and 60", before, found[0].Since, found[0].ForS, now)
	}
	_, gone := Audit(good, m)
	if len(gone.Since) != 0 || len(m.Since) != 1 {
		t.Errorf("memory %v, and of the snapshot before %v: want none, and one that was not changed", gone, m)
	}
	if found, _ = Audit(alone, Memory{Since: map[string]time.Duration{"supply_alone psu 10.1": now + time.Hour}}); found[0].Since != now {
		t.Errorf("remembered from the future: since %v, want %v", found[0].Since, now)
	}
}

// TestPure asks twice: the same snapshot gives the same findings, in the same order.
func TestPure(t *testing.T) {
	s := snapshot(ups("u1"), silent(bmc(supplies(dodai.PSUOK)), time.Minute), arrays(array("raid0", "optimal", 0, 0)))
	one, m := Audit(s, Memory{})
	for range 20 {
		two, n := Audit(s, Memory{})
		if diff := cmp.Diff(one, two); diff != "" || !cmp.Equal(m, n) {
			t.Fatalf("second time (-first +second):\n%s", diff)
		}
	}
}

// TestTwoArraysOfOneDisk joins what two arrays say of the same disk.
func TestTwoArraysOfOneDisk(t *testing.T) {
	one := dodai.Array{ID: "md0", Level: "raid1", State: "degraded", ToleranceLeft: new(0), SPOFs: []string{"sda"}}
	two := one
	two.ID = "md1"
	found, _ := Audit(snapshot(bmc(nil), arrays(one, two)), Memory{})
	i := slices.IndexFunc(found, func(f Finding) bool { return f.ID == IDLastCopy })
	if i < 0 || len(found) != 3 || len(found[i].Evidence) != 2 {
		t.Errorf("findings %+v: want one about sda with evidence of both arrays", found)
	}
}

func TestJSON(t *testing.T) {
	found, _ := Audit(snapshot(bmc(supplies(dodai.PSUOK))), Memory{})
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"id":"supply_alone"`, `"component":"psu 10.1"`, `"severity":"open"`, `"open":true`, `"age_s":5`, `"for_s":0`, `"remedy":`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if strings.Contains(string(text), `"since"`) {
		t.Errorf("%s has an instant of a clock that nobody else can read", text)
	}
	for i := range found {
		found[i].Since = 0
	}
	var back []Finding
	if err := json.Unmarshal(text, &back); err != nil || !cmp.Equal(found, back) {
		t.Errorf("read back: %v\n%s", err, cmp.Diff(found, back))
	}
	if none, _ := Audit(snapshot(), Memory{}); none == nil {
		t.Error("no findings are nil, which JSON shows as null")
	}
}

// TestTwoSources joins what two of them say of the same thing: the worse one leads.
func TestTwoSources(t *testing.T) {
	bad, worse := bmc(redundancy(dodai.RedundancyDegraded)), bmc(redundancy(dodai.RedundancyLost))
	for _, order := range [][2]*dodai.DeviceState{{bad, worse}, {worse, bad}} {
		one, two := *order[0], *order[1]
		one.Name, two.Name = "bmc1", "bmc2"
		found, _ := Audit(snapshot(&one, &two), Memory{})
		if len(found) != 1 || found[0].Severity != SeverityOpen || !found[0].Open || len(found[0].Evidence) != 2 ||
			found[0].Evidence[0].Text != "redundancy of system: lost" {
			t.Errorf("findings %+v: want one, open, with the worse evidence first", found)
		}
	}
}

var update = flag.Bool("update", false, "rewrite the golden files")

// TestWording shows every sentence on a site where nearly everything is wrong.
func TestWording(t *testing.T) {
	lost := dodai.PSU{ID: "10.2", State: dodai.PSUInputLost, Input: dodai.InputLost}
	failed := dodai.PSU{ID: "10.2", State: dodai.PSUFailed}
	degraded := dodai.Array{ID: "md1", Level: "raid5", State: "degraded", ToleranceLeft: new(0), Failing: []string{"sdc", "sdb"}, SPOFs: []string{"sda"}}
	rebuilding := dodai.Array{ID: "md2", Level: "raid6", State: "rebuilding", ToleranceLeft: new(1), Failing: []string{}, Percent: new(12.34)}
	var b strings.Builder
	for _, s := range []*dodai.Snapshot{
		wired(snapshot(bmc(func(r *dodai.Reading) { r.PSUs[1] = lost }), silent(ups("u1"), time.Minute), silent(ups("u2"), 0)), twoFeeds...),
		snapshot(bmc(func(r *dodai.Reading) { r.PSUs[1] = failed }), ups("u1")),
		snapshot(bmc(func(r *dodai.Reading) {
			r.PSUs[1].State = dodai.PSUPredictive
			r.SystemWatts = new(900.0)
			r.Redundancy[0].State, r.Redundancy[0].Reported = dodai.RedundancyLost, "Redundancy Lost"
		}), ups("u1"), ups("u2")),
		snapshot(bmc(func(r *dodai.Reading) { r.SystemWatts = new(750.0) })),
		snapshot(bmc(supplies(dodai.PSUOK))),
		snapshot(bmc(supplies(dodai.PSUUnknown))),
		snapshot(bmc(supplies(dodai.PSUFailed))),
		snapshot(bmc(supplies())),
		wired(snapshot(bmc(nil)), dodai.Path{PSU: "10.1", UPS: "u1"}, dodai.Path{PSU: "10.2", Feed: "B"}),
		snapshot(ups("u1"), arrays(degraded, rebuilding, dodai.Array{ID: "md3", State: "inactive"}, array("raid0", "optimal", 0, 0))),
	} {
		found, _ := Audit(s, Memory{})
		if err := WriteText(&b, found); err != nil {
			t.Fatal(err)
		}
		b.WriteString("--\n")
	}
	const path = "testdata/wording.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites):\n%s", path, diff)
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0 s", 119: "119 s", 120: "2 min", 7199: "120 min", 7200: "2 h", 47.9 * 3600: "48 h", 48 * 3600: "2 d", 3 * 86400: "3 d", 100 * 86400: "100 d",
	} {
		if got := duration(seconds); got != want {
			t.Errorf("duration(%g) = %q, want %q", seconds, got, want)
		}
	}
}

func TestWriteText(t *testing.T) {
	text := func(findings []Finding) string {
		var b bytes.Buffer
		if err := WriteText(&b, findings); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	s := snapshot(bmc(func(r *dodai.Reading) {
		r.PSUs[1] = dodai.PSU{ID: "10.2", State: dodai.PSUInputLost, Input: dodai.InputLost}
	}))
	_, m := Audit(s, Memory{})
	found, _ := Audit(s.With(s.Devices[0], now+10*time.Second, time.Time{}), m)
	want := `OPEN     psu 10.1, for 10 s
         the server stops at once when this supply fails or loses its input: no other one works
         - bmc: supply 10.1: ok (15 s ago)
         - bmc: supply 10.2: input_lost, input lost (15 s ago)
         Remedy: bring the input of 10.2 back

Open: 1. Not proven: 0. Advice: 0.
`
	if diff := cmp.Diff(want, text(found)); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if got := text(nil); got != "No single point of failure found.\n" {
		t.Errorf("no findings: %q", got)
	}
	advice, _ := Audit(snapshot(bmc(nil), arrays(array("raid6", "optimal", 2, 0))), Memory{})
	if got := text(advice); !strings.HasSuffix(got, "\nNo single point of failure open; advice: 1.\n") {
		t.Errorf("advice alone: %q", got)
	}
}
