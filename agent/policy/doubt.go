package policy

import (
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	// doubtSpan is how long the charge or the runtime must fall under a status that says
	// OL and OB before that is taken for a discharge, doubtFall by how many percent.
	doubtSpan = 60 * time.Second
	doubtFall = 2
	// runtimeFalls is how often in a row the runtime must have fallen: once is the load.
	runtimeFalls = 2
	runtimeRise  = 1.05 // by so much it rises; less is the load wavering
	// testLasts is the longest a self-test is believed to run from the battery; a quick
	// one takes less than a minute.
	testLasts = 120 * time.Second
)

// Excuse is a discharge that need not be an outage: the status says OL as well, or a test.
type Excuse struct {
	Since Mark `json:"since,omitzero"`
	// Charge is the most it had since, in percent.
	Charge Num `json:"charge,omitzero"`
	// Runtime is what it last fell from, in seconds, without a rise since; From is when,
	// and Falls how often it did.
	Runtime Num  `json:"runtime,omitzero"`
	From    Mark `json:"from,omitzero"`
	Falls   int  `json:"falls,omitempty"`
}

func (e *Excuse) shift(d time.Duration) {
	e.Since.shift(d)
	e.From.shift(d)
}

// contradicts reports whether the status says on line and on battery at once.
func (f Facts) contradicts() bool { return f.Status.Has(dodai.OL | dodai.OB) }

// tests reports whether the UPS runs from its battery and says that it tests it.
func (f Facts) tests() bool {
	return f.Status.Has(dodai.OB) && !f.Status.Has(dodai.CAL) && (f.Status.Has(dodai.TEST) || f.TextTest)
}

// noteExcuse remembers since when, and from what on, the UPS discharges with an excuse.
func (m *UPSMemory) noteExcuse(f Facts) {
	e := &m.Excuse
	if f.Status == 0 { // says nothing; what was known of it stands
		return
	}
	if !f.contradicts() && !f.tests() && !f.Status.Has(dodai.OL|dodai.DISCHRG) {
		*e = Excuse{}
		return
	}
	if !e.Since.Set {
		*e = Excuse{Since: mark(f.At), Charge: f.Charge, Runtime: f.Runtime, From: mark(f.At)}
		return
	}
	if f.Charge.OK && (!e.Charge.OK || f.Charge.V > e.Charge.V || f.contradicts() && f.Status.Any(dodai.TEST|dodai.CAL)) {
		e.Charge = f.Charge // what falls in a test is no evidence
	}
	switch was := m.Last.Runtime; {
	case !f.Runtime.OK:
	case !e.Runtime.OK, was.OK && f.Runtime.V > was.V*runtimeRise:
		e.Runtime, e.From, e.Falls = f.Runtime, mark(f.At), 0
	case was.OK && f.Runtime.V < was.V:
		e.Falls++
	}
}

// chargeFell reports whether the charge has fallen by at least percent since.
func (e *Excuse) chargeFell(f Facts, percent float64) bool {
	return e.Charge.OK && f.Charge.OK && e.Charge.V-f.Charge.V >= percent
}

// runtimeFell reports whether the runtime falls, reading by reading.
func (e *Excuse) runtimeFell(f Facts) bool {
	return f.Runtime.OK && e.Falls >= runtimeFalls
}

// nearEnd reports whether the UPS says low battery, and its figures agree.
func (u *ups) nearEnd(f Facts) bool {
	return f.Status.Has(dodai.LB) &&
		(f.Charge.OK && f.Charge.V <= u.cfg.MinChargePct || f.Runtime.OK && f.Runtime.V*u.factor <= u.budget().Seconds())
}

// dying reports whether a battery is seen to run down, and is near its end.
func (u *ups) dying(f Facts) bool {
	e := &u.mem.Excuse
	return u.nearEnd(f) && (e.chargeFell(f, 1) || e.runtimeFell(f))
}

// doubtful decides by other evidence when the status says both OL and OB.
func (u *ups) doubtful(f Facts) Line {
	if u.pol.off(RuleDoubt) {
		return LineAbsent
	}
	e := &u.mem.Excuse
	good, known := inputGood(f, u.mem.LineVolts)
	long := e.Since.since(f.At) >= doubtSpan
	steady := e.runtimeFell(f) && 2*(e.Runtime.V-f.Runtime.V) >= e.From.since(f.At).Seconds()
	switch {
	case f.Status.Has(dodai.CHRG):
		return LinePresent
	case long && e.chargeFell(f, doubtFall):
		return LineAbsent
	case known && good:
		return LinePresent
	case known:
		return LineAbsent
	case steady && e.From.since(f.At) >= doubtSpan, u.dying(f):
		return LineAbsent
	case u.mem.running(): // and nothing says that the mains are back
		return LineAbsent
	}
	return LineUnknown
}

// onPurpose reports whether a UPS on battery calibrates or tests it, with its input there
// as far as it says. Without a voltage to show for it a test does not last, and does not
// run the battery down to its end; one told by a text that may be old does not last either.
func (u *ups) onPurpose(f Facts) bool {
	if u.pol.off(RuleOnPurpose) {
		return false
	}
	good, known := inputGood(f, u.mem.LineVolts)
	lasts := u.tooLong(f)
	switch {
	case f.Status.Has(dodai.CAL):
		return good || !known
	case f.Status.Has(dodai.TEST):
		return good || !known && !lasts && !u.nearEnd(f)
	}
	return f.TextTest && good && !lasts
}

// tooLong reports whether what is said to be a test has gone on for longer than any does.
func (u *ups) tooLong(f Facts) bool {
	e := &u.mem.Excuse
	return f.tests() && e.Since.Set && e.Since.since(f.At) >= testLasts
}

// dyingOnLine reports whether a UPS that discharges and says low battery is on line by its
// status alone: its input is gone, or its battery runs down to its end.
func (u *ups) dyingOnLine(f Facts) bool {
	if !f.Status.Has(dodai.OL|dodai.DISCHRG|dodai.LB) || f.Status.Any(dodai.CHRG|dodai.CAL) {
		return false
	}
	if f.Status.Has(dodai.TEST) && u.mem.Excuse.Since.since(f.At) < testLasts {
		return false
	}
	if f.Volts.OK { // 0 V may be the reading of a UPS that cannot measure it
		return inputGone(f, u.mem.LineVolts) && (u.mem.LineVolts.OK || u.nearEnd(f))
	}
	return u.dying(f)
}

// dischargesSince is since when a UPS found on battery has been so in truth, where it had
// an excuse; none where it has been so just now.
func (u *ups) dischargesSince(f Facts) Mark {
	if f.contradicts() || u.tooLong(f) {
		return u.mem.Excuse.Since
	}
	return Mark{}
}
