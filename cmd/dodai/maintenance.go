package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
)

const maintenancePath = "/v1/maintenance"

func maintenanceCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "maintenance",
		Short: "Say that a UPS is worked on, or list those that are",
		Long: `While a UPS is in maintenance nothing it says shuts this machine down. It ends by
itself, and survives a restart of the agent and a reboot. Without a command it lists
what stands.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("%s: unknown command %q%s, want on, off or nothing; see `%[1]s --help`", cmd.CommandPath(), args[0], config.Meant(args[0], commandNames(cmd)))
			}
			return nil
		},
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askMaintenance(cmd, *socket, *asJSON, "GET", nil, nil, func(w io.Writer, a agent.MaintenanceAnswer) error {
			if len(a.Maintenance) == 0 {
				_, err := fmt.Fprintln(w, "no UPS is in maintenance")
				return err
			}
			return printMaintenance(w, a.Maintenance, a.Unguarded)
		})
	}
	cmd.AddCommand(maintenanceOnCmd(), maintenanceOffCmd())
	return cmd
}

func maintenanceOnCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "on --for 2h --reason TEXT",
		Short: "Let nothing a UPS says shut this machine down for a while",
		Long: `For work on a UPS: service, bypass, a battery swap. Declaring it again for the same
UPS replaces what stands. A power supply that reports its input lost is still
believed. A shutdown that has begun is not stopped.`,
		Example: `  dodai maintenance on --for 2h --reason "battery swap"
  dodai maintenance on --for 90m --ups u1 --ups u2 --reason "bypass for the electrician"`,
		Args: exactly(0, "none"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	length := cmd.Flags().String("for", "", "how long, for example 2h30m or 90m; at most 168h")
	reason := cmd.Flags().String("reason", "", "what is done to the UPS, at most 200 bytes")
	ups := cmd.Flags().StringArray("ups", nil, "name of a UPS, may be given several times (default every UPS)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := maintenanceLength(*length)
		if err != nil {
			return err
		}
		if strings.TrimSpace(*reason) == "" {
			return usageError("--reason is missing: want what is done to the UPS, for example --reason \"battery swap\"")
		}
		req := agent.MaintenanceRequest{UPS: *ups, ForS: d.Seconds(), Reason: *reason}
		return askMaintenance(cmd, *socket, *asJSON, "POST", nil, req, printDeclared)
	}
	return cmd
}

// maintenanceLength reads --for.
func maintenanceLength(text string) (time.Duration, error) {
	const most = 168 * time.Hour
	if text == "" {
		return 0, usageError("--for is missing: want how long, for example --for 2h30m")
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > most {
		return 0, usageError("--for is %q, want more than 0 and at most 168h, for example 2h30m or 90m", text)
	}
	return d, nil
}

func maintenanceOffCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "off", Short: "Let what the UPSes say count again", Args: exactly(0, "none"),
		Example: `  dodai maintenance off
  dodai maintenance off --ups u1`,
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	ups := cmd.Flags().StringArray("ups", nil, "name of a UPS, may be given several times (default every UPS)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askMaintenance(cmd, *socket, *asJSON, "DELETE", url.Values{"ups": *ups}, nil, printEnded)
	}
	return cmd
}

func askMaintenance(cmd *cobra.Command, socket string, asJSON bool, method string, query url.Values, req any, print func(io.Writer, agent.MaintenanceAnswer) error) error {
	path := maintenancePath
	if len(query["ups"]) > 0 {
		path += "?" + query.Encode()
	}
	var a agent.MaintenanceAnswer
	return ask(cmd, socket, asJSON, method, path, req, &a, &a.Warning, func(w io.Writer) error { return print(w, a) })
}

func printDeclared(w io.Writer, a agent.MaintenanceAnswer) error {
	if err := printMaintenance(w, a.Maintenance, a.Unguarded); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "not guarded against: whatever these UPSes say (on battery, low battery, forced shutdown, silence) shuts nothing down")
	return err
}

func printEnded(w io.Writer, a agent.MaintenanceAnswer) error {
	for _, name := range a.Ended {
		if _, err := fmt.Fprintf(w, "%s: maintenance ended, what it says counts again\n", name); err != nil {
			return err
		}
	}
	if len(a.Ended) == 0 {
		if _, err := fmt.Fprintln(w, "nothing ended: no UPS that is meant was in maintenance"); err != nil {
			return err
		}
	}
	return printMaintenance(w, a.Maintenance, a.Unguarded)
}

// printMaintenance prints a line for each UPS that is worked on, and one on what that
// leaves unguarded.
func printMaintenance(w io.Writer, list []agent.MaintenanceStatus, u *agent.Unguarded) error {
	for _, m := range list {
		if _, err := fmt.Fprintf(w, "%s: in maintenance until %s (%s left), by %s: %s\n", m.UPS, clock(m.Until, time.Now()), secondsText(&m.LeftS), m.By, m.Reason); err != nil {
			return err
		}
	}
	if u == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "until %s nothing guards this machine: %s\n", clock(u.Until, time.Now()), u.Why)
	return err
}

// clock is a local time of day, with the date where it is not today's.
func clock(at, now time.Time) string {
	at = at.Local()
	if at.Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return at.Format("15:04")
	}
	return at.Format("2006-01-02 15:04")
}
