package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent"
)

func stepCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "step NAME {--dry-run | --run}",
		Short: "Show, check or really run one step of the plan, or undo it",
		Long: `Asks the running agent for one step of its plan. --dry-run says what would be run and
checks it; --run really runs it, with its time-out and its retries, in either mode, and
measures how long it takes. What was stopped stays stopped until --run --undo, or you,
start it again. It is refused on battery, in a shutdown and in a drill.

A step that was begun goes on to its end when this command is interrupted. The exit
status of --dry-run is 3 when something was found, of --run 1 when the step failed.`,
		Example: `  dodai step databases --dry-run
  dodai step databases --run
  dodai step databases --run --undo`,
		Args: exactly(1, "the step's name"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "say what would be run, and check it")
	really := cmd.Flags().Bool("run", false, "really run it")
	undo := cmd.Flags().Bool("undo", false, "what takes the step back, instead of the step")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *dry == *really {
			return usageError("%s: want either --dry-run or --run; see `%[1]s --help`", cmd.CommandPath())
		}
		r, err := askStep(cmd, *socket, agent.StepRequest{Step: args[0], Run: *really, Undo: *undo})
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), r)
		} else {
			err = printStep(cmd.OutOrStdout(), r)
		}
		switch {
		case err != nil:
			return err
		case r.Ran != nil && !r.Ran.OK:
			return &exitError{code: exitFailed}
		case len(r.Findings) > 0:
			return notInOrder
		}
		return nil
	}
	return cmd
}

// askStep asks the agent. A step that really runs takes as long as it takes.
func askStep(cmd *cobra.Command, socket string, req agent.StepRequest) (*agent.StepResult, error) {
	c := newClient(socket)
	if req.Run {
		c.http.Timeout = 0
	}
	var result agent.StepResult
	err := c.do(cmd.Context(), "POST", "/v1/step", req, &result)
	if r, ok := errors.AsType[*refused](err); ok && r.status == http.StatusBadRequest {
		return nil, usageError("%s: %w", cmd.CommandPath(), err)
	}
	if err != nil && cmd.Context().Err() != nil && req.Run {
		return nil, errors.New("interrupted; a step that was begun goes on in the agent, and `dodai events` has its end")
	}
	return &result, err
}

func printStep(w io.Writer, r *agent.StepResult) error {
	var b strings.Builder
	name := "step " + r.Step
	if r.Undo {
		name = "undoing step " + r.Step
	}
	if r.Ran == nil {
		fmt.Fprintf(&b, "%s would run, as %s: %s\n", name, r.User, oneLine.Replace(r.Does))
		fmt.Fprintf(&b, "  at most %s a try%s; %s\n", limitText(r.TimeoutS), retriesText(r), usualText(r))
		printFindings(&b, r.Findings)
		fmt.Fprintf(&b, "\n%s; nothing was run\n", found(r.Findings))
	} else {
		fmt.Fprintf(&b, "%s ran, as %s: %s\n", name, r.User, oneLine.Replace(r.Does))
		for line := range strings.Lines(r.Ran.Output) {
			fmt.Fprintf(&b, "  | %s\n", oneLine.Replace(strings.TrimRight(line, "\n")))
		}
		if r.Ran.OK {
			fmt.Fprintf(&b, "done after %.1f s\n", r.Ran.TookS)
		} else {
			fmt.Fprintf(&b, "failed after %.1f s: %s\n", r.Ran.TookS, oneLine.Replace(r.Ran.Error))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func limitText(s float64) string { return time.Duration(s * float64(time.Second)).String() }

func retriesText(r *agent.StepResult) string {
	switch r.Retries {
	case 0:
		return ", tried once"
	case 1:
		return fmt.Sprintf(", tried once more %s after a failure", limitText(r.RetryWaitS))
	}
	return fmt.Sprintf(", tried %d times more %s after a failure", r.Retries, limitText(r.RetryWaitS))
}

func usualText(r *agent.StepResult) string {
	if r.UsualS == 0 {
		return "what it takes is not known yet"
	}
	return fmt.Sprintf("it is expected to take %.1f s (%s)", r.UsualS, strings.ReplaceAll(string(r.Basis), "_", " "))
}
