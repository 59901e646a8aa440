package hidups

import (
	"bytes"
	"encoding/hex"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The packets of the protocol's description, written out: type, length, id, body.
const (
	connectWide = "01000000" + "0a000000" + "0000000000000000" + "01000000" + "0912" + "0100" + "0001"
	connect     = "01000000" + "0a000000" + "00000000" + "01000000" + "0912" + "0100" + "0001"
)

var (
	helloBody = "646f6461692073696d756c6174656420555053" + strings.Repeat("00", 64-19) + "72000000"
	helloHead = "00000000" + "44000000" + "00000000"
	peerName  = "51454d55" + strings.Repeat("00", 64-4)
	peerHello = helloHead + peerName + "fe000000"
)

// host is the side that has the bus.
type host struct {
	t    *testing.T
	conn net.Conn
	wide bool
}

// plugIn runs test with a UPS at the other end of an open line, past the hellos and the
// announcement, on virtual time.
func plugIn(t *testing.T, cfg Config, test func(t *testing.T, u *UPS, h *host)) {
	synctest.Test(t, func(t *testing.T) {
		u := newUPS(t, cfg)
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- u.ServeRedir(theirs) }()
		h := &host{t: t, conn: ours}
		h.read(packetHello)
		h.write(peerHello)
		h.wide = true
		h.announced()
		test(t, u, h)
		u.Close()
		ours.Close()
		if err := <-served; err != nil {
			t.Errorf("ServeRedir: %v", err)
		}
	})
}

func (h *host) announced() {
	h.t.Helper()
	h.read(packetInterfaces)
	h.read(packetEndpoints)
	h.read(packetConnect)
}

// read reads the next packet, which is to be of a kind.
func (h *host) read(kind uint32) packet {
	h.t.Helper()
	h.conn.SetReadDeadline(time.Now().Add(time.Minute))
	p, err := readPacket(h.conn, h.wide)
	if err != nil || p.kind != kind {
		h.t.Fatalf("packet %+v, %v: want one of type %d", p, err, kind)
	}
	return p
}

func (h *host) write(digits string) {
	h.t.Helper()
	if _, err := h.conn.Write(unhex(h.t, digits)); err != nil {
		h.t.Fatal(err)
	}
}

// quiet fails the test when anything comes within d.
func (h *host) quiet(d time.Duration) {
	h.t.Helper()
	h.conn.SetReadDeadline(time.Now().Add(d))
	if p, err := readPacket(h.conn, h.wide); err == nil {
		h.t.Errorf("packet %+v: want silence", p)
	}
}

func TestHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			hello string
			want  string // the announcement's last packet
		}{
			"wide ids":               {peerHello, connectWide},
			"narrow ids":             {helloHead + peerName + "12000000", connect},
			"no capabilities at all": {"00000000" + "40000000" + "00000000" + peerName, connect},
		} {
			u := newUPS(t, Config{})
			ours, theirs := net.Pipe()
			go u.ServeRedir(theirs)
			hello := make([]byte, 12+68)
			if _, err := io.ReadFull(ours, hello); err != nil || hex.EncodeToString(hello) != helloHead+helloBody {
				t.Errorf("%s: hello %x, %v", name, hello, err)
			}
			ours.Write(unhex(t, tt.hello))
			head := len(tt.want)/2 - 10
			announced := make([]byte, 3*head+132+160+10)
			if _, err := io.ReadFull(ours, announced); err != nil || !strings.HasSuffix(hex.EncodeToString(announced), tt.want) {
				t.Errorf("%s: announced as %x, %v: want %s at the end", name, announced, err, tt.want)
			}
			u.Close()
			ours.Close()
		}
	})
}

// TestAnnouncement: one HID interface; endpoints 0 both ways and 1 in.
func TestAnnouncement(t *testing.T) {
	zeros := func(n int) string { return strings.Repeat("00", n) }
	interfaces := "01000000" + zeros(32) + "03" + zeros(31) + zeros(64)
	if got := hex.EncodeToString(interfacesPacket().body); got != interfaces {
		t.Errorf("interfaces %s, want %s", got, interfaces)
	}
	none := func(n int) string { return strings.Repeat("ff", n) }
	endpoints := "00" + none(15) + "0003" + none(14) + zeros(17) + "0a" + zeros(14) + zeros(32) +
		"4000" + zeros(30) + "40004000" + zeros(28)
	if got := hex.EncodeToString(endpointsPacket().body); got != endpoints {
		t.Errorf("endpoints %s, want %s", got, endpoints)
	}
}

