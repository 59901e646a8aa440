package ipmi

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai/drivers"
)

// A FRU inventory is a header that says where its areas begin, in units of 8 bytes.
// Source: IPMI Platform Management FRU Information Storage Definition 1.0, sections 8,
// 11, 12, 16 and 18.1.
const (
	fruBoard, fruProduct, fruMulti = 3, 4, 5 // places in the header

	multiSupply = 0x00 // record type: power supply information
	maxFRU      = 512  // bytes that are read; supplies have 256 or so
	fruChunk    = 16
)

// parseFRU decodes the whole inventory of a supply, as far as it was read. What cannot
// be read stays zero: vendors leave areas out and get their sums wrong.
func parseFRU(b []byte) (inventory, error) {
	if len(b) < 8 || b[0]&0x0f != 1 || sum(b[:8]) != 0 {
		return inventory{}, drivers.Protocol("FRU header", b[:min(8, len(b))], "format 1 and a sum that fits")
	}
	inv := inventory{serial: fruField(fruArea(b, fruProduct), 3, 4)}
	if inv.serial == "" {
		inv.serial = fruField(fruArea(b, fruBoard), 6, 2)
	}
	inv.capacity = fruCapacity(fruArea(b, fruMulti))
	return inv, nil
}

// fruArea is what begins at the area's offset, nil where there is none.
func fruArea(b []byte, place int) []byte {
	at := 8 * int(b[place])
	if at == 0 || at >= len(b) {
		return nil
	}
	return b[at:]
}

// fruField returns text field number n (from 0) of an area whose fields begin at skip.
func fruField(area []byte, skip, n int) string {
	if len(area) < skip || area[0]&0x0f != 1 {
		return ""
	}
	for area = area[skip:]; len(area) > 0 && area[0] != 0xc1; n-- {
		size := int(area[0] & 0x3f)
		if 1+size > len(area) {
			return ""
		}
		if n == 0 {
			return decodeChars(area[0]>>6, area[1:1+size])
		}
		area = area[1+size:]
	}
	return ""
}

// fruCapacity finds the supply's rating in watts among the multirecords; 0: not there.
func fruCapacity(b []byte) float64 {
	for len(b) >= 5 {
		head, size := b[:5], int(b[2])
		if sum(head) != 0 || 5+size > len(b) {
			return 0
		}
		body := b[5 : 5+size]
		if head[0] == multiSupply && size >= 2 && sum(body)+head[3] == 0 {
			return float64(le16(body) & 0x0fff)
		}
		if head[1]&0x80 != 0 {
			return 0
		}
		b = b[5+size:]
	}
	return 0
}

// readFRU reads a FRU device. Source: IPMI 2.0, sections 34.1 and 34.2.
func readFRU(ctx context.Context, c commander, device byte) (inventory, error) {
	b, err := c.command(ctx, request{netFn: types.NetFnStorageRequest, cmd: 0x10, data: []byte{device}})
	if err != nil {
		return inventory{}, fmt.Errorf("get FRU area info: %w", err)
	}
	if len(b) < 3 || b[2]&1 != 0 { // bit 0: counts words, which no supply known does
		return inventory{}, drivers.Protocol("FRU area info", b, "3 bytes, access by bytes")
	}
	size := min(int(le16(b)), maxFRU)
	data := make([]byte, 0, size)
	for len(data) < size {
		ask := binary.LittleEndian.AppendUint16([]byte{device}, uint16(len(data)))
		n := min(fruChunk, size-len(data))
		b, err := c.command(ctx, request{netFn: types.NetFnStorageRequest, cmd: 0x11, data: append(ask, byte(n))})
		if err != nil {
			return inventory{}, fmt.Errorf("read FRU data: %w", err)
		}
		if len(b) < 2 || int(b[0]) != len(b)-1 || len(b)-1 > n {
			return inventory{}, drivers.Protocol("FRU data", b, fmt.Sprintf("1 to %d bytes behind their number", n))
		}
		data = append(data, b[1:]...)
	}
	return parseFRU(data)
}
