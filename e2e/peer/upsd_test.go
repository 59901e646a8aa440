package peer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

const smallDev = "ups.status: OL CHRG\nbattery.charge: 099.0 #BAD: a comment\nups.id: \"x \\\"y\\\" \\\\ \\# z\"\n"

func TestUPSD(t *testing.T) {
	t.Parallel()
	u := StartUPSD(t, map[string]string{"u1": smallDev, "u2": "ups.status: OB\n"}, UPSDMaxAge(3))
	if got := u.Upsc("u1", "ups.id"); got != `x "y" \ # z` {
		t.Errorf("ups.id = %q, want the quotes of the file", got)
	}
	all := u.UpscAll("u1")
	if all["ups.status"] != "OL CHRG" || all["battery.charge"] != "099.0" || all["driver.name"] != "dummy-ups" {
		t.Errorf("upsc says %v", all)
	}

	u.Set("u1", "ups.status", "OB LB")
	u.Set("u1", "battery.charge", "20")
	u.Set("u1", "ups.id", "")
	all = u.UpscAll("u1")
	if _, there := all["ups.id"]; there || all["ups.status"] != "OB LB" || all["battery.charge"] != "20" {
		t.Errorf("after Set upsc says %v, want OB LB, 20 and no ups.id", all)
	}
	if got := u.Upsc("u2", "ups.status"); got != "OB" {
		t.Errorf("ups.status of u2 = %q, want it untouched", got)
	}

	u.FSD("u1")
	if got := u.Upsc("u1", "ups.status"); got != "FSD OB LB" {
		t.Errorf("ups.status = %q, want FSD OB LB", got)
	}
	u.Restart()
	if got := u.Upsc("u1", "ups.status"); got != "OB LB" {
		t.Errorf("ups.status after a restart = %q, want the latch cleared and the value kept", got)
	}

	u.HangDriver("u1")
	u.ResumeDriver("u1")
	u.KillDriver("u1")
	if _, err := u.Ask("GET VAR u2 ups.status"); err != nil {
		t.Errorf("u2 with u1's driver killed: %v", err)
	}
	u.Restart() // does not wait for a driver that is down
	u.StartDriver("u1")
	if got := u.Upsc("u1", "ups.status"); got != "OL CHRG" {
		t.Errorf("ups.status of a new driver = %q, want the file's", got)
	}
}

// TestUPSDSetIsFast holds Set to what its users rely on: a change is served at once,
// not after dummy-ups's next poll.
func TestUPSDSetIsFast(t *testing.T) {
	t.Parallel()
	u := StartUPSD(t, map[string]string{"u1": smallDev})
	var took []time.Duration
	for i := range 40 {
		begin := time.Now()
		u.Set("u1", "ups.status", [...]string{"OB", "OL"}[i%2])
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("Set until served: p50 %v, p95 %v, worst %v", took[20], took[38], took[39])
	if took[20] > 100*time.Millisecond {
		t.Errorf("Set takes %v (median), want it well below dummy-ups's second", took[20])
	}
}

func TestUPSDPlaysTimers(t *testing.T) {
	t.Parallel()
	u := StartUPSD(t, map[string]string{"u1": "ups.status: OL\nTIMER 1\nups.status: OB\nTIMER 1\n"})
	for _, want := range []string{"OB", "OL", "OB"} {
		u.await("status "+want, func() error { return u.shows("u1", "ups.status", want) })
	}
}

// TestUPSDWaitsIdly holds the drivers to doing nothing while nobody orders anything,
// with upsd and after its end.
func TestUPSDWaitsIdly(t *testing.T) {
	t.Parallel()
	u := StartUPSD(t, map[string]string{"u1": smallDev})
	u.Set("u1", "ups.status", "OB")
	u.checkIdle(t, "with upsd")
	u.Stop()
	u.checkIdle(t, "after upsd's end")
	u.Restart()
	if _, there := u.UpscAll("u1")["driver.wake"]; there {
		t.Error("u1 has a variable that nobody set")
	}
}

func (u *UPSD) checkIdle(t *testing.T, when string) {
	t.Helper()
	before := ticks(t, u.drivers["u1"].PID())
	time.Sleep(500 * time.Millisecond)
	if spent := ticks(t, u.drivers["u1"].PID()) - before; spent > 5 {
		t.Errorf("%s the driver has used %d ticks of 10 ms in half a second, want none", when, spent)
	}
}

// ticks is the processor time of a process. Source: proc_pid_stat(5).
func ticks(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return user + system
}

func TestUPSDLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	var u *UPSD
	t.Run("start", func(t *testing.T) { u = StartUPSD(t, map[string]string{"u1": smallDev}) })
	for _, p := range []*Process{u.server, u.drivers["u1"]} {
		select {
		case <-p.Done():
		default:
			t.Errorf("process %d still runs", p.PID())
		}
	}
	if _, err := os.Stat(u.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", u.dir, err)
	}
	if len(u.socket("")) > 60 || !strings.HasPrefix(u.Addr(), "127.0.0.1:") {
		t.Errorf("socket %s, address %s: want a short path and loopback", u.socket(""), u.Addr())
	}
}