// TestControl: each request as the bytes of its packet's body, and the answer's.
func TestControl(t *testing.T) {
	const device = "120110010000004009120100000101020301"
	const config = "09022200010100c0000904000001030000000921110100012"
	for _, tt := range []struct{ name, request, want string }{
		{"device descriptor", "80 06 80 00 0001 0000 1200", "80068000 0001 0000 1200" + device},
		{"its first bytes", "80 06 80 00 0001 0000 0800", "80068000 0001 0000 0800" + device[:16]},
		{"configuration", "80 06 80 00 0002 0000 ff00", "80068000 0002 0000 2200" + config + "2a201" + "07058103400" + "00a"},
		{"languages", "80 06 80 00 0003 0000 ff00", "80068000 0003 0000 0400 04030904"},
		{"a string", "80 06 80 00 0103 0904 ff00", "80068000 0103 0904 0c00 0c03 6400 6f00 6400 6100 6900"},
		{"no such string", "80 06 80 00 0903 0904 ff00", "80068004 0903 0904 0000"},
		{"HID descriptor", "80 06 81 00 0021 0000 0900", "80068100 0021 0000 0900 09211101000122a201"},
		{"feature report", "80 01 a1 00 0503 0000 4000", "8001a100 0503 0000 0300 050921"},
		{"input report", "80 01 a1 00 0501 0000 4000", "8001a100 0501 0000 0300 050921"},
		{"no such report", "80 01 a1 00 6303 0000 4000", "8001a104 6303 0000 0000"},
		{"set a report", "00 09 21 00 0603 0000 0300 06ffff", "00092100 0603 0000 0300"},
		{"set one that cannot be", "00 09 21 00 0403 0000 0600 040000000000", "00092104 0403 0000 0000"},
		{"idle", "00 0a 21 00 0000 0000 0000", "000a2100 0000 0000 0000"},
		{"status", "80 00 80 00 0000 0000 0200", "80008000 0000 0000 0200 0000"},
		{"idle time", "80 02 a1 00 0000 0000 0100", "8002a100 0000 0000 0100 00"},
		{"protocol", "80 03 a1 00 0000 0000 0100", "8003a100 0000 0000 0100 01"},
		{"unknown", "80 33 c0 00 0000 0000 0100", "8033c004 0000 0000 0000"},
		{"another endpoint", "82 01 a1 00 0503 0000 4000", "8201a104 0503 0000 0000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plugIn(t, Config{}, func(t *testing.T, u *UPS, h *host) {
				body := unhex(t, tt.request)
				h.write(hex.EncodeToString(packet{packetControl, 0x1122334455667788, body}.encode(true)))
				got := h.read(packetControl)
				if want := unhex(t, tt.want); got.id != 0x1122334455667788 || !bytes.Equal(got.body, want) {
					t.Errorf("answer %#x %x: want %x", got.id, got.body, want)
				}
			})
		})
	}
}

func TestReportDescriptorRequest(t *testing.T) {
	plugIn(t, Config{Model: BackUPS()}, func(t *testing.T, u *UPS, h *host) {
		h.write(hex.EncodeToString(packet{packetControl, 1, unhex(t, "80 06 81 00 0022 0000 0010")}.encode(true)))
		if got := h.read(packetControl); !bytes.Equal(got.body[controlHead:], BackUPS().ReportDescriptor) {
			t.Errorf("report descriptor %x", got.body)
		}
	})
}

