package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers/all"
)

func preflightCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Find out, without stopping anything, whether the way down would work now",
		Long: `Asks the running agent to try the whole plan, the power-off and the cut of the UPSes
without stopping anything: with its user, its surroundings, its network, its logins.
With --config and no agent to ask, the configuration is tried in this process.

The exit status is 3 when something was found.`,
		Example: `  dodai preflight
  dodai preflight --config /etc/dodai/dodai.yaml --json`,
		Args: exactly(0, "none"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	file := cmd.Flags().String("config", "", "configuration to try in this process where no agent answers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, where, err := preflight(cmd, *socket, *file)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), r)
		} else {
			err = printPreflight(cmd.OutOrStdout(), r, where)
		}
		if err == nil && !r.OK {
			return notInOrder
		}
		return err
	}
	return cmd
}

// preflightLimit is how long an agent may take: a plan whose every check hangs.
const preflightLimit = 10 * time.Minute

// preflight asks the agent, or does it here where there is none and a file is given. where
// says who did.
func preflight(cmd *cobra.Command, socket, file string) (r *agent.PreflightResult, where string, err error) {
	c := newClient(socket)
	c.http.Timeout = preflightLimit
	err = c.do(cmd.Context(), "POST", "/v1/preflight", nil, &r)
	if err == nil && file != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "dodai: an agent answers at %s: what it tried is the configuration that is in force there\n", socket)
	}
	if err == nil || file == "" || !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
		return r, "by the agent", err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "dodai: no agent answers at %s: %s is tried in this process, whose user and surroundings are not the agent's\n", socket, file)
	r, err = preflightHere(cmd.Context(), file)
	return r, "in this process, not by an agent", err
}

func preflightHere(ctx context.Context, file string) (*agent.PreflightResult, error) {
	cfg, err := config.Load(file, all.Find)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return agent.PreflightAlone(ctx, cfg, all.Find, slog.New(slog.DiscardHandler))
}

func printPreflight(w io.Writer, r *agent.PreflightResult, where string) error {
	rows := [][]string{{"STEP", "RESULT", "TOOK", "WHAT"}}
	for _, s := range r.Steps {
		result := "ok"
		if n := len(s.Findings); n > 0 {
			result = plural(n, "finding")
		}
		rows = append(rows, []string{s.Step, result, fmt.Sprintf("%.1fs", s.TookS), s.Does})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	var b strings.Builder
	printFindings(&b, r.Findings)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\nnote: %s\n", note)
	}
	fmt.Fprintf(&b, "\n%s; tried as %s %s, in %.1f s; nothing was stopped\n", found(r.Findings), r.User, where, r.TookS)
	_, err := io.WriteString(w, b.String())
	return err
}

// printFindings prints each with its cause and what to do about it.
func printFindings(b *strings.Builder, list []shutdown.Finding) {
	for _, f := range list {
		about := f.Step
		if f.Device != "" {
			about += " " + f.Device
		}
		if f.Fatal {
			about += ", the machine could not be powered off"
		}
		fmt.Fprintf(b, "\n%s (%s): %s\n", about, f.Check, oneLine.Replace(f.Text))
		if f.Fix != "" {
			fmt.Fprintf(b, "  repair: %s\n", oneLine.Replace(f.Fix))
		}
	}
}

func found(list []shutdown.Finding) string {
	if len(list) == 0 {
		return "nothing found"
	}
	return plural(len(list), "finding")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
