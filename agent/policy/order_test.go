package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// instant is what is read at one instant, each device once at most.
type instant struct {
	after time.Duration
	steps []step
}

func drawInstant(t *rapid.T) instant {
	in := instant{after: time.Duration(rapid.SampledFrom([]int{20, 500, 2000, 5000, 20000}).Draw(t, "ms")) * time.Millisecond}
	seen := map[string]bool{}
	for range rapid.IntRange(1, 5).Draw(t, "devices") {
		s := drawStep(t)
		if name, _ := s.device(); !seen[name] {
			seen[name] = true
			in.steps = append(in.steps, s)
		}
	}
	return in
}

// sameOutcome compares all that a decision leaves behind, but for the trace of what stood
// for no time: an alert that ended and began again within the instant has another since.
var sameOutcome = cmp.Options{
	cmpopts.IgnoreFields(Decision{}, "Events"),
	cmpopts.IgnoreFields(Alert{}, "Since", "Text"),
	cmpopts.IgnoreFields(Standing{}, "Since"),
	cmpopts.EquateEmpty(),
	cmpopts.AcyclicTransformer("doomed", func(m UPSMemory) UPSMemory {
		if m.Doomed == ReasonNone { // then since when says nothing
			m.DoomedAt = 0
		}
		return m
	}),
}

// released leaves out what stays as it was once: heavy services that were let go in between.
var released = cmp.Options{
	cmpopts.IgnoreFields(Decision{}, "BootHold", "BootUnheard", "BootReasons", "BootHoldWhy", "BootHoldLeft", "Next"),
	cmpopts.IgnoreFields(BootMemory{}, "Ready", "Held", "Released", "By"),
	cmpopts.IgnoreFields(UPSMemory{}, "Rise"),
}

// TestOrderOfOneInstant: what is read at the same instant decides the same in whatever
// order it comes, and with a decision after each or one for all. Only events, since when
// an alert stands, and the release of the boot hold, which is for good, tell of what was
// thought between two of the readings.
func TestOrderOfOneInstant(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := history{cfg: drawConfig(rt), site: drawSite(rt), boot: rapid.SampledFrom([]time.Duration{start - time.Minute, start / 4}).Draw(rt, "boot")}
		w, now := h.begin(t, 0), start
		w.configured("bmc", "u1", "u2", "u3")
		for range rapid.IntRange(1, 15).Draw(rt, "instants") {
			in := drawInstant(rt)
			now += in.after
			other := *w
			for _, s := range rapid.Permutation(in.steps).Draw(rt, "order") {
				other.take(s, now)
				other.decide(now)
			}
			for _, s := range in.steps {
				w.take(s, now)
			}
			w.decide(now)
			same := cmp.Options{sameOutcome, released}
			if diff := cmp.Diff(w.last, other.last, same); diff != "" {
				rt.Fatalf("decision (-one for all +one after each):\n%s\n%s", diff, trace(other.all))
			}
			if diff := cmp.Diff(w.mem, other.mem, same); diff != "" {
				rt.Fatalf("memory (-one for all +one after each):\n%s\n%s", diff, trace(other.all))
			}
			if rapid.Bool().Draw(rt, "go on with the other") {
				w = &other
			}
		}
	})
}

// configured has the snapshot know devices that have not been read yet.
func (w *world) configured(names ...string) {
	for _, name := range names {
		kind := dodai.KindUPS
		if name == "bmc" {
			kind = dodai.KindPSUs
		}
		d := w.device(name, kind)
		w.snap = w.snap.With(&d, w.snap.At, time.Time{})
	}
}

// trace is the explanations of the latest decisions.
func trace(all []Decision) string {
	var out string
	for _, d := range slices.Backward(all[max(0, len(all)-6):]) {
		out = (d.At - start).String() + " " + d.Explanation + "\n" + out
	}
	return out
}
