package shutdown

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// twelve is a host with machines, containers, a NAS and a database:
//
//	announce ─┬─ vms ──────┬─ storage ── nas ── nas-off
//	          ├─ web ── db ┤
//	          ├─ batch     │
//	          └─ cache ────┘      logs, mail (at once) ── flush      wait (of nas-off)
func twelve() []Step {
	step := func(name string, after ...string) Step {
		s := command(name)
		s.After = append([]string{}, after...)
		return s
	}
	return []Step{
		step("announce"), step("vms", "announce"), step("web", "announce"), step("db", "web"),
		step("batch", "announce"), step("cache", "announce"), step("storage", "vms", "db", "cache"),
		step("nas", "storage"), step("logs"), step("mail"), step("flush", "logs", "mail"), step("nas-off", "nas"),
	}
}

func TestTwelveSteps(t *testing.T) {
	type change func(r *rig, step func(string) *Step)
	takes := map[string]float64{
		"announce": 1, "vms": 30, "web": 5, "db": 20, "batch": 2, "cache": 3, "storage": 4, "nas": 5, "logs": 2, "mail": 6, "flush": 1, "nas-off": 7,
	}
	healthy := `
		0s run announce
		0s run logs
		0s run mail
		1s run batch
		1s run cache
		1s run vms
		1s run web
		6s run db
		6s run flush
		31s run storage
		35s run nas
		40s run nas-off
		47s run off`
	for name, tt := range map[string]struct {
		change change
		cause  Cause
		want   string
		words  []string
	}{
		"healthy: side by side, each when it can": {nil, Cause{}, healthy, []string{"run "}},
		"one fails and the plan goes on": {func(r *rig, _ func(string) *Step) { r.fails["web"] = errBroken }, Cause{}, `
			6s event step_failed web
			6s run db
			47s run off`, []string{"event step_failed web", "skipped", "run db", "run off"}},
		"one fails and stops what comes after it, not what is beside it": {func(r *rig, step func(string) *Step) {
			r.fails["web"], step("web").OnFailure = errBroken, Stop
		}, Cause{Ends: Ends{Ask: 100 * time.Second}}, `
			6s event step_failed web
			6s record db skipped
			6s run flush
			31s record storage skipped
			31s record nas skipped
			31s record nas-off skipped
			100s run off`, []string{"event step_failed web", "skipped", "run flush", "run storage", "run off"}},
		"one hangs: its time-out ends it, the others do not wait": {func(r *rig, step func(string) *Step) {
			r.takes["cache"], step("cache").Timeout = time.Hour, 50*time.Second
		}, Cause{}, `
			1s run cache
			6s run flush
			51s timeout cache
			51s run storage
			67s run off`, []string{"run cache", "run flush", "timeout", "run storage", "run off"}},
		"one fails twice, then works": {func(r *rig, step func(string) *Step) {
			step("db").Retries, step("db").RetryWait = 3, 5*time.Second
			r.failsUntil["db"] = 3
		}, Cause{}, `
			6s run db
			26s event step_retried db
			31s run db
			51s event step_retried db
			56s run db
			76s record db done
			76s event step_finished db
			76s run storage
			92s run off`, []string{"run db", "retried", "done db", "db done", "finished db", "run storage", "run off"}},
		"one fails for good after its tries": {func(r *rig, step func(string) *Step) {
			step("logs").Retries, r.fails["logs"] = 1, errBroken
		}, Cause{}, `
			0s run logs
			2s event step_retried logs
			4s run logs
			6s event step_failed logs
			6s run flush`, []string{"run logs", "retried", "step_failed", "run flush"}},
		"the deadline cuts what runs and skips the rest": {nil, Cause{Ends: Ends{Ask: 10 * time.Second}}, `
			10s abort db
			10s abort vms
			10s record storage skipped
			10s record nas skipped
			10s record nas-off skipped
			10s run off`, []string{"abort", "skipped", "run off"}},
		"the battery goes out faster than it said": {func(r *rig, _ func(string) *Step) {
			time.AfterFunc(3*time.Second, func() { r.Hasten(Ends{Ask: 15 * time.Second}) })
		}, Cause{Ends: Ends{Ask: time.Minute}}, `
			15s abort db
			15s abort vms
			15s record storage skipped
			15s record nas skipped
			15s record nas-off skipped
			15s run off`, []string{"abort", "timeout", "skipped", "run off"}},
		"the mains are back: all the time again": {func(r *rig, _ func(string) *Step) {
			time.AfterFunc(3*time.Second, r.Relax)
		}, Cause{Ends: Ends{Ask: 10 * time.Second}}, `
			31s run storage
			35s run nas
			40s run nas-off
			47s run off`, []string{"abort", "timeout", "skipped", "run storage", "run nas", "run off"}},
		"nothing is retried into the deadline": {func(r *rig, step func(string) *Step) {
			r.fails["vms"], step("vms").Retries = errBroken, 5
		}, Cause{Ends: Ends{Ask: 32 * time.Second}}, `
			31s event step_failed vms
			31s run storage
			32s abort storage`, []string{"event step_retried vms", "event step_failed vms", "run storage", "abort"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tested(twelve()...))
				for name, s := range takes {
					r.takes[name] = time.Duration(s * float64(time.Second))
				}
				if tt.change != nil {
					tt.change(r, func(name string) *Step { return &r.Plan.Steps[r.Plan.index(name)] })
				}
				if err := r.Run(t.Context(), tt.cause, nil); err != nil {
					t.Fatal(err)
				}
				r.expectSorted(t, tt.want, tt.words...)
			})
		})
	}
}

