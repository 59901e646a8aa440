package site

import (
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// Outcome is what an agent did.
type Outcome struct {
	Shutdown bool          // it decided to shut the host down …
	At       time.Duration // … then, from the start
	Reason   string        // for the text alone
}

// Verdict is the judgement. At most one of Unprotected, Needless and Unwarned is true.
type Verdict struct {
	Unprotected bool // the power went before the machine was down, though it was called for in time
	Needless    bool // shut down though the mains came back with margin, and nothing called for it
	Unwarned    bool // the power went before the machine was down, and nothing called in time
	// Cause is why nothing called, or why it was judged so.
	Cause string
	// MarginS is how many seconds of power were truly left when the machine was down, or
	// else when the mains came back; negative when the power went first; +Inf where the
	// host was never at risk.
	MarginS float64
	Text    string // one sentence with the numbers
}

// run is a stretch of time in which the host was called on to shut down.
type run struct {
	span
	why string
}

// bench is everything the judge weighs.
type bench struct {
	s       *Site
	w       []witness
	lost    []confirm // by supply: input lost, truly
	bits    uint16    // what the BMC said last
	bmcSeen bool
	sums    []confirm // by UPS: it and the one before it together
	moves   confirm   // the load that moves
	feeds   []confirm // by circuit: a UPS that hangs on it says, and truly, that it is gone

	runs    []run
	calling bool
	excused time.Duration // last instant at which something excused a shutdown
	excuse  bool          // there was one
}

// recent is how long a call or an excuse that is gone still counts for a decision.
const recent = 10 * time.Second

// Judge judges by the truth what the agent did, which got what Saw was told. It may be
// asked again with another outcome.
func (s *Site) Judge(o Outcome) Verdict {
	b := s.bench()
	until := s.end
	if at, ok := s.PowerGone(); ok {
		until = min(until, at)
	}
	if o.Shutdown {
		until = min(until, o.At)
	}
	b.hear(until)
	v := b.verdict(o)
	s.verdict = &v
	return v
}

func (s *Site) bench() *bench {
	n := len(s.upses)
	b := &bench{s: s, w: make([]witness, n), lost: make([]confirm, len(s.psus)), sums: make([]confirm, n), feeds: make([]confirm, len(s.feeds))}
	for i, u := range s.upses {
		b.w[i] = witness{s: s, u: u}
	}
	return b
}

// hear goes through all that was told up to an instant.
func (b *bench) hear(until time.Duration) {
	happenings := b.s.happenings
	for i := range b.s.log {
		e := &b.s.log[i]
		if e.at > until {
			break
		}
		for len(happenings) > 0 && happenings[0].At <= e.at {
			b.happen(happenings[0])
			happenings = happenings[1:]
		}
		b.take(e)
		b.weigh(e.at)
		if until-e.at <= recent && b.excusedByLines(e.at) {
			b.excused, b.excuse = e.at, true
		}
	}
	b.weigh(until)
	b.stop(until)
}

func (b *bench) happen(h Happening) {
	boot := h.What == "host_boot"
	if h.What == "agent_stop" {
		b.stop(h.At)
	}
	if !boot && h.What != "agent_start" {
		return
	}
	b.stop(h.At)
	for i := range b.w {
		b.w[i].restart(h.At, boot)
		b.sums[i] = confirm{}
	}
	clear(b.lost)
	clear(b.feeds)
	b.bits, b.bmcSeen, b.moves = 0, false, confirm{}
}

func (b *bench) stop(t time.Duration) {
	if b.calling {
		b.runs[len(b.runs)-1].to, b.calling = t, false
	}
}

// take takes in one read attempt.
func (b *bench) take(e *entry) {
	if !e.ok {
		return
	}
	if e.device >= 0 {
		b.w[e.device].deliver(e)
		b.together(int(e.device), e.at)
		return
	}
	truth := b.s.powers[b.s.clamp(tickAt(e.age))]
	b.bits, b.bmcSeen = e.bits, true
	all := uint16(1)<<len(b.s.psus) - 1
	for i := range b.s.psus {
		// All of them at once are a BMC's error, and nothing is told by it.
		b.lost[i].hold(e.bits != all && e.bits&(1<<i) != 0 && truth&(1<<i) == 0, e.at)
	}
}

// together takes the answer of a UPS through the rules about several.
func (b *bench) together(i int, t time.Duration) {
	limit := b.s.cfg.limit().Seconds()
	for j, u := range b.s.upses {
		if u.fedBy < 0 || j != i && u.fedBy != i {
			continue
		}
		up, down := &b.w[u.fedBy], &b.w[j]
		sum, ok := b.sum(j)
		k := b.s.clamp(tickAt(t))
		b.sums[j].hold(ok && up.ob && !down.ob && sum <= limit && up.u.trueLeft(k)+u.trueLeft(k) <= 1.25*limit+15, t)
	}
	if u, w := b.s.upses[i], &b.w[i]; u.fedBy < 0 && b.s.wired {
		dark := valueAt(b.s.feeds[u.feed].volts, t, nominalVolts) < 90
		b.feeds[u.feed].hold(w.ob && dark, t)
	}
	left, ok := b.moved(t)
	b.moves.hold(ok && left <= limit && b.s.hostLeft(tickAt(t)) <= limit, t)
}

// sum is what a UPS and the one before it say they have together.
func (b *bench) sum(i int) (seconds float64, ok bool) {
	up, down := &b.w[b.s.upses[i].fedBy], &b.w[i]
	eu, ed := entry{age: up.u.sampledAt(up.lastAt)}, entry{age: down.u.sampledAt(down.lastAt)}
	if !up.seen || !down.seen || !up.plausible(up.last, &eu) || !down.plausible(down.last, &ed) {
		return 0, false
	}
	if (up.last.status | down.last.status).Any(dodai.RB|dodai.OFF) || down.last.status.Has(dodai.LB) {
		return 0, false
	}
	return up.last.runtime + down.last.runtime, true
}

// moved is how long the host has when of its two UPSes, both on battery and heard, one
// ends first and all of its load moves to the other, which lasts the less for it in
// proportion: less than Peukert's law would take.
func (b *bench) moved(t time.Duration) (seconds float64, ok bool) {
	if len(b.w) != 2 || !b.s.wired || b.s.inputs() != 2 || b.s.needs != 1 || b.s.upses[1].fedBy >= 0 {
		return 0, false
	}
	for i := range b.w {
		w := &b.w[i]
		e := entry{age: w.u.sampledAt(max(0, w.lastAt))}
		if !w.seen || !w.ob || t-w.lastAt > staleAfter || !w.plausible(w.last, &e) || w.last.load <= 0 || w.last.status.Any(dodai.RB|dodai.OFF) {
			return 0, false
		}
	}
	first, second := b.w[0].last, b.w[1].last
	if first.runtime > second.runtime {
		first, second = second, first
	}
	return first.runtime + (second.runtime-first.runtime)*second.load/(first.load+second.load), true
}

// weigh decides what the host is called on to do at t.
func (b *bench) weigh(t time.Duration) {
	for i := range b.w {
		b.w[i].judge(t)
	}
	called, why := b.called(t)
	switch {
	case called && !b.calling:
		b.runs = append(b.runs, run{span{t, t}, why})
	case !called && b.calling:
		b.runs[len(b.runs)-1].to = t
	}
	b.calling = called
	if called || b.excusedAt(t) {
		b.excused, b.excuse = t, true
	}
}

// called is whether fewer feeds are left than the host needs: neither called for nor
// truly gone.
func (b *bench) called(t time.Duration) (bool, string) {
	healthy, why := 0, ""
	for i := range b.s.psus {
		switch ok, because := b.supplyHolds(i, t); {
		case ok:
			healthy++
		case why == "":
			why = because
		}
	}
	if healthy < b.s.cfg.MinSupplies {
		return true, why
	}
	return b.moves.stands(t), "the load that moves"
}

func (b *bench) supplyHolds(i int, t time.Duration) (bool, string) {
	p := &b.s.psus[i]
	if p.failed && b.bmcSeen {
		return false, p.id + " failed"
	}
	if b.lost[i].stands(t) {
		return false, p.id + " without input"
	}
	why := ""
	for _, w := range p.paths {
		if w.ups < 0 {
			if b.feeds[w.feed].stands(t) {
				why = "the mains of feed " + b.s.feeds[w.feed].name
				continue
			}
			return true, ""
		}
		if b.w[w.ups].called || b.blind(w.ups, t, late) {
			why = b.w[w.ups].u.name + ": " + b.w[w.ups].why
		} else if b.sums[w.ups].stands(t) {
			why = b.w[w.ups].u.name + " and the UPS before it together"
		} else {
			return true, ""
		}
	}
	return false, why
}

func seconds(t time.Duration) string { return fmt.Sprintf("%.1f s", t.Seconds()) }
