package action

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// tool runs the programs of one Run or Check, one after the other or several at once.
// They share its time-out.
type tool struct {
	shutdown.Task
	ctx  context.Context // the daemon's: what runs when it ends is left alone
	work context.Context // ends with ctx, the time-out and the abort; its cause says which
	end  time.Time
	env  []string
}

func use(ctx context.Context, t shutdown.Task) (tool, context.CancelFunc) {
	x := tool{Task: t, ctx: ctx, end: time.Now().Add(t.Timeout), env: t.Env}
	if x.env == nil {
		x.env = os.Environ()
	}
	// What they say is read, by us and by the texts we look for.
	x.env = append(slices.Clip(x.env), "LC_ALL=C")
	var cancel context.CancelFunc
	x.work, cancel = t.Context(ctx)
	return x, cancel
}

func (x tool) left() time.Duration { return time.Until(x.end) }

// run runs a program for limit at most, and no longer than what is left.
func (x tool) run(limit time.Duration, args ...string) (string, error) {
	return x.command(shutdown.Command{Args: args, Timeout: limit})
}

func (x tool) command(c shutdown.Command) (string, error) {
	c.Env, c.Abort, c.Timeout = x.env, x.Abort, min(c.Timeout, x.left())
	switch {
	case x.work.Err() != nil:
		return "", context.Cause(x.work)
	case c.Timeout <= 0: // the end that work is about to notice
		return "", shutdown.ErrTimeout
	}
	c.Timeout = max(c.Timeout.Round(time.Millisecond), time.Millisecond) // it is printed
	res := x.Process(x.ctx, c)
	text := shutdown.Quoted(c.Args)
	switch {
	case res.Err != nil:
		return res.Output, fmt.Errorf("%s: %w", text, res.Err)
	case res.Exit != 0:
		return res.Output, &refused{text, res.Exit, res.Output}
	}
	return res.Output, nil
}

// refused is a program's exit status other than 0, and what it said.
type refused struct {
	command string
	exit    int
	output  string
}

func (r *refused) Error() string {
	said := said(r.output)
	if said == "" {
		said = "it says nothing"
	}
	return fmt.Sprintf("%s: exit status %d: %s", r.command, r.exit, said)
}

// says reports whether a program refused with a text in it.
func says(err error, texts ...string) bool {
	r, is := errors.AsType[*refused](err)
	return is && slices.ContainsFunc(texts, func(text string) bool {
		return strings.Contains(strings.ToLower(r.output), strings.ToLower(text))
	})
}

// cause is what a program that refused said, or else the error.
func cause(err error) string {
	if r, is := errors.AsType[*refused](err); is && said(r.output) != "" {
		return said(r.output)
	}
	return err.Error()
}

// said is what a program said in one line of bearable length, without the words every
// program begins with.
func said(output string) string {
	const most = 400
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"error:", "Error:", "Error response from daemon:"} {
			line = strings.TrimSpace(strings.TrimPrefix(line, prefix))
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, "; ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}

// rows are the lines of a list. whole is false when it was too long to be kept: what is
// missing then, and the line at each side of the gap, shows up when it is asked for
// again, once those that are there have gone.
func rows(output string) (list []string, whole bool) {
	whole = true
	list = strings.Split(output, "\n")
	if i := slices.IndexFunc(list, isGap); i >= 0 {
		whole = false
		list = slices.Delete(list, max(0, i-1), min(len(list), i+2))
	}
	return slices.DeleteFunc(list, func(s string) bool { return strings.TrimSpace(s) == "" }), whole
}

// isGap recognises where a runner has left the middle of a long output out.
func isGap(line string) bool {
	return strings.HasPrefix(line, "[… ") && strings.HasSuffix(line, " bytes left out …]")
}

// short writes a duration for people.
func short(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

// check is use for a Check, which leaves nothing running when its ctx ends.
func check(ctx context.Context, t shutdown.Task) (tool, context.CancelFunc) {
	t.Abort = ctx
	return use(context.WithoutCancel(ctx), t)
}
