package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
)

func driversCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drivers", Short: "List the drivers that are built in, with their options", Args: exactly(0, "none"),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), driverRows(all.Drivers()))
		}
		return printDrivers(cmd.OutOrStdout(), all.Drivers())
	}
	return cmd
}

type driverRow struct {
	Name     string      `json:"name"`
	Kind     string      `json:"kind"`
	Summary  string      `json:"summary"`
	PollS    float64     `json:"poll_s"`
	TimeoutS float64     `json:"timeout_s"`
	Local    bool        `json:"local"`
	Options  []optionRow `json:"options"`
}

type optionRow struct {
	Key      string `json:"key"`
	Help     string `json:"help"`
	Default  string `json:"default,omitempty"`
	Example  string `json:"example,omitempty"`
	Required bool   `json:"required"`
	Secret   bool   `json:"secret,omitempty"`
}

func driverRows(list []drivers.Factory) []driverRow {
	rows := []driverRow{}
	for _, f := range list {
		row := driverRow{f.Name, string(f.Kind), f.Summary, f.Poll.Seconds(), f.Timeout.Seconds(), f.Local, []optionRow{}}
		for _, o := range f.Options {
			row.Options = append(row.Options, optionRow{o.Key, o.Help, o.Default, o.Example, o.Required, o.Secret})
		}
		rows = append(rows, row)
	}
	return rows
}

func printDrivers(w io.Writer, list []drivers.Factory) error {
	for i, f := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s (%s): %s\n", f.Name, f.Kind, f.Summary)
		rows := [][]string{}
		for _, o := range f.Options {
			notes := []string{}
			if o.Required {
				notes = append(notes, "required")
			}
			if o.Default != "" {
				notes = append(notes, "default "+o.Default)
			}
			if o.Example != "" {
				notes = append(notes, "e.g. "+o.Example)
			}
			rows = append(rows, []string{"  " + o.Key, o.Help, strings.Join(notes, ", ")})
		}
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return nil
}
