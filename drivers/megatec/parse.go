package megatec

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/dodai-agent/dodai/drivers"
)

// The bits of a status frame, b7 first. Source: Megatec protocol information, table of the
// status inquiry's last field.
const (
	bitUtilityFail    = 1 << 7
	bitBatteryLow     = 1 << 6
	bitBypass         = 1 << 5 // bypass, boost or buck active
	bitFailed         = 1 << 4
	bitStandby        = 1 << 3 // 1: standby or line-interactive, 0: on-line
	bitTest           = 1 << 2
	bitShutdownActive = 1 << 1
	bitBeeper         = 1 << 0
)

// status is a decoded status frame. A nil field is one the unit does not report.
type status struct {
	In, Fault, Out *float64 // volts
	Load           *float64 // percent
	Hz             *float64
	Battery        *float64 // volts, of the string or of one cell
	TempC          *float64
	Bits           uint8
}

func (s status) has(bit uint8) bool { return s.Bits&bit != 0 }

// statusFields are the numbers of a status frame in their order, with the range in which
// a value is believed. What lies outside is no reason to refuse the bits beside it.
var statusFields = [...]struct {
	lo, hi float64
	field  func(*status) **float64
}{
	{0, 1000, func(s *status) **float64 { return &s.In }},
	{0, 1000, func(s *status) **float64 { return &s.Fault }},
	{0, 1000, func(s *status) **float64 { return &s.Out }},
	{0, 999, func(s *status) **float64 { return &s.Load }},
	{0, 500, func(s *status) **float64 { return &s.Hz }},
	{0, 1000, func(s *status) **float64 { return &s.Battery }},
	{-99, 200, func(s *status) **float64 { return &s.TempC }},
}

// maxFrame bounds a reply: the longest known one has 76 bytes.
const maxFrame = 256

// parseQ1 decodes a status frame, "(MMM.M NNN.N PPP.P QQQ RR.R S.SS TT.T b7…b0": input,
// fault and output volts, load in percent, hertz, battery volts, °C, eight bits. It goes by
// tokens, because units widen fields, ignores what follows the bits, and takes a number
// that is none for absent.
func parseQ1(frame []byte) (status, error) {
	body, marked := bytes.CutPrefix(frame, []byte("("))
	tokens := bytes.Fields(body)
	const numbers = len(statusFields)
	if !marked || len(frame) > maxFrame || len(tokens) <= numbers || len(tokens[numbers]) != 8 {
		return status{}, drivers.Protocol("status reply", frame, "'(', 7 numbers and 8 bits")
	}
	bits, err := strconv.ParseUint(string(tokens[numbers]), 2, 8)
	if err != nil {
		return status{}, drivers.Protocol("status reply", frame, "bits of 0 and 1 after 7 numbers")
	}
	s := status{Bits: uint8(bits)}
	for i, f := range statusFields {
		*f.field(&s) = optNumber(tokens[i], f.lo, f.hi)
	}
	return s, nil
}

// optNumber is nil for a token that is no number, such as "--.-", or out of range.
func optNumber(token []byte, lo, hi float64) *float64 {
	v, err := drivers.ParseNumber(token, lo, hi)
	if err != nil {
		return nil
	}
	return &v
}

// ratings are what the unit was built for. A nil field is one it does not report.
type ratings struct{ Volts, Amps, Battery, Hz *float64 }

// parseF decodes a ratings reply, "#220.0 000 024.0 50.0": volts, amperes, battery volts,
// hertz. Zero is a rating nobody has and counts as absent; words make it a reply to
// something else.
func parseF(frame []byte) (ratings, error) {
	body, marked := bytes.CutPrefix(frame, []byte("#"))
	tokens := bytes.Fields(body)
	words := bytes.ContainsFunc(body, func(r rune) bool { return unicode.IsLetter(r) })
	if !marked || len(frame) > maxFrame || len(tokens) < 4 || words {
		return ratings{}, drivers.Protocol("ratings reply", frame, "'#' and 4 numbers")
	}
	var r ratings
	known := false
	for i, to := range []**float64{&r.Volts, &r.Amps, &r.Battery, &r.Hz} {
		if v := optNumber(tokens[i], 0, 1000); v != nil && *v > 0 {
			*to, known = v, true
		}
	}
	if !known {
		return ratings{}, drivers.Protocol("ratings reply", frame, "at least one number above 0")
	}
	return r, nil
}

// identity is what the unit calls itself; empty fields are blank or missing ones.
type identity struct{ Vendor, Model, Firmware string }

// identityWidth is the length of an identity reply: '#', 15 characters of vendor, blank, 10
// of model, blank, 10 of firmware.
const identityWidth = 1 + 15 + 1 + 10 + 1 + 10

// parseI decodes an identity reply by its columns. Trailing blanks may be missing; units
// that overrun a column are refused rather than cut in the wrong place.
func parseI(frame []byte) (identity, error) {
	bad := drivers.Protocol("identity reply", frame, "'#', 15 characters of vendor, 10 of model and 10 of firmware, blanks between")
	if len(frame) == 0 || frame[0] != '#' || len(bytes.TrimRight(frame, " ")) > identityWidth {
		return identity{}, bad
	}
	for _, c := range frame {
		if c < ' ' || c > '~' {
			return identity{}, bad
		}
	}
	s := fmt.Sprintf("%-*s", identityWidth, frame)
	if s[16] != ' ' || s[27] != ' ' {
		return identity{}, bad
	}
	return identity{
		Vendor:   strings.TrimSpace(s[1:16]),
		Model:    strings.TrimSpace(s[17:27]),
		Firmware: strings.TrimSpace(s[28:identityWidth]),
	}, nil
}
