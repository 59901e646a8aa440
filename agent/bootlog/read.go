package bootlog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultTimeout = 10 * time.Second
	killWait       = time.Second // for a program that was killed and yet does not end
	lastEntries    = 20
	maxOutput      = 1 << 20 // twenty entries of four fields have some 5 KiB
)

// Reader asks journalctl. The zero value asks the one of this machine. It may be used
// from any goroutine.
type Reader struct {
	Program string        // empty: journalctl
	Args    []string      // put before all others, such as -D DIR
	Timeout time.Duration // 0: 10 s
}

// End says how the boot called id ended, a UUID with or without dashes. The error wraps
// ErrNone, ErrTimeout or ErrOutput, or the end of ctx. It returns in time even when
// journalctl hangs and cannot be killed.
func (r Reader) End(ctx context.Context, id string) (End, error) {
	boot := strings.ToLower(strings.ReplaceAll(id, "-", ""))
	if !isID(boot) {
		return End{}, fmt.Errorf("bootlog: boot id %.40q, want 32 hex digits", id)
	}
	out, err := r.run(ctx, boot)
	if err != nil {
		return End{}, fmt.Errorf("bootlog: boot %s: %w", boot, err)
	}
	end, err := parse(out, boot)
	if err != nil {
		return End{}, fmt.Errorf("bootlog: boot %s: %w", boot, err)
	}
	return end, nil
}

func isID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// args asks the system's journal alone: of an ordinary user's own messages the last one
// says nothing about the machine.
func (r Reader) args(boot string) []string {
	return append(append([]string{}, r.Args...), "--system", "--boot="+boot, "-n", strconv.Itoa(lastEntries),
		"-o", "json", "--output-fields=MESSAGE_ID,UNIT", "--no-pager", "-q")
}

func (r Reader) run(ctx context.Context, boot string) ([]byte, error) {
	limit := cmp.Or(r.Timeout, defaultTimeout)
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: %v", ErrTimeout, limit))
	defer cancel()
	var out, problems bounded
	cmd := exec.CommandContext(limited, cmp.Or(r.Program, "journalctl"), r.args(boot)...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait / 2
	done := make(chan error, 1)
	go func() { done <- cmd.Run() }()
	select {
	case err := <-done:
		if limited.Err() != nil {
			return nil, context.Cause(limited)
		}
		if out.over {
			return nil, fmt.Errorf("%w: %w", ErrOutput, errTooMuch)
		}
		return out.buf.Bytes(), problem(err, problems.buf.String())
	case <-limited.Done():
	}
	select {
	case <-done:
	case <-time.After(killWait): // in the kernel, on a dead disk: nothing ends it
	}
	return nil, context.Cause(limited)
}

// problem says what err means. journalctl ends with 1 when it has no journal of the boot,
// when it has none at all, and when it may not read any.
func problem(err error, text string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNone, cmp.Or(firstLine(text), err.Error()))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 300)], "\uFFFD")
}

var errTooMuch = errors.New("more than 1 MiB of output")

// bounded keeps what is written to it as long as it fits. It is read once nobody writes.
type bounded struct {
	buf  bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.over = b.over || b.buf.Len()+len(p) > maxOutput; b.over {
		return 0, errTooMuch
	}
	return b.buf.Write(p)
}
