package action

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Unit stops a systemd unit, or starts it.
type Unit struct {
	Name   string
	Start  bool
	Daemon int // the daemon's process; 0: this one
}

// Kind implements shutdown.Action.
func (Unit) Kind() string { return "unit" }

func (u Unit) args() []string {
	return []string{"systemctl", "--no-ask-password", u.verb(), "--", u.Name}
}

func (u Unit) verb() string {
	if u.Start {
		return "start"
	}
	return "stop"
}

// String implements shutdown.Action.
func (u Unit) String() string { return shutdown.Quoted(u.args()) }

// Run implements shutdown.Action.
func (u Unit) Run(ctx context.Context, t shutdown.Task) shutdown.Result {
	start := time.Now()
	res := t.Exec(ctx, "", u.args()...)
	if u.Start || res.Failure() != nil {
		return res
	}
	members := u.members(ctx, t)
	if len(members) == 0 {
		return res
	}
	t.Timeout = max(t.Timeout-time.Since(start), time.Millisecond)
	return t.Exec(ctx, "", append([]string{"systemctl", "--no-ask-password", "stop", "--"}, members...)...)
}

// members are the units that are part of this one (PartOf=) and end with it. systemctl waits
// for those it is given alone, and Debian's postgresql.service, for one, is stopped
// before the servers that are part of it are.
func (u Unit) members(ctx context.Context, t shutdown.Task) []string {
	x, end := use(ctx, t)
	defer end()
	out, err := x.run(lookTime, "systemctl", "show", "--no-pager", "--property=ConsistsOf", "--", u.Name)
	if err != nil {
		return nil // the unit itself is stopped
	}
	return strings.Fields(properties(out)["ConsistsOf"])
}

// Inverse implements shutdown.Action.
func (u Unit) Inverse() shutdown.Action {
	if u.Start {
		return nil
	}
	return Unit{Name: u.Name, Start: true, Daemon: u.Daemon}
}

// Repeatable implements shutdown.Action: to stop what is stopped does nothing.
func (Unit) Repeatable() bool { return true }

// Check implements shutdown.Action: the service manager answers, knows the unit, and
// lets it be stopped (or started) by the daemon's user. A unit that does not run is no
// finding.
func (u Unit) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	if f := shutdown.CheckProgram(t, "systemctl", ""); f != nil {
		return []shutdown.Finding{*f}
	}
	x, end := check(ctx, t)
	defer end()
	out, err := x.run(lookTime, "systemctl", "show", "--no-pager", "--property="+strings.Join(unitProperties, ","), "--", u.Name)
	if err != nil {
		return []shutdown.Finding{{Step: t.Step, Check: "systemd_unreachable", Text: "systemctl does not reach the service manager: " + cause(err),
			Fix: "a unit can only be stopped where systemd runs; elsewhere use a command"}}
	}
	f := u.judge(x, properties(out))
	if f == nil && os.Geteuid() != 0 {
		f = u.permission(ctx, systemBus)
	}
	if f == nil {
		return nil
	}
	f.Step = t.Step
	return []shutdown.Finding{*f}
}

var unitProperties = []string{"LoadState", "LoadError", "ActiveState", "CanStart", "CanStop", "RefuseManualStart", "RefuseManualStop", "MainPID"}

// properties reads what `systemctl show` prints, a KEY=value in each line.
func properties(out string) map[string]string {
	p := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\n"), "="); ok {
			p[k] = v
		}
	}
	return p
}

