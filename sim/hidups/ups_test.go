package hidups

import (
	"context"
	"encoding/hex"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func newUPS(t *testing.T, cfg Config) *UPS {
	t.Helper()
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// TestReports compares with what units of these kinds have been seen to send.
func TestReports(t *testing.T) {
	out := func(u *UPS) { u.SetMains(false) }
	low := func(u *UPS) { u.SetMains(false); u.SetBatteryLow(new(true)) }
	charging := func(u *UPS) { u.SetCharge(0.43) }
	for _, tt := range []struct {
		name  string
		cfg   Config
		after func(*UPS)
		kind  Kind
		id    byte
		want  string
	}{
		{"Santak, charging", Config{Model: Santak()}, charging, Feature, 0x01, "01250000"},
		{"Santak, on battery", Config{Model: Santak()}, out, Feature, 0x01, "01300000"},
		{"Santak, battery low", Config{Model: Santak()}, low, Feature, 0x01, "01320001"},
		{"Santak, battery low by itself", Config{Model: Santak()}, low, Input, 0x01, "01320001"},
		{"Santak, charge and runtime", Config{Model: Santak(), Runtime: 1248 * time.Second}, nil, Feature, 0x06, "0664e0040000"},
		{"Santak, ratings", Config{Model: Santak()}, nil, Feature, 0x0d, "0d520332"},
		{"Santak, output", Config{Model: Santak(), Volts: 230}, nil, Feature, 0x0e, "0ee600"},
		{"Santak, nominal voltage", Config{Model: Santak()}, nil, Feature, 0x12, "12dc"},
		{"Santak, upper limit", Config{Model: Santak()}, nil, Feature, 0x13, "130801"},
		{"Santak, lower limit", Config{Model: Santak()}, nil, Feature, 0x14, "14b8"},
		{"Santak, no shutdown", Config{Model: Santak()}, nil, Feature, 0x09, "09ffffffff"},
		{"Back-UPS, charge and runtime", Config{Model: BackUPS(), Runtime: time.Hour}, nil, Feature, 0x0c, "0c64100e"},
		{"Back-UPS, mains", Config{Model: BackUPS()}, nil, Feature, 0x16, "160c000000"},
		{"Back-UPS, on battery", Config{Model: BackUPS()}, out, Feature, 0x16, "160a000000"},
		{"Back-UPS, battery low", Config{Model: BackUPS()}, low, Input, 0x16, "163a000000"},
		{"Back-UPS, battery voltage", Config{Model: BackUPS()}, nil, Feature, 0x09, "09980a"},
		{"Back-UPS, own flag on mains", Config{Model: BackUPS()}, nil, Feature, 0x06, "06000008"},
		{"Back-UPS, input within its limits", Config{Model: BackUPS(), Volts: 230}, nil, Feature, 0x31, "31e600"},
		{"Back-UPS, input beyond them", Config{Model: BackUPS()}, func(u *UPS) { u.SetInputVolts(260) }, Feature, 0x31, "310401"},
		{"Back-UPS, no shutdown", Config{Model: BackUPS()}, nil, Feature, 0x15, "15ffff"},
		{"CyberPower, full", Config{Model: CyberPower(), Runtime: 1620 * time.Second, LowTime: 300 * time.Second}, nil, Input, 0x08, "086454062c01"},
		{"CyberPower, full, flags", Config{Model: CyberPower()}, nil, Input, 0x0b, "0b11"},
		{"CyberPower, half full", Config{Model: CyberPower(), Runtime: 949 * time.Second, LowTime: 300 * time.Second}, charging, Input, 0x08, "082b98012c01"},
		{"CyberPower, charging", Config{Model: CyberPower()}, charging, Input, 0x0b, "0b03"},
		{"CyberPower, battery voltage", Config{Model: CyberPower()}, nil, Feature, 0x0a, "0acb"},
		{"CyberPower, nothing counts", Config{Model: CyberPower()}, nil, Feature, 0x15, "15ffff"},
		{"standard, flags", Config{}, nil, Input, 5, "050921"},
		{"at another voltage", Config{Model: BackUPS(), Volts: 230}, nil, Feature, 0x16, "160c000000"},
		{"standard, battery low", Config{}, low, Feature, 5, "052429"},
		{"standard, charge", Config{}, nil, Feature, 4, "046458" + "02" + "980a"},
		{"standard, input", Config{}, nil, Feature, 11, "0bfc08f401"},
		{"standard, ratings", Config{}, nil, Feature, 12, "0ce600b8000901"},
		{"standard, output", Config{}, nil, Feature, 13, "0dfc08157e00"},
		{"no such report", Config{}, nil, Feature, 99, ""},
		{"a recorded one", Config{}, func(u *UPS) { u.SetReport(Feature, 99, []byte{99, 1}) }, Feature, 99, "6301"},
		{"one that is no longer wanted", Config{}, func(u *UPS) { u.SetReport(Input, 5, []byte{5}); u.SetReport(Input, 5, nil) }, Input, 5, "050921"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUPS(t, tt.cfg)
				if tt.after != nil {
					tt.after(u)
				}
				if got := hex.EncodeToString(u.Report(tt.kind, tt.id)); got != tt.want {
					t.Errorf("report %d/%#x is %s, want %s", tt.kind, tt.id, got, tt.want)
				}
			})
		})
	}
}

