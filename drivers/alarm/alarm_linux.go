// Package alarm waits on timers of the kernel.
//
// Each timer of the Go runtime wakes two threads, one of them twice because the runtime
// waits in whole milliseconds, and the second looks around a few times more before it
// sleeps again. In a daemon that does nothing but wait from second to second that is most
// of what it costs. A timer that the kernel reports through the poller wakes one thread,
// once; its calls never block, and do without the care the runtime takes of those that do.
// It also runs on while the machine is suspended.
//
// Sources: timerfd_create(2); the runtime's sysmon and netpoll.
package alarm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrClosed is why nobody can sleep on an alarm any more.
var ErrClosed = errors.New("alarm: closed")

// An Alarm rings once after each Set. Its methods may be called from any goroutine.
type Alarm struct {
	file *os.File
	conn syscall.RawConn // file's

	mu sync.Mutex // makes a ring one thing with its hearing
	c  chan time.Time
}

// New makes an alarm that is not set. It fails where the process may open no more files.
func New() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("alarm: timerfd_create: %w", err)
	}
	a := &Alarm{file: os.NewFile(uintptr(fd), "timerfd"), c: make(chan time.Time, 1)}
	if a.conn, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, fmt.Errorf("alarm: %w", err)
	}
	go a.run()
	return a, nil
}

// C is where the alarm rings, with the time of it. It is closed when the alarm is.
func (a *Alarm) C() <-chan time.Time { return a.c }

// run hands each ring on until the alarm is closed.
func (a *Alarm) run() {
	defer close(a.c)
	for a.conn.Read(a.rang) == nil {
	}
}

// rang reports whether the alarm has rung, and hands that on.
func (a *Alarm) rang(fd uintptr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	var rings [8]byte
	n, _, _ := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&rings)), uintptr(len(rings)))
	if n != uintptr(len(rings)) {
		return false // not yet, or it was set anew meanwhile
	}
	select {
	case a.c <- time.Now():
	default:
	}
	return true
}

// Set makes the alarm ring after d, and no more for what it was set to before; 0 or less:
// at once.
func (a *Alarm) Set(d time.Duration) { a.set(max(d, 1)) }

// Stop makes the alarm ring no more.
func (a *Alarm) Stop() { a.set(0) }

func (a *Alarm) set(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	a.mu.Lock()
	defer a.mu.Unlock()
	// Neither fails but on an alarm that is closed: the time is a valid one.
	_ = a.conn.Control(func(fd uintptr) {
		_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
	select {
	case <-a.c:
	default:
	}
}

// Sleep waits for d or until ctx ends, whose error it returns then. Only one goroutine may
// sleep on an alarm.
func (a *Alarm) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	a.Set(d)
	select {
	case _, open := <-a.c:
		if !open {
			return ErrClosed
		}
		return nil
	case <-ctx.Done():
		a.Stop()
		return ctx.Err()
	}
}

// Close lets the alarm go.
func (a *Alarm) Close() error { return a.file.Close() }
