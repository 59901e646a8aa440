package vm

import (
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
	"github.com/dodai-agent/dodai/sim/megatec"
)

// TestRig holds the rig itself to what other tests take for granted: devices are there,
// commands tell their exit status, disks can be pulled, a cut is a cut.
func TestRig(t *testing.T) {
	Need(t, true)
	bare := Bare(t)
	ups := NewSerialUPS(t, megatec.Config{})
	m := New(t, Options{
		Image: &bare, Devices: []Device{ups, &BMC{Sim: peer.StartIPMISim(t)}},
		Disks: []Disk{{ID: "RIGA"}, {ID: "RIGB"}, {ID: "RIGC", Kind: NVMe}, {ID: "RIGD", Kind: ATA}},
	})
	m.Boot()
	m.Settle()

	r, err := m.Run(m.Limit(time.Minute), "sh", "-c", "echo out; echo err >&2; exit 7")
	if err != nil || r != (Result{Exit: 7, Stdout: "out\n", Stderr: "err\n"}) {
		t.Errorf("a command that exits with 7: %+v, %v", r, err)
	}
	text := strings.Repeat("0123456789abcde\n", 8000)
	m.Write("/var/tmp/kept", text)
	if got := m.Read("/var/tmp/kept"); got != text {
		t.Errorf("a file of %d bytes came back with %d", len(text), len(got))
	}
	if out := m.Must("smartctl", "-H", m.Disk("RIGC")); !strings.Contains(out, "PASSED") {
		t.Errorf("smartctl of the NVMe drive: %s", out)
	}
	m.Eventually("two supplies at the BMC", "test $(ipmitool sdr type 'Power Supply' | grep -c PSU) -ge 2", m.Limit(time.Minute))
	m.Shell("stty -F /dev/ttyS1 2400 raw -echo; exec 3<>/dev/ttyS1; printf 'Q1\\r' >&3; timeout 10 head -c 47 <&3")
	if ups.Asked("Q1") != 1 || len(ups.Queries(time.Time{})) != 1 {
		t.Errorf("the UPS was asked %d times, %v", ups.Asked("Q1"), ups.Queries(time.Time{}))
	}
	m.Pull("RIGB")
	m.Eventually("RIGB is gone", "! lsblk -dno SERIAL | grep -q RIGB", m.Limit(20*time.Second))
	m.Plug("RIGB")
	m.Eventually("RIGB is back", "lsblk -dno SERIAL | grep -q RIGB", m.Limit(20*time.Second))

	m.Must("sync")
	mark := m.Console.Mark()
	if e := m.Kill(); !e.Cut || e.Code != -1 {
		t.Errorf("Kill: %+v", e)
	}
	m.Boot()
	m.Console.Wait(t, "recovery complete|recovering journal", mark, m.Limit(10*time.Second), m.Off())
	if got := m.Read("/var/tmp/kept"); got != text {
		t.Errorf("a file that was synced before the cut came back with %d of %d bytes", len(got), len(text))
	}
	m.PowerOff()
}

// TestImage builds the image where the cache has none.
func TestImage(t *testing.T) {
	Need(t, false)
	t.Log(Bare(t))
}
