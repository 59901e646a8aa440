package shutdown

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
)

func TestRunInOrderWithEachDoneRecordedBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(command("a"), Step{Name: "db", Do: Program{Args: []string{"stop", "db"}}}))
		r.takes["a"] = 2 * time.Second
		cause := Cause{Event: dodai.EventShutdownStarted, Reason: "runtime", Device: "u1", Text: "too\x00late"}
		if err := r.Run(t.Context(), cause, nil); err != nil {
			t.Fatal(err)
		}
		r.expect(t, `0s record a started
			0s event step_started a
			0s run a
			2s record a done
			2s event step_finished a
			2s record db started
			2s event step_started db
			2s run stop db
			2s record db done
			2s event step_finished db
			2s record power_off started
			2s event power_off
			2s run off`, "s ")
		for _, want := range []string{
			"DODAI_EVENT=shutdown_started", "DODAI_REASON=runtime", "DODAI_DEVICE=u1",
			"DODAI_TEXT=toolate", "DODAI_DRILL=", "DODAI_STEP=a",
		} {
			if !slices.Contains(r.commands[0].Env, want) {
				t.Errorf("environment has no %s", want)
			}
		}
		if ev := r.events[1]; ev.At != 2*time.Second || ev.Fields["took_s"] != 2.0 || ev.Drill != "" {
			t.Errorf("step_finished = %+v, want at 2 s, took 2 s", ev)
		}
	})
}

func TestNothingStopsTheWayDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := command("hangs")
		hangs.Timeout = 5 * time.Second
		r := newRig(t, tested(command("broken"), hangs, command("good")))
		r.fails["broken"], r.takes["hangs"] = errBroken, time.Hour
		r.recordIs = func(ctx context.Context) error { // the journal hangs, too
			<-ctx.Done()
			return ctx.Err()
		}
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		// The first of seven records costs two seconds, each of the others 0.1 s.
		r.expect(t, `2.1s event step_failed broken
			7.3s event step_failed hangs
			7.5s event step_finished good
			7.6s run off`, "failed ", "finished", "run off")
		if f := r.events[1].Fields; f["output"] != "broken" || f["exit"] != 1 {
			t.Errorf("fields of the failed step = %v, want its output and exit status", f)
		}
		if f := r.events[3].Fields; f["timed_out"] != true {
			t.Errorf("fields of the hung step = %v, want timed_out", f)
		}
	})
}

func TestStopHoldsUntilTheDeadline(t *testing.T) {
	for name, tt := range map[string]struct {
		deadline time.Duration
		want     string
	}{
		"deadline":    {time.Minute, "60s run off"},
		"passed":      {time.Nanosecond, "1s run off"},
		"no deadline": {0, "1s run off"},
	} {
		synctest.Test(t, func(t *testing.T) {
			first := command("first")
			first.OnFailure = Stop
			r := newRig(t, tested(first, command("second")))
			r.fails["first"], r.takes["first"] = errBroken, time.Second
			cause := Cause{Ends: Ends{Ask: tt.deadline}}
			if name == "passed" {
				cause.Ends.Ask += 500 * time.Millisecond // the step is cut short
				tt.want = "0.500000001s run off"
			}
			if err := r.Run(t.Context(), cause, nil); err != nil {
				t.Fatal(err)
			}
			r.expect(t, tt.want, "run second", "run off")
		})
	}
}

func TestDeadlineCutsAndSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(command("slow"), command("late")))
		r.takes["slow"] = 50 * time.Second
		if err := r.Run(t.Context(), Cause{Ends: Ends{Ask: 30 * time.Second}}, nil); err != nil {
			t.Fatal(err)
		}
		r.expect(t, `0s run slow
			30s abort slow
			30s record late skipped
			30s event step_failed late
			30s run off`, "run ", "abort", "late")
	})
}

func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(command("a"), command("b"), command("c")))
		if err := r.Run(t.Context(), Cause{}, map[string]bool{"a": true, "b": true}); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "0s run c\n0s run off", "run ")
	})
}

func TestRestoreAndDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		r.Restore(map[string]bool{"a": true, "of another plan": false})
		if err := r.RunEarly(t.Context(), Cause{}, "a", "b"); err != nil {
			t.Fatal(err)
		}
		if done := r.Done(); len(done) != 2 || !done["a"] || !done["b"] {
			t.Errorf("Done = %v, want a and b", done)
		}
		if err := r.UndoEarly(t.Context(), Cause{}); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "0s run b\n0s run unb\n0s run una", "run ")
		if done := r.Done(); len(done) != 0 {
			t.Errorf("Done = %v after undoing, want nothing", done)
		}
	})
}

func TestRunAfterTheEndDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(command("a")))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 { // whichever way a select falls
			if err := r.Run(ctx, Cause{}, nil); !errors.Is(err, context.Canceled) {
				t.Errorf("Run = %v, want context.Canceled", err)
			}
		}
		r.expect(t, "", "run ", "event")
	})
}

func TestEndOfTheDaemonLeavesTheStepAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(command("a"), early("b"), command("c")))
		r.takes["b"] = 10 * time.Second
		ctx, cancel := context.WithCancelCause(t.Context())
		terminated := errors.New("terminated")
		time.AfterFunc(3*time.Second, func() { cancel(terminated) })
		if err := r.Run(ctx, Cause{}, nil); !errors.Is(err, terminated) {
			t.Errorf("Run = %v, want the cause of the end", err)
		}
		r.expect(t, `0s record a done
			0s run b
			3s leave b`, "done", "run b", "leave", "undo", "run c", "off", "failed ")
	})
}

func TestEarlyStepsAndUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		irreversible := early("tell")
		irreversible.Do = Program{Args: []string{"tell"}}
		r := newRig(t, tested(early("shed"), irreversible, early("drain"), command("late")))
		if err := r.RunEarly(t.Context(), Cause{}, "late"); err == nil {
			t.Error("RunEarly of a late step succeeded")
		}
		if err := r.RunEarly(t.Context(), Cause{}, "nothing"); err == nil {
			t.Error("RunEarly of an unknown step succeeded")
		}
		if err := r.RunEarly(t.Context(), Cause{}, "drain", "shed", "tell"); err != nil {
			t.Fatal(err)
		}
		if err := r.RunEarly(t.Context(), Cause{}, "drain"); err != nil { // done already
			t.Fatal(err)
		}
		r.fails["undrain"] = errBroken
		if err := r.UndoEarly(t.Context(), Cause{}); err == nil {
			t.Error("UndoEarly of a step whose undoing fails, and of one that has none, succeeded")
		}
		r.expect(t, `0s run shed
			0s run tell
			0s run drain
			0s record drain undoing
			0s run undrain
			0s event step_failed drain
			0s record shed undoing
			0s run unshed
			0s event step_undone shed`, "run ", "undoing", "step_undone", "step_failed")
		// What is not undone for certain is done again on the way down; what has no
		// undo stays done.
		r.log = nil
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "0s run shed\n0s run drain\n0s run late\n0s run off", "run ")
	})
}

func TestUndoByNameAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(Step{Name: "web", Do: Program{Args: []string{"stop", "nginx"}, Back: []string{"start", "nginx"}}, Early: &Early{OnBattery: new(time.Minute)}}))
		if err := r.UndoEarly(t.Context(), Cause{}, "web"); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "0s run start nginx", "run ")
	})
}

func TestRunTakesOverAnUndoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		if err := r.RunEarly(t.Context(), Cause{}, "a", "b"); err != nil {
			t.Fatal(err)
		}
		r.takes["unb"] = time.Minute
		undone := make(chan error, 1)
		go func() { undone <- r.UndoEarly(t.Context(), Cause{}) }()
		time.Sleep(5 * time.Second)
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Error(err)
		}
		if err := <-undone; !errors.Is(err, ErrTakenOver) {
			t.Errorf("UndoEarly = %v, want ErrTakenOver", err)
		}
		// b is run again, a was never undone.
		r.expect(t, `0s run a
			0s run b
			0s run unb
			5s abort unb
			5s run b
			5s run off`, "run ", "abort")
	})
}

func TestRunWaitsForAnEarlyStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		r.takes["a"] = 4 * time.Second
		ended := make(chan error, 1)
		go func() { ended <- r.RunEarly(t.Context(), Cause{}, "a", "b") }()
		time.Sleep(time.Second)
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrTakenOver) {
			t.Errorf("RunEarly = %v, want ErrTakenOver", err)
		}
		r.expect(t, "0s run a\n4s run b\n4s run off", "run ")
	})
}

