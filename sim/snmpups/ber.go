package snmpups

import (
	"errors"
	"fmt"
)

// The tags of SNMP's BER subset (RFC 1157, RFC 2578, RFC 3416).
const (
	TagInteger        byte = 0x02
	TagOctetString    byte = 0x04
	TagNull           byte = 0x05
	TagOID            byte = 0x06
	TagSequence       byte = 0x30
	TagIPAddress      byte = 0x40
	TagCounter32      byte = 0x41
	TagGauge32        byte = 0x42
	TagTimeTicks      byte = 0x43
	TagOpaque         byte = 0x44
	TagCounter64      byte = 0x46
	TagNoSuchObject   byte = 0x80
	TagNoSuchInstance byte = 0x81
	TagEndOfMib       byte = 0x82
)

var errTruncated = errors.New("truncated BER value")

// Value is the value of one object. Which field holds it follows from Tag: numbers in
// Int, octets (strings, addresses, opaque) in Octets, identifiers in OID.
type Value struct {
	Tag    byte
	Int    int64
	Octets []byte
	OID    OID
}

// Int is an INTEGER.
func Int(n int64) Value { return Value{Tag: TagInteger, Int: n} }

// Gauge is a Gauge32.
func Gauge(n int64) Value { return Value{Tag: TagGauge32, Int: n} }

// Ticks is a TimeTicks, in hundredths of a second.
func Ticks(n int64) Value { return Value{Tag: TagTimeTicks, Int: n} }

// Text is an OCTET STRING.
func Text(s string) Value { return Value{Tag: TagOctetString, Octets: []byte(s)} }

// Pointer is an OBJECT IDENTIFIER.
func Pointer(o OID) Value { return Value{Tag: TagOID, OID: o} }

// Null is ASN.1 NULL, which some cards send for what they do not measure.
func Null() Value { return Value{Tag: TagNull} }

// appendTLV appends tag, length and body.
func appendTLV(dst []byte, tag byte, body []byte) []byte {
	dst = append(dst, tag)
	switch n := len(body); {
	case n < 0x80:
		dst = append(dst, byte(n))
	case n <= 0xff:
		dst = append(dst, 0x81, byte(n))
	default: // a datagram has at most 65,535 octets
		dst = append(dst, 0x82, byte(n>>8), byte(n))
	}
	return append(dst, body...)
}

// intBody is the shortest two's complement form of n.
func intBody(n int64) []byte {
	size := 1
	for v := n; v > 127 || v < -128; v >>= 8 {
		size++
	}
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(n >> (8 * (size - 1 - i)))
	}
	return body
}

func appendInt(dst []byte, n int64) []byte { return appendTLV(dst, TagInteger, intBody(n)) }

func oidBody(o OID) []byte {
	if len(o) < 2 {
		return []byte{0}
	}
	body := appendArc(nil, o[0]*40+o[1])
	for _, arc := range o[2:] {
		body = appendArc(body, arc)
	}
	return body
}

// appendArc writes seven bits an octet, the highest bit set on all but the last.
func appendArc(dst []byte, arc uint32) []byte {
	shift := 28
	for shift > 0 && arc>>shift == 0 {
		shift -= 7
	}
	for ; shift > 0; shift -= 7 {
		dst = append(dst, byte(arc>>shift)&0x7f|0x80)
	}
	return append(dst, byte(arc)&0x7f)
}

// appendValue writes v as a varbind's value.
func appendValue(dst []byte, v Value) []byte {
	switch v.Tag {
	case TagInteger, TagCounter32, TagGauge32, TagTimeTicks, TagCounter64:
		return appendTLV(dst, v.Tag, intBody(v.Int))
	case TagOID:
		return appendTLV(dst, v.Tag, oidBody(v.OID))
	case TagNull, TagNoSuchObject, TagNoSuchInstance, TagEndOfMib:
		return appendTLV(dst, v.Tag, nil)
	default:
		return appendTLV(dst, v.Tag, v.Octets)
	}
}

// readTLV splits src into the first value's tag and body, and the rest.
func readTLV(src []byte) (tag byte, body, rest []byte, err error) {
	if len(src) < 2 {
		return 0, nil, nil, errTruncated
	}
	tag, length, src := src[0], int(src[1]), src[2:]
	if length >= 0x80 {
		octets := length & 0x7f
		if octets == 0 || octets > 3 || octets > len(src) {
			return 0, nil, nil, fmt.Errorf("length of %d octets: want 1 to 3, all present", octets)
		}
		length = 0
		for _, b := range src[:octets] {
			length = length<<8 | int(b)
		}
		src = src[octets:]
	}
	if length > len(src) {
		return 0, nil, nil, errTruncated
	}
	return tag, src[:length], src[length:], nil
}

// wantTLV is readTLV for a known tag.
func wantTLV(src []byte, want byte) (body, rest []byte, err error) {
	tag, body, rest, err := readTLV(src)
	if err != nil {
		return nil, nil, err
	}
	if tag != want {
		return nil, nil, fmt.Errorf("tag %#02x: want %#02x", tag, want)
	}
	return body, rest, nil
}

func readInt(src []byte) (n int64, rest []byte, err error) {
	body, rest, err := wantTLV(src, TagInteger)
	if err != nil {
		return 0, nil, err
	}
	n, err = parseInt(body, true)
	return n, rest, err
}

// parseInt reads two's complement, or an unsigned number.
func parseInt(body []byte, signed bool) (int64, error) {
	if len(body) == 0 || len(body) > 9 {
		return 0, fmt.Errorf("integer of %d octets: want 1 to 9", len(body))
	}
	var n int64
	if signed && body[0]&0x80 != 0 {
		n = -1
	}
	for _, b := range body {
		n = n<<8 | int64(b)
	}
	return n, nil
}

func parseOIDBody(body []byte) (OID, error) {
	if len(body) == 0 {
		return nil, errors.New("empty object identifier")
	}
	var oid OID
	var arc uint64
	for i, b := range body {
		arc = arc<<7 | uint64(b&0x7f)
		if arc > 1<<32-1 || len(oid) > maxArcs {
			return nil, errors.New("object identifier out of range")
		}
		if b&0x80 != 0 {
			if i == len(body)-1 {
				return nil, errTruncated
			}
			continue
		}
		if oid == nil {
			first := min(arc/40, 2)
			oid = OID{uint32(first), uint32(arc - first*40)}
		} else {
			oid = append(oid, uint32(arc))
		}
		arc = 0
	}
	return oid, nil
}

// parseValue reads a varbind's value.
func parseValue(src []byte) (Value, []byte, error) {
	tag, body, rest, err := readTLV(src)
	if err != nil {
		return Value{}, nil, err
	}
	v := Value{Tag: tag}
	switch tag {
	case TagInteger:
		v.Int, err = parseInt(body, true)
	case TagCounter32, TagGauge32, TagTimeTicks, TagCounter64:
		v.Int, err = parseInt(body, false)
	case TagOID:
		v.OID, err = parseOIDBody(body)
	case TagNull, TagNoSuchObject, TagNoSuchInstance, TagEndOfMib:
	default:
		v.Octets = body
	}
	return v, rest, err
}
