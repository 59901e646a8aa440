package snmpups

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// ReadSNMPRec reads a recording in the snmprec format, one "OID|tag|value" a line, in
// the order of the file. A tag ending in x has its value in hexadecimal. Lines that
// are empty or begin with # are left out; anything else that cannot be read is an
// error that names the line.
//
// Source: snmpsim documentation, "Managing data files".
func ReadSNMPRec(src io.Reader) ([]Binding, error) {
	var list []Binding
	lines := bufio.NewScanner(src)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := bytes.Clone(bytes.TrimRight(lines.Bytes(), "\r")) // the scanner uses its buffer again
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		b, err := parseRecord(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		list = append(list, b)
	}
	return list, lines.Err()
}

func parseRecord(line []byte) (Binding, error) {
	fields := bytes.SplitN(line, []byte("|"), 3)
	if len(fields) != 3 {
		return Binding{}, fmt.Errorf("%.60q: want OID|tag|value", line)
	}
	oid, err := ParseOID(string(fields[0]))
	if err != nil {
		return Binding{}, err
	}
	tag, isHex := strings.CutSuffix(string(fields[1]), "x")
	value := fields[2]
	if isHex {
		value = make([]byte, hex.DecodedLen(len(fields[2])))
		if _, err := hex.Decode(value, fields[2]); err != nil {
			return Binding{}, fmt.Errorf("value %.40q: %w", fields[2], err)
		}
	}
	v, err := recordValue(tag, value)
	return Binding{OID: oid, Value: v}, err
}

func recordValue(tag string, value []byte) (Value, error) {
	n, err := strconv.ParseUint(tag, 10, 8)
	if err != nil {
		return Value{}, fmt.Errorf("tag %.10q: want a number", tag)
	}
	v := Value{Tag: byte(n)}
	switch v.Tag {
	case TagInteger, TagCounter32, TagGauge32, TagTimeTicks, TagCounter64:
		v.Int, err = recordNumber(string(value))
	case TagOID:
		v.OID, err = ParseOID(string(value))
	case TagIPAddress:
		v.Octets, err = recordAddress(value)
	case TagNull:
	case TagOctetString, TagOpaque:
		v.Octets = value
	default:
		err = fmt.Errorf("tag %d is not one of SNMP's", n)
	}
	return v, err
}

func recordNumber(s string) (int64, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 64) // a Counter64 above 2^63
	if err != nil {
		return 0, fmt.Errorf("value %.40q: want a number", s)
	}
	return int64(n), nil
}

func recordAddress(value []byte) ([]byte, error) {
	if len(value) == 4 {
		return value, nil
	}
	a, err := netip.ParseAddr(string(value))
	if err != nil || !a.Is4() {
		return nil, fmt.Errorf("value %.40q: want an IPv4 address", value)
	}
	return a.AsSlice(), nil
}
