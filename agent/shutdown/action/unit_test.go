package action

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// systemctl stands in for the real one, which does nothing where systemd does not run.
// What `show` says of each unit was seen on systemd 252.
const systemctl = `echo "$*" >>$S/log
for unit; do :; done
show() {
	[ "$unit" ] || exit 1
	printf 'LoadState=%s\nLoadError=%s\nActiveState=%s\nCanStart=%s\nCanStop=%s\nRefuseManualStart=%s\nRefuseManualStop=%s\nMainPID=%s\n' "$1" "$2" "$3" ${4:-yes} ${5:-yes} ${6:-no} ${7:-no} ${8:-0}
}
case "$*" in
'show --no-pager --property=ConsistsOf -- umbrella.service') echo 'ConsistsOf=one@a.service one@b.service' ;;
'show --no-pager --property=ConsistsOf -- away.service') exit 1 ;;
'show --no-pager --property=ConsistsOf '*) echo 'ConsistsOf=' ;;
esac
case "$1 $unit" in
'show up.service') show loaded '' active ;;
'show down.service') show loaded '' inactive ;;
'show failed.service') show loaded '' failed ;;
'show masked.service') show masked 'org.freedesktop.systemd1.UnitMasked "Unit masked.service is masked."' inactive no no ;;
'show broken.service') show bad-setting 'org.freedesktop.systemd1.BadUnitSetting "Unit broken.service has a bad unit file setting."' inactive no no ;;
'show removed.service') show not-found 'org.freedesktop.systemd1.NoSuchUnit "Unit removed.service not found."' active ;;
'show refuses.service') show loaded '' active yes no no yes ;;
'show sda.device') show loaded '' active no no ;;
'show daemon.service') show loaded '' active yes yes no no $DAEMON ;;
show*) show not-found "org.freedesktop.systemd1.NoSuchUnit \"Unit $unit not found.\"" inactive no yes ;;
'list-unit-files post*') echo 'postfix.service enabled enabled'; echo 'postgresql.service enabled enabled'; echo 'postgresql@.service disabled enabled' ;;
'list-unit-files upda*') echo 'update.timer enabled enabled' ;;
esac
`

func TestUnitCheck(t *testing.T) {
	for _, tt := range []struct {
		unit, check, text string
		start             bool
	}{
		{unit: "up.service"},
		{unit: "down.service"},
		{unit: "failed.service"},
		{unit: "removed.service"}, // it runs, and systemd can stop it
		{unit: "nix.service", check: "unit_not_found", text: "there is no unit nix.service"},
		{unit: "postgres.service", check: "unit_not_found", text: `there is no unit postgres.service (did you mean "postgresql.service"?)`},
		{unit: "update.service", check: "unit_not_found", text: "there is no unit update.service; there is update.timer"},
		{unit: "masked.service", check: "unit_masked", text: "masked.service is masked"},
		{unit: "broken.service", check: "unit_broken", text: "(bad-setting): Unit broken.service has a bad unit file setting."},
		{unit: "refuses.service", check: "unit_refuses", text: "RefuseManualStop=yes"},
		{unit: "refuses.service", start: true},
		{unit: "sda.device", check: "unit_refuses", text: "CanStop=no"},
		{unit: "daemon.service", check: "unit_is_own", text: "this daemon's own unit"},
		{unit: "up.service", start: true},
		{unit: "removed.service", start: true, check: "unit_not_found", text: "there is no unit"},
		{unit: "sda.device", start: true, check: "unit_refuses", text: "CanStart=no"},
	} {
		t.Run(fmt.Sprintf("%s start=%v", tt.unit, tt.start), func(t *testing.T) {
			if os.Geteuid() != 0 && tt.check == "" {
				t.Skip("what polkit says of this user is not known")
			}
			state := t.TempDir()
			task := taskWith(program(t, systemctl, "systemctl"), 20*time.Second, "S="+state, fmt.Sprintf("DAEMON=%d", os.Getpid()))
			expectFinding(t, Unit{Name: tt.unit, Start: tt.start}.Check(t.Context(), task), tt.check, tt.text)
			for line := range strings.Lines(read(t, state+"/log")) {
				if !strings.HasPrefix(line, "show ") && !strings.HasPrefix(line, "list-unit-files ") {
					t.Errorf("a check ran systemctl %s", line)
				}
			}
		})
	}
}

