package policy

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// explain says what was decided and why: the rule, what stands against it, the numbers of
// each UPS and the margin.
func (d *decider) explain(out *Decision, healthy int) {
	if len(d.supplies) == 0 {
		out.Explanation = "stay up: no UPS is configured, so nothing is known of the mains"
		out.Summary = out.Explanation
		return
	}
	b := make([]byte, 0, 256+160*len(d.upses))
	b = append(b, verdictWords(out)...)
	b = strconv.AppendInt(b, int64(healthy), 10)
	b = append(b, " of "...)
	b = strconv.AppendInt(b, int64(len(d.supplies)), 10)
	b = append(b, " supplies healthy, "...)
	b = strconv.AppendInt(b, int64(d.minSupplies()), 10)
	b = append(b, " needed"...)
	for i := range d.supplies {
		if w := &d.supplies[i]; w.psu != "" {
			b = w.words(b)
		}
	}
	summary := len(b)
	for _, u := range d.upses {
		b = append(append(append(append(b, "; "...), u.name...), ": "...), u.why...)
	}
	b = append(b, "; "...)
	b = out.appendMargin(b)
	out.Explanation = string(b)
	out.Summary = out.Explanation[:summary]
}

// verdictWords names the rule that decided, the UPS it decided about, and the reason where
// that is another word.
func verdictWords(out *Decision) string {
	if !out.Shutdown {
		return "stay up: "
	}
	text := "shut down (rule " + string(out.Rule)
	if out.Decider != "" {
		text += ", " + out.Decider
	}
	if string(out.Reason) != string(out.Rule) {
		text += ", reason " + string(out.Reason)
	}
	return text + "): "
}

// words adds what has to be said of a supply beside what its UPSes' words say.
func (w *supply) words(b []byte) []byte {
	say := func(words ...string) []byte {
		b = append(append(b, "; psu "...), w.psu...)
		for _, word := range words {
			b = append(b, word...)
		}
		return b
	}
	single := len(w.inputs) == 1
	switch in := &w.inputs[0]; {
	case w.failed:
		return say(" is broken or not there")
	case w.lost && single && in.dead && in.ups == nil:
		return say(" hangs on the mains of feed ", in.feed, ", which are gone")
	case w.lost && single && in.ups != nil && (in.dead || in.ups.doom == ReasonNone):
		return b // the UPS's words say it
	case w.lost && w.allDead():
		return say(" has nothing left before its transfer switch")
	case w.lost:
		return say(" reports that it has no input")
	case single:
		return b
	case w.doomed:
		return say(" has no input before its transfer switch that will be left")
	}
	lives := w.livesFrom()
	if len(lives) == len(w.inputs) {
		return b
	}
	return say(" lives from ", strings.Join(lives, " and "), " by its transfer switch")
}

func (w *supply) allDead() bool {
	for i := range w.inputs {
		if !w.inputs[i].dead {
			return false
		}
	}
	return true
}

// livesFrom names the inputs that are there and will be.
func (w *supply) livesFrom() []string {
	var names []string
	for i := range w.inputs {
		switch in := &w.inputs[i]; {
		case !in.healthy():
		case in.ups != nil:
			names = append(names, in.ups.name)
		case in.feed != "":
			names = append(names, "the mains of feed "+in.feed)
		default:
			names = append(names, "the mains")
		}
	}
	return names
}

// healthy says how a UPS that no rule dooms is doing.
func (u *ups) healthy() string {
	m := &u.mem
	switch {
	case !m.Read.Set && u.silent():
		return "has not answered yet; nothing is known of it"
	case !m.Read.Set:
		return "not read yet"
	case !u.heard() && u.doomed():
		return fmt.Sprintf("was doomed (%s) when last heard, and has not answered since the agent started", u.was)
	case u.silent() && (m.running() || u.inferred.Set):
		return fmt.Sprintf("silent for %s, last heard on battery; %s are allowed", secs(u.now-u.heardAt()), secs(u.blindLimit()))
	case u.silent() && m.Line == "":
		return fmt.Sprintf("silent for %s, and never said whether it has input: an alarm, no reason to go down", secs(u.now-u.heardAt()))
	case u.silent():
		return fmt.Sprintf("silent for %s, last heard on line: an alarm, no reason to go down", secs(u.now-u.heardAt()))
	case m.running() && m.Available.OK:
		return fmt.Sprintf("on battery for %s%s, %.0f s left by %s", secs(m.OnBattery.since(u.now)), withNumbers(m.Last), m.Available.V, u.by())
	case m.running():
		return fmt.Sprintf("on battery for %s%s, remaining time not known", secs(m.OnBattery.since(u.now)), withNumbers(m.Last))
	case m.OnBattery.Set:
		return fmt.Sprintf("on line again for %s%s", secs(m.OLSince.since(u.now)), withNumbers(m.Last))
	case m.Line == LinePresent && m.Last.onPurpose():
		return "runs from its battery on purpose" + withNumbers(m.Last)
	case m.Line == LinePresent:
		return "on line" + withNumbers(m.Last)
	}
	return fmt.Sprintf("its status (%s) does not tell whether it has input", cmp.Or(m.Last.Status.String(), "empty"))
}

// needs is the budget in words.
func (u *ups) needs() string {
	return fmt.Sprintf("%s and %s of reserve", secs(u.cfg.Need), secs(u.cfg.Reserve))
}

// withNumbers lists the figures that matter, or nothing.
func withNumbers(f Facts) string {
	b := make([]byte, 0, 96)
	begin := func(word string) {
		if b = append(b, ", "...); len(b) == 2 {
			b = append(b[:0], " ("...)
		}
		b = append(b, word...)
	}
	number := func(v Num, name string, format byte, digits int, unit string) {
		if v.OK {
			begin(name)
			b = append(strconv.AppendFloat(b, v.V, format, digits, 64), unit...)
		}
	}
	if f.Status != 0 {
		begin(f.Status.String())
	}
	number(f.Charge, "charge ", 'g', -1, " %")
	number(f.Runtime, "runtime ", 'f', 0, " s")
	number(f.Volts, "input ", 'g', -1, " V")
	if len(b) == 0 {
		return ""
	}
	return string(append(b, ')'))
}

// by names the figure that says how long the battery lasts, with the part of it that is
// believed.
func (u *ups) by() string {
	source, part := strings.CutSuffix(u.source(), corrected)
	if !part {
		return source
	}
	return source + " × " + strconv.FormatFloat(u.believed(), 'f', 2, 64) + " learned"
}

// believed is which part of the claimed runtime the available time is made of.
func (u *ups) believed() float64 {
	m := &u.mem
	if claimed := m.Last.Runtime; m.Available.OK && claimed.OK && claimed.V > 0 && len(u.battery.Bands) > 0 && strings.HasSuffix(m.Source, corrected) {
		return m.Available.V / claimed.V
	}
	return u.factorFor(m.Last)
}

// against is the rule by which the feed is doomed or lost; empty: neither.
func (u *ups) against() Rule {
	switch {
	case u.doom != ReasonNone:
		return u.rule
	case u.lost:
		return RulePath
	}
	return ""
}
