package main

import (
	"cmp"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func versionCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print version, commit and date of this build", Args: exactly(0, "none"),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), map[string]string{
				"version": version, "commit": commit, "date": date, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			})
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), versionText())
		return err
	}
	return cmd
}

func versionText() string {
	return fmt.Sprintf("dodai %s (commit %s, %s, %s %s/%s)",
		version, cmp.Or(commit, "unknown"), cmp.Or(date, "unknown date"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
