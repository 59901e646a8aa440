// Package e2e runs the real dodai against real components.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// binary is the dodai that all tests run.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dodai-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "dodai")
	cmd := exec.Command("go", "build", "-o", binary, "../cmd/dodai")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build dodai: %v\n%s", err, out)
		return 1
	}
	return peer.Run(m)
}

// daemon is a running agent with its files.
type daemon struct {
	t      *testing.T
	dir    string
	config string
	*peer.Process
	http http.Client
	port int
	env  []string // on top of the test's own
	args []string // on top of the usual ones
	uid  uint32   // whose it is; 0: the test's
	// socket is its Unix socket in dir; awaitReady takes an answer of /readyz for good that is none.
	socket     string
	awaitReady func(text string) bool
}

// newDaemon writes the configuration; %DIR% in it stands for the daemon's own folder.
func newDaemon(t *testing.T, config string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "dodai-e2e-") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{t: t, dir: dir, config: filepath.Join(dir, "dodai.yaml"), socket: "dodai.sock", port: peer.FreePort(t, "tcp")}
	d.write(config)
	d.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.file(d.socket))
	}}
	return d
}

func (d *daemon) write(config string) {
	d.t.Helper()
	config = strings.ReplaceAll(config, "%DIR%", d.dir)
	if err := os.WriteFile(d.config, []byte(config), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) file(name string) string { return filepath.Join(d.dir, name) }

// start runs the agent until it answers. It may be called again after a kill.
func (d *daemon) start() {
	d.t.Helper()
	cmd := exec.Command(binary, "agent", "--config", d.config, "--state-dir", d.file("state"),
		"--socket", d.file(d.socket), "--listen", fmt.Sprintf("127.0.0.1:%d", d.port))
	cmd.Args = append(cmd.Args, d.args...)
	cmd.Env = append(os.Environ(), d.env...)
	if d.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: d.uid, Gid: d.uid}}
	}
	d.Process = peer.Start(d.t, cmd, func() error {
		resp, err := d.http.Get("http://dodai/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(resp.Body)
			if d.awaitReady != nil && d.awaitReady(string(text)) {
				return nil
			}
			return fmt.Errorf("not ready: %s", text)
		}
		return nil
	})
}

// kill is kill -9.
func (d *daemon) kill() {
	d.t.Helper()
	if err := d.Signal(syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	<-d.Done()
}

func (d *daemon) get(path string, out any) {
	d.t.Helper()
	resp, err := d.http.Get("http://dodai" + path)
	if err != nil {
		d.t.Fatalf("GET %s: %v\n%s", path, err, d.Output())
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		d.t.Fatalf("GET %s: %v", path, err)
	}
}

func (d *daemon) status() agent.Status {
	d.t.Helper()
	var s agent.Status
	d.get("/v1/status", &s)
	return s
}

// events are the real events of the journal called name, or all without one.
func (d *daemon) events(name dodai.EventName) []dodai.Event {
	d.t.Helper()
	var all, some []dodai.Event
	d.get("/v1/events?limit=10000", &all)
	for _, ev := range all {
		if ev.Drill == "" && (name == "" || ev.Name == name) {
			some = append(some, ev)
		}
	}
	return some
}

// lines are the lines of a file the daemon's commands write; none while it is not there.
func (d *daemon) lines(name string) []string {
	data, err := os.ReadFile(d.file(name))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// eventually waits for what must become true.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", within, what)
}

// run runs a dodai command and returns its output and exit status.
func run(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("dodai %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
