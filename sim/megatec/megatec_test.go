package megatec

import (
	"bufio"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// line is the other end of a detached UPS's wire.
type line struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// onLine runs test in a bubble, on virtual time, with a UPS and its line.
func onLine(t *testing.T, cfg Config, test func(t *testing.T, u *UPS, l *line)) {
	synctest.Test(t, func(t *testing.T) {
		u := Detached(cfg)
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() { served <- u.Serve(theirs) }()
		test(t, u, &line{t, ours, bufio.NewReader(ours)})
		u.Close()
		ours.Close()
		if err := <-served; err != nil && err != io.EOF {
			t.Errorf("Serve: %v", err)
		}
	})
}

// ask sends a request and returns what comes until a CR, or within the time limit.
func (l *line) ask(query string, within time.Duration) string {
	l.t.Helper()
	if _, err := io.WriteString(l.conn, query+"\r"); err != nil {
		l.t.Fatal(err)
	}
	l.conn.SetReadDeadline(time.Now().Add(within))
	reply, _ := l.r.ReadString('\r')
	return reply
}

// bits asks for the status and returns its last field.
func (l *line) bits() string {
	l.t.Helper()
	f := strings.Fields(strings.TrimSuffix(l.ask("Q1", time.Second), "\r"))
	if len(f) != 8 {
		l.t.Fatalf("status %q: want 8 fields", f)
	}
	return f[7]
}

func TestReplies(t *testing.T) {
	tests := []struct {
		name, query, want string
		cfg               Config
	}{
		{"status", "Q1", "(230.0 230.0 230.0 021 50.0 27.4 25.0 00001001\r", Config{}},
		{"status of an on-line type", "Q1", "(230.0 230.0 230.0 021 50.0 2.28 --.- 00000001\r", Config{Online: true, PerCell: true, NoSensor: true}},
		{"stuck b1", "Q1", "(230.0 230.0 230.0 021 50.0 27.4 25.0 00001011\r", Config{StuckB1: true}},
		{"ratings", "F", "#230.0 004 024.0 50.0\r", Config{}},
		{"ratings of another unit", "F", "#120.0 012 048.0 60.0\r", Config{Volts: 120, Amps: 12, Battery: 48, Hz: 60}},
		{"identity", "I", "#DODAI           SIM 1000   V1.00     \r", Config{}},
		{"identity too long for its columns", "I", "#ABCDEFGHIJKLMNO SIM 1000   V1.00     \r", Config{Vendor: "ABCDEFGHIJKLMNOPQ"}},
		{"unknown, echo", "QGS", "QGS\r", Config{}},
		{"unknown, NAK", "QGS", "(NAK\r", Config{Unknown: NAK}},
		{"unknown, silence", "QGS", "", Config{Unknown: Ignore}},
		{"too short a shutdown", "S.1", "S.1\r", Config{}},
		{"hangs", "F", "", Config{HangsOn: []string{"F"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onLine(t, tt.cfg, func(t *testing.T, u *UPS, l *line) {
				if got := l.ask(tt.query, time.Second); got != tt.want {
					t.Errorf("%s is answered %q, want %q", tt.query, got, tt.want)
				}
				if u.Asked(tt.query) != 1 || u.Exchanges() != 1 {
					t.Errorf("counted %d of %d exchanges, want one", u.Asked(tt.query), u.Exchanges())
				}
			})
		})
	}
}

func TestHangs(t *testing.T) {
	onLine(t, Config{HangsOn: []string{"I"}}, func(t *testing.T, u *UPS, l *line) {
		l.bits()
		l.ask("I", time.Second)
		if got := l.ask("Q1", time.Second); got != "" {
			t.Errorf("Q1 after the query it hangs on: %q, want silence", got)
		}
	})
}

// A character takes 4.17 ms at 2400 baud, there and back.
func TestPace(t *testing.T) {
	for baud, want := range map[int]time.Duration{2400: 208333 * time.Microsecond, 1200: 416667 * time.Microsecond, -1: 0} {
		onLine(t, Config{Baud: baud}, func(t *testing.T, u *UPS, l *line) {
			begin := time.Now()
			if got := l.ask("Q1", time.Second); len(got) != 47 {
				t.Errorf("status %q has %d characters, want 47", got, len(got))
			}
			if took := time.Since(begin); (took - want).Abs() > time.Millisecond {
				t.Errorf("%d baud: the exchange of 3 and 47 characters took %v, want %v", baud, took, want)
			}
		})
	}
}

func TestOutage(t *testing.T) {
	onLine(t, Config{Runtime: 100 * time.Second}, func(t *testing.T, u *UPS, l *line) {
		u.SetMains(false)
		if got := l.bits(); got != "10001001" {
			t.Errorf("bits without mains %s, want 10001001", got)
		}
		time.Sleep(75 * time.Second)
		if s := u.State(); s.BatteryLow || s.Charge > 0.26 || s.Charge < 0.24 {
			t.Errorf("after 75 s of 100: %+v, want a quarter left and not low", s)
		}
		time.Sleep(6 * time.Second)
		if got := l.bits(); got != "11001001" {
			t.Errorf("bits at 19 %% of charge %s, want 11001001", got)
		}
		time.Sleep(20 * time.Second)
		if s := u.State(); s.Output || s.Charge != 0 {
			t.Errorf("after 100 s: %+v, want it empty and off", s)
		}
		if got := l.ask("Q1", time.Second); got != "" {
			t.Errorf("the dead unit says %q", got)
		}
		u.SetMains(true)
		time.Sleep(time.Second)
		if got := l.bits(); got != "01001001" || !u.State().Output {
			t.Errorf("bits with the mains back and an empty battery %s, want 01001001, and output", got)
		}
		time.Sleep(2100 * time.Second)
		if s := u.State(); s.Charge != 1 || s.BatteryLow {
			t.Errorf("after twenty times the runtime: %+v, want it full", s)
		}
	})
}

// The voltage falls with the charge, sags at the transfer and rises when the mains return.
func TestBatteryVolts(t *testing.T) {
	onLine(t, Config{Runtime: 100 * time.Second}, func(t *testing.T, u *UPS, l *line) {
		last := u.State().BatteryVolts
		u.SetMains(false)
		if v := u.State().BatteryVolts; v > last-1 {
			t.Errorf("%g V after the transfer, %g before: want a sag of a volt at least", v, last)
		}
		for range 19 {
			last = u.State().BatteryVolts
			time.Sleep(5 * time.Second)
			if v := u.State().BatteryVolts; v >= last {
				t.Errorf("%g V, and %g five seconds earlier: want it to fall", v, last)
			}
		}
		u.SetMains(true)
		if v := u.State().BatteryVolts; v < last+2 {
			t.Errorf("%g V with the mains back, %g before", v, last)
		}
		u.SetBatteryVolts(new(21.3))
		u.SetBatteryLow(new(true))
		if got := l.ask("Q1", time.Second); !strings.Contains(got, " 21.3 ") || !strings.HasSuffix(got, " 01001001\r") {
			t.Errorf("status %q: want the forced 21.3 V and battery low", got)
		}
	})
}

func TestSpeedAndLoad(t *testing.T) {
	onLine(t, Config{Runtime: 1000 * time.Second, Speed: 10, Load: 20}, func(t *testing.T, u *UPS, l *line) {
		u.SetLoad(40) // twice the load, half the time
		u.SetMains(false)
		time.Sleep(25 * time.Second)
		if c := u.State().Charge; c < 0.49 || c > 0.51 {
			t.Errorf("charge %g after 25 s at tenfold speed and double load of 1000 s: want a half", c)
		}
	})
}

func TestRegulation(t *testing.T) {
	tests := []struct {
		in, out float64
		bits    string
		online  bool
	}{
		{230, 230, "00001001", false}, {190, 218.5, "00101001", false}, {262, 230.56, "00101001", false},
		{160, 230, "10001001", false}, {290, 230, "10001001", false}, {190, 230, "00000001", true},
	}
	for _, tt := range tests {
		m := newModel(Config{Online: tt.online}.withDefaults(), time.Now())
		m.setInput(tt.in)
		out, _ := m.outputVolts()
		if bits := m.statusFrame()[len(m.statusFrame())-8:]; bits != tt.bits || out-tt.out > 0.01 || tt.out-out > 0.01 {
			t.Errorf("%g V in: %g V out, bits %s: want %g V, %s", tt.in, out, bits, tt.out, tt.bits)
		}
	}
}

func TestShutdownCommands(t *testing.T) {
	type at struct {
		t      time.Duration
		mains  bool
		output bool
	}
	tests := []struct {
		name, command string
		then          []at
	}{
		{"off, and back with the mains", "S.5", []at{{29 * time.Second, false, true}, {31 * time.Second, false, false}, {600 * time.Second, true, false}, {601 * time.Second, true, true}}},
		{"off and on again", "S01R0003", []at{{59 * time.Second, true, true}, {61 * time.Second, true, false}, {239 * time.Second, true, false}, {241 * time.Second, true, true}}},
		{"not on again without mains", "S.2R0001", []at{{13 * time.Second, false, false}, {100 * time.Second, false, false}, {200 * time.Second, true, false}, {201 * time.Second, true, true}}},
		{"off for good", "S.2R0000", []at{{13 * time.Second, true, false}, {9000 * time.Second, true, false}}},
		{"off now", "S00R0000", []at{{time.Second, true, false}, {9000 * time.Second, true, false}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onLine(t, Config{Runtime: time.Hour}, func(t *testing.T, u *UPS, l *line) {
				u.SetMains(tt.then[0].mains)
				begin := time.Now()
				if got := l.ask(tt.command, 100*time.Millisecond); got != "" {
					t.Errorf("%s is answered %q, want nothing", tt.command, got)
				}
				for _, a := range tt.then {
					time.Sleep(time.Until(begin.Add(a.t)))
					if s := u.State(); s.Output != a.output {
						t.Errorf("after %v: output %v, want %v", a.t, s.Output, a.output)
					}
					u.SetMains(a.mains)
				}
			})
		})
	}
}

func TestCancelShutdown(t *testing.T) {
	onLine(t, Config{}, func(t *testing.T, u *UPS, l *line) {
		l.ask("S01R0003", 100*time.Millisecond)
		if got := l.bits(); got != "00001011" {
			t.Errorf("bits during the countdown %s, want 00001011", got)
		}
		l.ask("C", 100*time.Millisecond)
		time.Sleep(2 * time.Minute)
		if got := l.bits(); got != "00001001" || !u.State().Output {
			t.Errorf("bits after C %s, output %v: want 00001001 and output", got, u.State().Output)
		}
		l.ask("S00R0000", 100*time.Millisecond)
		time.Sleep(time.Second)
		l.ask("C", 100*time.Millisecond)
		if !u.State().Output {
			t.Error("C does not switch the output on")
		}
	})
}

func TestBatteryTests(t *testing.T) {
	onLine(t, Config{Runtime: 100 * time.Second}, func(t *testing.T, u *UPS, l *line) {
		tests := []struct {
			command string
			takes   time.Duration
		}{{"T", 10 * time.Second}, {"T01", time.Minute}}
		for _, tt := range tests {
			u.SetCharge(1)
			l.ask(tt.command, 0)
			time.Sleep(tt.takes - time.Second)
			if got := l.bits(); got != "00001101" || u.State().Charge > 0.95 {
				t.Errorf("%s: bits %s, charge %g: want 00001101, and some of it used", tt.command, got, u.State().Charge)
			}
			time.Sleep(2 * time.Second)
			if got := l.bits(); got != "00001001" {
				t.Errorf("%s: bits after it %s, want 00001001", tt.command, got)
			}
		}
		u.SetCharge(1)
		l.ask("TL", 0)
		time.Sleep(79 * time.Second)
		if !u.State().Testing {
			t.Error("TL ended before the battery was low")
		}
		time.Sleep(3 * time.Second)
		if s := u.State(); s.Testing || !s.Output {
			t.Errorf("TL with a low battery: %+v, want it over", s)
		}
		l.ask("T99", 0)
		l.ask("CT", 0)
		time.Sleep(time.Second)
		if u.State().Testing {
			t.Error("CT does not end the test")
		}
	})
}

func TestBeeper(t *testing.T) {
	onLine(t, Config{}, func(t *testing.T, u *UPS, l *line) {
		l.ask("Q", 0)
		if got := l.bits(); got != "00001000" {
			t.Errorf("bits with the beeper off %s, want 00001000", got)
		}
	})
}

func TestBehaviours(t *testing.T) {
	const whole = "(230.0 230.0 230.0 021 50.0 27.4 25.0 00001001\r"
	tests := []struct {
		behaviour Behaviour
		want      string
		gone      bool
	}{
		{Silent, "", false},
		{Half, whole[:23], false},
		{Disconnect, whole[:23], true},
		{Garbage, garbage[:strings.IndexByte(garbage, '\r')+1], false},
	}
	for _, tt := range tests {
		onLine(t, Config{}, func(t *testing.T, u *UPS, l *line) {
			u.Behave(tt.behaviour, 0)
			if got := l.ask("Q1", time.Second); got != tt.want {
				t.Errorf("behaviour %d: %q, want %q", tt.behaviour, got, tt.want)
			}
			l.conn.SetReadDeadline(time.Now().Add(time.Second))
			io.Copy(io.Discard, l.r)
			u.Behave(Normal, 0)
			if _, err := io.WriteString(l.conn, "Q1\r"); (err != nil) != tt.gone {
				t.Errorf("behaviour %d: the next request is %v, want the line gone: %v", tt.behaviour, err, tt.gone)
			}
		})
	}
}

// A late reply tells what was true when it was asked, and comes even if later ones do not.
func TestLate(t *testing.T) {
	onLine(t, Config{}, func(t *testing.T, u *UPS, l *line) {
		u.Behave(Late, time.Second)
		begin := time.Now()
		if got := l.ask("Q1", 500*time.Millisecond); got != "" {
			t.Errorf("%q within 500 ms of being asked, want nothing", got)
		}
		u.SetMains(false)
		u.Behave(Silent, 0)
		l.conn.SetReadDeadline(time.Now().Add(time.Second))
		got, _ := l.r.ReadString('\r')
		if !strings.HasSuffix(got, " 00001001\r") {
			t.Errorf("the late reply is %q, want the state when it was asked", got)
		}
		if took := time.Since(begin); took < time.Second || took > 1300*time.Millisecond {
			t.Errorf("it was there after %v, want 1 s and its own length", took)
		}
	})
}

// The path leads to a terminal that works, before and after a hang-up, until Close.
func TestTerminal(t *testing.T) {
	u, err := New(Config{Baud: -1})
	if err != nil {
		t.Fatal(err)
	}
	talk := func() string {
		t.Helper()
		f, err := os.OpenFile(u.Path(), os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("F\r"); err != nil {
			t.Fatal(err)
		}
		if err := f.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		reply, _ := bufio.NewReader(f).ReadString('\r')
		return reply
	}
	const want = "#230.0 004 024.0 50.0\r"
	if got := talk(); got != want {
		t.Errorf("F is answered %q, want %q", got, want)
	}
	u.Behave(Disconnect, 0)
	for range 3 {
		if got := talk(); got != want[:10] {
			t.Errorf("F is answered %q before the hang-up, want %q", got, want[:10])
		}
	}
	u.Behave(Normal, 0)
	if got := talk(); got != want {
		t.Errorf("F is answered %q after the hang-ups, want %q", got, want)
	}
	path := u.Path()
	for range 2 {
		if err := u.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("%s is left behind", path)
	}
}

// The simulator is driven from other goroutines while it answers.
func TestConcurrentUse(t *testing.T) {
	u, err := New(Config{Baud: -1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(u.Path(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 200 {
			u.SetMains(i%2 == 0)
			u.SetLoad(float64(i % 100))
			u.SetTemperature(20)
			u.Behave(Behaviour(i%2), 0)
			u.State()
		}
	})
	wg.Go(func() {
		for range 100 {
			f.WriteString("Q1\r")
		}
	})
	wg.Wait()
	for deadline := time.Now().Add(5 * time.Second); u.Exchanges() < 100 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := u.Exchanges(); n != 100 {
		t.Errorf("%d requests came in, want 100", n)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}
