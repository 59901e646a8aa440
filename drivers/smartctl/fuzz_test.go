package smartctl

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

func seeds(f *testing.F) [][]byte {
	f.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	var out [][]byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

// FuzzSmartctl checks that whatever is printed makes a disk with a verdict, values in
// range, and reasons exactly where it is not ok.
func FuzzSmartctl(f *testing.F) {
	for _, data := range seeds(f) {
		for _, exit := range []int{0, 3, 4, 216} {
			f.Add(data, exit)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, exit int) {
		exit &= 0xff
		d := judge(drivers.Output{Stdout: data, Exit: exit})
		if !slices.Contains(dodai.Verdicts, d.Verdict) {
			t.Errorf("verdict %q is none", d.Verdict)
		}
		if (d.Verdict == dodai.VerdictOK) != (len(d.Reasons) == 0) || slices.Contains(d.Reasons, "") {
			t.Errorf("verdict %s with reasons %q", d.Verdict, d.Reasons)
		}
		if exit&3 != 0 && d.Verdict != dodai.VerdictUnreadable {
			t.Errorf("exit status %d and verdict %s", exit, d.Verdict)
		}
		if exit&24 != 0 && d.Verdict != dodai.VerdictUnreadable && d.Verdict != dodai.VerdictCritical {
			t.Errorf("exit status %d and verdict %s", exit, d.Verdict)
		}
		checkRanges(t, d)
		if diff := cmp.Diff(d, judge(drivers.Output{Stdout: data, Exit: exit})); diff != "" {
			t.Errorf("reading the same again differs:\n%s", diff)
		}
	})
}

func checkRanges(t *testing.T, d dodai.Disk) {
	t.Helper()
	if d.Verdict == dodai.VerdictUnreadable && (d.TempC != nil || d.PowerOnHours != nil || d.WearRatio != nil) {
		t.Errorf("unreadable, with values: %+v", d)
	}
	if d.TempC != nil && (*d.TempC < -40 || *d.TempC > 125 || *d.TempC == 0) {
		t.Errorf("%v °C", *d.TempC)
	}
	if d.PowerOnHours != nil && (*d.PowerOnHours < 0 || *d.PowerOnHours > maxHours) {
		t.Errorf("%v hours", *d.PowerOnHours)
	}
	if d.WearRatio != nil && (*d.WearRatio < 0 || *d.WearRatio > 2.55) {
		t.Errorf("wear %v", *d.WearRatio)
	}
	if d.Capacity != nil && *d.Capacity <= 0 {
		t.Errorf("capacity %v", *d.Capacity)
	}
}

// FuzzScan checks that no list of devices can slip an option into the next call.
func FuzzScan(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	f.Add([]byte(`{"devices":[{"name":"-x","type":"-y"},{"name":"/dev/a","type":"a"},{"name":"/dev/a","type":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		targets, _, err := parseScan(data)
		if err != nil {
			if !errors.Is(err, drivers.ErrProtocol) {
				t.Errorf("error %v: want ErrProtocol", err)
			}
			return
		}
		seen := map[target]bool{}
		for _, one := range targets {
			if !strings.HasPrefix(one.Name, "/") || strings.HasPrefix(one.Type, "-") || seen[one] {
				t.Errorf("target %q", one)
			}
			seen[one] = true
		}
		groups := 0
		for _, g := range byName(targets) {
			groups += len(g)
		}
		if len(targets) > maxTargets || groups != len(targets) {
			t.Errorf("%d targets, %d in groups", len(targets), groups)
		}
	})
}
