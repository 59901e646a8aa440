package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	// firstWord is how long after the boot a UPS that does not answer is waited for. The
	// network card of one that has just got its mains back takes minutes to start; what is
	// silent for longer says nothing, for or against.
	firstWord = 5 * time.Minute
	// riseMin and the two below are what a charge has to show before anybody foretells from
	// it: for how long, and by how many percent or seconds it rose.
	riseMin     = time.Minute
	risePercent = 1
	riseSeconds = 10
	// longestLeft is more than anybody waits for a battery.
	longestLeft = 24 * time.Hour
)

// BootRelease is why heavy services may start.
type BootRelease string

// What ends a boot hold.
const (
	BootReady    BootRelease = "ready"    // the battery could carry another shutdown
	BootLimit    BootRelease = "limit"    // Config.BootLimit has passed, whatever the UPSes say
	BootOperator BootRelease = "operator" // somebody said so
)

// BootMemory is the boot the agent last saw, and whether heavy services may start.
type BootMemory struct {
	At       Mark `json:"at,omitzero"`
	Fresh    bool `json:"fresh,omitempty"`    // this boot is the one the agent started with
	Ready    Mark `json:"ready,omitzero"`     // since when the batteries could carry another shutdown
	Held     bool `json:"held,omitempty"`     // a battery could not carry another shutdown, once in this boot
	Released bool `json:"released,omitempty"` // for good, until the next boot
	// By is what released, Said who and why where somebody did; empty before.
	By   BootRelease `json:"by,omitempty"`
	Said string      `json:"said,omitempty"`
}

// Rise is the first reading of a battery that charges while heavy services are held back.
type Rise struct {
	At        Mark `json:"at,omitzero"`
	Charge    Num  `json:"charge,omitzero"`    // percent
	Available Num  `json:"available,omitzero"` // seconds
}

// BootWhat is a kind of thing that keeps heavy services from starting.
type BootWhat string

// What keeps heavy services from starting.
const (
	BootCharge     BootWhat = "charge"      // less than Config.BootMinChargePct
	BootRuntime    BootWhat = "runtime"     // less than a shutdown needs, with its reserve
	BootLowBattery BootWhat = "low_battery" // LB
	BootFSD        BootWhat = "fsd"         // announced, or left over from before the boot
	BootOnBattery  BootWhat = "on_battery"  // the mains are gone, or back for a moment only
	BootFeedEnds   BootWhat = "feed_ends"   // another rule finds that the feed will be gone, or it is
	BootUnheard    BootWhat = "unheard"     // nothing is known of it yet
	BootTurn       BootWhat = "turn"        // others of the rack start first
	BootGoingDown  BootWhat = "going_down"  // this host is to be shut down
)

// BootReason is one thing that keeps heavy services from starting.
type BootReason struct {
	UPS  string   `json:"ups,omitempty"` // empty: the host
	What BootWhat `json:"what"`
	Text string   `json:"text"` // with the numbers, without the name of the UPS
}

func (r BootReason) String() string {
	if r.UPS == "" {
		return r.Text
	}
	return r.UPS + ": " + r.Text
}

// BootHeld reports whether heavy services have to wait: something is known against their
// start, or not enough is known yet.
func (out *Decision) BootHeld() bool { return out.BootHold || out.BootUnheard }

// ReleaseBoot lets heavy services start, whatever the UPSes say, until the next boot. said is
// who wants it and why. ok is false where nothing holds them back, and nothing changes then.
func (m Memory) ReleaseBoot(said string) (released Memory, ok bool) {
	if !m.Boot.Fresh || m.Boot.Released {
		return m, false
	}
	m.Boot.Released, m.Boot.By, m.Boot.Said = true, BootOperator, said
	return m, true
}

// noteBoot starts a new boot hold when the host has booted since the memory was made. An
// agent that comes long after the boot holds nothing back: what it would keep from starting
// runs already.
func (d *decider) noteBoot() {
	b := &d.mem.Boot
	if b.At.Set && d.s.BootedAt-b.At.At < time.Second {
		return
	}
	*b = BootMemory{At: mark(d.s.BootedAt), Fresh: d.s.AgentStartedAt-d.s.BootedAt <= freshBoot}
}

// readiness is how far a supply, or a UPS, could carry another shutdown.
type readiness struct {
	state  bootState
	reason BootReason     // why it could not, or is not known to
	left   *time.Duration // until it can, by how its battery charges; nil: nobody knows
}

// bootState is ordered: the best input of a supply counts.
type bootState int

