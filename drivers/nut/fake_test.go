package nut

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers/driverstest"
)

// fakeUPSD answers as upsd 2.8.0 does. It shares no code with the driver, so that a
// wrong idea of the protocol is not confirmed by itself.
type fakeUPSD struct {
	l net.Listener

	mu        sync.Mutex
	upses     []string          // names, in the order of LIST UPS
	vars      map[string]string // the same variables for every UPS
	errs      map[string]string // request, or the start of one -> "DATA-STALE" …
	raw       string            // if not empty, what LIST VAR is answered with
	cert      *tls.Config       // nil: no STARTTLS
	behaviour driverstest.Behaviour
	delay     time.Duration
	requests  []string
	control   fakeControl
	conns     []net.Conn
	opened    int
}

func newFake(t testing.TB, upses ...string) *fakeUPSD {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeUPSD{l: l, upses: upses, errs: map[string]string{}, control: newFakeControl(), vars: map[string]string{
		"ups.status": "OL", "battery.charge": "100", "device.serial": "007", "ups.load": "020",
		"ups.delay.shutdown": "30", "ups.delay.start": "180",
	}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns, f.opened = append(f.conns, c), f.opened+1
			f.mu.Unlock()
			wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.hangUp()
		wg.Wait()
	})
	return f
}

func (f *fakeUPSD) addr() string { return f.l.Addr().String() }

// hangUp closes all connections.
func (f *fakeUPSD) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Close()
	}
	f.conns = nil
}

func (f *fakeUPSD) change(change func(f *fakeUPSD)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// seen returns the requests so far and how many connections there were.
func (f *fakeUPSD) seen() (requests []string, opened int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.requests...), f.opened
}

func (f *fakeUPSD) serve(c net.Conn) {
	defer func() { c.Close() }()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		f.mu.Lock()
		f.requests = append(f.requests, line)
		reply, behaviour, delay, cert := f.answer(line), f.behaviour, f.delay, f.cert
		f.mu.Unlock()
		if !deliver(c, reply, behaviour, delay) {
			return
		}
		if reply == "OK STARTTLS\n" {
			over := tls.Server(c, cert)
			c, r = over, bufio.NewReader(over)
		}
	}
}

// deliver sends reply the way behaviour wants it; false hangs up.
func deliver(c net.Conn, reply string, behaviour driverstest.Behaviour, delay time.Duration) bool {
	switch behaviour {
	case driverstest.Silent:
		return true
	case driverstest.Garbage:
		reply = "\x00\x17\"%$ 0x1p-2 NaN\r\n\xff\xfe"
	case driverstest.Partial, driverstest.Disconnect:
		reply = reply[:len(reply)/2]
	case driverstest.Late:
		time.Sleep(delay)
	}
	_, err := c.Write([]byte(reply))
	return err == nil && behaviour != driverstest.Disconnect
}

func (f *fakeUPSD) answer(line string) string {
	for request, token := range f.errs {
		if strings.HasPrefix(line, request) {
			return "ERR " + token + "\n"
		}
	}
	words := strings.Fields(line)
	if reply := f.control.answer(f, words); reply != "" {
		return reply
	}
	switch {
	case line == "STARTTLS" && f.cert == nil:
		return "ERR FEATURE-NOT-CONFIGURED\n"
	case line == "STARTTLS":
		return "OK STARTTLS\n"
	case line == "LIST UPS":
		return f.listUPS()
	case len(words) == 3 && words[0] == "LIST" && words[1] == "VAR":
		return f.listVar(words[2])
	case len(words) == 2 && (words[0] == "USERNAME" || words[0] == "PASSWORD" || words[0] == "LOGIN"):
		return "OK\n"
	default:
		return "ERR UNKNOWN-COMMAND\n"
	}
}

func (f *fakeUPSD) listUPS() string {
	var b strings.Builder
	b.WriteString("BEGIN LIST UPS\n")
	for _, name := range f.upses {
		fmt.Fprintf(&b, "UPS %s \"Description unavailable\"\n", name)
	}
	return b.String() + "END LIST UPS\n"
}

func (f *fakeUPSD) listVar(ups string) string {
	if f.raw != "" {
		return f.raw
	}
	known := false
	for _, name := range f.upses {
		known = known || name == ups
	}
	if !known {
		return "ERR UNKNOWN-UPS\n"
	}
	return listVarReply(ups, f.vars)
}

func listVarReply(ups string, vars map[string]string) string {
	var b strings.Builder
	b.WriteString("BEGIN LIST VAR " + ups + "\n")
	for name, value := range vars {
		for _, c := range []string{`\`, `"`, `#`} {
			value = strings.ReplaceAll(value, c, `\`+c)
		}
		fmt.Fprintf(&b, "VAR %s %s \"%s\"\n", ups, name, value)
	}
	return b.String() + "END LIST VAR " + ups + "\n"
}

// The suite's view of it.
type fakePeer struct{ f *fakeUPSD }

func (p fakePeer) Options() map[string]string {
	return map[string]string{"address": p.f.addr() + "/u1", "username": "u", "password": "p"}
}

func (p fakePeer) CutPending() (pending bool) {
	p.f.change(func(f *fakeUPSD) { pending = f.control.cut })
	return pending
}

func (p fakePeer) Behave(b driverstest.Behaviour, delay time.Duration) {
	p.f.change(func(f *fakeUPSD) { f.behaviour, f.delay = b, delay })
}

func (p fakePeer) Flip(state int) {
	status := [...]string{"OL", "OB LB"}[state]
	p.f.change(func(f *fakeUPSD) { f.vars["ups.status"] = status })
}
