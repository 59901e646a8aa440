package drivers

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseNumber reads a plain decimal number between lo and hi. Unlike strconv it takes
// nothing a device never sends: no NaN, Inf, exponent, hexadecimal or underscore.
func ParseNumber(field []byte, lo, hi float64) (float64, error) {
	field = bytes.TrimSpace(field)
	if len(field) == 0 || len(field) > 32 {
		return 0, fmt.Errorf("%w: number %s: want 1 to 32 digits", ErrProtocol, Quote(field))
	}
	for i, c := range field {
		sign := i == 0 && (c == '-' || c == '+')
		if !sign && c != '.' && (c < '0' || c > '9') {
			return 0, fmt.Errorf("%w: number %s: want digits and a point", ErrProtocol, Quote(field))
		}
	}
	f, err := strconv.ParseFloat(string(field), 64)
	if err != nil {
		return 0, fmt.Errorf("%w: number %s: %w", ErrProtocol, Quote(field), err)
	}
	if f < lo || f > hi {
		return 0, fmt.Errorf("%w: number %s: want %g to %g", ErrProtocol, Quote(field), lo, hi)
	}
	return f, nil
}

// Int returns the option key as a whole number from lo to hi.
func (c Config) Int(key string, lo, hi int) (int, error) {
	n, err := strconv.Atoi(c.Options[key])
	if err != nil || n < lo || n > hi {
		return 0, &OptionError{Key: key, Got: c.Options[key], Want: fmt.Sprintf("a whole number from %d to %d", lo, hi)}
	}
	return n, nil
}

// Bool returns the option key as yes or no.
func (c Config) Bool(key string) (bool, error) {
	switch c.Options[key] {
	case "yes", "true", "on", "1":
		return true, nil
	case "no", "false", "off", "0", "":
		return false, nil
	}
	return false, &OptionError{Key: key, Got: c.Options[key], Want: "yes or no"}
}

// Duration returns the option key as a duration from lo to hi.
func (c Config) Duration(key string, lo, hi time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(c.Options[key])
	if err != nil || d < lo || d > hi {
		return 0, &OptionError{Key: key, Got: c.Options[key], Want: fmt.Sprintf("a duration from %v to %v", lo, hi), Example: lo.String()}
	}
	return d, nil
}

// OneOf returns the option key, which must be one of choices.
func (c Config) OneOf(key string, choices ...string) (string, error) {
	got := c.Options[key]
	if slices.Contains(choices, got) {
		return got, nil
	}
	return "", &OptionError{Key: key, Got: got, Want: "one of " + strings.Join(choices, ", ")}
}
