package action

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

const (
	defaultSilence = 3 * time.Second
	lookEvery      = 500 * time.Millisecond
	lookWait       = 1500 * time.Millisecond // a kernel on the same network accepts within milliseconds
	maxAddresses   = 8                       // of one name
)

// WaitFor waits until peers are off: until the port of each has refused connections, or
// not answered, for a while without a break. Peers that are off already cost just that
// while. What this host cannot find out because it has no network, or nobody tells it
// the address, counts neither way, so that a switch without power does not make it go
// down before those who need it.
type WaitFor struct {
	config.WaitFor
	look func(ctx context.Context, peer string) sight // nil: over the network
}

// sight is what one look at a peer showed.
type sight struct {
	open  bool
	blind bool  // nothing can be told
	err   error // why it is not open
}

// Kind implements shutdown.Action.
func (WaitFor) Kind() string { return "wait_for" }

// String implements shutdown.Action.
func (w WaitFor) String() string {
	return fmt.Sprintf("wait until %s are silent for %v", strings.Join(w.Peers, ", "), w.silence())
}

func (w WaitFor) silence() time.Duration { return cmp.Or(w.For.D(), defaultSilence) }

// watched is what is known of one peer.
type watched struct {
	sight
	since time.Time // silent without a break; zero: it is not silent
}

// Run implements shutdown.Action.
func (w WaitFor) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	look := w.look
	if look == nil {
		look = newEyes().look
	}
	peers := make([]watched, len(w.Peers))
	for {
		begin := time.Now()
		round := w.lookAtAll(ctx, look)
		if ctx.Err() != nil {
			break
		}
		for i := range peers {
			peers[i].update(round[i], begin)
		}
		if w.over(peers, time.Now()) {
			return shutdown.Failed(nil, "")
		}
		if pause(ctx, lookEvery) != nil {
			break
		}
	}
	return shutdown.Failed(ended(ctx, context.Cause(ctx), "waiting: "+w.state(peers)), "")
}

func (p *watched) update(s sight, begin time.Time) {
	p.sight = s
	switch {
	case s.open || s.blind:
		p.since = time.Time{}
	case p.since.IsZero():
		p.since = begin
	}
}

func (w WaitFor) lookAtAll(ctx context.Context, look func(context.Context, string) sight) []sight {
	round := make([]sight, len(w.Peers))
	var looking sync.WaitGroup
	for i, peer := range w.Peers {
		looking.Go(func() { round[i] = look(ctx, peer) })
	}
	looking.Wait()
	return round
}

func (w WaitFor) over(peers []watched, now time.Time) bool {
	for _, p := range peers {
		if p.since.IsZero() || now.Sub(p.since) < w.silence() {
			return false
		}
	}
	return true
}

// state says who is still there, and of whom nothing is known.
func (w WaitFor) state(peers []watched) string {
	var open, blind, silent []string
	for i, p := range peers {
		switch {
		case p.open:
			open = append(open, w.Peers[i])
		case p.blind:
			blind = append(blind, fmt.Sprintf("%s (%v)", w.Peers[i], p.err))
		case !p.since.IsZero():
			silent = append(silent, w.Peers[i])
		}
	}
	if len(blind) == len(peers) {
		return "nothing can be told of any peer, the cause may be this host's own network: " + strings.Join(blind, ", ")
	}
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"still up: ", open}, {"nothing can be told of ", blind}, {"silent: ", silent}} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+strings.Join(p.names, ", "))
		}
	}
	if len(parts) == 0 {
		return "for the first look at " + strings.Join(w.Peers, ", ")
	}
	return strings.Join(parts, "; ")
}

// Inverse implements shutdown.Action.
func (WaitFor) Inverse() shutdown.Action { return nil }

// Repeatable implements shutdown.Action.
func (WaitFor) Repeatable() bool { return true }

// Check implements shutdown.Action: every name resolves, and there is a way to its
// addresses over an interface that is connected. A peer that is off is no finding.
func (w WaitFor) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	errs := make([]error, len(w.Peers))
	var looking sync.WaitGroup
	for i, peer := range w.Peers {
		looking.Go(func() {
			addresses, err := lookUp(ctx, peer)
			for _, a := range addresses {
				if err = wayTo(a); err == nil {
					break // one way is enough
				}
			}
			errs[i] = err
		})
	}
	looking.Wait()
	return findings(t, "wait_for", errs...)
}

// eyes look at peers over the network. They keep the addresses, because the name server
// may go off before the peers do.
type eyes struct {
	mu        sync.Mutex
	addresses map[string][]string // by peer
}

func newEyes() *eyes { return &eyes{addresses: map[string][]string{}} }

func (e *eyes) look(ctx context.Context, peer string) sight {
	addresses, err := e.of(ctx, peer)
	if err != nil {
		return sight{blind: true, err: err}
	}
	sights := make(chan sight, len(addresses))
	for _, a := range addresses {
		go func() { sights <- lookAt(ctx, a) }()
	}
	seen := sight{blind: true, err: errors.New("no address")}
	for range addresses {
		switch s := <-sights; {
		case s.open:
			return s
		case seen.blind:
			seen = s // one address that can be judged is enough
		}
	}
	return seen
}

func (e *eyes) of(ctx context.Context, peer string) ([]string, error) {
	e.mu.Lock()
	known := e.addresses[peer]
	e.mu.Unlock()
	if known != nil {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	addresses, err := lookUp(ctx, peer)
	if err == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.addresses[peer] = addresses
	}
	return addresses, err
}

// lookUp returns the addresses of a peer, host:port each, at least one.
func lookUp(ctx context.Context, peer string) ([]string, error) {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		return nil, faultf("peer_malformed", "write it as nas:22", "%q is not host:port", peer)
	}
	if net.ParseIP(host) != nil {
		return []string{peer}, nil
	}
	hosts, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil || len(hosts) == 0 {
		return nil, dialFault(peer, err, 0)
	}
	var addresses []string
	for _, h := range hosts[:min(len(hosts), maxAddresses)] {
		addresses = append(addresses, net.JoinHostPort(h, port))
	}
	return addresses, nil
}

// lookAt looks at one address. Refused and silent mean off; a port whose connection
// comes about is up, whatever it says then.
func lookAt(ctx context.Context, address string) sight {
	c, err := (&net.Dialer{Timeout: lookWait}).DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
		return sight{open: true}
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return sight{err: err} // it came from the other end, or from a router on the way
	}
	if way := wayTo(address); way != nil {
		return sight{blind: true, err: way}
	}
	if isTimeout(err) || errors.Is(err, syscall.EHOSTUNREACH) || isBroken(err) {
		return sight{err: err}
	}
	return sight{blind: true, err: dialFault(address, err, lookWait)}
}

// wayTo finds out whether this host could reach address: there is a route, and the
// interface it leads over is connected. Nothing is sent.
func wayTo(address string) error {
	c, err := net.Dial("udp", address)
	if err != nil {
		return dialFault(address, err, 0)
	}
	defer c.Close()
	from, is := c.LocalAddr().(*net.UDPAddr)
	if !is {
		return nil
	}
	return connected(from.IP, address)
}

func connected(from net.IP, address string) error {
	all, err := net.Interfaces()
	if err != nil {
		return nil // what cannot be told is not held against it
	}
	for _, i := range all {
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if n, is := a.(*net.IPNet); is && n.IP.Equal(from) && i.Flags&net.FlagRunning == 0 {
				return faultf("no_carrier", "look at its cable and at the switch", "the way to %s leads over %s, which is not connected", address, i.Name)
			}
		}
	}
	return nil
}
