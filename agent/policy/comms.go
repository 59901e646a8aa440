package policy

import (
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// restartGap is how long no agent may have listened for a silence to go on. It covers a
// crash and what of the memory had not been saved by then; in a longer one, the mains
// may have come back unheard.
const restartGap = 20 * time.Second

// absence is for how long no agent listened before the present one started; 0 when that
// is known already, or too short to matter.
func (d *decider) absence() time.Duration {
	gap := d.s.AgentStartedAt - d.mem.Decided.At
	if !d.mem.Decided.Set || gap <= restartGap {
		return 0
	}
	return gap
}

// absent takes a time in which no agent listened into account: it is no silence of the
// UPS, and no standstill of its values.
func (u *ups) absent(away time.Duration) {
	u.mem.Away += Seconds(away.Seconds())
	u.mem.Moved.Last.shift(away)
}

// counted is the instant from which a silence counts that began at at: later by the time
// in which no agent listened.
func (u *ups) counted(at time.Duration) time.Duration {
	return max(at, min(at+u.mem.Away.D(), u.s.AgentStartedAt))
}

// heardAt is when the UPS last said what its state is.
func (u *ups) heardAt() time.Duration {
	if !u.mem.Heard.Set {
		return u.s.AgentStartedAt
	}
	return u.counted(u.mem.Heard.At)
}

// blindSince is since when nothing has been known of the line state on battery: it was
// last known then, or last moved when it is frozen.
func (u *ups) blindSince() time.Duration {
	at := u.mem.LineAt
	if u.inferred.Set {
		at = u.inferred.At
	}
	at = u.counted(at)
	if since, frozen := u.frozen(); frozen {
		at = min(at, since)
	}
	return at
}

// silent reports whether communication is lost. It stays as it was until the UPS has been
// asked.
func (u *ups) silent() bool {
	if !u.d.Answered() {
		return u.mem.Silent
	}
	return u.now-u.heardAt() >= u.stale()
}

// frozen reports whether the UPS answers, yet nothing moves on battery, and since when.
func (u *ups) frozen() (since time.Duration, ok bool) {
	m := &u.mem
	if u.pol.off(RuleFrozen) || !m.running() || !m.Last.Metered || !m.Moved.Last.Set || u.silent() {
		return 0, false
	}
	since = m.Moved.Last.At
	limit := m.Moved.limit(u.cfg)
	u.due(since + limit)
	return since, u.now-since >= limit
}

// blindLimit is how long a UPS last heard on battery may stay silent. It is never less
// than what makes silence of a failed poll. What the battery gave while no agent ran is
// not left any more.
func (u *ups) blindLimit() time.Duration {
	limit := u.cfg.CommsLostBattS.D()
	if last := u.mem.LastRuntime; last.OK {
		left := time.Duration(min(last.V, 1e8) * float64(time.Second))
		if u.mem.running() {
			left -= u.mem.Away.D()
		}
		limit = min(limit, left/2-u.budget())
	}
	return max(limit, u.cfg.StaleS.D())
}

// judgeSilence finds the feed doomed when the UPS has been silent for too long, and was
// asked at least once since the agent started.
func (u *ups) judgeSilence() (Reason, string) {
	since, frozen := u.frozen()
	if !u.silent() {
		u.due(u.heardAt() + u.stale())
	}
	if !u.d.Answered() {
		return ReasonNone, ""
	}
	if u.mem.running() || u.inferred.Set {
		blind, limit := u.now-u.blindSince(), u.blindLimit()
		if !frozen {
			u.due(u.blindSince() + limit)
		}
		switch {
		case frozen && blind >= limit:
			return ReasonCommsOnBatt, fmt.Sprintf("on battery, answers, but nothing has moved for %s", secs(u.now-since))
		case blind >= limit:
			return ReasonCommsOnBatt, fmt.Sprintf("silent for %s, last heard on battery; %s are allowed", secs(blind), secs(limit))
		}
	}
	return ReasonNone, ""
}

// judgeSilentLine finds the feed lost when the operator has set a limit to the silence of
// a UPS that was last heard on line, because the network dies with the mains.
func (u *ups) judgeSilentLine() (Reason, string) {
	limit := u.cfg.CommsLostLineS
	if limit == nil || !u.d.Answered() || u.mem.running() || u.inferred.Set {
		return ReasonNone, ""
	}
	if u.mem.Line == LinePresent {
		u.due(u.heardAt() + limit.D())
		if quiet := u.now - u.heardAt(); quiet >= limit.D() {
			return ReasonPathOutage, fmt.Sprintf("silent for %s, last heard on line; %s are allowed", secs(quiet), secs(limit.D()))
		}
	}
	return ReasonNone, ""
}

// noteSilence makes the edges of communication.
func (u *ups) noteSilence() {
	m := &u.mem
	silent := u.silent()
	switch {
	case silent && !m.Silent:
		text := u.name + " does not answer"
		if u.d.Err != "" {
			text += ": " + u.d.Err
		}
		u.event(dodai.EventCommsLost, text, Facts{})
	case !silent && m.Silent:
		u.event(dodai.EventCommsRestored, u.name+" answers again"+withNumbers(m.Last), m.Last)
	}
	m.Silent = silent
}

// due asks for a decision at at, even if no reading comes.
func (u *ups) due(at time.Duration) {
	if at > u.now && (u.nextAt == 0 || at < u.nextAt) {
		u.nextAt = at
	}
}
