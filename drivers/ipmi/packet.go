package ipmi

import (
	"bytes"
	"crypto/aes"
	"crypto/hmac"
	"encoding/binary"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai/drivers"
)

// A datagram is an RMCP header, an RMCP+ session header and a payload, and inside a
// session the payload is encrypted and an authentication code follows. Every length is
// checked and the code verified before anything else is believed, because whoever can
// send a datagram can claim to be the BMC.
// Source: IPMI 2.0, sections 13.1.3, 13.6, 13.28 and 13.29.
const (
	rmcpHead    = 4
	sessionHead = 12
	maxDatagram = 4096 // what comes longer is cut, and then refused

	authRMCPPlus = 0x06
	encrypted    = 0x80
	signed       = 0x40
)

var rmcpClassIPMI = []byte{0x06, 0x00, 0xff, 0x07} // version, reserved, "no RMCP ack", class

// keys are what a session's two ends agreed on.
type keys struct {
	auth      types.AuthAlg
	integrity types.IntegrityAlg
	k1, k2    []byte
}

func (k keys) codeLen() int {
	n, _ := crypto.IntegrityAuthCodeLen(k.integrity)
	return n
}

func (k keys) code(b []byte) ([]byte, error) {
	return crypto.SessionIntegrityAuthCode(k.integrity, b, k.k1, "")
}

func header(kind types.PayloadType, flags byte, session, seq uint32, payload []byte) []byte {
	b := append(bytes.Clone(rmcpClassIPMI), authRMCPPlus, flags|byte(kind))
	b = binary.LittleEndian.AppendUint32(b, session)
	b = binary.LittleEndian.AppendUint32(b, seq)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}

// packSetup wraps a payload of the session set-up, which is neither signed nor encrypted.
func packSetup(kind types.PayloadType, payload []byte) []byte { return header(kind, 0, 0, 0, payload) }

// seal wraps an IPMI message for a session: encrypted with iv (16 bytes) and signed.
func seal(k keys, session, seq uint32, message, iv []byte) ([]byte, error) {
	payload, err := crypto.EncryptAESPayload(message, k.k2, iv)
	if err != nil {
		return nil, err
	}
	b := header(types.PayloadTypeIPMI, encrypted|signed, session, seq, payload)
	pad := types.IntegrityPadLen(sessionHead, len(payload))
	b = append(b, bytes.Repeat([]byte{0xff}, pad)...)
	b = append(b, byte(pad), 0x07)
	code, err := k.code(b[rmcpHead:])
	return append(b, code...), err
}

// parseDatagram checks the frame and returns the payload's type with its flags, the
// session and the payload as it stands there. The error wraps ErrProtocol.
func parseDatagram(b []byte) (kind byte, session uint32, payload []byte, err error) {
	if len(b) < rmcpHead+sessionHead || b[0] != 0x06 || b[3] != 0x07 || b[4] != authRMCPPlus {
		return 0, 0, nil, drivers.Protocol("datagram", b, "an RMCP+ session header")
	}
	n := int(binary.LittleEndian.Uint16(b[14:]))
	if rest := len(b) - rmcpHead - sessionHead; n > rest {
		return 0, 0, nil, drivers.Protocol("datagram", b, fmt.Sprintf("%d bytes of payload, there are %d", n, rest))
	}
	return b[5], binary.LittleEndian.Uint32(b[6:]), b[16 : 16+n], nil
}

// unpackSetup returns the payload of an answer of the session set-up.
func unpackSetup(b []byte, kind types.PayloadType) ([]byte, error) {
	got, _, payload, err := parseDatagram(b)
	if err != nil {
		return nil, err
	}
	if got != byte(kind) {
		return nil, drivers.Protocol("datagram", b, fmt.Sprintf("payload type %02xh", byte(kind)))
	}
	return payload, nil
}

// open verifies and decrypts a datagram of session and returns the IPMI message.
func open(k keys, session uint32, b []byte) ([]byte, error) {
	kind, id, payload, err := parseDatagram(b)
	if err != nil {
		return nil, err
	}
	if kind != encrypted|signed|byte(types.PayloadTypeIPMI) || id != session {
		return nil, drivers.Protocol("datagram", b[:rmcpHead+sessionHead], fmt.Sprintf("a signed and encrypted message of session %08x", session))
	}
	at := len(b) - k.codeLen()
	if at < rmcpHead+sessionHead+len(payload) {
		return nil, drivers.Protocol("datagram", b, "an authentication code")
	}
	code, err := k.code(b[rmcpHead:at])
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(code, b[at:]) {
		return nil, drivers.Protocol("datagram", b[:rmcpHead+sessionHead], "an authentication code that fits")
	}
	if len(payload) < 2*aes.BlockSize || len(payload)%aes.BlockSize != 0 {
		return nil, drivers.Protocol("encrypted payload", payload, "whole AES blocks")
	}
	message, err := crypto.DecryptAESPayload(payload, k.k2)
	if err != nil {
		return nil, fmt.Errorf("%w: encrypted payload: %w", drivers.ErrProtocol, err)
	}
	return message, nil
}

// reply is the answer to one command.
type reply struct {
	netFn, seq, cmd, code byte
	data                  []byte
}

// parseReply decodes an IPMI message and checks both its sums.
// Source: IPMI 2.0, section 13.8.
func parseReply(m []byte) (reply, error) {
	if len(m) < 8 || sum(m[:3]) != 0 || sum(m[3:]) != 0 {
		return reply{}, drivers.Protocol("IPMI message", m, "8 bytes at least and sums that fit")
	}
	return reply{netFn: m[1] >> 2, seq: m[4] >> 2, cmd: m[5], code: m[6], data: m[7 : len(m)-1]}, nil
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// request is one command to the BMC.
type request struct {
	netFn types.NetFn
	cmd   byte
	lun   byte
	data  []byte
}

func (r request) pack(seq byte) []byte {
	msg := types.IPMIRequest{
		ResponderAddr: types.BMC_SA, NetFn: r.netFn, ResponderLUN: r.lun,
		RequesterAddr: types.RemoteConsole_SWID, RequesterSequence: seq,
		Command: r.cmd, CommandData: r.data,
	}
	msg.ComputeChecksum()
	return msg.Pack()
}

// completion is the code by which a BMC refuses a command.
type completion byte

// The codes that are told apart. Source: IPMI 2.0, table 5-2.
const (
	codeBusy          completion = 0xc0
	codeBadCommand    completion = 0xc1
	codeReservation   completion = 0xc5
	codeTooMuch       completion = 0xca
	codeNotPresent    completion = 0xcb
	codePrivilege     completion = 0xd4
	codeNotInState    completion = 0xd5
	codeLengthInvalid completion = 0xc7
)

func (c completion) Error() string { return fmt.Sprintf("completion code %02xh", byte(c)) }

// Is makes a refusal one of the drivers' sentinels.
func (c completion) Is(target error) bool {
	if c == codePrivilege {
		return target == drivers.ErrDenied
	}
	return target == drivers.ErrProtocol
}
