package nut

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/driverstest"
)

// A cutCase is an upsd and what CheckCut and Cut make of it.
type cutCase struct {
	name    string
	off, on time.Duration
	change  func(f *fakeUPSD)
	opts    string // beside the user's
	check   error
	cut     error
	say     string      // part of the error, of either
	told    drivers.Cut // by Cut
	set     string      // SET VAR requests of Cut, "name value" each
}

const sec, minute = time.Second, time.Minute

func without(command string) func(f *fakeUPSD) {
	return func(f *fakeUPSD) {
		f.control.commands = slices.DeleteFunc(f.control.commands, func(c string) bool { return c == command })
	}
}

func refuse(request, token string) func(f *fakeUPSD) {
	return func(f *fakeUPSD) { f.errs[request] = token }
}

// exactly takes each value as it comes.
func exactly(f *fakeUPSD) {
	f.control.round = func(_ string, v int) int { return v }
	f.control.types = map[string]string{"ups.delay.shutdown": "RW STRING:10", "ups.delay.start": "RW STRING:10"}
}

// usbhid is like the driver of that name, which keeps what it was set to.
func usbhid(f *fakeUPSD) { exactly(f); f.vars["driver.name"] = "usbhid-ups" }

func readOnly(f *fakeUPSD) { f.control.types = nil }

