package megatec

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const page = "../../docs/drivers/megatec.md"

func readPage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The configuration on the driver's page is one the driver takes.
func TestDocumentedConfiguration(t *testing.T) {
	_, rest, _ := strings.Cut(readPage(t), "```yaml\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s has no yaml block", page)
	}
	var file struct {
		UPS []struct {
			Name, Driver, Port string
			Options            map[string]string
		}
	}
	if err := yaml.UnmarshalWithOptions([]byte(block), &file, yaml.Strict()); err != nil || len(file.UPS) != 1 {
		t.Fatalf("yaml block: %v, %+v", err, file)
	}
	ups := file.UPS[0]
	ups.Options["port"] = ups.Port
	d, err := Factory.Open(ups.Name, ups.Options, nil)
	if err != nil || ups.Driver != Factory.Name {
		t.Fatalf("driver %q: %v", ups.Driver, err)
	}
	d.Close()
}

// The page's table has every option, and no other.
func TestDocumentedOptions(t *testing.T) {
	_, rest, _ := strings.Cut(readPage(t), "| option | meaning |")
	table, _, _ := strings.Cut(rest, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cell, -1) {
			documented = append(documented, m[1])
		}
	}
	var taken []string
	for _, o := range Factory.Options {
		taken = append(taken, o.Key)
	}
	slices.Sort(documented)
	slices.Sort(taken)
	if !slices.Equal(documented, taken) {
		t.Errorf("the page has the options %q, the driver takes %q", documented, taken)
	}
}

// The page names every variable that a full frame gives.
func TestDocumentedVariables(t *testing.T) {
	text := readPage(t)
	for _, frame := range []string{
		"(230.4 230.4 230.4 021 50.0 27.4 25.0 00011001",
		"(230.4 230.4 230.4 021 50.0 2.26 25.0 00000000",
	} {
		for name := range read(t, rated(t, settings{}), frame).Vars {
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s does not explain %s", page, name)
			}
		}
	}
}
