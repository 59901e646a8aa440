package action

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/ipmi"
)

// IPMI asks a BMC to shut its host down and waits until it is off. The way back switches
// the host on, also when it is only on its way down.
type IPMI struct {
	config.IPMI
	up    bool
	every time.Duration // between two questions; 0: powerEvery
}

// Kind implements shutdown.Action.
func (IPMI) Kind() string { return "ipmi" }

// String implements shutdown.Action.
func (i IPMI) String() string {
	switch {
	case i.up:
		return "switch on the host of " + i.Address
	case i.ForceAfter > 0:
		return fmt.Sprintf("shut down the host of %s, switch it off hard after %v", i.Address, i.ForceAfter.D())
	}
	return "shut down the host of " + i.Address
}

// Run implements shutdown.Action.
func (i IPMI) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	c, err := i.dial(ctx)
	if err != nil {
		return shutdown.Failed(ended(ctx, err, "logging in to "+i.Address), "")
	}
	defer c.close()
	s := switching{host: "the host of " + i.Address, every: i.every, after: i.ForceAfter.D()}
	if i.up {
		return s.up(ctx, c, settleTime(t))
	}
	return s.down(ctx, c)
}

func (i IPMI) dial(ctx context.Context) (*bmc, error) {
	password, err := secret("the password_file", i.PasswordFile)
	if err != nil {
		return nil, err
	}
	c, err := ipmi.Dial(ctx, ipmi.Login{Address: i.Address, User: i.User, Password: password, Cipher: i.Cipher})
	if err != nil {
		return nil, ipmiFault(i.Address, err)
	}
	return &bmc{c, i.Address}, nil
}

// Inverse implements shutdown.Action.
func (i IPMI) Inverse() shutdown.Action {
	if i.up {
		return nil
	}
	i.up = true
	return i
}

// Repeatable implements shutdown.Action: a host that is off stays off.
func (IPMI) Repeatable() bool { return true }

// Check implements shutdown.Action: the BMC takes the login with the privilege that it
// takes to switch the host, and knows whether that is on.
func (i IPMI) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	c, err := i.dial(ctx)
	if err != nil {
		return findings(t, "ipmi", err)
	}
	defer c.close()
	_, err = c.on(ctx)
	return findings(t, "ipmi", err)
}

// bmc is the controller that IPMI talks to.
type bmc struct {
	chassis *ipmi.Chassis
	address string
}

func (b *bmc) on(ctx context.Context) (bool, error) {
	on, err := b.chassis.Power(ctx)
	return on, ipmiFault(b.address, err)
}

func (b *bmc) ask(ctx context.Context) error   { return ipmiFault(b.address, b.chassis.SoftOff(ctx)) }
func (b *bmc) force(ctx context.Context) error { return ipmiFault(b.address, b.chassis.Off(ctx)) }
func (b *bmc) start(ctx context.Context) error { return ipmiFault(b.address, b.chassis.On(ctx)) }
func (b *bmc) close()                          { b.chassis.Close() }

// ipmiFault says in the operator's words what the driver found.
func ipmiFault(address string, err error) error {
	if err == nil {
		return nil
	}
	if dns, is := errors.AsType[*net.DNSError](err); is {
		host, _, _ := net.SplitHostPort(address)
		check, text, fix := nameFault(host, dns)
		return &fault{check, text, fix, err}
	}
	f := &fault{check: "ipmi", text: err.Error(), err: err}
	if e, is := errors.AsType[*drivers.Error](err); is {
		f.text, f.fix = fmt.Sprintf("%s: %s: %v", address, e.Op, e.Err), e.Hint
	}
	switch {
	case errors.Is(err, ipmi.ErrCipher):
		f.check = "cipher_refused"
	case errors.Is(err, ipmi.ErrPrivilege):
		f.check = "privilege_missing"
	case errors.Is(err, drivers.ErrDenied):
		f.check = "login_refused"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.check, f.text = "connection_refused", address+" does not listen for IPMI"
		f.fix = "enable IPMI over LAN in the BMC, or correct the port"
	case errors.Is(err, drivers.ErrUnreachable):
		f.check, f.text = "no_answer", address+" does not answer IPMI"
		f.fix = "look at the BMC's power and cable, enable IPMI over LAN there, and let UDP port 623 through"
	case errors.Is(err, drivers.ErrProtocol):
		f.check = "unexpected_reply"
	}
	return f
}
