package peer

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The accounts of an IPMISim.
const (
	IPMIAdmin        = "root"
	IPMIAdminSecret  = "adm1n-s3cret"
	IPMIViewer       = "viewer" // privilege USER, which is enough to read sensors
	IPMIViewerSecret = "v1ew-only"
)

// The sensors of an IPMISim. Supply n (1 or 2) has its status at IPMIStatus+n-1, and so on.
const (
	IPMIStatus     = 0x30 // supplies: type 08h, sensor specific, bit 0 = present
	IPMIRedundancy = 0x38 // type 09h, reading type 0Bh
	IPMIPowerUnit  = 0x39 // type 09h, sensor specific
	IPMIWatts      = 0x40 // input, 5 W a step
	IPMIVolts      = 0x48 // input, 2 V a step
	IPMIInlet      = 0x50 // °C
	IPMIMeter      = 0x51 // whole machine, 10 W a step
)

// An IPMISim is a BMC of a server with two supplies: the real ipmi_sim of OpenIPMI,
// which speaks RMCP+ with cipher suite 3 only. It starts with both supplies present,
// 150 W from 232 V each, 300 W in all, and full redundancy; each has a FRU of 800 W.
// Its methods are called from the test's goroutine.
type IPMISim struct {
	t            testing.TB
	dir          string
	lan, console int
	system       atomic.Int32 // port of the system interface
	proc         *Process
	terminal     net.Conn // the one console connection that ipmi_sim takes at a time
	prompts      *bufio.Reader
	applied      []string // console commands so far, played again after Restart
}

// StartIPMISim starts a BMC, or skips the test where ipmi_sim is not installed.
func StartIPMISim(t testing.TB) *IPMISim {
	t.Helper()
	s := &IPMISim{t: t, dir: t.TempDir(), lan: FreePort(t, "udp")}
	s.compileRecords(Need(t, "sdrcomp"))
	s.write("bmc.emu", ipmiEmu())
	s.installHost()
	t.Cleanup(s.detach)
	s.start()
	t.Cleanup(s.Resume) // a stopped process does not see SIGTERM
	return s
}

func (s *IPMISim) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *IPMISim) compileRecords(sdrcomp string) {
	s.t.Helper()
	state := filepath.Join(s.dir, "state", "ipmi_sim", ipmiName)
	if err := os.MkdirAll(state, 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.write("bmc.sdrs", ipmiRecords())
	// Without -8 sdrcomp packs upper-case names as 6-bit text with a wrong length.
	cmd := exec.Command(sdrcomp, "-8", "-o", filepath.Join(state, "sdr.20.main"), filepath.Join(s.dir, "bmc.sdrs"))
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("sdrcomp: %v\n%s", err, out)
	}
}

func (s *IPMISim) start() {
	s.t.Helper()
	s.console = FreePort(s.t, "tcp") // another each time: the last one may be in TIME_WAIT
	s.system.Store(int32(FreePort(s.t, "tcp")))
	s.write("lan.conf", ipmiLan(s.lan, int(s.system.Load()), s.console))
	cmd := exec.Command(Need(s.t, "ipmi_sim"), "-n", "-c", "lan.conf", "-f", "bmc.emu", "-s", "state")
	cmd.Dir = s.dir
	s.proc = Start(s.t, cmd, s.answers)
}

// answers is nil once the console prompts and the BMC says which authentication it knows.
func (s *IPMISim) answers() error {
	if err := s.attach(); err != nil {
		return err
	}
	c, err := net.Dial("udp", s.Addr())
	if err != nil {
		return err
	}
	defer c.Close()
	ask := []byte("\x06\x00\xff\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x20\x18\xc8\x81\x04\x38\x0e\x04\x31")
	if _, err := c.Write(ask); err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = c.Read(make([]byte, 256))
	return err
}

// Addr is where the BMC speaks RMCP+, host:port.
func (s *IPMISim) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.lan) }

// SystemAddr is where the BMC waits for the machine it sits in, host:port: the end of the wire
// that QEMU's ipmi-bmc-extern is to be connected to. Restart moves it. It may be called
// from any goroutine.
func (s *IPMISim) SystemAddr() string { return fmt.Sprintf("127.0.0.1:%d", s.system.Load()) }

// Console runs one command of ipmi_sim's console and remembers it for Restart.
func (s *IPMISim) Console(command string) {
	s.t.Helper()
	s.applied = append(s.applied, command)
	if err := s.run(command); err != nil {
		s.t.Fatalf("ipmi_sim console: %q: %v", command, err)
	}
}

