package drivers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"time"
)

// Output is what an external tool left behind. A tool that ran and exited with
// another status than 0 is no error: the status is part of its answer.
type Output struct {
	Stdout, Stderr []byte
	Exit           int
}

// Runner runs an external tool and waits for it. Drivers hold it as a field, so that
// a test can put captures in the tool's place.
type Runner func(ctx context.Context, name string, args ...string) (Output, error)

// maxOutput bounds what a tool may print: the largest real report known (a controller
// with 200 drives) is under 4 MiB.
const maxOutput = 32 << 20

// Run is the Runner for real tools. The tool gets no standard input, the C locale, and
// is killed with everything it started when ctx ends. The error wraps ErrNoData when
// there is no such program, ErrDenied when it may not be run and ErrUnreachable when
// ctx ended first.
func Run(ctx context.Context, name string, args ...string) (Output, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "LANG=C")
	setProcessGroup(cmd)
	cmd.WaitDelay = time.Second
	stdout, stderr := &limited{}, &limited{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	out := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: -1}
	if cmd.ProcessState != nil {
		out.Exit = cmd.ProcessState.ExitCode()
	}
	switch exit, isExit := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return out, Unreachable(fmt.Errorf("%s: %w", name, ctx.Err()))
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist): // by name, by path
		return out, fmt.Errorf("%w: program %s is not installed", ErrNoData, name)
	case isExit && exit.ExitCode() >= 0:
		return out, nil
	case err != nil:
		return out, Classify(fmt.Errorf("run %s: %w", name, err))
	}
	return out, nil
}

// limited keeps the first maxOutput bytes and swallows the rest, so that a tool gone
// wild neither fills the memory nor blocks on a full pipe.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
