package snmp

// liveVolts is the least that counts as a voltage on a line that is connected.
const liveVolts = 10

// lineToLineVolts: nowhere is a line 350 V or more from neutral.
const lineToLineVolts = 350

// inputPhases is the number of phases: as the device says, else as learnt while on
// line, else the number of input lines with a voltage, else of output lines. Tables of
// single-phase devices are filled with zeros, -1 or copies of phase 1.
func (f *facts) inputPhases(l limits) int {
	if n := f.lines(inputSide); n > 0 {
		return n
	}
	if live := f.live(inputSide, l); live > f.phases {
		return live
	}
	if f.phases > 0 {
		return f.phases
	}
	return max(1, f.live(outputSide, l))
}

// lines is the number of lines the device says it has, 0 where it does not.
func (f *facts) lines(s side) int {
	for _, fam := range f.families {
		for _, t := range fam.tables {
			if n, ok := f.val(t.lines).float(); ok && t.side == s && t.lines != "" && n >= 1 && n <= 3 {
				return int(n)
			}
		}
	}
	return 0
}

// live is the largest number of rows with a voltage in a table of the side.
func (f *facts) live(s side, l limits) int {
	most := 0
	for _, fam := range f.families {
		for _, t := range fam.tables {
			if t.side != s {
				continue
			}
			for i := range t.rows {
				most = max(most, f.liveRows(&t.rows[i], l))
			}
		}
	}
	return most
}

func (f *facts) liveRows(r *row, l limits) int {
	if r.quantity != lineVolts && r.quantity != lineVoltsN {
		return 0
	}
	n := 0
	for _, suffix := range f.columns[r.oid] {
		if v, ok := r.number(f.val(r.instance(suffix)), l); ok && v > liveVolts {
			n++
		}
	}
	return n
}

// table reads the fine or the coarse rows of a table under the names of their phases.
func (f *facts) table(d *decoded, t *table, l limits, coarse bool) {
	phases := d.phases
	if t.side != inputSide {
		phases = f.lines(t.side)
		if phases == 0 {
			if phases = min(d.phases, f.live(t.side, l)); phases == 0 {
				phases = d.phases
			}
		}
	}
	toLine := f.lineToLine(t, l)
	for i := range t.rows {
		r := &t.rows[i]
		if r.coarse != coarse {
			continue
		}
		for phase, suffix := range f.columns[r.oid] {
			if phase >= phases || phase >= 3 || (phase > 0 && r.phase == "") {
				break
			}
			name := r.phaseName(phase, phases, toLine && r.quantity == lineVolts)
			d.put(name, r.instance(suffix), f.read(r, r.instance(suffix), l))
		}
	}
}

// lineToLine reports that the table's voltages are between lines: too high for line to
// neutral, or well above the column that is known to be line to neutral.
func (f *facts) lineToLine(t *table, l limits) bool {
	most := [2]float64{} // line to neutral, not known
	for i := range t.rows {
		r := &t.rows[i]
		if r.quantity != lineVolts && r.quantity != lineVoltsN {
			continue
		}
		for _, suffix := range f.columns[r.oid] {
			if v, ok := r.number(f.val(r.instance(suffix)), l); ok {
				k := 0
				if r.quantity == lineVolts {
					k = 1
				}
				most[k] = max(most[k], v)
			}
		}
	}
	return most[1] >= lineToLineVolts || (most[0] > liveVolts && most[1] > 1.5*most[0])
}
