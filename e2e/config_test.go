package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// files is a configuration of UPSes in files below the daemon's folder, %DIR%/NAME.
func files(names ...string) string {
	var b strings.Builder
	b.WriteString("mode: armed\npolicy: {min_supplies: 1}\nups:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  - {name: %s, driver: dummy, port: %%DIR%%/%s, poll: 200ms}\n", name, name)
	}
	return b.String()
}

const (
	onBattery  = `{"kind":"ups","status":["OB","DISCHRG"],"readings":{"battery.charge":90,"battery.runtime":1800,"input.voltage":0}}`
	lowBattery = `{"kind":"ups","status":["OB","DISCHRG","LB"],"readings":{"battery.charge":9,"battery.runtime":60,"input.voltage":0}}`
)

// off is a power-off that works where no login manager does, so that nothing stands against it.
const off = "shutdown: {command: [\"/bin/true\"]}\n"

// reload sends SIGHUP and waits for what it says.
func (d *daemon) reload(config string, event dodai.EventName) dodai.Event {
	d.t.Helper()
	before := len(d.events(event))
	d.write(config)
	if err := d.Signal(syscall.SIGHUP); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, 10*time.Second, string(event), func() bool { return len(d.events(event)) > before })
	all := d.events(event)
	return all[len(all)-1]
}

func (d *daemon) device(name string) (agent.DeviceStatus, bool) {
	d.t.Helper()
	for _, dev := range d.status().Devices {
		if dev.Name == name {
			return dev, true
		}
	}
	return agent.DeviceStatus{}, false
}

// SIGHUP takes a good configuration over, in an outage too, and keeps the old one when the
// new one is wrong.
func TestReload(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, files("u1"))
	for _, name := range []string{"u1", "u2"} {
		writeFile(t, d.file(name), upsJSON)
	}
	d.start()
	writeFile(t, d.file("u1"), onBattery)
	eventually(t, 10*time.Second, "u1 on battery", func() bool { return d.status().UPSes[0].OnBattery })
	time.Sleep(time.Second)

	d.reload(files("u1", "u2"), dodai.EventConfigReloaded)
	if dev, ok := d.device("u1"); !ok || dev.Reading == nil {
		t.Errorf("after the reload u1 is %+v: its last good reading is forgotten", dev)
	}
	eventually(t, 5*time.Second, "u2 to be read", func() bool { dev, ok := d.device("u2"); return ok && dev.Polls > 0 && dev.Error == "" })
	if u := d.status().UPSes[0]; u.Name != "u1" || !u.OnBattery || *u.OnBattS < 1 {
		t.Errorf("after the reload u1 is %+v: the outage has begun anew", u)
	}
	if n := len(d.events(dodai.EventMainsLost)); n != 1 {
		t.Errorf("%d losses of mains, want the one", n)
	}

	rejected := d.reload(files("u1")+"shutdown: {need: 120}\n", dodai.EventConfigRejected)
	if want := d.config + ":5:18"; !strings.Contains(rejected.Text, want) || !strings.Contains(d.Output(), want) {
		t.Errorf("the rejection says %q, want %s in it and in the log\n%s", rejected.Text, want, d.Output())
	}
	polls, _ := d.device("u2")
	eventually(t, 5*time.Second, "u2 to be read on", func() bool { dev, ok := d.device("u2"); return ok && dev.Polls > polls.Polls })

	d.reload(files("u2")+off, dodai.EventConfigReloaded)
	eventually(t, 5*time.Second, "u1 to be gone", func() bool { _, there := d.device("u1"); return !there && len(d.status().UPSes) == 1 })
	eventually(t, 5*time.Second, "the end of the outage of a UPS that is gone", func() bool { return d.status().State == "normal" })
}

