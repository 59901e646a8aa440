package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// key is one quantity of one benchmark.
type key struct {
	pkg  string // import path; empty: the file names none
	name string // without "Benchmark" and the number of processors
	unit string // "ns/op"
}

// figure is what was measured of it, each run.
type figure struct {
	key
	values []float64
}

// median is the middle value, the mean of both in the middle of an even number.
func (f figure) median() float64 {
	v := slices.Sorted(slices.Values(f.values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// longestLine is more than any benchmark prints.
const longestLine = 1 << 16

// parse reads Go's benchmark format and passes over everything else. Figures come in the
// order in which they were first seen. The error is about the reader, and lines that are
// too long. Source: golang.org/design/14313-benchmark-format.
func parse(r io.Reader) ([]figure, error) {
	var figures []figure
	at := map[key]int{}
	pkg := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "pkg: "); ok {
			pkg = strings.TrimSpace(rest)
		}
		for k, v := range quantities(lines.Text()) {
			k.pkg = pkg
			i, known := at[k]
			if !known {
				i, at[k] = len(figures), len(figures)
				figures = append(figures, figure{key: k})
			}
			figures[i].values = append(figures[i].values, v)
		}
	}
	return figures, lines.Err()
}

// quantities yields the value of each unit in a benchmark's line; nothing for other lines.
func quantities(line string) func(func(key, float64) bool) {
	return func(yield func(key, float64) bool) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			return
		}
		if _, err := strconv.ParseUint(f[1], 10, 63); err != nil {
			return
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.ParseUint(name[i+1:], 10, 16); err == nil {
				name = name[:i]
			}
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return
			}
			if !yield(key{name: name, unit: f[i+1]}, v) {
				return
			}
		}
	}
}

// table prints what is on record, what is now and the change: in the order of now, and then
// what is gone.
func table(w io.Writer, was, is []figure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(k key, old, new *figure) {
		o, n, change := "-", "-", "-"
		if old != nil {
			o = show(old.median(), k.unit)
		}
		if new != nil {
			n = show(new.median(), k.unit)
		}
		if old != nil && new != nil {
			change = changed(old.median(), new.median())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", short(k.pkg), k.name, k.unit, o, n, change)
	}
	fmt.Fprintln(t, "package\tbenchmark\tunit\trecorded\tnow\tchange")
	for i := range is {
		row(is[i].key, find(was, is[i].key), &is[i])
	}
	for i := range was {
		if find(is, was[i].key) == nil {
			row(was[i].key, &was[i], nil)
		}
	}
	return t.Flush()
}

func find(figures []figure, k key) *figure {
	if i := slices.IndexFunc(figures, func(f figure) bool { return f.key == k }); i >= 0 {
		return &figures[i]
	}
	return nil
}

// short leaves out what all packages of the module begin with.
func short(pkg string) string {
	if parts := strings.SplitN(pkg, "/", 4); len(parts) == 4 {
		return parts[3]
	}
	return pkg
}

// changed is by how much, in percent of what it was.
func changed(old, new float64) string {
	switch {
	case old == new:
		return "="
	case old == 0:
		return "new"
	}
	return fmt.Sprintf("%+.1f %%", (new/old-1)*100)
}

// show writes times as times, and other numbers with four digits.
func show(v float64, unit string) string {
	if unit == "ns/op" || unit == "ns" || strings.HasSuffix(unit, "-ns") {
		if d := time.Duration(v); v < float64(math.MaxInt64) && d >= time.Microsecond {
			return d.Round(digits(d)).String()
		}
	}
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// digits is what d is rounded to so that four of its digits are left.
func digits(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return unit
}
