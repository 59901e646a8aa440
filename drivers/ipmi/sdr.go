package ipmi

import (
	"fmt"
	"math"
	"strings"

	"github.com/dodai-agent/dodai/drivers"
)

// The types of record that matter here; others are skipped.
// Source: IPMI 2.0, chapter 43.
const (
	recordFull        = 0x01
	recordCompact     = 0x02
	recordAssociation = 0x08
	recordFRU         = 0x11
)

// maxSensors bounds what a poll asks for. A server with six supplies has 40.
const maxSensors = 128

const recordHeader = 5 // id, version, type, length of what follows

// Sensor types, reading types and units. Source: IPMI 2.0, tables 42-1, 42-3, 43-15.
const (
	typeVoltage, typeCurrent, typeSupply, typeUnit, typeOther, typePresence = 0x02, 0x03, 0x08, 0x09, 0x0b, 0x25

	readThreshold, readPresence, readRedundancy, readSpecific = 0x01, 0x08, 0x0b, 0x6f

	unitVolts, unitAmps, unitWatts = 0x04, 0x05, 0x06
)

// Entities. Source: IPMI 2.0, table 43-13.
const (
	entityBoard, entitySupply, entityPowerUnit, entityModule, entityPowerMgmt, entityChassis = 0x07, 0x0a, 0x13, 0x14, 0x15, 0x17
)

// entity is what a sensor belongs to: a kind of part and its number. Numbers from 96
// on count within their controller, and are names like any other here.
type entity struct{ id, instance byte }

func (e entity) String() string { return fmt.Sprintf("%d.%d", e.id, e.instance) }

// direction is whether a sensor measures what goes into a supply or what comes out.
type direction byte

const (
	unspecified direction = iota
	input
	output
)

// sensor describes one sensor. Owner address, LUN, channel and number are its key:
// numbers repeat between controllers, and names are no keys at all.
type sensor struct {
	owner, lun, channel, number byte

	entity   entity
	typ      byte // what it watches
	reading  byte // how to take its state bits
	mask     uint16
	unit     byte
	analog   *formula // nil: it has no number
	towards  direction
	name     string
	repeated bool // one of several that share a record
}

// isNumber: its states are nothing but what its number is above or below.
func (s sensor) isNumber() bool { return s.reading == readThreshold && s.analog != nil }

func (s sensor) String() string { return fmt.Sprintf("%s (%s, %02xh)", s.name, s.entity, s.number) }

// formula turns a raw byte into a number in the sensor's unit:
// (m·raw + b·10^bExp) · 10^rExp. Source: IPMI 2.0, section 36.3.
type formula struct {
	m, b       int
	bExp, rExp int
	signed     byte // 0 unsigned, 1 one's, 2 two's complement
}

// value is rounded to a millionth, which is far below any sensor's step.
func (f formula) value(raw byte) float64 {
	x := int(raw)
	if f.signed != 0 && raw >= 0x80 {
		x -= 0x100
		if f.signed == 1 {
			x++
		}
	}
	v := (float64(f.m*x) + float64(f.b)*math.Pow10(f.bExp)) * math.Pow10(f.rExp)
	return math.Round(v*1e6) / 1e6
}

// fullScale is the largest number the sensor can show.
func (f formula) fullScale() float64 {
	if f.signed != 0 {
		return max(f.value(0x7f), f.value(0x80))
	}
	return max(f.value(0), f.value(0xff))
}

// association says which parts make up a larger one, such as a power unit.
type association struct {
	container entity
	parts     []entity
}

// fruLocator says where the inventory of a part is kept.
type fruLocator struct {
	device byte
	entity entity
}

// records is what the sensor data repository says about power.
type records struct {
	sensors      []sensor
	associations []association
	frus         []fruLocator
}

