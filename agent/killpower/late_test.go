package killpower_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
	"github.com/dodai-agent/dodai/sim/host"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// serial is a real line with a simulated UPS, on battery, and the machine that hangs on it.
func serial(t *testing.T, cfg megatec.Config) (*megatec.UPS, *host.Host, killpower.UPS) {
	t.Helper()
	sim, err := megatec.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	sim.SetMains(false)
	h := host.New(host.Config{Boot: time.Millisecond}, sim.Output)
	h.Unmount()
	return sim, h, killpower.UPS{
		Name: "u1", Driver: "megatec", Options: map[string]string{"port": sim.Path()}, Local: true, Feeds: true,
		Cut: &drivers.Cut{Off: time.Minute, On: 3 * time.Minute},
	}
}

// late is the late command for what the daemon has left, with a clock that always works.
func late(h *host.Host, list ...killpower.UPS) (killpower.Late, *[]string) {
	var said []string
	return killpower.Late{
		State: &killpower.State{UPS: list, Wake: &killpower.Wake{}},
		Find:  all.Find,
		Say:   func(line string) { said = append(said, line) },
		Wake: func(killpower.Wake, time.Duration) (killpower.Wake, error) {
			return killpower.Wake{At: 1234}, nil
		},
		Reboot: func() error { h.Reboot(); return nil },
	}, &said
}

// hasLine reports whether a line begins so: on a machine under load the last reading may have
// failed, which the line then says as well.
func hasLine(said []string, begin string) bool {
	return slices.ContainsFunc(said, func(line string) bool { return strings.HasPrefix(line, begin) })
}

func TestActions(t *testing.T) {
	for _, action := range []string{"reboot", "kexec"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			sim, h, u := serial(t, megatec.Config{})
			l, _ := late(h, u)
			out, err := l.Run(t.Context(), action)
			if err != nil || out.Did != killpower.DidNothing || sim.Exchanges() != 0 || sim.State().CountingDown {
				t.Errorf("%+v, %v, %d exchanges: want nothing done and nothing asked", out, err, sim.Exchanges())
			}
		})
	}
	h := host.New(host.Config{})
	l, _ := late(h)
	for _, action := range []string{"", "sleep", "poweroff\n"} {
		if out, err := l.Run(t.Context(), action); err == nil {
			t.Errorf("action %q: %+v, want an error", action, out)
		}
	}
}

// TestCutOnTheLine is the whole way over a real line: the command, the cut, the mains
// back, the machine started by its power.
func TestCutOnTheLine(t *testing.T) {
	t.Parallel()
	sim, h, u := serial(t, megatec.Config{Runtime: time.Hour, Speed: 25})
	l, said := late(h, u)
	out, err := l.Run(t.Context(), "poweroff")
	if err != nil || out.Did != killpower.DidCut || len(out.UPS) != 1 || !out.UPS[0].Told || !out.UPS[0].CountingDown {
		t.Fatalf("%+v, %v: want u1 told and counting down", out, err)
	}
	if n := sim.Asked("S01R0003"); n != 1 {
		t.Errorf("S01R0003 came %d times, want once: it counts down since the first", n)
	}
	if want := "u1: mains absent, told to cut its output after 60 s and to restore it with the mains after 180 s; it counts down"; !hasLine(*said, want) {
		t.Errorf("the console has %q, want %q", *said, want)
	}
	h.PowerOff()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := sim.WaitOutput(ctx, false); err != nil {
		t.Fatal("the output was not cut: ", err)
	}
	h.Step()
	sim.SetMains(true)
	if err := sim.WaitOutput(ctx, true); err != nil {
		t.Fatal("the output does not return: ", err)
	}
	h.Step()
	time.Sleep(10 * time.Millisecond)
	h.Step()
	if h.State() != host.Running || h.Crashes() != 0 {
		t.Errorf("the machine is %s with %d crashes, want it running", h.State(), h.Crashes())
	}
}

