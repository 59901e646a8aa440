package snmpups

import (
	"net"
	"strings"
	"testing"
	"time"
)

// ask sends one request to an agent and returns its answer, nil for silence.
func ask(t *testing.T, addr string, m message) *message {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(m.encode()); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	buf := make([]byte, 1<<16)
	n, err := conn.Read(buf)
	if err != nil {
		return nil
	}
	answer, err := decodeMessage(buf[:n])
	if err != nil {
		t.Fatalf("answer % x: %v", buf[:n], err)
	}
	return &answer
}

func request(version int64, pdu byte, oids ...string) message {
	m := message{version: version, community: "public", pdu: pdu, id: 42}
	for _, oid := range oids {
		m.binds = append(m.binds, Binding{MustOID(oid), Null()})
	}
	return m
}

func listen(t *testing.T) *Agent {
	t.Helper()
	a, err := Listen("127.0.0.1:0", "public")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	a.Load([]Binding{
		{MustOID("1.3.6.1.3"), Int(3)}, {MustOID("1.3.6.1.1"), Int(1)}, {MustOID("1.3.6.1.2"), Int(2)},
	}, false)
	return a
}

func TestAnswers(t *testing.T) {
	a := listen(t)
	for _, tc := range []struct {
		name          string
		request       message
		status, index int64
		want          []Binding // compared where status is 0
	}{
		{"get", request(version2c, pduGet, "1.3.6.1.1", "1.3.6.1.9"), 0, 0, []Binding{{MustOID("1.3.6.1.1"), Int(1)}, {MustOID("1.3.6.1.9"), Value{Tag: TagNoSuchInstance}}}},
		{"get in version 1", request(version1, pduGet, "1.3.6.1.1", "1.3.6.1.9"), errNoSuchName, 2, nil},
		{"next", request(version1, pduGetNext, "1.3.6.1", "1.3.6.1.1"), 0, 0, []Binding{{MustOID("1.3.6.1.1"), Int(1)}, {MustOID("1.3.6.1.2"), Int(2)}}},
		{"next at the end", request(version2c, pduGetNext, "1.3.6.1.3"), 0, 0, []Binding{{MustOID("1.3.6.1.3"), Value{Tag: TagEndOfMib}}}},
		{"next at the end in version 1", request(version1, pduGetNext, "1.3.6.1.1", "1.3.6.1.3"), errNoSuchName, 2, nil},
		{"get in version 1, the first is missing", request(version1, pduGet, "1.3.6.1.9", "1.3.6.1.1"), errNoSuchName, 1, nil},
		{"set in version 1", request(version1, pduSet, "1.3.6.1.1"), errNoSuchName, 1, nil},
		{"set", request(version2c, pduSet, "1.3.6.1.1"), errNotWritable, 1, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ask(t, a.Addr(), tc.request)
			if got == nil || got.id != 42 || got.pdu != pduResponse || got.status != tc.status || got.index != tc.index {
				t.Fatalf("answer %+v: want a response to 42 with status %d, index %d", got, tc.status, tc.index)
			}
			for i, want := range tc.want {
				if b := got.binds[i]; b.OID.Compare(want.OID) != 0 || b.Value.Tag != want.Value.Tag || b.Value.Int != want.Value.Int {
					t.Errorf("object %d is %+v, want %+v", i, b, want)
				}
			}
		})
	}
}

func TestBulk(t *testing.T) {
	a := listen(t)
	m := request(version2c, pduGetBulk, "1.3.6.1.2", "1.3.6.1")
	m.status, m.index = 1, 4
	got := ask(t, a.Addr(), m)
	want := []string{"1.3.6.1.3", "1.3.6.1.1", "1.3.6.1.2", "1.3.6.1.3", "1.3.6.1.3"}
	if got == nil || len(got.binds) != len(want) {
		t.Fatalf("answer %+v: want %d objects", got, len(want))
	}
	for i, oid := range want {
		if got.binds[i].OID.String() != oid {
			t.Errorf("object %d is %v, want %s", i, got.binds[i].OID, oid)
		}
	}
	if got.binds[4].Value.Tag != TagEndOfMib {
		t.Errorf("the last is %+v: want endOfMibView", got.binds[4])
	}
	m.index = 1 << 30
	if got := ask(t, a.Addr(), m); got == nil || len(got.binds) > maxRows {
		t.Errorf("a request for 2^30 rows: want at most %d objects", maxRows)
	}
}