// add decodes one whole record, header included, and keeps what concerns power. The
// error wraps ErrProtocol; an unknown type of record is none.
func (r *records) add(rec []byte) error {
	if len(rec) < recordHeader || len(rec) < recordHeader+int(rec[4]) {
		return drivers.Protocol("sensor record", rec, "a header and as many bytes as it says")
	}
	rec = rec[:recordHeader+int(rec[4])]
	switch rec[3] {
	case recordFull, recordCompact:
		list, err := parseSensor(rec)
		if err != nil {
			return err
		}
		for _, s := range list {
			if s.matters() && len(r.sensors) == maxSensors {
				return fmt.Errorf("%w: more than %d sensors about power", drivers.ErrProtocol, maxSensors)
			} else if s.matters() {
				r.sensors = append(r.sensors, s)
			}
		}
	case recordAssociation:
		if a, ok := parseAssociation(rec); ok {
			r.associations = append(r.associations, a)
		}
	case recordFRU:
		if f, ok := parseFRULocator(rec); ok && f.entity.id == entitySupply {
			r.frus = append(r.frus, f)
		}
	}
	return nil
}

// wanted reports from the first bytes of a record whether the rest is worth asking
// for: most of a repository is temperatures, fans and memory.
func wanted(head []byte) bool {
	if len(head) < 14 {
		return false
	}
	switch head[3] {
	case recordAssociation, recordFRU:
		return true
	case recordFull, recordCompact:
		return mattersAs(head[12], head[13], entity{head[8], head[9] & 0x7f})
	}
	return false
}

func mattersAs(typ, reading byte, e entity) bool {
	switch typ {
	case typeSupply, typeUnit:
		return true
	case typePresence:
		return e.id == entitySupply || reading == readPresence
	case typeVoltage:
		return e.id == entitySupply
	case typeCurrent, typeOther:
		return e.id == entitySupply || isSystem(e)
	}
	return false
}

// matters is mattersAs and, for a pure number, a unit that is of use.
func (s sensor) matters() bool {
	if !mattersAs(s.typ, s.reading, s.entity) {
		return false
	}
	if s.reading != readThreshold {
		return true
	}
	return s.analog != nil && (s.unit == unitWatts || s.entity.id == entitySupply && (s.unit == unitVolts || s.unit == unitAmps))
}

// isSystem reports whether a meter on this entity measures the whole machine. A power
// module (20) is left out: its meter stands behind a hot-swap controller.
func isSystem(e entity) bool {
	switch e.id {
	case entityBoard, entityPowerUnit, entityPowerMgmt, entityChassis:
		return true
	}
	return false
}

// parseSensor decodes a full or compact record; one compact record may describe up to
// 15 sensors. Source: IPMI 2.0, sections 43.1 and 43.2 (tables count bytes from 1).
func parseSensor(rec []byte) ([]sensor, error) {
	nameAt, least := 47, 48
	if rec[3] == recordCompact {
		nameAt, least = 31, 32
	}
	if len(rec) < least {
		return nil, drivers.Protocol("sensor record", rec, fmt.Sprintf("at least %d bytes", least))
	}
	s := sensor{
		owner: rec[5], lun: rec[6] & 3, channel: rec[6] >> 4, number: rec[7],
		entity: entity{rec[8], rec[9] & 0x7f}, typ: rec[12], reading: rec[13],
		unit: rec[21], name: decodeText(rec[nameAt:]),
	}
	if s.reading != readThreshold {
		// Byte 15 is the assertion mask, byte 19 which states can be read at all.
		s.mask = (le16(rec[14:]) | le16(rec[18:])) & 0x7fff
	}
	if rec[3] == recordFull {
		s.analog, s.towards = parseFormula(rec), direction(rec[28]&3)
		return []sensor{s}, nil
	}
	return share(s, rec[23], rec[24]), nil
}

