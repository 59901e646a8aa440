package packaging_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// standIn is a helper as far as the service manager sees one: it greets, and ends when the daemon
// hangs up.
const standIn = "#!/bin/sh\necho hello >&0\nread line\n"

// greeted opens a connection to the helper of the machine, and waits for its greeting.
func (m *machine) greeted() (net.Conn, string) {
	m.t.Helper()
	conn, err := net.Dial("unix", filepath.Join("/proc", m.pid, "root/run/dodai-helper/socket"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	text := make([]byte, 64)
	n, _ := conn.Read(text)
	return conn, string(text[:n])
}

// TestHelperWhileTheMachineGoesDown: services that wait for the boot hold are stopped before
// the daemon is. If one hangs, the daemon has to be able to force the machine off, for which it
// needs the helper: one that stood by is still there, and another one can be started.
func TestHelperWhileTheMachineGoesDown(t *testing.T) {
	t.Parallel()
	m := bootMachine(t)
	unit, _, _ := strings.Cut(readFile(t, "../systemd/dodai.service"), "[Service]")
	for name, text := range map[string]string{
		"dodai":                 standIn,
		"dodai.service":         unit + "[Service]\nExecStart=/bin/sleep infinity\n",
		"dodai-helper.socket":   readFile(t, "../systemd/dodai-helper.socket"),
		"dodai-helper@.service": readFile(t, "../systemd/dodai-helper@.service"),
		"heavy.service":         "[Unit]\nAfter=dodai.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/sleep infinity\nTimeoutStopSec=60s\n",
	} {
		if err := os.WriteFile(filepath.Join(m.dir, "shared", name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.sh(`getent group dodai >/dev/null || groupadd --system dodai
install -m 0755 /media/dodai /usr/bin/dodai
install -m 0644 /media/*.service /media/*.socket /etc/systemd/system
systemctl daemon-reload
systemctl start dodai.service heavy.service`)
	before, hello := m.greeted()
	if hello != "hello\n" {
		t.Fatalf("before the shutdown the helper says %q", hello)
	}
	m.sh("systemctl --no-block --no-wall poweroff")
	m.eventually("systemctl is-active heavy.service | grep -qx deactivating && systemctl is-active dodai.service")
	if _, hello = m.greeted(); hello != "hello\n" {
		t.Errorf("while the machine goes down none can be started; it says %q", hello)
	}
	before.SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, err := before.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("the one that stood by: %v, want it to be there still", err)
	}
	before.Close()
	m.eventually("test \"$(systemctl list-units --plain --no-legend 'dodai-helper@*' | wc -l)\" = 1")
}
