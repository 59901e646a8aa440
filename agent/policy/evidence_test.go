package policy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
)

// TestEvidenceOfSupplies: what the supplies that count say, with what is not in order; of a
// device that has every input lost, all of it; nothing where the rule is off.
func TestEvidenceOfSupplies(t *testing.T) {
	for _, tc := range []struct{ states, want string }{
		{"a:ok b:lost c:lost", "psu.a.input=ok psu.b.input=lost psu.b.state=input_lost"},
		{"a:absent b:ok", "psu.a.input=ok psu.a.state=absent psu.b.input=ok"},
		{"c:ok", ""},
		{"a:lost b:lost c:lost", "psu.a.input=lost psu.a.state=input_lost psu.b.input=lost psu.b.state=input_lost psu.c.input=lost psu.c.state=input_lost"},
	} {
		w := newWorld(t, nil)
		w.snap.Paths = []dodai.Path{{PSU: "a", UPS: "u1"}, {PSU: "b", UPS: "u2"}}
		w.supplies(1, tc.states)
		w.supplies(3, tc.states)
		w.play("4.5 u1 later")
		var got []string
		for _, e := range w.last.Evidence {
			if got = append(got, e.Name+"="+e.Value); e.Device != "bmc" || e.Age != 1500*time.Millisecond {
				t.Errorf("%s: %+v", tc.states, e)
			}
		}
		if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s:\n%s", tc.states, diff)
		}
		w.pol.Without = map[Rule]bool{RulePSU: true}
		if w.decide(at(5)); len(w.last.Evidence) != 0 {
			t.Errorf("%s: without the rule %+v", tc.states, w.last.Evidence)
		}
	}
}

func TestEvidenceText(t *testing.T) {
	for _, tc := range []struct {
		d    Decision
		want string
	}{
		{Decision{}, ""},
		{Decision{Evidence: []Evidence{{"u1", "ups.status", "OB LB", 400 * time.Millisecond}, {"u1", "battery.charge", "12", 0}}},
			"ups.status=OB LB (0.4 s), battery.charge=12 (0.0 s)"},
		{Decision{Decider: "u2", Evidence: []Evidence{{"u1", "ups.status", "OL", 0}, {"u2", "ups.status", "OB", 0}, {"u2", "ups.load", "4", 0}}},
			"u2: ups.status=OB (0.0 s), ups.load=4 (0.0 s); u1: ups.status=OL (0.0 s)"},
		{Decision{Evidence: []Evidence{{"u1", "ups.status", "OL (0.0 s), battery.charge=100", 0}}}, `ups.status="OL (0.0 s), battery.charge=100" (0.0 s)`},
		{Decision{Evidence: []Evidence{{"u1", "ups.status", "\x1b[2J\n\u202e", 0}}}, "ups.status=\ufffd[2J \ufffd (0.0 s)"},
		{Decision{Evidence: []Evidence{{"u1", "battery.charge", strings.Repeat("é", 200), 0}}}, "battery.charge=" + strings.Repeat("é", 39) + "… (0.0 s)"},
	} {
		if got := tc.d.EvidenceText(); got != tc.want {
			t.Errorf("%q\nwant %q", got, tc.want)
		}
	}
	var many Decision
	for i := range 500 {
		many.Evidence = append(many.Evidence, Evidence{fmt.Sprintf("u%03d", i/8), "battery.charge", "100", 0})
	}
	if got := many.EvidenceText(); len(got) > evidenceBytes+20 || !strings.HasSuffix(got, " more") {
		t.Errorf("%d bytes: …%s", len(got), got[len(got)-30:])
	}
}

// FuzzEvidenceText: whatever devices say, the line is printable, of bounded length, and does
// not change what it was made of.
func FuzzEvidenceText(f *testing.F) {
	f.Add("u1", "ups.status", "OB LB", "u2", int64(4e8), 3)
	f.Add("u1\x00", "a,b", "\"", "", int64(-1), 300)
	f.Add("\xff", strings.Repeat("x", 500), strings.Repeat("漢", 500), "\u2028", int64(1<<62), 40)
	f.Fuzz(func(t *testing.T, device, name, value, other string, age int64, n int) {
		d := Decision{Decider: other}
		for i := range min(max(n, 0), 400) {
			e := Evidence{device, name, value, time.Duration(age)}
			if i%2 == 1 {
				e.Device = other
			}
			d.Evidence = append(d.Evidence, e)
		}
		before := append([]Evidence(nil), d.Evidence...)
		got := d.EvidenceText()
		if len(got) > evidenceBytes+40 || got != dodai.Printable(got) || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\t") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		if !reflect.DeepEqual(before, d.Evidence) {
			t.Error("the evidence was changed")
		}
	})
}

func TestFields(t *testing.T) {
	w := newWorld(t, nil)
	w.play("0 u1 OL")
	want := map[string]any{"reason": "none", "need_s": 120.0, "reserve_s": 60.0, "evidence": "ups.status=OL (0.0 s)"}
	if diff := cmp.Diff(want, w.last.Fields()); diff != "" {
		t.Errorf("staying up, nothing known:\n%s", diff)
	}
	w.play("1 u1 OB LB runtime=300\n4 u1 OB LB runtime=297")
	want = map[string]any{"reason": "lb", "rule": "lb", "ups": "u1", "available_s": 297.0, "need_s": 120.0, "reserve_s": 60.0, "margin_s": 117.0,
		"evidence": "ups.status=OB LB (0.0 s), battery.runtime=297 (0.0 s)"}
	if diff := cmp.Diff(want, w.last.Fields()); diff != "" {
		t.Errorf("going down:\n%s", diff)
	}
	delete(want, "margin_s")
	if diff := cmp.Diff(want, w.last.FieldsOf(w.last.UPS("u1"))); diff != "" {
		t.Errorf("of the UPS:\n%s", diff)
	}
	lost := w.last.FieldsOf(&UPSView{UPS: "u9", Doomed: ReasonNone, Lost: true, Rule: RulePath})
	want = map[string]any{"ups": "u9", "rule": "path_outage", "reason": "path_outage", "need_s": 120.0, "reserve_s": 60.0}
	if diff := cmp.Diff(want, lost); diff != "" {
		t.Errorf("of a feed that is lost:\n%s", diff)
	}
}
