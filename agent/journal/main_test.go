package journal

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
)

// The test binary is its own child: JOURNAL_CHILD names what it does instead of tests.
func TestMain(m *testing.M) {
	switch dir := os.Getenv("JOURNAL_DIR"); os.Getenv("JOURNAL_CHILD") {
	case "":
		os.Exit(m.Run())
	case "append":
		childAppend(dir)
	case "hold":
		childHold(dir)
	case "full":
		childFull(dir)
	case "replace":
		childReplace(dir)
	case "limit":
		childLimit(dir)
	}
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childAppend appends numbered events and saves a counter until it is killed, and
// prints each number once it is acknowledged.
func childAppend(dir string) {
	ctx := context.Background()
	j, err := Open(ctx, dir, Options{})
	fatal(err)
	first, err := strconv.Atoi(os.Getenv("JOURNAL_FIRST"))
	fatal(err)
	for n := first; ; n++ {
		fatal(j.Append(ctx, dodai.Event{Name: dodai.EventStepFinished, Device: strconv.Itoa(n), Text: "a step that took a while"}))
		fatal(j.SaveState(ctx, "counter", []byte(strconv.Itoa(n))))
		fatal(j.RecordDuration(ctx, Duration{Step: "s", Took: time.Duration(n), Complete: true, Source: SourceOutage}))
		fmt.Println(n)
	}
}

func childHold(dir string) {
	_, err := Open(context.Background(), dir, Options{})
	fatal(err)
	fmt.Println("held")
	time.Sleep(time.Minute)
}

func open(t testing.TB, dir string) *Journal {
	t.Helper()
	j, err := Open(t.Context(), dir, Options{BootID: "boot-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func event(name dodai.EventName, device string) dodai.Event {
	return dodai.Event{Name: name, Device: device, At: time.Second, Wall: time.Unix(1e9, 0).UTC()}
}

func devices(records []Record) []string {
	out := []string{}
	for _, r := range records {
		out = append(out, r.Device)
	}
	return out
}