// parseFormula returns nil where the sensor has no number, or one that is not linear,
// a percentage or a rate.
func parseFormula(rec []byte) *formula {
	format, rate, modifier, percent := rec[20]>>6, rec[20]>>3&7, rec[20]>>1&3, rec[20]&1
	if format == 3 || rate != 0 || modifier != 0 || percent != 0 || rec[23]&0x7f != 0 {
		return nil
	}
	return &formula{
		m:      signExtend(int(rec[24])|int(rec[25]&0xc0)<<2, 10),
		b:      signExtend(int(rec[26])|int(rec[27]&0xc0)<<2, 10),
		rExp:   signExtend(int(rec[29]>>4), 4),
		bExp:   signExtend(int(rec[29]&0x0f), 4),
		signed: format,
	}
}

func signExtend(v, bits int) int {
	if v >= 1<<(bits-1) {
		v -= 1 << bits
	}
	return v
}

// share repeats s as often as the record says, numbering names and, where told,
// entities. Source: IPMI 2.0, table 43-2, record sharing.
func share(s sensor, kind, how byte) []sensor {
	count := int(kind & 0x0f)
	if count <= 1 {
		return []sensor{s}
	}
	list := make([]sensor, count)
	for i := range list {
		one := s
		one.number += byte(i)
		one.repeated = true
		if how&0x80 != 0 {
			one.entity.instance += byte(i)
		}
		if n := int(how&0x7f) + i; kind>>4&3 == 1 {
			one.name += alpha(n)
		} else {
			one.name += fmt.Sprint(n)
		}
		list[i] = one
	}
	return list
}

// alpha counts A, B … Z, AA, AB …
func alpha(n int) string {
	if n < 26 {
		return string(rune('A' + n))
	}
	return alpha(n/26-1) + string(rune('A'+n%26))
}

// parseAssociation decodes an entity association record. Source: IPMI 2.0, section 43.4.
func parseAssociation(rec []byte) (association, bool) {
	if len(rec) < 16 {
		return association{}, false
	}
	a := association{container: entity{rec[5], rec[6] & 0x7f}}
	isRange := rec[7]&0x80 != 0
	for i := 8; i+1 < 16; i += 2 {
		e := entity{rec[i], rec[i+1] & 0x7f}
		last := e
		if isRange && i%4 == 0 && rec[i+2] == e.id {
			last.instance = rec[i+3] & 0x7f
			i += 2
		}
		for ; e.id != 0 && e.instance <= last.instance; e.instance++ {
			a.parts = append(a.parts, e)
		}
	}
	return a, len(a.parts) > 0
}

// parseFRULocator decodes where a part's inventory is. Only logical FRU devices behind
// the BMC itself can be asked with Read FRU Data. Source: IPMI 2.0, section 43.8.
func parseFRULocator(rec []byte) (fruLocator, bool) {
	if len(rec) < 14 || rec[7]&0x80 == 0 {
		return fruLocator{}, false
	}
	return fruLocator{device: rec[6], entity: entity{rec[12], rec[13] & 0x7f}}, true
}

// decodeText reads a name behind its type/length byte, at most as much as there is.
// Source: IPMI 2.0, section 43.15.
func decodeText(field []byte) string {
	if len(field) == 0 {
		return ""
	}
	n := min(int(field[0]&0x1f), len(field)-1)
	return decodeChars(field[0]>>6, field[1:1+n])
}

func decodeChars(coding byte, b []byte) string {
	var out strings.Builder
	switch coding {
	case 1: // BCD plus
		for _, v := range b {
			out.WriteByte("0123456789 -.:,_"[v>>4])
			out.WriteByte("0123456789 -.:,_"[v&0x0f])
		}
	case 2: // 6-bit ASCII, packed from the least significant bit on
		for bit := 0; bit+6 <= 8*len(b); bit += 6 {
			v := int(b[bit/8]) >> (bit % 8)
			if bit%8 > 2 {
				v |= int(b[bit/8+1]) << (8 - bit%8)
			}
			out.WriteByte(byte(v&0x3f) + 0x20)
		}
	default: // Latin 1; two-byte Unicode is not seen on BMCs and comes out readable
		for _, v := range b {
			if v >= 0x20 && v < 0x7f || v >= 0xa0 {
				out.WriteRune(rune(v))
			}
		}
	}
	return strings.TrimSpace(out.String())
}

func le16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }
