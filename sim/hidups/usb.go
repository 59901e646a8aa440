package hidups

import (
	"encoding/binary"
	"time"
	"unicode/utf16"
)

// The one endpoint besides the control endpoint: interrupt, towards the host. A full-speed
// device, so that a report is one packet.
const (
	endpointIn    = 0x81
	maxPacket     = 64
	pollIntervals = 10 // ms
)

// setup is the head of a control transfer: USB 2.0, section 9.3.
type setup struct {
	requestType, request byte
	value, index, length uint16
}

// Standard and HID requests: USB 2.0, table 9-4; HID 1.11, section 7.2. The first byte is
// the type, the second the request.
const (
	getStatus          = 0x8000
	getInterfaceStatus = 0x8100
	getEndpointStatus  = 0x8200
	clearFeature       = 0x0001
	clearEndpoint      = 0x0201
	setFeature         = 0x0003
	getDescriptor      = 0x8006
	getInterfaceDesc   = 0x8106
	hidGetReport       = 0xa101
	hidGetIdle         = 0xa102
	hidGetProtocol     = 0xa103
	hidSetReport       = 0x2109
	hidSetIdle         = 0x210a
	hidSetProtocol     = 0x210b
	descriptorDevice   = 1
	descriptorConfig   = 2
	descriptorString   = 3
	descriptorHID      = 0x21
	descriptorReport   = 0x22
)

// control answers a control transfer; data is what the host sent along. The time is how
// long the answer takes. Setting the address and the configuration is not asked here.
func (u *UPS) control(s setup, data []byte) (answer []byte, after time.Duration, err error) {
	if u.silent() {
		return nil, 0, errSilent
	}
	kind, id := Kind(s.value>>8), byte(s.value)
	switch int(s.requestType)<<8 | int(s.request) {
	case getDescriptor, getInterfaceDesc:
		answer = u.usbDescriptor(byte(s.value>>8), byte(s.value))
		if answer == nil {
			err = errRefused
		}
	case getStatus, getInterfaceStatus, getEndpointStatus:
		answer = []byte{0, 0}
	case hidGetReport:
		answer, after, err = u.getReport(kind, id)
	case hidSetReport:
		err = u.setReport(kind, id, data)
	case hidGetIdle:
		answer = []byte{0}
	case hidGetProtocol:
		answer = []byte{1} // reports
	case hidSetIdle, hidSetProtocol, clearFeature, clearEndpoint, setFeature:
	default:
		err = errRefused
	}
	return answer[:min(len(answer), int(s.length))], after, err
}

func (u *UPS) silent() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.behaviour == Silent
}

// usbDescriptor is a descriptor the host asks for, or nil.
func (u *UPS) usbDescriptor(kind, index byte) []byte {
	switch kind {
	case descriptorDevice:
		return u.deviceDescriptor()
	case descriptorConfig:
		return u.configDescriptor()
	case descriptorString:
		return u.stringDescriptor(index)
	case descriptorHID:
		return u.hidDescriptor()
	case descriptorReport:
		return u.cfg.Model.ReportDescriptor
	}
	return nil
}

// deviceDescriptor: USB 2.0, table 9-8.
func (u *UPS) deviceDescriptor() []byte {
	m := &u.cfg.Model
	d := []byte{18, descriptorDevice, 0x10, 0x01, 0, 0, 0, maxPacket}
	d = binary.LittleEndian.AppendUint16(d, m.Vendor)
	d = binary.LittleEndian.AppendUint16(d, m.Product)
	d = binary.LittleEndian.AppendUint16(d, m.Release)
	return append(d, stringManufacturer, stringProduct, stringSerial, 1)
}

// configDescriptor: one configuration, self-powered, one interface, tables 9-10 to 9-13.
func (u *UPS) configDescriptor() []byte {
	d := []byte{
		9, descriptorConfig, 0, 0, 1, 1, 0, 0xc0, 0,
		9, 4, 0, 0, 1, 3, 0, 0, 0,
	}
	d = append(d, u.hidDescriptor()...)
	d = append(d, 7, 5, endpointIn, 3, maxPacket, 0, pollIntervals)
	binary.LittleEndian.PutUint16(d[2:], uint16(len(d)))
	return d
}

// hidDescriptor: HID 1.11, section 6.2.1.
func (u *UPS) hidDescriptor() []byte {
	return binary.LittleEndian.AppendUint16([]byte{9, descriptorHID, 0x11, 0x01, 0, 1, descriptorReport}, uint16(len(u.cfg.Model.ReportDescriptor)))
}

// stringDescriptor: in English, whatever language is asked for.
func (u *UPS) stringDescriptor(index byte) []byte {
	texts := map[byte]string{
		stringManufacturer: u.cfg.Model.Manufacturer, stringProduct: u.cfg.Model.Text,
		stringSerial: u.cfg.Serial, stringChemistry: "PbAc",
	}
	if index == 0 {
		return []byte{4, descriptorString, 0x09, 0x04}
	}
	text, ok := texts[index]
	if !ok {
		return nil
	}
	d := []byte{0, descriptorString}
	for _, c := range utf16.Encode([]rune(text)) {
		if len(d) == 254 {
			break
		}
		d = binary.LittleEndian.AppendUint16(d, c)
	}
	d[0] = byte(len(d))
	return d
}
