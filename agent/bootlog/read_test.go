package bootlog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/e2e/peer"
)

func script(t *testing.T, text string) Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journalctl")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Reader{Program: "/bin/sh", Args: []string{path}} // executed itself it may be "busy" while another test forks
}

const (
	first  = "11111111111141111111111111111111"
	second = "22222222222242222222222222222222"
	third  = "33333333333343333333333333333333"
	gone   = "44444444444444444444444444444444"
)

func TestRealJournal(t *testing.T) {
	program := peer.Need(t, "journalctl")
	dir := peer.SystemJournal(t,
		peer.JournalEntry{Boot: first, Micros: 1_000_000}, peer.JournalEntry{Boot: first, Micros: 5_000_000}, peer.JournalEntry{Boot: first, Micros: 57_250_000, Fields: "MESSAGE_ID=" + msgJournalStopped},
		peer.JournalEntry{Boot: second, Micros: 900_000}, peer.JournalEntry{Boot: second, Micros: 44_000_000}, // the power went
		peer.JournalEntry{Boot: third, Micros: 700_000}, peer.JournalEntry{Boot: third, Micros: 3_000_000, Fields: "MESSAGE_ID=" + msgUnitStopping + " UNIT=" + flushUnit}, peer.JournalEntry{Boot: third, Micros: 3_100_000},
	)
	r := Reader{Program: program, Args: []string{"-D", dir}}
	for id, want := range map[string]End{
		first: {57250 * time.Millisecond, Stopped}, second: {44 * time.Second, BrokeOff}, third: {3100 * time.Millisecond, Released},
		"11111111-1111-4111-1111-111111111111": {57250 * time.Millisecond, Stopped}, // as the kernel spells it
	} {
		if got, err := r.End(t.Context(), id); err != nil || got != want {
			t.Errorf("boot %s: %+v, %v; want %+v", id, got, err, want)
		}
	}
	if got, err := r.End(t.Context(), gone); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "No such boot") {
		t.Errorf("a boot that is not in it: %+v, %v; want ErrNone with journalctl's word", got, err)
	}
	r.Args = []string{"-D", t.TempDir()}
	if got, err := r.End(t.Context(), first); !errors.Is(err, ErrNone) {
		t.Errorf("no journal: %+v, %v; want ErrNone", got, err)
	}
}

// A file that lost its end in a power cut is read as far as it goes, or refused.
func TestDamagedJournal(t *testing.T) {
	program := peer.Need(t, "journalctl")
	dir := peer.SystemJournal(t, peer.JournalEntry{Boot: first, Micros: 1_000_000}, peer.JournalEntry{Boot: first, Micros: 57_250_000, Fields: "MESSAGE_ID=" + msgJournalStopped})
	path := filepath.Join(dir, "system.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []int{0, 100, 4096, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:keep], 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Reader{Program: program, Args: []string{"-D", dir}}.End(t.Context(), first)
		if err == nil && got.At > 57250*time.Millisecond || err != nil && !errors.Is(err, ErrNone) && !errors.Is(err, ErrOutput) {
			t.Errorf("%d of %d bytes: %+v, %v", keep, len(whole), got, err)
		}
	}
}

// A journal of ordinary users alone says nothing about the machine.
func TestJournalOfAUser(t *testing.T) {
	program := peer.Need(t, "journalctl")
	dir := peer.SystemJournal(t, peer.JournalEntry{Boot: first, Micros: 1_000_000})
	if err := os.Rename(filepath.Join(dir, "system.journal"), filepath.Join(dir, "user-1000.journal")); err != nil {
		t.Fatal(err)
	}
	if got, err := (Reader{Program: program, Args: []string{"-D", dir}}).End(t.Context(), first); !errors.Is(err, ErrNone) {
		t.Errorf("End = %+v, %v; want ErrNone", got, err)
	}
}

func TestHangingProgram(t *testing.T) {
	for name, text := range map[string]string{
		"hangs":                         "sleep 60",
		"heeds no signal":               "trap '' TERM; sleep 60; sleep 60",
		"leaves a child with its pipes": "sleep 60 & sleep 60",
		"prints without end":            "sleep 60 & while :; do echo x; sleep 0.01; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := script(t, text)
			r.Timeout = 200 * time.Millisecond
			began := time.Now()
			_, err := r.End(t.Context(), first)
			if took := time.Since(began); !errors.Is(err, ErrTimeout) || took > r.Timeout+2*killWait {
				t.Errorf("End: %v after %v, want ErrTimeout after %v", err, took, r.Timeout)
			}
		})
	}
}

func TestProgramThatFails(t *testing.T) {
	if _, err := (Reader{Program: "/nowhere/journalctl"}).End(t.Context(), first); !errors.Is(err, ErrNone) {
		t.Errorf("no such program: %v, want ErrNone", err)
	}
	if _, err := script(t, "echo >&2 no right to; exit 1").End(t.Context(), first); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "no right to") {
		t.Errorf("a failure: %v, want ErrNone with what it said", err)
	}
	if _, err := script(t, "head -c 3000000 /dev/zero").End(t.Context(), first); !errors.Is(err, ErrOutput) {
		t.Errorf("3 MB of zeroes: %v, want ErrOutput", err)
	}
	for _, id := range []string{"", "x", "--merge", first + "0", strings.Repeat("g", 32)} {
		if _, err := script(t, "exit 0").End(t.Context(), id); err == nil || errors.Is(err, ErrNone) {
			t.Errorf("boot id %q: %v, want it refused before anything runs", id, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := script(t, "sleep 60").End(ctx, first); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

// What is asked: exactly that boot, the system's journal, no pager, nothing on the wall
// clock.
func TestArguments(t *testing.T) {
	r := script(t, `printf '{"_BOOT_ID":"`+first+`","__MONOTONIC_TIMESTAMP":"7","UNIT":"%s"}\n' "$*" >"$0.args"; cat "$0.args"`)
	log := r.Args[0] + ".args"
	r.Args = append(r.Args, "-D", "/j")
	if end, err := r.End(t.Context(), strings.ToUpper(first)); err != nil || end.At != 7*time.Microsecond {
		t.Fatalf("End = %+v, %v", end, err)
	}
	got, err := os.ReadFile(log)
	if want := "-D /j --system --boot=" + first + " -n 20 -o json --output-fields=MESSAGE_ID,UNIT --no-pager -q"; err != nil || !strings.Contains(string(got), `"`+want+`"`) {
		t.Errorf("asked with %s, %v; want %s", got, err, want)
	}
}