// A serial port is handed from the old driver to the new one without a gap.
func TestReloadSerial(t *testing.T) {
	t.Parallel()
	s := startSerial(t, "{}")
	for range 3 {
		s.reload(serialSite(s.UPS, "{}"), dodai.EventConfigReloaded)
		oldest := 0.0
		for range 30 {
			dev, _ := s.device("u1")
			if dev.AgeS == nil {
				t.Fatalf("the last good reading is forgotten: %+v", dev)
			}
			oldest = max(oldest, *dev.AgeS)
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("greatest age around a reload: %.2f s", oldest)
		if dev, _ := s.device("u1"); dev.Error != "" || oldest > 3 {
			t.Errorf("after a reload: error %q, greatest age %.1f s; want none, less than 3 polls", dev.Error, oldest)
		}
	}
	if n := len(s.events(dodai.EventCommsLost)); n != 0 {
		t.Errorf("%d reports of lost communication", n)
	}
}

// term sends SIGTERM and checks the end.
func (d *daemon) term(when string) {
	d.t.Helper()
	begin := time.Now()
	if err := d.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatal(err)
	}
	exit, took := d.Exit(), time.Since(begin)
	d.t.Logf("%s: ends in %v with %d", when, took.Round(time.Millisecond), exit)
	limit := 2 * time.Second
	if !exact { // what hangs is left behind after 1.7 s, and a busy machine is late
		limit += time.Second
	}
	if took > limit || exit != 0 {
		d.t.Errorf("%s: ends in %v with %d, want %v at most and 0\n%s", when, took, exit, limit, d.Output())
	}
}

func TestSIGTERM(t *testing.T) {
	t.Parallel()
	m := startMixed(t, time.Second, "")
	m.term("all devices healthy")

	m.start()
	m.upsd.Hang()
	m.mute()
	time.Sleep(1500 * time.Millisecond) // polls of silent devices are under way
	m.term("all devices silent")

	d := newDaemon(t, files("u1")+`hooks: [{on: [mains_lost], command: ["/bin/sh", "-c", "trap '' TERM; echo >%DIR%/hook; sleep 20"], timeout: 30s}]`)
	writeFile(t, d.file("u1"), upsJSON)
	d.start()
	writeFile(t, d.file("u1"), onBattery)
	eventually(t, 10*time.Second, "the hook", func() bool { return d.lines("hook") != nil })
	d.term("on battery, a hook running")
	d.start()
	if u := d.status().UPSes[0]; !u.OnBattery || u.OnBattS == nil || *u.OnBattS < 0.2 {
		t.Errorf("after the restart u1 is %+v, want the outage to go on", u)
	}
	d.term("on battery")
}

// The service manager ends the agent in the middle of a shutdown. What was started goes on.
func TestSIGTERMInAStep(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, files("u1")+`shutdown:
  need: 20s
  reserve: 10s
  steps:
    - {name: first, command: ["/bin/sh", "-c", "echo begun >>%DIR%/first; sleep 4; echo told; echo ended >>%DIR%/first"], timeout: 20s}
    - {name: second, command: ["/bin/sh", "-c", "echo >>%DIR%/second"], timeout: 20s}
  command: ["/bin/sh", "-c", "echo >>%DIR%/command"]
`)
	writeFile(t, d.file("u1"), upsJSON)
	d.start()
	writeFile(t, d.file("u1"), lowBattery)
	eventually(t, 15*time.Second, "the first step", func() bool { return d.lines("first") != nil })
	d.term("in a step")
	if got := d.lines("first"); len(got) != 1 {
		t.Fatalf("the step has written %q before the agent's end, want begun alone", got)
	}
	eventually(t, 10*time.Second, "the step's own end", func() bool { return len(d.lines("first")) == 2 })
	if d.lines("second") != nil || d.lines("command") != nil {
		t.Errorf("something ran after the agent's end: second %q, command %q", d.lines("second"), d.lines("command"))
	}
	d.start() // it was not the service manager's way down: the plan is gone through to its end
	eventually(t, 20*time.Second, "the command", func() bool { return d.lines("command") != nil })
}

