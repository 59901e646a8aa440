// Package vm boots whole machines for tests: Debian with systemd, disks, arrays, a BMC and
// UPSes under the test's control, in QEMU without any help of the processor. Their power is
// taken away by killing QEMU.
//
// A test makes a Machine, boots it, runs commands in it and looks at its console. All
// that is started is stopped when the test ends, by process id, and by the kernel where
// the test process itself dies. One boot takes 20 to 60 s; every time limit is
// therefore a base times Machine.Limit's factor.
package vm

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// Options say what machine to make. The zero value is one with dodai installed, observing,
// and no devices but its root disk.
type Options struct {
	Image    *Image            // default Installed
	MemoryMB int               // default 512
	CPUs     int               // default 2
	Append   string            // words for the kernel's command line
	Alone    bool              // the guest's network reaches nothing; else the host's loopback is 10.0.2.2
	Disks    []Disk            // besides the root disk
	Devices  []Device          // UPSes, controllers, whatever else needs something on the host
	Files    map[string]string // name below /rig in the guest: file of the host, there from the first boot on
	Args     []string          // for QEMU's command line
}

// A Device is something on the host that the machine has while it runs.
type Device interface {
	// Attach is called before each boot and returns what it adds to QEMU's command line.
	Attach(m *Machine) []string
	// Cut is called when the power is cut, just before QEMU is killed.
	Cut()
	// Detach is called when QEMU has ended, however that came about.
	Detach()
}

// A Machine is a simulated server. Its disks last from boot to boot; everything is removed
// when the test ends. Its methods are called from the test's goroutine, except Run, QMP and
// Console's, which any goroutine may call.
type Machine struct {
	Dir     string // short, for sockets and disks
	Console *Console

	t     testing.TB
	opt   Options
	image Image
	boots int
	boot  *boot // of the present or the last boot; nil before the first
}

// boot is what belongs to one run of QEMU.
type boot struct {
	begin time.Time
	cmd   *exec.Cmd
	log   strings.Builder // what QEMU itself said; to be read after done
	qmp   *monitor
	guest *guest
	conns []net.Conn
	done  chan struct{} // closed when QEMU has ended and devices are detached
	ended time.Time
	cut   bool
}

// New makes a machine that is off.
func New(t testing.TB, opt Options) *Machine {
	t.Helper()
	Need(t, false)
	m := &Machine{Console: &Console{}, t: t, opt: opt, Dir: newDir(t)}
	if opt.Image == nil {
		image := Installed(t)
		opt.Image = &image
	}
	m.image = *opt.Image
	qcow2(t, m.path("root.qcow2"), m.image.Root, m.image.Format)
	for _, d := range opt.Disks {
		d.create(t, m)
	}
	if len(opt.Files) > 0 {
		writeTar(t, m.path("files.tar"), opt.Files)
	}
	t.Cleanup(m.end)
	return m
}

