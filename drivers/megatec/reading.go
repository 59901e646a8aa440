package megatec

import (
	"fmt"
	"math"
	"time"

	"github.com/dodai-agent/dodai"
)

// reading puts a status frame and what is cached into the vocabulary.
func (d *driver) reading(s status) dodai.Reading {
	r := dodai.Reading{
		Kind:   dodai.KindUPS,
		Device: dodai.Device{Manufacturer: d.identity.Vendor, Model: d.identity.Model, Firmware: d.identity.Firmware},
		Vars:   dodai.Vars{},
	}
	d.flags(&r, s)
	d.numbers(&r, s)
	d.battery(&r, s)
	for _, q := range []info{d.vendor, d.rating} {
		if q.note != "" {
			r.Notes = append(r.Notes, q.note)
		}
	}
	return r
}

// flags decodes the bits. What decides on a shutdown comes first and depends on nothing
// else in the frame.
func (d *driver) flags(r *dodai.Reading, s status) {
	onBattery := s.has(bitUtilityFail)
	r.Status = dodai.OL
	if onBattery {
		r.Status = dodai.OB
	}
	if s.has(bitBatteryLow) {
		r.Status |= dodai.LB
	}
	d.shutdownActive(r, s)
	if s.has(bitTest) {
		r.Status |= dodai.TEST
	}
	if s.has(bitFailed) {
		r.Status |= dodai.ALARM
		r.Vars[dodai.UPSAlarm] = dodai.Text("UPS failed")
	}
	if s.has(bitBypass) && !onBattery {
		flag, note := regulation(s)
		r.Status |= flag
		if note != "" {
			r.Notes = append(r.Notes, note)
		}
	}
	r.Vars["ups.type"] = dodai.Text(choose(s.has(bitStandby), "offline / line interactive", "online"))
	r.Vars["ups.beeper.status"] = dodai.Text(choose(s.has(bitBeeper), "enabled", "disabled"))
}

// shutdownActive makes the countdown bit a forced shutdown on battery only: firmware on
// which it is stuck at 1 exists.
func (d *driver) shutdownActive(r *dodai.Reading, s status) {
	active := s.has(bitShutdownActive)
	r.Vars["ups.shutdown.active"] = dodai.Bool(active)
	switch {
	case !active:
	case d.set.noFSD:
		r.Notes = append(r.Notes, "the unit says that a shutdown is counting down (b1); ignored, nofsd is set")
	case s.has(bitUtilityFail):
		r.Status |= dodai.FSD
	default:
		r.Notes = append(r.Notes, "the unit says that a shutdown is counting down (b1) with the mains present: "+
			"either somebody told it to, or the bit is stuck; not taken for a forced shutdown")
	}
}

// regulation tells what the bypass/boost/buck bit means from output over input voltage.
// Source: the limits nutdrv_qx uses.
func regulation(s status) (flag dodai.Status, note string) {
	const unclear = "the unit says that bypass, boost or buck is active (b5), "
	if s.In == nil || s.Out == nil {
		return 0, unclear + "and not both voltages that tell which"
	}
	switch ratio := *s.Out / *s.In; {
	case ratio >= 0.5 && ratio < 0.95:
		return dodai.TRIM, ""
	case ratio >= 0.95 && ratio < 1.05:
		return dodai.BYPASS, ""
	case ratio >= 1.05 && ratio < 1.5:
		return dodai.BOOST, ""
	default: // infinite and NaN, too
		return 0, fmt.Sprintf("%swhich %g V in and %g V out do not explain", unclear, *s.In, *s.Out)
	}
}

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// numbers copies what is measured, and the ratings with their age.
func (d *driver) numbers(r *dodai.Reading, s status) {
	set(r.Vars, dodai.InputVoltage, s.In)
	set(r.Vars, "input.voltage.fault", s.Fault)
	set(r.Vars, dodai.OutputVoltage, s.Out)
	set(r.Vars, dodai.UPSLoad, s.Load)
	set(r.Vars, dodai.InputFrequency, s.Hz)
	set(r.Vars, dodai.UPSTemperature, s.TempC)
	if d.ratedAt.IsZero() {
		return
	}
	r.Ages = map[string]time.Duration{}
	age := time.Since(d.ratedAt)
	for name, v := range map[string]*float64{
		dodai.InputVoltageNom: d.ratings.Volts, "input.current.nominal": d.ratings.Amps, "input.frequency.nominal": d.ratings.Hz,
	} {
		if v != nil {
			set(r.Vars, name, v)
			r.Ages[name] = age
		}
	}
}

func set(vars dodai.Vars, name string, v *float64) {
	if v != nil {
		vars[name] = dodai.Num(*v)
	}
}

// A lead-acid cell has 2 V nominal and is always between these, in volts; no battery is.
const (
	cellNominal = 2
	minCell     = 1.2
	maxCell     = 3
)

// battery reports the voltage of the whole string, whichever way the unit reports it, and
// what may be guessed from it.
func (d *driver) battery(r *dodai.Reading, s status) {
	nominal := d.set.batteryNominal
	if nominal == 0 && d.ratings.Battery != nil {
		nominal = *d.ratings.Battery
		r.Ages["battery.voltage.nominal"] = time.Since(d.ratedAt)
	}
	if nominal > 0 {
		r.Vars["battery.voltage.nominal"] = dodai.Num(nominal)
	}
	if s.Battery == nil {
		return
	}
	volts := *s.Battery
	if volts > minCell && volts < maxCell && !s.has(bitStandby) {
		r.Vars["battery.voltage.cell"] = dodai.Num(volts)
		if nominal == 0 {
			r.Notes = append(r.Notes, "the unit reports the voltage of one cell and no nominal battery voltage: set battery_nominal to get the string's")
			return
		}
		volts = math.Round(volts*math.Round(nominal/cellNominal)*100) / 100
	}
	r.Vars[dodai.BatteryVoltage] = dodai.Num(volts)
	if charge, ok := d.estimate(volts, nominal); ok {
		r.Vars["battery.charge.estimated"] = dodai.Num(charge)
	}
}

// estimate guesses the charge in percent. The voltage sags under load and the float
// voltage hides ageing, so nothing may be decided on it. Limits: those nutdrv_qx guesses.
func (d *driver) estimate(volts, nominal float64) (float64, bool) {
	low, high := d.set.batteryLow, d.set.batteryHigh
	if low == 0 {
		low = nominal * 104 / 120
	}
	if high == 0 {
		high = nominal * 130 / 120
	}
	if low >= high || low <= 0 {
		return 0, false
	}
	return math.Round(100 * min(1, max(0, (volts-low)/(high-low)))), true
}
