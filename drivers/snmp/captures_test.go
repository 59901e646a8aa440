package snmp

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// expectation is what a careful reader takes out of a recorded walk.
type expectation struct {
	Walk     string            `yaml:"walk"`
	Kind     string            `yaml:"kind"`
	Family   string            `yaml:"family"`
	Identity map[string]string `yaml:"identity"`
	Status   *string           `yaml:"status"`
	Readings map[string]struct {
		Value any    `yaml:"value"`
		OID   string `yaml:"oid"`
	} `yaml:"readings"`
	MustNot map[string]struct {
		OID string `yaml:"oid"`
		Why string `yaml:"why"`
	} `yaml:"must_not_report"`
	Second map[string]struct {
		Value any `yaml:"value"`
	} `yaml:"second_opinion_rfc1628"`

	name string
	list []snmpups.Binding
}

// loadCaptures reads all recorded walks with their expectations.
func loadCaptures(t *testing.T) []*expectation {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(peer.Shared(t, "corpus", "snmp"), "*.expected.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("expectations: %d files, %v", len(files), err)
	}
	var all []*expectation
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e := &expectation{name: strings.TrimSuffix(filepath.Base(file), ".expected.yaml")}
		if err := yaml.Unmarshal(data, e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		walk, err := os.ReadFile(filepath.Join(filepath.Dir(file), e.Walk))
		if err != nil {
			t.Fatal(err)
		}
		if e.list, err = snmpups.ReadSNMPRec(bytes.NewReader(walk)); err != nil {
			t.Fatalf("%s: %v", e.Walk, err)
		}
		all = append(all, e)
	}
	return all
}

// readable: the walk has the status objects of a family the driver reads.
func (e *expectation) readable() bool {
	for _, b := range e.list {
		for _, f := range families {
			for _, key := range f.keys {
				if b.OID.String() == key {
					return true
				}
			}
		}
	}
	return false
}

// ours: the object is one the driver reads.
func ours(oid string) bool {
	for _, f := range families {
		if slices.Contains(f.scalars(), oid) || (oid == f.alarms && oid != "") || slices.ContainsFunc(f.ident, func(id ident) bool { return id.oid == oid }) {
			return true
		}
		for _, t := range f.tables {
			if slices.ContainsFunc(t.rows, func(r row) bool { return strings.HasPrefix(oid, r.oid+".") }) {
				return true
			}
		}
	}
	return false
}

// optional are flags that a reader may add.
const optional = dodai.ECO | dodai.TEST | dodai.CHRG

// compare checks a reading and returns how many expected values come from branches
// that the driver does not read and has no stand-in for.
func (e *expectation) compare(t *testing.T, r dodai.Reading) (pending int) {
	t.Helper()
	if e.Status != nil {
		want, _ := dodai.ParseStatus(*e.Status)
		if r.Status&^optional != want&^optional {
			t.Errorf("status %q, want %q", r.Status, want)
		}
	}
	for name, want := range e.Readings {
		got, have := r.Vars[name]
		second, hasSecond := e.Second[name]
		switch {
		case have && (same(got, want.Value) || hasSecond && same(got, second.Value)):
		case !have && !ours(want.OID):
			pending++
		case have && !ours(want.OID) && nearly(got, want.Value):
		default:
			t.Errorf("%s = %v (there: %v), want %v from %s", name, got, have, want.Value, want.OID)
		}
	}
	id := identityMap(r.Device)
	for name, not := range e.MustNot {
		if got, have := r.Vars[name]; have && ours(not.OID) {
			t.Errorf("%s = %v: want it absent, %s", name, got, not.Why)
		}
		if part, ok := strings.CutPrefix(name, "identity."); ok && id[part] != "" {
			t.Errorf("%s = %q: want it absent, %s", name, id[part], not.Why)
		}
	}
	for part, want := range e.Identity {
		got, known := id[part]
		if known && got != want && !strings.EqualFold(got, want) {
			if e.says(want) {
				t.Errorf("identity.%s = %q, want %q", part, got, want)
			} else {
				pending++
			}
		}
	}
	return pending
}

// says: the text stands in a branch the driver reads.
func (e *expectation) says(text string) bool {
	for _, b := range e.list {
		if ours(b.OID.String()) && b.Value.Tag == snmpups.TagOctetString && strings.TrimSpace(string(b.Value.Octets)) == text {
			return true
		}
	}
	return false
}

