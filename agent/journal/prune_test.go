package journal

import (
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// TestPruneWithAClockThatIsAhead: a wall clock that is a year ahead costs two days of the
// oldest records for each time that is pruned, and nothing once it is right again.
func TestPruneWithAClockThatIsAhead(t *testing.T) {
	const day, days = 24 * time.Hour, 29
	right := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	now := right
	j, err := Open(t.Context(), t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var events []dodai.Event
	for i := range days * 100 {
		at := right.Add(-days*day + time.Duration(i)*day/100)
		events = append(events, dodai.Event{Name: dodai.EventAlertRaised, Wall: at})
	}
	if err := j.Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	for i := range days {
		if err := j.AppendSamples(t.Context(), Sample{"u1", "ups.load", 1, right.Add(-time.Duration(i+1) * day)}); err != nil {
			t.Fatal(err)
		}
	}
	left := func(step string, wantEvents, wantSamples int) {
		t.Helper()
		if err := j.Prune(t.Context(), 60*day, 30*day); err != nil {
			t.Fatal(err)
		}
		ev, err := j.Events(t.Context(), Query{})
		if err != nil || len(ev) != wantEvents {
			t.Errorf("%s: %d events, %v, want %d", step, len(ev), err, wantEvents)
		}
		sm, err := j.Samples(t.Context(), SampleQuery{})
		if err != nil || len(sm) != wantSamples {
			t.Errorf("%s: %d samples, %v, want %d", step, len(sm), err, wantSamples)
		}
	}
	left("the clock is right", days*100, days)
	now = right.Add(365 * day)
	left("a year ahead", (days-2)*100, days-2)
	now = right.Add(-365 * day)
	left("a year behind", (days-2)*100, days-2)
	now = right
	left("right again", (days-2)*100, days-2)
}

// TestPruneNothing: an empty journal has no oldest record.
func TestPruneNothing(t *testing.T) {
	j := open(t, t.TempDir())
	if err := j.Prune(t.Context(), time.Hour, time.Hour); err != nil {
		t.Error(err)
	}
}
