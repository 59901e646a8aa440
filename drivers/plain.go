package drivers

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
)

// Plain is the text of an error as an operator reads it. A driver's error names the
// device and the operation; what the layers below add to that (the ends of a socket,
// the name of a system call) is left out. Any other error is given as it is.
func Plain(err error) string {
	text := err.Error()
	if _, ok := errors.AsType[*Error](err); !ok {
		return text
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		text = strings.Replace(text, e.Error(), e.Err.Error(), 1)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		text = strings.Replace(text, e.Error(), e.Err.Error(), 1)
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		text = strings.Replace(text, e.Error(), e.Err.Error(), 1)
	}
	for _, late := range []error{context.DeadlineExceeded, os.ErrDeadlineExceeded} {
		text = strings.ReplaceAll(text, late.Error(), "no answer in time")
	}
	return text
}
