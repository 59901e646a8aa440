package snmpups

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestReadSNMPRec(t *testing.T) {
	got, err := ReadSNMPRec(strings.NewReader(`# a comment

1.3.6.1.2.1.1.1.0|4|a card | with a bar
.1.3.6.1.2.1.1.2.0|6|.1.3.6.1.4.1.935
1.3.6.1.2.1.1.3.0|67|100
1.3.6.1.2.1.1.5.0|4x|00ff41
1.3.6.1.2.1.33.1.2.3.0|66|4294967295
1.3.6.1.2.1.33.1.2.6.0|5|
1.3.6.1.2.1.33.1.2.7.0|2|-1
1.3.6.1.2.1.4.20.1.1.0|64|127.0.0.1
1.3.6.1.2.1.31.1.1.1.6.1|70|18446744073709551615
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Binding{
		{MustOID("1.3.6.1.2.1.1.1.0"), Text("a card | with a bar")},
		{MustOID("1.3.6.1.2.1.1.2.0"), Pointer(MustOID("1.3.6.1.4.1.935"))},
		{MustOID("1.3.6.1.2.1.1.3.0"), Ticks(100)},
		{MustOID("1.3.6.1.2.1.1.5.0"), Text("\x00\xffA")},
		{MustOID("1.3.6.1.2.1.33.1.2.3.0"), Gauge(4294967295)},
		{MustOID("1.3.6.1.2.1.33.1.2.6.0"), Null()},
		{MustOID("1.3.6.1.2.1.33.1.2.7.0"), Int(-1)},
		{MustOID("1.3.6.1.2.1.4.20.1.1.0"), Value{Tag: TagIPAddress, Octets: []byte{127, 0, 0, 1}}},
		{MustOID("1.3.6.1.2.1.31.1.1.1.6.1"), Value{Tag: TagCounter64, Int: -1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n got %v\nwant %v", got, want)
	}
}

func TestReadSNMPRecRefuses(t *testing.T) {
	for _, line := range []string{"1.3.6", "1.3.6|4", "x|4|a", "1.3.6|four|a", "1.3.6|2|", "1.3.6|2|1e3", "1.3.6|4x|abc", "1.3.6|99|1", "1.3.6|64|::1"} {
		if got, err := ReadSNMPRec(strings.NewReader("1.3.5|2|1\n" + line)); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q read as %v, %v: want an error that names line 2", line, got, err)
		}
	}
}

// A recording longer than the reader's buffer must not have its texts overwritten.
func TestReadSNMPRecLong(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "1.3.6.1.%d.0|4|text number %d\n", i, i)
	}
	list, err := ReadSNMPRec(strings.NewReader(b.String()))
	if err != nil || len(list) != 5000 {
		t.Fatalf("%d records, %v: want 5000", len(list), err)
	}
	for i, bind := range list {
		if want := fmt.Sprintf("text number %d", i); string(bind.Value.Octets) != want {
			t.Fatalf("record %d is %q, want %q", i, bind.Value.Octets, want)
		}
	}
}

func FuzzReadSNMPRec(f *testing.F) {
	f.Add([]byte("1.3.6.1|4|text\n.1.3.6.2|2|-1\n"))
	f.Add([]byte("1.3.6.1|64|127.0.0.1\n1.3.6.3|6|1.3.6\r\n1.3.6.4|5|\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ReadSNMPRec(strings.NewReader(string(data)))
		if err != nil {
			return
		}
		m := message{version: version2c, pdu: pduResponse, binds: list}
		if len(list) > 500 || len(m.encode()) > 1<<16-1 {
			return
		}
		for _, b := range list { // whatever can be read can be sent
			if len(b.OID) < 2 || b.OID[0] > 2 || (b.OID[0] < 2 && b.OID[1] > 39) || (b.Value.Tag == TagOID && len(b.Value.OID) < 2) {
				return // no identifier in BER
			}
		}
		if _, err := decodeMessage(m.encode()); err != nil {
			t.Errorf("a recording cannot be sent: %v\n%q", err, data)
		}
	})
}
