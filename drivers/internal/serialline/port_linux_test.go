package serialline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// terminal returns a pseudo-terminal: its master side, and the path of its slave.
func terminal(t *testing.T) (*os.File, string) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	slave.Close()
	return master, slave.Name()
}

// open opens the port with lock files in a directory of the test's own.
func open(t *testing.T, path string) *Port {
	t.Helper()
	p, err := Open(t.Context(), Settings{Path: path, Baud: 2400, LockDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestPortTalks(t *testing.T) {
	master, path := terminal(t)
	link := filepath.Join(t.TempDir(), "by-id")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	p := open(t, link)
	if err := Write(t.Context(), p, []byte("Q1\r\x00\xff")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if n, err := master.Read(buf); err != nil || string(buf[:n]) != "Q1\r\x00\xff" {
		t.Errorf("the other side reads %q, %v: want every byte as it was written", buf[:n], err)
	}
	master.WriteString("(\r\n\x00\x11\x13\xff")
	got := ""
	for len(got) < 7 {
		n, err := Read(t.Context(), p, buf, time.Now().Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		got += string(buf[:n])
	}
	if got != "(\r\n\x00\x11\x13\xff" {
		t.Errorf("read %q: want every byte as it was sent", got)
	}
}

func TestPortReadEnds(t *testing.T) {
	_, path := terminal(t)
	p := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	if _, err := Read(ctx, p, make([]byte, 8), time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled Read = %v, want context.Canceled", err)
	}
	if _, err := Read(t.Context(), p, make([]byte, 8), time.Now().Add(60*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %v, want os.ErrDeadlineExceeded", err)
	}
	if took := time.Since(begin); took < 110*time.Millisecond || took > time.Second {
		t.Errorf("both took %v, want a little over 110 ms", took)
	}
}

// A line that takes no output blocks no longer than the deadline, and neither does Close.
func TestPortWriteEnds(t *testing.T) {
	_, path := terminal(t) // whose master side nobody reads
	p := open(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := Write(ctx, p, make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write = %v, want os.ErrDeadlineExceeded", err)
	}
	p.Close()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("Write and Close took %v", took)
	}
}

func TestPortFlush(t *testing.T) {
	master, path := terminal(t)
	p := open(t, path)
	master.WriteString("left over")
	time.Sleep(20 * time.Millisecond)
	if err := Flush(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	master.WriteString("new")
	buf := make([]byte, 64)
	if n, err := Read(t.Context(), p, buf, time.Now().Add(time.Second)); err != nil || string(buf[:n]) != "new" {
		t.Errorf("Read after Flush = %q, %v: want \"new\"", buf[:n], err)
	}
}

// A terminal whose other side is gone, as a pulled adapter, breaks the connection.
func TestPortPulled(t *testing.T) {
	master, path := terminal(t)
	p := open(t, path)
	time.AfterFunc(30*time.Millisecond, func() { master.Close() })
	_, err := Read(t.Context(), p, make([]byte, 8), time.Now().Add(2*time.Second))
	if !errors.Is(err, drivers.ErrUnreachable) || !Broken(err) {
		t.Errorf("Read from a pulled port = %v, broken %v: want ErrUnreachable, broken", err, Broken(err))
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := p.Read(make([]byte, 8)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close = %v, want os.ErrClosed", err)
	}
	if _, err := p.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close = %v, want os.ErrClosed", err)
	}
}

// A Close from elsewhere ends a blocked read soon, and never under its feet.
func TestCloseWhileReading(t *testing.T) {
	_, path := terminal(t)
	p := open(t, path)
	time.AfterFunc(30*time.Millisecond, func() { p.Close() })
	begin := time.Now()
	if _, err := p.Read(make([]byte, 8)); !errors.Is(err, os.ErrClosed) || time.Since(begin) > time.Second {
		t.Errorf("Read = %v after %v, want os.ErrClosed soon", err, time.Since(begin))
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, tty := terminal(t)
	tests := []struct {
		name, path string
		ctx        context.Context
		want       error
		hint       string
	}{
		{"nothing there", filepath.Join(t.TempDir(), "ttyUSB0"), t.Context(), drivers.ErrUnreachable, "plugged in"},
		{"a file", file, t.Context(), drivers.ErrNoData, "by-id"},
		{"a directory", t.TempDir(), t.Context(), drivers.ErrNoData, "by-id"},
		{"another device", "/dev/null", t.Context(), drivers.ErrNoData, "by-id"},
		{"an ended context", tty, cancelled, drivers.ErrUnreachable, ""},
	}
	for _, tt := range tests {
		p, err := Open(tt.ctx, Settings{Path: tt.path, Baud: 2400, LockDir: t.TempDir()})
		if p != nil || !errors.Is(err, tt.want) || !strings.Contains(Hint(err), tt.hint) {
			t.Errorf("%s: Open = %v, hint %q: want %v and %q", tt.name, err, Hint(err), tt.want, tt.hint)
		}
	}
}

// Only the first has the port; the second is told who, and gets it after a Close.
func TestLock(t *testing.T) {
	_, path := terminal(t)
	dir := t.TempDir()
	s := Settings{Path: path, Baud: 2400, LockDir: dir}
	first, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "LCK.."+lockName(path))
	if data, err := os.ReadFile(file); err != nil || string(data) != fmt.Sprintf("%10d\n", os.Getpid()) {
		t.Errorf("lock file holds %q, %v: want our process id in ten characters", data, err)
	}
	_, err = Open(t.Context(), s)
	if h, ok := errors.AsType[*HeldError](err); !ok || h.PID != os.Getpid() || !errors.Is(err, drivers.ErrDenied) {
		t.Errorf("second Open = %v, want a HeldError that names us", err)
	}
	first.Close()
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lock file after Close: %v, want it gone", err)
	}
	again, err := Open(t.Context(), s)
	if err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	again.Close()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind in the lock directory: %v", left)
	}
}

// sleeper is a living process that is not ours.
func sleeper(t *testing.T, name string, arg ...string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, arg...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

func dead(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestLockFiles(t *testing.T) {
	alive, gone := sleeper(t, "sleep", "60"), dead(t)
	binaryPID := func(pid int) string { return string(binary.NativeEndian.AppendUint32(nil, uint32(pid))) }
	tests := []struct {
		name, content string
		held          int // 0: the file is stale
	}{
		{"of a living process", fmt.Sprintf("%10d\n", alive), alive},
		{"of a living process, without padding", fmt.Sprint(alive), alive},
		{"of a living process, old and binary", binaryPID(alive), alive},
		{"of a dead process", fmt.Sprintf("%10d\n", gone), 0},
		{"of a dead process, old and binary", binaryPID(gone), 0},
		{"of ourselves, before a restart", fmt.Sprintf("%10d\n", os.Getpid()), 0},
		{"empty", "", 0},
		{"nonsense", "minicom was here", 0},
		{"process 0", "         0\n", 0},
		{"everybody", "        -1\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, path := terminal(t)
			dir := t.TempDir()
			file := filepath.Join(dir, "LCK.."+lockName(path))
			if err := os.WriteFile(file, []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := Open(t.Context(), Settings{Path: path, Baud: 2400, LockDir: dir})
			if tt.held == 0 {
				if err != nil {
					t.Fatalf("Open with a stale lock file: %v", err)
				}
				p.Close()
				return
			}
			h, ok := errors.AsType[*HeldError](err)
			if !ok || h.PID != tt.held || h.Program != "sleep" {
				t.Errorf("Open = %v, want a HeldError that names sleep, pid %d", err, tt.held)
			}
			if data, _ := os.ReadFile(file); string(data) != tt.content {
				t.Errorf("the lock file of another became %q", data)
			}
		})
	}
}

// Without a lock directory the kernel's locks do it alone.
func TestNoLockDir(t *testing.T) {
	_, path := terminal(t)
	s := Settings{Path: path, Baud: 2400, LockDir: filepath.Join(t.TempDir(), "missing")}
	p, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := Open(t.Context(), s); !errors.Is(err, drivers.ErrDenied) {
		t.Errorf("second Open = %v, want ErrDenied", err)
	}
}

// A port locked with flock by another program, which wrote no lock file, is not opened.
func TestFlockByAnother(t *testing.T) {
	_, path := terminal(t)
	pid := sleeper(t, peer.Need(t, "flock"), "--no-fork", path, "sleep", "60")
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if _, locked := kernelHolder(path); locked && string(comm) == "sleep\n" {
			break
		}
	}
	_, err := Open(t.Context(), Settings{Path: path, Baud: 2400, LockDir: t.TempDir()})
	if h, ok := errors.AsType[*HeldError](err); !ok || h.PID != pid || h.Program != "sleep" {
		t.Errorf("Open = %v, want a HeldError that names sleep, pid %d", err, pid)
	}
}

// The locks that can only be noticed when they are taken: one of an open file description
// whose row in /proc/locks names nobody.
func TestLockWithoutOwner(t *testing.T) {
	_, path := terminal(t)
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := control(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}); err != nil {
		t.Fatal(err)
	}
	if l := (&lock{path: path, guard: f}); !l.lockNode() {
		t.Error("lockNode on the description that has the lock already: want it")
	}
	_, err = Open(t.Context(), Settings{Path: path, Baud: 2400, LockDir: t.TempDir()})
	if !errors.Is(err, drivers.ErrDenied) {
		t.Errorf("Open = %v, want ErrDenied", err)
	}
	g, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if l := (&lock{path: path, guard: g}); l.lockNode() {
		t.Error("lockNode got a lock that another description has")
	}
}

func TestFindLock(t *testing.T) {
	const table = `1: POSIX  ADVISORY  WRITE 708 00:05:88 0 EOF
2: FLOCK  ADVISORY  WRITE 512 00:06:91 0 EOF
2: -> FLOCK  ADVISORY  WRITE 513 00:06:92 0 EOF
3: OFDLCK ADVISORY  WRITE -1 00:06:93 0 EOF
4: FLOCK  ADVISORY  WRITE 77 00:06:93 0 EOF
5: OFDLCK ADVISORY  WRITE -1 00:06:94 0 EOF
short
`
	tests := []struct {
		node   string
		pid    int
		locked bool
	}{
		{"00:05:88", 708, true},
		{"00:06:91", 512, true},
		{"00:06:92", 0, false}, // waits only
		{"00:06:93", 77, true},
		{"00:06:94", 0, true},
		{"00:06:9", 0, false},
	}
	for _, tt := range tests {
		if pid, locked := findLock([]byte(table), tt.node); pid != tt.pid || locked != tt.locked {
			t.Errorf("findLock(%s) = %d, %v: want %d, %v", tt.node, pid, locked, tt.pid, tt.locked)
		}
	}
}

// A child that outlives us must not keep the port.
func TestChildrenInheritNothing(t *testing.T) {
	_, path := terminal(t)
	p := open(t, path)
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "ls -l /proc/self/fd").Output()
	if err != nil || strings.Contains(string(out), p.lock.path+"\n") {
		t.Errorf("a child has the port open (%v):\n%s", err, out)
	}
}

func TestCablePower(t *testing.T) {
	want := map[string]Lines{"normal": {DTR: true}, "reverse": {RTS: true}, "both": {true, true}, "none": {}}
	for name, lines := range want {
		s := Settings{Baud: 2400, Lines: CablePower[name]}
		m := s.mode(true)
		if bits := m.InitialStatusBits; bits == nil || bits.DTR != lines.DTR || bits.RTS != lines.RTS {
			t.Errorf("cablepower %s opens with %+v, want %+v", name, bits, lines)
		}
		if m.BaudRate != 2400 || m.DataBits != 8 {
			t.Errorf("mode %+v, want 2400 baud and 8 bits", m)
		}
		if s.mode(false).InitialStatusBits != nil {
			t.Errorf("cablepower %s asks a port without modem lines for them", name)
		}
	}
}
