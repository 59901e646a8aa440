package killpower_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/nut"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/host"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// nutChain is the real upsd with the real nutdrv_qx on a simulated serial line, and a
// driver that reads the UPS u1 through it.
func nutChain(t *testing.T, sim *megatec.UPS) drivers.Driver {
	t.Helper()
	upsd, qx := "/lib/nut/upsd", "/lib/nut/nutdrv_qx" // the upsd of the path may be a script that obeys nut.conf
	for _, path := range []string{upsd, qx} {
		if _, err := os.Stat(path); err != nil {
			peer.Need(t, filepath.Base(path))
		}
	}
	dir, err := os.MkdirTemp("/tmp", "nut") // short enough for a Unix socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := peer.FreePort(t, "tcp")
	for name, text := range map[string]string{
		"ups.conf":   fmt.Sprintf("[u1]\ndriver = nutdrv_qx\nport = %s\nprotocol = megatec\npollinterval = 1\n", sim.Path()),
		"upsd.conf":  fmt.Sprintf("LISTEN 127.0.0.1 %d\n", port),
		"upsd.users": "[dodai]\npassword = secret\nactions = SET\ninstcmds = ALL\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(path string, args ...string) *exec.Cmd {
		if os.Geteuid() == 0 {
			args = append(args, "-u", "root")
		}
		cmd := exec.Command(path, append(args, "-F")...)
		cmd.Env = append(os.Environ(), "NUT_CONFPATH="+dir, "NUT_STATEPATH="+dir, "NUT_ALTPIDPATH="+dir, "NUT_PIDPATH="+dir)
		return cmd
	}
	peer.Start(t, command(qx, "-a", "u1"), func() error {
		_, err := os.Stat(filepath.Join(dir, "nutdrv_qx-u1"))
		return err
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	peer.Start(t, command(upsd), func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	})
	d, err := nut.Factory.Open("u1", map[string]string{"address": addr, "ups": "u1", "username": "dodai", "password": "secret"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// TestNetworkThroughNUT is the daemon's part through real programs: with the mains back
// nothing is told; with the mains away the unit gets the command, goes dark, and starts the
// machine when the mains return.
func TestNetworkThroughNUT(t *testing.T) {
	t.Parallel()
	sim, h, u := serial(t, megatec.Config{Runtime: time.Hour, Speed: 20})
	d := nutChain(t, sim)
	u.Driver, u.Local, u.Cut = "nut", false, &drivers.Cut{Off: time.Minute, On: 3 * time.Minute}
	n := killpower.Network{Ask: func(ctx context.Context, _ string, f func(context.Context, drivers.Driver) error) error {
		return f(ctx, d)
	}}
	s := &killpower.State{UPS: []killpower.UPS{u}}
	reads := func(mains bool) {
		t.Helper()
		sim.SetMains(mains)
		want := map[bool]dodai.Status{true: dodai.OL, false: dodai.OB}[mains]
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			r, err := d.Poll(t.Context())
			if err == nil && r.Status.Has(want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("upsd does not serve %v: %v, %v", want, r.Status, err)
			}
		}
	}
	reads(true)
	if got := n.Tell(t.Context(), s, 2*time.Minute); len(got) != 1 || got[0].Told != nil || got[0].Err != nil || sim.State().CountingDown {
		t.Fatalf("with the mains back: %+v, want it not told", got)
	}
	reads(false)
	got := n.Tell(t.Context(), s, 2*time.Minute)
	if len(got) != 1 || got[0].Err != nil || got[0].Told == nil || got[0].Told.Off < 2*time.Minute {
		t.Fatalf("on battery: %+v, want it told to cut after 2 minutes", got)
	}
	if s.UPS[0].Told == nil || s.UPS[0].Mains != killpower.MainsAbsent {
		t.Errorf("the late command hears %+v", s.UPS[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	h.PowerOff()
	if err := sim.WaitOutput(ctx, false); err != nil {
		t.Fatal("the output was not cut: ", err)
	}
	h.Step()
	sim.SetMains(true)
	if err := sim.WaitOutput(ctx, true); err != nil {
		t.Fatal("the output does not return: ", err)
	}
	if h.Step(); h.State() != host.Booting || h.Crashes() != 0 {
		t.Errorf("the machine is %s with %d crashes, want it booting", h.State(), h.Crashes())
	}
}
