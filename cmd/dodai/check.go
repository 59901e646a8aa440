package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers/all"
)

// defaultConfig is where the configuration lies unless the operator says otherwise.
const defaultConfig = "/etc/dodai/dodai.yaml"

func checkCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration without touching a device",
		Args:  exactly(0, "none"),
	}
	path := cmd.Flags().String("config", defaultConfig, "configuration file")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path, all.Find)
		if err != nil {
			if *asJSON {
				if err := printJSON(cmd.OutOrStdout(), problemsOf(*path, err)); err != nil {
					return err
				}
			}
			return &exitError{exitUsage, err}
		}
		for _, w := range cfg.Warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v\n", w)
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), cfg)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: in order, mode %s, %d devices, %d steps, %d hooks\n",
			*path, cfg.Mode, len(cfg.AllDevices()), len(cfg.Shutdown.Steps), len(cfg.Hooks))
		return err
	}
	return cmd
}

// problemsOf is what --json prints: a file that cannot be read is one problem as well.
func problemsOf(path string, err error) config.Problems {
	if problems, ok := errors.AsType[config.Problems](err); ok {
		return problems
	}
	if one, ok := errors.AsType[config.Problem](err); ok {
		return config.Problems{one}
	}
	return config.Problems{{File: path, What: err.Error()}}
}
