package action

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshLogin is one attempt to log in, and what came up on the way.
type sshLogin struct {
	address, user string
	key           ssh.Signer
	keyFile       string
	cert          certificate
	hosts         knownHosts

	host    error    // what is wrong with the host's key
	known   bool     // the host has proved to be the right one
	offered []string // ways to log in that the server named
	banner  string
}

// login reads the files. The errors are faults.
func (s SSH) login() (*sshLogin, error) {
	l := &sshLogin{address: s.address(), user: s.user(), keyFile: s.KeyFile}
	var err error
	if l.key, err = privateKey(s.KeyFile); err != nil {
		return nil, err
	}
	l.cert = readCertificate(s.KeyFile, l.key, time.Now())
	l.hosts, err = readKnownHosts(s.knownHosts(), l.address)
	return l, err
}

func privateKey(path string) (ssh.Signer, error) {
	b, err := readFile("the key_file", path)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(b)
	if err == nil {
		return key, nil
	}
	if _, is := errors.AsType[*ssh.PassphraseMissingError](err); is {
		return nil, &fault{"key_passphrase", "the key_file " + path + " has a passphrase, and nobody is there to type it", "take it off: ssh-keygen -p -f " + path + ", or make a key for this purpose alone", err}
	}
	text, fix := "the key_file "+path+" holds no private key of a kind that is known here", "make one: ssh-keygen -t ed25519 -N '' -f "+path
	if _, _, _, _, err := ssh.ParseAuthorizedKey(b); err == nil {
		text, fix = "the key_file "+path+" is a public key", "name the private one, without .pub"
	} else if bytes.HasPrefix(b, []byte("PuTTY-User-Key-File")) {
		text, fix = "the key_file "+path+" is a key of PuTTY", "convert it: puttygen "+path+" -O private-openssh -o NEW"
	}
	return nil, &fault{"key_malformed", text, fix, err}
}

// keyPermissions is what ssh would refuse a key for. It would work here all the same.
func keyPermissions(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return faultf("key_permissions", "chmod 600 "+path, "the key_file %s has mode %04o: others than its owner can use it", path, info.Mode().Perm())
}

// certificate is what lies beside a key: KEY-cert.pub.
type certificate struct {
	signer ssh.Signer // nil: there is none that could be used
	names  []string   // whom it lets in
	check  string     // of the fault that it would be
	wrong  string     // why it cannot be used; empty: it can, or there is none
}

func readCertificate(keyFile string, key ssh.Signer, now time.Time) certificate {
	path := keyFile + "-cert.pub"
	b, err := readFile("the certificate", path)
	if errors.Is(err, os.ErrNotExist) {
		return certificate{}
	}
	if err != nil {
		return certificate{check: "certificate_invalid", wrong: err.Error()}
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(b)
	cert, is := public.(*ssh.Certificate)
	if err != nil || !is {
		return certificate{check: "certificate_invalid", wrong: path + " holds no certificate"}
	}
	if check, wrong := certificateWrong(cert, now); wrong != "" {
		return certificate{check: check, wrong: "the certificate " + path + " " + wrong}
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return certificate{check: "certificate_invalid", wrong: "the certificate " + path + " belongs to another key"}
	}
	return certificate{signer: signer, names: cert.ValidPrincipals}
}

func certificateWrong(c *ssh.Certificate, now time.Time) (check, wrong string) {
	at := uint64(max(now.Unix(), 0))
	switch {
	case c.CertType != ssh.UserCert:
		return "certificate_invalid", "is for a host, not for a user"
	case c.ValidBefore != ssh.CertTimeInfinity && at >= c.ValidBefore:
		return "certificate_expired", "expired on " + date(time.Unix(int64(min(c.ValidBefore, 1<<62)), 0))
	case at < c.ValidAfter:
		return "certificate_not_yet_valid", fmt.Sprintf("is valid from %s on; this host's clock says %s", date(time.Unix(int64(min(c.ValidAfter, 1<<62)), 0)), date(now))
	}
	return "", ""
}

// signers are what the host is offered: the certificate before the key alone, as ssh does.
func (l *sshLogin) signers() []ssh.Signer {
	if l.cert.signer != nil {
		return []ssh.Signer{l.cert.signer, l.key}
	}
	return []ssh.Signer{l.key}
}

var errNotOurs = errors.New("not a way for a daemon to log in")

func (l *sshLogin) config() *ssh.ClientConfig {
	offered := func(way string) { l.offered = append(l.offered, way) }
	return &ssh.ClientConfig{
		User: l.user,
		// The ways behind the first are never gone: being asked tells that the server has them.
		Auth: []ssh.AuthMethod{
			ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { offered("publickey"); return l.signers(), nil }),
			ssh.PasswordCallback(func() (string, error) { offered("password"); return "", errNotOurs }),
			ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) {
				offered("keyboard-interactive")
				return nil, errNotOurs
			}),
		},
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			l.host = l.hosts.judge(host, remote, key)
			l.known = l.host == nil
			return l.host
		},
		HostKeyAlgorithms: l.hosts.algorithms(),
		BannerCallback:    func(text string) error { l.banner = line(text); return nil },
		ClientVersion:     "SSH-2.0-dodai",
	}
}

