package nut

import (
	"fmt"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// maxNumber bounds a value that is taken for a number. Nothing a UPS measures comes
// near; counters of 32 bits used as placeholders stay below.
const maxNumber = 1e12

// makeReading maps the variables of LIST VAR. The error wraps drivers.ErrUnreachable
// where upsd has heard nothing from its driver yet.
func makeReading(list []variable) (dodai.Reading, error) {
	r := dodai.Reading{Kind: dodai.KindUPS, Vars: dodai.Vars{}}
	raw := make(map[string]string, len(list))
	for _, v := range list {
		raw[v.name] = strings.TrimSpace(strings.ToValidUTF8(v.value, "\uFFFD"))
	}
	if waiting(raw) {
		return dodai.Reading{}, drivers.Unreachable(fmt.Errorf("upsd has no data from the UPS's driver yet (ups.status %s)", drivers.Quote([]byte(raw[upsStatus]))))
	}
	for name, value := range raw {
		if name != upsStatus && value != "" && !secret(name) {
			r.Vars[name] = makeValue(name, value)
		}
	}
	r.Kind = kind(raw["device.type"])
	r.Device = identity(raw)
	setStatus(&r, raw)
	dropLies(&r)
	return r, nil
}

const upsStatus = "ups.status"

// waiting reports whether upsd shows its own placeholder WAIT because the driver has
// not sent its variables yet: then nothing else is there but the driver's.
func waiting(raw map[string]string) bool {
	if raw[upsStatus] != "WAIT" {
		return false
	}
	for name := range raw {
		if name != upsStatus && !strings.HasPrefix(name, "driver.") && !strings.HasPrefix(name, "server.") {
			return false
		}
	}
	return true
}

// secret reports whether a variable repeats a password from ups.conf, as NUT's
// drivers do with all their parameters. Who reads our journal need not know it.
func secret(name string) bool {
	parameter, ok := strings.CutPrefix(strings.ToLower(name), "driver.parameter.")
	if !ok {
		return false
	}
	for _, word := range []string{"password", "passwd", "secret", "community", "login"} {
		if strings.Contains(parameter, word) {
			return true
		}
	}
	return false
}

// makeValue makes a number of what NUT defines as one and can be read as one.
func makeValue(name, value string) dodai.Value {
	if numeric(name) {
		if f, err := drivers.ParseNumber([]byte(value), -maxNumber, maxNumber); err == nil {
			return dodai.Num(f)
		}
	}
	return dodai.Text(value)
}

func kind(deviceType string) dodai.Kind {
	switch strings.ToLower(deviceType) {
	case "pdu":
		return dodai.KindPDU
	case "ats":
		return dodai.KindATS
	default:
		return dodai.KindUPS
	}
}

// identity prefers device.* to the older ups.*, which says the same of a UPS.
func identity(raw map[string]string) dodai.Device {
	first := func(names ...string) string {
		for _, name := range names {
			if raw[name] != "" {
				return raw[name]
			}
		}
		return ""
	}
	return dodai.Device{
		Manufacturer: first("device.mfr", "ups.mfr"),
		Model:        first("device.model", "ups.model"),
		Serial:       first("device.serial", "ups.serial"),
		Firmware:     first("ups.firmware"),
	}
}

func setStatus(r *dodai.Reading, raw map[string]string) {
	text, reported := raw[upsStatus]
	var unknown []string
	r.Status, unknown = dodai.ParseStatus(text)
	for _, word := range unknown[:min(len(unknown), 8)] {
		note(r, "ups.status has the word %q, which means nothing to us", cut(word))
	}
	if r.Kind == dodai.KindUPS && (!reported || text == "") {
		note(r, "the UPS's driver reports no ups.status: it is not known whether the mains are there")
	}
	if r.Status.Has(dodai.OL | dodai.OB) {
		note(r, "ups.status is %q: on line and on battery at once", cut(text))
	}
}

func note(r *dodai.Reading, format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// cut shortens text from the device to what fits into a note.
func cut(s string) string { return fmt.Sprintf("%.80s", s) }
