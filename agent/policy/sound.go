package policy

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"time"
)

const (
	// numberMost is more than any quantity of a UPS in its own unit, or one made of them.
	// Below it nothing that is worked out of a few of them leaves the range of a float64.
	numberMost = 1e9
	// instantMost bounds instants so that their differences are durations.
	instantMost = 100 * 365 * 24 * time.Hour
)

// Sound is a memory read back from where it was kept, written at at, without the parts that
// Decide cannot have left there: an instant later than at, which would make everything heard
// since then look old, or a number no UPS has. dropped names the devices whose part was left
// out, and "alerts" and "boot"; nil: all of it is sound. What remains is decided on as if the
// rest had never been known.
func (m Memory) Sound(at time.Duration) (sound Memory, dropped []string) {
	sound = m.clone()
	if !plausible(m.Decided, at) {
		return Memory{}, []string{"all of it"}
	}
	dropped = slices.Concat(keepSound(sound.UPS, at), keepSound(sound.PSUs, at))
	sound.Batteries = maps.Clone(m.Batteries)
	maps.DeleteFunc(sound.Batteries, func(name string, b Battery) bool {
		if b.sound() && plausible(b, at) {
			return false
		}
		dropped = append(dropped, "the battery of "+name)
		return true
	})
	if !plausible(m.Alerts, at) {
		sound.Alerts, dropped = nil, append(dropped, "alerts")
	}
	if !plausible(m.Boot, at) {
		sound.Boot, dropped = BootMemory{}, append(dropped, "boot")
	}
	slices.Sort(dropped)
	return sound, dropped
}

// sound reports whether discharges may have taught b.
func (b *Battery) sound() bool {
	return len(b.Bands) <= bandsMax && b.ID == b.ID.short() && !slices.ContainsFunc(b.Bands, func(x Band) bool {
		return x.Factor < factorMin || x.Factor > 1 || x.Discharges < 0
	})
}

// keepSound deletes what cannot be, and names it.
func keepSound[T any](parts map[string]T, at time.Duration) (dropped []string) {
	for name, part := range parts {
		if !plausible(part, at) {
			delete(parts, name)
			dropped = append(dropped, name)
		}
	}
	return dropped
}

// plausible reports whether v may have been left by a decision at or before at.
func plausible(v any, at time.Duration) bool { return plausibleValue(reflect.ValueOf(v), at) }

// plausibleValue looks at every number of the memory, those of fields to come included.
func plausibleValue(v reflect.Value, at time.Duration) bool {
	switch v.Kind() {
	case reflect.Float64:
		return math.Abs(v.Float()) <= numberMost
	case reflect.Int64:
		d := time.Duration(v.Int())
		return v.Type() != reflect.TypeFor[time.Duration]() || d <= at && d >= -instantMost
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Mark]() && !v.FieldByName("Set").Bool() {
			return true
		}
		for _, field := range v.Fields() {
			if !plausibleValue(field, at) {
				return false
			}
		}
	case reflect.Slice: // an array of durations has lengths, no instants
		for i := range v.Len() {
			if !plausibleValue(v.Index(i), at) {
				return false
			}
		}
	}
	return true
}
