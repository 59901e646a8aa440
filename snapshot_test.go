package dodai

import (
	"testing"
	"time"
)

func TestSnapshotWith(t *testing.T) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	empty := &Snapshot{}
	one := empty.With(&DeviceState{Name: "u2"}, 1, wall)
	two := one.With(&DeviceState{Name: "u1", Kind: KindUPS}, 2, wall)
	three := two.With(&DeviceState{Name: "u2", Polls: 9}, 3, wall)
	if len(empty.Devices) != 0 || len(one.Devices) != 1 || len(two.Devices) != 2 || len(three.Devices) != 2 {
		t.Fatalf("devices: %d %d %d %d, want 0 1 2 2", len(empty.Devices), len(one.Devices), len(two.Devices), len(three.Devices))
	}
	if two.Device("u2").Polls != 0 || three.Device("u2").Polls != 9 {
		t.Error("an older snapshot changed when a newer one was made")
	}
	if three.Device("u1").Name != "u1" || three.Device("nobody") != nil || three.At != 3 {
		t.Errorf("snapshot %+v: want u1 found by name, nobody not, taken at 3", three)
	}
	if got := three.OfKind(KindUPS); len(got) != 1 || got[0].Name != "u1" {
		t.Errorf("OfKind(ups) = %v, want u1", got)
	}
}

func TestDeviceStateQuality(t *testing.T) {
	d := &DeviceState{StaleAfter: 15 * time.Second, At: 10 * time.Second}
	if q := d.Quality(time.Hour); q != QualityNever || d.Age(time.Hour) != 0 || d.Answered() {
		t.Errorf("never heard: quality %v, age %v", q, d.Age(time.Hour))
	}
	if d.NothingHere = true; d.Quality(time.Hour) != QualityNone {
		t.Errorf("nothing to read: quality %v", d.Quality(time.Hour))
	}
	d.Reading, d.Polls = &Reading{}, 1 // what was there and is gone is missed
	for now, want := range map[time.Duration]Quality{
		10 * time.Second: QualityFresh, 25 * time.Second: QualityFresh, 25*time.Second + 1: QualityStale, 9 * time.Second: QualityFresh,
	} {
		if q := d.Quality(now); q != want {
			t.Errorf("at %v: %v, want %v", now, q, want)
		}
	}
	if !(&DeviceState{Failures: 1}).Answered() {
		t.Error("a device that was asked and was silent counts as not asked")
	}
}

func TestEventNamesAreUnique(t *testing.T) {
	seen := map[EventName]bool{}
	for _, n := range EventNames {
		if seen[n] {
			t.Errorf("%s is listed twice", n)
		}
		seen[n] = true
	}
}