func identityMap(d dodai.Device) map[string]string {
	return map[string]string{
		"manufacturer": d.Manufacturer, "model": d.Model, "serial": d.Serial, "firmware": d.Firmware,
		"card_model": d.CardModel, "card_serial": d.CardSerial, "card_firmware": d.CardFirmware, "card_app_firmware": d.CardFirmware,
	}
}

// same compares within half a unit of the last digit: an expectation written with a
// point has one digit after it.
func same(got dodai.Value, want any) bool {
	switch w := want.(type) {
	case float64:
		n, ok := got.Float()
		return ok && math.Abs(n-w) <= 0.05+1e-9
	case int:
		n, ok := got.Float()
		return ok && math.Abs(n-float64(w)) <= 0.5
	default:
		return got.Any() == want
	}
}

// nearly compares a value of RFC 1628 with one of the maker's own branch, which is
// finer and was recorded at another moment.
func nearly(got dodai.Value, want any) bool {
	n, ok := got.Float()
	var w float64
	if _, err := fmt.Sscan(fmt.Sprint(want), &w); err != nil || !ok {
		return false
	}
	return math.Abs(n-w) <= max(1, 0.02*w)
}

// opener makes the options that reach a walk.
type opener func(t *testing.T, name string, list []snmpups.Binding) map[string]string

// viaSimulator serves a walk from our own simulator.
func viaSimulator(t *testing.T, _ string, list []snmpups.Binding) map[string]string {
	t.Helper()
	return map[string]string{"address": serve(t, list).Addr()}
}

func serve(t *testing.T, list []snmpups.Binding) *snmpups.Agent {
	t.Helper()
	agent, err := snmpups.Listen("127.0.0.1:0", "public")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Close() })
	agent.Load(list, false)
	return agent
}

func TestCapturesSimulated(t *testing.T) {
	testCaptures(t, loadCaptures(t), viaSimulator)
}

func testCaptures(t *testing.T, all []*expectation, open opener) {
	read, values, pending := 0, 0, 0
	others := map[string]int{}
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			d := openDriver(t, open(t, e.name, e.list))
			r, err := d.Poll(t.Context())
			if !e.readable() {
				others[e.Family]++
				if !errors.Is(err, drivers.ErrNoData) {
					t.Errorf("Poll = %v %v, %v: want ErrNoData for family %s", r.Kind, r.Status, err, e.Family)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			n := e.compare(t, r)
			read, values, pending = read+1, values+len(e.Readings), pending+n
			if n > 0 {
				t.Logf("%s: %d values stand in branches not read yet", e.Family, n)
			}
			again, err := d.Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if p := e.compare(t, again); p != n {
				t.Errorf("second poll: %d values are missing, the first had %d", p, n)
			}
		})
	}
	t.Logf("%d walks read, %d values expected, %d of them in branches not read yet; families without a reader: %v", read, values, pending, others)
	if read == 0 {
		t.Error("no walk was read")
	}
}

// change is one step of a power failure: objects to set, the zero value to remove.
type change map[string]snmpups.Value

// set is a change of integers, "OID=value" each.
func set(pairs ...string) change {
	c := change{}
	for _, p := range pairs {
		oid, text, _ := strings.Cut(p, "=")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			panic(err)
		}
		c[oid] = snmpups.Int(n)
	}
	return c
}

// xupsAlarms fills Eaton's alarm table with one row per condition.
func xupsAlarms(c change, conditions ...int) change {
	c[xups.alarmCount] = snmpups.Int(int64(len(conditions)))
	c[xups.alarms+".7"], c[xups.alarms+".8"] = snmpups.Value{}, snmpups.Value{}
	for i, condition := range conditions {
		c[fmt.Sprintf("%s.%d", xups.alarms, 7+i)] = snmpups.Pointer(snmpups.MustOID(fmt.Sprint(xups.alarmBase, condition)))
	}
	return c
}

