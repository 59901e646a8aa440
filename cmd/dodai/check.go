package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

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
		Long: `Reads the configuration and the files it names, and touches no device. It reports every
mistake with its place and warns of what is probably not meant. When all is in order it
says in words what hangs on what. The exit status is 2 when there is a mistake.`,
		Args: exactly(0, "none"),
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
		return summarise(cmd.OutOrStdout(), *path, cfg)
	}
	return cmd
}

// summarise writes what was read in one line, and in words what hangs on what.
func summarise(w io.Writer, path string, cfg *config.Config) error {
	lines := append([]string{fmt.Sprintf("%s: in order, mode %s, %s, %s, %s",
		path, cfg.Mode, counted(len(cfg.AllDevices()), "device"), counted(len(cfg.Shutdown.Steps), "step"), counted(len(cfg.Hooks), "hook"))}, cfg.WiringText()...)
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// counted is a number of things, in words: 1 device, 2 devices.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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