// Two agents on one state would both shut the machine down, and neither would know.
func TestSecondAgentIsRefused(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, files("u1")+off)
	writeFile(t, d.file("u1"), upsJSON)
	d.start()
	_, errs, exit := run(t, "agent", "--config", d.config, "--state-dir", d.file("state"), "--socket", d.file("other.sock"))
	if exit != 1 || !strings.Contains(errs, fmt.Sprintf("pid %d ", d.PID())) {
		t.Errorf("a second agent on the same state ends with %d, want 1 and pid %d:\n%s", exit, d.PID(), errs)
	}
	_, errs, exit = run(t, "agent", "--config", d.config, "--state-dir", d.file("other"), "--socket", d.file("dodai.sock"))
	if exit != 1 || !strings.Contains(errs, "another agent is listening") {
		t.Errorf("a second agent on the same socket ends with %d, want 1:\n%s", exit, errs)
	}
	if s := d.status(); s.State != "normal" || s.Journal != "ok" {
		t.Errorf("afterwards the first agent is in state %s, journal %s", s.State, s.Journal)
	}
}

// kill -9 leaves the socket and the lock file behind; neither stops the next agent.
func TestSocketLeftBehindIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, files("u1")+off)
	writeFile(t, d.file("u1"), upsJSON)
	d.start()
	d.kill()
	if info, err := os.Lstat(d.file("dodai.sock")); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("after kill -9 the socket is %v, %v; want it left behind", info, err)
	}
	d.start()
	if s := d.status(); s.State != "normal" || s.Journal != "ok" {
		t.Errorf("the next agent is in state %s, journal %s", s.State, s.Journal)
	}
	d.term("normal")
	if _, err := os.Lstat(d.file("dodai.sock")); !os.IsNotExist(err) {
		t.Errorf("an orderly end leaves the socket behind: %v", err)
	}
}

// Healthy as soon as decisions are made; ready once each device has answered or been
// reported as silent.
func TestHealthyAndReady(t *testing.T) {
	t.Parallel()
	upsd := peer.StartUPSD(t, map[string]string{"n1": upsFile})
	d := newDaemon(t, files("u1")+fmt.Sprintf("  - {name: n1, driver: nut, address: %q, options: {ups: n1}, poll: 1s}\n", upsd.Addr()))
	writeFile(t, d.file("u1"), upsJSON)
	upsd.Hang()
	d.startUntil("/healthz")
	if status, text := d.page("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "n1") {
		t.Errorf("before n1 has answered or been given up, /readyz is %d %q; want 503 and n1", status, text)
	}
	if status, _ := d.page("/healthz"); status != http.StatusOK {
		t.Errorf("meanwhile /healthz is %d, want 200", status)
	}
	eventually(t, 15*time.Second, "n1 to be reported as silent", func() bool { status, _ := d.page("/readyz"); return status == http.StatusOK })
	if dev, _ := d.device("n1"); dev.Error == "" || dev.Quality != dodai.QualityNever {
		t.Errorf("ready, and n1 is %+v; want it never heard, with an error", dev)
	}
	upsd.Resume()
	eventually(t, 30*time.Second, "n1 to answer", func() bool { dev, _ := d.device("n1"); return dev.Quality == dodai.QualityFresh })
	upsd.Hang()
	eventually(t, 15*time.Second, "n1 to fail", func() bool { dev, _ := d.device("n1"); return dev.Error != "" })
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, text := d.page(path); status != http.StatusOK {
			t.Errorf("with n1 silent again %s is %d %q, want 200: one device does not make the agent sick", path, status, text)
		}
	}
}

// command is the agent's command line.
func (d *daemon) command() []string {
	return []string{binary, "agent", "--config", d.config, "--state-dir", d.file("state"),
		"--socket", d.file("dodai.sock"), "--listen", fmt.Sprintf("127.0.0.1:%d", d.port)}
}

// startUntil runs the agent until a path answers 200.
func (d *daemon) startUntil(path string) {
	d.t.Helper()
	args := d.command()
	d.runUntil(exec.Command(args[0], args[1:]...), path)
}

