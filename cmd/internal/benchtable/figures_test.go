package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const recorded = `goos: linux
pkg: github.com/dodai-agent/dodai/agent/export
BenchmarkScrape-2   	    1029	   1016404 ns/op	  313167 B/op	    4173 allocs/op
BenchmarkScrape-2   	    1100	   1000404 ns/op	  313169 B/op	    4173 allocs/op
PASS
pkg: github.com/dodai-agent/dodai/e2e
BenchmarkLatency/detect 20 1234567890 p95-ns
BenchmarkGone 1 7 s/h
`

const now = `pkg: github.com/dodai-agent/dodai/agent/export
BenchmarkScrape-4 1 504202 ns/op 313168 B/op 4100 allocs/op
=== RUN   TestLatency
pkg: github.com/dodai-agent/dodai/e2e
BenchmarkLatency/detect 20 1234567890 p95-ns 0.25 s/h
BenchmarkBroken x 1 ns/op
Benchmark 12 ns/op
`

const comparison = `package       benchmark       unit       recorded  now      change
agent/export  Scrape          ns/op      1.008ms   504.2µs  -50.0 %
agent/export  Scrape          B/op       313168    313168   =
agent/export  Scrape          allocs/op  4173      4100     -1.7 %
e2e           Latency/detect  p95-ns     1.235s    1.235s   =
e2e           Latency/detect  s/h        -         0.25     -
e2e           Gone            s/h        7         -        -
`

func TestTable(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "recorded"), recorded)
	write(t, filepath.Join(dir, "now"), now)
	write(t, filepath.Join(dir, "empty"), "PASS\n")
	var out strings.Builder
	if err := run(&out, filepath.Join(dir, "recorded"), filepath.Join(dir, "now")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(comparison, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := run(&out, filepath.Join(dir, "none"), filepath.Join(dir, "now")); err != nil || strings.Contains(out.String(), "%") {
		t.Errorf("nothing on record: %v\n%s", err, out.String())
	}
	if err := run(&out, filepath.Join(dir, "recorded"), filepath.Join(dir, "empty")); err == nil {
		t.Error("no benchmark in the output, and no error")
	}
	if err := run(&out, filepath.Join(dir, "recorded"), filepath.Join(dir, "none")); err == nil {
		t.Error("no output, and no error")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Whatever a program prints, figures are numbers that have a name and a unit.
func FuzzParse(f *testing.F) {
	f.Add(recorded)
	f.Add(now)
	f.Add("BenchmarkX-2 1 NaN ns/op\nBenchmark-2 1 1e999 x\n")
	f.Fuzz(func(t *testing.T, text string) {
		figures, err := parse(strings.NewReader(text))
		if err != nil {
			t.Skip()
		}
		for _, g := range figures {
			m := g.median()
			if g.unit == "" || len(g.values) == 0 || math.IsNaN(m) {
				t.Errorf("%q gives %+v", text, g)
			}
			show(m, g.unit)
		}
	})
}
