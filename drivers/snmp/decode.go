package snmp

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// facts are the answers of one device, ready to be read: the families it has, and
// each object's last value. Reading them touches nothing else.
type facts struct {
	families []*family
	columns  map[string][]string
	val      func(oid string) value
	alarms   []alarmEntry
	phases   int // on the input, as learnt in earlier polls; 0: not known
}

// decoded is what one pass over the facts yields.
type decoded struct {
	vars   dodai.Vars
	from   map[string]string // the object each variable came from
	closed map[string]bool   // variables that no further object may set
	phases int               // on the input
	notes  []string
}

// limits are what a value is judged by besides its own row.
type limits struct {
	load, charge float64 // percent, negative: not known
	tenths       bool    // line voltages come in tenths of a volt
}

// decode reads all variables. It takes two passes, because whether a zero is believed
// depends on the load and the charge.
func (f *facts) decode() decoded {
	l := limits{load: -1, charge: -1, tenths: f.voltsInTenths()}
	first := f.pass(l)
	if charge, ok := first.vars.Float(dodai.BatteryCharge); ok {
		l.charge = charge
	}
	for _, name := range []string{dodai.UPSLoad, "output.L1.power.percent", "output.L2.power.percent", "output.L3.power.percent"} {
		if load, ok := first.vars.Float(name); ok {
			l.load = max(l.load, load)
		}
	}
	d := f.pass(l)
	if l.tenths {
		d.notes = append(d.notes, "line voltages come in tenths of a volt, against RFC 1628")
	}
	d.dropContradictions()
	d.addTotals()
	return d
}

func (f *facts) pass(l limits) decoded {
	d := decoded{vars: dodai.Vars{}, from: map[string]string{}, closed: map[string]bool{}}
	d.phases = f.inputPhases(l)
	for _, coarse := range []bool{false, true} {
		for _, fam := range f.families {
			f.family(&d, fam, l, coarse)
		}
	}
	return d
}

// family reads the fine or the coarse rows of a family.
func (f *facts) family(d *decoded, fam *family, l limits, coarse bool) {
	for i := range fam.rows {
		if r := &fam.rows[i]; r.coarse == coarse {
			d.put(r.name, r.oid, f.read(r, r.oid, l))
			d.closed[r.name] = d.closed[r.name] || r.final
		}
	}
	for i := range fam.tables {
		f.table(d, &fam.tables[i], l, coarse)
	}
	if f.alarmed(fam, dodai.RB) {
		d.put("battery.replace", fam.alarms, new(dodai.Bool(true)))
	}
}

// put sets a variable that has no value yet.
func (d *decoded) put(name, oid string, v *dodai.Value) {
	if _, have := d.vars[name]; v != nil && !have && !d.closed[name] {
		d.vars[name], d.from[name] = *v, oid
	}
}

// read is the value of one object, nil where it is none to be believed.
func (f *facts) read(r *row, oid string, l limits) *dodai.Value {
	raw := f.val(oid)
	if other, ok := f.val(r.unless).float(); ok && other > 0 && !holes[other] {
		return nil
	}
	switch {
	case r.text:
		if s, ok := raw.words(); ok {
			return new(dodai.Text(s))
		}
		return nil
	case r.words != nil:
		if s, ok := lookup(r.words, raw); ok {
			return new(dodai.Text(s))
		}
		return nil
	case r.truth != nil:
		if b, ok := lookup(r.truth, raw); ok {
			return new(dodai.Bool(b))
		}
		return nil
	}
	if n, ok := r.number(raw, l); ok {
		return new(dodai.Num(n))
	}
	return nil
}

func lookup[T any](m map[int]T, raw value) (t T, ok bool) {
	n, isNum := raw.float()
	if !isNum || n != math.Trunc(n) || math.Abs(n) > 1e6 {
		return t, false
	}
	t, ok = m[int(n)]
	return t, ok
}

// number scales a raw number and decides whether to believe it.
func (r *row) number(raw value, l limits) (float64, bool) {
	n, ok := raw.float()
	if !ok || r.hole(n) || (n == 0 && !r.zeroBelieved(l)) {
		return 0, false
	}
	n *= r.factor()
	if r.inTenths(n, l) || (r.quantity == hertz && n > 100) {
		n /= 10
	}
	n = math.Round(n*1000) / 1000 // 547 × 0.1 is 54.7, not 54.7000…01
	return n, n >= r.lo && n <= r.hi
}

