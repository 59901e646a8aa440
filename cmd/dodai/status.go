package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/agent/sight"
)

func statusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether this server could be shut down cleanly now, and what is wrong",
		Long: `Asks the running agent. The exit status is 0 when all is in order and 3 when
something is not: on battery, an alert, a device that does not answer, a UPS in
maintenance.`,
		Args: exactly(0, "none"),
	}
	socket, asJSON := socketFlag(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var s agent.Status
		if err := newClient(*socket).do(cmd.Context(), "GET", "/v1/status", nil, &s); err != nil {
			return err
		}
		print := func() error { return printStatus(cmd.OutOrStdout(), s) }
		if *asJSON {
			print = func() error { return printJSON(cmd.OutOrStdout(), s) }
		}
		if err := print(); err != nil {
			return err
		}
		if !inOrder(s) {
			return notInOrder
		}
		return nil
	}
	return cmd
}

// inOrder reports whether nothing asks for an operator's attention.
func inOrder(s agent.Status) bool {
	if s.State != "normal" && s.State != "drill" || len(s.Alerts) > 0 || len(s.Maintenance) > 0 || s.Journal != "ok" {
		return false
	}
	for _, d := range s.Devices {
		if d.Quality != dodai.QualityFresh && d.Quality != dodai.QualityNone {
			return false
		}
	}
	return true
}

func printStatus(w io.Writer, s agent.Status) error {
	if err := printMaintenance(w, s.Maintenance, s.Unguarded); err != nil {
		return err
	}
	head := [][]string{
		{"host", s.Host},
		{"mode", modeText(s.Mode)},
		{"state", strings.ReplaceAll(s.State, "_", " ")},
		{"margin", strings.TrimPrefix(s.Margin, "margin ")},
		{"why", s.Summary},
		{"need", strings.TrimPrefix(s.Need.Why, "need ")},
		{"journal", s.Journal},
	}
	if s.Need.PowerOff != "" {
		head = append(head, []string{"power-off", s.Need.PowerOff})
	}
	if s.Shutdown != nil {
		head = append(head, []string{"shutdown", "since " + s.Shutdown.Since.Local().Format("15:04:05") + ", " + downLine(s.Shutdown)})
	}
	if s.BootHold {
		head = append(head, []string{"after boot", "heavy services wait: " + s.BootHoldWhy + "; `dodai boot-hold release` lets them start"})
	}
	if s.Drill != nil {
		head = append(head, []string{"drill", fmt.Sprintf("%s (%s) for %s; `dodai drill abort` ends it", s.Drill.Name, s.Drill.Level, secondsText(&s.Drill.ForS))})
	}
	if s.Restart != nil {
		head = append(head, []string{"restart", restartLine(s.Restart)})
	}
	plan := needRows(s)
	if s.Shutdown != nil {
		plan = stepRows(s.Shutdown.Steps)
	}
	for _, section := range [][][]string{head, plan, upsRows(s), whyRows(s), deviceStatusRows(s), alertRows(s)} {
		if len(section) < 2 {
			continue
		}
		if err := table(w, section); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if err := printHardware(w, s.Devices); err != nil {
		return err
	}
	if err := printUnread(w, s.Unread); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, spofLine(s))
	return err
}

