package megatec

import (
	"errors"
	"io"
	"os"
	"time"
)

// reply is what the writer sends, and how.
type reply struct {
	text   string
	due    time.Time // not before
	hangUp bool      // afterwards
}

// maxQuery bounds what a request may collect before its CR.
const maxQuery = 64

// Serve answers requests on conn at the line's pace until conn ends or the UPS is closed,
// and closes conn. The error is nil when it was the UPS that ended it.
func (u *UPS) Serve(conn io.ReadWriteCloser) error {
	replies := make(chan reply, 256)
	written := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(written)
		u.write(conn, replies)
	}()
	go func() {
		select {
		case <-u.stop:
			conn.Close()
		case <-ended:
		}
	}()
	err := u.read(conn, replies, ended)
	<-written
	conn.Close()
	if errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

// charTime is how long one character takes: ten bits.
func (u *UPS) charTime() time.Duration {
	if u.cfg.Baud < 0 {
		return 0
	}
	return 10 * time.Second / time.Duration(u.cfg.Baud)
}

// read collects requests. A character counts as received one character's time after the one
// before it, however quickly the terminal hands them over.
func (u *UPS) read(conn io.Reader, replies chan<- reply, ended chan<- struct{}) error {
	defer close(replies)
	defer close(ended)
	buf := make([]byte, 64)
	var query []byte
	var at time.Time // when the last character had come in
	for {
		n, err := conn.Read(buf)
		if now := time.Now(); at.Before(now) {
			at = now
		}
		for _, c := range buf[:n] {
			at = at.Add(u.charTime())
			switch {
			case c == '\r':
				time.Sleep(time.Until(at))
				u.handle(string(query), replies)
				query = query[:0]
			case len(query) < maxQuery:
				query = append(query, c)
			}
		}
		if err != nil {
			return err
		}
	}
}

// garbage means nothing, but has the protocol's marks in it.
const garbage = "\xfe\x00~9z)(@!#\x7f 12 ?? 9999999999\r(\x01"

// handle takes one request and queues what the unit, as it behaves now, says to it.
func (u *UPS) handle(query string, replies chan<- reply) {
	u.mu.Lock()
	defer u.mu.Unlock()
	text, ok := u.answer(query)
	if !ok || u.behaviour == Silent {
		return
	}
	r := reply{text: text + "\r", due: time.Now()}
	switch u.behaviour {
	case Garbage:
		r.text = garbage
	case Half:
		r.text = text[:len(text)/2]
	case Disconnect:
		r.text, r.hangUp = text[:len(text)/2], true
	case Late:
		r.due = r.due.Add(u.delay)
	}
	select {
	case replies <- r:
	default: // nobody reads; the unit's own buffer is full
	}
}

// burst is how many characters leave at once, as from a UART's buffer.
const burst = 4

// hangUpPause lets what was sent be read: a terminal that hangs up forgets it.
const hangUpPause = 20 * time.Millisecond

// write sends replies one after the other at the line's pace.
func (u *UPS) write(conn io.WriteCloser, replies <-chan reply) {
	for r := range replies {
		if !u.sleepUntil(r.due) {
			continue
		}
		start, text := time.Now(), r.text
		for sent := 0; sent < len(text); {
			next := min(sent+burst, len(text))
			if !u.sleepUntil(start.Add(time.Duration(next) * u.charTime())) {
				break
			}
			if _, err := io.WriteString(conn, text[sent:next]); err != nil {
				break
			}
			sent = next
		}
		if r.hangUp {
			if u.term != nil {
				u.term.renew() // first, so that the path never leads nowhere
			}
			u.sleepUntil(time.Now().Add(hangUpPause))
			conn.Close()
			break
		}
	}
	for range replies { // nobody is there to hear them
	}
}

// sleepUntil returns false when the UPS is closed first.
func (u *UPS) sleepUntil(t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-u.stop:
		return false
	}
}
