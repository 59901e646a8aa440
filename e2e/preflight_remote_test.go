package e2e

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// remoteFaults are those of other machines: a real SSH server, a real BMC, and services
// behind TLS.
func remoteFaults(t *testing.T, d *daemon) []planted {
	t.Helper()
	faults := webFaults(t, d)
	if has(t, "sshd", "ssh-keygen", "ssh") {
		faults = append(faults, sshFaults(t, d)...)
	}
	if has(t, "ipmi_sim", "sdrcomp") {
		bmc := peer.StartIPMISim(t)
		writeFile(t, d.file("bmc.wrong"), "guessed\n")
		faults = append(faults, planted{
			fmt.Sprintf(`ipmi: {address: "%s", user: %s, password_file: "%%DIR%%/bmc.wrong", cipher: 3}`, bmc.Addr(), peer.IPMIAdmin),
			"login_refused", []string{bmc.Addr(), "password"},
		})
	}
	return faults
}

// remoteHealthy are steps that would work.
func remoteHealthy(t *testing.T, d *daemon) []string {
	t.Helper()
	address, ca := d.service("good", time.Now().Add(time.Hour))
	writeFile(t, d.file("token"), serviceToken+"\n")
	writeFile(t, d.file("password"), servicePassword+"\n")
	steps := []string{
		fmt.Sprintf(`http: {url: "%s/stop", check: "%[1]s/stop", token_file: "%%DIR%%/token", ca_file: "%s"}`, address, ca),
		fmt.Sprintf(`redfish: {address: "%s", user: admin, password_file: "%%DIR%%/password", ca_file: "%s"}`, address, ca),
		fmt.Sprintf(`wait_for: ["127.0.0.1:%d"]`, peer.FreePort(t, "tcp")),
	}
	if has(t, "sshd", "ssh-keygen", "ssh") {
		s := peer.StartSSHD(t)
		steps = append(steps, sshStep(s, s.KeyFile, s.KnownHosts, "cat", s.Addr()))
	}
	if has(t, "ipmi_sim", "sdrcomp") {
		bmc := peer.StartIPMISim(t)
		writeFile(t, d.file("bmc.password"), peer.IPMIAdminSecret+"\n")
		steps = append(steps, fmt.Sprintf(`ipmi: {address: "%s", user: %s, password_file: "%%DIR%%/bmc.password", cipher: 3}`, bmc.Addr(), peer.IPMIAdmin))
	}
	return steps
}

// has is peer.Need for a part of a test, which is left out where programs are missing.
func has(t *testing.T, programs ...string) bool {
	t.Helper()
	for _, name := range programs {
		_, err := exec.LookPath(name)
		_, sbin := os.Stat("/usr/sbin/" + name)
		switch {
		case err == nil || sbin == nil:
		case os.Getenv("CI") == "true":
			t.Errorf("%s is not installed (make deps installs it)", name)
			return false
		default:
			t.Logf("%s is not installed: what needs it is left out", name)
			return false
		}
	}
	return true
}

func sshStep(s *peer.SSHD, key, known, command, address string) string {
	return fmt.Sprintf(`ssh: {host: "%s", user: %s, key_file: "%s", known_hosts: "%s", command: "%s"}`, address, s.User, key, known, command)
}

// sshFaults are those of a login on a real SSH server.
func sshFaults(t *testing.T, d *daemon) []planted {
	t.Helper()
	s := peer.StartSSHD(t)
	closed := fmt.Sprintf("127.0.0.1:%d", peer.FreePort(t, "tcp"))
	locked := s.Keygen("locked", "-N", "secret")
	expired := s.Keygen("expired")
	s.Sign(expired, "20200101:20200215")
	stranger := s.Keygen("stranger")
	writeFile(t, d.file("empty_hosts"), "")
	return []planted{
		{sshStep(s, s.KeyFile, s.KnownHosts, "zfs-shut-down-pool --now", s.Addr()), "program_missing",
			[]string{"zfs-shut-down-pool is not in the PATH of a non-interactive shell of user " + s.User}},
		{sshStep(s, expired, s.KnownHosts, "cat", s.Addr()), "certificate_expired", []string{"expired-cert.pub", "expired on 2020-02-1", s.User}},
		{sshStep(s, s.KeyFile, d.file("empty_hosts"), "cat", s.Addr()), "host_key_unknown", []string{s.Addr()}},
		{sshStep(s, locked, s.KnownHosts, "cat", s.Addr()), "key_passphrase", []string{locked + " has a passphrase"}},
		{sshStep(s, stranger, s.KnownHosts, "cat", s.Addr()), "login_refused", []string{"refuses user " + s.User, "stranger", "SHA256:"}},
		{sshStep(s, s.KeyFile, s.KnownHosts, "cat", closed), "connection_refused", []string{closed + " refuses connections"}},
	}
}

