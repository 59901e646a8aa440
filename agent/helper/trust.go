package helper

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxConfig = 4 << 20
	// maxCopies are kept: the one in force, and those before it that an agent may still
	// go on with because the present one is wrong.
	maxCopies  = 8
	copyPrefix = "config-"
	maxLinks   = 16
)

// keeper keeps copies of a configuration that nobody but owner can have written.
type keeper struct {
	path  string // of the configuration
	dir   string // of the copies
	owner uint32 // 0; another one in tests
}

// pin reads the configuration, if it can be trusted, and keeps a copy of it. It fails when
// that is not the one that hash names: it was edited since the daemon has read it.
func (k keeper) pin(hash string) error {
	text, err := k.present(hash)
	if err != nil {
		return err
	}
	return k.keep(hash, text)
}

// load returns the text of the configuration that hash names: the copy, or the file itself
// where that is still the same.
func (k keeper) load(hash string) ([]byte, error) {
	if sum, err := hex.DecodeString(hash); err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("configuration %.80q, want a SHA-256 sum", hash)
	}
	text, err := readOwned(k.copyOf(hash), k.owner)
	if err == nil && Hash(text) == hash {
		return text, nil
	}
	if text, err = k.present(hash); err == nil {
		_ = k.keep(hash, text) // a full /run does not stop the way down
	}
	return text, err
}

// present returns what stands in the file now, if that can be trusted and is what hash names.
func (k keeper) present(hash string) ([]byte, error) {
	text, err := k.trusted()
	if err != nil {
		return nil, fmt.Errorf("nothing of this configuration is run: %w", err)
	}
	if Hash(text) != hash {
		return nil, fmt.Errorf("nothing of this configuration is run: %s is not what the daemon has read; `systemctl reload dodai` takes over what was changed", k.path)
	}
	return text, nil
}

func (k keeper) copyOf(hash string) string { return filepath.Join(k.dir, copyPrefix+hash) }

func (k keeper) keep(hash string, text []byte) error {
	path := k.copyOf(hash)
	if old, err := readOwned(path, k.owner); err == nil && Hash(old) == hash {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // it is the youngest again
		return nil
	}
	f, err := os.CreateTemp(k.dir, ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("keep the configuration: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep the configuration: %w", err)
	}
	k.thin()
	return nil
}

// thin removes the oldest copies.
func (k keeper) thin() {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return
	}
	type kept struct {
		name string
		at   time.Time
	}
	var all []kept
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), copyPrefix) {
			all = append(all, kept{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b kept) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.name, b.name)) })
	for _, old := range all[min(maxCopies, len(all)):] {
		_ = os.Remove(filepath.Join(k.dir, old.name))
	}
}

// trusted reads the configuration if nobody but the owner can have written it, or have
// put another one in its place.
func (k keeper) trusted() ([]byte, error) {
	path, err := filepath.Abs(k.path)
	if err != nil {
		return nil, err
	}
	real, err := k.walk(path)
	if err != nil {
		return nil, err
	}
	return readOwned(real, k.owner)
}

// walk looks at every folder on the way to path, and at the links in it, and returns
// where it leads.
func (k keeper) walk(path string) (string, error) {
	rest, at := strings.Split(strings.Trim(path, "/"), "/"), "/"
	if err := k.folder(at); err != nil {
		return "", err
	}
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		rest = rest[1:]
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if st, is := info.Sys().(*syscall.Stat_t); !is || st.Uid != 0 && st.Uid != k.owner {
				return "", fmt.Errorf("%s is a link that is not root's: want root's, chown -h root %[1]s", next) // in /tmp it may be anybody's
			}
			to, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return "", errors.Join(fmt.Errorf("%s: a link that leads nowhere", next), err)
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(strings.Trim(to, "/"), "/"), rest...)
		case info.IsDir():
			if err := k.folder(next); err != nil {
				return "", err
			}
			at = next
		case len(rest) > 0:
			return "", fmt.Errorf("%s is no folder", next)
		default:
			at = next
		}
	}
	return at, nil
}

func (k keeper) folder(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return owned(path, &st, k.owner)
}

// owned refuses what others than root and owner could have changed.
func owned(path string, st *unix.Stat_t, owner uint32) error {
	sticky := st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0 // what is root's stays there
	switch {
	case st.Uid != 0 && st.Uid != owner:
		return fmt.Errorf("%s belongs to user %d, want root: chown root %s", path, st.Uid, path)
	case st.Mode&0o022 != 0 && !sticky:
		return fmt.Errorf("%s can be written by others than root (mode %04o): chmod go-w %s", path, st.Mode&0o7777, path)
	}
	return nil
}

// readOwned reads a regular file that is not a link and that only the owner can write.
// What is checked is what is read.
func readOwned(path string, owner uint32) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if err := owned(path, &st, owner); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxConfig)
	}
	return text, err
}
