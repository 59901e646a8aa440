package action

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// hypervisor is a real libvirtd whose domains are those of its test driver. Its virsh is
// the real one, but for what is planted.
type hypervisor struct {
	t      *testing.T
	daemon *peer.Process
	dir    string
	uri    string
	ids    map[string]string // of the domains, by name
}

// planted is virsh, unless a file in $S is to be run for the command and domain.
const planted = `echo "$@" >>"$S/log"
for plan in "$S/plan/$3" "$S/plan/$3.$4"; do
	[ ! -e "$plan" ] || { . "$plan"; exit $?; }
done
exec "$VIRSH" "$@"
`

func startLibvirt(t *testing.T) *hypervisor {
	t.Helper()
	program := peer.Need(t, "libvirtd")
	virsh := peer.Need(t, "virsh")
	dir, err := os.MkdirTemp("", "lv") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	write(t, dir+"/conf", fmt.Sprintf("unix_sock_dir = %q\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\nlisten_tls = 0\n", dir))
	sockets := []string{dir + "/libvirt-sock", dir + "/libvirt/libvirt-sock"} // root's, and everybody else's
	h := &hypervisor{t: t, dir: dir, ids: map[string]string{}}
	cmd := exec.Command(program, "-f", dir+"/conf", "-p", dir+"/pid")
	// No driver but the one that is built in: none that looks at this machine.
	cmd.Env = append(os.Environ(), "LIBVIRT_DRIVER_DIR="+dir, "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir)
	h.daemon = peer.Start(t, cmd, func() error {
		for _, s := range sockets {
			h.uri = "test+unix:///default?socket=" + s
			if _, err = h.virsh("version"); err == nil {
				return nil
			}
		}
		return err
	})
	// The driver forgets its domains with its last connection.
	hold := exec.Command(virsh, "-c", h.uri)
	r, w := io.Pipe()
	hold.Stdin = r
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); hold.Process.Kill(); hold.Wait() })
	h.must("list") // a round trip later the other connection stands
	h.must("undefine", "test")
	h.must("destroy", "test")
	return h
}