var cutCases = []cutCase{
	{name: "as it is", off: 30 * sec, on: 180 * sec, told: drivers.Cut{Off: 30 * sec, On: 180 * sec}},
	{name: "near enough as it is", off: sec, on: 121 * sec, told: drivers.Cut{Off: 30 * sec, On: 180 * sec}},
	{
		name: "both counted from the command", off: 200 * sec, on: 180 * sec, change: usbhid, told: drivers.Cut{Off: 240 * sec, On: 180 * sec},
		set: "shutdown 240, start 420",
	},
	{
		name: "both counted from the command, one longer already", off: 20 * sec, on: 180 * sec, told: drivers.Cut{Off: 100 * sec, On: 200 * sec}, set: "start 300",
		change: func(f *fakeUPSD) { usbhid(f); f.vars["ups.delay.shutdown"] = "100" },
	},
	{
		name: "both counted from the command, return not to be set", off: 200 * sec, on: 180 * sec, check: drivers.ErrUnable, cut: drivers.ErrUnable, say: "want at least 420 s", set: "shutdown 240",
		change: func(f *fakeUPSD) { usbhid(f); delete(f.control.types, "ups.delay.start") },
	},
	{name: "zero", told: drivers.Cut{Off: 30 * sec, On: 0}, set: "start 0"},
	{name: "negative", off: -minute, on: -minute, told: drivers.Cut{Off: 30 * sec, On: 0}, set: "start 0"},
	{
		name: "rounded down by the driver", off: 31 * sec, on: 181 * sec, told: drivers.Cut{Off: 36 * sec, On: 240 * sec},
		set: "shutdown 31, shutdown 36, start 181, start 186, start 240",
	},
	{name: "by minutes", off: 61 * sec, on: 180 * sec, told: drivers.Cut{Off: 120 * sec, On: 180 * sec}, set: "shutdown 61, shutdown 66, shutdown 120"},
	{name: "part of a second", off: 30*sec + 1, on: 180 * sec, change: exactly, told: drivers.Cut{Off: 31 * sec, On: 180 * sec}, set: "shutdown 31"},
	{
		name: "much longer, made shorter", off: 30 * sec, on: 180 * sec, set: "shutdown 30", told: drivers.Cut{Off: 30 * sec, On: 180 * sec},
		change: func(f *fakeUPSD) { f.vars["ups.delay.shutdown"] = "600" },
	},
	{
		name: "much longer, cannot be made shorter", off: 20 * sec, on: 180 * sec, told: drivers.Cut{Off: 600 * sec, On: 180 * sec},
		change: func(f *fakeUPSD) { readOnly(f); f.vars["ups.delay.shutdown"] = "600" },
	},
	{
		name: "much longer, may not be made shorter", off: 20 * sec, on: 180 * sec, opts: "login=yes", told: drivers.Cut{Off: 600 * sec, On: 180 * sec}, set: "shutdown 20",
		change: func(f *fakeUPSD) { refuse("SET VAR", "ACCESS-DENIED")(f); f.vars["ups.delay.shutdown"] = "600" },
	},
	{
		name: "below the range", off: 5 * sec, on: 180 * sec, told: drivers.Cut{Off: 12 * sec, On: 180 * sec}, set: "shutdown 12",
		change: func(f *fakeUPSD) { f.vars["ups.delay.shutdown"] = "120" },
	},
	{
		name: "in a gap between ranges", off: 100 * sec, on: 180 * sec, told: drivers.Cut{Off: 120 * sec, On: 180 * sec}, set: "shutdown 120",
		change: func(f *fakeUPSD) {
			f.control.lists["RANGE ups.delay.shutdown"] = []string{`"10" "60"`, `"120" "600"`}
		},
	},
	{
		name: "one of a list", off: 100 * sec, on: 200 * sec, told: drivers.Cut{Off: 180 * sec, On: 300 * sec}, set: "shutdown 180, start 300",
		change: func(f *fakeUPSD) {
			f.control.types = map[string]string{"ups.delay.shutdown": "RW ENUM NUMBER", "ups.delay.start": "RW ENUM NUMBER"}
			f.control.lists = map[string][]string{"ENUM ups.delay.shutdown": {`"020"`, `"600"`, `"180"`, `"300"`}, "ENUM ups.delay.start": {`"000"`, `"060"`, `"300"`, `"never"`}}
		},
	},
	{
		name: "none of a list", off: 700 * sec, check: drivers.ErrUnable, cut: drivers.ErrUnable, say: "LIST ENUM",
		change: func(f *fakeUPSD) {
			f.control.types["ups.delay.shutdown"] = "RW ENUM NUMBER"
			f.control.lists = map[string][]string{"ENUM ups.delay.shutdown": {`"020"`, `"600"`}}
		},
	},
	{name: "above the range", off: 601 * sec, check: drivers.ErrUnable, cut: drivers.ErrUnable, say: `ups.delay.shutdown is "30" s`},
	{name: "out of reason", off: math.MaxInt64, change: exactly, check: drivers.ErrUnable, cut: drivers.ErrUnable, say: "no delay is longer"},
	{name: "too short and read-only", off: 31 * sec, change: readOnly, check: drivers.ErrUnable, cut: drivers.ErrUnable, say: `ups.delay.shutdown is "30" s, and it cannot be set: want at least 31 s`},
	{
		name: "always rounded too low", off: 31 * sec, cut: drivers.ErrUnable, say: "it becomes 20 s when it is set to 60", set: "shutdown 31, shutdown 36, shutdown 60",
		change: func(f *fakeUPSD) { f.control.round = func(string, int) int { return 20 } },
	},
	{name: "SET is not permitted", off: 31 * sec, opts: "login=yes", change: refuse("SET VAR", "ACCESS-DENIED"), check: drivers.ErrDenied, cut: drivers.ErrDenied, say: "SET", set: "shutdown 31"},
	{
		name: "SET of a value fails", off: 31 * sec, on: 180 * sec, change: refuse("SET VAR u1 ups.delay.shutdown 31", "INVALID-VALUE"),
		told: drivers.Cut{Off: 36 * sec, On: 180 * sec}, set: "shutdown 31, shutdown 36",
	},
	{name: "SET fails in the driver", off: 31 * sec, change: refuse("GET TRACKING", "FAILED"), cut: drivers.ErrUnable, say: "FAILED", set: "shutdown 31, shutdown 36, shutdown 60"},
	{name: "off not reported", off: 31 * sec, change: func(f *fakeUPSD) { readOnly(f); delete(f.vars, "ups.delay.shutdown") }, check: drivers.ErrUnable, cut: drivers.ErrUnable, say: "is not reported"},
	{
		name: "on not reported", off: 30 * sec, on: 180 * sec, told: drivers.Cut{Off: 30 * sec},
		change: func(f *fakeUPSD) { readOnly(f); delete(f.vars, "ups.delay.start") },
	},
	{
		name: "on is not set, read-only", off: 30 * sec, on: 180 * sec, told: drivers.Cut{Off: 30 * sec},
		change: func(f *fakeUPSD) { readOnly(f); f.vars["ups.delay.start"] = "-1" },
	},
	{name: "no command", off: 30 * sec, change: without("shutdown.return"), check: drivers.ErrUnable, cut: drivers.ErrUnable, say: "no command shutdown.return among 3"},
	{name: "command not permitted", off: 30 * sec, on: 180 * sec, change: refuse("INSTCMD", "ACCESS-DENIED"), cut: drivers.ErrDenied, say: "instcmds"},
	{name: "command fails in the driver", off: 30 * sec, on: 180 * sec, change: refuse("GET TRACKING", "FAILED"), cut: drivers.ErrUnable, say: "FAILED"},
	{name: "command unknown to the driver", off: 30 * sec, on: 180 * sec, change: refuse("GET TRACKING", "UNKNOWN"), cut: drivers.ErrUnable, say: "does not know"},
	{name: "command not handed on", off: 30 * sec, on: 180 * sec, change: refuse("INSTCMD", "INSTCMD-FAILED"), cut: drivers.ErrUnreachable, say: "INSTCMD-FAILED"},
	{name: "stale", off: 30 * sec, change: refuse("LIST CMD", "DATA-STALE"), check: drivers.ErrUnreachable, cut: drivers.ErrUnreachable, say: "DATA-STALE"},
	{
		name: "pending for a while", off: 30 * sec, on: 180 * sec, told: drivers.Cut{Off: 30 * sec, On: 180 * sec},
		change: func(f *fakeUPSD) { f.control.pending = 3 },
	},
	{
		name: "not tracked", off: 31 * sec, on: 180 * sec, told: drivers.Cut{Off: 36 * sec, On: 180 * sec}, set: "shutdown 31, shutdown 36",
		change: func(f *fakeUPSD) { f.control.tracks = false; f.control.lag = 3; f.vars["ups.delay.shutdown"] = "20" },
	},
	{name: "nonsense for a result", off: 30 * sec, on: 180 * sec, told: drivers.Cut{Off: 30 * sec, On: 180 * sec}, cut: drivers.ErrProtocol, say: "want PENDING", change: func(f *fakeUPSD) { f.control.result = "PERHAPS" }},
}

