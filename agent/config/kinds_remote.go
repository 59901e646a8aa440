package config

import (
	"fmt"
	"net/textproto"
	"net/url"
	"regexp"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// remoteKinds are the kinds of steps that ask another machine.
func (d *decoder) remoteKinds(do *Do) []field {
	return []field{
		{"http", `http: {url: "https://nas.example/api/shutdown"}`, d.http(do)},
		{"wait_for", `wait_for: ["nas:22"]`, d.waitFor(do)},
		{"ssh", "ssh: {host: nas, key_file: /etc/dodai/id_ed25519, command: poweroff}", d.ssh(do)},
		{"redfish", `redfish: {address: "https://192.0.2.30"}`, d.redfish(do)},
		{"ipmi", `ipmi: {address: "192.0.2.30:623"}`, d.ipmi(do)},
	}
}

const urlExample = `"https://nas.example/api/shutdown"`

// http reads the URL alone, or keys and values.
func (d *decoder) http(do *Do) reader {
	return func(n ast.Node) {
		do.HTTP = &HTTP{}
		if _, text := n.(*ast.StringNode); text {
			d.webAddress("http", urlExample, &do.HTTP.URL)(n)
			d.userInURL(nodeAt(n), do.HTTP.URL)
			return
		}
		d.request(n, "http", do.HTTP, true)
	}
}

// request reads one request. The one that takes another back is not taken back itself.
func (d *decoder) request(n ast.Node, where string, h *HTTP, withUndo bool) {
	urls := map[string]position{}
	address := func(key, example string, into *string) field {
		return field{key, key + ": " + example, func(n ast.Node) {
			urls[key] = nodeAt(n)
			d.webAddress(key, example, into)(n)
		}}
	}
	fields := []field{
		address("url", urlExample, &h.URL),
		{"method", "method: POST", d.choice("method", []string{"POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS"}, func(s string) { h.Method = s })},
		{"headers", "headers: {Content-Type: application/json}", d.headers(h)},
		{"body", `body: '{"power": "off"}'`, d.anyText("body", `'{"power": "off"}'`, &h.Body)},
		{"token_file", "token_file: /etc/dodai/nas.token", d.secretKept("token_file", "/etc/dodai/nas.token", &h.TokenFile)},
		{"ca_file", "ca_file: /etc/dodai/nas.pem", d.publicFile("ca_file", "/etc/dodai/nas.pem", &h.CAFile)},
		{"status", "status: [200, 202]", d.statuses(&h.Status)},
		address("check", `"https://nas.example/api/version"`, &h.Check),
	}
	if withUndo {
		fields = append(fields, field{"undo", `undo: {url: "https://nas.example/api/start"}`, func(n ast.Node) {
			h.Undo = &HTTP{}
			d.request(n, "undo", h.Undo, false)
		}})
	}
	seen := d.object(n, where, fields)
	d.required(n, where, seen, "url", "url: "+urlExample)
	d.userInURL(urls["url"], h.URL)
	d.userInURL(urls["check"], h.Check)
	d.requestSecrets(h, seen)
}

// requestSecrets refuses two logins at once, and warns of one that can be read on the way.
func (d *decoder) requestSecrets(h *HTTP, seen map[string]position) {
	at, token := seen["token_file"]
	if _, both := h.Headers["Authorization"]; token && both {
		d.problem(at, "token_file beside a header Authorization", "one of them", "token_file: /etc/dodai/nas.token")
	}
	if token && plainHTTP(h.URL) {
		d.warn(at, "a token for a URL of http: everybody on the way can read it", "https", urlExample)
	}
	if at, ca := seen["ca_file"]; ca && plainHTTP(h.URL) {
		d.warn(at, "ca_file for a URL of http, which has no certificate", "https", urlExample)
	}
}

// userInURL warns of a password that belongs into a file.
func (d *decoder) userInURL(at position, address string) {
	u, err := url.Parse(address)
	if err != nil || u.User == nil {
		return
	}
	d.warn(at, "a user or password in the URL "+maskURL(address), "a token in a file of its own", "token_file: /etc/dodai/nas.token")
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")

// secretHeader is a header whose value is never shown.
var secretHeader = regexp.MustCompile(`(?i)authorization|cookie|token|secret|passw|key`)

func (d *decoder) headers(h *HTTP) reader {
	return func(n ast.Node) {
		entries, _ := d.entries(n, "headers", "{Content-Type: application/json}")
		seen := map[string]position{}
		for _, e := range entries {
			key, value := e.Key.GetToken().Value, ""
			if !headerName.MatchString(key) {
				d.problem(nodeAt(e.Key), fmt.Sprintf("header %q", key), "the name of a header", "Content-Type: application/json")
				continue
			}
			if key = textproto.CanonicalMIMEHeaderKey(key); d.twice(seen, key, nodeAt(e.Key)) {
				continue
			}
			if secretHeader.MatchString(key) {
				d.inline = nodeAt(e.Value)
			}
			d.text("header "+key, "application/json", &value)(e.Value)
			if h.Headers == nil {
				h.Headers = map[string]string{}
			}
			h.Headers[key] = value
		}
	}
}

func (d *decoder) statuses(into *[]int) reader {
	const example = "[200, 202]"
	return func(n ast.Node) {
		d.list("status", example, func(item ast.Node) {
			var code int
			if d.whole("an item of status", 100, 599, "200", &code)(item); code != 0 {
				*into = append(*into, code)
			}
		})(n)
		if seq, ok := n.(*ast.SequenceNode); ok && len(seq.Values) == 0 || isNull(n) {
			d.problem(nodeAt(n), "status is empty", "at least one status code", example)
		}
	}
}

// waitFor reads a list of peers alone, or keys and values.
func (d *decoder) waitFor(do *Do) reader {
	return func(n ast.Node) {
		const want, example = "host:port, an IPv6 address in brackets", `["nas:22"]`
		w := &WaitFor{}
		do.WaitFor = w
		if _, list := n.(*ast.SequenceNode); list {
			d.words("wait_for", want, example, isHostPort, &w.Peers)(n)
			return
		}
		seen := d.object(n, "wait_for", []field{
			{"peers", "peers: " + example, d.words("peers", want, example, isHostPort, &w.Peers)},
			d.inStep("for", "5s", &w.For),
		})
		d.required(n, "wait_for", seen, "peers", "peers: "+example)
	}
}

func (d *decoder) ssh(do *Do) reader {
	return func(n ast.Node) {
		s := &SSH{}
		do.SSH = s
		if isScalar(n) {
			d.problem(nodeAt(n), "ssh is "+describe(n), "keys and values", "{host: nas, key_file: /etc/dodai/id_ed25519, command: sudo -n /sbin/poweroff}")
			return
		}
		seen := d.object(n, "ssh", []field{
			{"host", "host: nas", d.hostMaybePort("host", "nas", &s.Host)},
			{"user", "user: dodai", d.text("user", "dodai", &s.User)},
			{"key_file", "key_file: /etc/dodai/id_ed25519", d.keyFile("key_file", "/etc/dodai/id_ed25519", &s.KeyFile)},
			{"known_hosts", "known_hosts: /etc/dodai/known_hosts", d.publicFile("known_hosts", "/etc/dodai/known_hosts", &s.KnownHosts)},
			{"command", "command: sudo -n /sbin/poweroff", d.message("command", "sudo -n /sbin/poweroff", &s.Command)},
			{"undo", "undo: /usr/local/sbin/undrain", d.message("undo", "/usr/local/sbin/undrain", &s.Undo)},
			{"connect_timeout", "connect_timeout: 5s", d.duration("connect_timeout", 100*time.Millisecond, time.Hour, "5s", &s.Connect)},
			{"gone_is_done", "gone_is_done: true", d.truth("gone_is_done", &s.Gone)},
			{"forced_command", "forced_command: true", func(n ast.Node) {
				s.Forced = new(bool)
				d.truth("forced_command", s.Forced)(n)
			}},
		})
		d.required(n, "ssh", seen, "host", "host: nas")
		d.required(n, "ssh", seen, "key_file", "key_file: /etc/dodai/id_ed25519")
		d.required(n, "ssh", seen, "command", "command: sudo -n /sbin/poweroff")
	}
}

func (d *decoder) redfish(do *Do) reader {
	return func(n ast.Node) {
		r := &Redfish{}
		do.Redfish = r
		var address position
		seen := d.object(n, "redfish", []field{
			{"address", `address: "https://192.0.2.30"`, func(n ast.Node) {
				address = nodeAt(n)
				d.webAddress("address", `"https://192.0.2.30"`, &r.Address)(n)
			}},
			{"user", "user: dodai", d.text("user", "dodai", &r.User)},
			{"password_file", "password_file: /etc/dodai/bmc.password", d.secretKept("password_file", "/etc/dodai/bmc.password", &r.PasswordFile)},
			{"system", `system: "1"`, d.text("system", `"1"`, &r.System)},
			{"ca_file", "ca_file: /etc/dodai/bmc.pem", d.publicFile("ca_file", "/etc/dodai/bmc.pem", &r.CAFile)},
			d.inStep("force_after", "45s", &r.ForceAfter),
		})
		d.required(n, "redfish", seen, "address", `address: "https://192.0.2.30"`)
		if u, err := url.Parse(r.Address); err == nil && u.User != nil {
			d.problem(address, "a user or password in the address "+maskURL(r.Address), "user and password_file", "{user: dodai, password_file: /etc/dodai/bmc.password}")
		}
		if at, given := seen["password_file"]; given && plainHTTP(r.Address) {
			d.warn(at, "a password for an address of http: everybody on the way can read it", "https", `address: "https://192.0.2.30"`)
		}
		d.login(seen)
	}
}

// cipher reads one of the cipher suites that the driver ipmi has.
func (d *decoder) cipher(into *int) reader {
	return func(n ast.Node) {
		s, ok := d.scalar(n, "cipher", "17 or 3", "17")
		switch {
		case !ok:
		case s == "17":
			*into = 17
		case s == "3":
			*into = 3
		default:
			d.problem(nodeAt(n), fmt.Sprintf("cipher is %q", s), "17 or 3", "17")
		}
	}
}

func (d *decoder) ipmi(do *Do) reader {
	return func(n ast.Node) {
		b := &IPMI{}
		do.IPMI = b
		seen := d.object(n, "ipmi", []field{
			{"address", `address: "192.0.2.30:623"`, d.hostMaybePort("address", `"192.0.2.30:623"`, &b.Address)},
			{"user", "user: dodai", d.text("user", "dodai", &b.User)},
			{"password_file", "password_file: /etc/dodai/bmc.password", d.secretKept("password_file", "/etc/dodai/bmc.password", &b.PasswordFile)},
			{"cipher", "cipher: 17", d.cipher(&b.Cipher)},
			d.inStep("force_after", "45s", &b.ForceAfter),
		})
		d.required(n, "ipmi", seen, "address", `address: "192.0.2.30:623"`)
		d.login(seen)
	}
}

// login refuses a password without the user it belongs to.
func (d *decoder) login(seen map[string]position) {
	at, password := seen["password_file"]
	if _, user := seen["user"]; password && !user {
		d.problem(at, "password_file without user", "both of them", "user: dodai")
	}
}
