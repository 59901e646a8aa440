package collectors

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// scripted is a driver whose polls are functions, the last one repeated.
type scripted struct {
	polls  []func(ctx context.Context) (dodai.Reading, error)
	starts []time.Time
	closed int
}

func (s *scripted) Poll(ctx context.Context) (dodai.Reading, error) {
	s.starts = append(s.starts, time.Now())
	p := s.polls[min(len(s.starts), len(s.polls))-1]
	return p(ctx)
}

func (s *scripted) Close() error { s.closed++; return nil }

func good(context.Context) (dodai.Reading, error) {
	return dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OL}, nil
}

func bad(context.Context) (dodai.Reading, error) {
	return dodai.Reading{}, &drivers.Error{Driver: "scripted", Device: "u1", Op: "read", Err: drivers.ErrProtocol}
}

func silent(ctx context.Context) (dodai.Reading, error) {
	<-ctx.Done()
	return dodai.Reading{}, &drivers.Error{Driver: "scripted", Device: "u1", Op: "read", Err: drivers.Unreachable(ctx.Err())}
}

// run collects for d of virtual time and returns what was published.
func run(t *testing.T, drv drivers.Driver, d time.Duration, during func(*Collector)) []*dodai.DeviceState {
	t.Helper()
	begin := time.Now()
	var got []*dodai.DeviceState
	c := New(Config{
		Name: "u1", Kind: dodai.KindUPS, DriverName: "scripted", Driver: drv,
		Schedule: Schedule{Line: 5 * time.Second, Battery: 2 * time.Second, Retry: 500 * time.Millisecond, Retries: 3, MaxBackoff: 40 * time.Second},
		Timeout:  2 * time.Second, StaleAfter: 15 * time.Second,
		Clock:   func() time.Duration { return time.Since(begin) },
		Publish: func(s *dodai.DeviceState) { got = append(got, s) },
	})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	if during != nil {
		during(c)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	return got
}

func TestCollectorKeepsLastGoodReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good, bad, bad, good, bad}}
		got := run(t, drv, 12*time.Second, nil)
		if len(got) < 5 {
			t.Fatalf("%d states published, want at least 5", len(got))
		}
		if s := got[2]; s.Failures != 2 || s.Reading == nil || s.At != 0 || s.FailingSince != 5*time.Second || !strings.Contains(s.Err, "u1: read") {
			t.Errorf("after two failures: %+v: want the first reading kept, failing since 5s", s)
		}
		if s := got[3]; s.Failures != 0 || s.Err != "" || s.Polls != 2 || s.At != 6*time.Second {
			t.Errorf("after recovery: %+v", s)
		}
		if got[0].Failures != 0 || got[0].Polls != 1 {
			t.Errorf("a published state changed later: %+v", got[0])
		}
		if drv.closed != 1 {
			t.Errorf("closed %d times, want once", drv.closed)
		}
	})
}

// A silent device costs its deadline, three quick retries, and then backs off.
func TestCollectorSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){silent}}
		begin := time.Now()
		run(t, drv, 2*time.Minute, nil)
		var at []time.Duration
		for _, s := range drv.starts {
			at = append(at, s.Sub(begin))
		}
		want := []time.Duration{0, 2500 * time.Millisecond, 5 * time.Second, 7500 * time.Millisecond, 17500 * time.Millisecond, 37500 * time.Millisecond, 77500 * time.Millisecond, 117500 * time.Millisecond}
		if len(at) != len(want) {
			t.Fatalf("polls at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("poll %d at %v, want %v", i, at[i], want[i])
			}
		}
	})
}

// A driver that ignores its context is reported as hanging, is never called twice at
// once, and does not keep Run from ending.
func TestCollectorHangingDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hang := func(context.Context) (dodai.Reading, error) { <-release; return dodai.Reading{}, errors.New("late") }
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good, hang}}
		begin := time.Now()
		got := run(t, drv, 30*time.Second, nil)
		if took := time.Since(begin); took > 32*time.Second {
			t.Errorf("Run ended after %v, want at most 32 s", took)
		}
		synctest.Wait() // for the hanging poll, which nobody else waits for, to have begun
		if len(drv.starts) != 2 {
			t.Errorf("%d polls started, want 2: the second still hangs", len(drv.starts))
		}
		last := got[len(got)-1]
		if last.Reading == nil || last.Failures < 2 || !strings.Contains(last.Err, "still hanging") {
			t.Errorf("last state %+v: want the first reading and a hanging device", last)
		}
		close(release)
	})
}

func TestCollectorPanickingDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){
			func(context.Context) (dodai.Reading, error) { panic("index out of range") }, good,
		}}
		got := run(t, drv, 3*time.Second, nil)
		if len(got) != 2 || !strings.Contains(got[0].Err, "panicked") || got[1].Polls != 1 {
			t.Errorf("published %+v: want the panic as an error, then a reading", got)
		}
	})
}