// What an operator began is called off until something runs that cannot be undone.
func TestCallOff(t *testing.T) {
	reversible := func(name string, after ...string) Step {
		return Step{Name: name, Do: Program{Args: []string{name}, Back: []string{"un" + name}}, After: append([]string{}, after...)}
	}
	steps := []Step{reversible("web"), reversible("db", "web"), reversible("cache", "web"), {Name: "burn", Do: Program{Args: []string{"burn"}}, After: []string{"db", "cache"}}}
	for name, tt := range map[string]struct {
		at       time.Duration
		cause    Cause
		noReturn string
		err      error
		want     string
	}{
		"while the first runs": {2 * time.Second, Cause{Operator: true}, "", nil, `
			0s run web
			2s abort web
			2s run unweb
			3s record web undone`},
		"while two run: the last first": {7 * time.Second, Cause{Operator: true}, "", nil, `
			0s run web
			5s record web done
			5s run cache
			5s run db
			7s abort cache
			7s abort db
			7s run uncache
			8s record cache undone
			8s run undb
			9s record db undone
			9s run unweb
			10s record web undone`},
		"behind the first that cannot be undone": {12 * time.Second, Cause{Operator: true}, "", ErrNoReturn, `
			0s run web
			5s record web done
			5s run cache
			5s run db
			10s record cache done
			10s record db done
			10s record burn no_return
			10s run burn
			15s record burn done
			15s record power_off no_return
			15s run off`},
		"of a power failure: the decision is the point of no return": {2 * time.Second, Cause{}, "", ErrNoReturn, ""},
		"of a power failure, where the plan puts it behind a step": {7 * time.Second, Cause{}, "burn", nil, `
			0s run web
			5s record web done
			5s run cache
			5s run db
			7s abort cache
			7s abort db
			7s run uncache
			8s record cache undone
			8s run undb
			9s record db undone
			9s run unweb
			10s record web undone`},
		"gone on with by the next agent": {2 * time.Second, Cause{Operator: true, Passed: true}, "", ErrNoReturn, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tested(steps...)
				p.NoReturn = tt.noReturn
				r := newRig(t, p)
				for _, s := range steps {
					r.takes[s.Name], r.takes["un"+s.Name] = 5*time.Second, time.Second
				}
				answer := make(chan error, 1)
				time.AfterFunc(tt.at, func() { answer <- r.CallOff("no longer wanted") })
				err := r.Run(t.Context(), tt.cause, nil)
				if got := <-answer; !errors.Is(got, tt.err) {
					t.Errorf("CallOff = %v, want %v", got, tt.err)
				}
				if wantErr := tt.err == nil; errors.Is(err, ErrCalledOff) != wantErr {
					t.Errorf("Run = %v, called off: want %v", err, wantErr)
				}
				if tt.want != "" {
					want := tt.want
					if tt.noReturn == "" && tt.err != nil { // the power-off passes nothing any more
						want = dropLine(want, "15s record power_off no_return")
					}
					r.expectSorted(t, want, "run ", "abort", " done", " undone", "no_return")
				}
				if err := r.CallOff("again"); !errors.Is(err, ErrNotRunning) {
					t.Errorf("CallOff after the end = %v, want ErrNotRunning", err)
				}
			})
		})
	}
}

// A power failure in the middle of an operator's shutdown takes the way back away.
func TestPress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		r.takes["a"] = time.Minute
		time.AfterFunc(5*time.Second, func() {
			if err := r.Press(Ends{Ask: 20 * time.Second}); err != nil {
				t.Error(err)
			}
			if err := r.CallOff("too late"); !errors.Is(err, ErrNoReturn) || r.Callable() {
				t.Errorf("CallOff = %v, want ErrNoReturn", err)
			}
		})
		if err := r.Run(t.Context(), Cause{Operator: true}, nil); err != nil {
			t.Fatal(err)
		}
		r.expectSorted(t, "0s run a\n20s abort a\n20s record b skipped\n20s run off", "run ", "abort", "skipped")
	})
}

