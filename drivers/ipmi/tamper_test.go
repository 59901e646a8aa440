package ipmi

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// between puts somebody between the driver and its BMC who changes what the BMC says.
func between(t *testing.T, address string, change func(b []byte) [][]byte) string {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var driver net.Addr
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := front.ReadFrom(buf)
			if err != nil {
				return
			}
			mu.Lock()
			driver = from
			mu.Unlock()
			back.Write(buf[:n])
		}
	})
	wg.Go(func() {
		buf := make([]byte, maxDatagram)
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			to := driver
			mu.Unlock()
			for _, b := range change(bytes.Clone(buf[:n])) {
				front.WriteTo(b, to)
			}
		}
	})
	t.Cleanup(func() { front.Close(); back.Close(); wg.Wait() })
	return front.LocalAddr().String()
}

// TestTamperedSetup spoils single bytes of the session set-up. Whoever does not know the
// password must not get a session, nor a weaker one than was asked for.
func TestTamperedSetup(t *testing.T) {
	const opened, rakp2, rakp4 = 0x11, 0x13, 0x15 // types of payload
	for _, tt := range []struct {
		name string
		kind byte
		at   int  // of the payload; negative: cut off so many bytes
		flip byte // bits of it; suite 17 is algorithms 3, 4 and 1
		want error
	}{
		{"answer to another open session", opened, 0, 9, drivers.ErrProtocol},
		{"open session of another console", opened, 4, 9, drivers.ErrProtocol},
		{"refused for lack of resources", opened, 1, 0x01, drivers.ErrDenied},
		{"authentication by SHA-1", opened, 16, 0x03 ^ 0x01, drivers.ErrDenied},
		{"no authentication", opened, 16, 0x03, drivers.ErrDenied},
		{"no integrity", opened, 24, 0x04, drivers.ErrDenied},
		{"no encryption", opened, 32, 0x01, drivers.ErrDenied},
		{"open session cut short", opened, -1, 0, drivers.ErrProtocol},
		{"answer to another message 1", rakp2, 0, 9, drivers.ErrProtocol},
		{"message 2 of another console", rakp2, 4, 9, drivers.ErrProtocol},
		{"unauthorized name", rakp2, 1, 0x0d, drivers.ErrDenied},
		{"another random number", rakp2, 8, 9, drivers.ErrDenied},
		{"another GUID", rakp2, 24, 9, drivers.ErrDenied},
		{"a wrong code: the BMC does not know the password", rakp2, 40, 9, drivers.ErrDenied},
		{"message 2 cut short", rakp2, -1, 0, drivers.ErrProtocol},
		{"answer to another message 3", rakp4, 0, 9, drivers.ErrProtocol},
		{"message 4 of another console", rakp4, 4, 9, drivers.ErrProtocol},
		{"invalid integrity check value", rakp4, 1, 0x0f, drivers.ErrDenied},
		{"a wrong integrity check value", rakp4, 8, 9, drivers.ErrProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			address := between(t, serve17(t, newFake(), types.CipherSuiteID17), func(b []byte) [][]byte {
				switch p := b[rmcpHead+sessionHead:]; {
				case b[5] != tt.kind:
				case tt.at >= 0:
					p[tt.at] ^= tt.flip
				default:
					b = b[:len(b)+tt.at]
					b[14] += byte(tt.at)
				}
				return [][]byte{b}
			})
			d := open17(t, address, "17", "pass phrase of 20 by")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if r, err := d.Poll(ctx); !errors.Is(err, tt.want) {
				t.Errorf("poll = %+v, %v: want %v", r.PSUs, err, tt.want)
			}
			if d.session != nil {
				t.Error("a session is open")
			}
		})
	}
}

// TestOldAnswers sends the answer before last ahead of each: it is signed, and still
// not the answer to what was asked.
func TestOldAnswers(t *testing.T) {
	f := newFake()
	f.sensors = map[byte]completion{1: codeNotPresent, 3: codeNotInState}
	var last []byte
	d := open17(t, between(t, serve17(t, f, types.CipherSuiteID17), func(b []byte) [][]byte {
		old := last
		last = b
		return [][]byte{old, b}
	}), "17", "pass phrase of 20 by")
	for range 2 {
		r, err := poll17(t, d)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []dodai.PSUState{dodai.PSUUnknown, dodai.PSUOK, dodai.PSUUnknown, dodai.PSUOK} {
			if r.PSUs[i].State != want {
				t.Errorf("supply %s is %s, want %s", r.PSUs[i].ID, r.PSUs[i].State, want)
			}
		}
	}
}

// TestSetupStatus: which refusals are worth a try with another suite.
func TestSetupStatus(t *testing.T) {
	refused := map[types.RmcpStatusCode]bool{0x04: true, 0x05: true, 0x06: true, 0x07: true, 0x10: true, 0x11: true}
	for code := types.RmcpStatusCode(1); code <= 0x12; code++ {
		err := setupStatus(code)
		if err == nil || errors.Is(err, errRefused) != refused[code] || errors.Is(err, drivers.ErrDenied) == refused[code] {
			t.Errorf("status %02xh: %v, want refused %v, else denied", byte(code), err, refused[code])
		}
	}
	if err := setupStatus(0); err != nil {
		t.Errorf("status 0: %v", err)
	}
}

// TestRepositoryBounds: a BMC must not keep us busy for ever.
func TestRepositoryBounds(t *testing.T) {
	f := newFake()
	for len(f.records) < maxRecords+10 {
		f.records = append(f.records, record(0xc0, 1, 2, 3))
	}
	var r repository
	if err := r.refresh(t.Context(), f); !errors.Is(err, drivers.ErrProtocol) || r.read != maxRecords {
		t.Errorf("%d records: %v after %d, want ErrProtocol after %d", len(f.records), err, r.read, maxRecords)
	}
	f = newFake()
	f.lose = maxRestarts - 1
	r = repository{}
	if err := r.refresh(t.Context(), f); err != nil {
		t.Errorf("reservation lost %d times: %v, want patience", f.lose, err)
	}
	f = newFake()
	f.limit = leastChunk - 1
	r = repository{}
	if err := r.refresh(t.Context(), f); !errors.Is(err, drivers.ErrProtocol) {
		t.Errorf("a BMC that returns %d bytes at most: %v, want ErrProtocol", f.limit, err)
	}
}
