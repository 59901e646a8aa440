package nut

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

const (
	cutCommand  = "shutdown.return"
	stopCommand = "shutdown.stop"
	offDelay    = "ups.delay.shutdown"
	onDelay     = "ups.delay.start"
	noVariable  = "dodai.no.such.variable"

	// cutTimeout is what Cut may take when its context says nothing: serial drivers leave
	// a second between the words of one command.
	cutTimeout = 15 * time.Second
)

// CheckCut proves that upsd has the command shutdown.return for this UPS, that the
// password is right, and that the two delays are long enough or may be set so. Whether the
// user may use the command (instcmds in upsd.users) upsd tells only when it is used, so
// that this is not proven; nor is what the UPS makes of it.
//
// upsd checks a password only where a right is used. The right to SET is seen by setting a
// variable that no UPS has; where that is denied a LOGIN on a connection of its own, which
// is closed at once, shows that the password is right at least.
func (d *driver) CheckCut(ctx context.Context, c drivers.Cut) error {
	return d.control(ctx, func(ctx context.Context, u *control) error {
		if err := u.needs(cutCommand); err != nil {
			return err
		}
		maySet, err := u.maySet()
		if err == nil && !maySet && !d.opt.login {
			err = d.tryLogin(ctx)
		}
		if err != nil {
			return err
		}
		if err := u.possible(u.offWish(c), maySet); err != nil {
			return err
		}
		return u.possible(u.onWish(c, c.Off), maySet)
	})
}

// tryLogin proves the password by a LOGIN.
func (d *driver) tryLogin(ctx context.Context) error {
	s, err := d.open(ctx, true)
	if s != nil {
		s.conn.Close()
	}
	if e, ok := errors.AsType[*drivers.Error](err); ok && errors.Is(err, drivers.ErrDenied) {
		e.Hint = "the user may neither SET nor LOGIN, so the password is wrong or cannot be proven: give it actions = SET in upsd.users"
	}
	return err
}

// Cut sets the delays, where they are not right as they are, and runs shutdown.return. The
// delays are told as upsd says they are afterwards, because drivers round them; On is 0
// where the UPS's driver has no such delay, which leaves the return to the UPS. Where upsd
// tracks commands (NUT 2.8) nil means that the UPS's driver has run it with success,
// otherwise that upsd has handed it on. With an error and a cut, the command was sent and
// may have been taken. It takes 2 s with a serial driver.
func (d *driver) Cut(ctx context.Context, c drivers.Cut) (told drivers.Cut, err error) {
	err = d.control(ctx, func(ctx context.Context, u *control) error {
		if err := u.needs(cutCommand); err != nil {
			return err
		}
		u.track()
		off, err := u.arrange(ctx, u.offWish(c))
		if err != nil {
			return err
		}
		on, err := u.arrange(ctx, u.onWish(c, off))
		if err != nil {
			return err
		}
		told, d.cut = drivers.Cut{Off: off, On: u.back(off, on)}, true
		err = u.run(ctx, cutCommand)
		if _, refused := errors.AsType[*serverError](err); refused {
			told, d.cut = drivers.Cut{}, false
		}
		return err
	})
	return told, err
}

// StopCut runs shutdown.stop. Where that cannot be done and nothing says that a shutdown is
// under way (a Cut of ours, FSD in ups.status, a running ups.timer.shutdown), there is
// nothing to stop.
func (d *driver) StopCut(ctx context.Context) error {
	if d.opt.username == "" {
		return nil // without a user nothing can have been begun
	}
	return d.control(ctx, func(ctx context.Context, u *control) error {
		err := u.needs(stopCommand)
		if err == nil {
			u.track()
			err = u.run(ctx, stopCommand)
		}
		if err != nil && !d.cut && !u.underWay() && (errors.Is(err, drivers.ErrUnable) || errors.Is(err, drivers.ErrDenied)) {
			return nil
		}
		if err == nil {
			d.cut = false
		}
		return err
	})
}

// control runs f with what upsd says of the UPS, over the connection there is or a new
// one. A connection that upsd closed while nothing was asked is opened again, before f.
func (d *driver) control(ctx context.Context, f func(context.Context, *control) error) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cutTimeout)
		defer cancel()
	}
	if d.opt.username == "" {
		e := d.fail("ask for commands", fmt.Errorf("%w: upsd takes commands of known users only", drivers.ErrDenied))
		e.Hint = "set the options username and password"
		return e
	}
	reused := d.s != nil
	err := d.controlOnce(ctx, f)
	if reused && errors.Is(err, errStaleLink) {
		d.log.Debug("opening another connection", "err", err)
		err = d.controlOnce(ctx, f)
	}
	return err
}

// errStaleLink is an errUseless of the first request.
var errStaleLink = errors.New("found closed")

