package policy

import "github.com/dodai-agent/dodai"

// shareLeast stands for a load that others carry already: next to nothing, yet known.
const shareLeast = 0.001

// ratings are the variables that say what 100 % of load is on a UPS, the better one first.
var ratings = [...]string{"ups.power.nominal", "ups.realpower.nominal"} // VA, W

// ratingMax is the largest rating that is believed, in VA or W.
const ratingMax = 1e7

// ratingsOf reads the ratings. They never change, so they do not grow stale.
func ratingsOf(r *dodai.Reading) (known [len(ratings)]float64) {
	for i, name := range ratings {
		if v, ok := r.Vars.Float(name); ok && v > 0 && v <= ratingMax {
			known[i] = v
		}
	}
	return known
}

// noteShares remembers with each new reading of a UPS what the others carry then. When it
// ends, and says nothing any more, what they carry on top of that is its load.
func (d *decider) noteShares() {
	d.carried = 0
	seen := map[*ups]bool{}
	for i := range d.supplies {
		for _, in := range d.supplies[i].inputs {
			if in.ups != nil {
				seen[in.ups] = true
			}
		}
	}
	unit := sizeUp(seen)
	for _, u := range d.upses { // in one order, for the sum of floats
		if seen[u] {
			d.carried += u.mem.Last.Load.V * u.size
		}
	}
	for u := range seen {
		m := &u.mem
		if m.OthersIn != unit {
			m.Others, m.OthersIn = Num{}, unit
		}
		if m.Last.At == d.now || m.Last.At > d.mem.Decided.At {
			m.Others = some(d.carried - m.Last.Load.V*u.size)
		}
	}
}

// sizeUp fills in what one percent of load is on each UPS, in the unit of a rating that all
// of them say; it returns the rating's name. Where there is none all count alike.
func sizeUp(upses map[*ups]bool) (unit string) {
	at := len(ratings)
	for i := len(ratings) - 1; i >= 0; i-- {
		all := true
		for u := range upses {
			all = all && u.mem.Last.Ratings[i] > 0
		}
		if all {
			at, unit = i, ratings[i]
		}
	}
	for u := range upses {
		if u.size = 1; at < len(ratings) {
			u.size = u.mem.Last.Ratings[at] / 100
		}
	}
	return unit
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
		taken = max(0, d.carried/u.size-m.Last.Load.V-m.Others.V/u.size)
	}
	return max(shareLeast, m.Last.Load.V-taken)
}