// outages are the changes of a power failure by the family that tells of it first.
var outages = map[string]struct{ out, low, back change }{
	"rfc1628": {
		set(upsMIB+"4.1.0=5", upsMIB+"2.2.0=120"), set(upsMIB + "2.1.0=3"),
		set(upsMIB+"4.1.0=3", upsMIB+"2.1.0=2"), // the seconds on battery stay, as on some cards
	},
	"apc": {
		set(apcUPS+"4.1.1.0=3", apcUPS+"2.1.2.0=12000"), set(apcUPS + "2.1.1.0=3"),
		set(apcUPS+"4.1.1.0=2", apcUPS+"2.1.1.0=2"),
	},
	"xups": {
		xupsAlarms(set(xupsMIB+"4.5.0=5"), 3), xupsAlarms(change{}, 3, 4),
		xupsAlarms(set(xupsMIB + "4.5.0=3")),
	},
	"mge": {
		set(mgeMIB+"7.3.0=1", mgeMIB+"7.7.0=1", mgeMIB+"6.3.0=1", mgeMIB+"6.4.0=4", upsMIB+"4.1.0=5"), set(mgeMIB + "5.14.0=1"),
		set(mgeMIB+"7.3.0=2", mgeMIB+"7.7.0=2", mgeMIB+"6.3.0=2", mgeMIB+"6.4.0=1", upsMIB+"4.1.0=3", mgeMIB+"5.14.0=2"),
	},
	"cyberpower": {
		set(cpsMIB+"4.1.1.0=3", cpsMIB+"3.2.6.0=5"), set(cpsMIB + "2.1.1.0=3"),
		set(cpsMIB+"4.1.1.0=2", cpsMIB+"3.2.6.0=1", cpsMIB+"2.1.1.0=2"),
	},
	"xppc": {
		set(xppcMIB + "4.1.1.0=3"), set(xppcMIB + "2.1.1.0=3"),
		set(xppcMIB+"4.1.1.0=2", xppcMIB+"2.1.1.0=2"),
	},
}

// teller is the family whose source of power counts in the walk.
func (e *expectation) teller() string {
	for _, f := range families {
		for _, src := range f.source {
			for _, b := range e.list {
				if b.OID.String() == src.oid {
					return f.name
				}
			}
		}
	}
	return rfc1628.name
}

// outageStep is a change, with what has to be there and what must not.
type outageStep struct {
	what        string
	apply       change
	want, never dodai.Status
}

func (e *expectation) outage() []outageStep {
	o := outages[e.teller()]
	const line = dodai.OL | dodai.BYPASS | dodai.TRIM | dodai.BOOST
	return []outageStep{
		{"on battery", o.out, dodai.OB, line | dodai.OFF | dodai.LB},
		{"low battery", o.low, dodai.OB | dodai.LB, line | dodai.OFF},
		{"power back", o.back, dodai.OL, dodai.OB | dodai.LB},
		{"on battery again", o.out, dodai.OB, line | dodai.OFF | dodai.LB},
		{"power back again", o.back, dodai.OL, dodai.OB | dodai.LB},
	}
}

// put makes the change in an agent.
func (c change) put(agent *snmpups.Agent) {
	for oid, v := range c {
		if v.Tag == 0 {
			agent.Remove(snmpups.MustOID(oid))
		} else {
			agent.Set(snmpups.MustOID(oid), v)
		}
	}
}

// TestOutageSimulated plays a power failure into each walk while one driver polls it:
// every change has to show in the very next poll, at the cost of one request.
func TestOutageSimulated(t *testing.T) {
	for _, e := range loadCaptures(t) {
		if !e.readable() {
			continue
		}
		t.Run(e.name+" by "+e.teller(), func(t *testing.T) {
			agent := serve(t, e.list)
			for _, c := range []change{outages[e.teller()].out, outages[e.teller()].low, outages[e.teller()].back} {
				c.put(agent) // what the recording lacks; ends with the power back
			}
			d := openDriver(t, map[string]string{"address": agent.Addr()})
			mustPoll(t, d)
			if n := agent.Counts().All(); n > 6 {
				t.Errorf("%d requests at the start: want at most 6", n)
			}
			for _, step := range e.outage() {
				before := agent.Counts().Get
				step.apply.put(agent)
				r := mustPoll(t, d)
				if !r.Status.Has(step.want) || r.Status.Any(step.never) {
					t.Errorf("%s: status %v, want %v and none of %v; %q", step.what, r.Status, step.want, step.never, r.Notes)
				}
				if n := agent.Counts().Get - before; n != 1 {
					t.Errorf("%s: %d GETs, want 1", step.what, n)
				}
			}
		})
	}
}
