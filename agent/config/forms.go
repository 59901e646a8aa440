package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// maxMessage bounds a text that is shown to people, in bytes.
const maxMessage = 4096

// message reads a text of one line or several. Other control characters would move the
// cursor of whoever reads it.
func (d *decoder) message(where, example string, into *string) reader {
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, "a text", example)
		control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
		switch {
		case !ok:
		case strings.TrimSpace(s) == "" || strings.ContainsFunc(s, control):
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), "a text without control characters", example)
		case len(s) > maxMessage:
			d.problem(nodeAt(n), fmt.Sprintf("%s has %d bytes", where, len(s)), fmt.Sprintf("at most %d", maxMessage), example)
		default:
			*into = s
		}
	}
}

// words reads a list, each item of which has a form; each may be there once.
func (d *decoder) words(where, want, example string, form func(string) bool, into *[]string) reader {
	return func(n ast.Node) {
		d.list(where, example, func(item ast.Node) {
			s, ok := peer(item)
			if !ok {
				s, ok = d.scalar(item, "an item of "+where, want, example)
			}
			switch {
			case !ok:
			case !form(s):
				d.problem(nodeAt(item), fmt.Sprintf("an item of %s is %q", where, s), want, example)
			case slices.Contains(*into, s):
				d.problem(nodeAt(item), fmt.Sprintf("%s has %q twice", where, s), "each once", example)
			default:
				*into = append(*into, s)
			}
		})(n)
		if seq, ok := n.(*ast.SequenceNode); ok && len(seq.Values) == 0 || isNull(n) {
			d.problem(nodeAt(n), where+" is empty", "a list with at least one item", example)
		}
	}
}

// peer returns nas:22, which the parser takes for a key with a value where it stands in a
// list that stands in braces. Nothing that is meant so lacks the blank.
func peer(n ast.Node) (string, bool) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) == 1 && !m.IsFlowStyle {
		n = m.Values[0]
	}
	pair, ok := n.(*ast.MappingValueNode)
	if !ok || pair.Value == nil {
		return "", false
	}
	key, value := pair.Key.GetToken(), pair.Value.GetToken()
	if _, number := pair.Value.(*ast.IntegerNode); !number || at(value) != (position{at(key).line, at(key).column + utf8.RuneCountInString(key.Value) + 1}) {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

// argument reports whether s can stand in a command line as a name: what begins with a
// hyphen would be taken for an option.
func argument(s string) bool {
	return s != "" && s[0] != '-' && len(s) <= 255 && !strings.ContainsFunc(s, unicode.IsControl)
}

// span is a duration inside a step, which the step's time-out would cut short.
type span struct {
	key    string
	at     position
	length Duration
}

// inStep reads a duration that has to end before the step's time-out does.
func (d *decoder) inStep(key, example string, into *Duration) field {
	read := d.duration(key, time.Second, day, example, into)
	return field{key, key + ": " + example, func(n ast.Node) {
		read(n)
		if *into > 0 {
			d.spans = append(d.spans, span{key, nodeAt(n), *into})
		}
	}}
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\.?$`)

// isHost reports whether s is a name or an address, an IPv6 one without brackets.
func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || hostForm.MatchString(s)
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n > 0 && n <= 65535 && s[0] != '+'
}

// isHostPort reports whether s is host:port, an IPv6 address in brackets.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && isHost(host) && isPort(port)
}

// hostMaybePort reads a name or an address, with a port where it is not the usual one.
func (d *decoder) hostMaybePort(where, example string, into *string) reader {
	const want = "a name or an address, :port behind it where it is not the usual one"
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, want, example)
		if ok && !isHost(s) && !isHostPort(s) {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), want, example)
			return
		}
		*into = s
	}
}

// webAddress reads a URL of http or https. A user and password in it are never shown.
func (d *decoder) webAddress(where, example string, into *string) reader {
	const want = "a URL that begins with https:// or http://"
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, want, example)
		if !ok {
			return
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !isHost(u.Hostname()) || u.Port() != "" && !isPort(u.Port()) || strings.ContainsFunc(s, unicode.IsSpace) {
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, anyUser.ReplaceAllString(s, mask+"@")), want, example)
			return
		}
		*into = s
	}
}

// anyUser is what may be a user and password, in a URL that cannot be read.
var anyUser = regexp.MustCompile(`^.*@`)

// plainHTTP reports whether what is sent to the URL can be read on the way.
func plainHTTP(address string) bool { return strings.HasPrefix(strings.ToLower(address), "http:") }

// fileName reads the name of a file, relative to the configuration's own folder. What is
// wrong with the file is a warning: it may come later, and is looked at whenever the step
// runs.
func (d *decoder) fileName(where, example string, look func(at position, name string), into *string) reader {
	return func(n ast.Node) {
		var s string
		d.text(where, example, &s)(n)
		if s != "" && d.files != nil {
			s = d.files.path(s) // the agent works in another folder
			look(nodeAt(n), s)
		}
		*into = s
	}
}

// secretKept reads the name of a file with one secret.
func (d *decoder) secretKept(where, example string, into *string) reader {
	return d.fileName(where, example, func(at position, name string) {
		_, open, err := d.files.secret(name)
		d.kept(at, where, name, open, err)
	}, into)
}

// keyFile reads the name of a file with a private key.
func (d *decoder) keyFile(where, example string, into *string) reader {
	return d.fileName(where, example, func(at position, name string) {
		_, mode, err := read(name, 1)
		d.kept(at, where, name, mode&0o004 != 0, err)
	}, into)
}

// publicFile reads the name of a file that holds no secret.
func (d *decoder) publicFile(where, example string, into *string) reader {
	return d.fileName(where, example, func(at position, name string) {
		d.kept(at, where, name, false, d.files.exists(name))
	}, into)
}

func (d *decoder) kept(at position, where, name string, open bool, err error) {
	switch {
	case errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0: // root reads it when the step runs
	case err != nil:
		d.warn(at, fmt.Sprintf("%s is %s: %v", where, name, err), "a file that the agent can read when the step runs", "")
	case open:
		d.warn(at, name+" can be read by everybody on this host", "mode 0600", "chmod 600 "+name)
	}
}