// TestOutage: the battery empties, the unit leaves the bus, and returns with the mains.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUPS(t, Config{Runtime: 10 * time.Minute})
		u.SetMains(false)
		time.Sleep(5 * time.Minute)
		if s := u.State(); !s.OnBattery || s.BatteryLow || s.Charge < 0.49 || s.Charge > 0.51 || s.Runtime.Round(time.Second) != 5*time.Minute {
			t.Errorf("after half the runtime: %+v", s)
		}
		u.SetLoad(42)
		if s := u.State(); s.Runtime.Round(time.Second) != 150*time.Second {
			t.Errorf("with twice the load: %+v, want half the runtime", s)
		}
		time.Sleep(100 * time.Second)
		if s := u.State(); !s.BatteryLow || !s.Output || !s.OnBus {
			t.Errorf("50 s before the end: %+v, want battery low", s)
		}
		time.Sleep(time.Minute)
		if s := u.State(); s.Output || s.OnBus {
			t.Errorf("after the end: %+v, want no output and no device", s)
		}
		u.SetMains(true)
		time.Sleep(time.Second)
		if s := u.State(); !s.Output || !s.OnBus || s.OnBattery {
			t.Errorf("mains back: %+v", s)
		}
	})
}

// put sends a report with one field of 16 bits.
func put(t *testing.T, u *UPS, id byte, v int16) {
	t.Helper()
	if err := u.setReport(Feature, id, []byte{id, byte(v), byte(v >> 8)}); err != nil {
		t.Fatalf("set report %d to %d: %v", id, v, err)
	}
}

func TestCut(t *testing.T) {
	const off, on, reboot = 6, 7, 8 // of the standard unit
	tests := []struct {
		name       string
		model      Model
		order      func(t *testing.T, u *UPS)
		mainsAfter time.Duration // the mains return so long after the orders; 0: they were never away
		down, back time.Duration // the output goes, and is back; 0: not within an hour
	}{
		{"with return", Standard(), func(t *testing.T, u *UPS) { put(t, u, on, 30); put(t, u, off, 20) }, time.Minute, 20 * time.Second, 90 * time.Second},
		{"mains never away", Standard(), func(t *testing.T, u *UPS) { put(t, u, on, 30); put(t, u, off, 20) }, 0, 20 * time.Second, 50 * time.Second},
		{"without return", Standard(), func(t *testing.T, u *UPS) { put(t, u, on, -1); put(t, u, off, 20) }, time.Minute, 20 * time.Second, 0},
		{"forgotten", Standard(), func(t *testing.T, u *UPS) { put(t, u, off, 20); put(t, u, off, -1) }, time.Minute, 0, 0},
		{"restart", Standard(), func(t *testing.T, u *UPS) { put(t, u, reboot, 10) }, 0, 10 * time.Second, 10100 * time.Millisecond},
		{"CyberPower, less than a minute", CyberPower(), func(t *testing.T, u *UPS) { put(t, u, 0x15, 0) }, time.Minute, time.Second, 61 * time.Second},
		{"CyberPower, a time to the start", CyberPower(), func(t *testing.T, u *UPS) { put(t, u, 0x16, 2); put(t, u, 0x15, 1) }, time.Hour, time.Minute, 3 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUPS(t, Config{Model: tt.model, Runtime: 5 * time.Hour})
				u.SetMains(tt.mainsAfter == 0)
				began := time.Now()
				tt.order(t, u)
				var down, back time.Duration
				for at := time.Duration(0); at < time.Hour && back == 0; at += 100 * time.Millisecond {
					if tt.mainsAfter > 0 && at == tt.mainsAfter {
						u.SetMains(true)
					}
					switch s := u.State(); {
					case !s.Output && down == 0:
						down = time.Since(began)
					case s.Output && down > 0:
						back = time.Since(began)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if !near(down, tt.down) || !near(back, tt.back) {
					t.Errorf("down after %v, back after %v: want %v and %v", down, back, tt.down, tt.back)
				}
			})
		})
	}
}

