package shutdown

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// GuardName is what a guard calls itself. The service manager spares processes of root
// whose name begins so when it ends all others at the end of a shutdown. Source:
// systemd.io/ROOT_STORAGE_DAEMONS.
const GuardName = "@dodai-guard"

// What a guard is told by signals. It minds no other: on the way down everything is sent
// SIGTERM.
const (
	guardOff = syscall.SIGUSR1 // called off
	guardNow = syscall.SIGUSR2 // the time has come
)

const (
	guardTick = 500 * time.Millisecond // how late a machine that was suspended is forced
	// guardAgain is the pause before what failed is tried again: a driver may have come back.
	guardAgain = 5 * time.Second
	// A guard is not started for an instant further away than these, either way: that is a slip
	// of the pen, and this one costs a machine.
	guardPast, guardFuture = time.Minute, 24 * time.Hour
)

// BootTime is the clock of a guard's instant. It goes on while the machine is suspended,
// as the battery does.
func BootTime() time.Duration {
	var ts unix.Timespec
	// It cannot fail: the clock is in every Linux and ts is ours.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// Watchman is what a guard process does. Only Force differs in tests.
type Watchman struct {
	At    time.Duration // on BootTime
	Goal  Goal
	Force func(context.Context, Goal) error
	Note  func(string) // nil: nobody is told
	Ready func()       // called when nothing can go missing any more; nil: nobody is waiting
}

// Check refuses what cannot be meant.
func (w Watchman) Check() error {
	switch left := w.At - BootTime(); {
	case w.Goal != GoalPowerOff && w.Goal != GoalReboot:
		return fmt.Errorf("goal %q, want %s or %s", w.Goal, GoalPowerOff, GoalReboot)
	case left < -guardPast || left > guardFuture:
		return fmt.Errorf("the instant is %.0f s from now, want seconds of CLOCK_BOOTTIME, at most a day ahead", left.Seconds())
	}
	return nil
}

// Run waits for the instant and forces the machine down, again and again. It returns nil
// when it is called off, and minds no signal but that and the one to act now.
func (w Watchman) Run() error {
	if err := w.Check(); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	told := make(chan os.Signal, 4)
	signal.Notify(told, guardOff, guardNow)
	defer signal.Stop(told)
	if w.Note == nil {
		w.Note = func(string) {}
	}
	if err := lockMemory(); err != nil {
		w.Note("memory is not locked: " + oneLine(err))
	}
	// The last process to be killed when memory runs out.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	if w.Ready != nil {
		w.Ready()
	}
	for at := w.At; ; at = BootTime() + guardAgain {
		if !waitUntil(at, told) {
			return nil
		}
		w.Note("forcing the machine down")
		if err := w.Force(context.Background(), w.Goal); err != nil {
			w.Note("failed: " + oneLine(err))
		}
	}
}

// waitUntil returns false when the guard is called off.
func waitUntil(at time.Duration, told <-chan os.Signal) bool {
	for {
		left := at - BootTime()
		if left <= 0 {
			select {
			case s := <-told:
				return s != guardOff
			default:
				return true
			}
		}
		select {
		case s := <-told:
			return s != guardOff
		case <-time.After(min(left, guardTick)):
		}
	}
}

// BecomeGuard starts this program over, with the same arguments, under the name that is
// spared, and from memory: the file system it came from may be gone when it is needed, and
// must not be held busy by it. It returns only when that is done, or has failed.
func BecomeGuard(name string) error {
	if strings.HasPrefix(os.Args[0], "@") {
		return os.Chdir("/")
	}
	args := append([]string{name}, os.Args[1:]...)
	err := execFromMemory(args)
	// On a system that forbids programs in memory the name alone has to do.
	return errors.Join(err, syscall.Exec("/proc/self/exe", args, os.Environ()))
}