func TestLimits(t *testing.T) {
	a := listen(t)
	a.Limit(Limits{Binds: 1})
	if got := ask(t, a.Addr(), request(version2c, pduGet, "1.3.6.1.1", "1.3.6.1.2")); got == nil || got.status != errTooBig || len(got.binds) != 0 {
		t.Errorf("two objects of one: %+v, want tooBig without objects", got)
	}
	if got := ask(t, a.Addr(), request(version1, pduGet, "1.3.6.1.1", "1.3.6.1.2")); got == nil || got.status != errTooBig || len(got.binds) != 2 {
		t.Errorf("two objects of one in version 1: %+v, want tooBig with the request's objects", got)
	}
	a.Limit(Limits{Octets: 20})
	if got := ask(t, a.Addr(), request(version2c, pduGet, "1.3.6.1.1")); got == nil || got.status != errTooBig {
		t.Errorf("20 octets: %+v, want tooBig", got)
	}
	for what, l := range map[string]Limits{"too many, silent": {Binds: 1, Drop: true}, "version 1 only": {OnlyV1: true}} {
		a.Limit(l)
		if got := ask(t, a.Addr(), request(version2c, pduGet, "1.3.6.1.1", "1.3.6.1.2")); got != nil {
			t.Errorf("%s: %+v, want silence", what, got)
		}
	}
}

func TestFaults(t *testing.T) {
	a := listen(t)
	get := request(version2c, pduGet, "1.3.6.1.1")
	for _, f := range []Fault{Mute, Late, Gone} {
		if err := a.Break(f, time.Second); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, a.Addr(), get); got != nil {
			t.Errorf("fault %d: %+v, want no answer", f, got)
		}
	}
	if err := a.Break(None, 0); err != nil {
		t.Fatal(err)
	}
	if ask(t, a.Addr(), get) == nil {
		t.Error("no answer after the faults")
	}
	get.community = "private"
	a.ResetCounts()
	if got := ask(t, a.Addr(), get); got != nil || a.Counts().All() != 0 {
		t.Errorf("with another community: %+v, %d requests counted: want silence", got, a.Counts().All())
	}
}

