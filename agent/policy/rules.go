package policy

import (
	"fmt"
	"strconv"
	"time"

	"github.com/dodai-agent/dodai"
)

// dooms are the rules by which a feed is doomed, in the order in which their reasons
// should be given. By those that end it the UPS may cut its output at any time, whatever its
// figures say that it has left.
var dooms = []struct {
	rule  Rule
	judge func(*ups) (Reason, string)
	ends  bool
}{
	{RuleFSD, (*ups).judgeFSD, true},
	{RuleUPSTimer, (*ups).judgeTimer, true},
	{RuleLB, (*ups).judgeLB, true},
	{RuleRuntime, (*ups).judgeRuntime, false},
	{RuleCharge, (*ups).judgeCharge, false},
	{RuleMaxOnBatt, (*ups).judgeTime, false},
	{RuleSilence, (*ups).judgeSilence, true},
	{RuleSilentLine, (*ups).judgeSilentLine, true},
	{RuleNoMetrics, (*ups).judgeMetrics, false},
}

// judge says by which rule the feed of this UPS is doomed, and why or why not.
func (u *ups) judge() {
	m := &u.mem
	u.was = m.Before.Reason
	if u.maint != nil {
		m.Doomed, u.why = ReasonNone, u.maintained()
		return
	}
	heard := u.heard()
	for _, rule := range dooms {
		if !heard && rule.rule != RuleSilence && rule.rule != RuleSilentLine || u.pol.off(rule.rule) {
			continue
		}
		reason, why := rule.judge(u)
		if reason == ReasonNone {
			continue
		}
		u.ends = u.ends || rule.ends
		if u.doom == ReasonNone || reason == u.was { // what doomed it first stays the reason
			u.doom, u.rule, u.why = reason, rule.rule, why
		}
	}
	switch {
	case u.doom != ReasonNone:
		m.DoomedAt = u.doomedAt()
	case !u.pol.Brief:
		u.why = u.healthy()
	}
	m.Doomed = u.doom
	if !heard && u.doom == ReasonNone { // what was remembered waits
		m.Doomed, m.DoomedAt = m.Before.Reason, m.Before.At
	}
}

// doomNow finds the feed doomed by what is known of others.
func (u *ups) doomNow(reason Reason, rule Rule) {
	u.mem.DoomedAt = u.doomedAt()
	u.doom, u.mem.Doomed, u.rule = reason, reason, rule
}

// noteBefore remembers the doom that stood before this instant. Decisions made at one
// instant, one for each device that was read, count as one.
func (u *ups) noteBefore(decided Mark) {
	if m := &u.mem; decided != mark(u.now) {
		m.Before = Doom{Reason: m.Doomed, At: m.DoomedAt}
	}
	u.was = u.mem.Before.Reason
}

// doomedAt is since when a feed is doomed that is so now.
func (u *ups) doomedAt() time.Duration {
	if u.doomed() {
		return u.mem.Before.At
	}
	return u.now
}

// doomed reports whether the feed was doomed in the decision before, at an earlier instant.
func (u *ups) doomed() bool { return u.was != "" && u.was != ReasonNone }

// heard reports whether the UPS has said what its state is since the agent started. Until
// then nothing follows from what is remembered but from the silence: the outage may be over.
func (u *ups) heard() bool { return u.mem.Heard.Set && u.mem.Heard.At >= u.s.AgentStartedAt }

// stillTrue reports whether what is remembered of the UPS may be taken for its state: it
// has answered since the agent started, or has been found silent.
func (u *ups) stillTrue() bool { return u.heard() || u.silent() && u.d.Answered() }

func (u *ups) judgeFSD() (Reason, string) {
	m := &u.mem
	if m.FSD.Set && m.Line == "" && u.firstReadings(u.now) {
		u.due(m.First.At + u.stale()) // may be a leftover: the next reading may tell
		return ReasonNone, ""
	}
	if m.FSD.Set && !m.FSDLatch {
		return ReasonFSD, "announces a forced shutdown (FSD)"
	}
	return ReasonNone, ""
}

// stands reports whether a trouble is confirmed and still there. For a feed that is
// doomed already it has to be gone for riseHold: a rise does not extend a deadline.
func (u *ups) stands(r *Run) bool {
	return r.confirmed(u.confirming()) && (!r.Good.Set || u.doomed())
}

