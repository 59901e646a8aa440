package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/policy"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/all"
)

func readPage(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile("../../docs/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sections are a page's parts by heading, and the headings in their order.
func sections(page string) (parts map[string]string, order []string) {
	parts = map[string]string{}
	for part := range strings.SplitSeq("\n"+page, "\n## ") {
		heading, text, _ := strings.Cut(part, "\n")
		parts[heading] = text
		order = append(order, heading)
	}
	return parts, order
}

var quoted = regexp.MustCompile("`([a-z0-9_]+)`")

// rows are the tables of a text: each row's cells.
func rows(text string) (list [][]string) {
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) > 1 && strings.HasPrefix(line, "|") {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			list = append(list, cells)
		}
	}
	return list
}

// column are the quoted names in the first column of the table with that heading.
func column(text, heading string) (names []string) {
	_, text, _ = strings.Cut(text, "| "+heading+" |")
	text, _, _ = strings.Cut(text, "\n\n")
	for _, cells := range rows(text) {
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			names = append(names, m[1])
		}
	}
	return names
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// certificate is an option that a driver checks by reading the file.
var certificate = regexp.MustCompile(`(?m)^.*\.pem$`)

// TestDriverPages: each driver has a page of the same build, whose configuration is
// one the agent takes, and which has every option and no other.
func TestDriverPages(t *testing.T) {
	for _, f := range all.Drivers() {
		t.Run(f.Name, func(t *testing.T) {
			page := readPage(t, "drivers/"+f.Name+".md")
			parts, order := sections(page)
			if !strings.HasPrefix(page, "# "+f.Name+": ") {
				t.Errorf("title %.40q: want the driver's name", page)
			}
			at := -1
			for _, heading := range []string{"Devices", "Wiring", "Configuration", "Readings", "Quirks", "Verified against"} {
				i := slices.Index(order, heading)
				if i <= at || len(parts[heading]) < 10 {
					t.Errorf("headings %q: want %s, with a text, behind the one before", order, heading)
				}
				at = i
			}
			if !strings.Contains(strings.ToLower(parts["Quirks"]), "source") {
				t.Error("the quirks name no source")
			}
			documentedOptions(t, f, parts["Configuration"])
			blocks := yamlBlock.FindAllStringSubmatch(page, -1)
			used := false
			for _, block := range blocks {
				c, err := Parse(f.Name+".md", certificate.ReplaceAll([]byte(block[1]), nil), all.Find)
				if err != nil {
					t.Errorf("%s\n%v", block[1], err)
					continue
				}
				used = used || slices.ContainsFunc(c.AllDevices(), func(d Device) bool { return d.Driver == f.Name })
			}
			if !used {
				t.Errorf("%d configurations on the page, none with the driver", len(blocks))
			}
		})
	}
}

func documentedOptions(t *testing.T, f drivers.Factory, text string) {
	t.Helper()
	var taken []string
	for _, o := range f.Options {
		taken = append(taken, o.Key)
	}
	table := column(text, "option")
	slices.Sort(table)
	slices.Sort(taken)
	if diff := cmp.Diff(taken, table); diff != "" {
		t.Errorf("options, -taken +on the page:\n%s", diff)
	}
}

