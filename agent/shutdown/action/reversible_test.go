package action

import (
	"os"
	"regexp"
	"testing"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
	"github.com/dodai-agent/dodai/drivers/all"
)

// TestReversible: what the configuration takes for reversible when it checks the point of
// no return is what the action can take back.
func TestReversible(t *testing.T) {
	request := &config.HTTP{URL: "https://nas.example/"}
	for name, c := range map[string]struct {
		step config.Step
		want bool
	}{
		"command":             {config.Step{Do: config.Do{Command: []string{"true"}}}, false},
		"command and undo":    {config.Step{Do: config.Do{Command: []string{"true"}}, Undo: []string{"true"}}, true},
		"unit":                {config.Step{Do: config.Do{Unit: "a.service"}}, true},
		"libvirt":             {config.Step{Do: config.Do{Libvirt: &config.Libvirt{}}}, false},
		"libvirt, named":      {config.Step{Do: config.Do{Libvirt: &config.Libvirt{Domains: []string{"a"}}}}, true},
		"proxmox":             {config.Step{Do: config.Do{Proxmox: &config.Proxmox{Except: []string{"101"}}}}, false},
		"proxmox, named":      {config.Step{Do: config.Do{Proxmox: &config.Proxmox{Guests: []string{"100"}}}}, true},
		"containers":          {config.Step{Do: config.Do{Containers: &config.Containers{Engine: "docker"}}}, false},
		"containers and undo": {config.Step{Do: config.Do{Containers: &config.Containers{Engine: "docker"}}, Undo: []string{"true"}}, true},
		"containers, named":   {config.Step{Do: config.Do{Containers: &config.Containers{Engine: "docker", Names: []string{"a"}}}}, true},
		"wall":                {config.Step{Do: config.Do{Wall: "a"}}, true},
		"notify":              {config.Step{Do: config.Do{Notify: "a"}}, true},
		"http":                {config.Step{Do: config.Do{HTTP: request}}, false},
		"http and undo":       {config.Step{Do: config.Do{HTTP: &config.HTTP{URL: request.URL, Undo: request}}}, true},
		"wait_for":            {config.Step{Do: config.Do{WaitFor: &config.WaitFor{Peers: []string{"nas:22"}}}}, true},
		"ssh":                 {config.Step{Do: config.Do{SSH: &config.SSH{Host: "nas", Command: "true"}}}, false},
		"ssh and undo":        {config.Step{Do: config.Do{SSH: &config.SSH{Host: "nas", Command: "true", Undo: "true"}}}, true},
		"redfish":             {config.Step{Do: config.Do{Redfish: &config.Redfish{Address: "https://bmc.example"}}}, true},
		"ipmi":                {config.Step{Do: config.Do{IPMI: &config.IPMI{Address: "bmc.example"}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			do, undo, err := New(c.step, Deps{})
			if err != nil {
				t.Fatal(err)
			}
			really := shutdown.Step{Do: do, Undo: undo}
			if said := c.step.Reversible(); said != c.want || really.Reversible() != c.want {
				t.Errorf("the configuration says %v, the action %v, want %v", said, really.Reversible(), c.want)
			}
		})
	}
}

// TestDocumentedPlans: what the configuration takes of the page about plans the executor
// takes as well.
func TestDocumentedPlans(t *testing.T) {
	page, err := os.ReadFile("../../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		c, err := config.Parse("plan.md", block[1], all.Find)
		if err != nil {
			t.Fatal(err)
		}
		plan := shutdown.Plan{NoReturn: c.Shutdown.NoReturn, Command: c.Shutdown.Command}
		for _, s := range c.Shutdown.Steps {
			do, undo, err := New(s, Deps{})
			if err != nil {
				t.Fatalf("%s\n%v", block[1], err)
			}
			plan.Steps = append(plan.Steps, shutdown.Step{Name: s.Name, Do: do, Undo: undo, After: s.After})
		}
		for _, e := range plan.Validate() {
			t.Errorf("%s\n%v", block[1], e)
		}
		longest = max(longest, len(plan.Steps))
	}
	if longest != 12 {
		t.Errorf("the longest plan has %d steps, want the complete one of 12", longest)
	}
}
