package policy

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dodai-agent/dodai"
)

// used are the variables of a UPS that a decision looks at.
var used = [...]string{
	dodai.BatteryCharge, dodai.BatteryRuntime, dodai.BatteryVoltage, dodai.InputVoltage, dodai.OutputVoltage, dodai.UPSLoad, dodai.UPSTimerShutdown,
}

// evidencePerUPS is how many readings of a UPS there can be.
const evidencePerUPS = len(used) + 1

// evidence adds the readings of this UPS, with their ages.
func (u *ups) evidence(list []Evidence) []Evidence {
	r := u.d.Reading
	if r == nil {
		return list
	}
	age := max(0, u.now-u.d.At)
	list = append(list, Evidence{Device: u.name, Name: "ups.status", Value: r.Status.String(), Age: age + r.Ages["ups.status"]})
	for _, name := range used {
		if v, ok := r.Vars[name]; ok {
			list = append(list, Evidence{Device: u.name, Name: name, Value: v.String(), Age: age + r.Ages[name]})
		}
	}
	return list
}

// supplyEvidence adds what the power supplies that the decision counts say of themselves; of
// a device that has every input lost, all of them.
func (d *decider) supplyEvidence(list []Evidence) []Evidence {
	if d.pol.off(RulePSU) {
		return list
	}
	for _, dev := range d.bmcs {
		if dev.Reading == nil {
			continue
		}
		age := max(0, d.now-dev.At)
		for i := range dev.Reading.PSUs {
			p := &dev.Reading.PSUs[i]
			if dev.Name != d.psuLie && (p.ID == "" || indexOf(d.supplies, p.ID) < 0) {
				continue
			}
			if p.Input != "" {
				list = append(list, Evidence{Device: dev.Name, Name: "psu." + p.ID + ".input", Value: string(p.Input), Age: age})
			}
			if p.State != dodai.PSUOK && p.State != "" {
				list = append(list, Evidence{Device: dev.Name, Name: "psu." + p.ID + ".state", Value: string(p.State), Age: age})
			}
		}
	}
	return list
}

// Bounds of EvidenceText. What a device says may be of any length.
const (
	evidenceValue = 40   // characters of a value
	evidenceName  = 60   // characters of a name
	evidenceBytes = 1000 // of the whole, but for the words on what was left out
)

// EvidenceText is the evidence in one line, that of the deciding UPS first, with the age of
// each: "ups.status=OB LB (0.4 s), battery.charge=12 (0.4 s)". Where it is of several
// devices, their names stand before it: "u1: …; u2: …". It is Printable and of bounded
// length.
func (d *Decision) EvidenceText() string {
	var first, rest []Evidence
	several := false
	for _, e := range d.Evidence {
		several = several || e.Device != d.Evidence[0].Device
		if e.Device == d.Decider {
			first = append(first, e)
		} else {
			rest = append(rest, e)
		}
	}
	return evidenceText(append(first, rest...), several)
}

// EvidenceLine is a list of one device's readings as EvidenceText has it, without the
// device's name.
func EvidenceLine(list []Evidence) string { return evidenceText(list, false) }

func evidenceText(list []Evidence, named bool) string {
	var b []byte
	device := ""
	for i, e := range list {
		begin := len(b)
		switch {
		case i > 0 && e.Device != device:
			b = append(b, "; "...)
		case i > 0:
			b = append(b, ", "...)
		}
		if named && (i == 0 || e.Device != device) {
			b = append(append(b, shown(e.Device, evidenceName)...), ": "...)
		}
		device = e.Device
		b = append(append(b, shown(e.Name, evidenceName)...), '=')
		b = append(append(b, shown(e.Value, evidenceValue)...), " ("...)
		b = append(strconv.AppendFloat(b, e.Age.Seconds(), 'f', 1, 64), " s)"...)
		if len(b) > evidenceBytes {
			b = append(b[:begin], " … "...)
			return string(append(strconv.AppendInt(b, int64(len(list)-i), 10), " more"...))
		}
	}
	return string(b)
}

// shown is a text from a device as it may stand in a list: what could be taken for another
// part of the list is quoted, and most characters are enough.
func shown(s string, most int) string {
	s = dodai.Printable(s)
	if n := utf8.RuneCountInString(s); n > most {
		s = string([]rune(s)[:most-1]) + "…"
	}
	if strings.ContainsAny(s, ",;=()\"") {
		s = strconv.Quote(s)
	}
	return s
}

// Fields are the facts behind the decision as events carry them: reason, rule and ups (which
// decided), available_s, need_s, reserve_s, margin_s and evidence. What is not known or does
// not apply is left out.
func (d *Decision) Fields() map[string]any {
	f := map[string]any{"reason": string(d.Reason), "need_s": millis(d.Need), "reserve_s": millis(d.Reserve)}
	if d.Rule != "" {
		f["rule"] = string(d.Rule)
	}
	if d.Decider != "" {
		f["ups"] = d.Decider
	}
	if d.Available != nil && d.Margin != nil {
		f["available_s"], f["margin_s"] = millis(*d.Available), millis(*d.Margin)
	}
	if text := d.EvidenceText(); text != "" {
		f["evidence"] = text
	}
	return f
}

// FieldsOf are the facts behind what the decision makes of one UPS: reason and rule, where it
// is doomed or lost, available_s of its own, need_s, reserve_s, and evidence of its own.
func (d *Decision) FieldsOf(v *UPSView) map[string]any {
	f := map[string]any{"ups": v.UPS, "need_s": millis(d.Need), "reserve_s": millis(d.Reserve)}
	if v.Rule != "" {
		f["rule"], f["reason"] = string(v.Rule), string(v.Doomed)
		if v.Doomed == ReasonNone {
			f["reason"] = string(ReasonPathOutage)
		}
	}
	if v.Available != nil {
		f["available_s"] = millis(*v.Available)
	}
	var own []Evidence
	for _, e := range d.Evidence {
		if e.Device == v.UPS {
			own = append(own, e)
		}
	}
	if text := EvidenceLine(own); text != "" {
		f["evidence"] = text
	}
	return f
}

// millis is d in seconds, to the millisecond.
func millis(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
