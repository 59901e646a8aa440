package snmp

import (
	"strings"

	"github.com/dodai-agent/dodai"
)

// identity is what the device says of itself, the maker's branch first.
func (f *facts) identity() dodai.Device {
	var d dodai.Device
	if descr := f.val(sysDescr); descr.kind == isText {
		cardOf(descr.text, &d)
	}
	parts := map[identPart]*string{
		manufacturer: &d.Manufacturer, model: &d.Model, serial: &d.Serial, firmware: &d.Firmware,
		cardFirmware: &d.CardFirmware, cardModel: &d.CardModel, cardSerial: &d.CardSerial,
	}
	for _, fam := range f.families {
		for _, id := range fam.ident {
			text, ok := f.val(id.oid).words()
			switch {
			case !ok:
			case id.into == modelSuffix:
				d.Model = strings.TrimSpace(d.Model + " " + text)
			case *parts[id.into] == "":
				*parts[id.into] = text
			}
		}
		if d.Manufacturer == "" {
			d.Manufacturer = fam.vendor
		}
	}
	return d
}

// cardOf reads what APC's cards write in their sysDescr: "… (MB:v4.1.0 PF:v7.0.8 …
// AF1:v7.0.8 AN1:… MN:AP9631 HR:08 SN: ZA1815031283 MD:04/10/2018) …", where MN is
// the card's model, SN its serial number, AF1 the application's and PF the operating
// system's version.
//
// Source: APC Network Management Card user guide, "About".
func cardOf(descr string, d *dodai.Device) {
	_, inner, ok := strings.Cut(descr, "(MB:")
	if !ok {
		return
	}
	inner, _, _ = strings.Cut(inner, ")")
	fields := map[string]string{}
	words := strings.Fields(inner)
	for i, w := range words {
		key, text, found := strings.Cut(w, ":")
		if found && text == "" && i+1 < len(words) && !strings.Contains(words[i+1], ":") {
			text = words[i+1]
		}
		fields[key] = text
	}
	set := func(into *string, key string) {
		if text, ok := (value{kind: isText, text: fields[key]}).words(); ok && *into == "" {
			*into = text
		}
	}
	set(&d.CardModel, "MN")
	set(&d.CardSerial, "SN")
	set(&d.CardFirmware, "AF1")
	set(&d.CardFirmware, "PF")
}
