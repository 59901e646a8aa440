package ipmi_test

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers/driverstest"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// proxy stands between the driver and ipmi_sim and spoils what the BMC says. Silence is
// a stopped process and a disconnect a killed one, as with a real BMC.
type proxy struct {
	t    *testing.T
	sim  *peer.IPMISim
	conn net.PacketConn

	mu        sync.Mutex
	behaviour driverstest.Behaviour
	delay     time.Duration
	upstream  map[string]net.Conn // by the driver's address
	state     int
	rng       *rand.Rand
}

func newProxy(t *testing.T) driverstest.Peer {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, sim: peer.StartIPMISim(t), conn: conn, upstream: map[string]net.Conn{}, rng: rand.New(rand.NewPCG(1, 2))}
	var wg sync.WaitGroup
	wg.Go(func() { p.forward(&wg) })
	t.Cleanup(func() {
		conn.Close()
		p.mu.Lock()
		for _, c := range p.upstream {
			c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

func (p *proxy) Options() map[string]string { return options(p.conn.LocalAddr().String()) }

// forward takes the driver's datagrams to the BMC, one socket per socket of the driver.
func (p *proxy) forward(wg *sync.WaitGroup) {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		up := p.upstream[from.String()]
		if up == nil {
			if up, err = net.Dial("udp", p.sim.Addr()); err == nil {
				p.upstream[from.String()] = up
				wg.Go(func() { p.backward(up, from) })
			}
		}
		garbage := p.behaviour == driverstest.Garbage
		p.mu.Unlock()
		switch {
		case garbage:
			p.conn.WriteTo(p.nonsense(buf[:n]), from)
		case up != nil:
			up.Write(buf[:n])
		}
	}
}

func (p *proxy) backward(up net.Conn, to net.Addr) {
	buf := make([]byte, 4096)
	for {
		n, err := up.Read(buf)
		if err != nil {
			if ne, ok := err.(interface{ Temporary() bool }); ok && ne.Temporary() {
				time.Sleep(time.Millisecond)
				continue // refused while the BMC restarts
			}
			return
		}
		p.mu.Lock()
		behaviour, delay := p.behaviour, p.delay
		p.mu.Unlock()
		b := append([]byte(nil), buf[:n]...)
		switch behaviour {
		case driverstest.Partial:
			p.conn.WriteTo(b[:n/2], to)
		case driverstest.Late:
			time.AfterFunc(delay, func() { p.conn.WriteTo(b, to) })
		default:
			p.conn.WriteTo(b, to)
		}
	}
}

// nonsense is a random datagram: noise, a frame cut short, or one that claims to be an
// encrypted message of whoever asked.
func (p *proxy) nonsense(request []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := make([]byte, p.rng.IntN(120))
	for i := range b {
		b[i] = byte(p.rng.Uint32())
	}
	if p.rng.IntN(2) == 0 {
		copy(b, request[:min(len(request), 14)])
	}
	return b
}

func (p *proxy) Behave(b driverstest.Behaviour, delay time.Duration) {
	p.mu.Lock()
	p.behaviour, p.delay = b, delay
	p.mu.Unlock()
	switch b {
	case driverstest.Silent:
		p.sim.Pause()
	case driverstest.Disconnect:
		p.sim.Stop()
	case driverstest.Normal:
		p.sim.Resume()
		select {
		case <-p.sim.Done():
			p.sim.Restart()
		default:
		}
		p.apply()
	}
}

// Flip makes the second supply lose its input. The console of a BMC that is stopped or
// dead does not answer, so then it happens when it is back.
func (p *proxy) Flip(state int) {
	p.mu.Lock()
	p.state = state
	alive := p.behaviour != driverstest.Silent && p.behaviour != driverstest.Disconnect
	p.mu.Unlock()
	if alive {
		p.apply()
	}
}

func (p *proxy) apply() {
	p.sim.SetBit(peer.IPMIStatus+1, 3, p.state == 1)
	p.sim.SetBit(peer.IPMIRedundancy, 0, p.state == 0)
	p.sim.SetBit(peer.IPMIRedundancy, 1, p.state == 1)
}
