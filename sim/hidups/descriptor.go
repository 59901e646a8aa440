package hidups

import (
	"errors"
	"fmt"
	"slices"
)

// Kind is the kind of a report, as HID's requests number them.
type Kind byte

// The kinds of reports.
const (
	Input Kind = iota + 1
	Output
	Feature
)

// usage is a HID usage: page << 16 | id.
type usage uint32

// field is one value inside a report.
type field struct {
	kind     Kind
	report   byte // id; 0 in a descriptor without ids
	at, bits int  // place in the report, not counting the id's byte
	path     []usage
	min, max int64 // logical
	pmin     int64 // physical
	pmax     int64
	unit     uint32
	exponent int // of ten, in the units of HID, which are based on centimetre and gram
}

// usage is what the value means.
func (f *field) usage() usage { return f.path[len(f.path)-1] }

// within reports whether the field lies in one of these collections, however deep.
func (f *field) within(collections ...usage) bool {
	for _, have := range f.path[:len(f.path)-1] {
		if slices.Contains(collections, have) {
			return true
		}
	}
	return false
}

type reportKey struct {
	kind Kind
	id   byte
}

// descriptor is a report descriptor, read.
type descriptor struct {
	fields []field
	bits   map[reportKey]int // length of each report without the id's byte
	ids    bool              // reports begin with their id
}

// What a descriptor may hold. The kernel takes descriptors of up to 4096 bytes.
const (
	maxDescriptor = 4096
	maxReportBits = 8 * 512
	maxDepth      = 16
	maxBits       = 32
)

// items that matter: tag and type, without the size.
const (
	itemInput         = 0x80
	itemOutput        = 0x90
	itemFeature       = 0xb0
	itemCollection    = 0xa0
	itemEndCollection = 0xc0
	itemUsagePage     = 0x04
	itemLogicalMin    = 0x14
	itemLogicalMax    = 0x24
	itemPhysicalMin   = 0x34
	itemPhysicalMax   = 0x44
	itemExponent      = 0x54
	itemUnit          = 0x64
	itemReportSize    = 0x74
	itemReportID      = 0x84
	itemReportCount   = 0x94
	itemPush          = 0xa4
	itemPop           = 0xb4
	itemUsage         = 0x08
)

// globals is what stays until the next item of its kind.
type globals struct {
	page                  usage
	min, max              int64
	maxUnsigned           int64
	pmin, pmax            int64
	unit                  uint32
	exponent, size, count int
	report                byte
}

// reader is the state of parseDescriptor.
type reader struct {
	descriptor
	globals
	stack  []globals
	path   []usage
	usages []usage
}

// parseDescriptor reads a report descriptor. HID 1.11, section 6.2.2.
func parseDescriptor(b []byte) (descriptor, error) {
	if len(b) > maxDescriptor {
		return descriptor{}, fmt.Errorf("report descriptor of %d bytes: want at most %d", len(b), maxDescriptor)
	}
	r := reader{descriptor: descriptor{bits: map[reportKey]int{}}}
	for at := 0; at < len(b); {
		n := int(b[at] & 3)
		if n == 3 {
			n = 4
		}
		if at+1+n > len(b) {
			return descriptor{}, fmt.Errorf("report descriptor: the item at byte %d wants %d bytes more, %d are left", at, n, len(b)-at-1)
		}
		if err := r.item(b[at]&^3, b[at+1:at+1+n]); err != nil {
			return descriptor{}, fmt.Errorf("report descriptor, byte %d: %w", at, err)
		}
		at += 1 + n
	}
	if len(r.path) > 0 {
		return descriptor{}, errors.New("report descriptor: a collection does not end")
	}
	return r.descriptor, nil
}

// number is an item's value, without and with a sign.
func number(data []byte) (plain, signed int64) {
	for i, c := range data {
		plain |= int64(c) << (8 * i)
	}
	shift := 64 - 8*len(data)
	if len(data) == 0 {
		return 0, 0
	}
	return plain, plain << shift >> shift
}

