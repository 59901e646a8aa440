package action

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// remoteTask is a task for a kind that needs no programs.
func remoteTask(limit time.Duration) shutdown.Task {
	return shutdown.Task{Step: "nas", Timeout: limit}
}

func sshTo(s *peer.SSHD, command string) SSH {
	return SSH{config.SSH{Host: s.Addr(), User: s.User, KeyFile: s.KeyFile, KnownHosts: s.KnownHosts, Command: command}}
}

// sees holds the findings against one of that name whose text and repair have the words;
// no name: there are none.
func sees(t *testing.T, name string, got []shutdown.Finding, check string, words ...string) {
	t.Helper()
	if check == "" {
		if len(got) > 0 {
			t.Errorf("%s: Check finds %+v, want nothing", name, got)
		}
		return
	}
	if len(got) != 1 || got[0].Check != check || got[0].Step != "nas" {
		t.Errorf("%s: Check finds %+v, want one %s of step nas", name, got, check)
		return
	}
	for _, w := range words {
		if !strings.Contains(got[0].Text+"\n"+got[0].Fix, w) {
			t.Errorf("%s: Check says %q, repair %q; %q is missing", name, got[0].Text, got[0].Fix, w)
		}
	}
}

func TestSSHRun(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t)
	run := func(a SSH, limit time.Duration) shutdown.Result { return a.Run(t.Context(), remoteTask(limit)) }

	if r := run(sshTo(s, "echo one; echo two >&2"), 10*time.Second); r.Err != nil || r.Exit != 0 || !strings.Contains(r.Output, "one") || !strings.Contains(r.Output, "two") {
		t.Errorf("echo: %+v, want both outputs", r)
	}
	if r := run(sshTo(s, "echo no; exit 3"), 10*time.Second); r.Err != nil || r.Exit != 3 || r.Output != "no" {
		t.Errorf("exit 3: %+v", r)
	}
	if r := run(sshTo(s, "kill -9 $$"), 10*time.Second); r.Err == nil || !strings.Contains(r.Err.Error(), "signal KILL") {
		t.Errorf("killed: %+v, want the signal named", r)
	}
	if r := run(sshTo(s, "head -c 1000000 /dev/zero | tr '\\0' x; echo end"), 10*time.Second); r.Err != nil || len(r.Output) > 20<<10 || !strings.HasSuffix(r.Output, "end") {
		t.Errorf("a megabyte: %v, %d bytes of output, want at most 20 kB with the end", r.Err, len(r.Output))
	}
	begin := time.Now()
	r := run(sshTo(s, "echo begun; exec sleep 20"), 3*time.Second)
	if !errors.Is(r.Err, shutdown.ErrTimeout) || r.Output != "begun" || time.Since(begin) > 12*time.Second {
		t.Errorf("sleep: %+v after %v, want a time-out and what it said", r, time.Since(begin))
	}

	undo := sshTo(s, "true")
	if undo.Inverse() != nil {
		t.Error("without undo there is an inverse")
	}
	undo.Undo = "echo back"
	if r := undo.Inverse().Run(t.Context(), remoteTask(10*time.Second)); r.Output != "back" {
		t.Errorf("inverse: %+v, want it to run undo", r)
	}
}

// TestSSHGone breaks the connection from the other side while the command runs.
func TestSSHGone(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t)
	a := sshTo(s, "kill -9 $PPID; sleep 1")
	r := a.Run(t.Context(), remoteTask(20*time.Second))
	if r.Err == nil || !strings.Contains(r.Err.Error(), "broke while the command ran (if that is what the command does, say gone_is_done") {
		t.Errorf("connection killed: %+v, want it named", r)
	}
	a.Gone = true
	if r := a.Run(t.Context(), remoteTask(20*time.Second)); r.Err != nil || r.Exit != 0 {
		t.Errorf("connection killed with gone_is_done: %+v, want success", r)
	}
	a.Command = "exit 4"
	if r := a.Run(t.Context(), remoteTask(20*time.Second)); r.Exit != 4 {
		t.Errorf("exit 4 with gone_is_done: %+v, want the failure", r)
	}
	s.Stop()
	if r := a.Run(t.Context(), remoteTask(20*time.Second)); r.Err == nil {
		t.Errorf("no server with gone_is_done: %+v, want a failure: nothing was asked for", r)
	}
}