// Going on battery polls at once and then at the battery's interval.
func TestCollectorFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good}}
		begin := time.Now()
		run(t, drv, 11*time.Second, func(c *Collector) {
			time.Sleep(6 * time.Second)
			c.SetFast(true)
			time.Sleep(3500 * time.Millisecond)
			c.SetFast(false)
		})
		var at []time.Duration
		for _, s := range drv.starts {
			at = append(at, s.Sub(begin))
		}
		// 0 and 5 s on line; at 6 s fast: 5+2 s, then every 2 s, the pause begun at 9 s stays.
		want := []time.Duration{0, 5 * time.Second, 7 * time.Second, 9 * time.Second}
		if len(at) < 4 || at[2] != want[2] || at[3] != want[3] {
			t.Errorf("polls at %v, want to begin with %v", at, want)
		}
	})
}

// A UPS that calls itself something else has not answered; its last reading stands.
func TestCollectorOtherKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){good, func(context.Context) (dodai.Reading, error) {
			return dodai.Reading{Kind: dodai.KindDisks}, nil
		}}}
		got := run(t, drv, 6*time.Second, nil)
		if s := got[1]; s.Kind != dodai.KindUPS || s.Failures != 1 || s.Polls != 1 || !s.Reading.Status.Has(dodai.OL) || !strings.Contains(s.Err, `kind "disks": want one of kind ups`) {
			t.Errorf("state %+v: want a failed poll of a UPS with its last reading", s)
		}
	})
}

func TestCollectorCleansTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drv := &scripted{polls: []func(context.Context) (dodai.Reading, error){
			func(context.Context) (dodai.Reading, error) {
				return dodai.Reading{Device: dodai.Device{Model: "x\x1b[2J"}}, nil
			},
			func(context.Context) (dodai.Reading, error) { return dodai.Reading{}, errors.New("y\x1b[2J") },
		}}
		got := run(t, drv, 6*time.Second, nil)
		if strings.ContainsRune(got[0].Reading.Device.Model+got[1].Err, '\x1b') {
			t.Errorf("model %q, error %q: want no control characters", got[0].Reading.Device.Model, got[1].Err)
		}
	})
}

func TestFits(t *testing.T) {
	for _, tc := range []struct {
		configured, got dodai.Kind
		want            bool
	}{
		{dodai.KindUPS, dodai.KindUPS, true}, {dodai.KindUPS, dodai.KindPDU, false}, {dodai.KindUPS, dodai.KindDisks, false},
		{dodai.KindPDU, dodai.KindATS, true}, {dodai.KindPDU, dodai.KindUPS, false}, {dodai.KindArrays, dodai.KindArrays, true},
	} {
		if got := fits(tc.configured, tc.got); got != tc.want {
			t.Errorf("fits(%s, %s) = %v, want %v", tc.configured, tc.got, got, tc.want)
		}
	}
}

func TestCollectorResume(t *testing.T) {
	c := New(Config{Name: "u1", Kind: dodai.KindPDU, DriverName: "snmp", StaleAfter: time.Second})
	last := &dodai.DeviceState{Name: "u1", Driver: "megatec", Reading: &dodai.Reading{Kind: dodai.KindATS}, Polls: 7, StaleAfter: time.Hour}
	c.Resume(last)
	if s := c.Initial(); s.Polls != 7 || s.Driver != "snmp" || s.Kind != dodai.KindATS || s.StaleAfter != time.Second {
		t.Errorf("resumed state %+v: want the old reading with the new settings", s)
	}
	c = New(Config{Name: "u1", Kind: dodai.KindUPS, StaleAfter: time.Second})
	c.Resume(last)
	if s := c.Initial(); s.Kind != dodai.KindUPS || s.Reading != nil || s.Polls != 0 {
		t.Errorf("resumed state %+v: want nothing kept of a device that was something else", s)
	}
}

func TestSystemClockAndBootID(t *testing.T) {
	clock := SystemClock()
	a := clock()
	if b := clock(); a <= 0 || b < a {
		t.Errorf("clock went from %v to %v", a, b)
	}
	if id := BootID(); len(id) != 36 || id != BootID() {
		t.Errorf("boot id %q: want a UUID that stays", id)
	}
}

func TestHostFacts(t *testing.T) {
	h := HostFacts(t.Context())
	if h.Name == "" || h.Kernel == "" || h.MemTotal == 0 || h.MemUsed > h.MemTotal {
		t.Errorf("host facts %+v: want a name, a kernel and memory", h)
	}
}

func TestOSName(t *testing.T) {
	for text, want := range map[string]string{
		"NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n": "debian 12",
		"ID='rocky'\nVERSION_ID=\"9.4\"\nVERSION=x":                 "rocky 9.4",
		"ID=arch": "arch", // has no versions
		"nothing": "",
	} {
		path := filepath.Join(t.TempDir(), "os-release")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := osName(path); got != want {
			t.Errorf("osName(%q) = %q, want %q", text, got, want)
		}
	}
	if got := osName(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("osName of no file = %q", got)
	}
}
