package nut

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/driverstest"
)

func TestDriver(t *testing.T) {
	driverstest.Run(t, driverstest.Suite{
		Factory:  Factory,
		NewPeer:  func(t *testing.T) driverstest.Peer { return fakePeer{newFake(t, "u1")} },
		Trouble:  func(r dodai.Reading) bool { return r.Status.Has(dodai.OB | dodai.LB) },
		Deadline: 300 * time.Millisecond,
		Slack:    time.Second,
	})
}

func open(t testing.TB, opts map[string]string) *driver {
	t.Helper()
	d, err := Factory.Open("device1", opts, nil)
	if err != nil {
		t.Fatalf("Open(%v): %v", opts, err)
	}
	t.Cleanup(func() { d.Close() })
	return d.(*driver)
}

func poll(t testing.TB, d drivers.Driver, within time.Duration) (dodai.Reading, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return d.Poll(ctx)
}

func TestPollIsOneRequestOnOneConnection(t *testing.T) {
	f := newFake(t, "u1")
	d := open(t, map[string]string{"address": f.addr(), "ups": "u1"})
	for range 5 {
		if _, err := poll(t, d, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	requests, opened := f.seen()
	if want := strings.Repeat("LIST VAR u1|", 5); strings.Join(requests, "|")+"|" != want || opened != 1 {
		t.Errorf("5 polls sent %q over %d connections, want LIST VAR u1 five times over one", requests, opened)
	}
}

func TestPollReopensWhatUPSDClosedWhileIdle(t *testing.T) {
	f := newFake(t, "u1")
	d := open(t, map[string]string{"address": f.addr() + "/u1"})
	for i := range 3 {
		if _, err := poll(t, d, 5*time.Second); err != nil {
			t.Errorf("poll %d: %v, want a reading over a new connection", i, err)
		}
		f.hangUp()
		time.Sleep(10 * time.Millisecond)
	}
	if _, opened := f.seen(); opened != 3 {
		t.Errorf("%d connections, want 3", opened)
	}
}

// TestPollUsesNoReplyTwice: what came behind a reply is not the answer to the next
// request.
func TestPollUsesNoReplyTwice(t *testing.T) {
	f := newFake(t, "u1")
	d := open(t, map[string]string{"address": f.addr() + "/u1"})
	for _, status := range []string{"OL", "OB", "OL", "OB LB"} {
		reply := listVarReply("u1", map[string]string{"ups.status": status})
		f.change(func(f *fakeUPSD) { f.raw = reply + reply })
		if r, err := poll(t, d, 5*time.Second); err != nil || r.Status.String() != status {
			t.Errorf("poll = %v, %v, want %s", r.Status, err, status)
		}
	}
}

// pollErrors are replies to LIST VAR that hold no reading.
var pollErrors = []struct {
	name    string
	token   string // answer to LIST VAR
	raw     string
	want    error
	say     string // part of the error's text
	dropped bool   // the connection must not be used again
}{
	{name: "stale", token: "DATA-STALE", want: drivers.ErrUnreachable, say: "DATA-STALE"},
	{name: "no driver", token: "DRIVER-NOT-CONNECTED", want: drivers.ErrUnreachable, say: "upsdrvctl"},
	{name: "unknown UPS", token: "UNKNOWN-UPS", want: drivers.ErrNoData, say: "upsd knows u1, u2"},
	{name: "denied", token: "ACCESS-DENIED", want: drivers.ErrDenied, say: "upsd.users", dropped: true},
	{name: "denied with words behind it", token: `ACCESS-DENIED "SSL trust failed"`, want: drivers.ErrDenied, say: "SSL trust", dropped: true},
	{name: "unheard-of token", token: "OUT-OF-CHEESE", want: drivers.ErrProtocol, say: "OUT-OF-CHEESE", dropped: true},
	{name: "bare ERR", raw: "ERR\n", want: drivers.ErrProtocol, say: `"ERR"`, dropped: true},
	{name: "other list", raw: "BEGIN LIST VAR u2\nEND LIST VAR u2\n", want: drivers.ErrProtocol, say: "want BEGIN LIST VAR u1", dropped: true},
	{name: "other item", raw: "BEGIN LIST VAR u1\nVAR u2 a \"1\"\n", want: drivers.ErrProtocol, say: "VAR u2 a 1", dropped: true},
	{name: "other end", raw: "BEGIN LIST VAR u1\nEND LIST VAR u2\n", want: drivers.ErrProtocol, say: "END LIST VAR u2", dropped: true},
	{name: "error inside", raw: "BEGIN LIST VAR u1\nERR DATA-STALE\n", want: drivers.ErrProtocol, say: "DATA-STALE", dropped: true},
	{name: "item without value", raw: "BEGIN LIST VAR u1\nVAR u1 a\nEND LIST VAR u1\n", want: drivers.ErrProtocol, say: "one value", dropped: true},
	{name: "item with two values", raw: "BEGIN LIST VAR u1\nVAR u1 a \"1\" \"2\"\nEND LIST VAR u1\n", want: drivers.ErrProtocol, say: "one value", dropped: true},
	{name: "open quote", raw: "BEGIN LIST VAR u1\nVAR u1 a \"1\nEND LIST VAR u1\n", want: drivers.ErrProtocol, say: "closing quote", dropped: true},
	{name: "unescaped quote", raw: "BEGIN LIST VAR u1\nVAR u1 a \"1\"2\"\n", want: drivers.ErrProtocol, say: "blank after the closing quote", dropped: true},
	{name: "backslash at the end", raw: "BEGIN LIST VAR u1\nVAR u1 a \"1\\\n", want: drivers.ErrProtocol, say: "after the backslash", dropped: true},
	{name: "empty line", raw: "\n", want: drivers.ErrProtocol, say: "want a reply", dropped: true},
	{name: "line too long", raw: "BEGIN LIST VAR u1\nVAR u1 a \"" + strings.Repeat("x", 5000), want: drivers.ErrProtocol, say: "within 4096 bytes", dropped: true},
	{name: "too many items", raw: "BEGIN LIST VAR u1\n" + strings.Repeat("VAR u1 a \"1\"\n", 5000), want: drivers.ErrProtocol, say: "within 4096 items", dropped: true},
	{name: "too many bytes", raw: "BEGIN LIST VAR u1\n" + strings.Repeat("VAR u1 a \""+strings.Repeat("x", 4000)+"\"\n", 300), want: drivers.ErrProtocol, say: "1048576 bytes", dropped: true},
	{name: "too many words", raw: strings.Repeat("x ", 40) + "\n", want: drivers.ErrProtocol, say: "at most 32 words", dropped: true},
	{name: "no end", raw: "BEGIN LIST VAR u1\nVAR u1 a \"1\"\n", want: drivers.ErrUnreachable, say: "after 1 items", dropped: true},
	{name: "partial line", raw: "BEGIN LIST VAR u1\nVAR u1 a", want: drivers.ErrUnreachable, say: `nothing after "VAR u1 a"`, dropped: true},
	{name: "nothing from the driver yet", raw: "BEGIN LIST VAR u1\nVAR u1 ups.status \"WAIT\"\nEND LIST VAR u1\n", want: drivers.ErrUnreachable, say: "WAIT"},
}

func TestPollErrors(t *testing.T) {
	for _, test := range pollErrors {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, "u1", "u2")
			d := open(t, map[string]string{"address": f.addr(), "ups": "u1"})
			if _, err := poll(t, d, 5*time.Second); err != nil {
				t.Fatalf("first poll: %v", err)
			}
			f.change(func(f *fakeUPSD) {
				f.raw = test.raw
				if test.token != "" {
					f.errs["LIST VAR"] = test.token
				}
			})
			within := 5 * time.Second
			if test.raw != "" && test.want == drivers.ErrUnreachable {
				within = 200 * time.Millisecond // nothing more will come
			}
			r, err := poll(t, d, within)
			checkError(t, err, test.want, test.say)
			if r.Vars != nil {
				t.Errorf("reading beside the error: %+v", r)
			}
			f.change(func(f *fakeUPSD) { f.raw, f.errs = "", nil })
			if _, err := poll(t, d, 5*time.Second); err != nil {
				t.Errorf("poll afterwards: %v", err)
			}
			if _, opened := f.seen(); (opened == 2) != test.dropped {
				t.Errorf("%d connections in all, connection dropped: want %v", opened, test.dropped)
			}
		})
	}
}