func (h *hypervisor) virsh(args ...string) (string, error) {
	out, err := exec.Command("virsh", append([]string{"-c", h.uri}, args...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("virsh %v: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func (h *hypervisor) must(args ...string) string {
	h.t.Helper()
	out, err := h.virsh(args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// define makes domains and starts those that are not said to be off.
func (h *hypervisor) define(names ...string) {
	h.t.Helper()
	for _, name := range names {
		name, off := strings.CutSuffix(name, " (off)")
		name, paused := strings.CutSuffix(name, " (paused)")
		write(h.t, h.dir+"/d.xml", "<domain type='test'><name>"+name+"</name><memory>1000</memory><os><type>hvm</type></os></domain>")
		h.must("define", h.dir+"/d.xml")
		list, _ := domains(h.must("list", "--all", "--uuid", "--name"))
		for _, g := range list {
			h.ids[g.name] = g.id
		}
		if !off {
			h.must("start", "--domain", name)
		}
		if paused {
			h.must("suspend", "--domain", h.ids[name])
		}
	}
}

// plan plants what virsh does for a command of a domain.
func (h *hypervisor) plan(command, name, script string) {
	if name != "" {
		command += "." + h.ids[name]
	}
	write(h.t, h.dir+"/plan/"+command, script)
}

func (h *hypervisor) task(timeout time.Duration) shutdown.Task {
	return taskWith(program(h.t, planted, "virsh"), timeout, "S="+h.dir, "VIRSH="+peer.Need(h.t, "virsh"))
}

// states are the domains and their states, in no special order.
func (h *hypervisor) expect(want map[string]string) {
	h.t.Helper()
	for name, state := range want {
		if got := h.must("domstate", h.ids[name]); got != state {
			h.t.Errorf("domain %q is %s, want %s", name, got, state)
		}
	}
}

func TestLibvirt(t *testing.T) {
	const off, up = "shut off", "running"
	for _, tt := range []struct {
		name    string
		domains []string
		do      config.Libvirt
		plan    map[string]string // script by command and domain
		timeout time.Duration     // 0: a minute
		want    map[string]string
		fails   string
		says    string // in its output
		atLeast time.Duration
		atMost  time.Duration // 0: 8 s
	}{
		{name: "all", domains: []string{"mail", "b c", "7", "-x", "münchen", "stopped (off)", "paused (paused)"},
			want: map[string]string{"mail": off, "b c": off, "7": off, "-x": off, "münchen": off, "paused": off}, says: "b c: off after"},
		{name: "none runs", domains: []string{"a (off)"}, want: map[string]string{"a": off}},
		{name: "those named", domains: []string{"a", "b c", "d", "off (off)"}, do: config.Libvirt{Domains: []string{"b c", "off", "gone"}},
			want: map[string]string{"a": up, "b c": off, "d": up}},
		{name: "a name that is another's id", domains: []string{"a", "b", "c", "1", "2", "3", "4", "5", "6"}, do: config.Libvirt{Domains: []string{"2"}},
			want: map[string]string{"a": up, "b": up, "c": up, "1": up, "2": off, "3": up, "4": up, "5": up, "6": up}},
		{name: "all but some", domains: []string{"a", "fire wall", "c"}, do: config.Libvirt{Except: []string{"fire wall"}},
			want: map[string]string{"a": off, "fire wall": up, "c": off}},
		{name: "deaf", domains: []string{"deaf", "b"}, plan: map[string]string{"shutdown deaf": "exit 0"}, timeout: 3 * time.Second,
			want: map[string]string{"deaf": up, "b": off}, fails: "timed out after 3s; still up: deaf", says: "deaf: up", atLeast: 2900 * time.Millisecond, atMost: 5500 * time.Millisecond},
		{name: "deaf, destroyed", domains: []string{"deaf", "b"}, do: config.Libvirt{Destroy: config.Duration(2 * time.Second)}, plan: map[string]string{"shutdown deaf": "exit 0"},
			want: map[string]string{"deaf": off, "b": off}, says: "deaf: ended by force after", atLeast: 2 * time.Second},
		{name: "refused", domains: []string{"a", "b"}, plan: map[string]string{"shutdown a": "echo 'error: cannot acquire state change lock'; exit 1"},
			want: map[string]string{"a": up, "b": off}, fails: "still up: a", says: "cannot acquire state change lock", atMost: 15 * time.Second},
		{name: "refused twice", domains: []string{"a"}, plan: map[string]string{"shutdown a": `[ -e $S/2 ] && exec "$VIRSH" "$@"; [ -e $S/1 ] && touch $S/2; touch $S/1; echo 'error: busy'; exit 1`},
			want: map[string]string{"a": off}, atMost: 15 * time.Second},
		{name: "refused, destroyed", domains: []string{"a"}, do: config.Libvirt{Destroy: config.Duration(time.Second)}, plan: map[string]string{"shutdown a": "exit 1"}, want: map[string]string{"a": off}, says: "by force"},
		{name: "crashed", domains: []string{"a", "b"}, plan: map[string]string{"domstate a": "echo crashed; echo"}, want: map[string]string{"b": off}, says: "a: crashed"},
		{name: "asleep", domains: []string{"a"}, plan: map[string]string{"domstate a": "echo pmsuspended", "dompmwakeup a": "touch $S/woken", "shutdown a": `[ -e $S/woken ] && exec "$VIRSH" "$@"; exit 1`},
			want: map[string]string{"a": off}},
		{name: "paused, which nothing wakes", domains: []string{"a (paused)"}, plan: map[string]string{"resume a": "echo 'error: storage is full'; exit 1"}, want: map[string]string{"a": "paused"},
			fails: "still up: a", says: "storage is full", atMost: 15 * time.Second},
		{name: "one hangs", domains: []string{"a", "b"}, plan: map[string]string{"shutdown a": "exec sleep 60"}, timeout: 3 * time.Second, want: map[string]string{"a": up, "b": off}, fails: "still up: a"},
		{name: "not there at first sight", domains: []string{"a"}, plan: map[string]string{"list": "echo 'error: failed to connect to the hypervisor'; exit 1"}, fails: "failed to connect"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := startLibvirt(t)
			h.define(tt.domains...)
			for what, script := range tt.plan {
				command, name, _ := strings.Cut(what, " ")
				h.plan(command, name, script)
			}
			timeout := tt.timeout
			if timeout == 0 {
				timeout = time.Minute
			}
			tt.do.URI = h.uri
			start := time.Now()
			res := Libvirt{Libvirt: tt.do}.Run(t.Context(), h.task(timeout))
			took := time.Since(start)
			t.Logf("%v after %v:\n%s", res.Err, took.Round(time.Millisecond), res.Output)
			expectEnd(t, res, tt.fails)
			if !strings.Contains(res.Output, tt.says) {
				t.Errorf("output %q, want %q in it", res.Output, tt.says)
			}
			if most := max(tt.atMost, 8*time.Second); took < tt.atLeast || took > most {
				t.Errorf("took %v, want %v to %v", took, tt.atLeast, most)
			}
			os.RemoveAll(h.dir + "/plan")
			h.expect(tt.want)
		})
	}
}

// libvirtd stops answering in the middle and comes back: nobody was given up meanwhile.
func TestLibvirtDaemonHangsForAWhile(t *testing.T) {
	t.Parallel()
	h := startLibvirt(t)
	h.define("a", "b")
	h.plan("shutdown", "a", `kill -STOP `+fmt.Sprint(h.daemon.PID())+`; exit 0`)
	time.AfterFunc(3*time.Second, func() {
		os.RemoveAll(h.dir + "/plan")
		h.daemon.Signal(syscall.SIGCONT)
	})
	res := Libvirt{Libvirt: config.Libvirt{URI: h.uri, Destroy: config.Duration(2 * time.Second)}}.Run(t.Context(), h.task(time.Minute))
	expectEnd(t, res, "")
	t.Logf("%s", res.Output)
	h.expect(map[string]string{"a": "shut off", "b": "shut off"})
}

func TestLibvirtStartsWhatItShutDown(t *testing.T) {
	t.Parallel()
	h := startLibvirt(t)
	h.define("a", "b c", "7", "other (off)")
	do := Libvirt{Libvirt: config.Libvirt{URI: h.uri, Domains: []string{"a", "b c", "7"}}}
	expectEnd(t, do.Run(t.Context(), h.task(time.Minute)), "")
	h.must("start", "a") // by somebody else meanwhile
	back := do.Inverse()
	res := back.Run(t.Context(), h.task(time.Minute))
	expectEnd(t, res, "")
	if !strings.Contains(res.Output, "a: it ran already") || !strings.Contains(res.Output, "7: started") {
		t.Errorf("output %q", res.Output)
	}
	h.expect(map[string]string{"a": "running", "b c": "running", "7": "running", "other": "shut off"})
	h.must("destroy", h.ids["7"])
	h.must("undefine", h.ids["7"])
	h.must("shutdown", h.ids["b c"])
	expectEnd(t, back.Run(t.Context(), h.task(time.Minute)), "not started: 7")
	h.expect(map[string]string{"b c": "running"})
}

func TestLibvirtCheck(t *testing.T) {
	t.Parallel()
	h := startLibvirt(t)
	h.define("web 1", "mail (off)")
	for _, tt := range []struct {
		name        string
		do          config.Libvirt
		plan        string
		check, text string
	}{
		{name: "all"},
		{name: "named", do: config.Libvirt{Domains: []string{"web 1", "mail"}}},
		{name: "a slip", do: config.Libvirt{Domains: []string{"web 1", "mial"}}, check: "domain_unknown", text: `there is no domain mial (did you mean "mail"?)`},
		{name: "except nobody", do: config.Libvirt{Except: []string{"firewall"}}, check: "domain_unknown", text: "there is no domain firewall"},
		{name: "no socket", do: config.Libvirt{URI: "test+unix:///default?socket=/nonexistent/sock"}, check: "libvirt_unreachable", text: "'/nonexistent/sock': No such file or directory"},
		{name: "no such virsh", do: config.Libvirt{Virsh: "/nonexistent/virsh"}, check: "program_missing", text: "there is no /nonexistent/virsh"},
		{name: "not let in", plan: "echo \"error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied\"; exit 1", check: "libvirt_denied", text: "Permission denied"},
		{name: "no driver", plan: "echo 'error: no connection driver available for xen:///'; exit 1", check: "libvirt_unreachable", text: "no connection driver"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.RemoveAll(h.dir + "/plan")
			if tt.plan != "" {
				h.plan("list", "", tt.plan)
			}
			if tt.do.URI == "" {
				tt.do.URI = h.uri
			}
			expectFinding(t, Libvirt{Libvirt: tt.do}.Check(t.Context(), h.task(time.Minute)), tt.check, tt.text)
		})
	}
	h.expect(map[string]string{"web 1": "running", "mail": "shut off"})
	h.daemon.Signal(syscall.SIGSTOP)
	defer h.daemon.Signal(syscall.SIGCONT)
	os.RemoveAll(h.dir + "/plan")
	task := h.task(500 * time.Millisecond)
	expectFinding(t, Libvirt{Libvirt: config.Libvirt{URI: h.uri}}.Check(t.Context(), task), "libvirt_unreachable", "timed out")
}

// More domains run than a list that is kept has room for.
func TestLibvirtWithTooManyDomainsForOneList(t *testing.T) {
	t.Parallel()
	const many = 100
	dir := t.TempDir()
	id := func(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", i) }
	for i := range many {
		write(t, filepath.Join(dir, "up", id(i)), "")
	}
	long := strings.Repeat("a long name ", 16)
	virsh := program(t, `shift 2
case $1 in
list) cd $S/up; for f in *; do [ "$f" = '*' ] || echo "$f `+long+`$f"; done ;;
domstate) [ "$2" != --domain ] || shift; id=${2##* }; [ -e "$S/up/$id" ] && echo running || echo 'shut off' ;;
shutdown) rm -f "$S/up/${2##* }" ;;
esac
`, "virsh")
	task := taskWith(virsh, time.Minute, "S="+dir)
	out, err := exec.Command("env", "S="+dir, virsh+"/virsh", "-c", "uri", "list").Output()
	if err != nil || len(out) < 20000 {
		t.Fatalf("%d bytes of list, %v: too few for this test", len(out), err)
	}
	res := Libvirt{Libvirt: config.Libvirt{Domains: []string{long + id(many/2)}}}.Run(t.Context(), task)
	expectEnd(t, res, "")
	if left, _ := os.ReadDir(dir + "/up"); len(left) != many-1 {
		t.Errorf("%d domains run on, want %d: %s", len(left), many-1, res.Output)
	}
	expectEnd(t, Libvirt{}.Run(t.Context(), task), "")
	if left, _ := os.ReadDir(dir + "/up"); len(left) != 0 {
		t.Errorf("%d domains run on", len(left))
	}
}

func FuzzDomains(f *testing.F) {
	f.Add("6695eb01-f6a4-8304-79aa-97f2502e193f test\n\n")
	f.Add("6695eb01-f6a4-8304-79aa-97f2502e193f a\n[… 12 bytes left out …]\nb c\n")
	f.Fuzz(func(t *testing.T, out string) {
		list, _ := domains(out)
		for _, g := range list {
			if len(g.id) != 36 || strings.ContainsAny(g.id+g.name, "\n") || !strings.Contains(out, g.id) {
				t.Errorf("%q: %+v", out, g)
			}
		}
	})
}
