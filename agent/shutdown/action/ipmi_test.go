package action

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/e2e/peer"
)

func ipmiTo(t *testing.T, sim *peer.IPMISim) IPMI {
	return IPMI{IPMI: config.IPMI{Address: sim.Addr(), User: peer.IPMIAdmin, PasswordFile: tokenFile(t, peer.IPMIAdminSecret+"\n")}, every: 50 * time.Millisecond}
}

func TestIPMIRun(t *testing.T) {
	t.Parallel()
	sim := peer.StartIPMISim(t)
	a := ipmiTo(t, sim)
	did := 0
	step := func(name string, r shutdown.Result, says string, want ...string) {
		t.Helper()
		calls := sim.HostCalls()
		if r.Err != nil || !strings.Contains(r.Output, says) || !slices.Equal(calls[did:], want) {
			t.Errorf("%s: %+v, the BMC did %q; want %q and %q", name, r, calls[did:], says, want)
		}
		did = len(calls)
	}
	sim.HostTakes(300 * time.Millisecond)
	step("shut down", a.Run(t.Context(), remoteTask(20*time.Second)), "went off", "set shutdown 1")
	step("again", a.Run(t.Context(), remoteTask(20*time.Second)), "was off already")
	step("back on", a.Inverse().Run(t.Context(), remoteTask(20*time.Second)), "is on again", "set power 1")

	sim.HostTakes(-1)
	if r := a.Run(t.Context(), remoteTask(time.Second)); !errors.Is(r.Err, shutdown.ErrTimeout) || !strings.Contains(r.Err.Error(), "waiting for the host of "+sim.Addr()+" to go off") {
		t.Errorf("deaf host: %+v, want a time-out that says of what", r)
	}
	did = len(sim.HostCalls())
	a.ForceAfter = config.Duration(400 * time.Millisecond)
	step("force", a.Run(t.Context(), remoteTask(20*time.Second)), "switched off hard", "set shutdown 1", "set power 0")
}

// TestIPMIBackInTime takes a shutdown back while the host is still on its way down.
func TestIPMIBackInTime(t *testing.T) {
	t.Parallel()
	sim := peer.StartIPMISim(t)
	a := ipmiTo(t, sim)
	sim.HostTakes(1500 * time.Millisecond)
	if r := a.Run(t.Context(), remoteTask(300*time.Millisecond)); !errors.Is(r.Err, shutdown.ErrTimeout) {
		t.Fatalf("Run = %+v, want a time-out", r)
	}
	if r := a.Inverse().Run(t.Context(), remoteTask(20*time.Second)); r.Err != nil || !strings.Contains(r.Output, "is on again") {
		t.Errorf("Inverse = %+v, want it to wait for the host to go off", r)
	}
	if r := a.Inverse().Run(t.Context(), remoteTask(400*time.Millisecond)); r.Err != nil || !strings.Contains(r.Output, "has not gone off") {
		t.Errorf("Inverse with a host that stays on = %+v", r)
	}
}

func TestIPMICheck(t *testing.T) {
	t.Parallel()
	sim := peer.StartIPMISim(t)
	check := func(change func(*IPMI)) []shutdown.Finding {
		a := ipmiTo(t, sim)
		change(&a)
		return a.Check(t.Context(), remoteTask(8*time.Second))
	}
	sees(t, "all is well", check(func(*IPMI) {}), "")
	sees(t, "the way back", check(func(a *IPMI) { *a = a.Inverse().(IPMI) }), "")
	sees(t, "wrong password", check(func(a *IPMI) { a.PasswordFile = tokenFile(t, "guess") }), "login_refused", "another password for user \"root\"")
	sees(t, "no such user", check(func(a *IPMI) { a.User = "nobody" }), "login_refused", "log in")
	sees(t, "another cipher", check(func(a *IPMI) { a.Cipher = 17 }), "cipher_refused", "cipher suite 17", "set cipher")
	sees(t, "no password file", check(func(a *IPMI) { a.PasswordFile = "/none/such" }), "file_missing", "the password_file /none/such")
	sees(t, "password too long", check(func(a *IPMI) { a.PasswordFile = tokenFile(t, strings.Repeat("x", 21)) }), "ipmi", "at most 20 bytes")
	sees(t, "unknown name", check(func(a *IPMI) { a.Address = "bmc.invalid:623" }), "name_unknown", "bmc.invalid")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sees(t, "no answer", check(func(a *IPMI) { a.Address = silent.LocalAddr().String() }), "no_answer", "does not answer IPMI", "UDP port 623")
	silent.Close()
	sees(t, "nobody listens", check(func(a *IPMI) { a.Address = silent.LocalAddr().String() }), "connection_refused", "does not listen for IPMI")
	if got := sim.HostCalls(); len(got) > 0 {
		t.Errorf("checks changed something: %q", got)
	}
}
