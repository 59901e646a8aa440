package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

const shutdownPath = "/v1/shutdown"

func shutdownCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shutdown",
		Short: "Begin the way down, or call it off",
		Long: `Without a sub-command: says whether a shutdown is under way, and how far it has come.
"now" begins the plan as a power failure would; "cancel" calls a shutdown off until its
point of no return, and undoes what was done.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("%s: unknown command %q%s, want now, cancel or nothing; see `%[1]s --help`", cmd.CommandPath(), args[0], config.Meant(args[0], commandNames(cmd)))
			}
			return nil
		},
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askShutdown(cmd, *socket, *asJSON, "GET", nil)
	}
	cmd.AddCommand(shutdownNowCmd(), shutdownCancelCmd())
	return cmd
}

func shutdownNowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "now", Short: "Begin the plan, with the power-off at its end", Args: exactly(0, "none"),
		Long: `Begins the plan, with the power-off at its end. It can be called off with
"dodai shutdown cancel" until the first step that cannot be undone, or the step that
the configuration names as its point_of_no_return. No UPS is told to cut its output.`,
		Example: `  dodai shutdown now --reason "move to rack r8"`,
	}
	return actingCmd(cmd, "POST")
}

func shutdownCancelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cancel", Short: "Call a shutdown off, and undo what it did", Args: exactly(0, "none"),
		Long: `Calls a shutdown off, and undoes what it did, the last step first. Behind the point of
no return that is refused: with a power failure the decision itself is, unless the
configuration names another step (shutdown.point_of_no_return).`,
	}
	return actingCmd(cmd, "DELETE")
}

func actingCmd(cmd *cobra.Command, method string) *cobra.Command {
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	reason := cmd.Flags().String("reason", "", "why, for the journal")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askShutdown(cmd, *socket, *asJSON, method, agent.ShutdownRequest{Reason: *reason})
	}
	return cmd
}

func askShutdown(cmd *cobra.Command, socket string, asJSON bool, method string, req any) error {
	var a agent.ShutdownAnswer
	return ask(cmd, socket, asJSON, method, shutdownPath, req, &a, &a.Warning, func(w io.Writer) error {
		if a.Shutdown == nil {
			_, err := fmt.Fprintln(w, "no shutdown is under way")
			return err
		}
		if _, err := fmt.Fprintln(w, downLine(a.Shutdown)); err != nil {
			return err
		}
		return table(w, stepRows(a.Shutdown.Steps))
	})
}

// downLine says in one line what goes on.
func downLine(d *agent.DownStatus) string {
	parts := []string{"shutting down: " + d.Explanation}
	switch {
	case d.Cancelled != "":
		parts = []string{"called off (" + d.Cancelled + "), being undone"}
	case d.Finished:
		parts = append(parts, "the power-off has been asked for")
	case d.CanCancel:
		parts = append(parts, "it can still be called off (dodai shutdown cancel)")
	default:
		parts = append(parts, "past the point of no return")
	}
	if d.AskedByS != nil && d.Cancelled == "" {
		parts = append(parts, fmt.Sprintf("power-off in %.0f s at the latest, forced in %.0f s", *d.AskedByS, *d.ForcedByS))
	}
	return strings.Join(parts, "; ")
}

// stepRows shows each step with the time it took and usually takes.
func stepRows(steps []agent.StepStatus) [][]string {
	rows := [][]string{{"STEP", "STATE", "SINCE", "TOOK", "USUALLY", "WHAT"}}
	for _, s := range steps {
		state := strings.ReplaceAll(string(s.State), "_", " ")
		if s.State == shutdown.PhaseStarted {
			state = "running"
		}
		if s.Attempt > 1 {
			state += fmt.Sprintf(", attempt %d", s.Attempt)
		}
		what := s.Does
		switch {
		case s.Why == "" || s.State == shutdown.PhaseDone: // what an earlier try failed with is over
		case s.State == shutdown.PhaseStarted:
			what = "failed before: " + s.Why
		default:
			what = s.Why
		}
		rows = append(rows, []string{s.Step, state, secondsText(s.ForS), secondsText(s.TookS), secondsText(s.UsualS), dash(what)})
	}
	return rows
}
