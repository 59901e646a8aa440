package serialline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
)

// Lines is the state of the two modem lines the host drives. Many UPS cables and
// opto-couplers are fed from them, on others they switch the load off.
type Lines struct{ DTR, RTS bool }

// CablePower is what the option cablepower may say. Source: the cable_power setting of
// Network UPS Tools' serial drivers.
var CablePower = map[string]Lines{
	"normal":  {DTR: true},
	"reverse": {RTS: true},
	"both":    {DTR: true, RTS: true},
	"none":    {},
}

// Settings say how to open a port. The line is 8 bits, no parity, one stop bit, without
// flow control.
type Settings struct {
	Path  string // the device node, or a link to it
	Baud  int    // bits per second
	Lines Lines  // from the open call on; without effect on a port that has no modem lines
	// Settle is how long the cable's supply needs after the lines are set; 0: no wait.
	// It is skipped where there are no modem lines.
	Settle time.Duration
	// LockDir is where UUCP lock files go; empty: /var/lock.
	LockDir string
}

// Port is an open, locked serial port. One goroutine reads and writes it; SetDeadline and
// Close may be called from others.
//
// It reads and writes through the descriptor of its lock, which does not block: a reader
// then waits in the runtime's poller and costs nothing until something comes. The library
// keeps a thread in a system call for each wait.
type Port struct {
	mu   sync.RWMutex // held by Close for writing
	port serial.Port  // nil once closed
	lock *lock
}

var _ Conn = (*Port)(nil)

// Open locks and opens a port. The error wraps drivers.ErrDenied when the port may not be
// opened or another program holds it (a *HeldError then), drivers.ErrNoData when the path
// is no serial port, and drivers.ErrUnreachable otherwise. Hint tells what to do.
//
// Linux raises DTR and RTS for an instant whenever a port is opened; a port that is seen to
// be held by another program is therefore not opened at all.
func Open(ctx context.Context, s Settings) (*Port, error) {
	if err := ctx.Err(); err != nil {
		return nil, drivers.Unreachable(err)
	}
	l, err := acquire(s.Path, s.LockDir)
	if err != nil {
		return nil, err
	}
	hasLines := modemLines(l.guard)
	port, err := serial.Open(l.path, s.mode(hasLines))
	if err != nil {
		err = l.explain(err)
		l.release()
		return nil, err
	}
	keepFromChildren(l.guard)
	p := &Port{port: port, lock: l}
	if hasLines {
		if err := sleep(ctx, s.Settle); err != nil {
			p.Close()
			return nil, drivers.Unreachable(err)
		}
	}
	return p, nil
}

// mode is what the library needs to know. The lines go with the open call, because a cable
// may switch the load off while they stand at the default; where there are none, asking for
// them would make the open fail.
func (s Settings) mode(hasLines bool) *serial.Mode {
	m := &serial.Mode{BaudRate: s.Baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit}
	if hasLines {
		m.InitialStatusBits = &serial.ModemOutputBits{DTR: s.Lines.DTR, RTS: s.Lines.RTS}
	}
	return m
}

// modemLines reports whether the port has modem lines at all: a pseudo-terminal and some
// adapters do not.
func modemLines(f *os.File) bool {
	err := control(f, func(fd int) error {
		_, err := unix.IoctlGetInt(fd, unix.TIOCMGET)
		return err
	})
	return err == nil
}

// keepFromChildren marks every descriptor of the port as close-on-exec, because the
// library does not: a hook's script would otherwise keep the port open.
func keepFromChildren(guard *os.File) {
	var want unix.Stat_t
	if control(guard, func(fd int) error { return unix.Fstat(fd, &want) }) != nil {
		return
	}
	entries, _ := filepath.Glob("/proc/self/fd/*")
	for _, entry := range entries {
		fd, err := strconv.Atoi(filepath.Base(entry))
		var st unix.Stat_t
		if err != nil || unix.Fstat(fd, &st) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == want.Rdev {
			unix.CloseOnExec(fd)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetDeadline sets the deadline of Read and Write, also of one that is under way.
func (p *Port) SetDeadline(t time.Time) error {
	return p.failed("set a deadline for", p.lock.guard.SetDeadline(t))
}

// Read waits until at least one byte has come or the deadline has passed.
func (p *Port) Read(b []byte) (int, error) {
	n, err := p.lock.guard.Read(b)
	return n, p.failed("read", err)
}

// Write writes all of b unless the deadline passes first.
func (p *Port) Write(b []byte) (int, error) {
	n, err := p.lock.guard.Write(b)
	return n, p.failed("write", err)
}

// FlushInput throws away what has come in and was not read, and what was to be sent and
// could not.
func (p *Port) FlushInput() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.port == nil {
		return p.failed("flush", os.ErrClosed)
	}
	return p.failed("flush", errors.Join(p.port.ResetInputBuffer(), p.port.ResetOutputBuffer()))
}

// Close closes the port and gives up the locks. It may be called more than once.
func (p *Port) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.port == nil {
		return nil
	}
	p.port.ResetOutputBuffer() // a close waits up to 30 s for output that cannot leave
	p.port.Close()             // a pulled adapter's close fails, and there is nothing to do about it
	p.port = nil
	p.lock.release()
	return nil
}

// failed wraps what the library or the kernel says of a connection that is gone. A deadline
// that has passed is no such thing. A terminal that was hung up reads as its end.
func (p *Port) failed(op string, err error) error {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		err = path.Err
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s %s: %w", op, p.lock.path, err)
	default:
		return drivers.Unreachable(fmt.Errorf("%s %s: %w", op, p.lock.path, err))
	}
}