func TestConfigure(t *testing.T) {
	for _, tt := range []struct {
		name   string
		kind   uint32
		body   string
		answer uint32
		want   string
	}{
		{"set configuration", packetSetConfig, "01", packetConfigStatus, "0001"},
		{"a second one", packetSetConfig, "02", packetConfigStatus, "0200"},
		{"get configuration", packetGetConfig, "", packetConfigStatus, "0000"},
		{"set alternate", packetSetAlternate, "0000", packetAlternateStatus, "000000"},
		{"a second one", packetSetAlternate, "0001", packetAlternateStatus, "020000"},
		{"get alternate", packetGetAlternate, "00", packetAlternateStatus, "000000"},
		{"start", packetStartInterrupt, "81", packetInterruptStatus, "0081"},
		{"start at another endpoint", packetStartInterrupt, "82", packetInterruptStatus, "0282"},
		{"stop", packetStopInterrupt, "81", packetInterruptStatus, "0081"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plugIn(t, Config{}, func(t *testing.T, u *UPS, h *host) {
				h.write(hex.EncodeToString(packet{99, 1, []byte("unknown")}.encode(true)))
				h.write(hex.EncodeToString(packet{packetSetConfig, 2, nil}.encode(true))) // too short
				h.write(hex.EncodeToString(packet{tt.kind, 3, unhex(t, tt.body)}.encode(true)))
				if got := h.read(tt.answer); got.id != 3 || hex.EncodeToString(got.body) != tt.want {
					t.Errorf("answer %d %x, want 3 %s", got.id, got.body, tt.want)
				}
			})
		})
	}
}

// listen asks for input reports.
func (h *host) listen() {
	h.t.Helper()
	h.write(hex.EncodeToString(packet{packetStartInterrupt, 5, []byte{endpointIn}}.encode(true)))
	h.read(packetInterruptStatus)
}

// inputs reads n input reports.
func (h *host) inputs(n int) (reports []string) {
	h.t.Helper()
	for range n {
		p := h.read(packetInterrupt)
		if head := hex.EncodeToString(p.body[:4]); head != "8100"+hex.EncodeToString([]byte{byte(len(p.body) - 4), 0}) {
			h.t.Errorf("head of an input report %s", head)
		}
		reports = append(reports, hex.EncodeToString(p.body[4:]))
	}
	return reports
}

func TestInputReports(t *testing.T) {
	plugIn(t, Config{}, func(t *testing.T, u *UPS, h *host) {
		h.quiet(time.Second) // nobody asked
		h.listen()
		h.inputs(2) // what is the case now
		h.quiet(time.Minute)
		began := time.Now()
		u.SetMains(false)
		for _, r := range h.inputs(2) {
			if r[:2] == "05" && r != "050421" {
				t.Errorf("mains away: %s, want 050421", r)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("a change was told after %v", took)
		}
		u.Behave(Frozen, 0)
		u.SetMains(true)
		h.quiet(time.Second)
		u.Behave(Normal, 0)
		h.inputs(2)
		h.write(hex.EncodeToString(packet{packetStopInterrupt, 6, []byte{endpointIn}}.encode(true)))
		h.read(packetInterruptStatus)
		u.SetMains(false)
		h.quiet(time.Minute)
	})
}

func TestPlug(t *testing.T) {
	plugIn(t, Config{}, func(t *testing.T, u *UPS, h *host) {
		h.listen()
		h.inputs(2)
		u.SetPlugged(false)
		h.read(packetDisconnect)
		h.write(hex.EncodeToString(packet{packetControl, 7, unhex(t, "80 06 80 00 0001 0000 1200")}.encode(true)))
		h.quiet(time.Second)
		u.SetPlugged(true)
		h.announced()
		h.quiet(time.Second) // nobody has asked for input reports since
	})
}

// TestLeavesBus: gone for a moment at each transfer.
func TestLeavesBus(t *testing.T) {
	plugIn(t, Config{Model: CyberPower(), Gap: 2 * time.Second}, func(t *testing.T, u *UPS, h *host) {
		for _, mains := range []bool{false, true} {
			began := time.Now()
			u.SetMains(mains)
			h.read(packetDisconnect)
			h.announced()
			if took := time.Since(began); took < 2*time.Second || took > 2*time.Second+2*check {
				t.Errorf("away for %v, want 2 s", took)
			}
		}
	})
}

func TestSilentAndLate(t *testing.T) {
	plugIn(t, Config{}, func(t *testing.T, u *UPS, h *host) {
		request := packet{packetControl, 8, unhex(t, "80 01 a1 00 0503 0000 4000")}
		cancel := packet{packetCancel, 8, nil}
		u.Behave(Silent, 0)
		h.write(hex.EncodeToString(request.encode(true)))
		h.quiet(time.Minute)
		h.write(hex.EncodeToString(cancel.encode(true)))
		if got := h.read(packetControl); got.id != 8 || got.body[3] != statusCancelled {
			t.Errorf("cancelled: %d %x", got.id, got.body)
		}
		u.Behave(Late, 3*time.Second)
		began := time.Now()
		h.write(hex.EncodeToString(request.encode(true)))
		if got := h.read(packetControl); got.body[3] != statusSuccess || time.Since(began) != 3*time.Second {
			t.Errorf("late: %x after %v, want it after 3 s", got.body, time.Since(began))
		}
		h.write(hex.EncodeToString(cancel.encode(true))) // of what was answered
		h.quiet(time.Second)
	})
}

// TestBadPeers: the connection ends, with a reason.
func TestBadPeers(t *testing.T) {
	var many strings.Builder
	for range maxPending + 1 {
		many.WriteString(hex.EncodeToString(packet{packetControl, uint64(many.Len()), make([]byte, controlHead)}.encode(true)))
	}
	for name, tt := range map[string]struct{ hello, sends, want string }{
		"no hello":       {"05000000" + "00000000" + "00000000", "", "want a hello"},
		"short hello":    {"00000000" + "04000000" + "00000000" + "00000000", "", "want a hello"},
		"too long":       {peerHello, "64000000" + "ffffffff" + "0000000000000000", "want at most"},
		"short control":  {peerHello, "64000000" + "02000000" + "0000000000000000" + "0000", "control packet of 2 bytes"},
		"cut short":      {peerHello, "64000000" + "0a000000" + "0000000000000000" + "0000", "read packet of type 100"},
		"never finished": {peerHello, many.String(), "control transfers under way"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUPS(t, Config{})
				u.Behave(Silent, 0)
				ours, theirs := net.Pipe()
				go io.Copy(io.Discard, ours)
				served := make(chan error, 1)
				go func() { served <- u.ServeRedir(theirs) }()
				ours.Write(unhex(t, tt.hello))
				time.Sleep(time.Second) // it is announced
				ours.Write(unhex(t, tt.sends))
				ours.Close()
				if err := <-served; err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("ServeRedir: %v, want an error with %q", err, tt.want)
				}
			})
		})
	}
}

