package agent

import (
	"net"
	"sync"
)

// maxConns is how many connections one listener serves at a time. Scrapers and commands
// need a handful; whoever opens thousands must not take the descriptors and the memory
// that polls and steps need.
const maxConns = 64

// limited hands out at most maxConns connections at a time. More wait in the kernel's
// queue, which is bounded.
type limited struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func limitConns(l net.Listener) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, maxConns), done: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed.
type limitedConn struct {
	net.Conn
	free func()
}

func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
