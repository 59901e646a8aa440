package random

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/sim/site"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestReplay: the scenario file of a site, read and played as it says, comes to the same
// decision at the same instant as the site itself, read by read.
func TestReplay(t *testing.T) {
	var down, supplies, silent, failing atomic.Int64
	t.Run("seed", func(t *testing.T) {
		for i := range 300 {
			seed := Seed(1, i)
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				run, reads := replayed(t, seed)
				count(&down, run.Outcome.Shutdown)
				count(&supplies, slices.ContainsFunc(reads, func(r read) bool { return strings.Contains(string(r), "input_lost") }))
				count(&silent, slices.ContainsFunc(reads, func(r read) bool { return strings.HasSuffix(string(r), "nothing") }))
				count(&failing, newSite(seed).FailRate() > 0)
			})
		}
	})
	if down.Load() < 50 || supplies.Load() < 10 || silent.Load() < 50 || failing.Load() < 50 {
		t.Errorf("too tame: %d shutdowns, %d with a lost input, %d with a failed read, %d with a fail rate",
			down.Load(), supplies.Load(), silent.Load(), failing.Load())
	}
}

func count(n *atomic.Int64, yes bool) {
	if yes {
		n.Add(1)
	}
}

// replayed plays a site and its file, compares them, and returns what the site did.
func replayed(t *testing.T, seed uint64) (Run, []read) {
	t.Helper()
	run, reads := directly(t, seed)
	var file bytes.Buffer
	if err := newSite(seed).Scenario(&file); err != nil {
		t.Fatal(err)
	}
	s, err := drill.Parse("random.yaml", file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if c := newSite(seed); s.Mode != Mode(seed, c) {
		t.Errorf("the file wants to be played as %+v, the run was %+v", s.Mode, Mode(seed, c))
	}
	var again []read
	opts := s.Mode.Options()
	opts.Brief, opts.Observe = true, note(&again)
	r, err := drill.Play(t.Context(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	if o := run.Outcome; r.Shutdown != o.Shutdown || r.At != o.At || string(r.Reason) != o.Reason {
		t.Errorf("the file: shutdown %v at %v (%s), the site: %v at %v (%s)", r.Shutdown, r.At, r.Reason, o.Shutdown, o.At, o.Reason)
	}
	for i := range min(len(reads), len(again)) {
		if reads[i] != again[i] {
			t.Fatalf("read %d of %d: the site said\n%s, the file\n%s", i, len(reads), reads[i], again[i])
		}
	}
	if len(reads) != len(again) {
		t.Errorf("%d reads of the site, %d of the file", len(reads), len(again))
	}
	return run, reads
}

// read is what a device said, or that it did not, in words.
type read string

func note(list *[]read) func(string, time.Duration, *dodai.Reading) {
	return func(device string, at time.Duration, r *dodai.Reading) {
		*list = append(*list, read(fmt.Sprintf("%s at %v: %s", device, at, said(r))))
	}
}

func said(r *dodai.Reading) string {
	switch {
	case r == nil:
		return "nothing"
	case r.Kind == dodai.KindUPS:
		return fmt.Sprint(r.Status, r.Vars) // fmt sorts the keys
	}
	var states []string
	for _, p := range r.PSUs {
		states = append(states, p.ID+" "+string(p.State)+" "+string(p.Input))
	}
	return strings.Join(states, ", ")
}

// directly plays a site, and writes down what it said.
func directly(t *testing.T, seed uint64) (Run, []read) {
	t.Helper()
	var reads []read
	see := note(&reads)
	run, err := Play(t.Context(), seed, Options{New: func(seed uint64) Case {
		return &listener{Case: newSite(seed), see: see}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return run, reads
}

type listener struct {
	Case
	see func(string, time.Duration, *dodai.Reading)
}

func (l *listener) Saw(device string, at time.Duration, r *dodai.Reading) {
	l.see(device, at, r)
	l.Case.Saw(device, at, r)
}

// TestPolicyOf: a site that says nothing has the policy's defaults, and each thing it can
// say arrives.
func TestPolicyOf(t *testing.T) {
	d := policy.Default()
	plain := site.Config{Need: d.Need, Reserve: d.Reserve, PollBatt: d.PollBattS.D(), MinSupplies: d.MinSupplies, MinChargePct: d.MinChargePct}
	if diff := cmp.Diff(d, policyOf(plain)); diff != "" {
		t.Errorf("(-default +site):\n%s", diff)
	}
	own := site.Config{Need: 1, Reserve: 2, PollBatt: 3 * time.Second, MinSupplies: 4, MinChargePct: 5, MaxOnBatt: new(6 * time.Second),
		CommsLostLine: new(7500 * time.Millisecond), IgnoreLB: true, LBTrust: new(8 * time.Second)}
	want := d
	want.Need, want.Reserve, want.PollBattS, want.MinSupplies, want.MinChargePct, want.IgnoreLB = 1, 2, 3, 4, 5, true
	want.MaxOnBattS, want.CommsLostLineS, want.LBTrustS = new(policy.Seconds(6)), new(policy.Seconds(7.5)), new(policy.Seconds(8))
	if diff := cmp.Diff(want, policyOf(own)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSites: real sites come to the same whoever plays them, and every run leaves a
// finite margin or none.
func TestSites(t *testing.T) {
	play := func(workers int) Summary {
		sum, err := Do(t.Context(), Options{N: 200, Seed: 2, Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	one, three := play(1), play(3)
	if diff := cmp.Diff(one, three, cmpopts.IgnoreFields(Summary{}, "Seconds", "PerSecond"), cmpopts.IgnoreUnexported(Summary{})); diff != "" {
		t.Errorf("(-1 worker +3):\n%s", diff)
	}
	if one.Runs != 200 || one.Shutdowns < 20 || one.Shutdowns > 150 || one.WorstMarginS == nil || math.Abs(*one.WorstMarginS) > 3600 {
		t.Errorf("summary %+v", one)
	}
}

// TestConvicts: without the rules that save the machine it is not saved, and with a wrong
// one less it goes down for nothing.
func TestConvicts(t *testing.T) {
	convicted := func(without ...policy.Rule) Summary {
		sum, err := Do(t.Context(), Options{N: 150, Seed: 3, Without: without})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	blind := convicted(policy.RuleLB, policy.RuleRuntime, policy.RuleCharge, policy.RuleDischarge, policy.RuleSilence, policy.RuleNoMetrics, policy.RuleMaxOnBatt)
	if blind.Unprotected < 5 {
		t.Errorf("a policy without its rules: %+v, want many unprotected", blind)
	}
	if hasty := convicted(policy.RuleConfirm, policy.RuleCredible, policy.RuleHostLives, policy.RuleLatch); hasty.Needless < 3 {
		t.Errorf("a policy that believes everything at once: %+v, want several needless", hasty)
	}
}

// BenchmarkSites plays real sites.
func BenchmarkSites(b *testing.B) {
	b.ReportAllocs()
	seed := uint64(0)
	for b.Loop() {
		seed++
		if _, err := Play(b.Context(), Seed(1, int(seed)), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
