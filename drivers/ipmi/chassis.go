package ipmi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/dodai-agent/dodai/drivers"
)

// What a caller may tell apart of drivers.ErrDenied.
var (
	// ErrCipher: the BMC does none of the cipher suites that were tried.
	ErrCipher = errRefused
	// ErrPrivilege: the login is right and not enough.
	ErrPrivilege = errors.New("the account lacks the privilege OPERATOR")
)

// Login is a BMC and an account on it that may switch its host: privilege OPERATOR.
type Login struct {
	Address  string // host or host:port; port 623 unless said
	User     string // at most 16 bytes
	Password string // at most 20 bytes
	Cipher   int    // suite 17 or 3; 0: 17, and 3 where the BMC refuses that
}

// Chassis switches the host of a BMC. Its methods are for one goroutine at a time; their
// errors are *drivers.Error and wrap the sentinels of package drivers, ErrCipher or
// ErrPrivilege.
type Chassis struct {
	address string
	who     account
	session *session // nil: none is open
}

// Dial logs in, which changes nothing. The deadline of ctx bounds how long each message
// waits for its answer, a second at most; nothing answers after 2 s at the earliest.
func Dial(ctx context.Context, l Login) (*Chassis, error) {
	address, err := addressOption(l.Address)
	if err != nil {
		return nil, err
	}
	who, err := l.account()
	if err != nil {
		return nil, err
	}
	c := &Chassis{address: address, who: who}
	if err := c.connect(ctx); err != nil {
		return nil, c.fail("log in", err)
	}
	return c, nil
}

func (l Login) account() (account, error) {
	options := map[string]string{"user": l.User, "password": l.Password, "privilege": "operator"}
	if l.Cipher != 0 {
		options["cipher"] = strconv.Itoa(l.Cipher)
	}
	return accountOption(drivers.Config{Options: options})
}

func (c *Chassis) connect(ctx context.Context) (err error) {
	c.session, err = dial(ctx, c.address, c.who)
	return err
}

// Source: IPMI 2.0, sections 28.2 and 28.3.
const (
	cmdChassisStatus  = 0x01
	cmdChassisControl = 0x02

	controlDown = 0x00
	controlUp   = 0x01
	controlSoft = 0x05
)

// Power reports whether the host is switched on.
func (c *Chassis) Power(ctx context.Context) (on bool, err error) {
	const op = "get chassis status"
	b, err := c.command(ctx, op, request{netFn: types.NetFnChassisRequest, cmd: cmdChassisStatus})
	if err != nil {
		return false, err
	}
	if len(b) < 1 {
		return false, c.fail(op, drivers.Protocol("chassis status", b, "at least 1 byte"))
	}
	return b[0]&1 == 1, nil
}

// SoftOff asks the host's operating system to shut down, as its power button would.
func (c *Chassis) SoftOff(ctx context.Context) error {
	return c.control(ctx, "soft shutdown", controlSoft)
}

// Off switches the host off at once, whatever it is doing.
func (c *Chassis) Off(ctx context.Context) error { return c.control(ctx, "power down", controlDown) }

// On switches the host on.
func (c *Chassis) On(ctx context.Context) error { return c.control(ctx, "power up", controlUp) }

func (c *Chassis) control(ctx context.Context, op string, what byte) error {
	_, err := c.command(ctx, op, request{netFn: types.NetFnChassisRequest, cmd: cmdChassisControl, data: []byte{what}})
	return err
}

// command runs one command. A session that the BMC has forgotten shows only by silence:
// it is replaced once.
func (c *Chassis) command(ctx context.Context, op string, req request) ([]byte, error) {
	if c.session == nil {
		if err := c.connect(ctx); err != nil {
			return nil, c.fail(op, err)
		}
	}
	b, err := c.session.command(ctx, req)
	if err == nil {
		return b, nil
	}
	if lost(err) {
		c.session.abandon()
		if c.session = nil; ctx.Err() == nil {
			if again := c.connect(ctx); again != nil {
				return nil, c.fail(op, again)
			}
			b, err = c.session.command(ctx, req)
		}
	}
	return b, c.fail(op, err)
}

// Close ends the session, so that the BMC has its slot back.
func (c *Chassis) Close() error {
	if c.session == nil {
		return nil
	}
	err := c.session.close()
	c.session = nil
	return err
}

func (c *Chassis) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	if tooLow(err) {
		err = fmt.Errorf("%w: %w: %w", drivers.ErrDenied, ErrPrivilege, err)
	}
	d := driver{device: c.address}
	e := d.fail(op, err)
	if errors.Is(err, ErrPrivilege) {
		e.(*drivers.Error).Hint = "give the account the privilege OPERATOR on the BMC's LAN channel"
	}
	return e
}

// tooLow reports whether the BMC refuses what OPERATOR may do. Set Session Privilege
// Level has codes of its own for it. Source: IPMI 2.0, section 22.18, and table 13-15.
func tooLow(err error) bool {
	if c, refused := errors.AsType[completion](err); refused {
		return slices.Contains([]completion{codePrivilege, 0x80, 0x81}, c)
	}
	return errors.Is(err, refusal(types.RmcpStatusCodeUnauthorizedRoleOfPriLevel))
}
