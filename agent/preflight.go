package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/collectors"
	"github.com/dodai-agent/dodai/drivers"
)

// When a preflight is run by itself: after the start, as soon as the devices have
// answered, or that long after; each day; each hour while something was found; and when
// that would have disturbed, a little later.
const (
	preflightStart = 30 * time.Second
	preflightEvery = 24 * time.Hour
	preflightAgain = time.Hour
	preflightLater = time.Minute
)

// alertPreflight stands while the way down would not work as planned.
const alertPreflight policy.AlertID = "preflight"

// killPowerStep is the step that findings about the cut of a UPS's output are said of.
const killPowerStep = "killpower"

// PreflightResult is what a preflight has found: GET and POST /v1/preflight.
type PreflightResult struct {
	PreflightStatus
	// User has the rights with which everything was tried.
	User string `json:"user"`
	// Steps are those of the plan, the power-off, and a killpower for each UPS that is to
	// be told to cut its output.
	Steps []shutdown.Checked `json:"steps"`
}

// PreflightStatus is the short form, as the status has it.
type PreflightStatus struct {
	At       time.Time          `json:"at"`
	TookS    float64            `json:"took_s"`
	OK       bool               `json:"ok"` // nothing was found
	Findings []shutdown.Finding `json:"findings"`
	Notes    []string           `json:"notes"` // worth knowing, and nothing to mend
}

// fatal is the first finding by which the machine could not be powered off; nil: none.
func (p *PreflightStatus) fatal() *shutdown.Finding {
	if i := slices.IndexFunc(p.Findings, func(f shutdown.Finding) bool { return f.Fatal }); i >= 0 {
		return &p.Findings[i]
	}
	return nil
}

// summary is what was found, in one sentence.
func (p *PreflightStatus) summary() string {
	switch n := len(p.Findings); n {
	case 0:
		return "the way down would work as planned, as far as that can be known without stopping anything"
	case 1:
		return fmt.Sprintf("the way down would not work as planned: %s: %s", about(p.Findings[0]), p.Findings[0].Text)
	default:
		return fmt.Sprintf("the way down would not work as planned, %d findings; the first: %s: %s", n, about(p.Findings[0]), p.Findings[0].Text)
	}
}

func about(f shutdown.Finding) string {
	if f.Device != "" {
		return f.Step + " of " + f.Device
	}
	return f.Step
}

// sameFindings reports whether two preflights have found the same. Texts may differ: they
// tell times and numbers.
func sameFindings(a, b []shutdown.Finding) bool {
	return slices.EqualFunc(a, b, func(a, b shutdown.Finding) bool {
		return a.Step == b.Step && a.Device == b.Device && a.Check == b.Check && a.Fatal == b.Fatal
	})
}

// preflights is what the agent's preflights share.
type preflights struct {
	slot    chan struct{} // held by the one that runs
	due     chan struct{} // the next one is, now
	hanging shutdown.Hanging
}

func newPreflights() *preflights {
	return &preflights{slot: make(chan struct{}, 1), due: make(chan struct{}, 1)}
}

// trigger makes the next one due. It does not wait.
func (p *preflights) trigger() {
	select {
	case p.due <- struct{}{}:
	default:
	}
}

// preflightLoop is what the loop knows of them.
type preflightLoop struct {
	last *PreflightResult // nil: none has run
}

// alerts is the one alert of the findings that stand.
func (p *preflightLoop) alerts() []policy.Alert {
	if p.last == nil || p.last.OK {
		return nil
	}
	return []policy.Alert{{ID: alertPreflight, Text: p.last.summary()}}
}

// planned reports whether there is a way down to prove. A demo has none, and an agent that
// observes has none as long as nobody has written one down.
func (a *Agent) planned(cfg *config.Config) bool {
	return !a.opts.Rehearse && (cfg.Mode == config.Armed || len(cfg.Shutdown.Steps) > 0 || len(cfg.Shutdown.Command) > 0 || cuts(cfg))
}

// cuts reports whether this host is named to cut the output of a UPS.
func cuts(cfg *config.Config) bool {
	return slices.ContainsFunc(cfg.UPS, func(d config.Device) bool { return d.KillPower })
}

// runPreflights runs them, for as long as ctx lasts.
func (a *Agent) runPreflights(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.ready:
	case <-time.After(preflightStart):
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.checks.due:
		case <-time.After(a.preflightByItself(ctx)):
		}
	}
}

