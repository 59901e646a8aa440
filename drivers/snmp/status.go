package snmp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// memory is what a status needs from earlier polls.
type memory struct {
	phases    int          // on the input, learnt while on line
	conflicts int          // polls in a row in which two branches contradicted each other
	last      dodai.Status // of the last poll
}

// lostUPS reports that the card says it cannot reach its UPS, and what said so.
func (f *facts) lostUPS() error {
	for _, fam := range f.families {
		for _, g := range fam.lost {
			if f.flagged(g) != 0 {
				return fmt.Errorf("%w: the card answers but has lost its UPS (%s)", drivers.ErrUnreachable, g.from)
			}
		}
	}
	for _, e := range f.alarms {
		if e.means.lost {
			return fmt.Errorf("%w: the card answers but has lost its UPS (alarm %q)", drivers.ErrUnreachable, e.means.text)
		}
	}
	return nil
}

// status puts the flags together: one word on where the power comes from, from the
// first object that knows, and whatever else the device says of itself.
func (f *facts) status(d *decoded, m *memory) dodai.Status {
	power, contradicted := f.power(d)
	var s dodai.Status
	for _, fam := range f.families {
		for _, g := range fam.flags {
			s |= f.flagged(g)
		}
	}
	for _, e := range f.alarms {
		s |= e.means.status
		if power == 0 {
			power = e.means.source
		}
	}
	s |= power
	if !s.Has(dodai.OB) {
		s &^= dodai.FSD // "shutdown imminent" counts in an outage only
	}
	m.conflicts++
	if contradicted == "" {
		m.conflicts = 0
	} else if d.notes = append(d.notes, contradicted); m.conflicts >= 2 {
		s |= dodai.ALARM
	}
	m.last = s
	return s
}

// power is where the output's power comes from. Sources are listed best first; a
// later one that says the opposite is believed only when the input is seen to be dead.
func (f *facts) power(d *decoded) (power dodai.Status, contradicted string) {
	const line = dodai.OL | dodai.OB
	var first string
	for _, fam := range f.families {
		for _, src := range fam.source {
			s := f.sourced(src)
			switch {
			case s == 0:
			case power == 0:
				power, first = s, src.from
			case s&line != 0 && power&line != 0 && s&line != power&line:
				contradicted = fmt.Sprintf("%s says %v, %s says %v", first, power, src.from, s)
				if s.Has(dodai.OB) && d.inputDead() {
					power = s
				}
			}
		}
	}
	if power.Has(dodai.OL|dodai.TEST) && d.inputDead() {
		power = power&^dodai.OL | dodai.OB // a battery test that an outage has caught
	}
	return power, contradicted
}

// inputDead reports that the input voltage is known and under half of what it should
// be.
func (d *decoded) inputDead() bool {
	volts, ok := d.vars.Float(dodai.InputVoltage)
	if !ok {
		return false
	}
	for _, name := range []string{dodai.InputVoltageNom, "output.voltage.nominal", dodai.OutputVoltage} {
		if nominal, ok := d.vars.Float(name); ok && nominal > liveVolts {
			return volts < nominal/2
		}
	}
	return volts < liveVolts
}

func (f *facts) sourced(src source) dodai.Status {
	s := f.flagged(flag(src))
	if s.Has(dodai.OB | dodai.OL) {
		s = s &^ (dodai.OL | dodai.BOOST | dodai.TRIM) // flags of a state string: on battery outweighs
	}
	return s
}

// flagged is what an object says: one of a list of numbers, or a text of flags.
func (f *facts) flagged(g flag) dodai.Status {
	raw := f.val(g.oid)
	if !g.bits {
		s, _ := lookup(g.means, raw)
		return s
	}
	if raw.kind != isText || len(raw.text) < 8 {
		return 0
	}
	var s dodai.Status
	for i, c := range []byte(raw.text) {
		switch c {
		case '1':
			s |= g.means[i+1]
		case '0':
		default:
			return 0 // "UNKNOWN", or no flags at all
		}
	}
	return s
}

// alarmed reports an alarm of the family that sets the flag.
func (f *facts) alarmed(fam *family, flag dodai.Status) bool {
	for _, e := range f.alarms {
		if e.of == fam && e.means.status.Has(flag) {
			return true
		}
	}
	return false
}

// alarmText is ups.alarm: the present alarms in words.
func (f *facts) alarmText() string {
	var texts []string
	for _, e := range f.alarms {
		if e.means.text != "" && !slices.Contains(texts, e.means.text) {
			texts = append(texts, e.means.text)
		}
	}
	return strings.Join(texts, ", ")
}
