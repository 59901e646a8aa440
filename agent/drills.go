package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// DrillRequest asks for a drill: POST /v1/drills.
type DrillRequest struct {
	Name  string `json:"name"`  // of the configuration, or a built-in scenario
	Level string `json:"level"` // tabletop or rehearsal; empty: the drill's own
	// Yes confirms a level that whoever asks did not name.
	Yes bool `json:"yes,omitempty"`
}

// DrillStarted answers a DrillRequest.
type DrillStarted struct {
	ID string `json:"id"`
}

// DrillResult answers GET /v1/drills/ID. Report is nil while the drill runs.
type DrillResult struct {
	Running bool          `json:"running"`
	Report  *drill.Report `json:"report,omitempty"`
}

// drillSlot holds the one drill that may run at a time.
type drillSlot struct {
	mu      sync.Mutex
	running *runningDrill
	last    int           // a number, so that two drills of one second have two ids
	unsaved *drill.Report // of the last drill whose report could not be written
}

type runningDrill struct {
	id, name string
	level    drill.Level
	began    time.Duration
	abort    context.CancelCauseFunc
	done     chan struct{}
}

func (d *drillSlot) status(now time.Duration) *DrillStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running == nil {
		return nil
	}
	return &DrillStatus{ID: d.running.id, Name: d.running.name, Level: string(d.running.level), ForS: (now - d.running.began).Seconds()}
}

// errAborted is why a drill ends that somebody aborted.
var errAborted = errors.New("aborted by the operator")

// StartDrill starts a drill and returns its id. The report lies in the state directory
// when the drill is over, and a refusal is a report as well.
func (a *Agent) StartDrill(req DrillRequest) (string, error) {
	v := a.View()
	def, own, err := definition(v.Config, req.Name)
	if err != nil {
		return "", err
	}
	level := cmp.Or(drill.Level(req.Level), own)
	switch {
	case level != drill.Tabletop && level != drill.Rehearsal:
		return "", fmt.Errorf("level %q: want tabletop or rehearsal", level)
	case req.Level == "" && level != drill.Tabletop && !req.Yes:
		return "", fmt.Errorf("drill %s is a %s, with hooks and notifications: confirm it with --yes, or ask for --level tabletop", req.Name, level)
	}
	if v.Down != nil && !v.Down.Finished && level != drill.Tabletop {
		return "", fmt.Errorf("drill %s is not begun: a shutdown is under way", req.Name)
	}
	scenario, err := drill.ScenarioFor(def.Scenario, v.Snapshot)
	if err != nil {
		return "", err
	}
	d := &a.drill
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running != nil {
		return "", fmt.Errorf("drill %s is running; `dodai drill abort` ends it", d.running.id)
	}
	d.last++
	run := &runningDrill{
		id:   fmt.Sprintf("%s-%s-%d", time.Now().UTC().Format("20060102T150405Z"), def.Name, d.last),
		name: def.Name, level: level, began: a.clock(), done: make(chan struct{}),
	}
	ctx, abort := context.WithCancelCause(a.ctx)
	run.abort = abort
	d.running = run
	a.loop.group.Go(func() error { a.runDrill(ctx, run, def, scenario); return nil })
	return run.id, nil
}

func (a *Agent) runDrill(ctx context.Context, run *runningDrill, def drill.Definition, scenario *drill.Scenario) {
	defer close(run.done)
	defer run.abort(nil)
	refuse, notes := a.drillPreflight(ctx)
	v := a.View()
	setup := drill.Setup{
		ID: run.id, Definition: def, Level: run.level, Scenario: scenario, Host: v.Snapshot.Host.Name,
		Snapshot: v.Snapshot, Decision: v.Decision, Policy: v.Policy, Clock: a.clock,
		Need: v.Need,
		Emit: func(ev dodai.Event) { ev.Drill = run.id; a.emit(ev) },
		Live: func() (*dodai.Snapshot, policy.Decision) { v := a.View(); return v.Snapshot, v.Decision },
		Walk: a.rehearsePlan(run.id, v),
	}
	report := a.conduct(ctx, run, setup, refuse)
	report.Timeline = append(entries(notes), report.Timeline...)
	if report.Verdict == drill.Pass {
		a.metrics.DrillSucceeded(def.Name, string(run.level), time.Now())
	}
	if report.Verdict == drill.Aborted && a.ctx.Err() != nil {
		report.Why = "the agent has ended"
	}
	err := a.saveReport(report)
	if err != nil {
		a.log.Error("the drill's report was not written; it can be read until the next one", "err", err)
	}
	a.drill.mu.Lock()
	defer a.drill.mu.Unlock()
	a.drill.running, a.drill.unsaved = nil, nil
	if err != nil {
		a.drill.unsaved = report
	}
}

