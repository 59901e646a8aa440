// Package random plays random outages, any number of them, through the agent's own
// decision, and sums up what the judge made of each.
//
// A run is a site that sim/site draws from a seed, played by agent/drill on virtual time.
// The judge knows the physical truth behind the readings, and nothing of the policy.
package random

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
)

// Case is one random outage.
type Case interface {
	// Spec is the outage as the player takes it.
	Spec() drill.Spec
	// FailRate is the share of reads that fail, 0 to 1.
	FailRate() float64
	// Saw tells the judge what the agent was told; r is nil for a read that failed.
	Saw(device string, at time.Duration, r *dodai.Reading)
	Judge(Outcome) Verdict
	// Scenario writes the scenario file that plays the outage again.
	Scenario(io.Writer) error
}

// Options say what is played.
type Options struct {
	N       int           // so many outages; 0: as many as For allows
	For     time.Duration // begins no more after it; 0: no limit
	Seed    uint64        // of all of them
	Workers int           // 0: one for each processor
	Without []policy.Rule // switched off

	New func(seed uint64) Case // nil: the sites of sim/site
	// OnFailure is called for each outage that was judged unprotected or needless, in
	// the order of the runs; never twice at once.
	OnFailure func(Run)
	// Progress is called now and then with the number of outages played; never twice at
	// once.
	Progress func(done int)
}

// Run is one outage that was played.
type Run struct {
	Index   int    // from 0
	Seed    uint64 // of this outage alone; less than 2^53
	Outcome Outcome
	Verdict Verdict
}

// Failed reports whether the agent did wrong.
func (r *Run) Failed() bool { return r.Verdict.Unprotected || r.Verdict.Needless }

// Seed is the seed of run i. It stays below 2^53, which every reader of JSON keeps.
func Seed(seed uint64, i int) uint64 {
	z := seed + (uint64(i)+1)*0x9e3779b97f4a7c15 // SplitMix64
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return (z ^ z>>31) >> 11
}

// Play plays one outage and lets it be judged. Of the options New and Without count.
func Play(ctx context.Context, seed uint64, opts Options) (Run, error) {
	return play(ctx, seed, opts.make(), rules(opts.Without))
}

// One plays the outage of one seed, tells of it whatever the verdict, and sums it up.
func One(ctx context.Context, seed uint64, opts Options, tell func(Run)) (Summary, error) {
	begin := time.Now()
	sum := Summary{Seed: seed, UnwarnedCauses: map[string]int{}}
	run, err := Play(ctx, seed, opts)
	if err == nil {
		tell(run)
		sum.add(&run)
	}
	sum.finish(time.Since(begin))
	return sum, err
}

func (o *Options) make() func(uint64) Case {
	if o.New != nil {
		return o.New
	}
	return newSite
}

func rules(list []policy.Rule) map[policy.Rule]bool {
	without := map[policy.Rule]bool{}
	for _, r := range list {
		without[r] = true
	}
	return without
}

// play plays one outage. A panic is an error that names the seed.
func play(ctx context.Context, seed uint64, create func(uint64) Case, without map[policy.Rule]bool) (run Run, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("random outage %d: panic: %v\n%s", seed, v, debug.Stack())
		}
	}()
	c := create(seed)
	opts := Mode(seed, c).Options()
	opts.Brief, opts.Observe, opts.Without = true, c.Saw, without
	res, err := drill.Play(ctx, drill.New(c.Spec()), opts)
	if err != nil {
		return run, err
	}
	out := Outcome{Shutdown: res.Shutdown, Reason: string(res.Reason)}
	if res.Shutdown {
		out.At = res.At
	}
	return Run{Seed: seed, Outcome: out, Verdict: c.Judge(out)}, nil
}

// Mode is how the outage of a seed is played; its scenario file says the same.
func Mode(seed uint64, c Case) drill.Mode {
	return drill.Mode{Seed: seed, Jitter: true, FailRate: c.FailRate()}
}

// chunkLen is how many runs a worker takes at a time.
const chunkLen = 16

// chunk are runs of consecutive indices.
type chunk struct {
	number int
	runs   []Run
	err    error
}

