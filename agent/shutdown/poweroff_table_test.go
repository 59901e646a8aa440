package shutdown

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// deaf is a call that never answers and does not mind its context.
func deaf(context.Context) error {
	time.Sleep(10 * time.Minute)
	return nil
}

// TestPowerOffWays: what each way does, each beginning and change of the end of
// patience. The ways answer within 10 s or hang; accepted ones have 20 s of grace.
func TestPowerOffWays(t *testing.T) {
	const day = 24 * time.Hour // so old is the clock: an end may lie before the beginning
	refuses := func(context.Context) error { return errBroken }
	hasten := func(after, to time.Duration) func(*rig) {
		return func(r *rig) { time.AfterFunc(after, func() { r.Hasten(Ends{Force: to + day}) }) }
	}
	type scene struct {
		logind    func(context.Context) error // nil: accepted, and nothing comes of it
		systemctl string                      // fails, hangs; empty: accepted
		force     time.Duration               // 0: not known
		meanwhile func(*rig)
		want      string
	}
	tests := map[string]scene{
		"all accepted": {want: `0s logind
			20s run systemctl poweroff -i --no-wall
			40s forced poweroff
			42s logind`},
		"all refused": {logind: refuses, systemctl: "fails", want: `0s logind
			0s run systemctl poweroff -i --no-wall
			0s forced poweroff
			2s logind
			2s run systemctl poweroff -i --no-wall
			2s forced poweroff
			6s logind
			6s run systemctl poweroff -i --no-wall
			6s forced poweroff`},
		"all hang": {logind: deaf, systemctl: "hangs", want: `0s logind
			10s run systemctl poweroff -i --no-wall
			20s timeout systemctl poweroff -i --no-wall
			20s forced poweroff
			22s logind`},
		"logind hangs, the end is known": {logind: deaf, force: 7 * time.Second, want: `0s logind
			7s forced poweroff
			9s logind
			19s run systemctl poweroff -i --no-wall
			20s forced poweroff`},
		"the end comes in logind's grace": {force: 15 * time.Second, want: `0s logind
			15s forced poweroff
			17s logind
			18s run systemctl poweroff -i --no-wall
			19s forced poweroff`},
		"the end comes while systemctl hangs": {logind: refuses, systemctl: "hangs", force: 5 * time.Second, want: `0s logind
			0s run systemctl poweroff -i --no-wall
			5s forced poweroff
			7s logind`},
		"the end comes in systemctl's grace": {logind: refuses, force: 12 * time.Second, want: `0s logind
			0s run systemctl poweroff -i --no-wall
			12s forced poweroff
			14s logind`},
		"the end was over before": {force: -time.Second, want: `0s forced poweroff
			2s logind
			3s run systemctl poweroff -i --no-wall
			4s forced poweroff`},
		"the end comes between two rounds": {logind: refuses, systemctl: "fails", force: 4 * time.Second, want: `0s logind
			0s run systemctl poweroff -i --no-wall
			0s forced poweroff
			2s logind
			2s run systemctl poweroff -i --no-wall
			2s forced poweroff
			4s forced poweroff`},
		"logind hangs, the end is hastened": {logind: deaf, force: 9 * time.Second, meanwhile: hasten(3*time.Second, 5*time.Second), want: `0s logind
			5s forced poweroff
			7s logind`},
		"in the grace, the end becomes known": {meanwhile: hasten(3*time.Second, 8*time.Second), want: `0s logind
			8s forced poweroff
			10s logind`},
		"hastened to now": {logind: deaf, force: time.Minute, meanwhile: hasten(3*time.Second, time.Second), want: `0s logind
			3s forced poweroff
			5s logind`},
		"a later end changes nothing": {force: 8 * time.Second, meanwhile: hasten(3*time.Second, time.Minute), want: `0s logind
			8s forced poweroff
			10s logind`},
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		tt := tests[name]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, builtIn())
				r.Executor.Now = func() time.Duration { return time.Since(r.start) + day }
				ends := Ends{}
				if tt.force != 0 {
					ends.Force = tt.force + day
				}
				r.logind = tt.logind
				switch tt.systemctl {
				case "fails":
					r.fails["systemctl"] = errBroken
				case "hangs":
					r.takes["systemctl"] = time.Hour
				}
				r.Executor.Force = func(_ context.Context, goal Goal) error {
					r.note("forced %s", goal)
					return errBroken
				}
				if tt.meanwhile != nil {
					tt.meanwhile(r)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				lines := strings.Count(tt.want, "\n") + 1
				done := make(chan error, 1)
				go func() { done <- r.Run(ctx, Cause{Ends: ends}, nil) }()
				for strings.Count(r.only("logind", "run ", "timeout", "forced"), "\n")+1 < lines && time.Since(r.start) < 10*time.Minute {
					time.Sleep(100 * time.Millisecond)
					synctest.Wait()
				}
				got := strings.Split(r.only("logind", "run ", "timeout", "forced"), "\n")
				want := strings.ReplaceAll(tt.want, "\t", "")
				if got := strings.Join(got[:min(lines, len(got))], "\n"); got != want {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
				if aborted := r.only("abort") != ""; aborted != (tt.systemctl == "hangs" && tt.force > 0) {
					t.Errorf("a program that hangs is ended when the machine is forced, no other is: %v", r.only("abort"))
				}
				cancel()
				<-done
				time.Sleep(time.Hour) // let the hung calls end
			})
		})
	}
}

