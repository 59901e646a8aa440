package serialline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
)

// HeldError says who holds the port. It is an ErrDenied.
type HeldError struct {
	Path    string
	PID     int    // 0: not known
	Program string // empty: not known
}

func (e *HeldError) Error() string {
	who := "another program"
	switch {
	case e.PID == os.Getpid():
		who = fmt.Sprintf("this program itself (pid %d)", e.PID)
	case e.Program != "":
		who = fmt.Sprintf("%s (pid %d)", e.Program, e.PID)
	case e.PID != 0:
		who = fmt.Sprintf("pid %d", e.PID)
	}
	return fmt.Sprintf("%v: %s is held by %s", drivers.ErrDenied, e.Path, who)
}

// Unwrap makes errors.Is find drivers.ErrDenied.
func (e *HeldError) Unwrap() error { return drivers.ErrDenied }

func held(path string, pid int) error {
	e := &HeldError{Path: path, PID: pid}
	if pid > 0 {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
			e.Program = string(bytes.TrimSpace(comm))
		}
	}
	return e
}

// Hint tells an operator what to do about an error of Open; empty when there is nothing
// to say.
func Hint(err error) string {
	held, isHeld := errors.AsType[*HeldError](err)
	switch {
	case isHeld && held.PID == os.Getpid():
		return "the same port is configured twice"
	case isHeld:
		return "stop the other program, or read the UPS through it"
	case errors.Is(err, os.ErrPermission):
		return "the agent's user needs the group that owns the port, usually dialout"
	case errors.Is(err, drivers.ErrNoData):
		return "see /dev/serial/by-id for the ports there are"
	case errors.Is(err, os.ErrNotExist):
		return "is the adapter plugged in? see /dev/serial/by-id"
	}
	return ""
}

// fileHolder returns the living process a UUCP lock file names; 0 when there is no file or
// its owner is dead. The process id stands there as ten characters of text, in old files as
// four bytes in the machine's order. Source: Filesystem Hierarchy Standard 3.0, 5.9.
func fileHolder(path string) int {
	data, err := os.ReadFile(path)
	if err != nil || len(data) > 64 {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil && len(data) == 4 {
		pid, err = int(int32(binary.NativeEndian.Uint32(data))), nil
	}
	if err != nil || pid <= 0 || errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return 0
	}
	return pid
}

// kernelHolder looks the device node up in /proc/locks, which needs no open port. pid is -1
// or 0 where the kernel does not tell.
func kernelHolder(real string) (pid int, locked bool) {
	var st unix.Stat_t
	if unix.Stat(real, &st) != nil {
		return 0, false
	}
	table, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0, false
	}
	node := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	return findLock(table, node)
}

// findLock finds who holds a node ("major:minor:inode", the first two in hexadecimal) in
// /proc/locks: "1: FLOCK ADVISORY WRITE 1234 00:05:88 0 EOF". A row with a process id is
// preferred to one without. Source: Linux Documentation/filesystems/proc.rst.
func findLock(table []byte, node string) (pid int, locked bool) {
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] == "->" || f[5] != node { // "->": waits for the lock, has it not
			continue
		}
		if n, err := strconv.Atoi(f[4]); err == nil {
			pid, locked = max(pid, n), true
		}
	}
	return pid, locked
}

// openHolder returns a process that has the device open, another than this one if there
// is one; 0 when none is seen. Without root's rights only the own processes are.
func openHolder(real string) int {
	var want unix.Stat_t
	if unix.Stat(real, &want) != nil {
		return 0
	}
	found := 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if !hasOpen(dir, want.Rdev) {
			continue
		}
		if pid != os.Getpid() {
			return pid
		}
		found = pid
	}
	return found
}

func hasOpen(procDir string, rdev uint64) bool {
	fds, _ := filepath.Glob(procDir + "/fd/*")
	for _, fd := range fds {
		var st unix.Stat_t
		if unix.Stat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == rdev {
			return true
		}
	}
	return false
}