// TestSSHSilent stops the process at the other end: the connection stays and nothing comes
// any more, as from a host that has lost its power.
func TestSSHSilent(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t)
	a := sshTo(s, "")
	c, err := a.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := remoteRun{client: c, polite: func() bool { return false }, every: 100 * time.Millisecond, wait: 300 * time.Millisecond}
	said, err := r.run(t.Context(), "echo $PPID; sleep 1; exec kill -STOP $PPID")
	if pid, parse := strconv.Atoi(said); parse == nil && pid > 1 {
		syscall.Kill(pid, syscall.SIGKILL) // it cannot notice the end of the connection
	} else {
		t.Errorf("the other end is process %q", said)
	}
	if !errors.Is(err, errSilent) {
		t.Errorf("run = %v, want %v", err, errSilent)
	}
	if r := a.result(t.Context(), "", err); r.Err == nil || !strings.Contains(r.Err.Error(), "broke while the command ran") {
		t.Errorf("without gone_is_done: %+v", r)
	}
	a.Gone = true
	if r := a.result(t.Context(), "", err); r.Err != nil {
		t.Errorf("with gone_is_done: %+v", r)
	}
}

// TestSSHEnds holds Run to returning for the right reason.
func TestSSHEnds(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t)
	killed := errors.New("the daemon ends")
	daemon, end := context.WithCancelCause(t.Context())
	abort, takeOver := context.WithCancel(t.Context())
	for _, c := range []struct {
		name string
		want error
		do   func()
	}{{"the daemon", killed, func() { end(killed) }}, {"the abort", shutdown.ErrTakenOver, takeOver}} {
		task := remoteTask(20 * time.Second)
		task.Abort = abort
		time.AfterFunc(300*time.Millisecond, c.do)
		ctx := daemon
		if c.want != killed {
			ctx = t.Context()
		}
		begin := time.Now()
		if r := sshTo(s, "exec sleep 15").Run(ctx, task); !errors.Is(r.Err, c.want) || time.Since(begin) > 8*time.Second {
			t.Errorf("%s ends: %+v after %v, want %v", c.name, r, time.Since(begin), c.want)
		}
	}
}

