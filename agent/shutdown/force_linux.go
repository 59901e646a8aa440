package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ForceLimit is how long Config.Force may take until it has failed.
const ForceLimit = 60 * time.Second

// How long forcing waits for what may hang for ever in the kernel. Together they are less
// than the 20 s between the order and the call that ends it.
const (
	syncLimit    = 10 * time.Second // for all file systems at once
	unmountEach  = 2 * time.Second  // for all at one depth at once
	unmountLimit = 5 * time.Second  // for all
	emergency    = 2 * time.Second  // for the kernel's own read-only remount
	keyLimit     = 500 * time.Millisecond
	mountsLimit  = 500 * time.Millisecond
	// rebootLimit is how long reboot(2) may hang in a driver before the last key is tried.
	rebootLimit = 10 * time.Second
)

// kernel is what forcing asks of the machine. Each call may hang for ever.
type kernel struct {
	mounts   func() ([]mount, error)
	sync     func() error
	syncfs   func(path string) error
	unmount  func(path string) error
	readonly func(m mount) error
	key      func(sysrq byte) error
	reboot   func(cmd int) error
}

// Forced takes the machine down without anybody's help: file systems are written out,
// unmounted or made read-only as far as that is quick, then the kernel ends it. It returns
// only when it has failed, at the latest after 30 s, or when ctx ends. It needs
// CAP_SYS_BOOT, and CAP_SYS_ADMIN for the file systems. Whatever hangs in the kernel is
// left behind in a thread of its own: this process cannot be ended until that returns.
// note is told what happens; nil: nobody is.
func Forced(ctx context.Context, goal Goal, note func(string)) error {
	return theKernel().force(ctx, goal, note)
}

func (k kernel) force(ctx context.Context, goal Goal, note func(string)) error {
	if note == nil {
		note = func(string) {}
	}
	tell := func(what string, err error) {
		if err != nil {
			note(what + ": " + oneLine(err))
		}
	}
	tell("write out", k.writeOut(ctx))
	tell("unmount", k.unmountAll(ctx))
	return k.end(ctx, goal, note)
}

// end is the last of it, and all that is left when something else has cared for the file systems.
func (k kernel) end(ctx context.Context, goal Goal, note func(string)) error {
	cmd, key := unix.LINUX_REBOOT_CMD_POWER_OFF, byte('o')
	if goal == GoalReboot {
		cmd, key = unix.LINUX_REBOOT_CMD_RESTART, 'b'
	}
	note("the kernel is told: " + string(goal))
	err := within(ctx, rebootLimit, func() error { return k.reboot(cmd) })
	if err == nil {
		err = errors.New("returned, and the machine is still up")
	}
	err = fmt.Errorf("reboot(2): %w", err)
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: CAP_SYS_BOOT is missing, or a filter of system calls forbids it", err)
	}
	note(oneLine(err))
	return errors.Join(err, k.press(ctx, key))
}

// within waits for f no longer than limit, and leaves it behind then.
func within(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timedOut(limit))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (k kernel) press(ctx context.Context, key byte) error {
	if err := within(ctx, keyLimit, func() error { return k.key(key) }); err != nil {
		return fmt.Errorf("sysrq %c: %w", key, err)
	}
	return nil
}

// list returns the mounts that hold something to lose.
func (k kernel) list(ctx context.Context) ([]mount, error) {
	var all []mount
	err := within(ctx, mountsLimit, func() error {
		list, err := k.mounts()
		if err == nil {
			all = list // not read after a time-out
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list of mounts: %w", err)
	}
	return slices.DeleteFunc(all, func(m mount) bool { return !m.writable || pseudo[m.fstype] }), nil
}

// writeOut writes out each file system beside the others: sync(2) takes one after the
// other, and the first whose disks are gone would hold up all that are left.
func (k kernel) writeOut(ctx context.Context) error {
	list, err := k.list(ctx)
	if err != nil {
		return errors.Join(err, within(ctx, syncLimit, k.sync), k.press(ctx, 's'))
	}
	seen := map[string]bool{}
	var calls []call
	for _, m := range list {
		if !seen[m.dev] {
			seen[m.dev] = true
			calls = append(calls, call{m.path, func() error { return k.syncfs(m.path) }})
		}
	}
	return errors.Join(together(ctx, syncLimit, calls), k.press(ctx, 's'))
}

// unmountAll unmounts what is mounted, the deepest first, and makes read-only what is in
// use. What hangs costs the rest two seconds. The kernel's own remount comes last, for
// what has files open for writing.
func (k kernel) unmountAll(ctx context.Context) error {
	list, err := k.list(ctx)
	errs := []error{err}
	limited, cancel := context.WithTimeoutCause(ctx, unmountLimit, timedOut(unmountLimit))
	defer cancel()
	for _, level := range levels(list) {
		var calls []call
		for _, m := range level {
			calls = append(calls, call{m.path, func() error { return k.release(m) }})
		}
		errs = append(errs, together(limited, unmountEach, calls))
		if limited.Err() != nil {
			break
		}
	}
	if err := k.press(ctx, 'u'); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, k.settle(ctx))...)
}

// release unmounts a file system or makes it read-only. The root stays.
func (k kernel) release(m mount) error {
	var err error
	if m.path != "/" {
		if err = k.unmount(m.path); err == nil {
			return nil
		}
	}
	if ro := k.readonly(m); ro != nil {
		return errors.Join(err, fmt.Errorf("read-only: %w", ro))
	}
	return nil
}

// settle waits until the kernel's read-only remount, which works in the background, has
// left nothing writable.
func (k kernel) settle(ctx context.Context) error {
	for end := time.Now().Add(emergency); ; {
		list, err := k.list(ctx)
		if err != nil || len(list) == 0 {
			return err
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("still writable: %s", list[0].path)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// call is one thing to do to one file system.
type call struct {
	path string
	do   func() error
}

// together does all calls at once, and waits for limit for those that hang.
func together(ctx context.Context, limit time.Duration, calls []call) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timedOut(limit))
	defer cancel()
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome, len(calls))
	for i, c := range calls {
		go func() { done <- outcome{i, c.do()} }()
	}
	errs := make([]error, len(calls))
	for i := range errs {
		errs[i] = errHangs
	}
	for range calls {
		select {
		case o := <-done:
			errs[o.n] = o.err
			continue
		case <-ctx.Done():
		}
		break
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("%s: %w", calls[i].path, err)
		}
	}
	return errors.Join(errs...)
}

var errHangs = errors.New("hangs, left behind")

func theKernel() kernel {
	return kernel{
		mounts: readMounts,
		sync:   func() error { unix.Sync(); return nil },
		syncfs: func(path string) error {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open: %w", err)
			}
			defer unix.Close(fd)
			return unix.Syncfs(fd)
		},
		unmount: func(path string) error { return unix.Unmount(path, unix.UMOUNT_NOFOLLOW) },
		readonly: func(m mount) error {
			err := unix.Mount("", m.path, "", unix.MS_REMOUNT|unix.MS_RDONLY, m.options)
			if errors.Is(err, unix.EINVAL) { // shown, but not taken
				err = unix.Mount("", m.path, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
			}
			return err
		},
		key: func(sysrq byte) error {
			f, err := os.OpenFile("/proc/sysrq-trigger", os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write([]byte{sysrq})
			return err
		},
		reboot: unix.Reboot,
	}
}
