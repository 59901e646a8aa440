package policy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	// lessonSkip is how long after the transfer a discharge begins to count: the load and
	// the figures settle.
	lessonSkip = 30 * time.Second
	// lessonMin is the shortest discharge that teaches anything, lessonGap the longest
	// time without a reading within one.
	lessonMin = 2 * time.Minute
	lessonGap = time.Minute
	// lessonDeep is how much of what the UPS claimed has to be gone for a discharge to have
	// shown something, lessonKnee of what is left for it to have shown the end.
	lessonDeep = 0.5
	lessonKnee = 0.2
	// lowLeaves is what a UPS is taken to have left that says LB and not at which time it does.
	lowLeaves = 120
	// lowCharge is the charge in percent above which LB says nothing of the battery's end.
	lowCharge = 50
	// loadBand is how far apart in percent two loads may be and count as one.
	loadBand = 10
	// lessonExact is by how much a factor may differ from 1 and be the rounding of figures.
	lessonExact = 0.1
	factorMin   = 0.2
	// lessonJump is the part of a claim that cannot go by from one reading to the next but by
	// the UPS correcting itself, minuteStep what coarse figures may add.
	lessonJump = 0.2
	minuteStep = 60
	// legMin and legDeep are what a claim has to have gone on after a jump to be judged anew.
	legMin  = time.Minute
	legDeep = 0.3
	// scaleCharge is the least charge in percent by which a runtime is divided.
	scaleCharge = 1
	// selfCorrected is below which part of what it claimed for the same charge a UPS has
	// corrected itself.
	selfCorrected = 0.8
	// bandsMax are enough for every load up to 150 %, further apart than loadBand, and one that
	// is not known.
	bandsMax  = 16
	batteries = 64
)

// Battery is what the discharges of one battery have taught about the runtime its UPS
// claims. It is kept until the battery is replaced.
type Battery struct {
	ID    BatteryID `json:"id,omitzero"`
	Bands []Band    `json:"bands,omitempty"` // by load
}

// Band is what was learned at one load.
type Band struct {
	Load       Num     `json:"load,omitzero"` // percent of the UPS's rating; not known: any
	Factor     float64 `json:"factor"`        // of the claimed runtime that was really there, 0.2 to 1
	Discharges int     `json:"discharges"`    // that went deep enough to show something
	// Scale is how many seconds the UPS claimed for each percent of charge when it claimed
	// too much.
	Scale Num `json:"scale,omitzero"`
	// Honest is what the UPS claimed in seconds after it had corrected itself by a jump: so
	// much it may be believed, unless it claimed more in the same discharge.
	Honest Num    `json:"honest,omitzero"`
	Last   string `json:"last"` // day of the latest, by the wall clock
}

// Lesson is a discharge that is being watched.
type Lesson struct {
	From   Mark    `json:"from,omitzero"`   // none: nothing is being watched
	Claim  float64 `json:"claim"`           // seconds the UPS claimed then
	Charge Num     `json:"charge,omitzero"` // percent, then
	Load   Num     `json:"load,omitzero"`
	At     Mark    `json:"at,omitzero"` // the latest reading of it
	Left   float64 `json:"left"`        // seconds the UPS claimed then
	Low    bool    `json:"low,omitempty"`
	// Leg is since when the claim has not jumped, and LegClaim what it was then.
	Leg      Mark    `json:"leg,omitzero"`
	LegClaim float64 `json:"leg_claim"`
	Jumped   bool    `json:"jumped,omitempty"`
	// Step is the most the claim fell by from one reading to the next.
	Step float64 `json:"step"`
	// Peak is the most the UPS claimed since it was last on line, and Corrected that it jumped.
	Peak      float64 `json:"peak"`
	Corrected bool    `json:"corrected,omitempty"`
}

func (l *Lesson) shift(d time.Duration) {
	l.From.shift(d)
	l.At.shift(d)
	l.Leg.shift(d)
}

// Replaced is m for a UPS that has got a new battery: what the old one taught is forgotten.
func (m Memory) Replaced(ups string) Memory {
	m = m.clone()
	m.Batteries = maps.Clone(m.Batteries)
	delete(m.Batteries, ups)
	if u, ok := m.UPS[ups]; ok {
		u.Lesson = Lesson{}
		m.UPS[ups] = u
	}
	return m
}