func near(got, want time.Duration) bool {
	return (got == 0) == (want == 0) && (got-want).Abs() <= time.Second
}

func TestSelfTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUPS(t, Config{})
		result := func() byte { return u.Report(Feature, 9)[1] }
		order := func(v byte) {
			if err := u.setReport(Feature, 9, []byte{9, v}); err != nil {
				t.Fatal(err)
			}
		}
		if result() != 6 {
			t.Errorf("before any: %d, want 6", result())
		}
		order(1)
		time.Sleep(9 * time.Second)
		if s := u.State(); result() != 5 || !s.Testing || s.OnBattery || s.Charge == 1 {
			t.Errorf("during a quick one: %d, %+v", result(), s)
		}
		time.Sleep(2 * time.Second)
		if result() != 1 {
			t.Errorf("after it: %d, want 1", result())
		}
		order(2)
		time.Sleep(time.Minute)
		order(3)
		if result() != 4 {
			t.Errorf("ended: %d, want 4", result())
		}
		order(2)
		time.Sleep(8 * time.Minute)
		if s := u.State(); result() != 1 || s.Charge > 0.21 {
			t.Errorf("after a deep one: %d, %+v", result(), s)
		}
	})
}

func TestSettings(t *testing.T) {
	u := newUPS(t, Config{})
	u.SetCharge(0.5)
	report := u.Report(Feature, 2)
	report[7] = 60 // RemainingCapacityLimit
	if err := u.setReport(Feature, 2, report); err != nil || !u.State().BatteryLow {
		t.Errorf("a limit above the charge: %v, %+v, want battery low", err, u.State())
	}
	for name, tt := range map[string]struct {
		id     byte
		report []byte
	}{"too short": {6, []byte{6, 1}}, "nothing that can be set": {4, []byte{4, 0, 0, 0, 0, 0}}, "no such report": {99, []byte{99, 0}}, "empty": {6, nil}} {
		if err := u.setReport(Feature, tt.id, tt.report); !errors.Is(err, errRefused) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}

func TestBehaviours(t *testing.T) {
	u := newUPS(t, Config{})
	ask := func() (string, time.Duration, error) {
		report, after, err := u.getReport(Feature, 5)
		return hex.EncodeToString(report), after, err
	}
	for _, tt := range []struct {
		behaviour Behaviour
		want      string
		err       error
		after     time.Duration
	}{
		{Frozen, "050921", nil, 0}, {Short, "05", nil, 0}, {Late, "050421", nil, time.Second},
		{Silent, "", errSilent, 0}, {Refuse, "", errRefused, 0}, {Normal, "050421", nil, 0},
	} {
		u.SetMains(true)
		u.SetCharge(1)
		u.Behave(tt.behaviour, time.Second)
		u.SetMains(false)
		if got, after, err := ask(); got != tt.want || after != tt.after || !errors.Is(err, tt.err) {
			t.Errorf("behaviour %d: %s after %v, %v: want %s after %v, %v", tt.behaviour, got, after, err, tt.want, tt.after, tt.err)
		}
	}
	if n := u.Asked(Feature, 5); n != 6 {
		t.Errorf("asked %d times, counted %d", 6, n)
	}
}

func TestWaitOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUPS(t, Config{Runtime: time.Minute, Speed: 2})
		u.SetMains(false)
		began := time.Now()
		if err := u.WaitOutput(t.Context(), false); err != nil || time.Since(began).Round(time.Second) != 30*time.Second {
			t.Errorf("%v after %v: want none after 30 s, the minute of a UPS at twice the speed", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := u.WaitOutput(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: want the deadline", err)
		}
	})
}
