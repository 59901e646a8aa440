package megatec

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai/drivers"
	sim "github.com/dodai-agent/dodai/sim/megatec"
)

const (
	counting     = "(230.4 230.4 230.4 021 50.0 27.4 25.0 00001011\r"
	countingBatt = "(000.0 000.0 230.4 021 50.0 24.0 25.0 10001011\r"
)

func TestCutCommand(t *testing.T) {
	const s, m = time.Second, time.Minute
	tests := []struct {
		off, on time.Duration
		want    string
		told    drivers.Cut
	}{
		{0, 0, "S.2R0003", drivers.Cut{Off: 12 * s, On: 3 * m}},
		{-5 * s, -m, "S.2R0003", drivers.Cut{Off: 12 * s, On: 3 * m}},
		{12 * s, 3 * m, "S.2R0003", drivers.Cut{Off: 12 * s, On: 3 * m}},
		{12*s + 1, 3*m + 1, "S.3R0004", drivers.Cut{Off: 18 * s, On: 4 * m}},
		{30 * s, 180 * s, "S.5R0003", drivers.Cut{Off: 30 * s, On: 3 * m}},
		{54 * s, m, "S.9R0003", drivers.Cut{Off: 54 * s, On: 3 * m}},
		{55 * s, 10 * m, "S01R0010", drivers.Cut{Off: m, On: 10 * m}},
		{61 * s, 10 * m, "S02R0010", drivers.Cut{Off: 2 * m, On: 10 * m}},
		{10 * m, 9999 * m, "S10R9999", drivers.Cut{Off: 10 * m, On: 9999 * m}},
		{11 * m, 10000 * m, "S10R9999", drivers.Cut{Off: 10 * m, On: 9999 * m}},
		{math.MaxInt64, math.MaxInt64, "S10R9999", drivers.Cut{Off: 10 * m, On: 9999 * m}},
	}
	for _, tt := range tests {
		if word, told := cutCommand(drivers.Cut{Off: tt.off, On: tt.on}); word != tt.want || told != tt.told {
			t.Errorf("cut after %v, back after %v: %s, which is %+v; want %s, %+v", tt.off, tt.on, word, told, tt.want, tt.told)
		}
	}
}

// cutUnit is a unit whose b1 follows the commands it obeys.
type cutUnit struct {
	unit
	b1 bool
}

// newCutUnit answers typically, but for the queries in say, and obeys C and S unless they
// are among them.
func newCutUnit(b1 bool, say map[string][]string) *cutUnit {
	u := &cutUnit{b1: b1}
	u.answer = func(q string) []string {
		if reply, ok := say[q]; ok {
			return reply
		}
		switch {
		case q == "Q1" && u.b1:
			return []string{counting}
		case q == "C":
			u.b1 = false
			return nil
		case strings.HasPrefix(q, "S"):
			u.b1 = true
			return nil
		}
		return typical(q)
	}
	return u
}

// onCutter runs test in a bubble with a driver on u.
func onCutter(t *testing.T, u *cutUnit, set settings, test func(t *testing.T, d *driver)) {
	synctest.Test(t, func(t *testing.T) {
		set.status, set.reply = "Q1", time.Second
		d := newDriver(drivers.Config{Device: "u1", Log: slog.New(slog.DiscardHandler)}, set, u.dial)
		defer d.Close()
		test(t, d)
	})
}

var halfMinute = drivers.Cut{Off: 30 * time.Second, On: 3 * time.Minute}

