package action

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

var discardLog = log.New(io.Discard, "", 0)

const token = "s3cret-token"

// nas is an appliance that switches itself off when it is asked with the token.
func nas(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.URL.Path == "/moved":
		http.Redirect(w, r, "/elsewhere?token="+token, http.StatusFound)
	case r.URL.Path == "/large":
		io.Copy(w, io.LimitReader(endless{}, 1<<20))
	case r.URL.Path == "/hang":
		time.Sleep(300 * time.Millisecond)
		<-r.Context().Done()
	case r.Header.Get("Authorization") != "Bearer "+token:
		http.Error(w, "who are you, "+r.Header.Get("Authorization")+"?", http.StatusUnauthorized)
	case r.URL.Path == "/accepted":
		w.WriteHeader(http.StatusAccepted)
	default:
		fmt.Fprintf(w, "%s %s %s %q by %s\n", r.Method, r.URL.Path, r.Header.Get("X-Kind"), body, r.Header.Get("Authorization"))
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func tokenFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHTTPRun(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := a.serve(http.HandlerFunc(nas), nil)
	good := tokenFile(t, token+"\n")
	for _, c := range []struct {
		name   string
		http   config.HTTP
		output string
		err    string // empty: none
	}{
		{"post", config.HTTP{URL: "/off", Body: "now", Headers: map[string]string{"X-Kind": "k"}}, `POST /off k "now" by Bearer (hidden)`, ""},
		{"put", config.HTTP{URL: "/off", Method: "PUT"}, `PUT /off  "" by Bearer (hidden)`, ""},
		{"accepted", config.HTTP{URL: "/accepted"}, "", ""},
		{"another status is wanted", config.HTTP{URL: "/off", Status: []int{202, 204}}, `POST`, "answers 200 OK, want 202 or 204"},
		{"that status is wanted", config.HTTP{URL: "/moved", Status: []int{302}}, "", ""},
		{"wrong token", config.HTTP{URL: "/off?key=hush", TokenFile: tokenFile(t, "another")}, "who are you, Bearer (hidden)?", "answers 401 Unauthorized"},
		{"redirect", config.HTTP{URL: "/moved"}, "", "redirects are not followed: write the URL /elsewhere?"},
		{"no token file", config.HTTP{URL: "/off", TokenFile: filepath.Join(t.TempDir(), "none")}, "", "does not exist"},
	} {
		c.http.URL = s.URL + c.http.URL
		c.http.CAFile = a.file
		if c.http.TokenFile == "" {
			c.http.TokenFile = good
		}
		h := HTTP{c.http}
		r := h.Run(t.Context(), remoteTask(10*time.Second))
		said := fmt.Sprint(r.Err)
		if (r.Err == nil) != (c.err == "") || !strings.Contains(said, c.err) && c.err != "" || !strings.HasPrefix(r.Output, c.output) {
			t.Errorf("%s: Run = %q, error %v; want %q, error %q", c.name, r.Output, r.Err, c.output, c.err)
		}
		if all := r.Output + said + h.String(); strings.Contains(all, token) || strings.Contains(all, "another") || strings.Contains(all, "hush") {
			t.Errorf("%s: a secret is shown: %s", c.name, all)
		}
	}
	large := HTTP{config.HTTP{URL: s.URL + "/large", CAFile: a.file}}
	if r := large.Run(t.Context(), remoteTask(10*time.Second)); r.Err != nil || len(r.Output) != maxOutput {
		t.Errorf("large answer: %d bytes, %v; want %d", len(r.Output), r.Err, maxOutput)
	}
	hang := HTTP{config.HTTP{URL: s.URL + "/hang", CAFile: a.file}}
	if r := hang.Run(t.Context(), remoteTask(200*time.Millisecond)); !errors.Is(r.Err, shutdown.ErrTimeout) || !strings.Contains(r.Err.Error(), "waiting for an answer of 127.0.0.1") {
		t.Errorf("hanging server: %v, want a time-out that says of what", r.Err)
	}
}

func TestMasked(t *testing.T) {
	for address, want := range map[string]string{
		"https://lb.example/api/nodes/db1/drain":                                           "https://lb.example/api/nodes/db1/drain",
		"https://u:hush@lb.example/x?token=hush#hush":                                      "https://u:xxxxx@lb.example/x?…",
		"https://hooks.example/services/T0ABCDE/B0ABCDE/a1b2c3d4e5f6a1b2c3d4e5f6":          "https://hooks.example/services/T0ABCDE/B0ABCDE/xxxxx",
		"https://api.example/bot123456:AA-b_c/sendMessage":                                 "https://api.example/xxxxx/sendMessage",
		"https://bmc.example/redfish/v1/Systems/30303437-3034-4D32-3230-303030303030/Bios": "https://bmc.example/redfish/v1/Systems/30303437-3034-4D32-3230-303030303030/Bios",
		"https://pve.example/api2/json/nodes/production-cluster-node1/status":              "https://pve.example/api2/json/nodes/production-cluster-node1/status",
		"://": "(malformed)",
	} {
		if got := masked(address); got != want {
			t.Errorf("masked(%q) = %s, want %s", address, got, want)
		}
	}
}

func TestHTTPRepeatable(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]bool{"": false, "POST": false, "PATCH": false, "GET": true, "HEAD": true, "PUT": true, "DELETE": true, "OPTIONS": true} {
		if got := (HTTP{config.HTTP{Method: method}}).Repeatable(); got != want {
			t.Errorf("%q: Repeatable = %v, want %v", method, got, want)
		}
	}
	h := HTTP{config.HTTP{URL: "http://user:hush@nas/off?key=hush#x"}}
	if got := h.String(); strings.Contains(got, "hush") || !strings.HasPrefix(got, "POST http://") {
		t.Errorf("String = %q", got)
	}
	if h.Inverse() != nil {
		t.Error("an inverse without undo")
	}
	h.Undo = &config.HTTP{URL: "http://nas/on", Method: "PUT"}
	if got := h.Inverse().String(); got != "PUT http://nas/on" {
		t.Errorf("Inverse = %q", got)
	}
}