// hole reports raw numbers that mean "no value".
func (r *row) hole(n float64) bool {
	if slices.Contains(r.none, n) {
		return true
	}
	if r.quantity == ticks {
		return ticksHoles[n] || n == 65535*100 // saturated
	}
	return holes[n]
}

func (r *row) zeroBelieved(l limits) bool {
	switch r.zero {
	case zeroIsNone:
		return false
	case zeroIfIdle:
		return l.load < 4
	case zeroIfEmpty:
		return l.charge >= 0 && l.charge <= 5
	default:
		return true
	}
}

// inTenths: the whole device writes tenths, or this one value cannot be volts.
func (r *row) inTenths(volts float64, l limits) bool {
	return r.quantity == lineVolts && r.scale == 0 && volts > 600 && (l.tenths || volts > 1000)
}

// voltsInTenths reports that a line voltage is beyond 600 V while the nominal one is
// that of an ordinary mains, or not given.
func (f *facts) voltsInTenths() bool {
	nominal, ok := f.val(upsMIB + "9.1.0").float()
	if ok && nominal > 480 && nominal <= 1000 {
		return false
	}
	for _, column := range []string{upsMIB + "3.3.1.3", upsMIB + "4.4.1.2"} {
		for _, suffix := range f.columns[column] {
			if n, ok := f.val(column + "." + suffix).float(); ok && n > 600 && n < 10000 && !holes[n] {
				return true
			}
		}
	}
	return false
}

// dropContradictions takes out watts that are a tenth of what volts and amperes say or
// less, because they are kilowatts (a Huawei card) or not measured, and a frequency of
// zero beside a voltage.
func (d *decoded) dropContradictions() {
	for name, v := range d.vars {
		watts, ok := v.Float()
		if !ok {
			continue
		}
		switch {
		case name == dodai.UPSRealpower:
			d.dropIfKilowatts(name, watts, "output.voltage", "output.current")
		case strings.HasSuffix(name, ".realpower"):
			stem := strings.TrimSuffix(name, "realpower")
			d.dropIfKilowatts(name, watts, strings.TrimSuffix(stem, ".")+"-N.voltage", stem+"current")
		case strings.HasSuffix(name, ".frequency") && watts == 0:
			if volts, ok := d.vars.Float(strings.TrimSuffix(name, "frequency") + "voltage"); ok && volts > 50 {
				delete(d.vars, name)
			}
		}
	}
}

func (d *decoded) dropIfKilowatts(name string, watts float64, volts, amps string) {
	v, haveV := d.vars.Float(volts)
	a, haveA := d.vars.Float(amps)
	if haveV && haveA && v*a > 100 && math.Abs(watts)*10 < v*a {
		delete(d.vars, name)
		d.notes = append(d.notes, fmt.Sprintf("%s of %g left out: %g V and %g A are more than ten times that", name, watts, v, a))
	}
}

// addTotals gives a three-phase UPS the load and the power of the whole.
func (d *decoded) addTotals() {
	var load, watts []float64
	for _, phase := range []string{"L1", "L2", "L3"} {
		if n, ok := d.vars.Float("output." + phase + ".power.percent"); ok {
			load = append(load, n)
		}
		if n, ok := d.vars.Float("output." + phase + ".realpower"); ok {
			watts = append(watts, n)
		}
	}
	sum := func(list []float64) (s float64) {
		for _, n := range list {
			s += n
		}
		return s
	}
	if len(load) == 3 {
		d.put(dodai.UPSLoad, "", new(dodai.Num(math.Round(sum(load)*10/3)/10)))
	}
	if len(watts) == 3 {
		d.put(dodai.UPSRealpower, "", new(dodai.Num(sum(watts))))
	}
}

// ages are the variables older than now by more than a second.
func (d *decoded) ages(now time.Time, at func(oid string) time.Time) map[string]time.Duration {
	ages := map[string]time.Duration{}
	for name, oid := range d.from {
		if t := at(oid); !t.IsZero() && now.Sub(t) > time.Second {
			ages[name] = now.Sub(t)
		}
	}
	return ages
}
