package ipmi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai/drivers"
)

func testKeys(suite types.CipherSuiteID) keys {
	auth, integrity, _, _ := types.GetCipherSuiteAlgorithms(suite)
	return keys{auth, integrity, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}
}

// answer is a BMC's message to request seq, command cmd.
func answer(seq, cmd, code byte, data ...byte) []byte {
	head := []byte{0x81, 0x2d << 2 & 0xfc}
	head = append(head, -sum(head))
	body := append([]byte{0x20, seq << 2, cmd, code}, data...)
	return append(append(head, body...), -sum(body))
}

func TestSealAndOpen(t *testing.T) {
	for _, suite := range []types.CipherSuiteID{types.CipherSuiteID3, types.CipherSuiteID17} {
		k := testKeys(suite)
		for size := range 40 {
			message := answer(9, 0x2d, 0, make([]byte, size)...)
			b, err := seal(k, 0xa1b2c3d4, 7, message, random(16))
			if err != nil {
				t.Fatal(err)
			}
			got, err := open(k, 0xa1b2c3d4, b)
			if err != nil || !bytes.Equal(got, message) {
				t.Fatalf("suite %d, %d bytes: opened %x, %v: want %x", suite, size, got, err, message)
			}
			for i := rmcpHead; i < len(b); i++ {
				spoilt := bytes.Clone(b)
				spoilt[i] ^= 0x40
				if got, err := open(k, 0xa1b2c3d4, spoilt); !errors.Is(err, drivers.ErrProtocol) {
					t.Fatalf("suite %d, byte %d spoilt: opened %x, %v: want ErrProtocol", suite, i, got, err)
				}
			}
			if _, err := open(k, 0xa1b2c3d5, b); !errors.Is(err, drivers.ErrProtocol) {
				t.Errorf("message of another session: %v, want ErrProtocol", err)
			}
		}
	}
}

