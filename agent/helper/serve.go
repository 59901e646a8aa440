package helper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/notify"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/shutdown/action"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
	"github.com/dodai-agent/dodai/drivers/smartctl"
)

// Server answers one request. Its fields do not change.
type Server struct {
	Config  string // the configuration, as the daemon names it
	KeepDir string // KeepDir, root's
	RunDir  string // the daemon's, where the late command looks
	// User is who may ask besides root.
	User uint32
	// Group may read what is left for the late command.
	Group int
	Guard *shutdown.Guards

	owner uint32 // of files that are trusted; root but in tests
}

// errGone ends what runs for a daemon that has ended.
var errGone = errors.New("the daemon that asked for it has ended")

// Serve answers the request that comes over conn, and returns when that is done or the
// daemon has hung up. When ctx ends, what runs is ended. The error is about a peer that is
// no daemon of ours, or does not talk like one.
func (s Server) Serve(ctx context.Context, conn *net.UnixConn) error {
	defer conn.Close()
	peer, err := peerOf(conn)
	if err != nil {
		return err
	}
	if peer.Uid != 0 && peer.Uid != s.User {
		return fmt.Errorf("helper: asked by user %d, want root or user %d", peer.Uid, s.User)
	}
	switch _, err := conn.Write([]byte(hello)); {
	case errors.Is(err, unix.EPIPE):
		return nil // the daemon has ended meanwhile
	case err != nil:
		return fmt.Errorf("helper: greet: %w", err)
	}
	in := bufio.NewReaderSize(io.LimitReader(conn, 2*maxRequest), 64<<10)
	text, err := in.ReadBytes('\n')
	if errors.Is(err, io.EOF) && len(text) == 0 {
		return nil // it was kept at hand, and not needed
	}
	var req request
	if err == nil {
		err = json.Unmarshal(text, &req)
	}
	if err == nil {
		err = req.check()
	}
	if err != nil {
		return fmt.Errorf("helper: request %.80q: %w", text, err)
	}
	abort, end := context.WithCancelCause(ctx)
	defer end(nil)
	go listen(in, end)
	out, err := line(s.answer(abort, &req, peer))
	if err != nil {
		return fmt.Errorf("helper: answer to %s: %w", req.Op, err)
	}
	_, err = conn.Write(out)
	return err
}

// hello is said first, so that the daemon can tell a helper that does not start from one
// that works.
const hello = "dodai-helper 1\n"

// listen ends what runs when the daemon says so, or hangs up.
func listen(in *bufio.Reader, end context.CancelCauseFunc) {
	text, err := in.ReadBytes('\n')
	var a abort
	if err != nil || json.Unmarshal(text, &a) != nil {
		end(errGone)
		return
	}
	end(errors.New(dodai.Printable(a.Abort)))
	_, _ = in.ReadBytes('\n') // until it hangs up
}

func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("helper: %w", err)
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return nil, fmt.Errorf("helper: who asks: %w", errors.Join(e, err))
	}
	return cred, nil
}

// answer does what is asked for; what it runs ends with abort.
func (s Server) answer(abort context.Context, r *request, peer *unix.Ucred) answer {
	a, err := s.do(abort, r, peer)
	if err != nil {
		a.Refused = dodai.Printable(err.Error())
	}
	return a
}

func (s Server) do(abort context.Context, r *request, peer *unix.Ucred) (answer, error) {
	switch r.Op {
	case opPin:
		return answer{}, s.keeper().pin(r.Config)
	case opStep, opCheck:
		return s.step(abort, r, peer)
	case opWays:
		return s.ways(r)
	case opProgram:
		return s.program(abort, r)
	case opHook:
		return s.hook(abort, r)
	case opArm:
		if r.Goal != shutdown.GoalPowerOff && r.Goal != shutdown.GoalReboot {
			return answer{}, fmt.Errorf("goal %q, want %s or %s", r.Goal, shutdown.GoalPowerOff, shutdown.GoalReboot)
		}
		return answer{}, s.Guard.Arm(abort, r.In, r.Goal)
	case opDisarm:
		return answer{}, s.Guard.Disarm(abort)
	case opForce:
		if r.Goal != shutdown.GoalPowerOff && r.Goal != shutdown.GoalReboot {
			return answer{}, fmt.Errorf("goal %q, want %s or %s", r.Goal, shutdown.GoalPowerOff, shutdown.GoalReboot)
		}
		return answer{}, s.Guard.Force(context.WithoutCancel(abort), r.Goal)
	case opLeave:
		return answer{}, s.leave(r)
	case opSmartctl:
		return s.smartctl(abort, r)
	}
	return answer{}, fmt.Errorf("request %q is not known; the daemon and its helper are of different versions", r.Op)
}

