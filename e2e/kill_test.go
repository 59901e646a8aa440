package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// standIn is a program that takes two seconds, and writes down when it begins and ends.
const standIn = "#!/bin/sh\necho \"begin $(basename $0) $*\" >>%DIR%/order\nsleep 2\necho \"end $(basename $0) $*\" >>%DIR%/order\n"

// guestTool stands for virsh, qm and docker: one guest runs until it was shut down, which
// takes two seconds.
const guestTool = `#!/bin/sh
case "$*" in
*"list --uuid"*) test -e %DIR%/down || echo "11111111-2222-3333-4444-555555555555 db" ;;
*domstate*) test -e %DIR%/down && echo "shut off" || echo running ;;
list) echo "      VMID NAME                 STATUS     MEM(MB)    BOOTDISK(GB) PID"
	test -e %DIR%/down || echo "       100 db                   running    2048              32.00 1234" ;;
"ps --format"*paused*) ;;
"ps --format"*) test -e %DIR%/down || echo "0123456789ab db" ;;
*shutdown*|stop*) echo "begin $*" >>%DIR%/order; sleep 2; touch %DIR%/down; echo "end $*" >>%DIR%/order ;;
esac
`

// programs puts stand-ins into the daemon's path.
func (d *daemon) programs(scripts map[string]string) {
	d.t.Helper()
	bin := d.file("bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		d.t.Fatal(err)
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(strings.ReplaceAll(script, "%DIR%", d.dir)), 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
	d.env = append(d.env, "PATH="+bin+":"+os.Getenv("PATH"))
}

// slowServer answers after two seconds, and writes down what it was asked.
func slowServer(t *testing.T) (url string, asked func() []string) {
	var mu sync.Mutex
	var log []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, fmt.Sprintf(format, args...))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note("begin %s", r.Method)
		select {
		case <-time.After(2 * time.Second):
			note("end %s", r.Method)
		case <-r.Context().Done():
			note("left %s", r.Method)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(log)
	}
}

// killPlan is a plan whose middle step is the one that is killed in.
func killPlan(upsd *peer.UPSD, step string) string {
	return fmt.Sprintf(`
mode: armed
ups:
  - {name: u1, driver: nut, address: "%s", options: {ups: u1}, poll: 500ms}
policy: {poll_batt_s: 0.5}
shutdown:
  need: 20s
  reserve: 10s
  steps:
    - {name: first, command: ["/bin/sh", "-c", "echo first >>%%DIR%%/order"]}
    - {name: middle, timeout: 20s, %s}
    - {name: last, command: ["/bin/sh", "-c", "echo last >>%%DIR%%/order"]}
  command: ["/bin/sh", "-c", "echo power-off >>%%DIR%%/order"]
hooks:
  - {on: [notification], timeout: 8s, command: ["/bin/sh", "-c", "echo begin hook >>%%DIR%%/order; sleep 2; echo end hook >>%%DIR%%/order"]}
`, upsd.Addr(), step)
}

// closingPort is the address of a server that goes away after ten seconds.
func closingPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	time.AfterFunc(10*time.Second, func() { l.Close() })
	return l.Addr().String()
}

