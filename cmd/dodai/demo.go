package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/drivers/all"
	"github.com/dodai-agent/dodai/sim/rack"
)

func demoCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play an outage on a simulated rack with the real agent; nothing is stopped",
		Long: `Starts a simulated rack (a serial UPS on feed A, an SNMP UPS on feed B, two supplies,
a mirrored array) whose devices speak their real protocols, and the real agent, all in
this process. Then the mains fail on both feeds: the agent notices, counts down its
margin, decides, and walks through the plan without running it. The mains come back,
a tabletop drill is run, and its report is written. It takes less than 45 s.`,
		Args: exactly(0, "none"),
	}
	asJSON := jsonFlag(cmd)
	keep := cmd.Flags().Bool("keep", false, "keep rack and agent running afterwards, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		say := cmd.OutOrStdout()
		if *asJSON {
			say = cmd.ErrOrStderr()
		}
		result, err := runDemo(cmd.Context(), say, *keep)
		result.Outage.Steps = emptyList(result.Outage.Steps)
		if err == nil && *asJSON {
			err = printJSON(cmd.OutOrStdout(), result)
		}
		return err
	}
	return cmd
}

// demoResult is the documented JSON of the demo.
type demoResult struct {
	Outage demoOutage `json:"outage"`
	Drill  demoDrill  `json:"drill"`
}

type demoOutage struct {
	DetectedS float64    `json:"detected_s"` // from the loss of the mains to the event
	DecidedS  float64    `json:"decided_s"`  // from the loss of the mains to the decision
	MarginS   float64    `json:"margin_s"`   // when the outage was detected
	Reason    string     `json:"reason"`
	Steps     []demoStep `json:"steps"`
}

type demoStep struct {
	Name string  `json:"name"`
	AtS  float64 `json:"at_s"` // from the loss of the mains
	Text string  `json:"text"`
}

type demoDrill struct {
	ID     string        `json:"id"`
	Level  drill.Level   `json:"level"`
	Path   string        `json:"path"`
	Report *drill.Report `json:"report"`
}

// demo is one that runs.
type demo struct {
	say    io.Writer
	dir    string
	rack   *rack.Rack
	agent  *agent.Agent
	events chan dodai.Event
	lost   time.Time // when the mains failed
	result demoResult
}

// demoLimit is when a demo that hangs gives up.
const demoLimit = 90 * time.Second

func runDemo(ctx context.Context, say io.Writer, keep bool) (demoResult, error) {
	dir, err := os.MkdirTemp("", "dodai-demo-")
	if err != nil {
		return demoResult{}, err
	}
	d := &demo{say: say, dir: dir, events: make(chan dodai.Event, 1024)}
	if d.rack, err = rack.New(dir); err != nil {
		return demoResult{}, errors.Join(err, os.RemoveAll(dir))
	}
	defer d.rack.Close()
	running, stop := context.WithCancel(ctx)
	ended, err := d.start(running)
	if err != nil {
		stop()
		return demoResult{}, errors.Join(err, os.RemoveAll(dir))
	}
	err = d.play(ctx)
	if err == nil && keep {
		d.linger(ctx)
	}
	stop()
	err = errors.Join(err, <-ended)
	return d.result, errors.Join(err, d.tidy())
}

// configuration is the one of the simulated rack's server. Its need and reserve are as
// short as its batteries.
func (d *demo) configuration() string {
	return fmt.Sprintf(`# The simulated rack. On a real server this is /etc/dodai/dodai.yaml.
mode: armed
ups:
  - {name: u1, driver: megatec, port: %q}
  - {name: u2, driver: snmp, address: %q, options: {community: public}, poll: 1s}
psus:
  - {name: bmc, driver: dummy, port: %q}
arrays:
  - {name: md, driver: dummy, port: %q}
wiring:
  - {psu: "10.1", ups: u1, feed: A}
  - {psu: "10.2", ups: u2, feed: B}
shutdown:
  need: 8s
  reserve: 4s
  steps:
    - {name: drain-clients, command: ["/usr/local/sbin/drain"], timeout: 3s}
    - {name: database, unit: postgresql.service, timeout: 5s}
drills:
  - {name: monthly, scenario: low_battery, objectives: {detect_s: 2, decide_s: 60, stopped_s: 30}}
`, d.rack.A.Path(), d.rack.B.Addr(), d.rack.PSUFile(), d.rack.ArrayFile())
}

