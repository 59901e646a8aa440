package hidups

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// kernel is the kernel's side of /dev/uhid.
type kernel struct {
	t    *testing.T
	conn net.Conn
}

func onKernel(t *testing.T, cfg Config, test func(t *testing.T, u *UPS, k *kernel)) {
	synctest.Test(t, func(t *testing.T) {
		u := newUPS(t, cfg)
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- u.ServeUHID(theirs) }()
		k := &kernel{t, ours}
		test(t, u, k)
		u.Close()
		ours.Close()
		if err := <-served; err != nil && !strings.Contains(err.Error(), "EOF") {
			t.Errorf("ServeUHID: %v", err)
		}
	})
}

// event reads the next event.
func (k *kernel) event() []byte {
	k.t.Helper()
	k.conn.SetReadDeadline(time.Now().Add(time.Minute))
	b := make([]byte, uhidEventLen)
	n, err := k.conn.Read(b)
	if err != nil {
		k.t.Fatal(err)
	}
	return b[:n]
}

// send sends an event, filled up to its full length as the kernel does.
func (k *kernel) send(digits string) {
	k.t.Helper()
	b := make([]byte, uhidEventLen)
	copy(b, unhex(k.t, digits))
	if _, err := k.conn.Write(b); err != nil {
		k.t.Fatal(err)
	}
}

func TestUHIDCreate(t *testing.T) {
	onKernel(t, Config{Model: BackUPS()}, func(t *testing.T, u *UPS, k *kernel) {
		b := k.event()
		const head = "6d04" // 1133
		if len(b) != 280+1133 || hex.EncodeToString(b[:8]) != "0b000000416d6572" || hex.EncodeToString(b[260:280]) != head+"0300"+"1d050000"+"02000000"+"90000000"+"00000000" {
			t.Errorf("create event of %d bytes: %x … %x", len(b), b[:8], b[260:280])
		}
		if name := string(bytes.TrimRight(b[4:132], "\x00")); name != "American Power Conversion Back-UPS RS 1000G FW:868.L3 -P.D USB FW:L3" {
			t.Errorf("name %q", name)
		}
		if uniq := string(bytes.TrimRight(b[196:260], "\x00")); uniq != "SIM0001" {
			t.Errorf("serial number %q", uniq)
		}
		if !bytes.Equal(b[280:], BackUPS().ReportDescriptor) {
			t.Errorf("report descriptor %x", b[280:])
		}
	})
}

func TestUHIDReports(t *testing.T) {
	for _, tt := range []struct{ name, request, want string }{
		{"feature", "09000000 78563412 05 00", "0a000000 78563412 0000 0300 050921"},
		{"input", "09000000 01000000 05 02", "0a000000 01000000 0000 0300 050921"},
		{"none such", "09000000 01000000 63 00", "0a000000 01000000 0500 0000"},
		{"none such of its kind", "09000000 01000000 05 01", "0a000000 01000000 0500 0000"},
		{"set", "0d000000 02000000 06 00 0300 06ffff", "0e000000 02000000 0000"},
		{"set, refused", "0d000000 02000000 04 00 0300 04ffff", "0e000000 02000000 0500"},
		{"set, longer than it is", "0d000000 02000000 04 00 ffff 04ffff", "0e000000 02000000 0500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onKernel(t, Config{}, func(t *testing.T, u *UPS, k *kernel) {
				k.event()
				k.send(tt.request)
				if got := k.event(); !bytes.Equal(got, unhex(t, tt.want)) {
					t.Errorf("%s is answered %x, want %s", tt.request, got, tt.want)
				}
			})
		})
	}
}

func TestUHIDInput(t *testing.T) {
	onKernel(t, Config{}, func(t *testing.T, u *UPS, k *kernel) {
		k.event()
		k.send("02000000 0000000000000000") // started
		k.send("04000000")                  // opened
		k.event()
		k.event()
		u.SetMains(false)
		for range 2 {
			got := hex.EncodeToString(k.event())
			if strings.HasPrefix(got, "0c000000030005") && got != "0c0000000300050421" {
				t.Errorf("input event %s", got)
			}
		}
		u.Behave(Silent, 0)
		k.send("09000000 01000000 05 00")
		u.SetPlugged(false)
		if got := k.event(); binary.LittleEndian.Uint32(got) != uhidDestroy {
			t.Errorf("unplugged: event %x, want destroy", got)
		}
		u.Behave(Late, 2*time.Second)
		u.SetPlugged(true)
		if got := k.event(); binary.LittleEndian.Uint32(got) != uhidCreate2 {
			t.Errorf("plugged in: event of type %d, want create", got[0])
		}
		began := time.Now()
		k.send("09000000 01000000 05 00")
		if got := hex.EncodeToString(k.event()); got != "0a0000000100000000000300050421" || time.Since(began) != 2*time.Second {
			t.Errorf("late by 2 s: %s after %v", got, time.Since(began))
		}
	})
}
