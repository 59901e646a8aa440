package action

import (
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// remote makes the kinds that ask another machine; nil: s is none of them.
func remote(s config.Step) (shutdown.Action, error) {
	switch {
	case s.HTTP != nil:
		return HTTP{*s.HTTP}, nil
	case s.WaitFor != nil:
		return WaitFor{WaitFor: *s.WaitFor}, nil
	case s.SSH != nil:
		return SSH{*s.SSH}, nil
	case s.Redfish != nil:
		return Redfish{Redfish: *s.Redfish}, nil
	case s.IPMI != nil:
		return IPMI{IPMI: *s.IPMI}, nil
	}
	return nil, nil
}
