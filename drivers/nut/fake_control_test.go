package nut

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// fakeControl is what the fake upsd does with commands. By default it is like upsd 2.8.0
// with nutdrv_qx behind it, down to the rounding, and the user may do everything.
type fakeControl struct {
	commands []string
	types    map[string]string   // of the writable variables
	lists    map[string][]string // "ENUM ups.delay.start" -> what stands behind the name
	round    func(name string, v int) int
	lag      int    // so often the old value is shown after SET
	tracks   bool   // as NUT 2.8 does
	result   string // of tracked requests
	pending  int    // so often PENDING is said before the result
	cut      bool   // shutdown.return has been run

	stale map[string]string // values that SET has replaced, while they are still shown
	left  int               // of lag
	asked int               // of pending
}

func newFakeControl() fakeControl {
	return fakeControl{
		commands: []string{"beeper.toggle", "load.off", "shutdown.return", "shutdown.stop"},
		types:    map[string]string{"ups.delay.shutdown": "RW RANGE NUMBER", "ups.delay.start": "RW RANGE NUMBER"},
		lists:    map[string][]string{"RANGE ups.delay.shutdown": {`"12" "600"`}, "RANGE ups.delay.start": {`"0" "599940"`}},
		round:    roundAsQX, tracks: true, result: "SUCCESS", stale: map[string]string{},
	}
}

// roundAsQX is what nutdrv_qx 2.8.0 does: down to 6 s below a minute, down to minutes above
// and always for the return.
func roundAsQX(name string, v int) int {
	if name == "ups.delay.shutdown" && v < 60 {
		return v - v%6
	}
	return v - v%60
}

// answer is empty for requests that are about something else.
func (c *fakeControl) answer(f *fakeUPSD, w []string) string {
	is := func(words ...string) bool {
		return len(w) >= len(words) && slices.Equal(w[:len(words)], words)
	}
	list := func(name string, items []string) string {
		head := strings.Join(w, " ")
		return "BEGIN " + head + "\n" + strings.Join(append(items, ""), "\n") + "END " + head + "\n"
	}
	var items []string
	switch {
	case is("LIST", "CMD"):
		for _, cmd := range c.commands {
			items = append(items, "CMD u1 "+cmd)
		}
		return list("CMD", items)
	case is("LIST", "RW"):
		for name := range c.types {
			items = append(items, fmt.Sprintf("RW u1 %s %q", name, f.vars[name]))
		}
		return list("RW", items)
	case is("LIST", "ENUM"), is("LIST", "RANGE"):
		for _, item := range c.lists[w[1]+" "+w[3]] {
			items = append(items, fmt.Sprintf("%s u1 %s %s", w[1], w[3], item))
		}
		return list(w[1], items)
	case is("GET", "TYPE"):
		return fmt.Sprintf("TYPE u1 %s %s\n", w[3], c.types[w[3]])
	case is("GET", "VAR"):
		return c.get(f, w[3])
	case is("SET", "TRACKING") && c.tracks:
		return "OK\n"
	case is("GET", "TRACKING"):
		if c.asked++; c.asked <= c.pending {
			return "PENDING\n"
		}
		return c.result + "\n"
	case is("SET", "VAR"):
		return c.set(f, w[3], strings.Trim(w[4], `"`))
	case is("INSTCMD"):
		return c.run(w[2])
	case is("SET"):
		return "ERR INVALID-ARGUMENT\n"
	}
	return ""
}

func (c *fakeControl) granted() string {
	c.asked = 0
	if c.tracks {
		return "OK TRACKING 2DDC5036-F665-4D29-BE4C-0374D091D263\n"
	}
	return "OK\n"
}

func (c *fakeControl) get(f *fakeUPSD, name string) string {
	value := f.vars[name]
	if old, stale := c.stale[name]; stale && c.left > 0 {
		c.left--
		value = old
	}
	return fmt.Sprintf("VAR u1 %s \"%s\"\n", name, value)
}

func (c *fakeControl) set(f *fakeUPSD, name, value string) string {
	n, err := strconv.Atoi(value)
	switch _, writable := c.types[name]; {
	case f.vars[name] == "" && !writable:
		return "ERR VAR-NOT-SUPPORTED\n"
	case !writable:
		return "ERR READONLY\n"
	case err != nil || name == "ups.delay.shutdown" && n > 600:
		return "ERR INVALID-VALUE\n"
	}
	c.stale[name], c.left = f.vars[name], c.lag
	f.vars[name] = strconv.Itoa(c.round(name, n))
	return c.granted()
}

func (c *fakeControl) run(command string) string {
	if !slices.Contains(c.commands, command) {
		return "ERR CMD-NOT-SUPPORTED\n"
	}
	c.cut = command == "shutdown.return"
	return c.granted()
}
