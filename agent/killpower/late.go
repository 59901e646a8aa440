package killpower

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

// Actions are what the service manager may be doing, as it calls the late command.
var Actions = []string{"poweroff", "halt", "reboot", "kexec"}

const (
	readTries = 2
	tellTries = 2
	// steadyFor is how long the mains have to be back before they are believed: a machine
	// that boots into the next dip has spent its battery on it.
	steadyFor = 1500 * time.Millisecond
	lookEvery = time.Second
	// lookFor is how long the UPSes are watched after they were told.
	lookFor = 6 * time.Second
	// patience is how long the late command stays where nothing but the UPSes themselves can
	// bring the machine back; systemd ends what it calls after 90 s.
	patience = 80 * time.Second
	// after is how long after the announced cut a machine that still runs is not being cut.
	after = 8 * time.Second
	// overlap is how long all UPSes of a host have to be dark together.
	overlap = time.Minute
)

// Late is the late command: what is done after everything else has ended. All fields but
// those that say so are required.
type Late struct {
	State *State
	Find  func(driver string) (drivers.Factory, bool)
	// Wake sets the clock that wakes the machine so long from now, as RTC.Wake does.
	Wake func(before Wake, in time.Duration) (Wake, error)
	// Reboot starts the machine anew at once. It returns only when that did not work.
	Reboot func() error
	// Say tells who stands at the console, one line at a time.
	Say func(line string)
	Now func() time.Duration // the clock of State; nil: Boottime
	Log *slog.Logger         // nil: discards
	// DryRun reads the UPSes and says what would be done.
	DryRun bool
}

// Did is what the late command did.
type Did string

// What can be done.
const (
	DidNothing Did = "nothing" // there was nothing to do
	DidCut     Did = "cut"     // at least one UPS cuts its output
	DidReboot  Did = "reboot"  // the mains are back
	DidOff     Did = "off"     // the machine goes off, and no UPS was told
)

// Outcome is what came of the late command. Its JSON is part of `dodai killpower --json`.
type Outcome struct {
	Action string       `json:"action"`
	DryRun bool         `json:"dry_run,omitempty"`
	Did    Did          `json:"did"`
	Text   string       `json:"text"` // why, in one sentence
	UPS    []UPSOutcome `json:"ups,omitempty"`
	// WakeAt is when the clock wakes the machine, in seconds of the RTC; nil: it does not.
	WakeAt *int64 `json:"wake_at,omitempty"`
}

// UPSOutcome is what became of one UPS.
type UPSOutcome struct {
	Name  string `json:"ups"`
	Mains Mains  `json:"mains"`
	// Told: it has taken the command. CountingDown: and says so itself.
	Told         bool    `json:"told"`
	CountingDown bool    `json:"counting_down"`
	OffS         float64 `json:"off_s,omitempty"` // as it was told
	OnS          float64 `json:"on_s,omitempty"`
	Error        string  `json:"error,omitempty"`
}

// run is one run of the late command.
type run struct {
	Late
	began   time.Duration
	devices []*device
	chosen  []*device // those to tell
	wake    Wake
	woken   bool // the clock brings the machine back
	errs    []error
}