// An early step that hangs is not waited for beyond the deadline, and one that used up
// its time while the way down waited is not run a second time.
func TestRunDoesNotWaitTwiceForAnEarlyStep(t *testing.T) {
	for name, tc := range map[string]struct {
		deadline time.Duration
		want     string
	}{
		"its time-out": {0, "0s run a\n30s run off"},
		"the deadline": {10 * time.Second, "0s run a\n10s run off"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan := tested(early("a"))
				plan.Steps[0].Timeout = 30 * time.Second
				r := newRig(t, plan)
				r.takes["a"] = time.Hour
				ended := make(chan error, 1)
				go func() { ended <- r.RunEarly(t.Context(), Cause{}, "a") }()
				time.Sleep(time.Second)
				if err := r.Run(t.Context(), Cause{Ends: Ends{Ask: tc.deadline}}, nil); err != nil {
					t.Fatal(err)
				}
				<-ended
				r.expect(t, tc.want, "run ")
			})
		})
	}
}

func TestRehearse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("shed"), command("vms"), early("drain")))
		r.takes["shed"], r.fails["drain"] = 3*time.Second, errBroken
		need := r.Plan.Need(map[string][]Measured{"vms": {{40 * time.Second, true}}}, 0, nil)
		got, err := r.Rehearse(t.Context(), Cause{Drill: "d7"}, need, func(s Step) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		r.expect(t, `0s run shed
			3s run drain
			3s run undrain
			3s run unshed`, "run ")
		want := []Rehearsed{
			{Step: "shed", Ran: true, Took: 3 * time.Second},
			{Step: "vms", Expected: 40 * time.Second},
			{Step: "drain", Ran: true, Err: "step drain: exit status 1: broken"},
			{Step: PowerOffStep, Expected: DefaultExpect},
		}
		if !slices.Equal(got, want) {
			t.Errorf("Rehearse = %+v\nwant %+v", got, want)
		}
		for _, ev := range r.events {
			if ev.Drill != "d7" {
				t.Errorf("event %s is not marked as a drill's", ev.Name)
			}
			if ev.Device == "vms" && (ev.Fields["rehearsed"] != true || ev.Fields["expected_s"] != 40.0) {
				t.Errorf("the late step was announced with %v", ev.Fields)
			}
			if ev.Name == dodai.EventPowerOff {
				t.Error("a rehearsal powered off")
			}
		}
	})
}

func TestRehearseRunsNothingUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("shed"), command("vms")))
		if _, err := r.Rehearse(t.Context(), Cause{}, Need{}, nil); err == nil {
			t.Error("a rehearsal without a drill's id succeeded")
		}
		if _, err := r.Rehearse(t.Context(), Cause{Drill: "d"}, Need{}, nil); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "", "run ", "record")
	})
}

func TestRehearsalCutShortIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		r.takes["a"] = 5 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Rehearse(ctx, Cause{Drill: "d"}, Need{}, func(Step) bool { return true })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Rehearse = %v, want the end of its context", err)
		}
		r.expect(t, "0s run a\n5s run una", "run ")
	})
}

func TestRealOutageTakesOverARehearsal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b"), command("late")))
		r.takes["a"] = 5 * time.Second
		ended := make(chan error, 1)
		go func() {
			_, err := r.Rehearse(t.Context(), Cause{Drill: "d"}, Need{}, func(Step) bool { return true })
			ended <- err
		}()
		time.Sleep(time.Second)
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrTakenOver) {
			t.Errorf("Rehearse = %v, want ErrTakenOver", err)
		}
		r.expect(t, "0s run a\n5s run b\n5s run late\n5s run off", "run ")
	})
}

func TestNewWantsEverythingThatCouldBeAnAccident(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New without a runner and a login manager succeeded")
	}
	r := &rig{}
	_, err := New(Config{Run: r.run, Logind: r, Now: func() time.Duration { return 0 }, Plan: Plan{Steps: []Step{{}}}})
	if err == nil {
		t.Error("New with a plan that is wrong succeeded")
	}
}