// explain finds the cause of a login that failed.
func (l *sshLogin) explain(err error, waited time.Duration) error {
	if l.host != nil {
		return l.host
	}
	if kinds, is := errors.AsType[*ssh.AlgorithmNegotiationError](err); is {
		return l.noCommon(kinds)
	}
	switch {
	case isTimeout(err):
		return &fault{"no_answer", fmt.Sprintf("%s accepts connections and then does not answer within %v", l.address, waited), "restart sshd there, or look for what hangs", err}
	case !l.known && isBroken(err):
		return &fault{"connection_lost", l.address + " closes the connection at once", "look at MaxStartups, hosts.deny and PerSourcePenalties there", err}
	case !l.known:
		return &fault{"not_ssh", fmt.Sprintf("%s does not speak SSH as known here: %s", l.address, line(err.Error())), "correct the port", err}
	case l.cert.wrong != "":
		return &fault{l.cert.check, fmt.Sprintf("%s does not let user %s in: %s, and the key alone is not accepted", l.address, l.user, l.cert.wrong), "have the key signed anew, with the right names and dates", err}
	}
	return l.refused(err)
}

func (l *sshLogin) refused(err error) error {
	f := &fault{check: "login_refused", err: err}
	if !slices.Contains(l.offered, "publickey") {
		f.text = fmt.Sprintf("%s lets user %s in by no key; it offers %s", l.address, l.user, cmp.Or(strings.Join(l.offered, ", "), "nothing"))
		f.fix = "allow PubkeyAuthentication and this user there"
	} else {
		f.text = fmt.Sprintf("%s refuses user %s with the key %s of %s; it offers %s", l.address, l.user,
			ssh.FingerprintSHA256(l.key.PublicKey()), l.keyFile, strings.Join(l.offered, ", "))
		f.fix = "is the key in authorized_keys of that user, whose folders nobody else may write to, with no expiry-time= that has passed and no from= that leaves this host out? The log of sshd there says why"
	}
	if l.cert.signer != nil {
		f.text += "; the certificate beside the key is for " + line(cmp.Or(strings.Join(l.cert.names, ", "), "nobody by name"))
	}
	if l.banner != "" {
		f.text += "; it says: " + l.banner
	}
	return f
}

func (l *sshLogin) noCommon(kinds *ssh.AlgorithmNegotiationError) error {
	if kinds.What == "host key" && len(l.hosts.kinds) > 0 {
		return &fault{"host_key_changed", fmt.Sprintf("%s has no host key of the kind that %s knows of it (%s); it has %s",
			l.address, l.hosts.path, strings.Join(l.hosts.kinds, ", "), line(strings.Join(kinds.RequestedAlgorithms, ", "))), l.hosts.repair(l.address), kinds}
	}
	return &fault{"no_common_algorithm", fmt.Sprintf("%s has no %s that is known here; it has %s", l.address, kinds.What, line(strings.Join(kinds.RequestedAlgorithms, ", "))), "update its SSH server", kinds}
}