// TestCommandWays: a plan's own commands, each after the one before it.
func TestCommandWays(t *testing.T) {
	tests := map[string]struct {
		second, forced bool
		fails, hangs   []string
		force          time.Duration // 0: not known
		want           string
	}{
		"the command works":   {second: true, forced: true, want: "0s run off"},
		"the second works":    {second: true, forced: true, fails: []string{"off"}, want: "0s run off\n0s run off2"},
		"the forced one does": {second: true, forced: true, fails: []string{"off", "off2"}, want: "0s run off\n0s run off2\n0s run off!"},
		"none works": {second: true, forced: true, fails: []string{"off", "off2", "off!"},
			want: "0s run off\n0s run off2\n0s run off!\n2s run off\n2s run off2\n2s run off!\n6s run off"},
		"all hang": {second: true, forced: true, hangs: []string{"off", "off2", "off!"},
			want: "0s run off\n15s timeout off\n15s run off2\n30s timeout off2\n30s run off!\n45s timeout off!\n47s run off"},
		"the end of the battery cuts the command short": {second: true, forced: true, hangs: []string{"off"}, force: 4 * time.Second,
			want: "0s run off\n4s run off!"},
		"and the second":                      {second: true, forced: true, fails: []string{"off"}, hangs: []string{"off2"}, force: 4 * time.Second, want: "0s run off\n0s run off2\n4s run off!"},
		"nothing to force with, no hurry":     {second: true, hangs: []string{"off"}, force: 4 * time.Second, want: "0s run off\n15s timeout off\n15s run off2"},
		"without a second the forced is next": {forced: true, fails: []string{"off"}, want: "0s run off\n0s run off!"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tested()
				if tt.second {
					p.PowerOff.Second = []string{"off2"}
				}
				if tt.forced {
					p.PowerOff.Forced = []string{"off!"}
				}
				r := newRig(t, p)
				r.Executor.Guard = r
				for _, name := range tt.fails {
					r.fails[name] = errBroken
				}
				for _, name := range tt.hangs {
					r.takes[name] = time.Hour
				}
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
				defer cancel()
				err := r.Run(ctx, Cause{Ends: Ends{Force: tt.force}}, nil)
				lines := strings.Split(r.only("run ", "timeout", "guard", "logind"), "\n")
				want := strings.Split(tt.want, "\n")
				if got := strings.Join(lines[:min(len(lines), len(want))], "\n"); got != tt.want {
					t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
				}
				if works := len(tt.fails)+len(tt.hangs) < 3; works != (err == nil) || works && len(lines) != len(want) {
					t.Errorf("Run = %v after\n%s\nwant nil at the first that works, and nothing after it", err, strings.Join(lines, "\n"))
				}
			})
		})
	}
}