// FactorAt is which part of the runtime that a UPS claims at load is believed, and whether
// anything was learned for it: from the nearest load that was no heavier, for a battery
// that failed at a light load will not do better under a heavy one.
func (b *Battery) FactorAt(load Num) (factor float64, learned bool) {
	if band := b.nearest(load); band != nil {
		return band.factor(), true
	}
	return 1, false
}

func (b *Battery) nearest(load Num) *Band {
	var found *Band
	best := 0.0
	for i := range b.Bands {
		band := &b.Bands[i]
		far := 0.0
		if band.Load.OK && load.OK {
			if far = math.Abs(load.V - band.Load.V); band.Load.V > load.V+loadBand {
				continue
			}
		}
		if found == nil || far < best || far == best && band.Factor < found.Factor {
			best, found = far, band
		}
	}
	return found
}

func (b *Band) factor() float64 {
	if math.IsNaN(b.Factor) {
		return 1
	}
	return min(1, max(factorMin, b.Factor))
}

// factorFor is which part of the runtime in f is believed. A UPS that claims much less for
// each percent of charge than when it claimed too much has corrected itself, and so has one
// whose claim jumped in this discharge: nothing is taken from it twice.
func (u *ups) factorFor(f Facts) float64 {
	if u.pol.off(RuleLearned) || len(u.battery.Bands) == 0 {
		return 1
	}
	band := u.battery.nearest(f.Load)
	if band == nil {
		return 1
	}
	factor, l := band.factor(), &u.mem.Lesson
	if band.Honest.OK && f.Runtime.OK && f.Runtime.V > 0 && (l.Corrected || l.Peak <= band.Honest.V) {
		factor = max(factor, min(1, band.Honest.V/f.Runtime.V))
	}
	if !f.Charge.OK || !f.Runtime.OK || f.Charge.V < scaleCharge || !band.Scale.OK {
		if l.Corrected && !band.Honest.OK {
			return 1
		}
		return factor
	}
	was, is := band.Scale.V, f.Runtime.V/f.Charge.V
	if f.Load.OK && band.Load.OK {
		was, is = was*band.Load.V, is*f.Load.V
	}
	if is <= 0 || is > selfCorrected*was {
		return factor
	}
	return min(1, factor*was/is)
}

// watch takes a reading into the discharge that is being watched. runtime is what the UPS
// claims, as far as it can be believed at all.
func (u *ups) watch(f Facts, runtime Num) {
	m := &u.mem
	l := &m.Lesson
	switch {
	case u.maint != nil || u.pol.off(RuleLearned):
		*l = Lesson{}
	case m.Line == LinePresent:
		if l.From.Set {
			u.conclude(*l, true)
		}
		*l = Lesson{Peak: runtime.V}
	case !m.running() || m.Transfer.within(lessonSkip, f.At) || !runtime.OK:
	case !l.From.Set, f.At-l.At.At > lessonGap, l.otherLoad(f.Load), runtime.V > l.Left*runtimeRise+1:
		*l = Lesson{
			From: mark(f.At), Claim: runtime.V, Charge: f.Charge, Load: f.Load, At: mark(f.At), Left: runtime.V,
			Leg: mark(f.At), LegClaim: runtime.V, Peak: max(l.Peak, runtime.V), Corrected: l.Corrected,
		}
	default:
		if fell := l.Left - runtime.V; fell > l.Left*lessonJump+2*(f.At-l.At.At).Seconds()+minuteStep {
			l.Leg, l.LegClaim, l.Jumped, l.Corrected = mark(f.At), runtime.V, true, true
		} else {
			l.Step = max(l.Step, fell)
		}
		l.At, l.Left = mark(f.At), runtime.V
		l.Low = l.Low || f.Status.Has(dodai.LB) && !u.cfg.IgnoreLB && m.LB.confirmed(u.cfg) && !u.lowBySetting(f) &&
			!(f.Charge.OK && f.Charge.V > lowCharge) // so early it shows nothing of the end
	}
}

// otherLoad reports whether the load has changed so much that the figures before say
// nothing about those after.
func (l *Lesson) otherLoad(load Num) bool {
	return load.OK != l.Load.OK || load.OK && math.Abs(load.V-l.Load.V) > max(3, l.Load.V/10)
}

// lowBySetting reports whether the battery is low by the limits that are set in the UPS:
// then LB says nothing against its figures.
func (u *ups) lowBySetting(f Facts) bool {
	charge, ok := u.d.Reading.Vars.Float("battery.charge.low")
	runtime, known := u.d.Reading.Vars.Float("battery.runtime.low")
	return ok && f.Charge.OK && f.Charge.V <= charge || known && f.Runtime.OK && f.Runtime.V <= runtime
}

