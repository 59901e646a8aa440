package md

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
)

// maxAttr bounds one file of sysfs, which the kernel writes in one page.
const maxAttr = 64 << 10

// arrayFiles and memberFiles are what is read of each array and of each dev-* below
// it. What is not there stays absent: which files exist depends on level and kernel.
var (
	arrayFiles = []string{
		"array_state", "level", "raid_disks", "degraded", "layout", "metadata_version", "consistency_policy",
		"sync_action", "sync_completed", "resync_start", "mismatch_cnt",
	}
	memberFiles = []string{"state", "slot", "errors", "bad_blocks", "unacknowledged_bad_blocks"}
)

// rawArray is the text of an array's files, without the line ends.
type rawArray struct {
	files   map[string]string
	members []rawMember
}

type rawMember struct {
	name  string
	files map[string]string
	gone  bool // its block link leads nowhere
	rd    string
}

// errStopped says that the array went away while it was read.
var errStopped = errors.New("stopped while it was read")

// readSysfs reads every array below root/block. The error is about the directory; what
// is wrong with one array stands in its facts. An array stopped meanwhile is left out
// and named in stopped.
func readSysfs(ctx context.Context, root string) (sets []facts, stopped []string, err error) {
	entries, err := os.ReadDir(filepath.Join(root, "block"))
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		dir := filepath.Join(root, "block", e.Name(), "md")
		if !strings.HasPrefix(e.Name(), "md") || !isDir(dir) {
			continue
		}
		raw, err := readStable(ctx, root, dir)
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case errors.Is(err, errStopped):
			stopped = append(stopped, e.Name())
		case err != nil:
			sets = append(sets, facts{id: e.Name(), err: err})
		case raw.files["array_state"] == "clear": // a device node, no array
		default:
			sets = append(sets, parseArray(e.Name(), raw))
		}
	}
	return sets, stopped, nil
}

// readStable reads an array again when a member vanished in the middle, as one does
// that is removed by hand.
func readStable(ctx context.Context, root, dir string) (raw rawArray, err error) {
	for range 3 {
		raw, err = readArray(ctx, root, dir)
		if err == nil || ctx.Err() != nil {
			return raw, err
		}
		if !isDir(dir) {
			return raw, errStopped
		}
	}
	return raw, fmt.Errorf("%w: %w", drivers.ErrProtocol, err)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func readArray(ctx context.Context, root, dir string) (rawArray, error) {
	raw := rawArray{}
	var err error
	if raw.files, err = readFiles(ctx, dir, arrayFiles, "array_state"); err != nil {
		return raw, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return raw, err
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), "dev-")
		if !ok {
			continue
		}
		m := rawMember{name: name}
		sub := filepath.Join(dir, e.Name())
		if m.files, err = readFiles(ctx, sub, memberFiles, "state"); err != nil {
			return raw, err
		}
		if m.files["slot"] == "" {
			m.rd = slotLink(dir, entries, e.Name())
		}
		m.gone = dangling(root, filepath.Join(sub, "block"))
		if !isDir(sub) { // removed meanwhile: files that are not there say nothing
			return raw, fmt.Errorf("%s: %w", sub, fs.ErrNotExist)
		}
		raw.members = append(raw.members, m)
	}
	if !isDir(dir) {
		return raw, errStopped
	}
	return raw, nil
}

// slotLink is the number of the rd* link in dir that leads to a member; empty: none does.
func slotLink(dir string, entries []fs.DirEntry, member string) string {
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "rd")
		if !ok {
			continue
		}
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && filepath.Base(to) == member {
			return number
		}
	}
	return ""
}

// readFiles reads the files that are there. needed has to be.
func readFiles(ctx context.Context, dir string, names []string, needed string) (map[string]string, error) {
	at, err := retried(func() (int, error) { return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(at)
	files := make(map[string]string, len(names))
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		text, err := readAttr(at, name)
		if err != nil && (name == needed || !absent(err)) {
			return nil, &fs.PathError{Op: "read", Path: filepath.Join(dir, name), Err: err}
		}
		if err == nil {
			files[name] = text
		}
	}
	return files, nil
}

// readAttr reads a file of the directory at by the system calls alone: package os would hand
// each of them to the runtime's poller first, and there are hundreds in a sweep.
func readAttr(at int, name string) (string, error) {
	fd, err := retried(func() (int, error) { return unix.Openat(at, name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var page [4 << 10]byte
	var data []byte
	for len(data) < maxAttr {
		n, err := retried(func() (int, error) { return unix.Read(fd, page[:]) })
		if err != nil {
			return "", err
		}
		data = append(data, page[:n]...)
		if n < len(page) { // the kernel gives a file of sysfs in one piece
			break
		}
	}
	return strings.TrimSpace(string(data[:min(len(data), maxAttr)])), nil
}

// retried repeats a system call that a signal has interrupted.
func retried(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != syscall.EINTR {
			return n, err
		}
	}
}

// absent reports that a file is not there, or that this kernel has nothing to say in
// it. ENODEV is neither: the member or array it belonged to went away.
func absent(err error) bool {
	return slices.ContainsFunc([]error{fs.ErrNotExist, syscall.EINVAL, syscall.EOPNOTSUPP},
		func(target error) bool { return errors.Is(err, target) })
}

// dangling reports that the link leads nowhere: the block device has left the machine,
// which md itself does not notice before it next needs the drive. No link at all says
// nothing. A link to /sys/… is followed below root, where that sysfs is mounted.
func dangling(root, link string) bool {
	if _, err := os.Stat(link); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	to, err := os.Readlink(link)
	if err != nil {
		return false
	}
	rest, isAbs := strings.CutPrefix(to, "/sys/")
	if !isAbs {
		return true
	}
	_, err = os.Stat(filepath.Join(root, rest))
	return errors.Is(err, fs.ErrNotExist)
}
