package policy

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lasting is how long one supply would live, and the UPS whose figures say so; nil: it is
// dead already.
type lasting struct {
	left time.Duration
	by   *ups
}

// margin fills in how long the supplies that decide would last: this host lives until
// fewer than it needs are left, so the last of the needed ones, longest first, decides.
func (d *decider) margin(out *Decision) {
	list := make([]lasting, 0, len(d.supplies))
	for i := range d.supplies {
		if l, ok := d.supplyLeft(&d.supplies[i]); ok {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b lasting) int { return cmp.Compare(b.left, a.left) })
	n := d.minSupplies()
	if len(list) < n {
		if !d.pol.Brief || out.Shutdown {
			out.AvailableFrom = d.whyUnknown()
		}
		return
	}
	available := list[n-1].left
	together := d.together != nil && *d.together < available
	if together {
		available = *d.together
	}
	out.Available = new(available)
	out.Margin = new(available - d.cfg.Need - d.cfg.Reserve)
	switch {
	case d.pol.Brief && !out.Shutdown:
	case together:
		out.AvailableFrom = d.carryTogether()
	case list[n-1].by == nil:
		out.AvailableFrom = "a supply that is needed has no input"
	default:
		out.AvailableFrom = d.chainWords(list[n-1].by)
	}
}

// whyUnknown says why nobody knows how long the supplies that decide would last.
func (d *decider) whyUnknown() string {
	for _, u := range d.upses {
		if u.maint != nil {
			return u.name + " is in maintenance"
		}
	}
	for i := range d.supplies {
		for j := range d.supplies[i].inputs {
			if in := &d.supplies[i].inputs[j]; in.ups == nil && !in.dead {
				return "a supply hangs on the mains themselves"
			}
		}
	}
	return "nothing credible says how long the batteries last"
}

// carryTogether names the UPSes that carry the host, each that ends handing on its load.
func (d *decider) carryTogether() string {
	var names []string
	for _, c := range d.carriers() {
		names = append(names, c.u.name)
	}
	return strings.Join(names, " and ") + " together, each that ends handing on its load"
}

// supplyLeft is how long a supply would live without mains, by the best of its inputs. ok
// is false where nothing credible says so, or an input hangs on the mains themselves.
func (d *decider) supplyLeft(w *supply) (best lasting, ok bool) {
	if w.lost || w.failed {
		return lasting{}, true
	}
	for i := range w.inputs {
		in := &w.inputs[i]
		switch {
		case in.dead:
			ok = true
		case in.ups == nil:
			return lasting{}, false
		default:
			left, known := d.chainLeft(in.ups)
			if !known {
				return lasting{}, false
			}
			if ok = true; best.by == nil || left > best.left {
				best = lasting{left, in.ups}
			}
		}
	}
	return best, ok
}

// chainLeft is how long a UPS would carry the load with all that stands before it in series.
func (d *decider) chainLeft(u *ups) (left time.Duration, ok bool) {
	for range len(d.s.Links) + 1 {
		a := u.availableAt()
		if a == nil || u.maint != nil {
			return left, ok
		}
		if up := d.upstream(u); up != nil && up.doom != ReasonNone && !u.mem.running() {
			*a = u.ownLeft() // soon it counts on nothing else
		}
		left, ok = left+*a, true
		if u = d.adds(u); u == nil {
			break
		}
	}
	return left, ok
}

// adds is the UPS whose battery adds to that of u, nil: none. One that may cut its output
// at any time adds nothing.
func (d *decider) adds(u *ups) *ups {
	up := d.upstream(u)
	if up == nil || up.ends || u.mem.running() {
		return nil
	}
	return up
}

// chainWords names the figures that chainLeft adds up.
func (d *decider) chainWords(u *ups) string {
	var text strings.Builder
	text.WriteString(u.by() + ", " + u.name)
	for range d.s.Links {
		if u = d.adds(u); u == nil || u.maint != nil || !u.mem.Available.OK {
			break
		}
		text.WriteString(" + " + u.by() + ", " + u.name)
	}
	return text.String()
}

// MarginText is the margin in words, as a sum that comes out: "margin 431 s = 611 s available
// (battery.runtime × 0.83 learned, u1) − 120 s need − 60 s reserve". Whole seconds.
func (out *Decision) MarginText() string { return string(out.appendMargin(nil)) }

func (out *Decision) appendMargin(b []byte) []byte {
	need, reserve := math.Round(out.Need.Seconds()), math.Round(out.Reserve.Seconds())
	if out.Available == nil {
		b = append(b, "margin not known"...)
		if out.AvailableFrom != "" {
			b = append(append(append(b, " ("...), out.AvailableFrom...), ')')
		}
		b = appendSeconds(append(b, ": "...), need)
		b = append(b, " need, "...)
		return append(appendSeconds(b, reserve), " reserve"...)
	}
	available := math.Round(out.Available.Seconds())
	b = append(b, "margin "...)
	b = appendSeconds(b, available-need-reserve)
	b = append(b, " = "...)
	b = append(appendSeconds(b, available), " available"...)
	if out.AvailableFrom != "" {
		b = append(append(append(b, " ("...), out.AvailableFrom...), ')')
	}
	b = append(b, " − "...)
	b = append(appendSeconds(b, need), " need − "...)
	return append(appendSeconds(b, reserve), " reserve"...)
}

func appendSeconds(b []byte, s float64) []byte {
	return append(strconv.AppendFloat(b, s, 'f', 0, 64), " s"...)
}
