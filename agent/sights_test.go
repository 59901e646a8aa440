package agent

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/sight"
)

// TestSights: what is seen and not read stands in the status and is counted; it is logged
// when it appears and when it is gone, and is neither an alert nor an event.
func TestSights(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	bmc := sight.Sighting{Kind: sight.BMC, What: "BMC", Where: "/dev/ipmi0", Why: "why", Remedy: "remedy"}
	var there atomic.Bool
	there.Store(true)
	var asked atomic.Pointer[[]sight.Device]
	r := s.run(quiet, func(o *Options) {
		o.See = func(devices []sight.Device) []sight.Sighting {
			asked.Store(&devices)
			if there.Load() {
				return []sight.Sighting{bmc}
			}
			return nil
		}
	})
	eventually(t, "the BMC in the status", func() bool { l := r.Status().Unread; return len(l) == 1 && l[0] == bmc })
	eventually(t, "the look after the first answer", func() bool {
		d := (*asked.Load())[0]
		return d.Driver == "fake" && d.Kind == dodai.KindUPS && d.State != nil && d.State.Answered()
	})
	if got := exportState(r.View()).Unread; got["bmc"] != 1 || len(got) != len(sight.Kinds) {
		t.Errorf("counted %v, want the BMC, and 0 of the other kinds", got)
	}
	if !s.logged("seen, but not read") || !s.logged("remedy=remedy") {
		t.Error("nothing in the log")
	}
	if st := r.Status(); st.State != "normal" || len(st.Alerts) != 0 || len(s.story()) != 0 {
		t.Errorf("state %s, alerts %v, events %v: want nothing that asks for an operator", st.State, st.Alerts, s.story())
	}
	there.Store(false)
	r.sights.trigger()
	eventually(t, "the BMC to be gone", func() bool { return len(r.Status().Unread) == 0 })
	if !s.logged("read now, or gone") {
		t.Error("its end is not in the log")
	}
}

// TestSightsAfterAFailure: a device that ceases to answer makes a look due; a UPS does not,
// which has alerts of its own.
func TestSightsAfterAFailure(t *testing.T) {
	s := newSite(t)
	st := s.step(quiet, nil)
	st.read("u1", ups("OL", 100, 3600))
	fail := func(kind dodai.Kind) {
		dev := *st.loop.snap.Device("u1")
		dev.Kind, dev.Err = kind, "gone"
		st.apply(update{from: st.loop.generation, device: &dev})
	}
	fail(dodai.KindUPS)
	if len(st.sights.due) != 0 {
		t.Error("a look is due because of a UPS")
	}
	st.read("u1", ups("OL", 100, 3600))
	fail(dodai.KindDisks)
	if len(st.sights.due) != 1 {
		t.Error("no look is due though the disks cannot be read any more")
	}
}

// TestSightsHang: a look that hangs keeps neither the loop nor the end.
func TestSightsHang(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.set("u1", ups("OL", 100, 3600), nil)
	hang := make(chan struct{})
	defer close(hang)
	r := s.run(quiet, func(o *Options) {
		o.See = func([]sight.Device) []sight.Sighting { <-hang; return nil }
	})
	r.heard()
	if took := r.end(); took > 2*time.Second {
		t.Errorf("the end took %v", took)
	}
}
