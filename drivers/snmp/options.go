package snmp

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/dodai-agent/dodai/drivers"
)

// options lists what the driver takes.
var options = []drivers.Option{
	{Key: "address", Help: "host or host:port; the port is 161 unless given", Example: "10.0.0.7", Required: true},
	{Key: "version", Help: "SNMP version: 1, 2c, 3, or auto (2c, then 1); 2c unless v3user is given", Example: "2c"},
	{Key: "community", Help: "community for versions 1 and 2c; it goes over the wire in clear", Default: "public", Example: "public", Secret: true},
	{Key: "write_community", Help: "community that may write, for versions 1 and 2c; needed to cut the output", Example: "private", Secret: true},
	{Key: "v3user", Help: "user name for version 3", Example: "dodai"},
	{Key: "v3auth", Help: "authentication: none, MD5, SHA, SHA224, SHA256, SHA384, SHA512; SHA where v3authpass is given", Example: "SHA256"},
	{Key: "v3authpass", Help: "authentication passphrase, 8 characters or more", Secret: true},
	{Key: "v3priv", Help: "privacy: none, DES, AES, AES192, AES256, AES192C, AES256C (C: key extension after Reeder); AES where v3privpass is given", Example: "AES"},
	{Key: "v3privpass", Help: "privacy passphrase, 8 characters or more", Secret: true},
	{Key: "v3context", Help: "context name for version 3; hardly any card has one"},
	{Key: "mib", Help: "which objects to read: auto, rfc1628, apc, xups, mge, cyberpower, xppc, dell", Default: "auto", Example: "rfc1628"},
	{Key: "timeout", Help: "wait for one answer", Default: "2s", Example: "2s"},
	{Key: "retries", Help: "requests repeated after a time-out, 0 to 5", Default: "1", Example: "1"},
}

// config are the options, checked.
type config struct {
	host      string
	port      uint16
	community string
	write     string               // the community for SET; empty: none
	versions  []gosnmp.SnmpVersion // tried in this order
	v3        user
	mib       string
	timeout   time.Duration
	retries   int
}

// user is a v3 user.
type user struct {
	name, context      string
	auth               gosnmp.SnmpV3AuthProtocol
	priv               gosnmp.SnmpV3PrivProtocol
	authPass, privPass string
}

var authProtocols = map[string]gosnmp.SnmpV3AuthProtocol{
	"NONE": gosnmp.NoAuth, "MD5": gosnmp.MD5, "SHA": gosnmp.SHA, "SHA1": gosnmp.SHA,
	"SHA224": gosnmp.SHA224, "SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512,
}

var privProtocols = map[string]gosnmp.SnmpV3PrivProtocol{
	"NONE": gosnmp.NoPriv, "DES": gosnmp.DES, "AES": gosnmp.AES, "AES128": gosnmp.AES,
	"AES192": gosnmp.AES192, "AES256": gosnmp.AES256, "AES192C": gosnmp.AES192C, "AES256C": gosnmp.AES256C,
}

func parseSettings(cfg drivers.Config) (config, error) {
	s := config{community: cfg.Options["community"], write: cfg.Options["write_community"], mib: cfg.Options["mib"]}
	var err error
	if s.host, s.port, err = splitAddress(cfg.Options["address"]); err != nil {
		return s, err
	}
	for key, c := range map[string]string{"community": s.community, "write_community": s.write} {
		if len(c) > 127 { // gosnmp writes its length in one octet
			return s, &drivers.OptionError{Key: key, Got: "a longer one", Want: "at most 127 characters"}
		}
	}
	if s.mib, err = cfg.OneOf("mib", mibs()...); err != nil {
		return s, err
	}
	if s.timeout, err = cfg.Duration("timeout", 10*time.Millisecond, time.Minute); err != nil {
		return s, err
	}
	if s.retries, err = cfg.Int("retries", 0, 5); err != nil {
		return s, err
	}
	if s.versions, err = parseVersion(cfg); err != nil {
		return s, err
	}
	if s.versions[0] == gosnmp.Version3 {
		s.v3, err = parseUser(cfg)
	} else if cfg.Options["v3user"] != "" {
		err = &drivers.OptionError{Key: "version", Got: cfg.Options["version"], Want: "3 with v3user, or no v3user"}
	}
	if err == nil && s.write != "" && s.versions[0] == gosnmp.Version3 {
		err = &drivers.OptionError{Key: "write_community", Got: "(not shown)", Want: "nothing with version 3, where the v3 user writes"}
	}
	return s, err
}

// mibs are the values of the option mib.
func mibs() []string {
	names := []string{"auto"}
	for _, f := range families {
		names = append(names, f.name)
	}
	return names
}

