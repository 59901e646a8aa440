package nut

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// pollTimeout is what one poll may take when its context says nothing. NUT's own
// client library waits as long.
const pollTimeout = 5 * time.Second

const defaultPort = "3493" // IANA

// Factory is listed in drivers/all.
var Factory = drivers.Factory{
	Name:    "nut",
	Kind:    dodai.KindUPS,
	Summary: "a UPS, PDU or transfer switch behind the upsd of Network UPS Tools or of a NAS",
	Options: []drivers.Option{
		{Key: "address", Help: "host[:port][/upsname] of upsd; the port is " + defaultPort + " unless given", Example: "192.0.2.1:3493/ups", Required: true},
		{Key: "ups", Help: "name of the UPS on that server; not needed where there is one only", Example: "ups"},
		{Key: "username", Help: "user in upsd.users; reading needs none", Example: "monuser"},
		{Key: "password", Help: "that user's password", Secret: true},
		{Key: "login", Help: "register as a secondary, so that the primary waits for this host: yes or no", Default: "no"},
		{Key: "tls", Help: "STARTTLS: no, try (go on in clear where it is refused) or require", Default: "no"},
		{Key: "cafile", Help: "PEM file with the certificates that upsd's certificate is checked against", Example: "/etc/dodai/nut-ca.pem"},
		{Key: "tls_insecure", Help: "take any certificate: yes or no", Default: "no"},
	},
	Poll:    2 * time.Second,
	Timeout: pollTimeout,
	New:     func(cfg drivers.Config) (drivers.Driver, error) { return newDriver(cfg) },
}

// options are the checked options.
type options struct {
	address            string // host:port
	ups                string // empty: the only one
	username, password string
	login              bool
	tls                *tls.Config // nil: clear text
	tlsRequired        bool
}

func newDriver(cfg drivers.Config) (*driver, error) {
	opt, err := parseOptions(cfg)
	if err != nil {
		return nil, err
	}
	return &driver{device: cfg.Device, opt: opt, dial: new(net.Dialer).DialContext, log: cfg.Log}, nil
}

func parseOptions(cfg drivers.Config) (opt options, err error) {
	if opt.address, opt.ups, err = splitAddress(cfg.Options["address"]); err != nil {
		return options{}, err
	}
	switch ups := cfg.Options["ups"]; {
	case ups == "":
	case !validName(ups):
		return options{}, &drivers.OptionError{Key: "ups", Got: ups, Want: "a name without blanks", Example: "ups"}
	case opt.ups != "" && opt.ups != ups:
		return options{}, &drivers.OptionError{Key: "ups", Got: ups, Want: fmt.Sprintf("the name that address has (%s), or one of the two only", opt.ups)}
	default:
		opt.ups = ups
	}
	if err := opt.credentials(cfg); err != nil {
		return options{}, err
	}
	if err := opt.encryption(cfg); err != nil {
		return options{}, err
	}
	return opt, nil
}

// splitAddress reads host, host:port or [v6]:port, each with /upsname behind it or,
// as NUT's own tools have it, upsname@ in front.
func splitAddress(s string) (address, ups string, err error) {
	wrong := &drivers.OptionError{Key: "address", Got: s, Want: "host:port/upsname", Example: "192.0.2.1:3493/ups"}
	host, ups, named := strings.Cut(s, "/")
	if name, at, ok := strings.Cut(host, "@"); ok {
		if named {
			return "", "", wrong
		}
		ups, host, named = name, at, true
	}
	if named && !validName(ups) {
		return "", "", wrong
	}
	host, port, err := splitPort(host)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || !validName(host) {
		return "", "", wrong
	}
	return net.JoinHostPort(host, port), ups, nil
}

// splitPort fills in the default port where s has none.
func splitPort(s string) (host, port string, err error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if net.ParseIP(bare) != nil || !strings.Contains(s, ":") {
		return bare, defaultPort, nil
	}
	return net.SplitHostPort(s)
}

func (opt *options) credentials(cfg drivers.Config) (err error) {
	opt.username, opt.password = cfg.Options["username"], cfg.Options["password"]
	if opt.login, err = cfg.Bool("login"); err != nil {
		return err
	}
	switch {
	case !printable(opt.username):
		return &drivers.OptionError{Key: "username", Got: opt.username, Want: "printable ASCII: upsd drops everything else"}
	case !printable(opt.password):
		return &drivers.OptionError{Key: "password", Got: "(not shown)", Want: "printable ASCII: upsd drops everything else"}
	case opt.username == "" && (opt.login || opt.password != ""):
		return &drivers.OptionError{Key: "username", Want: "the user in upsd.users that the password belongs to", Example: "monuser", Missing: true}
	case opt.password == "" && opt.username != "":
		return &drivers.OptionError{Key: "password", Want: "the password of user " + opt.username, Missing: true}
	}
	return nil
}

// printable: a request line is ASCII, and upsd takes 512 characters of a word.
func printable(s string) bool {
	return len(s) <= 512 && strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) < 0
}

func (opt *options) encryption(cfg drivers.Config) error {
	mode, err := cfg.OneOf("tls", "no", "try", "require")
	if err != nil {
		return err
	}
	insecure, err := cfg.Bool("tls_insecure")
	if err != nil {
		return err
	}
	cafile := cfg.Options["cafile"]
	if mode == "no" {
		if cafile != "" || insecure {
			return &drivers.OptionError{Key: "tls", Got: mode, Want: "try or require where cafile or tls_insecure is given"}
		}
		return nil
	}
	host, _, _ := net.SplitHostPort(opt.address)
	opt.tlsRequired = mode == "require"
	// Who only tries can be talked out of TLS anyway, so that checking a certificate
	// without being given what to check it against would cost and not protect.
	insecure = insecure || mode == "try" && cafile == ""
	opt.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	if cafile == "" {
		return nil
	}
	pem, err := os.ReadFile(cafile)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		return &drivers.OptionError{Key: "cafile", Got: cafile, Want: "a readable file with certificates in PEM form"}
	}
	opt.tls.RootCAs = pool
	return nil
}
