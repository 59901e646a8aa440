package action

import (
	"context"
	"errors"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Notify hands a text to the hooks of the event notification and waits until they have
// ended. It fails when there are none.
type Notify struct {
	Text string
	Deps Deps
}

// Kind implements shutdown.Action.
func (Notify) Kind() string { return "notify" }

// String implements shutdown.Action.
func (n Notify) String() string { return shutdown.Quoted([]string{"notify", n.Text}) }

// Run implements shutdown.Action. When it has to end first the hooks go on: each has a
// time-out of its own.
func (n Notify) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	if n.Deps.Notify == nil {
		return shutdown.Failed(errors.New("notify: nothing here runs hooks"), "")
	}
	work, end := t.Context(ctx)
	defer end()
	done := make(chan error, 1)
	go func() { done <- n.Deps.Notify(n.Text, t) }()
	select {
	case err := <-done:
		return shutdown.Failed(err, "")
	case <-work.Done():
		return shutdown.Failed(context.Cause(work), "")
	}
}

// Inverse implements shutdown.Action.
func (Notify) Inverse() shutdown.Action { return nil }

// Repeatable implements shutdown.Action: a second message harms nobody.
func (Notify) Repeatable() bool { return true }

// Check implements shutdown.Action.
func (n Notify) Check(_ context.Context, t shutdown.Task) []shutdown.Finding {
	if n.Deps.Listens != nil && n.Deps.Listens() {
		return nil
	}
	return []shutdown.Finding{{Step: t.Step, Check: "nobody_listens",
		Text: "no hook listens to the event " + string(dodai.EventNotification) + ", so nobody will get the message",
		Fix:  "add to hooks: {on: [" + string(dodai.EventNotification) + "], command: [\"/usr/local/bin/notify\", \"{text}\"]}"}}
}