func TestSSHCheck(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t, "SetEnv PATH=/usr/bin:/bin")
	other := s.Keygen("other")
	check := func(change func(*SSH)) []shutdown.Finding {
		a := sshTo(s, "echo never >"+filepath.Join(t.TempDir(), "ran"))
		a.Connect = config.Duration(2 * time.Second)
		change(&a)
		return a.Check(t.Context(), remoteTask(10*time.Second))
	}
	sees(t, "all is well", check(func(*SSH) {}), "")
	sees(t, "a program by its path", check(func(a *SSH) { a.Command = "LC_ALL=C exec /bin/ls -l; nonsense" }), "")
	sees(t, "a program in quotes", check(func(a *SSH) { a.Command = `"/bin/l""s"` }), "")
	sees(t, "a command that cannot be judged", check(func(a *SSH) { a.Command = "$(touch /nonsense)" }), "")

	sees(t, "not in the PATH", check(func(a *SSH) { a.Command = "sshd -T" }), "program_missing", "sshd is not in the PATH of a non-interactive shell", "/usr/bin:/bin", "write its full path: /")
	sees(t, "nowhere", check(func(a *SSH) { a.Command = "dodai-nowhere now" }), "program_missing", "dodai-nowhere is not in the PATH", "install it")
	sees(t, "a path to nothing", check(func(a *SSH) { a.Command = "/opt/none/poweroff" }), "program_missing", "no program /opt/none/poweroff")
	sees(t, "a path to what cannot be run", check(func(a *SSH) { a.Command = "/etc/passwd" }), "program_missing", "/etc/passwd")

	sees(t, "unknown host", check(func(a *SSH) { a.KnownHosts = s.Write("empty", "") }), "host_key_unknown", "shows SHA256:", "ssh-keyscan -p")
	sees(t, "no known_hosts", check(func(a *SSH) { a.KnownHosts = filepath.Join(t.TempDir(), "none") }), "known_hosts_missing", "ssh-keyscan -p")
	sees(t, "changed host key", check(func(a *SSH) { a.KnownHosts = s.Write("changed", "# other hosts\n"+s.KnownAs(other)) }), "host_key_changed", "has changed", "line 2")
	sees(t, "host key of another kind", check(func(a *SSH) { a.KnownHosts = s.Write("kind", s.KnownAs(s.Keygen("rsa", "-t", "rsa", "-b", "2048"))) }), "host_key_changed", "(ssh-rsa)", "ssh-ed25519")
	sees(t, "revoked host key", check(func(a *SSH) {
		known, err := os.ReadFile(s.KnownHosts)
		if err != nil {
			t.Fatal(err)
		}
		a.KnownHosts = s.Write("revoked", "@revoked "+string(known))
	}), "host_key_revoked", "revokes")
	sees(t, "malformed known_hosts", check(func(a *SSH) { a.KnownHosts = s.Write("malformed", "one two three four\n") }), "known_hosts_malformed", "malformed:1")

	sees(t, "passphrase", check(func(a *SSH) { a.KeyFile = s.Keygen("locked", "-N", "secret") }), "key_passphrase", "has a passphrase", "ssh-keygen -p")
	sees(t, "no key", check(func(a *SSH) { a.KeyFile = filepath.Join(t.TempDir(), "none") }), "file_missing", "does not exist")
	sees(t, "public key", check(func(a *SSH) { a.KeyFile = s.KeyFile + ".pub" }), "key_malformed", "is a public key")
	sees(t, "no key at all", check(func(a *SSH) { a.KeyFile = s.Write("text", "text") }), "key_malformed", "no private key")
	sees(t, "key not let in", check(func(a *SSH) { a.KeyFile = other }), "login_refused", "refuses user "+s.User, "SHA256:", "publickey", "expiry-time=")

	if f := check(func(a *SSH) { a.User = "dodai-nobody" }); len(f) != 1 || f[0].Check != "login_refused" || !strings.Contains(f[0].Text, "dodai-nobody") {
		t.Errorf("unknown user: %+v", f)
	}
	open := s.Keygen("open")
	s.Authorize("", s.KeyFile, open)
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	sees(t, "key for everybody", check(func(a *SSH) { a.KeyFile = open }), "key_permissions", "mode 0644", "chmod 600")

	s.Authorize(`expiry-time="20200101"`, s.KeyFile)
	sees(t, "expired in authorized_keys", check(func(*SSH) {}), "login_refused", "SHA256:", "expiry-time=")
	s.Authorize("", s.KeyFile)

	sees(t, "unknown name", check(func(a *SSH) { a.Host = "nas.invalid" }), "name_unknown", "nas.invalid", "/etc/hosts")
	s.Pause()
	sees(t, "hanging server", check(func(a *SSH) { a.Connect = config.Duration(300 * time.Millisecond) }), "no_answer", "does not answer within 300ms")
	s.Stop()
	sees(t, "no server", check(func(*SSH) {}), "connection_refused", "refuses connections")
}

func TestSSHNotSSH(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t)
	for said, want := range map[string]string{"HTTP/1.0 400 Bad Request\r\n\r\n": "not_ssh", "": "connection_lost"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Write([]byte(said))
				c.Close()
			}
		}()
		a := sshTo(s, "true")
		a.Host = l.Addr().String()
		f := a.Check(t.Context(), remoteTask(5*time.Second))
		if len(f) != 1 || f[0].Check != want && f[0].Check != "connection_lost" {
			t.Errorf("a server that says %q: %+v, want %s", said, f, want)
		}
	}
}

