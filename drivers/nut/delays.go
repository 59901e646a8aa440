package nut

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dodai-agent/dodai/drivers"
)

const (
	// maxDelay is the longest delay that is believed, in seconds: a year.
	maxDelay = 366 * 24 * 3600
	// nearEnough is how much longer than asked a delay may be, in seconds, to be left as
	// it is.
	nearEnough = 60
	// settleTime is how long a variable may take to show what it was set to, where upsd
	// does not track: twice the pollinterval that drivers have by default.
	settleTime = 4 * time.Second
)

// A wish is a delay of at least so many seconds.
type wish struct {
	name    string
	seconds int
	must    bool // the UPS has to report it
}

// offWish and onWish are Cut's two. Without the first the output may go at once. Without
// the second it returns when the UPS likes.
func (u *control) offWish(c drivers.Cut) wish {
	return wish{offDelay, u.whole(c.Off), true}
}

// onWish is for a cut that comes after off.
func (u *control) onWish(c drivers.Cut, off time.Duration) wish {
	if u.twoTimers() {
		return wish{onDelay, u.whole(off + max(c.On, 0)), false}
	}
	return wish{onDelay, u.whole(c.On), false}
}

// whole is a duration in the unit's steps, rounded up.
func (u *control) whole(d time.Duration) int {
	n := int(math.Ceil(min(max(d, 0), 2*maxDelay*time.Second).Seconds()))
	if u.twoTimers() {
		n = roundUp(n, 60)
	}
	return n
}

// twoTimers reports whether the UPS's driver starts both countdowns at the command: an
// output whose return comes first stays off for ever where the mains are back before the
// cut. The same units may count whole minutes alone, rounded down, while upsd shows what
// they were told.
//
// Source: manual pages of usbhid-ups and mge-shut, "offdelay" and "ondelay".
func (u *control) twoTimers() bool {
	return slices.Contains([]string{"usbhid-ups", "mge-shut", "oldmge-shut"}, u.vars["driver.name"])
}

// back is the delay of the return as drivers.Cut has it: counted from the cut.
func (u *control) back(off, on time.Duration) time.Duration {
	if u.twoTimers() {
		return max(on-off, 0)
	}
	return on
}

// seconds reads a delay. Negative ones mean "not set".
func seconds(value string) (int, bool) {
	f, err := drivers.ParseNumber([]byte(strings.TrimSpace(value)), 0, maxDelay)
	return int(f), err == nil
}

// possible is an error where the delay neither is long enough nor could be made so.
func (u *control) possible(w wish, maySet bool) error {
	have, known := seconds(u.vars[w.name])
	switch {
	case known && have >= w.seconds, !known && !w.must && !u.writable[w.name]:
		return nil
	case !u.writable[w.name]:
		return u.tooShort(w, "and it cannot be set", drivers.ErrUnable)
	case !maySet:
		return u.tooShort(w, "and the user may not set it (actions = SET in upsd.users)", drivers.ErrDenied)
	}
	_, err := u.candidates(w)
	return err
}

// tooShort is the error for a delay that is not what is wished, and why that stays so.
func (u *control) tooShort(w wish, why string, sentinel error) error {
	have, there := u.vars[w.name]
	if there {
		have = "is " + drivers.Quote([]byte(have)) + " s"
	} else {
		have = "is not reported"
	}
	return u.d.fail("check "+w.name, fmt.Errorf("%w: %s %s, %s: want at least %d s", sentinel, w.name, have, why, w.seconds))
}

// arrange makes the delay at least what is wished and returns it.
func (u *control) arrange(ctx context.Context, w wish) (time.Duration, error) {
	have, known := seconds(u.vars[w.name])
	enough := known && have >= w.seconds
	if enough && have <= w.seconds+nearEnough {
		return time.Duration(have) * time.Second, nil
	}
	if !u.writable[w.name] {
		if enough || !known && !w.must {
			return time.Duration(have) * time.Second, nil
		}
		return 0, u.tooShort(w, "and it cannot be set", drivers.ErrUnable)
	}
	got, err := u.set(ctx, w)
	_, refused := errors.AsType[*serverError](err)
	if enough && (refused || errors.Is(err, drivers.ErrUnable)) {
		// Longer than asked and not to be changed; what set has left is what counts.
		if got, err = u.value(w.name); err == nil && got < w.seconds {
			err = u.tooShort(w, fmt.Sprintf("and now %d s", got), drivers.ErrUnable)
		}
	}
	return time.Duration(got) * time.Second, err
}