func TestCut(t *testing.T) {
	stuckOff := map[string][]string{"Q1": {onLine}} // reports no countdown, ever
	tests := []struct {
		name  string
		b1    bool // before
		say   map[string][]string
		asked []string
		want  error
		told  bool // although there is an error
	}{
		{name: "silence and b1", asked: []string{"Q1", "S.5R0003", "Q1"}},
		{name: "a unit that does not report b1", say: stuckOff, asked: []string{"Q1", "S.5R0003", "Q1"}},
		{name: "a countdown runs", b1: true, asked: []string{"Q1", "C", "S.5R0003", "Q1"}},
		{name: "a countdown runs and C is not known", b1: true, say: map[string][]string{"C": {"(NAK\r"}}, asked: []string{"Q1", "C", "S.5R0003", "Q1"}},
		{name: "acknowledged", say: map[string][]string{"S.5R0003": {"(ACK\r"}, "Q1": {onLine}}, asked: []string{"Q1", "S.5R0003", "Q1"}},
		{name: "acknowledged late", say: map[string][]string{"S.5R0003": {"400ms:(ACK\r"}, "Q1": {onLine}}, asked: []string{"Q1", "S.5R0003", "Q1"}},
		{name: "Voltronic's NAK", say: map[string][]string{"S.5R0003": {"100ms:(NAK\r"}}, asked: []string{"Q1", "S.5R0003"}, want: drivers.ErrUnable},
		{name: "Hunnox's NAK", say: map[string][]string{"S.5R0003": {"UPS No Ack\r"}}, asked: []string{"Q1", "S.5R0003"}, want: drivers.ErrUnable},
		{name: "sent back", say: map[string][]string{"S.5R0003": {"S.5R", "20ms:0003\r"}}, asked: []string{"Q1", "S.5R0003"}, want: drivers.ErrUnable},
		{
			name: "sent back by the cable", asked: []string{"Q1", "S.5R0003", "Q1"},
			say: map[string][]string{"Q1": {"Q1\r", onLine}, "S.5R0003": {"S.5R0003\r"}},
		},
		{
			name: "refused behind an echo of the cable", asked: []string{"Q1", "S.5R0003"}, want: drivers.ErrUnable,
			say: map[string][]string{"Q1": {"Q1\r", onLine}, "S.5R0003": {"S.5R0003\r(NAK\r"}},
		},
		{
			name: "noise and b1", b1: true, asked: []string{"Q1", "C", "S.5R0003", "Q1"},
			say: map[string][]string{"Q1": {counting}, "S.5R0003": {"\xff\xfe\r"}},
		},
		{
			name: "noise and no b1", asked: []string{"Q1", "S.5R0003", "Q1"}, want: drivers.ErrProtocol, told: true,
			say: map[string][]string{"Q1": {onLine}, "S.5R0003": {"OFF\r"}},
		},
		{
			name: "noise without end", asked: []string{"Q1", "S.5R0003"}, want: drivers.ErrProtocol, told: true,
			say: map[string][]string{"Q1": {onLine}, "S.5R0003": slices.Repeat([]string{"no line ends here "}, 100)},
		},
		{name: "no status before", say: map[string][]string{"Q1": nil}, asked: []string{"Q1"}, want: drivers.ErrUnreachable},
		{name: "hangs up", say: map[string][]string{"S.5R0003": {"hang up"}}, asked: []string{"Q1", "S.5R0003"}, want: drivers.ErrUnreachable, told: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newCutUnit(tt.b1, tt.say)
			onCutter(t, u, settings{}, func(t *testing.T, d *driver) {
				begin := time.Now()
				told, err := d.Cut(t.Context(), halfMinute)
				synctest.Wait()
				if !slices.Equal(u.asked, tt.asked) {
					t.Errorf("asked %q, want %q", u.asked, tt.asked)
				}
				if took := time.Since(begin); took > 3*time.Second {
					t.Errorf("took %v, want 3 s at most", took)
				}
				e, ok := errors.AsType[*drivers.Error](err)
				if !errors.Is(err, tt.want) || ok != (tt.want != nil) || ok && (e.Device != "u1" || e.Op == "") {
					t.Errorf("Cut = %+v, %v: want the driver's error for %v", told, err, tt.want)
				}
				if want := tt.want == nil || tt.told; (told == halfMinute) != want || (told == drivers.Cut{}) == want {
					t.Errorf("Cut = %+v, %v: want it told: %v", told, err, want)
				}
			})
		})
	}
}

// The unit falls silent with the command: an error, with what was sent.
func TestCutUnconfirmed(t *testing.T) {
	sent := false
	u := &cutUnit{unit: unit{answer: func(q string) []string {
		if sent = sent || q == "S.5R0003"; sent {
			return nil
		}
		return typical(q)
	}}}
	onCutter(t, u, settings{}, func(t *testing.T, d *driver) {
		if told, err := d.Cut(t.Context(), halfMinute); !errors.Is(err, drivers.ErrUnreachable) || told != halfMinute {
			t.Errorf("Cut of a unit that falls silent = %+v, %v: want what was sent, and ErrUnreachable", told, err)
		}
	})
}

