package e2e

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// fault is a way in which a device, or the way to it, misbehaves.
type fault int

const (
	healthy    fault = iota
	garbage          // answers, but with bytes that mean nothing
	silence          // takes requests, never answers
	half             // stops in the middle of each answer
	disconnect       // is gone, or hangs up
)

func (f fault) String() string {
	return [...]string{"healthy", "garbage", "silence", "half reply", "disconnect"}[f]
}

const nonsense = "\xfe\x00~9z)(@!#\x7f 12 ?? \r\n(\x01\n"

// spoil is what becomes of an answer.
func (f fault) spoil(answer []byte) []byte {
	switch f {
	case garbage:
		return []byte(nonsense)
	case silence:
		return nil
	case half:
		return answer[:len(answer)/2]
	}
	return answer
}

// faulty is the present fault of a proxy.
type faulty struct {
	mu  sync.Mutex
	now fault
}

func (f *faulty) get() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *faulty) set(to fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = to
}

// streamProxy stands before a TCP server and spoils what it says.
type streamProxy struct {
	faulty
	l     net.Listener
	to    string
	mu    sync.Mutex
	conns []net.Conn
}

func newStreamProxy(t *testing.T, to string) *streamProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &streamProxy{l: l, to: to}
	var wg sync.WaitGroup
	wg.Go(func() { p.serve(&wg) })
	t.Cleanup(func() {
		l.Close()
		p.hangUp()
		wg.Wait()
	})
	return p
}

func (p *streamProxy) addr() string { return p.l.Addr().String() }

func (p *streamProxy) serve(wg *sync.WaitGroup) {
	for {
		down, err := p.l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.to)
		if err != nil || p.get() == disconnect {
			down.Close()
			if err == nil {
				up.Close()
			}
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, down, up)
		p.mu.Unlock()
		wg.Go(func() { io.Copy(up, down); up.Close() })
		wg.Go(func() { p.answer(down, up) })
	}
}

// answer passes on what the server says, spoilt.
func (p *streamProxy) answer(down, up net.Conn) {
	defer down.Close()
	buf := make([]byte, 4096)
	for {
		n, err := up.Read(buf)
		if err != nil {
			return
		}
		if _, err := down.Write(p.get().spoil(buf[:n])); err != nil {
			return
		}
	}
}

// behave takes another fault in force. With disconnect the open connections end.
func (p *streamProxy) behave(f fault) {
	p.set(f)
	if f == disconnect {
		p.hangUp()
	}
}

func (p *streamProxy) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// packetProxy stands before a UDP server and spoils what it says.
type packetProxy struct {
	faulty
	conn net.PacketConn
	mu   sync.Mutex
	ups  map[string]net.Conn // by the client's address
}

func newPacketProxy(t *testing.T, to string) *packetProxy {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &packetProxy{conn: conn, ups: map[string]net.Conn{}}
	var wg sync.WaitGroup
	wg.Go(func() { p.serve(to, &wg) })
	t.Cleanup(func() {
		conn.Close()
		p.mu.Lock()
		for _, up := range p.ups {
			up.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

func (p *packetProxy) addr() string { return p.conn.LocalAddr().String() }

func (p *packetProxy) serve(to string, wg *sync.WaitGroup) {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		up := p.ups[from.String()]
		if up == nil {
			if up, err = net.Dial("udp", to); err == nil {
				p.ups[from.String()] = up
				wg.Go(func() { p.answer(up, from) })
			}
		}
		p.mu.Unlock()
		if up != nil {
			up.Write(buf[:n])
		}
	}
}

func (p *packetProxy) answer(up net.Conn, to net.Addr) {
	buf := make([]byte, 4096)
	for {
		n, err := up.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error: the server is gone for now
		}
		if spoilt := p.get().spoil(buf[:n]); spoilt != nil {
			p.conn.WriteTo(spoilt, to)
		}
	}
}
