// Package peer starts real components for tests: a UPS server, a BMC, a Prometheus.
// Each runs on loopback with ports of its own, is waited for, and is stopped by its
// process id when the test ends.
package peer

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Run runs a package's tests, for its TestMain. Tests with real components mostly wait for
// them, so eight of the parallel ones run at a time, not as many as there are processors.
// The flag -parallel still has the last word.
func Run(m *testing.M) int {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		flag.Set("test.parallel", strconv.Itoa(max(8, runtime.GOMAXPROCS(0))))
	}
	return m.Run()
}

// Need returns the path of a program the test needs. Where it is not installed the
// test is skipped by that name; in CI, where everything has to be there, it fails.
func Need(t testing.TB, program string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", "/lib/nut", "/lib/systemd") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	missing(t, program+" is not installed (make deps installs it)")
	return ""
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Shared returns the path of a file or folder of the collection of real captures that
// may lie beside the repository, and skips the test where it does not: a repository
// on its own has to pass as well.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	path := filepath.Join(append([]string{dir, "..", "shared"}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no captures at %s", path)
	}
	return path
}

// FreePort returns a loopback port that was free a moment ago, for network "tcp" or
// "udp". Another process may take it before the component does; Start then fails.
func FreePort(t testing.TB, network string) int {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Process is a started component.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when the process has ended
}

// Start runs cmd in a process group of its own and waits until ready returns nil. The
// whole group is stopped when the test ends; the output is shown if the test failed.
func Start(t testing.TB, cmd *exec.Cmd, ready func() error) *Process {
	t.Helper()
	p := &Process{t: t, cmd: cmd, out: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.stop)
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = ready(); err == nil {
			return p
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended before it was ready: %v\n%s", cmd.Path, err, p.Output())
		default:
		}
	}
	t.Fatalf("%s is not ready after 20 s: %v\n%s", cmd.Path, err, p.Output())
	return nil
}

func (p *Process) stop() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // what the leader left behind
	<-p.done
	if p.t.Failed() {
		p.t.Logf("output of %s:\n%s", filepath.Base(p.cmd.Path), p.Output())
	}
}

// Signal sends a signal to the component itself.
func (p *Process) Signal(sig syscall.Signal) error { return syscall.Kill(p.cmd.Process.Pid, sig) }

// PID is the component's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the component has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit waits for the component's end and returns its exit status, -1 after a signal.
func (p *Process) Exit() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Output is what the component has printed so far.
func (p *Process) Output() string { return p.out.String() }

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Listening is a ready function: something accepts TCP connections at addr.
func Listening(addr string) func() error {
	return func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return fmt.Errorf("not listening: %w", err)
		}
		return c.Close()
	}
}
