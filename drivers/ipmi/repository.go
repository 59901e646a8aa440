package ipmi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai/drivers"
)

// commander runs one command on a BMC: a session, or a test's table.
type commander interface {
	command(ctx context.Context, req request) ([]byte, error)
}

// repository is the cached sensor data repository of one BMC. Reading it takes up to a
// thousand requests, so it is read once, goes on where it stopped when a poll's
// deadline ends first, and is read again only when the BMC says that it has changed.
type repository struct {
	records
	complete bool
	bad      int    // records that cannot be read
	info     []byte // Get SDR Repository Info when reading began

	next        uint16
	reservation uint16
	reserved    bool
	read        int
	chunk       int
}

// Bounds on what a BMC may make us do. Real repositories hold up to 300 records.
const (
	maxRecords  = 2000
	maxRestarts = 20 // of one record, when the reservation is lost again and again
	firstChunk  = 16 // bytes a request: every BMC known can do that
	leastChunk  = 4
	lastRecord  = 0xffff
)

// refresh makes sure that the repository is complete and current.
func (r *repository) refresh(ctx context.Context, c commander) error {
	info, err := c.command(ctx, request{netFn: types.NetFnStorageRequest, cmd: 0x20})
	if err = known(err); err != nil {
		return fmt.Errorf("get SDR repository info: %w", err)
	}
	if r.info == nil || !bytes.Equal(info, r.info) {
		*r = repository{info: append([]byte{}, info...), chunk: firstChunk}
	}
	for !r.complete {
		if err := r.readRecord(ctx, c); err != nil {
			return fmt.Errorf("read sensor record %04xh after %d others: %w", r.next, r.read, err)
		}
	}
	return nil
}

// known forgives a BMC that does not know an optional command.
func known(err error) error {
	if c, refused := errors.AsType[completion](err); refused && c != codePrivilege {
		return nil
	}
	return err
}

// resume forgets the reservation, which belonged to a session.
func (r *repository) resume() { r.reserved = false }

// readRecord reads the record r.next. Source: IPMI 2.0, sections 33.11 and 33.12.
func (r *repository) readRecord(ctx context.Context, c commander) error {
	if r.read >= maxRecords {
		return fmt.Errorf("%w: more than %d records", drivers.ErrProtocol, maxRecords)
	}
	for range maxRestarts {
		rec, next, err := r.fetch(ctx, c)
		if errors.Is(err, codeReservation) {
			r.reserved = false
			continue
		}
		if err != nil {
			return err
		}
		r.take(rec, next)
		return nil
	}
	return fmt.Errorf("%w: the reservation was lost %d times", drivers.ErrProtocol, maxRestarts)
}

// take adds one record. One that cannot be read is counted and passed over, and a list
// that leads back to itself ends there: the supplies before it are good all the same.
func (r *repository) take(rec []byte, next uint16) {
	if rec != nil && r.add(rec) != nil {
		r.bad++
	}
	r.read++
	r.complete = next == lastRecord
	if next == r.next || next == 0 {
		r.complete = true
		r.bad++
	}
	r.next = next
}

// fetch reads the record r.next: the header, the part that says what it is about, and
// the rest where that matters; rec is nil where not.
func (r *repository) fetch(ctx context.Context, c commander) (rec []byte, next uint16, err error) {
	if err := r.reserve(ctx, c); err != nil {
		return nil, 0, err
	}
	rec, next, err = r.part(ctx, c, 0, recordHeader)
	if err != nil {
		return nil, 0, err
	}
	total := recordHeader + int(rec[4])
	for len(rec) < total {
		if len(rec) >= 14 && !wanted(rec) {
			return nil, next, nil
		}
		more, _, err := r.part(ctx, c, len(rec), min(r.chunk, total-len(rec)))
		if err != nil {
			return nil, 0, err
		}
		rec = append(rec, more...)
	}
	return rec, next, nil
}

func (r *repository) reserve(ctx context.Context, c commander) error {
	if r.reserved {
		return nil
	}
	b, err := c.command(ctx, request{netFn: types.NetFnStorageRequest, cmd: 0x22})
	if err = known(err); err != nil {
		return fmt.Errorf("reserve: %w", err)
	}
	r.reservation = 0 // a BMC without reservations wants none
	if len(b) >= 2 {
		r.reservation = le16(b)
	}
	r.reserved = true
	return nil
}

// part reads n bytes of the record r.next from offset on, fewer at a time where the BMC
// cannot return so many.
func (r *repository) part(ctx context.Context, c commander, offset, n int) (data []byte, next uint16, err error) {
	for {
		ask := binary.LittleEndian.AppendUint16(nil, r.reservation)
		ask = binary.LittleEndian.AppendUint16(ask, r.next)
		b, err := c.command(ctx, request{netFn: types.NetFnStorageRequest, cmd: 0x23, data: append(ask, byte(offset), byte(n))})
		if (errors.Is(err, codeTooMuch) || errors.Is(err, codeLengthInvalid)) && n > leastChunk && n != recordHeader {
			r.chunk = max(leastChunk, r.chunk/2)
			n = min(n, r.chunk)
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if len(b) != 2+n {
			return nil, 0, drivers.Protocol("sensor record", b, fmt.Sprintf("%d bytes behind the next record's id", n))
		}
		return b[2:], le16(b), nil
	}
}
