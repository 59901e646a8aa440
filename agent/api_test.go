package agent

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai"
)

// local is a client of the agent's socket.
func local(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

func ask(t *testing.T, c *http.Client, method, path, body string) (code int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://dodai"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestLocalAPI(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, func(o *Options) { o.Socket, o.Listen = s.file("a.sock"), "127.0.0.1:0" })
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	c := local(s.file("a.sock"))
	for i := range 5 {
		r.emit(dodai.Event{Name: dodai.EventArrayDegraded, Device: "md" + strconv.Itoa(i)})
	}
	eventually(t, "the events in the journal", func() bool {
		_, body := ask(t, c, "GET", "/v1/events", "")
		return strings.Contains(body, "md4")
	})
	var events []dodai.Event
	_, body := ask(t, c, "GET", "/v1/events?limit=2", "")
	if err := json.Unmarshal([]byte(body), &events); err != nil || len(events) != 2 || events[1].Device != "md4" {
		t.Errorf("the newest two events: %s, %v; want md3, md4", body, err)
	}
	for _, tc := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/v1/status", "", 200, `"state": "normal"`},
		{"GET", "/v1/audit", "", 200, `"ups_alone"`},
		{"GET", "/v1/events?limit=2", "", 200, `"md3"`},
		{"GET", "/v1/events?limit=0", "", 400, `limit is "0": want a whole number from 1 to 10000`},
		{"GET", "/v1/events?limit=10001", "", 400, "1 to 10000"},
		{"GET", "/v1/events?limit=-1", "", 400, "1 to 10000"},
		{"GET", "/v1/events?limit=1e3", "", 400, "1 to 10000"},
		{"GET", "/v1/events?limit=10000", "", 200, `"agent_started"`},
		{"GET", "/v1/drills", "", 200, "[]\n"},
		{"GET", "/v1/drills/nothing", "", 404, "no report"},
		{"GET", "/v1/drills/..%2f..%2fetc%2fpasswd", "", 404, "no report"},
		{"POST", "/v1/drills", "{", 400, "drill request"},
		{"POST", "/v1/drills", `{"name":"mains_loss","level":"full"}`, 409, "want tabletop or rehearsal"},
		{"POST", "/v1/drills", `{"name":"nothing","level":"tabletop"}`, 409, "mains_loss"},
		{"DELETE", "/v1/drills", "", 409, "no drill is running"},
		{"POST", "/v1/reload", "", 409, "without a configuration file"},
		{"GET", "/v1/reload", "", 405, "want POST"},
		{"GET", "/metrics", "", 200, "dodai_build_info"},
		{"GET", "/healthz", "", 200, "ok"},
		{"GET", "/nothing", "", 404, ""},
	} {
		code, body := ask(t, c, tc.method, tc.path, tc.body)
		if code != tc.code || !strings.Contains(body, tc.want) {
			t.Errorf("%s %s: %d %s; want %d with %q", tc.method, tc.path, code, body, tc.code, tc.want)
		}
	}
	// Over the network there is nothing that acts, whoever asks.
	for _, path := range []string{"/v1/drills", "/v1/reload"} {
		resp, err := http.Post("http://"+r.Addr().String()+path, "application/json", strings.NewReader(`{"name":"mains_loss","level":"tabletop"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s over TCP answers %d, want 404", path, resp.StatusCode)
		}
	}
	if info, err := os.Stat(s.file("a.sock")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket has mode %v, %v; want 0660", info.Mode(), err)
	}
}

// An agent in whose snapshot there is nothing answers lists, not null.
// TestWrongMethods: each path that there is says what it takes, and the port of the metrics
// has none of those that act.
func TestWrongMethods(t *testing.T) {
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, func(o *Options) { o.Socket, o.Listen = s.file("a.sock"), "127.0.0.1:0" })
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	c := local(s.file("a.sock"))
	remote := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr().String())
	}}}
	for path, takes := range localMethods {
		path = strings.ReplaceAll(path, "{id}", "x")
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE"} {
			taken := strings.Contains(takes, method)
			if taken && method != "GET" {
				continue // it would act
			}
			if code, answer := ask(t, c, method, path, ""); (code == http.StatusMethodNotAllowed) == taken {
				t.Errorf("%s %s answers %d: %s; it takes %s", method, path, code, answer, takes)
			}
			if code, answer := ask(t, remote, method, path, ""); code != http.StatusNotFound {
				t.Errorf("%s %s answers %d on the port of the metrics: %s", method, path, code, answer)
			}
		}
	}
}

func TestAPIHasNoNullLists(t *testing.T) {
	st := newSite(t).step("mode: observe", nil)
	st.decide()
	st.loop.findings = nil
	st.loop.down = &downState{}
	st.publish()
	for _, path := range []string{"/v1/status", "/v1/audit", "/v1/events", "/v1/drills"} {
		w := httptest.NewRecorder()
		st.localAPI().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || strings.Contains(w.Body.String(), "null") {
			t.Errorf("GET %s: %d %s: want no null", path, w.Code, w.Body)
		}
	}
}

func TestPrivileged(t *testing.T) {
	h := privileged(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	me := uint32(os.Geteuid())
	for name, tc := range map[string]struct {
		cred *unix.Ucred
		want int
	}{
		"root":         {&unix.Ucred{Uid: 0}, http.StatusTeapot},
		"the agent":    {&unix.Ucred{Uid: me}, http.StatusTeapot},
		"another user": {&unix.Ucred{Uid: me + 4242}, http.StatusForbidden},
		"nobody knows": {nil, http.StatusForbidden},
	} {
		req := httptest.NewRequest("POST", "/v1/drills", nil)
		if tc.cred != nil {
			req = req.WithContext(context.WithValue(req.Context(), peerKey{}, tc.cred))
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != tc.want {
			t.Errorf("%s: %d, want %d", name, w.Code, tc.want)
		}
		if tc.want == http.StatusForbidden && !strings.Contains(w.Body.String(), "root or the agent's own user") {
			t.Errorf("%s: refused with %q", name, w.Body)
		}
	}
}

// The kernel's word on who asks, with a process of another user at the other end.
func TestPeerCredentials(t *testing.T) {
	curl, err := exec.LookPath("curl")
	nobody, noUser := user.Lookup("nobody")
	if err != nil || noUser != nil || os.Geteuid() != 0 {
		t.Skip("needs root, curl and the user nobody")
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	r := s.run(plain, func(o *Options) { o.Socket = s.file("a.sock") })
	eventually(t, "ready", func() bool { return isClosed(r.Ready()) })
	post := func() string {
		cmd := exec.Command(curl, "-sS", "--unix-socket", s.file("a.sock"), "-X", "DELETE", "http://dodai/v1/drills")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		cmd.Dir = "/"
		out, _ := cmd.CombinedOutput() // its exit status says nothing that the output does not
		return string(out)
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out := post(); strings.Contains(out, "drill") || strings.Contains(out, "needs root") {
		t.Errorf("mode 0660 let another user in: %s", out)
	}
	if err := os.Chmod(s.file("a.sock"), 0o666); err != nil { // as if it were in the socket's group
		t.Fatal(err)
	}
	if out := post(); !strings.Contains(out, "needs root or the agent's own user, not uid "+nobody.Uid) {
		t.Errorf("another user is answered %q, want a refusal", out)
	}
}

func TestWithPeerOnTCP(t *testing.T) {
	c, d := net.Pipe()
	defer c.Close()
	defer d.Close()
	if ctx := withPeer(t.Context(), c); ctx.Value(peerKey{}) != nil {
		t.Error("a connection without credentials has some")
	}
}

func TestListenUnix(t *testing.T) {
	s := newSite(t)
	path := s.file("below/a.sock")
	l, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), "another agent is listening") {
		t.Errorf("a socket in use: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = listenUnix(path) // left by one that was killed
	if err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path); err == nil {
		t.Error("a file was replaced by the socket")
	}
	if data, err := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file in the way is %q, %v", data, err)
	}
}

func TestStatusStates(t *testing.T) {
	s := newSite(t)
	st := s.step(withMode(plain, "observe"), nil)
	st.decide()
	if got := st.Status(); got.Devices[0].Quality != dodai.QualityNever || got.Devices[0].AgeS != nil || got.UPSes[0].Status != 0 {
		t.Errorf("never heard: %+v, %+v", got.Devices[0], got.UPSes[0])
	}
	st.read("u1", ups("OL", 100, 3600))
	got := st.Status()
	if got.State != "normal" || got.MarginS == nil || *got.MarginS != 3570 || got.NeedS != 20 || got.ReserveS != 10 || got.Mode != "observe" {
		t.Errorf("on line: state %s, margin %v, need %v, reserve %v", got.State, got.MarginS, got.NeedS, got.ReserveS)
	}
	st.pass(time.Second)
	st.read("u1", ups("OB", 90, 3000))
	st.pass(2 * time.Second)
	st.decide()
	got = st.Status()
	if got.State != "on_battery" || got.UPSes[0].OnBattS == nil || *got.UPSes[0].OnBattS != 2 || *got.Devices[0].AgeS != 2 || len(got.Alerts) == 0 {
		t.Errorf("on battery: state %s, %+v, %+v", got.State, got.UPSes[0], got.Devices[0])
	}
	for _, v := range []View{
		{Down: &downState{}}, {Down: &downState{Finished: true}},
	} {
		want := map[bool]string{false: "shutting_down", true: "powering_off"}[v.Down.Finished]
		if s := state(&v); s != want {
			t.Errorf("state is %s, want %s", s, want)
		}
	}
}
