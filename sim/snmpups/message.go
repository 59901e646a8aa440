package snmpups

import "fmt"

// The protocol data units (RFC 3416, section 3).
const (
	pduGet      byte = 0xa0
	pduGetNext  byte = 0xa1
	pduResponse byte = 0xa2
	pduSet      byte = 0xa3
	pduGetBulk  byte = 0xa5
)

// The error states of a response.
const (
	errTooBig      = 1
	errNoSuchName  = 2
	errBadValue    = 3
	errGen         = 5
	errNoAccess    = 6
	errWrongType   = 7
	errWrongValue  = 10
	errNotWritable = 17
)

// The versions as they stand in a message.
const (
	version1  = 0
	version2c = 1
)

// Binding is one object with its value.
type Binding struct {
	OID   OID
	Value Value
}

// message is one SNMP message of v1 or v2c. In a GETBULK, status and index hold
// non-repeaters and max-repetitions.
type message struct {
	version       int64
	community     string
	pdu           byte
	id            int64
	status, index int64
	binds         []Binding
}

// maxBinds bounds a request: a datagram of 64 KiB cannot hold more.
const maxBinds = 8192

// decodeMessage reads a message; what follows it in the datagram is an error.
func decodeMessage(datagram []byte) (message, error) {
	var m message
	body, rest, err := wantTLV(datagram, TagSequence)
	if err != nil {
		return m, fmt.Errorf("message: %w", err)
	}
	if len(rest) > 0 {
		return m, fmt.Errorf("%d octets after the message", len(rest))
	}
	if m.version, body, err = readInt(body); err != nil {
		return m, fmt.Errorf("version: %w", err)
	}
	if m.version != version1 && m.version != version2c {
		return m, fmt.Errorf("version %d: want 0 (v1) or 1 (v2c)", m.version)
	}
	community, body, err := wantTLV(body, TagOctetString)
	if err != nil {
		return m, fmt.Errorf("community: %w", err)
	}
	m.community = string(community)
	if m.pdu, body, _, err = readTLV(body); err != nil {
		return m, fmt.Errorf("PDU: %w", err)
	}
	return m, m.decodePDU(body)
}

func (m *message) decodePDU(body []byte) (err error) {
	for _, field := range []*int64{&m.id, &m.status, &m.index} {
		if *field, body, err = readInt(body); err != nil {
			return fmt.Errorf("PDU %#02x: %w", m.pdu, err)
		}
	}
	list, _, err := wantTLV(body, TagSequence)
	if err != nil {
		return fmt.Errorf("variable bindings: %w", err)
	}
	for len(list) > 0 {
		var b Binding
		if b, list, err = decodeBinding(list); err != nil {
			return fmt.Errorf("variable binding %d: %w", len(m.binds)+1, err)
		}
		if m.binds = append(m.binds, b); len(m.binds) > maxBinds {
			return fmt.Errorf("more than %d variable bindings", maxBinds)
		}
	}
	return nil
}

func decodeBinding(list []byte) (b Binding, rest []byte, err error) {
	one, rest, err := wantTLV(list, TagSequence)
	if err != nil {
		return b, nil, err
	}
	name, one, err := wantTLV(one, TagOID)
	if err != nil {
		return b, nil, err
	}
	if b.OID, err = parseOIDBody(name); err != nil {
		return b, nil, err
	}
	b.Value, _, err = parseValue(one)
	return b, rest, err
}

// encode is the datagram of m.
func (m *message) encode() []byte {
	var list []byte
	for _, b := range m.binds {
		one := appendTLV(nil, TagOID, oidBody(b.OID))
		list = appendTLV(list, TagSequence, appendValue(one, b.Value))
	}
	var pdu []byte
	for _, n := range []int64{m.id, m.status, m.index} {
		pdu = appendInt(pdu, n)
	}
	pdu = appendTLV(pdu, TagSequence, list)
	body := appendInt(nil, m.version)
	body = appendTLV(body, TagOctetString, []byte(m.community))
	body = appendTLV(body, m.pdu, pdu)
	return appendTLV(nil, TagSequence, body)
}
