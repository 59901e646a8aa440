package serialline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
)

// DefaultLockDir is where UUCP lock files go on Linux. Source: Filesystem Hierarchy
// Standard 3.0, section 5.9.
const DefaultLockDir = "/var/lock"

// lock is everything that keeps other programs from a port. The exclusive flag of the
// terminal alone does not keep out a second process with root's rights.
type lock struct {
	path  string   // the device node, links resolved
	guard *os.File // carries the kernel's locks, and tells when the port takes output
	file  string   // the UUCP lock file; empty: none could be made
}

// acquire locks the port at path in every way that serial programs use on Linux: flock,
// the record lock of lockf (which the UPS drivers of Network UPS Tools take) and a UUCP
// lock file. What can be seen without opening the port is looked at first.
func acquire(path, dir string) (*lock, error) {
	real, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir = DefaultLockDir
	}
	l := &lock{path: real}
	uucp := filepath.Join(dir, "LCK.."+lockName(real))
	if pid := fileHolder(uucp); pid != 0 && pid != os.Getpid() {
		return nil, held(path, pid)
	}
	if pid, locked := kernelHolder(real); locked {
		return nil, held(path, cmpPID(pid, real))
	}
	if l.guard, err = openNode(real); err != nil {
		return nil, l.explain(err)
	}
	if !l.lockNode() {
		l.guard.Close()
		return nil, held(path, openHolder(real))
	}
	if pid := l.makeFile(uucp); pid != 0 {
		l.release()
		return nil, held(path, pid)
	}
	return l, nil
}

// openNode opens a terminal so that neither opening nor reading or writing waits. The file
// is made while the descriptor blocks, which keeps it out of the runtime's poller: that
// would be woken by whatever comes in.
func openNode(real string) (*os.File, error) {
	fd, err := unix.Open(real, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: real, Err: err}
	}
	err = unix.SetNonblock(fd, false)
	f := os.NewFile(uintptr(fd), real)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: real, Err: err}
	}
	return f, nil
}

// cmpPID prefers the process id the kernel names; locks of open file descriptions have none.
func cmpPID(pid int, real string) int {
	if pid > 0 {
		return pid
	}
	return openHolder(real)
}

// resolve follows links and makes sure that the path is a terminal's device node.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", drivers.Classify(err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", drivers.Classify(err)
	}
	if info.Mode()&fs.ModeCharDevice == 0 {
		return "", fmt.Errorf("%w: %s is no serial port", drivers.ErrNoData, path)
	}
	return real, nil
}

// lockName is the device's part of a lock file's name: ttyS0, pts_3.
func lockName(real string) string {
	return strings.ReplaceAll(strings.TrimPrefix(real, "/dev/"), "/", "_")
}

// lockNode takes flock and the record lock of the open node, and reports whether it got
// both. A file system without them counts as free.
func (l *lock) lockNode() bool {
	err := control(l.guard, func(fd int) error {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	})
	return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) // EWOULDBLOCK is EAGAIN
}

var lockSeq atomic.Int64

// makeFile makes the UUCP lock file, replacing one whose owner is dead. It returns the
// process that was quicker, and 0 when the file is ours or none can be made: a directory
// we may not write to leaves the kernel's locks alone to do it.
func (l *lock) makeFile(path string) (holder int) {
	tmp := fmt.Sprintf("%s/LTMP.%d.%d", filepath.Dir(path), os.Getpid(), lockSeq.Add(1))
	if os.WriteFile(tmp, fmt.Appendf(nil, "%10d\n", os.Getpid()), 0o644) != nil {
		return 0
	}
	defer os.Remove(tmp)
	for range 2 {
		err := os.Link(tmp, path) // complete from the first moment, unlike create and write
		if err == nil {
			l.file = path
			return 0
		}
		if !errors.Is(err, fs.ErrExist) {
			return 0
		}
		if pid := fileHolder(path); pid != 0 && pid != os.Getpid() {
			return pid
		}
		if os.Remove(path) != nil { // somebody else's stale file
			return 0
		}
	}
	return 0
}

// release gives up every lock.
func (l *lock) release() {
	if l.file != "" && fileHolder(l.file) == os.Getpid() {
		os.Remove(l.file)
	}
	l.file = ""
	l.unlockNode()
	l.guard.Close()
}

// unlockNode gives up what lockNode took. Closing alone is not enough: a process that is
// being started holds a copy of the descriptor, and the locks with it, until it runs its
// program.
func (l *lock) unlockNode() {
	control(l.guard, func(fd int) error {
		return errors.Join(unix.Flock(fd, unix.LOCK_UN),
			unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK}))
	})
}

// explain turns an error of opening into one of the drivers' sentinels.
func (l *lock) explain(err error) error {
	if p, ok := errors.AsType[*serial.PortError](err); ok {
		switch p.Code() {
		case serial.PortBusy:
			return held(l.path, openHolder(l.path))
		case serial.PermissionDenied:
			return fmt.Errorf("%w: open %s: %w", drivers.ErrDenied, l.path, os.ErrPermission)
		case serial.InvalidSerialPort, serial.InvalidSpeed:
			return fmt.Errorf("%w: %s: %w", drivers.ErrNoData, l.path, err)
		}
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return held(l.path, openHolder(l.path))
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: %w", drivers.ErrDenied, err)
	case errors.Is(err, unix.ENOTTY):
		return fmt.Errorf("%w: %s is no serial port: %w", drivers.ErrNoData, l.path, err)
	}
	return drivers.Unreachable(err)
}

// control runs op on the file's descriptor without changing its mode.
func control(f *os.File, op func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	if err := conn.Control(func(fd uintptr) { opErr = op(int(fd)) }); err != nil {
		return err
	}
	return opErr
}
