package helper

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/notify"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers"
)

// How long the helper may take beyond what it was asked to do: to start, and to end what
// ran too long.
const (
	startLimit = 10 * time.Second
	endLimit   = 8 * time.Second
	shortLimit = 20 * time.Second // for what runs no program of the configuration
)

// ErrUnavailable wraps why there is no helper.
var ErrUnavailable = errors.New("the helper is not available")

// Client asks the helper. Its methods may be called from any goroutine.
type Client struct {
	path string

	mu    sync.Mutex
	want  int     // how many are kept at hand
	idle  []*link // those that are
	open  int     // those, and those that are being opened
	armed armed

	last last
}

// NewClient returns a client of the helper whose socket is at path.
func NewClient(path string) *Client {
	return &Client{path: path, last: last{wait: 40 * time.Second, guard: 22 * time.Second, sync: syncAll, force: shutdown.Forced}}
}

// armed is the guard that was armed last.
type armed struct {
	at   time.Time // when it acts
	goal shutdown.Goal
}

// last is what this process does by itself when the helper cannot. Other than these only in tests.
type last struct {
	wait  time.Duration // for the helper, which is through in less when it works
	guard time.Duration // what a guard may take for the file systems
	sync  func()
	force func(context.Context, shutdown.Goal, func(string)) error
}

// syncLimit is how long the file systems get that this process may not open.
const syncLimit = 8 * time.Second

// syncAll writes everything out, as far as that is quick.
func syncAll() {
	done := make(chan struct{})
	go func() {
		unix.Sync()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(syncLimit):
	}
}

// link is one connection whose helper stands.
type link struct {
	conn *net.UnixConn
	in   *bufio.Reader
}

// Keep has n helpers stand by from now on, so that what is asked next need not wait for
// one to start. It does not wait. They cost memory: 0 is for quiet times.
func (c *Client) Keep(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want = n
	for len(c.idle) > n {
		last := len(c.idle) - 1
		_ = c.idle[last].conn.Close()
		c.idle, c.open = c.idle[:last], c.open-1
	}
	c.refill()
}

// refill opens what is missing, with the lock held.
func (c *Client) refill() {
	for ; c.open < c.want; c.open++ {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), startLimit)
			defer cancel()
			l, err := c.dial(ctx)
			c.mu.Lock()
			defer c.mu.Unlock()
			switch {
			case err != nil:
				c.open-- // Keep, or the next request, tries again
			case len(c.idle) >= c.want:
				c.open--
				_ = l.conn.Close()
			default:
				c.idle = append(c.idle, l)
			}
		}()
	}
}

// link returns a helper that stands by, or starts one.
func (c *Client) link(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		if len(c.idle) == 0 {
			c.mu.Unlock()
			return c.dial(ctx)
		}
		l := c.idle[0]
		c.idle, c.open = c.idle[1:], c.open-1
		c.refill()
		c.mu.Unlock()
		if l.alive() {
			return l, nil
		}
		_ = l.conn.Close()
	}
}

// alive reports whether the helper, which says nothing unasked, is still there.
func (l *link) alive() bool {
	if l.conn.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
		return false
	}
	_, err := l.in.Peek(1)
	timeout, is := errors.AsType[net.Error](err)
	return is && timeout.Timeout() && l.conn.SetReadDeadline(time.Time{}) == nil
}

func (c *Client) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	l := &link{conn.(*net.UnixConn), bufio.NewReaderSize(io.LimitReader(conn, maxAnswer), 16<<10)}
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	switch said, err := l.in.ReadString('\n'); {
	case err != nil:
		_ = conn.Close()
		return nil, fmt.Errorf("%w: it did not start: %w", ErrUnavailable, cmp.Or(ctx.Err(), err))
	case said != hello:
		_ = conn.Close()
		return nil, fmt.Errorf("%w: it is of another version: %.80q", ErrUnavailable, said)
	}
	return l, nil
}