func (r *reader) item(tag byte, data []byte) error {
	plain, signed := number(data)
	switch tag {
	case itemUsagePage:
		r.page = usage(plain << 16)
	case itemLogicalMin:
		r.min = signed
	case itemLogicalMax:
		r.max, r.maxUnsigned = signed, plain
	case itemPhysicalMin:
		r.pmin = signed
	case itemPhysicalMax:
		r.pmax = signed
	case itemExponent:
		r.exponent = int(plain & 15 << 60 >> 60)
	case itemUnit:
		r.unit = uint32(plain)
	case itemReportSize:
		r.size = int(min(plain, maxReportBits+1))
	case itemReportCount:
		r.count = int(min(plain, maxReportBits+1))
	case itemReportID:
		r.report, r.ids = byte(plain), true
	case itemPush:
		if len(r.stack) == maxDepth {
			return fmt.Errorf("more than %d pushes", maxDepth)
		}
		r.stack = append(r.stack, r.globals)
	case itemPop:
		if len(r.stack) == 0 {
			return errors.New("pop without a push")
		}
		r.globals, r.stack = r.stack[len(r.stack)-1], r.stack[:len(r.stack)-1]
	case itemUsage:
		u := usage(plain)
		if len(data) < 4 {
			u |= r.page
		}
		r.usages = append(r.usages, u)
	default:
		return r.main(tag, plain)
	}
	return nil
}

// main takes the items that end a group of usages.
func (r *reader) main(tag byte, flags int64) error {
	defer func() { r.usages = nil }()
	switch tag {
	case itemCollection:
		if len(r.path) == maxDepth {
			return fmt.Errorf("collections nested deeper than %d", maxDepth)
		}
		var u usage // a collection without a usage has none
		if len(r.usages) > 0 {
			u = r.usages[0]
		}
		r.path = append(r.path, u)
	case itemEndCollection:
		if len(r.path) == 0 {
			return errors.New("a collection ends that did not begin")
		}
		r.path = r.path[:len(r.path)-1]
	case itemInput:
		return r.data(Input, flags)
	case itemOutput:
		return r.data(Output, flags)
	case itemFeature:
		return r.data(Feature, flags)
	}
	return nil
}

// data lays the fields of one main item behind those of its report.
func (r *reader) data(kind Kind, flags int64) error {
	key := reportKey{kind, r.report}
	at := r.bits[key]
	if r.size > maxReportBits || r.count > maxReportBits || at+r.size*r.count > maxReportBits {
		return fmt.Errorf("report %#x becomes longer than %d bits", r.report, maxReportBits)
	}
	r.bits[key] = at + r.size*r.count
	const variable, constant = 2, 1
	if len(r.usages) == 0 || r.size == 0 || r.size > maxBits || flags&variable == 0 && flags&constant == 0 {
		return nil // padding, or a list of keys, which no UPS has
	}
	for i := range r.count {
		u := r.usages[min(i, len(r.usages)-1)]
		r.fields = append(r.fields, field{
			kind: kind, report: r.report, at: at + i*r.size, bits: r.size,
			path: append(append([]usage(nil), r.path...), u),
			min:  r.min, max: r.logicalMax(), pmin: r.pmin, pmax: r.pmax, unit: r.unit, exponent: r.exponent,
		})
	}
	return nil
}

// logicalMax is signed by its own size; many units write an unsigned one into too few bytes.
func (r *reader) logicalMax() int64 {
	if r.max < r.min {
		return r.maxUnsigned
	}
	return r.max
}

// bytes is the length of a report, its id included; 0: there is none.
func (d *descriptor) bytes(key reportKey) int {
	bits, ok := d.bits[key]
	if !ok {
		return 0
	}
	n := (bits + 7) / 8
	if d.ids {
		n++
	}
	return n
}