const (
	serviceToken    = "t0ken-of-the-nas"
	servicePassword = "p4ssword-of-the-bmc"
)

// webFaults are those of services behind TLS.
func webFaults(t *testing.T, d *daemon) []planted {
	t.Helper()
	good, ca := d.service("ca", time.Now().Add(time.Hour))
	end := time.Now().Add(-48 * time.Hour)
	expired, expiredCA := d.service("expired", end)
	writeFile(t, d.file("old.token"), "an-older-token\n")
	writeFile(t, d.file("wrong.password"), "guessed\n")
	return []planted{
		{fmt.Sprintf(`http: {url: "%s/stop", ca_file: "%s"}`, expired, expiredCA), "tls_expired", []string{"expired on " + end.UTC().Format(time.DateOnly)}},
		{fmt.Sprintf(`http: {url: "%s/stop"}`, good), "tls_authority", []string{"signed by itself alone"}},
		{fmt.Sprintf(`http: {url: "%s/stop", check: "%[1]s/stop", token_file: "%%DIR%%/old.token", ca_file: "%s"}`, good, ca), "http_status", []string{"401 Unauthorized"}},
		{fmt.Sprintf(`http: {url: "%s/stop", token_file: "%%DIR%%/no.token", ca_file: "%s"}`, good, ca), "file_missing", []string{"no.token"}},
		{fmt.Sprintf(`redfish: {address: "%s", user: admin, password_file: "%%DIR%%/wrong.password", ca_file: "%s"}`, good, ca), "login_refused", []string{"admin"}},
	}
}

// service runs an HTTPS service with a certificate of its own that is good until end, and
// returns its address and the file of the certificate.
func (d *daemon) service(name string, end time.Time) (address, caFile string) {
	d.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: end.Add(-30 * 24 * time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, form, form, public, private)
	if err != nil {
		d.t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(serve))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that refuse the certificate
	srv.StartTLS()
	d.t.Cleanup(srv.Close)
	caFile = d.file(name + ".pem")
	writeFile(d.t, caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return srv.URL, caFile
}

// serve is a NAS that stops for who has the token, and a management controller.
func serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // a preflight changes nothing
		panic(r.Method + " " + r.URL.Path)
	}
	if r.URL.Path == "/stop" {
		if r.Header.Get("Authorization") != "Bearer "+serviceToken {
			http.Error(w, "who are you?", http.StatusUnauthorized)
		}
		return
	}
	user, password, _ := r.BasicAuth()
	if r.URL.Path != "/redfish/v1/" && r.URL.Path != "/redfish/v1" && (user != "admin" || password != servicePassword) {
		http.Error(w, `{"error":{"code":"Base.1.0.NoValidSession","message":"no valid session"}}`, http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/redfish/v1/", "/redfish/v1":
		io.WriteString(w, `{"@odata.id":"/redfish/v1/","RedfishVersion":"1.6.0","Systems":{"@odata.id":"/redfish/v1/Systems"}}`)
	case "/redfish/v1/Systems":
		io.WriteString(w, `{"Members@odata.count":1,"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}`)
	case "/redfish/v1/Systems/1":
		io.WriteString(w, `{"@odata.id":"/redfish/v1/Systems/1","Id":"1","PowerState":"On","Actions":{"#ComputerSystem.Reset":{`+
			`"target":"/redfish/v1/Systems/1/Actions/ComputerSystem.Reset","ResetType@Redfish.AllowableValues":["On","ForceOff","GracefulShutdown"]}}}`)
	default:
		http.NotFound(w, r)
	}
}
