package action

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// wallTime bounds the message as a whole; a terminal that hangs is given up by wall itself
// after as long.
const wallTime = 5 * time.Second

// Wall writes a message on every terminal.
type Wall struct{ Text string }

// Kind implements shutdown.Action.
func (Wall) Kind() string { return "wall" }

// args are never one word alone: wall takes that for the name of a file to read.
func (w Wall) args() []string {
	first, rest, _ := strings.Cut(strings.TrimSpace(w.Text), " ")
	return []string{"wall", "-t", strconv.Itoa(int(wallTime / time.Second)), "--", first, rest}
}

// String implements shutdown.Action.
func (w Wall) String() string { return shutdown.Quoted([]string{"wall", strings.TrimSpace(w.Text)}) }

// Run implements shutdown.Action.
func (w Wall) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	t.Timeout = min(t.Timeout, wallTime)
	return t.Exec(ctx, "", w.args()...)
}

// Inverse implements shutdown.Action.
func (Wall) Inverse() shutdown.Action { return nil }

// Repeatable implements shutdown.Action: a second message harms nobody.
func (Wall) Repeatable() bool { return true }

// Check implements shutdown.Action.
func (w Wall) Check(_ context.Context, t shutdown.Task) []shutdown.Finding {
	if f := shutdown.CheckProgram(t, "wall", ""); f != nil {
		return []shutdown.Finding{*f}
	}
	return nil
}
