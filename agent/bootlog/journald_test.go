package bootlog

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// journald runs a systemd-journald of its own in a mount namespace, ends it as $2 says
// and copies its journal to $1. It neither reads the kernel's log nor touches auditing.
const journald = `
set -e
mount -t tmpfs none /run; mkdir -p /run/systemd/journal /run/systemd/journald.conf.d
mount -t tmpfs none /var/log; mkdir -p /var/log/journal
printf '[Journal]\nAudit=no\nReadKMsg=no\nStorage=persistent\n' >/run/systemd/journald.conf.d/test.conf
touch /run/systemd/journal/flushed
echo 0123456789abcdef0123456789abcdef >/run/machine-id; mount --bind /run/machine-id /etc/machine-id
"$JOURNALD" & pid=$!
n=0; until [ -n "$(find /var/log/journal -name system.journal -size +0)" ] && [ -S /run/systemd/journal/io.systemd.journal ]; do
	n=$((n+1)); [ $n -lt 200 ]; sleep 0.05
done
sleep 0.2
case $2 in
stopped) kill $pid ;;
killed) kill -9 $pid ;;
released) journalctl --relinquish-var; kill $pid ;;
esac
wait $pid || true
cp /var/log/journal/*/system*.journal* "$1"
`

// The real journald says that it was stopped, on the clock we measure the request with,
// and does not when it is killed. One that has let go of /var says it where no reboot
// finds it.
func TestRealJournald(t *testing.T) {
	daemon, program := peer.Need(t, "systemd-journald"), peer.Need(t, "journalctl")
	if err := exec.Command("unshare", "-m", "--", "mount", "-t", "tmpfs", "none", "/run").Run(); err != nil {
		t.Skipf("no mount namespace of our own: %v", err)
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]How{"stopped": Stopped, "killed": BrokeOff, "released": BrokeOff} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), "unshare", "-m", "--", "sh", "-c", journald, "sh", dir, name)
			cmd.Env = append(os.Environ(), "JOURNALD="+daemon)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			cmd.WaitDelay = time.Second
			before := monotonic()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("journald: %v\n%s", err, out)
			}
			after := monotonic()
			if files, _ := filepath.Glob(filepath.Join(dir, "system*")); len(files) == 0 {
				t.Fatal("journald left no journal")
			}
			end, err := Reader{Program: program, Args: []string{"-D", dir}}.End(t.Context(), strings.TrimSpace(string(id)))
			if err != nil || end.How != want || end.At < before || end.At > after {
				t.Errorf("End = %+v, %v; want %s between %v and %v", end, err, want, before, after)
			}
		})
	}
}

func monotonic() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}
