package policy

import (
	"strings"
	"time"

	"github.com/dodai-agent/dodai"
)

const (
	// swapApart is how soon after a UPS has said that its battery is another one it is not
	// believed to have been replaced again: a card that mixes up two of them would.
	swapApart = 10 * time.Minute
	// idLong is how much in bytes is kept of each thing that tells batteries apart.
	idLong = 128
)

// BatteryID is what a UPS says of itself and of its battery; an empty part it does not say.
type BatteryID struct {
	Serial string `json:"serial,omitempty"` // of the UPS
	Pack   string `json:"pack,omitempty"`   // of the battery
	Date   string `json:"date,omitempty"`   // battery.date: put in
	Made   string `json:"made,omitempty"`   // battery.mfr.date
}

// sameBattery forgets what an earlier battery taught when the UPS says twice in a row that
// it is another one now, but not again and again.
func (u *ups) sameBattery(r *dodai.Reading) {
	id := batteryID(r)
	was := u.battery.ID
	switch {
	case !was.differs(id):
		if merged := was.merge(id); merged != was {
			u.battery.ID, u.taught = merged, true
		}
		u.mem.NewBattery = BatteryID{}
	case u.mem.NewBattery != id, u.mem.Swapped.within(swapApart, u.d.At):
		u.mem.NewBattery = id
	default:
		u.mem.NewBattery, u.mem.Lesson, u.mem.Swapped = BatteryID{}, Lesson{}, mark(u.d.At)
		u.battery, u.taught = Battery{ID: id}, true
		u.events = append(u.events, dodai.Event{Name: dodai.EventBatteryReplaced, Device: u.name, At: u.now, Wall: u.s.Wall,
			Text: u.name + " has another battery: what the old one taught is forgotten", Fields: map[string]any{}})
	}
}

func batteryID(r *dodai.Reading) BatteryID {
	text := func(name string) string { return r.Vars[name].String() }
	id := BatteryID{Serial: text("ups.serial"), Pack: text("battery.serial"), Date: text("battery.date"), Made: text("battery.mfr.date")}
	if id.Serial == "" {
		id.Serial = text("device.serial")
	}
	return id.short()
}

// short is b with no more of each part than is kept.
func (b BatteryID) short() BatteryID {
	for _, part := range []*string{&b.Serial, &b.Pack, &b.Date, &b.Made} {
		*part = strings.ToValidUTF8((*part)[:min(len(*part), idLong)], "")
	}
	return b
}

// differs reports whether both say something of a part, and not the same.
func (b BatteryID) differs(other BatteryID) bool {
	other = b.merge(other).without(b)
	return other != BatteryID{}
}

// merge is b, with the parts that other says.
func (b BatteryID) merge(other BatteryID) BatteryID {
	for _, p := range []struct{ into, from *string }{
		{&b.Serial, &other.Serial}, {&b.Pack, &other.Pack}, {&b.Date, &other.Date}, {&b.Made, &other.Made},
	} {
		if *p.from != "" {
			*p.into = *p.from
		}
	}
	return b
}

// without leaves the parts of b that known says otherwise.
func (b BatteryID) without(known BatteryID) BatteryID {
	for _, p := range []struct{ part, known *string }{
		{&b.Serial, &known.Serial}, {&b.Pack, &known.Pack}, {&b.Date, &known.Date}, {&b.Made, &known.Made},
	} {
		if *p.known == "" || *p.part == *p.known {
			*p.part = ""
		}
	}
	return b
}
