package shutdown

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What an earlier daemon did of a shutdown is undone too when it is called off.
func TestCallOffAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		r.takes["b"] = time.Minute
		time.AfterFunc(2*time.Second, func() {
			if err := r.CallOff("no longer wanted"); err != nil {
				t.Error(err)
			}
		})
		if err := r.Run(t.Context(), Cause{Operator: true}, map[string]bool{"a": true}); !errors.Is(err, ErrCalledOff) {
			t.Errorf("Run = %v", err)
		}
		r.expectSorted(t, "0s run b\n2s abort b\n2s run unb\n2s run una", "run ", "abort")
	})
}

// The battery's end comes nearer while the way down waits for an early step.
func TestHastenWhileTakingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), command("b")))
		r.takes["a"], r.takes["b"] = 50*time.Second, 50*time.Second
		go r.RunEarly(t.Context(), Cause{}, "a")
		time.Sleep(time.Second)
		time.AfterFunc(10*time.Second, func() { r.Hasten(Ends{Ask: 20 * time.Second}) })
		if err := r.Run(t.Context(), Cause{Ends: Ends{Ask: 200 * time.Second}}, nil); err != nil {
			t.Fatal(err)
		}
		r.expectSorted(t, "0s run a\n20s abort a\n20s record b skipped\n20s run off", "run ", "abort", "skipped")
	})
}

func TestPressWhileTakingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), command("b")))
		r.takes["a"], r.takes["b"] = 50*time.Second, 50*time.Second
		go r.RunEarly(t.Context(), Cause{}, "a")
		time.Sleep(time.Second)
		time.AfterFunc(10*time.Second, func() {
			if err := r.Press(Ends{Ask: 20 * time.Second}); err != nil {
				t.Errorf("Press = %v", err)
			}
		})
		if err := r.Run(t.Context(), Cause{Operator: true}, nil); err != nil {
			t.Fatal(err)
		}
		r.expectSorted(t, "0s run a\n20s abort a\n20s record b skipped\n20s run off", "run ", "abort", "skipped")
	})
}

func TestCallOffWhileTakingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		r.takes["a"], r.takes["b"] = 50*time.Second, 50*time.Second
		go r.RunEarly(t.Context(), Cause{}, "a")
		time.Sleep(time.Second)
		time.AfterFunc(10*time.Second, func() {
			if err := r.CallOff("not wanted"); err != nil {
				t.Errorf("CallOff = %v", err)
			}
		})
		if err := r.Run(t.Context(), Cause{Operator: true}, nil); !errors.Is(err, ErrCalledOff) {
			t.Errorf("Run = %v", err)
		}
		r.expectSorted(t, "0s run a", "run ", "abort", "skipped")
	})
}

// The pause before a retry does not outlast the battery.
func TestRetryPauseIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := command("a")
		s.Retries, s.RetryWait = 1, 5*time.Minute
		r := newRig(t, tested(s))
		r.fails["a"] = errBroken
		time.AfterFunc(5*time.Second, func() { r.Hasten(Ends{Ask: 20 * time.Second}) })
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "0s run a\n5s run off", "run ")
	})
}