const (
	bootAgainst bootState = iota // it could not
	bootUnknown                  // nothing is known of it
	bootReady
)

// judgeBoot decides whether the start of heavy services waits: after a boot, until enough
// batteries could carry another shutdown, and then until this host's turn has come. Mains
// that fail meanwhile begin it anew. Once released it stays released until the next boot.
func (d *decider) judgeBoot(out *Decision) {
	b := &d.mem.Boot
	if !b.Fresh || b.Released {
		return
	}
	supplies := d.bootSupplies()
	ready, sure := 0, 0
	for _, r := range supplies {
		if r.state != bootAgainst {
			ready++
		}
		if r.state == bootReady {
			sure++
		}
	}
	wanted := min(d.minSupplies(), len(supplies))
	limit := d.cfg.BootLimit > 0 && d.now-d.s.BootedAt >= d.cfg.BootLimit
	switch {
	case limit:
		b.Released, b.By = true, BootLimit
		return
	case out.Shutdown || ready < wanted:
		b.Ready, b.Held, out.BootHold = Mark{}, true, true
	case sure < wanted:
		out.BootUnheard = true
	default:
		if !b.Ready.Set {
			b.Ready = mark(d.now)
		}
		if b.Ready.since(d.now) >= d.cfg.BootWait {
			b.Released, b.By = true, BootReady
			return
		}
		out.BootHold = true
		d.dueAt(b.Ready.At + d.cfg.BootWait)
	}
	if d.cfg.BootLimit > 0 {
		d.dueAt(d.s.BootedAt + d.cfg.BootLimit)
	}
	if !d.pol.Brief {
		d.explainBoot(out, supplies, wanted)
	}
}

// bootSupplies is how far each supply that hangs on a UPS, by the best of its inputs, could
// carry another shutdown. A supply that is broken carries nothing whatever its UPS says, and
// one that hangs on the mains alone goes with them: neither is waited for.
func (d *decider) bootSupplies() []readiness {
	list := make([]readiness, 0, len(d.supplies))
	for i := range d.supplies {
		w := &d.supplies[i]
		var best *readiness
		for j := range w.inputs {
			if w.inputs[j].ups == nil || w.failed {
				continue
			}
			if r := d.bootInput(w, &w.inputs[j]); best == nil || r.state > best.state {
				best = &r
			}
		}
		if best != nil {
			list = append(list, *best)
		}
	}
	return list
}

// bootInput is how far one input of a supply could carry another shutdown.
func (d *decider) bootInput(w *supply, in *input) readiness {
	u := in.ups
	if u.maint != nil { // an operator stands beside it
		return readiness{state: bootReady}
	}
	r := d.bootBattery(u)
	switch {
	case r.state == bootAgainst:
	case in.dead || w.lost:
		r = u.cannot(BootFeedEnds, "its feed is gone")
	case u.doom != ReasonNone:
		r = u.cannot(BootFeedEnds, "%s", u.why)
	}
	u.noteRise()
	return r
}

// bootBattery is how far a UPS by its own words could carry another shutdown. What it said
// before it fell silent counts, until it says something better.
func (d *decider) bootBattery(u *ups) readiness {
	m := &u.mem
	switch {
	case m.FSD.Set && m.FSDLatch:
		return u.cannot(BootFSD, "announces a forced shutdown (FSD) that is left over from before the boot")
	case m.FSD.Set:
		return u.cannot(BootFSD, "announces a forced shutdown (FSD)")
	case m.running():
		return u.cannot(BootOnBattery, "on battery for %s", secs(m.OnBattery.since(d.now)))
	case m.OnBattery.Set:
		return u.cannot(BootOnBattery, "on line again for %s, %s are wanted", secs(m.OLSince.since(d.now)), secs(u.cfg.HysteresisS.D()))
	case m.Last.Status.Has(dodai.LB):
		return u.cannot(BootLowBattery, "says that its battery is low")
	case m.Last.Charge.OK && m.Last.Charge.V < u.cfg.BootMinChargePct:
		r := u.cannot(BootCharge, "charge %g %%, %g %% are wanted", m.Last.Charge.V, u.cfg.BootMinChargePct)
		r.left = u.until(m.Rise.Charge, m.Last.Charge, u.cfg.BootMinChargePct, risePercent)
		return r
	}
	if up := d.feederOnBattery(u); up != nil {
		return u.cannot(BootOnBattery, "%s, which feeds it, is on battery", up.name)
	}
	if left, known := d.chainLeft(u); known && left < u.budget() {
		r := u.cannot(BootRuntime, "its battery lasts %s, a shutdown needs %s", secs(left), u.needs())
		r.left = u.until(m.Rise.Available, m.Available, u.budget().Seconds(), riseSeconds)
		return r
	}
	return u.unheard()
}

