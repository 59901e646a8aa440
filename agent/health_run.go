package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// keyRun is where an agent remembers that it runs, and that it has ended.
const keyRun = "run"

// runMark is the life of an agent as it lies in the journal.
type runMark struct {
	stamp
	Version string `json:"version"`
	Ended   bool   `json:"ended,omitempty"`
}

// stampOf is when a state was saved; nil where that cannot be read.
func stampOf(data []byte) *stamp {
	var s stamp
	if json.Unmarshal(data, &s) != nil {
		return nil
	}
	return &s
}

// markRun remembers that this agent runs, or has ended, without waiting for the disk.
func (a *Agent) markRun(ended bool) {
	data, err := json.Marshal(runMark{a.stamp(), a.opts.Version, ended})
	if err != nil {
		a.log.Error("the agent's life cannot be written", "err", err)
		return
	}
	a.store.save(keyRun, data)
}

// killedBefore is the event that the agent before this one was killed, or crashed, in this
// boot; nil: it ended in order, or with the boot, or nothing is known of it. heard is when
// its policy was last written down, nil when that is not known.
func (a *Agent) killedBefore(ctx context.Context, heard *stamp) *dodai.Event {
	var before runMark
	now := a.stamp()
	data := a.store.load(ctx, keyRun)
	if data == nil || json.Unmarshal(data, &before) != nil || before.Ended || before.BootID != now.BootID || before.BootID == "" {
		return nil
	}
	text := "the agent before this one did not end in order: it was killed, ran out of memory, or crashed"
	fields := map[string]any{"version": before.Version}
	if heard != nil && heard.BootID == now.BootID && heard.At <= now.At {
		gap := (now.At - heard.At).Round(time.Second)
		text += fmt.Sprintf("; nothing was watched for at most %v", gap)
		fields["gap_s"] = gap.Seconds()
	}
	return &dodai.Event{Name: dodai.EventAgentKilled, Text: text + ". `journalctl -u dodai` says more", Fields: fields}
}
