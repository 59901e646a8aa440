package megatec

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"
)

var (
	shutdownForm = regexp.MustCompile(`^S(\.[2-9]|0[0-9]|10)(?:R([0-9]{4}))?$`)
	testForm     = regexp.MustCompile(`^T(0[1-9]|[1-9][0-9])$`)
)

// quickTest is how long a battery test takes that was asked for without a time.
const quickTest = 10 * time.Second

// answer takes one request, without its CR, and returns the reply without CR; reply is
// false where the protocol has none. The caller holds u.mu.
func (u *UPS) answer(query string) (text string, reply bool) {
	u.m.advance(time.Now())
	u.asked[query]++
	if u.hung || u.m.dead() {
		return "", false
	}
	if slices.Contains(u.cfg.HangsOn, query) {
		u.hung = true
		return "", false
	}
	switch query {
	case "Q1":
		if u.frame != "" {
			return u.frame, true
		}
		return u.m.statusFrame(), true
	case "I":
		return fmt.Sprintf("#%-15.15s %-10.10s %-10.10s", u.cfg.Vendor, u.cfg.Model, u.cfg.Firmware), true
	case "F":
		return fmt.Sprintf("#%05.1f %03.0f %05.1f %04.1f", u.cfg.Volts, u.cfg.Amps, u.cfg.Battery, u.cfg.Hz), true
	}
	if u.m.command(query) {
		return "", false
	}
	return u.unknown(query)
}

func (u *UPS) unknown(query string) (string, bool) {
	switch u.cfg.Unknown {
	case NAK:
		return "(NAK", true
	case Ignore:
		return "", false
	default:
		return query, true
	}
}

// command carries out what changes something, and reports whether it knew it.
func (m *model) command(c string) bool {
	switch {
	case c == "Q":
		m.beeper = !m.beeper
	case c == "T":
		m.testFor = quickTest
	case c == "TL":
		m.deep = true
	case c == "CT":
		m.testFor, m.deep = 0, false
	case c == "C":
		m.cancel()
	case testForm.MatchString(c):
		m.testFor = minutes(c[1:])
	case shutdownForm.MatchString(c):
		f := shutdownForm.FindStringSubmatch(c)
		m.shutdown(minutes(f[1]), f[2])
	default:
		return false
	}
	return true
}

// minOff is how long the output stays off at least after a shutdown that names no time.
const minOff = 10 * time.Second

// shutdown starts the countdown to switching the output off. back is the number of
// minutes after which it may come back, "0000" is never; empty is with the mains.
func (m *model) shutdown(after time.Duration, back string) {
	if m.cfg.OnlyOnBattery && m.mains() {
		return
	}
	m.offIn, m.onAfter, m.stayOff = max(after, 1), minOff, back == "0000"
	if back != "" && !m.cfg.IgnoresR {
		m.onAfter = minutes(back)
	}
}

// cancel ends a countdown, and switches an output on that a shutdown switched off.
func (m *model) cancel() {
	m.offIn, m.onIn, m.stayOff = 0, 0, false
	if m.mains() {
		m.output = true
	}
}

// minutes reads "03", "0180" or the tenths of ".5".
func minutes(s string) time.Duration {
	f, _ := strconv.ParseFloat(s, 64) // the forms above let only digits through
	return time.Duration(f * float64(time.Minute))
}