// judge returns what stands against stopping or starting a unit with these properties.
func (u Unit) judge(x tool, p map[string]string) *shutdown.Finding {
	up := p["ActiveState"] == "active" || p["ActiveState"] == "reloading"
	can, refuses := p["CanStop"], p["RefuseManualStop"]
	if u.Start {
		can, refuses = p["CanStart"], p["RefuseManualStart"]
	}
	switch load := p["LoadState"]; {
	case load == "":
		return &shutdown.Finding{Check: "systemd_unreachable", Text: "systemctl show says nothing about " + u.Name, Fix: "try it: systemctl show -- " + u.Name}
	case load == "not-found" && !(up && !u.Start):
		return &shutdown.Finding{Check: "unit_not_found", Text: "there is no unit " + u.Name + u.near(x), Fix: "correct unit: `systemctl list-unit-files` lists those there are"}
	case load == "masked" && !(up && !u.Start):
		return &shutdown.Finding{Check: "unit_masked", Text: u.Name + " is masked: nothing can start it, so there is nothing to stop", Fix: "leave the step out, or systemctl unmask " + u.Name}
	case load == "bad-setting" || load == "error":
		text := fmt.Sprintf("the file of %s cannot be loaded (%s)", u.Name, load)
		if why := loadError(p["LoadError"]); why != "" {
			text += ": " + why
		}
		return &shutdown.Finding{Check: "unit_broken", Text: text, Fix: "see systemd-analyze verify " + u.Name}
	case p["MainPID"] == strconv.Itoa(cmp.Or(u.Daemon, os.Getpid())) && !u.Start:
		return &shutdown.Finding{Check: "unit_is_own", Text: u.Name + " is this daemon's own unit: stopping it would end the shutdown half way", Fix: "leave the step out"}
	case refuses == "yes":
		return &shutdown.Finding{Check: "unit_refuses", Text: fmt.Sprintf("%s refuses to be %s by hand (RefuseManual%s=yes)", u.Name, u.done(), u.title()), Fix: u.verb() + " the unit it belongs to instead"}
	case can == "no" && (up || u.Start):
		return &shutdown.Finding{Check: "unit_refuses", Text: fmt.Sprintf("%s cannot be %s: systemd says Can%s=no", u.Name, u.done(), u.title()), Fix: u.verb() + " the unit it belongs to instead"}
	}
	return nil
}

func (u Unit) done() string {
	if u.Start {
		return "started"
	}
	return "stopped"
}

func (u Unit) title() string {
	if u.Start {
		return "Start"
	}
	return "Stop"
}

// loadError is the text in what `systemctl show` prints for it: a D-Bus name and the text
// in quotes.
func loadError(s string) string {
	_, text, _ := strings.Cut(s, " ")
	return strings.Trim(text, `"`)
}

// near names a unit that may have been meant.
func (u Unit) near(x tool) string {
	stem, _, _ := strings.Cut(u.Name, ".")
	pattern := stem[:min(len(stem), 4)] + "*"
	out, err := x.run(lookTime, "systemctl", "list-unit-files", "--no-pager", "--no-legend", "--", pattern)
	if err != nil {
		return ""
	}
	lines, _ := rows(out)
	var known []string
	for _, line := range lines {
		name := strings.Fields(line)[0]
		if s, _, _ := strings.Cut(name, "."); s == stem {
			return "; there is " + name
		}
		known = append(known, name)
	}
	return config.Meant(u.Name, known)
}

const (
	polkitName  = "org.freedesktop.PolicyKit1"
	polkitPath  = dbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	manageUnits = "org.freedesktop.systemd1.manage-units"
	polkitTime  = 5 * time.Second
)

func systemBus(ctx context.Context) (*dbus.Conn, error) {
	return dbus.ConnectSystemBus(dbus.WithContext(ctx))
}

// permission asks polkit, which systemd asks for everybody but root, whether the daemon
// may. nil: it may. Polkit tells details of a decision to root alone, so that a rule
// which permits this one unit cannot be told from none.
func (u Unit) permission(ctx context.Context, connect func(context.Context) (*dbus.Conn, error)) *shutdown.Finding {
	ctx, end := context.WithTimeout(ctx, polkitTime)
	defer end()
	denied := &shutdown.Finding{Check: "unit_denied", Fix: "run the daemon as root, or give its user a polkit rule for " + manageUnits}
	may, err := authorized(ctx, connect)
	switch {
	case may:
		return nil
	case err != nil:
		denied.Text = fmt.Sprintf("the daemon runs as uid %d, and whether that may %s %s cannot be found out: polkit does not answer: %v", os.Geteuid(), u.verb(), u.Name, err)
	default:
		denied.Text = fmt.Sprintf("the daemon runs as uid %d, and polkit does not let that %s every unit; whether a rule permits %s alone cannot be proven without doing it", os.Geteuid(), u.verb(), u.Name)
	}
	return denied
}

// authorized asks polkit about this process, by its connection to the bus.
func authorized(ctx context.Context, connect func(context.Context) (*dbus.Conn, error)) (bool, error) {
	conn, err := connect(ctx)
	if err != nil {
		return false, fmt.Errorf("connect to the bus: %w", err)
	}
	defer conn.Close()
	subject := struct {
		Kind    string
		Details map[string]dbus.Variant
	}{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(conn.Names()[0])}}
	var answer struct {
		May, Challenge bool
		Details        map[string]string
	}
	const dontAsk = uint32(0)
	err = conn.Object(polkitName, polkitPath).CallWithContext(ctx, polkitName+".Authority.CheckAuthorization", 0,
		subject, manageUnits, map[string]string{}, dontAsk, "").Store(&answer)
	return answer.May, err
}