// newDir makes a folder with a name short enough for sockets in it, and removes those of
// test processes that died before they could.
func newDir(t testing.TB) string {
	t.Helper()
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), "dodai-vm-*"))
	for _, dir := range old {
		pid, err := strconv.Atoi(strings.Split(filepath.Base(dir), "-")[2])
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("dodai-vm-%d-", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (m *Machine) path(name string) string { return filepath.Join(m.Dir, name) }

// Boot switches the machine on and returns when commands can be run in it, which is before
// all services are up: see Settle.
func (m *Machine) Boot() {
	m.t.Helper()
	m.Start()
	limit := 4 * m.Limit(60*time.Second)
	for deadline := m.boot.begin.Add(limit); ; {
		err := m.boot.guest.call("guest-ping", nil, nil, 3*time.Second)
		if err == nil {
			break
		}
		if !m.Running() {
			m.t.Fatalf("boot %d: QEMU ended: %s", m.boots, m.boot.log.String())
		}
		if !isTimeout(err) || time.Now().After(deadline) {
			m.t.Fatalf("boot %d: no guest agent within %v: %v", m.boots, limit, err)
		}
	}
	took := time.Since(m.boot.begin)
	noteSpeed(m.t, took)
	m.t.Logf("boot %d: commands can be run after %.1f s", m.boots, took.Seconds())
	if m.boots == 1 && len(m.opt.Files) > 0 {
		m.Must("sh", "-c", "mkdir -p /rig && tar -x -C /rig -f /dev/disk/by-id/virtio-RIGFILES")
	}
}

// Start switches the machine on and returns at once.
func (m *Machine) Start() {
	m.t.Helper()
	if m.Running() {
		m.t.Fatal("Start: the machine is on")
	}
	m.boots++
	b := &boot{begin: time.Now(), done: make(chan struct{})}
	m.boot = b
	program := peer.Need(m.t, "qemu-system-x86_64")
	con, qmp, qga := m.listen("con"), m.listen("qmp"), m.listen("qga")
	args := m.args()
	for _, d := range m.opt.Devices {
		args = append(args, d.Attach(m)...)
	}
	b.cmd = exec.Command(program, append(args, m.opt.Args...)...)
	b.cmd.Dir = m.Dir
	b.cmd.Stdout, b.cmd.Stderr = &b.log, &b.log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		m.t.Fatalf("start QEMU: %v", err)
	}
	go func() {
		b.cmd.Wait()
		b.ended = time.Now()
		for _, l := range []net.Listener{con, qmp, qga} {
			l.Close()
		}
		for _, d := range m.opt.Devices {
			d.Detach()
		}
		close(b.done)
	}()
	c := m.accept(con)
	b.qmp, b.guest = newMonitor(m.accept(qmp)), newGuest(m.accept(qga))
	go m.Console.read(c, m.boots)
	if err := b.qmp.run("qmp_capabilities", nil, nil, 10*time.Second); err != nil {
		m.t.Fatal(err)
	}
}

// plainCPU boots with a third less work than `max`, whose vector instructions are dear when
// another processor does them.
const plainCPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+rdrand"

// args are what every machine has. QEMU is the one that connects, so that nothing of what
// it says first is lost.
func (m *Machine) args() []string {
	memory, cpus, net := 512, 2, "user,id=n0"
	if m.opt.MemoryMB != 0 {
		memory = m.opt.MemoryMB
	}
	if m.opt.CPUs != 0 {
		cpus = m.opt.CPUs
	}
	if m.opt.Alone {
		net += ",restrict=on"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35",
		"-accel", "tcg,thread=multi", "-cpu", plainCPU, "-m", strconv.Itoa(memory), "-smp", strconv.Itoa(cpus),
		"-kernel", m.image.Kernel, "-initrd", m.image.Initrd,
		"-append", strings.TrimSpace("root=/dev/vda rw console=ttyS0,115200 net.ifnames=0 panic=5 mitigations=off " + m.opt.Append),
		"-chardev", "socket,id=con,path=" + m.path("con.sock"), "-serial", "chardev:con",
		"-chardev", "socket,id=qmp,path=" + m.path("qmp.sock"), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=qga,path=" + m.path("qga.sock"),
		"-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0",
		"-device", "virtio-rng-pci",
		"-drive", "file=" + m.path("root.qcow2") + ",if=none,id=root,format=qcow2,cache=writeback", "-device", "virtio-blk-pci,drive=root",
		"-netdev", net, "-device", "virtio-net-pci,netdev=n0,romfile=",
		"-device", "virtio-scsi-pci,id=scsi0",
	}
	if len(m.opt.Files) > 0 {
		args = append(args, "-drive", "file="+m.path("files.tar")+",if=none,id=files,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=files,serial=RIGFILES")
	}
	for i, d := range m.opt.Disks {
		args = append(args, d.args(m, i)...)
	}
	return args
}

func (m *Machine) listen(name string) net.Listener {
	m.t.Helper()
	path := m.path(name + ".sock")
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		m.t.Fatal(err)
	}
	return l
}

// accept takes QEMU's connection, and fails the test where QEMU ends instead.
func (m *Machine) accept(l net.Listener) net.Conn {
	m.t.Helper()
	l.(*net.UnixListener).SetDeadline(time.Now().Add(30 * time.Second))
	c, err := l.Accept()
	if err != nil {
		if !m.Running() {
			m.t.Fatalf("QEMU ended: %s", m.boot.log.String())
		}
		m.t.Fatalf("QEMU does not connect: %v", err)
	}
	m.boot.conns = append(m.boot.conns, c)
	return c
}

// Running reports whether the machine is on.
func (m *Machine) Running() bool {
	if m.boot == nil || m.boot.cmd == nil || m.boot.cmd.Process == nil {
		return false
	}
	select {
	case <-m.boot.done:
		return false
	default:
		return true
	}
}

// Off is closed when the machine is off.
func (m *Machine) Off() <-chan struct{} { return m.boot.done }

// An Exit is how a machine went off.
type Exit struct {
	At   time.Time
	Code int  // QEMU's exit status, -1 after a signal
	Cut  bool // by Kill
}

// Wait waits until the machine is off, and fails the test where that takes longer. It says
// nothing of how it went off: see Console.
func (m *Machine) Wait(within time.Duration) Exit {
	m.t.Helper()
	select {
	case <-m.boot.done:
		return Exit{At: m.boot.ended, Code: m.boot.cmd.ProcessState.ExitCode(), Cut: m.boot.cut}
	case <-time.After(within):
		m.t.Fatalf("the machine is not off after %v", within)
		return Exit{}
	}
}

