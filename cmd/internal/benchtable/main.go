// Command benchtable compares two files of `go test -bench` output, the figures on record
// and those of now, and prints a table of both with the change.
//
// It takes the median where a benchmark ran several times, and says nothing of
// significance: what takes minutes (the footprint, the latency of twenty outages) runs once,
// and is a median of many already.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: benchtable RECORDED NOW")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, recorded, now string) error {
	was, err := load(recorded)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	is, err := load(now)
	if err != nil {
		return err
	}
	if len(is) == 0 {
		return fmt.Errorf("%s: no line of a benchmark in it", now)
	}
	return table(w, was, is)
}

func load(path string) ([]figure, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	figures, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return figures, nil
}
