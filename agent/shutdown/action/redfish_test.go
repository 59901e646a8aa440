package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

const bmcSecret = "bmc-s3cret"

// redfishBMC behaves as a service with one or more systems does, as far as that matters.
type redfishBMC struct {
	mu      sync.Mutex
	ids     []string
	allowed []string // nil: it does not say
	info    bool     // says so in a resource of its own
	takes   time.Duration
	deaf    bool
	role    string // "": accounts are not visible
	slowOn  bool   // the host shows as off for a while after it was switched on
	refuse  int    // status with which resets are refused; 0: they are not
	broken  bool   // resets are done and not answered

	off   time.Time // it is off from then on; zero: it stays on
	on    time.Time // it shows as on from then on, if it is
	did   []string
	polls int
}

func newRedfish() *redfishBMC {
	return &redfishBMC{ids: []string{"1"}, allowed: []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "PushPowerButton"}, role: "Operator"}
}

func (b *redfishBMC) power() string {
	if !b.off.IsZero() && !time.Now().Before(b.off) || time.Now().Before(b.on) {
		return "Off"
	}
	return "On"
}

func (b *redfishBMC) calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.did)
}

func (b *redfishBMC) reset(kind string) {
	b.did = append(b.did, kind)
	if kind == "PushPowerButton" && b.power() == "Off" && b.off.After(b.on) {
		kind = "On"
	}
	switch kind {
	case "ForceOff":
		b.off = time.Now()
	case "GracefulShutdown", "PushPowerButton":
		if !b.deaf {
			b.off = time.Now().Add(b.takes)
		}
	case "On":
		b.off = time.Time{}
		if b.slowOn {
			b.on = time.Now().Add(60 * time.Millisecond)
		}
	}
}

