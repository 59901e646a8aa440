package random

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fake is an outage with a judge of its own: at 20 s the mains are lost, and from 30 s
// on the UPS says LB.
type fake struct {
	seed  uint64
	rate  float64
	end   time.Duration
	judge func(f *fake, o Outcome) Verdict
	saw   int
	lost  int // reads that failed
	first time.Duration

	broken bool // cannot write its file
	judged bool
}

func (f *fake) Spec() drill.Spec {
	return drill.Spec{ID: fmt.Sprintf("fake-%d", f.seed), Config: policy.Default(), UPSes: []string{"u1"}, End: f.end,
		Read: func(_ string, at time.Duration) (*dodai.Reading, bool) {
			if at < 20*time.Second {
				return reading(dodai.OL), true
			}
			return reading(map[bool]dodai.Status{true: dodai.OB | dodai.LB, false: dodai.OB}[at >= 30*time.Second]), true
		}}
}

func reading(s dodai.Status) *dodai.Reading {
	return &dodai.Reading{Kind: dodai.KindUPS, Status: s, Vars: dodai.Vars{dodai.BatteryRuntime: dodai.Num(900)}}
}

func (f *fake) FailRate() float64 { return f.rate }

func (f *fake) Saw(_ string, at time.Duration, r *dodai.Reading) {
	if f.saw++; f.saw == 1 {
		f.first = at
	}
	if r == nil {
		f.lost++
	}
}

func (f *fake) Judge(o Outcome) Verdict {
	f.judged = true
	if f.judge == nil {
		return Verdict{MarginS: math.Inf(1)}
	}
	return f.judge(f, o)
}

func (f *fake) Scenario(w io.Writer) error {
	if f.broken {
		return io.ErrShortWrite
	}
	_, err := fmt.Fprintf(w, "id: fake-%d%s\n", f.seed, map[bool]string{true: ", judged"}[f.judged])
	return err
}

func fakes(judge func(*fake, Outcome) Verdict) func(uint64) Case {
	return func(seed uint64) Case {
		return &fake{seed: seed, end: time.Minute, rate: 0.05, judge: judge}
	}
}

// strict convicts by the seed, so that every kind of verdict comes up.
func strict(f *fake, o Outcome) Verdict {
	v := Verdict{MarginS: float64(f.seed%1000) + o.At.Seconds()/1000}
	switch f.seed % 10 {
	case 0:
		v.Unprotected, v.Text = true, "too late"
	case 1:
		v.Needless = true
	case 2:
		v.Unwarned, v.Cause, v.MarginS = true, []string{"silent", "sudden death"}[f.seed%20/10], -100
	case 3:
		v.MarginS = math.Inf(1)
	}
	return v
}

func TestSeeds(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(3) {
		for i := range 20000 {
			s := Seed(seed, i)
			if seen[s] || s >= 1<<53 {
				t.Fatalf("Seed(%d, %d) = %d: seen before or too large", seed, i, s)
			}
			seen[s] = true
		}
	}
	if Seed(1, 0) == Seed(0, 1) {
		t.Error("neighbouring seeds share their runs")
	}
}

// TestOutcome: the outage is played as the agent would live through it.
func TestOutcome(t *testing.T) {
	var f *fake
	opts := Options{New: func(seed uint64) Case { f = &fake{seed: seed, end: time.Minute, rate: 0.3}; return f }}
	run, err := Play(t.Context(), 7, opts)
	if err != nil {
		t.Fatal(err)
	}
	if o := run.Outcome; !o.Shutdown || o.At < 30*time.Second || o.At > 40*time.Second || o.Reason != "lb" {
		t.Errorf("outcome %+v, want a shutdown for lb soon after 30 s", o)
	}
	if f.first >= 0 || f.first < -5*time.Second || f.saw < 8 || f.lost == 0 {
		t.Errorf("the judge saw %d reads from %v on, %d failed; want the one before the start, and some that failed", f.saw, f.first, f.lost)
	}
	opts.Without = []policy.Rule{policy.RuleLB}
	if run, err = Play(t.Context(), 7, opts); err != nil || run.Outcome.Shutdown || run.Outcome.At != 0 {
		t.Errorf("without the rule lb: %+v, %v; want no shutdown", run.Outcome, err)
	}
}

