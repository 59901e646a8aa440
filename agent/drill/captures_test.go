package drill

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// mode is a way of playing that must not change what comes of a scenario.
type mode struct {
	name  string
	seeds int
	opts  PlayOptions
}

var modes = []mode{
	{"plain", 1, PlayOptions{}},
	{"jitter", 20, PlayOptions{Jitter: true}},
	{"failed reads", 20, PlayOptions{Jitter: true, FailRate: 0.1}},
	{"clock steps", 5, PlayOptions{Jitter: true, ClockSteps: true}},
}

// playAll plays a file in all modes and reports how often it held in each.
func playAll(t *testing.T, file string) string {
	t.Helper()
	s, err := Load(file)
	if err != nil {
		t.Error(err)
		return ""
	}
	var counts []string
	for _, m := range modes {
		held := 0
		for seed := range m.seeds {
			m.opts.Seed = uint64(seed)
			r, err := Play(t.Context(), s, m.opts)
			if err != nil {
				t.Fatal(err)
			}
			if missed := r.Check(s.Expect); len(missed) > 0 {
				t.Errorf("%s, %s, seed %d:\n  %s", s.ID, m.name, seed, strings.Join(missed, "\n  "))
				continue
			}
			held++
		}
		counts = append(counts, fmt.Sprintf("%s %d/%d", m.name, held, m.seeds))
	}
	return fmt.Sprintf("%s: %s", s.ID, strings.Join(counts, ", "))
}

func testFolder(t *testing.T, dir string, atLeast int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < atLeast {
		t.Fatalf("%d scenarios in %s, want %d: %v", len(files), dir, atLeast, err)
	}
	for _, file := range files {
		t.Log(playAll(t, file))
	}
}

func TestPublishedScenarios(t *testing.T) {
	testFolder(t, peer.Shared(t, "corpus", "scenarios"), 20)
}

// TestScenarios plays our own scenarios, one per rule.
func TestScenarios(t *testing.T) {
	testFolder(t, filepath.Join("testdata", "scenarios"), 25)
}
