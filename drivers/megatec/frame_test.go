package megatec

import (
	"fmt"
	"strconv"
	"strings"
)

// The encoders are the inverse of the parsers, written from the layout of the frames. What
// a unit's width cannot hold is written wider, so that nothing is lost.

func encodeNumber(p *float64, width, digits int) string {
	if p == nil {
		if digits == 0 {
			return strings.Repeat("-", width)
		}
		return strings.Repeat("-", width-1-digits) + "." + strings.Repeat("-", digits)
	}
	s := fmt.Sprintf("%0*.*f", width, digits, *p)
	if back, err := strconv.ParseFloat(s, 64); err != nil || back != *p {
		s = strconv.FormatFloat(*p, 'f', -1, 64)
	}
	return s
}

func (s status) encode() string {
	return "(" + strings.Join([]string{
		encodeNumber(s.In, 5, 1), encodeNumber(s.Fault, 5, 1), encodeNumber(s.Out, 5, 1), encodeNumber(s.Load, 3, 0),
		encodeNumber(s.Hz, 4, 1), encodeNumber(s.Battery, 4, 2), encodeNumber(s.TempC, 4, 1), fmt.Sprintf("%08b", s.Bits),
	}, " ")
}

func (r ratings) encode() string {
	return "#" + strings.Join([]string{
		encodeNumber(r.Volts, 5, 1), encodeNumber(r.Amps, 3, 0), encodeNumber(r.Battery, 5, 1), encodeNumber(r.Hz, 4, 1),
	}, " ")
}

func (id identity) encode() string {
	return fmt.Sprintf("#%-15s %-10s %-10s", id.Vendor, id.Model, id.Firmware)
}
