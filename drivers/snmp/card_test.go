package snmp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/sim/snmpups"
)

// TestWeakCards: whatever a card's limits, all values arrive, and what was learnt is
// not asked twice.
func TestWeakCards(t *testing.T) {
	whole := mustPoll(t, openDriver(t, map[string]string{"address": newSim(t, snmpups.Config{Flavour: snmpups.Both, Phases: 3}).Addr()}))
	for _, tc := range []struct {
		name    string
		limits  snmpups.Limits
		version string
		gets    int // most requests in a later poll
	}{
		{"eight objects", snmpups.Limits{Binds: 8}, "2c", 6},
		{"two objects", snmpups.Limits{Binds: 2}, "2c", 18},
		{"one object", snmpups.Limits{Binds: 1}, "2c", 35},
		{"five objects, version 1", snmpups.Limits{Binds: 5}, "1", 10},
		{"484 octets", snmpups.Limits{Octets: 484}, "2c", 4},
		{"silent on more than 30 objects", snmpups.Limits{Binds: 30, Drop: true}, "2c", 2},
		{"no GETBULK", snmpups.Limits{NoBulk: true}, "2c", 1},
		{"the rules of version 1 in 2c", snmpups.Limits{V1Rules: true}, "2c", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ups := newSim(t, snmpups.Config{Flavour: snmpups.Both, Phases: 3})
			ups.Limit(tc.limits)
			ups.Change(func(s *snmpups.State) { s.Replace = true })
			d := openDriver(t, map[string]string{"address": ups.Addr(), "version": tc.version, "timeout": "100ms", "retries": "0"})
			r := mustPoll(t, d)
			for name, v := range whole.Vars {
				if name != "battery.replace" && name != "ups.alarms.present" && r.Vars[name] != v {
					t.Errorf("%s = %v, want %v", name, r.Vars[name], v)
				}
			}
			if r.Status != dodai.OL|dodai.RB {
				t.Errorf("status %v, want OL RB", r.Status)
			}
			ups.SetMains(false)
			for range 3 {
				ups.ResetCounts()
				r = mustPoll(t, d)
				if n := ups.Counts(); n.All() > tc.gets || n.GetNext+n.GetBulk > 0 {
					t.Errorf("requests of a poll: %+v, want at most %d GETs", n, tc.gets)
				}
				if !r.Status.Has(dodai.OB | dodai.RB) {
					t.Errorf("status in the outage %v, want OB RB", r.Status)
				}
			}
		})
	}
}

// TestSilentCards: a card that drops what is too big for it, the very first request
// included, is read after a few attempts.
func TestSilentCards(t *testing.T) {
	for _, most := range []int{1, 2, 5, 8} {
		ups := newSim(t, snmpups.Config{})
		ups.Limit(snmpups.Limits{Binds: most, Drop: true})
		d := openDriver(t, map[string]string{"address": ups.Addr(), "timeout": "50ms", "retries": "0"})
		polls := 1
		for ; polls < 5; polls++ {
			if r, err := d.Poll(t.Context()); err == nil {
				if _, ok := r.Vars.Float(dodai.BatteryRuntime); !ok || r.Status != dodai.OL {
					t.Errorf("at most %d objects: %v %v, want OL and a runtime", most, r.Status, r.Vars)
				}
				break
			}
		}
		if polls > 2 {
			t.Errorf("at most %d objects: read at poll %d, want 2", most, polls)
		}
	}
}

// TestTurns: what does not fit into the one request is asked in turn, and its age told.
func TestTurns(t *testing.T) {
	s := &session{cache: map[string]cached{}, decide: []string{"1", "2", "3"}, rest: []string{"a", "b", "c", "d", "e"}}
	for _, want := range []string{"1 2 3 a b", "1 2 3 c d", "1 2 3 e a"} {
		if got := strings.Join(s.next(5), " "); got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
	}
	if got := s.next(60); len(got) != 8 {
		t.Errorf("asked %q where all fit, want all 8", got)
	}
	now := time.Now()
	d := decoded{from: map[string]string{"battery.temperature": "x", "ups.load": "y"}}
	at := map[string]time.Time{"x": now.Add(-9 * time.Second), "y": now}
	ages := d.ages(now, func(oid string) time.Time { return at[oid] })
	if len(ages) != 1 || ages["battery.temperature"] != 9*time.Second {
		t.Errorf("ages %v, want 9 s for battery.temperature alone", ages)
	}
}

