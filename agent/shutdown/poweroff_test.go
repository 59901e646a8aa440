package shutdown

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
)

func builtIn() Plan {
	return Plan{PowerOff: PowerOff{Timeout: 10 * time.Second, Grace: 20 * time.Second}}
}

func TestPowerOffThroughLogind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, builtIn())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(4*time.Second, cancel) // the service manager ends the agent
		if err := r.Run(ctx, Cause{Reason: "lb"}, nil); err != nil {
			t.Errorf("Run = %v, want nil: the machine goes down", err)
		}
		r.expect(t, "0s event power_off\n0s logind", "event", "logind", "run ")
		if text := r.events[0].Text; !strings.Contains(text, "lb") {
			t.Errorf("power_off says %q, want the reason in it", text)
		}
	})
}

func TestPowerOffEachWayAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, builtIn())
		r.logind = func(ctx context.Context) error { // hangs, whatever its context
			time.Sleep(time.Hour)
			return nil
		}
		r.takes["sync"] = time.Hour // on a dead disk
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
		defer cancel()
		if err := r.Run(ctx, Cause{}, nil); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		// Both systemctl calls are accepted and nothing comes of it.
		r.expect(t, `0s logind
			10s run systemctl poweroff -i --no-wall
			30s run systemctl poweroff --force --no-wall
			50s run sync
			60s timeout sync
			60s run /sbin/poweroff -f -f`, "logind", "run ", "timeout", "failed")
		time.Sleep(time.Hour) // let the hung call end
	})
}

func TestPowerOffThatIsUnderWayIsNotForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, builtIn())
		r.stopping = true
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if err := r.Run(ctx, Cause{}, nil); err != nil {
			t.Error(err)
		}
		r.expect(t, "0s logind", "logind", "run ")
	})
}

func TestPowerOffThatNeverEndsIsForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, builtIn())
		r.stopping = true
		ctx, cancel := context.WithTimeout(t.Context(), 101*time.Second)
		defer cancel()
		if err := r.Run(ctx, Cause{}, nil); err != nil {
			t.Error(err)
		}
		r.expect(t, "0s logind\n100s run systemctl poweroff -i --no-wall", "logind", "run ")
	})
}

func TestPowerOffIsTriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, builtIn())
		r.logind = func(context.Context) error { return errBroken }
		r.fails["systemctl"], r.fails["/sbin/poweroff"] = errBroken, errBroken
		time.AfterFunc(20*time.Second, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.logind = nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		if err := r.Run(ctx, Cause{}, nil); err != nil {
			t.Error(err)
		}
		r.expect(t, `0s event shutdown_failed
			2s event shutdown_failed
			6s event shutdown_failed
			14s event shutdown_failed`, "failed")
		r.expect(t, "0s logind\n2s logind\n6s logind\n14s logind\n30s logind", "logind")
		ev := r.events[1]
		if ev.Name != dodai.EventShutdownFailed || strings.Contains(ev.Text, "\n") || !strings.Contains(ev.Text, "logind: broken") ||
			!strings.Contains(ev.Text, "poweroff -f -f: exit status 1") {
			t.Errorf("shutdown_failed says %q, want each way with its error in one line", ev.Text)
		}
	})
}

func TestCommandReplacesTheBuiltInPowerOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested())
		r.fails["off"] = errBroken
		time.AfterFunc(5*time.Second, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.fails, "off")
		})
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "0s run off\n2s run off\n6s run off", "run ", "logind")
	})
}

func TestEndOfTheDaemonBeforeThePowerOffWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested())
		r.fails["off"] = errBroken
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Run(ctx, Cause{}, nil); err == nil {
			t.Error("Run = nil, want an error: the machine was never told to go down")
		}
	})
}
