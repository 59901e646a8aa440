package action

import (
	"testing"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// TestReversible: what the configuration takes for reversible when it checks the point of
// no return is what the action can take back.
func TestReversible(t *testing.T) {
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