// kill -9 in the middle of every kind of step: the next agent
// goes on with the plan, no step runs beside itself, and what must not run twice does not.
func TestKillInTheMiddleOfEachKind(t *testing.T) {
	t.Parallel()
	url, asked := slowServer(t)
	sshd, bmc, nas := peer.StartSSHD(t), peer.StartIPMISim(t), closingPort(t)
	bmc.HostTakes(3 * time.Second)
	password := filepath.Join(t.TempDir(), "password")
	writeFile(t, password, peer.IPMIAdminSecret+"\n")
	ssh := fmt.Sprintf(`ssh: {host: "%s", user: %s, key_file: %s, known_hosts: %s, command: "echo begin >>%%DIR%%/order; sleep 2; echo end >>%%DIR%%/order"}`,
		sshd.Addr(), sshd.User, sshd.KeyFile, sshd.KnownHosts)
	ipmi := fmt.Sprintf(`ipmi: {address: "%s", user: %s, password_file: %s, cipher: 3}`, bmc.Addr(), peer.IPMIAdmin, password)
	for name, tt := range map[string]struct {
		step    string
		most    int               // how often the middle step may begin
		scripts map[string]string // besides systemctl
	}{
		"command":          {`command: [begin]`, 2, map[string]string{"begin": standIn}},
		"command, once":    {`once: true, command: [begin]`, 1, map[string]string{"begin": standIn}},
		"unit":             {`unit: db.service`, 2, map[string]string{"systemctl": strings.Replace(standIn, "\n", "\n[ $1 = show ] && exit\n", 1)}},
		"http, idempotent": {`http: {url: "` + url + `/put", method: PUT}`, 2, nil},
		"http, POST":       {`http: {url: "` + url + `/post"}`, 1, nil},
		"libvirt":          {`libvirt: {}`, 2, map[string]string{"virsh": guestTool}},
		"proxmox":          {`proxmox: {}`, 2, map[string]string{"qm": guestTool, "pct": "#!/bin/sh\n"}},
		"containers":       {`containers: docker`, 2, map[string]string{"docker": guestTool}},
		"ssh":              {ssh, 2, nil},
		"ssh, once":        {`once: true, ` + ssh, 1, nil},
		"ipmi":             {ipmi, 2, nil},
		"wait_for":         {`wait_for: ["` + nas + `"]`, 2, nil},
		"notify":           {`notify: "going down"`, 2, nil},
		"wall":             {`wall: "going down"`, 2, map[string]string{"wall": standIn}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upsd := peer.StartUPSD(t, map[string]string{"u1": upsFile})
			d := newDaemon(t, killPlan(upsd, tt.step))
			d.programs(tt.scripts)
			trace := func() []string {
				if strings.HasPrefix(name, "http") {
					method := map[bool]string{true: "PUT", false: "POST"}[name == "http, idempotent"]
					return slices.DeleteFunc(asked(), func(s string) bool { return !strings.HasSuffix(s, method) })
				}
				return d.lines("order")
			}
			begun := func() int {
				switch name { // which leave no trace, or another one
				case "ipmi":
					return len(bmc.HostCalls())
				case "wait_for":
					return len(slices.DeleteFunc(d.events(dodai.EventStepStarted), func(ev dodai.Event) bool { return ev.Device != "middle" }))
				}
				return len(slices.DeleteFunc(trace(), func(s string) bool { return !strings.HasPrefix(s, "begin") }))
			}
			d.start()
			upsd.Set("u1", "ups.status", "OB DISCHRG LB")
			eventually(t, 20*time.Second, "the middle step", func() bool { return begun() == 1 })
			d.kill()
			d.start()
			eventually(t, 30*time.Second, "the power-off command", func() bool { return slices.Contains(d.lines("order"), "power-off") })
			if n := begun(); n > tt.most {
				t.Errorf("the step began %d times, want at most %d: %q", n, tt.most, trace())
			}
			running := 0
			for _, line := range trace() {
				switch {
				case strings.HasPrefix(line, "begin"):
					running++
				case strings.HasPrefix(line, "end"), strings.HasPrefix(line, "left"):
					running--
				}
				// What died with the agent did not end; guests may be asked while they are going down.
				if running > 1 && !slices.Contains([]string{"http, idempotent", "notify", "libvirt", "proxmox", "ssh"}, name) {
					t.Errorf("the step ran beside itself: %q", trace())
				}
			}
			got := slices.DeleteFunc(d.lines("order"), func(s string) bool { return strings.HasPrefix(s, "begin") || strings.HasPrefix(s, "end") })
			if !slices.Equal(got, []string{"first", "last", "power-off"}) {
				t.Errorf("the others ran as %q, want first, last, power-off, each once", got)
			}
			if n := len(d.events(dodai.EventShutdownStarted)); n != 1 {
				t.Errorf("%d shutdowns started, want 1", n)
			}
		})
	}
}
