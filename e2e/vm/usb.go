package vm

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/hidups"
)

// USBUPSes are simulated HID UPSes, each plugged into the machine as a whole USB device of
// full speed. They outlast boots.
type USBUPSes struct {
	UPSes []*hidups.UPS
	lines []net.Listener
}

// NewUSBUPSes makes a UPS of each configuration; they live as long as the test.
func NewUSBUPSes(t testing.TB, configs ...hidups.Config) *USBUPSes {
	t.Helper()
	all := &USBUPSes{}
	for _, cfg := range configs {
		u, err := hidups.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { u.Close() })
		all.UPSes = append(all.UPSes, u)
	}
	return all
}

// Attach implements Device.
func (b *USBUPSes) Attach(m *Machine) []string {
	args := []string{"-device", "qemu-xhci,id=xhci"}
	for i, u := range b.UPSes {
		name := fmt.Sprintf("usb%d", i)
		l := m.listen(name)
		b.lines = append(b.lines, l)
		go u.ListenRedir(l)
		args = append(args, "-chardev", "socket,id="+name+",path="+m.path(name+".sock"), "-device", "usb-redir,chardev="+name+",id=dev"+name+",bus=xhci.0")
	}
	return args
}

// Cut implements Device.
func (b *USBUPSes) Cut() {}

// Detach implements Device.
func (b *USBUPSes) Detach() {
	for _, l := range b.lines {
		l.Close()
	}
	b.lines = nil
}

// USBTool builds the program that makes a HID UPS without USB inside a machine and reads
// hidraw nodes there, for Options.Files.
func USBTool(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usbtool")
	must(t, 5*time.Minute, "env", "CGO_ENABLED=0", "GOARCH=amd64", peer.Need(t, "go"), "build", "-o", path, "github.com/dodai-agent/dodai/e2e/vm/internal/usbtool")
	return path
}