// A Run that begins while another is being undone takes over, and does all of it.
func TestRunTakesOverWhatIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, tested(early("a"), early("b")))
		r.takes["a"], r.takes["b"], r.takes["una"] = 5*time.Second, time.Minute, time.Minute
		first := make(chan error, 1)
		go func() { first <- r.Run(t.Context(), Cause{Operator: true}, nil) }()
		time.Sleep(10 * time.Second)
		if err := r.CallOff("no longer wanted"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // in the middle of undoing a
		r.mu.Lock()
		r.takes["b"] = time.Second
		r.mu.Unlock()
		if err := r.Run(t.Context(), Cause{}, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-first; !errors.Is(err, ErrCalledOff) {
			t.Errorf("the first Run = %v, want ErrCalledOff", err)
		}
		r.expectSorted(t, `0s run a
			5s run b
			10s abort b
			10s run unb
			10s run una
			20s abort una
			20s run a
			25s run b
			26s run off`, "run ", "abort")
	})
}

// Whatever the plan, each step runs once, none before what it waits for, and the need is
// exactly the time until the power-off.
func TestWalkKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			n := rapid.IntRange(0, 10).Draw(rt, "steps")
			var steps []Step
			runs := map[string][]Measured{}
			for i := range n {
				s := command(fmt.Sprintf("s%d", i))
				if i == 0 || rapid.Bool().Draw(rt, "explicit") {
					s.After = []string{}
					for k := range i {
						if rapid.IntRange(0, 3).Draw(rt, "after") == 0 {
							s.After = append(s.After, fmt.Sprintf("s%d", k))
						}
					}
				}
				steps = append(steps, s)
			}
			r := newRig(t, tested(steps...))
			for i := range n {
				r.takes[steps[i].Name] = time.Duration(rapid.IntRange(1, 50).Draw(rt, "takes")) * time.Second
				runs[steps[i].Name] = []Measured{{r.takes[steps[i].Name], true}, {r.takes[steps[i].Name], true}, {r.takes[steps[i].Name], true}}
			}
			began, ended := map[string]time.Duration{}, map[string]time.Duration{}
			r.Record = func(_ context.Context, p Progress) error {
				r.mu.Lock()
				defer r.mu.Unlock()
				switch p.Phase {
				case PhaseStarted:
					if _, twice := began[p.Step]; twice {
						rt.Errorf("step %s ran twice", p.Step)
					}
					began[p.Step] = p.At
				case PhaseDone:
					ended[p.Step] = p.At
				}
				return nil
			}
			if err := r.Run(t.Context(), Cause{}, nil); err != nil {
				rt.Fatal(err)
			}
			if len(ended) != n {
				rt.Fatalf("%d steps of %d ran", len(ended), n)
			}
			for i := range n {
				for _, k := range r.Plan.after(i) {
					if began[steps[i].Name] < ended[steps[k].Name] {
						rt.Errorf("%s began before %s, which it waits for, had ended", steps[i].Name, steps[k].Name)
					}
				}
			}
			runs[PowerOffStep] = []Measured{{0, true}, {0, true}, {0, true}}
			if need := r.Plan.Need(runs, 0, nil); need.Total != began[PowerOffStep] {
				rt.Errorf("need %v, want %v, which it took: %+v", need.Total, began[PowerOffStep], need)
			}
		})
	})
}

// The daemon was restarted in the middle: what the one before has done, or has begun, is
// taken back as well.
func TestCallOffTakesBackWhatAnEarlierDaemonDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reversible := func(name string) Step {
			return Step{Name: name, Do: Program{Args: []string{name}, Back: []string{"un" + name}}}
		}
		begun := reversible("begun")
		begun.After = []string{"db"} // it would come later, as after a step that has been added
		r := newRig(t, tested(reversible("web"), reversible("db"), begun))
		r.takes["db"], r.takes["undb"], r.takes["unbegun"] = 5*time.Second, time.Second, time.Second
		r.RestoreDoubtful("begun")
		time.AfterFunc(2*time.Second, func() {
			if err := r.CallOff("no longer wanted"); err != nil {
				t.Error(err)
			}
		})
		if err := r.Run(t.Context(), Cause{Operator: true}, map[string]bool{"web": true}); !errors.Is(err, ErrCalledOff) {
			t.Errorf("Run = %v, want ErrCalledOff", err)
		}
		r.expect(t, `0s run db
			2s abort db
			2s run unbegun
			3s run undb
			4s run unweb`, "run ", "abort ")
	})
}