func TestHTTPCheck(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	var mu sync.Mutex
	var asked []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Host+" "+r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		mu.Unlock()
		nas(w, r)
	})
	s := a.serve(handler, nil)
	plain := httptest.NewServer(handler)
	defer plain.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	with := func(u, ca string) config.HTTP {
		return config.HTTP{URL: u + "/off", CAFile: ca, TokenFile: tokenFile(t, token)}
	}
	checked := func(h config.HTTP, at string) config.HTTP { h.Check = at; return h }
	changed := func(change func(*x509.Certificate)) string { return a.serve(handler, change).URL }
	for _, c := range []struct {
		name  string
		http  config.HTTP
		check string
		words []string
	}{
		{"all is well", with(s.URL, a.file), "", nil},
		{"asked", checked(with(s.URL, a.file), s.URL+"/version"), "", nil},
		{"asked, not there", checked(config.HTTP{URL: s.URL, CAFile: a.file}, s.URL+"/version"), "http_status", []string{"GET " + s.URL + "/version answers 401", "renew it"}},
		{"asked elsewhere, without the token", checked(with(s.URL, a.file), plain.URL+"/version"), "http_status", []string{"401"}},
		{"unknown authority", with(s.URL, ""), "tls_authority", []string{"CN=Test Authority", "ca_file"}},
		{"another authority", with(s.URL, other.file), "tls_authority", []string{"is signed by"}},
		{"expired", with(changed(func(c *x509.Certificate) {
			c.NotAfter = time.Date(2020, 2, 1, 0, 0, 0, 0, time.UTC)
			c.NotBefore = c.NotAfter.AddDate(-1, 0, 0)
		}), a.file),
			"tls_expired", []string{"expired on 2020-02-01 00:00 UTC", "renewed"}},
		{"not yet valid", with(changed(func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Hour)
			c.NotAfter = c.NotBefore.AddDate(1, 0, 0)
		}), a.file),
			"tls_not_yet_valid", []string{"clock says"}},
		{"another name", with(changed(func(c *x509.Certificate) { c.IPAddresses = nil; c.DNSNames = []string{"nas.lan"} }), a.file),
			"tls_name", []string{"is for nas.lan, not for 127.0.0.1"}},
		{"no TLS there", with(strings.Replace(plain.URL, "http:", "https:", 1), a.file), "tls_missing", []string{"does not speak TLS"}},
		{"nobody listens", with("https://"+closed.Addr().String(), a.file), "connection_refused", []string{"refuses connections"}},
		{"no such name", with("https://nas.invalid", a.file), "name_unknown", []string{"nas.invalid"}},
		{"no token", config.HTTP{URL: s.URL, TokenFile: filepath.Join(t.TempDir(), "none")}, "file_missing", []string{"the token_file"}},
		{"empty token", config.HTTP{URL: s.URL, TokenFile: tokenFile(t, "\n")}, "secret_empty", []string{"is empty"}},
		{"two tokens", config.HTTP{URL: s.URL, TokenFile: tokenFile(t, "a\nb\n")}, "secret_malformed", []string{"more than one line"}},
		{"a folder as token", config.HTTP{URL: s.URL, TokenFile: t.TempDir()}, "file_unreadable", []string{"no regular file"}},
		{"no authority in ca_file", with(s.URL, tokenFile(t, "text")), "ca_file_malformed", []string{"no certificate"}},
	} {
		sees(t, c.name, (HTTP{c.http}).Check(t.Context(), remoteTask(10*time.Second)), c.check, c.words...)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, a := range asked {
		if !strings.Contains(a, " GET /version ") {
			t.Errorf("a check asked %q, want nothing but GET of the check", a)
		}
		if strings.Contains(a, token) && !strings.HasPrefix(a, s.Listener.Addr().String()) {
			t.Errorf("a check showed the token to another place: %q", a)
		}
	}
}
