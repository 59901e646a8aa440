package journal

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
)

func BenchmarkAppend(b *testing.B) {
	j := open(b, b.TempDir())
	e := dodai.Event{
		Name: dodai.EventMainsLost, Device: "rack1", Text: "rack1 lost the mains",
		Fields: map[string]any{"input_volts": 0.0, "charge": 98.0},
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := j.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/event")
}

func BenchmarkAppend100(b *testing.B) {
	j := open(b, b.TempDir())
	batch := make([]dodai.Event, 100)
	for i := range batch {
		batch[i] = event(dodai.EventAlertRaised, "rack1")
	}
	for b.Loop() {
		if err := j.Append(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000/100, "ms/event")
}

func FuzzEventRoundTrip(f *testing.F) {
	f.Add("mains_lost", "u1", "text", "d", int64(1), int64(-1), "key", "value")
	f.Add("\x00", "'; --", "\xff", "", int64(math.MaxInt64), int64(math.MinInt64), "", "\u2028")
	j := open(f, f.TempDir())
	f.Fuzz(func(t *testing.T, name, device, text, drill string, at, wall int64, key, value string) {
		want := dodai.Event{
			Name: dodai.EventName(name), Device: device, Text: text, Drill: drill, At: time.Duration(at),
			Wall: time.Unix(0, wall).UTC(), Fields: map[string]any{strings.ToValidUTF8(key, ""): strings.ToValidUTF8(value, "")},
		}
		if err := j.Append(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		got, err := j.Events(t.Context(), Query{Newest: true, Limit: 1})
		if err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		if diff := cmp.Diff(want, got[0].Event); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	})
}

// BenchmarkOpen opens a journal of 50,000 events, its check included.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	j, err := Open(b.Context(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]dodai.Event, 1000)
	for i := range batch {
		batch[i] = dodai.Event{Name: dodai.EventAlertRaised, Device: "rack1", Text: strings.Repeat("a sentence of some length ", 5)}
	}
	for range 50 {
		if err := j.Append(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	j.Close()
	for b.Loop() {
		j, err := Open(b.Context(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		j.Close()
	}
}
