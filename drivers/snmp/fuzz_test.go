package snmp

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai"
)

// everyObject are all objects of all families, each table with three rows.
func everyObject() (oids []string, columns map[string][]string) {
	columns = map[string][]string{}
	for _, f := range families {
		oids = append(oids, f.scalars()...)
		for _, id := range f.ident {
			oids = append(oids, id.oid)
		}
		for _, t := range f.tables {
			for _, r := range t.rows {
				columns[r.oid] = []string{"1", "2", "3"}
				oids = append(oids, r.oid+".1", r.oid+".2", r.oid+".3")
			}
		}
	}
	slices.Sort(oids)
	return slices.Compact(oids), columns
}

// bounds are, by variable, the widest range any row gives it.
func bounds() map[string][2]float64 {
	all := map[string][2]float64{}
	widen := func(name string, r row) {
		b := all[name]
		all[name] = [2]float64{min(b[0], r.lo), max(b[1], r.hi)}
	}
	for _, f := range families {
		for _, r := range f.rows {
			widen(r.name, r)
		}
		for _, t := range f.tables {
			for _, r := range t.rows {
				widen(r.name, r)
				for i := range 3 {
					widen(r.phaseName(i, 3, false), r)
					widen(r.phaseName(i, 3, true), r)
				}
			}
		}
	}
	all[dodai.UPSRealpower] = [2]float64{-3e6, 3e7} // the sum of three
	return all
}

// nextPDU takes a value from the fuzzer's bytes.
func nextPDU(data *[]byte) gosnmp.SnmpPDU {
	take := func(n int) []byte {
		n = min(n, len(*data))
		b := (*data)[:n]
		*data = (*data)[n:]
		return b
	}
	// padded is the next n bytes, zeros where there are no more.
	padded := func(n int) []byte { return append(slices.Clone(take(n)), make([]byte, n)...)[:n] }
	kind := padded(1)[0]
	switch kind % 10 {
	case 0:
		return gosnmp.SnmpPDU{Type: gosnmp.Integer, Value: int(int8(padded(1)[0]))}
	case 1:
		return gosnmp.SnmpPDU{Type: gosnmp.Integer, Value: int(int32(binary.BigEndian.Uint32(padded(4))))}
	case 2:
		return gosnmp.SnmpPDU{Type: gosnmp.Gauge32, Value: uint(binary.BigEndian.Uint32(padded(4)))}
	case 3:
		return gosnmp.SnmpPDU{Type: gosnmp.TimeTicks, Value: binary.BigEndian.Uint32(padded(4))}
	case 4:
		return gosnmp.SnmpPDU{Type: gosnmp.Counter64, Value: binary.BigEndian.Uint64(padded(8))}
	case 5:
		return gosnmp.SnmpPDU{Type: gosnmp.OctetString, Value: slices.Clone(take(int(padded(1)[0])))}
	case 6:
		return gosnmp.SnmpPDU{Type: gosnmp.ObjectIdentifier, Value: upsMIB + "6.3." + string(take(2))}
	case 7:
		return gosnmp.SnmpPDU{Type: gosnmp.OpaqueDouble, Value: math.Float64frombits(binary.BigEndian.Uint64(padded(8)))}
	case 8:
		return gosnmp.SnmpPDU{Type: gosnmp.Null}
	default:
		return gosnmp.SnmpPDU{Type: gosnmp.NoSuchInstance}
	}
}

// FuzzReading reads arbitrary values of all objects: whatever a card sends, numbers
// are finite and in their row's range, texts are printable and short, and the line is
// not both there and gone.
func FuzzReading(f *testing.F) {
	f.Add([]byte{0, 3, 0, 2, 1, 0, 0, 255, 255}, uint8(0))
	f.Add([]byte("\x05\x401010101010101010101010101010101010101010101010101010101010101010"), uint8(3))
	f.Add([]byte{7, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0, 2, 255, 255, 255, 255, 5, 3, 'N', 'a', 'N'}, uint8(9))
	oids, columns := everyObject()
	ranges := bounds()
	f.Fuzz(func(t *testing.T, data []byte, skip uint8) {
		s := &session{families: families, columns: columns, cache: map[string]cached{}}
		for i := range oids {
			oid := oids[(i+int(skip))%len(oids)]
			s.keep(answers{oid: valueOf(nextPDU(&data))})
		}
		if means, ok := rfc1628.alarmWords[strconv.Itoa(int(skip)%30)]; ok && !means.lost {
			s.alarms.entries = []alarmEntry{{oid: rfc1628.alarms + ".1", means: means, of: &rfc1628}}
		}
		r, err := s.reading()
		if err != nil {
			return
		}
		for name, v := range r.Vars {
			checkValue(t, name, v, ranges)
		}
		if r.Status.Has(dodai.OL | dodai.OB) {
			t.Errorf("status %v", r.Status)
		}
	})
}

func checkValue(t *testing.T, name string, v dodai.Value, ranges map[string][2]float64) {
	t.Helper()
	switch x := v.Any().(type) {
	case float64:
		b, known := ranges[name]
		if !known || math.IsNaN(x) || x < b[0] || x > b[1] {
			t.Errorf("%s = %v: want it in %v (known: %v)", name, x, b, known)
		}
	case string:
		if x == "" || len(x) > 2*maxText || cleanText([]byte(x)) != x && name != dodai.UPSAlarm {
			t.Errorf("%s = %q: want a short printable text", name, x)
		}
	}
}