func (b *redfishBMC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if user, password, _ := r.BasicAuth(); r.URL.Path != "/redfish/v1/" && (user != "dodai" || password != bmcSecret) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"code":"Base.1.8.GeneralError","message":"see","@Message.ExtendedInfo":[{"Message":"Invalid credentials."}]}}`)
		return
	}
	if id, is := strings.CutPrefix(r.URL.Path, "/redfish/v1/Systems/"); is && r.Method == http.MethodPost {
		b.post(w, r, id)
		return
	}
	resource := b.resource(strings.TrimPrefix(r.URL.Path, "/redfish/v1"))
	if resource == nil {
		http.NotFound(w, r)
		return
	}
	json.NewEncoder(w).Encode(resource)
}

func (b *redfishBMC) post(w http.ResponseWriter, r *http.Request, at string) {
	var ask struct{ ResetType string }
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || !strings.HasSuffix(at, "/Actions/ComputerSystem.Reset") || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	switch {
	case b.refuse != 0:
		w.WriteHeader(b.refuse)
		fmt.Fprint(w, `{"error":{"message":"The service is busy."}}`)
		return
	case b.allowed != nil && !slices.Contains(b.allowed, ask.ResetType):
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.reset(ask.ResetType)
	if b.broken {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusNoContent)
}

type object map[string]any

func at(path string) object { return object{"@odata.id": "/redfish/v1" + path} }

func (b *redfishBMC) resource(path string) any {
	id, isSystem := strings.CutPrefix(path, "/Systems/")
	switch {
	case path == "/" && b.role == "":
		return object{"Systems": at("/Systems")}
	case path == "/":
		return object{"Systems": at("/Systems"), "AccountService": at("/AccountService")}
	case path == "/Systems":
		var members []object
		for _, id := range b.ids {
			members = append(members, at("/Systems/"+id))
		}
		return object{"Members": members}
	case path == "/ResetInfo":
		return object{"Parameters": []object{{"Name": "ResetType", "AllowableValues": b.allowed}}}
	case path == "/AccountService":
		return object{"Accounts": at("/AccountService/Accounts")}
	case path == "/AccountService/Accounts":
		return object{"Members": []object{at("/AccountService/Accounts/1"), at("/AccountService/Accounts/2")}}
	case path == "/AccountService/Accounts/1":
		return object{"UserName": "root", "RoleId": "Administrator"}
	case path == "/AccountService/Accounts/2":
		return object{"UserName": "dodai", "RoleId": b.role, "Links": object{"Role": at("/Roles/" + b.role)}}
	case path == "/Roles/Operator":
		return object{"AssignedPrivileges": []string{"Login", "ConfigureComponents", "ConfigureSelf"}}
	case path == "/Roles/ReadOnly":
		return object{"AssignedPrivileges": []string{"Login", "ConfigureSelf"}}
	case isSystem && slices.Contains(b.ids, id):
		b.polls++
		return object{"Id": id, "PowerState": b.power(), "Actions": object{"#ComputerSystem.Reset": b.action(id)}}
	}
	return nil
}

func (b *redfishBMC) action(id string) object {
	reset := object{"target": "/redfish/v1/Systems/" + id + "/Actions/ComputerSystem.Reset"}
	switch {
	case b.info:
		reset["@Redfish.ActionInfo"] = "/redfish/v1/ResetInfo"
	case b.allowed != nil:
		reset["ResetType@Redfish.AllowableValues"] = b.allowed
	}
	return reset
}

// redfishTo starts the service and makes the step that asks it.
func redfishTo(t *testing.T, b *redfishBMC) Redfish {
	t.Helper()
	a := newAuthority(t)
	s := a.serve(b, nil)
	return Redfish{Redfish: config.Redfish{Address: s.URL, User: "dodai", PasswordFile: tokenFile(t, bmcSecret+"\n"), CAFile: a.file}, every: 20 * time.Millisecond}
}

func TestRedfishRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*redfishBMC)
		force  time.Duration
		says   string
		fails  string // empty: it does not
		did    []string
	}{
		{name: "graceful", change: func(b *redfishBMC) { b.takes = 100 * time.Millisecond }, says: "went off", did: []string{"GracefulShutdown"}},
		{name: "values in a resource of their own", change: func(b *redfishBMC) { b.info = true; b.allowed = []string{"On", "PushPowerButton"} }, says: "went off", did: []string{"PushPowerButton"}},
		{name: "values not told", change: func(b *redfishBMC) { b.allowed = nil }, says: "went off", did: []string{"GracefulShutdown"}},
		{name: "off already", change: func(b *redfishBMC) { b.off = time.Now() }, says: "was off already"},
		{name: "nothing graceful", change: func(b *redfishBMC) { b.allowed = []string{"On", "ForceOff"} }, fails: "offers only On, ForceOff"},
		{name: "nothing graceful, with force", change: func(b *redfishBMC) { b.allowed = []string{"On", "ForceOff"} }, force: 100 * time.Millisecond, says: "switched off hard", did: []string{"ForceOff"}},
		{name: "deaf", change: func(b *redfishBMC) { b.deaf = true }, fails: "timed out", did: []string{"GracefulShutdown"}},
		{name: "deaf, with force", change: func(b *redfishBMC) { b.deaf = true }, force: 100 * time.Millisecond, says: "switched off hard", did: []string{"GracefulShutdown", "ForceOff"}},
		{name: "refused", change: func(b *redfishBMC) { b.refuse = http.StatusServiceUnavailable }, fails: "answers 503 Service Unavailable: The service is busy."},
		{name: "not allowed", change: func(b *redfishBMC) { b.refuse = http.StatusForbidden }, fails: `does not let user "dodai" POST`},
		{name: "done and not answered", change: func(b *redfishBMC) { b.broken = true }, says: "went off", did: []string{"GracefulShutdown"}},
		{name: "several systems", change: func(b *redfishBMC) { b.ids = []string{"a", "b"} }, fails: "several systems: a, b (name one as system)"},
		{name: "no system", change: func(b *redfishBMC) { b.ids = nil }, fails: "no systems"},
	} {
		b := newRedfish()
		c.change(b)
		a := redfishTo(t, b)
		a.ForceAfter = config.Duration(c.force)
		r := a.Run(t.Context(), remoteTask(2*time.Second))
		if (r.Err == nil) != (c.fails == "") || c.fails != "" && !strings.Contains(r.Err.Error(), c.fails) || !strings.Contains(r.Output, c.says) {
			t.Errorf("%s: Run = %+v, want output %q, error %q", c.name, r, c.says, c.fails)
		}
		if got := b.calls(); !slices.Equal(got, c.did) {
			t.Errorf("%s: the host was told %q, want %q", c.name, got, c.did)
		}
		if strings.Contains(fmt.Sprint(r, a), bmcSecret) {
			t.Errorf("%s: the password is shown", c.name)
		}
	}
}

func TestRedfishBack(t *testing.T) {
	t.Parallel()
	b := newRedfish()
	b.takes = 700 * time.Millisecond
	a := redfishTo(t, b)
	if r := a.Run(t.Context(), remoteTask(300*time.Millisecond)); !errors.Is(r.Err, shutdown.ErrTimeout) {
		t.Fatalf("Run = %+v, want a time-out: the host is slow", r)
	}
	r := a.Inverse().Run(t.Context(), remoteTask(20*time.Second))
	if got := b.calls(); r.Err != nil || !slices.Equal(got, []string{"GracefulShutdown", "On"}) {
		t.Errorf("Inverse = %+v, the host was told %q; want it to wait and switch it on", r, got)
	}
	if a.Inverse().Inverse() != nil {
		t.Error("the way back has a way back")
	}
}

// TestRedfishBackByButton: the button of a host that is starting switches it off again.
func TestRedfishBackByButton(t *testing.T) {
	t.Parallel()
	b := newRedfish()
	b.allowed, b.slowOn = []string{"ForceOff", "PushPowerButton"}, true
	a := redfishTo(t, b)
	if r := a.Run(t.Context(), remoteTask(20*time.Second)); r.Err != nil {
		t.Fatalf("Run = %+v", r)
	}
	r := a.Inverse().Run(t.Context(), remoteTask(20*time.Second))
	if got := b.calls(); r.Err != nil || !slices.Equal(got, []string{"PushPowerButton", "PushPowerButton"}) {
		t.Errorf("Inverse = %+v, the host was told %q; want one press for each way", r, got)
	}
}

func TestRedfishCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*redfishBMC, *Redfish)
		check  string
		words  []string
	}{
		{"all is well", func(*redfishBMC, *Redfish) {}, "", nil},
		{"the way back", func(_ *redfishBMC, a *Redfish) { *a = a.Inverse().(Redfish) }, "", nil},
		{"accounts not visible", func(b *redfishBMC, _ *Redfish) { b.role = "" }, "", nil},
		{"one of several", func(b *redfishBMC, a *Redfish) { b.ids = []string{"x", "y"}; a.System = "y" }, "", nil},
		{"none of several", func(b *redfishBMC, a *Redfish) { b.ids = []string{"x", "y"}; a.System = "z" }, "system_missing", []string{"no system z, it has x, y"}},
		{"not the only one", func(_ *redfishBMC, a *Redfish) { a.System = "z" }, "system_missing", []string{"it has 1"}},
		{"wrong password", func(_ *redfishBMC, a *Redfish) { a.PasswordFile = tokenFile(t, "guess") }, "login_refused", []string{`refuses the login of user "dodai"`, "Invalid credentials."}},
		{"no login", func(_ *redfishBMC, a *Redfish) { a.User, a.PasswordFile = "", "" }, "login_refused", nil},
		{"read only", func(b *redfishBMC, _ *Redfish) { b.role = "ReadOnly" }, "privilege_missing", []string{"the role ReadOnly"}},
		{"nothing graceful", func(b *redfishBMC, _ *Redfish) { b.allowed = []string{"On", "ForceOff"} }, "reset_missing", []string{"cannot shut 1 down gracefully: it offers only On, ForceOff"}},
		{"no hard way", func(b *redfishBMC, a *Redfish) {
			b.allowed = []string{"On", "GracefulShutdown"}
			a.ForceAfter = config.Duration(time.Minute)
		}, "reset_missing", []string{"cannot switch 1 off hard"}},
		{"no way back", func(b *redfishBMC, a *Redfish) { b.allowed = []string{"ForceOff"}; *a = a.Inverse().(Redfish) }, "reset_missing", []string{"cannot switch 1 on"}},
		{"unknown authority", func(_ *redfishBMC, a *Redfish) { a.CAFile = "" }, "tls_authority", []string{"Test Authority"}},
		{"no Redfish there", func(_ *redfishBMC, a *Redfish) { a.Address += "/x/"; a.System = "" }, "", nil}, // only the host counts
		{"empty password", func(_ *redfishBMC, a *Redfish) { a.PasswordFile = tokenFile(t, "") }, "secret_empty", nil},
	} {
		b := newRedfish()
		a := redfishTo(t, b)
		c.change(b, &a)
		got := a.Check(t.Context(), remoteTask(10*time.Second))
		sees(t, c.name, got, c.check, c.words...)
		if did := b.calls(); len(did) > 0 {
			t.Errorf("%s: the check told the host %q", c.name, did)
		}
		if strings.Contains(fmt.Sprint(got), "guess") {
			t.Errorf("%s: the password is shown", c.name)
		}
	}
}

// TestRedfishNonsense has services that answer with what is none of it.
func TestRedfishNonsense(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"<html>": "unexpected_reply",
		`{"Systems":{"@odata.id":"//evil.example/x"}}`:       "unexpected_reply",
		`{"Systems":{"@odata.id":"https://evil.example/x"}}`: "unexpected_reply",
		`{"Systems":[]}`: "unexpected_reply",
		`{}`:             "system_missing",
		"":               "unexpected_reply",
	} {
		a := newAuthority(t)
		s := a.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }), nil)
		r := Redfish{Redfish: config.Redfish{Address: s.URL, CAFile: a.file}}
		sees(t, body, r.Check(t.Context(), remoteTask(5*time.Second)), want)
	}
}

// TestRedfishSecrets: a password in the address is not shown, and one that is a word of the
// protocol does not spoil what is read.
func TestRedfishSecrets(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := a.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redfish/v1/" {
			fmt.Fprint(w, `{"Systems":{"@odata.id":"/redfish/v1/Systems"}}`)
			return
		}
		fmt.Fprint(w, "no JSON, Systems")
	}), nil)
	r := Redfish{Redfish: config.Redfish{Address: strings.Replace(s.URL, "//", "//dodai:Systems@", 1), CAFile: a.file}}
	err := r.Run(t.Context(), remoteTask(5*time.Second)).Err
	if want := "/redfish/v1/Systems answers \"no JSON, (hidden)\""; err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), ":Systems@") {
		t.Errorf("Run = %v, want %q in it and no password", err, want)
	}
}

// oneAnswer is a transport on which everything is answered alike.
type oneAnswer []byte

func (b oneAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(b)), Request: r}, nil
}

// FuzzRedfish holds the client to ending with a system it can ask for, or with a fault.
func FuzzRedfish(f *testing.F) {
	f.Add([]byte(`{"Systems":{"@odata.id":"/a"},"Members":[{"@odata.id":"/b"}],"Id":"1","PowerState":"On","Actions":{"#ComputerSystem.Reset":{"target":"/c","@Redfish.ActionInfo":"/d"}},"Parameters":[{"Name":"ResetType","AllowableValues":["On"]}]}`))
	f.Add([]byte(`{"Systems":{"@odata.id":"//x/"},"Members":[{},{"@odata.id":3}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := newWeb("https://192.0.2.1", "")
		if err != nil {
			t.Fatal(err)
		}
		w.client.Transport = oneAnswer(body)
		s := &system{service: service{web: w, user: "x"}}
		if err := s.find(t.Context(), ""); err != nil {
			if _, is := errors.AsType[*fault](err); !is {
				t.Errorf("find with %q = %v, want a fault", body, err)
			}
			return
		}
		if u, err := s.resolve(s.target); err == nil && !strings.HasPrefix(u, "https://192.0.2.1/") {
			t.Errorf("with %q the reset goes to %s", body, u)
		}
		s.on(t.Context())
		s.privilege(t.Context())
	})
}