// Run does what has to be done, and returns what that was. action is one of Actions. It
// ends in about 20 seconds, or in 80 where there is no clock to wake the machine. The
// error says what did not work; the outcome is valid beside it.
func (l Late) Run(ctx context.Context, action string) (Outcome, error) {
	if !slices.Contains(Actions, action) {
		return Outcome{}, fmt.Errorf("action %q, want one of %s", action, strings.Join(Actions, ", "))
	}
	if action == "reboot" || action == "kexec" {
		return l.stays(action), nil
	}
	if l.Now == nil {
		l.Now = Boottime
	}
	l.Log = cmp.Or(l.Log, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := &run{Late: l, began: l.Now(), devices: openDevices(l.State.UPS, l.Find, l.Log)}
	defer each(r.devices, (*device).close)
	did, text := r.do(ctx)
	out := r.outcome(action, did, text)
	r.say(out)
	if did == DidReboot && !l.DryRun {
		r.note(l.Reboot())
	}
	return out, errors.Join(r.errs...)
}

// stays is the outcome of a machine that starts anew by itself: it keeps its power.
func (l Late) stays(action string) Outcome {
	out := Outcome{Action: action, DryRun: l.DryRun, Did: DidNothing, Text: "the machine starts anew by itself: no UPS is told to cut its output"}
	for _, u := range l.State.UPS {
		if u.Told != nil {
			l.Say(u.Name + " was told to cut its output before it was known that the machine only restarts")
		}
	}
	return out
}

func (r *run) note(err error) {
	if err != nil {
		r.errs = append(r.errs, err)
	}
}

// do finds out how the machine will start again, and sees to it.
func (r *run) do(ctx context.Context) (Did, string) {
	r.setWake()
	each(r.devices, func(d *device) { r.readUntilHeard(ctx, d) })
	if r.steadilyBack(ctx) {
		return DidReboot, r.whyBack()
	}
	if r.choose(); r.DryRun {
		return r.went()
	}
	if r.tellAll(ctx); r.watch(ctx) {
		why := r.whyBack()
		each(r.chosen, func(d *device) { r.callOff(ctx, d) })
		return DidReboot, why
	}
	return r.went()
}

// went is the outcome of a machine that goes off.
func (r *run) went() (Did, string) {
	var told []string
	for _, d := range r.devices {
		if d.now().told != nil || r.DryRun && slices.Contains(r.chosen, d) {
			told = append(told, d.Name)
		}
	}
	switch {
	case told != nil && r.DryRun:
		return DidCut, "the mains are away: would tell " + strings.Join(told, ", ") + " to cut the output and to restore it with the mains"
	case told != nil:
		return DidCut, "the mains are away: told " + strings.Join(told, ", ") + " to cut the output and to restore it with the mains"
	case r.woken:
		return DidOff, "no UPS is told to cut its output; the clock starts the machine again"
	}
	return DidOff, "no UPS is told to cut its output and no clock is set: unless the battery runs empty before the mains return, somebody has to switch the machine on"
}

// setWake sets the clock first: whatever hangs later, the machine is woken.
func (r *run) setWake() {
	before := r.State.Wake
	if before == nil {
		return
	}
	if r.wake = *before; r.DryRun {
		r.woken = before.At > 0
		return
	}
	w, err := r.Wake(*before, WakeIn(r.State.End-r.began))
	switch {
	case errors.Is(err, ErrNoRTC):
	case err != nil:
		r.note(fmt.Errorf("the clock is not set to wake the machine: %w", err))
	default:
		r.wake, r.woken = w, true
	}
}

// WakeIn is how long to wait before a machine is woken whose battery, with the machine
// running, would last for left; 0 or less: that is not known, or it was to be empty by
// now. Without the machine's load it lasts longer, and a machine that wakes on battery has
// to go down again at once.
func WakeIn(left time.Duration) time.Duration {
	if left <= 0 {
		return time.Hour
	}
	return min(2*left+15*time.Minute, MaxWake)
}

func (r *run) readUntilHeard(ctx context.Context, d *device) {
	for range readTries {
		if d.read(ctx); d.now().err == nil {
			return
		}
	}
}

// back are the UPSes that carry the host and have mains: each keeps it powered by itself.
func (r *run) back() []string {
	var names []string
	for _, d := range r.devices {
		if d.Feeds && r.mains(d) == MainsPresent {
			names = append(names, d.Name)
		}
	}
	return names
}

func (r *run) mains(d *device) Mains {
	of := map[string]Mains{}
	for _, d := range r.devices {
		of[d.Name] = d.now().mains
	}
	return Effective(r.State.UPS, d.Name, of)
}

func (r *run) whyBack() string {
	return "the mains are back on " + strings.Join(r.back(), ", ") + ": nobody would switch the machine on again, it starts anew"
}

// steadilyBack reports whether the mains are back, and asks again before it believes it.
func (r *run) steadilyBack(ctx context.Context) bool {
	if len(r.back()) == 0 {
		return false
	}
	sleep(ctx, steadyFor)
	each(r.devices, func(d *device) { d.read(ctx) })
	return len(r.back()) > 0
}

// choose picks the UPSes to tell: those that are ours to cut, can be reached, have no mains
// and were not told by the daemon. One that is silent is told blindly: when it was heard
// last, it was on battery.
func (r *run) choose() {
	for _, d := range r.devices {
		if d.Cut != nil && d.Local && d.Told == nil && r.mains(d) != MainsPresent {
			r.chosen = append(r.chosen, d)
		}
	}
}

func (r *run) tellAll(ctx context.Context) {
	errs := make([]error, len(r.chosen))
	each(r.chosen, func(d *device) { errs[slices.Index(r.chosen, d)] = r.tellUntilTaken(ctx, d) })
	r.errs = append(r.errs, errs...)
}

func (r *run) tellUntilTaken(ctx context.Context, d *device) (err error) {
	for range tellTries {
		if err = r.tell(ctx, d); err == nil {
			break
		}
	}
	return err
}

// tell keeps the output away until every UPS that the daemon has told is dark, too: two
// that are dark one after the other never cut the machine's power.
func (r *run) tell(ctx context.Context, d *device) error {
	c := *d.Cut
	for _, u := range r.State.UPS {
		if u.Feeds && u.Told != nil {
			c.On = max(c.On, u.Told.Dark()-(r.Now()+c.Off)+overlap)
		}
	}
	return d.tell(ctx, c, r.Now)
}

// watch looks at what was told, and reports whether the mains have come back in a way that
// leaves the machine without power-cycle and so without start. Where a clock will wake it
// a short look is enough. Where none will, a machine that goes off leaves its way back to
// a UPS that may think otherwise when the mains return, so it stays to see its power go.
func (r *run) watch(ctx context.Context) bool {
	began := r.Now()
	for looks, backs := 1, 0; ; looks++ {
		each(r.devices, func(d *device) { d.read(ctx) })
		if backs++; r.cycles() {
			backs = 0
		}
		if looks == 2 && backs == 0 {
			each(r.chosen, func(d *device) { r.tellAgain(ctx, d) })
		}
		until, dark := began+lookFor, r.lastDark()
		if !r.woken && dark > 0 {
			until = min(dark+after, r.began+patience-lookFor)
		}
		switch over := r.Now() >= until || ctx.Err() != nil; {
		case backs == 2:
			return true
		case backs == 0 && (r.woken || dark == 0) && looks >= 2 && r.confirmed(), over && backs == 0 && r.Now() < dark+after:
			return false
		case over: // what was announced should have happened
			return len(r.back()) > 0
		}
		sleep(ctx, lookEvery)
	}
}

// lastDark is when the last output goes that was told to; 0: none was.
func (r *run) lastDark() time.Duration {
	var last time.Duration
	for _, d := range r.devices {
		if s := d.now(); s.told != nil {
			last = max(last, s.told.Dark())
		}
	}
	return last
}

// cycles reports whether the machine's power will go, and so come back: the mains are
// away, or those UPSes that have them count down all the same, and every other is told.
func (r *run) cycles() bool {
	back := r.back()
	if len(back) == 0 {
		return true
	}
	for _, d := range r.devices {
		if s := d.now(); d.Feeds && (s.told == nil || slices.Contains(back, d.Name) && !s.counting) {
			return false
		}
	}
	return true
}

// confirmed reports whether every UPS that was told says that it counts down.
func (r *run) confirmed() bool {
	for _, d := range r.chosen {
		if s := d.now(); s.told != nil && !s.counting {
			return false
		}
	}
	return true
}

// tellAgain repeats a command that the UPS shows no sign of. Some never show any; for those
// the countdown begins anew, and where that fails half way none runs: it is tried as often
// as the first time.
func (r *run) tellAgain(ctx context.Context, d *device) {
	if s := d.now(); s.told != nil && s.err == nil && !s.counting && s.mains == MainsAbsent {
		if err := r.tellUntilTaken(ctx, d); err != nil {
			r.Log.Warn("repeating the command", "ups", d.Name, "err", err)
		}
	}
}

// callOff is for a machine that starts anew: it is not to lose its power while it does. Where
// that fails it starts once more.
func (r *run) callOff(ctx context.Context, d *device) {
	if d.now().told != nil {
		if err := d.callOff(ctx); err != nil {
			r.Log.Warn("the cut is not called off", "ups", d.Name, "err", err)
		}
	}
}

func (r *run) outcome(action string, did Did, text string) Outcome {
	out := Outcome{Action: action, DryRun: r.DryRun, Did: did, Text: text}
	if r.woken {
		out.WakeAt = new(r.wake.At)
	}
	for _, d := range r.devices {
		s := d.now()
		u := UPSOutcome{Name: d.Name, Mains: cmp.Or(s.mains, MainsUnknown), CountingDown: s.counting}
		if s.told != nil {
			u.Told, u.OffS, u.OnS = true, s.told.Off.Seconds(), s.told.On.Seconds()
		}
		if s.err != nil {
			u.Error = drivers.Plain(s.err)
		}
		out.UPS = append(out.UPS, u)
	}
	return out
}

// say tells the console what is about to happen.
func (r *run) say(out Outcome) {
	for i, u := range out.UPS {
		r.Say(u.line(r.devices[i], out))
	}
	r.Say(out.Text)
}

func (u UPSOutcome) line(d *device, out Outcome) string {
	line := u.Name + ": mains " + string(u.Mains)
	switch {
	case u.Told && out.Did == DidReboot:
		line += ", told to forget the cut"
	case u.Told:
		line += fmt.Sprintf(", told to cut its output after %.0f s and to restore it with the mains after %.0f s", u.OffS, u.OnS)
		if u.CountingDown {
			line += "; it counts down"
		}
	case d.Cut == nil:
		line += ", not to be cut by this host"
	case out.Did == DidReboot:
		line += ", not told to cut its output"
	case out.DryRun:
		line += fmt.Sprintf(", would be told to cut its output after %.0f s and to restore it with the mains after %.0f s", d.Cut.Off.Seconds(), d.Cut.On.Seconds())
	default:
		line += ", NOT told to cut its output"
	}
	if u.Error != "" {
		line += ": " + u.Error
	}
	return line
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
