package vm

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// DiskKind is how a disk is attached.
type DiskKind int

// The kinds of disks. SCSI disks and NVMe can be pulled out and put back.
const (
	SCSI   DiskKind = iota // no SMART
	NVMe                   // full health log
	ATA                    // SMART with fixed values
	Virtio                 // the fastest; no SMART
)

// A Disk is an empty disk. In the guest it is found by its serial number, which is ID.
type Disk struct {
	ID   string // letters and digits
	Kind DiskKind
	MB   int // default 256
}

func (d Disk) create(t testing.TB, m *Machine) {
	t.Helper()
	if d.MB == 0 {
		d.MB = 256
	}
	f, err := os.Create(m.path(d.ID + ".img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(d.MB) << 20); err != nil {
		t.Fatal(err)
	}
}

// args attach disk number n. The block node outlives the device, so that a pulled disk can
// be put back.
func (d Disk) args(m *Machine, n int) []string {
	args := []string{"-blockdev", "driver=raw,node-name=node-" + d.ID + ",file.driver=file,file.filename=" + m.path(d.ID+".img")}
	if d.Kind == NVMe {
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=port-%s,chassis=%d", d.ID, n+1))
	}
	var device []string
	for _, p := range d.device(n) {
		device = append(device, fmt.Sprintf("%s=%v", p.key, p.value))
	}
	return append(args, "-device", strings.TrimPrefix(strings.Join(device, ","), "driver="))
}

type property struct {
	key   string
	value any
}

func (d Disk) device(n int) []property {
	p := []property{{"driver", ""}, {"drive", "node-" + d.ID}, {"serial", d.ID}, {"id", d.ID}}
	switch d.Kind {
	case NVMe:
		p[0].value = "nvme"
		p = append(p, property{"bus", "port-" + d.ID})
	case ATA:
		p[0].value = "ide-hd"
		p = append(p, property{"bus", fmt.Sprintf("ide.%d", n%6)})
	case Virtio:
		p[0].value = "virtio-blk-pci"
	default:
		p[0].value = "scsi-hd"
		p = append(p, property{"bus", "scsi0.0"}, property{"scsi-id", n})
	}
	return p
}

// Pull takes a SCSI disk or an NVMe drive out of the running machine.
func (m *Machine) Pull(id string) {
	m.t.Helper()
	begin := time.Now()
	if err := m.QMP("device_del", map[string]any{"id": id}, nil); err != nil {
		m.t.Fatal(err)
	}
	m.WaitEvent("DEVICE_DELETED", begin, m.Limit(20*time.Second))
}

// Plug puts a pulled disk back.
func (m *Machine) Plug(id string) {
	m.t.Helper()
	for n, d := range m.opt.Disks {
		if d.ID != id {
			continue
		}
		args := map[string]any{}
		for _, p := range d.device(n) {
			args[p.key] = p.value
		}
		if err := m.QMP("device_add", args, nil); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	m.t.Fatalf("Plug(%s): the machine was made without this disk", id)
}

// Disk is the device node of the disk with this serial number, such as /dev/sda. Letters move
// from boot to boot, and the kernel may not have found it yet when all services are up.
func (m *Machine) Disk(id string) string {
	m.t.Helper()
	for deadline := time.Now().Add(m.Limit(20 * time.Second)); ; time.Sleep(300 * time.Millisecond) {
		list := m.Must("lsblk", "-dnpo", "NAME,SERIAL")
		for line := range strings.Lines(list) {
			if f := strings.Fields(line); len(f) == 2 && f[1] == id {
				return f[0]
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the machine sees no disk with the serial number %s:\n%s", id, list)
		}
	}
}

// writeTar packs files of the host for the guest, which reads the archive from a disk.
func writeTar(t testing.TB, path string, files map[string]string) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := addFile(w, name, files[name]); err != nil {
			t.Fatalf("file %s for the guest: %v", name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func addFile(w *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