func TestNotNamed(t *testing.T) {
	t.Parallel()
	sim, h, u := serial(t, megatec.Config{})
	u.Cut = nil
	l, said := late(h, u)
	out, err := l.Run(t.Context(), "poweroff")
	if err != nil || out.Did != killpower.DidOff || sim.State().CountingDown || sim.Asked("Q1") == 0 || sim.Asked("S01R0003") != 0 {
		t.Errorf("%+v, %v, counting down %v: want it read and not told", out, err, sim.State().CountingDown)
	}
	if !hasLine(*said, "u1: mains absent, not to be cut by this host") {
		t.Errorf("the console has %q", *said)
	}
	if out.WakeAt == nil || *out.WakeAt != 1234 {
		t.Errorf("woken at %v, want 1234", out.WakeAt)
	}
}

func TestMainsBackBefore(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		sim, h, u := serial(t, megatec.Config{})
		if !own {
			u.Cut = nil
		}
		sim.SetMains(true)
		l, _ := late(h, u)
		out, err := l.Run(t.Context(), "poweroff")
		if err != nil || out.Did != killpower.DidReboot || h.State() != host.Booting || sim.State().CountingDown {
			t.Errorf("named %v: %+v, %v, machine %s: want it started anew and nothing told", own, out, err, h.State())
		}
	}
}

