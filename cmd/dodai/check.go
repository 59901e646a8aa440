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
			if problems, ok := errors.AsType[config.Problems](err); ok && *asJSON {
				if err := printJSON(cmd.OutOrStdout(), problems); err != nil {
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
