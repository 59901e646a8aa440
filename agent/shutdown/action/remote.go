package action

import (
	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// remote makes the kinds that ask another machine; nil: s is none of them.
func remote(s config.Step) (shutdown.Action, error) {
	return nil, nil
}
