package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dodai-agent/dodai"
)

// maxOutput is how much of a hook's output is kept.
const maxOutput = 4 << 10

// Command is a program to run for an event.
type Command struct {
	Args    []string
	Env     []string
	Timeout time.Duration // greater than 0
	// Hook is the hook's place in the list and User whose rights it is to have, for a
	// Runner that can do that; Event is what it is told of.
	Hook  int
	User  string
	Event dodai.Event
}

// Runner runs a program to its end, to its time-out, or until ctx ends, and kills it
// with everything it started in the last two cases. It returns the beginning of what
// the program printed.
type Runner func(ctx context.Context, c Command) (output string, err error)

// Process is the Runner for real programs.
func Process(ctx context.Context, c Command) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = c.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 100 * time.Millisecond // for output held open by what it left behind
	out := &limited{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(killedWait): // in the kernel, on a dead disk: nothing ends it
			err = ctx.Err()
		}
	}
	return out.text(), outcome(ctx, err, c.Timeout)
}

func outcome(ctx context.Context, err error, timeout time.Duration) error {
	switch {
	case errors.Is(err, exec.ErrWaitDelay): // the program itself was done, and well
		return nil
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("killed after %v", timeout)
	}
	return err
}

// limited keeps the first maxOutput bytes.
type limited struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := maxOutput - l.buf.Len(); room > 0 {
		l.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *limited) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(l.buf.String()), "\uFFFD")
}
