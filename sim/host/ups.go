package host

import (
	"sync"
	"time"
)

// UPSConfig says what UPS to simulate. The zero value is a unit that does as it is told.
type UPSConfig struct {
	// Runtime is how long a full battery carries the load; default 10 minutes.
	Runtime time.Duration
	// OnlyOnBattery: the cut is ignored with the mains present, and forgotten when they
	// return while it counts down.
	OnlyOnBattery bool
	// Hides: it does not say that it counts down. Claims: it always says so.
	Hides, Claims bool
	// Pretends: it counts down for ever.
	Pretends bool
	// NoStop: it cannot be told to forget a cut.
	NoStop bool
	// Steps the time to the cut is rounded up to; 0: none.
	Steps time.Duration
}

// UPS is a simulated UPS. All methods may be called from any goroutine.
type UPS struct {
	cfg UPSConfig

	mu     sync.Mutex
	at     time.Time // the state is the one of this moment
	mains  bool
	output bool
	left   time.Duration // of the battery
	load   float64       // 1 is what Runtime is for
	cutAt  time.Time     // zero: no countdown
	on     time.Duration // the output returns so long after the mains
	backAt time.Time     // the earliest return of the output; zero: the mains are away
	cuts   int
}

// NewUPS makes a UPS with mains and a full battery.
func NewUPS(cfg UPSConfig) *UPS {
	if cfg.Runtime == 0 {
		cfg.Runtime = 10 * time.Minute
	}
	return &UPS{cfg: cfg, at: time.Now(), mains: true, output: true, left: cfg.Runtime, load: 1}
}

// Step lets happen what is due now.
func (u *UPS) Step() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.step()
}

func (u *UPS) step() {
	now := time.Now()
	passed := now.Sub(u.at)
	u.at = now
	if !u.mains && u.output {
		if u.left -= time.Duration(float64(passed) * u.load); u.left <= 0 {
			u.dark(0) // exhausted: on again as soon as the mains are back
		}
	}
	if u.mains && u.cfg.OnlyOnBattery {
		u.cutAt = time.Time{}
	}
	if !u.cutAt.IsZero() && !now.Before(u.cutAt) && !u.cfg.Pretends {
		u.cuts++
		u.dark(u.on)
	}
	if !u.output && u.mains && !u.backAt.IsZero() && !now.Before(u.backAt) {
		u.output = true
	}
}

// dark cuts the output until on after the mains are there.
func (u *UPS) dark(on time.Duration) {
	u.output, u.cutAt, u.on, u.backAt = false, time.Time{}, on, time.Time{}
	if u.mains {
		u.backAt = u.at.Add(on)
	}
}

// SetMains gives the mains back, or takes them away.
func (u *UPS) SetMains(on bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.step()
	if u.mains = on; on && u.backAt.IsZero() {
		u.backAt = u.at.Add(u.on)
	} else if !on {
		u.backAt = time.Time{}
	}
}

// SetLoad sets the load; 1 is the one that Runtime is for.
func (u *UPS) SetLoad(load float64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.step()
	u.load = load
}

// Cut begins the countdown to a cut with return, and returns the time it was rounded to.
func (u *UPS) Cut(off, on time.Duration) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.step()
	if s := u.cfg.Steps; s > 0 {
		off = (off + s - 1) / s * s
	}
	if !u.mains || !u.cfg.OnlyOnBattery {
		u.cutAt, u.on = u.at.Add(off), on
	}
	return off
}

// Stop forgets the cut.
func (u *UPS) Stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.step(); !u.cfg.NoStop {
		u.cutAt = time.Time{}
	}
}

// Mains, Output and Counting are what the UPS says of itself; one without output and mains
// says nothing at all.
func (u *UPS) Mains() bool    { u.mu.Lock(); defer u.mu.Unlock(); return u.mains }
func (u *UPS) Output() bool   { u.mu.Lock(); defer u.mu.Unlock(); return u.output }
func (u *UPS) Counting() bool { u.mu.Lock(); defer u.mu.Unlock(); return u.counting() }

func (u *UPS) counting() bool { return u.cfg.Claims || !u.cutAt.IsZero() && !u.cfg.Hides }

// Cuts is how many times it has cut its output because it was told to.
func (u *UPS) Cuts() int { u.mu.Lock(); defer u.mu.Unlock(); return u.cuts }

// Left is what is left of the battery at the load that Runtime is for.
func (u *UPS) Left() time.Duration { u.mu.Lock(); defer u.mu.Unlock(); return u.left }
