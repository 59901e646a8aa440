package shutdown

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dodai-agent/dodai"
)

// How checks are bounded: how many run at once, how long each may take, and how long
// after its end it may still come back before it counts as hanging.
const (
	checksAtOnce = 8
	checkLimit   = 15 * time.Second
	checkGrace   = time.Second
	maxFindings  = 20 // of one step
)

// Preflight is what was found out about the way down without stopping anything.
type Preflight struct {
	Steps []Checked `json:"steps"` // in the plan's order, the power-off last
}

// Checked is what was found out about one step.
type Checked struct {
	Step     string    `json:"step"`
	Kind     string    `json:"kind"`
	Does     string    `json:"does"` // in one line, without secrets
	TookS    float64   `json:"took_s"`
	Findings []Finding `json:"findings"` // empty: nothing stands against it
}

// Findings are those of all steps, in order.
func (p Preflight) Findings() []Finding {
	var all []Finding
	for _, s := range p.Steps {
		all = append(all, s.Findings...)
	}
	return all
}

// Hanging remembers the checks that have not come back, so that a file system that hangs
// for good costs one goroutine, not one with each preflight. The zero value is ready;
// its methods may be called from any goroutine.
type Hanging struct {
	mu sync.Mutex
	at map[string]bool
}

func (h *Hanging) has(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[key]
}

// comeback is one check that is waited for.
type comeback struct {
	*Hanging
	key           string
	over, givenUp bool // under the lock of Hanging
}

func (h *Hanging) watch(key string) *comeback { return &comeback{Hanging: h, key: key} }

// come: the check has come back.
func (c *comeback) come() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.givenUp {
		delete(c.at, c.key)
	}
}

// giveUp: nobody waits for the check any more.
func (c *comeback) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.givenUp = true
	if c.at == nil {
		c.at = map[string]bool{}
	}
	c.at[c.key] = true
}

// Preflight asks every step, what takes it back, and the power-off whether they could do
// their work now. Nothing is stopped. Eight checks run at a time, none longer than 15 s or
// its step's time-out; one that hangs or panics is a finding itself. When ctx ends it
// returns at once, and what it says is worth nothing.
//
// It may run beside whatever the executor does, but what a step has stopped already is
// then found missing. h belongs to whoever calls it again and again.
func (e *Executor) Preflight(ctx context.Context, h *Hanging) Preflight {
	p := Preflight{Steps: make([]Checked, len(e.Plan.Steps)+1)}
	slots := make(chan struct{}, checksAtOnce)
	var running sync.WaitGroup
	for i := range p.Steps {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			if i == len(e.Plan.Steps) {
				p.Steps[i] = e.checkPowerOff(ctx, h)
				return
			}
			p.Steps[i] = e.CheckStep(ctx, h, &e.Plan.Steps[i])
		})
	}
	running.Wait()
	return p
}

// CheckStep is Preflight for one step of the plan.
func (e *Executor) CheckStep(ctx context.Context, h *Hanging, s *Step) Checked {
	start := time.Now()
	c := Checked{Step: s.Name, Kind: s.Do.Kind(), Does: s.Do.String(), Findings: e.checkAction(ctx, h, s, s.Do)}
	if back := s.Inverse(); back != nil && ctx.Err() == nil {
		for _, f := range e.checkAction(ctx, h, s, back) {
			same := func(o Finding) bool { return o.Check == f.Check && o.Text == f.Text }
			if slices.ContainsFunc(c.Findings, same) {
				continue // what stands against both is said once
			}
			f.Text, f.Fatal = "undoing it: "+f.Text, false
			c.Findings = append(c.Findings, f)
		}
	}
	c.TookS = time.Since(start).Seconds()
	return c
}

func (e *Executor) checkAction(ctx context.Context, h *Hanging, s *Step, do Action) []Finding {
	limit := min(checkLimit, s.timeout())
	cause := Cause{Text: "preflight", Drill: "preflight"}
	t := e.task(cause, s.Name, programLimit(limit), nil)
	return bounded(ctx, h, s.Name, do.String(), limit, func(ctx context.Context) []Finding { return do.Check(ctx, t) })
}

// programLimit is how long a program that a check starts may run: it is to be killed
// before the check ends, not left behind.
func programLimit(check time.Duration) time.Duration { return max(check/2, check-killWait-checkGrace) }

func (e *Executor) checkPowerOff(ctx context.Context, h *Hanging) Checked {
	c := Checked{Step: PowerOffStep, Kind: PowerOffStep, Does: "power off by the operating system"}
	if len(e.Plan.Command) > 0 {
		c.Does = Quoted(e.Plan.Command)
	}
	start := time.Now()
	c.Findings = bounded(ctx, h, PowerOffStep, c.Does, checkLimit, e.CheckPowerOff)
	c.TookS = time.Since(start).Seconds()
	return c
}

// bounded runs check in a goroutine of its own, which is left behind when it does not
// come back in time. does is what the step does, for the text.
func bounded(ctx context.Context, h *Hanging, step, does string, limit time.Duration, check func(context.Context) []Finding) []Finding {
	key := step + "\x00" + does
	if h.has(key) {
		return []Finding{hangs(step, does, "an earlier check has not come back yet")}
	}
	if ctx.Err() != nil {
		return []Finding{}
	}
	over := ctx.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, timedOut(limit))
	defer cancel()
	found := make(chan []Finding, 1)
	back := h.watch(key)
	go func() {
		defer back.come()
		defer func() {
			if p := recover(); p != nil {
				found <- []Finding{{Check: "check_broken", Text: fmt.Sprintf("the check of %q broke: %v", does, p),
					Fix: "this is a bug of dodai; `dodai step " + step + " --run` tries the step itself"}}
			}
		}()
		found <- check(ctx)
	}()
	late := time.NewTimer(limit + checkGrace)
	defer late.Stop()
	select {
	case list := <-found:
		return presentable(step, list)
	case <-over: // what it would say is worth nothing any more
		back.giveUp()
		return []Finding{}
	case <-late.C:
		back.giveUp()
		return []Finding{hangs(step, does, fmt.Sprintf("its check has not come back after %v", limit+checkGrace))}
	}
}

func hangs(step, does, why string) Finding {
	return Finding{Step: step, Check: "check_hangs", Text: fmt.Sprintf("%q hangs: %s", does, why),
		Fix: "look for a file system, a server or a daemon that does not answer"}
}

// presentable keeps what foreign programs and hosts say from doing harm where it is shown.
func presentable(step string, list []Finding) []Finding {
	list = slices.Clone(list[:min(len(list), maxFindings)])
	for i := range list {
		f := &list[i]
		if f.Step == "" {
			f.Step = step
		}
		f.Text, f.Fix = dodai.Printable(f.Text), dodai.Printable(f.Fix)
	}
	if list == nil {
		return []Finding{} // a list in JSON, not null
	}
	return list
}
