package drivers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

type nothing struct{}

func (nothing) Poll(context.Context) (dodai.Reading, error) { return dodai.Reading{}, nil }
func (nothing) Close() error                                { return nil }

func TestFactoryOpen(t *testing.T) {
	var got Config
	f := Factory{
		Name:    "x",
		Options: []Option{OptPort, {Key: "baud", Default: "2400", Help: "speed"}},
		New:     func(c Config) (Driver, error) { got = c; return nothing{}, nil },
	}
	if _, err := f.Open("u1", map[string]string{"port": "/dev/ttyS0"}, nil); err != nil {
		t.Fatal(err)
	}
	if got.Options["baud"] != "2400" || got.Options["port"] != "/dev/ttyS0" || got.Log == nil || got.Device != "u1" {
		t.Errorf("New got %+v: want the default filled in and a logger", got)
	}
	for _, tc := range []struct {
		opts map[string]string
		want string
	}{
		{nil, `x u1: options: option "port" is missing: want serial device, best by its stable name below /dev/serial/by-id, for example port=/dev/ttyS0`},
		{map[string]string{"port": ""}, `option "port" is missing`},
		{map[string]string{"port": "a", "bauds": "1"}, `unknown option "bauds": want one of port, baud`},
	} {
		if _, err := f.Open("u1", tc.opts, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Open(%v): %v, want %q", tc.opts, err, tc.want)
		}
	}
}

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		in   error
		want error
	}{
		{context.DeadlineExceeded, ErrUnreachable},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), ErrUnreachable},
		{io.ErrUnexpectedEOF, ErrUnreachable},
		{&os.PathError{Op: "open", Path: "/dev/x", Err: syscall.EACCES}, ErrDenied},
		{&os.PathError{Op: "open", Path: "/dev/x", Err: syscall.ENOENT}, ErrUnreachable},
		{os.NewSyscallError("read", syscall.EIO), ErrUnreachable},
		{Protocol("Q1 reply", []byte("x"), "'('"), ErrProtocol},
		{ErrNoData, ErrNoData},
	} {
		if got := Classify(tc.in); !errors.Is(got, tc.want) || !errors.Is(got, tc.in) {
			t.Errorf("Classify(%v) = %v, want it to wrap %v and the cause", tc.in, got, tc.want)
		}
	}
	if Classify(nil) != nil {
		t.Error("Classify(nil) is an error")
	}
	if other := errors.New("other"); Classify(other) != other {
		t.Error("an error that is none of ours was changed")
	}
}

func TestErrorReadsAsAPath(t *testing.T) {
	err := &Error{Driver: "megatec", Device: "rack1", Op: "read Q1 reply", Err: Unreachable(os.ErrDeadlineExceeded), Hint: "is the cable in?"}
	if got, want := err.Error(), "megatec rack1: read Q1 reply: device unreachable: i/o timeout (is the cable in?)"; got != want {
		t.Errorf("error reads\n%s, want\n%s", got, want)
	}
}

func TestQuoteIsBounded(t *testing.T) {
	if got := Quote([]byte(strings.Repeat("\x00", 10000))); len(got) > 400 || !strings.Contains(got, "9920 bytes more") {
		t.Errorf("Quote of 10000 bytes is %d long: %s", len(got), got)
	}
}

func TestParseNumber(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want float64
		ok   bool
	}{
		{"230.4", 230.4, true}, {"021", 21, true}, {"-5", -5, true}, {" 7 ", 7, true}, {".5", 0.5, true},
		{"", 0, false}, {"NaN", 0, false}, {"Inf", 0, false}, {"1_000", 0, false}, {"0x1p-2", 0, false},
		{"1e3", 0, false}, {"--.-", 0, false}, {"5-", 0, false}, {".", 0, false}, {"-", 0, false},
		{"501", 0, false}, {"-101", 0, false}, {strings.Repeat("9", 33), 0, false},
	} {
		got, err := ParseNumber([]byte(tc.in), -100, 500)
		if (err == nil) != tc.ok || got != tc.want {
			t.Errorf("ParseNumber(%q) = %v, %v; want %v, ok %v", tc.in, got, err, tc.want, tc.ok)
		}
		if err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("ParseNumber(%q): %v does not wrap ErrProtocol", tc.in, err)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"230.4", "NaN", "--.-", "+1.", "1.2.3"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if got, err := ParseNumber(in, -10, 10); err == nil && !(got >= -10 && got <= 10) {
			t.Errorf("ParseNumber(%q) = %v, outside -10 to 10", in, got)
		}
	})
}

func TestConfigOptions(t *testing.T) {
	c := Config{Options: map[string]string{"n": "7", "b": "yes", "d": "3s", "s": "v2c", "bad": "maybe"}}
	if n, err := c.Int("n", 1, 10); n != 7 || err != nil {
		t.Errorf("Int = %v, %v", n, err)
	}
	if b, err := c.Bool("b"); !b || err != nil {
		t.Errorf("Bool = %v, %v", b, err)
	}
	if d, err := c.Duration("d", 0, time.Minute); d != 3*time.Second || err != nil {
		t.Errorf("Duration = %v, %v", d, err)
	}
	if s, err := c.OneOf("s", "v1", "v2c"); s != "v2c" || err != nil {
		t.Errorf("OneOf = %v, %v", s, err)
	}
	_, e1 := c.Int("n", 8, 10)
	_, e2 := c.Bool("bad")
	_, e3 := c.Duration("bad", 0, 1)
	_, e4 := c.OneOf("bad", "v1", "v2c")
	for i, err := range []error{e1, e2, e3, e4} {
		if o, ok := errors.AsType[*OptionError](err); !ok || o.Want == "" || o.Got == "" {
			t.Errorf("case %d: %v, want an OptionError with what came and what was wanted", i, err)
		}
	}
}

func TestRun(t *testing.T) {
	out, err := Run(t.Context(), "/bin/sh", "-c", "echo out; echo err >&2; exit 3")
	if err != nil || out.Exit != 3 || string(out.Stdout) != "out\n" || string(out.Stderr) != "err\n" {
		t.Errorf("Run = %+v, %v: want both streams and exit 3 without an error", out, err)
	}
	if _, err := Run(t.Context(), "no-such-program-here"); !errors.Is(err, ErrNoData) {
		t.Errorf("missing program: %v, want ErrNoData", err)
	}
	plain := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), plain); !errors.Is(err, ErrDenied) {
		t.Errorf("program without the x bit: %v, want ErrDenied", err)
	}
}

// A tool that hangs is killed at the deadline together with its children, which would
// otherwise keep the pipe open.
func TestRunKillsTheGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := Run(ctx, "/bin/sh", "-c", "sleep 60 & sleep 60; wait")
	if !errors.Is(err, ErrUnreachable) || time.Since(begin) > 5*time.Second {
		t.Errorf("Run = %v after %v: want ErrUnreachable soon after 200 ms", err, time.Since(begin))
	}
}
