package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// packages is what the guest has besides Debian's smallest system: what the agent
// watches and stops, and what tests look at it with.
var packages = []string{
	"linux-image-amd64", "systemd", "systemd-sysv", "udev", "kmod", "dbus", "initramfs-tools", "zstd", "e2fsprogs", "util-linux",
	"procps", "iproute2", "mdadm", "smartmontools", "nvme-cli", "ipmitool", "nut-server", "snmp", "postgresql-15", "polkitd", "qemu-guest-agent",
}

// leftOut are parts of packages that no test needs: they would make the image twice as large.
var leftOut = []string{
	"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*",
	"/lib/modules/*/kernel/sound/*", "/lib/modules/*/kernel/drivers/gpu/*", "/lib/modules/*/kernel/drivers/media/*",
	"/lib/modules/*/kernel/drivers/infiniband/*", "/lib/modules/*/kernel/drivers/staging/*", "/lib/modules/*/kernel/drivers/iio/*",
	"/lib/modules/*/kernel/drivers/isdn/*", "/lib/modules/*/kernel/drivers/bluetooth/*", "/lib/modules/*/kernel/drivers/mtd/*",
	"/lib/modules/*/kernel/drivers/net/ethernet/*", "/lib/modules/*/kernel/drivers/net/wireless/*", "/lib/modules/*/kernel/drivers/net/wan/*",
	"/lib/modules/*/kernel/drivers/net/can/*", "/lib/modules/*/kernel/net/mac80211/*", "/lib/modules/*/kernel/net/bluetooth/*",
	"/lib/modules/*/kernel/net/wireless/*", "/lib/modules/*/kernel/fs/ocfs2/*", "/lib/modules/*/kernel/fs/gfs2/*",
	"/lib/modules/*/kernel/fs/ceph/*", "/lib/modules/*/kernel/fs/cifs/*", "/lib/modules/*/kernel/fs/nfs/*", "/lib/modules/*/kernel/fs/nfsd/*",
	"/lib/modules/*/kernel/fs/xfs/*", "/lib/modules/*/kernel/fs/btrfs/*",
}

// early is run with the root file system's folder before the kernel is installed: an
// initial RAM disk that can mount the root file system and nothing else boots faster.
const early = `set -e
mkdir -p "$1/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=zstd\n' >"$1/etc/initramfs-tools/conf.d/rig"
printf 'virtio_pci\nvirtio_blk\next4\n' >"$1/etc/initramfs-tools/modules"
`

// late is run with the root file system's folder when all packages are in it. Units that
// take long and that no test needs are masked; services that a test needs are
// started by it. A machine-id of its own keeps systemd from taking each boot for the first.
const late = `set -e
chroot "$1" passwd -q -d root
rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$1/etc/resolv.conf"
printf 'APT::Install-Recommends "false";\n' >"$1/etc/apt/apt.conf.d/rig"
printf '/dev/vda / ext4 defaults,errors=remount-ro 0 1\n' >"$1/etc/fstab"
printf 'rig\n' >"$1/etc/hostname"
printf '127.0.0.1 localhost rig\n' >"$1/etc/hosts"
printf '6d0dca1f00d14e5fb1a5d0da10000001\n' >"$1/etc/machine-id"
printf 'LANG=C.UTF-8\n' >"$1/etc/default/locale"
mkdir -p "$1/etc/systemd/journald.conf.d" "$1/etc/systemd/system/qemu-guest-agent.service.d" "$1/etc/systemd/network" "$1/var/log/journal" "$1/rig"
printf '[Journal]\nStorage=persistent\nForwardToConsole=yes\nMaxLevelConsole=info\n' >"$1/etc/systemd/journald.conf.d/rig.conf"
printf '[Service]\nLogLevelMax=warning\n' >"$1/etc/systemd/system/qemu-guest-agent.service.d/rig.conf"
printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n' >"$1/etc/systemd/network/rig.network"
chroot "$1" systemctl -q enable systemd-networkd.service
chroot "$1" systemctl -q mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer logrotate.timer mdcheck_start.timer mdcheck_continue.timer mdmonitor-oneshot.timer \
	nut-driver-enumerator.service nut-driver-enumerator.path nvmf-autoconnect.service getty@tty1.service systemd-pstore.service
chroot "$1" systemctl -q disable nut-server.service nut-driver.target smartmontools.service postgresql.service openipmi.service 2>/dev/null || true
`

// An Image is what a machine starts from. None of its files is ever written to.
type Image struct {
	Root   string // raw, or qcow2 upon a raw one
	Format string
	Kernel string
	Initrd string
}

