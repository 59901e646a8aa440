package vm

import (
	"io"
	"net"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// A BMC is the real ipmi_sim behind the machine's KCS interface: /dev/ipmi0. The machine may
// be booted and the BMC restarted in any order.
type BMC struct {
	Sim  *peer.IPMISim
	line net.Listener
}

// Attach implements Device.
func (b *BMC) Attach(m *Machine) []string {
	b.line = m.listen("ipmi")
	go b.serve(b.line)
	return []string{
		"-chardev", "socket,id=ipmi,path=" + m.path("ipmi.sock") + ",reconnect=2",
		"-device", "ipmi-bmc-extern,id=bmc,chardev=ipmi", "-device", "isa-ipmi-kcs,bmc=bmc",
	}
}

// serve stands between QEMU, which keeps to one address, and a BMC that has another after
// each restart.
func (b *BMC) serve(l net.Listener) {
	for {
		qemu, err := l.Accept()
		if err != nil {
			return
		}
		sim, err := net.Dial("tcp", b.Sim.SystemAddr())
		if err != nil {
			qemu.Close()
			continue
		}
		go join(qemu, sim)
		go join(sim, qemu)
	}
}

func join(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

// Cut implements Device: a BMC that the cord still reaches does not notice.
func (b *BMC) Cut() {}

// Detach implements Device.
func (b *BMC) Detach() { b.line.Close() }