// raw sends a request and returns whatever comes back.
func raw(t *testing.T, addr string, m message) []byte {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(m.encode())
	conn.SetReadDeadline(time.Now().Add(time.Second))
	buf := make([]byte, 1<<16)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestBrokenAnswers(t *testing.T) {
	a := listen(t)
	get := request(version2c, pduGet, "1.3.6.1.1")
	whole := raw(t, a.Addr(), get)
	for f, want := range map[Fault]string{Garbage: "\x30\x7fnot what you asked for", Partial: string(whole[:len(whole)/2]), None: string(whole)} {
		if err := a.Break(f, 0); err != nil {
			t.Fatal(err)
		}
		if got := string(raw(t, a.Addr(), get)); got != want {
			t.Errorf("fault %d: %q, want %q", f, got, want)
		}
	}
	if err := a.Break(Late, 150*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if got := string(raw(t, a.Addr(), get)); got != string(whole) || time.Since(begin) < 150*time.Millisecond {
		t.Errorf("late by %v: %q, want the whole answer after 150 ms", time.Since(begin), got)
	}
}

func TestCounts(t *testing.T) {
	a := listen(t)
	for n, pdu := range []byte{pduGet, pduGetNext, pduGetNext, pduGetBulk, pduGetBulk, pduGetBulk, pduSet} {
		if ask(t, a.Addr(), request(version2c, pdu, "1.3.6.1.1")) == nil {
			t.Errorf("request %d: no answer", n)
		}
	}
	if got, want := a.Counts(), (Counts{Get: 1, GetNext: 2, GetBulk: 3, Set: 1}); got != want || got.All() != 7 {
		t.Errorf("counts %+v, %d in all: want %+v, 7", got, got.All(), want)
	}
	a.Limit(Limits{NoBulk: true})
	for what, m := range map[string]message{
		"GETBULK of a card that lacks it": request(version2c, pduGetBulk, "1.3.6.1.1"), "a response": request(version2c, pduResponse, "1.3.6.1.1"),
	} {
		if got := ask(t, a.Addr(), m); got != nil {
			t.Errorf("%s: %+v, want silence", what, got)
		}
	}
	a.Limit(Limits{})
	if got := ask(t, a.Addr(), request(version1, pduGetBulk, "1.3.6.1.1")); got != nil {
		t.Errorf("GETBULK in version 1: %+v, want silence", got)
	}
	a.Limit(Limits{V1Rules: true, Binds: 2, Octets: 60})
	if got := ask(t, a.Addr(), request(version2c, pduGet, "1.3.6.1.1", "1.3.6.1.9")); got == nil || got.status != errNoSuchName || got.index != 2 {
		t.Errorf("the rules of version 1: %+v, want noSuchName for the second", got)
	}
}

// TestOctets: an answer as long as the limit is sent, one octet more is too big.
func TestOctets(t *testing.T) {
	a := listen(t)
	get := request(version2c, pduGet, "1.3.6.1.1")
	n := len(raw(t, a.Addr(), get))
	for limit, want := range map[int]int64{n: 0, n - 1: errTooBig} {
		a.Limit(Limits{Octets: limit})
		if got := ask(t, a.Addr(), get); got == nil || got.status != want {
			t.Errorf("%d octets where %d are allowed: %+v, want status %d", n, limit, got, want)
		}
	}
}

func TestClosedAgentStaysClosed(t *testing.T) {
	a := listen(t)
	a.Close()
	if err := a.Break(None, 0); err != nil || a.Close() != nil {
		t.Errorf("Break after Close: %v", err)
	}
	if l, err := net.ListenPacket("udp", a.Addr()); err != nil {
		t.Errorf("the port is still taken: %v", err)
	} else {
		l.Close()
	}
	if b, err := Listen("127.0.0.1:none", ""); err == nil {
		b.Close()
		t.Error("listens at a port that is none")
	}
}

// TestTable changes objects in both orders.
func TestTable(t *testing.T) {
	for _, fileOrder := range []bool{false, true} {
		a := &Agent{}
		a.Load([]Binding{{MustOID("1.3"), Int(3)}, {MustOID("1.1"), Int(1)}, {MustOID("1.3"), Int(9)}}, fileOrder)
		a.Set(MustOID("1.2"), Int(2))
		a.Set(MustOID("1.1"), Int(7))
		a.Remove(MustOID("1.9"))
		var got []string
		for _, b := range a.Objects() {
			got = append(got, b.text())
		}
		want := "1.1 7, 1.2 2, 1.3 3"
		if fileOrder {
			want = "1.3 3, 1.1 7, 1.3 9, 1.2 2"
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("file order %v: %s, want %s", fileOrder, text, want)
		}
		a.Remove(MustOID("1.2"))
		if v, ok := a.Object(MustOID("1.2")); ok {
			t.Errorf("a removed object is %+v", v)
		}
		if v, ok := a.Object(MustOID("1.3")); !ok || v.Int != 3 {
			t.Errorf("1.3 is %+v, want the first of the two", v)
		}
		next, ok := a.objects.next(MustOID("1.0"))
		if !ok || next.OID.String() != map[bool]string{false: "1.1", true: "1.3"}[fileOrder] {
			t.Errorf("file order %v: after 1.0 comes %+v", fileOrder, next)
		}
		if next, ok := a.objects.next(MustOID("1.4")); ok {
			t.Errorf("after 1.4 comes %+v, want nothing", next)
		}
	}
}

func TestFileOrder(t *testing.T) {
	a := listen(t)
	a.Load([]Binding{{MustOID("1.3.6.1.3"), Int(3)}, {MustOID("1.3.6.1.1"), Int(1)}}, true)
	got := ask(t, a.Addr(), request(version2c, pduGetNext, "1.3.6.1.3"))
	if got == nil || got.binds[0].OID.String() != "1.3.6.1.1" {
		t.Errorf("after 1.3.6.1.3 in file order: %+v, want 1.3.6.1.1", got)
	}
}