func TestSSHCertificate(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t)
	for _, c := range []struct {
		name, valid string
		args        []string
		check       string
		words       []string
	}{
		{name: "valid", valid: "-1d:+1d"},
		{name: "always", valid: "always:forever"},
		{name: "expired", valid: "20200101:20200201", check: "certificate_expired", words: []string{"expired on 2020-0", "cert.pub", "signed anew"}},
		{name: "future", valid: "+1d:+2d", check: "certificate_not_yet_valid", words: []string{"is valid from", "clock says"}},
		{name: "principal", valid: "-1d:+1d", args: []string{"-n", "somebody"}, check: "login_refused", words: []string{"SHA256:", "is for somebody"}},
	} {
		a := sshTo(s, "true")
		a.KeyFile = s.Keygen(c.name)
		s.Sign(a.KeyFile, c.valid, c.args...)
		sees(t, c.name, a.Check(t.Context(), remoteTask(5*time.Second)), c.check, c.words...)
		if r := a.Run(t.Context(), remoteTask(5*time.Second)); (r.Err == nil) != (c.check == "") {
			t.Errorf("%s: Run = %+v", c.name, r)
		}
	}
	expired := sshTo(s, "true")
	expired.KeyFile = s.Keygen("both")
	s.Sign(expired.KeyFile, "20200101:20200201")
	s.Authorize("", expired.KeyFile)
	sees(t, "expired, but the key alone is let in", expired.Check(t.Context(), remoteTask(5*time.Second)), "")
}

// TestSSHSudo has a stand-in for sudo that lets poweroff run without a password.
func TestSSHSudo(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	const sudo = "#!/bin/sh\n[ \"$1 $2\" = '-n -l' ] || exit 9\n[ \"$3\" = poweroff ] && { echo /sbin/poweroff; exit 0; }\n" +
		"echo 'sudo: a password is required' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte(sudo), 0o755); err != nil {
		t.Fatal(err)
	}
	s := peer.StartSSHD(t, "SetEnv PATH="+bin+":/usr/bin:/bin")
	check := func(command string) []shutdown.Finding {
		return sshTo(s, command).Check(t.Context(), remoteTask(10*time.Second))
	}
	sees(t, "allowed", check("sudo -n poweroff"), "")
	sees(t, "not allowed", check("sudo -n -- /sbin/halt -p; true"), "sudo_refused", `does not let user `+s.User+` run "/sbin/halt -p"`, "asks for a password", "NOPASSWD: /sbin/halt -p")
}

// TestSSHForced has a host that runs its own command whatever it is asked for. Nothing of
// what it does may happen because of a check.
func TestSSHForced(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t)
	ran := filepath.Join(t.TempDir(), "ran")
	s.Authorize(`command="touch `+ran+`"`, s.KeyFile)
	a := sshTo(s, "poweroff")
	sees(t, "command= in authorized_keys", a.Check(t.Context(), remoteTask(10*time.Second)), "command_unproven", "a command of its own", "forced_command: true")
	meant := a
	meant.Forced = new(true)
	sees(t, "forced_command", meant.Check(t.Context(), remoteTask(10*time.Second)), "")
	if _, err := os.Stat(ran); err == nil {
		t.Error("the check ran the command that the key is for")
	}
	signed := a
	signed.KeyFile = s.Keygen("signed")
	s.Sign(signed.KeyFile, "-1d:+1d", "-O", "force-command=touch "+ran)
	sees(t, "force-command in the certificate", signed.Check(t.Context(), remoteTask(10*time.Second)), "command_unproven", "a command of its own")
	if _, err := os.Stat(ran); err == nil {
		t.Error("the check ran the command that the certificate is for")
	}
	if r := a.Run(t.Context(), remoteTask(10*time.Second)); r.Err != nil {
		t.Errorf("Run = %+v", r)
	}
	if _, err := os.Stat(ran); err != nil {
		t.Error("the step did not run the command that the key is for")
	}
}

// TestSSHFiltered has a host whose own command answers questions in its own way.
func TestSSHFiltered(t *testing.T) {
	t.Parallel()
	s := peer.StartSSHD(t, `ForceCommand echo "only poweroff is allowed"`)
	sees(t, "ForceCommand", sshTo(s, "poweroff").Check(t.Context(), remoteTask(10*time.Second)), "command_unproven", `"only poweroff is allowed"`, "forced_command: true")
}