// splitAddress takes host, host:port, [v6]:port and a bare v6 address.
func splitAddress(address string) (string, uint16, error) {
	wrong := &drivers.OptionError{Key: "address", Got: address, Want: "host or host:port", Example: "10.0.0.7:161"}
	host, port := address, "161"
	if h, p, err := net.SplitHostPort(address); err == nil {
		host, port = h, p
	} else if strings.Count(address, ":") == 1 || strings.ContainsAny(address, "[]/ ") {
		return "", 0, wrong
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, wrong
	}
	return host, uint16(n), nil
}

func parseVersion(cfg drivers.Config) ([]gosnmp.SnmpVersion, error) {
	switch v := strings.TrimPrefix(cfg.Options["version"], "v"); v {
	case "1":
		return []gosnmp.SnmpVersion{gosnmp.Version1}, nil
	case "2c", "2":
		return []gosnmp.SnmpVersion{gosnmp.Version2c}, nil
	case "3":
		return []gosnmp.SnmpVersion{gosnmp.Version3}, nil
	case "auto":
		return []gosnmp.SnmpVersion{gosnmp.Version2c, gosnmp.Version1}, nil
	case "":
		if cfg.Options["v3user"] != "" {
			return []gosnmp.SnmpVersion{gosnmp.Version3}, nil
		}
		return []gosnmp.SnmpVersion{gosnmp.Version2c}, nil
	}
	return nil, &drivers.OptionError{Key: "version", Got: cfg.Options["version"], Want: "1, 2c, 3 or auto"}
}

func parseUser(cfg drivers.Config) (user, error) {
	o := cfg.Options
	u := user{name: o["v3user"], context: o["v3context"], authPass: o["v3authpass"], privPass: o["v3privpass"]}
	if u.name == "" || len(u.name) > 32 {
		return u, &drivers.OptionError{Key: "v3user", Got: u.name, Want: "a user name of 1 to 32 characters", Missing: u.name == ""}
	}
	auth, priv := o["v3auth"], o["v3priv"]
	if auth == "" && u.authPass != "" {
		auth = "SHA"
	}
	if priv == "" && u.privPass != "" {
		priv = "AES"
	}
	var err error
	if u.auth, err = protocol("v3auth", auth, authProtocols); err != nil {
		return u, err
	}
	if u.priv, err = protocol("v3priv", priv, privProtocols); err != nil {
		return u, err
	}
	return u, u.check()
}

// check applies RFC 3414's rules: passphrases have 8 characters or more, and there is
// no privacy without authentication.
func (u user) check() error {
	switch {
	case u.auth != gosnmp.NoAuth && len(u.authPass) < 8:
		return &drivers.OptionError{Key: "v3authpass", Got: "too short", Want: "a passphrase of 8 characters or more"}
	case u.priv != gosnmp.NoPriv && len(u.privPass) < 8:
		return &drivers.OptionError{Key: "v3privpass", Got: "too short", Want: "a passphrase of 8 characters or more"}
	case u.priv != gosnmp.NoPriv && u.auth == gosnmp.NoAuth:
		return &drivers.OptionError{Key: "v3auth", Got: "none", Want: "an authentication protocol: there is no privacy without", Example: "SHA"}
	}
	return nil
}

// protocol looks up a protocol by its name, written in any case, with or without dashes.
func protocol[P any](key, name string, known map[string]P) (P, error) {
	plain := strings.ToUpper(strings.ReplaceAll(name, "-", ""))
	if plain == "" {
		plain = "NONE"
	}
	p, ok := known[plain]
	if !ok {
		return p, &drivers.OptionError{Key: key, Got: name, Want: fmt.Sprintf("one of %v", slices.Sorted(maps.Keys(known)))}
	}
	return p, nil
}

// apply makes g speak v3 as the user.
func (u user) apply(g *gosnmp.GoSNMP) {
	g.SecurityModel = gosnmp.UserSecurityModel
	g.ContextName = u.context
	switch {
	case u.priv != gosnmp.NoPriv:
		g.MsgFlags = gosnmp.AuthPriv
	case u.auth != gosnmp.NoAuth:
		g.MsgFlags = gosnmp.AuthNoPriv
	default:
		g.MsgFlags = gosnmp.NoAuthNoPriv
	}
	g.SecurityParameters = &gosnmp.UsmSecurityParameters{
		UserName:               u.name,
		AuthenticationProtocol: u.auth, AuthenticationPassphrase: u.authPass,
		PrivacyProtocol: u.priv, PrivacyPassphrase: u.privPass,
	}
}