// ask has r done. abort ends it as a time-out does, the end of ctx leaves nobody waiting:
// the helper ends it then by itself. limit is how long it may take.
func (c *Client) ask(ctx, abort context.Context, r *request, limit time.Duration) (answer, error) {
	var a answer
	text, err := line(r)
	if err != nil {
		return a, err
	}
	start, cancel := context.WithCancel(ctx)
	defer cancel()
	if abort != nil {
		defer context.AfterFunc(abort, cancel)()
	}
	l, err := c.link(start)
	if err != nil {
		return a, err
	}
	defer l.conn.Close()
	if err := l.conn.SetDeadline(time.Now().Add(limit + endLimit)); err != nil {
		return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if _, err := l.conn.Write(text); err != nil {
		return a, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer context.AfterFunc(ctx, func() { _ = l.conn.Close() })()
	if abort != nil {
		defer context.AfterFunc(abort, func() { l.cut(abort) })()
	}
	said, err := l.in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(said, &a)
	}
	switch {
	case ctx.Err() != nil:
		return a, context.Cause(ctx)
	case err != nil:
		return a, fmt.Errorf("%w: no answer: %w", ErrUnavailable, err)
	case a.Refused != "":
		return a, errors.New(a.Refused)
	}
	return a, nil
}

// cut has what runs ended, and does not wait for it for long.
func (l *link) cut(why context.Context) {
	if text, err := line(abort{fmt.Sprint(context.Cause(why))}); err == nil {
		_, _ = l.conn.Write(text)
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(endLimit))
}

// Arm implements shutdown.Guard.
func (c *Client) Arm(ctx context.Context, in time.Duration, goal shutdown.Goal) error {
	at := time.Now().Add(in)
	_, err := c.ask(ctx, nil, &request{Op: opArm, In: in, Goal: goal}, shortLimit)
	if err == nil {
		c.setArmed(armed{at, goal})
	}
	return err
}

func (c *Client) setArmed(to armed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = to
}

// Disarm implements shutdown.Guard.
func (c *Client) Disarm(ctx context.Context) error {
	c.setArmed(armed{})
	_, err := c.ask(ctx, nil, &request{Op: opDisarm}, shortLimit)
	return err
}

var _ shutdown.Guard = (*Client)(nil)

// Force is what shutdown.Config wants. Where the helper cannot, or hangs as all that comes from a
// disk that is dead, this process does what it may: it writes out the file systems and calls
// reboot(2).
func (c *Client) Force(ctx context.Context, goal shutdown.Goal) error {
	asking, cancel := context.WithTimeout(ctx, c.last.wait)
	defer cancel()
	_, err := c.ask(asking, nil, &request{Op: opForce, Goal: goal}, shutdown.ForceLimit)
	if err == nil {
		err = errors.New("the helper says that it is done, and the machine is still up")
	}
	c.leaveToGuard(ctx, goal)
	if ctx.Err() != nil {
		return err
	}
	c.last.sync()
	return errors.Join(err, c.last.force(ctx, goal, nil))
}

// leaveToGuard waits for a guard that is at work: it unmounts, which this process cannot.
func (c *Client) leaveToGuard(ctx context.Context, goal shutdown.Goal) {
	c.mu.Lock()
	g := c.armed
	c.mu.Unlock()
	if g.goal != goal || time.Until(g.at) > time.Second {
		return
	}
	select {
	case <-time.After(time.Until(g.at.Add(c.last.guard))):
	case <-ctx.Done():
	}
}

// Of are requests about one configuration.
type Of struct {
	*Client
	hash string
}

// Of returns the client for requests about the configuration with that text. Without a
// text there is none, and what needs one is refused.
func (c *Client) Of(text []byte) Of {
	if len(text) == 0 {
		return Of{c, ""}
	}
	return Of{c, Hash(text)}
}

// Pin has the helper keep a copy of the configuration, which is what is run from then on,
// whatever becomes of the file. The error says why nothing of it will be run.
func (o Of) Pin(ctx context.Context) error {
	_, err := o.ask(ctx, nil, &request{Op: opPin, Config: o.hash}, shortLimit)
	return err
}

// Run is a shutdown.Runner for the programs that power off.
func (o Of) Run(ctx context.Context, c shutdown.Command) shutdown.Result {
	a, err := o.ask(ctx, c.Abort, &request{Op: opProgram, Config: o.hash, Args: c.Args, Env: ours(c.Env), Timeout: c.Timeout}, c.Timeout)
	return result(a, err, shutdown.Task{Abort: c.Abort})
}

// ours are the variables that the daemon has set.
func ours(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return !strings.HasPrefix(kv, "DODAI_") })
}

func result(a answer, err error, t shutdown.Task) shutdown.Result {
	if cut := t.Aborted(); cut != nil && errors.Is(err, ErrUnavailable) {
		err = cut // before it began, or the helper hangs
	}
	if err != nil {
		return shutdown.Result{Exit: -1, Err: err}
	}
	res := shutdown.Result{Exit: a.Exit, Output: a.Output}
	switch cut := t.Aborted(); {
	case a.Err == "":
	case cut != nil:
		res.Err = cut
	case a.TimedOut:
		res.Err = fmt.Errorf("%w%s", shutdown.ErrTimeout, strings.TrimPrefix(a.Err, shutdown.ErrTimeout.Error()))
	default:
		res.Err = errors.New(a.Err)
	}
	return res
}

// Ways is what shutdown.Config wants.
func (o Of) Ways(ctx context.Context) ([]shutdown.Finding, error) {
	a, err := o.ask(ctx, nil, &request{Op: opWays, Config: o.hash}, shortLimit)
	return a.Findings, err
}

