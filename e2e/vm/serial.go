package vm

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/sim/megatec"
)

// A Query is one request that came over a serial line, without its CR.
type Query struct {
	At   time.Time // when its CR came
	Text string
}

// A SerialUPS is a simulated Megatec UPS on the machine's second serial port, /dev/ttyS1.
// It outlasts boots, as a real one does. Whether it still feeds the machine is for the
// test to see (Output) and to act on (Machine.Kill).
type SerialUPS struct {
	*megatec.UPS

	mu      sync.Mutex
	queries []Query
	line    net.Listener
}

// NewSerialUPS makes a UPS that lives as long as the test.
func NewSerialUPS(t testing.TB, cfg megatec.Config) *SerialUPS {
	t.Helper()
	u := &SerialUPS{UPS: megatec.Detached(cfg)}
	t.Cleanup(func() { u.UPS.Close() })
	return u
}

// Attach implements Device.
func (u *SerialUPS) Attach(m *Machine) []string {
	u.line = m.listen("ups")
	go u.serve(u.line)
	return []string{"-chardev", "socket,id=ups,path=" + m.path("ups.sock") + ",reconnect=1", "-serial", "chardev:ups"}
}

func (u *SerialUPS) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go u.UPS.Serve(&wire{Conn: c, ups: u})
	}
}

// Cut implements Device.
func (u *SerialUPS) Cut() {}

// Detach implements Device.
func (u *SerialUPS) Detach() { u.line.Close() }

// Queries are the requests that came after since.
func (u *SerialUPS) Queries(since time.Time) []Query {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, q := range u.queries {
		if q.At.After(since) {
			return u.queries[i:len(u.queries):len(u.queries)]
		}
	}
	return nil
}

// wire notes what comes over a line.
type wire struct {
	net.Conn
	ups  *SerialUPS
	part []byte
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	now := time.Now()
	w.part = append(w.part, b[:n]...)
	for {
		text, rest, ok := bytes.Cut(w.part, []byte("\r"))
		if !ok {
			break
		}
		w.ups.mu.Lock()
		w.ups.queries = append(w.ups.queries, Query{At: now, Text: string(text)})
		w.ups.mu.Unlock()
		w.part = rest
	}
	if len(w.part) > 1024 {
		w.part = nil // nobody's request
	}
	return n, err
}