// TestStuckPeer: one that does not read any more is given up.
func TestStuckPeer(t *testing.T) {
	plugIn(t, Config{}, func(t *testing.T, u *UPS, h *host) {
		h.listen()
		time.Sleep(writeLimit + time.Second)
		h.conn.SetReadDeadline(time.Now().Add(time.Second))
		if rest, err := io.ReadAll(h.conn); err != nil {
			t.Errorf("the connection is still open: %x, %v", rest, err)
		}
	})
}

func TestListen(t *testing.T) {
	u := newUPS(t, Config{})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- u.ListenRedir(l) }()
	for range 2 { // as a machine that is started anew
		conn, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		h := &host{t: t, conn: conn}
		h.read(packetHello)
		h.write(peerHello)
		h.wide = true
		h.announced()
		conn.Close()
	}
	u.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", l.Addr().String()); err == nil {
		t.Error("still listening after Close")
	}
}

// FuzzRedir: whatever the peer sends, the device answers in whole packets and ends with
// the connection.
func FuzzRedir(f *testing.F) {
	start, err := hex.DecodeString(peerHello)
	if err != nil {
		f.Fatal(err)
	}
	control := packet{packetControl, 1, []byte{0x80, 6, 0x80, 0, 0, 1, 0, 0, 18, 0}}.encode(true)
	f.Add(control)
	f.Add(append(packet{packetStartInterrupt, 1, []byte{endpointIn}}.encode(true), control...))
	f.Add(packet{packetControl, 2, []byte{0, 9, 0x21, 0, 6, 3, 0, 0, 3, 0, 6, 20, 0}}.encode(true))
	f.Add(packet{packetSetAlternate, 2, []byte{0}}.encode(true))
	answers := []uint32{
		packetHello, packetInterfaces, packetEndpoints, packetConnect, packetConfigStatus, packetAlternateStatus,
		packetInterruptStatus, packetControl, packetInterrupt,
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		u, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- u.ServeRedir(theirs) }()
		go func() {
			ours.Write(start)
			ours.Write(sent)
			ours.Write(packet{packetGetConfig, 77, nil}.encode(true))
			time.Sleep(time.Millisecond)
			ours.Close()
		}()
		for wide := false; ; wide = true {
			p, err := readPacket(ours, wide)
			if err != nil {
				break // closed, may be while it was being sent
			}
			if !slices.Contains(answers, p.kind) {
				t.Fatalf("packet of type %d with % x", p.kind, p.body)
			}
		}
		<-served
		u.Close()
	})
}
