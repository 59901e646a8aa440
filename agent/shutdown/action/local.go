package action

import (
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// local makes the kinds that act on this machine; nil: s is none of them.
func local(s config.Step, deps Deps) (shutdown.Action, error) {
	return nil, nil
}