// Do plays random outages. The summary depends on Seed and the number of runs alone, but
// for the time it took. The error is ctx's, or that of a run that could not be played;
// the summary then holds only some of the runs before it.
func Do(ctx context.Context, opts Options) (Summary, error) {
	begin := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &doer{opts: opts, create: opts.make(), without: rules(opts.Without), begin: begin, out: make(chan chunk)}
	workers := opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { d.work(ctx) })
	}
	go func() { wg.Wait(); close(d.out) }()
	sum := Summary{Seed: opts.Seed, UnwarnedCauses: map[string]int{}}
	err := d.collect(cancel, &sum)
	sum.finish(time.Since(begin))
	return sum, err
}

// doer hands out chunks and takes them back in order.
type doer struct {
	opts    Options
	create  func(uint64) Case
	without map[policy.Rule]bool
	begin   time.Time
	next    atomic.Int64
	out     chan chunk
}

func (d *doer) work(ctx context.Context) {
	for {
		if d.opts.For > 0 && time.Since(d.begin) >= d.opts.For {
			return
		}
		c := chunk{number: int(d.next.Add(1) - 1)}
		first, last := c.number*chunkLen, (c.number+1)*chunkLen
		if d.opts.N > 0 || d.opts.For == 0 {
			last = min(last, d.opts.N)
		}
		if first >= last {
			return
		}
		for i := first; i < last && c.err == nil; i++ {
			run, err := play(ctx, Seed(d.opts.Seed, i), d.create, d.without)
			if run.Index, c.err = i, err; err == nil {
				c.runs = append(c.runs, run)
			}
		}
		d.out <- c
		if c.err != nil {
			return
		}
	}
}

// collect sums up in the order of the runs, however the workers finish them.
func (d *doer) collect(cancel func(), sum *Summary) error {
	early := map[int]chunk{}
	var err error
	for c := range d.out {
		early[c.number] = c
		for {
			c, ok := early[sum.chunks]
			if !ok {
				break
			}
			delete(early, sum.chunks)
			sum.chunks++
			if err == nil {
				d.take(c.runs, sum)
				err = c.err
			}
		}
		if c.err != nil {
			cancel()
			if err == nil && !errors.Is(c.err, context.Canceled) {
				err = c.err // of a run that comes later; those before it were stopped
			}
		}
	}
	return err
}

func (d *doer) take(runs []Run, sum *Summary) {
	for i := range runs {
		sum.add(&runs[i])
		if runs[i].Failed() && d.opts.OnFailure != nil {
			d.opts.OnFailure(runs[i])
		}
	}
	if d.opts.Progress != nil {
		d.opts.Progress(sum.Runs)
	}
}

// Summary is what came of all runs. Its JSON is a documented contract.
type Summary struct {
	Runs        int `json:"runs"`
	Unprotected int `json:"unprotected"` // the power went first, though there was warning enough
	Needless    int `json:"needless"`    // went down for nothing
	Unwarned    int `json:"unwarned"`    // the power went first, and nothing had told so in time
	// Seconds is how long the playing took; PerSecond the runs in each of them.
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	// WorstMarginS is the least true time that was left, of all runs that were warned
	// in time; nil where none was ever at risk.
	WorstMarginS *float64 `json:"worst_margin_s"`
	// UnwarnedCauses counts the unwarned runs by what kept the warning away.
	UnwarnedCauses map[string]int `json:"unwarned_causes"`
	Shutdowns      int            `json:"shutdowns"` // runs in which the host went down
	Seed           uint64         `json:"seed"`

	chunks int
}

// OK reports whether the agent did no wrong.
func (s *Summary) OK() bool { return s.Unprotected == 0 && s.Needless == 0 }

func (s *Summary) add(r *Run) {
	s.Runs++
	if r.Outcome.Shutdown {
		s.Shutdowns++
	}
	v := &r.Verdict
	if v.Unprotected {
		s.Unprotected++
	}
	if v.Needless {
		s.Needless++
	}
	if v.Unwarned {
		s.Unwarned++
		s.UnwarnedCauses[v.Cause]++
		return
	}
	if m := v.MarginS; !math.IsInf(m, 0) && !math.IsNaN(m) && (s.WorstMarginS == nil || m < *s.WorstMarginS) {
		s.WorstMarginS = &m
	}
}

func (s *Summary) finish(took time.Duration) {
	s.Seconds = round(took.Seconds())
	if took > 0 {
		s.PerSecond = round(float64(s.Runs) / took.Seconds())
	}
	if s.WorstMarginS != nil {
		*s.WorstMarginS = round(*s.WorstMarginS)
	}
}

// round keeps milliseconds.
func round(f float64) float64 { return math.Round(f*1000) / 1000 }
