package random

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dodai-agent/dodai/agent/policy"
)

// detailed is how many failing runs are told in detail.
const detailed = 20

// Reporter tells of runs while they are played, and of all of them at the end. It is not
// safe for concurrent use. The first error of a write is returned by Summary.
type Reporter struct {
	Out io.Writer
	// JSON prints one object a line, and the summary as the last one.
	JSON bool
	// Dir is the folder that gets a scenario file of each run told in detail; empty: the
	// command is printed that writes it.
	Dir string
	// Terminal, when not nil, gets the progress.
	Terminal io.Writer
	// New and Without are as in Options.
	New     func(seed uint64) Case
	Without []policy.Rule

	told    int
	shown   time.Time
	begin   time.Time
	tainted bool // the terminal's line has something on it
	err     error
}

// line is a run in JSON.
type line struct {
	Verdict  string   `json:"verdict"`
	Seed     uint64   `json:"seed"`
	Run      int      `json:"run"`
	Shutdown bool     `json:"shutdown"`
	AtS      *float64 `json:"at_s"`
	Reason   string   `json:"reason"`
	MarginS  *float64 `json:"margin_s"`
	Cause    string   `json:"cause,omitempty"`
	Text     string   `json:"text"`
	Replay   string   `json:"replay"`
}

// word is the verdict in one word: unprotected, needless, unwarned or ok.
func word(v *Verdict) string {
	switch {
	case v.Unprotected:
		return "unprotected"
	case v.Needless:
		return "needless"
	case v.Unwarned:
		return "unwarned"
	default:
		return "ok"
	}
}

// Failed tells of a run that failed: of the first twenty, the others are only counted.
func (r *Reporter) Failed(run Run) {
	if r.told++; r.told <= detailed {
		r.Run(run)
	}
}

// Run tells of a run.
func (r *Reporter) Run(run Run) {
	if r.err != nil {
		return
	}
	replay, err := r.replay(run.Seed)
	if err != nil {
		r.err = err
		return
	}
	r.clear()
	l := line{Verdict: word(&run.Verdict), Seed: run.Seed, Run: run.Index, Shutdown: run.Outcome.Shutdown, Reason: run.Outcome.Reason,
		MarginS: finite(run.Verdict.MarginS), Cause: run.Verdict.Cause, Text: run.Verdict.Text, Replay: replay}
	if l.Shutdown {
		l.AtS = new(round(run.Outcome.At.Seconds()))
	}
	if r.JSON {
		r.encode(l)
		return
	}
	r.printf("%s: seed %d, %s\n    %s\n    play it: %s\n", l.Verdict, l.Seed, l.came(), cmp.Or(l.Text, l.Cause, "no word from the judge"), l.Replay)
}

// came is what the host did, in words.
func (l *line) came() string {
	if l.AtS == nil {
		return "stayed up"
	}
	return fmt.Sprintf("went down at %g s (%s)", *l.AtS, l.Reason)
}

func finite(f float64) *float64 {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil
	}
	return new(round(f))
}

// replay writes the scenario file of a run and returns the command that plays it, or
// returns the one that writes it.
func (r *Reporter) replay(seed uint64) (string, error) {
	var without strings.Builder
	for _, rule := range r.Without {
		without.WriteString(" --without " + string(rule))
	}
	if r.Dir == "" {
		return fmt.Sprintf("dodai simulate --random-seed %d --replay-dir .%s", seed, without.String()), nil
	}
	path, err := r.Save(seed)
	return "dodai simulate " + path + without.String(), err
}

// Save plays an outage and writes its scenario file to Dir, whatever comes of playing it.
// A file of one that failed expects what the judge wanted, so that playing it goes on
// failing until that comes.
func (r *Reporter) Save(seed uint64) (path string, err error) {
	path = filepath.Join(r.Dir, fmt.Sprintf("random-%d.yaml", seed))
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return "", fmt.Errorf("scenario file: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("scenario file: %w", err)
	}
	defer func() {
		if closed := f.Close(); closed != nil && err == nil {
			err = fmt.Errorf("scenario file: %w", closed)
		}
	}()
	if err := r.judged(seed).Scenario(f); err != nil {
		return "", fmt.Errorf("scenario file %s: %w", path, err)
	}
	return path, nil
}

// judged is an outage after its judgement, or as it was drawn where it cannot be played.
func (r *Reporter) judged(seed uint64) Case {
	opts := Options{New: r.New}
	c := opts.make()(seed)
	once := func(uint64) Case { return c }
	if _, err := play(context.Background(), seed, once, rules(r.Without)); err != nil {
		return opts.make()(seed)
	}
	return c
}

// Progress shows on the terminal how far the playing is.
func (r *Reporter) Progress(done int) {
	if r.Terminal == nil || time.Since(r.shown) < time.Second/4 {
		return
	}
	r.shown = time.Now()
	if r.begin.IsZero() {
		r.begin = r.shown
		return
	}
	r.tainted = true
	fmt.Fprintf(r.Terminal, "\r\x1b[K%d outages in %.0f s", done, time.Since(r.begin).Seconds())
}

// clear takes the progress from the terminal.
func (r *Reporter) clear() {
	if r.tainted {
		fmt.Fprint(r.Terminal, "\r\x1b[K")
	}
	r.tainted = false
}

// Summary tells what came of all runs, as the last thing.
func (r *Reporter) Summary(s *Summary) error {
	r.clear()
	if r.JSON {
		r.encode(s)
		return r.err
	}
	if more := r.told - detailed; more > 0 {
		r.printf("and %d more that failed\n", more)
	}
	r.printf("%d random outages in %.1f s, %.0f a second; seed %d\n\n", s.Runs, s.Seconds, s.PerSecond, s.Seed)
	tw := tabwriter.NewWriter(r, 0, 4, 2, ' ', 0)
	fmt.Fprintf(tw, "unprotected\t%d\tthe power went before the machine was down, though there had been warning enough\n", s.Unprotected)
	fmt.Fprintf(tw, "needless\t%d\tthe machine went down for nothing\n", s.Needless)
	fmt.Fprintf(tw, "unwarned\t%d\t%s: the power went, and nothing had told so in time\n", s.Unwarned, percent(s.Unwarned, s.Runs))
	causes := slices.SortedFunc(maps.Keys(s.UnwarnedCauses), func(a, b string) int {
		return cmp.Or(s.UnwarnedCauses[b]-s.UnwarnedCauses[a], cmp.Compare(a, b))
	})
	for _, cause := range causes {
		fmt.Fprintf(tw, "\t%d\t  %s\n", s.UnwarnedCauses[cause], cause)
	}
	fmt.Fprintf(tw, "shutdowns\t%d\t%s of all outages\n", s.Shutdowns, percent(s.Shutdowns, s.Runs))
	if s.WorstMarginS != nil {
		fmt.Fprintf(tw, "worst margin\t%.1f s\tleft on the battery, of all outages with warning\n", *s.WorstMarginS)
	}
	if err := tw.Flush(); r.err == nil {
		r.err = err
	}
	return r.err
}

func percent(part, whole int) string {
	if whole == 0 {
		return "none"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(whole))
}

func (r *Reporter) encode(v any) {
	enc := json.NewEncoder(r)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); r.err == nil {
		r.err = err
	}
}

func (r *Reporter) printf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// Write passes on to Out until a write fails.
func (r *Reporter) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.Out.Write(p)
	r.err = err
	return n, err
}
