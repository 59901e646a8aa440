package snmpups

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Fault is a way to break the wire.
type Fault int

// The faults. None is a healthy card.
const (
	None    Fault = iota
	Mute          // takes requests, never answers
	Garbage       // answers with octets that are no SNMP
	Partial       // answers the first half of the reply
	Late          // answers after a delay
	Gone          // nobody listens at the port
)

// Limits is what the card can take in one request; zero fields are no limit.
type Limits struct {
	Binds   int  // more objects than this: tooBig
	Octets  int  // a longer reply than this: tooBig
	Drop    bool // stay silent instead of saying tooBig, as some cards do
	OnlyV1  bool // do not answer v2c
	NoBulk  bool // stay silent on GETBULK
	V1Rules bool // answer noSuchName in v2c too, instead of an exception per object
}

// Counts is how many requests of each kind arrived with the right community.
type Counts struct{ Get, GetNext, GetBulk, Set, Other int }

// All is the sum.
func (c Counts) All() int { return c.Get + c.GetNext + c.GetBulk + c.Set + c.Other }

// Agent is an SNMP agent on a UDP port of the loopback interface. All methods may be
// called at any time from any goroutine.
type Agent struct {
	objects   table
	community string
	addr      *net.UDPAddr

	mu     sync.Mutex
	writes writes
	conn   *net.UDPConn // nil while gone or closed
	fault  Fault
	delay  time.Duration
	limits Limits
	counts Counts
	closed bool
	wg     sync.WaitGroup
}

// Listen starts an agent at addr ("127.0.0.1:0" for a free port) that answers
// requests with the community.
func Listen(addr, community string) (*Agent, error) {
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a := &Agent{community: community}
	if err := a.open(udp); err != nil {
		return nil, err
	}
	return a, nil
}

// open needs a.mu, except from Listen.
func (a *Agent) open(addr *net.UDPAddr) error {
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	a.conn, a.addr = conn, conn.LocalAddr().(*net.UDPAddr)
	a.wg.Go(func() { a.serve(conn) })
	return nil
}

// Addr is host:port.
func (a *Agent) Addr() string { return a.addr.String() }

// Close stops the agent and waits for replies under way. It may be called twice.
func (a *Agent) Close() error {
	a.mu.Lock()
	a.closed = true
	a.hangUp()
	a.mu.Unlock()
	a.wg.Wait()
	return nil
}

func (a *Agent) hangUp() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

// Break changes how requests are answered from now on. The delay is for Late. Coming
// back from Gone can fail when another program has taken the port.
func (a *Agent) Break(f Fault, delay time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault, a.delay = f, delay
	switch {
	case f == Gone:
		a.hangUp()
	case a.conn == nil && !a.closed:
		return a.open(a.addr)
	}
	return nil
}

// Limit changes what the card can take.
func (a *Agent) Limit(l Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits = l
}

// Counts returns the requests so far, and ResetCounts starts anew.
func (a *Agent) Counts() Counts {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts
}

// ResetCounts sets the counter of requests to zero.
func (a *Agent) ResetCounts() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts = Counts{}
}

// Load replaces all objects. With fileOrder GETNEXT follows the list as it stands
// instead of the order of the identifiers, which is what a badly written agent does.
func (a *Agent) Load(list []Binding, fileOrder bool) { a.objects.load(list, fileOrder) }

// Set makes or changes one object; Remove takes it away.
func (a *Agent) Set(oid OID, v Value) { a.objects.set(oid, v) }

// Remove takes an object away; one that is not there is no error.
func (a *Agent) Remove(oid OID) { a.objects.remove(oid) }

// Object returns an object's value, and false where there is none.
func (a *Agent) Object(oid OID) (Value, bool) { return a.objects.get(oid) }

func (a *Agent) serve(conn *net.UDPConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for an earlier reply
		}
		if reply, delay := a.reply(buf[:n]); reply != nil && delay == 0 {
			conn.WriteToUDPAddrPort(reply, from)
		} else if reply != nil {
			a.wg.Go(func() {
				time.Sleep(delay)
				conn.WriteToUDPAddrPort(reply, from)
			})
		}
	}
}

// reply is what goes back, nil for nothing, and how long it takes.
func (a *Agent) reply(datagram []byte) ([]byte, time.Duration) {
	request, err := decodeMessage(datagram)
	if err != nil {
		return nil, 0
	}
	a.mu.Lock()
	fault, delay, limits, writes := a.fault, a.delay, a.limits, a.writes
	known := request.community == a.community || writes.by(request.community)
	if known {
		a.count(request.pdu)
	}
	a.mu.Unlock()
	if !known {
		return nil, 0 // RFC 1157, section 4.1: discarded
	}
	answer := a.answer(&request, limits, writes)
	if answer == nil || fault == Mute {
		return nil, 0
	}
	switch out := answer.encode(); fault {
	case Garbage:
		return []byte("\x30\x7fnot what you asked for"), 0
	case Partial:
		return out[:len(out)/2], 0
	case Late:
		return out, delay
	default:
		return out, 0
	}
}

func (a *Agent) count(pdu byte) {
	switch pdu {
	case pduGet:
		a.counts.Get++
	case pduGetNext:
		a.counts.GetNext++
	case pduGetBulk:
		a.counts.GetBulk++
	case pduSet:
		a.counts.Set++
	default:
		a.counts.Other++
	}
}

// Objects returns a copy of all objects in walking order.
func (a *Agent) Objects() []Binding { return a.objects.all() }
