package shutdown

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
)

var byHand = Cause{Drill: "step-1", Text: "an operator asked for it"}

func TestRunOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := early("db")
		s.Retries, s.RetryWait, s.Timeout = 1, 3*time.Second, 5*time.Second
		r := newRig(t, tested(command("first"), s))
		r.takes["db"] = 2 * time.Second
		res, took, err := r.RunOne(t.Context(), byHand, "db", false)
		if err != nil || took != 2*time.Second || res.Exit != 0 {
			t.Errorf("RunOne = %+v, %v, %v; want good after 2 s", res, took, err)
		}
		if r.Done()["db"] {
			t.Error("the step counts as done: the next shutdown would leave it out")
		}
		r.fails["db"] = errBroken
		res, took, err = r.RunOne(t.Context(), byHand, "db", false)
		if err == nil || err.Error() != "step db: exit status 1: broken" || took != 7*time.Second || res.Output != "broken" {
			t.Errorf("RunOne = %+v, %v, %v; want it failed after two tries", res, took, err)
		}
		if _, took, err = r.RunOne(t.Context(), byHand, "db", true); err != nil || took <= 0 {
			t.Errorf("the undoing took %v, %v", took, err)
		}
		r.expect(t, `0s event step_started db
			0s run db
			2s event step_finished db
			2s event step_started db
			2s run db
			4s event step_retried db
			7s run db
			9s event step_failed db
			9s run undb
			9s event step_undone db`, "s ")
		for _, ev := range r.events {
			if ev.Drill != byHand.Drill {
				t.Errorf("event %+v, want it marked", ev)
			}
		}
	})
}

func TestRunOneRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(command("a"), early("busy")))
		r.takes["busy"] = time.Minute
		go r.RunEarly(t.Context(), Cause{}, "busy")
		synctest.Wait()
		for _, tt := range []struct {
			cause Cause
			name  string
			undo  bool
			want  string
		}{
			{Cause{}, "a", false, "without an id"},
			{byHand, "nothing", false, `no step "nothing"`},
			{byHand, PowerOffStep, false, `no step "power_off"`},
			{byHand, "a", true, "no way to undo it"},
			{byHand, "a", false, "other steps are being run"},
		} {
			if _, took, err := r.RunOne(t.Context(), tt.cause, tt.name, tt.undo); err == nil || took != 0 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("RunOne(%s, %v) = %v, %v; want %q", tt.name, tt.undo, took, err, tt.want)
			}
		}
		if got := r.only("run a"); got != "" {
			t.Errorf("it ran: %s", got)
		}
		time.Sleep(2 * time.Minute)
	})
}

// A shutdown waits for a step that an operator runs and does not run it again; one that
// is being undone is cut off and run.
func TestRunOneTakenOver(t *testing.T) {
	for _, undo := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, tested(early("db")))
			r.takes["db"], r.takes["undb"] = 10*time.Second, 10*time.Second
			ended := make(chan error, 1)
			go func() {
				_, _, err := r.RunOne(t.Context(), byHand, "db", undo)
				ended <- err
			}()
			time.Sleep(2 * time.Second)
			if err := r.Run(t.Context(), Cause{Event: dodai.EventShutdownStarted}, nil); err != nil {
				t.Fatal(err)
			}
			want, failed := "run db, run off", error(nil)
			if undo {
				want, failed = "run undb, abort undb, run db, run off", ErrTakenOver
			}
			if err := <-ended; !errors.Is(err, failed) {
				t.Errorf("undo %v: RunOne = %v, want %v", undo, err, failed)
			}
			var did []string
			for line := range strings.Lines(r.only("run", "abort")) {
				_, what, _ := strings.Cut(strings.TrimSpace(line), " ") // without when
				did = append(did, what)
			}
			if got := strings.Join(did, ", "); got != want {
				t.Errorf("undo %v: %s; want %s", undo, got, want)
			}
		})
	}
}

// The end of the daemon leaves the step alone.
func TestRunOneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		r := newRig(t, tested(command("a")))
		r.takes["a"] = time.Minute
		time.AfterFunc(time.Second, func() { cancel(stopped) })
		if _, took, err := r.RunOne(ctx, byHand, "a", false); !errors.Is(err, stopped) || took != time.Second {
			t.Errorf("RunOne = %v, %v; want %v at once", took, err, stopped)
		}
		r.expect(t, "0s run a\n1s leave a", "run", "leave", "abort", "finished", "failed")
	})
}
