package action

import (
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// local makes the kinds that act on this machine; nil: s is none of them.
func local(s config.Step, deps Deps) (shutdown.Action, error) {
	switch {
	case s.Libvirt != nil:
		return Libvirt{Libvirt: *s.Libvirt}, nil
	case s.Proxmox != nil:
		return Proxmox{Proxmox: *s.Proxmox}, nil
	case s.Containers != nil:
		return Containers{Containers: *s.Containers}, nil
	case s.Wall != "":
		return Wall{Text: s.Wall}, nil
	case s.Notify != "":
		return Notify{Text: s.Notify, Deps: deps}, nil
	}
	return nil, nil
}
