package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a configuration file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1; 0: the file as a whole
	Column  int    `json:"column"` // from 1, in characters
	What    string `json:"what"`
	Want    string `json:"want,omitempty"`
	Example string `json:"example,omitempty"`
	// Err is why the file could not be read, for errors.Is; nil for its contents.
	Err error `json:"-"`
}

// Unwrap returns Err.
func (p Problem) Unwrap() error { return p.Err }

// Error reads "dodai.yaml:3:11: poll is 0s: want …, for example 1s".
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": " + p.What)
	if p.Want != "" {
		b.WriteString(": want " + p.Want)
	}
	if p.Example != "" {
		b.WriteString(", for example " + p.Example)
	}
	return b.String()
}

// Problems are all mistakes of a file, in the order of their positions. Error has one
// line for each.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// closest returns the one of known that word was probably meant to be, or "".
func closest(word string, known []string) string {
	best, least := "", max(1, min(len(word), 9)/3)+1
	for _, k := range known {
		if n := distance(strings.ToLower(word), k); n < least {
			best, least = k, n
		}
	}
	return best
}

// distance is the number of letters to insert, delete, change or swap with their
// neighbour to get from a to b (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// Meant is the end of a sentence that suggests which of known a word was meant to be, or
// nothing when none is near.
func Meant(word string, known []string) string {
	if k := closest(word, known); k != "" {
		return fmt.Sprintf(" (did you mean %q?)", k)
	}
	return ""
}

// oneOf lists choices for the "want" of a problem.
func oneOf(choices []string) string { return "one of " + strings.Join(choices, ", ") }
