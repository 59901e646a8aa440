package action

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A host may run a command of its own for a key, whatever it is asked for: often the very
// one that switches it off. Asking its shell a question would run that. OpenSSH's server
// tells of it in a debug message right after the login, which package ssh throws away, so
// OpenSSH's client is asked: it logs in and asks for nothing (-N).

const (
	forcedWait   = 3 * time.Second        // for the server to say so after the login
	forcedLinger = 200 * time.Millisecond // it says so once more for each time it looked at the key
	maxDebug     = 200                    // lines read of what ssh says
)

// forcing is what is known of such a command.
type forcing int

const (
	forcedUnknown forcing = iota
	forcedNot
	forcedYes
)

// findForced asks ssh. why says what keeps it from being known.
func (s SSH) findForced(ctx context.Context) (_ forcing, why string) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return forcedUnknown, "that is seen by OpenSSH's client, which is not installed here"
	}
	ctx, cancel := context.WithTimeout(ctx, defaultConnect)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, s.debugArgs()...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	said, err := cmd.StderrPipe()
	if err != nil {
		return forcedUnknown, err.Error()
	}
	if err := cmd.Start(); err != nil {
		return forcedUnknown, err.Error()
	}
	defer cmd.Wait()
	defer cancel() // before the wait: with -N it does not end by itself
	found, in := forcedUnknown, false
	lines := bufio.NewScanner(said)
	for range maxDebug {
		if !lines.Scan() {
			break
		}
		switch options, is := keyOptions(lines.Text()); {
		case is && strings.Contains(options+" ", " command "):
			return forcedYes, ""
		case is && found == forcedUnknown:
			found = forcedNot
			time.AfterFunc(forcedLinger, cancel)
		case !in && strings.HasPrefix(lines.Text(), "Authenticated to "):
			in = true
			time.AfterFunc(forcedWait, cancel)
		}
	}
	return found, "its server does not say"
}

// keyOptions reads "debug1: Remote: FILE:LINE: key options: pty user-rc".
func keyOptions(text string) (options string, is bool) {
	text, is = strings.CutPrefix(text, "debug1: Remote: ")
	if !is {
		return "", false
	}
	_, options, is = strings.Cut(text, ": key options:")
	return options, is
}

// debugArgs make ssh log in as Run does: with the same key, and to the same host key.
func (s SSH) debugArgs() []string {
	host, port, _ := net.SplitHostPort(s.address())
	quoted := func(path string) string { return `"` + strings.ReplaceAll(path, "%", "%%") + `"` }
	args := []string{"-v", "-N", "-T", "-F", "none", "-p", port, "-l", s.user()}
	for _, o := range []string{
		"BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "PreferredAuthentications=publickey",
		"StrictHostKeyChecking=yes", "UpdateHostKeys=no", "GlobalKnownHostsFile=none", "ClearAllForwardings=yes",
		"ControlPath=none", "IdentityFile=" + quoted(s.KeyFile), "UserKnownHostsFile=" + quoted(s.knownHosts()),
		fmt.Sprintf("ConnectTimeout=%d", int(defaultConnect.Seconds())),
	} {
		args = append(args, "-o", o)
	}
	return append(args, "--", host)
}