// rehearsePlan walks through the plan. Early steps that can be undone are run and
// undone, unless the agent only observes.
func (a *Agent) rehearsePlan(id string, v *View) func(context.Context, policy.Decision) ([]shutdown.Rehearsed, error) {
	return func(ctx context.Context, d policy.Decision) ([]shutdown.Rehearsed, error) {
		really := func(s shutdown.Step) bool { return s.Early != nil && v.Mode == config.Armed }
		cause := shutdown.Cause{Event: dodai.EventShutdownStarted, Reason: string(d.Reason), Text: d.Explanation, Drill: id}
		return v.executor.Rehearse(ctx, cause, v.Need, really)
	}
}

// entries are the lines of a report that tell what was known before the drill began.
func entries(notes []string) []drill.Entry {
	list := make([]drill.Entry, len(notes))
	for i, text := range notes {
		list[i] = drill.Entry{What: "note", Text: text}
	}
	return list
}

// conduct runs the drill with its events around it. refuse has what a preflight found by
// which the machine could not be powered off: it stands against everything but a tabletop.
func (a *Agent) conduct(ctx context.Context, run *runningDrill, setup drill.Setup, refuse []string) *drill.Report {
	about := fmt.Sprintf("drill %s (%s)", run.name, run.level)
	why := drill.Interlocks(run.level, setup.Snapshot, setup.Decision)
	if run.level != drill.Tabletop {
		why = append(why, refuse...)
	}
	if len(why) > 0 {
		report := setup.Refuse(why)
		setup.Emit(dodai.Event{Name: dodai.EventDrillAborted, Device: run.name, Text: about + " refused: " + report.Why})
		return report
	}
	setup.Emit(dodai.Event{Name: dodai.EventDrillStarted, Device: run.name, Text: about + " has started",
		Fields: map[string]any{"level": string(run.level)}})
	var report *drill.Report
	if run.level == drill.Tabletop {
		report = drill.RunTabletop(ctx, setup)
	} else {
		report = drill.RunRehearsal(ctx, setup)
	}
	name := dodai.EventDrillFinished
	if report.Verdict == drill.Aborted {
		name = dodai.EventDrillAborted
	}
	text := fmt.Sprintf("%s: %s", about, report.Verdict)
	if report.Why != "" {
		text += ", " + report.Why
	}
	setup.Emit(dodai.Event{Name: name, Device: run.name, Text: text,
		Fields: map[string]any{"level": string(run.level), "verdict": string(report.Verdict)}})
	return report
}

// definition finds a drill of the configuration with its own level, or makes a tabletop
// one of a built-in scenario.
func definition(cfg *config.Config, name string) (drill.Definition, drill.Level, error) {
	names := []string{}
	for _, d := range cfg.Drills {
		if d.Name == name {
			return drill.Definition{Name: d.Name, Scenario: d.Scenario, Objectives: objectives(d.Objectives)}, drill.Level(d.Level), nil
		}
		names = append(names, d.Name)
	}
	if slices.Contains(config.Scenarios, name) {
		return drill.Definition{Name: name, Scenario: name}, drill.Tabletop, nil
	}
	return drill.Definition{}, "", fmt.Errorf("there is no drill %q: want one of %s", name, strings.Join(append(names, config.Scenarios...), ", "))
}

func objectives(o config.Objectives) drill.Objectives {
	d := func(s *float64) *time.Duration {
		if s == nil {
			return nil
		}
		return new(time.Duration(*s * float64(time.Second)))
	}
	return drill.Objectives{Detect: d(o.DetectS), Decide: d(o.DecideS), Stopped: d(o.StoppedS), Margin: d(o.MarginS)}
}

