package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// planted is a fault of the plan: the step it makes useless, what the finding is called,
// and words of its true cause.
type planted struct {
	step  string // its line in the plan, without the name
	check string
	words []string
}

// systemctl answers for a machine with one unit, as the real one does for its properties;
// there is no systemd where tests run.
const systemctl = `#!/bin/sh
case "$*" in
*list-unit-files*) echo "postgresql.service enabled enabled" ;;
*"-- postgresql.service") printf 'LoadState=loaded\nActiveState=active\nCanStart=yes\nCanStop=yes\nRefuseManualStart=no\nRefuseManualStop=no\nMainPID=0\n' ;;
*"-- guarded.service") printf 'LoadState=loaded\nActiveState=active\nCanStart=yes\nCanStop=yes\nRefuseManualStart=no\nRefuseManualStop=yes\nMainPID=0\n' ;;
*) printf 'LoadState=not-found\nActiveState=inactive\nCanStart=no\nCanStop=no\nRefuseManualStart=no\nRefuseManualStop=no\nMainPID=0\n' ;;
esac
`

// docker answers as the real one where the user may not open its socket.
const docker = `#!/bin/sh
echo "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.47/containers/json\": dial unix /var/run/docker.sock: connect: permission denied" >&2
exit 1
`

// podman answers as the real one that has a container.
const podman = `#!/bin/sh
case "$1" in ps) echo "3f2a9c0d1e4b web" ;; esac
`

// localFaults are those of this machine. Files lie in the daemon's folder, which none but
// its owner may enter.
func localFaults(t *testing.T, d *daemon) []planted {
	t.Helper()
	d.program("data", "#!/bin/sh\n", 0o644)
	d.program("script", "#!/opt/python9/bin/python9\n", 0o755)
	d.program("text", "set -e\n", 0o755)
	d.program("foreign", "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x02\x00\xf3\x00\x01"+strings.Repeat("\x00", 43), 0o755) // for RISC-V
	d.program("hidden", "#!/bin/sh\n", 0o755)
	d.program("bin/docker", docker, 0o755)
	faults := []planted{
		{`unit: postgres.service`, "unit_not_found", []string{"there is no unit postgres.service", "postgresql.service"}},
		{`unit: guarded.service`, "unit_refuses", []string{"guarded.service refuses to be stopped by hand"}},
		{`command: ["/opt/nowhere/drain", "--all"]`, "program_missing", []string{"/opt/nowhere"}},
		{`command: ["dodai-drain-that-is-not-there"]`, "program_missing", []string{"dodai-drain-that-is-not-there", "PATH"}},
		{`command: ["%DIR%/data"]`, "program_not_executable", []string{"may not execute %DIR%/data", "-rw-r--r--"}},
		{`command: ["%DIR%/script"]`, "interpreter_missing", []string{"/opt/python9/bin/python9", "%DIR%/script"}},
		{`command: ["%DIR%/text"]`, "program_format", []string{"%DIR%/text", "#!"}},
		{`command: ["%DIR%/foreign"]`, "program_format", []string{"%DIR%/foreign", "RISCV"}},
		{`{command: ["/bin/true"], undo: ["/opt/nowhere/undrain"]}`, "program_missing", []string{"undoing it: ", "/opt/nowhere"}},
		{`containers: {engine: "%DIR%/bin/docker"}`, "engine_denied", []string{"permission denied"}},
		{`notify: "the machine goes down"`, "nobody_listens", []string{"notification"}},
	}
	if os.Geteuid() == 0 { // who is not may not become another user anyway
		faults = append(faults,
			planted{`{command: ["/bin/true"], user: nobody9}`, "user_unknown", []string{"nobody9"}},
			planted{`{command: ["%DIR%/hidden"], user: nobody}`, "program_not_executable", []string{"user nobody may not search %DIR%"}},
		)
	}
	return faults
}

func (d *daemon) program(name, text string, mode os.FileMode) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(d.file(name)), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(d.file(name), []byte(text), mode); err != nil {
		d.t.Fatal(err)
	}
}

// plan writes steps one below the other, each with a name of its own.
func plan(steps []string) string {
	var b strings.Builder
	b.WriteString("  steps:\n")
	for i, s := range steps {
		s = strings.TrimSuffix(strings.TrimPrefix(s, "{"), "}")
		if strings.HasPrefix(steps[i], "{") {
			fmt.Fprintf(&b, "    - {name: s%02d, %s}\n", i, s)
		} else {
			fmt.Fprintf(&b, "    - name: s%02d\n      %s\n", i, steps[i])
		}
	}
	return b.String()
}