// Hook is a notify.Runner: the helper puts the command together anew, from its own copy of
// the configuration.
func (o Of) Hook(ctx context.Context, c notify.Command) (string, error) {
	e := notify.Flat(c.Event)
	a, err := o.ask(context.WithoutCancel(ctx), ctx, &request{Op: opHook, Config: o.hash, Hook: c.Hook, Event: &e, Timeout: c.Timeout}, c.Timeout)
	if err != nil {
		return "", err
	}
	res := result(a, nil, shutdown.Task{})
	switch {
	case a.TimedOut:
		return res.Output, fmt.Errorf("killed after %v", c.Timeout)
	case res.Err != nil:
		return res.Output, res.Err
	case res.Exit != 0:
		return res.Output, fmt.Errorf("exit status %d", res.Exit)
	}
	return res.Output, nil
}

// Leave writes down what the late command has to know.
func (o Of) Leave(ctx context.Context, s *killpower.State) error {
	_, err := o.ask(ctx, nil, &request{Op: opLeave, Config: o.hash, State: s}, shortLimit)
	return err
}

// Tool is a drivers.Runner for smartctl. timeout bounds a ctx without a deadline.
func (o Of) Tool(ctx context.Context, name string, args ...string) (drivers.Output, error) {
	timeout := time.Minute
	if end, ok := ctx.Deadline(); ok {
		timeout = max(time.Until(end), time.Millisecond)
	}
	a, err := o.ask(ctx, nil, &request{Op: opSmartctl, Config: o.hash, Args: append([]string{name}, args...), Timeout: timeout}, timeout)
	out := drivers.Output{Stdout: a.Stdout, Stderr: a.Stderr, Exit: a.Exit}
	switch {
	case ctx.Err() != nil:
		return out, drivers.Unreachable(fmt.Errorf("%s: %w", name, ctx.Err()))
	case errors.Is(err, ErrUnavailable):
		return out, fmt.Errorf("%w: %w", drivers.ErrDenied, err)
	case err != nil:
		return out, fmt.Errorf("%w: %w", drivers.ErrDenied, err)
	case a.Err != "":
		return out, toolError{a.Err, classes[a.Class]}
	}
	return out, nil
}

// toolError is an error of drivers.Run that has come over the wire.
type toolError struct {
	text  string
	class error
}

func (e toolError) Error() string { return e.text }
func (e toolError) Unwrap() error { return e.class }

// remote is an action that the helper performs.
type remote struct {
	of    Of
	undo  bool
	local shutdown.Action // what it says of itself
}

// here are the kinds that need no rights: they ask the daemon itself, or the network.
var here = map[string]bool{"notify": true, "wait_for": true}

// Action returns a, which is what a step does or what takes that back (undo), so that the
// helper performs it where it needs rights.
func (o Of) Action(a shutdown.Action, undo bool) shutdown.Action {
	if a == nil || here[a.Kind()] {
		return a
	}
	return remote{o, undo, a}
}

// Kind implements shutdown.Action.
func (r remote) Kind() string { return r.local.Kind() }

// String implements shutdown.Action.
func (r remote) String() string { return r.local.String() }

// Repeatable implements shutdown.Action.
func (r remote) Repeatable() bool { return r.local.Repeatable() }

// Inverse implements shutdown.Action.
func (r remote) Inverse() shutdown.Action {
	back := r.local.Inverse()
	if back == nil {
		return nil
	}
	return r.of.Action(back, true)
}

func (r remote) request(what op, t shutdown.Task) *request {
	return &request{Op: what, Config: r.of.hash, Step: t.Step, Undo: r.undo, Env: ours(t.Env), Cause: &t.Cause, Timeout: t.Timeout}
}

// Run implements shutdown.Action.
func (r remote) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	a, err := r.of.ask(ctx, t.Abort, r.request(opStep, t), t.Timeout+aloneWait)
	return result(a, err, t)
}

// Check implements shutdown.Action.
func (r remote) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	a, err := r.of.ask(ctx, t.Abort, r.request(opCheck, t), t.Timeout)
	if err == nil {
		return a.Findings
	}
	return []shutdown.Finding{Unavailable(t.Step, err)}
}

// Unavailable is what an error of the helper means for a step.
func Unavailable(step string, err error) shutdown.Finding {
	if errors.Is(err, ErrUnavailable) {
		return shutdown.Finding{Step: step, Check: "helper_unavailable", Text: err.Error(),
			Fix: "systemctl status dodai-helper.socket; systemctl enable --now dodai-helper.socket"}
	}
	return shutdown.Finding{Step: step, Check: "helper_refuses", Text: err.Error(), Fix: "docs/rights.md says what the helper runs, and for whom"}
}
