package action

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// stopRounds bounds how often what has appeared meanwhile is stopped as well.
const stopRounds = 10

var errTooMany = errors.New("the list of containers is too long to be read: name those to be stopped")

// Containers stops containers of docker or podman; of podman those of the daemon's own
// user, which is root. All are stopped at once, and paused ones unpaused first, since only
// then they can end by themselves.
//
// A container with a restart policy stays stopped until the engine starts anew, which is
// with the next boot. One that a systemd unit or an orchestrator keeps alive comes back:
// then Run fails and says so, and what keeps it alive is what has to be stopped.
//
// Named containers that do not run are no failure of Run. It is taken back for named
// containers only, as with Libvirt.
type Containers struct {
	config.Containers
	Start bool // starts what is named
}

// Kind implements shutdown.Action.
func (Containers) Kind() string { return "containers" }

func (c Containers) stop(names ...string) []string {
	args := []string{c.Engine, "stop"}
	if c.Grace > 0 {
		args = append(args, "-t", strconv.Itoa(int(math.Ceil(c.Grace.D().Seconds()))))
	}
	return append(args, names...)
}

// String implements shutdown.Action.
func (c Containers) String() string {
	if c.Start {
		return shutdown.Quoted([]string{c.Engine, "start"}) + " " + chosen(c.Names, nil, "containers")
	}
	return shutdown.Quoted(c.stop()) + " " + chosen(c.Names, c.Except, "containers")
}

// Run implements shutdown.Action.
func (c Containers) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	x, end := use(ctx, t)
	defer end()
	if c.Start {
		return x.startAll(c.Names, func(name string) []string { return []string{c.Engine, "start", name} }, "already running")
	}
	var stopped []guest
	for range stopRounds {
		up, whole, err := c.running(x)
		if err != nil {
			return shutdown.Failed(err, listed(stopped))
		}
		if back := both(up, stopped); len(back) > 0 {
			return shutdown.Failed(fmt.Errorf("came back after it was stopped: %s; stop what keeps it alive instead", listed(back)), "")
		}
		switch {
		case len(up) > 0:
		case whole:
			return shutdown.Failed(nil, listed(stopped))
		default:
			return shutdown.Failed(errTooMany, listed(stopped))
		}
		if err := c.end(x, up); err != nil && c.anyUp(x, up) {
			return shutdown.Failed(err, listed(stopped))
		}
		stopped = append(stopped, up...)
	}
	return shutdown.Failed(errors.New("new containers start as fast as they are stopped: stop what starts them instead"), listed(stopped))
}

// anyUp reports whether one of a list is up, as far as that can be told: the engine complains
// of those, too, that have gone by themselves before it came to them.
func (c Containers) anyUp(x tool, list []guest) bool {
	up, whole, err := c.running(x)
	return err != nil || !whole || len(both(up, list)) > 0
}

// end stops containers that are up.
func (c Containers) end(x tool, up []guest) error {
	var all []string
	for _, g := range up {
		all = append(all, g.id)
		if g.paused {
			x.run(lookTime, c.Engine, "unpause", g.id) // stop will say what is wrong
		}
	}
	_, err := x.command(shutdown.Command{Args: c.stop(all...), Timeout: x.left(), Started: x.Started})
	if x.work.Err() != nil {
		return context.Cause(x.work)
	}
	return err
}

// running returns the containers meant that are up.
func (c Containers) running(x tool) ([]guest, bool, error) {
	few := filters(c.Names)
	up, whole, err := c.ps(x, few...)
	if err != nil {
		return nil, false, err
	}
	paused, all, err := c.ps(x, append(few, "--filter", "status=paused")...) // podman lists them only so
	if err != nil {
		return nil, false, err
	}
	for _, g := range paused {
		g.paused = true
		up = append(slices.DeleteFunc(up, func(o guest) bool { return o.id == g.id }), g)
	}
	return slices.DeleteFunc(up, func(g guest) bool { return !meant(g, c.Names, c.Except) }), whole && all, nil
}

// filters keep a list short that only has to have these names.
func filters(names []string) (args []string) {
	for _, name := range names {
		args = append(args, "--filter", "name="+name)
	}
	return args
}

// ps lists containers by their short id, with all their names.
func (c Containers) ps(x tool, args ...string) ([]guest, bool, error) {
	out, err := x.run(lookTime, append([]string{c.Engine, "ps", "--format", "{{.ID}} {{.Names}}"}, args...)...)
	if err != nil {
		return nil, false, err
	}
	lines, whole := rows(out)
	var list []guest
	for _, line := range lines {
		id, names, _ := strings.Cut(strings.TrimSpace(line), " ")
		// docker adds the names under which others link to it: "web,shop/web".
		name, _, _ := strings.Cut(names, ",")
		for n := range strings.SplitSeq(names, ",") {
			if !strings.Contains(n, "/") {
				name = n
				break
			}
		}
		list = append(list, guest{id: id, name: strings.TrimSpace(name)})
	}
	return list, whole, nil
}

// both returns those of a that are in b, made anew or not.
func both(a, b []guest) (list []guest) {
	for _, g := range a {
		if slices.ContainsFunc(b, func(o guest) bool { return o.id == g.id || o.name == g.name }) {
			list = append(list, g)
		}
	}
	return list
}

func listed(list []guest) string {
	var all []string
	for _, g := range list {
		all = append(all, g.name)
	}
	return strings.Join(all, ", ")
}

// Inverse implements shutdown.Action.
func (c Containers) Inverse() shutdown.Action {
	if c.Start || len(c.Names) == 0 {
		return nil
	}
	return Containers{Containers: config.Containers{Engine: c.Engine, Names: c.Names}, Start: true}
}

// Repeatable implements shutdown.Action: those that are stopped are left alone.
func (Containers) Repeatable() bool { return true }

// Check implements shutdown.Action: the engine is there, lets us in, and has every
// container named.
func (c Containers) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	if f := shutdown.CheckProgram(t, c.Engine, ""); f != nil {
		return []shutdown.Finding{*f}
	}
	x, end := check(ctx, t)
	defer end()
	named := slices.Concat(c.Names, c.Except)
	those, whole, err := c.ps(x, append([]string{"--all"}, filters(named)...)...)
	if err == nil && len(named) > 0 {
		all, _, _ := c.ps(x, "--all") // for what may have been meant
		return x.absent(named, append(those, all...), whole, "container", "correct names or except")
	}
	if err == nil {
		return nil
	}
	f := shutdown.Finding{Step: t.Step, Check: "engine_unreachable", Text: fmt.Sprintf("%s cannot list its containers: %s", c.Engine, cause(err)),
		Fix: "try it: " + shutdown.Quoted([]string{c.Engine, "ps"})}
	switch {
	case says(err, "permission denied"):
		f.Check, f.Fix = "engine_denied", "let the daemon's user use the engine's socket: as root, or as a member of the group docker"
	case says(err, "daemon running", "daemon is running"):
		f.Fix = "start the engine: systemctl enable --now docker.service"
	}
	return []shutdown.Finding{f}
}
