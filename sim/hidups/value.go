package hidups

import "math"

// ownExponent is the power of ten by which a unit's HID definition differs from the SI
// unit: a volt is 10^7 cm²·g·s⁻³·A⁻¹.
func ownExponent(unit uint32) int {
	switch unit {
	case 0x00F0D121, 0x0000D121: // volt; watt and volt-ampere
		return 7
	}
	return 0
}

// encode turns a value in the field's SI unit into its bits. The limits the descriptor
// declares do not bound it: real units send what they have to say beyond them. Its size
// does. A logical minimum of -1 is the word for "none", whatever its physical value.
func (f *field) encode(v float64) uint64 {
	if v < 0 && f.min == -1 {
		return 1<<f.bits - 1
	}
	v /= math.Pow10(f.exponent - ownExponent(f.unit))
	if lo, hi, ok := f.physical(); ok {
		v = (v-lo)*float64(f.max-f.min)/(hi-lo) + float64(f.min)
	}
	lo, hi := 0.0, float64(uint64(1)<<f.bits-1)
	if f.min < 0 {
		lo, hi = -float64(uint64(1)<<(f.bits-1)), float64(uint64(1)<<(f.bits-1)-1)
	}
	if math.IsNaN(v) {
		v = 0
	}
	return uint64(int64(min(hi, max(lo, math.Round(v))))) & (1<<f.bits - 1)
}

// decode is the way back.
func (f *field) decode(raw uint64) float64 {
	v := float64(raw)
	if f.min < 0 {
		shift := 64 - f.bits
		v = float64(int64(raw) << shift >> shift)
	}
	if lo, hi, ok := f.physical(); ok {
		v = (v-float64(f.min))*(hi-lo)/float64(f.max-f.min) + lo
	}
	return v * math.Pow10(f.exponent-ownExponent(f.unit))
}

// physical is the physical range, and false where there is none: both ends 0 mean that
// the logical range is the physical one.
func (f *field) physical() (lo, hi float64, ok bool) {
	ok = f.pmin != f.pmax && f.max != f.min
	return float64(f.pmin), float64(f.pmax), ok
}

// put writes the field's bits into a report without its id; get reads them. What lies
// beyond the report is left alone, or 0.
func (f *field) put(report []byte, raw uint64) {
	for i := range f.bits {
		at := f.at + i
		if at/8 >= len(report) {
			return
		}
		mask := byte(1) << (at % 8)
		report[at/8] &^= mask
		if raw>>i&1 == 1 {
			report[at/8] |= mask
		}
	}
}

func (f *field) get(report []byte) (raw uint64) {
	for i := range f.bits {
		at := f.at + i
		if at/8 < len(report) {
			raw |= uint64(report[at/8]>>(at%8)&1) << i
		}
	}
	return raw
}