// TestOpenSignedNonsense signs payloads that are no AES text: what a BMC with a fault,
// rather than a stranger, could send.
func TestOpenSignedNonsense(t *testing.T) {
	k := testKeys(types.CipherSuiteID17)
	for size := range 70 {
		b := header(types.PayloadTypeIPMI, encrypted|signed, 5, 1, make([]byte, size))
		code, err := k.code(b[rmcpHead:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(k, 5, append(b, code...)); err != nil && !errors.Is(err, drivers.ErrProtocol) {
			t.Errorf("%d bytes: %v, want ErrProtocol", size, err)
		} else if err == nil && (size < 32 || size%16 != 0) {
			t.Errorf("%d bytes were opened", size)
		}
	}
}

func TestParseReply(t *testing.T) {
	got, err := parseReply(answer(9, 0x2d, 0xcb, 1, 2))
	want := reply{netFn: 0x2d, seq: 9, cmd: 0x2d, code: 0xcb, data: []byte{1, 2}}
	if diff := cmp.Diff(want, got, private); err != nil || diff != "" {
		t.Errorf("reply, %v (-want +got):\n%s", err, diff)
	}
	for i := range answer(9, 0x2d, 0) {
		spoilt := answer(9, 0x2d, 0)
		spoilt[i]++
		if _, err := parseReply(spoilt); !errors.Is(err, drivers.ErrProtocol) {
			t.Errorf("byte %d spoilt: %v, want ErrProtocol", i, err)
		}
	}
}

// FuzzOpen checks that nothing is opened that was not sealed with the keys.
func FuzzOpen(f *testing.F) {
	k := testKeys(types.CipherSuiteID17)
	sealed, _ := seal(k, 5, 1, answer(1, 0x2d, 0, 0, 0xc0, 1, 0), make([]byte, 16))
	f.Add(sealed)
	f.Add(sealed[:40])
	f.Add(packSetup(types.PayloadTypeRAKPMessage1, make([]byte, 40)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := open(k, 5, b); err == nil && !bytes.Equal(b[rmcpHead:], sealed[rmcpHead:]) {
			t.Errorf("opened %x, which nobody sealed", b)
		}
		if p, err := unpackSetup(b, types.PayloadTypeRAKPMessage2); err == nil && len(p) > len(b)-rmcpHead-sessionHead {
			t.Errorf("payload of %d bytes in %d", len(p), len(b))
		}
		if r, err := parseReply(b); err == nil && len(r.data) != len(b)-8 {
			t.Errorf("%d bytes of data in a message of %d", len(r.data), len(b))
		}
	})
}

// fakeBMC is a BMC with a repository, for what ipmi_sim does not do.
type fakeBMC struct {
	mu          sync.Mutex // a server asks from a goroutine of its own
	records     [][]byte
	limit       int // most bytes of a record it returns at once
	info        []byte
	reservation uint16
	lose        int // so many times the reservation is lost
	asked       int
	loop        bool // the last record is followed by itself
	silentAfter int
	sensors     map[byte]completion // sensors that refuse; the others are present
}

func (f *fakeBMC) command(_ context.Context, req request) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.silentAfter > 0 && f.asked > f.silentAfter {
		return nil, drivers.Unreachable(errNoAnswer)
	}
	switch req.cmd {
	case 0x20:
		if f.info == nil {
			return nil, codeBadCommand
		}
		return f.info, nil
	case 0x22:
		f.reservation++
		return binary.LittleEndian.AppendUint16(nil, f.reservation), nil
	case 0x23:
		return f.get(req.data)
	case 0x2d:
		if c := f.sensors[req.data[0]]; c != 0 {
			return nil, c
		}
		return []byte{0, 0xc0, 1, 0}, nil
	}
	return nil, codeBadCommand
}

func (f *fakeBMC) get(ask []byte) ([]byte, error) {
	id, offset, n := int(le16(ask[2:])), int(ask[4]), int(ask[5])
	if le16(ask) != f.reservation {
		return nil, codeReservation
	}
	if f.lose > 0 {
		f.lose--
		f.reservation++
		return nil, codeReservation
	}
	if n > f.limit {
		return nil, codeTooMuch
	}
	rec := f.records[id]
	next := id + 1
	if next == len(f.records) {
		if next = lastRecord; f.loop {
			next = id
		}
	}
	if offset+n > len(rec) {
		return nil, completion(0xc9)
	}
	return append(binary.LittleEndian.AppendUint16(nil, uint16(next)), rec[offset:offset+n]...), nil
}

func newFake() *fakeBMC {
	f := &fakeBMC{limit: 32, info: []byte{0x51, 3, 0}}
	for n := byte(1); n <= 4; n++ {
		f.records = append(f.records,
			record(recordCompact, compactBody(n, entity{10, n}, 8, 0x6f, 0x7f, 0, 0, fmt.Sprintf("PS%d Status", n))...),
			record(recordFull, fullBody(0x40+n, entity{3, n}, 1, 1, 1, 0, 0, 0, 0, "CPU Temp")...))
	}
	return f
}

func TestRepository(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*fakeBMC)
		sensors int
		bad     int
	}{
		{"plain", func(*fakeBMC) {}, 4, 0},
		{"8 bytes at a time", func(f *fakeBMC) { f.limit = 8 }, 4, 0},
		{"reservation lost five times", func(f *fakeBMC) { f.lose = 5 }, 4, 0},
		{"no repository info", func(f *fakeBMC) { f.info = nil }, 4, 0},
		{"the last record follows itself", func(f *fakeBMC) { f.loop = true }, 4, 1},
		{"a record too short", func(f *fakeBMC) { f.records[0] = record(recordCompact, f.records[0][5:25]...) }, 3, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			tt.change(f)
			var r repository
			if err := r.refresh(t.Context(), f); err != nil || len(r.sensors) != tt.sensors || r.bad != tt.bad {
				t.Fatalf("refresh: %v, %d sensors, %d bad: want %d and %d", err, len(r.sensors), r.bad, tt.sensors, tt.bad)
			}
			asked := f.asked
			if err := r.refresh(t.Context(), f); err != nil || f.asked != asked+1 {
				t.Errorf("second refresh: %v with %d requests, want one", err, f.asked-asked)
			}
		})
	}
}

// TestRepositoryResumes cuts reading off after a few requests each time, as a poll's
// deadline does with a slow BMC.
func TestRepositoryResumes(t *testing.T) {
	f := newFake()
	var r repository
	var err error
	polls := 0
	for r.complete = false; !r.complete && polls < 50; polls++ {
		f.silentAfter = f.asked + 7
		r.resume() // a new session has no reservation
		if err = r.refresh(t.Context(), f); err != nil && !errors.Is(err, drivers.ErrUnreachable) {
			t.Fatal(err)
		}
	}
	if err != nil || len(r.sensors) != 4 || polls < 3 {
		t.Errorf("after %d polls: %d sensors, %v: want 4 in several polls", polls, len(r.sensors), err)
	}
}

func TestRepositoryChangedOrHostile(t *testing.T) {
	f := newFake()
	var r repository
	if err := r.refresh(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.records, f.info = f.records[:2], []byte{0x51, 1, 0}
	if err := r.refresh(t.Context(), f); err != nil || len(r.sensors) != 1 {
		t.Errorf("after a change: %v, %d sensors: want 1", err, len(r.sensors))
	}
	f.lose, f.info = 1e6, []byte{0x51, 2, 0}
	if err := r.refresh(t.Context(), f); !errors.Is(err, drivers.ErrProtocol) {
		t.Errorf("reservation lost for ever: %v, want ErrProtocol", err)
	}
}
