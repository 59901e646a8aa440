package serialline

import (
	"testing"

	"golang.org/x/sys/unix"
)

// While a process is started, a copy of the port's descriptor outlives Close. The locks do
// not: nobody is told that a port is held which nobody uses any more.
func TestCloseUnlocksCopies(t *testing.T) {
	_, path := terminal(t)
	p := open(t, path)
	var held int
	err := control(p.lock.guard, func(fd int) (err error) {
		held, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("flock after Close: %v", err)
	}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Errorf("record lock after Close: %v", err)
	}
}