func (s *IPMISim) run(command string) error {
	s.terminal.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(s.terminal, "%s\n", command)
	if out, err := prompt(s.prompts); err != nil || strings.Contains(out, "**") {
		return fmt.Errorf("%q: %w", out, err)
	}
	return nil
}

// attach opens the console. It stays open, because ipmi_sim writes to a connection
// that was closed too early and dies of SIGPIPE.
func (s *IPMISim) attach() error {
	if s.terminal != nil {
		return nil
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.console))
	if err != nil {
		return err
	}
	s.terminal, s.prompts = c, bufio.NewReader(c)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = prompt(s.prompts)
	return err
}

func (s *IPMISim) detach() {
	if s.terminal != nil {
		s.terminal.Close()
		s.terminal = nil
	}
}

// prompt reads up to the next prompt.
func prompt(r *bufio.Reader) (string, error) {
	var out bytes.Buffer
	for !bytes.HasSuffix(out.Bytes(), []byte("> ")) {
		b, err := r.ReadByte()
		if err != nil {
			return out.String(), err
		}
		out.WriteByte(b)
	}
	return out.String(), nil
}

// SetBit sets or clears one state bit of a discrete sensor.
func (s *IPMISim) SetBit(sensor, bit int, on bool) {
	s.t.Helper()
	value := 0
	if on {
		value = 1
	}
	s.Console(fmt.Sprintf("sensor_set_bit 0x20 0 %#x %d %d 1", sensor, bit, value))
}

// SetOnly sets one state bit of a discrete sensor and clears the others (0 to 15).
func (s *IPMISim) SetOnly(sensor, bit int) {
	s.t.Helper()
	for other := range 8 {
		s.SetBit(sensor, other, other == bit)
	}
}

// SetValue sets an analog sensor's raw value, 0 to 255.
func (s *IPMISim) SetValue(sensor, raw int) {
	s.t.Helper()
	s.Console(fmt.Sprintf("sensor_set_value 0x20 0 %#x %d 0", sensor, raw))
}

// SetScanning switches the scanning of a supply's status sensor; its state bits stay
// behind as they were.
func (s *IPMISim) SetScanning(sensor int, on bool) {
	s.t.Helper()
	word := "no-scanning"
	if on {
		word = "scanning"
	}
	s.Console(ipmiSupport(sensor, word, 0x7f))
}

// AddSupply adds a record for a third supply's status, at IPMIStatus+2 on entity 10.3,
// whose sensor the BMC does not have.
func (s *IPMISim) AddSupply() {
	s.t.Helper()
	record := []byte{
		0x77, 0, 0x51, 2, 32, 0x20, 0, IPMIStatus + 2, 10, 3, 0x67, 0, 8, 0x6f,
		0x7f, 0, 0x7f, 0, 0x7f, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc5, 'P', 'S', 'U', ' ', '3',
	}
	s.Console("main_sdr_add 0x20" + hexBytes(record))
}

// Pause hangs the BMC: it takes requests and answers none until Resume.
func (s *IPMISim) Pause() {
	s.t.Helper()
	if err := s.proc.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
}

// Resume ends Pause; requests that came meanwhile are answered now.
func (s *IPMISim) Resume() { s.proc.Signal(syscall.SIGCONT) }

// Stop ends the BMC, and with it all sessions. Nothing answers at Addr then.
func (s *IPMISim) Stop() {
	s.t.Helper()
	s.Resume()
	s.proc.Signal(syscall.SIGKILL)
	<-s.proc.Done()
	s.detach()
}

// Restart stops the BMC if it runs and starts it at the same address, with the sensors
// as they were and no sessions.
func (s *IPMISim) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
	for _, command := range s.applied {
		if strings.HasPrefix(command, "main_sdr_add") {
			continue // stands in the state directory
		}
		if err := s.run(command); err != nil {
			s.t.Fatalf("ipmi_sim console after restart: %q: %v", command, err)
		}
	}
}

func hexBytes(b []byte) string {
	var out strings.Builder
	for _, v := range b {
		fmt.Fprintf(&out, " 0x%02x", v)
	}
	return out.String()
}

// Done is closed when the BMC has ended.
func (s *IPMISim) Done() <-chan struct{} { return s.proc.Done() }
