package notify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

type reason string

var outage = dodai.Event{
	Name: dodai.EventMainsLost, Device: "rack1", Text: `lost "mains"; $(reboot) {drill}`,
	Wall: time.Date(2026, 11, 20, 23, 5, 6, 7e6, time.UTC),
	Fields: map[string]any{
		"input_volts": 0.5, "big": 1e21, "took": 90 * time.Second, "flags": []string{"OB", "LB"},
		"why": reason("lb"), "n": 7, "none": nil, "yes": true, "ups.status": "OB", "z9_": "last", "text": "hidden",
		"at": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "map": map[string]int{"a": 1}, "pair": [2]int{1, 2}, "err": errors.New("gone"),
		"struct": struct{ A int }{1}, "pointer": new(2.5), "mute": make(chan int), "odd": []any{make(chan int)},
	},
}

func TestExpand(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"no placeholder":              {"plain", "plain"},
		"Builtins":                    {"{event} {device} {time} <{drill}>", "mains_lost rack1 2026-11-20T23:05:06.007Z <>"},
		"nothing is expanded twice":   {"{text}", `lost "mains"; $(reboot) {drill}`},
		"fields":                      {"{input_volts} {big} {took} {n} {yes} {why}", "0.5 1000000000000000000000 90 7 true lb"},
		"a field with parts":          {"{flags} {map} {pair} {struct} {pointer}", `["OB","LB"] {"a":1} [1,2] {"A":1} 2.5`},
		"a time, an error":            {"{at} {err}", "2026-01-02T03:04:05.000Z gone"},
		"no letters but these":        {"{z9_} {9z} {.z} {z:} {z/} {z`} {z{} {a-b}", "last {9z} {.z} {z:} {z/} {z`} {z{} {a-b}"},
		"a name cut off by another":   {"{abc{event}", "{abcmains_lost"},
		"a field with a dot":          {"{ups.status}", "OB"},
		"a field that is not there":   {"a{missing}b{none}c", "abc"},
		"JSON around it":              {`{"text": "{event}", "n": {n}}`, `{"text": "mains_lost", "n": 7}`},
		"braces that are text":        {"{} {a {Event} {1} { event } {{event}} }", "{} {a {Event} {1} { event } {mains_lost} }"},
		"a template of other syntax":  {"{{.Event}}", "{{.Event}}"},
		"an open brace before a name": {"{{event}", "{mains_lost"},
		"an open brace at the end":    {"x{event", "x{event"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := expand(tt.in, valueOf(outage)); got != tt.want {
				t.Errorf("expand(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestDrillIsTold(t *testing.T) {
	e := dodai.Event{Name: dodai.EventMainsLost, Drill: "d1"}
	if got := expand("{event}{drill}", valueOf(e)); got != "mains_lostd1" || !slices.Contains(environment(e), "DODAI_DRILL=d1") {
		t.Errorf("%s, %q: want the drill in both", got, environment(e))
	}
}

// TestFieldsWithoutJSON: what cannot be marshalled is printed all the same.
func TestFieldsWithoutJSON(t *testing.T) {
	for _, name := range []string{"mute", "odd"} {
		if got := expand("{"+name+"}", valueOf(outage)); !strings.Contains(got, "0x") {
			t.Errorf("{%s} = %q, want an address", name, got)
		}
	}
}

func TestBounds(t *testing.T) {
	for _, n := range []int{maxValue - 1, maxValue, maxValue + 1} {
		if got := bounded(strings.Repeat("x", n)); len(got) != min(n, maxValue) {
			t.Errorf("%d bytes became %d, want at most %d", n, len(got), maxValue)
		}
	}
	if got := bounded(strings.Repeat("x", maxValue-1) + "é"); len(got) != maxValue-1 {
		t.Errorf("half a letter is left: %d bytes", len(got))
	}
	e := dodai.Event{Fields: map[string]any{}}
	for i := range 20 {
		e.Fields[fmt.Sprint("f", i)] = strings.Repeat("x", maxValue)
	}
	if n := len(environment(e)) - len(Builtins); n != 16 {
		t.Errorf("%d large fields in the environment, want 16", n)
	}
	if got := strings.Map(variable, "azAZ09_`{@[/:-é"); got != "azAZ09_________" {
		t.Errorf("variable name %q", got)
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "bca", 2}, {"ab", "cd", 2}, {"aab", "bba", 2}, {"xba", "ab", 2},
		{strings.Repeat("a", 64) + "b", strings.Repeat("a", 64), 0}, // only so much is looked at
		{strings.Repeat("a", 70), "", 64},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if near, d := nearest("ax", []string{"b", "ay", "az"}); near != "ay" || d != 1 {
		t.Errorf("nearest = %s at %d, want the first of the nearest", near, d)
	}
}

func TestEnvironment(t *testing.T) {
	env := environment(outage)
	for _, want := range []string{
		"DODAI_EVENT=mains_lost", "DODAI_DEVICE=rack1", `DODAI_TEXT=lost "mains"; $(reboot) {drill}`,
		"DODAI_TIME=2026-11-20T23:05:06.007Z", "DODAI_DRILL=", "DODAI_FIELD_input_volts=0.5", "DODAI_FIELD_ups_status=OB",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("environment has no %s:\n%s", want, strings.Join(env, "\n"))
		}
	}
	huge := outage
	huge.Text = strings.Repeat("é\x00", 1<<20)
	huge.Fields = map[string]any{}
	for i := range 100 {
		huge.Fields[strings.Repeat("f", i)] = huge.Text
	}
	total := 0
	for _, kv := range environment(huge) {
		total += len(kv)
		if strings.ContainsRune(kv, 0) || strings.ContainsRune(kv, '\uFFFD') || len(kv) > 2*maxValue {
			t.Errorf("a variable of %d bytes with zero bytes or half a letter", len(kv))
		}
	}
	if total > 32*maxValue {
		t.Errorf("%d bytes of environment, want a bound", total)
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "{event}", "{{event}}", `{"a": "{text}"}`, "{a.b_1}{", "{\x00event}", "{ event}"} {
		f.Add(s, "value {event} \x00")
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		// Putting each placeholder back gives the text again.
		same := expand(s, func(name string) string { return "{" + name + "}" })
		if want := strings.ReplaceAll(s, "\x00", ""); same != want {
			t.Fatalf("expand(%q) with every placeholder itself = %q", s, same)
		}
		// Each placeholder is replaced once, by exactly its value.
		n := len(Placeholders(s))
		got := expand(s, func(string) string { return value })
		rest := expand(s, func(string) string { return "" })
		if clean := strings.ReplaceAll(value, "\x00", ""); len(got) != len(rest)+n*len(clean) {
			t.Fatalf("expand(%q) with %q has %d bytes, want %d and %d times the value", s, value, len(got), len(rest), n)
		}
		for _, name := range Placeholders(s) {
			if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") != "" {
				t.Fatalf("placeholder %q in %q", name, s)
			}
		}
		// An event without fields expands without surprise, and Validate never panics.
		expand(s, valueOf(dodai.Event{Text: value}))
		Validate([]Hook{{On: []dodai.EventName{dodai.EventName(s)}, Command: []string{"x", s}}})
	})
}

