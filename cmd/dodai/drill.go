package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
)

func drillCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Rehearse an outage, and read the reports",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("%s: unknown command %q%s, want run, list, report or abort; see `%[1]s --help`", cmd.CommandPath(), args[0], config.Meant(args[0], commandNames(cmd)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return &exitError{code: exitUsage}
		},
	}
	cmd.AddCommand(drillRunCmd(), drillListCmd(), drillReportCmd(), drillAbortCmd())
	return cmd
}

func drillRunCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Run a drill of the configuration, or a built-in scenario by its name",
		Long: `Runs a drill in the agent and prints its report.

  tabletop   nothing happens: the outage is played on virtual time from the present
             readings through the agent's own decision
  rehearsal  the outage is injected at the reading, in real time; decisions and hooks
             for real (marked DRILL), the plan is walked through but not run

The exit status is 3 when the drill failed, was refused or was aborted.`,
		Args: exactly(1, "the drill's name"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	level := cmd.Flags().String("level", "", "tabletop or rehearsal (default the drill's own; tabletop for a built-in scenario)")
	yes := cmd.Flags().Bool("yes", false, "do not ask before a rehearsal")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains([]drill.Level{"", drill.Tabletop, drill.Rehearsal}, drill.Level(*level)) {
			return usageError("--level is %q, want tabletop or rehearsal", *level)
		}
		if *level == string(drill.Rehearsal) && !*yes && !confirm(cmd, "Hooks and notifications will be sent, marked DRILL. Go on?") {
			return usageError("not confirmed; --yes confirms")
		}
		report, err := runDrill(cmd.Context(), newClient(*socket), agent.DrillRequest{Name: args[0], Level: *level, Yes: *yes})
		if err != nil {
			return err
		}
		return showReport(cmd, report, *asJSON)
	}
	return cmd
}

// confirm asks on the terminal; anything but a yes is a no.
func confirm(cmd *cobra.Command, question string) bool {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	var answer string
	_, err := fmt.Fscanln(cmd.InOrStdin(), &answer)
	return err == nil && (answer == "y" || answer == "yes" || answer == "Y")
}

// runDrill starts a drill and waits for its report. When ctx ends first, the drill is
// aborted: nobody is there any more to look at it. The report is nil when there is none
// even then.
func runDrill(ctx context.Context, c *client, req agent.DrillRequest) (*drill.Report, error) {
	var started agent.DrillStarted
	if err := c.do(ctx, "POST", "/v1/drills", req, &started); err != nil {
		return nil, err
	}
	for {
		var r agent.DrillResult
		if err := c.do(ctx, "GET", "/v1/drills/"+url.PathEscape(started.ID), nil, &r); err != nil && ctx.Err() == nil {
			return nil, err
		}
		if r.Report != nil {
			return r.Report, nil
		}
		select {
		case <-ctx.Done():
			abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			err := c.do(abort, "DELETE", "/v1/drills", nil, nil)
			if c.do(abort, "GET", "/v1/drills/"+url.PathEscape(started.ID), nil, &r) == nil && r.Report != nil {
				return r.Report, nil
			}
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func showReport(cmd *cobra.Command, r *drill.Report, asJSON bool) error {
	if r == nil {
		return &exitError{exitFailed, fmt.Errorf("the drill was aborted")}
	}
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.WriteText(cmd.OutOrStdout())
	}
	if err == nil && r.Verdict != drill.Pass {
		return notInOrder
	}
	return err
}

func drillListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the reports, newest first", Args: exactly(0, "none")}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var reports []drill.Report
		if err := newClient(*socket).do(cmd.Context(), "GET", "/v1/drills", nil, &reports); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), emptyList(reports))
		}
		rows := [][]string{{"ID", "DRILL", "LEVEL", "VERDICT", "WHEN"}}
		for _, r := range reports {
			rows = append(rows, []string{r.ID, r.Drill, string(r.Level), string(r.Verdict), r.Started.Local().Format("2006-01-02 15:04:05")})
		}
		return table(cmd.OutOrStdout(), rows)
	}
	return cmd
}

func drillReportCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "report ID", Short: "Print the report of a drill", Args: exactly(1, "the drill's id")}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	format := cmd.Flags().String("format", "text", "text, json or html")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains([]string{"text", "json", "html"}, *format) {
			return usageError("--format is %q, want text, json or html", *format)
		}
		var res agent.DrillResult
		if err := newClient(*socket).do(cmd.Context(), "GET", "/v1/drills/"+url.PathEscape(args[0]), nil, &res); err != nil {
			return err
		}
		if res.Report == nil {
			return &exitError{exitFailed, fmt.Errorf("drill %s is still running", args[0])}
		}
		switch {
		case *asJSON || *format == "json":
			return printJSON(cmd.OutOrStdout(), res.Report)
		case *format == "html":
			return res.Report.WriteHTML(cmd.OutOrStdout())
		}
		return res.Report.WriteText(cmd.OutOrStdout())
	}
	return cmd
}

func drillAbortCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "abort", Short: "Abort the drill that is running", Args: exactly(0, "none")}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := newClient(*socket).do(cmd.Context(), "DELETE", "/v1/drills", nil, nil); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), map[string]bool{"aborted": true})
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "the drill was aborted; `dodai drill list` shows its report")
		return err
	}
	return cmd
}
