package shutdown

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Logind is what the executor asks of the login manager.
type Logind interface {
	// PowerOff asks for the power-off, past inhibitors where that is permitted.
	PowerOff(ctx context.Context) error
	// Reboot asks for the machine to start again, past inhibitors likewise.
	Reboot(ctx context.Context) error
	// CanPowerOff says whether PowerOff would be granted, in the login manager's words:
	// "yes", "no" (not permitted), "challenge" (a password is asked for first), "na" (not
	// possible here), or of later ones "inhibitor-blocked" and "challenge-inhibitor-blocked".
	CanPowerOff(ctx context.Context) (string, error)
	// Stopping reports whether the machine is on its way down.
	Stopping(ctx context.Context) (bool, error)
}

const (
	loginName = "org.freedesktop.login1"
	loginPath = dbus.ObjectPath("/org/freedesktop/login1")
	manager   = loginName + ".Manager"
	// skipInhibitors is SD_LOGIND_SKIP_INHIBITORS of PowerOffWithFlags. Where the flag or
	// the method is not known the call is refused, and the plain one is left, with which
	// root's requests pass inhibitors on such systems. Source: org.freedesktop.login1(5).
	skipInhibitors = uint64(1) << 4
)

// Bus is a Logind on D-Bus. It connects for each call: a connection held for months is
// the first thing that is dead when it is needed.
type Bus struct {
	connect func(context.Context) (*dbus.Conn, error)
}

// SystemBus is the real login manager.
func SystemBus() *Bus {
	return &Bus{connect: func(ctx context.Context) (*dbus.Conn, error) {
		return dbus.ConnectSystemBus(dbus.WithContext(ctx))
	}}
}

// PowerOff implements Logind.
func (b *Bus) PowerOff(ctx context.Context) error { return b.down(ctx, "PowerOff") }

// Reboot implements Logind.
func (b *Bus) Reboot(ctx context.Context) error { return b.down(ctx, "Reboot") }

func (b *Bus) down(ctx context.Context, method string) error {
	return b.with(ctx, func(o dbus.BusObject) error {
		err := o.CallWithContext(ctx, manager+"."+method+"WithFlags", 0, skipInhibitors).Err
		if err == nil || ctx.Err() != nil {
			return err
		}
		// Not known there, or not permitted: the plain one may be.
		if plain := o.CallWithContext(ctx, manager+"."+method, 0, false).Err; plain != nil {
			return errors.Join(err, plain)
		}
		return nil
	})
}

// CanPowerOff implements Logind.
func (b *Bus) CanPowerOff(ctx context.Context) (string, error) {
	var can string
	if err := b.with(ctx, func(o dbus.BusObject) error {
		return o.CallWithContext(ctx, manager+".CanPowerOff", 0).Store(&can)
	}); err != nil {
		return "", fmt.Errorf("logind CanPowerOff: %w", err)
	}
	return can, nil
}

// Stopping implements Logind.
func (b *Bus) Stopping(ctx context.Context) (bool, error) {
	var stopping bool
	if err := b.with(ctx, func(o dbus.BusObject) error {
		v, err := o.GetProperty(manager + ".PreparingForShutdown")
		if err == nil {
			err = v.Store(&stopping)
		}
		return err
	}); err != nil {
		return false, err // the call may still be under way
	}
	return stopping, nil
}

// with calls f on a connection of its own. It returns when ctx ends, whatever the bus
// does; the connection is closed with ctx.
func (b *Bus) with(ctx context.Context, f func(dbus.BusObject) error) error {
	done := make(chan error, 1)
	go func() {
		conn, err := b.connect(ctx)
		if err != nil {
			done <- fmt.Errorf("connect to the bus: %w", err)
			return
		}
		defer conn.Close()
		done <- f(conn.Object(loginName, loginPath))
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