// A second Cut replaces the first, even on a unit that does not report b1.
func TestCutTwice(t *testing.T) {
	u := newCutUnit(false, map[string][]string{"Q1": {onLine}})
	onCutter(t, u, settings{}, func(t *testing.T, d *driver) {
		for range 2 {
			if _, err := d.Cut(t.Context(), halfMinute); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if want := []string{"Q1", "S.5R0003", "Q1", "Q1", "C", "S.5R0003", "Q1"}; !slices.Equal(u.asked, want) {
			t.Errorf("asked %q, want %q", u.asked, want)
		}
	})
}

// The end of the context ends Cut wherever it is, and S is not sent after it.
func TestCutContext(t *testing.T) {
	for _, tt := range []struct {
		within time.Duration
		sent   bool
	}{{0, false}, {100 * time.Millisecond, false}, {600 * time.Millisecond, true}, {900 * time.Millisecond, true}} {
		u := newCutUnit(false, nil)
		onCutter(t, u, settings{}, func(t *testing.T, d *driver) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.within)
			defer cancel()
			begin := time.Now()
			told, err := d.Cut(ctx, halfMinute)
			if took := time.Since(begin); took > tt.within || !errors.Is(err, drivers.ErrUnreachable) {
				t.Errorf("Cut within %v = %v after %v: want ErrUnreachable at its end", tt.within, err, took)
			}
			synctest.Wait()
			if got := slices.Contains(u.asked, "S.5R0003"); got != tt.sent || (told != drivers.Cut{}) != tt.sent {
				t.Errorf("Cut within %v told %+v, S sent: %v; want sent, and told: %v", tt.within, told, got, tt.sent)
			}
		})
	}
}

func TestStopCut(t *testing.T) {
	tests := []struct {
		name  string
		b1    bool
		cut   bool // by us, before
		noFSD bool
		say   map[string][]string
		asked []string
		want  error
	}{
		{name: "nothing begun", asked: []string{"Q1", "C", "Q1"}},
		{name: "nothing begun, C refused", say: map[string][]string{"C": {"(NAK\r"}}, asked: []string{"Q1", "C", "Q1"}},
		{name: "ours", cut: true, asked: []string{"Q1", "C", "Q1"}},
		{name: "somebody's", b1: true, asked: []string{"Q1", "C", "Q1"}},
		{name: "ours, C refused", cut: true, say: map[string][]string{"C": {"(NAK\r"}}, asked: []string{"Q1", "C"}, want: drivers.ErrUnable},
		{name: "ours, no b1, C refused", cut: true, say: map[string][]string{"C": {"C\r"}, "Q1": {onLine}}, asked: []string{"Q1", "C"}, want: drivers.ErrUnable},
		{name: "not obeyed", b1: true, say: map[string][]string{"C": nil}, asked: []string{"Q1", "C", "Q1", "Q1", "Q1"}, want: drivers.ErrProtocol},
		{name: "b1 is stuck", b1: true, noFSD: true, say: map[string][]string{"Q1": {countingBatt}}, asked: []string{"Q1", "C", "Q1"}},
		{name: "silent", say: map[string][]string{"Q1": nil}, asked: []string{"Q1"}, want: drivers.ErrUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newCutUnit(tt.b1, tt.say)
			onCutter(t, u, settings{noFSD: tt.noFSD}, func(t *testing.T, d *driver) {
				if tt.cut {
					if _, err := d.Cut(t.Context(), halfMinute); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					u.asked = nil
				}
				err := d.StopCut(t.Context())
				synctest.Wait()
				if _, ok := errors.AsType[*drivers.Error](err); !errors.Is(err, tt.want) || ok != (tt.want != nil) {
					t.Errorf("StopCut = %v, want the driver's error for %v", err, tt.want)
				}
				if !slices.Equal(u.asked, tt.asked) {
					t.Errorf("asked %q, want %q", u.asked, tt.asked)
				}
			})
		})
	}
}

