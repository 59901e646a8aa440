package snmpups

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestMessageRoundTrip(t *testing.T) {
	m := message{version: version2c, community: "public", pdu: pduResponse, id: math.MaxInt32, binds: []Binding{
		{MustOID("1.3.6.1.2.1.33.1.2.6.0"), Int(-1)},
		{MustOID("1.3.6.1.2.1.33.1.2.3.0"), Gauge(4294967295)},
		{MustOID("1.3.6.1.2.1.1.2.0"), Pointer(MustOID("1.3.6.1.4.1.4294967295.1"))},
		{MustOID("1.3.6.1.2.1.1.1.0"), Text("card \xff\x00")},
		{MustOID("1.3.6.1.2.1.1.3.0"), Ticks(1)},
		{MustOID("1.3.6.1.2.1.33.1.5.1.0"), Null()},
		{MustOID("1.3.6.1.2.1.33.1.9.9.0"), Value{Tag: TagNoSuchInstance}},
		{MustOID("1.3.6.1.2.1.33.1.9.9.1"), Value{Tag: TagNoSuchObject}},
		{MustOID("1.3.6.1.2.1.33.1.9.9.2"), Value{Tag: TagEndOfMib}},
		{MustOID("1.3.6.1.2.1.31.1.1"), Value{Tag: TagCounter32, Int: 4294967295}},
		{MustOID("1.3.6.1.2.1.31.1.2"), Value{Tag: TagCounter64, Int: math.MaxInt64}},
		{MustOID("1.3.6.1.2.1.4.20"), Value{Tag: TagIPAddress, Octets: []byte{127, 0, 0, 1}}},
	}}
	got, err := decodeMessage(m.encode())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("decode(encode(m)):\n got %+v\nwant %+v", got, m)
	}
}

func TestIntegers(t *testing.T) {
	for n, want := range map[int64][]byte{
		0: {2, 1, 0}, 127: {2, 1, 127}, 128: {2, 2, 0, 128}, -1: {2, 1, 0xff}, -128: {2, 1, 0x80}, -129: {2, 2, 0xff, 0x7f},
		2147483647: {2, 4, 0x7f, 0xff, 0xff, 0xff}, -2147483648: {2, 4, 0x80, 0, 0, 0},
	} {
		if got := appendInt(nil, n); !slices.Equal(got, want) {
			t.Errorf("%d is % x, want % x", n, got, want)
		}
		if back, _, err := readInt(want); err != nil || back != n {
			t.Errorf("% x is %d, %v, want %d", want, back, err, n)
		}
	}
}

func TestObjectIdentifiers(t *testing.T) {
	for s, want := range map[string][]byte{
		"1.3.6.1.4.1.318": {0x2b, 6, 1, 4, 1, 0x82, 0x3e},
		"0.0":             {0},
		"1.3.4294967295":  {0x2b, 0x8f, 0xff, 0xff, 0xff, 0x7f},
	} {
		if got := oidBody(MustOID(s)); !slices.Equal(got, want) {
			t.Errorf("%s is % x, want % x", s, got, want)
		}
		if back, err := parseOIDBody(want); err != nil || back.String() != s {
			t.Errorf("% x is %v, %v, want %s", want, back, err, s)
		}
	}
	for _, bad := range []string{"", ".", "1..2", "1.3.-1", "1.4294967296", "1.x"} {
		if oid, err := ParseOID(bad); err == nil {
			t.Errorf("ParseOID(%q) = %v: want an error", bad, oid)
		}
	}
}

// TestLengths: bodies around the sizes at which their length takes another octet.
func TestLengths(t *testing.T) {
	for size, head := range map[int][]byte{0: {4, 0}, 127: {4, 127}, 128: {4, 0x81, 128}, 255: {4, 0x81, 255}, 256: {4, 0x82, 1, 0}, 60000: {4, 0x82, 0xea, 0x60}} {
		body := make([]byte, size)
		got := appendTLV(nil, TagOctetString, body)
		if !slices.Equal(got[:len(got)-size], head) {
			t.Errorf("%d octets begin with % x, want % x", size, got[:len(got)-size], head)
		}
		tag, back, rest, err := readTLV(append(got, 7))
		if tag != TagOctetString || len(back) != size || len(rest) != 1 || err != nil {
			t.Errorf("%d octets read as tag %d, %d octets, rest % x, %v", size, tag, len(back), rest, err)
		}
	}
	if _, back, _, err := readTLV([]byte{4, 0x83, 0, 0, 1, 9}); err != nil || len(back) != 1 { // longer than need be
		t.Errorf("a length of three octets: % x, %v", back, err)
	}
	for _, bad := range [][]byte{{}, {4}, {4, 1}, {4, 0x80, 0, 0}, {4, 0x81}, {4, 0x84, 0, 0, 0, 1, 9}, {4, 0x82, 1}, {4, 0x81, 2, 9}} {
		if _, back, _, err := readTLV(bad); err == nil {
			t.Errorf("% x read as % x, want an error", bad, back)
		}
	}
}

