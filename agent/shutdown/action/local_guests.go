package action

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

const (
	lookTime  = 15 * time.Second // a list may take
	retryWait = 2 * time.Second  // between two requests of which the first was refused
	refusals  = 3                // in a row, after which a guest is not asked any more
)

// guest is a virtual machine or container that is up.
type guest struct {
	id     string // what its tool takes
	name   string // for people
	tool   string // the program, where there are several
	paused bool
	off    bool
}

// errGone says that a guest that is listed has nothing left to be shut down.
var errGone = errors.New("crashed: there is nothing left to shut down")

// herd is how guests of one kind are shut down. Its functions may be called from several
// goroutines at once.
type herd struct {
	tool
	// up lists those meant that are up, and the tools whose guests it could not see, or
	// not all of them. err says why; it is nil where a list was too long.
	up func() (list []guest, unseen []string, err error)
	// ask asks a guest to shut down, since when it is asked is given. errGone: it need not.
	ask   func(g guest, since time.Time) error
	force func(guest) error
	after time.Duration // between the first request and force; 0: never
	again time.Duration // between two requests; 0: one is enough
	every time.Duration // between two looks
	// atOnce is how many requests may be on their way.
	atOnce int

	all     []*fate
	answers chan answer
	onTheir int // requests on their way
}

// fate is what became of a guest.
type fate struct {
	guest
	up     bool
	busy   bool      // a request is on its way
	asked  time.Time // first; zero: not yet
	last   time.Time // request
	off    time.Time
	forced bool
	gone   bool
	fails  int // in a row
	err    error
}

type answer struct {
	*fate
	err error
}

// shutDown asks all to shut down, at once, and waits until they have.
func (h *herd) shutDown() shutdown.Result {
	h.answers = make(chan answer, h.atOnce)
	var dark error
	for misses := 0; h.work.Err() == nil; h.wait() {
		unseen, err := h.look()
		if err == nil {
			misses = 0
		}
		if h.left() > 0 { // a look that the end cut short says nothing
			dark = err
		}
		up := h.isUp()
		switch {
		case len(unseen) == 0 && len(up) == 0:
			h.settle()
			return shutdown.Failed(nil, h.story())
		case err != nil && len(up) == 0:
			// Nobody to wait for is known of: no use in going on for long.
			if misses++; misses == refusals || len(h.all) == 0 {
				return shutdown.Failed(err, h.story())
			}
		case h.stuck(up):
			h.settle()
			return shutdown.Failed(fmt.Errorf("still up: %s", names(up)), h.story())
		}
		h.act(up)
	}
	cause := context.Cause(h.work)
	if h.ctx.Err() != nil {
		return shutdown.Failed(cause, "")
	}
	h.settle()
	if dark != nil {
		return shutdown.Failed(fmt.Errorf("%w; last seen up: %s; not seen since: %w", cause, names(h.isUp()), dark), h.story())
	}
	return shutdown.Failed(fmt.Errorf("%w; still up: %s", cause, names(h.isUp())), h.story())
}

// look finds out who is up.
func (h *herd) look() (unseen []string, err error) {
	list, unseen, err := h.up()
	for _, f := range h.all {
		is := func(g guest) bool { return g.id == f.id && g.tool == f.tool }
		if f.up && !slices.Contains(unseen, f.tool) && !slices.ContainsFunc(list, is) {
			f.up, f.off = false, time.Now()
		}
	}
	for _, g := range list {
		h.see(g)
	}
	return unseen, err
}

// see notes that a guest is up; one that was started meanwhile is shut down as well.
func (h *herd) see(g guest) {
	for _, f := range h.all {
		if f.id == g.id && f.tool == g.tool {
			if !f.up && !f.gone && !f.busy {
				*f = fate{}
			}
			f.guest, f.up = g, !f.gone
			return
		}
	}
	h.all = append(h.all, &fate{guest: g, up: true})
}

