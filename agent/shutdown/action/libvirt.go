package action

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

const (
	virshTime   = 15 * time.Second // one request to one domain; a hung guest agent takes 5 s of it
	domainAgain = 20 * time.Second
)

// Libvirt shuts libvirt's domains down by virsh and waits until they are off. All are
// asked at once, by the guest agent or the power button, whichever libvirt finds, and
// again every 20 s: a guest that is still starting, or a Windows whose screen is dark,
// misses the first press. One that is paused or asleep is woken first, since only then it
// can write its data; one that has crashed has none left.
//
// A domain that is named and does not run, or is not there, is no failure of Run, for
// which it is down; Check finds out about names that do not exist.
//
// What it did is taken back for named domains only, all of which are started, those
// too that were off before. Of "all that run" nobody knows after a restart of the daemon
// which they were, so that has no inverse.
type Libvirt struct {
	config.Libvirt
	Start bool // starts what is named
}

// Kind implements shutdown.Action.
func (Libvirt) Kind() string { return "libvirt" }

func (l Libvirt) virsh(args ...string) []string {
	return append([]string{cmp.Or(l.Virsh, "virsh"), "-c", cmp.Or(l.URI, "qemu:///system")}, args...)
}

// String implements shutdown.Action.
func (l Libvirt) String() string {
	if l.Start {
		return shutdown.Quoted(l.virsh("start")) + " " + chosen(l.Domains, nil, "domains")
	}
	return shutdown.Quoted(l.virsh("shutdown")) + " " + chosen(l.Domains, l.Except, "domains") + forced("destroy", l.Destroy)
}

// chosen says which of all are meant.
func chosen(named, except []string, what string) string {
	switch {
	case len(named) > 0:
		return shutdown.Quoted(named)
	case len(except) > 0:
		return "(all " + what + " that run, but not " + shutdown.Quoted(except) + ")"
	}
	return "(all " + what + " that run)"
}

func forced(verb string, after config.Duration) string {
	if after == 0 {
		return ""
	}
	return fmt.Sprintf(", %s after %v", verb, after.D())
}

// Run implements shutdown.Action.
func (l Libvirt) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	x, end := use(ctx, t)
	defer end()
	if l.Start {
		return x.startAll(l.Domains, func(name string) []string { return l.virsh("start", "--domain", name) }, "already active")
	}
	h := herd{tool: x, after: l.Destroy.D(), again: domainAgain, every: time.Second, atOnce: 16}
	h.up = func() ([]guest, []string, error) { return l.list(x) }
	h.ask = func(g guest, _ time.Time) error { return l.ask(x, g) }
	h.force = func(g guest) error {
		_, err := x.run(virshTime, l.virsh("destroy", g.id)...)
		return err
	}
	return h.shutDown()
}

// list returns the domains meant that are not off. They are known by their UUID: a name
// that is a number would be taken for a domain's current id.
func (l Libvirt) list(x tool) ([]guest, []string, error) {
	gap := []string{""} // there is one tool, without a name
	out, err := x.run(lookTime, l.virsh("list", "--uuid", "--name")...)
	if err != nil {
		return nil, gap, err
	}
	all, whole := domains(out)
	all = slices.DeleteFunc(all, func(g guest) bool { return !meant(g, l.Domains, l.Except) })
	switch {
	case whole:
		return all, nil, nil
	case len(l.Domains) == 0:
		return all, gap, nil
	}
	for _, name := range l.Domains { // hundreds run: ask for each of those meant
		if slices.ContainsFunc(all, func(g guest) bool { return g.name == name || g.id == name }) {
			continue
		}
		if isGuest(name) {
			return all, gap, fmt.Errorf("domain %s is not in the part of the list that was kept, and virsh would take its name for an id", name)
		}
		state, err := x.run(virshTime, l.virsh("domstate", "--domain", name)...)
		switch {
		case says(err, "failed to get domain"):
		case err != nil:
			return all, gap, err
		case strings.TrimSpace(state) != "shut off":
			all = append(all, guest{id: name, name: name})
		}
	}
	return all, nil, nil
}

