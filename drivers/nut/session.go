package nut

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// A session is one connection to upsd. What it was asked last has been answered in
// full, or it is not used any more: upsd's replies carry no number by which a late one
// could be told from the one that is wanted.
type session struct {
	conn net.Conn // what deadlines are set on
	talk net.Conn // conn itself, or TLS over it
	r    *bufio.Reader
	ups  string // whom we ask about

	tracking bool // upsd says what became of commands
}

func newSession(conn net.Conn) *session {
	conn = newQuickAck(conn)
	return &session{conn: conn, talk: conn, r: newReader(conn)}
}

// bound makes everything on the connection end with ctx, at once when it is cancelled.
// The function it returns must be called before the next bound.
func (s *session) bound(ctx context.Context) (release func()) {
	deadline, _ := ctx.Deadline()
	s.conn.SetDeadline(deadline)
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.conn.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// ask sends one request and waits until the reply begins. The error wraps errUseless
// where the connection turns out to be good for nothing before that.
func (s *session) ask(words ...string) error {
	if n := s.r.Buffered(); n > 0 {
		early, _ := s.r.Peek(n)
		return fmt.Errorf("%w: %w", errUseless, drivers.Protocol("bytes nobody asked for", early, "silence between reply and request"))
	}
	_, err := io.WriteString(s.talk, joinWords(words...)+"\n")
	if err == nil {
		_, err = s.r.Peek(1)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return drivers.Unreachable(fmt.Errorf("%w: %w", errUseless, err))
	default:
		return drivers.Unreachable(err)
	}
}

// grant asks for something that is answered with OK.
func (s *session) grant(words ...string) error {
	if err := s.ask(words...); err != nil {
		return err
	}
	return readOK(s.r)
}

// vars asks for all variables.
func (s *session) vars() ([]variable, error) {
	if err := s.ask("LIST", "VAR", s.ups); err != nil {
		return nil, err
	}
	return readVars(s.r, s.ups)
}

// list asks for a list and returns what stands behind the query's words in each item.
func (s *session) list(query ...string) ([][]string, error) {
	if err := s.ask(append([]string{"LIST"}, query...)...); err != nil {
		return nil, err
	}
	return readList(s.r, query...)
}

// get asks for one fact.
func (s *session) get(question ...string) ([]string, error) {
	if err := s.ask(append([]string{"GET"}, question...)...); err != nil {
		return nil, err
	}
	return readValue(s.r, question...)
}

// names asks for the names of the UPSes upsd knows.
func (s *session) names() ([]string, error) {
	if err := s.ask("LIST", "UPS"); err != nil {
		return nil, err
	}
	return readNames(s.r)
}

// startTLS goes over to TLS. Where upsd does not offer it the error is a *serverError
// and the session goes on in clear text.
func (s *session) startTLS(ctx context.Context, config *tls.Config) error {
	if err := s.grant("STARTTLS"); err != nil {
		return err
	}
	// Bytes that came in clear text behind the OK are not upsd's word.
	if n := s.r.Buffered(); n > 0 {
		early, _ := s.r.Peek(n)
		return drivers.Protocol("bytes before the TLS handshake", early, "none")
	}
	over := tls.Client(s.conn, config)
	if err := over.HandshakeContext(ctx); err != nil {
		return classifyTLS(err)
	}
	s.talk, s.r = over, newReader(over)
	return nil
}

// classifyTLS tells a certificate we do not take from a handshake that goes wrong, and
// that from a broken connection.
func classifyTLS(err error) error {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: upsd's certificate is not accepted: %w", drivers.ErrDenied, err)
	}
	err = fmt.Errorf("TLS handshake: %w", err)
	// An alert is a word of the server's, though package tls wraps it like a broken wire.
	op, ok := errors.AsType[*net.OpError](err)
	alert := ok && op.Op == "remote error"
	if c := drivers.Classify(err); !alert && errors.Is(c, drivers.ErrUnreachable) {
		return c
	}
	return fmt.Errorf("%w: %w", drivers.ErrProtocol, err)
}
