package snmpups

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// OID is an object identifier, one number per arc.
type OID []uint32

// maxArcs is the longest object identifier SNMP allows (RFC 3416, section 4.1).
const maxArcs = 128

// ParseOID reads an object identifier in dotted form; a leading dot is allowed.
func ParseOID(s string) (OID, error) {
	s = strings.TrimPrefix(s, ".")
	parts := strings.Split(s, ".")
	if s == "" || len(parts) > maxArcs {
		return nil, fmt.Errorf("object identifier %.40q: want 1 to %d numbers", s, maxArcs)
	}
	oid := make(OID, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("object identifier %.40q: arc %.12q is no number", s, p)
		}
		oid[i] = uint32(n)
	}
	return oid, nil
}

// MustOID is ParseOID for constants; it panics where s is none.
func MustOID(s string) OID {
	oid, err := ParseOID(s)
	if err != nil {
		panic(err)
	}
	return oid
}

// String is the dotted form without a leading dot.
func (o OID) String() string {
	var b strings.Builder
	for i, arc := range o {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.FormatUint(uint64(arc), 10))
	}
	return b.String()
}

// Compare orders object identifiers as an agent walks them.
func (o OID) Compare(p OID) int { return slices.CompareFunc(o, p, cmp.Compare[uint32]) }
