package helper

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
)

// TestNoRoomForACopy: where no copy can be kept, what lies there and is the same is run.
func TestNoRoomForACopy(t *testing.T) {
	h := newHouse(t, steps)
	say := h.action("say")
	must(t, os.Remove(h.KeepDir))
	if err := h.of().Pin(t.Context()); err == nil || !strings.Contains(err.Error(), "keep the configuration") {
		t.Errorf("Pin = %v, want that no copy can be kept", err)
	}
	if got := say.Run(t.Context(), task("say")); got.Exit != 3 {
		t.Errorf("Run = %+v, want the step to run all the same", got)
	}
	h.write(steps + "# edited\n")
	if got := say.Run(t.Context(), task("say")); got.Err == nil {
		t.Errorf("Run = %+v of what nobody has kept, and stands there no more", got)
	}
}

// TestLeaveWithoutTheSecret: a password that was changed or lost since the daemon has started is
// the daemon's business. Every other option is not.
func TestLeaveWithoutTheSecret(t *testing.T) {
	h := newHouse(t, `ups:
  - {name: u1, driver: snmp, address: 192.0.2.1, killpower: true, options: {community_file: secret, version: "1"}}
  - {name: u2, driver: snmp, address: 192.0.2.2, options: {community_file: other}}
`)
	secret := filepath.Join(h.dir, "secret")
	must(t, os.WriteFile(secret, []byte("fortytwo\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(h.dir, "other"), []byte("fortythree\n"), 0o600))
	cfg, err := config.Load(h.Server.Config, all.Find)
	must(t, err)
	leave := func(options map[string]string) error {
		return h.of().Leave(t.Context(), &killpower.State{BootID: "b", At: killpower.Boottime(), Reason: "runtime", UPS: []killpower.UPS{
			{Name: "u1", Driver: "snmp", Options: options, Cut: &drivers.Cut{Off: time.Minute, On: time.Minute}},
		}})
	}
	must(t, os.WriteFile(secret, []byte("changed\n"), 0o600))
	if err := leave(cfg.UPS[0].DriverOptions()); err != nil {
		t.Errorf("with a password that was changed: %v", err)
	}
	must(t, os.Remove(secret))
	if err := leave(cfg.UPS[0].DriverOptions()); err != nil {
		t.Errorf("with a password that is gone: %v", err)
	}
	s, err := killpower.Read(h.RunDir, "b", killpower.Boottime())
	must(t, err)
	if got := s.UPS[0].Options["community"]; got != "fortytwo" {
		t.Errorf("the late command finds the password %q", got)
	}
	for name, change := range map[string]map[string]string{
		"no password": {"community": ""}, "two lines": {"community": "a\nb"}, "too long": {"community": strings.Repeat("x", maxSecret+1)},
		"another address": {"address": "192.0.2.3"}, "another version": {"version": "3"}, "one more option": {"port": "/etc/shadow"},
	} {
		options := cfg.UPS[0].DriverOptions()
		maps.Copy(options, change)
		if leave(options) == nil {
			t.Errorf("%s: left behind", name)
		}
	}
}

// hung is a client of a helper that says hello, or not even that, and no more.
func hung(t *testing.T, says string) *Client {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			_, _ = conn.Write([]byte(says))
		}
	}()
	return NewClient(l.Addr().String())
}

// TestForceOfAHelperThatHangs: its program lies on the disk that is dead. This process does what
// it may then, and not before a guard that is at work has had its time.
func TestForceOfAHelperThatHangs(t *testing.T) {
	still := errors.New("still up")
	for name, tt := range map[string]struct {
		says  string
		armed armed
		least time.Duration
	}{
		"after its greeting":      {hello, armed{}, 0},
		"before it":               {"", armed{}, 0},
		"a guard is at work":      {"", armed{time.Now(), shutdown.GoalPowerOff}, time.Second},
		"one is armed for later":  {"", armed{time.Now().Add(time.Hour), shutdown.GoalPowerOff}, 0},
		"one for something else":  {"", armed{time.Now(), shutdown.GoalReboot}, 0},
		"one has had all of that": {"", armed{time.Now().Add(-time.Hour), shutdown.GoalPowerOff}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := hung(t, tt.says)
			var did []string
			c.last = last{wait: 100 * time.Millisecond, guard: 1500 * time.Millisecond, sync: func() { did = append(did, "sync") },
				force: func(ctx context.Context, goal shutdown.Goal, _ func(string)) error {
					did = append(did, "force "+string(goal))
					return errors.Join(still, ctx.Err())
				}}
			c.setArmed(tt.armed)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			began := time.Now()
			err := c.Force(ctx, shutdown.GoalPowerOff)
			if !errors.Is(err, still) || errors.Is(err, context.Canceled) || strings.Join(did, ", ") != "sync, force poweroff" {
				t.Errorf("Force = %v after %q, want this process to sync and to force", err, did)
			}
			if took := time.Since(began); took < tt.least {
				t.Errorf("forced after %v, want the guard to have %v", took, tt.least)
			}
		})
	}
}

// TestCutShortBeforeItBegan: a helper that does not start does not hold up the end of a step.
func TestCutShortBeforeItBegan(t *testing.T) {
	due := errors.New("the battery is nearly empty")
	for name, says := range map[string]string{"it does not start": "", "it does not answer": hello} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			abort, cut := context.WithCancelCause(t.Context())
			time.AfterFunc(100*time.Millisecond, func() { cut(due) })
			began := time.Now()
			do := hung(t, says).Of([]byte("x")).Action(shutdown.Program{Args: []string{"/bin/true"}}, false)
			res := do.Run(t.Context(), shutdown.Task{Step: "x", Timeout: time.Minute, Abort: abort})
			if !errors.Is(res.Err, due) {
				t.Errorf("Run = %+v, want %v", res, due)
			}
			if took := time.Since(began); says == "" && took > startLimit/2 {
				t.Errorf("it took %v to be cut short", took)
			}
		})
	}
}