func (d *driver) controlOnce(ctx context.Context, f func(context.Context, *control) error) error {
	if err := context.Cause(ctx); err != nil {
		return d.fail("ask for commands", drivers.Unreachable(err))
	}
	if d.s == nil {
		if err := d.connect(ctx); err != nil {
			return err
		}
	}
	release := d.s.bound(ctx)
	defer release()
	u := &control{d: d, s: d.s}
	err := u.read()
	if err == nil {
		err = f(ctx, u)
	}
	_, answered := errors.AsType[*serverError](err)
	if !answered && (errors.Is(err, drivers.ErrUnreachable) || errors.Is(err, drivers.ErrProtocol)) {
		d.Close() // replies may be outstanding
	}
	return err
}

// control is one conversation with upsd about commands.
type control struct {
	d        *driver
	s        *session
	commands []string
	vars     map[string]string
	writable map[string]bool
}

// read asks what there is.
func (u *control) read() error {
	cmds, err := u.s.list("CMD", u.s.ups)
	if errors.Is(err, errUseless) {
		err = fmt.Errorf("%w: %w", errStaleLink, err)
	}
	if err != nil {
		return u.d.fail("read LIST CMD "+u.s.ups, err)
	}
	for _, item := range cmds {
		u.commands = append(u.commands, item[0])
	}
	vars, err := u.s.vars()
	if err != nil {
		return u.d.fail("read LIST VAR "+u.s.ups, err)
	}
	u.vars, u.writable = map[string]string{}, map[string]bool{}
	for _, v := range vars {
		u.vars[v.name] = v.value
	}
	rw, err := u.s.list("RW", u.s.ups)
	if err != nil {
		return u.d.fail("read LIST RW "+u.s.ups, err)
	}
	for _, item := range rw {
		u.writable[item[0]] = true
	}
	return nil
}

// needs is an error where there is no such command.
func (u *control) needs(command string) error {
	if slices.Contains(u.commands, command) {
		return nil
	}
	e := u.d.fail("read LIST CMD "+u.s.ups, fmt.Errorf("%w: no command %s among %d", drivers.ErrUnable, command, len(u.commands)))
	e.Hint = fmt.Sprintf("the UPS, or the driver %s that NUT reads it with, has no such command", cut(u.vars["driver.name"]))
	return e
}

// underWay reports whether the UPS says that it will cut its output.
func (u *control) underWay() bool {
	words, _ := splitWords([]byte(u.vars[upsStatus]))
	timer, known := seconds(u.vars["ups.timer.shutdown"])
	return slices.Contains(words, "FSD") || known && timer > 0 && timer != 65535
}

// maySet reports whether the user has the right to set variables, and so whether its
// password is right.
func (u *control) maySet() (bool, error) {
	err := u.s.grant("SET", "VAR", u.s.ups, noVariable, "1")
	e, refused := errors.AsType[*serverError](err)
	switch {
	case err == nil, refused && e.token == "VAR-NOT-SUPPORTED":
		return true, nil
	case refused && errors.Is(err, drivers.ErrDenied), refused && e.token == "UNKNOWN-COMMAND":
		return false, nil
	}
	return false, u.d.fail("SET VAR "+u.s.ups+" "+noVariable, err)
}

// track asks upsd to say what became of commands. One that cannot says so, and its word
// that a command was handed on has to do.
func (u *control) track() {
	if u.s.tracking {
		return
	}
	err := u.s.grant("SET", "TRACKING", "ON")
	u.s.tracking = err == nil
	u.d.log.Debug("tracking", "on", u.s.tracking, "err", err)
}

// run runs a command.
func (u *control) run(ctx context.Context, command string) error {
	if err := u.do(ctx, "INSTCMD", u.s.ups, command); err != nil {
		e := u.d.fail("INSTCMD "+u.s.ups+" "+command, err)
		if errors.Is(err, drivers.ErrDenied) {
			e.Hint = fmt.Sprintf("give the user instcmds = %s, %s in upsd.users", cutCommand, stopCommand)
		}
		return e
	}
	return nil
}

// do sends a request that is tracked, where upsd does that, and waits for its result.
func (u *control) do(ctx context.Context, words ...string) error {
	if err := u.s.ask(words...); err != nil {
		return err
	}
	id, err := readTracked(u.s.r)
	for pending := id != ""; err == nil && pending; {
		if err = u.s.ask("GET", "TRACKING", id); err != nil {
			break
		}
		if pending, err = readResult(u.s.r); err == nil && pending {
			err = pause(ctx, trackPause)
		}
	}
	return err
}

// trackPause is the time between two questions for a result.
const trackPause = 100 * time.Millisecond

// pause waits; the error is an ErrUnreachable when ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return drivers.Unreachable(fmt.Errorf("still pending: %w", context.Cause(ctx)))
	}
}
