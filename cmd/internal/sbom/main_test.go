package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSBOM has a bill made of dodai, whose modules go itself lists.
func TestSBOM(t *testing.T) {
	program := filepath.Join(t.TempDir(), "dodai")
	if out, err := exec.Command("go", "build", "-o", program, "../../dodai").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := run(w, program, "1.2.3", "86400"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same program twice gives different bills")
	}
	var doc document
	dec := json.NewDecoder(&first)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if got := doc.Metadata.Timestamp; got != "1970-01-02T00:00:00Z" {
		t.Errorf("date %s, want the second day", got)
	}
	var got []string
	for _, c := range doc.Components {
		if c.Name != "std" {
			got = append(got, c.Name+" "+c.Version)
		}
	}
	out, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "dep" {
			want = append(want, f[1]+" "+f[2])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("modules %q, want %q", got, want)
	}
	if n := len(doc.Dependencies[0].DependsOn); n != len(got)+1 {
		t.Errorf("depends on %d, want all and the standard library", n)
	}
}

func TestSBOMWrong(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, program, epoch string }{
		{"no program", text, ""},
		{"no file", text + "x", ""},
		{"no date", own, "yesterday"},
	} {
		if err := run(&bytes.Buffer{}, c.program, "1", c.epoch); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}
