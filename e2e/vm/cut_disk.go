package vm

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// A VolatileDisk is a disk with a cache that is gone with the power, as a drive's own is. What
// the guest has not flushed is not there after Machine.Kill. (The host's memory, which is in
// between for every other disk, outlasts QEMU.) It is served by nbdkit.
type VolatileDisk struct {
	ID string // serial number, letters and digits
	MB int    // default 64

	cmd *exec.Cmd
	log strings.Builder
	cut bool
}

// Attach implements Device.
func (d *VolatileDisk) Attach(m *Machine) []string {
	m.t.Helper()
	image, socket := m.path(d.ID+".img"), m.path(d.ID+".sock")
	f, err := os.OpenFile(image, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		f.Truncate(int64(max(d.MB, 64)) << 20)
	}
	f.Close()
	os.Remove(socket) // a killed nbdkit leaves it
	d.cmd = exec.Command(peer.Need(m.t, "nbdkit"), "--foreground", "--exit-with-parent", "--unix", socket,
		"--filter=cache", "file", image, "cache=writeback", "cache-min-block-size=4K")
	d.cmd.Env = append(os.Environ(), "TMPDIR="+m.Dir) // where the cache is
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	d.cut = false
	if err := d.cmd.Start(); err != nil {
		m.t.Fatalf("start nbdkit: %v", err)
	}
	for deadline := time.Now().Add(m.Limit(10 * time.Second)); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			d.Cut()
			d.Detach()
			m.t.Fatalf("nbdkit does not listen at %s: %s", socket, d.log.String())
		}
	}
	return []string{
		"-blockdev", "driver=nbd,node-name=node-" + d.ID + ",server.type=unix,server.path=" + socket,
		"-device", fmt.Sprintf("virtio-blk-pci,drive=node-%s,serial=%s,id=%s", d.ID, d.ID, d.ID),
	}
}

// Cut implements Device: the cache forgets.
func (d *VolatileDisk) Cut() {
	d.cut = true
	d.cmd.Process.Kill()
}

// Detach implements Device.
func (d *VolatileDisk) Detach() {
	if !d.cut {
		d.cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(10*time.Second, func() { d.cmd.Process.Kill() })
		defer timer.Stop()
	}
	d.cmd.Wait()
}