// TestMainsBackAfterTheCommand: a unit that forgets the cut when the mains return, and one
// that would go through with it while the machine boots.
func TestMainsBackAfterTheCommand(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]megatec.Config{"forgets": {OnlyOnBattery: true}, "shows nothing": {StuckB1: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, h, u := serial(t, cfg)
			l, _ := late(h, u)
			go func() {
				for sim.Asked("S01R0003") == 0 && t.Context().Err() == nil {
					time.Sleep(5 * time.Millisecond)
				}
				sim.SetMains(true)
			}()
			out, err := l.Run(t.Context(), "poweroff")
			if err != nil || out.Did != killpower.DidReboot || h.State() != host.Booting {
				t.Errorf("%+v, %v, machine %s: want it started anew", out, err, h.State())
			}
			if sim.Asked("C") == 0 || !sim.Output() {
				t.Errorf("C came %d times, output %v: want the cut called off", sim.Asked("C"), sim.Output())
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	sim, h, u := serial(t, megatec.Config{})
	l, said := late(h, u)
	l.DryRun = true
	l.Wake = func(killpower.Wake, time.Duration) (killpower.Wake, error) {
		t.Error("the clock was set")
		return killpower.Wake{}, nil
	}
	out, err := l.Run(t.Context(), "poweroff")
	if err != nil || out.Did != killpower.DidCut || sim.Asked("S01R0003") != 0 || sim.Asked("C") != 0 {
		t.Errorf("%+v, %v: want nothing told", out, err)
	}
	if !strings.Contains(strings.Join(*said, "\n"), "u1: mains absent, would be told to cut its output after 60 s") {
		t.Errorf("the console has %q", *said)
	}
	sim.SetMains(true)
	if out, err = l.Run(t.Context(), "poweroff"); err != nil || out.Did != killpower.DidReboot || h.State() != host.Unmounted {
		t.Errorf("%+v, %v, machine %s: want it told, and not done", out, err, h.State())
	}
}

// faulty is a driver that misbehaves in one way.
type faulty struct {
	poll func(context.Context) error
	cut  func(context.Context) (drivers.Cut, error)
	cuts int
}

func (d *faulty) Poll(ctx context.Context) (dodai.Reading, error) {
	return dodai.Reading{Kind: dodai.KindUPS, Status: dodai.OB}, d.poll(ctx)
}
func (d *faulty) Close() error                                { return nil }
func (d *faulty) CheckCut(context.Context, drivers.Cut) error { return nil }
func (d *faulty) StopCut(context.Context) error               { return nil }
func (d *faulty) Cut(ctx context.Context, _ drivers.Cut) (drivers.Cut, error) {
	d.cuts++
	return d.cut(ctx)
}

type reader struct{ drivers.Driver } // it cannot cut

func TestFaults(t *testing.T) {
	ok := func(context.Context) error { return nil }
	taken := func(context.Context) (drivers.Cut, error) { return drivers.Cut{Off: time.Minute}, nil }
	// Made in the bubble of each test, and closed at its end.
	var never chan struct{}
	tests := []struct {
		name string
		drv  drivers.Driver
		did  killpower.Did
		want string // of the error; empty: none
	}{
		{"refuses", &faulty{poll: ok, cut: func(context.Context) (drivers.Cut, error) { return drivers.Cut{}, errors.New("refused") }}, killpower.DidOff, "refused"},
		{"refuses once", &faulty{poll: ok, cut: once(errors.New("refused"), taken)}, killpower.DidCut, ""},
		{"may have taken it", &faulty{poll: ok, cut: func(context.Context) (drivers.Cut, error) {
			return drivers.Cut{Off: time.Minute}, errors.New("line broke")
		}}, killpower.DidCut, "line broke"},
		{"silent, told blindly", &faulty{poll: func(context.Context) error { return drivers.ErrUnreachable }, cut: taken}, killpower.DidCut, ""},
		{"hangs for ever", &faulty{poll: func(context.Context) error { <-never; return nil }, cut: taken}, killpower.DidOff, "the driver hangs"},
		{"panics", &faulty{poll: func(context.Context) error { panic("bug") }, cut: func(context.Context) (drivers.Cut, error) { panic("another bug") }}, killpower.DidOff, "another bug"},
		{"cannot cut", reader{&faulty{poll: ok}}, killpower.DidOff, "this driver cannot"},
		{"no such driver", nil, killpower.DidOff, `no driver "x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never = make(chan struct{})
				defer close(never)
				l, said := late(host.New(host.Config{}), killpower.UPS{Name: "u1", Driver: "x", Local: true, Feeds: true, Cut: &drivers.Cut{Off: time.Minute}})
				l.Find = func(string) (drivers.Factory, bool) {
					return drivers.Factory{Name: "x", New: func(drivers.Config) (drivers.Driver, error) { return tt.drv, nil }}, tt.drv != nil
				}
				began := time.Now()
				l.Now = func() time.Duration { return time.Hour + time.Since(began) }
				out, err := l.Run(t.Context(), "halt")
				if took := time.Since(began); took > 25*time.Second {
					t.Errorf("it took %v, want about 20 s at most", took)
				}
				if out.Did != tt.did || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("did %s, error %v: want %s, %q", out.Did, err, tt.did, tt.want)
				}
				if told := strings.Contains(strings.Join(*said, "\n"), "NOT told"); told != (tt.did == killpower.DidOff) {
					t.Errorf("the console has %q", *said)
				}
			})
		})
	}
}

// once fails the first time.
func once(err error, then func(context.Context) (drivers.Cut, error)) func(context.Context) (drivers.Cut, error) {
	return func(ctx context.Context) (drivers.Cut, error) {
		if e := err; e != nil {
			err = nil
			return drivers.Cut{}, e
		}
		return then(ctx)
	}
}

func TestRebootFails(t *testing.T) {
	t.Parallel()
	l, _ := late(nil, killpower.UPS{Name: "n", Driver: "nut", Feeds: true, Mains: killpower.MainsPresent})
	l.Reboot = func() error { return errors.New("not permitted") }
	l.Wake = func(killpower.Wake, time.Duration) (killpower.Wake, error) {
		return killpower.Wake{}, errors.New("the clock is broken")
	}
	out, err := l.Run(t.Context(), "poweroff")
	if out.Did != killpower.DidReboot || err == nil || !strings.Contains(err.Error(), "not permitted") || !strings.Contains(err.Error(), "the clock is broken") {
		t.Errorf("%+v, %v: want both errors", out, err)
	}
}
