package hidups

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Packet types of usbredir that are used here.
const (
	packetHello           = 0
	packetConnect         = 1
	packetDisconnect      = 2
	packetReset           = 3
	packetInterfaces      = 4
	packetEndpoints       = 5
	packetSetConfig       = 6
	packetGetConfig       = 7
	packetConfigStatus    = 8
	packetSetAlternate    = 9
	packetGetAlternate    = 10
	packetAlternateStatus = 11
	packetStartInterrupt  = 15
	packetStopInterrupt   = 16
	packetInterruptStatus = 17
	packetCancel          = 21
	packetControl         = 100
	packetInterrupt       = 103
)

// Status codes.
const (
	statusSuccess   = 0
	statusCancelled = 1
	statusInvalid   = 2
	statusStall     = 4
)

// Capabilities, as bit numbers. An xHCI bus takes no device without these.
const (
	capConnectVersion = 1
	capMaxPacketSize  = 4
	capIDs64          = 5
	capLength32       = 6
	capabilities      = 1<<capConnectVersion | 1<<capMaxPacketSize | 1<<capIDs64 | 1<<capLength32
)

// maxBody bounds what a packet may hold. The longest one that makes sense to this device
// is a control transfer of 64 KiB.
const maxBody = 1<<16 + 64

// packet is one of usbredir: a header, and what follows it.
type packet struct {
	kind uint32
	id   uint64
	body []byte
}

// readPacket reads one; wide says whether ids have 64 bits.
func readPacket(r io.Reader, wide bool) (packet, error) {
	header := make([]byte, headerLen(wide))
	if _, err := io.ReadFull(r, header); err != nil {
		return packet{}, fmt.Errorf("read header: %w", err)
	}
	le := binary.LittleEndian
	p := packet{kind: le.Uint32(header)}
	n := le.Uint32(header[4:])
	if wide {
		p.id = le.Uint64(header[8:])
	} else {
		p.id = uint64(le.Uint32(header[8:]))
	}
	if n > maxBody {
		return packet{}, fmt.Errorf("packet of type %d with %d bytes: want at most %d", p.kind, n, maxBody)
	}
	p.body = make([]byte, n)
	if _, err := io.ReadFull(r, p.body); err != nil {
		return packet{}, fmt.Errorf("read packet of type %d: %w", p.kind, err)
	}
	return p, nil
}

func headerLen(wide bool) int {
	if wide {
		return 16
	}
	return 12
}

func (p packet) encode(wide bool) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, p.kind)
	b = le.AppendUint32(b, uint32(len(p.body)))
	if wide {
		b = le.AppendUint64(b, p.id)
	} else {
		b = le.AppendUint32(b, uint32(p.id))
	}
	return append(b, p.body...)
}

// helloLen is the version's text, before the capabilities.
const helloLen = 64

func helloPacket() packet {
	body := make([]byte, helloLen, helloLen+4)
	copy(body, "dodai simulated UPS")
	return packet{kind: packetHello, body: binary.LittleEndian.AppendUint32(body, capabilities)}
}

// peerCapabilities reads the first word of them from a hello; a peer may have none.
func peerCapabilities(p packet) (uint32, error) {
	switch {
	case p.kind != packetHello || len(p.body) < helloLen:
		return 0, fmt.Errorf("packet of type %d with %d bytes: want a hello of at least %d", p.kind, len(p.body), helloLen)
	case len(p.body) < helloLen+4:
		return 0, nil
	}
	return binary.LittleEndian.Uint32(p.body[helloLen:]), nil
}

// slots is for how many interfaces and endpoints a packet has room.
const slots = 32

func interfacesPacket() packet {
	body := make([]byte, 4+4*slots)
	body[0] = 1         // one interface, number 0,
	body[4+slots] = 0x3 // of the HID class
	return packet{kind: packetInterfaces, body: body}
}

func endpointsPacket() packet {
	const types, intervals, packets = 0, slots, 3 * slots
	body := make([]byte, 3*slots+2*slots)
	for i := range slots {
		body[types+i] = 255 // no such endpoint
	}
	le := binary.LittleEndian
	for _, control := range []int{0, 16} { // out and in
		body[types+control] = 0
		le.PutUint16(body[packets+2*control:], maxPacket)
	}
	const in = 16 | endpointIn&15
	body[types+in], body[intervals+in] = 3, pollIntervals
	le.PutUint16(body[packets+2*in:], maxPacket)
	return packet{kind: packetEndpoints, body: body}
}

func (u *UPS) connectPacket() packet {
	const fullSpeed = 1
	body := []byte{fullSpeed, 0, 0, 0}
	le, m := binary.LittleEndian, &u.cfg.Model
	body = le.AppendUint16(body, m.Vendor)
	body = le.AppendUint16(body, m.Product)
	return packet{kind: packetConnect, body: le.AppendUint16(body, m.Release)}
}

// controlHead is what stands before the data of a control transfer.
const controlHead = 10

// parseControl reads a control transfer. An incoming one has data only towards the device.
func parseControl(body []byte) (s setup, endpoint byte, data []byte, err error) {
	if len(body) < controlHead {
		return setup{}, 0, nil, fmt.Errorf("control packet of %d bytes: want at least %d", len(body), controlHead)
	}
	le := binary.LittleEndian
	s = setup{
		request: body[1], requestType: body[2],
		value: le.Uint16(body[4:]), index: le.Uint16(body[6:]), length: le.Uint16(body[8:]),
	}
	return s, body[0], body[controlHead:], nil
}

// controlAnswer is the answer to the control transfer p.
func controlAnswer(p packet, status byte, length uint16, data []byte) packet {
	body := append([]byte(nil), p.body[:controlHead]...)
	body[3] = status
	binary.LittleEndian.PutUint16(body[8:], length)
	return packet{kind: packetControl, id: p.id, body: append(body, data...)}
}

func interruptPacket(id uint64, report []byte) packet {
	body := binary.LittleEndian.AppendUint16([]byte{endpointIn, statusSuccess}, uint16(len(report)))
	return packet{kind: packetInterrupt, id: id, body: append(body, report...)}
}
