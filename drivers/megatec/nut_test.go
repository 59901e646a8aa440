package megatec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/e2e/peer"
	sim "github.com/dodai-agent/dodai/sim/megatec"
)

// nutCommand is the real driver of Network UPS Tools on the simulated unit, with a
// configuration and a state directory of its own.
func nutCommand(t *testing.T, u *sim.UPS, args ...string) *exec.Cmd {
	t.Helper()
	program := peer.Need(t, "nutdrv_qx")
	dir := t.TempDir()
	conf := fmt.Sprintf("[x]\n\tdriver = nutdrv_qx\n\tport = %s\n\tprotocol = megatec\n\tpollfreq = 1\n", u.Path())
	if err := os.WriteFile(filepath.Join(dir, "ups.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, append([]string{"-a", "x", "-u", "root"}, args...)...)
	cmd.Env = append(os.Environ(), "NUT_CONFPATH="+dir, "NUT_STATEPATH="+dir, "NUT_ALTPIDPATH="+dir)
	return cmd
}

// nutDump lets the real driver read once and returns its variables.
func nutDump(t *testing.T, u *sim.UPS) (vars map[string]string, output string) {
	t.Helper()
	out, err := nutCommand(t, u, "-d", "1").CombinedOutput()
	vars = map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			vars[name] = value
		}
	}
	if err != nil {
		vars = nil
	}
	return vars, string(out)
}

// reader polls the unit with one driver of ours, letting go of the port in between, since
// the real driver wants it, too.
func reader(t *testing.T, u *sim.UPS) func() (map[string]string, error) {
	t.Helper()
	d, err := Factory.Open("u1", map[string]string{"port": u.Path()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() (map[string]string, error) {
		defer d.Close()
		r, err := d.Poll(t.Context())
		vars := map[string]string{
			"ups.status": r.Status.String(), "device.mfr": r.Device.Manufacturer, "device.model": r.Device.Model, "ups.firmware": r.Device.Firmware,
		}
		for name, v := range r.Vars {
			vars[name] = v.String()
		}
		return vars, err
	}
}

// sameValue compares texts, and numbers however many zeros they have.
func sameValue(a, b string) bool {
	x, errA := drivers.ParseNumber([]byte(a), -1e9, 1e9)
	y, errB := drivers.ParseNumber([]byte(b), -1e9, 1e9)
	if errA == nil && errB == nil {
		return x == y
	}
	return a == b
}

// The simulator satisfies the real driver, and both drivers read the same from it.
func TestSimulatorAgainstNUT(t *testing.T) {
	tests := []struct {
		name   string
		set    func(u *sim.UPS)
		status string
	}{
		{"on line", func(u *sim.UPS) {}, "OL"},
		{"on battery", func(u *sim.UPS) { u.SetMains(false); u.SetCharge(0.8) }, "OB"},
		{"battery low", func(u *sim.UPS) { u.SetMains(false); u.SetCharge(0.15); u.SetLoad(55); u.SetTemperature(31) }, "OB LB"},
		{"brown-out", func(u *sim.UPS) { u.SetInputVolts(190) }, "OL BOOST"},
	}
	same := []string{
		"ups.status", "device.mfr", "device.model", "ups.firmware", "ups.type", "ups.beeper.status", "ups.load", "ups.temperature",
		"input.voltage", "input.voltage.fault", "output.voltage", "input.frequency", "battery.voltage",
		"input.voltage.nominal", "input.current.nominal", "input.frequency.nominal", "battery.voltage.nominal",
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := newSim(t, sim.Config{Runtime: 24 * time.Hour}) // so that nothing moves between the two
			read := reader(t, u)
			if _, err := read(); err != nil { // on line, so that identity and ratings are known
				t.Fatal(err)
			}
			tt.set(u)
			theirs, output := nutDump(t, u)
			if theirs["ups.status"] != tt.status {
				t.Fatalf("nutdrv_qx reads %q, want %q; it said:\n%s", theirs["ups.status"], tt.status, output)
			}
			ours, err := read()
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range same {
				if !sameValue(ours[name], theirs[name]) {
					t.Errorf("%s: we read %q, nutdrv_qx %q", name, ours[name], theirs[name])
				}
			}
			if got, want := ours["battery.charge.estimated"], theirs["battery.charge"]; got != want {
				t.Errorf("estimated charge: ours is %q, nutdrv_qx's %q", got, want)
			}
		})
	}
}

