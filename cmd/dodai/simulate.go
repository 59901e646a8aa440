package main

import (
	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/drill"
)

func simulateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate FILE…",
		Short: "Replay scenario files on virtual time through the agent's own decision",
		Long: `Replays each scenario file through the code the agent runs and prints one JSON
object a line. The exit status is 3 when an expectation of a file did not hold.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("simulate: which scenario files?")
			}
			return nil
		},
	}
	var opts drill.SimulateOptions
	cmd.Flags().Bool("json", true, "print JSON, one object a line (always on)")
	cmd.Flags().Uint64Var(&opts.Seed, "seed", 1, "of the random numbers")
	cmd.Flags().BoolVar(&opts.Jitter, "jitter", false, "begin polling at a random phase")
	cmd.Flags().Float64Var(&opts.FailRate, "fail-rate", 0, "share of reads that fail, 0 to 1")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if opts.FailRate < 0 || opts.FailRate >= 1 {
			return usageError("--fail-rate is %v, want 0 or more and less than 1", opts.FailRate)
		}
		opts.Violations = cmd.ErrOrStderr()
		ok, err := drill.Simulate(cmd.Context(), cmd.OutOrStdout(), args, opts)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		if !ok {
			return notInOrder
		}
		return nil
	}
	return cmd
}