// act sends the requests that are due, as many as may be on their way.
func (h *herd) act(up []*fate) {
	for _, f := range up {
		if f.busy || h.onTheir == h.atOnce {
			continue
		}
		do := h.due(f)
		if do == nil {
			continue
		}
		f.busy, f.last = true, time.Now()
		h.onTheir++
		go func() { h.answers <- answer{f, do()} }()
	}
}

// due returns the request that is due for a guest that is up; nil: none is.
func (h *herd) due(f *fate) func() error {
	g, since := f.guest, time.Since(f.last)
	retry := f.fails > 0 && f.fails < refusals && since >= retryWait
	switch {
	case f.asked.IsZero():
		f.asked = time.Now()
	case h.after > 0 && time.Since(f.asked) >= h.after:
		if f.forced && !retry {
			return nil
		}
		if !f.forced {
			f.forced, f.fails = true, 0
		}
		return func() error { return h.force(g) }
	case !retry && (f.fails > 0 || h.again == 0 || since < h.again):
		return nil
	}
	asked := f.asked
	return func() error { return h.ask(g, asked) }
}

// wait waits for the next look: until all requests have been answered, or a while.
func (h *herd) wait() {
	timer := time.NewTimer(h.every)
	defer timer.Stop()
	for {
		select {
		case a := <-h.answers:
			if h.hear(a); h.onTheir == 0 {
				return
			}
		case <-timer.C:
			return
		case <-h.work.Done():
			return
		}
	}
}

func (h *herd) hear(a answer) {
	h.onTheir--
	f := a.fate
	f.busy, f.err, f.last = false, a.err, time.Now()
	switch {
	case errors.Is(a.err, errGone):
		f.up, f.gone = false, true
	case a.err != nil:
		f.fails++
	default:
		f.fails = 0
	}
}

// settle waits for the requests that are on their way. Each has a time-out.
func (h *herd) settle() {
	for h.onTheir > 0 {
		h.hear(<-h.answers)
	}
}

func (h *herd) isUp() (list []*fate) {
	for _, f := range h.all {
		if f.up {
			list = append(list, f)
		}
	}
	return list
}

// stuck reports whether none of those that are up will ever go.
func (h *herd) stuck(up []*fate) bool {
	for _, f := range up {
		if f.busy || f.fails < refusals || h.after > 0 && !f.forced {
			return false
		}
	}
	return len(up) > 0
}

// story says what became of each, one in a line.
func (h *herd) story() string {
	var b strings.Builder
	for _, f := range h.all {
		b.WriteString(f.name + ": ")
		switch {
		case f.gone:
			b.WriteString(f.err.Error())
		case !f.up && f.forced:
			fmt.Fprintf(&b, "ended by force after %s", short(f.off.Sub(f.asked)))
		case !f.up && f.asked.IsZero():
			b.WriteString("off")
		case !f.up:
			fmt.Fprintf(&b, "off after %s", short(f.off.Sub(f.asked)))
		case f.err != nil:
			fmt.Fprintf(&b, "up: %v", f.err)
		default:
			b.WriteString("up")
		}
		b.WriteString("\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func names(list []*fate) string {
	var all []string
	for _, f := range list {
		all = append(all, f.name)
	}
	return strings.Join(all, ", ")
}

// absent are the findings about names that are in no list of all there are.
func (x tool) absent(named []string, all []guest, whole bool, what, fix string) []shutdown.Finding {
	var found []shutdown.Finding
	known := make([]string, 0, len(all))
	for _, g := range all {
		known = append(known, g.name)
	}
	for _, name := range named {
		if !whole || slices.ContainsFunc(all, func(g guest) bool { return g.name == name || g.id == name }) {
			continue // of a list with a gap nothing can be said
		}
		text := fmt.Sprintf("there is no %s %s%s", what, name, config.Meant(name, known))
		if len(all) == 0 {
			text = fmt.Sprintf("there is no %s %s, nor any other", what, name)
		}
		found = append(found, shutdown.Finding{Step: x.Step, Check: what + "_unknown", Text: text, Fix: fix})
	}
	return found
}
