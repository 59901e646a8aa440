package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/policy"
)

// answer is what the agent says from an instant on.
type answer struct {
	from time.Duration
	held policy.BootWhat // what is waited for; empty: nothing
	by   policy.BootRelease
	why  string
	left float64 // of the limit, in seconds; 0: no limit
	gone bool    // it does not answer
	hang bool    // it takes the connection, and says nothing
}

// play is an agent that answers so, asked at virtual times.
func play(answers []answer) func(context.Context) (agent.BootHoldStatus, error) {
	began := time.Now()
	return func(ctx context.Context) (agent.BootHoldStatus, error) {
		var a answer
		for _, next := range answers {
			if time.Since(began) >= next.from {
				a = next
			}
		}
		switch {
		case a.hang:
			ctx, cancel := context.WithTimeout(ctx, bootHoldAnswer)
			defer cancel()
			<-ctx.Done()
			return agent.BootHoldStatus{}, errors.New("the agent does not answer")
		case a.gone:
			return agent.BootHoldStatus{}, errors.New("no agent answers")
		case a.held == "":
			return agent.BootHoldStatus{Why: a.why, Released: a.by}, nil
		}
		s := agent.BootHoldStatus{Held: true, Why: a.why, Reasons: []policy.BootReason{{UPS: "u1", What: a.held}}}
		if a.left > 0 {
			s.LimitLeftS = new(a.left - (time.Since(began) - a.from).Seconds())
		}
		return s, nil
	}
}

func TestBootHoldWait(t *testing.T) {
	charge := func(from time.Duration, percent int, left float64) answer {
		return answer{from: from, held: policy.BootCharge, why: fmt.Sprintf("charge %d %%", percent), left: left}
	}
	ready := func(from time.Duration) answer { return answer{from: from, by: policy.BootReady, why: "charged"} }
	for _, tc := range []struct {
		name    string
		answers []answer
		took    time.Duration
		out     string
		warn    string
	}{
		{"not held", []answer{{why: "up for long"}}, 0, "not held: up for long\n", ""},
		{"held", []answer{charge(0, 12, 0), ready(90 * time.Second)}, 90 * time.Second, "held: charge 12 %\nnot held: charged\n", ""},
		{"numbers change once a minute", []answer{charge(0, 12, 0), charge(20*time.Second, 13, 0), charge(70*time.Second, 14, 0), ready(2 * time.Minute)}, 2 * time.Minute,
			"held: charge 12 %\nheld: charge 13 %\nnot held: charged\n", ""},
		{"the reason changes", []answer{charge(0, 12, 0), {from: 20 * time.Second, held: policy.BootOnBattery, why: "on battery"}, charge(30*time.Second, 11, 0), ready(time.Minute)}, time.Minute,
			"held: charge 12 %\nheld: on battery\nheld: charge 11 %\nnot held: charged\n", ""},
		{"the time limit, by the agent", []answer{charge(0, 12, 0), {from: time.Minute, by: policy.BootLimit, why: "the time limit has passed"}}, time.Minute,
			"held: charge 12 %\n", "services start although the battery could not carry another shutdown: the time limit has passed"},
		{"the agent starts later", []answer{{gone: true}, charge(30*time.Second, 12, 0), ready(40 * time.Second)}, 40 * time.Second,
			"waiting for the agent, at most 2m0s: no agent answers\nheld: charge 12 %\nnot held: charged\n", ""},
		{"the agent never starts", []answer{{gone: true}}, 2 * time.Minute,
			"waiting for the agent, at most 2m0s: no agent answers\n", "services start without the agent's word, it has not answered for 2m0s: no agent answers"},
		{"the agent hangs", []answer{{hang: true}}, 2 * time.Minute,
			"waiting for the agent, at most 2m0s: the agent does not answer\n", "it has not answered for 2m0s: the agent does not answer"},
		{"the agent is restarted", []answer{charge(0, 12, 0), {from: 10 * time.Second, gone: true}, charge(100*time.Second, 13, 0), {from: 110 * time.Second, gone: true}, ready(220 * time.Second)}, 220 * time.Second,
			"held: charge 12 %\nwaiting for the agent, at most 2m0s: no agent answers\nheld: charge 13 %\nwaiting for the agent, at most 2m0s: no agent answers\nnot held: charged\n", ""},
		{"the agent is gone for good", []answer{charge(0, 12, 3600), {from: 10 * time.Second, gone: true}}, 129 * time.Second,
			"held: charge 12 % (at most 1h00m)\nwaiting for the agent, at most 2m0s: no agent answers\n", "it has not answered for 2m0s"},
		{"the time limit, without the agent", []answer{charge(0, 12, 30), {from: 10 * time.Second, gone: true}}, 30 * time.Second,
			"held: charge 12 % (at most 30s)\nwaiting for the agent, at most 2m0s: no agent answers\n", "services start without the agent's word, the time limit has passed: no agent answers"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out, warn bytes.Buffer
				began := time.Now()
				w := bootHoldWait{ask: play(tc.answers), out: &out, warn: &warn, away: bootHoldAway}
				if err := w.wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took < tc.took || took > tc.took+bootHoldAnswer {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if out.String() != tc.out {
					t.Errorf("said:\n%swant:\n%s", &out, tc.out)
				}
				if !strings.Contains(warn.String(), tc.warn) || (warn.Len() > 0) != (tc.warn != "") {
					t.Errorf("warned %q, want %q", &warn, tc.warn)
				}
			})
		})
	}
}

// TestBootHoldInterrupted: it ends at once, also while the agent does not answer.
func TestBootHoldInterrupted(t *testing.T) {
	for _, answers := range [][]answer{{{held: policy.BootCharge}}, {{hang: true}}, {{gone: true}}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			began := time.Now()
			w := bootHoldWait{ask: play(answers), out: &bytes.Buffer{}, warn: &bytes.Buffer{}, away: bootHoldAway}
			if err := w.wait(ctx); err == nil || time.Since(began) != 2500*time.Millisecond {
				t.Errorf("%v after %v, want an error after 2.5 s", err, time.Since(began))
			}
		})
	}
}

// TestTerminated tells SIGTERM from everything else that ends a context.
func TestTerminated(t *testing.T) {
	for sig, want := range map[syscall.Signal]bool{syscall.SIGTERM: true, syscall.SIGUSR1: false} {
		ctx, stop := signal.NotifyContext(t.Context(), sig)
		if terminated(ctx) {
			t.Error("terminated before the signal")
		}
		if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("%v does not arrive", sig)
		}
		if terminated(ctx) != want {
			t.Errorf("%v: %v, want %v", sig, context.Cause(ctx), want)
		}
		stop()
	}
}

func TestBootHoldLine(t *testing.T) {
	for want, s := range map[string]agent.BootHoldStatus{
		"not held: this host has been up for long": {Why: "this host has been up for long"},
		"held: charge": {Held: true, Why: "charge"},
		"held: charge (about 5m00s left, at most 14m40s)": {Held: true, Why: "charge", LeftS: new(300.0), LimitLeftS: new(880.0)},
		"held: charge (at most 5s)":                       {Held: true, Why: "charge", LimitLeftS: new(5.0)},
	} {
		if got := bootHoldLine(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