// preflightByItself runs one, unless it would find missing what the way down has stopped
// already, and returns when to do so again.
func (a *Agent) preflightByItself(ctx context.Context) time.Duration {
	var why string
	var planned bool
	if a.call(ctx, func() {
		l := &a.loop
		why, planned = a.disturbed(), a.planned(l.cfg)
		if !planned {
			l.preflight.last = nil // what an earlier configuration had planned
		}
	}) != nil {
		return preflightLater
	}
	if !planned {
		return preflightEvery // a new configuration makes it due
	}
	if why != "" || onBattery(a.View().Decision) || a.drill.status(a.clock()) != nil {
		return preflightLater
	}
	r, err := a.Preflight(ctx)
	switch {
	case err != nil:
		return preflightLater
	case !r.OK:
		return preflightAgain
	default:
		return preflightEvery - preflightAgain/2 + rand.N(preflightAgain) // not all hosts at once
	}
}

// disturbed says why a preflight would find missing what was stopped on purpose; empty:
// it would not. It is called in the loop.
func (a *Agent) disturbed() string {
	l := &a.loop
	switch {
	case l.down != nil && !l.down.Finished:
		return "a shutdown is under way"
	case l.earlyBusy || len(l.earlyDone) > 0:
		return "early steps have been run and are not undone yet"
	}
	return ""
}

