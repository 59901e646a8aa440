package packaging_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// metricNames are the metrics that the sources name.
func metricNames(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../agent/export/names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			continue
		}
		for _, spec := range d.Specs {
			for _, v := range spec.(*ast.ValueSpec).Values {
				if lit, ok := v.(*ast.BasicLit); ok {
					name, _ := strconv.Unquote(lit.Value)
					names = append(names, name)
				}
			}
		}
	}
	if len(names) < 40 {
		t.Fatalf("only %d metrics found", len(names))
	}
	slices.Sort(names)
	return names
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDocumentedMetrics: the page has a row for each metric, and for no other, with the
// labels it really has.
func TestDocumentedMetrics(t *testing.T) {
	page := readFile(t, "../docs/metrics.md")
	var names []string
	labels := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(dodai_[a-z0-9_]+)` \\|(.*?)\\| ").FindAllStringSubmatch(page, -1) {
		names = append(names, m[1])
		labels[m[1]] = strings.Fields(strings.ReplaceAll(m[2], "`", ""))
	}
	slices.Sort(names)
	if diff := cmp.Diff(metricNames(t), names); diff != "" {
		t.Errorf("metrics, -exported +on the page:\n%s", diff)
	}
	// A whole page of all kinds of devices, kept as the exporter's golden file.
	series := regexp.MustCompile(`(?m)^(dodai_\w+)(?:\{(.*)\})? `).FindAllStringSubmatch(readFile(t, "../agent/export/testdata/metrics.txt"), -1)
	for _, m := range series {
		var has []string
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			has = append(has, l[1])
		}
		slices.Sort(has)
		want := slices.Sorted(slices.Values(labels[m[1]]))
		if !slices.Equal(has, want) {
			t.Errorf("%s has the labels %v, on the page %v", m[1], has, want)
		}
	}
}

// TestRules has Prometheus' own tool check the alerts, and fire them.
func TestRules(t *testing.T) {
	promtool := peer.Need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "dodai.rules.yml"}, {"test", "rules", "dodai.rules.test.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	rules := readFile(t, "prometheus/dodai.rules.yml")
	known := metricNames(t)
	for _, name := range regexp.MustCompile(`\bdodai_[a-z0-9_]+\b`).FindAllString(rules, -1) {
		if !slices.Contains(known, name) {
			t.Errorf("the rules use %s, which is no metric", name)
		}
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(readFile(t, "prometheus/dodai.rules.test.yml"), "alertname: "+m[1]) {
			t.Errorf("alert %s is never fired in a test", m[1])
		}
	}
}

// TestScrapeConfig has Prometheus read the documented configuration.
func TestScrapeConfig(t *testing.T) {
	promtool := peer.Need(t, "promtool")
	m := regexp.MustCompile("(?s)```yaml prometheus\n(.*?)```").FindStringSubmatch(readFile(t, "../docs/metrics.md"))
	if m == nil {
		t.Fatal("no configuration of Prometheus on the page")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"prometheus.yml": m[1], "dodai.rules.yml": readFile(t, "prometheus/dodai.rules.yml")} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(promtool, "check", "config", dir+"/prometheus.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool check config: %v\n%s", err, out)
	}
}