func (u *ups) judgeLB() (Reason, string) {
	m := &u.mem
	if !m.running() || u.cfg.IgnoreLB || !u.stands(&m.LB) {
		return ReasonNone, ""
	}
	if u.distrustLB() {
		u.due(m.OnBattery.At + u.cfg.LBTrustS.D())
		return ReasonNone, ""
	}
	return ReasonLB, fmt.Sprintf("on battery for %s and says its battery is low (LB)", secs(m.OnBattery.since(u.now)))
}

// distrustLB reports whether the battery is too good for LB to be believed so early.
func (u *ups) distrustLB() bool {
	m := &u.mem
	return u.cfg.LBTrustS != nil && m.OnBattery.since(u.now) < u.cfg.LBTrustS.D() &&
		m.Available.OK && m.Available.V > 3*u.budget().Seconds() && m.Last.Charge.OK && m.Last.Charge.V > 50
}

func (u *ups) judgeRuntime() (Reason, string) {
	m := &u.mem
	if !m.running() || !u.stands(&m.Runtime) {
		return ReasonNone, ""
	}
	if !m.Available.OK {
		return ReasonRuntime, "on battery, and too little time was left when it last said how much"
	}
	return ReasonRuntime, fmt.Sprintf("on battery, %.0f s left by %s; a shutdown needs %s", m.Available.V, u.by(), u.needs())
}

func (u *ups) judgeCharge() (Reason, string) {
	m := &u.mem
	if !m.running() || !u.stands(&m.Charge) {
		return ReasonNone, ""
	}
	if !m.Last.Charge.OK {
		return ReasonCharge, fmt.Sprintf("on battery, and the charge was at or below %g %% when last known", u.cfg.MinChargePct)
	}
	return ReasonCharge, fmt.Sprintf("on battery at %g %% charge, the limit is %g %%", m.Last.Charge.V, u.cfg.MinChargePct)
}

func (u *ups) judgeTime() (Reason, string) {
	m := &u.mem
	if !m.running() || u.cfg.MaxOnBattS == nil {
		return ReasonNone, ""
	}
	limit := u.cfg.MaxOnBattS.D()
	u.due(m.OnBattery.At + limit)
	if on := m.OnBattery.since(u.now); on >= limit {
		return ReasonMaxOnBatt, fmt.Sprintf("on battery for %s, the limit is %s", secs(on), secs(limit))
	}
	return ReasonNone, ""
}

func (u *ups) judgeMetrics() (Reason, string) {
	m := &u.mem
	if !m.running() || m.Credible {
		return ReasonNone, ""
	}
	limit := u.cfg.NoMetricsOnBattS.D()
	u.due(m.OnBattery.At + limit)
	if on := m.OnBattery.since(u.now); on >= limit {
		return ReasonNoMetrics, fmt.Sprintf("on battery for %s and gives neither a credible runtime nor charge; %s are allowed",
			secs(on), secs(limit))
	}
	return ReasonNone, ""
}

// offPersists reports whether OFF stood in every reading for long enough.
func (u *ups) offPersists() bool {
	return u.mem.Off.Set && u.maint == nil && !u.pol.off(RulePath) && u.stillTrue() && u.mem.Last.At-u.mem.Off.At >= u.cfg.OffConfirmS.D()
}

// fast reports whether the UPS should be asked as often as on battery.
func (u *ups) fast() bool {
	m := &u.mem
	_, flapping := m.flapping(u.now)
	return m.OnBattery.Set || flapping || m.Last.contradicts() || m.Off.Set || m.FSD.Set || m.Timer.Set || m.Countdown.moving(u.now) || u.inferred.Set ||
		m.Last.Status.Any(dodai.OB|dodai.LB)
}

// line is the line state to show: what was known of it stands for as long as a reading
// may be stale.
func (u *ups) line() Line {
	m := &u.mem
	if m.Line == "" || u.now-m.LineAt > u.stale() {
		return LineUnknown
	}
	return m.Line
}

func (u *ups) view() UPSView {
	m := &u.mem
	v := UPSView{
		UPS: u.name, Line: u.line(), OnBattery: m.OnBattery.Set, Available: u.availableAt(), Source: u.source(), Factor: u.believed(),
		Doomed: u.doom, Rule: u.against(), Lost: u.lost, Maintenance: u.maint != nil, Why: u.why,
	}
	if m.OnBattery.Set {
		v.OnBatterySince = m.OnBattery.At
	}
	return v
}

func secs(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + " s"
}
