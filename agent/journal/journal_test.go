package journal

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/google/go-cmp/cmp"
)

func TestOpenModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state dir?100%#")
	j := open(t, dir)
	if err := j.Append(t.Context(), event(dodai.EventMainsLost, "u1")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"": 0o750 | os.ModeDir, "journal.db": 0o640, "journal.db-wal": 0o640} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("mode of %q is %v, want %v", name, info.Mode(), want)
		}
	}
	if got := j.Recovered(); got != "" {
		t.Errorf("Recovered of a new journal = %q, want nothing", got)
	}
}

func TestPragmas(t *testing.T) {
	j := open(t, t.TempDir())
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := j.store.Load().writer.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("PRAGMA %s = %q, %v, want %q", pragma, got, err, want)
		}
	}
}

func TestEventRoundTrip(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	want := dodai.Event{
		Name: dodai.EventMainsLost, Device: "rack1", At: 90 * time.Minute,
		Wall: time.Date(2026, 3, 29, 2, 30, 0, 123456789, time.FixedZone("CEST", 7200)),
		Text: "rack1 lost the mains (0 V) – 電源", Drill: "d1",
		Fields: map[string]any{"input_volts": 0.5, "flags": []any{"OB", "DISCHRG"}, "confirmed": true},
	}
	if err := j.Append(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	j.Close()
	got, err := open(t, dir).Events(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	want.Wall = want.Wall.UTC()
	if diff := cmp.Diff([]Record{{ID: 1, BootID: "boot-1", Event: want}}, got); diff != "" {
		t.Errorf("event after reopening (-want +got):\n%s", diff)
	}
}

func TestEventOddities(t *testing.T) {
	j := open(t, t.TempDir())
	odd := dodai.Event{Fields: map[string]any{"nan": math.NaN(), "ch": func() {}, "ok": 1.5}, Text: "\xff\x00"}
	far := dodai.Event{Wall: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	if err := j.Append(t.Context(), odd, far); err != nil {
		t.Fatal(err)
	}
	got, err := j.Events(t.Context(), Query{})
	if err != nil || len(got) != 2 {
		t.Fatalf("Events = %d, %v, want 2", len(got), err)
	}
	if f := got[0].Fields; f["nan"] != "NaN" || f["ok"] != 1.5 || f["ch"] == nil {
		t.Errorf("fields = %v, want NaN as text, 1.5 kept and something for the function", f)
	}
	if time.Since(got[0].Wall).Abs() > time.Minute {
		t.Errorf("wall = %v, want about now for an event without one", got[0].Wall)
	}
	if got[1].Wall.Year() != 2262 {
		t.Errorf("wall = %v, want the last instant that can be stored", got[1].Wall)
	}
}

func TestQuery(t *testing.T) {
	j := open(t, t.TempDir())
	at := func(s int64, name dodai.EventName, device, drill string) dodai.Event {
		return dodai.Event{Name: name, Device: device, Drill: drill, Wall: time.Unix(s, 0)}
	}
	err := j.Append(t.Context(),
		at(10, dodai.EventMainsLost, "a", ""), at(20, dodai.EventMainsRestored, "b", ""),
		at(30, dodai.EventMainsLost, "c", "d1"), at(25, dodai.EventPSULost, "d", "")) // the clock was set back
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		q    Query
		want []string
	}{
		"all, in order of writing": {Query{}, []string{"a", "b", "c", "d"}},
		"newest first":             {Query{Newest: true, Limit: 2}, []string{"d", "c"}},
		"oldest first":             {Query{Limit: 2}, []string{"a", "b"}},
		"since is inclusive":       {Query{Since: time.Unix(20, 0)}, []string{"b", "c", "d"}},
		"until is exclusive":       {Query{Until: time.Unix(25, 0)}, []string{"a", "b"}},
		"names":                    {Query{Names: []dodai.EventName{dodai.EventMainsLost, dodai.EventPSULost}}, []string{"a", "c", "d"}},
		"device":                   {Query{Device: "b"}, []string{"b"}},
		"drill":                    {Query{Drill: "d1"}, []string{"c"}},
		"no drills":                {Query{Real: true}, []string{"a", "b", "d"}},
		"after":                    {Query{AfterID: 2}, []string{"c", "d"}},
		"an injection finds none":  {Query{Device: "b' OR '1'='1"}, []string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := j.Events(t.Context(), tt.q)
			if diff := cmp.Diff(tt.want, devices(got)); diff != "" || err != nil {
				t.Errorf("Events(%+v): %v (-want +got):\n%s", tt.q, err, diff)
			}
		})
	}
}

func TestState(t *testing.T) {
	j := open(t, t.TempDir())
	if _, _, err := j.LoadState(t.Context(), "policy"); !errors.Is(err, ErrNotFound) {
		t.Errorf("LoadState of nothing = %v, want ErrNotFound", err)
	}
	for _, v := range [][]byte{[]byte("one"), {}, nil, {0, 1, 0xff}} {
		if err := j.SaveState(t.Context(), "policy", v); err != nil {
			t.Fatal(err)
		}
		got, saved, err := j.LoadState(t.Context(), "policy")
		if err != nil || string(got) != string(v) || time.Since(saved).Abs() > time.Minute {
			t.Errorf("LoadState = %q, %v, %v, want %q saved now", got, saved, err, v)
		}
	}
	if err := j.DeleteState(t.Context(), "policy"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.LoadState(t.Context(), "policy"); !errors.Is(err, ErrNotFound) {
		t.Errorf("LoadState after DeleteState = %v, want ErrNotFound", err)
	}
}

func TestStateThatIsNotWantedAnyMore(t *testing.T) {
	j := open(t, t.TempDir())
	for _, tt := range []struct {
		value  string
		wanted bool
		want   string
	}{{"first", true, "first"}, {"second", false, "first"}, {"third", true, "third"}} {
		if err := j.SaveStateIf(t.Context(), "k", []byte(tt.value), func() bool { return tt.wanted }); err != nil {
			t.Fatal(err)
		}
		if v, _, err := j.LoadState(t.Context(), "k"); string(v) != tt.want {
			t.Errorf("after %s, wanted %v: %q, %v; want %s", tt.value, tt.wanted, v, err, tt.want)
		}
	}
}

func TestStateThatIsNotWhatWasSaved(t *testing.T) {
	j := open(t, t.TempDir())
	if err := j.SaveState(t.Context(), "k", []byte("no return")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.store.Load().writer.Exec("UPDATE state SET value = 'so return'"); err != nil {
		t.Fatal(err)
	}
	if v, _, err := j.LoadState(t.Context(), "k"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("LoadState = %q, %v, want ErrCorrupt", v, err)
	}
}

func TestDurations(t *testing.T) {
	j := open(t, t.TempDir())
	at := time.Unix(1e9, 0).UTC()
	first := Duration{Step: "vms", Took: 40 * time.Second, Complete: true, Source: SourceDrill, At: at}
	other := Duration{Step: "db", Took: time.Second, Source: SourceOutage, At: at}
	for _, d := range []Duration{first, other} {
		if err := j.RecordDuration(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	got, err := j.Durations(t.Context(), "vms")
	if diff := cmp.Diff([]Duration{first}, got); diff != "" || err != nil {
		t.Errorf("Durations(vms): %v (-want +got):\n%s", err, diff)
	}
	if all, err := j.Durations(t.Context(), ""); len(all) != 2 || err != nil {
		t.Errorf("Durations of all = %v, %v, want 2", all, err)
	}
	for _, bad := range []Duration{{Step: "", Source: SourceDrill}, {Step: "x", Source: "guess"}, {Step: "x", Took: -1, Source: SourceDrill}} {
		if err := j.RecordDuration(t.Context(), bad); err == nil {
			t.Errorf("RecordDuration(%+v) succeeded, want an error", bad)
		}
	}
}

// A duration that was found out later is there together with its mark, or not at all.
func TestRecordDurationOnce(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	d := Duration{Step: "power_off", Took: 52 * time.Second, Complete: true, Source: SourceOutage}
	has := func(runs int, mark string) {
		t.Helper()
		got, err := j.Durations(t.Context(), "power_off")
		v, _, markErr := j.LoadState(t.Context(), "learned")
		if len(got) != runs || string(v) != mark || err != nil || (markErr == nil) != (mark != "") {
			t.Errorf("%d runs, %v; mark %q, %v; want %d and %q", len(got), err, v, markErr, runs, mark)
		}
	}
	if err := j.RecordDurationOnce(t.Context(), Duration{Step: "power_off", Took: -1, Source: SourceOutage}, "learned", []byte("x")); err == nil {
		t.Error("a duration that cannot be was recorded")
	}
	has(0, "")
	if _, err := j.store.Load().writer.Exec("CREATE TRIGGER refuse BEFORE INSERT ON state BEGIN SELECT RAISE(ABORT, 'no'); END"); err != nil {
		t.Fatal(err)
	}
	if err := j.RecordDurationOnce(t.Context(), d, "learned", []byte("boot-0")); err == nil {
		t.Error("recorded without its mark")
	}
	has(0, "")
	if _, err := j.store.Load().writer.Exec("DROP TRIGGER refuse"); err != nil {
		t.Fatal(err)
	}
	if err := j.RecordDurationOnce(t.Context(), d, "learned", []byte("boot-0")); err != nil {
		t.Fatal(err)
	}
	has(1, "boot-0")
}

func TestDurationsAreBounded(t *testing.T) {
	j := open(t, t.TempDir())
	for i := range keepDurations + 5 {
		if err := j.RecordDuration(t.Context(), Duration{Step: "s", Took: time.Duration(i), Source: SourceDrill}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := j.Durations(t.Context(), "s")
	if err != nil || len(got) != keepDurations || got[0].Took != 5 {
		t.Errorf("%d durations from %v on, %v, want the newest %d", len(got), got[0].Took, err, keepDurations)
	}
}

func TestSamplesAndPrune(t *testing.T) {
	now := time.Unix(1e9, 0).UTC()
	j, err := Open(t.Context(), t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var all []Sample
	for i := range pruneChunk + 500 {
		all = append(all, Sample{"u1", "battery.charge", float64(i), now.Add(-time.Duration(i) * time.Minute)})
	}
	if err := j.AppendSamples(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	err = j.AppendSamples(t.Context(), Sample{"u1", "input.voltage", math.Inf(1), now}, Sample{"u1", "input.voltage", 230, now})
	if err == nil || !strings.Contains(err.Error(), "finite") {
		t.Errorf("AppendSamples of +Inf = %v, want an error that says finite", err)
	}
	got, err := j.Samples(t.Context(), SampleQuery{Name: "input.voltage"})
	if diff := cmp.Diff([]Sample{{"u1", "input.voltage", 230, now}}, got); diff != "" || err != nil {
		t.Errorf("the good sample beside a bad one: %v (-want +got):\n%s", err, diff)
	}
	if err := j.Prune(t.Context(), 0, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	got, err = j.Samples(t.Context(), SampleQuery{Device: "u1", Name: "battery.charge", Since: now.Add(-5 * time.Minute), Until: now})
	if err != nil || len(got) != 5 || got[0].Value != 5 {
		t.Errorf("Samples of the last five minutes = %v, %v, want 5", got, err)
	}
	if all, err := j.Samples(t.Context(), SampleQuery{Name: "battery.charge"}); err != nil || len(all) != 11 {
		t.Errorf("%d samples left, %v, want 11 (0 to 10 minutes old)", len(all), err)
	}
}

func TestPruneEventsKeepsTheNewest(t *testing.T) {
	j := open(t, t.TempDir())
	events := make([]dodai.Event, keepNewest+300)
	for i := range events {
		events[i] = event(dodai.EventAlertRaised, "old")
	}
	if err := j.Append(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	if err := j.Prune(t.Context(), time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	got, err := j.Events(t.Context(), Query{})
	if err != nil || len(got) != keepNewest || got[0].ID != 301 {
		t.Errorf("%d events left, %v, want the newest %d although all are decades old", len(got), err, keepNewest)
	}
}

func TestContextEndsBeforeTheWrite(t *testing.T) {
	j := open(t, t.TempDir())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Append(cancelled, event(dodai.EventMainsLost, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want context.Canceled", err)
	}
	j.slot <- struct{}{} // a write that hangs
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := j.SaveState(short, "k", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SaveState behind a hung write = %v, want context.DeadlineExceeded", err)
	}
	<-j.slot
	if err := j.Append(t.Context(), event(dodai.EventMainsLost, "y")); err != nil {
		t.Errorf("Append afterwards = %v", err)
	}
	if got, _ := j.Events(t.Context(), Query{}); len(got) != 1 {
		t.Errorf("%d events, want only the one that was acknowledged", len(got))
	}
}

// Contexts that end at any moment leave the journal usable, and what was acknowledged
// is there.
func TestContextEndsDuringTheWrite(t *testing.T) {
	j := open(t, t.TempDir())
	acknowledged := 0
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
		err := j.Append(ctx, event(dodai.EventMainsLost, "x"), event(dodai.EventMainsLost, "x"))
		cancel()
		switch {
		case err == nil:
			acknowledged += 2
		case !errors.Is(err, context.DeadlineExceeded):
			t.Fatalf("Append with %d µs = %v, want context.DeadlineExceeded", 20*i, err)
		}
	}
	if err := j.Append(t.Context(), event(dodai.EventMainsRestored, "y")); err != nil {
		t.Fatalf("Append afterwards = %v", err)
	}
	got, err := j.Events(t.Context(), Query{Names: []dodai.EventName{dodai.EventMainsLost}})
	if err != nil || len(got) < acknowledged || len(got)%2 != 0 {
		t.Errorf("%d events, %v, want at least the %d acknowledged, and each pair whole", len(got), err, acknowledged)
	}
	t.Logf("%d of 200 in time", acknowledged/2)
}

func TestClosed(t *testing.T) {
	j := open(t, t.TempDir())
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), event(dodai.EventMainsLost, "x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Append = %v, want ErrClosed", err)
	}
	if _, err := j.Events(t.Context(), Query{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Events = %v, want ErrClosed", err)
	}
}

func TestConcurrentReadersAndWriters(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	outside, err := OpenReader(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if err := outside.Append(t.Context(), event(dodai.EventMainsLost, "x")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Append through a reader = %v, want ErrReadOnly", err)
	}
	const writers, each = 4, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := j.Append(t.Context(), event(dodai.EventMainsLost, "a"), event(dodai.EventMainsRestored, "b")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, r := range []*Journal{j, j, outside} {
		wg.Go(func() {
			for n := 0; n < 2*writers*each; {
				got, err := r.Events(t.Context(), Query{})
				if err != nil {
					t.Error(err)
					return
				}
				if len(got) < n || len(got)%2 != 0 {
					t.Errorf("a reader saw %d events after %d: half a transaction, or rows gone", len(got), n)
					return
				}
				n = len(got)
			}
		})
	}
	wg.Wait()
}
