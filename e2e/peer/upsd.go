package peer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The users that every UPSD knows. The admin may do everything, the secondary may
// LOGIN.
const (
	UPSDAdmin             = "admin"
	UPSDAdminPassword     = "admin-secret"
	UPSDSecondary         = "monuser"
	UPSDSecondaryPassword = "mon-secret"
)

// UPSD is NUT's real upsd with one real dummy-ups driver for each UPS, in a
// configuration of its own. Its methods fail the test where something does not work,
// and are for the test's goroutine only.
//
// The drivers read their .dev file once and then do nothing but wait for orders, so
// that a change through Set is served within about a millisecond; starting takes about
// two seconds, in which dummy-ups makes its own first updates. A .dev file with a TIMER line is
// played in a loop instead (dummy-ups in dummy-loop mode).
type UPSD struct {
	t       testing.TB
	dir     string // below: etc, run
	port    int
	maxAge  int
	conf    []string
	names   []string
	drivers map[string]*Process
	orders  map[string]net.Conn // to each driver's socket
	server  *Process
}

// UPSDOption changes how StartUPSD configures upsd.
type UPSDOption func(*UPSD)

// UPSDMaxAge sets after how many seconds of a driver's silence its data is stale; the
// default is upsd's own, 15.
func UPSDMaxAge(seconds int) UPSDOption { return func(u *UPSD) { u.maxAge = seconds } }

// UPSDConf adds a line to upsd.conf.
func UPSDConf(line string) UPSDOption { return func(u *UPSD) { u.conf = append(u.conf, line) } }

// StartUPSD starts upsd and a driver for each of devs, which maps a UPS's name to the
// contents of its .dev file ("name: value" lines as upsc prints them; a value with
// '"', '\' or '#' in it has to be quoted and escaped). It returns when every UPS can be
// read. As root the programs run as root, otherwise as the current user.
func StartUPSD(t testing.TB, devs map[string]string, opts ...UPSDOption) *UPSD {
	t.Helper()
	server, driver := nutProgram(t, "upsd"), nutProgram(t, "dummy-ups")
	u := &UPSD{t: t, dir: shortDir(t), port: FreePort(t, "tcp"), maxAge: 15, drivers: map[string]*Process{}, orders: map[string]net.Conn{}}
	for _, opt := range opts {
		opt(u)
	}
	u.configure(devs)
	t.Cleanup(u.hangUp) // after the drivers' end
	for _, name := range u.names {
		u.drivers[name] = u.startDriver(driver, name)
	}
	for _, name := range u.names {
		u.awaitDriver(name)
	}
	u.server = u.startServer(server)
	return u
}

// nutProgram prefers the programs themselves to what distributions put before them:
// Debian's /usr/sbin/upsd is a script that refuses to run until nut.conf says so.
func nutProgram(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/lib/nut", "/usr/libexec/nut", "/usr/lib/ups/driver", "/usr/lib/nut"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return Need(t, name)
}

// shortDir makes a temporary directory with a name short enough for a Unix socket
// below it: 108 bytes are all that sun_path has.
func shortDir(t testing.TB) string {
	t.Helper()
	parent := os.TempDir()
	if len(parent) > 40 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "nut")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sub := range []string{"etc", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (u *UPSD) configure(devs map[string]string) {
	u.t.Helper()
	var ups strings.Builder
	for name, dev := range devs {
		u.names = append(u.names, name)
		u.write(name+".dev", dev)
		mode, interval := "dummy-once", 3600 // nothing but orders
		if strings.Contains("\n"+dev, "\nTIMER") {
			mode, interval = "dummy-loop", 1
		}
		fmt.Fprintf(&ups, "[%s]\ndriver = dummy-ups\nport = %s\nmode = %s\npollinterval = %d\n",
			name, filepath.Join(u.dir, "etc", name+".dev"), mode, interval)
	}
	slices.Sort(u.names)
	u.write("ups.conf", ups.String())
	u.write("upsd.conf", fmt.Sprintf("LISTEN 127.0.0.1 %d\nMAXAGE %d\n%s\n", u.port, u.maxAge, strings.Join(u.conf, "\n")))
	u.write("upsd.users", fmt.Sprintf("[%s]\npassword = %s\nactions = SET\nactions = FSD\ninstcmds = ALL\nupsmon primary\n[%s]\npassword = %s\nupsmon secondary\n",
		UPSDAdmin, UPSDAdminPassword, UPSDSecondary, UPSDSecondaryPassword))
}

func (u *UPSD) write(name, text string) {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.dir, "etc", name), []byte(text), 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// command is one of NUT's programs with this UPSD's directories.
func (u *UPSD) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	run := filepath.Join(u.dir, "run")
	cmd.Env = append(cmd.Environ(), "NUT_CONFPATH="+filepath.Join(u.dir, "etc"), "NUT_STATEPATH="+run,
		"NUT_ALTPIDPATH="+run, "NUT_PIDPATH="+run, "NUT_QUIET_INIT_SSL=true", "NUT_QUIET_INIT_UPSNOTIFY=true")
	return cmd
}

