package nut

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// The users of the upsd of startQX. Each may do what its name says.
const qxUsers = `
[all]
password = secret
actions = SET
instcmds = ALL
[onlycut]
password = secret
instcmds = shutdown.return
[seccut]
password = secret
instcmds = shutdown.return
upsmon secondary
[onlyset]
password = secret
actions = SET
[watcher]
password = secret
upsmon secondary
`

// startQX starts the real upsd with the real nutdrv_qx on a simulated serial UPS, and
// returns upsd's address. The UPS is called u1.
func startQX(t *testing.T, u *megatec.UPS, conf string) string {
	t.Helper()
	server, driver := "/lib/nut/upsd", "/lib/nut/nutdrv_qx" // upsd in the path may be a script that obeys nut.conf
	for _, path := range []string{server, driver} {
		if _, err := os.Stat(path); err != nil {
			peer.Need(t, filepath.Base(path))
		}
	}
	dir, err := os.MkdirTemp("/tmp", "nut") // short: a Unix socket's path has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := peer.FreePort(t, "tcp")
	for name, text := range map[string]string{
		"ups.conf":   fmt.Sprintf("[u1]\ndriver = nutdrv_qx\nport = %s\nprotocol = megatec\npollinterval = 1\n%s\n", u.Path(), conf),
		"upsd.conf":  fmt.Sprintf("LISTEN 127.0.0.1 %d\n", port),
		"upsd.users": qxUsers,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(path string, args ...string) *exec.Cmd {
		cmd := exec.Command(path, append(args, "-F", "-u", "root")...)
		if os.Geteuid() != 0 {
			cmd = exec.Command(path, append(args, "-F")...)
		}
		cmd.Env = append(os.Environ(), "NUT_CONFPATH="+dir, "NUT_STATEPATH="+dir, "NUT_ALTPIDPATH="+dir, "NUT_PIDPATH="+dir)
		return cmd
	}
	peer.Start(t, command(driver, "-a", "u1"), func() error {
		_, err := os.Stat(filepath.Join(dir, "nutdrv_qx-u1"))
		return err
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	peer.Start(t, command(server), func() error {
		if reply, err := talk(addr, "GET VAR u1 ups.status"); err != nil || !strings.HasPrefix(reply, `VAR u1 ups.status "O`) {
			return fmt.Errorf("reply %q, %v", reply, err)
		}
		return nil
	})
	return addr
}

// talk sends one request on a connection of its own and returns the first line of the reply.
func talk(addr, request string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(c, "%s\n", request); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

// The real upsd with the real nutdrv_qx on a simulated UPS: each user gets what it may, and
// the output is cut and comes back.
func TestCutWithRealUPSD(t *testing.T) {
	u, err := megatec.New(megatec.Config{Baud: -1, Speed: 60, Runtime: 10 * time.Hour, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	addr := startQX(t, u, "")
	as := func(user, password string) *driver {
		return open(t, map[string]string{"address": addr + "/u1", "username": user, "password": password})
	}
	asDelivered := drivers.Cut{Off: 30 * time.Second, On: 3 * time.Minute}
	longer := drivers.Cut{Off: 91 * time.Second, On: 200 * time.Second}
	for _, tt := range []struct {
		user, password string
		cut            drivers.Cut
		want           error
		say            string
	}{
		{"all", "secret", longer, nil, ""},
		{"all", "wrong", longer, drivers.ErrDenied, "SET nor LOGIN"},
		{"onlyset", "secret", longer, nil, ""}, // what cannot be proven: it may not INSTCMD
		{"seccut", "secret", asDelivered, nil, ""},
		{"seccut", "secret", longer, drivers.ErrDenied, "ups.delay.shutdown"},
		{"watcher", "secret", asDelivered, nil, ""},
		{"onlycut", "secret", asDelivered, drivers.ErrDenied, "SET nor LOGIN"},
		{"all", "secret", drivers.Cut{Off: 601 * time.Second}, drivers.ErrUnable, "LIST RANGE"},
	} {
		err := as(tt.user, tt.password).CheckCut(t.Context(), tt.cut)
		if tt.want == nil && err != nil || tt.want != nil && (!errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.say)) {
			t.Errorf("CheckCut(%v) as %s with %q: %v, want %v with %q", tt.cut, tt.user, tt.password, err, tt.want, tt.say)
		}
	}
	if reply, _ := talk(addr, "GET VAR u1 ups.delay.shutdown"); reply != "VAR u1 ups.delay.shutdown \"30\"\n" || u.State().CountingDown {
		t.Errorf("after CheckCut %q, counting down: %v: want nothing changed", reply, u.State().CountingDown)
	}

	if told, err := as("watcher", "secret").Cut(t.Context(), asDelivered); !errors.Is(err, drivers.ErrDenied) || told != (drivers.Cut{}) || !strings.Contains(err.Error(), "instcmds") {
		t.Errorf("Cut without the right = %v, %v: want ErrDenied and what to do", told, err)
	}
	if told, err := as("seccut", "secret").Cut(t.Context(), asDelivered); err != nil || told != asDelivered {
		t.Errorf("Cut without the right to SET, which it does not need = %v, %v", told, err)
	}
	if err := as("all", "secret").StopCut(t.Context()); err != nil {
		t.Errorf("StopCut: %v", err)
	}

	u.SetMains(false)
	d := as("all", "secret")
	begin := time.Now()
	told, err := d.Cut(t.Context(), longer)
	if want := (drivers.Cut{Off: 2 * time.Minute, On: 4 * time.Minute}); err != nil || told != want {
		t.Fatalf("Cut(%v) = %v, %v: want %v", longer, told, err, want)
	}
	took := time.Since(begin)
	t.Logf("Cut took %v", took)
	if n := u.Asked("S02R0004"); n != 1 {
		t.Errorf("the UPS was sent S02R0004 %d times, want once", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := u.WaitOutput(ctx, false); err != nil {
		t.Fatal(err)
	}
	if since := time.Since(begin); since < 2*time.Second {
		t.Errorf("the output was cut after %v, want 2 s at least", since)
	}
	u.SetMains(true)
	if err := u.WaitOutput(ctx, true); err != nil {
		t.Fatal(err)
	}
	if since := time.Since(begin); since < 6*time.Second {
		t.Errorf("the output was back after %v, want 6 s at least", since)
	}
	for ctx.Err() == nil { // upsd may call its data stale for a moment
		if err = d.StopCut(ctx); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("StopCut after it: %v", err)
}
