package main

import (
	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/audit"
)

func auditCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List the single points of failure of this server",
		Long: `Asks the running agent which single component's loss would stop this server or lose
its data, with the evidence and what would remove it. The exit status is 3 when one
is open.`,
		Args: exactly(0, "none"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var findings []audit.Finding
		if err := newClient(*socket).do(cmd.Context(), "GET", "/v1/audit", nil, &findings); err != nil {
			return err
		}
		var err error
		if *asJSON {
			err = printJSON(cmd.OutOrStdout(), map[string]any{"findings": emptyList(findings), "open": audit.Open(findings)})
		} else {
			err = audit.WriteText(cmd.OutOrStdout(), findings)
		}
		if err != nil {
			return err
		}
		if audit.Open(findings) {
			return notInOrder
		}
		return nil
	}
	return cmd
}
