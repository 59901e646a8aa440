package packaging_test

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/drivers/all"
)

// pages are what an operator reads.
func pages(t *testing.T) []string {
	t.Helper()
	list := []string{"../README.md"}
	for _, pattern := range []string{"../docs/*.md", "../docs/drivers/*.md", "../docs/adr/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages %s: %v", pattern, err)
		}
		list = append(list, found...)
	}
	return list
}

// TestLinks follows every link from page to page.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(readFile(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

// TestPagesArePackaged: what the pages and the installed configuration name lies where they
// say.
func TestPagesArePackaged(t *testing.T) {
	list := readFile(t, "nfpm.yaml")
	for _, page := range pages(t) {
		from := strings.TrimPrefix(page, "../")
		whole := filepath.Join(filepath.Dir(from), "*.md")
		if !strings.Contains(list, "src: "+from+"\n") && !strings.Contains(list, "src: "+whole+"\n") {
			t.Errorf("%s is not in the package", from)
		}
	}
}

// TestExamples reads every configuration shown outside of the pages that have a test of
// their own.
func TestExamples(t *testing.T) {
	for _, page := range []string{"../README.md", "../docs/drills.md", "../docs/metrics.md", "../docs/operating.md", "../docs/rights.md"} {
		examples := regexp.MustCompile("(?s)```yaml\n(.*?)\n *```").FindAllStringSubmatch(readFile(t, page), -1)
		if len(examples) == 0 {
			t.Errorf("no example on %s", page)
		}
		for _, m := range examples {
			c, err := config.Parse(page, []byte(m[1]), all.Find)
			if err != nil {
				t.Errorf("%s\n%v", m[1], err)
				continue
			}
			passable(t, c)
		}
	}
}

// TestDocumentedScenario plays the pages' scenarios, which have to come as they expect.
func TestDocumentedScenario(t *testing.T) {
	for _, page := range []string{"../docs/drills.md", "../docs/simulate.md"} {
		m := regexp.MustCompile("(?s)```yaml scenario\n(.*?)```").FindStringSubmatch(readFile(t, page))
		if m == nil {
			t.Fatalf("no scenario on %s", page)
		}
		path := filepath.Join(t.TempDir(), "scenario.yaml")
		if err := os.WriteFile(path, []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		var why strings.Builder
		for seed := range uint64(10) {
			opts := drill.SimulateOptions{Seed: &seed, Jitter: new(true), FailRate: new(0.1), Violations: &why}
			if ok, err := drill.Simulate(t.Context(), io.Discard, []string{path}, opts); err != nil || !ok {
				t.Errorf("%s, seed %d: %v %s", page, seed, err, why.String())
			}
		}
	}
}

// TestStatusIsExplained: every alert and every state that an operator may see at night has a
// row that says what to do.
func TestStatusIsExplained(t *testing.T) {
	page := readFile(t, "../docs/operating.md")
	_, page, _ = strings.Cut(page, "## What `dodai status` says\n")
	page, _, _ = strings.Cut(page, "\n## ")
	first := map[string]bool{} // words of a row's first cell
	for line := range strings.Lines(page) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			first[strings.TrimSpace(cells[1])] = true
			for word := range strings.FieldsSeq(cells[1]) {
				first[word] = true
			}
		}
	}
	for file, word := range map[string]string{
		"../agent/policy/types.go": `AlertID = "(\w+)"`, "../agent/hardware.go": `AlertID = "(\w+)"`,
		"../agent/status.go": `(?:return|s\.State =) "(\w+)"`,
	} {
		found := regexp.MustCompile(word).FindAllStringSubmatch(readFile(t, file), -1)
		if len(found) < 3 {
			t.Fatalf("%s names only %d", file, len(found))
		}
		for _, m := range found {
			state := strings.ReplaceAll(m[1], "_", " ")
			if m[1] != "shutdown_failed" && !first["`"+m[1]+"`"] && !first[state] { // that one is never raised
				t.Errorf("no row about %s of %s", m[1], file)
			}
		}
	}
}

// TestSimulationIsExplained: every rule that can be switched off and every cause that the
// judge names has a row.
func TestSimulationIsExplained(t *testing.T) {
	page := readFile(t, "../docs/simulate.md")
	words := make([]string, 0, len(policy.Rules))
	for _, r := range policy.Rules {
		words = append(words, string(r))
	}
	_, judge, _ := strings.Cut(readFile(t, "../sim/site/verdict.go"), "\n// cause says why")
	causes := regexp.MustCompile(`return "(\w+)"`).FindAllStringSubmatch(judge, -1)
	if len(causes) < 10 {
		t.Fatalf("the judge names only %d causes", len(causes))
	}
	for _, m := range causes {
		words = append(words, m[1])
	}
	for _, word := range words {
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + word + "`").MatchString(page) {
			t.Errorf("no row about %s", word)
		}
	}
}

func TestDrillPage(t *testing.T) {
	page := readFile(t, "../docs/drills.md")
	for _, word := range append(config.Scenarios, config.Levels...) {
		if !strings.Contains(page, "| `"+word+"` |") {
			t.Errorf("no row about %s", word)
		}
	}
	if !strings.Contains(readFile(t, "../agent/drill/interlock.go"), "const minCharge = 90\n") || !strings.Contains(page, "less than 90 %") {
		t.Error("the page and the interlock name different charges")
	}
}
