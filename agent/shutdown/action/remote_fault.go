package action

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// A fault is what stood in the way of asking another machine. Run fails with it and
// Check reports it, so both say the same of the same cause.
type fault struct {
	check string // shutdown.Finding.Check
	text  string
	fix   string // may be empty
	err   error  // nil: nothing is below
}

func (f *fault) Error() string {
	if f.fix == "" {
		return f.text
	}
	return f.text + " (" + f.fix + ")"
}

func (f *fault) Unwrap() error { return f.err }

func faultf(check, fix, format string, args ...any) *fault {
	return &fault{check: check, fix: fix, text: fmt.Sprintf(format, args...)}
}

// findings are what err says, nil when it is nil. What is not a fault is called by the
// name other.
func findings(t shutdown.Task, other string, errs ...error) []shutdown.Finding {
	var all []shutdown.Finding
	for _, err := range errs {
		if err == nil {
			continue
		}
		f, is := errors.AsType[*fault](err)
		if !is {
			f = &fault{check: other, text: err.Error()}
		}
		all = append(all, shutdown.Finding{Step: t.Step, Check: f.check, Text: f.text, Fix: f.fix})
	}
	return all
}

// ended explains err by the end of ctx where that is what it comes from: what Run was
// doing then is worth knowing, why it had to end is what counts.
func ended(ctx context.Context, err error, doing string) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w while %s", context.Cause(ctx), doing)
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// maxOutput bounds what is kept of what another machine says.
const maxOutput = 16 << 10

// output keeps the beginning and the end of what is written to it. It is for one
// goroutine at a time.
type output struct {
	head, tail []byte
	left       int // bytes left out
}

func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	if room := maxOutput/4 - len(o.head); room > 0 {
		o.head = append(o.head, p[:min(room, n)]...)
		p = p[min(room, n):]
	}
	o.tail = append(o.tail, p...)
	if over := len(o.tail) - maxOutput*3/4; over > 0 {
		o.left += over
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
	return n, nil
}

func (o *output) String() string {
	text := string(o.head)
	if o.left > 0 {
		text += fmt.Sprintf("\n[… %d bytes left out …]\n", o.left)
	}
	return strings.ToValidUTF8(strings.TrimRight(text+string(o.tail), "\r\n"), "\uFFFD")
}

// line is text fit for one line of an error: what another machine sent, cut.
func line(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if r := []rune(text); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return text
}
