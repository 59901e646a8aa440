package e2e

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

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
