package nut

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// certificate makes a self-signed one for ip, and the PEM file to trust it by.
func certificate(t *testing.T, ip string) (config *tls.Config, cafile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "upsd"}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cafile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cafile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, cafile
}

func TestTLS(t *testing.T) {
	good, ca := certificate(t, "127.0.0.1")
	elsewhere, elsewhereCA := certificate(t, "192.0.2.1")
	old := good.Clone()
	old.MaxVersion = tls.VersionTLS11
	tests := []struct {
		name      string
		server    *tls.Config
		opts      map[string]string
		encrypted bool
		want      error // nil: a reading
		say       string
	}{
		{"required and trusted", good, map[string]string{"tls": "require", "cafile": ca}, true, nil, ""},
		{"required, unknown issuer", good, map[string]string{"tls": "require"}, false, drivers.ErrDenied, "certificate"},
		{"required, other issuer", good, map[string]string{"tls": "require", "cafile": elsewhereCA}, false, drivers.ErrDenied, "certificate"},
		{"required, other host", elsewhere, map[string]string{"tls": "require", "cafile": elsewhereCA}, false, drivers.ErrDenied, "certificate"},
		{"required, not checked", elsewhere, map[string]string{"tls": "require", "tls_insecure": "yes"}, true, nil, ""},
		{"required, not offered", nil, map[string]string{"tls": "require"}, false, drivers.ErrDenied, "FEATURE-NOT-CONFIGURED"},
		{"tried and offered", good, map[string]string{"tls": "try"}, true, nil, ""},
		{"tried, not offered", nil, map[string]string{"tls": "try"}, false, nil, ""},
		{"tried, other issuer", good, map[string]string{"tls": "try", "cafile": elsewhereCA}, false, drivers.ErrDenied, "certificate"},
		{"too old", old, map[string]string{"tls": "try"}, false, drivers.ErrProtocol, "TLS handshake"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, "u1")
			f.cert = test.server
			opts := map[string]string{"address": f.addr(), "ups": "u1", "username": "u", "password": "p", "login": "yes"}
			maps.Copy(opts, test.opts)
			d := open(t, opts)
			for range 2 { // the second one over the same session
				if _, err := poll(t, d, 5*time.Second); test.want != nil {
					checkError(t, err, test.want, test.say)
				} else if err != nil {
					t.Fatal(err)
				}
			}
			requests, _ := f.seen()
			if test.want != nil && slices.ContainsFunc(requests, func(r string) bool { return r != "STARTTLS" }) {
				t.Errorf("requests %q after TLS could not be had, want none", requests)
			}
			if d.s != nil {
				if _, encrypted := d.s.talk.(*tls.Conn); encrypted != test.encrypted {
					t.Errorf("encrypted: %v, want %v", encrypted, test.encrypted)
				}
			}
		})
	}
}

// TestTLSPlainTextBehindOK: who sits in the line must not be able to put words into
// upsd's mouth before the handshake, nor hold us up in it.
func TestTLSPlainTextBehindOK(t *testing.T) {
	for name, test := range map[string]struct {
		reply string
		want  error
		say   string
	}{
		"injected":      {"OK STARTTLS\nOK\nOK\n", drivers.ErrProtocol, "before the TLS handshake"},
		"no handshake":  {"OK STARTTLS\n", drivers.ErrUnreachable, "TLS handshake"},
		"neither":       {"PERHAPS\n", drivers.ErrProtocol, "want OK or ERR"},
		"not a prefix":  {"OKAY\n", drivers.ErrProtocol, "want OK or ERR"},
		"partial reply": {"OK START", drivers.ErrUnreachable, `nothing after "OK START"`},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			go func() {
				bufio.NewReader(theirs).ReadString('\n')
				io.WriteString(theirs, test.reply)
				io.Copy(io.Discard, theirs)
			}()
			s := newSession(ours)
			defer ours.Close()
			ours.SetDeadline(time.Now().Add(300 * time.Millisecond))
			err := s.startTLS(t.Context(), &tls.Config{ServerName: "x"})
			checkSentinel(t, err)
			if !strings.Contains(err.Error(), test.say) || s.talk != ours {
				t.Errorf("error %v, want one that says %q and no TLS", err, test.say)
			}
		})
	}
}