func TestValidate(t *testing.T) {
	ok := []string{"/bin/notify", "{event}"}
	on := []dodai.EventName{dodai.EventMainsLost}
	tests := map[string]struct {
		hook   Hook
		fields []string
		field  string // empty: nothing is wrong
		text   string
	}{
		"good":                     {Hook{On: on, Command: ok}, nil, "", ""},
		"every event":              {Hook{On: dodai.EventNames, Command: ok, Timeout: time.Second}, nil, "", ""},
		"no events":                {Hook{Command: ok}, nil, "[0].on", "[mains_lost"},
		"an alert is no event":     {Hook{On: []dodai.EventName{dodai.EventMainsLost, "on_battery"}, Command: ok}, nil, "[0].on[1]", `"on_battery"`},
		"a slip":                   {Hook{On: []dodai.EventName{"mains_restord"}, Command: ok}, nil, "[0].on[0]", "for example mains_restored"},
		"no command":               {Hook{On: on}, nil, "[0].command", "is missing"},
		"a program that varies":    {Hook{On: on, Command: []string{"/bin/{event}"}}, nil, "[0].command[0]", "does not depend"},
		"nearly a builtin":         {Hook{On: on, Command: []string{"x", "-d", "{devcie}"}}, nil, "[0].command[2]", "{device} instead of {devcie}"},
		"a field":                  {Hook{On: on, Command: []string{"x", "{input_volts}"}}, nil, "", ""},
		"fields near a builtin":    {Hook{On: on, Command: []string{"x", "{exit} {drive} {service} {time_s}"}}, nil, "", ""},
		"a field not in the list":  {Hook{On: on, Command: []string{"x", "{input_volts}"}}, []string{"took_s"}, "[0].command[1]", "{input_volts}"},
		"a field in the list":      {Hook{On: on, Command: []string{"x", "{took_s}"}}, []string{"took_s"}, "", ""},
		"a zero byte":              {Hook{On: on, Command: []string{"x", "a\x00"}}, nil, "[0].command[1]", "zero byte"},
		"the longest time-out":     {Hook{On: on, Command: ok, Timeout: time.Hour}, nil, "", ""},
		"a longer time-out":        {Hook{On: on, Command: ok, Timeout: time.Hour + 1}, nil, "[0].timeout", "is 1h0m0.000000001s: want between 0s and 1h, for example 10s"},
		"a program without a name": {Hook{On: on, Command: []string{"", "x"}}, nil, "[0].command", `is missing: want a program with its arguments, as a list, for example ["/usr`},
		"the drill":                {Hook{On: on, Command: []string{"x", "{drill} {time} {text} {device} {event}"}}, []string{"took_s"}, "", ""},
		"a negative time-out":      {Hook{On: on, Command: ok, Timeout: -1}, nil, "[0].timeout", "between 0s and 1h"},
		"JSON is not a slip of it": {Hook{On: on, Command: []string{"x", `{"evnt": 1}`}}, nil, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			errs := Validate([]Hook{tt.hook}, tt.fields...)
			if tt.field == "" && len(errs) == 0 {
				return
			}
			if len(errs) == 1 && errs[0].Example == "" && strings.HasSuffix(errs[0].Error(), "for example ") {
				t.Errorf("%q gives an example that is none", errs[0])
			}
			if len(errs) != 1 || errs[0].Field != tt.field || !strings.Contains(errs[0].Error(), tt.text) {
				t.Errorf("Validate = %v, want one error at %q that says %q", errs, tt.field, tt.text)
			}
		})
	}
}