// died concludes a discharge in which this host went dark without having been shut down:
// the battery ended.
func (u *ups) died(clean bool) {
	m := &u.mem
	if l := m.Lesson; l.From.Set && !u.pol.off(RuleLearned) {
		if m.running() && !u.doomed() && !clean {
			l.Left, l.Low = 0, false
		}
		u.conclude(l, false)
	}
}

// conclude learns from a discharge. One that was not deep teaches nothing; one that ended
// with a shutdown, or far from the end, never teaches to believe more, for it has not
// seen how the battery falls off at its end.
func (u *ups) conclude(l Lesson, mainsBack bool) {
	took := (l.At.At - l.From.At).Seconds()
	if took < lessonMin.Seconds() || l.Claim-l.Left < lessonDeep*l.Claim && !l.Low {
		return
	}
	factor := (took + l.rest() + l.Step) / l.Claim // for as much as coarse figures may be wrong
	if factor > 1-lessonExact {
		factor = 1
	}
	u.teach(l, max(factorMin, factor), mainsBack && (l.Low || l.Left <= lessonKnee*l.Claim), took)
}

// rest is how many seconds were truly left at the end of what was watched: as many of those
// claimed as passed for each that went before. What was claimed before the UPS corrected
// itself by a jump says nothing of what it claims since.
func (l *Lesson) rest() float64 {
	if l.Low {
		return min(l.Left, lowLeaves)
	}
	took, fell := (l.At.At - l.Leg.At).Seconds(), l.LegClaim-l.Left-l.Step
	if l.Jumped && (took < legMin.Seconds() || fell < legDeep*l.LegClaim) {
		return l.Left
	}
	if fell <= took {
		return l.Left
	}
	return l.Left * took / fell
}

// teach takes a factor into what is known of the battery: less is believed at once, more
// by half the way, and only where the end was seen.
func (u *ups) teach(l Lesson, factor float64, sawEnd bool, took float64) {
	b := u.battery
	b.Bands = slices.Clone(b.Bands)
	band := b.bandAt(l.Load)
	if band == nil {
		return
	}
	if l.Charge.OK && l.Charge.V >= scaleCharge && factor < 1 {
		band.Scale = some(l.Claim / l.Charge.V)
	}
	if l.Jumped && factor < 1 {
		band.Honest = some(l.LegClaim)
	}
	switch {
	case factor < band.Factor:
		band.Factor = factor
	case sawEnd:
		band.Factor += (factor - band.Factor) / 2
	}
	band.Discharges++
	band.Last = u.s.Wall.UTC().Format(time.DateOnly)
	u.battery, u.taught = b, true
	real := factor * l.Claim
	text := fmt.Sprintf("%s claimed %.0f s at the start of this discharge, and had %.0f: its runtime is believed to %.0f %%", u.name, l.Claim, real, 100*band.Factor)
	u.events = append(u.events, dodai.Event{Name: dodai.EventBatteryLearned, Device: u.name, At: u.now, Wall: u.s.Wall, Text: text,
		Fields: map[string]any{"factor": band.Factor, "took_s": took, "claimed_s": l.Claim}})
}

// bandAt is the band of a load, a new one where there is none. Where there are too many it is
// the nearest, by which that load is judged as well; nil: there is no lighter one.
func (b *Battery) bandAt(load Num) *Band {
	if i := slices.IndexFunc(b.Bands, func(x Band) bool {
		return x.Load.OK == load.OK && math.Abs(x.Load.V-load.V) <= loadBand
	}); i >= 0 {
		return &b.Bands[i]
	}
	if len(b.Bands) >= bandsMax {
		return b.nearest(load)
	}
	before, _ := b.FactorAt(load)
	b.Bands = append(b.Bands, Band{Load: load, Factor: before})
	return &b.Bands[len(b.Bands)-1]
}

// keepBattery stores what was learned. The map is shared with earlier memories, so it is
// copied first.
func (d *decider) keepBattery(u *ups) {
	if !u.taught {
		return
	}
	d.mem.Batteries = maps.Clone(d.mem.Batteries)
	if d.mem.Batteries == nil {
		d.mem.Batteries = map[string]Battery{}
	}
	if _, known := d.mem.Batteries[u.name]; known || len(d.mem.Batteries) < batteries {
		d.mem.Batteries[u.name] = u.battery
	}
}
