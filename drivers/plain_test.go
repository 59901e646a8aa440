package drivers

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestPlain(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	device := func(err error) error {
		return &Error{Driver: "nut", Device: "a:1", Op: "connect", Err: Classify(err), Hint: "look"}
	}
	for want, err := range map[string]error{
		"nut a:1: connect: device unreachable: connection refused (look)":         device(refused),
		"nut a:1: connect: device unreachable: no answer in time (look)":          device(context.DeadlineExceeded),
		"nut a:1: connect: device unreachable: no such file or directory (look)":  device(&fs.PathError{Op: "lstat", Path: "/dev/x", Err: syscall.ENOENT}),
		"nut a:1: connect: unexpected reply: \"\\x00\": want a line (look)":       device(fmt.Errorf("%w: %s: want a line", ErrProtocol, Quote([]byte{0}))),
		"u1: nut a:1: connect: device unreachable: connection refused (look)":     fmt.Errorf("u1: %w", device(refused)),
		"dial tcp 127.0.0.1:1: connect: connection refused":                       refused, // not a device's: as it is
		"nut a:1: connect: device unreachable: no answer in time: again (look)":   device(fmt.Errorf("%w: again", os.ErrDeadlineExceeded)),
		"nut a:1: connect: access denied: permission denied, as told by x (look)": device(fmt.Errorf("%w: permission denied, as told by x", ErrDenied)),
	} {
		if got := Plain(err); got != want {
			t.Errorf("Plain = %q, want %q", got, want)
		}
	}
}
