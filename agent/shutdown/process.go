package shutdown

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
)

const (
	killWait   = 2 * time.Second        // between SIGTERM and SIGKILL
	drainWait  = 100 * time.Millisecond // for output still in the pipe when the command has ended
	outputHead = 4 << 10                // bytes kept of the beginning
	outputTail = 12 << 10               // and of the end
	pipeSize   = 1 << 20                // what a command may still print when the agent is gone
	saidLimit  = 200                    // characters of the line that stands in an error
)

// ErrTimeout is how a command ends that ran longer than it may.
var ErrTimeout = errors.New("timed out")

// abortCause is why what runs is ended: ErrTakenOver where nobody has said more.
func abortCause(abort context.Context) error {
	if err := context.Cause(abort); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ErrTakenOver
}

func timedOut(after time.Duration) error { return fmt.Errorf("%w after %v", ErrTimeout, after) }

// Command is a program to run.
type Command struct {
	Args    []string
	Env     []string
	Timeout time.Duration // greater than 0
	User    string        // whose rights the program gets; empty: the daemon's
	// Started is told the process; nil: nobody is.
	Started func(pid int)
	// Abort ends the command as the time-out does, with its cause; nil: nothing does.
	Abort context.Context
}

// Result is how a command ended.
type Result struct {
	Exit   int    // exit status; -1: killed, or never started
	Output string // standard output and error together, the middle left out when long
	// Err says why there is no exit status: ErrTimeout, ErrTakenOver, a signal, no such
	// program, or the end of the context, after which the command runs on.
	Err error
}

// Failure says how the command failed; nil: it did not. Whoever is paged at night reads
// no more than this, so the last line of the output is part of it.
func (r Result) Failure() error {
	switch said := lastLine(r.Output); {
	case r.Err != nil:
		return r.Err
	case r.Exit != 0 && said != "":
		return fmt.Errorf("exit status %d: %s", r.Exit, said)
	case r.Exit != 0:
		return fmt.Errorf("exit status %d", r.Exit)
	}
	return nil
}

// lastLine is the last line of output that says something, in at most saidLimit
// characters.
func lastLine(output string) string {
	output = strings.TrimSpace(output)
	line := []rune(strings.TrimSpace(dodai.Printable(output[strings.LastIndexByte(output, '\n')+1:])))
	if len(line) > saidLimit {
		return string(line[:saidLimit]) + "…"
	}
	return string(line)
}

func (r Result) fields(took time.Duration) map[string]any {
	f := map[string]any{"took_s": took.Seconds()}
	if r.Exit >= 0 {
		f["exit"] = r.Exit
	}
	if r.Output != "" {
		f["output"] = r.Output
	}
	if errors.Is(r.Err, ErrTimeout) {
		f["timed_out"] = true
	}
	return f
}

// Runner runs a command until it ends, its time-out has passed or ctx ends. In the last
// case, and only then, the command is left running.
type Runner func(ctx context.Context, c Command) Result

// Process is the Runner for real programs, see the package comment.
func Process(ctx context.Context, c Command) Result {
	p, err := start(c)
	if err != nil {
		return Result{Exit: -1, Err: err}
	}
	if c.Started != nil {
		c.Started(p.pid)
	}
	var aborted <-chan struct{}
	if c.Abort != nil {
		aborted = c.Abort.Done()
	}
	timeout := time.NewTimer(c.Timeout)
	defer timeout.Stop()
	select {
	case err := <-p.ended:
		return p.result(err)
	case <-ctx.Done():
		return Result{Exit: -1, Err: context.Cause(ctx)}
	case <-aborted:
		return p.kill(ctx, abortCause(c.Abort))
	case <-timeout.C:
		return p.kill(ctx, timedOut(c.Timeout))
	}
}

// process is a running command.
type process struct {
	pid   int
	out   *os.File // the agent's end of the output pipe
	ended chan error
	text  chan string // what it printed, once nothing more is read
}

func start(c Command) (*process, error) {
	r, w, spare, err := outputPipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, w, w
	cmd.Path, cmd.Err = lookUp(c.Env, c.Args[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := asUser(cmd, c.User); err != nil {
		r.Close()
		return nil, err
	}
	if spare != nil {
		defer spare.Close()
		cmd.ExtraFiles = []*os.File{spare}
	}
	if err := cmd.Start(); err != nil {
		r.Close()
		return nil, err
	}
	p := &process{pid: cmd.Process.Pid, out: r, ended: make(chan error, 1), text: make(chan string, 1)}
	go func() { p.text <- readBounded(r) }()
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

// outputPipe makes the pipe for a command's output. spare is a second reading end, for
// the command itself: while it has that, the end of the agent does not break the pipe.
func outputPipe() (r, w, spare *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	conn, err := r.SyscallConn()
	if err != nil {
		r.Close()
		w.Close()
		return nil, nil, nil, err
	}
	conn.Control(func(fd uintptr) {
		// Opened anew, so that it can be blocking while the agent's is not.
		spare, _ = os.Open("/proc/self/fd/" + strconv.Itoa(int(fd)))
		unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize)
	})
	return r, w, spare, nil
}

// result collects the output. Background processes a command leaves behind may hold the
// pipe; they are not waited for.
func (p *process) result(err error) Result {
	p.out.SetReadDeadline(time.Now().Add(drainWait))
	res := Result{Output: <-p.text}
	p.out.Close()
	exit, isExit := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
	case isExit && exit.ExitCode() >= 0:
		res.Exit = exit.ExitCode()
	default:
		res.Exit, res.Err = -1, err
	}
	return res
}

// kill ends the whole group, politely first unless ctx has ended.
func (p *process) kill(ctx context.Context, why error) Result {
	killGroup(ctx, p.pid)
	select {
	case <-p.ended:
	case <-time.After(killWait / 2): // in the kernel, on a dead disk: nothing ends it
	}
	res := p.result(nil)
	res.Exit, res.Err = -1, why
	return res
}

// readBounded reads to the end and keeps the beginning and the end.
func readBounded(r *os.File) string {
	var head, tail []byte
	buf := make([]byte, 32<<10)
	left := 0
	for {
		n, err := r.Read(buf)
		b := buf[:n]
		if room := outputHead - len(head); room > 0 {
			head = append(head, b[:min(room, n)]...)
			b = b[min(room, n):]
		}
		tail = append(tail, b...)
		if over := len(tail) - outputTail; over > 0 {
			left += over
			tail = append(tail[:0], tail[over:]...)
		}
		if err != nil {
			break
		}
	}
	if left > 0 {
		head = fmt.Appendf(head, "\n[… %d bytes left out …]\n", left)
	}
	return strings.ToValidUTF8(string(bytes.TrimRight(append(head, tail...), "\n")), "\uFFFD")
}

func withoutVars(env, names []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}
