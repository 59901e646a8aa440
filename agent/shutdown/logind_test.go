package shutdown

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=%s</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>`

// startBus runs a private bus in place of the system's.
func startBus(t *testing.T) (daemon *peer.Process, address string) {
	t.Helper()
	program := peer.Need(t, "dbus-daemon")
	dir, err := os.MkdirTemp("", "bus") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon = peer.Start(t, exec.Command(program, "--nofork", "--config-file="+config), func() error {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err
	})
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+socket)
	return daemon, "unix:path=" + socket
}

// login is a login manager that only writes down what it is asked.
type login struct {
	calls   chan string
	refuse  bool
	silence time.Duration
}

func (l *login) PowerOff(interactive bool) *dbus.Error { return l.plain("PowerOff", interactive) }
func (l *login) Reboot(interactive bool) *dbus.Error   { return l.plain("Reboot", interactive) }

func (l *login) plain(method string, interactive bool) *dbus.Error {
	time.Sleep(l.silence)
	l.calls <- fmt.Sprintf("%s(%v)", method, interactive)
	if l.refuse {
		return dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"not permitted"})
	}
	return nil
}

func (l *login) CanPowerOff() (string, *dbus.Error) {
	time.Sleep(l.silence)
	if l.refuse {
		return "challenge", nil
	}
	return "yes", nil
}

// modernLogin also knows the flags.
type modernLogin struct{ login }

func (l *modernLogin) PowerOffWithFlags(flags uint64) *dbus.Error {
	return l.flagged("PowerOffWithFlags", flags)
}
func (l *modernLogin) RebootWithFlags(flags uint64) *dbus.Error {
	return l.flagged("RebootWithFlags", flags)
}

func (l *modernLogin) flagged(method string, flags uint64) *dbus.Error {
	l.calls <- fmt.Sprintf("%s(%d)", method, flags)
	if l.refuse {
		return dbus.NewError("org.freedesktop.login1.BlockedByInhibitorLock", []any{"inhibited"})
	}
	return nil
}

func export(t *testing.T, address string, manager any, stopping bool) {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	const iface = "org.freedesktop.login1.Manager"
	if err := conn.Export(manager, loginPath, iface); err != nil {
		t.Fatal(err)
	}
	_, err = prop.Export(conn, loginPath, prop.Map{iface: {"PreparingForShutdown": {Value: stopping}}})
	if err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(loginName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
}

func drain(calls chan string) string {
	var got []string
	for {
		select {
		case c := <-calls:
			got = append(got, c)
		default:
			return strings.Join(got, " ")
		}
	}
}

func TestLogindOnARealBus(t *testing.T) {
	tests := map[string]struct {
		manager func(l login) any
		refuse  bool
		want    string
	}{
		"an old one gets PowerOff":             {func(l login) any { return &l }, false, "PowerOff(false)"},
		"a new one is told to skip inhibitors": {func(l login) any { return &modernLogin{l} }, false, "PowerOffWithFlags(16)"},
		"one that refuses is asked both ways":  {func(l login) any { return &modernLogin{l} }, true, "PowerOffWithFlags(16) PowerOff(false)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, address := startBus(t)
			l := login{calls: make(chan string, 10), refuse: tt.refuse}
			export(t, address, tt.manager(l), true)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			err := SystemBus().PowerOff(ctx)
			if (err != nil) != tt.refuse {
				t.Errorf("PowerOff = %v, want an error: %v", err, tt.refuse)
			}
			t.Logf("answered after %v: %v", time.Since(start), err)
			if got := drain(l.calls); got != tt.want {
				t.Errorf("the login manager was asked %q, want %q", got, tt.want)
			}
			if err := SystemBus().Reboot(ctx); (err != nil) != tt.refuse {
				t.Errorf("Reboot = %v, want an error: %v", err, tt.refuse)
			}
			if got, want := drain(l.calls), strings.ReplaceAll(tt.want, "PowerOff", "Reboot"); got != want {
				t.Errorf("for a reboot the login manager was asked %q, want %q", got, want)
			}
			can := map[bool]string{false: "yes", true: "challenge"}[tt.refuse]
			if got, err := SystemBus().CanPowerOff(ctx); got != can || err != nil {
				t.Errorf("CanPowerOff = %q, %v, want %q", got, err, can)
			}
			if stopping, err := SystemBus().Stopping(ctx); !stopping || err != nil {
				t.Errorf("Stopping = %v, %v, want true", stopping, err)
			}
		})
	}
}

func TestLogindThatIsNotThere(t *testing.T) {
	startBus(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := SystemBus().PowerOff(ctx); err == nil || !strings.Contains(err.Error(), "login1") {
		t.Errorf("PowerOff without a login manager = %v, want an error that names it", err)
	}
	if _, err := SystemBus().CanPowerOff(ctx); err == nil || !strings.Contains(err.Error(), "login1") {
		t.Errorf("CanPowerOff without a login manager = %v, want an error that names it", err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	if err := SystemBus().PowerOff(ctx); err == nil || !strings.Contains(err.Error(), "connect to the bus") {
		t.Errorf("PowerOff without a bus = %v, want an error that says so", err)
	}
}

func TestLogindThatHangs(t *testing.T) {
	daemon, address := startBus(t)
	l := &login{calls: make(chan string, 10), silence: 3 * time.Second}
	export(t, address, l, false)
	inTime := func(what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := SystemBus().PowerOff(ctx); err == nil || time.Since(start) > time.Second {
			t.Errorf("%s: PowerOff = %v after %v, want an error after 0.3 s", what, err, time.Since(start))
		}
		if can, err := SystemBus().CanPowerOff(ctx); err == nil {
			t.Errorf("%s: CanPowerOff = %q, want an error", what, can)
		}
	}
	inTime("a silent login manager")
	daemon.Signal(syscall.SIGSTOP)
	defer daemon.Signal(syscall.SIGCONT)
	inTime("a silent bus")
}

// The ladder with a real bus and harmless programs in place of systemctl: what the
// executor would run is only written down.
func TestExecutorPowersOffThroughTheRealBus(t *testing.T) {
	_, address := startBus(t)
	l := &login{calls: make(chan string, 10)}
	export(t, address, l, false)
	var ran []string
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	start := time.Now()
	e, err := New(Config{
		Plan:   Plan{PowerOff: PowerOff{Timeout: time.Second, Grace: 200 * time.Millisecond}},
		Logind: SystemBus(), Now: func() time.Duration { return time.Since(start) },
		Run: func(_ context.Context, c Command) Result {
			ran = append(ran, strings.Join(c.Args, " "))
			time.AfterFunc(20*time.Millisecond, cancel) // this one takes the machine down
			return Result{}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(ctx, Cause{}, nil); err != nil {
		t.Errorf("Run = %v", err)
	}
	if got := drain(l.calls); got != "PowerOff(false)" || len(ran) != 1 || ran[0] != "systemctl poweroff -i --no-wall" {
		t.Errorf("logind was asked %q, then ran %q; want PowerOff(false) and systemctl", got, ran)
	}
}
