package snmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai/drivers"
)

// maxObjects is the most objects in one request: gosnmp's own bound, and about what
// an answer of 1,400 octets holds.
const maxObjects = 60

// reply is an answer as it came: status and index are SNMP's error fields.
type reply struct {
	status gosnmp.SNMPError
	index  int
	binds  []varbind
}

// requester asks one request and waits for its answer. The error wraps a sentinel of
// package drivers; an error the agent itself reports stands in reply.status.
type requester interface {
	get(ctx context.Context, oids []string) (reply, error)
	next(ctx context.Context, oids []string) (reply, error)
	bulk(ctx context.Context, oid string, rows uint32) (reply, error)
	set(ctx context.Context, a assignment) (reply, error)
	v1() bool
	Close() error
}

// client is a requester over UDP. Answers to older requests are dropped by their
// request id, and the socket is connected, so that nobody else's are read.
type client struct {
	snmp  *gosnmp.GoSNMP
	conn  *boundConn
	read  string // community for reading
	write string // and for writing, versions 1 and 2c
}

var _ requester = (*client)(nil)

// dial opens the socket. SNMP over UDP sends nothing for that.
func dial(ctx context.Context, s config, version gosnmp.SnmpVersion) (*client, error) {
	g := &gosnmp.GoSNMP{
		Target: s.host, Port: s.port, Transport: "udp", Community: s.community, Version: version,
		Timeout: s.timeout, Retries: s.retries, MaxOids: maxObjects, Context: ctx,
	}
	if version == gosnmp.Version3 {
		s.v3.apply(g)
	}
	if err := g.Connect(); err != nil {
		return nil, transportError(err)
	}
	c := &client{snmp: g, conn: &boundConn{Conn: g.Conn, ctx: ctx}, read: s.community, write: s.write}
	g.Conn = c.conn
	return c, nil
}

func (c *client) v1() bool     { return c.snmp.Version == gosnmp.Version1 }
func (c *client) Close() error { return c.snmp.Close() }

func (c *client) get(ctx context.Context, oids []string) (reply, error) {
	return c.ask(ctx, func() (*gosnmp.SnmpPacket, error) { return c.snmp.Get(oids) })
}

func (c *client) next(ctx context.Context, oids []string) (reply, error) {
	return c.ask(ctx, func() (*gosnmp.SnmpPacket, error) { return c.snmp.GetNext(oids) })
}

func (c *client) bulk(ctx context.Context, oid string, rows uint32) (reply, error) {
	return c.ask(ctx, func() (*gosnmp.SnmpPacket, error) { return c.snmp.GetBulk([]string{oid}, 0, rows) })
}

// set assigns a value, with the community for writing.
func (c *client) set(ctx context.Context, a assignment) (reply, error) {
	c.snmp.Community = c.write
	defer func() { c.snmp.Community = c.read }()
	return c.ask(ctx, func() (*gosnmp.SnmpPacket, error) { return c.snmp.Set([]gosnmp.SnmpPDU{a.pdu()}) })
}

// ask runs one exchange under ctx.
func (c *client) ask(ctx context.Context, exchange func() (*gosnmp.SnmpPacket, error)) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, drivers.Unreachable(err)
	}
	c.snmp.Context, c.conn.ctx = ctx, ctx
	stop := context.AfterFunc(ctx, c.conn.expire)
	defer stop()
	p, err := exchange()
	if ctx.Err() != nil && err != nil {
		return reply{}, drivers.Unreachable(fmt.Errorf("no answer: %w", ctx.Err()))
	}
	if err != nil {
		return reply{}, transportError(err)
	}
	return readPacket(p)
}

// readPacket checks what gosnmp lets pass: it takes a request id of 0 for any request
// and does not look at the id of an answer without objects.
func readPacket(p *gosnmp.SnmpPacket) (reply, error) {
	tooBig := p.Error == gosnmp.TooBig // v2c sends it without objects
	switch {
	case p.PDUType != gosnmp.GetResponse:
		return reply{}, fmt.Errorf("%w: PDU %v: want a response", drivers.ErrProtocol, p.PDUType)
	case p.RequestID == 0:
		return reply{}, fmt.Errorf("%w: an answer with request id 0", drivers.ErrProtocol)
	case len(p.Variables) == 0 && p.Error == gosnmp.NoError:
		return reply{}, fmt.Errorf("%w: an answer without objects", drivers.ErrProtocol)
	case p.Error == gosnmp.AuthorizationError || p.Error == gosnmp.NoAccess:
		return reply{}, fmt.Errorf("%w: the card answers %v", drivers.ErrDenied, p.Error)
	}
	r := reply{status: p.Error, index: int(p.ErrorIndex)}
	if tooBig {
		return r, nil
	}
	for _, v := range p.Variables {
		r.binds = append(r.binds, fromPDU(v))
	}
	return r, nil
}

// deniedErrors are what an agent of v3 says when it does not know us.
var deniedErrors = []error{
	gosnmp.ErrUnknownUsername, gosnmp.ErrWrongDigest, gosnmp.ErrDecryption,
	gosnmp.ErrUnknownSecurityLevel, gosnmp.ErrUnknownSecurityModels, gosnmp.ErrNotInTimeWindow, gosnmp.ErrUnknownEngineID,
}

// transportError puts gosnmp's errors under our sentinels. Its time-outs are plain
// text, and whatever is left is an answer it could not decode.
func transportError(err error) error {
	for _, denied := range deniedErrors {
		if errors.Is(err, denied) {
			return fmt.Errorf("%w: %w", drivers.ErrDenied, err)
		}
	}
	if c := drivers.Classify(err); !errors.Is(c, drivers.ErrUnreachable) && !errors.Is(c, drivers.ErrDenied) {
		text := cut(err.Error(), 200) // a caught panic comes with its stack
		switch {
		case strings.Contains(text, "timeout"):
			return fmt.Errorf("%w: %s", drivers.ErrUnreachable, text)
		case strings.Contains(text, "not authentic"): // a report on a wrong digest comes without one
			return fmt.Errorf("%w: %s", drivers.ErrDenied, text)
		}
		return fmt.Errorf("%w: %s", drivers.ErrProtocol, text)
	} else {
		return c
	}
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// boundConn ends a read when ctx ends: gosnmp itself looks at a context's deadline,
// not at its cancellation. It is no net.PacketConn, so gosnmp uses plain Read.
type boundConn struct {
	net.Conn
	ctx context.Context
}

// expire makes reads and writes under way return.
func (b *boundConn) expire() { b.Conn.SetDeadline(time.Unix(1, 0)) }

// SetDeadline never moves the deadline of an ended context.
func (b *boundConn) SetDeadline(t time.Time) error {
	err := b.Conn.SetDeadline(t)
	if b.ctx.Err() != nil {
		b.expire()
	}
	return err
}
