package shutdown

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
)

// Orphans finds the processes of steps that outlived the daemon that started them, so
// that no step runs beside itself.
type Orphans interface {
	// Begun remembers that a step has begun, with its process where it has one that is
	// known (else 0). Ended forgets it, Known reports whether it is remembered.
	Begun(step string, pid int)
	Ended(step string)
	Known(step string) bool
	// Mark is a variable for the environment of a step's process, by which Find knows one that
	// has started when the daemon ends before it could be told of it.
	Mark(step string) string
	// Find returns the process that was remembered of a step and still runs; 0: none.
	Find(step string) int
}

// PidDir is an Orphans that keeps a small file for each step in a directory that does
// not outlive the boot, such as /run/dodai. Where it cannot be written nothing is
// remembered.
type PidDir string

func (d PidDir) file(step string) string { return filepath.Join(string(d), "step-"+step+".pid") }

// Begun implements Orphans. The process's start goes with its number: numbers are used
// again.
func (d PidDir) Begun(step string, pid int) {
	started := "0"
	if pid != 0 {
		var err error
		if started, err = startOf(pid); err != nil {
			return // it is over
		}
	}
	_ = d.write(step, fmt.Appendf(nil, "%d %s\n", pid, started))
}

// write puts a file into the directory in one piece, and not through a link that somebody
// has put there.
func (d PidDir) write(step string, data []byte) error {
	tmp := d.file(step) + ".new"
	_ = os.Remove(tmp) // of a daemon that was killed
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, d.file(step))
}

// read returns what one of us has written: whoever is named there may be killed.
func (d PidDir) read(step string) ([]byte, error) {
	f, err := os.OpenFile(d.file(step), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s: a file of another user, or none", f.Name())
	}
	return io.ReadAll(io.LimitReader(f, 101))
}

// Ended implements Orphans.
func (d PidDir) Ended(step string) { _ = os.Remove(d.file(step)) }

// Known implements Orphans.
func (d PidDir) Known(step string) bool {
	_, err := d.read(step)
	return err == nil
}

// Find implements Orphans.
func (d PidDir) Find(step string) int {
	data, err := d.read(step)
	if err != nil || len(data) > 100 {
		return 0
	}
	number, started, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	pid, err := strconv.Atoi(number)
	if err == nil && pid == 0 {
		return d.marked(step)
	}
	if err != nil || pid < 2 {
		return 0
	}
	if now, err := startOf(pid); err != nil || now != started {
		return 0
	}
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		return 0 // steps lead a session of their own, and it is groups that are ended
	}
	return pid
}

// Mark implements Orphans.
func (d PidDir) Mark(step string) string { return "DODAI_STEP_FILE=" + d.file(step) }

// marked looks through all processes for the one that a daemon has started and did not live
// to write down: it leads a session, and has the mark in its environment. What it started in
// a session of its own has that, too, and is younger.
func (d PidDir) marked(step string) int {
	mark := []byte("\x00" + d.Mark(step) + "\x00")
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // no error: the pattern is right
	found, since := 0, uint64(0)
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		if session, err := unix.Getsid(pid); err != nil || session != pid {
			continue
		}
		env, err := os.ReadFile(f)
		if err != nil || !bytes.Contains(append([]byte{0}, env...), mark) {
			continue
		}
		text, err := startOf(pid)
		if err != nil {
			continue
		}
		if started, err := strconv.ParseUint(text, 10, 64); err == nil && (found == 0 || started < since) {
			found, since = pid, started
		}
	}
	return found
}

// startOf returns when a process started, in ticks since the boot: field 22 of
// /proc/PID/stat, where field 2 may hold anything in parentheses. One that has ended and
// waits to be collected does not run.
func startOf(pid int) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", errors.New("no running process")
	}
	return fields[19], nil
}