// daemon is a program that stays in the foreground and keeps the user it has.
func (u *UPSD) daemon(path string, args ...string) *exec.Cmd {
	args = append(args, "-F")
	if os.Geteuid() == 0 {
		args = append(args, "-u", "root")
	}
	return u.command(path, args...)
}

func (u *UPSD) startDriver(path, name string) *Process {
	u.t.Helper()
	os.Remove(u.socket(name)) // a killed driver leaves it behind
	return Start(u.t, u.daemon(path, "-a", name), func() error { return nil })
}

// socket is where upsd talks to the driver of the UPS called name.
func (u *UPSD) socket(name string) string { return filepath.Join(u.dir, "run", "dummy-ups-"+name) }

func (u *UPSD) awaitDriver(name string) {
	u.t.Helper()
	p := u.drivers[name]
	u.await("the driver of "+name, func() error {
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %s", p.Output())
		default:
		}
		return u.connect(name)
	})
}

// connect opens the connection on which a driver gets its orders. It stays open as long
// as the driver lives: dummy-ups of NUT 2.8.0 reads the end of a connection again and
// again, with a whole processor, until a write to it fails.
func (u *UPSD) connect(name string) error {
	c, err := net.Dial("unix", u.socket(name))
	if err != nil {
		return err
	}
	u.disconnect(name)
	u.orders[name] = c
	go io.Copy(io.Discard, c) // the driver tells of every change
	return nil
}

func (u *UPSD) disconnect(name string) {
	if c := u.orders[name]; c != nil {
		c.Close()
		delete(u.orders, name)
	}
}

func (u *UPSD) hangUp() {
	for _, name := range u.names {
		u.disconnect(name)
	}
}

// order tells a driver the value of a variable. An empty one removes it.
func (u *UPSD) order(ups, name, value string) error {
	c := u.orders[ups]
	if c == nil {
		return fmt.Errorf("the driver of %s is not connected", ups)
	}
	_, err := fmt.Fprintf(c, "SET %s \"%s\"\n", name, value)
	return err
}

func (u *UPSD) startServer(path string) *Process {
	u.t.Helper()
	return Start(u.t, u.daemon(path), func() error {
		for _, name := range u.names {
			select {
			case <-u.drivers[name].Done(): // killed on purpose
				continue
			default:
			}
			if reply, err := u.Ask("GET VAR " + name + " driver.name"); err != nil || !strings.HasPrefix(reply, "VAR ") {
				return fmt.Errorf("UPS %s: reply %q, error %v", name, reply, err)
			}
		}
		return Listening(u.Addr())()
	})
}

// await waits until done returns nil.
func (u *UPSD) await(what string, done func() error) {
	u.t.Helper()
	var err error
	pause := time.Millisecond
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(pause) {
		if err = done(); err == nil {
			return
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
	u.t.Fatalf("waited for %s: %v", what, err)
}

// Addr is where upsd listens, "127.0.0.1:port".
func (u *UPSD) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(u.port)) }