func checkError(t *testing.T, err, want error, say string) {
	t.Helper()
	e, ok := errors.AsType[*drivers.Error](err)
	if !ok || !errors.Is(err, want) || !strings.Contains(err.Error(), say) {
		t.Fatalf("error %v: want one of the driver that is %q and says %q", err, want, say)
	}
	if e.Driver != "nut" || e.Device != "device1" || e.Op == "" {
		t.Errorf("error %+v: want driver nut, device1 and an operation", e)
	}
}

func TestConnectErrors(t *testing.T) {
	user := map[string]string{"username": "u", "password": `p "#\=`, "login": "yes"}
	tests := []struct {
		name  string
		upses string
		errs  map[string]string
		opts  map[string]string
		want  error
		say   string
	}{
		{"no name, two UPSes", "u1 u2", nil, nil, drivers.ErrNoData, "[u1, u2]"},
		{"no name, no UPS", "", nil, nil, drivers.ErrNoData, "0 UPSes"},
		{"list refused", "u1", map[string]string{"LIST UPS": "ACCESS-DENIED"}, nil, drivers.ErrDenied, "LIST UPS"},
		{"user refused", "u1", map[string]string{"USERNAME": "INVALID-USERNAME"}, user, drivers.ErrDenied, "USERNAME"},
		{"password refused", "u1", map[string]string{"PASSWORD": "INVALID-PASSWORD"}, user, drivers.ErrDenied, "PASSWORD"},
		{"login refused", "u1", map[string]string{"PASSWORD": "INVALID-ARGUMENT"}, user, drivers.ErrProtocol, "INVALID-ARGUMENT"},
		{"TLS wanted and not there", "u1", nil, map[string]string{"tls": "require"}, drivers.ErrDenied, "certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, strings.Fields(test.upses)...)
			f.errs = test.errs
			opts := map[string]string{"address": f.addr()}
			maps.Copy(opts, test.opts)
			_, err := poll(t, open(t, opts), 5*time.Second)
			checkError(t, err, test.want, test.say)
			if strings.Contains(err.Error(), opts["password"]) && opts["password"] != "" {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}

func TestConnectRefused(t *testing.T) {
	f := newFake(t, "u1")
	f.l.Close()
	_, err := poll(t, open(t, map[string]string{"address": f.addr()}), time.Second)
	checkError(t, err, drivers.ErrUnreachable, "connect to 127.0.0.1")
}

func TestOnlyUPSIsTaken(t *testing.T) {
	f := newFake(t, "rack-a")
	if _, err := poll(t, open(t, map[string]string{"address": f.addr()}), time.Second); err != nil {
		t.Fatal(err)
	}
	if requests, _ := f.seen(); strings.Join(requests, "|") != "LIST UPS|LIST VAR rack-a" {
		t.Errorf("requests %q, want LIST UPS and LIST VAR rack-a", requests)
	}
}

func TestCancelEndsPollAtOnce(t *testing.T) {
	f := newFake(t, "u1")
	f.behaviour = driverstest.Silent
	d := open(t, map[string]string{"address": f.addr() + "/u1"})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begin := time.Now()
	_, err := d.Poll(ctx)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Poll took %v, want it to end with its context after 50 ms", took)
	}
	checkError(t, err, drivers.ErrUnreachable, "LIST VAR u1")
}