// TestConfigurationPage: the page has every key, default and event, and no other.
func TestConfigurationPage(t *testing.T) {
	page := readPage(t, "configuration.md")
	parts, order := sections(page)
	var headings []string
	for _, h := range order {
		for _, m := range quoted.FindAllStringSubmatch(h, -1) {
			headings = append(headings, m[1])
		}
	}
	byName := map[string]place{}
	for _, p := range places {
		byName[p.name] = p
	}
	same := func(what string, documented, taken []string) {
		t.Helper()
		slices.Sort(documented)
		slices.Sort(taken)
		if diff := cmp.Diff(taken, documented); diff != "" {
			t.Errorf("%s, -taken +on the page:\n%s", what, diff)
		}
	}
	same("sections", headings, byName["the file"].keys(t))
	same("devices", column(parts["`ups`, `arrays`, `disks`, `psus`, `pdus`"], "key"), byName["ups"].keys(t))
	shutdown, steps, _ := strings.Cut(parts["`shutdown`"], "A step:")
	same("shutdown", column(shutdown, "key"), byName["shutdown"].keys(t))
	same("steps", column(steps, "key"), byName["steps"].keys(t))
	for _, cells := range rows(steps) {
		if kind, ok := byName[strings.Trim(cells[0], "`")]; ok && len(cells) == 4 {
			documentedIn(t, kind.name, cells[2], kind.keys(t))
		}
	}
	_, tuning, _ := strings.Cut(shutdown, "| `power_off` |")
	tuning, _, _ = strings.Cut(tuning, "\n")
	documentedIn(t, "power_off", tuning, byName["power_off"].keys(t))
	same("boot_hold", column(parts["`boot_hold`"], "key"), byName["boot_hold"].keys(t))
	same("policy", column(parts["`policy`"], "key"), byName["policy"].keys(t))
	for _, name := range []string{"wiring", "host", "early", "hooks", "export", "journal", "drills", "objectives"} {
		for _, key := range byName[name].keys(t) {
			if !regexp.MustCompile(`(?m)([{, ]|^)` + key + `:|` + "`" + key + "`").MatchString(page) {
				t.Errorf("%s of %s is not on the page", key, name)
			}
		}
	}
	_, events, _ := strings.Cut(parts["`hooks`"], "Events:")
	var names, known []string
	for _, m := range quoted.FindAllStringSubmatch(events, -1) {
		names = append(names, m[1])
	}
	for _, name := range dodai.EventNames {
		known = append(known, string(name))
	}
	same("events", names, known)
}

// documentedIn makes sure that a text names each of the keys that a mapping takes.
func documentedIn(t *testing.T, name, text string, keys []string) {
	t.Helper()
	for _, key := range keys {
		if !strings.Contains(text, "`"+key+"`") {
			t.Errorf("%s of %s is not on the page: %s", key, name, text)
		}
	}
}

// TestDocumentedDefaults compares the columns of defaults with what an empty file means.
func TestDocumentedDefaults(t *testing.T) {
	parts, _ := sections(readPage(t, "configuration.md"))
	c, err := parse("shutdown: {steps: [{name: s, unit: a.service}]}")
	if err != nil {
		t.Fatal(err)
	}
	step := c.Shutdown.Steps[0]
	seconds := func(d Duration) string { return fmt.Sprintf("%gs", d.D().Seconds()) }
	want := map[string]string{
		"need": seconds(c.Shutdown.Need), "reserve": seconds(c.Shutdown.Reserve),
		"timeout": seconds(step.Timeout), "on_failure": "`" + string(step.OnFailure) + "`", "wake": fmt.Sprint(c.Shutdown.Wake),
		"retries": fmt.Sprint(step.Retries), "rank": fmt.Sprint(c.BootHold.Rank), "stagger": seconds(c.BootHold.Stagger), "limit": c.BootHold.Limit.String(),
	}
	v := reflect.ValueOf(policy.Default())
	for i := range v.NumField() {
		field := v.Field(i)
		text := fmt.Sprint(field.Interface())
		if field.Kind() == reflect.Pointer {
			text = "null"
		}
		want[v.Type().Field(i).Tag.Get("yaml")] = text
	}
	found := 0
	for _, cells := range slices.Concat(rows(parts["`shutdown`"]), rows(parts["`boot_hold`"]), rows(parts["`policy`"])) {
		var defaults []string
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			if text, ok := want[m[1]]; ok {
				defaults = append(defaults, text)
				found++
			}
		}
		if text := strings.Join(defaults, ", "); len(defaults) > 0 && cells[1] != text {
			t.Errorf("default of %s is %s on the page, and %s", cells[0], cells[1], text)
		}
	}
	if found != len(want)-1 { // Need and Reserve have no key of their own below policy
		t.Errorf("%d defaults on the page, want %d", found, len(want)-1)
	}
}
