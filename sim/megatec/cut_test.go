package megatec

import (
	"context"
	"errors"
	"testing"
	"time"
)

// What becomes of a cut with return, from the command on, in every order of command, mains
// and recall, and on units that do less than the protocol says.
func TestCutWithReturn(t *testing.T) {
	type at struct {
		t        time.Duration
		mains    bool // what they are from here on
		output   bool // what is found at this moment
		counting bool
		recall   bool // C is sent then
	}
	s := time.Second
	tests := []struct {
		name    string
		cfg     Config
		mains   bool // at the command
		command string
		then    []at
	}{
		{"mains gone: back after R at the earliest", Config{}, false, "S.5R0003", []at{
			{t: 29 * s, output: true, counting: true}, {t: 31 * s, mains: true}, {t: 209 * s, mains: true}, {t: 211 * s, mains: true, output: true}}},
		{"mains gone for long: back with them", Config{}, false, "S.5R0003", []at{{t: 31 * s}, {t: 600 * s, mains: true}, {t: 601 * s, mains: true, output: true}}},
		{"mains there all the time: a cycle", Config{}, true, "S.5R0003", []at{
			{t: 29 * s, mains: true, output: true, counting: true}, {t: 31 * s, mains: true}, {t: 209 * s, mains: true}, {t: 211 * s, mains: true, output: true}}},
		{"mains back between command and cut: a cycle all the same", Config{}, false, "S.5R0003", []at{
			{t: 10 * s, mains: true, output: true, counting: true}, {t: 29 * s, mains: true, output: true, counting: true}, {t: 31 * s, mains: true}, {t: 211 * s, mains: true, output: true}}},
		{"called off", Config{}, false, "S.5R0003", []at{
			{t: 20 * s, output: true, counting: true, recall: true}, {t: 21 * s, output: true}, {t: 300 * s, output: true}}},
		{"only on battery, with the mains there: nothing", Config{OnlyOnBattery: true}, true, "S.5R0003", []at{
			{t: s, mains: true, output: true}, {t: 31 * s, mains: true, output: true}}},
		{"only on battery, mains back before the cut: nothing, and nothing later", Config{OnlyOnBattery: true}, false, "S.5R0003", []at{
			{t: 10 * s, mains: true, output: true, counting: true}, {t: 11 * s, output: true}, {t: 60 * s, output: true}}},
		{"only on battery, mains gone: as told", Config{OnlyOnBattery: true}, false, "S.5R0003", []at{{t: 31 * s, mains: true}, {t: 211 * s, mains: true, output: true}}},
		{"R ignored: back with the mains", Config{IgnoresR: true}, false, "S.5R0003", []at{{t: 31 * s}, {t: 50 * s, mains: true}, {t: 51 * s, mains: true, output: true}}},
		{"R ignored, mains there: a short cycle", Config{IgnoresR: true}, true, "S.5R0003", []at{{t: 31 * s, mains: true}, {t: 42 * s, mains: true, output: true}}},
		{"R of zero is no return, whatever the unit does with R", Config{IgnoresR: true}, true, "S.5R0000", []at{{t: 31 * s, mains: true}, {t: 900 * s, mains: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Runtime = time.Hour
			onLine(t, tt.cfg, func(t *testing.T, u *UPS, l *line) {
				u.SetMains(tt.mains)
				begin := time.Now()
				l.ask(tt.command, 100*time.Millisecond)
				for _, a := range tt.then {
					time.Sleep(time.Until(begin.Add(a.t)))
					if s := u.State(); s.Output != a.output || s.CountingDown != a.counting {
						t.Errorf("after %v: output %v, counting down %v: want %v, %v", a.t, s.Output, s.CountingDown, a.output, a.counting)
					}
					if a.output { // else the unit is dead where the mains are gone
						if b1 := l.bits()[6] == '1'; b1 != a.counting {
							t.Errorf("after %v: b1 is %v, want %v", a.t, b1, a.counting)
						}
					}
					if a.recall {
						l.ask("C", 100*time.Millisecond)
					}
					u.SetMains(a.mains)
				}
			})
		})
	}
}

func TestWaitOutput(t *testing.T) {
	onLine(t, Config{Speed: 10}, func(t *testing.T, u *UPS, l *line) {
		begin := time.Now()
		l.ask("S.5R0003", 0)
		for _, w := range []struct {
			on    bool
			after time.Duration
		}{{false, 3 * time.Second}, {true, 21 * time.Second}} {
			if err := u.WaitOutput(t.Context(), w.on); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); u.Output() != w.on || (took-w.after).Abs() > 100*time.Millisecond {
				t.Errorf("output %v after %v: want %v after %v", u.Output(), took, w.on, w.after)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := u.WaitOutput(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitOutput for what does not happen = %v, want the context's error", err)
		}
	})
}
