package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
)

// simulateFlags are the flags of `dodai simulate`.
type simulateFlags struct {
	json       bool
	seed       uint64
	jitter     bool
	failRate   float64
	clockSteps bool
	without    []string
}

func simulateCmd() *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate FILE…",
		Short: "Replay scenario files on virtual time through the agent's own decision",
		Long: `Replays each scenario file through the code the agent runs and prints one JSON
object a line. The exit status is 3 when an expectation of a file did not hold. What
is not said on the command line is as the file has it in config.play.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("simulate: which scenario files?")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.files(cmd, args) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print JSON; files are always answered so, one object a line")
	flags.Uint64Var(&f.seed, "seed", 1, "of the random numbers")
	flags.BoolVar(&f.jitter, "jitter", false, "begin polling at a random phase")
	flags.Float64Var(&f.failRate, "fail-rate", 0, "share of reads that fail, 0 to 1")
	flags.BoolVar(&f.clockSteps, "clock-steps", false, "step the wall clock by up to an hour, again and again")
	flags.StringArrayVar(&f.without, "without", nil, "play with a `rule` of the policy switched off, to see what it is good for; may be repeated")
	return cmd
}

// files plays scenario files.
func (f *simulateFlags) files(cmd *cobra.Command, args []string) error {
	if f.failRate < 0 || f.failRate >= 1 {
		return usageError("--fail-rate is %v, want 0 or more and less than 1", f.failRate)
	}
	without, err := f.rules()
	if err != nil {
		return err
	}
	ok, err := drill.Simulate(cmd.Context(), cmd.OutOrStdout(), args, drill.SimulateOptions{
		Seed: said(cmd, "seed", &f.seed), Jitter: said(cmd, "jitter", &f.jitter), FailRate: said(cmd, "fail-rate", &f.failRate),
		ClockSteps: said(cmd, "clock-steps", &f.clockSteps), Without: without, Violations: cmd.ErrOrStderr(),
	})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if !ok {
		return notInOrder
	}
	return nil
}

// said is the value of a flag that stands on the command line, and nil otherwise.
func said[T any](cmd *cobra.Command, flag string, v *T) *T {
	if cmd.Flags().Changed(flag) {
		return v
	}
	return nil
}

// rules are the rules to switch off.
func (f *simulateFlags) rules() (map[policy.Rule]bool, error) {
	names := make([]string, len(policy.Rules))
	for i, r := range policy.Rules {
		names[i] = string(r)
	}
	without := map[policy.Rule]bool{}
	for _, name := range f.without {
		if !slices.Contains(names, name) {
			return nil, usageError("simulate: unknown rule %q%s; the rules are %s", name, config.Meant(name, names), strings.Join(names, ", "))
		}
		without[policy.Rule(name)] = true
	}
	return without, nil
}