// start runs the agent. The channel delivers its end.
func (d *demo) start(ctx context.Context) (<-chan error, error) {
	path := filepath.Join(d.dir, "dodai.yaml")
	if err := os.WriteFile(path, []byte(d.configuration()), 0o640); err != nil {
		return nil, err
	}
	cfg, err := config.Load(path, all.Find)
	if err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(d.dir, "agent.log"))
	if err != nil {
		return nil, err
	}
	d.agent, err = agent.New(ctx, agent.Options{
		Config: cfg, Find: all.Find, StateDir: filepath.Join(d.dir, "state"), Socket: filepath.Join(d.dir, "dodai.sock"),
		Listen: "127.0.0.1:0", Version: version, Rehearse: true,
		Log: slog.New(slog.NewTextHandler(logFile, nil)),
		OnEvent: func(ev dodai.Event) {
			select {
			case d.events <- ev:
			default: // nobody listens any more
			}
		},
	})
	if err != nil {
		return nil, errors.Join(err, logFile.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(d.agent.Run(ctx), logFile.Close()) }()
	return ended, nil
}

// play is the outage and the drill after it.
func (d *demo) play(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	d.line("A rack: PSU 1 ← UPS u1 (serial, Megatec) ← feed A, PSU 2 ← UPS u2 (SNMP) ← feed B; batteries of %v", rack.Battery)
	d.line("agent: metrics http://%s/metrics, socket %s", d.agent.Addr(), filepath.Join(d.dir, "dodai.sock"))
	select {
	case <-d.agent.Ready():
	case <-ctx.Done():
		return fmt.Errorf("the rack's devices did not answer: %w", ctx.Err())
	}
	d.line("all devices answer; a shutdown would need 8 s, 4 s are kept in reserve, margin %s", d.margin())
	if err := d.outage(ctx); err != nil {
		return err
	}
	return d.drill(ctx)
}

// outage takes the mains away on both feeds and watches the agent until it has decided
// and walked through its plan; then the mains come back.
func (d *demo) outage(ctx context.Context) error {
	d.lost = time.Now()
	d.rack.SetMains("A", false)
	d.rack.SetMains("B", false)
	d.line("--- the mains fail on both feeds")
	ticker := time.NewTicker(3 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case ev := <-d.events:
			if d.watch(ev) {
				d.rack.SetMains("A", true)
				d.rack.SetMains("B", true)
				d.line("--- the mains come back")
				if err := d.await(ctx, dodai.EventMainsRestored, 2); err != nil {
					return err
				}
				return d.recharge(ctx)
			}
		case <-ticker.C:
			if d.result.Outage.DecidedS == 0 {
				d.line("on battery, margin %s", d.margin())
			}
		case <-ctx.Done():
			return fmt.Errorf("the agent did not decide in time: %w", ctx.Err())
		}
	}
}

// watch takes one event in, and reports whether it was the last of the plan.
func (d *demo) watch(ev dodai.Event) bool {
	out, at := &d.result.Outage, ev.Wall.Sub(d.lost).Seconds()
	switch ev.Name {
	case dodai.EventMainsLost:
		if out.DetectedS == 0 {
			out.DetectedS = at
			if m := d.agent.View().Decision.Margin; m != nil {
				out.MarginS = m.Seconds()
			}
		}
	case dodai.EventShutdownDecided:
		out.DecidedS = at
		out.Reason, _ = ev.Fields["reason"].(string)
	case dodai.EventStepFinished:
		out.Steps = append(out.Steps, demoStep{ev.Device, at, ev.Text})
	case dodai.EventAlertRaised, dodai.EventShutdownStarted, dodai.EventBatteryLow, dodai.EventStepFailed, dodai.EventShutdownFailed:
	default:
		return false
	}
	d.line("%s %s", ev.Name, ev.Text)
	return ev.Name == dodai.EventStepFinished && ev.Device == "power_off"
}