// runningFor is how long a process has run; 0 where that cannot be found out. The kernel
// counts in hundredths of a second there, whatever its own tick is (USER_HZ).
func runningFor(pid int) time.Duration {
	started, err := startOf(pid)
	if err != nil {
		return 0
	}
	ticks, err := strconv.ParseInt(started, 10, 64)
	if err != nil {
		return 0
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return max(0, time.Duration(now.Nano())-time.Duration(ticks)*10*time.Millisecond)
}

// RestoreDoubtful tells the executor which steps, or their undoing, were under way when
// the daemon before ended.
func (e *Executor) RestoreDoubtful(steps ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range steps {
		e.doubtful[s] = true
	}
}

// settle looks after a step that an earlier daemon has begun, or has begun to undo. What
// still runs of the undoing is ended, as when the step is needed in the middle of it; what
// runs of the step itself is waited for, as long as its time-out allows. over: it is not
// run again, because it must not be, or has had its time.
func (e *Executor) settle(ctx context.Context, cause Cause, s *Step, abort context.Context) (over bool, err error) {
	e.mu.Lock()
	doubtful := e.doubtful[s.Name]
	delete(e.doubtful, s.Name)
	e.mu.Unlock()
	undone := e.endUndoing(ctx, s.Name)
	if !doubtful && (e.Orphans == nil || e.Orphans.Find(s.Name) == 0) {
		return false, nil
	}
	start := e.Now()
	switch err := e.await(ctx, cause, s.Name, e.stepTimeout(s), abort); {
	case ctx.Err() != nil:
		e.RestoreDoubtful(s.Name)
		return true, context.Cause(ctx)
	case err != nil:
		return true, e.finish(ctx, cause, s, Result{Exit: -1, Err: err}, e.Now()-start)
	case s.Do.Repeatable() || undone:
		return false, nil
	}
	e.setDone(s.Name, true)
	e.skip(ctx, cause, s, "it was under way when the agent ended, and is not to be run twice; how it ended is not known")
	return true, nil
}

// endUndoing ends what an earlier daemon has left running of a step's undoing, and reports
// whether it has begun one: then the step has to be done again.
func (e *Executor) endUndoing(ctx context.Context, step string) bool {
	if e.Orphans == nil || !e.Orphans.Known(undoing+step) {
		return false
	}
	if pid := e.Orphans.Find(undoing + step); pid != 0 {
		killGroup(ctx, pid)
	}
	e.Orphans.Ended(undoing + step)
	return true
}

// leftover returns a process of the step, or of its undoing, that an earlier daemon has
// left running; 0: there is none.
func (e *Executor) leftover(step string) int {
	if e.Orphans == nil {
		return 0
	}
	return cmp.Or(e.Orphans.Find(step), e.Orphans.Find(undoing+step))
}

// remember makes the process of t known under a name until forget is called, unless ctx
// has ended then: it runs on.
func (e *Executor) remember(ctx context.Context, t *Task, name string) (forget func()) {
	if e.Orphans == nil {
		return func() {}
	}
	t.Env = append(slices.Clip(t.Env), e.Orphans.Mark(name))
	e.Orphans.Begun(name, 0) // no process yet, or none at all
	t.Started = func(pid int) { e.Orphans.Begun(name, pid) }
	return func() {
		if ctx.Err() == nil {
			e.Orphans.Ended(name)
		}
	}
}

// await waits for what an earlier daemon has left running of a step, and ends it when it
// takes too long.
func (e *Executor) await(ctx context.Context, cause Cause, step string, timeout time.Duration, abort context.Context) error {
	if e.Orphans == nil {
		return nil
	}
	pid := e.Orphans.Find(step)
	if pid == 0 {
		return nil
	}
	timeout = max(timeout-runningFor(pid), killWait)
	e.record(ctx, cause, step, PhaseStarted, 0)
	e.emit(cause, dodai.EventStepStarted, step, fmt.Sprintf("step %s still runs, started by the agent before (process %d): waiting for it", step, pid),
		map[string]any{"timeout_s": timeout.Seconds(), "pid": pid})
	for until := e.Now() + timeout; e.Orphans.Find(step) == pid; {
		left, _ := e.left() // comes nearer, when the battery goes out faster than it said
		if e.Now() >= until || left <= 0 || abort != nil && abort.Err() != nil {
			killGroup(ctx, pid)
			e.Orphans.Ended(step)
			if left <= 0 {
				return errDeadline
			}
			return timedOut(timeout)
		}
		if !e.pause(ctx, abort, 50*time.Millisecond) && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	e.Orphans.Ended(step)
	return nil
}

// killGroup ends a process group, politely first unless ctx has ended.
func killGroup(ctx context.Context, pid int) {
	syscall.Kill(-pid, syscall.SIGTERM)
	for deadline := time.Now().Add(killWait); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) {
			break
		}
	}
	syscall.Kill(-pid, syscall.SIGKILL)
}
