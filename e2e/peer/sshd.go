package peer

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An SSHD is a real OpenSSH server for the current user alone, on loopback, with a host
// key and a certificate authority of its own. KeyFile is a key that may log in.
type SSHD struct {
	User       string
	KeyFile    string
	KnownHosts string // a file that has its host key

	t    testing.TB
	dir  string
	port int
	proc *Process
}

// StartSSHD starts an SSH server, or skips the test where sshd is not installed. lines
// are put before its configuration; of each keyword the first one counts.
func StartSSHD(t testing.TB, lines ...string) *SSHD {
	t.Helper()
	program := Need(t, "sshd") // OpenSSH wants to be started by its full path
	if os.Getuid() == 0 {
		// Where it gives up its rights, and what nobody else makes without a service.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &SSHD{User: me.Username, t: t, dir: t.TempDir(), port: FreePort(t, "tcp")}
	host := s.Keygen("host")
	s.Keygen("authority")
	s.KeyFile = s.Keygen("id")
	s.Authorize("", s.KeyFile)
	s.KnownHosts = s.Write("known_hosts", s.KnownAs(host))
	config := s.Write("sshd_config", strings.Join(lines, "\n")+fmt.Sprintf(`
ListenAddress 127.0.0.1
Port %d
HostKey %s
PidFile none
AuthorizedKeysFile %s
TrustedUserCAKeys %s
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
LogLevel VERBOSE
`, s.port, host, s.path("authorized_keys"), s.path("authority.pub")))
	cmd := exec.Command(program, "-D", "-e", "-f", config)
	s.proc = Start(t, cmd, Listening(s.Addr()))
	t.Cleanup(s.Resume) // a stopped process does not see SIGTERM
	return s
}

// Addr is where it listens, host:port.
func (s *SSHD) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *SSHD) path(name string) string { return filepath.Join(s.dir, name) }

// Write writes a file only its owner can read, and returns its path.
func (s *SSHD) Write(name, text string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

func (s *SSHD) keygen(args ...string) {
	s.t.Helper()
	if out, err := exec.Command(Need(s.t, "ssh-keygen"), append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Keygen makes a key pair without a passphrase, unless args say otherwise, and returns
// the path of the private one.
func (s *SSHD) Keygen(name string, args ...string) string {
	s.t.Helper()
	s.keygen(append([]string{"-t", "ed25519", "-N", "", "-f", s.path(name)}, args...)...)
	return s.path(name)
}

// Public is a key's public half, in one line.
func (s *SSHD) Public(keyFile string) string {
	s.t.Helper()
	b, err := os.ReadFile(keyFile + ".pub")
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// KnownAs is a line of known_hosts that says this server has the key.
func (s *SSHD) KnownAs(keyFile string) string {
	return fmt.Sprintf("[127.0.0.1]:%d %s\n", s.port, s.Public(keyFile))
}

// Authorize lets the keys log in and no others, with options as authorized_keys has them:
// `expiry-time="20200101"`.
func (s *SSHD) Authorize(options string, keyFiles ...string) {
	s.t.Helper()
	var text strings.Builder
	for _, k := range keyFiles {
		text.WriteString(strings.TrimSpace(options+" "+s.Public(k)) + "\n")
	}
	s.Write("authorized_keys", text.String())
}

// Sign has the authority sign a key for the current user, valid as ssh-keygen's -V has
// it: "20200101:20200201". The certificate lies beside the key.
func (s *SSHD) Sign(keyFile, valid string, args ...string) {
	s.t.Helper()
	args = append([]string{"-s", s.path("authority"), "-I", "test", "-n", s.User, "-V", valid}, args...)
	s.keygen(append(args, keyFile+".pub")...)
}

// Pause hangs the server: it takes connections and says nothing until Resume.
func (s *SSHD) Pause() {
	s.t.Helper()
	if err := s.proc.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
}

// Resume ends Pause.
func (s *SSHD) Resume() { s.proc.Signal(syscall.SIGCONT) }

// Stop ends the server; connections to it go on.
func (s *SSHD) Stop() {
	s.Resume()
	s.proc.Signal(syscall.SIGKILL)
	<-s.proc.Done()
}

// Log is what the server has said so far.
func (s *SSHD) Log() string { return s.proc.Output() }