func execFromMemory(args []string) error {
	fd, err := unix.MemfdCreate("dodai-guard", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // older than Linux 6.3
		fd, err = unix.MemfdCreate("dodai-guard", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return fmt.Errorf("file in memory: %w", err)
	}
	copied := os.NewFile(uintptr(fd), "memfd")
	defer copied.Close()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	if _, err := io.Copy(copied, self); err != nil {
		return fmt.Errorf("copy the program into memory: %w", err)
	}
	return fmt.Errorf("run from memory: %w", syscall.Exec("/proc/self/fd/"+strconv.Itoa(fd), args, os.Environ()))
}

// lockMemory loads the whole program and keeps it, and what it allocates from now on, in
// memory. What the runtime has only reserved is not filled.
func lockMemory() error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line) // range, rights, offset, device, inode, file
		if len(fields) < 6 || !strings.HasPrefix(fields[5], "/") || !strings.HasPrefix(fields[1], "r") {
			continue
		}
		first, last, _ := strings.Cut(fields[0], "-")
		from, err1 := strconv.ParseUint(first, 16, 64)
		to, err2 := strconv.ParseUint(last, 16, 64)
		if err1 != nil || err2 != nil || to <= from {
			continue
		}
		if _, _, e := unix.Syscall(unix.SYS_MLOCK, uintptr(from), uintptr(to-from), 0); e != 0 {
			errs = append(errs, fmt.Errorf("mlock %s: %w", fields[5], e))
		}
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		errs = append(errs, fmt.Errorf("mlockall: %w", err))
	}
	return errors.Join(errs...)
}

// GuardReady tells whoever started a guard that it stands: the service manager, or the
// agent by a line on standard output.
func GuardReady() {
	if sent, _ := daemon.SdNotify(true, daemon.SdNotifyReady); sent {
		return
	}
	fmt.Println(readyLine)
}

const readyLine = "ready"

// KernelNote returns a Note that writes into the kernel's log, which is on the console
// when no other log is left.
func KernelNote() func(string) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	return func(text string) { fmt.Fprintf(f, "<2>dodai guard: %.900s\n", text) }
}

// Guards is the real Guard: a process of its own for each instant, which nothing on the
// way down ends.
type Guards struct {
	program []string // that becomes a Watchman; --at and --goal are added
	name    string   // of the process once it is one
	booted  string   // a directory that is there where systemd is init
	run     string   // systemd-run
	kernel  kernel
	work    time.Duration // what a guard that was told may take for the file systems, and a little
}

var _ Guard = (*Guards)(nil)

// NewGuards returns a Guard that runs program with --at=SECONDS, of BootTime, and
// --goal=GOAL added. Where systemd is init it does so in a transient unit that does not
// belong to what a shutdown stops; elsewhere in a session of its own.
func NewGuards(program ...string) *Guards {
	return &Guards{
		program: program, name: GuardName, booted: "/run/systemd/system", run: "systemd-run",
		kernel: theKernel(), work: 22 * time.Second,
	}
}

// OwnGuards returns a Guard that runs `dodai guard` from the program this process is, or
// what has replaced it since in an upgrade.
func OwnGuards() (*Guards, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("guard: path of this program: %w", err)
	}
	return NewGuards(strings.TrimSuffix(exe, " (deleted)"), "guard"), nil
}

// Arm implements Guard. Those armed before go when the new one stands, and at once when
// they would do something else.
func (g *Guards) Arm(ctx context.Context, in time.Duration, goal Goal) error {
	old := g.standing()
	for _, o := range old {
		if o.goal != goal {
			o.tell(guardOff)
		}
	}
	if err := g.start(ctx, BootTime()+in, goal); err != nil {
		return err
	}
	for _, o := range old {
		o.tell(guardOff)
	}
	return nil
}

// Disarm implements Guard.
func (g *Guards) Disarm(context.Context) error {
	var errs []error
	for _, o := range g.standing() {
		errs = append(errs, o.tell(guardOff))
	}
	return errors.Join(errs...)
}

