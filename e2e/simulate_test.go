package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// simulated is a line of `dodai simulate`.
type simulated struct {
	ID         *string   `json:"id"`
	Shutdown   *bool     `json:"shutdown"`
	AtS        *float64  `json:"at_s"`
	Reason     *string   `json:"reason"`
	Alerts     *[]string `json:"alerts"`
	BootHold   *bool     `json:"boot_hold"`
	PowerCycle *bool     `json:"power_cycle"`
}

// decodeLine reads a line, in which no key may be missing and none be unknown.
func decodeLine(t *testing.T, line string) simulated {
	t.Helper()
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &keys); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	for _, key := range []string{"id", "shutdown", "at_s", "reason", "alerts", "boot_hold", "power_cycle"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("there is no %s in %s", key, line)
		}
	}
	var s simulated
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		t.Errorf("%v: %s", err, line)
	}
	if s.ID == nil || s.Shutdown == nil || s.Reason == nil || s.Alerts == nil || s.BootHold == nil || s.PowerCycle == nil {
		t.Fatalf("null where a value belongs: %s", line)
	}
	if *s.Shutdown != (s.AtS != nil) || *s.Shutdown != (*s.Reason != "none") {
		t.Errorf("shutdown, at_s and reason do not agree: %s", line)
	}
	return s
}

// simulate plays files and returns their lines.
func simulate(t *testing.T, wantExit int, args ...string) []simulated {
	t.Helper()
	out, errs, exit := run(t, append([]string{"simulate", "--json"}, args...)...)
	if exit != wantExit {
		t.Errorf("dodai simulate %v ends with %d, want %d\n%s", args, exit, wantExit, errs)
	}
	var lines []simulated
	for line := range strings.Lines(out) {
		lines = append(lines, decodeLine(t, line))
	}
	return lines
}

// Our own scenarios, and those that may lie beside the repository, hold: as they are, with
// a random phase of the polls, and with reads that fail.
func TestSimulate(t *testing.T) {
	t.Parallel()
	t.Run("own", func(t *testing.T) { simulateFolder(t, filepath.Join("..", "agent", "drill", "testdata", "scenarios")) })
	t.Run("shared", func(t *testing.T) { simulateFolder(t, peer.Shared(t, "corpus", "scenarios")) })
}

func simulateFolder(t *testing.T, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scenarios in %s: %v", len(files), dir, err)
	}
	lines := simulate(t, 0, files...)
	if len(lines) != len(files) {
		t.Fatalf("%d lines for %d files", len(lines), len(files))
	}
	for i, file := range files {
		if want := strings.TrimSuffix(filepath.Base(file), ".yaml"); *lines[i].ID != want {
			t.Errorf("line %d is about %s, want %s", i+1, *lines[i].ID, want)
		}
	}
	for seed := range 5 {
		args := append([]string{"--seed", strconv.Itoa(seed), "--jitter", "--fail-rate", "0.1"}, files...)
		if first, second := simulate(t, 0, args...), simulate(t, 0, args...); seed == 0 && !cmp.Equal(first, second) {
			t.Errorf("the same seed gives different answers:\n%s", cmp.Diff(first, second))
		}
	}
}

const lowBatteryScenario = `id: one
title: the battery gets low
timeline:
  - {t: 10, set: {ups.status: OB DISCHRG, input.voltage: 0}}
  - {t: 40, set: {ups.status: OB DISCHRG LB}}
  - {t: 90, event: end}
`

