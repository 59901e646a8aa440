package nut

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

type driver struct {
	device string
	opt    options
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	log    *slog.Logger
	s      *session // nil: not connected
	cut    bool     // a cut was told, and not called off
}

var _ drivers.Cutter = (*driver)(nil)

// Poll asks for all variables in one request. A connection that upsd closed while
// nothing was asked is opened again within the same poll.
func (d *driver) Poll(ctx context.Context) (dodai.Reading, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pollTimeout)
		defer cancel()
	}
	reused := d.s != nil
	vars, err := d.ask(ctx)
	if reused && errors.Is(err, errUseless) {
		d.log.Debug("opening another connection", "err", err)
		vars, err = d.ask(ctx)
	}
	if err != nil {
		return dodai.Reading{}, err
	}
	r, err := makeReading(vars)
	if err != nil {
		return dodai.Reading{}, d.fail("read LIST VAR reply", err)
	}
	return r, nil
}

// Close hangs up; upsd then no longer counts this host as a secondary.
func (d *driver) Close() error {
	if d.s != nil {
		d.s.conn.Close()
		d.s = nil
	}
	return nil
}

// ask asks once, over the connection there is or a new one. Whatever leaves replies
// outstanding closes the connection, so that a late reply finds nobody.
func (d *driver) ask(ctx context.Context) ([]variable, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, d.fail("poll", drivers.Unreachable(err))
	}
	if d.s == nil {
		if err := d.connect(ctx); err != nil {
			return nil, err
		}
	}
	release := d.s.bound(ctx)
	defer release()
	vars, err := d.s.vars()
	if err == nil {
		d.log.Debug("read", "ups", d.s.ups, "variables", len(vars))
		return vars, nil
	}
	err = d.explain("read LIST VAR "+d.s.ups, err)
	if !inStep(err) {
		d.Close()
	}
	return nil, err
}

// explain makes err the driver's error. An unknown name is followed by the known
// ones, as far as upsd tells them in the time that is left.
func (d *driver) explain(op string, err error) error {
	e := d.fail(op, err)
	if errors.Is(err, drivers.ErrNoData) && inStep(err) {
		if names, err := d.s.names(); err != nil {
			d.Close()
		} else {
			e.Hint = "upsd knows " + strings.Join(names, ", ")
		}
	}
	return e
}

// connect makes the connection that is kept. After an error there is none.
func (d *driver) connect(ctx context.Context) (err error) {
	d.s, err = d.open(ctx, d.opt.login)
	return err
}

// open opens a connection and brings it to where variables can be asked for. The
// session is nil where there is an error.
func (d *driver) open(ctx context.Context, login bool) (*session, error) {
	conn, err := d.dial(ctx, "tcp", d.opt.address)
	if err != nil {
		return nil, d.fail("connect to "+d.opt.address, drivers.Unreachable(err))
	}
	s := newSession(conn)
	release := s.bound(ctx)
	defer release()
	if err := d.prepare(ctx, s, login); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (d *driver) prepare(ctx context.Context, s *session, login bool) error {
	if err := d.encrypt(ctx, s); err != nil {
		return err
	}
	if d.opt.username != "" {
		if err := s.grant("USERNAME", d.opt.username); err != nil {
			return d.fail("send USERNAME", err)
		}
		if err := s.grant("PASSWORD", d.opt.password); err != nil {
			return d.fail("send PASSWORD", err)
		}
	}
	if err := d.pick(s); err != nil {
		return err
	}
	if !login {
		return nil
	}
	if err := s.grant("LOGIN", s.ups); err != nil {
		return d.fail("LOGIN "+s.ups, err)
	}
	return nil
}

func (d *driver) encrypt(ctx context.Context, s *session) error {
	if d.opt.tls == nil {
		return nil
	}
	err := s.startTLS(ctx, d.opt.tls)
	if _, refused := errors.AsType[*serverError](err); refused && !d.opt.tlsRequired {
		d.log.Debug("upsd does not offer TLS, going on in clear text", "err", err)
		return nil
	}
	if err != nil {
		e := d.fail("STARTTLS", err)
		e.Hint = cmp.Or(e.Hint, "check the options tls and cafile")
		return e
	}
	return nil
}

// pick decides whom to ask about: the configured name, or the only one there is.
func (d *driver) pick(s *session) error {
	if s.ups = d.opt.ups; s.ups != "" {
		return nil
	}
	names, err := s.names()
	if err != nil {
		return d.fail("read LIST UPS", err)
	}
	if len(names) != 1 {
		e := d.fail("read LIST UPS", fmt.Errorf("%w: upsd has %d UPSes [%s]: want one, or its name", drivers.ErrNoData, len(names), strings.Join(names, ", ")))
		e.Hint = "set the option ups"
		return e
	}
	s.ups = names[0]
	return nil
}

func (d *driver) fail(op string, err error) *drivers.Error {
	return &drivers.Error{Driver: "nut", Device: d.device, Op: op, Err: drivers.Classify(err), Hint: hint(err)}
}
