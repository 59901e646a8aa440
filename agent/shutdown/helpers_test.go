package shutdown

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// rig is an executor whose programs, login manager, journal and listeners are all one
// log. It stands in a synctest bubble.
type rig struct {
	*Executor
	start time.Time

	mu  sync.Mutex
	log []string

	takes map[string]time.Duration // by first argument; absent: none
	fails map[string]error
	// failsUntil is the run, from 1, at which a program works for the first time.
	failsUntil map[string]int
	logind     func(ctx context.Context) error // nil: accepted
	can        string                          // what CanPowerOff says; empty: yes, none: no answer
	stopping   bool
	recordIs   func(context.Context) error
	events     []dodai.Event
	commands   []Command
}

func (r *rig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, strings.TrimSpace(fmt.Sprintf("%gs ", time.Since(r.start).Seconds())+fmt.Sprintf(format, args...)))
}

func newRig(t *testing.T, plan Plan) *rig {
	t.Helper()
	r := &rig{start: time.Now(), takes: map[string]time.Duration{}, fails: map[string]error{}, failsUntil: map[string]int{}}
	e, err := New(Config{
		Plan: plan, Run: r.run, Logind: r,
		Now: func() time.Duration { return time.Since(r.start) },
		Emit: func(ev dodai.Event) {
			r.mu.Lock()
			r.events = append(r.events, ev)
			r.mu.Unlock()
			r.note("event %s %s", ev.Name, ev.Device)
		},
		Record: func(ctx context.Context, p Progress) error {
			r.note("record %s %s", p.Step, p.Phase)
			if r.recordIs != nil {
				return r.recordIs(ctx)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Executor = e
	return r
}

// run is a Runner as its contract says: time-out, abort, and ctx that leaves it alone.
func (r *rig) run(ctx context.Context, c Command) Result {
	name := strings.Join(c.Args, " ")
	r.mu.Lock()
	r.commands = append(r.commands, c)
	length := r.takes[c.Args[0]]
	r.mu.Unlock()
	r.note("run %s", name)
	aborted := make(<-chan struct{})
	if c.Abort != nil {
		aborted = c.Abort.Done()
	}
	takes := time.NewTimer(length)
	timeout := time.NewTimer(c.Timeout)
	defer takes.Stop()
	defer timeout.Stop()
	select {
	case <-takes.C:
	case <-timeout.C:
		r.note("timeout %s", name)
		return Result{Exit: -1, Err: fmt.Errorf("%w after %v", ErrTimeout, c.Timeout)}
	case <-aborted:
		r.note("abort %s", name)
		return Result{Exit: -1, Err: ErrTakenOver}
	case <-ctx.Done():
		r.note("leave %s", name)
		return Result{Exit: -1, Err: context.Cause(ctx)}
	}
	r.mu.Lock()
	err := r.fails[c.Args[0]]
	if r.failsUntil[c.Args[0]]--; r.failsUntil[c.Args[0]] > 0 {
		err = errBroken
	}
	r.mu.Unlock()
	if err != nil {
		return Result{Exit: 1, Output: err.Error()}
	}
	return Result{}
}

func (r *rig) PowerOff(ctx context.Context) error {
	r.note("logind")
	r.mu.Lock()
	f := r.logind
	r.mu.Unlock()
	if f != nil {
		return f(ctx)
	}
	return nil
}

func (r *rig) Reboot(context.Context) error {
	r.note("logind reboot")
	return nil
}

func (r *rig) CanPowerOff(context.Context) (string, error) {
	if r.can == "none" {
		return "", errBroken
	}
	return cmp.Or(r.can, "yes"), nil
}

// neverForced is a Force for tests that must not come to it.
func (r *rig) neverForced(t *testing.T) func(context.Context, Goal) error {
	return func(context.Context, Goal) error {
		t.Error("forced off")
		return nil
	}
}

// Arm and Disarm are the guard, where a test has one.
func (r *rig) Arm(_ context.Context, in time.Duration, goal Goal) error {
	r.note("guard %s in %gs", goal, in.Seconds())
	return r.fails["guard"]
}

func (r *rig) Disarm(context.Context) error {
	r.note("guard disarmed")
	return nil
}

func (r *rig) Stopping(context.Context) (bool, error) { return r.stopping, nil }

// only returns the lines of the log that contain one of the words.
func (r *rig) only(words ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, line := range r.log {
		for _, w := range words {
			if strings.Contains(line, w) {
				out = append(out, line)
				break
			}
		}
	}
	return strings.Join(out, "\n")
}

func (r *rig) expect(t *testing.T, want string, words ...string) {
	t.Helper()
	want = strings.ReplaceAll(strings.TrimSpace(want), "\t", "")
	if got := r.only(words...); got != want {
		t.Errorf("lines with %q\ngot:\n%s\nwant:\n%s", words, got, want)
	}
}

// expectSorted is expect where steps run side by side: the lines of one instant are
// compared in the order of the alphabet, unless a program is among them that ends the plan.
func (r *rig) expectSorted(t *testing.T, want string, words ...string) {
	t.Helper()
	if got, want := sortInstants(r.only(words...)), sortInstants(strings.ReplaceAll(strings.TrimSpace(want), "\t", "")); got != want {
		t.Errorf("lines with %q\ngot:\n%s\nwant:\n%s", words, got, want)
	}
}

func sortInstants(text string) string {
	lines := strings.Split(text, "\n")
	slices.SortStableFunc(lines, func(a, b string) int {
		at := func(s string) float64 {
			instant, _, _ := strings.Cut(s, "s ")
			f, _ := strconv.ParseFloat(instant, 64)
			return f
		}
		return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(a, b))
	})
	return strings.Join(lines, "\n")
}

// dropLine leaves out the line that ends so.
func dropLine(text, line string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == line }), "\n")
}

var errBroken = errors.New("broken")

func command(name string) Step { return Step{Name: name, Do: Program{Args: []string{name}}} }

func early(name string) Step {
	return Step{Name: name, Do: Program{Args: []string{name}, Back: []string{"un" + name}}, Early: &Early{OnBattery: new(time.Minute)}}
}

// tested ends the plan with a command, so that Run returns.
func tested(steps ...Step) Plan { return Plan{Steps: steps, Command: []string{"off"}} }
