package vm

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// The plans of TestMainsBack: a slow step after the database, with the point of no return
// behind it, and without one of its own.
const (
	planWithReturn = `  point_of_no_return: late
  steps:
    - {name: database, unit: postgresql.service, timeout: 90s}
    - {name: slow, command: ["/bin/sleep", "300"], undo: ["/bin/true"], timeout: 6m}
    - {name: late, command: ["/bin/true"]}
`
	planWithout = `  steps:
    - {name: database, unit: postgresql.service, timeout: 90s}
    - {name: slow, command: ["/bin/sleep", "5"]}
`
)

// TestMainsBack: whenever the mains come back in the middle of a shutdown, the machine runs in
// the end. The same machine goes through it again and again.
func TestMainsBack(t *testing.T) {
	Need(t, true)
	u := newStoryUPS(t)
	m := New(t, Options{Devices: []Device{u}})
	m.Boot()
	m.Settle()
	m.Must("systemctl", "enable", "--now", "postgresql.service")

	t.Run("before the point of no return", func(t *testing.T) { mainsBackInTime(t, m, u) })
	for _, tt := range []struct {
		name string
		when string // console line at which the mains come back; empty: when the UPS is told to cut
		ends string
	}{
		{"while a late step runs", `event=step_started .*slow`, lineRestart},
		{"after the power-off was asked for", `event=power_off`, lineRestart},
		{"while services are stopped", `Stopped target multi-user.target`, lineRestart},
		{"after the UPS was told to cut its output", "", lineDown},
	} {
		t.Run(tt.name, func(t *testing.T) { mainsBackTooLate(t, m, u, tt.when, tt.ends) })
	}
	m.PowerOff()
}

// configure takes a plan over and waits until the agent reads the UPS.
func configure(t *testing.T, m *Machine, plan string) {
	t.Helper()
	m.Write("/etc/dodai/dodai.yaml", "mode: armed\nups: [{name: rack, driver: megatec, port: /dev/ttyS1, killpower: true}]\n"+
		"shutdown:\n  need: 60s\n  reserve: 30s\n"+plan)
	m.Shell("dodai check; systemctl restart dodai.service")
	ready(t, m)
}

// ready waits until everything that is to run does.
func ready(t *testing.T, m *Machine) {
	t.Helper()
	m.Eventually("the database is up", "pg_lsclusters | grep -q online", m.Limit(time.Minute))
	m.Eventually("the agent reads the UPS", "dodai status | grep -Eq '^rack .*healthy'", m.Limit(time.Minute))
}

// drain takes the mains away, and the battery's charge when that is believed at once.
func drain(t *testing.T, m *Machine, u *SerialUPS) {
	t.Helper()
	mark := m.Console.Mark()
	u.SetMains(false)
	m.Console.Wait(t, lineLost, mark, m.Limit(30*time.Second), m.Off())
	u.SetBatteryLow(new(true))
	m.Console.Wait(t, `event=shutdown_started`, mark, m.Limit(30*time.Second), m.Off())
}

func giveBack(u *SerialUPS) {
	u.SetMains(true)
	u.SetBatteryLow(nil)
}

func mainsBackInTime(t *testing.T, m *Machine, u *SerialUPS) {
	configure(t, m, planWithReturn)
	mark := m.Console.Mark()
	u.SetMains(false)
	m.Console.Wait(t, lineLost, mark, m.Limit(30*time.Second), m.Off())
	u.SetBatteryLow(new(true))
	m.Console.Wait(t, `event=step_started .*slow`, mark, m.Limit(time.Minute), m.Off())
	m.Shell("! pg_lsclusters | grep -q online")
	giveBack(u)
	m.Console.Wait(t, `event=shutdown_cancelled`, mark, m.Limit(2*time.Minute), m.Off())
	ready(t, m)
	if !m.Running() {
		t.Fatal("the machine is off although the mains came back in time")
	}
	if _, off := m.Console.Find(`event=power_off`, mark); off {
		t.Error("the power-off was asked for although the mains came back in time")
	}
}

func mainsBackTooLate(t *testing.T, m *Machine, u *SerialUPS, when, ends string) {
	configure(t, m, planWithout)
	mark, begin := m.Console.Mark(), time.Now()
	drain(t, m, u)
	if when == "" {
		toldToCut(t, m, u, begin)
	} else {
		m.Console.Wait(t, when, mark, m.Limit(2*time.Minute), m.Off())
	}
	giveBack(u)
	back := time.Now()
	e := m.Wait(m.Limit(3 * time.Minute))
	t.Logf("%.1f s after the mains were back the machine is off", e.At.Sub(back).Seconds())
	if _, ok := m.Console.Find(ends, mark); !ok {
		t.Errorf("the machine did not end with %q", ends)
	}
	powerOn(t, m, u, mark)
	ready(t, m)
	checkBackUp(t, m)
}

// toldToCut waits until the UPS has been told to cut its output.
func toldToCut(t *testing.T, m *Machine, u *SerialUPS, begin time.Time) {
	t.Helper()
	for deadline := time.Now().Add(m.Limit(2 * time.Minute)); ; time.Sleep(10 * time.Millisecond) {
		if slices.ContainsFunc(u.Queries(begin), func(q Query) bool { return strings.HasPrefix(q.Text, "S") }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the UPS was not told to cut its output")
		}
	}
}

// powerOn does what makes a real machine start: it does so itself after a reboot, and
// when power returns to it; one that is off stays so as long as its power does not go away.
func powerOn(t *testing.T, m *Machine, u *SerialUPS, mark int) {
	t.Helper()
	if _, restarts := m.Console.Find(lineRestart, mark); !restarts {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := u.WaitOutput(ctx, false); err != nil {
			t.Fatalf("the machine is off, its UPS does not cut the output, and nobody switches it on again: %v", err)
		}
		if err := u.WaitOutput(ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	m.Boot()
}

// checkBackUp: the last shutdown was told, and the agent does not go on with it.
func checkBackUp(t *testing.T, m *Machine) {
	t.Helper()
	s := status(m)
	if s.Shutdown != nil || s.State == "shutting down" {
		t.Errorf("after the boot the agent is in a shutdown: %s, %+v", s.State, s.Shutdown)
	}
	if all := events(m); !slices.ContainsFunc(all, func(e dodai.Event) bool { return e.Name == dodai.EventPowerOff }) {
		t.Error("the events do not tell of the power-off")
	}
}