func TestNumbersOfEightOctets(t *testing.T) {
	for want, body := range map[int64][]byte{
		math.MinInt64: {0x80, 0, 0, 0, 0, 0, 0, 0}, -1: {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0xffff: {0xff, 0xff},
	} {
		if got, err := parseInt(body, false); got != want || err != nil {
			t.Errorf("unsigned % x is %d, %v, want %d", body, got, err, want)
		}
	}
	for _, body := range [][]byte{{}, make([]byte, 10)} {
		if got, err := parseInt(body, true); err == nil {
			t.Errorf("% x is %d, want an error", body, got)
		}
	}
}

func TestBadIdentifiers(t *testing.T) {
	long := make([]byte, maxArcs+2)
	for _, body := range [][]byte{{}, {0x2b, 0x81}, {0x90, 0x80, 0x80, 0x80, 0}, long} {
		if got, err := parseOIDBody(body); err == nil {
			t.Errorf("% x is %v, want an error", body, got)
		}
	}
	for _, s := range []string{"2.999.3", "1.39", "0.39", "2.0", "2.4294967215"} {
		if back, err := parseOIDBody(oidBody(MustOID(s))); err != nil || back.String() != s {
			t.Errorf("%s came back as %v, %v", s, back, err)
		}
	}
	if _, err := ParseOID(strings.Repeat("1.", maxArcs) + "1"); err == nil {
		t.Errorf("%d arcs: want an error", maxArcs+1)
	}
	if oid, err := ParseOID(strings.Repeat("1.", maxArcs-1) + "1"); err != nil || len(oid) != maxArcs {
		t.Errorf("%d arcs: %v", maxArcs, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := (&message{community: "public", pdu: pduGet, id: 7, binds: []Binding{{MustOID("1.3.6"), Null()}}}).encode()
	for n := range good {
		if m, err := decodeMessage(good[:n]); err == nil {
			t.Errorf("the first %d of %d octets read as %+v: want an error", n, len(good), m)
		}
	}
	for i, b := range good { // each tag and each length, one off
		for _, tag := range []byte{TagSequence, TagInteger, TagOctetString, TagOID} {
			if b == tag {
				bad := slices.Clone(good)
				bad[i] ^= 0x40
				if m, err := decodeMessage(bad); err == nil && m.community == "public" && m.id == 7 && m.version == 0 && len(m.binds) == 1 && m.binds[0].OID.String() == "1.3.6" {
					t.Errorf("octet %d spoilt: read as %+v, want an error or another message", i, m)
				}
			}
		}
	}
	for what, bad := range map[string][]byte{
		"octets after it":   append(slices.Clone(good), 0),
		"version 3":         {0x30, 3, 2, 1, 3},
		"an endless length": {0x30, 0x84, 0xff, 0xff, 0xff, 0xff},
	} {
		if m, err := decodeMessage(bad); err == nil {
			t.Errorf("%s: read as %+v, want an error", what, m)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add((&message{community: "public", pdu: pduGet, id: 7, binds: []Binding{{MustOID("1.3.6.1.2.1.1.1.0"), Null()}}}).encode())
	f.Add((&message{version: 1, pdu: pduGetBulk, status: 1, index: 10, binds: []Binding{{MustOID("1.3.6"), Int(-5)}, {MustOID("1.3.7"), Gauge(1 << 31)}}}).encode())
	f.Fuzz(func(t *testing.T, datagram []byte) {
		m, err := decodeMessage(datagram)
		if err != nil {
			return
		}
		again, err := decodeMessage(m.encode())
		if err != nil {
			t.Fatalf("decode(encode(%+v)): %v", m, err)
		}
		if !reflect.DeepEqual(again.encode(), m.encode()) {
			t.Errorf("encode is not stable: %+v, then %+v", m, again)
		}
	})
}
