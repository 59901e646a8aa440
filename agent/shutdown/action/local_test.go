package action

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/e2e/peer"
)

func TestMain(m *testing.M) { os.Exit(peer.Run(m)) }

// program puts a stand-in for a program into a directory of its own, and returns that.
func program(t *testing.T, text string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	// A fork meanwhile would hold the file open for writing, and nobody could run it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// taskWith is a task whose programs are found in dir first.
func taskWith(dir string, timeout time.Duration, env ...string) shutdown.Task {
	return shutdown.Task{Step: "step", Timeout: timeout, Process: shutdown.Process,
		Env: append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=/"}, env...)}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// expectFinding holds the findings of a check against the one wanted, empty for none.
func expectFinding(t *testing.T, got []shutdown.Finding, check, text string) {
	t.Helper()
	if check == "" {
		if len(got) > 0 {
			t.Errorf("found %+v where nothing is wrong", got)
		}
		return
	}
	if len(got) != 1 || got[0].Check != check || !strings.Contains(got[0].Text, text) || got[0].Fix == "" || got[0].Step != "step" {
		t.Errorf("found %+v, want one %s with %q and a repair", got, check, text)
		return
	}
	t.Logf("%s: %s; %s", got[0].Check, got[0].Text, got[0].Fix)
}

// expectEnd holds how a run ended against what is wanted: the error contains fails, which
// is empty for success.
func expectEnd(t *testing.T, res shutdown.Result, fails string) {
	t.Helper()
	switch {
	case fails == "" && (res.Err != nil || res.Exit != 0):
		t.Errorf("failed: %+v", res)
	case fails != "" && (res.Err == nil || !strings.Contains(res.Err.Error(), fails)):
		t.Errorf("%+v, want the error %q", res, fails)
	}
}

// Whatever ends a run, it ends in time, and what it started does too.
func TestEndsWithTheTask(t *testing.T) {
	hang := program(t, "trap '' TERM; echo $$ >>$S/pids; while :; do sleep 0.05; done\n", "virsh", "qm", "pct", "docker")
	for name, do := range map[string]shutdown.Action{
		"libvirt":    Libvirt{},
		"proxmox":    Proxmox{},
		"containers": Containers{Containers: config.Containers{Engine: "docker"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			task := taskWith(hang, 300*time.Millisecond, "S="+state)
			start := time.Now()
			res := do.Run(t.Context(), task)
			expectEnd(t, res, "timed out")
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("took %v, want the time-out and two seconds to kill", took)
			}
			task.Timeout = time.Minute
			abort, cancel := context.WithCancel(t.Context())
			time.AfterFunc(200*time.Millisecond, cancel)
			task.Abort = abort
			start = time.Now()
			expectEnd(t, do.Run(t.Context(), task), shutdown.ErrTakenOver.Error())
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("aborted after %v, want two seconds to kill", took)
			}
			for pid := range strings.FieldsSeq(read(t, state+"/pids")) {
				if stat := read(t, "/proc/"+pid+"/stat"); stat != "" && !strings.Contains(stat, ") Z ") {
					t.Errorf("process %s still runs: %s", pid, stat)
				}
			}
		})
	}
}

// The end of the daemon is not the end of what it started.
func TestTheDaemonsEndLeavesProgramsAlone(t *testing.T) {
	state := t.TempDir()
	slow := program(t, "while ! [ -e $S/go ]; do sleep 0.02; done; touch $S/finished\n", "virsh")
	ctx, end := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, end)
	res := Libvirt{}.Run(ctx, taskWith(slow, time.Minute, "S="+state))
	expectEnd(t, res, context.Canceled.Error())
	write(t, state+"/go", "")
	for range 500 {
		if _, err := os.Stat(state + "/finished"); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the program did not come to its end")
}

// A check leaves nothing running, hanging programs included.
func TestChecksEndWithTheirContext(t *testing.T) {
	hang := program(t, "echo $$ >>$S/pids; exec sleep 60\n", "virsh", "qm", "pct", "docker", "systemctl")
	for name, do := range map[string]shutdown.Action{
		"libvirt":    Libvirt{},
		"proxmox":    Proxmox{},
		"containers": Containers{Containers: config.Containers{Engine: "docker"}},
		"unit":       Unit{Name: "a.service"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			start := time.Now()
			found := do.Check(ctx, taskWith(hang, time.Minute, "S="+state))
			if len(found) == 0 || time.Since(start) > 4*time.Second {
				t.Errorf("%+v after %v, want a finding at once", found, time.Since(start))
			}
			for pid := range strings.FieldsSeq(read(t, state+"/pids")) {
				if stat := read(t, "/proc/"+pid+"/stat"); stat != "" && !strings.Contains(stat, ") Z ") {
					t.Errorf("process %s still runs: %s", pid, stat)
				}
			}
		})
	}
}