// knownHosts is a file of that kind, for one host.
type knownHosts struct {
	path      string
	callback  ssh.HostKeyCallback
	kinds     []string // of the host's keys in it
	authority bool     // it has an authority for the host
}

func readKnownHosts(path, address string) (knownHosts, error) {
	h := knownHosts{path: path}
	b, err := readFile("the known_hosts file", path)
	if err != nil {
		if f, is := errors.AsType[*fault](err); is && f.check == "file_missing" {
			f.check, f.fix = "known_hosts_missing", h.repair(address)
		}
		return h, err
	}
	if h.callback, err = knownhosts.New(path); err != nil {
		return h, &fault{"known_hosts_malformed", "the known_hosts file cannot be read: " + line(err.Error()), "correct that line", err}
	}
	// Asked for a key that nobody has, it says which the host should have.
	nobody, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return h, err
	}
	wrong, is := errors.AsType[*knownhosts.KeyError](h.callback(address, &net.TCPAddr{IP: net.IPv4zero, Port: 22}, nobody))
	if !is {
		return h, nil
	}
	lines := bytes.Split(b, []byte("\n"))
	for _, k := range wrong.Want {
		if k.Line > 0 && k.Line <= len(lines) && bytes.HasPrefix(bytes.TrimSpace(lines[k.Line-1]), []byte("@cert-authority")) {
			h.authority = true
		} else if !slices.Contains(h.kinds, k.Key.Type()) {
			h.kinds = append(h.kinds, k.Key.Type())
		}
	}
	return h, nil
}

// algorithms are what the host is to prove itself with: the kinds of keys that are known
// of it, because with another one it would look like a stranger. nil: any.
func (h knownHosts) algorithms() []string {
	var list []string
	if h.authority {
		list = append(list, ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01,
			ssh.CertAlgoECDSA521v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01)
	}
	for _, kind := range h.kinds {
		if kind == ssh.KeyAlgoRSA {
			list = append(list, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		list = append(list, kind)
	}
	return list
}

// judge says what is wrong with a host's key; nil: nothing.
func (h knownHosts) judge(address string, remote net.Addr, key ssh.PublicKey) error {
	err := h.callback(address, remote, key)
	if err == nil {
		return nil
	}
	shown := ssh.FingerprintSHA256(key) + " (" + key.Type() + ")"
	if revoked, is := errors.AsType[*knownhosts.RevokedError](err); is {
		return &fault{"host_key_revoked", fmt.Sprintf("%s shows the host key %s, which line %d of %s revokes", address, shown, revoked.Revoked.Line, h.path),
			"somebody else may be at that address; otherwise give the host a new key", err}
	}
	wrong, is := errors.AsType[*knownhosts.KeyError](err)
	if !is {
		return &fault{"host_certificate", fmt.Sprintf("the certificate of host %s, key %s: %s", address, shown, line(err.Error())), "have the host's certificate renewed, with this name in it", err}
	}
	if len(wrong.Want) == 0 {
		return &fault{"host_key_unknown", fmt.Sprintf("the host key of %s is not in %s; it shows %s", address, h.path, shown), h.repair(address), err}
	}
	want := wrong.Want[0]
	return &fault{"host_key_changed", fmt.Sprintf("the host key of %s has changed: it shows %s, line %d of %s has %s", address, shown, want.Line, h.path, ssh.FingerprintSHA256(want.Key)),
		"somebody else may be at that address; if the host was set up anew, delete that line and then: " + h.repair(address), err}
}

func (h knownHosts) repair(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf("ssh-keyscan -p %s %s >>%s, and compare what it wrote with the keys on that host", port, host, h.path)
}