// feederOnBattery is the first UPS before u in series that has lost its mains; nil: none has.
func (d *decider) feederOnBattery(u *ups) *ups {
	for range d.s.Links {
		if u = d.upstream(u); u == nil {
			break
		}
		if u.maint == nil && u.mem.OnBattery.Set {
			return u
		}
	}
	return nil
}

// unheard is a UPS against which nothing is known: ready once it has answered, or has been
// asked in vain for long enough.
func (u *ups) unheard() readiness {
	late := u.s.BootedAt + firstWord
	if u.heard() && !u.silent() || u.stillTrue() && u.now >= late {
		return readiness{state: bootReady}
	}
	u.due(late)
	r := readiness{state: bootUnknown, reason: BootReason{u.name, BootUnheard, "has not answered yet"}}
	if u.mem.Heard.Set {
		r.reason.Text = "does not answer"
	}
	if u.now < late {
		r.left = new(late - u.now)
	}
	return r
}

// cannot is a UPS that could not carry another shutdown, and why.
func (u *ups) cannot(what BootWhat, format string, args ...any) readiness {
	if u.pol.Brief {
		return readiness{}
	}
	return readiness{reason: BootReason{u.name, what, fmt.Sprintf(format, args...)}}
}

// noteRise remembers where a battery began to charge.
func (u *ups) noteRise() {
	m := &u.mem
	switch {
	case m.OnBattery.Set:
		m.Rise = Rise{}
	case !m.Rise.At.Set && m.Heard.Set:
		m.Rise = Rise{At: mark(m.Last.At), Charge: m.Last.Charge, Available: m.Available}
	}
}

// until is how long a figure that rose from from to is still takes to wanted, when it has
// risen by least; nil: nobody knows.
func (u *ups) until(from, is Num, wanted, least float64) *time.Duration {
	span := u.mem.Rise.At.since(u.mem.Last.At)
	if !from.OK || !is.OK || span < riseMin || is.V-from.V < least {
		return nil
	}
	left := (wanted - is.V) / (is.V - from.V) * span.Seconds()
	return new(min(seconds(max(0, left)), longestLeft))
}

// explainBoot says why heavy services wait, and for how long if that can be told.
func (d *decider) explainBoot(out *Decision, supplies []readiness, wanted int) {
	var waits []readiness
	for _, r := range supplies {
		if r.state != bootReady {
			waits = append(waits, r)
			if !slices.ContainsFunc(out.BootReasons, func(o BootReason) bool { return o == r.reason }) {
				out.BootReasons = append(out.BootReasons, r.reason)
			}
		}
	}
	text := fmt.Sprintf("%d of %d supplies could carry another shutdown, %d wanted", len(supplies)-len(waits), len(supplies), wanted)
	switch {
	case out.Shutdown:
		out.BootReasons = append([]BootReason{{What: BootGoingDown, Text: "this host has to go down"}}, out.BootReasons...)
	case d.mem.Boot.Ready.Set && out.BootHold:
		turn := d.mem.Boot.Ready.At + d.cfg.BootWait - d.now
		out.BootReasons = []BootReason{{What: BootTurn, Text: "the turn of this host comes in " + secs(turn)}}
		out.BootHoldLeft = new(turn)
	default:
		out.BootHoldLeft = d.bootLeft(waits, wanted-(len(supplies)-len(waits)))
	}
	words := []string{text}
	for _, r := range out.BootReasons {
		words = append(words, r.String())
	}
	out.BootHoldWhy = strings.Join(words, "; ")
}

// bootLeft is how long the hold goes on until missing more supplies are ready, by how their
// batteries charge; nil: nobody knows.
func (d *decider) bootLeft(waits []readiness, missing int) *time.Duration {
	var known []time.Duration
	for _, r := range waits {
		if r.left != nil {
			known = append(known, *r.left)
		}
	}
	if missing < 1 || len(known) < missing {
		return nil
	}
	slices.SortFunc(known, cmp.Compare[time.Duration])
	return new(known[missing-1] + d.cfg.BootWait)
}

// dueAt asks for a decision at at, even if no reading comes.
func (d *decider) dueAt(at time.Duration) {
	if at > d.now && (d.nextAt == 0 || at < d.nextAt) {
		d.nextAt = at
	}
}
