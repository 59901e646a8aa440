package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai"
)

// maxEvents is how many the agent answers at most.
const maxEvents = 10000

func eventsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print the newest events of the journal",
		Long: `Prints what the agent has written down, oldest first, in local time: mains lost and
restored, alerts, decisions, steps, drills. What belongs to a drill is marked DRILL.`,
		Args: exactly(0, "none"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	limit := cmd.Flags().Int("limit", 50, "how many, 1 to 10000")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *limit < 1 || *limit > maxEvents {
			return usageError("--limit is %d, want 1 to %d", *limit, maxEvents)
		}
		var events []dodai.Event
		if err := newClient(*socket).do(cmd.Context(), "GET", fmt.Sprintf("/v1/events?limit=%d", *limit), nil, &events); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), emptyList(events))
		}
		return table(cmd.OutOrStdout(), eventRows(events))
	}
	return cmd
}

// eventRows have a mark of their own for drills, so the one in the text is left out.
func eventRows(events []dodai.Event) [][]string {
	rows := [][]string{{"TIME", "EVENT", "DEVICE", "", "TEXT"}}
	for _, e := range events {
		mark, text := "", e.Text
		if e.Drill != "" {
			mark, text = "DRILL", strings.TrimPrefix(text, "DRILL: ")
		}
		rows = append(rows, []string{e.Wall.Local().Format("2006-01-02 15:04:05"), string(e.Name), dash(e.Device), mark, text})
	}
	return rows
}
