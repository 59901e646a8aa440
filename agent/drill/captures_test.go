package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// mode is a way of playing that must not change what comes of a scenario.
type mode struct {
	name        string
	seeds, long int // long with DODAI_LONG=1
	opts        PlayOptions
}

var modes = []mode{
	{"plain", 1, 1, PlayOptions{}},
	{"jitter", 4, 40, PlayOptions{Jitter: true}},
	{"failed reads", 5, 100, PlayOptions{Jitter: true, FailRate: 0.1}},
	{"clock steps", 2, 10, PlayOptions{Jitter: true, ClockSteps: true}},
}

// playAll plays a file in all modes and reports how often it held in each.
func playAll(t *testing.T, file string) {
	s, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modes {
		held, seeds := 0, m.seeds
		if os.Getenv("DODAI_LONG") != "" {
			seeds = m.long
		}
		for seed := range seeds {
			m.opts.Seed = uint64(seed)
			r := playOut(t, s, m.opts)
			if missed := r.Check(s.Expect); len(missed) > 0 {
				t.Errorf("%s, seed %d:\n  %s", m.name, seed, strings.Join(missed, "\n  "))
				continue
			}
			held++
		}
		t.Logf("%s %d/%d", m.name, held, seeds)
	}
}

func testFolder(t *testing.T, dir string, atLeast int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < atLeast {
		t.Fatalf("%d scenarios in %s, want %d: %v", len(files), dir, atLeast, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			playAll(t, file)
		})
	}
}

func TestPublishedScenarios(t *testing.T) {
	testFolder(t, peer.Shared(t, "corpus", "scenarios"), 20)
}

// TestScenarios plays our own scenarios, one per rule.
func TestScenarios(t *testing.T) {
	testFolder(t, filepath.Join("testdata", "scenarios"), 70)
}