// Ask sends requests on a connection of their own and returns the first line of the
// reply to the last one. It fails the test for nothing but an unusable reply.
func (u *UPSD) Ask(requests ...string) (string, error) {
	c, err := net.DialTimeout("tcp", u.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	r, line := bufio.NewReader(c), ""
	for _, request := range requests {
		if _, err := fmt.Fprintf(c, "%s\n", request); err != nil {
			return "", err
		}
		if line, err = r.ReadString('\n'); err != nil {
			return "", err
		}
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// Set changes a variable and returns when upsd serves the new value. The order goes to
// the driver over the socket on which upsd gives its own, because upsd itself passes
// on only what the driver declares writable, and for dummy-ups that is little more than
// ups.status. An empty value removes the variable. Values with '"', '\' or '#' do
// not survive dummy-ups and are refused.
func (u *UPSD) Set(ups, name, value string) {
	u.t.Helper()
	if strings.ContainsAny(value, "\"\\#\n") {
		u.t.Fatalf("Set(%s, %s, %q): dummy-ups does not pass on quotes, backslashes and number signs", ups, name, value)
	}
	if err := u.order(ups, name, value); err != nil {
		u.t.Fatalf("Set(%s, %s): %v", ups, name, err)
	}
	u.await(fmt.Sprintf("%s of %s to be %q", name, ups, value), func() error { return u.shows(ups, name, value) })
}

func (u *UPSD) shows(ups, name, value string) error {
	reply, err := u.Ask("GET VAR " + ups + " " + name)
	switch {
	case err != nil:
		return err
	case value == "" && name != "ups.status" && reply == "ERR VAR-NOT-SUPPORTED":
		return nil
	case reply == fmt.Sprintf("VAR %s %s \"%s\"", ups, name, value):
		return nil
	case name == "ups.status" && reply == fmt.Sprintf("VAR %s %s \"FSD %s\"", ups, name, value):
		return nil // the latch is set
	}
	return fmt.Errorf("upsd still answers %q", reply)
}

// FSD sets the forced-shutdown latch, as a primary does. Only a restart clears it.
func (u *UPSD) FSD(ups string) {
	u.t.Helper()
	reply, err := u.Ask("USERNAME "+UPSDAdmin, "PASSWORD "+UPSDAdminPassword, "FSD "+ups)
	if err != nil || reply != "OK FSD-SET" {
		u.t.Fatalf("FSD %s: reply %q, %v", ups, reply, err)
	}
}

// Upsc is what NUT's own client says of one variable.
func (u *UPSD) Upsc(ups, name string) string {
	u.t.Helper()
	return strings.TrimSuffix(u.upsc(ups+"@"+u.Addr(), name), "\n")
}

// UpscAll is what NUT's own client says of all variables.
func (u *UPSD) UpscAll(ups string) map[string]string {
	u.t.Helper()
	vars := map[string]string{}
	for line := range strings.Lines(u.upsc(ups + "@" + u.Addr())) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			u.t.Fatalf("upsc printed %q, want name: value", line)
		}
		vars[name] = value
	}
	return vars
}

func (u *UPSD) upsc(args ...string) string {
	u.t.Helper()
	out, err := u.command(Need(u.t, "upsc"), args...).Output()
	if err != nil {
		u.t.Fatalf("upsc %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// KillDriver ends the UPS's driver as a crash would and returns when upsd says
// DRIVER-NOT-CONNECTED.
func (u *UPSD) KillDriver(ups string) {
	u.t.Helper()
	u.drivers[ups].Signal(syscall.SIGKILL)
	<-u.drivers[ups].Done()
	u.disconnect(ups)
	u.awaitReply(ups, "ERR DRIVER-NOT-CONNECTED")
}

// StartDriver starts a killed driver again, with the values of its .dev file.
func (u *UPSD) StartDriver(ups string) {
	u.t.Helper()
	u.drivers[ups] = u.startDriver(nutProgram(u.t, "dummy-ups"), ups)
	u.awaitDriver(ups)
	u.awaitReply(ups, "VAR ")
}

// HangDriver stops the UPS's driver without ending it and returns when upsd says
// DATA-STALE, which is about UPSDMaxAge later.
func (u *UPSD) HangDriver(ups string) {
	u.t.Helper()
	u.drivers[ups].Signal(syscall.SIGSTOP)
	u.t.Cleanup(func() { u.drivers[ups].Signal(syscall.SIGCONT) })
	u.awaitReply(ups, "ERR DATA-STALE")
}

// ResumeDriver undoes HangDriver and returns when the UPS can be read.
func (u *UPSD) ResumeDriver(ups string) {
	u.t.Helper()
	u.drivers[ups].Signal(syscall.SIGCONT)
	u.awaitReply(ups, "VAR ")
}

func (u *UPSD) awaitReply(ups, want string) {
	u.t.Helper()
	u.await("upsd to answer "+want, func() error {
		reply, err := u.Ask("GET VAR " + ups + " driver.name")
		if err != nil || !strings.HasPrefix(reply, want) {
			return fmt.Errorf("reply %q, error %v", reply, err)
		}
		return nil
	})
}

// Stop ends upsd itself; the drivers go on.
func (u *UPSD) Stop() {
	u.server.Signal(syscall.SIGTERM)
	<-u.server.Done()
	for ups := range u.orders { // a change to tell makes them notice that upsd is gone
		u.order(ups, "driver.wake", "1")
		u.order(ups, "driver.wake", "")
	}
}

// Restart ends upsd, where it runs, and starts it again on the same port. It clears
// the latch that FSD set.
func (u *UPSD) Restart() {
	u.t.Helper()
	u.Stop()
	u.server = u.startServer(nutProgram(u.t, "upsd"))
}

// Hang stops upsd itself without ending it: connections stay open and nothing comes any
// more, until Resume or the end of the test.
func (u *UPSD) Hang() {
	u.t.Helper()
	if err := u.server.Signal(syscall.SIGSTOP); err != nil {
		u.t.Fatalf("stop upsd: %v", err)
	}
	u.t.Cleanup(u.Resume)
}

// Resume undoes Hang.
func (u *UPSD) Resume() { u.server.Signal(syscall.SIGCONT) }