// Force is what Config.Force wants: a guard does it now, because the agent may be fenced
// off from the file systems it would have to unmount. When that has come to nothing the
// agent does what it can.
func (g *Guards) Force(ctx context.Context, goal Goal) error {
	err := g.now(ctx, goal)
	if err != nil {
		return errors.Join(fmt.Errorf("guard: %w", err), g.kernel.force(ctx, goal, nil))
	}
	select {
	case <-time.After(g.work):
		err = errors.New("guard: it was told to force the machine down, which is still up")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return errors.Join(err, g.kernel.end(ctx, goal, func(string) {}))
}

// now has a guard that stands act, or a new one.
func (g *Guards) now(ctx context.Context, goal Goal) error {
	for _, o := range g.standing() {
		if o.goal == goal && o.tell(guardNow) == nil {
			return nil // if it has just gone the agent does it after g.work
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, guardWait, timedOut(guardWait))
	defer cancel()
	return g.start(ctx, BootTime(), goal)
}

func (g *Guards) start(ctx context.Context, at time.Duration, goal Goal) error {
	args := append(slices.Clip(g.program),
		"--at="+strconv.FormatFloat(at.Seconds(), 'f', 3, 64), "--goal="+string(goal))
	if _, err := os.Stat(g.booted); err == nil {
		return g.startUnit(ctx, at, args)
	}
	return startSession(ctx, args)
}

// guardUnit are the properties of a guard's unit. It conflicts with no target, is not
// stopped with the others, and has the rights that the agent's own unit leaves out.
var guardUnit = []string{
	"--quiet", "--collect", "--service-type=notify", "--description=Force this machine down if its shutdown hangs",
	"--property=DefaultDependencies=no", "--property=IgnoreOnIsolate=yes", "--property=KillSignal=SIGUSR1",
	"--property=OOMScoreAdjust=-1000", "--property=LimitMEMLOCK=infinity", "--property=TimeoutStopSec=1s",
}

// survive spares the unit's processes at the end of a shutdown even without the name;
// systemd knows it from 255 on. Source: systemd.unit(5).
const survive = "--property=SurviveFinalKillSignal=yes"

func (g *Guards) startUnit(ctx context.Context, at time.Duration, args []string) error {
	var err error
	for n, properties := range [][]string{append(slices.Clip(guardUnit), survive), guardUnit} {
		unit := fmt.Sprintf("--unit=dodai-guard-%d-%d-%d", at.Milliseconds(), os.Getpid(), n)
		cmd := exec.CommandContext(ctx, g.run, slices.Concat([]string{unit}, properties, []string{"--"}, args)...)
		cmd.WaitDelay = killWait
		var out []byte
		if out, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", g.run, context.Cause(ctx))
		}
		err = fmt.Errorf("%s: %w: %.300q", g.run, err, bytes.TrimSpace(out))
	}
	return err
}

// startSession starts a guard below no other process, and waits until it stands.
func startSession(ctx context.Context, args []string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout = withoutVars(os.Environ(), notForSteps), "/", w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	go cmd.Wait() // or it stays a zombie when it is called off
	defer context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) })()
	line := make([]byte, len(readyLine))
	if _, err := io.ReadFull(r, line); err != nil {
		cmd.Process.Kill()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s did not come up: %w", args[0], err)
	}
	return nil
}

// sentry is a guard that stands.
type sentry struct {
	of   *Guards
	pid  int
	goal Goal
}

// tell sends a signal, and never to another process that has got the number meanwhile.
func (s sentry) tell(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(s.pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil // it has gone by itself
	case err != nil: // not known, or forbidden to the agent
		err = syscall.Kill(s.pid, sig)
	default:
		defer unix.Close(fd)
		if _, is := s.of.isGuard(s.pid); !is {
			return nil
		}
		err = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("guard %d: signal: %w", s.pid, err)
	}
	return nil
}

// standing returns the guards there are, whoever started them: by their name, which only
// root's own count with.
func (g *Guards) standing() []sentry {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // no error: the pattern is right
	var out []sentry
	for _, f := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			continue
		}
		if goal, is := g.isGuard(pid); is {
			out = append(out, sentry{g, pid, goal})
		}
	}
	return out
}

func (g *Guards) isGuard(pid int) (Goal, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	data, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return "", false
	}
	args := strings.Split(string(data), "\x00")
	info, err := os.Stat(dir)
	if err != nil || args[0] != g.name || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
		return "", false
	}
	for _, a := range args {
		if goal, is := strings.CutPrefix(a, "--goal="); is {
			return Goal(goal), true
		}
	}
	return "", true
}
