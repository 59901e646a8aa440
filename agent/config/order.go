package config

import (
	"fmt"
	"slices"
	"strings"
)

// Reversible reports whether the step can be taken back, or leaves nothing behind that
// would have to be.
func (s *Step) Reversible() bool {
	if len(s.Undo) > 0 {
		return true
	}
	switch {
	case s.Unit != "", s.Wall != "", s.Notify != "", s.WaitFor != nil, s.Redfish != nil, s.IPMI != nil:
		return true
	case s.Libvirt != nil: // of all that run nobody remembers which they were
		return len(s.Libvirt.Domains) > 0
	case s.Proxmox != nil:
		return len(s.Proxmox.Guests) > 0
	case s.Containers != nil:
		return len(s.Containers.Names) > 0
	case s.HTTP != nil:
		return s.HTTP.Undo != nil
	case s.SSH != nil:
		return s.SSH.Undo != ""
	}
	return false
}

// graph is what the steps wait for.
type graph struct {
	steps  []Step
	names  []string
	before [][]int // the steps that each waits for
}

func newGraph(steps []Step) *graph {
	g := &graph{steps: steps, before: make([][]int, len(steps))}
	for _, s := range steps {
		g.names = append(g.names, s.Name)
	}
	for i, s := range steps {
		if s.After == nil && i > 0 {
			g.before[i] = []int{i - 1}
		}
		for _, name := range s.After {
			if k := slices.Index(g.names, name); k >= 0 {
				g.before[i] = append(g.before[i], k)
			}
		}
	}
	return g
}

// order checks what steps say of each other, once all are read.
func (d *decoder) order(noReturn position) {
	g := newGraph(d.cfg.Shutdown.Steps)
	for i := range g.steps {
		d.afterKnown(g, i)
		d.earlyOrder(g, i)
	}
	circles := d.stepCircles(g)
	if d.cfg.Shutdown.NoReturn != "" {
		d.noReturn(g, noReturn, circles)
	}
}

func (d *decoder) afterKnown(g *graph, i int) {
	for k, name := range g.steps[i].After {
		if !slices.Contains(g.names, name) {
			d.problem(d.stepsAt[i].after[k], fmt.Sprintf("step %s comes after %q, which is no step%s", g.names[i], name, Meant(name, g.names)), oneOf(g.names), "")
		}
	}
}

// earlyOrder refuses what cannot be kept: early steps wait for each other alone, since
// nothing else runs before the decision.
func (d *decoder) earlyOrder(g *graph, i int) {
	s, at := &g.steps[i], d.stepsAt[i]
	if s.Early == nil {
		return
	}
	for k, name := range s.After {
		if other := slices.Index(g.names, name); other >= 0 && g.steps[other].Early == nil {
			d.problem(at.after[k], fmt.Sprintf("early step %s comes after %s, which runs only after the decision", s.Name, name),
				fmt.Sprintf("%s early as well, or %s without early, or other names in after", name, s.Name), "after: []")
		}
	}
	if !s.Reversible() {
		d.warn(at.keys["early"], fmt.Sprintf("early step %s cannot be undone: it stays as it is when the mains return", s.Name), "an undo", `undo: ["/usr/local/sbin/undrain"]`)
	}
}

// stepCircles reports steps that wait for each other, each in one circle at most, and whether
// there are any.
func (d *decoder) stepCircles(g *graph) (found bool) {
	const (
		unseen = iota
		open
		closed
	)
	state, reported := make([]int, len(g.steps)), make([]bool, len(g.steps))
	var path []int
	var visit func(i int)
	visit = func(i int) {
		state[i], path = open, append(path, i)
		for _, k := range g.before[i] {
			switch state[k] {
			case unseen:
				visit(k)
			case open:
				circle := path[slices.Index(path, k):]
				found = true
				if !slices.ContainsFunc(circle, func(i int) bool { return reported[i] }) {
					d.stepCircle(g, circle)
				}
				for _, i := range circle {
					reported[i] = true
				}
			}
		}
		state[i], path = closed, path[:len(path)-1]
	}
	for i := range g.steps {
		if state[i] == unseen {
			visit(i)
		}
	}
	return found
}

// stepCircle reports one circle, at the first of its steps that says what it comes after.
func (d *decoder) stepCircle(g *graph, circle []int) {
	turn := 0
	for i := range circle {
		at, is := d.stepsAt[circle[i]].keys["after"]
		if best := d.stepsAt[circle[turn]].keys["after"]; is && (best == position{} || at.before(best)) {
			turn = i
		}
	}
	var names []string
	for _, i := range slices.Concat(circle[turn:], circle[:turn], circle[turn:turn+1]) {
		names = append(names, g.names[i])
	}
	what := "steps in a circle, none of which would ever start: " + strings.Join(names, " after ")
	if len(circle) == 1 {
		what = fmt.Sprintf("step %s comes after itself", names[0])
	}
	d.problem(d.stepsAt[circle[turn]].keys["after"], what, "an order: leave one of these names out, or write after: [] where a step waits for none", "")
}

// noReturn checks the step behind which nothing is called off any more. The order of
// steps in a circle says nothing.
func (d *decoder) noReturn(g *graph, at position, circles bool) {
	name := d.cfg.Shutdown.NoReturn
	point := slices.Index(g.names, name)
	switch {
	case point < 0 && len(g.names) == 0:
		d.problem(at, fmt.Sprintf("point_of_no_return is %q, and there are no steps", name), "a step of that name, or no point_of_no_return: the decision is it then", "")
		return
	case point < 0:
		d.problem(at, fmt.Sprintf("point_of_no_return is %q, which is no step%s", name, Meant(name, g.names)), oneOf(g.names), "")
		return
	case g.steps[point].Early != nil:
		d.problem(at, fmt.Sprintf("point_of_no_return is %s, which is early: it may be over before the decision", name), "a step without early", "")
		return
	case circles:
		return
	}
	later := g.later(point)
	for i := range g.steps {
		if s := &g.steps[i]; i != point && !later[i] && !s.Reversible() {
			d.problem(at, fmt.Sprintf("point_of_no_return is %s, and step %s, which cannot be undone, may run before it", name, s.Name),
				fmt.Sprintf("an undo for %s, or after: [%s] in it", s.Name, name), `undo: ["/usr/local/sbin/undrain"]`)
		}
	}
}

// later are the steps that come after the one at point, directly or through others.
func (g *graph) later(point int) []bool {
	later := make([]bool, len(g.steps))
	for again := true; again; {
		again = false
		for i, before := range g.before {
			if !later[i] && slices.ContainsFunc(before, func(k int) bool { return k == point || later[k] }) {
				later[i], again = true, true
			}
		}
	}
	return later
}
