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

	mainsBackInTime(m, u)
	for _, back := range []struct {
		when string // line of the console at which the mains come back; empty: when the UPS is told to cut
		ends string
	}{
		{`event=step_started .*slow`, lineRestart},
		{`event=power_off`, lineRestart},
		{`Stopped target multi-user.target`, lineRestart},
		{"", lineDown},
	} {
		mainsBackTooLate(m, u, back.when, back.ends)
	}
	m.PowerOff()
}

// configure takes a plan over and waits until the agent reads the UPS.
func configure(m *Machine, plan string) {
	m.t.Helper()
	m.Write("/etc/dodai/dodai.yaml", "mode: armed\nups: [{name: rack, driver: megatec, port: /dev/ttyS1, killpower: true}]\n"+
		"shutdown:\n  need: 60s\n  reserve: 30s\n"+plan)
	m.Shell("dodai check; systemctl restart dodai.service")
	ready(m)
}

// ready waits until everything that is to run does.
func ready(m *Machine) {
	m.t.Helper()
	m.Eventually("the database is up", "pg_lsclusters | grep -q online", m.Limit(time.Minute))
	m.Eventually("the agent reads the UPS", "dodai status | grep -Eq '^rack .*healthy'", m.Limit(time.Minute))
}

// drain takes the mains away, and the battery's charge when that is believed at once.
func drain(m *Machine, u *SerialUPS) {
	m.t.Helper()
	mark := m.Console.Mark()
	u.SetMains(false)
	m.Console.Wait(m.t, lineLost, mark, m.Limit(30*time.Second), m.Off())
	u.SetBatteryLow(new(true))
	m.Console.Wait(m.t, `event=shutdown_started`, mark, m.Limit(30*time.Second), m.Off())
}

func giveBack(u *SerialUPS) {
	u.SetMains(true)
	u.SetBatteryLow(nil)
}

// mainsBackInTime: the mains return before the point of no return, and the machine never goes off.
func mainsBackInTime(m *Machine, u *SerialUPS) {
	m.t.Helper()
	configure(m, planWithReturn)
	mark := m.Console.Mark()
	u.SetMains(false)
	m.Console.Wait(m.t, lineLost, mark, m.Limit(30*time.Second), m.Off())
	u.SetBatteryLow(new(true))
	m.Console.Wait(m.t, `event=step_started .*slow`, mark, m.Limit(time.Minute), m.Off())
	m.Shell("test $(pg_lsclusters | grep -c online) = 0") // the step before has not ended before the server has
	giveBack(u)
	m.Console.Wait(m.t, `event=shutdown_cancelled`, mark, m.Limit(2*time.Minute), m.Off())
	ready(m)
	if !m.Running() {
		m.t.Fatal("the machine is off although the mains came back in time")
	}
	if _, off := m.Console.Find(`event=power_off`, mark); off {
		m.t.Error("the power-off was asked for although the mains came back in time")
	}
}

// mainsBackTooLate: the mains return behind it, and the machine comes back by itself.
func mainsBackTooLate(m *Machine, u *SerialUPS, when, ends string) {
	m.t.Helper()
	configure(m, planWithout)
	mark, begin := m.Console.Mark(), time.Now()
	drain(m, u)
	if when == "" {
		toldToCut(m, u, begin)
	} else {
		m.Console.Wait(m.t, when, mark, m.Limit(2*time.Minute), m.Off())
	}
	giveBack(u)
	back := time.Now()
	e := m.Wait(m.Limit(3 * time.Minute))
	m.t.Logf("mains back at %q: the machine is off %.1f s later", when, e.At.Sub(back).Seconds())
	if _, ok := m.Console.Find(ends, mark); !ok {
		m.t.Errorf("mains back at %q: the machine did not end with %q", when, ends)
	}
	powerOn(m, u, mark)
	ready(m)
	checkBackUp(m)
}

// toldToCut waits until the UPS has been told to cut its output.
func toldToCut(m *Machine, u *SerialUPS, begin time.Time) {
	m.t.Helper()
	for deadline := time.Now().Add(m.Limit(2 * time.Minute)); ; time.Sleep(10 * time.Millisecond) {
		if slices.ContainsFunc(u.Queries(begin), func(q Query) bool { return strings.HasPrefix(q.Text, "S") }) {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal("the UPS was not told to cut its output")
		}
	}
}

// powerOn does what makes a real machine start: it does so itself after a reboot, and
// when power returns to it; one that is off stays so as long as its power does not go away.
func powerOn(m *Machine, u *SerialUPS, mark int) {
	m.t.Helper()
	if _, restarts := m.Console.Find(lineRestart, mark); !restarts {
		ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
		defer cancel()
		if err := u.WaitOutput(ctx, false); err != nil {
			m.t.Fatalf("the machine is off, its UPS does not cut the output, and nobody switches it on again: %v", err)
		}
		if err := u.WaitOutput(ctx, true); err != nil {
			m.t.Fatal(err)
		}
	}
	m.Boot()
}

// checkBackUp: the last shutdown was told, and the agent does not go on with it.
func checkBackUp(m *Machine) {
	m.t.Helper()
	s := status(m)
	if s.Shutdown != nil || s.State == "shutting down" {
		m.t.Errorf("after the boot the agent is in a shutdown: %s, %+v", s.State, s.Shutdown)
	}
	if all := events(m); !slices.ContainsFunc(all, func(e dodai.Event) bool { return e.Name == dodai.EventPowerOff }) {
		m.t.Error("the events do not tell of the power-off")
	}
}
