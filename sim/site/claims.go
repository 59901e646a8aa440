package site

import (
	"math"
	"time"

	"github.com/dodai-agent/dodai"
)

// absent is a value the device does not report.
const absent = -1e9

// Names of variables that have no constant in the vocabulary.
const (
	battLowName = "battery.voltage.low"
	battNomName = "battery.voltage.nominal"
)

// Battery voltages of a 24 V string: 104/120 of nominal is empty, on float it stands well
// above nominal. Source: Megatec's usual guess of the charge.
const (
	battNominal = 24.0
	battLow     = 20.8
	battFull    = 25.2
	battFloat   = 27.3
)

// kind is what sort of UPS it is, by what it reports.
type kind string

const (
	kindFull    kind = "full"    // charge, runtime, volts, load
	kindCharge  kind = "charge"  // no runtime
	kindRuntime kind = "runtime" // no charge
	kindVolts   kind = "volts"   // battery voltage alone (Megatec)
	kindStatus  kind = "status"  // contacts
	kindSNMP    kind = "snmp"    // all, refreshed every 5 to 10 s
	kindCoarse  kind = "coarse"  // charge in 5 % steps, runtime in minutes
)

var kinds = []kind{kindFull, kindCharge, kindRuntime, kindVolts, kindStatus, kindSNMP, kindCoarse}

// lbMode is when a UPS says that its battery is low.
type lbMode string

const (
	lbByCharge  lbMode = "lb_charge"  // by what it claims as charge
	lbByRuntime lbMode = "lb_runtime" // by what it claims as runtime
	lbTrue      lbMode = "lb_true"    // by what is really left
	lbLate      lbMode = "lb_late"    // seconds before the end
	lbNever     lbMode = "lb_never"
	lbEarly     lbMode = "lb_early" // long before, and it stays
)

var lbModes = []lbMode{lbByCharge, lbByRuntime, lbTrue, lbLate, lbNever, lbEarly}

// lieKind is a known way in which UPSes say what is not so.
type lieKind string

const (
	lieRuntime      lieKind = "placeholder_runtime" // 0, 65535, -1
	lieCharge       lieKind = "charge_zero"
	lieStuckRuntime lieKind = "stuck_runtime"
	lieFrozen       lieKind = "frozen"          // nothing changes, the status neither
	lieLB           lieKind = "lb_glitch"       // at each transfer, for as long as v says
	lieBoth         lieKind = "ol_and_ob"       // really on line
	lieOffTest      lieKind = "off_glitch"      // at a self-test
	lieOff          lieKind = "off_always"      // on a live card
	lieFSD          lieKind = "fsd_latch"       // left over from before the boot
	lieTimer        lieKind = "timer_constant"  // ups.timer.shutdown that does not count
	lieRB           lieKind = "replace_battery" // true or not: the runtime is worthless
	lieJump         lieKind = "charge_jump"     // at the transfer charge falls to v of itself
	lieWild         lieKind = "wild_runtime"    // one reading out of line
	lieNoVolts      lieKind = "zero_volts"      // 0 V at the input, on line
	lieOldVolts     lieKind = "stuck_volts"     // the input's voltage stays on battery
)

var lieKinds = []lieKind{
	lieRuntime, lieCharge, lieStuckRuntime, lieFrozen, lieLB, lieBoth, lieOffTest, lieOff, lieFSD,
	lieTimer, lieRB, lieJump, lieWild, lieNoVolts, lieOldVolts,
}

// lie is one of them, while it lasts.
type lie struct {
	kind lieKind
	span
	v float64
}

// claims is how a UPS reports.
type claims struct {
	kind    kind
	refresh time.Duration // values change only so often
	phase   time.Duration // when first
	silent  []span        // it cannot be reached

	load, input, lowVar bool    // reports them
	wavers              bool    // the load goes up and down by one percent
	chargeStep          float64 // percent
	runtimeStep         float64 // seconds

	factor   float64 // what it believes of the battery: too much above 1, too little below
	counts   bool    // charge counted by what it believes, not measured
	knee     float64 // 0: charge is true; else it shows so much charge when 15 % are left
	exponent float64 // of the load, as it believes
	correct  float64 // charge at which it learns the truth; 0: never
	learned  time.Duration

	quick     bool // its tests are quick ones, on line for who asks
	lb        lbMode
	lbCharge  float64 // percent
	lbRuntime float64 // seconds
	lies      []lie

	fsd   time.Duration // announces a forced shutdown from then on; 0: never
	timer time.Duration // counts down to its cut from then on; 0: never
}