func (c cutCase) open(t *testing.T) (*fakeUPSD, *driver) {
	t.Helper()
	f := newFake(t, "u1")
	if c.change != nil {
		f.change(c.change)
	}
	opts := map[string]string{"address": f.addr() + "/u1", "username": "u", "password": "p"}
	if key, value, ok := strings.Cut(c.opts, "="); ok {
		opts[key] = value
	}
	return f, open(t, opts)
}

func (c cutCase) cutError(t *testing.T, what string, err, want error) {
	t.Helper()
	switch {
	case want == nil && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != nil && !errors.Is(err, want):
		t.Errorf("%s: %v, want %v", what, err, want)
	case want != nil:
		checkError(t, err, want, c.say)
	}
}

// sets are the delays that were set, as "shutdown 31".
func sets(requests []string) (values, commands []string) {
	for _, r := range requests {
		if value, ok := strings.CutPrefix(r, "SET VAR u1 ups.delay."); ok {
			values = append(values, value)
		}
		if cmd, ok := strings.CutPrefix(r, "INSTCMD u1 "); ok {
			commands = append(commands, cmd)
		}
	}
	return values, commands
}

func TestCheckCut(t *testing.T) {
	for _, test := range cutCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, d := test.open(t)
			test.cutError(t, "CheckCut", d.CheckCut(t.Context(), drivers.Cut{Off: test.off, On: test.on}), test.check)
			requests, _ := f.seen()
			if values, commands := sets(requests); values != nil || commands != nil {
				t.Errorf("CheckCut changed %q and ran %q", values, commands)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for _, test := range cutCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, d := test.open(t)
			told, err := d.Cut(t.Context(), drivers.Cut{Off: test.off, On: test.on})
			test.cutError(t, "Cut", err, test.cut)
			if told != test.told {
				t.Errorf("Cut told %v, want %v", told, test.told)
			}
			requests, _ := f.seen()
			values, commands := sets(requests)
			if diff := cmp.Diff(test.set, strings.Join(values, ", ")); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
			if err == nil && !slices.Equal(commands, []string{"shutdown.return"}) {
				t.Errorf("ran %q, want shutdown.return once", commands)
			}
			if slices.ContainsFunc(commands, func(c string) bool { return c != "shutdown.return" }) {
				t.Errorf("ran %q, want nothing but shutdown.return", commands)
			}
		})
	}
}

