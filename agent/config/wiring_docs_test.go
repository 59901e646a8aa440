package config

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/drivers/all"
)

var (
	wrongBlock = regexp.MustCompile("(?s)```yaml wrong\n(.*?)```\n\n```text\n(.*?)```")
	wordsBlock = regexp.MustCompile("(?s)```text\n((?:ups|psu) [^ ]+: .*?)```")
)

// TestDocumentedMistakes: the page shows wrong files with what check says of them.
func TestDocumentedMistakes(t *testing.T) {
	blocks := wrongBlock.FindAllStringSubmatch(readPage(t, "configuration.md"), -1)
	if len(blocks) != 3 {
		t.Errorf("%d wrong files on the page, want 3", len(blocks))
	}
	for _, block := range blocks {
		_, err := Parse("dodai.yaml", []byte(block[1]), all.Find)
		if err == nil {
			t.Errorf("%s is right", block[1])
			continue
		}
		if diff := cmp.Diff(strings.TrimSpace(block[2]), err.Error()); diff != "" {
			t.Errorf("%s-on the page +check:\n%s", block[1], diff)
		}
	}
}

// TestDocumentedWiring: what stands under a site's configuration is what check says of it.
func TestDocumentedWiring(t *testing.T) {
	for _, name := range []string{"configuration.md", "operating.md"} {
		page := readPage(t, name)
		words := wordsBlock.FindAllStringSubmatchIndex(page, -1)
		if len(words) != 1 {
			t.Errorf("%s has %d sites in words, want 1", name, len(words))
		}
		for _, at := range words {
			before := yamlBlock.FindAllStringSubmatch(page[:at[0]], -1)
			c, err := Parse(name, []byte(before[len(before)-1][1]), all.Find)
			if err != nil {
				t.Fatalf("%s:\n%v", name, err)
			}
			if diff := cmp.Diff(page[at[2]:at[3]], strings.Join(c.WiringText(), "\n")+"\n"); diff != "" || len(c.Warnings) > 0 {
				t.Errorf("%s: warnings %v, -on the page +check:\n%s", name, c.Warnings, diff)
			}
		}
	}
}

// TestOperatingPage: every configuration on it is one the agent takes.
func TestOperatingPage(t *testing.T) {
	blocks := yamlBlock.FindAllStringSubmatch(readPage(t, "operating.md"), -1)
	if len(blocks) < 2 {
		t.Errorf("%d configurations on the page, want 2 at least", len(blocks))
	}
	for _, block := range blocks {
		if _, err := Parse("operating.md", []byte(block[1]), all.Find); err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
	}
}

// drawn is the site of the operating page, and decides about it.
type drawn struct {
	t    *testing.T
	cfg  *Config
	snap *dodai.Snapshot
	mem  policy.Memory
	last policy.Decision
}

func newDrawn(t *testing.T, change func(text string) string) *drawn {
	t.Helper()
	parts, _ := sections(readPage(t, "operating.md"))
	text := yamlBlock.FindStringSubmatch(parts["Wiring: what hangs on what"])[1]
	c, err := Parse("operating.md", []byte(change(text)), all.Find)
	if err != nil {
		t.Fatal(err)
	}
	d := &drawn{t: t, cfg: c, snap: &dodai.Snapshot{At: time.Hour, AgentStartedAt: time.Hour, Paths: c.Wiring, Links: c.Links()}}
	return d.pass("OL 3600", "OL 3600")
}

// pass lets 20 s pass in which room and rack say the same every second: status and runtime.
func (d *drawn) pass(room, rack string) *drawn {
	for range 20 {
		now := d.snap.At + time.Second
		for name, says := range map[string]string{"room": room, "rack": rack} {
			word, seconds, _ := strings.Cut(says, " ")
			runtime, err := time.ParseDuration(seconds + "s")
			if err != nil {
				d.t.Fatal(err)
			}
			status, _ := dodai.ParseStatus(word)
			r := &dodai.Reading{Kind: dodai.KindUPS, Status: status, Vars: dodai.Vars{
				dodai.BatteryCharge: dodai.Num(90), dodai.BatteryRuntime: dodai.Num(runtime.Seconds())}}
			d.snap = d.snap.With(&dodai.DeviceState{Name: name, Kind: dodai.KindUPS, Reading: r, At: now, Polls: uint64(now), StaleAfter: 15 * time.Second}, now, time.Time{})
		}
		d.last, d.mem = policy.New(d.cfg.Policy).Decide(d.snap, d.mem, now)
	}
	return d
}

func (d *drawn) is(what string, shutdown bool) *drawn {
	d.t.Helper()
	if d.last.Shutdown != shutdown {
		d.t.Errorf("%s: shutdown %v, want %v: %s", what, d.last.Shutdown, shutdown, d.last.Explanation)
	}
	return d
}

// TestDocumentedDecisions plays what the operating page says of the site it draws.
func TestDocumentedDecisions(t *testing.T) {
	as := func(s string) string { return s }
	newDrawn(t, as).is("all is well", false).
		pass("OB 900", "OL 60").is("A is lost", false).
		pass("OB 10", "OL 60").is("room ends, B is there", false).
		pass("OB 10", "OB 20").is("rack ends as well, B is there", false)

	both := func(s string) string { return s + "policy: {min_supplies: 2}\n" }
	newDrawn(t, both).is("all is well", false).
		pass("OB 900", "OL 60").is("A is lost, both are needed", false).
		pass("OB 100", "OL 60").is("both are needed, and one chain no longer covers a shutdown", true)

	chain := func(s string) string {
		return strings.NewReplacer(`  - {psu: "10.2", ups: room, feed: A}`, "  #", `  - {psu: "10.2", feed: B} `, "  #").Replace(s)
	}
	newDrawn(t, chain).is("one after the other alone", false).
		pass("OB 130", "OL 60").is("130 s and 60 s cover 180 s", false).
		pass("OB 115", "OL 60").is("115 s and 60 s do not", true)
	newDrawn(t, chain).pass("OB 10", "OL 600").is("room ends, rack covers a shutdown", false).
		pass("OB 10", "OB 170").is("rack on battery is judged by that alone", true)
}