// AbortDrill ends the drill that runs, and waits until it has.
func (a *Agent) AbortDrill(ctx context.Context) error {
	a.drill.mu.Lock()
	run := a.drill.running
	a.drill.mu.Unlock()
	if run == nil {
		return errors.New("no drill is running")
	}
	if run.abort == nil {
		return fmt.Errorf("step %s is being run by hand; it ends by itself, within its time-out", run.name)
	}
	run.abort(errAborted)
	select {
	case <-run.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Agent) reportDir() string { return filepath.Join(a.opts.StateDir, "drills") }

// ReportPath is where the report of a drill lies, once it is over.
func (a *Agent) ReportPath(id, ext string) string { return filepath.Join(a.reportDir(), id+ext) }

// saveReport writes the report for programs and for people.
func (a *Agent) saveReport(r *drill.Report) error {
	if err := os.MkdirAll(a.reportDir(), 0o750); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil {
		return err
	}
	// The JSON comes last: a report is there when it is.
	return errors.Join(replaceFile(a.ReportPath(r.ID, ".html"), []byte(page.String())), replaceFile(a.ReportPath(r.ID, ".json"), append(data, '\n')))
}

// replaceFile writes a file so that it is there as a whole or not at all.
func replaceFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o640); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// drillID is what an id looks like; anything else is not looked for on the disk.
var drillID = regexp.MustCompile(`^[0-9TZ]{16}-[A-Za-z0-9._-]{1,64}-[0-9]+$`)

// Report returns the report of a drill. The error wraps fs.ErrNotExist when there is
// none.
func (a *Agent) Report(id string) (*drill.Report, error) {
	if !drillID.MatchString(id) {
		return nil, fmt.Errorf("drill %q: %w", id, fs.ErrNotExist)
	}
	a.drill.mu.Lock()
	unsaved := a.drill.unsaved
	a.drill.mu.Unlock()
	if unsaved != nil && unsaved.ID == id {
		return unsaved, nil
	}
	data, err := os.ReadFile(a.ReportPath(id, ".json"))
	if err != nil {
		return nil, err
	}
	var r drill.Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("report of drill %s: %w", id, err)
	}
	return &r, nil
}

// restoreProofs brings back, from the reports, when each drill was last passed: the date
// a protection was last proven must not be forgotten with a restart.
func (a *Agent) restoreProofs() {
	reports := a.reports()
	slices.Reverse(reports) // oldest first, so that the newest is said last
	for _, r := range reports {
		if r.Verdict == drill.Pass {
			a.metrics.DrillSucceeded(r.Drill, string(r.Level), r.Started)
		}
	}
}

func (a *Agent) postDrill(w http.ResponseWriter, r *http.Request) {
	var req DrillRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&req); err != nil {
		http.Error(w, "drill request: "+err.Error(), http.StatusBadRequest)
		return
	}
	id, err := a.StartDrill(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	writeJSON(w, DrillStarted{ID: id})
}

func (a *Agent) getDrill(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if s := a.drill.status(a.clock()); s != nil && s.ID == id {
		writeJSON(w, DrillResult{Running: true})
		return
	}
	report, err := a.Report(id)
	if err != nil {
		http.Error(w, fmt.Sprintf("no report of a drill %q: %v", id, err), http.StatusNotFound)
		return
	}
	writeJSON(w, DrillResult{Report: report})
}

// listDrills answers the reports, newest first.
// reports are all reports there are, the newest first.
func (a *Agent) reports() []*drill.Report {
	reports := []*drill.Report{}
	files, err := os.ReadDir(a.reportDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Error("the drills' reports cannot be listed", "err", err)
	}
	for _, f := range files {
		id, isJSON := strings.CutSuffix(f.Name(), ".json")
		if !isJSON {
			continue
		}
		if r, err := a.Report(id); err == nil {
			reports = append(reports, r)
		}
	}
	slices.SortStableFunc(reports, func(a, b *drill.Report) int { return b.Started.Compare(a.Started) })
	return reports
}

func (a *Agent) listDrills(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.reports()) }

func (a *Agent) abortDrill(w http.ResponseWriter, r *http.Request) {
	if err := a.AbortDrill(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}