func TestStopCut(t *testing.T) {
	and := func(change func(f *fakeUPSD), name, value string) func(f *fakeUPSD) {
		return func(f *fakeUPSD) { change(f); f.vars[name] = value }
	}
	noStop, denied := without("shutdown.stop"), refuse("INSTCMD u1 shutdown.stop", "ACCESS-DENIED")
	tests := []struct {
		name   string
		cut    bool // by us, before
		change func(f *fakeUPSD)
		want   error
		sent   bool // shutdown.stop
	}{
		{"nothing begun", false, nil, nil, true},
		{"ours", true, nil, nil, true},
		{"nothing begun, no command", false, noStop, nil, false},
		{"nothing begun, not permitted", false, denied, nil, true},
		{"ours, no command", true, noStop, drivers.ErrUnable, false},
		{"ours, not permitted", true, denied, drivers.ErrDenied, true},
		{"somebody's, no command", false, and(noStop, "ups.status", "OL FSD"), drivers.ErrUnable, false},
		{"somebody's, not permitted", false, and(denied, "ups.status", "OL FSD"), drivers.ErrDenied, true},
		{"a timer runs, no command", false, and(noStop, "ups.timer.shutdown", "17"), drivers.ErrUnable, false},
		{"no timer runs, no command", false, and(noStop, "ups.timer.shutdown", "-1"), nil, false},
		{"not armed, no command", false, and(noStop, "ups.timer.shutdown", "65535"), nil, false},
		{"stale", false, refuse("LIST VAR", "DATA-STALE"), drivers.ErrUnreachable, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, d := cutCase{change: test.change}.open(t)
			if test.cut {
				if _, err := d.Cut(t.Context(), drivers.Cut{Off: 30 * sec, On: 180 * sec}); err != nil {
					t.Fatal(err)
				}
			}
			err := d.StopCut(t.Context())
			if test.want == nil && err != nil || !errors.Is(err, test.want) {
				t.Errorf("StopCut = %v, want %v", err, test.want)
			}
			requests, _ := f.seen()
			if _, commands := sets(requests); slices.Contains(commands, "shutdown.stop") != test.sent {
				t.Errorf("ran %q, want shutdown.stop among it: %v", commands, test.sent)
			}
			if err == nil && (fakePeer{f}).CutPending() {
				t.Error("the cut is still told")
			}
		})
	}
}

// Without a user nothing can be told, and so nothing has to be stopped.
func TestCutWithoutUser(t *testing.T) {
	f := newFake(t, "u1")
	d := open(t, map[string]string{"address": f.addr() + "/u1"})
	checkError(t, d.CheckCut(t.Context(), drivers.Cut{}), drivers.ErrDenied, "username and password")
	_, err := d.Cut(t.Context(), drivers.Cut{})
	checkError(t, err, drivers.ErrDenied, "username and password")
	if err := d.StopCut(t.Context()); err != nil {
		t.Errorf("StopCut: %v", err)
	}
}