func TestVersions(t *testing.T) {
	ups := newSim(t, snmpups.Config{})
	ups.Limit(snmpups.Limits{OnlyV1: true})
	opts := map[string]string{"address": ups.Addr(), "timeout": "100ms", "retries": "0"}
	if _, err := openDriver(t, opts).Poll(t.Context()); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("version 2c on a card of version 1: %v, want ErrUnreachable", err)
	}
	opts["version"] = "auto"
	d := openDriver(t, opts)
	if r := mustPoll(t, d); r.Status != dodai.OL {
		t.Errorf("version auto: status %v, want OL", r.Status)
	}
	ups.ResetCounts()
	mustPoll(t, d)
	if n := ups.Counts(); n.All() != 1 {
		t.Errorf("the version is tried again: %+v", n)
	}
}

func TestRestartedCardIsLearntAnew(t *testing.T) {
	ups := newSim(t, snmpups.Config{Flavour: snmpups.Both})
	d := openDriver(t, map[string]string{"address": ups.Addr()})
	mustPoll(t, d)
	ups.Remove(snmpups.MustOID(apcUPS + "4.2.8.0"))
	ups.Set(snmpups.MustOID(apcUPS+"4.2.9.0"), snmpups.Int(500)) // new firmware: another object
	ups.Set(snmpups.MustOID(sysUpTime), snmpups.Ticks(100))
	mustPoll(t, d) // notices
	r := mustPoll(t, d)
	if v, ok := r.Vars.Float("ups.power"); !ok || v != 500 {
		t.Errorf("ups.power = %v (there: %v) after the restart, want 500", v, ok)
	}
	ups.ResetCounts()
	mustPoll(t, d)
	if n := ups.Counts(); n.All() != 1 {
		t.Errorf("%+v requests, want 1 again", n)
	}
}

// TestOtherMakes: what has RFC 1628 beside a branch that is not read says so.
func TestOtherMakes(t *testing.T) {
	for id, want := range map[string]string{
		"1.3.6.1.4.1.850.1":       "read through RFC 1628; the own objects of this Tripp Lite device are not read",
		"1.3.6.1.4.1.8072.3.2.10": "",
	} {
		agent := serve(t, nil)
		agent.Set(snmpups.MustOID(upsMIB+"4.1.0"), snmpups.Int(3))
		agent.Set(snmpups.MustOID(sysObjectID), snmpups.Pointer(snmpups.MustOID(id)))
		r := mustPoll(t, openDriver(t, map[string]string{"address": agent.Addr()}))
		if got := strings.Join(r.Notes, "; "); got != want {
			t.Errorf("%s: notes %q, want %q", id, got, want)
		}
	}
}

// TestNothingHere: what is no UPS we read says so, and what it is where that is known.
func TestNothingHere(t *testing.T) {
	system := map[string]snmpups.Value{sysDescr: snmpups.Text("switch"), sysObjectID: snmpups.Pointer(snmpups.MustOID("1.3.6.1.4.1.9.1"))}
	for _, tc := range []struct {
		name    string
		objects map[string]snmpups.Value
		mib     string
		want    string
	}{
		{"switch", nil, "auto", "neither RFC 1628 nor PowerNet"},
		{"APC PDU", map[string]snmpups.Value{"1.3.6.1.4.1.318.1.1.12.1.5.0": snmpups.Text("AP7900")}, "auto", "APC rack PDU"},
		{"APC PDU whose UPS objects are -1", map[string]snmpups.Value{
			"1.3.6.1.4.1.318.1.1.12.1.5.0": snmpups.Text("AP7900"), apcUPS + "4.1.1.0": snmpups.Int(-1), upsMIB + "4.1.0": snmpups.Null(),
		}, "auto", "APC rack PDU"},
		{"Eaton PDU", map[string]snmpups.Value{sysObjectID: snmpups.Pointer(snmpups.MustOID("1.3.6.1.4.1.534.6.6.7"))}, "auto", "Eaton ePDU"},
		{"the other MIB", map[string]snmpups.Value{upsMIB + "4.1.0": snmpups.Int(3)}, "apc", "mib=apc"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			agent := serve(t, nil)
			for _, objects := range []map[string]snmpups.Value{system, tc.objects} {
				for oid, v := range objects {
					agent.Set(snmpups.MustOID(oid), v)
				}
			}
			d := openDriver(t, map[string]string{"address": agent.Addr(), "mib": tc.mib})
			if r, err := d.Poll(t.Context()); !errors.Is(err, drivers.ErrNoData) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Poll = %v %v, %v: want ErrNoData with %q", r.Kind, r.Status, err, tc.want)
			}
		})
	}
}

