// Package snmp reads UPSes with a network card over SNMP v1, v2c and v3.
//
// What a device has is found out at the start, by which objects answer; after that
// each poll is one GET, with everything a shutdown decision needs in it and as much of
// the rest as fits. The objects are tables of data, one family per MIB: RFC 1628 and the
// makers' own. Of each variable the first usable value counts, the maker's own
// branch before RFC 1628, because no card fills either of them completely.
//
// Sources: RFC 1628; the makers' MIBs; RFC 3416 (protocol), RFC 3414 (users).
package snmp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// Factory is listed in drivers/all.
var Factory = drivers.Factory{
	Name:    "snmp",
	Kind:    dodai.KindUPS,
	Summary: "UPSes with a network card: RFC 1628, APC, Eaton, CyberPower, Megatec, Dell",
	Options: options,
	Poll:    5 * time.Second,
	Timeout: 8 * time.Second,
	New:     open,
}

// forget is after how many failed polls in a row the device is learnt anew: it may be
// another one by then.
const forget = 3

type driver struct {
	device   string
	settings config
	log      *slog.Logger
	dial     func(ctx context.Context) (requester, error)

	card     *card
	conn     requester // nil: to be opened
	session  *session  // nil: to be learnt
	failures int
	version  int     // index into settings.versions
	told     *cutWay // how a cut was told that was not called off; nil: none
}

var _ drivers.Cutter = (*driver)(nil)

func open(cfg drivers.Config) (drivers.Driver, error) {
	s, err := parseSettings(cfg)
	if err != nil {
		return nil, err
	}
	d := &driver{device: cfg.Device, settings: s, log: cfg.Log, card: newCard()}
	d.dial = func(ctx context.Context) (requester, error) {
		c, err := dial(ctx, d.settings, d.settings.versions[d.version])
		if err != nil {
			return nil, err // not a nil *client in an interface
		}
		return c, nil
	}
	return d, nil
}

// Poll reads the device: with one request, except at the start, after the card has
// restarted, every six hours, and when the list of alarms has changed.
func (d *driver) Poll(ctx context.Context) (dodai.Reading, error) {
	op, err := d.refresh(ctx)
	if err != nil {
		return dodai.Reading{}, d.failed(op, err)
	}
	d.failures = 0
	r, err := d.session.reading()
	if err != nil {
		return dodai.Reading{}, d.fail("read status", err, "look at the cable between the card and the UPS")
	}
	return r, nil
}

// refresh brings the session's values up to date.
func (d *driver) refresh(ctx context.Context) (op string, err error) {
	if err := d.connect(ctx); err != nil {
		return "open socket", err
	}
	if d.session == nil || d.session.stale() {
		return "identify", d.learn(ctx)
	}
	return "get status", d.session.poll(ctx, d.card, d.conn)
}

func (d *driver) connect(ctx context.Context) (err error) {
	if d.conn == nil {
		d.conn, err = d.dial(ctx)
	}
	return err
}

// learn starts a session. Where several versions may be tried the next one is, as long
// as the device stays silent.
func (d *driver) learn(ctx context.Context) error {
	for {
		begin := time.Now()
		try, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok && d.version+1 < len(d.settings.versions) {
			try, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		}
		s, err := start(try, d.card, d.conn, d.settings.mib)
		cancel()
		if err == nil {
			d.log.Debug("device learnt", "families", len(s.families), "objects", len(s.decide)+len(s.rest), "took", time.Since(begin))
			d.keep(s)
			return nil
		}
		silent := errors.Is(err, drivers.ErrUnreachable) && d.card.proven == 0
		if !silent || d.version+1 >= len(d.settings.versions) || ctx.Err() != nil {
			return err
		}
		d.version++
		d.conn.Close()
		if d.conn, err = d.dial(ctx); err != nil {
			return err
		}
	}
}

// keep takes over a new session, with what the old one remembered.
func (d *driver) keep(s *session) {
	if old := d.session; old != nil {
		s.memory = old.memory
	}
	d.session = s
}

// failed closes the socket, so that nothing late is read and a changed address or a
// restarted engine is noticed, and forgets the device after a while.
func (d *driver) failed(op string, err error) error {
	d.Close()
	d.failures++
	d.card.shy = d.card.shy || errors.Is(err, drivers.ErrUnreachable)
	if d.failures >= forget {
		d.session = nil
		if d.card.proven == 0 {
			d.version = 0
		}
	}
	hint := ""
	switch {
	case errors.Is(err, drivers.ErrDenied):
		hint = "check v3user and its passphrases and protocols"
	case errors.Is(err, drivers.ErrUnreachable) && d.session == nil:
		hint = "check the address, the community or user, and that the card lets this host in"
	}
	return d.fail(op, err, hint)
}

func (d *driver) fail(op string, err error, hint string) error {
	if drivers.Classify(err) == err && !isSentinel(err) {
		err = fmt.Errorf("%w: %w", drivers.ErrProtocol, err)
	}
	return &drivers.Error{Driver: "snmp", Device: d.device, Op: op, Err: drivers.Classify(err), Hint: hint}
}

func isSentinel(err error) bool {
	for _, s := range []error{drivers.ErrUnreachable, drivers.ErrProtocol, drivers.ErrDenied, drivers.ErrNoData, drivers.ErrUnable} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// Close lets go of the socket.
func (d *driver) Close() error {
	if d.conn == nil {
		return nil
	}
	err := d.conn.Close()
	d.conn = nil
	return err
}

// reading makes a reading of the session's values.
func (s *session) reading() (dodai.Reading, error) {
	f := &facts{families: s.families, columns: s.columns, val: s.val, alarms: s.alarms.entries, phases: s.memory.phases}
	if err := f.lostUPS(); err != nil {
		return dodai.Reading{}, err
	}
	d := f.decode()
	r := dodai.Reading{Kind: s.families[0].kind, Device: f.identity(), Status: f.status(&d, &s.memory), Vars: d.vars, Notes: d.notes}
	if r.Status.Has(dodai.OL) {
		s.memory.phases = d.phases
	}
	if text := f.alarmText(); text != "" {
		r.Vars[dodai.UPSAlarm] = dodai.Text(text)
	}
	if ages := d.ages(time.Now(), func(oid string) time.Time { return s.cache[oid].at }); len(ages) > 0 {
		r.Ages = ages
	}
	if s.other != "" && s.families[0] == &rfc1628 {
		r.Notes = append(r.Notes, fmt.Sprintf("read through RFC 1628; the own objects of this %s are not read", s.other))
	}
	return r, nil
}
