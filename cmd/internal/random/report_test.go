package random

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/drill"
	"github.com/dodai-agent/dodai/agent/policy"
)

// reported is what a reporter prints of n outages judged by judge.
func reported(t *testing.T, n int, r Reporter, judge func(*fake, Outcome) Verdict) []string {
	t.Helper()
	var out bytes.Buffer
	r.Out, r.New = &out, fakes(judge)
	sum, err := Do(t.Context(), Options{N: n, Seed: 5, New: r.New, OnFailure: r.Failed, Progress: r.Progress})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Summary(&sum); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// TestJSON: twenty failures at most, an object each, and the summary as the last line.
func TestJSON(t *testing.T) {
	lines := reported(t, 400, Reporter{JSON: true}, strict)
	if len(lines) != detailed+1 {
		t.Fatalf("%d lines, want %d failures and the summary", len(lines), detailed)
	}
	var first line
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first.Verdict != "unprotected" && first.Verdict != "needless" || first.Seed != Seed(5, first.Run) || !first.Shutdown || first.AtS == nil || first.Reason != "lb" {
		t.Errorf("%s", lines[0])
	}
	if want := fmt.Sprintf("dodai simulate --random-seed %d --replay-dir .", first.Seed); first.Replay != want {
		t.Errorf("replay %q, want %q", first.Replay, want)
	}
	var keys map[string]any
	if err := json.Unmarshal([]byte(lines[detailed]), &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"runs", "unprotected", "needless", "unwarned", "seconds", "worst_margin_s", "unwarned_causes", "shutdowns", "per_second", "seed"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("the summary has no %s: %s", key, lines[detailed])
		}
	}
	if keys["runs"] != 400.0 || keys["seed"] != 5.0 {
		t.Errorf("summary %s", lines[detailed])
	}
}

// TestNothingAtRisk: there is no worst margin, and the causes are an empty object.
func TestNothingAtRisk(t *testing.T) {
	lines := reported(t, 20, Reporter{JSON: true}, nil)
	if last := lines[len(lines)-1]; len(lines) != 1 || !strings.Contains(last, `"worst_margin_s":null`) || !strings.Contains(last, `"unwarned_causes":{}`) {
		t.Errorf("%v", lines)
	}
}