// The password is proven even where no variable has to be set.
func TestCheckCutProvesThePassword(t *testing.T) {
	for _, test := range []struct {
		name   string
		login  string // the answer to LOGIN; empty: OK
		opened int
		want   error
	}{{"LOGIN granted", "", 2, nil}, {"LOGIN denied", "ACCESS-DENIED", 2, drivers.ErrDenied}} {
		t.Run(test.name, func(t *testing.T) {
			f, d := cutCase{change: func(f *fakeUPSD) {
				refuse("SET VAR", "ACCESS-DENIED")(f)
				if test.login != "" {
					refuse("LOGIN", test.login)(f)
				}
			}}.open(t)
			err := d.CheckCut(t.Context(), drivers.Cut{Off: 30 * sec, On: 180 * sec})
			if !errors.Is(err, test.want) || test.want != nil && !strings.Contains(err.Error(), "SET nor LOGIN") {
				t.Errorf("CheckCut = %v, want %v", err, test.want)
			}
			if _, opened := f.seen(); opened != test.opened {
				t.Errorf("%d connections, want %d: LOGIN on one of its own", opened, test.opened)
			}
			if _, err := poll(t, d, sec); err != nil {
				t.Errorf("poll afterwards: %v", err)
			}
			if _, opened := f.seen(); opened != test.opened {
				t.Errorf("%d connections after a poll, want the first kept", opened)
			}
		})
	}
}

// A connection that upsd closed while nothing was asked is opened again; one that breaks at
// the command is not, because the command must not be sent twice.
func TestCutOnAClosedConnection(t *testing.T) {
	f, d := cutCase{}.open(t)
	if _, err := poll(t, d, sec); err != nil {
		t.Fatal(err)
	}
	f.hangUp()
	time.Sleep(10 * time.Millisecond)
	if _, err := d.Cut(t.Context(), drivers.Cut{Off: 30 * sec, On: 180 * sec}); err != nil {
		t.Errorf("Cut over a closed connection: %v", err)
	}
	if _, opened := f.seen(); opened != 2 {
		t.Errorf("%d connections, want 2", opened)
	}
}

// A result that does not come within the context is an error, with what was told.
func TestCutPendingForEver(t *testing.T) {
	_, d := cutCase{change: func(f *fakeUPSD) { f.control.pending = math.MaxInt }}.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	told, err := d.Cut(ctx, drivers.Cut{Off: 30 * sec, On: 180 * sec})
	checkError(t, err, drivers.ErrUnreachable, "INSTCMD u1 shutdown.return")
	if told.Off != 30*sec {
		t.Errorf("told %v, want what was sent", told)
	}
	if d.s != nil {
		t.Error("the connection is kept, with an answer that may still come")
	}
}

// Half a reply to the command leaves it open whether it was taken.
func TestCutBrokenOff(t *testing.T) {
	f, d := cutCase{}.open(t)
	if err := d.CheckCut(t.Context(), drivers.Cut{}); err != nil {
		t.Fatal(err)
	}
	f.change(func(f *fakeUPSD) { f.behaviour = driverstest.Disconnect })
	if _, err := d.Cut(t.Context(), drivers.Cut{Off: 30 * sec, On: 180 * sec}); !errors.Is(err, drivers.ErrUnreachable) {
		t.Errorf("Cut while upsd hangs up: %v, want ErrUnreachable", err)
	}
}

// Whatever a list of ranges or values says, what is tried is long enough and in it.
func FuzzCandidates(f *testing.F) {
	f.Add("12", "600", 31)
	f.Add("-1", "1e9", 0)
	f.Fuzz(func(t *testing.T, lo, hi string, want int) {
		want = min(max(want, 0), 2*maxDelay)
		values := within([]string{lo, hi}, []int{want, roundUp(want, 6), roundUp(want, 60)})
		top, ok := seconds(hi)
		for _, v := range values {
			if v < want || !ok || v > top {
				t.Errorf("range %q to %q: %d is tried for %d", lo, hi, v, want)
			}
		}
		for _, v := range atLeast(want, lo) {
			if v < want {
				t.Errorf("list with %q: %d is tried for %d", lo, v, want)
			}
		}
	})
}