func TestProgramsNotThereAreFound(t *testing.T) {
	task := taskWith(t.TempDir(), time.Minute)
	task.Env = []string{"PATH=" + t.TempDir()}
	for _, do := range []shutdown.Action{Libvirt{}, Containers{Containers: config.Containers{Engine: "podman"}}, Unit{Name: "a.service"}, Wall{}} {
		expectFinding(t, do.Check(t.Context(), task), "program_missing", "PATH")
	}
	if found := (Proxmox{}).Check(t.Context(), task); len(found) != 2 {
		t.Errorf("found %+v, want that qm and pct are missing", found)
	}
}

func TestLocalKinds(t *testing.T) {
	after := config.Duration(45 * time.Second)
	for _, tt := range []struct {
		do         config.Do
		kind, text string
		back       string // what takes it back; empty: nothing
	}{
		{config.Do{Unit: "a.service"}, "unit", "systemctl --no-ask-password stop -- a.service", "systemctl --no-ask-password start -- a.service"},
		{config.Do{Libvirt: &config.Libvirt{}}, "libvirt", "virsh -c qemu:///system shutdown (all domains that run)", ""},
		{config.Do{Libvirt: &config.Libvirt{Except: []string{"fire wall"}, Destroy: after, URI: "xen:///"}}, "libvirt", "virsh -c xen:/// shutdown (all domains that run, but not 'fire wall'), destroy after 45s", ""},
		{config.Do{Libvirt: &config.Libvirt{Domains: []string{"a", "b c"}}}, "libvirt", "virsh -c qemu:///system shutdown a 'b c'", "virsh -c qemu:///system start a 'b c'"},
		{config.Do{Proxmox: &config.Proxmox{Stop: after}}, "proxmox", "qm/pct shutdown (all guests that run), stop after 45s", ""},
		{config.Do{Proxmox: &config.Proxmox{Guests: []string{"100"}, QM: "/x/qm"}}, "proxmox", "/x/qm/pct shutdown 100", "/x/qm/pct start 100"},
		{config.Do{Containers: &config.Containers{Engine: "docker"}}, "containers", "docker stop (all containers that run)", ""},
		{config.Do{Containers: &config.Containers{Engine: "podman", Names: []string{"web"}, Grace: after}}, "containers", "podman stop -t 45 web", "podman start web"},
		{config.Do{Wall: "going down"}, "wall", "wall 'going down'", ""},
		{config.Do{Notify: "going down"}, "notify", "notify 'going down'", ""},
	} {
		do, undo, err := New(config.Step{Name: "s", Do: tt.do}, Deps{})
		if message := tt.do.Wall+tt.do.Notify != ""; err != nil || (undo != nil) != message {
			t.Errorf("%s: %v, %v", tt.text, undo, err)
			continue
		}
		if do.Kind() != tt.kind || do.String() != tt.text || !do.Repeatable() {
			t.Errorf("%s: %s, repeatable %v; want %s: %s, repeatable", do.Kind(), do, do.Repeatable(), tt.kind, tt.text)
		}
		back := do.Inverse()
		if (back == nil) != (tt.back == "") || back != nil && (back.String() != tt.back || back.Inverse() != nil || !back.Repeatable()) {
			t.Errorf("%s is taken back by %v, want %q, which nothing takes back", do, back, tt.back)
		}
	}
}