func (s Server) keeper() keeper { return keeper{path: s.Config, dir: s.KeepDir, owner: s.owner} }

// config is the configuration that a request is about, as root has written it, without
// the secrets of devices: a file that is missing by now must not keep a step from running.
func (s Server) config(hash string) (*config.Config, error) {
	text, err := s.keeper().load(hash)
	if err != nil {
		return nil, err
	}
	return config.LoadCommands(s.Config, text, all.Find)
}

// env is the helper's own environment with what the daemon has to say.
func env(r *request) []string {
	own := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(notForSteps, name) || strings.HasPrefix(name, "DODAI_")
	})
	for _, kv := range r.Env {
		if strings.HasPrefix(kv, "DODAI_") && !strings.ContainsRune(kv, 0) {
			own = append(own, kv)
		}
	}
	return own
}

// notForSteps are variables that tell the helper about itself.
var notForSteps = []string{"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MAINPID", "REMOTE_ADDR", "REMOTE_PORT", "INVOCATION_ID", "JOURNAL_STREAM", "RUNTIME_DIRECTORY", "SYSTEMD_EXEC_PID"}

func (s Server) step(abort context.Context, r *request, peer *unix.Ucred) (answer, error) {
	cfg, err := s.config(r.Config)
	if err != nil {
		return answer{}, err
	}
	i := slices.IndexFunc(cfg.Shutdown.Steps, func(c config.Step) bool { return c.Name == r.Step })
	if i < 0 {
		return answer{}, fmt.Errorf("the configuration has no step %q", r.Step)
	}
	do, undo, err := action.New(cfg.Shutdown.Steps[i], action.Deps{Daemon: int(peer.Pid)})
	if err != nil {
		return answer{}, err
	}
	if r.Undo {
		if undo == nil {
			undo = do.Inverse()
		}
		if do = undo; do == nil {
			return answer{}, fmt.Errorf("step %s: there is no way to undo it", r.Step)
		}
	}
	t := shutdown.Task{Step: r.Step, Env: env(r), Timeout: r.Timeout, Abort: abort, Process: shutdown.Process}
	if r.Cause != nil {
		t.Cause = *r.Cause
	}
	ctx := context.WithoutCancel(abort) // it is ended as by an abort, not left alone
	if r.Op == opCheck {
		ctx, cancel := context.WithTimeout(abort, r.Timeout)
		defer cancel()
		return answer{Findings: do.Check(ctx, t)}, nil
	}
	free, err := s.alone(abort, r.Step)
	if err != nil {
		return answer{}, err
	}
	defer free()
	return ended(do.Run(ctx, t)), nil
}

// aloneWait is how long a step waits for its last run to be ended, whose daemon is gone.
const aloneWait = 10 * time.Second

// alone keeps a step from running beside itself.
func (s Server) alone(abort context.Context, step string) (free func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.KeepDir, "step-"+filepath.Base(step)+".lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return func() {}, nil // a full /run does not stop the way down
	}
	for end := time.Now().Add(aloneWait); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			f.Close()
			return func() {}, nil
		case abort.Err() != nil:
			f.Close()
			return nil, context.Cause(abort)
		case time.Now().After(end):
			f.Close()
			return nil, fmt.Errorf("step %s still runs for a daemon before this one", step)
		}
	}
}

func ended(res shutdown.Result) answer {
	a := answer{Exit: res.Exit, Output: res.Output}
	if res.Err != nil {
		a.Err, a.TimedOut = res.Err.Error(), errors.Is(res.Err, shutdown.ErrTimeout)
	}
	return a
}

// ways finds out which of the ways of powering off that need root would work.
func (s Server) ways(r *request) (answer, error) {
	p := shutdown.Plan{}
	if r.Config != "" {
		cfg, err := s.config(r.Config)
		if err != nil {
			return answer{}, err
		}
		p.Command, p.PowerOff.Second, p.PowerOff.Forced = cfg.Shutdown.Command, cfg.Shutdown.PowerOff.Second, cfg.Shutdown.PowerOff.Forced
	}
	return answer{Findings: shutdown.CheckWays(&p)}, nil
}

// builtIn are the programs that the built-in power-off runs: what the daemon is there for
// needs no word of the configuration.
var builtIn = [][]string{
	{"systemctl", "poweroff", "-i", "--no-wall"}, {"systemctl", "reboot", "-i", "--no-wall"},
	{"sync"}, {"/sbin/poweroff", "-f", "-f"}, {"/sbin/reboot", "-f", "-f"},
}

