package action

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// A controller switches a host from outside: its BMC.
type controller interface {
	on(ctx context.Context) (bool, error)
	ask(ctx context.Context) error   // its operating system to shut down
	force(ctx context.Context) error // it off, whatever it is doing
	start(ctx context.Context) error
	close()
}

// powerEvery is how often a BMC is asked whether the host is off.
const powerEvery = 2 * time.Second

// startLooks is how many questions a host that was switched on may go on being called off
// before it is switched on once more. Earlier, a pressed power button would switch off
// what is just starting.
const startLooks = 15

// switching is how a host is switched off.
type switching struct {
	host  string
	every time.Duration // 0: powerEvery
	after time.Duration // switched off hard so long after it was asked; 0: never
}

// down asks the host to shut down and waits until it is off. What goes wrong while
// waiting may pass, so it only matters at the end.
func (s switching) down(ctx context.Context, c controller) shutdown.Result {
	on, err := c.on(ctx)
	if err != nil {
		return shutdown.Failed(ended(ctx, err, "asking whether "+s.host+" is on"), "")
	}
	if !on {
		return shutdown.Failed(nil, s.host+" was off already")
	}
	begin := time.Now()
	refused := c.ask(ctx)
	if refused != nil && s.after == 0 && !mayHaveCome(refused) {
		return shutdown.Failed(ended(ctx, refused, "asking "+s.host+" to shut down"), "")
	}
	last, forced := refused, false
	for pause(ctx, cmp.Or(s.every, powerEvery)) == nil {
		switch on, err := c.on(ctx); {
		case err != nil:
			last = err
		case !on:
			return shutdown.Failed(nil, s.went(time.Since(begin), forced, refused))
		case !forced && s.after > 0 && time.Since(begin) >= s.after:
			last = c.force(ctx)
			forced = last == nil
		}
	}
	doing := "waiting for " + s.host + " to go off"
	if forced {
		doing += ", which was switched off hard"
	}
	if last != nil {
		doing += ": " + last.Error()
	}
	return shutdown.Failed(ended(ctx, context.Cause(ctx), doing), "")
}

// mayHaveCome reports whether a request was possibly heard although no answer came.
func mayHaveCome(err error) bool {
	for _, f := range findings(shutdown.Task{}, "", err) {
		return f.Check == "no_answer" || f.Check == "connection_lost"
	}
	return false
}

func (s switching) went(took time.Duration, forced bool, refused error) string {
	text := fmt.Sprintf("%s went off %v after it was asked to", s.host, took.Round(time.Second))
	if forced {
		text = fmt.Sprintf("%s was switched off hard %v after it was asked to shut down", s.host, took.Round(time.Second))
	}
	if refused != nil {
		text += "; asking it failed: " + refused.Error()
	}
	return text
}

// up switches the host on again. One that is on may be about to go off, because it was
// asked to a moment ago: it is watched for settle before that counts as never done.
func (s switching) up(ctx context.Context, c controller, settle time.Duration) shutdown.Result {
	begin := time.Now()
	started := false
	looks := 0 // until it is switched on once more
	var last error
	for ; ; looks-- {
		on, err := c.on(ctx)
		switch {
		case err != nil:
			last = err
		case !on && looks > 0:
		case !on:
			if last = c.start(ctx); last == nil {
				started, looks = true, startLooks
			}
		case started:
			return shutdown.Failed(nil, s.host+" is on again")
		case time.Since(begin) >= settle:
			return shutdown.Failed(nil, fmt.Sprintf("%s has not gone off for %v", s.host, settle.Round(time.Second)))
		}
		if pause(ctx, cmp.Or(s.every, powerEvery)) == nil {
			continue
		}
		doing := "switching " + s.host + " on"
		if last != nil {
			doing += ": " + last.Error()
		}
		return shutdown.Failed(ended(ctx, context.Cause(ctx), doing), "")
	}
}

// settleTime is how much of a step's time-out a host is watched for.
func settleTime(t shutdown.Task) time.Duration { return t.Timeout * 3 / 4 }