// domains reads what `virsh list --uuid --name` prints: a UUID, blanks and the name, which
// may have blanks in it.
func domains(out string) (list []guest, whole bool) {
	lines, whole := rows(out)
	for _, line := range lines {
		if id, name, ok := strings.Cut(line, " "); ok && len(id) == len("00000000-0000-0000-0000-000000000000") {
			list = append(list, guest{id: id, name: strings.TrimSpace(name)})
		}
	}
	return list, whole
}

// meant reports whether a guest is one of named, or else none of except.
func meant(g guest, named, except []string) bool {
	if len(named) > 0 {
		return slices.Contains(named, g.name) || slices.Contains(named, g.id)
	}
	return !slices.Contains(except, g.name) && !slices.Contains(except, g.id)
}

// ask does what makes a domain shut down in the state it is in.
func (l Libvirt) ask(x tool, g guest) error {
	state, err := x.run(virshTime, l.virsh("domstate", g.id)...)
	if err != nil {
		return err
	}
	var wake error
	switch strings.TrimSpace(state) {
	case "shut off", "in shutdown", "dying":
		return nil
	case "crashed":
		return errGone
	case "paused":
		_, wake = x.run(virshTime, l.virsh("resume", g.id)...)
	case "pmsuspended":
		_, wake = x.run(virshTime, l.virsh("dompmwakeup", g.id)...)
	}
	if wake != nil {
		return wake
	}
	_, err = x.run(virshTime, l.virsh("shutdown", g.id)...)
	return err
}

// startAll starts what is named, one after the other; what runs already says so with the
// text running. It fails when one of them does not start.
func (x tool) startAll(list []string, command func(name string) []string, running string) shutdown.Result {
	var failed, story []string
	for _, name := range list {
		_, err := x.run(x.left(), command(name)...)
		switch {
		case x.work.Err() != nil:
			return shutdown.Failed(context.Cause(x.work), strings.Join(story, "\n"))
		case says(err, running):
			story = append(story, name+": it ran already")
		case err != nil:
			failed, story = append(failed, name), append(story, fmt.Sprintf("%s: %v", name, err))
		default:
			story = append(story, name+": started")
		}
	}
	if len(failed) > 0 {
		return shutdown.Failed(fmt.Errorf("not started: %s", strings.Join(failed, ", ")), strings.Join(story, "\n"))
	}
	return shutdown.Failed(nil, strings.Join(story, "\n"))
}

// Inverse implements shutdown.Action.
func (l Libvirt) Inverse() shutdown.Action {
	if l.Start || len(l.Domains) == 0 {
		return nil
	}
	return Libvirt{Libvirt: config.Libvirt{Domains: l.Domains, URI: l.URI, Virsh: l.Virsh}, Start: true}
}

// Repeatable implements shutdown.Action: those that are off are left alone.
func (Libvirt) Repeatable() bool { return true }

// Check implements shutdown.Action: virsh is there, is let in, and knows every domain
// that is named. Whether a guest listens to the power button only shutting it down shows.
func (l Libvirt) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	if f := shutdown.CheckProgram(t, l.virsh()[0], ""); f != nil {
		return []shutdown.Finding{*f}
	}
	x, end := check(ctx, t)
	defer end()
	out, err := x.run(lookTime, l.virsh("list", "--all", "--uuid", "--name")...)
	if err != nil {
		return []shutdown.Finding{l.unreachable(t, err)}
	}
	all, whole := domains(out)
	return x.absent(slices.Concat(l.Domains, l.Except), all, whole, "domain", "correct domains or except")
}

// unreachable is the finding of a virsh that cannot list.
func (l Libvirt) unreachable(t shutdown.Task, err error) shutdown.Finding {
	f := shutdown.Finding{Step: t.Step, Check: "libvirt_unreachable",
		Text: fmt.Sprintf("virsh cannot list the domains of %s: %s", cmp.Or(l.URI, "qemu:///system"), cause(err)), Fix: "try it: " + shutdown.Quoted(l.virsh("list"))}
	switch {
	case says(err, "Permission denied", "authentication unavailable", "authentication failed", "access denied"):
		f.Check, f.Fix = "libvirt_denied", "let the daemon's user in: as root, or as a member of the group libvirt"
	case says(err, "No such file or directory", "Connection refused"):
		f.Fix = "start libvirt: systemctl enable --now libvirtd.socket (or virtqemud.socket), or correct uri"
	case says(err, "no connection driver available"):
		f.Fix = "install libvirt's driver for it, or correct uri"
	}
	return f
}