func (d *daemon) runUntil(cmd *exec.Cmd, path string) {
	d.t.Helper()
	d.Process = peer.Start(d.t, cmd, func() error {
		resp, err := d.http.Get("http://dodai" + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", path, resp.Status)
		}
		return nil
	})
}

// tiny mounts a small file system for the state, visible to the agent alone.
const tiny = `mkdir -p "$STATE" && mount -t tmpfs -o size=$SIZE tmpfs "$STATE" || exit 1
eval "$THEN"; exec "$@"`

// startOnTiny starts the agent with its state on a file system of its own, after then.
func (d *daemon) startOnTiny(size, then string) {
	d.t.Helper()
	unshare := peer.Need(d.t, "unshare")
	if out, err := exec.Command(unshare, "-Urm", "mount", "-t", "tmpfs", "tmpfs", d.dir).CombinedOutput(); err != nil {
		d.t.Skipf("no mount in a namespace here: %v: %s", err, out)
	}
	cmd := exec.Command(unshare, append([]string{"-Urm", "/bin/sh", "-c", tiny, "sh"}, d.command()...)...)
	cmd.Env = append(os.Environ(), "STATE="+d.file("state"), "SIZE="+size, "THEN="+then)
	d.runUntil(cmd, "/readyz")
}

// fill writes to the agent's own view of its state until nothing more fits.
func (d *daemon) fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join("/proc", fmt.Sprint(d.PID()), "root", d.file("state"), "filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for err = error(nil); err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !strings.Contains(err.Error(), "no space left") {
		d.t.Fatalf("fill: %v", err)
	}
}

// A state directory that cannot be written costs the memory of the outage, never the
// decision.
func TestNoPlaceForState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(*daemon)
	}{
		{"a file in its place", func(d *daemon) { writeFile(d.t, d.file("state"), "x"); d.start() }},
		{"read-only", func(d *daemon) { d.startOnTiny("1m", `mount -o remount,ro "$STATE"`) }},
		{"full at the start", func(d *daemon) { d.startOnTiny("64k", `head -c 1000000 /dev/zero >"$STATE"/filler`) }},
		{"full later", func(d *daemon) { d.startOnTiny("4m", ":"); d.fill() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			outageWithoutState(t, tt.start)
		})
	}
}

func outageWithoutState(t *testing.T, start func(*daemon)) {
	d := newDaemon(t, files("u1")+`hooks: [{on: [mains_lost], command: ["/bin/sh", "-c", "echo >>%DIR%/hook"]}]
shutdown:
  need: 20s
  reserve: 10s
  steps: [{name: first, command: ["/bin/sh", "-c", "echo >>%DIR%/first"], timeout: 5s}]
  command: ["/bin/sh", "-c", "echo >>%DIR%/command"]
`)
	writeFile(t, d.file("u1"), upsJSON)
	start(d)
	lost := time.Now()
	writeFile(t, d.file("u1"), lowBattery)
	eventually(t, 15*time.Second, "the command", func() bool { return d.lines("command") != nil })
	t.Logf("lost to command in %v", time.Since(lost).Round(time.Millisecond))
	if len(d.lines("first")) != 1 || len(d.lines("command")) != 1 {
		t.Errorf("the step ran %d times, the command %d times; want once each", len(d.lines("first")), len(d.lines("command")))
	}
	eventually(t, 5*time.Second, "the hook", func() bool { return d.lines("hook") != nil })
	eventually(t, 5*time.Second, "the power-off to be asked for", func() bool { s := d.status().Shutdown; return s != nil && s.Finished })
	if s := d.status(); s.Journal == "ok" {
		t.Errorf("journal %q; want a complaint", s.Journal)
	}
	if status, _ := d.page("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz is %d: the agent decides, with or without a disk", status)
	}
	if _, page := d.page("/metrics"); series(page)[`dodai_events_total{event="power_off"}`] != "1" {
		t.Errorf("the page does not count the power-off")
	}
	d.term("without a place for state")
}
