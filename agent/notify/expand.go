package notify

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// maxValue bounds what one placeholder or variable becomes, maxArg a whole argument:
// the kernel refuses a program when one string exceeds 128 KiB. Source: execve(2),
// MAX_ARG_STRLEN.
const (
	maxValue = 8 << 10
	maxArg   = 100 << 10
)

// timeLayout is RFC 3339 with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// Builtins are the placeholders every event has.
var Builtins = []string{"event", "device", "text", "time", "drill"}

// expand replaces the placeholders in s. The result holds no zero bytes.
func expand(s string, value func(name string) string) string {
	var b strings.Builder
	for {
		before, name, after, found := cutPlaceholder(s)
		b.WriteString(before)
		if !found {
			return strings.ReplaceAll(b.String(), "\x00", "")
		}
		b.WriteString(value(name))
		s = after
	}
}

// cutPlaceholder finds the first {name} in s. A name is a lower-case letter or
// underscore, then such, digits and dots; other braces are text.
func cutPlaceholder(s string) (before, name, after string, found bool) {
	for i := 0; i < len(s); i++ {
		if s[i] != '{' {
			continue
		}
		j := i + 1
		for j < len(s) && inName(s[j], j == i+1) {
			j++
		}
		if j > i+1 && j < len(s) && s[j] == '}' {
			return s[:i], s[i+1 : j], s[j+1:], true
		}
		i = j - 1
	}
	return s, "", "", false
}

func inName(c byte, first bool) bool {
	return c >= 'a' && c <= 'z' || c == '_' || !first && (c >= '0' && c <= '9' || c == '.')
}

// Placeholders returns the names used in s, in their order.
func Placeholders(s string) []string {
	var names []string
	expand(s, func(name string) string {
		names = append(names, name)
		return ""
	})
	return names
}

// valueOf returns what placeholders stand for in e; a field it does not have is empty.
// A field of the name of a builtin is hidden behind it.
func valueOf(e dodai.Event) func(name string) string {
	return func(name string) string {
		switch name {
		case "event":
			return bounded(string(e.Name))
		case "device":
			return bounded(e.Device)
		case "text":
			return bounded(e.Text)
		case "time":
			return e.Wall.Format(timeLayout)
		case "drill":
			return bounded(e.Drill)
		}
		v, ok := e.Fields[name]
		if !ok {
			return ""
		}
		return bounded(format(v))
	}
}

// format prints a field: numbers without an exponent, durations in seconds, and what
// has parts as JSON.
func format(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case time.Duration:
		return strconv.FormatFloat(v.Seconds(), 'f', -1, 64)
	case time.Time:
		return v.Format(timeLayout)
	case fmt.Stringer, error:
		return fmt.Sprint(v)
	}
	switch reflect.ValueOf(v).Kind() {
	case reflect.Slice, reflect.Map, reflect.Struct, reflect.Pointer, reflect.Array:
		if b, err := json.Marshal(v); err == nil {
			return string(b)
		}
	}
	return fmt.Sprint(v)
}

// Expanded returns the arguments of a hook's command for e, and the variables that tell of
// it.
func Expanded(command []string, e dodai.Event) (args, env []string) {
	value := valueOf(e)
	args = make([]string, len(command))
	for i, a := range command {
		args[i] = expand(a, value)
		args[i] = args[i][:min(len(args[i]), maxArg)]
	}
	return args, environment(e)
}

// Flat returns e with every field as the text that hooks are told, which is the same on
// the other side of a wire.
func Flat(e dodai.Event) dodai.Event {
	fields := make(map[string]any, len(e.Fields))
	for name, v := range e.Fields {
		fields[name] = bounded(format(v))
	}
	e.Fields = fields
	return e
}

func bounded(s string) string {
	if len(s) > maxValue {
		s = strings.ToValidUTF8(s[:maxValue], "")
	}
	return s
}

// environment is what a program finds beside the agent's own environment.
func environment(e dodai.Event) []string {
	value := valueOf(e)
	var env []string
	for _, name := range Builtins {
		env = append(env, "DODAI_"+strings.ToUpper(name)+"="+value(name))
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		s := bounded(format(e.Fields[name]))
		if total += len(s); total > 16*maxValue {
			break // the kernel bounds the whole, too
		}
		env = append(env, "DODAI_FIELD_"+strings.Map(variable, name)+"="+s)
	}
	for i := range env {
		env[i] = strings.ReplaceAll(env[i], "\x00", "")
	}
	return env
}

// variable maps what a shell does not take in a variable's name to an underscore.
func variable(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}
