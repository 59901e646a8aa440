package hidups

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// writeLimit is how long the peer may take to accept a packet.
const writeLimit = 10 * time.Second

// ListenRedir serves everybody who connects to l, one after the other, until the UPS is
// closed, and closes l. A virtual machine that is started anew connects anew.
func (u *UPS) ListenRedir(l net.Listener) error {
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-u.stop:
		case <-ended:
		}
		l.Close()
	}()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		u.ServeRedir(conn) // how it ended is of no interest to the next
	}
}

// ServeRedir plugs the UPS in at the other end of conn, which speaks usbredir as the side
// that has the bus, until conn ends or the UPS is closed. It closes conn. The error is nil
// when it was the UPS that ended it, or the peer between two packets.
func (u *UPS) ServeRedir(conn net.Conn) error {
	r := &redir{u: u, conn: conn, pending: map[uint64]packet{}, ended: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-u.stop:
		case <-r.ended:
		}
		conn.Close()
	})
	err := r.serve(&wg)
	close(r.ended)
	wg.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// maxPending bounds how many control transfers may wait for an answer. The host's USB
// stack has one at a time for each endpoint.
const maxPending = 64

// redir is one connection.
type redir struct {
	u     *UPS
	conn  net.Conn
	wide  bool // ids have 64 bits
	ended chan struct{}

	mu        sync.Mutex // for writing, and for what follows
	there     bool       // the device was announced
	config    byte
	listening bool              // the peer takes input reports
	serial    uint64            // of the next input report
	pending   map[uint64]packet // control transfers without an answer
}

func (r *redir) serve(wg *sync.WaitGroup) error {
	if err := r.write(helloPacket()); err != nil {
		return err
	}
	in := bufio.NewReader(r.conn)
	hello, err := readPacket(in, false)
	if err != nil {
		return err
	}
	caps, err := peerCapabilities(hello)
	if err != nil {
		return err
	}
	r.wide = caps&(1<<capIDs64) != 0
	wg.Go(func() { r.u.drive(r, r.ended) })
	for {
		p, err := readPacket(in, r.wide)
		if err != nil {
			return err
		}
		if err := r.take(wg, p); err != nil {
			return err
		}
	}
}

// write sends one packet whole. The caller holds r.mu once others may write, too.
func (r *redir) write(p packet) error {
	if err := r.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := r.conn.Write(p.encode(r.wide && p.kind != packetHello))
	if err != nil {
		r.conn.Close() // half a packet may have gone out
	}
	return err
}

// onBus announces the device, or says that it is gone. An error has closed the connection.
func (r *redir) onBus(there bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.there, r.config, r.listening = there, 0, false
	if !there {
		clear(r.pending)
		r.write(packet{kind: packetDisconnect})
		return
	}
	for _, p := range []packet{interfacesPacket(), endpointsPacket(), r.u.connectPacket()} {
		if r.write(p) != nil {
			return
		}
	}
}

func (r *redir) input(report []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.listening {
		return false
	}
	r.serial++
	return r.write(interruptPacket(r.serial, report)) == nil
}

// take answers one packet. An unknown one is skipped: the protocol has many more. The
// error ends the connection.
func (r *redir) take(wg *sync.WaitGroup, p packet) error {
	if p.kind == packetControl {
		return r.takeControl(wg, p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch p.kind {
	case packetCancel:
		return r.answer(p.id, func(was packet) packet { return controlAnswer(was, statusCancelled, 0, nil) })
	case packetReset:
		r.config, r.listening = 0, false
		return nil
	}
	if answer, ok := r.configure(p); ok {
		return r.write(answer)
	}
	return nil
}

// configure answers what concerns configuration, interface and endpoint, which are asked
// for by packets of their own; ok is false where p is no such packet, or too short. The
// caller holds r.mu.
func (r *redir) configure(p packet) (answer packet, ok bool) {
	want := map[uint32]int{packetSetConfig: 1, packetGetConfig: 0, packetSetAlternate: 2, packetGetAlternate: 1, packetStartInterrupt: 1, packetStopInterrupt: 1}
	n, known := want[p.kind]
	if !known || len(p.body) < n {
		return packet{}, false
	}
	switch p.kind {
	case packetSetConfig:
		status := byte(statusInvalid)
		if p.body[0] <= 1 {
			status, r.config = statusSuccess, p.body[0]
		}
		return packet{packetConfigStatus, p.id, []byte{status, r.config}}, true
	case packetGetConfig:
		return packet{packetConfigStatus, p.id, []byte{statusSuccess, r.config}}, true
	case packetSetAlternate:
		return packet{packetAlternateStatus, p.id, []byte{valid(p.body[0] == 0 && p.body[1] == 0), p.body[0], 0}}, true
	case packetGetAlternate:
		return packet{packetAlternateStatus, p.id, []byte{valid(p.body[0] == 0), p.body[0], 0}}, true
	}
	status := valid(p.body[0] == endpointIn)
	if status == statusSuccess {
		r.listening = p.kind == packetStartInterrupt
	}
	return packet{packetInterruptStatus, p.id, []byte{status, p.body[0]}}, true
}

func valid(ok bool) byte {
	if ok {
		return statusSuccess
	}
	return statusInvalid
}

// takeControl answers a control transfer, at once or when its time has come, or never.
func (r *redir) takeControl(wg *sync.WaitGroup, p packet) error {
	s, endpoint, data, err := parseControl(p.body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.there {
		return nil // it was on its way when the device left
	}
	if len(r.pending) >= maxPending {
		return fmt.Errorf("%d control transfers under way: want at most %d", len(r.pending)+1, maxPending)
	}
	r.pending[p.id] = p
	answer, after, err := r.u.control(s, data)
	finish := func(was packet) packet {
		switch {
		case err != nil || endpoint&0x7f != 0:
			return controlAnswer(was, statusStall, 0, nil)
		case s.requestType&0x80 == 0:
			return controlAnswer(was, statusSuccess, uint16(len(data)), nil)
		}
		return controlAnswer(was, statusSuccess, uint16(len(answer)), answer)
	}
	switch {
	case errors.Is(err, errSilent):
		return nil
	case after == 0:
		return r.answer(p.id, finish)
	}
	wg.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.answer(p.id, finish) // an error has closed the connection
		case <-r.ended:
		}
	})
	return nil
}

// answer sends the answer to a control transfer unless it has been answered, cancelled or
// forgotten. The caller holds r.mu.
func (r *redir) answer(id uint64, finish func(packet) packet) error {
	was, ok := r.pending[id]
	if !ok {
		return nil
	}
	delete(r.pending, id)
	return r.write(finish(was))
}
