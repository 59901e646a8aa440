package snmp

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
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

func ours(oid string) bool {
	return hasPrefix(oid, "1.3.6.1.2.1.33") || hasPrefix(oid, "1.3.6.1.4.1.318.1.1.1")
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

// change is one step of a power failure: objects to set.
type change map[string]int64

var (
	rfcOutage   = change{upsMIB + "4.1.0": 5, upsMIB + "2.2.0": 120}
	rfcLow      = change{upsMIB + "2.1.0": 3}
	rfcBack     = change{upsMIB + "4.1.0": 3, upsMIB + "2.2.0": 0, upsMIB + "2.1.0": 2}
	rfcBackKept = change{upsMIB + "4.1.0": 3, upsMIB + "2.1.0": 2} // seconds on battery stay
	apcOutage   = change{apcUPS + "4.1.1.0": 3, apcUPS + "2.1.2.0": 12000}
	apcLow      = change{apcUPS + "2.1.1.0": 3}
	apcBack     = change{apcUPS + "4.1.1.0": 2, apcUPS + "2.1.1.0": 2}
)

// steps of an outage, with what has to be there and what must not.
type outageStep struct {
	what        string
	apply       change
	want, never dodai.Status
}

func outageSteps(family string) []outageStep {
	out, low, back, kept := rfcOutage, rfcLow, rfcBack, rfcBackKept
	if family == "apc-powernet" {
		out, low, back, kept = apcOutage, apcLow, apcBack, apcBack
	}
	const line = dodai.OL | dodai.BYPASS | dodai.TRIM | dodai.BOOST
	return []outageStep{
		{"on battery", out, dodai.OB, line | dodai.OFF | dodai.LB},
		{"low battery", low, dodai.OB | dodai.LB, line | dodai.OFF},
		{"power back", back, dodai.OL, dodai.OB | dodai.LB},
		{"on battery again", out, dodai.OB, line | dodai.OFF | dodai.LB},
		{"power back, counter kept", kept, dodai.OL, dodai.OB | dodai.LB},
	}
}

// TestOutageSimulated plays a power failure into each walk while one driver polls it:
// every change has to show in the very next poll, at the cost of one request.
func TestOutageSimulated(t *testing.T) {
	for _, e := range loadCaptures(t) {
		if !e.readable() {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			agent := serve(t, e.list)
			d := openDriver(t, map[string]string{"address": agent.Addr()})
			mustPoll(t, d)
			if n := agent.Counts().All(); n > 6 {
				t.Errorf("%d requests at the start: want at most 6", n)
			}
			for _, step := range outageSteps(e.Family) {
				for oid, n := range step.apply {
					if _, there := agent.Object(snmpups.MustOID(oid)); there || strings.HasSuffix(oid, "4.1.1.0") || strings.HasSuffix(oid, "33.1.4.1.0") {
						agent.Set(snmpups.MustOID(oid), snmpups.Int(n))
					} else {
						agent.Set(snmpups.MustOID(oid), snmpups.Int(n))
						d.Close() // an object the recording lacks: let the driver learn anew
						d = openDriver(t, map[string]string{"address": agent.Addr()})
						mustPoll(t, d)
					}
				}
				agent.ResetCounts()
				r := mustPoll(t, d)
				if !r.Status.Has(step.want) || r.Status.Any(step.never) {
					t.Errorf("%s: status %v, want %v and none of %v", step.what, r.Status, step.want, step.never)
				}
				if got, want := agent.Counts(), (snmpups.Counts{Get: 1}); got != want {
					t.Errorf("%s: requests %+v, want %+v", step.what, got, want)
				}
			}
		})
	}
}
