package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time as the configuration spells it: a number with its unit.
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String spells d so that the configuration reads the same.
func (d Duration) String() string { return formatDuration(d.D()) }

// formatDuration spells d as the configuration does, so that parseDuration reads the
// same.
func formatDuration(d time.Duration) string {
	for _, u := range longUnits {
		if n := d / u.length; n > 0 && d%u.length == 0 {
			return strconv.FormatInt(int64(n), 10) + u.name
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var longUnits = []struct {
	name   string
	length time.Duration
}{{"y", year}, {"w", 7 * day}, {"d", day}}

var (
	errNoUnit  = errors.New("a number without a unit")
	errNotTime = errors.New("no duration")
)

// parseDuration reads a number with its unit: ms, s, m, h, d, w (7 d) or y (365 d), also
// several in a row as in 1h30m. The error is errNoUnit for a bare number and errNotTime
// for anything else that is none, or one too long to hold.
func parseDuration(s string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, errNoUnit
	}
	var sum time.Duration
	rest := s
	for rest != "" {
		n, length, after := leadingLong(rest)
		if length == 0 {
			break
		}
		if n > int64((math.MaxInt64-sum)/length) {
			return 0, errNotTime
		}
		sum, rest = sum+time.Duration(n)*length, after
	}
	if rest == "" && s != "" {
		return sum, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || (sum > 0 && d < 0) || sum > math.MaxInt64-max(d, 0) {
		return 0, errNotTime
	}
	return sum + d, nil
}

// leadingLong splits a leading number with a unit time.ParseDuration does not know off
// s; length is 0 where there is none.
func leadingLong(s string) (n int64, length time.Duration, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end <= 0 {
		return 0, 0, s
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	if err != nil {
		return 0, 0, s
	}
	for _, u := range longUnits {
		if after, ok := strings.CutPrefix(s[end:], u.name); ok {
			return n, u.length, after
		}
	}
	return 0, 0, s
}