// What is expected decides the exit status; what was decided stands in the line.
func TestSimulateExitStatus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, text)
		return path
	}
	held := file("held.yaml", lowBatteryScenario+"expect: {shutdown: true, not_before_s: 40, not_after_s: 50, reason: lb}\n")
	missed := file("missed.yaml", lowBatteryScenario+"expect: {shutdown: false}\n")
	early := file("early.yaml", lowBatteryScenario+"expect: {shutdown: true, not_before_s: 60}\n")
	broken := file("broken.yaml", "id: broken\ntimeline: [{t: 0, sett: {}}]\n")

	line := simulate(t, 0, held)[0]
	if !*line.Shutdown || *line.Reason != "lb" || *line.AtS < 40 || *line.AtS > 50 || *line.PowerCycle {
		t.Errorf("the answer is %+v", line)
	}
	if lines := simulate(t, 3, held, missed); len(lines) != 2 || !*lines[1].Shutdown {
		t.Errorf("%d lines, want the missed expectation's too, with what was decided", len(lines))
	}
	simulate(t, 3, early)
	for _, args := range [][]string{{broken}, {held, broken}, {filepath.Join(dir, "none.yaml")}, {"--no-such-flag", held}, {"--fail-rate", "2", held}, {}} {
		if lines := simulate(t, 2, args...); lines != nil {
			t.Errorf("dodai simulate %v has played something", args)
		}
	}
}

// demoResult are the documented keys of the demo's result.
type demoResult struct {
	Outage struct {
		DetectedS *float64 `json:"detected_s"`
		DecidedS  *float64 `json:"decided_s"`
		MarginS   *float64 `json:"margin_s"`
		Steps     []any    `json:"steps"`
	} `json:"outage"`
	Drill struct {
		ID     string `json:"id"`
		Level  string `json:"level"`
		Report struct {
			Verdict    string `json:"verdict"`
			Objectives []struct {
				Name string   `json:"name"`
				Want *float64 `json:"want"`
				Got  *float64 `json:"got"`
				Unit string   `json:"unit"`
				Pass *bool    `json:"pass"`
			} `json:"objectives"`
		} `json:"report"`
	} `json:"drill"`
}

// The demo plays an outage and a drill within 45 s, ends well, and leaves the drill's
// report behind and nothing else.
func TestDemo(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), binary, "demo", "--json")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	t.Logf("the demo took %v", took.Round(time.Millisecond))
	if err != nil || took > 45*time.Second {
		t.Fatalf("the demo took %v: %v\n%s", took, err, &errs)
	}
	checkDemo(t, lastObject(t, out.Bytes()))
	for _, name := range leftBehind(t, temp) {
		if !strings.Contains(name, "drill") {
			t.Errorf("the demo has left %s behind", name)
		}
	}
}

// lastObject decodes a stream of JSON values, of which the last one counts, and after
// which nothing comes.
func lastObject(t *testing.T, out []byte) demoResult {
	t.Helper()
	start := bytes.Index(out, []byte("{\n"))
	if start > 0 && out[start-1] != '\n' {
		t.Fatalf("the object does not begin a line:\n%s", out)
	}
	dec := json.NewDecoder(bytes.NewReader(out[max(0, start):]))
	var r demoResult
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("the last thing on standard output is no object: %v\n%s", err, out)
	}
	if rest, _ := io.ReadAll(dec.Buffered()); len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("something comes after the object: %s", rest)
	}
	return r
}

func checkDemo(t *testing.T, r demoResult) {
	t.Helper()
	o, d := r.Outage, r.Drill
	if o.DetectedS == nil || o.DecidedS == nil || o.MarginS == nil || len(o.Steps) == 0 {
		t.Fatalf("the outage is %+v, want detected_s, decided_s, margin_s and steps", o)
	}
	if *o.DetectedS <= 0 || *o.DetectedS > 2.6 || *o.DecidedS <= *o.DetectedS || *o.MarginS <= 0 {
		t.Errorf("detected after %g s, decided after %g s, margin %g s", *o.DetectedS, *o.DecidedS, *o.MarginS)
	}
	t.Logf("detected after %.2f s, decided after %.2f s, margin %.0f s", *o.DetectedS, *o.DecidedS, *o.MarginS)
	if d.ID == "" || d.Level != "tabletop" || d.Report.Verdict != "pass" || len(d.Report.Objectives) == 0 {
		t.Errorf("the drill is %+v", d)
	}
	for _, obj := range d.Report.Objectives {
		if obj.Name == "" || obj.Want == nil || obj.Got == nil || obj.Unit == "" || obj.Pass == nil || !*obj.Pass {
			t.Errorf("an objective is %+v", obj)
		}
	}
}

func leftBehind(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("left behind: %q", out)
	return out
}