// imageRecipe changes with everything the image is made by, the settings of mke2fs too.
func imageRecipe() string {
	return strings.Join([]string{"bookworm", "6G", strings.Join(packages, " "), strings.Join(leftOut, " "), early, late}, "\x00")
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:16]
}

// Cache is the folder of images, DODAI_VM_CACHE or one below the user's own.
func Cache(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("DODAI_VM_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(user, "dodai-vm")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Bare returns the image without dodai, and builds it first where the cache has none: some
// two minutes and a download of 150 MB.
func Bare(t testing.TB) Image {
	t.Helper()
	dir := cached(t, "image-"+hash(imageRecipe()), func(dir string) {
		begin := time.Now()
		buildImage(t, dir)
		t.Logf("image built in %.0f s", time.Since(begin).Seconds())
		forget(t, "image-*", 7*24*time.Hour)
	})
	return Image{
		Root: filepath.Join(dir, "root.img"), Format: "raw",
		Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd"),
	}
}

// cached returns the cache's folder called name. Where there is none, build fills one that
// becomes it only when it is complete; other processes wait meanwhile.
func cached(t testing.TB, name string, build func(dir string)) string {
	t.Helper()
	cache := Cache(t)
	dir := filepath.Join(cache, name)
	if now := time.Now(); os.Chtimes(dir, now, now) == nil { // in use, and so not to be forgotten
		return dir
	}
	defer lock(t, filepath.Join(cache, "lock-"+name))()
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	aside := filepath.Join(cache, "building-"+name)
	os.RemoveAll(aside) // of a process that was killed: nobody else holds the lock
	defer os.RemoveAll(aside)
	if err := os.Mkdir(aside, 0o755); err != nil {
		t.Fatal(err)
	}
	build(aside)
	if err := os.Rename(aside, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// forget removes the cache's folders of this pattern that no test has used for so long.
func forget(t testing.TB, pattern string, unused time.Duration) {
	t.Helper()
	old, _ := filepath.Glob(filepath.Join(Cache(t), pattern))
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > unused {
			os.RemoveAll(dir)
		}
	}
}

// lock waits for the file's lock, which other processes of the host may hold, and
// returns what releases it.
func lock(t testing.TB, path string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

func buildImage(t testing.TB, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "building the image needs root")
	}
	rootfs := filepath.Join(dir, "rootfs")
	args := []string{
		"--mode=root", "--variant=minbase", "--quiet", "--include=" + strings.Join(packages, ","),
		"--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io",
		"--essential-hook=" + early, "--customize-hook=" + late,
	}
	for _, path := range leftOut {
		args = append(args, "--dpkgopt=path-exclude="+path)
	}
	must(t, 15*time.Minute, peer.Need(t, "mmdebstrap"), append(args, "bookworm", rootfs)...)
	must(t, 5*time.Minute, peer.Need(t, "mke2fs"), "-q", "-t", "ext4", "-d", rootfs, "-L", "root", filepath.Join(dir, "root.img"), "6G")
	for name, pattern := range map[string]string{"vmlinuz": "vmlinuz-*", "initrd": "initrd.img-*"} {
		found, err := filepath.Glob(filepath.Join(rootfs, "boot", pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("image: %d files boot/%s, want one", len(found), pattern)
		}
		if err := os.Rename(found[0], filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(rootfs); err != nil {
		t.Fatal(err)
	}
}

// must runs a program of the host to its end.
func must(t testing.TB, limit time.Duration, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	timer := time.AfterFunc(limit, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// missing skips the test, or fails it in CI, where everything has to be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Need skips the test unless DODAI_VM is set: its tests take minutes each. Long ones want
// DODAI_VM=long. The programs the rig cannot do without have to be there.
func Need(t testing.TB, long bool) {
	t.Helper()
	switch mode := os.Getenv("DODAI_VM"); {
	case mode == "":
		t.Skip("boots a machine: set DODAI_VM=1 (make vm-test)")
	case long && mode != "long":
		t.Skip("boots machines for many minutes: set DODAI_VM=long (make vm-test-long)")
	}
	for _, program := range []string{"qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs"} {
		peer.Need(t, program)
	}
}

// qcow2 makes an overlay upon a file that is not written to.
func qcow2(t testing.TB, path, base, format string) {
	t.Helper()
	must(t, time.Minute, peer.Need(t, "qemu-img"), "create", "-q", "-f", "qcow2", "-F", format, "-b", base, path)
}

func (i Image) String() string { return fmt.Sprintf("%s (%s)", i.Root, i.Format) }
