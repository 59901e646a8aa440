package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// jsonFlag adds --json to a command that prints for people otherwise.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// oneLine keeps what a device or an error says in its cell.
var oneLine = strings.NewReplacer("\t", " ", "\n", " ", "\v", " ", "\f", " ", "\r", "")

// table prints rows in columns; the first row is the head.
func table(w io.Writer, rows [][]string) error {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = oneLine.Replace(cell)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) { // empty cells at the end leave blanks
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// secondsText prints seconds as an operator reads them: 4m05s, or a dash for unknown.
func secondsText(s *float64) string {
	if s == nil {
		return "-"
	}
	sign, v := "", int(*s+0.5)
	if *s <= -0.5 {
		sign, v = "-", int(-*s+0.5)
	}
	switch {
	case v < 100:
		return fmt.Sprintf("%s%ds", sign, v)
	case v < 3600:
		return fmt.Sprintf("%s%dm%02ds", sign, v/60, v%60)
	default:
		return fmt.Sprintf("%s%dh%02dm", sign, v/3600, v%3600/60)
	}
}
