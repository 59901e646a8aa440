package md

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/e2e/peer"
)

// expectation is one capture's hand-read truth; a key that is not there is not judged.
type expectation struct {
	Gone      []string         `yaml:"gone"`
	Arrays    []map[string]any `yaml:"arrays"`
	FilesOnly []map[string]any `yaml:"arrays_files_only"`
}

func loadExpected(t *testing.T, dir string) map[string]expectation {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "expected.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Files map[string]expectation }
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Files
}

// TestLabCaptures reads trees captured from real arrays in a virtual machine, with the
// links a real sysfs has, and once more with no link dangling.
func TestLabCaptures(t *testing.T) {
	dir := peer.Shared(t, "corpus", "storage", "md-lab")
	for name, want := range loadExpected(t, dir) {
		capture := filepath.Join(dir, name)
		for _, links := range []string{"links", "no dangling link", "no link"} {
			t.Run(name+"/"+links, func(t *testing.T) {
				gone, arrays := want.Gone, want.Arrays
				if links != "links" {
					gone = nil
					if want.FilesOnly != nil {
						arrays = want.FilesOnly
					}
				}
				root := labTree(t, capture, gone, links != "no link")
				r := pollWith(t, map[string]string{"sys": root + "/sys", "proc": root + "/proc"})
				checkArrays(t, r, arrays)
			})
		}
		t.Run(name+"/mdstat alone", func(t *testing.T) {
			// No expectation is written for this: whatever mdstat shows must be read.
			r := pollWith(t, map[string]string{"mdstat": filepath.Join(capture, "mdstat")})
			if len(r.Arrays) != len(want.Arrays) {
				t.Errorf("%d arrays, want %d", len(r.Arrays), len(want.Arrays))
			}
		})
	}
}

// TestMdstatCaptures reads real /proc/mdstat files.
func TestMdstatCaptures(t *testing.T) {
	dir := peer.Shared(t, "corpus", "storage", "mdstat")
	for name, want := range loadExpected(t, dir) {
		t.Run(name, func(t *testing.T) {
			checkArrays(t, pollWith(t, map[string]string{"mdstat": filepath.Join(dir, name)}), want.Arrays)
		})
	}
}

func pollWith(t *testing.T, opts map[string]string) dodai.Reading {
	t.Helper()
	d, err := Factory.Open("arrays", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Poll(t.Context())
	if err != nil {
		t.Fatalf("Poll: %v", err)
	}
	return r
}

func checkArrays(t *testing.T, r dodai.Reading, want []map[string]any) {
	t.Helper()
	if len(r.Arrays) != len(want) {
		t.Errorf("%d arrays, want %d", len(r.Arrays), len(want))
	}
	for _, w := range want {
		i := slices.IndexFunc(r.Arrays, func(a dodai.Array) bool { return a.ID == w["id"] })
		if i < 0 {
			t.Errorf("array %v is not reported", w["id"])
			continue
		}
		checkArray(t, r.Arrays[i], w)
	}
	if t.Failed() {
		t.Logf("notes: %q", r.Notes)
	}
}

func checkArray(t *testing.T, a dodai.Array, want map[string]any) {
	t.Helper()
	got := map[string]any{
		"id": a.ID, "level": a.Level, "state": string(a.State), "failing": a.Failing, "suspect": a.Suspect,
		"activity": string(a.Activity), "missing": deref(a.Missing), "spares": deref(a.Spares), "percent": deref(a.Percent),
		"tolerance_left": deref(a.ToleranceLeft), "spofs": a.SPOFs, "writable": deref(a.Writable), "mismatch_cnt": deref(a.MismatchCount),
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		g, known := got[key]
		if !known {
			continue // remarks, and what other sources have
		}
		if !same(g, want[key]) {
			t.Errorf("%s %s = %v, want %v", a.ID, key, g, want[key])
		}
	}
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func same(got, want any) bool {
	list, isList := want.([]any)
	if isList {
		names, _ := got.([]string)
		texts := make([]string, len(list))
		for i, w := range list {
			texts[i] = fmt.Sprint(w)
		}
		return slices.Equal(slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(texts)))
	}
	if f, ok := got.(float64); ok && want != nil {
		var w float64
		fmt.Sscan(fmt.Sprint(want), &w)
		return math.Abs(f-w) < 0.15
	}
	return fmt.Sprint(got) == fmt.Sprint(want)
}

// labTree rebuilds a captured tree: sysfs.txt has a line "== path" before each value.
func labTree(t *testing.T, capture string, gone []string, links bool) string {
	t.Helper()
	root := t.TempDir()
	data, err := os.ReadFile(filepath.Join(capture, "sysfs.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq("\n"+string(data), "\n== ") {
		path, value, ok := strings.Cut(block, "\n")
		if !ok || strings.Contains(path, "/md/rd") {
			continue
		}
		writeFile(t, root+path, value)
	}
	mdstat, err := os.ReadFile(filepath.Join(capture, "mdstat"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, root+"/proc/mdstat", string(mdstat))
	if links {
		linkMembers(t, root, gone)
	}
	return root
}

// linkMembers adds the links of a real sysfs: dev-X/block, and rdN to the member.
func linkMembers(t *testing.T, root string, gone []string) {
	t.Helper()
	members, err := filepath.Glob(root + "/sys/block/*/md/dev-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range members {
		name := strings.TrimPrefix(filepath.Base(dir), "dev-")
		if !slices.Contains(gone, name) {
			if err := os.MkdirAll(root+"/sys/block/"+name, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		link(t, "../../../"+name, dir+"/block")
		if slot, err := os.ReadFile(dir + "/slot"); err == nil {
			if text := strings.TrimSpace(string(slot)); text != "none" && text != "journal" {
				os.Symlink(filepath.Base(dir), filepath.Dir(dir)+"/rd"+text) // a replacement shares its slot
			}
		}
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
