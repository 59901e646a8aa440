package vm

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// An Event is something QEMU tells of the machine, such as SHUTDOWN or DEVICE_DELETED.
type Event struct {
	At   time.Time // when it came in
	Name string
	Data json.RawMessage
}

// monitor is a connection to QEMU itself. Answers and events come interleaved.
type monitor struct {
	conn net.Conn

	mu      sync.Mutex
	next    int
	pending map[int]chan qmpMessage
	events  []Event
	closed  bool
}

type qmpMessage struct {
	ID     *int            `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class, Desc string
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

func newMonitor(conn net.Conn) *monitor {
	m := &monitor{conn: conn, pending: map[int]chan qmpMessage{}}
	go m.read()
	return m
}

func (m *monitor) read() {
	in := json.NewDecoder(m.conn)
	for {
		var msg qmpMessage
		err := in.Decode(&msg)
		m.mu.Lock()
		switch {
		case err != nil:
			m.closed = true
			for id, ch := range m.pending {
				close(ch)
				delete(m.pending, id)
			}
		case msg.Event != "":
			m.events = append(m.events, Event{At: time.Now(), Name: msg.Event, Data: msg.Data})
		case msg.ID != nil && m.pending[*msg.ID] != nil:
			m.pending[*msg.ID] <- msg
			delete(m.pending, *msg.ID)
		}
		m.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// run gives one command and decodes what it returns into out, unless that is nil.
func (m *monitor) run(command string, args, out any, within time.Duration) error {
	ch := make(chan qmpMessage, 1)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return fmt.Errorf("qmp %s: the machine is off", command)
	}
	m.next++
	id := m.next
	m.pending[id] = ch
	m.mu.Unlock()
	request := map[string]any{"execute": command, "id": id}
	if args != nil {
		request["arguments"] = args
	}
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	if _, err := m.conn.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case msg, ok := <-ch:
		switch {
		case !ok:
			return fmt.Errorf("qmp %s: the machine went off before it answered", command)
		case msg.Error != nil:
			return fmt.Errorf("qmp %s: %s: %s", command, msg.Error.Class, msg.Error.Desc)
		case out == nil:
			return nil
		}
		return json.Unmarshal(msg.Return, out)
	case <-time.After(within):
		return fmt.Errorf("qmp %s: no answer within %v", command, within)
	}
}

func (m *monitor) all() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}
