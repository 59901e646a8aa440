package agent

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/policy"
)

func memoryAt(onBattery time.Duration) policy.Memory {
	return policy.Memory{UPS: map[string]policy.UPSMemory{
		"u1": {OnBattery: policy.Mark{At: onBattery, Set: true}, Line: policy.LineAbsent},
	}}
}

func TestRestorePolicy(t *testing.T) {
	wall := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	saved := policyState{stamp{"boot-1", 1000 * time.Second, wall}, memoryAt(900 * time.Second)}
	data, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		now  stamp
		want time.Duration // when u1 went on battery, on the new clock
	}{
		{"the same boot", stamp{"boot-1", 1010 * time.Second, wall.Add(10 * time.Second)}, 900 * time.Second},
		{"the same boot, the wall clock set back", stamp{"boot-1", 1010 * time.Second, wall.Add(-time.Hour)}, 900 * time.Second},
		// 60 s after it was saved, 20 s after the boot: 100 s before the save is 140 s before the boot.
		{"after a reboot", stamp{"boot-2", 20 * time.Second, wall.Add(60 * time.Second)}, -140 * time.Second},
		// A clock that went back, or hardly on, tells nothing; it was before the boot all the same.
		{"after a reboot, the wall clock set back", stamp{"boot-2", 20 * time.Second, wall.Add(-time.Hour)}, -101 * time.Second},
		{"after a reboot, the wall clock 10 s on", stamp{"boot-2", 20 * time.Second, wall.Add(10 * time.Second)}, -101 * time.Second},
		{"no boot id to compare", stamp{"", 1010 * time.Second, wall.Add(10 * time.Second)}, 900 * time.Second},
		{"a clock that begins anew in the same boot", stamp{"boot-1", 5 * time.Second, wall.Add(10 * time.Second)}, -105 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := restorePolicy(data, tc.now)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.UPS["u1"].OnBattery; !got.Set || got.At != tc.want {
				t.Errorf("on battery since %v (set %v), want %v", got.At, got.Set, tc.want)
			}
		})
	}
	if _, err := restorePolicy([]byte(`{"memory":7}`), stamp{}); err == nil || !strings.Contains(err.Error(), "memory of the policy") {
		t.Errorf("a damaged memory gives %v, want an error that says what it was", err)
	}
}

// TestRestoreUnsound: what cannot have been saved does not count, and the rest does.
func TestRestoreUnsound(t *testing.T) {
	wall := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	now := stamp{"boot-1", 1010 * time.Second, wall}
	restored := func(s policyState, now stamp) (policy.Memory, error) {
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return restorePolicy(data, now)
	}
	m := memoryAt(900 * time.Second)
	m.UPS["u2"] = policy.UPSMemory{Read: policy.Mark{At: 2000 * time.Second, Set: true}}
	got, err := restored(policyState{stamp{"boot-1", 1000 * time.Second, wall}, m}, now)
	if _, kept := got.UPS["u2"]; kept || !got.UPS["u1"].OnBattery.Set || !errors.Is(err, errUnsound) || !strings.Contains(err.Error(), "u2") {
		t.Errorf("a reading of the future: %+v, %v; want u1 alone and an error that names u2", got.UPS, err)
	}
	for _, at := range []time.Duration{-1, math.MaxInt64} {
		if got, err := restored(policyState{stamp{"boot-1", at, wall}, m}, now); !errors.Is(err, errUnsound) || len(got.UPS) != 0 {
			t.Errorf("written at %v: %+v, %v; want nothing and an error", at, got.UPS, err)
		}
	}
	got, err = restored(policyState{stamp{"boot-0", 1000 * time.Second, time.Time{}}, memoryAt(900 * time.Second)}, now)
	if on := got.UPS["u1"].OnBattery.At; err != nil || on > -longestUp+now.At || on < -longestUp-time.Hour {
		t.Errorf("saved in the year 1: on battery since %v, %v; want %v ago", on, err, longestUp)
	}
}

func TestRestoreDown(t *testing.T) {
	data, err := json.Marshal(downState{stamp: stamp{BootID: "boot-1"}, Reason: policy.ReasonLB, Done: []string{"one"}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := restoreDown(data, stamp{BootID: "boot-1"})
	if err != nil || d == nil || d.Reason != policy.ReasonLB || !d.done()["one"] || d.done()["two"] {
		t.Errorf("in the same boot: %+v, %v; want the shutdown with step one done", d, err)
	}
	for _, boot := range []string{"boot-2", ""} {
		if d, err := restoreDown(data, stamp{BootID: boot}); d != nil || err != nil {
			t.Errorf("in boot %q: %+v, %v; want none", boot, d, err)
		}
	}
	if d, err := restoreDown([]byte("null"), stamp{BootID: "boot-1"}); d != nil || err != nil {
		t.Errorf("after it was forgotten: %+v, %v; want none", d, err)
	}
	if _, err := restoreDown([]byte("{"), stamp{BootID: "boot-1"}); err == nil {
		t.Error("a damaged state is no error")
	}
}

func TestMarkDoneOnce(t *testing.T) {
	d := &downState{}
	d.markDone("one", false)
	d.markDone("one", false)
	d.markDone("two", true)
	d.markDone("two", true)
	if len(d.Done) != 2 || len(d.Failed) != 1 || d.Failed[0] != "two" {
		t.Errorf("done %v, failed %v: want one and two, each once, and two failed", d.Done, d.Failed)
	}
}