// Kill cuts the machine's power: the next instruction is not run.
func (m *Machine) Kill() Exit {
	m.t.Helper()
	if m.Running() {
		m.boot.cut = true
		for _, d := range m.opt.Devices {
			d.Cut()
		}
		m.boot.cmd.Process.Kill()
	}
	return m.Wait(20 * time.Second)
}

// PowerOff shuts the machine down by systemd.
func (m *Machine) PowerOff() Exit {
	m.t.Helper()
	m.Run(m.Limit(10*time.Second), "systemctl", "--no-block", "poweroff") // it may be off before it answers
	e := m.Wait(m.Limit(60 * time.Second))
	if _, down := m.Console.Find("reboot: Power down", 0); !down || e.Code != 0 {
		m.t.Fatalf("poweroff: QEMU's exit status is %d, and the console's line of a power-off: %v", e.Code, down)
	}
	return e
}

// end stops everything and removes it, and tells a failed test's console.
func (m *Machine) end() {
	if m.t.Failed() {
		m.t.Logf("the console's last lines (boot, seconds):\n%s", m.Console.Tail(100))
	}
	if m.boot != nil && m.boot.cmd != nil && m.boot.cmd.Process != nil {
		m.boot.cmd.Process.Kill()
		<-m.boot.done
		if m.t.Failed() && m.boot.log.Len() > 0 {
			m.t.Logf("QEMU said: %s", m.boot.log.String())
		}
		for _, c := range m.boot.conns {
			c.Close()
		}
	}
	os.RemoveAll(m.Dir)
}

// Run runs a command in the machine and waits for its end.
func (m *Machine) Run(within time.Duration, argv ...string) (Result, error) {
	return m.boot.guest.exec(within, "", argv...)
}

// Must runs a command in the machine that has to succeed within a minute (times the
// factor of Limit), and returns what it printed.
func (m *Machine) Must(argv ...string) string {
	m.t.Helper()
	r, err := m.Run(m.Limit(time.Minute), argv...)
	if err != nil {
		m.t.Fatal(err)
	}
	if r.Exit != 0 {
		m.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(argv, " "), r.Exit, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Shell is Must for a shell's script.
func (m *Machine) Shell(script string) string {
	m.t.Helper()
	return m.Must("sh", "-c", "set -e; "+script)
}

// Eventually waits until a shell's script succeeds.
func (m *Machine) Eventually(what, script string, within time.Duration) string {
	m.t.Helper()
	var r Result
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
		if r, err = m.Run(m.Limit(time.Minute), "sh", "-c", script); err == nil && r.Exit == 0 {
			return r.Stdout
		}
	}
	m.t.Fatalf("not within %v: %s (error %v, exit status %d)\n%s%s", within, what, err, r.Exit, r.Stdout, r.Stderr)
	return ""
}

// Settle waits until systemd has started all it was asked to, and fails the test where a
// unit failed.
func (m *Machine) Settle() {
	m.t.Helper()
	r, err := m.Run(m.Limit(3*time.Minute), "systemctl", "is-system-running", "--wait")
	if err != nil {
		m.t.Fatal(err)
	}
	if state := strings.TrimSpace(r.Stdout); state != "running" {
		failed, _ := m.Run(m.Limit(time.Minute), "systemctl", "--failed", "--no-legend", "--plain")
		m.t.Fatalf("the system is %s:\n%s", state, failed.Stdout)
	}
	m.t.Logf("boot %d: all is started after %.1f s", m.boots, time.Since(m.boot.begin).Seconds())
}

// Write writes a file of less than a megabyte in the machine, or what is in it anew; the
// folder has to be there. Larger ones are for Options.Files.
func (m *Machine) Write(path, text string) {
	m.t.Helper()
	r, err := m.boot.guest.exec(m.Limit(20*time.Second), text, "sh", "-c", `umask 022; cat >"$1"`, "sh", path)
	if err != nil || r.Exit != 0 {
		m.t.Fatalf("write %s in the machine: %v: exit status %d, %s", path, err, r.Exit, r.Stderr)
	}
}

// Read reads a file of at most 16 MiB in the machine.
func (m *Machine) Read(path string) string {
	m.t.Helper()
	data, err := m.boot.guest.get(path, 16<<20, m.Limit(20*time.Second))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// QMP gives QEMU a command. args and out may be nil.
func (m *Machine) QMP(command string, args, out any) error {
	return m.boot.qmp.run(command, args, out, 20*time.Second)
}

// Events are what QEMU has told in this boot.
func (m *Machine) Events() []Event { return m.boot.qmp.all() }

// WaitEvent waits for QEMU's first event of a name after since.
func (m *Machine) WaitEvent(name string, since time.Time, within time.Duration) Event {
	m.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		for _, e := range m.Events() {
			if e.Name == name && e.At.After(since) {
				return e
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("no event %s of QEMU within %v", name, within)
		}
	}
}
