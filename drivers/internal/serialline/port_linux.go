package serialline

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/alarm"
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
type Port struct {
	mu       sync.RWMutex // held for reading while the port is used, by Close for writing
	port     serial.Port  // nil once closed
	lock     *lock
	alarm    *alarm.Alarm // what a reader sleeps on
	unsent   bool         // a write ended before everything had left
	deadline atomic.Pointer[time.Time]
}

var _ Conn = (*Port)(nil)

// How often a read that waits looks whether something has come: soon after it began, and
// less often the longer it takes. The runtime's poller would be woken for each burst of a
// reply, whether somebody reads or not, and the library's own way to wait keeps a thread in
// a system call; on a slow line both cost several times what the reply itself does.
const (
	firstLook   = 2 * time.Millisecond
	longestLook = 25 * time.Millisecond
)

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
	p := &Port{port: port, lock: l}
	if p.alarm, err = alarm.New(); err != nil {
		p.Close()
		return nil, drivers.Unreachable(err)
	}
	keepFromChildren(l.guard)
	if hasLines {
		if err := p.alarm.Sleep(ctx, s.Settle); err != nil {
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

// SetDeadline sets the deadline of Read and Write, also of one that is under way.
func (p *Port) SetDeadline(t time.Time) error {
	p.deadline.Store(&t)
	return nil
}

// left is the time until the deadline, at most limit; it is false when that has passed.
func (p *Port) left(limit time.Duration) (time.Duration, bool) {
	t := p.deadline.Load()
	if t == nil || t.IsZero() {
		return limit, true
	}
	left := time.Until(*t)
	return min(left, limit), left > 0
}

// Read waits until at least one byte has come or the deadline has passed.
func (p *Port) Read(b []byte) (int, error) {
	for look := firstLook; ; look = min(2*look, longestLook) {
		wait, ok := p.left(look)
		if n, err := p.now("read", unix.SYS_READ, b); n > 0 || err != nil {
			return n, err
		}
		if !ok {
			return 0, fmt.Errorf("read %s: %w", p.lock.path, os.ErrDeadlineExceeded)
		}
		p.Sleep(context.Background(), wait)
	}
}

// Sleep waits for d or until ctx ends. It is for the goroutine that reads.
func (p *Port) Sleep(ctx context.Context, d time.Duration) { _ = p.alarm.Sleep(ctx, d) }

// Write writes all of b unless the deadline passes first.
func (p *Port) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := p.now("write", unix.SYS_WRITE, b[done:])
		done += n
		if err != nil || done == len(b) {
			return done, err
		}
		wait, ok := p.left(longestLook)
		if !ok {
			p.unsent = true
			return done, fmt.Errorf("write %s: %w", p.lock.path, os.ErrDeadlineExceeded)
		}
		if n == 0 {
			p.Sleep(context.Background(), wait)
		}
	}
}

// now reads what has come, or writes what the port takes, and waits for neither. That is
// why it can do without the care that the runtime takes of system calls that may block,
// and that wakes another thread.
func (p *Port) now(op string, call uintptr, b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.port == nil {
		return 0, p.failed(op, os.ErrClosed)
	}
	err = control(p.lock.guard, func(fd int) error {
		done, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch {
		case errno == unix.EAGAIN || errno == unix.EINTR:
			return nil
		case errno != 0:
			return errno
		case done == 0: // the end of a terminal that was hung up
			return io.EOF
		}
		n = int(done)
		return nil
	})
	if err != nil {
		return 0, p.failed(op, err)
	}
	return n, nil
}

// FlushInput throws away what has come in and was not read, and what was to be sent and
// could not.
func (p *Port) FlushInput() error {
	if p.unsent {
		if err := p.dropOutput(); err != nil {
			return err
		}
	}
	var junk [256]byte
	for total := 0; total < maxChatter; {
		n, err := p.now("flush", unix.SYS_READ, junk[:])
		if n == 0 || err != nil {
			return err
		}
		total += n
	}
	return nil
}

func (p *Port) dropOutput() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.port == nil {
		return p.failed("flush", os.ErrClosed)
	}
	if err := p.port.ResetOutputBuffer(); err != nil {
		return p.failed("flush", err)
	}
	p.unsent = false
	return nil
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
	if p.alarm != nil {
		p.alarm.Close()
	}
	return nil
}

// failed wraps what the library or the kernel says of a connection that is gone.
func (p *Port) failed(op string, err error) error {
	return drivers.Unreachable(fmt.Errorf("%s %s: %w", op, p.lock.path, err))
}
