package action

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// HTTP makes one request and is done when the answer has the right status. The body of
// the answer is the output, secrets taken out. It goes straight to the host, through no
// proxy, and follows no redirect.
type HTTP struct{ config.HTTP }

// Kind implements shutdown.Action.
func (HTTP) Kind() string { return "http" }

// String implements shutdown.Action.
func (h HTTP) String() string { return h.method() + " " + masked(h.URL) }

func (h HTTP) method() string { return cmp.Or(h.Method, http.MethodPost) }

// Run implements shutdown.Action.
func (h HTTP) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	w, err := h.open()
	if err != nil {
		return shutdown.Failed(err, "")
	}
	defer w.close()
	a, err := w.ask(ctx, h.method(), h.URL, h.Body, maxOutput)
	if err != nil {
		return shutdown.Failed(ended(ctx, err, w.doing()), "")
	}
	said := strings.ToValidUTF8(strings.TrimSpace(string(a.body)), "\uFFFD")
	if !h.accepts(a.status) {
		return shutdown.Failed(w.refused(h.method(), h.URL, a, h.wanted()), said)
	}
	return shutdown.Failed(nil, said)
}

// open reads the files and prepares the request.
func (h HTTP) open() (*web, error) {
	w, err := newWeb(h.URL, h.CAFile)
	if err != nil {
		return nil, err
	}
	for name, value := range h.Headers {
		w.headers.Set(name, value)
		if secretHeader.MatchString(name) {
			w.secrets = append(w.secrets, value)
		}
	}
	token, err := secret("the token_file", h.TokenFile)
	if err != nil {
		return nil, err
	}
	if token != "" {
		w.headers.Set("Authorization", "Bearer "+token)
		w.secrets = append(w.secrets, token)
	}
	return w, nil
}

func (h HTTP) accepts(status int) bool {
	if len(h.Status) == 0 {
		return status/100 == 2
	}
	return slices.Contains(h.Status, status)
}

func (h HTTP) wanted() string {
	if len(h.Status) == 0 {
		return "200 to 299"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(h.Status), " ", " or "), "[]")
}

// Inverse implements shutdown.Action.
func (h HTTP) Inverse() shutdown.Action {
	if h.Undo == nil {
		return nil
	}
	return HTTP{*h.Undo}
}

// Repeatable implements shutdown.Action: a POST or PATCH may do twice what it does.
func (h HTTP) Repeatable() bool {
	return h.method() != http.MethodPost && h.method() != http.MethodPatch
}

// Check implements shutdown.Action: the files, the connection and its certificate, and
// the answer to a GET of the check URL where there is one. The token is shown to that
// only where it is at the same place as URL.
func (h HTTP) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	w, err := h.open()
	if err != nil {
		return findings(t, "http", err)
	}
	defer w.close()
	if err := w.connect(ctx); err != nil || h.HTTP.Check == "" {
		return findings(t, "http", err)
	}
	return findings(t, "http", h.probe(ctx, w))
}

func (h HTTP) probe(ctx context.Context, w *web) error {
	if !samePlace(w.base, h.HTTP.Check) {
		other, err := newWeb(h.HTTP.Check, h.CAFile)
		if err != nil {
			return err
		}
		defer other.close()
		w = other
	}
	a, err := w.ask(ctx, http.MethodGet, h.HTTP.Check, "", maxOutput)
	switch {
	case err != nil:
		return err
	case a.status/100 != 2:
		return w.refused(http.MethodGet, h.HTTP.Check, a, "200 to 299")
	}
	return nil
}

func samePlace(u *url.URL, other string) bool {
	o, err := url.Parse(other)
	return err == nil && o.Scheme == u.Scheme && strings.EqualFold(o.Host, u.Host)
}
