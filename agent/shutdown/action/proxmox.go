package action

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// proxmoxTime is what one request that does not wait for a guest may take.
const proxmoxTime = 30 * time.Second

// Proxmox shuts the guests of this Proxmox VE node down, virtual machines by qm and
// containers by pct, and waits until they are off. Up to eight are on their way at once:
// each takes a program of some 100 MB that waits for it. A paused machine is resumed
// first, and the lock of a backup that runs does not keep one up.
//
// Of a guest that the cluster's HA manager looks after, qm and pct only ask that manager,
// which then keeps it stopped, over the next boot too, until it is started by hand. Such
// guests are better left out by except: the node's own shutdown migrates or stops them as
// the cluster's shutdown_policy says. ha-manager itself is never called.
//
// Named guests that are off or on another node are no failure of Run. It is taken back
// for named guests only, as with Libvirt.
type Proxmox struct {
	config.Proxmox
	Start bool // starts what is named
}

// Kind implements shutdown.Action.
func (Proxmox) Kind() string { return "proxmox" }

func (p Proxmox) qm() string  { return cmp.Or(p.QM, "qm") }
func (p Proxmox) pct() string { return cmp.Or(p.PCT, "pct") }

// String implements shutdown.Action.
func (p Proxmox) String() string {
	tools := shutdown.Quoted([]string{p.qm()}) + "/" + shutdown.Quoted([]string{p.pct()})
	if p.Start {
		return tools + " start " + chosen(p.Guests, nil, "guests")
	}
	return tools + " shutdown " + chosen(p.Guests, p.Except, "guests") + forced("stop", p.Stop)
}

// Run implements shutdown.Action.
func (p Proxmox) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	x, end := use(ctx, t)
	defer end()
	if p.Start {
		return p.start(x)
	}
	h := herd{tool: x, after: p.Stop.D(), every: 3 * time.Second, atOnce: 8}
	h.up = func() ([]guest, []string, error) {
		all, unseen, err := p.list(x)
		return slices.DeleteFunc(all, func(g guest) bool { return g.off || !meant(g, p.Guests, p.Except) }), unseen, err
	}
	h.ask = func(g guest, since time.Time) error { return p.ask(x, g, since) }
	h.force = func(g guest) error {
		_, err := x.unlocked(proxmoxTime, g.tool, "stop", g.id)
		return err
	}
	return h.shutDown()
}

// list returns the guests of this node, and the tools that did not list all of theirs.
func (p Proxmox) list(x tool) (all []guest, unseen []string, err error) {
	for _, l := range []struct {
		tool string
		read func(line string) (guest, bool)
	}{{p.qm(), machine}, {p.pct(), container}} {
		out, failed := x.run(lookTime, l.tool, "list")
		if failed != nil {
			unseen, err = append(unseen, l.tool), errors.Join(err, failed)
			continue
		}
		lines, whole := rows(out)
		if !whole {
			unseen = append(unseen, l.tool)
		}
		for _, line := range lines {
			if g, ok := l.read(line); ok {
				g.tool = l.tool
				all = append(all, g)
			}
		}
	}
	return all, unseen, err
}

// machine reads a line of `qm list`: VMID NAME STATUS MEM(MB) BOOTDISK(GB) PID.
func machine(line string) (guest, bool) {
	f := strings.Fields(line)
	if len(f) < 6 || !isGuest(f[0]) {
		return guest{}, false
	}
	status := f[len(f)-4] // from the end: nothing keeps a name from having blanks
	return guest{id: f[0], name: f[0], paused: status == "paused", off: status == "stopped"}, true
}

// container reads a line of `pct list`: VMID Status Lock Name, of which Lock may be empty.
func container(line string) (guest, bool) {
	f := strings.Fields(line)
	if len(f) < 2 || !isGuest(f[0]) {
		return guest{}, false
	}
	return guest{id: f[0], name: f[0], off: f[1] == "stopped"}, true
}

func isGuest(id string) bool {
	n, err := strconv.ParseUint(id, 10, 32)
	return err == nil && n > 0
}

// ask asks a guest to shut down and waits until it has, or the time for that is over.
func (p Proxmox) ask(x tool, g guest, since time.Time) error {
	if g.paused {
		if _, err := x.run(proxmoxTime, g.tool, "resume", g.id); err != nil {
			return err
		}
	}
	secs := int((x.left() - 2*time.Second) / time.Second) // it has to report before it is killed
	if p.Stop > 0 {
		secs = min(secs, int(math.Ceil((p.Stop.D() - time.Since(since)).Seconds())))
	}
	secs = max(1, secs)
	_, err := x.unlocked(time.Duration(secs)*time.Second+proxmoxTime, g.tool, "shutdown", g.id, "--timeout", strconv.Itoa(secs))
	return err
}

// unlocked runs a command on a guest, once more past the lock when a backup holds it: that
// backup will not be finished anyway. pct knows no such option for all its commands, and
// then says so.
func (x tool) unlocked(limit time.Duration, args ...string) (string, error) {
	out, err := x.run(limit, args...)
	if says(err, "is locked (backup)") {
		return x.run(limit, append(slices.Clip(args), "--skiplock", "1")...)
	}
	return out, err
}

func (p Proxmox) start(x tool) shutdown.Result {
	all, _, err := p.list(x)
	if err != nil && len(all) == 0 {
		return shutdown.Failed(err, "")
	}
	return x.startAll(p.Guests, func(id string) []string {
		tool := p.qm()
		if slices.ContainsFunc(all, func(g guest) bool { return g.id == id && g.tool == p.pct() }) {
			tool = p.pct()
		}
		return []string{tool, "start", id}
	}, "already running")
}

// Inverse implements shutdown.Action.
func (p Proxmox) Inverse() shutdown.Action {
	if p.Start || len(p.Guests) == 0 {
		return nil
	}
	return Proxmox{Proxmox: config.Proxmox{Guests: p.Guests, QM: p.QM, PCT: p.PCT}, Start: true}
}

// Repeatable implements shutdown.Action: those that are off are left alone.
func (Proxmox) Repeatable() bool { return true }

// Check implements shutdown.Action: qm and pct are there and list every guest named.
func (p Proxmox) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	var found []shutdown.Finding
	for _, program := range []string{p.qm(), p.pct()} {
		if f := shutdown.CheckProgram(t, program, ""); f != nil {
			found = append(found, *f)
		}
	}
	if len(found) > 0 {
		return found
	}
	x, end := check(ctx, t)
	defer end()
	all, unseen, err := p.list(x)
	if err == nil {
		return x.absent(slices.Concat(p.Guests, p.Except), all, len(unseen) == 0, "guest", "correct guests or except; a guest that has moved to another node is that node's")
	}
	for _, err := range split(err) {
		f := shutdown.Finding{Step: t.Step, Check: "guests_unlisted", Text: err.Error(), Fix: "try `qm list` and `pct list`: is pve-cluster running?"}
		if says(err, "as root", "Permission denied") {
			f.Check, f.Fix = "guests_denied", "run the daemon as root: only root may use qm and pct"
		}
		found = append(found, f)
	}
	return found
}

// split returns the errors that were joined.
func split(err error) []error {
	if joined, is := err.(interface{ Unwrap() []error }); is {
		return joined.Unwrap()
	}
	return []error{err}
}
