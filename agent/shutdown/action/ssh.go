package action

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

const (
	defaultConnect    = 10 * time.Second // from the first packet to the end of the login
	defaultKnownHosts = "/etc/dodai/known_hosts"

	aliveEvery = 5 * time.Second  // how often a host on which a command runs is asked for a sign of life
	aliveWait  = 10 * time.Second // how long it has for that
)

// SSH runs a command on another host, in the shell that sshd runs it in: not a login
// shell, so its PATH is short. When the time-out has passed the command is sent SIGTERM,
// which not every server passes on; it may go on.
type SSH struct{ config.SSH }

// Kind implements shutdown.Action.
func (SSH) Kind() string { return "ssh" }

// String implements shutdown.Action.
func (s SSH) String() string {
	return shutdown.Quoted([]string{"ssh", s.user() + "@" + s.Host, s.Command})
}

// user is who logs in: the daemon's own name where none is given, as with ssh.
func (s SSH) user() string {
	if s.User != "" {
		return s.User
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

// address is host:port.
func (s SSH) address() string {
	if _, _, err := net.SplitHostPort(s.Host); err == nil {
		return s.Host
	}
	return net.JoinHostPort(trimBrackets(s.Host), "22")
}

func (s SSH) knownHosts() string { return cmp.Or(s.KnownHosts, defaultKnownHosts) }

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}

// Run implements shutdown.Action.
func (s SSH) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	daemon := ctx
	ctx, cancel := t.Context(ctx)
	defer cancel()
	c, err := s.connect(ctx)
	if err != nil {
		return shutdown.Failed(ended(ctx, err, "logging in to "+s.address()), "")
	}
	defer c.Close()
	r := remoteRun{client: c, polite: func() bool { return daemon.Err() == nil }}
	said, err := r.run(ctx, s.Command)
	return s.result(ctx, said, err)
}

// result makes of the way the command ended what the executor understands.
func (s SSH) result(ctx context.Context, said string, err error) shutdown.Result {
	exit, isExit := errors.AsType[*ssh.ExitError](err)
	switch {
	case err == nil:
		return shutdown.Failed(nil, said)
	case isExit && exit.Signal() == "":
		return shutdown.Result{Exit: exit.ExitStatus(), Output: said}
	case isExit && s.Gone && (exit.Signal() == "TERM" || exit.Signal() == "HUP"):
		return shutdown.Failed(nil, said) // what ends all processes of a host that goes off
	case isExit:
		return shutdown.Failed(fmt.Errorf("the command on %s was ended by signal %s", s.address(), line(exit.Signal())), said)
	case ctx.Err() != nil:
		return shutdown.Failed(ended(ctx, err, "the command runs on "+s.address()), said)
	}
	if f, is := errors.AsType[*fault](err); is && f.check != "connection_lost" {
		return shutdown.Failed(err, said)
	}
	if s.Gone {
		return shutdown.Failed(nil, said)
	}
	return shutdown.Failed(&fault{"connection_lost", "the connection to " + s.address() + " broke while the command ran",
		"if that is what the command does, say gone_is_done: true", err}, said)
}

// Inverse implements shutdown.Action.
func (s SSH) Inverse() shutdown.Action {
	if s.Undo == "" {
		return nil
	}
	s.Command, s.Undo, s.Gone = s.Undo, "", false
	return s
}

// Repeatable implements shutdown.Action: as with any command, unless the step says once.
func (SSH) Repeatable() bool { return true }

// connect logs in within the time for that. The errors are faults.
func (s SSH) connect(ctx context.Context) (*ssh.Client, error) {
	l, err := s.login()
	if err != nil {
		return nil, err
	}
	wait := cmp.Or(s.Connect.D(), defaultConnect)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, dialFault(l.address, err, wait)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	c, chans, requests, err := ssh.NewClientConn(conn, l.address, l.config())
	if !stop() && err == nil {
		c.Close()
		err = context.DeadlineExceeded
	}
	if err != nil {
		conn.Close()
		return nil, l.explain(err, wait)
	}
	return ssh.NewClient(c, chans, requests), nil
}

// remoteRun runs commands over one connection.
type remoteRun struct {
	client *ssh.Client
	polite func() bool // whether a command is sent SIGTERM when its time is over
	// every and wait are between two signs of life and for one; 0: aliveEvery, aliveWait.
	every, wait time.Duration
}

// run runs one command to its end, the end of ctx, or that of the connection. What it
// says on both its outputs is returned with every error.
func (r remoteRun) run(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	said := &sharedOutput{}
	done := make(chan error, 1)
	sessions := make(chan *ssh.Session, 1)
	go func() { done <- r.session(command, said, sessions) }()
	go r.stayAlive(ctx, cancel)
	select {
	case err := <-done:
		return said.String(), err
	case <-ctx.Done():
	}
	select {
	case s := <-sessions:
		if r.polite() {
			s.Signal(ssh.SIGTERM)
		}
	default:
	}
	r.client.Close()
	return said.String(), context.Cause(ctx)
}

func (r remoteRun) session(command string, said *sharedOutput, started chan<- *ssh.Session) error {
	s, err := r.client.NewSession()
	if err != nil {
		if _, is := errors.AsType[*ssh.OpenChannelError](err); is {
			return &fault{"no_session", fmt.Sprintf("%s lets no command run: %s", r.client.RemoteAddr(), line(err.Error())), "look at MaxSessions and the restrictions of the key there", err}
		}
		return err
	}
	defer s.Close()
	s.Stdout, s.Stderr = said, said
	if err := s.Start(command); err != nil {
		if isBroken(err) {
			return err
		}
		return &fault{"no_session", fmt.Sprintf("%s refuses to run a command: %s", r.client.RemoteAddr(), line(err.Error())), "look at the restrictions of the key there", err}
	}
	started <- s
	return s.Wait()
}

var errSilent = errors.New("the host gives no sign of life any more")

// stayAlive ends the run when the host has gone off without a word.
func (r remoteRun) stayAlive(ctx context.Context, lost context.CancelCauseFunc) {
	for pause(ctx, cmp.Or(r.every, aliveEvery)) == nil {
		alive := make(chan error, 1)
		go func() {
			_, _, err := r.client.SendRequest("keepalive@openssh.com", true, nil)
			alive <- err
		}()
		timer := time.NewTimer(cmp.Or(r.wait, aliveWait))
		select {
		case err := <-alive:
			timer.Stop()
			if err != nil {
				return // the command's own end says so
			}
		case <-timer.C:
			lost(errSilent)
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// sharedOutput is an output for the two streams of a command.
type sharedOutput struct {
	mu  sync.Mutex
	out output
}

func (o *sharedOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.Write(p)
}

func (o *sharedOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.out.String()
}
