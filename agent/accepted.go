package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/collectors"
)

// acceptedFile is where, in the state directory, the text of the configuration lies that
// is in force. It may hold secrets.
const acceptedFile = "accepted.yaml"

// Accepted returns the text of the configuration that was last in force, and whether an
// outage or a shutdown of this boot was under way when the agent ended. Somebody may have
// broken the configuration file in the middle of one; the agent has to go on with it all
// the same. Nothing is returned where nothing is known.
func Accepted(ctx context.Context, stateDir string) (text []byte, unfinished bool) {
	text, err := os.ReadFile(filepath.Join(stateDir, acceptedFile))
	if err != nil {
		return nil, false
	}
	j, err := journal.OpenReader(ctx, stateDir)
	if err != nil {
		return nil, false
	}
	defer j.Close()
	if data, _, err := j.LoadState(ctx, keyShutdown); err == nil {
		if d, err := restoreDown(data, stamp{BootID: collectors.BootID()}); err == nil && d != nil && !d.Finished {
			return text, true
		}
	}
	data, _, err := j.LoadState(ctx, keyPolicy)
	return text, err == nil && wasOnBattery(data, stamp{BootID: collectors.BootID()})
}

// wasOnBattery reports whether a memory of this boot has a UPS on battery.
func wasOnBattery(data []byte, now stamp) bool {
	var s policyState
	if json.Unmarshal(data, &s) != nil || s.BootID != now.BootID || s.BootID == "" {
		return false
	}
	for _, u := range s.Memory.UPS {
		if u.OnBattery.Set {
			return true
		}
	}
	return false
}

// keepAccepted remembers the text of the configuration that is now in force.
func (a *Agent) keepAccepted(text []byte) {
	if len(text) == 0 {
		return
	}
	path := filepath.Join(a.opts.StateDir, acceptedFile)
	tmp := path + ".new"
	err := os.WriteFile(tmp, text, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		a.log.Warn("the configuration in force was not kept beside the journal", "err", err)
	}
}
