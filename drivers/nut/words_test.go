package nut

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/drivers"
)

func TestSplitWords(t *testing.T) {
	tests := []struct {
		line string
		want []string
	}{
		{"", nil},
		{" \t\r", nil},
		{"# only a comment", nil},
		{"OK", []string{"OK"}},
		{"OK Goodbye\r", []string{"OK", "Goodbye"}},
		{`VAR u1 ups.status "OL CHRG"`, []string{"VAR", "u1", "ups.status", "OL CHRG"}},
		{`VAR ghost ups.id "x \"y\" \\ \# z"`, []string{"VAR", "ghost", "ups.id", `x "y" \ # z`}},
		{`"GET" "VAR"`, []string{"GET", "VAR"}},
		{`VAR u1 a ""`, []string{"VAR", "u1", "a", ""}},
		{`a\ b c\"d`, []string{"a b", `c"d`}},
		{`a=b`, []string{"a", "=", "b"}},
		{`"a=b" # rest`, []string{"a=b"}},
		{"\"a#b\"", []string{"a#b"}}, // servers that do not escape it
		{"\"a\x00\x1bb\"", []string{"ab"}},
		{"\"caf\xc3\xa9\"", []string{"café"}},
	}
	for _, test := range tests {
		got, err := splitWords([]byte(test.line))
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("splitWords(%q) = %q, %v, want %q", test.line, got, err, test.want)
		}
	}
}

func TestSplitWordsRefuses(t *testing.T) {
	for _, line := range []string{
		`"open`, `"`, `"a\`, `a\`, `a"b`, `"a"b`, `"a""b"`, "a\x00b", "\x7f", strings.Repeat("w ", maxWords+1),
	} {
		if words, err := splitWords([]byte(line)); !errors.Is(err, drivers.ErrProtocol) {
			t.Errorf("splitWords(%q) = %q, %v, want ErrProtocol", line, words, err)
		}
	}
}

func TestJoinWords(t *testing.T) {
	got := joinWords("PASSWORD", `p "w\#`, "", "a=b", "plain")
	if want := `PASSWORD "p \"w\\\#" "" "a=b" plain`; got != want {
		t.Errorf("joinWords = %s, want %s", got, want)
	}
}

// FuzzWords: what can be read is the same after it was written and read again, and
// holds nothing that would break a line.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{"", "OK", `VAR u a "x \"y\" \\ \# z"`, "a=b", `"a b" # c`, `"`, "\\", "\"\xff\x00\"", `a"b`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		words, err := splitWords(line)
		if err != nil {
			if !errors.Is(err, drivers.ErrProtocol) {
				t.Fatalf("error %v wraps no ErrProtocol", err)
			}
			return
		}
		for _, word := range words {
			if strings.ContainsFunc(word, func(c rune) bool { return c < ' ' || c == 0x7f }) {
				t.Fatalf("%q -> %q holds a control character", line, word)
			}
		}
		written := joinWords(words...)
		again, err := splitWords([]byte(written))
		if err != nil || !slices.Equal(again, words) {
			t.Fatalf("%q -> %q -> %q -> %q, %v", line, words, written, again, err)
		}
	})
}

// FuzzReadVars: whatever comes is an error that says which kind, or a bounded list of
// well-formed variables that reads the same when written again.
func FuzzReadVars(f *testing.F) {
	for _, seed := range []string{
		"BEGIN LIST VAR u1\nVAR u1 ups.status \"OL\"\nVAR u1 a \"x \\\"y\\\"\"\nEND LIST VAR u1\n",
		"begin list", "ERR DATA-STALE\n", "ERR\n", "BEGIN LIST VAR u1\nEND LIST VAR u1\n", "BEGIN LIST VAR u1\nVAR u1 a\n",
		"BEGIN LIST VAR u1\nVAR u1 \"a b\" \"1\"\nEND LIST VAR u1\n", strings.Repeat("x", maxLine+1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, err := readVars(newReader(bytes.NewReader(data)), "u1")
		if err != nil {
			checkSentinel(t, err)
			return
		}
		var reply strings.Builder
		reply.WriteString("BEGIN LIST VAR u1\n")
		for _, v := range vars {
			if !validName(v.name) {
				t.Fatalf("variable %q", v.name)
			}
			reply.WriteString(joinWords("VAR", "u1", v.name, v.value) + "\n")
		}
		again, err := readVars(newReader(strings.NewReader(reply.String()+"END LIST VAR u1\n")), "u1")
		// Escaping may make a line longer than what is taken.
		if err != nil && strings.Contains(err.Error(), "within") {
			return
		}
		if err != nil || !slices.Equal(again, vars) {
			t.Fatalf("%q -> %q -> %q, %v", data, vars, again, err)
		}
		checkPlausible(t, vars)
	})
}

func checkSentinel(t *testing.T, err error) {
	t.Helper()
	for _, sentinel := range []error{drivers.ErrUnreachable, drivers.ErrProtocol, drivers.ErrDenied, drivers.ErrNoData} {
		if errors.Is(err, sentinel) {
			return
		}
	}
	t.Fatalf("error %v wraps none of the sentinels", err)
}
