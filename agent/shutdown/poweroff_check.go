package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// checkLogindWait bounds the question to the login manager, which asks polkit: a bus starts
// that for the first question, in the middle of a boot.
const checkLogindWait = 10 * time.Second

// host is what the built-in power-off finds on a machine.
type host struct {
	booted string // a directory that is there where systemd is init, see sd_booted(3)
	status string // the daemon's own status in /proc
	euid   int
}

func thisHost() host { return host{"/run/systemd/system", "/proc/self/status", os.Geteuid()} }

// CheckPowerOff finds out which ways of powering off would work now. Nothing is powered
// off. Its findings are fatal when no way would work.
func (e *Executor) CheckPowerOff(ctx context.Context) []Finding {
	switch {
	case e.Ways != nil:
		return e.checkElsewhere(ctx, thisHost())
	case len(e.Plan.Command) > 0:
		return checkCommands(&e.Plan)
	}
	return e.checkBuiltIn(ctx, thisHost())
}

// CheckWays finds out which of the ways of powering off that need root this process could
// go: those of the plan, or else systemctl and the forced one.
func CheckWays(p *Plan) []Finding {
	if len(p.Command) > 0 {
		return checkCommands(p)
	}
	h := thisHost()
	return findings(checkSystemctl(h, nil), checkForced(h, true))
}

// checkElsewhere is CheckPowerOff where somebody else has the rights. The login manager is
// asked by this process, and reboot(2) is its own last resort.
func (e *Executor) checkElsewhere(ctx context.Context, h host) []Finding {
	list, err := e.Ways(ctx)
	if err != nil {
		list = []Finding{{Step: PowerOffStep, Check: "helper_refuses", Text: err.Error(), Fatal: true,
			Fix: "systemctl status dodai-helper.socket; docs/rights.md says what the helper runs"}}
	}
	if len(e.Plan.Command) > 0 {
		return list
	}
	logind := e.checkLogind(ctx, h)
	if logind != nil {
		logind.Step = PowerOffStep
		list = append([]Finding{*logind}, list...)
	}
	dead := logind != nil && (err != nil || len(list) == 3) && canReboot(h.status) != nil
	for i := range list {
		list[i].Fatal = dead
	}
	return list
}

// findings puts together what the ways lack, of which none may be nil for a power-off
// that cannot work.
func findings(ways ...*Finding) []Finding {
	var list []Finding
	for _, f := range ways {
		if f != nil {
			f.Step = PowerOffStep
			list = append(list, *f)
		}
	}
	for i := range list {
		list[i].Fatal = len(list) == len(ways)
	}
	return list
}

func checkCommands(p *Plan) []Finding {
	var ways []*Finding
	for _, args := range [][]string{p.Command, p.PowerOff.Second, p.PowerOff.Forced} {
		if len(args) > 0 {
			ways = append(ways, checkPowerOffProgram(args[0]))
		}
	}
	return findings(ways...)
}

func checkPowerOffProgram(program string) *Finding {
	return CheckProgram(Task{Step: PowerOffStep, Env: environment(Cause{}, PowerOffStep)}, program, "")
}

func (e *Executor) checkBuiltIn(ctx context.Context, h host) []Finding {
	logind := e.checkLogind(ctx, h)
	return findings(logind, checkSystemctl(h, logind), checkForced(h, e.Force != nil))
}

func (e *Executor) checkLogind(ctx context.Context, h host) *Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLogindWait, timedOut(checkLogindWait))
	defer cancel()
	can, err := e.Logind.CanPowerOff(ctx)
	switch {
	case err != nil:
		return &Finding{Check: "logind_unreachable", Text: fmt.Sprintf("the login manager cannot be asked for the power-off: %v", err),
			Fix: "`systemctl status dbus systemd-logind` says why; without them the power-off begins with systemctl"}
	case can == "yes", can == "inhibitor-blocked" && h.euid == 0: // an inhibitor does not hold root back
		return nil
	case can == "na":
		return &Finding{Check: "power_off_not_available", Text: `the login manager says that this machine cannot be powered off ("na")`,
			Fix: "look for a power-off the kernel can do (ACPI), or set shutdown.command"}
	}
	return &Finding{Check: "power_off_refused",
		Text: fmt.Sprintf("polkit would refuse the power-off to uid %d: it answers %q for org.freedesktop.login1.power-off", h.euid, can),
		Fix: fmt.Sprintf(`run the daemon as root, or allow it in /etc/polkit-1/rules.d/50-dodai.rules: polkit.addRule(function(action, subject) { `+
			`if (["org.freedesktop.login1.power-off", "org.freedesktop.login1.power-off-multiple-sessions", "org.freedesktop.login1.power-off-ignore-inhibit"]`+
			`.indexOf(action.id) >= 0 && subject.user == %q) return polkit.Result.YES; });`, h.user())}
}

// user is the name a polkit rule knows the daemon by.
func (h host) user() string {
	u, err := user.LookupId(strconv.Itoa(h.euid))
	if err != nil {
		return "NAME"
	}
	return u.Username
}

// checkSystemctl: for anybody but root systemctl asks the login manager, which has
// answered already.
func checkSystemctl(h host, logind *Finding) *Finding {
	if _, err := os.Stat(h.booted); err != nil {
		return &Finding{Check: "systemd_not_running", Text: fmt.Sprintf("systemctl cannot power off, because systemd is not this machine's init: %v", err),
			Fix: "set shutdown.command to what powers this machine off"}
	}
	if f := checkPowerOffProgram("systemctl"); f != nil {
		return f
	}
	if h.euid != 0 && logind != nil {
		return &Finding{Check: "systemctl_not_permitted", Text: fmt.Sprintf("systemctl may not power off for uid %d either: it asks the login manager as well", h.euid),
			Fix: "run the daemon as root, or see " + logind.Check}
	}
	return nil
}

// checkForced: own tells that no program is needed for it.
func checkForced(h host, own bool) *Finding {
	if err := canReboot(h.status); err != nil {
		return &Finding{Check: "force_not_permitted", Text: fmt.Sprintf("a power-off that hangs could not be forced: %v", err),
			Fix: "run the daemon as root, with CAP_SYS_BOOT in the CapabilityBoundingSet= of its unit"}
	}
	if !own {
		return checkPowerOffProgram("/sbin/poweroff")
	}
	return nil
}

// canReboot reads from a status in /proc whether the process may call reboot(2).
func canReboot(status string) error {
	data, err := os.ReadFile(status)
	if err != nil {
		return fmt.Errorf("capabilities of the daemon: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		value, is := strings.CutPrefix(line, "CapEff:")
		if !is {
			continue
		}
		caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return fmt.Errorf("capabilities of the daemon: CapEff: %w", err)
		}
		if caps&(1<<unix.CAP_SYS_BOOT) == 0 {
			return errors.New("CAP_SYS_BOOT is missing, without which reboot(2) is refused")
		}
		return nil
	}
	return fmt.Errorf("capabilities of the daemon: no CapEff in %s", status)
}
