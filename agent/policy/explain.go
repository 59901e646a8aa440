package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// explain says in one sentence per fact what was decided and why.
func (d *decider) explain(out *Decision, healthy, need int) string {
	var b strings.Builder
	switch {
	case len(d.supplies) == 0:
		return "stay up: no UPS is configured, so nothing is known of the mains"
	case out.Shutdown:
		fmt.Fprintf(&b, "shut down (%s): ", out.Reason)
	default:
		b.WriteString("stay up: ")
	}
	fmt.Fprintf(&b, "%d of %d supplies healthy, %d needed", healthy, len(d.supplies), need)
	for _, u := range d.upses {
		fmt.Fprintf(&b, "; %s: %s", u.name, u.why)
	}
	return b.String()
}

// healthy says how a UPS that no rule dooms is doing.
func (u *ups) healthy() string {
	m := &u.mem
	switch {
	case !m.Read.Set && u.silent():
		return "has not answered yet; nothing is known of it"
	case !m.Read.Set:
		return "not read yet"
	case !u.heard() && u.doomed():
		return fmt.Sprintf("was doomed (%s) when last heard, and has not answered since the agent started", u.was)
	case u.silent() && (m.running() || u.inferred.Set):
		return fmt.Sprintf("silent for %s, last heard on battery; %s are allowed", secs(u.now-u.heardAt()), secs(u.blindLimit()))
	case u.silent() && m.Line == "":
		return fmt.Sprintf("silent for %s, and never said whether it has input: an alarm, no reason to go down", secs(u.now-u.heardAt()))
	case u.silent():
		return fmt.Sprintf("silent for %s, last heard on line: an alarm, no reason to go down", secs(u.now-u.heardAt()))
	case m.running() && m.Available.OK:
		return fmt.Sprintf("on battery for %s%s, %.0f s left by %s", secs(m.OnBattery.since(u.now)), withNumbers(m.Last), m.Available.V, m.Source)
	case m.running():
		return fmt.Sprintf("on battery for %s%s, remaining time not known", secs(m.OnBattery.since(u.now)), withNumbers(m.Last))
	case m.OnBattery.Set:
		return fmt.Sprintf("on line again for %s%s", secs(m.OLSince.since(u.now)), withNumbers(m.Last))
	case m.Line == LinePresent && m.Last.onPurpose():
		return "runs from its battery on purpose" + withNumbers(m.Last)
	case m.Line == LinePresent:
		return "on line" + withNumbers(m.Last)
	}
	return fmt.Sprintf("its status (%s) does not tell whether it has input", cmp.Or(m.Last.Status.String(), "empty"))
}

// needs is the budget in words.
func (u *ups) needs() string {
	return fmt.Sprintf("%s and %s of reserve", secs(u.cfg.Need), secs(u.cfg.Reserve))
}

// withNumbers lists the figures that matter, or nothing.
func withNumbers(f Facts) string {
	var parts []string
	if f.Status != 0 {
		parts = append(parts, f.Status.String())
	}
	for _, v := range []struct {
		num    Num
		format string
	}{{f.Charge, "charge %g %%"}, {f.Runtime, "runtime %.0f s"}, {f.Volts, "input %g V"}} {
		if v.num.OK {
			parts = append(parts, fmt.Sprintf(v.format, v.num.V))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// evidence lists the readings the decision used, with their ages.
func (u *ups) evidence() []Evidence {
	r := u.d.Reading
	if r == nil {
		return nil
	}
	age := max(0, u.now-u.d.At)
	out := []Evidence{{Device: u.name, Name: "ups.status", Value: r.Status.String(), Age: age + r.Ages["ups.status"]}}
	for _, name := range []string{
		dodai.BatteryCharge, dodai.BatteryRuntime, dodai.BatteryVoltage, dodai.InputVoltage, dodai.UPSLoad, dodai.UPSTimerShutdown,
	} {
		if v, ok := r.Vars[name]; ok {
			out = append(out, Evidence{Device: u.name, Name: name, Value: v.String(), Age: age + r.Ages[name]})
		}
	}
	return out
}

// margin fills in how long the supplies that decide would last: this host lives until
// fewer than it needs are left, so the last of the needed ones, longest first, decides.
func (d *decider) margin(out *Decision) {
	left := make([]time.Duration, 0, len(d.supplies))
	for i := range d.supplies {
		if a, ok := d.supplyLeft(&d.supplies[i]); ok {
			left = append(left, a)
		}
	}
	slices.SortFunc(left, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	n := d.minSupplies()
	if len(left) < n {
		return
	}
	available := left[n-1]
	if d.together != nil {
		available = min(available, *d.together)
	}
	out.Available = new(available)
	out.Margin = new(available - d.cfg.Need - d.cfg.Reserve)
}

// supplyLeft is how long a supply would live without mains, by the best of its inputs. ok
// is false where nothing credible says so, or an input hangs on the mains themselves.
func (d *decider) supplyLeft(w *supply) (best time.Duration, ok bool) {
	if w.lost || w.failed {
		return 0, true
	}
	for i := range w.inputs {
		in := &w.inputs[i]
		switch {
		case in.dead:
			ok = true
		case in.ups == nil:
			return 0, false
		default:
			a, known := d.chainLeft(in.ups)
			if !known {
				return 0, false
			}
			best, ok = max(best, a), true
		}
	}
	return best, ok
}

// chainLeft is how long a UPS would carry the load with all that stands before it in series.
func (d *decider) chainLeft(u *ups) (left time.Duration, ok bool) {
	for range len(d.s.Links) + 1 {
		a := u.availableAt()
		if a == nil || u.maint != nil {
			return left, ok
		}
		left, ok = left+*a, true
		from := d.upstream(u)
		if from == nil || u.mem.running() {
			return left, ok
		}
		u = from
	}
	return left, ok
}
