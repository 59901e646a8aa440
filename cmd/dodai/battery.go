package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
)

const batteryPath = "/v1/battery"

func batteryCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "battery",
		Short: "Show what discharges have taught about the batteries",
		Long: `A UPS that claims more time than its battery gives is believed in part: each deep
discharge teaches how much, at which load. What was taught survives restarts and
reboots, and is forgotten when the UPS says that its battery is another one, or when
` + "`dodai battery replaced UPS`" + ` says so.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("%s: unknown command %q%s, want replaced or nothing; see `%[1]s --help`", cmd.CommandPath(), args[0], config.Meant(args[0], commandNames(cmd)))
			}
			return nil
		},
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askBattery(cmd, *socket, *asJSON, "GET", nil, printBatteries)
	}
	cmd.AddCommand(batteryReplacedCmd())
	return cmd
}

func batteryReplacedCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replaced UPS",
		Short: "Say that a UPS has got a new battery: what the old one taught is forgotten",
		Long: `After a battery swap that the UPS does not tell by itself (by a date or a serial
number of its battery). Until a discharge teaches otherwise, the UPS is believed in
full again.`,
		Example: `  dodai battery replaced u1`,
		Args:    exactly(1, "the name of the UPS"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*yes {
			if err := confirmReplaced(cmd, *socket, args[0]); err != nil {
				return err
			}
		}
		return askBattery(cmd, *socket, *asJSON, "POST", agent.BatteryRequest{UPS: args[0]}, func(w io.Writer, a agent.BatteryAnswer) error {
			if _, err := fmt.Fprintf(w, "%s: has a new battery; what the old one taught is forgotten\n\n", args[0]); err != nil {
				return err
			}
			return printBatteries(w, a)
		})
	}
	return cmd
}

// confirmReplaced asks whether a UPS has got a new battery, if there is such a UPS and
// somebody to ask.
func confirmReplaced(cmd *cobra.Command, socket, ups string) error {
	no := usageError("%s: not confirmed; --yes confirms where nobody can be asked", cmd.CommandPath())
	if !onTerminal(cmd) {
		return no
	}
	var a agent.BatteryAnswer
	if err := newClient(socket).do(cmd.Context(), "GET", batteryPath, nil, &a); err != nil {
		return err
	}
	var known []string
	for _, b := range a.Batteries {
		known = append(known, b.UPS)
	}
	if !slices.Contains(known, ups) {
		return usageError("%s: there is no UPS %q%s: want one of %s", cmd.CommandPath(), ups, config.Meant(ups, known), strings.Join(known, ", "))
	}
	if !confirm(cmd, fmt.Sprintf("What the old battery of %s has taught will be forgotten, and what the UPS claims believed in full. Has it got a new one?", ups)) {
		return no
	}
	return nil
}

// onTerminal reports whether somebody can be asked.
func onTerminal(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(io.Writer) // a terminal is read and written
	return ok && terminal(in) != nil
}

func askBattery(cmd *cobra.Command, socket string, asJSON bool, method string, req any, print func(io.Writer, agent.BatteryAnswer) error) error {
	var a agent.BatteryAnswer
	return ask(cmd, socket, asJSON, method, batteryPath, req, &a, &a.Warning, func(w io.Writer) error { return print(w, a) })
}

// printBatteries prints a line for each UPS, and one for each load at which something was
// learned.
func printBatteries(w io.Writer, a agent.BatteryAnswer) error {
	if len(a.Batteries) == 0 {
		_, err := fmt.Fprintln(w, "no UPS is configured")
		return err
	}
	rows := [][]string{{"UPS", "CLAIMS", "BELIEVED NOW", "LASTS", "LOAD", "BATTERY"}}
	bands := [][]string{{"UPS", "AT LOAD", "BELIEVED", "DISCHARGES", "LAST"}}
	for _, b := range a.Batteries {
		rows = append(rows, []string{b.UPS, secondsText(b.ClaimedS), partText(b.Factor), secondsText(b.BelievedS), percentText(b.LoadPercent), dash(identity(b.Learned))})
		if b.Learned == nil {
			continue
		}
		for _, l := range b.Learned.Bands {
			load := percentText(l.LoadPercent)
			if l.LoadPercent == nil {
				load = "any"
			}
			bands = append(bands, []string{b.UPS, load, partText(l.Factor), strconv.Itoa(l.Discharges), dash(l.Last)})
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if len(bands) == 1 {
		_, err := fmt.Fprintln(w, "\nno deep discharge has taught anything yet: what a UPS claims is believed in full")
		return err
	}
	fmt.Fprintln(w)
	return table(w, bands)
}

// partText is which part of a claim is believed.
func partText(factor float64) string { return fmt.Sprintf("%.0f %%", 100*factor) }

func percentText(p *float64) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", *p)
}

// identity is what the UPS says of itself and of its battery.
func identity(l *agent.Learned) string {
	if l == nil {
		return ""
	}
	var parts []string
	for _, p := range []struct{ name, value string }{
		{"serial of the UPS", l.Battery.Serial}, {"of the battery", l.Battery.Pack}, {"put in", l.Battery.Date}, {"made", l.Battery.Made},
	} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	return strings.Join(parts, ", ")
}