// TestCancelled: a poll returns when its context is cancelled, not only at a deadline.
func TestCancelled(t *testing.T) {
	ups := newSim(t, snmpups.Config{})
	d := openDriver(t, map[string]string{"address": ups.Addr(), "timeout": "10s"})
	mustPoll(t, d)
	if err := ups.Break(snmpups.Mute, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begin := time.Now()
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := d.Poll(ctx)
	if took := time.Since(begin); took > time.Second || !errors.Is(err, drivers.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Poll returned after %v with %v: want ErrUnreachable at once", took, err)
	}
}

// TestLateRepeat: the answer to a repeated request arrives after the first one's has
// been taken, while the next poll waits. It must not be taken for the next one's.
func TestLateRepeat(t *testing.T) {
	ups := newSim(t, snmpups.Config{})
	d := openDriver(t, map[string]string{"address": ups.Addr(), "timeout": "300ms", "retries": "2"})
	mustPoll(t, d)
	if err := ups.Break(snmpups.Late, 400*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	ups.ResetCounts()
	if r := mustPoll(t, d); r.Status != dodai.OL {
		t.Errorf("status %v, want OL", r.Status)
	}
	if n := ups.Counts().Get; n != 2 {
		t.Fatalf("%d requests, want 2: the second one's answer is still to come", n)
	}
	ups.SetMains(false) // 300 ms before the old answer arrives, 400 ms before the new one
	if r := mustPoll(t, d); !r.Status.Has(dodai.OB) {
		t.Errorf("status %v from an answer of the poll before, want OB", r.Status)
	}
}

// TestLearntAnewOnLineOnly: after six hours, but not in the middle of an outage.
func TestLearntAnewOnLineOnly(t *testing.T) {
	old := time.Now().Add(-relearn - time.Minute)
	for status, want := range map[dodai.Status]bool{dodai.OL: true, dodai.OB: false, dodai.OB | dodai.LB: false, 0: true} {
		s := &session{started: old, memory: memory{last: status}}
		if got := s.stale(); got != want {
			t.Errorf("stale with status %v = %v, want %v", status, got, want)
		}
	}
	ups := newSim(t, snmpups.Config{})
	d := openDriver(t, map[string]string{"address": ups.Addr()}).(*driver)
	mustPoll(t, d)
	ups.SetMains(false)
	mustPoll(t, d)
	learnt := d.session
	learnt.started = old
	if mustPoll(t, d); d.session != learnt {
		t.Error("learnt anew in an outage")
	}
	ups.SetMains(true)
	mustPoll(t, d)
	if mustPoll(t, d); d.session == learnt {
		t.Error("not learnt anew after six hours on line")
	}
}

// TestContradictionPersists: two branches that disagree poll after poll are an alarm.
func TestContradictionPersists(t *testing.T) {
	ups := newSim(t, snmpups.Config{Flavour: snmpups.Both})
	d := openDriver(t, map[string]string{"address": ups.Addr()})
	mustPoll(t, d)
	ups.Set(snmpups.MustOID(upsMIB+"4.1.0"), snmpups.Int(5))
	for poll, want := range []dodai.Status{dodai.OL, dodai.OL | dodai.ALARM, dodai.OL | dodai.ALARM} {
		if r := mustPoll(t, d); r.Status != want || len(r.Notes) == 0 {
			t.Errorf("poll %d: status %v, notes %q: want %v and a note", poll, r.Status, r.Notes, want)
		}
	}
	ups.Set(snmpups.MustOID(upsMIB+"4.1.0"), snmpups.Int(3))
	if r := mustPoll(t, d); r.Status != dodai.OL {
		t.Errorf("after it: status %v, want OL", r.Status)
	}
}

func TestPackets(t *testing.T) {
	bind := []gosnmp.SnmpPDU{{Name: ".1.3.6.1", Type: gosnmp.Integer, Value: 1}}
	for _, tc := range []struct {
		name   string
		packet gosnmp.SnmpPacket
		want   error
	}{
		{"good", gosnmp.SnmpPacket{PDUType: gosnmp.GetResponse, RequestID: 7, Variables: bind}, nil},
		{"request id 0", gosnmp.SnmpPacket{PDUType: gosnmp.GetResponse, Variables: bind}, drivers.ErrProtocol},
		{"no objects", gosnmp.SnmpPacket{PDUType: gosnmp.GetResponse, RequestID: 7}, drivers.ErrProtocol},
		{"our own request", gosnmp.SnmpPacket{PDUType: gosnmp.GetRequest, RequestID: 7, Variables: bind}, drivers.ErrProtocol},
		{"refused", gosnmp.SnmpPacket{PDUType: gosnmp.GetResponse, RequestID: 7, Error: gosnmp.AuthorizationError, Variables: bind}, drivers.ErrDenied},
		{"too big without objects", gosnmp.SnmpPacket{PDUType: gosnmp.GetResponse, RequestID: 7, Error: gosnmp.TooBig}, nil},
	} {
		if _, err := readPacket(&tc.packet); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		opts map[string]string
		key  string // the option the error names; empty: fine
	}{
		{map[string]string{"address": "10.0.0.7"}, ""},
		{map[string]string{"address": "ups.example:1161"}, ""},
		{map[string]string{"address": "[2001:db8::1]:161"}, ""},
		{map[string]string{"address": "2001:db8::1"}, ""},
		{map[string]string{"address": "10.0.0.7:0"}, "address"},
		{map[string]string{"address": "10.0.0.7:snmp"}, "address"},
		{map[string]string{"address": "http://10.0.0.7"}, "address"},
		{map[string]string{"address": "u", "version": "4"}, "version"},
		{map[string]string{"address": "u", "version": "2c", "v3user": "x"}, "version"},
		{map[string]string{"address": "u", "version": "3"}, "v3user"},
		{map[string]string{"address": "u", "v3user": "x"}, ""},
		{map[string]string{"address": "u", "v3user": "x", "v3auth": "SHA-256", "v3authpass": "12345678"}, ""},
		{map[string]string{"address": "u", "v3user": "x", "v3auth": "ROT13", "v3authpass": "12345678"}, "v3auth"},
		{map[string]string{"address": "u", "v3user": "x", "v3auth": "SHA", "v3authpass": "1234567"}, "v3authpass"},
		{map[string]string{"address": "u", "v3user": "x", "v3privpass": "12345678"}, "v3auth"},
		{map[string]string{"address": "u", "v3user": "x", "v3authpass": "12345678", "v3priv": "AES256C"}, "v3privpass"},
		{map[string]string{"address": "u", "mib": "ieee"}, "mib"},
		{map[string]string{"address": "u", "timeout": "0s"}, "timeout"},
		{map[string]string{"address": "u", "retries": "-1"}, "retries"},
		{map[string]string{"address": "u", "community": strings.Repeat("x", 128)}, "community"},
	} {
		_, err := Factory.Open("ups1", tc.opts, nil)
		o, _ := errors.AsType[*drivers.OptionError](err)
		switch {
		case tc.key == "" && err != nil:
			t.Errorf("%v: %v, want no error", tc.opts, err)
		case tc.key != "" && (o == nil || o.Key != tc.key):
			t.Errorf("%v: %v, want an error on %s", tc.opts, err, tc.key)
		}
		if err != nil && strings.Contains(err.Error(), "1234567") {
			t.Errorf("the error shows a passphrase: %v", err)
		}
	}
}

func TestCompareOIDs(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"1.3.6", "1.3.6", 0}, {"1.3.6", "1.3.6.1", -1}, {"1.3.10", "1.3.9", 1}, {"1.3.6.1.2.1.33", "1.3.6.1.4.1", -1}} {
		if got := compareOIDs(tc.a, tc.b); got != tc.want {
			t.Errorf("compare %s, %s = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
	for oid, want := range map[string]string{"1.3.6.0": "1.3.6", "1.3.6.1": "1.3.6", "1.3.6.2": "1.3.6.1", "1.3.6.10.0": "1.3.6.10"} {
		if got := predecessor(oid); got != want {
			t.Errorf("predecessor(%s) = %s, want %s", oid, got, want)
		}
	}
}