// wavering is how often a load that wavers does.
const wavering = 7 * time.Second

// never is later than any play lasts.
const never = 1000 * time.Hour

// reportsCharge and reportsRuntime go by the kind.
func (c *claims) reportsCharge() bool {
	return c.kind != kindRuntime && c.kind != kindVolts && c.kind != kindStatus
}

func (c *claims) reportsRuntime() bool {
	return c.kind != kindCharge && c.kind != kindVolts && c.kind != kindStatus
}

// active returns the lie of that kind that stands at t, or nil.
func (c *claims) active(k lieKind, t time.Duration) *lie {
	for i := range c.lies {
		if c.lies[i].kind == k && c.lies[i].has(t) {
			return &c.lies[i]
		}
	}
	return nil
}

// values are what a UPS reports at one instant.
type values struct {
	status                                    dodai.Status
	charge, runtime, volts, load, batt, timer float64
}

// sampledAt is the instant whose values are reported at t.
func (u *ups) sampledAt(t time.Duration) time.Duration {
	c := &u.claims
	if t < c.phase {
		return 0
	}
	t = c.phase + (t-c.phase)/c.refresh*c.refresh
	if l := c.active(lieFrozen, t); l != nil {
		return min(t, l.from)
	}
	return t
}

// report is what the UPS says of the instant t.
func (s *Site) report(u *ups, t time.Duration) values {
	k := s.clamp(tickAt(t))
	c, f := &u.claims, u.flags[k]
	v := values{charge: absent, runtime: absent, volts: absent, load: absent, batt: absent, timer: absent}
	charge := u.claimedCharge(k, t)
	runtime := u.claimedRuntime(k, t, charge)
	if c.reportsCharge() {
		v.charge = floorTo(charge, c.chargeStep)
		if c.active(lieCharge, t) != nil {
			v.charge = 0
		}
	}
	if c.reportsRuntime() {
		v.runtime = s.saidRuntime(u, t, floorTo(runtime, c.runtimeStep))
	}
	if c.kind == kindVolts {
		v.batt = battFloat
		if f&onBatt != 0 {
			v.batt = math.Round(10*(battLow+(battFull-battLow)*charge/100)) / 10
		}
	}
	if c.load {
		v.load = math.Round(100 * float64(u.load[k]))
		if c.wavers {
			v.load += float64(t / wavering % 2)
		}
	}
	if c.input {
		v.volts = s.saidVolts(u, k, t)
	}
	v.timer = u.saidTimer(t)
	v.status = s.saidStatus(u, k, t, charge, runtime)
	return v
}

func floorTo(x, step float64) float64 { return math.Floor(x/step+1e-9) * step }

// claimedCharge is what the UPS believes, in percent.
func (u *ups) claimedCharge(k int, t time.Duration) float64 {
	c, soc := &u.claims, float64(u.soc[min(k, len(u.soc)-1)])
	if c.counts && (c.learned == 0 || t < c.learned) {
		soc = u.batt.charge0 - (u.batt.charge0-soc)/c.factor
	}
	if c.knee != 0 {
		if soc < 0.15 {
			soc *= c.knee / 0.15
		} else {
			soc = c.knee + (soc-0.15)*(1-c.knee)/0.85
		}
	}
	if l := c.active(lieJump, t); l != nil && u.flags[min(k, len(u.flags)-1)]&onBatt != 0 {
		soc *= l.v
	}
	return 100 * min(max(soc, 0), 1)
}

func (u *ups) claimedRuntime(k int, t time.Duration, charge float64) float64 {
	c, factor := &u.claims, u.claims.factor
	if c.learned != 0 && t >= c.learned {
		factor = 1
	}
	k = min(k, len(u.load)-1)
	lasts := u.batt.lasts(1) * math.Pow(max(float64(u.load[k]), 0.02), -c.exponent)
	// It believes its exponent at the load it knows best, the one at the start.
	known := math.Pow(max(float64(u.load[0]), 0.02), c.exponent-u.batt.peukert)
	return max(0, charge/100*lasts*known*factor)
}

