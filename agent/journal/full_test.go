package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dodai-agent/dodai"
	"golang.org/x/sys/unix"
)

// TestFullDisk fills a file system of 1 MiB, in a mount namespace of its own.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "full", dir)
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok && err != nil || ok && exit.ExitCode() == 77 {
		t.Skipf("no mount namespace here: %v %s", err, out)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func childFull(dir string) {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		fmt.Println(err)
		os.Exit(77)
	}
	ctx := context.Background()
	j, err := Open(ctx, dir, Options{})
	fatal(err)
	fatal(j.SaveState(ctx, "k", []byte("before")))
	ballast := filepath.Join(dir, "ballast")
	hog(ballast)
	n, err := appendUntilError(ctx, j)
	fmt.Printf("%d events until %v\n", n, err)
	if n == 0 || err == nil || !strings.Contains(err.Error(), "full") {
		fatal(fmt.Errorf("want some events and then an error that says full, got %d and %v", n, err))
	}
	for range 50 { // a full disk stays an error, whatever is tried
		if err := j.Append(ctx, bigEvent); err == nil {
			fatal(errors.New("an append into nothing was acknowledged"))
		}
		j.SaveState(ctx, "k", make([]byte, 20000))
	}
	if v, _, err := j.LoadState(ctx, "k"); err != nil || len(v) != 6 && len(v) != 20000 {
		fatal(fmt.Errorf("state on a full disk: %d bytes, %v", len(v), err))
	}
	fatal(os.Remove(ballast))
	fatal(j.Append(ctx, bigEvent)) // space is back: at once, without reopening
	fatal(j.SaveState(ctx, "k", []byte("after")))
	got, err := j.Events(ctx, Query{})
	fatal(err)
	if len(got) != n+1 {
		fatal(fmt.Errorf("%d events, want the %d acknowledged", len(got), n+1))
	}
	fatal(j.Close())
	j, err = Open(ctx, dir, Options{})
	fatal(err)
	if r := j.Recovered(); r != "" {
		fatal(errors.New(r))
	}
	fatal(j.Close())
}

// hog takes what room is left but 200 KiB.
func hog(path string) {
	f, err := os.Create(path)
	fatal(err)
	for b := make([]byte, 4096); err == nil; {
		_, err = f.Write(b)
	}
	info, err := f.Stat()
	fatal(err)
	fatal(f.Truncate(info.Size() - 200<<10))
	f.Close()
}

var bigEvent = dodai.Event{Name: dodai.EventAlertRaised, Text: strings.Repeat("t", 3000)}

func appendUntilError(ctx context.Context, j *Journal) (int, error) {
	for n := range 5000 {
		if err := j.Append(ctx, bigEvent); err != nil {
			return n, err
		}
	}
	return 5000, nil
}

// TestFileTooLarge is the full disk that needs no rights: a limit on the file's size,
// lifted again.
func TestFileTooLarge(t *testing.T) {
	out, err := child(t, "limit", t.TempDir()).Output()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func childLimit(dir string) {
	ctx := context.Background()
	var old unix.Rlimit
	fatal(unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	fatal(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 400 << 10, Max: old.Max}))
	j, err := Open(ctx, dir, Options{})
	fatal(err)
	n, err := appendUntilError(ctx, j)
	fmt.Printf("%d events until %v\n", n, err)
	if err == nil {
		fatal(errors.New("no error beyond the limit"))
	}
	for range 20 {
		if err := j.Append(ctx, bigEvent); err == nil {
			n++ // the WAL was started over
		}
	}
	fatal(unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
	fatal(j.Append(ctx, bigEvent))
	got, err := j.Events(ctx, Query{})
	fatal(err)
	if len(got) != n+1 {
		fatal(fmt.Errorf("%d events, want the %d acknowledged", len(got), n+1))
	}
	fatal(j.Close())
}

// TestReplacedOnAFullDisk: the database is corrupt and there is no room for a new one.
// Nothing that could be read is lost while that lasts.
func TestReplacedOnAFullDisk(t *testing.T) {
	out, err := child(t, "replace", t.TempDir()).Output()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func childReplace(dir string) {
	ctx := context.Background()
	j, err := Open(ctx, dir, Options{})
	fatal(err)
	fatal(j.SaveState(ctx, "no_return", []byte("passed")))
	fatal(os.Remove(filepath.Join(dir, fileName)))
	var old unix.Rlimit
	fatal(unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	fatal(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 2048, Max: old.Max}))
	for range 10 {
		if err := j.Append(ctx, bigEvent); err == nil {
			fatal(errors.New("acknowledged without room for a database"))
		}
	}
	if j.Recovered() != "" {
		fatal(errors.New("says that it recovered: " + j.Recovered()))
	}
	fatal(unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
	fatal(j.Append(ctx, bigEvent))
	v, _, err := j.LoadState(ctx, "no_return")
	if string(v) != "passed" || j.Recovered() == "" {
		fatal(fmt.Errorf("state %q, %v, recovered %q", v, err, j.Recovered()))
	}
	fatal(j.Close())
}
