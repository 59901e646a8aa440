package policy

import (
	"fmt"
	"time"

	"github.com/dodai-agent/dodai"
)

// heardAt is when the UPS last said what its state is. Silence from before the agent
// started was the agent's, not the UPS's.
func (u *ups) heardAt() time.Duration {
	at := u.s.AgentStartedAt
	if u.mem.Heard.Set {
		at = max(at, u.mem.Heard.At)
	}
	return at
}

// blindSince is since when nothing has been known of the line state on battery: it was
// last known then, or last moved when it is frozen.
func (u *ups) blindSince() time.Duration {
	at := u.s.AgentStartedAt
	if u.mem.running() {
		at = max(at, u.mem.LineAt)
	}
	if u.inferred.Set {
		at = max(at, u.inferred.At)
	}
	if since, frozen := u.frozen(); frozen {
		at = min(at, since)
	}
	return at
}

// silent reports whether communication is lost.
func (u *ups) silent() bool { return u.now-u.heardAt() >= u.stale() }

// frozen reports whether the UPS answers, yet nothing moves on battery, and since when.
func (u *ups) frozen() (since time.Duration, ok bool) {
	m := &u.mem
	if !m.running() || !m.Last.Metered || !m.Moved.Last.Set || u.silent() {
		return 0, false
	}
	since = max(m.Moved.Last.At, u.s.AgentStartedAt)
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
			left -= max(0, u.s.AgentStartedAt-u.mem.LineAt)
		}
		limit = min(limit, left/2-u.budget())
	}
	return max(limit, u.cfg.StaleS.D())
}

// judgeSilence finds the feed doomed when the UPS has been silent for too long.
func (u *ups) judgeSilence() (Reason, string) {
	since, frozen := u.frozen()
	if !u.silent() {
		u.due(u.heardAt() + u.stale())
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
		return ReasonNone, ""
	}
	if limit := u.cfg.CommsLostLineS; limit != nil && u.mem.Line == LinePresent {
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
