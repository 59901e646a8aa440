package alarm

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func open(t *testing.T) *Alarm {
	t.Helper()
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// rings waits for one ring and returns how long it took; 0: it did not ring.
func rings(a *Alarm, within time.Duration) time.Duration {
	begin := time.Now()
	select {
	case <-a.C():
		return time.Since(begin)
	case <-time.After(within):
		return 0
	}
}

func TestAlarmRingsOnce(t *testing.T) {
	t.Parallel()
	a := open(t)
	a.Set(30 * time.Millisecond)
	if took := rings(a, 5*time.Second); took < 29*time.Millisecond {
		t.Errorf("it rang after %v, want 30 ms", took)
	}
	if took := rings(a, 60*time.Millisecond); took != 0 {
		t.Errorf("it rang again after %v", took)
	}
	a.Set(20 * time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	a.Set(time.Hour) // what it rang and nobody heard is forgotten
	if took := rings(a, 60*time.Millisecond); took != 0 {
		t.Errorf("set anew it rang after %v", took)
	}
	a.Set(-time.Second)
	if rings(a, 5*time.Second) == 0 {
		t.Error("set to the past it does not ring")
	}
}

func TestAlarmSetAnewAndStopped(t *testing.T) {
	t.Parallel()
	a := open(t)
	a.Set(time.Hour)
	a.Set(10 * time.Millisecond)
	if rings(a, 5*time.Second) == 0 {
		t.Error("set to an earlier time it does not ring")
	}
	a.Set(20 * time.Millisecond)
	a.Set(time.Hour)
	if took := rings(a, 80*time.Millisecond); took != 0 {
		t.Errorf("put off it rang after %v", took)
	}
	a.Set(20 * time.Millisecond)
	a.Stop()
	if took := rings(a, 80*time.Millisecond); took != 0 {
		t.Errorf("stopped it rang after %v", took)
	}
}

func TestSleep(t *testing.T) {
	t.Parallel()
	a := open(t)
	begin := time.Now()
	if err := a.Sleep(t.Context(), 20*time.Millisecond); err != nil || time.Since(begin) < 19*time.Millisecond {
		t.Errorf("Sleep = %v after %v, want 20 ms", err, time.Since(begin))
	}
	if err := a.Sleep(t.Context(), -1); err != nil {
		t.Errorf("Sleep(-1) = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := a.Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Sleep = %v, want context.Canceled", err)
	}
	begin = time.Now()
	if err := a.Sleep(t.Context(), 20*time.Millisecond); err != nil || time.Since(begin) < 19*time.Millisecond {
		t.Errorf("Sleep after a cancelled one = %v after %v, want 20 ms", err, time.Since(begin))
	}
	time.AfterFunc(20*time.Millisecond, func() { a.Close() })
	if err := a.Sleep(t.Context(), time.Hour); !errors.Is(err, ErrClosed) {
		t.Errorf("Sleep on an alarm that is closed = %v", err)
	}
	a.Set(time.Second)
	a.Stop()
	if err := a.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Close again = %v", err)
	}
}