func TestKeyOptions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"debug1: Remote: /root/.ssh/authorized_keys:1: key options: command pty": " command pty",
		"debug1: Remote: cert: key options: pty":                                 " pty",
		"debug1: Remote: something else":                                         "-",
		"key options: command":                                                   "-",
		"":                                                                       "-",
	} {
		got, is := keyOptions(text)
		if !is {
			got = "-"
		}
		if got != want {
			t.Errorf("keyOptions(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]simple{
		"poweroff":                              {{"poweroff", ""}},
		"  /sbin/poweroff -f":                   {{"/sbin/poweroff", ""}},
		"LANG=C A_1='x y' poweroff":             {{"poweroff", ""}},
		"PATH=/sbin poweroff":                   nil,
		"nohup setsid poweroff":                 {{"poweroff", ""}},
		"exec nohup poweroff; never":            {{"poweroff", ""}},
		"sync; poweroff":                        {{"sync", ""}, {"poweroff", ""}},
		"sync&&poweroff\nhalt":                  {{"sync", ""}, {"poweroff", ""}, {"halt", ""}},
		"poweroff || halt":                      {{"halt", ""}},
		"dmesg | tail &":                        {{"dmesg", ""}, {"tail", ""}},
		"echo x >y":                             {{"echo", ""}},
		"stop >/dev/null 2>&1 && poweroff":      {{"stop", ""}, {"poweroff", ""}},
		"stop &>log; poweroff <in >|out":        {{"stop", ""}, {"poweroff", ""}},
		">log 2>>err poweroff":                  {{"poweroff", ""}},
		"sudo -n poweroff -h now; echo done":    {{"sudo", "poweroff -h now"}, {"echo", ""}},
		"sudo -n -u admin -- poweroff":          {{"sudo", "-u admin poweroff"}},
		"/usr/bin/sudo -E poweroff 2>/dev/null": {{"/usr/bin/sudo", "poweroff"}},
		"sudo":                                  {{"sudo", ""}},
		"'/opt/my tool' x":                      {{"'/opt/my tool'", ""}},
		`/opt/my\ tool x`:                       {{`/opt/my\ tool`, ""}},
		`echo "a;b" 'c|d' e\;f; halt`:           {{"echo", ""}, {"halt", ""}},
		"sync # then; poweroff":                 {{"sync", ""}},
		"a#b":                                   {{"a#b", ""}},
		"cd /opt && ./stop":                     {{"cd", ""}},
		". /etc/profile; poweroff":              {{".", ""}},
		"export PATH=/sbin; poweroff":           {{"export", ""}},
		"test -x /a && /a":                      nil,
		"sync; if x; then poweroff; fi":         {{"sync", ""}},
		"sync; $(poweroff)":                     {{"sync", ""}},
		"echo \"$(poweroff)\"; halt":            nil,
		"`poweroff`":                            nil,
		`$'\''; poweroff; '`:                    nil,
		"(poweroff)":                            nil,
		"{ poweroff; }":                         nil,
		"f() { x; }; f":                         nil,
		"cat <<x; halt":                         nil,
		"'open":                                 nil,
		`open\`:                                 nil,
		"":                                      nil,
		"A=1":                                   nil,
		"# remark":                              nil,
	} {
		if got := commands(text); !slices.Equal(got, want) {
			t.Errorf("commands(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzCommands holds what a check sends to a shell to running nothing of what the step
// does: whatever is looked for, sh finds one plain word in it.
func FuzzCommands(f *testing.F) {
	for _, seed := range []string{"poweroff", "sudo -n a 'b c'; d", "a && b || c >d 2>&1", `a\ b "c;d"`, "$'\\''; x; '", "`x`", "a $(b)", "a ${b:-`c`}", "a\nb", "a <<b"} {
		f.Add(seed)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range commands(text) {
			script := "probe() { echo \"$#\"; }; probe " + c.word
			cmd := exec.Command("/bin/bash", "--norc", "-f", "-c", script)
			cmd.Dir, cmd.Env = dir, []string{"PATH=/nowhere"}
			out, err := cmd.CombinedOutput()
			if n := strings.TrimSpace(string(out)); err != nil || n != "0" && n != "1" && !strings.Contains(c.word, "$") {
				t.Errorf("commands(%q) has the word %q, of which bash makes %q, %v", text, c.word, out, err)
			}
		}
	})
}
