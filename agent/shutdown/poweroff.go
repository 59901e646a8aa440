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
)

// way is one way of asking for the power-off. ask returns nil when it was accepted.
type way struct {
	name string
	ask  func(context.Context) error
}

// powerOff asks until it works. See Run for what it returns.
func (e *Executor) powerOff(ctx context.Context, cause Cause) error {
	e.record(ctx, cause, PowerOffStep, PhaseStarted, 0)
	e.emit(cause, dodai.EventPowerOff, "", "powering off: "+cmp.Or(cause.Text, cause.Reason, string(cause.Event)), nil)
	for attempt, wait := 1, firstRetry; ; attempt, wait = attempt+1, min(2*wait, maxRetry) {
		err := e.askAll(ctx, cause)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.Log.Error("power-off failed", "attempt", attempt, "error", err, "again_in", wait)
		e.emit(cause, dodai.EventShutdownFailed, "", fmt.Sprintf("power-off failed, attempt %d: %s", attempt, oneLine(err)),
			map[string]any{"attempt": attempt, "retry_s": wait.Seconds()})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// askAll tries each way once. nil: the command succeeded, or the machine is going down
// and has just told the agent to end.
func (e *Executor) askAll(ctx context.Context, cause Cause) error {
	if len(e.Plan.Command) > 0 {
		return e.ask(ctx, way{"command", e.command(cause, e.Plan.Command...)})
	}
	var errs []error
	for _, w := range e.ways(cause) {
		err := e.ask(ctx, w)
		if err == nil {
			if e.goesDown(ctx) {
				return nil
			}
			err = fmt.Errorf("%s: accepted, but the machine is still up", w.name)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.Log.Warn("power-off: next way", "error", err)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (e *Executor) ways(cause Cause) []way {
	return []way{
		{"logind", e.Logind.PowerOff},
		{"systemctl poweroff", e.command(cause, "systemctl", "poweroff", "-i", "--no-wall")},
		{"systemctl poweroff --force", e.command(cause, "systemctl", "poweroff", "--force", "--no-wall")},
		{"poweroff -f -f", func(ctx context.Context) error {
			// Everything else has failed; a sync that hangs on a dead disk must not.
			e.Config.Run(ctx, Command{Args: []string{"sync"}, Env: environment(cause, PowerOffStep), Timeout: syncWait})
			return e.command(cause, "/sbin/poweroff", "-f", "-f")(ctx)
		}},
	}
}

func (e *Executor) command(cause Cause, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		return e.Config.Run(ctx, Command{Args: args, Env: environment(cause, PowerOffStep), Timeout: e.askTimeout()}).failure()
	}
}

func (e *Executor) askTimeout() time.Duration {
	return cmp.Or(e.Plan.PowerOff.Timeout, DefaultPowerOffTimeout)
}

// ask bounds a way: commands have a time-out of their own, and some room for it.
func (e *Executor) ask(ctx context.Context, w way) error {
	ctx, cancel := context.WithTimeout(ctx, e.askTimeout()+syncWait+4*killWait)
	defer cancel()
	if w.name == "logind" {
		ctx, cancel = context.WithTimeout(ctx, e.askTimeout())
		defer cancel()
	}
	done := make(chan error, 1)
	go func() { done <- w.ask(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer: %w", w.name, context.Cause(ctx))
	}
}

// goesDown waits until the service manager ends the agent, as it does when the machine
// goes down, and gives up when the grace is over.
func (e *Executor) goesDown(ctx context.Context) bool {
	grace := cmp.Or(e.Plan.PowerOff.Grace, DefaultGrace)
	for range 1 + moreGrace {
		select {
		case <-ctx.Done():
			return true
		case <-time.After(grace):
		}
		if !e.stopping(ctx) {
			return ctx.Err() != nil
		}
	}
	return false
}

func (e *Executor) stopping(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stopping, err := e.Logind.Stopping(ctx)
	return err == nil && stopping
}
