package agent

import (
	"context"
	"errors"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/helper"
	"github.com/dodai-agent/dodai/agent/killpower"
	"github.com/dodai-agent/dodai/agent/notify"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers"
)

// What the agent has the helper do, where there is one: decision record 0014.

// atHand is how many helpers stand by while they may be needed at once.
const atHand = 2

// leaveLimit bounds how long the helper may take to write a small file.
const leaveLimit = 5 * time.Second

// pin has the helper keep the configuration, and does not wait for that.
func (a *Agent) pin(cfg *config.Config) {
	if a.opts.Helper == nil || len(cfg.Text) == 0 {
		return
	}
	go func() {
		if err := a.opts.Helper.Of(cfg.Text).Pin(context.Background()); err != nil {
			a.log.Error("no step, hook or command of the configuration will be run", "err", err)
		}
	}()
}

// configStep is the step that a finding about the whole configuration is said of.
const configStep = "configuration"

// pinned finds out whether the helper runs what stands in the configuration; nil: there is
// no helper, or nothing to run.
func (a *Agent) pinned(cfg *config.Config) func(context.Context) *shutdown.Finding {
	if a.opts.Helper == nil || len(cfg.Text) == 0 {
		return nil
	}
	of := a.opts.Helper.Of(cfg.Text)
	return func(ctx context.Context) *shutdown.Finding {
		err := of.Pin(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		f := helper.Unavailable(configStep, err)
		return &f
	}
}

// stepUser is whose rights a step has that names nobody.
func (a *Agent) stepUser() string {
	if a.opts.Helper != nil {
		return "root"
	}
	return ownUser()
}

// hookRunner runs the hooks of cfg.
func (a *Agent) hookRunner(cfg *config.Config) notify.Runner {
	if a.opts.Helper != nil {
		return a.opts.Helper.Of(cfg.Text).Hook
	}
	return func(ctx context.Context, c notify.Command) (string, error) {
		if c.User == "" {
			return notify.Process(ctx, c)
		}
		res := shutdown.Process(context.WithoutCancel(ctx), shutdown.Command{Args: c.Args, Env: c.Env, User: c.User, Timeout: c.Timeout, Abort: ctx})
		return res.Output, res.Failure()
	}
}

// withTools gives a driver the helper to run its tools.
func (a *Agent) withTools(f drivers.Factory, cfg *config.Config) drivers.Factory {
	if a.opts.Helper != nil && f.Name == "smartctl" {
		f.Run = a.opts.Helper.Of(cfg.Text).Tool
	}
	return f
}

// leave writes down what the late command has to know, which believes only root.
func (a *Agent) leave(cfg *config.Config, s *killpower.State) error {
	if a.opts.Helper == nil {
		return killpower.Write(a.opts.RunDir, s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	return a.opts.Helper.Of(cfg.Text).Leave(ctx, s)
}

// leaveTries is how often it is tried where nobody waits: on a machine that is short of memory
// a helper takes long to start.
const (
	leaveTries = 3
	leavePause = 500 * time.Millisecond
)

// leaveSurely is leave for who may wait, and is tried again when the helper did not answer.
func (a *Agent) leaveSurely(cfg *config.Config, s *killpower.State) error {
	for try := 1; ; try++ {
		err := a.leave(cfg, s)
		mute := errors.Is(err, helper.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
		if !mute || try == leaveTries || a.ctx.Err() != nil {
			return err
		}
		a.log.Warn("the helper does not answer, and is asked again", "err", err)
		time.Sleep(leavePause)
	}
}

// standBy has helpers ready when the way down may be near.
func (a *Agent) standBy(near bool) {
	switch {
	case a.opts.Helper == nil:
	case near:
		a.opts.Helper.Keep(atHand)
	default:
		a.opts.Helper.Keep(0)
	}
}