// Preflight finds out, without stopping anything, whether the way down would work now. It
// waits for one that is under way. The result is the agent's last one from then on, unless
// a shutdown or early steps are under way: what they have stopped is then found missing,
// as a note says.
func (a *Agent) Preflight(ctx context.Context) (*PreflightResult, error) {
	select {
	case a.checks.slot <- struct{}{}:
		defer func() { <-a.checks.slot }()
	case <-ctx.Done():
		return nil, fmt.Errorf("preflight: %w", context.Cause(ctx))
	}
	var try preflight
	if err := a.call(ctx, func() {
		l := &a.loop
		try = preflight{cfg: l.cfg, pin: a.pinned(l.cfg), user: a.stepUser(), executor: l.executor, collectors: l.collectors, find: a.opts.Find, hanging: &a.checks.hanging, need: l.need}
	}); err != nil {
		return nil, err
	}
	r := try.run(ctx)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("preflight: %w", context.Cause(ctx))
	}
	err := a.call(ctx, func() {
		if why := a.disturbed(); why != "" {
			r.Notes = append(r.Notes, why+": what they have stopped is found missing, and none of this is remembered")
			return
		}
		a.preflightDone(r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// preflightDone takes a result in, in the loop.
func (a *Agent) preflightDone(r *PreflightResult) {
	p := &a.loop.preflight
	was := p.last
	p.last = r
	stood := was != nil && !was.OK
	switch {
	case r.OK && stood:
		a.emit(dodai.Event{Name: dodai.EventPreflightPassed, Text: r.summary()})
	case !r.OK && (!stood || !sameFindings(was.Findings, r.Findings)):
		a.emit(dodai.Event{Name: dodai.EventPreflightFailed, Text: r.summary(), Fields: map[string]any{
			"findings": len(r.Findings), "first": r.Findings[0].Text, "fatal": r.fatal() != nil,
		}})
	}
}

// preflight is one, with what it is about.
type preflight struct {
	cfg        *config.Config
	pin        func(context.Context) *shutdown.Finding // whether the helper runs the configuration; nil: there is none
	user       string                                  // whose rights steps have
	executor   *shutdown.Executor
	collectors map[string]*collectors.Collector
	find       func(driver string) (drivers.Factory, bool)
	hanging    *shutdown.Hanging
	need       shutdown.Need
}

func (p preflight) run(ctx context.Context) *PreflightResult {
	start := time.Now()
	r := &PreflightResult{User: p.user}
	var upses []shutdown.Checked
	var asked sync.WaitGroup
	asked.Go(func() { upses = p.checkCuts(ctx) })
	r.Steps = p.executor.Preflight(ctx, p.hanging).Steps
	asked.Wait()
	r.Steps = append(r.Steps, upses...)
	r.At, r.TookS = start, time.Since(start).Seconds()
	r.Findings, r.Notes = []shutdown.Finding{}, p.notes(wakeAlarms)
	if p.pin != nil {
		if f := p.pin(ctx); f != nil {
			r.Findings = append(r.Findings, *f)
		}
	}
	for _, s := range r.Steps {
		r.Findings = append(r.Findings, s.Findings...)
	}
	r.OK = len(r.Findings) == 0
	return r
}

// cutLimit is how long a UPS may take to say that it would cut its output.
const cutLimit = 15 * time.Second

// checkCuts asks each UPS that this host is named to cut whether it would take that.
func (p preflight) checkCuts(ctx context.Context) []shutdown.Checked {
	var checked []shutdown.Checked
	var asked sync.WaitGroup
	for _, dev := range p.cfg.UPS {
		if dev.KillPower {
			checked = append(checked, shutdown.Checked{
				Step: killPowerStep, Kind: dev.Driver, Does: "cut the output of " + dev.Name + ", to return with the mains", Findings: []shutdown.Finding{},
			})
		}
	}
	i := 0
	for _, dev := range p.cfg.UPS {
		if !dev.KillPower {
			continue
		}
		c := &checked[i]
		i++
		asked.Go(func() {
			start := time.Now()
			if f := p.checkCut(ctx, dev); f != nil {
				c.Findings = append(c.Findings, *f)
			}
			c.TookS = time.Since(start).Seconds()
		})
	}
	asked.Wait()
	return checked
}

// checkCut asks one UPS; nil: it would.
func (p preflight) checkCut(ctx context.Context, dev config.Device) *shutdown.Finding {
	ctx, cancel := context.WithTimeout(ctx, cutLimit)
	defer cancel()
	c, ok := p.collectors[dev.Name]
	if !ok {
		return nil // the configuration has just been replaced
	}
	no := &shutdown.Finding{Step: killPowerStep, Device: dev.Name}
	err := c.Do(ctx, func(ctx context.Context, d drivers.Driver) error {
		cutter, can := d.(drivers.Cutter)
		if !can {
			no.Check, no.Text = "cannot_cut", fmt.Sprintf("driver %s cannot tell %s to cut its output", dev.Driver, dev.Name)
			no.Fix = "remove killpower: true of this UPS, or read it with a driver that can (`dodai drivers`)"
			return nil
		}
		return cutter.CheckCut(ctx, p.cut(dev))
	})
	switch {
	case err != nil:
		no.Check, no.Text = "cut_refused", fmt.Sprintf("%s would not cut its output: %s", dev.Name, dodai.Printable(drivers.Plain(err)))
		no.Fix = fmt.Sprintf("docs/drivers/%s.md says what the UPS has to be told to permit it", dev.Driver)
	case no.Check != "":
	case p.local(dev):
		return lateCommand(dev.Name, "/")
	default:
		return nil
	}
	return no
}

func (p preflight) local(dev config.Device) bool {
	f, _ := p.find(dev.Driver)
	return f.Local
}

// lateCommand finds out whether systemd, where it is init, would run `dodai killpower` when
// the machine is as good as down: without it nobody tells a UPS on a line of this machine. root
// is the root of the file system. nil: it would, or another init has its own way.
func lateCommand(ups, root string) *shutdown.Finding {
	if _, err := os.Stat(filepath.Join(root, "run/systemd/system")); err != nil {
		return nil
	}
	hook := filepath.Join(root, "usr/lib/systemd/system-shutdown/dodai")
	no := &shutdown.Finding{Step: killPowerStep, Device: ups, Check: "late_command_missing",
		Fix: "install the package, or systemd/dodai.shutdown there with mode 0755"}
	info, err := os.Stat(hook)
	switch {
	case err != nil:
		no.Text = fmt.Sprintf("nobody would tell %s to cut its output: %s", ups, dodai.Printable(err.Error()))
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		no.Text = fmt.Sprintf("nobody would tell %s to cut its output: %s cannot be executed (%s)", ups, hook, info.Mode())
	default:
		return nil
	}
	return no
}

// cut is what the UPS would be told: one behind the network before the power-off, the
// others when the machine is as good as down.
func (p preflight) cut(dev config.Device) drivers.Cut {
	cut := drivers.Cut{Off: cutAfter, On: returnAfter}
	if f, _ := p.find(dev.Driver); !f.Local {
		cut.Off = max(cut.Off, p.need.Expected(shutdown.PowerOffStep)+p.cfg.Shutdown.Reserve.D())
	}
	return cut
}

// wakeAlarms are the clocks that can start this machine.
const wakeAlarms = "/sys/class/rtc/rtc*/wakealarm"

// notes says what is no fault, and yet had better be known.
func (p preflight) notes(clocks string) []string {
	found, err := filepath.Glob(clocks)
	wakes := p.cfg.Shutdown.Wake && err == nil && len(found) > 0
	if p.cfg.Mode != config.Armed || cuts(p.cfg) || wakes {
		return []string{}
	}
	return []string{"there is no way back: no UPS has killpower: true and no clock of this machine can wake it, so that when the mains return before the battery is empty nobody starts it again"}
}

// ownUser is the user this process runs as.
func ownUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Geteuid())
}

// PreflightAlone is a preflight of a configuration without an agent: in this process,
// with the rights and the surroundings that it has. The error is about what a daemon
// could not start with either.
func PreflightAlone(ctx context.Context, cfg *config.Config, find func(string) (drivers.Factory, bool), log *slog.Logger) (*PreflightResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	a := &Agent{opts: Options{Config: cfg, Find: find, Log: log}, log: log, clock: collectors.SystemClock(), ctx: ctx, updates: make(chan update, 64)}
	a.hooks = a.newHookSet()
	a.hooks.set(cfg.Hooks, a.hookRunner(cfg))
	way, err := a.plan(cfg)
	if err != nil {
		return nil, err
	}
	try := preflight{cfg: cfg, user: ownUser(), find: find, hanging: &shutdown.Hanging{}, need: way.Need(nil, cfg.Shutdown.Need.D(), nil)}
	if try.executor, err = a.makeExecutor(way, cfg); err != nil {
		return nil, err
	}
	cut := *cfg // the other devices are nobody's business here
	cut.UPS = slices.DeleteFunc(slices.Clone(cfg.UPS), func(d config.Device) bool { return !d.KillPower })
	cut.Arrays, cut.Disks, cut.PSUs, cut.PDUs = nil, nil, nil, nil
	if try.collectors, err = a.makeCollectors(&cut); err != nil {
		return nil, err
	}
	for _, c := range try.collectors {
		running.Go(func() { _ = c.Run(ctx) }) // returns nil
	}
	r := try.run(ctx)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("preflight: %w", context.Cause(ctx))
	}
	return r, nil
}

