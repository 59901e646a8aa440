package ipmi_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/ipmi"
	"github.com/dodai-agent/dodai/e2e/peer"
)

func admin(address string) ipmi.Login {
	return ipmi.Login{Address: address, User: peer.IPMIAdmin, Password: peer.IPMIAdminSecret}
}

func dialChassis(t *testing.T, l ipmi.Login) (*ipmi.Chassis, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := ipmi.Dial(ctx, l)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func TestChassis(t *testing.T) {
	t.Parallel()
	sim := peer.StartIPMISim(t)
	c, err := dialChassis(t, admin(sim.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	power := func(when string, want bool) {
		t.Helper()
		if on, err := c.Power(t.Context()); err != nil || on != want {
			t.Errorf("%s: Power = %v, %v, want %v", when, on, err, want)
		}
	}
	do := func(what func(context.Context) error) {
		t.Helper()
		if err := what(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	power("at the start", true)
	sim.HostTakes(-1)
	do(c.SoftOff)
	power("asked a deaf host to shut down", true)
	do(c.Off)
	power("switched off", false)
	do(c.On)
	power("switched on", true)
	sim.HostTakes(0)
	do(c.SoftOff)
	power("shut down", false)
	if got, want := sim.HostCalls(), []string{"set shutdown 1", "set power 0", "set power 1", "set shutdown 1"}; !slices.Equal(got, want) {
		t.Errorf("the BMC did %q, want %q", got, want)
	}

	sim.Restart() // it has forgotten the session
	power("after a restart of the BMC", false)
}

func TestChassisRefused(t *testing.T) {
	t.Parallel()
	sim := peer.StartIPMISim(t)
	wrong := func(change func(*ipmi.Login)) ipmi.Login {
		l := admin(sim.Addr())
		change(&l)
		return l
	}
	for _, c := range []struct {
		name  string
		login ipmi.Login
		want  []error
		not   []error
	}{
		{"wrong password", wrong(func(l *ipmi.Login) { l.Password = "guess" }), []error{drivers.ErrDenied}, []error{ipmi.ErrPrivilege, ipmi.ErrCipher}},
		{"no such user", wrong(func(l *ipmi.Login) { l.User = "nobody" }), []error{drivers.ErrDenied}, []error{ipmi.ErrPrivilege, ipmi.ErrCipher}},
		{"cipher 17", wrong(func(l *ipmi.Login) { l.Cipher = 17 }), []error{drivers.ErrDenied, ipmi.ErrCipher}, []error{ipmi.ErrPrivilege}},
	} {
		_, err := dialChassis(t, c.login)
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: Dial = %v, want %v", c.name, err, want)
			}
		}
		for _, not := range c.not {
			if errors.Is(err, not) {
				t.Errorf("%s: Dial = %v, that is not %v", c.name, err, not)
			}
		}
	}
	sim.Pause()
	if _, err := dialChassis(t, admin(sim.Addr())); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("hanging BMC: Dial = %v, want %v", err, drivers.ErrUnreachable)
	}
	if got := sim.HostCalls(); len(got) > 0 {
		t.Errorf("logging in changed something: %q", got)
	}
	_, err := dialChassis(t, wrong(func(l *ipmi.Login) { l.Cipher = 1 }))
	if bad, is := errors.AsType[*drivers.OptionError](err); !is || bad.Key != "cipher" {
		t.Errorf("cipher 1: Dial = %v, want an OptionError about it", err)
	}
}