// TestPowerIsBack: it is asked before each round, and what is asked for follows it.
func TestPowerIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, builtIn())
		back := []bool{false, true, true}
		r.Executor.Return = func() bool {
			is := back[0]
			back = back[min(1, len(back)-1):]
			return is
		}
		r.logind = func(context.Context) error { return errBroken }
		r.fails["systemctl"] = errBroken
		r.Executor.Guard = r
		r.Executor.Force = func(_ context.Context, goal Goal) error {
			r.note("forced %s", goal)
			return errBroken
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		if err := r.Run(ctx, Cause{Ends: Ends{Force: 10 * time.Second}}, nil); err != nil {
			t.Error(err)
		}
		// With the power back the end of the battery waits for the answer to the reboot and its grace.
		r.expect(t, `0s guard poweroff in 10s
			0s logind
			0s run systemctl poweroff -i --no-wall
			0s forced poweroff
			2s guard reboot in 30s
			2s logind reboot
			22s run systemctl reboot -i --no-wall
			22s forced reboot
			26s logind reboot
			32s forced reboot
			40s logind reboot
			41s run systemctl reboot -i --no-wall
			41s forced reboot
			57s logind reboot
			58s run systemctl reboot -i --no-wall
			58s forced reboot`, "guard", "logind", "run ", "forced")
	})
}

func TestCommandIsToldWhetherThePowerIsBack(t *testing.T) {
	for back, want := range map[bool]string{false: "poweroff", true: "reboot"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, tested())
			r.Executor.Return = func() bool { return back }
			if err := r.Run(t.Context(), Cause{}, nil); err != nil {
				t.Fatal(err)
			}
			if env := r.commands[0].Env; !slices.Contains(env, "DODAI_ACTION="+want) {
				t.Errorf("the power is back: %v; the command is told %q, want DODAI_ACTION=%s", back, env, want)
			}
			if action := r.events[0].Fields["action"]; back != (action == "reboot") {
				t.Errorf("the power is back: %v; the event has action %v", back, action)
			}
		})
	}
}

func TestAnswerWhetherThePowerIsBackIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested())
		r.Executor.Return = func() bool { return deaf(context.Background()) == nil }
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "8s run off", "run ")
		time.Sleep(time.Hour)
	})
}

// TestGuardOfThePowerOff: it is there before anything is asked, follows the end of the
// battery, stays when the agent is ended, and holds nothing up.
func TestGuardOfThePowerOff(t *testing.T) {
	tests := map[string]struct {
		force, hasten time.Duration
		fails         bool
		want          string
	}{
		"the end is not known":        {want: "0s logind"},
		"it is known":                 {force: 30 * time.Second, want: "0s guard poweroff in 30s\n0s logind"},
		"it comes nearer":             {force: 30 * time.Second, hasten: 9 * time.Second, want: "0s guard poweroff in 30s\n0s logind\n3s guard poweroff in 6s"},
		"it becomes known":            {hasten: 9 * time.Second, want: "0s logind\n3s guard poweroff in 6s"},
		"no guard can be had":         {force: 30 * time.Second, fails: true, want: "0s guard poweroff in 30s\n0s logind"},
		"it is tried again on change": {force: 30 * time.Second, hasten: 20 * time.Second, fails: true, want: "0s guard poweroff in 30s\n0s logind\n3s guard poweroff in 17s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, builtIn())
				r.Executor.Guard = r
				if tt.fails {
					r.fails["guard"] = errBroken
				}
				if tt.hasten > 0 {
					time.AfterFunc(3*time.Second, func() { r.Hasten(Ends{Force: tt.hasten}) })
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if err := r.Run(ctx, Cause{Ends: Ends{Force: tt.force}}, nil); err != nil {
					t.Error(err)
				}
				r.expect(t, tt.want, "guard", "logind", "run ")
			})
		})
	}
}

// silentGuard never answers.
type silentGuard struct{}

func (silentGuard) Arm(context.Context, time.Duration, Goal) error { return deaf(context.Background()) }
func (silentGuard) Disarm(context.Context) error                   { return nil }

func TestGuardThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, builtIn())
		r.Executor.Guard = silentGuard{}
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		if err := r.Run(ctx, Cause{Ends: Ends{Force: time.Minute}}, nil); err != nil {
			t.Error(err)
		}
		r.expect(t, "5s logind", "logind", "run ")
		time.Sleep(time.Hour)
	})
}