// startIn is start with variables of the environment, and without waiting for more than
// an answer: a machine that could not be powered off is never ready.
func (d *daemon) startIn(env ...string) {
	d.t.Helper()
	cmd := exec.Command(binary, "agent", "--config", d.config, "--state-dir", d.file("state"),
		"--socket", d.file("dodai.sock"), "--listen", fmt.Sprintf("127.0.0.1:%d", d.port))
	cmd.Env = append(os.Environ(), env...)
	d.Process = peer.Start(d.t, cmd, func() error {
		resp, err := d.http.Get("http://dodai/healthz")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// preflight runs the command, which has to end with the status exit.
func (d *daemon) preflight(exit int) agent.PreflightResult {
	d.t.Helper()
	out, errs, got := run(d.t, "preflight", "--socket", d.file("dodai.sock"), "--json")
	var r agent.PreflightResult
	if err := json.Unmarshal([]byte(out), &r); got != exit || err != nil {
		d.t.Fatalf("dodai preflight exits with %d, want %d: %v\n%s\n%s", got, exit, err, out, errs)
	}
	return r
}

// A preflight finds each of the planted faults by its true cause, says what to do about
// it, and has nothing against the rest.
func TestPreflightFindsPlantedFaults(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	faults := slices.Concat(localFaults(t, d), libvirtFaults(t), remoteFaults(t, d))
	steps := make([]string, len(faults))
	for i, f := range faults {
		steps[i] = f.step
	}
	upses, cuts := cutFaults(t)
	d.program("bin/systemctl", systemctl, 0o755)
	d.write("mode: armed\npolicy: {min_supplies: 1}\n" + upses + "shutdown:\n  command: [\"/bin/true\"]\n" + plan(steps))
	d.startIn("PATH=" + d.file("bin") + ":" + os.Getenv("PATH"))
	r := d.preflight(3)
	for i, f := range append(slices.Clip(faults), cuts...) {
		d.found(r, i, len(faults), f)
	}
	t.Logf("%d planted faults, %d findings, in %.1f s", len(faults)+len(cuts), len(r.Findings), r.TookS)
	if n := len(faults) + len(cuts); n < 15 || len(r.Findings) != n {
		t.Errorf("%d findings of %d planted faults, want each, once, and at least 15", len(r.Findings), n)
	}
	text, _, _ := run(t, "preflight", "--socket", d.file("dodai.sock"))
	if !strings.Contains(text, fmt.Sprintf("%d findings; tried as ", len(r.Findings))) || strings.Count(text, "  repair: ") != len(r.Findings) {
		t.Errorf("the command says\n%s", text)
	}
	// The agent's own, at its start, may have found a busy peer silent that answers now.
	if ev := d.events(dodai.EventPreflightFailed); len(ev) < 1 || len(ev) > 2 || ev[len(ev)-1].Fields["findings"] != float64(len(r.Findings)) {
		t.Errorf("events %+v, want one with the number of findings", ev)
	}
}

// found checks what was found of the i-th fault: of a step, or after them of a UPS.
func (d *daemon) found(r agent.PreflightResult, i, steps int, f planted) {
	d.t.Helper()
	name := fmt.Sprintf("s%02d", i)
	mine := slices.DeleteFunc(slices.Clone(r.Findings), func(g shutdown.Finding) bool { return g.Step != name })
	if i >= steps {
		name = f.step
		mine = slices.DeleteFunc(slices.Clone(r.Findings), func(g shutdown.Finding) bool { return g.Step != "killpower" || g.Device != f.step })
	}
	if len(mine) != 1 {
		d.t.Errorf("%s (%s): findings %+v, want %s with %q", name, f.step, mine, f.check, f.words)
		return
	}
	d.t.Logf("%-24s %s", f.check, mine[0].Text)
	if mine[0].Check != f.check || mine[0].Fix == "" {
		d.t.Errorf("%s (%s): finding %+v, want %s and a repair", name, f.step, mine[0], f.check)
	}
	for _, w := range f.words {
		if w = strings.ReplaceAll(w, "%DIR%", d.dir); !strings.Contains(mine[0].Text, w) {
			d.t.Errorf("%s (%s): %q does not say %q", name, f.step, mine[0].Text, w)
		}
	}
}

// libvirtFaults are those of the real virsh with libvirt's own test driver.
func libvirtFaults(t *testing.T) []planted {
	if !has(t, "virsh") {
		return nil
	}
	return []planted{{`libvirt: {uri: "test:///default", domains: [tset]}`, "domain_unknown", []string{"there is no domain tset", "test"}}}
}

// cutFaults are UPSes that would not cut their output, with their names for steps.
func cutFaults(t *testing.T) (config string, faults []planted) {
	upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
	ups := func(name, password string) string {
		return fmt.Sprintf("  - {name: %s, driver: nut, address: %s/u1, options: {username: %s, password: %s}, killpower: true, poll: 1s}\n",
			name, upsd.Addr(), peer.UPSDAdmin, password)
	}
	return "ups:\n" + ups("nocommand", peer.UPSDAdminPassword), []planted{
		{"nocommand", "cut_refused", []string{"shutdown.return"}},
	}
}

// A plan without a fault: nothing is found, no alert, no event, and the machine is ready.
func TestPreflightHealthyPlan(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	d.program("bin/systemctl", systemctl, 0o755)
	d.program("bin/podman", podman, 0o755)
	d.program("drain", "#!/bin/sh\n", 0o755)
	steps := []string{
		`unit: postgresql.service`,
		`{command: ["%DIR%/drain", "--all"], undo: ["/bin/true"], early: {on_battery: 60s}}`,
		`command: [true]`,
		`containers: podman`,
		`containers: {engine: "%DIR%/bin/podman", names: [web]}`,
		`notify: "the machine goes down"`,
		`wall: "the machine goes down"`,
	}
	if os.Geteuid() == 0 {
		steps = append(steps, `{command: ["/bin/true"], user: nobody}`)
	}
	if has(t, "virsh") {
		steps = append(steps, `libvirt: {uri: "test:///default", domains: [test]}`)
	}
	steps = append(steps, remoteHealthy(t, d)...)
	u, err := megatec.New(megatec.Config{Baud: -1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	d.write(fmt.Sprintf("mode: armed\nups: [{name: u1, driver: megatec, port: %s, poll: 500ms, killpower: true}]\n", u.Path()) +
		"shutdown:\n  command: [\"/bin/true\"]\n" + plan(steps) +
		"hooks: [{on: [notification], command: [\"/bin/true\"]}]\n")
	d.startIn("PATH=" + d.file("bin") + ":" + os.Getenv("PATH"))
	r := d.preflight(0)
	if len(r.Steps) != len(steps)+2 {
		t.Errorf("%d steps, want each, the power-off and the UPS", len(r.Steps))
	}
	eventually(t, 20*time.Second, "to be ready", func() bool {
		resp, err := d.http.Get("http://dodai/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	s := d.status()
	if s.Preflight == nil || !s.Preflight.OK || len(s.Alerts) != 0 {
		t.Errorf("status has preflight %+v, alerts %+v", s.Preflight, s.Alerts)
	}
	if ev := d.events(dodai.EventPreflightFailed); len(ev) != 0 {
		t.Errorf("events %+v", ev)
	}
	if state := u.State(); state.CountingDown {
		t.Error("the UPS counts down to its cut")
	}
	t.Logf("%d steps tried in %.1f s", len(r.Steps), r.TookS)
}

// A preflight of a file where no agent runs finds the same, in the command's own process.
func TestPreflightWithoutAgent(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	faults := localFaults(t, d)
	steps := make([]string, len(faults))
	for i, f := range faults {
		steps[i] = f.step
	}
	d.write("mode: armed\n" + strings.Replace(files("u1"), "mode: armed\n", "", 1) + "shutdown:\n  command: [\"/opt/nowhere/off\"]\n" + plan(steps))
	writeFile(t, d.file("u1"), upsJSON)
	cmd := exec.Command(binary, "preflight", "--config", d.config, "--socket", d.file("dodai.sock"), "--json")
	d.program("bin/systemctl", systemctl, 0o755)
	cmd.Env = append(os.Environ(), "PATH="+d.file("bin")+":"+os.Getenv("PATH"))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, _ := cmd.Output()
	var r agent.PreflightResult
	if err := json.Unmarshal(out, &r); err != nil || cmd.ProcessState.ExitCode() != 3 || !strings.Contains(errs.String(), "is tried in this process") {
		t.Fatalf("exits with %d: %v\n%s%s", cmd.ProcessState.ExitCode(), err, out, errs.String())
	}
	for i, f := range faults {
		d.found(r, i, len(faults), f)
	}
	last := r.Findings[len(r.Findings)-1]
	if last.Step != shutdown.PowerOffStep || !last.Fatal || len(r.Findings) != len(faults)+1 {
		t.Errorf("%d findings, the last %+v; want the power-off, fatal", len(r.Findings), last)
	}
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>`

// login is a login manager that would or would not power off, and never is asked to.
type login struct{ says string }

func (l login) CanPowerOff() (string, *dbus.Error) { return l.says, nil }

// loginManager runs a private bus in place of the system's, with a login manager on it,
// and returns its address.
func loginManager(t *testing.T, dir string, manager any) string {
	t.Helper()
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	writeFile(t, config, fmt.Sprintf(busConfig, socket))
	peer.Start(t, exec.Command(peer.Need(t, "dbus-daemon"), "--nofork", "--config-file="+config), func() error {
		_, err := os.Stat(socket)
		return err
	})
	address := "unix:path=" + socket
	conn, err := dbus.Connect(address, dbus.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Export(manager, "/org/freedesktop/login1", "org.freedesktop.login1.Manager"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName("org.freedesktop.login1", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return address
}

// What polkit would answer to a daemon without root's rights decides whether the machine
// can be powered off at all: without it nothing is left, the agent is not ready, and there
// is nothing to rehearse.
func TestPreflightPowerOffRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can start the agent as another user")
	}
	setpriv := peer.Need(t, "setpriv")
	for _, tt := range []struct {
		says  string
		check string // empty: nothing against the login manager
		words string
		fatal bool
	}{
		{"yes", "", "", false},
		{"no", "power_off_refused", `polkit would refuse the power-off to uid 65534: it answers "no"`, true},
		{"challenge", "power_off_refused", `it answers "challenge" for org.freedesktop.login1.power-off`, true},
		{"na", "power_off_not_available", `"na"`, true},
	} {
		t.Run(tt.says, func(t *testing.T) {
			d := newDaemon(t, files("u1")+"shutdown: {need: 20s}\ndrills: [{name: felt, scenario: low_battery, level: rehearsal}]\n")
			writeFile(t, d.file("u1"), upsJSON)
			address := loginManager(t, d.dir, login{tt.says})
			data, err := os.ReadFile(binary)
			if err != nil {
				t.Fatal(err)
			}
			d.program("dodai", string(data), 0o755)
			for _, name := range []string{"", "dodai.yaml", "u1", "bus"} {
				if err := os.Chown(d.file(name), 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", d.file("dodai"), "agent", "--config", d.config,
				"--state-dir", d.file("state"), "--socket", d.file("dodai.sock"), "--listen", fmt.Sprintf("127.0.0.1:%d", d.port))
			cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+address)
			d.Process = peer.Start(t, cmd, func() error {
				resp, err := d.http.Get("http://dodai/healthz")
				if err != nil {
					return err
				}
				return resp.Body.Close()
			})
			d.refused(d.preflight(3), tt.check, tt.words, tt.fatal)
		})
	}
}

// refused checks what follows from what the login manager said.
func (d *daemon) refused(r agent.PreflightResult, check, words string, fatal bool) {
	d.t.Helper()
	i := slices.IndexFunc(r.Findings, func(f shutdown.Finding) bool { return f.Step == shutdown.PowerOffStep && f.Check == check })
	logind := slices.ContainsFunc(r.Findings, func(f shutdown.Finding) bool {
		return strings.HasPrefix(f.Check, "power_off") || strings.HasPrefix(f.Check, "logind")
	})
	switch {
	case check == "" && !logind:
	case i < 0 || !strings.Contains(r.Findings[i].Text, words) || r.Findings[i].Fatal != fatal || r.Findings[i].Fix == "":
		d.t.Errorf("findings %+v, want %q with %q, fatal %v", r.Findings, check, words, fatal)
	}
	resp, err := d.http.Get("http://dodai/readyz")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if fatal != (resp.StatusCode == http.StatusServiceUnavailable) || fatal && !strings.Contains(string(text), "could not be powered off: ") {
		d.t.Errorf("/readyz answers %d %s", resp.StatusCode, text)
	}
	if !fatal {
		return
	}
	out, _, exit := run(d.t, "drill", "run", "felt", "--yes", "--socket", d.file("dodai.sock"))
	if exit != 3 || !strings.Contains(out, "preflight: power_off: ") {
		d.t.Errorf("a rehearsal exits with %d: %s", exit, out)
	}
}
