package action

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// dialWait is how long a connection may take to come about, and TLS on top of it.
const dialWait = 10 * time.Second

// web makes requests to one host: straight to it, whatever proxy the environment names,
// and without following redirects, which would carry a token elsewhere or turn a POST
// into a GET. Close it.
type web struct {
	base    *url.URL
	client  *http.Client
	headers http.Header
	secrets []string // never shown, also when they come back in an answer
	mu      sync.Mutex
	at      string // what the request under way waits for
}

func newWeb(address, caFile string) (*web, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, faultf("url_malformed", "", "%q is no URL of http or https", masked(address))
	}
	roots, err := authorities(caFile)
	if err != nil {
		return nil, err
	}
	w := &web{base: u, headers: http.Header{}}
	w.client = &http.Client{
		Transport: &http.Transport{
			DialContext:         w.dial,
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: dialWait,
			MaxIdleConns:        1,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if password, has := u.User.Password(); has {
		w.secrets = append(w.secrets, password)
	}
	return w, nil
}

func (w *web) close() { w.client.CloseIdleConnections() }

// address is host:port of base.
func (w *web) address() string {
	port := map[string]string{"http": "80", "https": "443"}[w.base.Scheme]
	return net.JoinHostPort(w.base.Hostname(), cmp.Or(w.base.Port(), port))
}

func (w *web) phase(at string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = at
}

func (w *web) doing() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *web) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.phase("connecting to " + address)
	c, err := (&net.Dialer{Timeout: dialWait}).DialContext(ctx, network, address)
	w.phase("waiting for an answer of " + address)
	return c, err
}

// connect makes the connection and checks the certificate, and asks for nothing.
func (w *web) connect(ctx context.Context) error {
	c, err := w.dial(ctx, "tcp", w.address())
	if err != nil {
		return w.explain(err)
	}
	defer c.Close()
	if w.base.Scheme == "http" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	config := w.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = w.base.Hostname()
	return w.explain(tls.Client(c, config).HandshakeContext(ctx))
}

// webAnswer is what came back.
type webAnswer struct {
	status int
	header http.Header
	body   []byte // cut at the limit, for people: without the secrets
	raw    []byte // the same, to be read: a password may be a word of its format
}

// ask makes one request and reads at most limit bytes of the answer.
func (w *web) ask(ctx context.Context, method, address, body string, limit int64) (*webAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, faultf("url_malformed", "", "%q is no URL, or %s no method", masked(address), method)
	}
	maps.Copy(req.Header, w.headers)
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	w.phase("waiting for an answer of " + w.address())
	res, err := w.client.Do(req)
	if err != nil {
		return nil, w.explain(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, w.explain(fmt.Errorf("answer with status %d breaks off: %w", res.StatusCode, err))
	}
	if int64(len(b)) > limit {
		b = b[:limit]
	}
	return &webAnswer{res.StatusCode, res.Header, w.hide(b), b}, nil
}

// hide takes out the secrets that a server may send back.
func (w *web) hide(b []byte) []byte {
	for _, s := range w.secrets {
		if len(s) > 3 {
			b = bytes.ReplaceAll(b, []byte(s), []byte("(hidden)"))
		}
	}
	return b
}

// explain finds the cause of a failed request. The URL that net/http writes into its
// errors may hold a secret, so that is left out.
func (w *web) explain(err error) error {
	if err == nil {
		return nil
	}
	if below, is := errors.AsType[*url.Error](err); is {
		err = below.Err
	}
	address := w.address()
	if op, is := errors.AsType[*net.OpError](err); is && op.Op == "dial" {
		return dialFault(address, err, dialWait)
	}
	if f := tlsFault(address, time.Now(), err); f != nil {
		return f
	}
	switch {
	case isTimeout(err):
		return &fault{"no_answer", address + " accepts connections and then does not answer", "restart the service there", err}
	case errors.Is(err, context.Canceled):
		return err
	case isBroken(err):
		return &fault{"connection_lost", address + " closes the connection without an answer", "", err}
	}
	return &fault{"request_failed", fmt.Sprintf("%s: %s", address, line(string(w.hide([]byte(err.Error()))))), "", err}
}

// refused says what a status code means that is not the one wanted.
func (w *web) refused(method, address string, a *webAnswer, want string) error {
	text := fmt.Sprintf("%s %s answers %d %s, want %s", method, masked(address), a.status, http.StatusText(a.status), want)
	fix := ""
	switch a.status {
	case http.StatusUnauthorized:
		fix = "the login or the token is not accepted: renew it"
	case http.StatusForbidden:
		fix = "give the account or token the right to do this"
	case http.StatusNotFound:
		fix = "correct the path of the URL"
	case http.StatusMethodNotAllowed:
		fix = "correct the method"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		fix = "redirects are not followed: write the URL " + masked(string(w.hide([]byte(a.header.Get("Location")))))
	}
	if said := line(string(a.body)); said != "" {
		text += ": " + said
	}
	return &fault{check: "http_status", text: text, fix: fix}
}

// masked is a URL without what may be secret in it: the password, the query, and words of
// the path that nobody has made up, as those of webhooks.
func masked(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(malformed)"
	}
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	u.Fragment = ""
	parts := strings.Split(u.Path, "/")
	for i, part := range parts {
		if randomWord.MatchString(part) {
			parts[i] = "xxxxx" // as Redacted has it
		}
	}
	u.Path, u.RawPath = strings.Join(parts, "/"), ""
	return u.Redacted()
}

// randomWord is a part of a path that holds a key: long without a break, or behind a colon.
var randomWord = regexp.MustCompile(`[A-Za-z0-9]{20,}|^bot\d+:`)

// secretHeader is a header whose value is never shown.
var secretHeader = regexp.MustCompile(`(?i)authorization|cookie|token|secret|passw|key`)
