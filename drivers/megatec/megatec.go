// Package megatec reads UPSes that speak Megatec Q1 on a serial line (2400 baud, 8N1):
// Q1, the same frame asked for by QS (Mustek) or D (old units), the ratings F and the
// identity I.
//
// Sources: Megatec protocol information, "Status inquiry", "UPS information command" and
// "UPS rating information"; the manual page of nutdrv_qx for the dialects and for what
// single units do. Where the protocol paper is wrong or silent:
//
//   - units leave the bypass/boost bit (b5) set while the mains are gone, and send 000.0
//     as input with it; the bit is looked at only with the mains present;
//   - the shutdown-active bit (b1) is stuck at 1 on some units; it is a forced shutdown
//     only on battery;
//   - on-line types report the voltage of one battery cell;
//   - "unknown command" is silence, an echo, (NAK, or a unit that hangs.
//
// The protocol knows neither charge nor runtime. What can be guessed from the battery's
// voltage is reported as battery.charge.estimated, never as battery.charge.
package megatec

import (
	"context"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/internal/serialline"
)

// Factory is listed in drivers/all.
var Factory = drivers.Factory{
	Name:    "megatec",
	Kind:    dodai.KindUPS,
	Summary: "UPSes speaking Megatec Q1 on a serial line",
	Options: []drivers.Option{
		drivers.OptPort,
		drivers.OptBaud,
		{Key: "cablepower", Help: "modem lines that feed the interface: normal (DTR), reverse (RTS), both or none", Default: "normal", Example: "normal"},
		{Key: "dialect", Help: "how the status is asked for: q1, qs (Mustek) or d (old units)", Default: "q1", Example: "q1"},
		{Key: "novendor", Help: "yes: never ask for the identity (I), for units that hang on it", Default: "no", Example: "yes"},
		{Key: "norating", Help: "yes: never ask for the ratings (F), for units that hang on it", Default: "no", Example: "yes"},
		{Key: "nofsd", Help: "yes: ignore the shutdown-active bit, for units on which it is stuck", Default: "no", Example: "yes"},
		{Key: "reply_timeout", Help: "how long to wait for a reply", Default: "1s", Example: "3s"},
		{Key: "battery_nominal", Help: "nominal battery voltage in volts, where the unit does not report it or reports another", Example: "24"},
		{Key: "battery_low", Help: "battery voltage in volts taken for empty, for the estimated charge", Example: "20.8"},
		{Key: "battery_high", Help: "battery voltage in volts taken for full, for the estimated charge", Example: "26"},
	},
	Poll:    time.Second,
	Timeout: 1500 * time.Millisecond,
	Local:   true,
	New:     open,
}

// dialects are the words that ask for the status frame. Source: manual page of nutdrv_qx,
// "protocol" (megatec, mustek, megatec/old).
var dialects = map[string]string{"q1": "Q1", "qs": "QS", "d": "D"}

// cableSettle is how long an interface fed from the modem lines needs to come up. Source:
// the pause Network UPS Tools' serial drivers make there.
const cableSettle = 100 * time.Millisecond

// settings are the options, checked.
type settings struct {
	status             string // the word that asks for the status
	noVendor, noRating bool
	noFSD              bool
	reply              time.Duration
	character          time.Duration // on the line, its start and stop bit included; 0: not known
	// volts; 0: not configured
	batteryNominal, batteryLow, batteryHigh float64
}

func open(cfg drivers.Config) (drivers.Driver, error) {
	set, err := readSettings(cfg)
	if err != nil {
		return nil, err
	}
	baud, err := cfg.Int("baud", 300, 115200)
	if err != nil {
		return nil, err
	}
	set.character = 10 * time.Second / time.Duration(baud)
	power, err := cfg.OneOf("cablepower", "normal", "reverse", "both", "none")
	if err != nil {
		return nil, err
	}
	port := serialline.Settings{Path: cfg.Options["port"], Baud: baud, Lines: serialline.CablePower[power], Settle: cableSettle}
	return newDriver(cfg, set, func(ctx context.Context) (serialline.Conn, error) {
		p, err := serialline.Open(ctx, port)
		if err != nil {
			return nil, err // a nil *Port in the interface would not be nil
		}
		return p, nil
	}), nil
}

func readSettings(cfg drivers.Config) (settings, error) {
	var s settings
	dialect, err := cfg.OneOf("dialect", "q1", "qs", "d")
	if err != nil {
		return s, err
	}
	s.status = dialects[dialect]
	for key, to := range map[string]*bool{"novendor": &s.noVendor, "norating": &s.noRating, "nofsd": &s.noFSD} {
		if *to, err = cfg.Bool(key); err != nil {
			return s, err
		}
	}
	if s.reply, err = cfg.Duration("reply_timeout", 100*time.Millisecond, 10*time.Second); err != nil {
		return s, err
	}
	volts := map[string]*float64{"battery_nominal": &s.batteryNominal, "battery_low": &s.batteryLow, "battery_high": &s.batteryHigh}
	for key, to := range volts {
		if *to, err = optVolts(cfg, key); err != nil {
			return s, err
		}
	}
	if s.batteryLow > 0 && s.batteryHigh > 0 && s.batteryLow >= s.batteryHigh {
		return s, &drivers.OptionError{Key: "battery_low", Got: cfg.Options["battery_low"], Want: "less than battery_high, " + cfg.Options["battery_high"]}
	}
	return s, nil
}

// optVolts reads an option that may be left out; 0: it was.
func optVolts(cfg drivers.Config, key string) (float64, error) {
	given := cfg.Options[key]
	if given == "" {
		return 0, nil
	}
	v, err := drivers.ParseNumber([]byte(given), 1, 1000)
	if err != nil {
		return 0, &drivers.OptionError{Key: key, Got: given, Want: "volts from 1 to 1000", Example: "24"}
	}
	return v, nil
}