// program runs a program that powers off.
func (s Server) program(abort context.Context, r *request) (answer, error) {
	is := func(args []string) bool { return len(args) > 0 && slices.Equal(args, r.Args) }
	if !slices.ContainsFunc(builtIn, is) {
		cfg, err := s.config(r.Config)
		if err != nil {
			return answer{}, err
		}
		c := cfg.Shutdown
		if !slices.ContainsFunc([][]string{c.Command, c.PowerOff.Second, c.PowerOff.Forced}, is) {
			return answer{}, fmt.Errorf("%s is no way of powering off in the configuration", shutdown.Quoted(r.Args))
		}
	}
	return ended(shutdown.Process(context.WithoutCancel(abort), shutdown.Command{Args: r.Args, Env: env(r), Timeout: r.Timeout, Abort: abort})), nil
}

// hook runs a hook, as the user it names, or else as the daemon's: what tells people of
// an event seldom needs root.
func (s Server) hook(abort context.Context, r *request) (answer, error) {
	cfg, err := s.config(r.Config)
	if err != nil {
		return answer{}, err
	}
	if r.Hook < 0 || r.Hook >= len(cfg.Hooks) || r.Event == nil {
		return answer{}, fmt.Errorf("hook %d, and the configuration has %d", r.Hook, len(cfg.Hooks))
	}
	h := cfg.Hooks[r.Hook]
	if !slices.Contains(h.On, r.Event.Name) {
		return answer{}, fmt.Errorf("hook %d does not ask for event %.80q", r.Hook, r.Event.Name)
	}
	args, vars := notify.Expanded(h.Command, *r.Event)
	r.Env = vars
	user := h.User
	if user == "" {
		user = nameOf(s.User)
	}
	return ended(shutdown.Process(context.WithoutCancel(abort), shutdown.Command{Args: args, Env: env(r), User: user, Timeout: r.Timeout, Abort: abort})), nil
}

// leave writes down for the late command, which runs as root, what it is to do to devices
// that the configuration names, and to no others.
func (s Server) leave(r *request) error {
	if r.State == nil {
		return errors.New("no state to leave behind")
	}
	cfg, err := s.config(r.Config)
	if err != nil {
		return err
	}
	for _, u := range r.State.UPS {
		i := slices.IndexFunc(cfg.UPS, func(d config.Device) bool { return d.Name == u.Name })
		switch {
		case i < 0 || cfg.UPS[i].Driver != u.Driver || !sameOptions(cfg.UPS[i], u.Options):
			return fmt.Errorf("UPS %s is not as the configuration has it", u.Name)
		case u.Cut != nil && !cfg.UPS[i].KillPower:
			return fmt.Errorf("UPS %s: the configuration does not name this host to cut it (killpower: true)", u.Name)
		}
	}
	return killpower.WriteFor(s.RunDir, r.State, s.Group)
}

// sameOptions reports whether a device's options are those that stand in the configuration. What
// stands in files is the daemon's word, as it was when that started: a password that was changed
// or removed since must not keep a UPS from being told.
func sameOptions(d config.Device, options map[string]string) bool {
	want := d.DriverOptions()
	for key := range d.Secrets {
		secret := options[key]
		if secret == "" || len(secret) > maxSecret || strings.ContainsAny(secret, "\r\n\x00") {
			return false
		}
		want[key] = secret
	}
	return maps.Equal(want, options)
}

// smartctl reads a disk.
func (s Server) smartctl(abort context.Context, r *request) (answer, error) {
	if len(r.Args) == 0 || !smartctl.Reads(r.Args[1:]) {
		return answer{}, fmt.Errorf("%s is not one of the calls that read a disk", shutdown.Quoted(r.Args))
	}
	if err := s.knows(r); err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(abort, r.Timeout)
	defer cancel()
	out, err := drivers.Run(ctx, r.Args[0], r.Args[1:]...)
	a := answer{Exit: out.Exit, Stdout: out.Stdout, Stderr: out.Stderr}
	if err != nil {
		a.Err, a.Class = err.Error(), classOf(err)
	}
	return a, nil
}

// knows reports whether the program is smartctl itself, or what the configuration has in
// its place.
func (s Server) knows(r *request) error {
	if r.Args[0] == smartctl.Program {
		return nil
	}
	cfg, err := s.config(r.Config)
	if err != nil {
		return err
	}
	for _, d := range cfg.Disks {
		if d.Driver == smartctl.Factory.Name && d.DriverOptions()[smartctl.Program] == r.Args[0] {
			return nil
		}
	}
	return fmt.Errorf("%s is no program of the configuration", r.Args[0])
}

// classes are what callers of a tool tell its errors apart by.
var classes = map[string]error{
	"unreachable": drivers.ErrUnreachable, "no_data": drivers.ErrNoData, "denied": drivers.ErrDenied, "protocol": drivers.ErrProtocol,
}

func classOf(err error) string {
	for name, class := range classes {
		if errors.Is(err, class) {
			return name
		}
	}
	return ""
}
