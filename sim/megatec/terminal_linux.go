package megatec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal behind a link that survives it.
type terminal struct {
	link string
	temp string // directory to remove; empty: the caller's own

	mu     sync.Mutex
	now    pair // what the link leads to
	closed bool
}

// pair is the two sides of a pseudo-terminal. The slave side stays open here, too, so that
// the master reads on when a driver closes its side.
type pair struct{ master, slave *os.File }

func (p pair) close() {
	p.master.Close()
	p.slave.Close()
}

// linkName is the name of the link in its directory.
const linkName = "ups"

func openTerminal(dir string) (*terminal, error) {
	t := &terminal{}
	if dir == "" {
		temp, err := os.MkdirTemp("", "megatec")
		if err != nil {
			return nil, err
		}
		dir, t.temp = temp, temp
	}
	t.link = filepath.Join(dir, linkName)
	if err := t.renew(); err != nil {
		t.remove()
		return nil, err
	}
	return t, nil
}

// renew makes a new terminal and turns the link to it. The old one is left as it is.
func (t *terminal) renew() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	p, err := newPair()
	if err != nil {
		return fmt.Errorf("open a pseudo-terminal: %w", err)
	}
	if err := errors.Join(raw(p.slave), relink(p.slave.Name(), t.link)); err != nil {
		p.close()
		return err
	}
	t.now = p
	return nil
}

// newPair opens a pseudo-terminal. The master does not block, so that closing it ends a
// read that waits. Source: pts(4).
func newPair() (pair, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return pair{}, err
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		master.Close()
		return pair{}, err
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		master.Close()
		return pair{}, err
	}
	return pair{master, slave}, nil
}

// relink makes link point to target in one step.
func relink(target, link string) error {
	tmp := link + ".new"
	os.Remove(tmp)
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, link)
}

// raw switches echo and line editing off, so that what is sent before a driver has set
// the line up does not come back.
func raw(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioErr error
	err = conn.Control(func(fd uintptr) {
		var t *unix.Termios
		if t, ioErr = unix.IoctlGetTermios(int(fd), unix.TCGETS); ioErr != nil {
			return
		}
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B2400
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		ioErr = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
	})
	return errors.Join(err, ioErr)
}

func (t *terminal) current() pair {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

// hangUp ends the terminal for good.
func (t *terminal) hangUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.now.close()
}

func (t *terminal) remove() error {
	err := os.Remove(t.link)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if t.temp != "" {
		err = errors.Join(err, os.RemoveAll(t.temp))
	}
	return err
}

// serveTerminal serves one terminal after the other until the UPS is closed. When a new
// one cannot be had it tries again.
func (u *UPS) serveTerminal() {
	for {
		p := u.term.current()
		u.Serve(p.master)
		p.close()
		for u.term.current() == p {
			err := u.term.renew()
			if errors.Is(err, os.ErrClosed) || err != nil && !u.sleepUntil(time.Now().Add(100*time.Millisecond)) {
				return
			}
		}
	}
}
