package ledger

import (
	"slices"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	shown := []Entry{
		{Kind: Event, ID: 7, Key: "mains_lost", Sum: "a"}, {Kind: Shown, Key: "mains_lost", Sum: "a"},
		{Kind: State, Key: "policy", At: 10, Sum: "p"}, {Kind: State, Key: "shutdown", At: 10, Sum: "s", Text: `{"started":["one"]}`},
		{Kind: Sample, Key: "u1 ups.load", At: 3, Sum: "21"}, {Kind: Duration, Key: "one", Sum: "d"},
		{Kind: Act, Key: "step one", At: 11}, {Kind: Act, Key: "hook mains_lost", At: 11},
	}
	without := func(k Kind) []Entry {
		return slices.DeleteFunc(slices.Clone(shown), func(e Entry) bool { return e.Kind == k })
	}
	tests := map[string]struct {
		found []Entry
		want  []string // how each loss begins
	}{
		"all there":                   {shown, nil},
		"more than was shown":         {append(slices.Clone(shown), Entry{Kind: Event, ID: 8, Sum: "b"}), nil},
		"a newer state":               {append(slices.Clone(shown), Entry{Kind: State, Key: "policy", At: 11, Sum: "q"}), nil},
		"nothing":                     {nil, []string{"act step one", "duration", "event", "sample", "shown", "state policy", "state shutdown"}},
		"no event":                    {without(Event), []string{"event", "shown"}},
		"another event of that id":    {append(slices.Clone(shown), Entry{Kind: Event, ID: 7, Sum: "x"}), []string{"event"}},
		"an older state":              {append(slices.Clone(shown), Entry{Kind: State, Key: "policy", At: 9, Sum: "o"}), []string{"state policy"}},
		"a state that is not the one": {append(slices.Clone(shown), Entry{Kind: State, Key: "policy", At: 10, Sum: "o"}), []string{"state policy"}},
		"a step before its state":     {append(slices.Clone(shown), Entry{Kind: State, Key: "shutdown", At: 10, Sum: "s", Text: `{}`}), []string{"act step one"}},
		"a step, and its state later": {append(slices.Clone(shown), Entry{Kind: State, Key: "shutdown", At: 12, Sum: "t", Text: `null`}), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var l Ledger
			for _, e := range shown {
				l.Show(e)
			}
			got := l.Cut(tt.found)
			ok := len(got) == len(tt.want)
			for i := range min(len(got), len(tt.want)) {
				ok = ok && strings.HasPrefix(got[i], tt.want[i])
			}
			if !ok {
				t.Errorf("lost:\n%s\nwant %q", strings.Join(got, "\n"), tt.want)
			}
			if again := l.Cut(tt.found); len(again) > 0 {
				t.Errorf("what was found counts from then on, got %q", again)
			}
		})
	}
}

func TestPowerOffIsWrittenBefore(t *testing.T) {
	for text, lost := range map[string]int{`{"boot_id":"b"}`: 0, "null": 1} {
		var l Ledger
		l.Show(Entry{Kind: Act, Key: "poweroff", At: 5})
		if got := l.Cut([]Entry{{Kind: State, Key: "power_off", At: 4, Text: text}}); len(got) != lost {
			t.Errorf("state %s: lost %q, want %d", text, got, lost)
		}
	}
}