func (s *Site) saidRuntime(u *ups, t time.Duration, runtime float64) float64 {
	c := &u.claims
	if l := c.active(lieRuntime, t); l != nil {
		return l.v
	}
	if l := c.active(lieWild, t); l != nil {
		return l.v
	}
	if l := c.active(lieStuckRuntime, t); l != nil {
		return l.v
	}
	return runtime
}

func (s *Site) saidVolts(u *ups, k int, t time.Duration) float64 {
	if u.claims.active(lieNoVolts, t) != nil && u.flags[k]&inputOK != 0 {
		return 0
	}
	if u.claims.active(lieOldVolts, t) != nil {
		return nominalVolts
	}
	return s.inputVolts(u, k)
}

// inputVolts is the true voltage at the input.
func (s *Site) inputVolts(u *ups, k int) float64 {
	if u.fedBy < 0 {
		return valueAt(s.feeds[u.feed].volts, instant(k), nominalVolts)
	}
	if s.upses[u.fedBy].flags[k]&outputOK != 0 {
		return nominalVolts
	}
	return 0
}

func (u *ups) saidTimer(t time.Duration) float64 {
	c := &u.claims
	if c.timer != 0 && t >= c.timer && t < u.cut {
		return math.Ceil((u.cut - t).Seconds())
	}
	if l := c.active(lieTimer, t); l != nil {
		return l.v
	}
	return absent
}

func (s *Site) saidStatus(u *ups, k int, t time.Duration, charge, runtime float64) dodai.Status {
	c, f := &u.claims, u.flags[k]
	var st dodai.Status
	switch {
	case f&inTest != 0 && c.quick:
		st = dodai.OL | dodai.DISCHRG | dodai.TEST
	case f&inTest != 0:
		st = dodai.OB | dodai.DISCHRG | dodai.CAL
	case f&inputOK == 0:
		st = dodai.OB | dodai.DISCHRG
	default:
		st = dodai.OL
		if u.soc[k] < 0.99 {
			st |= dodai.CHRG
		}
		if s.inputVolts(u, k) < boostLow {
			st |= dodai.BOOST
		}
	}
	if f&bypassed != 0 {
		st |= dodai.BYPASS
	}
	if f&switchedOff != 0 {
		st |= dodai.OFF
	}
	if u.load[k] > 1.05 {
		st |= dodai.OVER
	}
	if s.saysLow(u, k, t, charge, runtime) {
		st |= dodai.LB
	}
	if c.fsd != 0 && t >= c.fsd {
		st |= dodai.FSD
	}
	st = u.liesAboutStatus(st, t)
	if c.kind == kindStatus {
		st &= dodai.OL | dodai.OB | dodai.LB | dodai.FSD
	}
	return st
}

func (u *ups) liesAboutStatus(st dodai.Status, t time.Duration) dodai.Status {
	c := &u.claims
	if st.Has(dodai.OL) && c.active(lieBoth, t) != nil {
		st |= dodai.OB
	}
	if c.active(lieOff, t) != nil || c.active(lieOffTest, t) != nil {
		st |= dodai.OFF
	}
	if c.active(lieFSD, t) != nil {
		st |= dodai.FSD
	}
	if c.active(lieRB, t) != nil {
		st |= dodai.RB
	}
	return st
}

// saysLow is whether the UPS calls its battery low.
func (s *Site) saysLow(u *ups, k int, t time.Duration, charge, runtime float64) bool {
	c := &u.claims
	battery := u.flags[k]&onBatt != 0
	if l := c.active(lieLB, t); l != nil && battery {
		for _, at := range u.transfers {
			if (span{at, at + time.Duration(l.v*float64(time.Second))}).has(t) {
				return true
			}
		}
	}
	switch c.lb {
	case lbByCharge:
		return charge <= c.lbCharge
	case lbByRuntime:
		return runtime <= c.lbRuntime
	case lbTrue, lbLate:
		return battery && u.trueLeft(k) <= c.lbRuntime
	case lbEarly:
		return battery && charge <= c.lbCharge
	default:
		return false
	}
}
