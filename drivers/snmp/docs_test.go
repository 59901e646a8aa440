package snmp

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// TestDocumentation opens every UPS of the page's configuration, and looks for every
// option on the page.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/drivers/snmp.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		if !strings.Contains(string(page), "`"+o.Key+"`") {
			t.Errorf("option %s is not on the page", o.Key)
		}
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("no configuration on the page")
	}
	var file struct {
		UPS []struct {
			Name, Driver, Address string
			Options               map[string]string
		} `yaml:"ups"`
	}
	if err := yaml.Unmarshal(block[1], &file); err != nil || len(file.UPS) == 0 {
		t.Fatalf("%d UPSes, %v", len(file.UPS), err)
	}
	for _, u := range file.UPS {
		opts := map[string]string{"address": u.Address}
		for key, v := range u.Options {
			if stem, ok := strings.CutSuffix(key, "_file"); ok {
				key, v = stem, "a secret from a file"
			}
			opts[key] = v
		}
		if _, err := Factory.Open(u.Name, opts, nil); err != nil || u.Driver != Factory.Name {
			t.Errorf("%s: %v", u.Name, err)
		}
	}
}
