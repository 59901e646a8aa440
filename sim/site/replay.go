package site

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

// line is one entry of a scenario's time line: things to set, or one event.
type line struct {
	at    time.Duration
	set   []string // "name": value
	event string
}

// Scenario writes the site as a scenario file that replays it exactly, whatever has been
// read of it so far. After a Judge that convicted it expects what the judge wanted. The
// error is w's.
func (s *Site) Scenario(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "id: %s\ntitle: %s\n", s.id, strconv.Quote(strings.Join(s.traits, ", ")))
	s.writeConfig(out)
	fmt.Fprint(out, "timeline:\n")
	for _, l := range s.lines() {
		fmt.Fprintf(out, "  - {t: %s, ", secs(l.at))
		if l.event != "" {
			fmt.Fprintf(out, "event: %s}\n", strconv.Quote(l.event))
			continue
		}
		fmt.Fprintf(out, "set: {%s}}\n", strings.Join(l.set, ", "))
	}
	fmt.Fprintf(out, "  - {t: %s, event: end}\n", secs(s.end))
	fmt.Fprintf(out, "expect: %s\n", s.expect())
	return out.Flush()
}

func secs(t time.Duration) string { return strconv.FormatFloat(t.Seconds(), 'f', -1, 64) }

func num(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// writeConfig writes what differs from the defaults, and the wiring.
func (s *Site) writeConfig(out io.Writer) {
	c, d := &s.cfg, defaultConfig()
	fmt.Fprintf(out, "config:\n  ups: [%s]\n", strings.Join(s.UPSes(), ", "))
	key := func(differs bool, name, value string) {
		if differs {
			fmt.Fprintf(out, "  %s: %s\n", name, value)
		}
	}
	key(true, "need_s", secs(c.limit()))
	key(true, "reserve_s", secs(c.Reserve))
	key(c.PollLine != d.PollLine, "poll_line_s", secs(c.PollLine))
	key(c.PollBatt != d.PollBatt, "poll_batt_s", secs(c.PollBatt))
	key(c.MinSupplies != d.MinSupplies, "min_supplies", strconv.Itoa(c.MinSupplies))
	key(c.MinChargePct != d.MinChargePct, "min_charge_pct", num(c.MinChargePct))
	key(c.IgnoreLB, "ignore_lb", "true")
	limit := func(name string, t *time.Duration) {
		if t != nil {
			key(true, name, secs(*t))
		}
	}
	limit("max_onbatt_s", c.MaxOnBatt)
	limit("comms_lost_line_s", c.CommsLostLine)
	limit("lb_trust_s", c.LBTrust)
	s.writeWiring(out)
	fmt.Fprintf(out, "  play: {seed: %d, jitter: true, fail_rate: %s, clock_steps: false}\n", s.seed, num(s.failRate))
}

func (s *Site) writeWiring(out io.Writer) {
	if paths := s.Paths(); len(paths) > 0 {
		fmt.Fprint(out, "  wiring:\n")
		for _, p := range paths {
			fmt.Fprintf(out, "    - {psu: %s", p.PSU)
			if p.UPS != "" {
				fmt.Fprintf(out, ", ups: %s", p.UPS)
			}
			fmt.Fprintf(out, ", feed: %s}\n", p.Feed)
		}
	}
	if links := s.Links(); len(links) > 0 {
		fmt.Fprint(out, "  links:\n")
		for _, l := range links {
			fmt.Fprintf(out, "    - {ups: %s, fed_by: %s}\n", l.UPS, l.FedBy)
		}
	}
}

// expect is what the judge wanted of the last outcome, as far as it convicted; nothing
// else is certain whatever the phase of the polls.
func (s *Site) expect() string {
	gone, lost := s.PowerGone()
	switch {
	case s.verdict == nil:
		return "{}"
	case s.verdict.Needless:
		return "{shutdown: false}"
	case s.verdict.Unprotected && lost:
		return fmt.Sprintf("{shutdown: true, not_after_s: %s}", secs(gone-s.cfg.Need))
	}
	return "{}"
}

// lines is everything that changes, in order of time.
func (s *Site) lines() []line {
	var out []line
	for i, u := range s.upses {
		out = append(out, s.upsLines(i, u)...)
	}
	if s.bmc != nil {
		out = append(out, s.bmcLines()...)
	}
	for _, h := range s.happenings {
		event := h.What
		if h.What == "clock_step" {
			event = fmt.Sprintf("clock_step:%+g", h.Step.Seconds())
		}
		if h.What == "maintenance_on" {
			event = fmt.Sprintf("%s:maintenance_on:%s", h.Device, secs(h.Step))
		}
		out = append(out, line{at: h.At, event: event})
	}
	slices.SortStableFunc(out, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	return out
}

func (s *Site) upsLines(i int, u *ups) []line {
	before := s.report(u, u.sampledAt(0))
	out := []line{{at: 0, set: u.firstSet(before)}}
	for t := u.claims.phase; t < s.end; t += u.claims.refresh {
		v := s.report(u, u.sampledAt(t))
		if set := u.sets(before, v); len(set) > 0 {
			out = append(out, line{at: t, set: set})
		}
		before = v
	}
	up := true
	for _, t := range s.turns(u.claims.silent, u) {
		if now := s.reachable(i, t); now != up && t < s.end {
			up = now
			out = append(out, line{at: t, event: u.name + commsEvent(up)})
		}
	}
	return out
}

func commsEvent(up bool) string {
	if up {
		return ":comms_restored"
	}
	return ":comms_lost"
}

// turns are the instants at which a device may begin or stop to answer.
func (s *Site) turns(silent []span, u *ups) []time.Duration {
	out := []time.Duration{0}
	for _, p := range silent {
		out = append(out, p.from, p.to)
	}
	if u != nil {
		for k := 1; k < len(u.flags); k++ {
			if u.flags[k] != u.flags[k-1] {
				out = append(out, instant(k))
			}
		}
	}
	slices.Sort(out)
	return out
}

// firstSet says everything: what is not reported has to be taken away.
func (u *ups) firstSet(v values) []string {
	set := []string{u.quoted("ups.status", strconv.Quote(v.status.String()))}
	for _, f := range v.fields() {
		if f.v != absent || f.standard {
			set = append(set, u.quoted(f.name, orNull(f.v)))
		}
	}
	if v.batt != absent {
		set = append(set, u.quoted(battLowName, num(battLow)), u.quoted(battNomName, num(battNominal)))
	}
	if u.claims.lowVar {
		set = append(set, u.quoted(dodai.BatteryChargeLow, num(u.claims.lbCharge)))
	}
	return set
}

// sets is what changes from one answer to the next.
func (u *ups) sets(a, b values) []string {
	if a == b {
		return nil
	}
	var set []string
	if a.status != b.status {
		set = append(set, u.quoted("ups.status", strconv.Quote(b.status.String())))
	}
	before := a.fields()
	for i, f := range b.fields() {
		if f.v != before[i].v {
			set = append(set, u.quoted(f.name, orNull(f.v)))
		}
	}
	return set
}

func (u *ups) quoted(name, value string) string { return fmt.Sprintf("%q: %s", u.name+":"+name, value) }

func orNull(f float64) string {
	if f == absent {
		return "null"
	}
	return num(f)
}

// field is one variable; standard ones are there in a scenario until it says otherwise.
type field struct {
	name     string
	v        float64
	standard bool
}

func (v values) fields() [6]field {
	return [6]field{
		{dodai.BatteryCharge, v.charge, true}, {dodai.BatteryRuntime, v.runtime, true},
		{dodai.InputVoltage, v.volts, true}, {dodai.UPSLoad, v.load, true},
		{dodai.BatteryVoltage, v.batt, false}, {dodai.UPSTimerShutdown, v.timer, false},
	}
}

func (s *Site) bmcLines() []line {
	b := s.bmc
	before := s.saidLost(0)
	out := []line{{at: 0, set: s.psuSets(before, ^uint16(0))}}
	for t := b.phase; t < s.end; t += b.refresh {
		now := s.saidLost(b.sampledAt(t))
		if now != before {
			out = append(out, line{at: t, set: s.psuSets(now, now^before)})
		}
		before = now
	}
	up := true
	for _, t := range s.turns(b.silent, nil) {
		if now := !within(b.silent, t); now != up && t < s.end {
			up = now
			out = append(out, line{at: t, event: BMC + commsEvent(up)})
		}
	}
	return out
}

func (s *Site) psuSets(lost, which uint16) []string {
	var set []string
	for i := range s.psus {
		if which&(1<<i) != 0 {
			state := dodai.PSUOK
			switch {
			case s.psus[i].failed:
				state = dodai.PSUFailed
			case lost&(1<<i) != 0:
				state = dodai.PSUInputLost
			}
			set = append(set, fmt.Sprintf("psu.%s: %s", s.psus[i].id, state))
		}
	}
	return set
}