// await waits for n events called name.
func (d *demo) await(ctx context.Context, name dodai.EventName, n int) error {
	for {
		select {
		case ev := <-d.events:
			if ev.Name != name {
				continue
			}
			d.line("%s %s", ev.Name, ev.Text)
			if n--; n == 0 {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("no %s came: %w", name, ctx.Err())
		}
	}
}

// recharge waits until the batteries could carry another shutdown with something left.
func (d *demo) recharge(ctx context.Context) error {
	const enough = 15 * time.Second
	for {
		v := d.agent.View()
		u1 := v.Snapshot.Device("u1")
		low := u1 == nil || u1.Reading == nil || u1.Reading.Status.Has(dodai.LB)
		if m := v.Decision.Margin; m != nil && *m >= enough && !low {
			d.line("the batteries are charged again, margin %s", d.margin())
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the batteries did not charge: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// drill runs the tabletop drill and says where its report lies.
func (d *demo) drill(ctx context.Context) error {
	d.line("--- a tabletop drill: what would happen if the mains failed now")
	id, err := d.agent.StartDrill(agent.DrillRequest{Name: "monthly", Level: string(drill.Tabletop)})
	if err != nil {
		return err
	}
	if err := d.await(ctx, dodai.EventDrillFinished, 1); err != nil {
		return err
	}
	var report *drill.Report
	for ctx.Err() == nil { // the event comes a moment before the file
		if report, err = d.agent.Report(id); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	d.result.Drill = demoDrill{ID: id, Level: report.Level, Path: d.agent.ReportPath(id, ".html"), Report: report}
	fmt.Fprintln(d.say)
	if err := report.WriteText(d.say); err != nil {
		return err
	}
	fmt.Fprintf(d.say, "\nreport: %s\n", d.result.Drill.Path)
	return nil
}

// linger keeps everything running until ctx ends.
func (d *demo) linger(ctx context.Context) {
	socket := filepath.Join(d.dir, "dodai.sock")
	fmt.Fprintf(d.say, `
The rack and the agent go on until Ctrl-C. Look at them from another terminal:
  dodai status --socket %[1]s
  dodai audit  --socket %[1]s
  dodai drill run monthly --level rehearsal --yes --socket %[1]s
  curl http://%[2]s/metrics
configuration: %[3]s, log: %[4]s
`, socket, d.agent.Addr(), filepath.Join(d.dir, "dodai.yaml"), filepath.Join(d.dir, "agent.log"))
	<-ctx.Done()
}

// tidy removes all but the drill's report.
func (d *demo) tidy() error {
	if d.result.Drill.ID == "" {
		return nil // something went wrong: the log is worth keeping
	}
	var errs []error
	for _, name := range []string{"psus.json", "arrays.json", "agent.log", "dodai.sock", "dodai.yaml", filepath.Join("state", "accepted.yaml")} {
		if err := os.RemoveAll(filepath.Join(d.dir, name)); err != nil {
			errs = append(errs, err)
		}
	}
	journals, err := filepath.Glob(filepath.Join(d.dir, "state", "journal*"))
	errs = append(errs, err)
	for _, f := range journals {
		errs = append(errs, os.Remove(f))
	}
	return errors.Join(errs...)
}

func (d *demo) margin() string {
	m := d.agent.View().Decision.Margin
	if m == nil {
		return "unknown"
	}
	s := m.Seconds()
	return secondsText(&s)
}

// line says one thing, with the seconds since the mains failed.
func (d *demo) line(format string, args ...any) {
	at := "        "
	if !d.lost.IsZero() {
		at = fmt.Sprintf("%6.1f s", time.Since(d.lost).Seconds())
	}
	fmt.Fprintf(d.say, "%s  %s\n", at, fmt.Sprintf(format, args...))
}
