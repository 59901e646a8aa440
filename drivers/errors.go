package drivers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// What a caller may branch on with errors.Is. All but the last may pass by themselves, so
// the collectors try again after each; ErrNoData and ErrDenied just less often.
var (
	ErrUnreachable = errors.New("device unreachable") // no complete reply in time, or the connection broke
	ErrProtocol    = errors.New("unexpected reply")   // a reply came that cannot be read
	ErrDenied      = errors.New("access denied")      // wrong password, no permission, held by another program
	ErrNoData      = errors.New("nothing to report")  // there is no such device or array here
	// ErrUnable does not pass: the device is there and answers, and cannot do what was asked.
	ErrUnable = errors.New("the device cannot do that")
)

// Error is any driver's error: which device, doing what, why, and what would help.
// It reads "megatec rack1: read Q1 reply: device unreachable: i/o timeout".
type Error struct {
	Driver string
	Device string
	Op     string // "read Q1 reply"
	Err    error
	Hint   string // what the operator can do; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Driver)
	if e.Device != "" {
		b.WriteString(" " + e.Device)
	}
	fmt.Fprintf(&b, ": %s: %v", e.Op, e.Err)
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Unreachable wraps err so that errors.Is finds ErrUnreachable.
func Unreachable(err error) error { return fmt.Errorf("%w: %w", ErrUnreachable, err) }

// Protocol is an ErrProtocol that says what came and what was wanted. What came is
// quoted and cut to a length fit for a log line.
func Protocol(what string, got []byte, want string) error {
	return fmt.Errorf("%w: %s %s: want %s", ErrProtocol, what, Quote(got), want)
}

// Quote quotes bytes from a device for an error: escaped, at most 80 of them.
func Quote(b []byte) string {
	if len(b) > 80 {
		return fmt.Sprintf("%q and %d bytes more", b[:80], len(b)-80)
	}
	return fmt.Sprintf("%q", b)
}

// Classify turns an error of the transport into one that wraps one of the sentinels:
// time-outs, closed and refused connections are ErrUnreachable, a missing permission
// is ErrDenied. What is classified already, or is none of these, is returned as it is.
func Classify(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrUnreachable), errors.Is(err, ErrProtocol), errors.Is(err, ErrDenied), errors.Is(err, ErrNoData), errors.Is(err, ErrUnable):
		return err
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case isTransport(err):
		return Unreachable(err)
	default:
		return err
	}
}

func isTransport(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, target := range []error{
		context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded, os.ErrClosed, os.ErrNotExist,
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	_, isSyscall := errors.AsType[*os.SyscallError](err)
	return isSyscall
}

// OptionError is a wrong, missing or unknown option.
type OptionError struct {
	Key     string
	Got     string
	Want    string // what was expected, with the unit
	Example string
	Missing bool
	Unknown bool
}

func (e *OptionError) Error() string {
	var b strings.Builder
	switch {
	case e.Missing:
		fmt.Fprintf(&b, "option %q is missing: want %s", e.Key, e.Want)
	case e.Unknown:
		fmt.Fprintf(&b, "unknown option %q: want %s", e.Key, e.Want)
	default:
		fmt.Fprintf(&b, "option %q is %q: want %s", e.Key, e.Got, e.Want)
	}
	if e.Example != "" {
		fmt.Fprintf(&b, ", for example %s=%s", e.Key, e.Example)
	}
	return b.String()
}
