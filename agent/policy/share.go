package policy

// shareLeast stands for a load that others carry already: next to nothing, yet known.
const shareLeast = 0.001

// noteShares remembers with each new reading of a UPS what the others carry then. When it
// ends, and says nothing any more, what they carry on top of that is its load.
func (d *decider) noteShares() {
	d.carried = 0
	seen := map[*ups]bool{}
	for i := range d.supplies {
		for _, in := range d.supplies[i].inputs {
			if u := in.ups; u != nil && !seen[u] {
				seen[u] = true
				d.carried += u.mem.Last.Load.V
			}
		}
	}
	for u := range seen {
		if m := &u.mem; m.Last.At == d.now || m.Last.At > d.mem.Decided.At {
			m.Others = some(d.carried - m.Last.Load.V)
		}
	}
}

// shareOf is the load in percent that a UPS would hand on if it ended now, less what the
// others have taken over since it was last heard; 0 where it is not known, then all count
// alike.
func (d *decider) shareOf(u *ups) float64 {
	m := &u.mem
	if !m.Last.Load.OK || m.Last.Load.V <= 0 {
		return 0
	}
	taken := 0.0
	if m.Others.OK {
		taken = max(0, d.carried-m.Last.Load.V-m.Others.V)
	}
	return max(shareLeast, m.Last.Load.V-taken)
}