// printUnread prints what is seen and not read, with an empty line behind it.
func printUnread(w io.Writer, unread []sight.Sighting) error {
	if len(unread) == 0 {
		return nil
	}
	rows := [][]string{{"SEEN, NOT READ", "WHERE, WHY, AND WHAT HELPS"}}
	for _, s := range unread {
		rows = append(rows, []string{s.What, s.Where + ": " + s.Why}, []string{"", "→ " + s.Remedy})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

// restartLine says what a restart waits for.
func restartLine(r *agent.RestartStatus) string {
	what := "a restart"
	if r.Version != "" {
		what += " for version " + r.Version
	}
	return what + " waits until " + r.Until
}

// printHardware prints what the devices that are no UPS say, with an empty line behind it.
func printHardware(w io.Writer, devices []agent.DeviceStatus) error {
	any := false
	for _, d := range devices {
		if d.Reading == nil || d.Kind.IsPower() {
			continue
		}
		if err := printReading(w, *d.Reading); err != nil {
			return err
		}
		any = true
	}
	if any {
		fmt.Fprintln(w)
	}
	return nil
}

func modeText(mode string) string {
	if mode == "observe" {
		return "observe: decides, journals and notifies, but stops nothing (mode: armed in the configuration arms it)"
	}
	return mode
}

func spofLine(s agent.Status) string {
	if len(s.SPOFs) == 0 {
		return "no single point of failure found"
	}
	open := 0
	for _, f := range s.SPOFs {
		if f.Open {
			open++
		}
	}
	return fmt.Sprintf("single points of failure: %d open, %d to be advised of; `dodai audit` lists them", open, len(s.SPOFs)-open)
}

// needRows says what the way down takes; nothing where the power-off is all of it and was
// never measured.
func needRows(s agent.Status) [][]string {
	rows := [][]string{{"SHUTDOWN", "TAKES", "RUNS", "FROM"}}
	if len(s.Need.Steps) == 1 && s.Need.Steps[0].Basis == shutdown.BasisGuess {
		return rows
	}
	for _, p := range s.Need.Steps {
		takes, from := secondsText(&p.TookS), basisText(p.Basis)
		if p.Basis == shutdown.BasisGuess && p.TookS == 0 {
			takes, from = "-", "not known"
		}
		if p.Beside {
			from += ", beside others"
		}
		rows = append(rows, []string{p.Step, takes, strconv.Itoa(p.Runs), from})
	}
	return rows
}

func basisText(b shutdown.Basis) string {
	switch b {
	case shutdown.BasisP95:
		return "measured, 95th percentile"
	case shutdown.BasisLargest:
		return "measured, the largest"
	case shutdown.BasisCutOff:
		return "measured, a run that failed or was cut off"
	case shutdown.BasisConfigured:
		return "configured"
	}
	return "a guess"
}

func upsRows(s agent.Status) [][]string {
	rows := [][]string{{"UPS", "STATUS", "ON BATTERY", "BATTERY LASTS", "FROM", "VERDICT"}}
	for _, u := range s.UPSes {
		verdict := string(u.Doomed)
		if u.Lost {
			verdict = "lost"
		}
		if u.Doomed == policy.ReasonNone && !u.Lost {
			verdict = feedText(u)
		}
		if slices.ContainsFunc(s.Maintenance, func(m agent.MaintenanceStatus) bool { return m.UPS == u.Name }) {
			verdict = "maintenance"
		}
		rows = append(rows, []string{u.Name, dash(u.Status.String()), secondsText(u.OnBattS), secondsText(u.AvailableS), dash(sourceText(u)), verdict})
	}
	return rows
}

// sourceText names the figure that says how long the battery lasts, and the part of it that
// is believed.
func sourceText(u agent.UPSStatus) string {
	source, _, corrected := strings.Cut(u.Source, ", corrected")
	if !corrected {
		return source
	}
	return fmt.Sprintf("%s × %.2f learned", source, u.Factor)
}

// whyRows says of each UPS in a line why it counts or does not, and below it which readings
// say so, with their age; of the power supplies the readings.
func whyRows(s agent.Status) [][]string {
	rows := [][]string{{"ABOUT", "WHY, AND THE READINGS WITH THEIR AGE"}}
	read := map[string][]policy.Evidence{}
	var others []string
	for _, e := range s.Evidence {
		isUPS := slices.ContainsFunc(s.UPSes, func(u agent.UPSStatus) bool { return u.Name == e.Device })
		if !isUPS && read[e.Device] == nil {
			others = append(others, e.Device)
		}
		read[e.Device] = append(read[e.Device], policy.Evidence{Name: e.Name, Value: e.Value, Age: time.Duration(e.AgeS * float64(time.Second))})
	}
	for _, u := range s.UPSes {
		why := u.Why
		if u.Rule != "" {
			why = "rule " + string(u.Rule) + ": " + why
		}
		rows = append(rows, []string{u.Name, why})
		if len(read[u.Name]) > 0 {
			rows = append(rows, []string{"", policy.EvidenceLine(read[u.Name])})
		}
	}
	for _, name := range others {
		rows = append(rows, []string{name, policy.EvidenceLine(read[name])})
	}
	return rows
}

// feedText is a word on a feed that is neither lost nor doomed.
func feedText(u agent.UPSStatus) string {
	switch {
	case u.Line == policy.LineUnknown:
		return "unknown"
	case u.OnBattery:
		return "carries"
	default:
		return "healthy"
	}
}

func deviceStatusRows(s agent.Status) [][]string {
	rows := [][]string{{"DEVICE", "KIND", "DRIVER", "READING", "AGE", "LAST ERROR"}}
	for _, d := range s.Devices {
		rows = append(rows, []string{d.Name, string(d.Kind), d.Driver, string(d.Quality), secondsText(d.AgeS), dash(d.Error)})
	}
	return rows
}

func alertRows(s agent.Status) [][]string {
	rows := [][]string{{"ALERT", "ABOUT", "FOR", "WHAT"}}
	for _, a := range s.Alerts {
		rows = append(rows, []string{string(a.Alert), dash(a.Device), secondsText(&a.ForS), a.Text})
	}
	return rows
}
