package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/e2e/peer"
)

// TestManPages: every command has a page that groff finds nothing wrong with, and that has its
// flags.
func TestManPages(t *testing.T) {
	groff := peer.Need(t, "groff")
	dir := t.TempDir()
	if code := run([]string{"manpages", dir}, t.Output(), t.Output()); code != exitOK {
		t.Fatalf("exit status %d", code)
	}
	for _, c := range documented(newRoot()) {
		path := filepath.Join(dir, manName(c)+".8")
		cmd := exec.Command(groff, "-man", "-k", "-ww", "-Tutf8", "-P-cbou", "-rLL=200n", path)
		var problems bytes.Buffer
		cmd.Stderr = &problems
		out, err := cmd.Output()
		if err != nil || problems.Len() > 0 {
			t.Errorf("%s: %v\n%s", path, err, problems.String())
		}
		for line := range strings.Lines(c.NonInheritedFlags().FlagUsages()) {
			if flag, _, _ := strings.Cut(strings.TrimSpace(line), "  "); !bytes.Contains(out, []byte(flag)) {
				t.Errorf("%s has no %s:\n%s", path, flag, out)
			}
		}
		if !bytes.Contains(out, []byte(c.Short)) {
			t.Errorf("%s does not say %q", path, c.Short)
		}
	}
	if pages, err := os.ReadDir(dir); err != nil || len(pages) < 20 {
		t.Errorf("%d pages, %v: want one for each command", len(pages), err)
	}
}

// TestManText: what a text has to be as it stands stays so, and none of it is a request.
func TestManText(t *testing.T) {
	got := manText("One\n.so x\n\n  a -b\n   'c\n\nlast \\d")
	want := "One\n\\&.so x\n.PP\n.PP\n.nf\n  a \\-b\n   'c\n.PP\n.fi\nlast \\ed\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