// The worked examples, played to the real driver: what the table says it makes of them
// is what it makes of them.
func TestWorkedExamplesAgainstNUT(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real driver for each example")
	}
	for _, ex := range workedExamples {
		t.Run(ex.name, func(t *testing.T) {
			t.Parallel()
			u := newSim(t, sim.Config{Baud: -1})
			u.SetFrame(ex.frame)
			vars, output := nutDump(t, u)
			if got := vars["ups.status"]; got != ex.nut {
				t.Errorf("%q: nutdrv_qx reads %q, want %q; it said:\n%s", ex.frame, got, ex.nut, output)
			}
			charge := fmt.Sprint(ex.charge)
			if ex.nutCharge != "" {
				charge = ex.nutCharge
			}
			if ex.nut != "" && vars["battery.charge"] != charge {
				t.Errorf("%q: nutdrv_qx estimates %q %%, want %q", ex.frame, vars["battery.charge"], charge)
			}
			if ours, err := reader(t, u)(); err != nil || ours["ups.status"] != ex.want {
				t.Errorf("%q: we read %q, %v: want %q", ex.frame, ours["ups.status"], err, ex.want)
			}
		})
	}
}

// The commands of the real driver's shutdown work on the simulator.
func TestNUTShutsTheSimulatorDown(t *testing.T) {
	t.Parallel()
	u := newSim(t, sim.Config{})
	u.SetMains(false)
	out, err := nutCommand(t, u, "-k").CombinedOutput()
	if err != nil || !u.State().CountingDown || u.Asked("S.5R0003") != 1 {
		t.Errorf("nutdrv_qx -k: %v, counting down %v, S.5R0003 came %d times: want once; it said:\n%s",
			err, u.State().CountingDown, u.Asked("S.5R0003"), out)
	}
	if ours, err := reader(t, u)(); err != nil || ours["ups.status"] != "FSD OB" {
		t.Errorf("we read %q, %v: want FSD OB", ours["ups.status"], err)
	}
}

// Whoever has the port keeps it, and the other one is told.
func TestPortHeld(t *testing.T) {
	u := newSim(t, sim.Config{Baud: -1})
	ready := func() error {
		if u.Asked("Q1") < 3 {
			return errors.New("does not poll yet")
		}
		return nil
	}
	nut := peer.Start(t, nutCommand(t, u, "-D"), ready)
	_, err := reader(t, u)()
	if !errors.Is(err, drivers.ErrDenied) || !strings.Contains(err.Error(), fmt.Sprintf("nutdrv_qx (pid %d)", nut.PID())) {
		t.Errorf("Poll while nutdrv_qx has the port: %v, want ErrDenied and its name", err)
	}
}

func TestPortHeldByUs(t *testing.T) {
	u := newSim(t, sim.Config{Baud: -1})
	d, err := Factory.Open("u1", map[string]string{"port": u.Path()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := u.Exchanges()
	if vars, output := nutDump(t, u); vars != nil || u.Exchanges() != before || !strings.Contains(output, "locked by another process") {
		t.Errorf("nutdrv_qx talked on a port that is ours, %d requests; it said:\n%s", u.Exchanges()-before, output)
	}
	_, err = reader(t, u)()
	if e, ok := errors.AsType[*drivers.Error](err); !ok || !errors.Is(err, drivers.ErrDenied) || !strings.Contains(e.Hint, "twice") {
		t.Errorf("second driver on the same port: %v, want ErrDenied and that it is configured twice", err)
	}
}