func TestCheckCut(t *testing.T) {
	tests := []struct {
		name    string
		off, on time.Duration
		say     map[string][]string
		want    error
		text    string
	}{
		{"as told", 10 * time.Minute, 9999 * time.Minute, nil, nil, ""},
		{"off later than can be said", 10*time.Minute + 1, 0, nil, drivers.ErrUnable, "before the cut: want at most 10m0s"},
		{"on later than can be said", 0, 10000 * time.Minute, nil, drivers.ErrUnable, "before the return: want at most 166h39m0s"},
		{"silent", 0, 0, map[string][]string{"Q1": nil}, drivers.ErrUnreachable, "read Q1 reply"},
	}
	for _, tt := range tests {
		u := newCutUnit(false, tt.say)
		onCutter(t, u, settings{}, func(t *testing.T, d *driver) {
			err := d.CheckCut(t.Context(), drivers.Cut{Off: tt.off, On: tt.on})
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: CheckCut = %v, want %v with %q", tt.name, err, tt.want, tt.text)
			}
			synctest.Wait()
			if slices.ContainsFunc(u.asked, func(q string) bool { return q != "Q1" }) {
				t.Errorf("%s: CheckCut sent %q, want Q1 alone", tt.name, u.asked)
			}
		})
	}
}

// The whole of it on a pseudo-terminal: told on battery, seen in the readings, the output
// gone when the time is over, and back with the mains; and the same called off.
func TestCutOnTheSimulator(t *testing.T) {
	t.Parallel()
	u := newSim(t, sim.Config{Baud: -1, Speed: 60, Runtime: time.Hour})
	d, minutes := open1(t, u), drivers.Cut{Off: 4 * time.Minute, On: 3 * time.Minute}
	u.SetMains(false)
	if told, err := d.Cut(t.Context(), minutes); err != nil || told != minutes || !u.State().CountingDown {
		t.Fatalf("Cut = %+v, %v, counting down: %v", told, err, u.State().CountingDown)
	}
	if r, err := d.Poll(t.Context()); err != nil || r.Status.String() != "FSD OB" {
		t.Errorf("reading of the countdown %v, %v: want FSD OB", r.Status, err)
	}
	if err := d.StopCut(t.Context()); err != nil || u.State().CountingDown {
		t.Fatalf("StopCut = %v, counting down: %v", err, u.State().CountingDown)
	}
	if _, err := d.Cut(t.Context(), minutes); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	wait := func(on bool) time.Duration {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := u.WaitOutput(ctx, on); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	if took := wait(false); took < 500*time.Millisecond {
		t.Errorf("the output was cut %v after Cut returned, want 4 s less what that took", took)
	}
	u.SetMains(true)
	if took := wait(true); took < 3*time.Second {
		t.Errorf("the output was back after %v, want 7 s less what Cut took", took)
	}
}

// A unit that takes a shutdown on battery alone does not tell; its readings do.
func TestCutOnlyOnBattery(t *testing.T) {
	t.Parallel()
	u := newSim(t, sim.Config{Baud: -1, OnlyOnBattery: true})
	d := open1(t, u)
	if _, err := d.Cut(t.Context(), halfMinute); err != nil {
		t.Fatal(err)
	}
	if r, err := d.Poll(t.Context()); err != nil || r.Vars["ups.shutdown.active"].String() != "false" {
		t.Errorf("ups.shutdown.active is %v, %v: want false", r.Vars["ups.shutdown.active"], err)
	}
}

func open1(t *testing.T, u *sim.UPS) *driver {
	t.Helper()
	d, err := Factory.Open("u1", map[string]string{"port": u.Path()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d.(*driver)
}

// Whatever is heard after a command: a refusal is found on any line, and what is not
// understood is handed on whole.
func FuzzRefusal(f *testing.F) {
	f.Add([]byte("S.5R0003\r"), false)
	f.Add([]byte("S.5R0003\r(ACK\r"), true)
	f.Add([]byte("\xff\r(NAK\r"), false)
	f.Fuzz(func(t *testing.T, heard []byte, echoes bool) {
		rest, err := refusal("S.5R0003", heard, echoes)
		if err != nil && (!errors.Is(err, drivers.ErrUnable) || rest != nil) {
			t.Errorf("refusal(%q) = %q, %v", heard, rest, err)
		}
		if rest != nil && !bytes.Equal(rest, heard) {
			t.Errorf("refusal(%q) hands on %q", heard, rest)
		}
		if _, err := refusal("S.5R0003", append(bytes.Clone(heard), "\r(NAK\r"...), echoes); err == nil {
			t.Errorf("%q with a NAK behind it is no refusal", heard)
		}
	})
}
