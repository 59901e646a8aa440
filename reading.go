package dodai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"
)

// Kind is what sort of device a driver reads.
type Kind string

// The kinds of device.
const (
	KindUPS    Kind = "ups"    // a UPS: Status and Vars
	KindPDU    Kind = "pdu"    // a power distribution unit: Vars
	KindATS    Kind = "ats"    // an automatic transfer switch: Vars
	KindArrays Kind = "arrays" // RAID sets: Arrays, Controllers, Drives
	KindDisks  Kind = "disks"  // physical drives' own health: Disks
	KindPSUs   Kind = "psus"   // this server's power supplies: PSUs, Redundancy, SystemWatts
)

// IsPower reports whether devices of the kind stand between the mains and the server
// and are read in NUT's vocabulary.
func (k Kind) IsPower() bool { return k == KindUPS || k == KindPDU || k == KindATS }

// Names of the NUT variables that decisions and metrics use. Drivers report any other
// NUT name as well.
const (
	BatteryCharge     = "battery.charge"      // percent, 0 to 100
	BatteryChargeLow  = "battery.charge.low"  // percent; the UPS says LB at or below it
	BatteryRuntime    = "battery.runtime"     // seconds
	BatteryRuntimeLow = "battery.runtime.low" // seconds
	BatteryVoltage    = "battery.voltage"     // volts
	BatteryDate       = "battery.date"        // text, as the device has it
	InputVoltage      = "input.voltage"       // volts
	InputVoltageNom   = "input.voltage.nominal"
	InputFrequency    = "input.frequency" // hertz
	OutputVoltage     = "output.voltage"
	UPSLoad           = "ups.load"           // percent of nominal
	UPSRealpower      = "ups.realpower"      // watts
	UPSTimerShutdown  = "ups.timer.shutdown" // seconds until the UPS cuts its output; negative or absent: not armed
	UPSTestResult     = "ups.test.result"    // text
	UPSAlarm          = "ups.alarm"          // text
	UPSTemperature    = "ups.temperature"    // °C
	AmbientTemp       = "ambient.temperature"
)

// Value is the value of one variable: a number, a text, or a truth value. The zero
// Value is the empty text.
type Value struct {
	text string
	num  float64
	kind valueKind
}

type valueKind uint8

const (
	textValue valueKind = iota
	numValue
	boolValue
)

// Num is a number in the unit NUT defines for the variable's name. It must be finite:
// a driver that reads NaN or an infinity has read a value the device does not have.
func Num(f float64) Value { return Value{num: f, kind: numValue} }

// Text is opaque text from the device.
func Text(s string) Value { return Value{text: s} }

// Bool is a truth value, such as battery.replace.
func Bool(b bool) Value {
	v := Value{kind: boolValue}
	if b {
		v.num = 1
	}
	return v
}

// Float returns the number, and false when the value is not one.
func (v Value) Float() (float64, bool) { return v.num, v.kind == numValue }

// Any returns a float64, a bool or a string.
func (v Value) Any() any {
	switch v.kind {
	case numValue:
		return v.num
	case boolValue:
		return v.num != 0
	default:
		return v.text
	}
}

// String is the value as NUT would print it: no trailing zeros, true and false.
func (v Value) String() string {
	switch v.kind {
	case numValue:
		return strconv.FormatFloat(v.num, 'f', -1, 64)
	case boolValue:
		return strconv.FormatBool(v.num != 0)
	default:
		return v.text
	}
}

// Equal makes values comparable for go-cmp.
func (v Value) Equal(w Value) bool { return v == w }

// MarshalJSON writes a number, a string or a boolean.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.kind == numValue && (math.IsNaN(v.num) || math.IsInf(v.num, 0)) {
		return nil, fmt.Errorf("value %v is not finite", v.num)
	}
	return json.Marshal(v.Any())
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *Value) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	var err error
	switch {
	case len(data) > 0 && data[0] == '"':
		var s string
		if err = json.Unmarshal(data, &s); err == nil {
			*v = Text(s)
		}
	case bytes.Equal(data, []byte("true")), bytes.Equal(data, []byte("false")):
		*v = Bool(data[0] == 't')
	default:
		var f float64
		if err = json.Unmarshal(data, &f); err == nil {
			*v = Num(f)
		}
	}
	return err
}

// Vars are a power device's variables by NUT name, without ups.status. A variable the
// device does not report, or reports as one of its placeholders, is absent.
type Vars map[string]Value

// Float returns the number called name, and false when it is absent or no number.
func (v Vars) Float(name string) (float64, bool) { return v[name].Float() }

// Device is what a device says of itself. An empty field is one it does not report.
type Device struct {
	Manufacturer string `json:"manufacturer,omitempty"`
	Model        string `json:"model,omitempty"`
	Serial       string `json:"serial,omitempty"`
	Firmware     string `json:"firmware,omitempty"`
	CardModel    string `json:"card_model,omitempty"`
	CardSerial   string `json:"card_serial,omitempty"`
	CardFirmware string `json:"card_firmware,omitempty"`
}

// Reading is what one device said at one instant. Which fields are filled follows
// from Kind. A reading is never changed after the driver has returned it; who wants
// another one works on Clone.
type Reading struct {
	Kind   Kind   `json:"kind"`
	Device Device `json:"device,omitzero"`

	// Power devices (ups, pdu, ats). Status zero means the device did not say.
	Status Status `json:"status,omitempty"`
	Vars   Vars   `json:"readings,omitempty"`
	// Ages has an entry for each variable that is older than the reading itself,
	// because the driver asks for it less often; "ups.status" may be among them.
	Ages map[string]time.Duration `json:"ages,omitempty"`

	// Arrays.
	Arrays      []Array      `json:"arrays,omitempty"`
	Controllers []Controller `json:"controllers,omitempty"`
	Drives      []Drive      `json:"drives,omitempty"`

	// Disks.
	Disks []Disk `json:"disks,omitempty"`

	// Power supplies of this server.
	PSUs        []PSU        `json:"psus,omitempty"`
	Redundancy  []Redundancy `json:"redundancy,omitempty"`
	SystemWatts *float64     `json:"system_watts,omitempty"` // nil: not measured

	// Notes tell an operator what the driver noticed and worked around.
	Notes []string `json:"notes,omitempty"`
}

// Clone returns a copy whose Vars and Ages may be changed.
func (r *Reading) Clone() *Reading {
	c := *r
	c.Vars = maps.Clone(r.Vars)
	c.Ages = maps.Clone(r.Ages)
	return &c
}
