// Package packaging_test checks what is installed beside the program.
package packaging_test

import (
	"bytes"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/drivers/all"
)

// TestInstalledConfiguration is what a machine runs after the package was installed.
func TestInstalledConfiguration(t *testing.T) {
	data, err := os.ReadFile("dodai.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("dodai.yaml", data, all.Find)
	if err != nil {
		t.Fatal(err)
	}
	if c.Mode != config.Observe {
		t.Errorf("mode %s as installed: want observe", c.Mode)
	}
	if len(c.Drills) == 0 {
		t.Error("no drill to begin with")
	}
	passable(t, c)
}

// passable reports a drill that no real battery can pass: mains_loss comes to a decision
// when the margin is used up, minutes after its start and with nothing left.
func passable(t *testing.T, c *config.Config) {
	t.Helper()
	for _, d := range c.Drills {
		if o := d.Objectives; d.Scenario == "mains_loss" && (o.DecideS != nil && *o.DecideS < 3600 || o.MarginS != nil && *o.MarginS > 0) {
			t.Errorf("drill %s: mains_loss with a decision that is early or leaves a margin cannot pass", d.Name)
		}
	}
}

var comment = regexp.MustCompile(`(?m)^#  `)

// TestCommentedConfiguration takes the comments away from the examples.
func TestCommentedConfiguration(t *testing.T) {
	data, err := os.ReadFile("dodai.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// What stands there for real has to make room where a list would stand twice.
	whole := comment.ReplaceAll(data, []byte("  "))
	c, err := config.Parse("dodai.yaml", whole, all.Find)
	if err != nil {
		t.Fatalf("%v\n%s", err, whole)
	}
	if len(c.UPS) != 2 || len(c.PSUs) != 1 || len(c.Wiring) != 2 || len(c.Shutdown.Steps) != 7 || c.Shutdown.NoReturn == "" || !c.UPS[1].KillPower || c.BootHold.Rank == 0 || len(c.Hooks) != 1 {
		t.Errorf("%d UPSes, %d PSUs, %d paths, %d steps, %d hooks: want 2, 1, 2, 7, 1, and every key of the plan", len(c.UPS), len(c.PSUs), len(c.Wiring), len(c.Shutdown.Steps), len(c.Hooks))
	}
}

var example = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentedConfiguration reads every example of the configuration's page and the
// plan's.
func TestDocumentedConfiguration(t *testing.T) {
	for _, name := range []string{"configuration.md", "plan.md"} {
		t.Run(name, func(t *testing.T) { documentedIn(t, name) })
	}
}

func documentedIn(t *testing.T, file string) {
	page, err := os.ReadFile("../docs/" + file)
	if err != nil {
		t.Fatal(err)
	}
	examples := example.FindAllSubmatchIndex(page, -1)
	if len(examples) < 5 {
		t.Fatalf("%d examples: want at least 5", len(examples))
	}
	for _, at := range examples {
		name := file + ":" + strconv.Itoa(1+bytes.Count(page[:at[2]], []byte("\n")))
		c, err := config.Parse(name, page[at[2]:at[3]], all.Find)
		if err != nil {
			t.Errorf("%s:\n%v", name, err)
			continue
		}
		passable(t, c)
	}
}

// TestDocumentedMistakes compares the errors the page shows with those that come.
func TestDocumentedMistakes(t *testing.T) {
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```yaml wrong\n(.*?)```\n\n```text\n(.*?)```").FindAllSubmatch(page, -1)
	if len(shown) == 0 {
		t.Fatal("the page shows no mistake")
	}
	for _, m := range shown {
		_, err := config.Parse("dodai.yaml", m[1], all.Find)
		if want := strings.TrimSpace(string(m[2])); err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", m[1], err, want)
		}
	}
}
