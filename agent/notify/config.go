package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// DefaultTimeout is how long a hook may run where the configuration says nothing.
const DefaultTimeout = 10 * time.Second

// Hook is one entry of `hooks:`.
type Hook struct {
	On      []dodai.EventName `yaml:"on" json:"on"`
	Command []string          `yaml:"command" json:"command"`
	User    string            `yaml:"user" json:"user,omitempty"`       // whose rights it has; empty: the daemon's
	Timeout time.Duration     `yaml:"timeout" json:"timeout,omitempty"` // 0: DefaultTimeout
}

func (h Hook) timeout() time.Duration {
	if h.Timeout == 0 {
		return DefaultTimeout
	}
	return h.Timeout
}

// FieldError is a wrong value. Field is its path below `hooks`, such as "[0].on[2]".
type FieldError struct {
	Field   string
	Got     string // empty: it is missing
	Want    string
	Example string
}

func (e *FieldError) Error() string {
	got := "is missing"
	if e.Got != "" {
		got = "is " + e.Got
	}
	s := fmt.Sprintf("hooks%s %s: want %s", e.Field, got, e.Want)
	if e.Example != "" {
		s += ", for example " + e.Example
	}
	return s
}

// Validate returns what is wrong with hooks, nil when nothing is. Besides the builtin
// placeholders any name is taken for a field; one that is a single slip away from a
// builtin is an error. With fields given, a placeholder has to be one of those or a builtin.
func Validate(hooks []Hook, fields ...string) []*FieldError {
	var errs []*FieldError
	add := func(at, got, want, example string) {
		errs = append(errs, &FieldError{Field: at, Got: got, Want: want, Example: example})
	}
	for i, h := range hooks {
		at := fmt.Sprintf("[%d].", i)
		if len(h.On) == 0 {
			add(at+"on", "", "a list of events", "[mains_lost, mains_restored]")
		}
		for k, name := range h.On {
			if !slices.Contains(dodai.EventNames, name) {
				add(fmt.Sprintf("%son[%d]", at, k), fmt.Sprintf("%q", name), "the name of an event", nearestEvent(name))
			}
		}
		if len(h.Command) == 0 || h.Command[0] == "" {
			add(at+"command", "", "a program with its arguments, as a list", `["/usr/local/bin/notify", "{event}", "{device}"]`)
		}
		for k, arg := range h.Command {
			if want := checkArg(arg, k == 0, fields); want != "" {
				add(fmt.Sprintf("%scommand[%d]", at, k), fmt.Sprintf("%q", arg), want, "")
			}
		}
		if h.Timeout < 0 || h.Timeout > time.Hour {
			add(at+"timeout", h.Timeout.String(), "between 0s and 1h", "10s")
		}
	}
	return errs
}

// checkArg returns what was wanted in place of arg; empty: it is all right.
func checkArg(arg string, program bool, fields []string) string {
	names := Placeholders(arg)
	switch {
	case strings.ContainsRune(arg, 0):
		return "text without a zero byte"
	case program && len(names) > 0:
		return "a program that does not depend on the event"
	}
	for _, name := range names {
		if slices.Contains(Builtins, name) || slices.Contains(fields, name) {
			continue
		}
		if near, d := nearest(name, Builtins); d <= 1 || len(fields) > 0 {
			return fmt.Sprintf("{%s} instead of {%s}", near, name)
		}
	}
	return ""
}

func nearestEvent(name dodai.EventName) string {
	var all []string
	for _, n := range dodai.EventNames {
		all = append(all, string(n))
	}
	near, _ := nearest(strings.ToLower(string(name)), all)
	return near
}

func nearest(name string, among []string) (best string, distance int) {
	distance = 1 << 30
	for _, s := range among {
		if d := editDistance(name, s); d < distance {
			best, distance = s, d
		}
	}
	return best, distance
}

// editDistance counts the bytes to insert, remove or replace to turn a into b, and
// neighbours to swap.
func editDistance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for k := range rows[0] {
		rows[0][k] = k
	}
	for i := 1; i <= len(a); i++ {
		for k := 1; k <= len(b); k++ {
			cost := 1
			if a[i-1] == b[k-1] {
				cost = 0
			}
			rows[i][k] = min(rows[i-1][k]+1, rows[i][k-1]+1, rows[i-1][k-1]+cost)
			if i > 1 && k > 1 && a[i-1] == b[k-2] && a[i-2] == b[k-1] {
				rows[i][k] = min(rows[i][k], rows[i-2][k-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
