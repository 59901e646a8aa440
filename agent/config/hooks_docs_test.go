package config

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai/agent/notify"
	"github.com/dodai-agent/dodai/drivers/all"
)

// TestHooksPage: the page has every placeholder and variable, and no other, and its
// configuration is one the agent takes.
func TestHooksPage(t *testing.T) {
	page := readPage(t, "hooks.md")
	parts, _ := sections(page)
	text := parts["What a hook is told"]
	text, _, _ = strings.Cut(text, "Only a name in braces")
	named := map[string]bool{}
	for _, cells := range rows(text) {
		for _, m := range regexp.MustCompile("`\\{([a-z_.]+)\\}`").FindAllStringSubmatch(strings.Join(cells, " "), -1) {
			named[m[1]] = true
		}
	}
	want := slices.Sorted(slices.Values(slices.Concat(notify.Builtins, EventFields)))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(named))); diff != "" {
		t.Errorf("placeholders, -there are +on the page:\n%s", diff)
	}
	for _, name := range notify.Builtins {
		if row := "| `{" + name + "}` | `DODAI_" + strings.ToUpper(name) + "` |"; !strings.Contains(text, row) {
			t.Errorf("no row %s", row)
		}
	}
	for _, block := range yamlBlock.FindAllStringSubmatch(page, -1) {
		if _, err := Parse("hooks.md", []byte(block[1]), all.Find); err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
	}
}

// TestHooksPageScript runs the page's script: mail always, the pager only when it is real.
func TestHooksPageScript(t *testing.T) {
	m := regexp.MustCompile("(?s)```sh\n(#!/bin/sh.*?)```").FindStringSubmatch(readPage(t, "hooks.md"))
	if m == nil {
		t.Fatal("no script on the page")
	}
	for drill, want := range map[string]string{"": "mail page", "20261120T230506Z-low-1": "mail"} {
		dir := t.TempDir()
		for _, program := range []string{"mail", "page", "hostname"} {
			text := "#!/bin/sh\n" // hostname says nothing
			if program != "hostname" {
				text += "cat >/dev/null </dev/null\necho " + program + " >>" + dir + "/log\n"
			}
			if err := os.WriteFile(filepath.Join(dir, program), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("/bin/sh", "-c", m[1], "notify", "mains_lost", "u1", "u1 has lost the mains")
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "DODAI_DRILL=" + drill}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("the script fails: %v\n%s", err, out)
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if got := strings.Join(strings.Fields(string(log)), " "); got != want {
			t.Errorf("in drill %q it calls %q, want %q", drill, got, want)
		}
	}
}
