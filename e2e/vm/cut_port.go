package vm

import (
	"bufio"
	"encoding/json"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/vm/internal/ledger"
)

// cutPort is a serial line from the guest's recorder to the test. What was written to it has
// left the machine.
type cutPort struct {
	listener net.Listener

	mu      sync.Mutex
	entries []stamped
	more    chan struct{} // closed and replaced with each entry
	bad     string        // a line that could not be read
	closed  chan struct{} // all of this boot has been read
}

// stamped is an entry with the time it came.
type stamped struct {
	at time.Time
	ledger.Entry
}

// Attach implements Device. QEMU connects.
func (p *cutPort) Attach(m *Machine) []string {
	p.listener = m.listen("cut")
	p.entries, p.more, p.closed = nil, make(chan struct{}), make(chan struct{})
	go p.read(p.listener, p.closed)
	return []string{
		"-chardev", "socket,id=cut,path=" + m.path("cut.sock"),
		"-device", "virtserialport,chardev=cut,name=dodai.cut",
	}
}

func (p *cutPort) read(l net.Listener, closed chan struct{}) {
	defer close(closed)
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return // what is left is half a line: it was not told
		}
		s := stamped{at: time.Now()}
		bad := json.Unmarshal(line, &s.Entry)
		p.mu.Lock()
		if bad != nil {
			p.bad = string(line)
		}
		p.entries = append(p.entries, s)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

// Cut implements Device.
func (p *cutPort) Cut() {}

// Detach implements Device.
func (p *cutPort) Detach() { p.listener.Close() }

// wait returns what was told up to the first entry of a kind, in this boot. The test fails
// where none comes.
func (p *cutPort) wait(t testing.TB, kind ledger.Kind, within time.Duration, off <-chan struct{}) []stamped {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	for n := 0; ; {
		p.mu.Lock()
		entries, more := p.entries, p.more
		p.mu.Unlock()
		for ; n < len(entries); n++ {
			if entries[n].Kind == kind {
				return entries[:n+1]
			}
		}
		select {
		case <-more:
		case <-off:
			t.Fatalf("the machine is off before it told of %s", kind)
		case <-timer.C:
			t.Fatalf("nothing of %s within %v", kind, within)
		}
	}
}

// all returns what was told in the boot that has ended.
func (p *cutPort) all(t testing.TB) []stamped {
	t.Helper()
	<-p.closed
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bad != "" {
		t.Fatalf("the recorder told %.300q", p.bad)
	}
	return p.entries
}