// TestTable: what an operator reads.
func TestTable(t *testing.T) {
	text := strings.Join(reported(t, 400, Reporter{}, strict), "\n")
	for _, want := range []string{"unprotected: seed ", "too late", "went down at 3", "play it: dodai simulate --random-seed ", "more that failed\n",
		"400 random outages in ", "seed 5\n", "\nunprotected   ", "\nneedless      ", "\nunwarned      ", "  silent\n", "  sudden death\n", "\nshutdowns     400    100.00 % of all outages\n", "\nworst margin  "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	up := strings.Join(reported(t, 1, Reporter{}, func(f *fake, _ Outcome) Verdict { return Verdict{Needless: true, Cause: "for nothing"} }), "\n")
	if !strings.Contains(up, "for nothing") || strings.Contains(up, "more that failed") || !strings.Contains(up, "worst margin  0.0 s") {
		t.Errorf("%s", up)
	}
}

func TestWords(t *testing.T) {
	for want, v := range map[string]Verdict{"ok": {}, "unprotected": {Unprotected: true, Needless: true}, "needless": {Needless: true}, "unwarned": {Unwarned: true}} {
		if got := word(&v); got != want {
			t.Errorf("%+v is %s, want %s", v, got, want)
		}
	}
	if l := (line{}); l.came() != "stayed up" {
		t.Errorf("a host that stayed up %s", l.came())
	}
	if finite(math.Inf(-1)) != nil || finite(math.NaN()) != nil || *finite(1.23456) != 1.235 {
		t.Error("only finite numbers have a place in JSON")
	}
}

// TestReplayDir: one file for each failure told, with what the site writes.
func TestReplayDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	lines := reported(t, 400, Reporter{JSON: true, Dir: dir}, strict)
	files, err := filepath.Glob(filepath.Join(dir, "random-*.yaml"))
	if err != nil || len(files) != detailed {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var first line
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fmt.Sprintf("random-%d.yaml", first.Seed))
	if first.Replay != "dodai simulate "+path {
		t.Errorf("replay %q", first.Replay)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != fmt.Sprintf("id: fake-%d, judged\n", first.Seed) {
		t.Errorf("%q, %v", text, err)
	}
}

// TestSavePanic: an outage that cannot be played has a file all the same.
func TestSavePanic(t *testing.T) {
	r := Reporter{Dir: t.TempDir(), New: fakes(func(*fake, Outcome) Verdict { panic("no such battery") })}
	path, err := r.Save(3)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "id: fake-3\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestSavedExpectation: the file of a failure goes on failing until the agent does right.
func TestSavedExpectation(t *testing.T) {
	blind := []policy.Rule{policy.RuleLB, policy.RuleRuntime, policy.RuleCharge, policy.RuleDischarge, policy.RuleNoMetrics}
	r := Reporter{Dir: t.TempDir(), Without: blind}
	var failed []Run
	if _, err := Do(t.Context(), Options{N: 150, Seed: 3, Without: blind, OnFailure: func(run Run) { failed = append(failed, run) }}); err != nil || len(failed) < 3 {
		t.Fatalf("%d failures, %v", len(failed), err)
	}
	for _, run := range failed {
		path, err := r.Save(run.Seed)
		if err != nil {
			t.Fatal(err)
		}
		s, err := drill.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		opts := s.Mode.Options()
		opts.Without = rules(blind)
		as, err := drill.Play(t.Context(), s, opts)
		if err != nil || len(as.Check(s.Expect)) == 0 {
			t.Errorf("%s holds although the run was %s (%v)", path, word(&run.Verdict), err)
		}
	}
}

// TestReplayDirFails: a file that cannot be written is an error, and not only once.
func TestReplayDirFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := Reporter{Out: io.Discard, Dir: filepath.Join(file, "below"), New: fakes(nil)}
	r.Run(Run{Seed: 1})
	r.Run(Run{Seed: 2})
	if err := r.Summary(&Summary{}); err == nil || !strings.Contains(err.Error(), "scenario file: ") {
		t.Errorf("error %v", err)
	}
	broken := Reporter{Out: io.Discard, Dir: t.TempDir(), New: func(seed uint64) Case { return &fake{broken: true} }}
	broken.Run(Run{Seed: 1})
	if err := broken.Summary(&Summary{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v, want the site's", err)
	}
}

type closedPipe struct{ writes int }

func (c *closedPipe) Write([]byte) (int, error) { c.writes++; return 0, io.ErrClosedPipe }

func TestBrokenOutput(t *testing.T) {
	for _, asJSON := range []bool{true, false} {
		w := &closedPipe{}
		r := Reporter{Out: w, JSON: asJSON, New: fakes(nil)}
		r.Run(Run{Seed: 1})
		r.Run(Run{Seed: 2})
		if err := r.Summary(&Summary{}); !errors.Is(err, io.ErrClosedPipe) || w.writes != 1 {
			t.Errorf("error %v after %d writes, want the first one's", err, w.writes)
		}
	}
}

// TestProgress: on a terminal alone, and gone before anything else is printed.
func TestProgress(t *testing.T) {
	var out, term bytes.Buffer
	r := Reporter{Out: &out, New: fakes(nil)}
	r.Progress(1)
	r.Terminal = &term
	r.Progress(1)
	r.shown = r.shown.Add(-time.Second)
	r.Progress(77)
	r.Progress(78)
	if got := term.String(); !strings.Contains(got, "77 outages in 0 s") || strings.Contains(got, "78") {
		t.Errorf("progress %q", got)
	}
	if err := r.Summary(&Summary{}); err != nil || !strings.HasSuffix(term.String(), "\r\x1b[K") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("progress %q, output %q, %v", &term, &out, err)
	}
}

// TestOne: the one outage of a seed is told whatever the verdict.
func TestOne(t *testing.T) {
	var told []Run
	opts := Options{New: fakes(func(*fake, Outcome) Verdict { return Verdict{Unwarned: true, Cause: "silent", MarginS: -3} })}
	sum, err := One(t.Context(), 12, opts, func(r Run) { told = append(told, r) })
	if err != nil || len(told) != 1 || told[0].Seed != 12 || sum.Runs != 1 || sum.Seed != 12 || sum.UnwarnedCauses["silent"] != 1 || !sum.OK() {
		t.Errorf("%+v, told %v, %v", sum, told, err)
	}
	opts.New = fakes(func(*fake, Outcome) Verdict { panic("x") })
	if sum, err = One(t.Context(), 12, opts, func(Run) { t.Error("told of a run that failed to play") }); err == nil || sum.Runs != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}
