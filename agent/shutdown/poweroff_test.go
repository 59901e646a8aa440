package shutdown

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
)

// heard is what an event of the power-off says.
type heard struct {
	Name     string
	Method   any
	Attempt  any
	TimedOut bool
	Text     string
}

func (r *rig) heard() []heard {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []heard
	for _, ev := range r.events {
		_, timedOut := ev.Fields["timed_out"]
		out = append(out, heard{string(ev.Name), ev.Fields["method"], ev.Fields["attempt"], timedOut, ev.Text})
	}
	return out
}

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
		if err := r.Run(ctx, Cause{Reason: "lb"}, nil); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		// systemctl is accepted and nothing comes of it.
		r.expect(t, `0s event power_off
			0s logind
			10s event shutdown_failed
			10s event power_off
			10s run systemctl poweroff -i --no-wall
			30s event shutdown_failed
			30s event power_off
			30s run sync
			40s timeout sync
			40s run /sbin/poweroff -f -f
			50s event shutdown_failed
			52s event power_off
			52s logind
			62s event shutdown_failed
			62s event power_off
			62s run systemctl poweroff -i --no-wall`, "logind", "run ", "timeout", "event")
		want := []heard{
			{"power_off", "logind", 1, false, "powering off, way 1 of 3, logind: lb"},
			{"shutdown_failed", "logind", 1, true, "power-off failed, attempt 1: logind: timed out after 10s"},
			{"power_off", "systemctl poweroff", 1, false, "powering off, way 2 of 3, systemctl poweroff (before it: logind: timed out after 10s): lb"},
			{"shutdown_failed", "systemctl poweroff", 1, true, "power-off failed, attempt 1: systemctl poweroff: accepted, but the machine is still up: timed out after 20s"},
			{"power_off", "poweroff -f -f", 1, false, "powering off, way 3 of 3, poweroff -f -f (before it: systemctl poweroff: accepted, but the machine is still up: timed out after 20s): lb"},
			{"shutdown_failed", "poweroff -f -f", 1, true, "power-off failed, attempt 1: poweroff -f -f: accepted, but the machine is still up: timed out after 10s; all is tried again in 2.0 s"},
			{"power_off", "logind", 2, false, "powering off, way 1 of 3, logind: lb"},
		}
		if diff := cmp.Diff(want, r.heard()[:len(want)]); diff != "" {
			t.Errorf("events -want +got:\n%s", diff)
		}
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
		r.expect(t, "0s logind\n2s logind\n6s logind\n14s logind\n30s logind", "logind")
		// Each failure has an event of its own, and the last of a round says how it goes on.
		if n := strings.Count(r.only("failed"), "\n") + 1; n != 4*3 {
			t.Errorf("%d events of failures, want 3 in each of 4 rounds:\n%s", n, r.only("event"))
		}
		last := r.events[5]
		if last.Name != dodai.EventShutdownFailed || last.Fields["retry_s"] != 2.0 || last.Fields["error"] != "poweroff -f -f: exit status 1: broken" {
			t.Errorf("the last of a round says %+v, want when it goes on", last)
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
			t.Error("Run = nil, want an error: the machine was never heard to go down")
		}
	})
}
