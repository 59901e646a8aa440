package shutdown

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	firstRetry = 2 * time.Second
	maxRetry   = time.Minute
	syncWait   = 10 * time.Second
	// moreGrace is how often the grace is granted again while logind says that the
	// machine is on its way down.
	moreGrace = 4
	// darkWait is how long a machine may still run after it was forced off.
	darkWait = 10 * time.Second
	// returnWait bounds the question whether the power is back, for which UPSes that count
	// down are asked to stop. No answer is a no.
	returnWait = 8 * time.Second
)

// Goal is what becomes of the machine at the end of a shutdown.
type Goal string

// The goals. Their text is the verb of systemctl.
const (
	GoalPowerOff Goal = "poweroff"
	// GoalReboot is for a machine whose power is back before it is off: nobody would
	// switch it on again.
	GoalReboot Goal = "reboot"
)

// errForceDue is why a way of asking is given up before its own time is over.
var errForceDue = fmt.Errorf("%w: the battery's time is over", ErrTimeout)

// powerOff asks until it works. See Run for what it returns.
func (e *Executor) powerOff(ctx context.Context, cause Cause) error {
	e.record(ctx, cause, PowerOffStep, PhaseStarted, 0)
	e.beforeOff(ctx)
	o := &off{e: e, cause: cause}
	for wait := firstRetry; ; wait = min(2*wait, maxRetry) {
		if o.round(ctx, wait) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// beforeOffWait is how long the power-off waits for what has to be done before it.
const beforeOffWait = 10 * time.Second

// beforeOff does it, or leaves it behind when it hangs or the machine has to be forced off.
func (e *Executor) beforeOff(ctx context.Context) {
	if e.BeforeOff == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, beforeOffWait)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.BeforeOff(ctx)
	}()
	go func() {
		if e.untilForce(ctx, aim{}) {
			cancel()
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// off is the power-off of one Run.
type off struct {
	e       *Executor
	cause   Cause
	aim     aim
	attempt int  // how often all ways were begun
	told    bool // a way was accepted: the machine should be on its way down
	hurried bool // it was forced after its time was over, and that failed
	guard   watch
}

// aim is what the machine is to do, and what that has to do with the battery's end.
type aim struct {
	goal Goal
	// earliest is the soonest that it may be forced: with the power back the battery's
	// end is no reason to cut off a polite reboot before it was answered and had its grace.
	earliest time.Duration
}

// forceAt is when patience is over; 0: never.
func (a aim) forceAt(ends Ends) time.Duration {
	if ends.Force == 0 {
		return 0
	}
	return max(ends.Force, a.earliest)
}

// way is one way of asking for the power-off. ask returns nil when it was accepted. It
// gives up when abort ends; when ctx does, what it started is left alone.
type way struct {
	name   string
	ask    func(ctx, abort context.Context) error
	limit  time.Duration // for the answer, and for what it takes to end one that hangs
	forced bool          // what hangs elsewhere does not stop it
	// grace is how long the machine may still run after it was accepted, and more how
	// often that is granted again while it is on its way down. grace 0: accepted is done.
	grace time.Duration
	more  int
}

// round tries each way once, and waits then. done: the command succeeded, or the machine
// is going down and has just told the agent to end.
func (o *off) round(ctx context.Context, wait time.Duration) (done bool) {
	o.attempt++
	o.choose(ctx)
	ways := o.ways()
	patience, cancel := o.patience(ctx, ways)
	defer cancel()
	o.keepGuard(ctx, patience)
	var why error
	for i, w := range ways {
		if patience.Err() != nil && !w.forced {
			why = cmp.Or(why, errForceDue)
			continue
		}
		o.announce(w, i+1, len(ways), why)
		if why = o.try(ctx, patience, w); why == nil || ctx.Err() != nil {
			return why == nil || o.told
		}
		o.failed(w, why, i == len(ways)-1, wait)
	}
	o.hurried = o.hurried || patience.Err() != nil
	select {
	case <-time.After(wait):
	case <-o.untilHurry(patience):
	case <-ctx.Done():
		return o.told
	}
	return false
}

// untilHurry is closed when the pause before the next round has to end, because it has
// to force the machine off.
func (o *off) untilHurry(patience context.Context) <-chan struct{} {
	if o.hurried {
		return nil
	}
	return patience.Done()
}

// choose finds out what the machine is to do: start again when its power is back.
func (o *off) choose(ctx context.Context) {
	switch back := o.e.powerIsBack(ctx); {
	case !back:
		o.aim = aim{goal: GoalPowerOff}
	case o.aim.goal != GoalReboot:
		o.aim = aim{goal: GoalReboot, earliest: o.e.Now() + o.e.askTimeout() + o.e.grace()}
	}
}

func (e *Executor) powerIsBack(ctx context.Context) bool {
	if e.Return == nil {
		return false
	}
	back := make(chan bool, 1)
	go func() { back <- e.Return() }()
	select {
	case is := <-back:
		return is
	case <-time.After(returnWait):
	case <-ctx.Done():
	}
	return false
}

// patience ends, with errForceDue, when the machine has to be forced off. It never does
// where that is not possible, or was tried already.
func (o *off) patience(ctx context.Context, ways []way) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() { cancel(context.Canceled) }
	if o.hurried || !ways[len(ways)-1].forced {
		return ctx, stop
	}
	ends, _ := o.e.ends.get()
	if at := o.aim.forceAt(ends); at != 0 && at <= o.e.Now() {
		cancel(errForceDue)
		return ctx, stop
	}
	a := o.aim
	go func() {
		if o.e.untilForce(ctx, a) {
			cancel(errForceDue)
		}
	}()
	return ctx, stop
}

// untilForce waits until the machine has to be forced. It returns sooner, and false, when
// ctx ends.
func (e *Executor) untilForce(ctx context.Context, a aim) bool {
	for {
		ends, changed := e.ends.get()
		var due <-chan time.Time
		if at := a.forceAt(ends); at != 0 {
			timer := time.NewTimer(max(0, at-e.Now()))
			defer timer.Stop()
			due = timer.C
		}
		select {
		case <-due:
			return true
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// announce tells which way is asked now, and what came of the one before.
func (o *off) announce(w way, n, of int, why error) {
	text := map[Goal]string{GoalPowerOff: "powering off", GoalReboot: "rebooting, because the power is back"}[o.aim.goal]
	if of > 1 {
		text += fmt.Sprintf(", way %d of %d", n, of)
	}
	text += ", " + w.name
	if why != nil {
		text += " (before it: " + oneLine(why) + ")"
	}
	fields := map[string]any{"method": w.name, "attempt": o.attempt}
	if o.aim.goal != GoalPowerOff {
		fields["action"] = string(o.aim.goal)
	}
	o.e.emit(o.cause, dodai.EventPowerOff, "", text+": "+cmp.Or(o.cause.Text, o.cause.Reason, string(o.cause.Event)), fields)
}

// failed tells of a way that failed, was refused or hangs. After the last one all are
// tried again.
func (o *off) failed(w way, err error, last bool, wait time.Duration) {
	fields := map[string]any{"method": w.name, "attempt": o.attempt, "error": oneLine(err)}
	if errors.Is(err, ErrTimeout) {
		fields["timed_out"] = true
	}
	text := fmt.Sprintf("%s failed, attempt %d: %s", o.aim.goal.noun(), o.attempt, oneLine(err))
	if last {
		fields["retry_s"] = wait.Seconds()
		text += fmt.Sprintf("; all is tried again in %s", seconds(wait))
	}
	o.e.Log.Error("power-off failed", "method", w.name, "attempt", o.attempt, "error", err)
	o.e.explainState(PowerOffStep, oneLine(err))
	o.e.emit(o.cause, dodai.EventShutdownFailed, "", text, fields)
}

func (g Goal) noun() string {
	if g == GoalReboot {
		return "reboot"
	}
	return "power-off"
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// try asks one way. nil: the command succeeded, or the machine is going down and has
// just told the agent to end.
func (o *off) try(ctx, patience context.Context, w way) error {
	if w.forced {
		patience = context.WithoutCancel(ctx)
	}
	err := o.ask(ctx, patience, w)
	if err == nil {
		o.told = true
		if w.grace > 0 {
			err = o.goesDown(ctx, patience, w)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	return nil
}

// ask does not wait for what hangs.
func (o *off) ask(ctx, patience context.Context, w way) error {
	done := make(chan error, 1)
	go func() { done <- w.ask(ctx, patience) }()
	limit := time.NewTimer(w.limit)
	defer limit.Stop()
	select {
	case err := <-done:
		return err
	case <-limit.C:
		return timedOut(w.limit)
	case <-patience.Done(): // ends with ctx, too
		return context.Cause(patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// goesDown waits until the service manager ends the agent, as it does when the machine
// goes down: nil. It gives up when the grace is over, or the patience.
func (o *off) goesDown(ctx, patience context.Context, w way) error {
	start := o.e.Now()
	for n := 0; n == 0 || n <= w.more && o.e.stopping(patience); n++ {
		timer := time.NewTimer(w.grace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		case <-patience.Done():
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepted, but the machine is still up: %w", context.Cause(patience))
		}
	}
	return fmt.Errorf("accepted, but the machine is still up: %w", timedOut(o.e.Now()-start))
}

func (e *Executor) stopping(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stopping, err := e.Logind.Stopping(ctx)
	return err == nil && stopping
}

// ways are what there is, the politest first.
func (o *off) ways() []way {
	if len(o.e.Plan.Command) > 0 {
		return o.commands()
	}
	grace, more := o.e.grace(), moreGrace
	if o.hurried {
		grace, more = time.Second, 0 // the machine lives on borrowed time
	}
	systemctl := o.program("systemctl "+string(o.aim.goal), "systemctl", string(o.aim.goal), "-i", "--no-wall")
	systemctl.grace, systemctl.more = grace, more
	return []way{
		{name: "logind", ask: o.logind, limit: o.e.askTimeout(), grace: grace, more: more},
		systemctl, o.force(),
	}
}

// commands are the ways of a plan that has its own.
func (o *off) commands() []way {
	p := &o.e.Plan
	ways := []way{o.program("command", p.Command...)}
	if len(p.PowerOff.Second) > 0 {
		ways = append(ways, o.program("second", p.PowerOff.Second...))
	}
	if len(p.PowerOff.Forced) > 0 {
		forced := o.program("forced", p.PowerOff.Forced...)
		forced.forced = true
		ways = append(ways, forced)
	}
	return ways
}

func (o *off) logind(ctx, abort context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.e.askTimeout(), timedOut(o.e.askTimeout()))
	defer cancel()
	defer context.AfterFunc(abort, cancel)()
	if o.aim.goal == GoalReboot {
		return o.e.Logind.Reboot(ctx)
	}
	return o.e.Logind.PowerOff(ctx)
}

// program is the way that runs a command. It is told what becomes of the machine.
func (o *off) program(name string, args ...string) way {
	c := Command{Args: args, Env: append(environment(o.cause, PowerOffStep), "DODAI_ACTION="+string(o.aim.goal)), Timeout: o.e.askTimeout()}
	return way{name: name, limit: c.Timeout + 2*killWait, ask: func(ctx, abort context.Context) error {
		c.Abort = abort
		return o.e.Config.Run(ctx, c).Failure()
	}}
}

// force is the built-in way that nothing else has a part in.
func (o *off) force() way {
	if o.e.Force == nil {
		return o.forceByProgram()
	}
	return way{name: "forced", forced: true, limit: ForceLimit, grace: darkWait, ask: func(ctx, _ context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, ForceLimit, timedOut(ForceLimit))
		defer cancel()
		return o.e.Force(ctx, o.aim.goal)
	}}
}

func (o *off) forceByProgram() way {
	w := o.program(string(o.aim.goal)+" -f -f", "/sbin/"+string(o.aim.goal), "-f", "-f")
	ask := w.ask
	w.ask = func(ctx, abort context.Context) error {
		// Everything else has failed; a sync that hangs on a dead disk must not.
		o.e.Config.Run(ctx, Command{Args: []string{"sync"}, Env: environment(o.cause, PowerOffStep), Timeout: syncWait})
		return ask(ctx, abort)
	}
	w.forced, w.grace = true, darkWait
	w.limit += syncWait + 2*killWait
	return w
}

func (e *Executor) askTimeout() time.Duration {
	return cmp.Or(e.Plan.PowerOff.Timeout, DefaultPowerOffTimeout)
}

func (e *Executor) grace() time.Duration { return cmp.Or(e.Plan.PowerOff.Grace, DefaultGrace) }