// set tries values until upsd shows one that is long enough. Drivers round down, most to
// tenths of a minute or whole minutes.
func (u *control) set(ctx context.Context, w wish) (int, error) {
	values, err := u.candidates(w)
	if err != nil {
		return 0, err
	}
	for _, v := range values {
		var got int
		if got, err = u.setOne(ctx, w, v); err == nil && got >= w.seconds {
			return got, nil
		}
		if err == nil {
			err = u.tooShort(w, fmt.Sprintf("and it becomes %d s when it is set to %d", got, v), drivers.ErrUnable)
		}
		if !errors.Is(err, drivers.ErrUnable) { // about upsd or the user, not about this value
			return 0, err
		}
	}
	return 0, err
}

// setOne sets the delay to v and returns what it then is.
func (u *control) setOne(ctx context.Context, w wish, v int) (int, error) {
	if err := u.do(ctx, "SET", "VAR", u.s.ups, w.name, strconv.Itoa(v)); err != nil {
		return 0, u.d.fail(fmt.Sprintf("SET VAR %s %s %d", u.s.ups, w.name, v), err)
	}
	for until := time.Now().Add(settleTime); ; {
		got, err := u.value(w.name)
		if err != nil || got >= w.seconds || u.s.tracking || !time.Now().Before(until) {
			return got, err
		}
		if err := pause(ctx, trackPause); err != nil {
			return 0, u.d.fail("read "+w.name, err)
		}
	}
}

// value asks for a delay.
func (u *control) value(name string) (int, error) {
	words, err := u.s.get("VAR", u.s.ups, name)
	if err != nil {
		return 0, u.d.fail("read "+name, err)
	}
	n, ok := seconds(words[0])
	if !ok {
		return 0, u.d.fail("read "+name, drivers.Protocol("value", []byte(words[0]), fmt.Sprintf("seconds from 0 to %d", maxDelay)))
	}
	return n, nil
}

// candidates are the values to try for a wish, shortest first: those of a list that are
// long enough, or the wish itself, rounded up as drivers round down, within a range where
// there is one.
func (u *control) candidates(w wish) ([]int, error) {
	words, err := u.s.get("TYPE", u.s.ups, w.name)
	if err != nil {
		return nil, u.d.fail("read TYPE "+w.name, err)
	}
	plain := []int{w.seconds, roundUp(w.seconds, 6), roundUp(w.seconds, 60)}
	switch {
	case slices.Contains(words, "ENUM"):
		return u.fromList(w, "ENUM", func(item []string) []int { return atLeast(w.seconds, item[0]) })
	case slices.Contains(words, "RANGE"):
		return u.fromList(w, "RANGE", func(item []string) []int { return within(item, plain) })
	case w.seconds > maxDelay:
		return nil, u.tooShort(w, fmt.Sprintf("and no delay is longer than %d s", maxDelay), drivers.ErrUnable)
	}
	return slices.Compact(plain), nil
}

func roundUp(n, step int) int { return (n + step - 1) / step * step }

// maxCandidates bounds how often a delay is set in vain.
const maxCandidates = 4

// fromList collects the values that pick finds in a list of upsd's.
func (u *control) fromList(w wish, list string, pick func(item []string) []int) ([]int, error) {
	items, err := u.s.list(list, u.s.ups, w.name)
	if err != nil {
		return nil, u.d.fail("read LIST "+list+" "+w.name, err)
	}
	var values []int
	for _, item := range items {
		values = append(values, pick(item)...)
	}
	slices.Sort(values)
	values = slices.Compact(values)
	if len(values) == 0 {
		return nil, u.tooShort(w, fmt.Sprintf("and of the values it takes (%d in LIST %s) none is long enough", len(items), list), drivers.ErrUnable)
	}
	return values[:min(len(values), maxCandidates)], nil
}

func atLeast(least int, value string) []int {
	if n, ok := seconds(value); ok && n >= least {
		return []int{n}
	}
	return nil
}

// within moves values up into a range, "min" "max", and leaves out what is above it.
func within(item []string, values []int) []int {
	if len(item) != 2 {
		return nil
	}
	lo, okLo := seconds(item[0])
	hi, okHi := seconds(item[1])
	var in []int
	for _, v := range values {
		if v = max(v, lo); okLo && okHi && v <= hi {
			in = append(in, v)
		}
	}
	return in
}