// What is part of a unit is waited for as well.
func TestUnitRun(t *testing.T) {
	for _, tt := range []struct {
		unit  Unit
		wants string
	}{
		{Unit{Name: "up.service"}, "--no-ask-password stop -- up.service"},
		{Unit{Name: "umbrella.service"}, "--no-ask-password stop -- umbrella.service | --no-ask-password stop -- one@a.service one@b.service"},
		{Unit{Name: "away.service"}, "--no-ask-password stop -- away.service"},
		{Unit{Name: "umbrella.service", Start: true}, "--no-ask-password start -- umbrella.service"},
	} {
		state := t.TempDir()
		task := taskWith(program(t, systemctl, "systemctl"), 20*time.Second, "S="+state)
		if r := tt.unit.Run(t.Context(), task); r.Err != nil || r.Exit != 0 {
			t.Errorf("%v: %+v", tt.unit, r)
		}
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(read(t, state+"/log")), "\n"), func(l string) bool { return strings.HasPrefix(l, "show") })
		if got := strings.Join(lines, " | "); got != tt.wants {
			t.Errorf("%v ran systemctl %q, want %q", tt.unit, got, tt.wants)
		}
	}
}

// The real systemctl where systemd does not run, or cannot be reached.
func TestUnitCheckWithoutSystemd(t *testing.T) {
	real := peer.Need(t, "systemctl")
	task := taskWith(filepath.Dir(real), 20*time.Second, "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent", "SYSTEMD_IGNORE_CHROOT=0")
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("systemd runs here, and answers")
	}
	expectFinding(t, Unit{Name: "a.service"}.Check(t.Context(), task), "systemd_unreachable", "not been booted with systemd")
}

// The real systemctl answers in the form that is read, of a unit no machine has.
func TestUnitCheckWithSystemd(t *testing.T) {
	peer.Need(t, "systemctl")
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("systemd does not run here")
	}
	task := taskWith(t.TempDir(), 20*time.Second)
	expectFinding(t, Unit{Name: "no-such-unit-at-all.service"}.Check(t.Context(), task), "unit_not_found", "there is no unit")
}

// polkit is an authority that gives one answer to everybody.
type polkit struct {
	may   atomic.Bool
	asked chan string
}

type subject struct {
	Kind    string
	Details map[string]dbus.Variant
}

type verdict struct {
	May, Challenge bool
	Details        map[string]string
}

func (p *polkit) CheckAuthorization(s subject, action string, _ map[string]string, flags uint32, _ string) (verdict, *dbus.Error) {
	p.asked <- fmt.Sprintf("%s %v %s %d", s.Kind, s.Details["name"], action, flags)
	return verdict{May: p.may.Load(), Challenge: !p.may.Load(), Details: map[string]string{}}, nil
}

func TestUnitPermission(t *testing.T) {
	address := startBus(t)
	connect := func(ctx context.Context) (*dbus.Conn, error) { return dbus.Connect(address, dbus.WithContext(ctx)) }
	u := Unit{Name: "a.service"}
	if f := u.permission(t.Context(), connect); f == nil || f.Check != "unit_denied" || !strings.Contains(f.Text, "polkit does not answer") {
		t.Errorf("without polkit %+v, want that it does not answer", f)
	}
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &polkit{asked: make(chan string, 8)}
	if err := conn.Export(p, polkitPath, polkitName+".Authority"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(polkitName, 0); err != nil {
		t.Fatal(err)
	}
	if f := u.permission(t.Context(), connect); f == nil || f.Check != "unit_denied" || !strings.Contains(f.Text, "cannot be proven") {
		t.Errorf("not permitted: %+v, want a finding", f)
	}
	if got := <-p.asked; !strings.HasPrefix(got, `system-bus-name ":1.`) || !strings.HasSuffix(got, " org.freedesktop.systemd1.manage-units 0") {
		t.Errorf("polkit was asked %q, want for this connection, without asking anybody for a password", got)
	}
	p.may.Store(true)
	if f := u.permission(t.Context(), connect); f != nil {
		t.Errorf("permitted, and found %+v", f)
	}
	gone := func(context.Context) (*dbus.Conn, error) { return nil, syscall.ECONNREFUSED }
	if f := u.permission(t.Context(), gone); f == nil || !strings.Contains(f.Text, "connect to the bus: connection refused") {
		t.Errorf("without a bus %+v, want why", f)
	}
}

// startBus runs a private bus.
func startBus(t *testing.T) (address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := dir + "/bus"
	write(t, dir+"/conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=`+socket+`</listen><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/>
</policy></busconfig>`)
	peer.Start(t, exec.Command(peer.Need(t, "dbus-daemon"), "--nofork", "--config-file="+dir+"/conf"), func() error {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err
	})
	return "unix:path=" + socket
}

func FuzzProperties(f *testing.F) {
	f.Add("LoadState=loaded\nLoadError=\nActiveState=active\nCanStop=yes\n")
	f.Add("LoadState=bad-setting\nLoadError=a \"b\"\n")
	f.Fuzz(func(t *testing.T, out string) {
		x, end := use(t.Context(), shutdown.Task{Timeout: time.Minute, Process: func(context.Context, shutdown.Command) shutdown.Result { return shutdown.Result{Output: out} }})
		defer end()
		if found := (Unit{Name: "a.service"}).judge(x, properties(out)); found != nil && (found.Check == "" || found.Text == "" || found.Fix == "") {
			t.Errorf("%q: %+v says too little", out, found)
		}
	})
}
