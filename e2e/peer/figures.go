package peer

import (
	"fmt"
	"os"
	"strings"
)

// Measuring says that this run is there for its figures (DODAI_BENCH=1): on a machine that
// does something else, too, a test allows more than it promises.
var Measuring = os.Getenv("DODAI_BENCH") == "1"

// Figure is one thing that was measured.
type Figure struct {
	Value float64
	Unit  string // as Go's benchmarks spell theirs: "p95-ns", "s/h"
}

// Figures prints what a test has measured in so many runs as a line of a benchmark, in a run
// that is there for it.
func Figures(name string, runs int, figures ...Figure) {
	if !Measuring {
		return
	}
	var line strings.Builder
	for _, f := range figures {
		fmt.Fprintf(&line, "\t%.10g %s", f.Value, f.Unit)
	}
	fmt.Printf("Benchmark%s\t%d%s\n", name, runs, line.String())
}
