package snmp

import (
	"cmp"
	"strings"

	"github.com/dodai-agent/dodai"
)

// A family is the objects of one MIB: its rows are data, and adding a make of UPS is
// adding a family.
type family struct {
	name   string // as in the option mib
	vendor string // manufacturer where the device gives none
	kind   dodai.Kind
	// keys are objects of which one has to answer with a sensible number before
	// anything is believed. sysObjectID is no proof: cards carry their maker's PDU id,
	// or a generic one.
	keys []string

	rows   []row    // scalars
	tables []table  // one row per phase
	source []source // where the power comes from, best first
	flags  []flag   // what else goes into the status
	ident  []ident
	lost   []flag // the card answers but has lost its UPS
	// alarms is the column of alarm descriptions and count its number of rows;
	// empty: none.
	alarms, alarmCount string
	alarmBase          string
	alarmWords         map[string]alarm
	from               string // the document the family's rows come from
}

// A row is one object: which variable it feeds, how, and when not to believe it.
type row struct {
	name string // NUT's name; in a table the name on a single-phase UPS
	// phase is the name on a three-phase UPS, with % where the phase goes; empty:
	// the first row of the table feeds name on either.
	phase string
	oid   string  // with its instance; in a table the column
	scale float64 // 0 is 1
	// lo and hi bound what is believed, after scaling.
	lo, hi   float64
	zero     zeroRule
	quantity quantity
	none     []float64 // further raw numbers that are no value
	// coarse rows wait until the finer ones of all families have had their turn.
	coarse bool
	// final: what this object does not say, no other family's says either.
	final bool
	// unless names an object that, where it holds a number above zero, makes this one
	// meaningless.
	unless string
	// words, truth and text make it other than a number.
	words map[int]string
	truth map[int]bool
	text  bool
	tier  tier
	from  string // what the MIB calls it
}

// table is a table with one row per phase.
type table struct {
	side  side
	lines string // the object with the number of lines; may be empty
	rows  []row
}

type side uint8

const (
	inputSide side = iota
	outputSide
	bypassSide
)

// zeroRule says when a zero is no measurement.
type zeroRule uint8

const (
	zeroCounts  zeroRule = iota
	zeroIsNone           // 0 °C, a bypass of 0 V, a nominal value of 0
	zeroIfIdle           // believed only while the load is under 4 %
	zeroIfEmpty          // a runtime of 0: believed only with an empty battery
)

// quantity tells values apart that need more than a scale.
type quantity uint8

const (
	plain      quantity = iota
	lineVolts           // may come in tenths, may be line to line
	lineVoltsN          // the same, known to be line to neutral
	hertz               // may come in hundredths
	minutes             // saturates at 1092
	ticks               // hundredths of a second
	watts               // may come in kilowatts
)

// tier is how badly a row is needed when not all fit into one request.
type tier uint8

const (
	measure  tier = iota // asked whenever there is room
	decide               // asked in each poll
	settings             // changes rarely: asked in turn
)

// source is an object that says where the output's power comes from.
type source struct {
	oid   string
	means map[int]dodai.Status // absent: the object does not know
	// bits is set for a text of flags '0' and '1', numbered from 1 in means.
	bits bool
	from string
}

// flag is an object that adds to the status.
type flag struct {
	oid   string
	means map[int]dodai.Status // for lost: any status but 0
	bits  bool
	from  string
}

// ident is an object with a part of the identity.
type ident struct {
	oid  string
	into identPart
	from string
}

type identPart uint8

const (
	manufacturer identPart = iota
	model
	serial
	firmware
	cardFirmware
	cardModel
	cardSerial
	modelSuffix // what completes the model's name
)

// alarm is what an entry of an alarm table means.
type alarm struct {
	text   string
	status dodai.Status // added
	source dodai.Status // only where no object names the source of power
	lost   bool         // the card has lost the UPS
}

func (r *row) factor() float64 { return cmp.Or(r.scale, 1) }

// instance is the object of a table's row i with the table's way of numbering.
func (r *row) instance(suffix string) string { return r.oid + "." + suffix }

// phaseName is the row's variable for phase i (from 0) of n.
func (r *row) phaseName(i, n int, lineToLine bool) string {
	if n < 2 || r.phase == "" {
		return r.name
	}
	name := [3]string{"L1", "L2", "L3"}[i]
	if r.quantity == lineVolts || r.quantity == lineVoltsN {
		name += "-N"
		if lineToLine {
			name = [3]string{"L1-L2", "L2-L3", "L3-L1"}[i]
		}
	}
	return strings.Replace(r.phase, "%", name, 1)
}