// drillPreflight runs a preflight before a drill: what stands against the way down stands
// against what the drill could prove. refuse has what makes it pointless, notes the rest.
func (a *Agent) drillPreflight(ctx context.Context) (refuse, notes []string) {
	if !a.planned(a.View().Config) {
		return nil, nil
	}
	r, err := a.Preflight(ctx)
	if err != nil {
		return nil, []string{"no preflight: " + err.Error()}
	}
	for _, f := range r.Findings {
		text := fmt.Sprintf("preflight: %s: %s", about(f), f.Text)
		if f.Fatal {
			refuse = append(refuse, text)
		}
		notes = append(notes, text)
	}
	return refuse, notes
}

// preflightStatus is the short form of the last preflight; nil: none has run.
func (v *View) preflightStatus() *PreflightStatus {
	if v.Preflight == nil {
		return nil
	}
	return &v.Preflight.PreflightStatus
}

// wayDown is nil unless a preflight has found that this machine, which is to be shut down
// when its power fails, could not be powered off.
func (v *View) wayDown() error {
	p := v.preflightStatus()
	if p == nil || v.Mode != config.Armed {
		return nil
	}
	if f := p.fatal(); f != nil {
		return fmt.Errorf("this machine could not be powered off: %s", strings.TrimSpace(f.Text+"; "+f.Fix))
	}
	return nil
}

func (a *Agent) getPreflight(w http.ResponseWriter, _ *http.Request) {
	p := a.View().Preflight
	if p == nil {
		http.Error(w, "no preflight has run yet; POST runs one", http.StatusNotFound)
		return
	}
	writeJSON(w, p)
}

// preflightAnswer is how long POST /v1/preflight may take: a plan whose every check hangs.
const preflightAnswer = 10 * time.Minute

func (a *Agent) postPreflight(w http.ResponseWriter, r *http.Request) {
	answerWithin(w, preflightAnswer)
	p, err := a.Preflight(r.Context())
	writeAnswer(w, p, err)
}

// answerWithin gives a request that takes longer than others the time for that.
func answerWithin(w http.ResponseWriter, d time.Duration) {
	c, end := http.NewResponseController(w), time.Now().Add(d)
	_, _ = c.SetReadDeadline(end), c.SetWriteDeadline(end) // where there are none, none ends it
}