// TestWorkers: neither the summary nor the failures depend on how many play.
func TestWorkers(t *testing.T) {
	played := func(workers int) (Summary, []Run) {
		var failed []Run
		sum, err := Do(t.Context(), Options{N: 333, Seed: 5, Workers: workers, New: fakes(strict), OnFailure: func(r Run) { failed = append(failed, r) }})
		if err != nil {
			t.Fatal(err)
		}
		return sum, failed
	}
	want, failures := played(1)
	if want.Runs != 333 || want.Unprotected < 15 || want.Needless < 15 || want.Unwarned < 15 || len(want.UnwarnedCauses) != 2 || want.Shutdowns != 333 {
		t.Errorf("%+v: want about 33 of each verdict", want)
	}
	if len(failures) != want.Unprotected+want.Needless {
		t.Errorf("%d failures reported, want %d", len(failures), want.Unprotected+want.Needless)
	}
	if want.WorstMarginS == nil || *want.WorstMarginS < 0 || *want.WorstMarginS > 100 {
		t.Errorf("worst margin %v, want the least of those warned", want.WorstMarginS)
	}
	for _, workers := range []int{2, 7} {
		got, also := played(workers)
		ignore := cmpopts.IgnoreFields(Summary{}, "Seconds", "PerSecond")
		if diff := cmp.Diff(want, got, ignore, cmpopts.IgnoreUnexported(Summary{})); diff != "" {
			t.Errorf("%d workers (-1 +%d):\n%s", workers, workers, diff)
		}
		if diff := cmp.Diff(failures, also); diff != "" {
			t.Errorf("failures of %d workers:\n%s", workers, diff)
		}
	}
	other, err := Do(t.Context(), Options{N: 333, Seed: 6, New: fakes(strict)})
	if err != nil || *other.WorstMarginS == *want.WorstMarginS {
		t.Errorf("another seed gives the same worst margin %v (%v)", *other.WorstMarginS, err)
	}
}

func TestSummaryJudges(t *testing.T) {
	var s Summary
	if !s.OK() || s.WorstMarginS != nil {
		t.Error("no run is no failure, and has no margin")
	}
	if s.add(&Run{Verdict: Verdict{Unprotected: true}}); s.OK() {
		t.Error("an unprotected run is in order")
	}
	s = Summary{}
	if s.add(&Run{Verdict: Verdict{Needless: true, MarginS: math.NaN()}}); s.OK() || s.WorstMarginS != nil {
		t.Error("a needless run is in order, or NaN is a margin")
	}
	s = Summary{UnwarnedCauses: map[string]int{}}
	if s.add(&Run{Verdict: Verdict{Unwarned: true, MarginS: -9}}); !s.OK() || s.WorstMarginS != nil {
		t.Error("an unwarned run is a failure, or its margin counts")
	}
}

// TestFor: as many as the time allows, at least one chunk, and no hole.
func TestFor(t *testing.T) {
	var calls atomic.Int64
	last := 0
	sum, err := Do(t.Context(), Options{For: 50 * time.Millisecond, Seed: 1, Workers: 3,
		New:      func(seed uint64) Case { calls.Add(1); return fakes(nil)(seed) },
		Progress: func(done int) { last = done }})
	if err != nil || sum.Runs < chunkLen || sum.Runs%chunkLen != 0 || int(calls.Load()) != sum.Runs || last != sum.Runs {
		t.Errorf("%d runs, %d played, progress to %d, %v", sum.Runs, calls.Load(), last, err)
	}
	if sum.Seconds < 0.05 || sum.Seconds > 5 || sum.PerSecond <= 0 {
		t.Errorf("took %g s at %g a second", sum.Seconds, sum.PerSecond)
	}
	if sum, err := Do(t.Context(), Options{N: 5, For: time.Hour, New: fakes(nil)}); err != nil || sum.Runs != 5 {
		t.Errorf("%d runs, %v; want 5 however long it may take", sum.Runs, err)
	}
	if sum, err := Do(t.Context(), Options{New: fakes(nil)}); err != nil || sum.Runs != 0 {
		t.Errorf("%d runs, %v; want none", sum.Runs, err)
	}
}

// TestPanic: what goes wrong inside a run says which seed it was, and ends all.
func TestPanic(t *testing.T) {
	bad := Seed(1, 40)
	sum, err := Do(t.Context(), Options{N: 1000, Seed: 1, Workers: 4, New: fakes(func(f *fake, _ Outcome) Verdict {
		if f.seed == bad {
			panic("no such battery")
		}
		return Verdict{}
	})})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("random outage %d: panic: no such battery", bad)) {
		t.Errorf("error %v, want the seed", err)
	}
	if sum.Runs > 40 {
		t.Errorf("%d runs counted, want at most the 40 before it", sum.Runs)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	sum, err := Do(ctx, Options{N: 1 << 40, Seed: 1, New: fakes(nil), Progress: func(int) {
		if n++; n == 3 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || sum.Runs < 2*chunkLen || sum.Runs > 100*chunkLen {
		t.Errorf("%d runs, %v; want a few and canceled", sum.Runs, err)
	}
}
