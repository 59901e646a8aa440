package main

import (
	"context"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// guardCmd is what the agent starts before it asks for the power-off.
func guardCmd() *cobra.Command {
	var at float64
	var goal string
	cmd := &cobra.Command{
		Use:    "guard --at SECONDS",
		Short:  "Force this machine down at an instant, whatever hangs",
		Hidden: true,
		Long: `The agent starts this before it asks for the power-off, for the case that the rest
of the shutdown hangs after the agent has been ended. At the instant, in seconds of
CLOCK_BOOTTIME, the machine is forced down. SIGUSR1 calls it off, SIGUSR2 is the
instant; no other signal is minded.`,
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("at") || math.IsNaN(at) || math.Abs(at) > math.MaxInt32 {
				return usageError("dodai guard: --at is missing or no instant, want seconds of CLOCK_BOOTTIME")
			}
			w := shutdown.Watchman{
				At: time.Duration(at * float64(time.Second)), Goal: shutdown.Goal(goal), Note: shutdown.KernelNote(), Ready: shutdown.GuardReady,
			}
			if err := w.Check(); err != nil {
				return usageError("dodai guard: %w", err)
			}
			if err := shutdown.BecomeGuard(shutdown.GuardName); err != nil && w.Note != nil {
				w.Note("an ordinary process, which a shutdown may end: " + err.Error())
			}
			w.Force = func(ctx context.Context, goal shutdown.Goal) error { return shutdown.Forced(ctx, goal, w.Note) }
			return w.Run()
		},
	}
	cmd.Flags().Float64Var(&at, "at", 0, "instant, in seconds of CLOCK_BOOTTIME")
	cmd.Flags().StringVar(&goal, "goal", string(shutdown.GoalPowerOff), "poweroff or reboot")
	return cmd
}
