package ipmi

import (
	"slices"
	"strings"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
)

// state is what a sensor answered. While it is not valid nothing is known: the BMC has
// no such sensor, does not scan it, or says that the bits are stale.
type state struct {
	valid bool
	raw   byte
	bits  uint16
}

// parseReading decodes the answer to Get Sensor Reading. The fourth byte may be
// missing, and its top bit is reserved but often set. The error wraps ErrProtocol.
// Source: IPMI 2.0, section 35.14.
func parseReading(b []byte) (state, error) {
	if len(b) < 2 {
		return state{}, drivers.Protocol("sensor reading", b, "at least 2 bytes")
	}
	const scanning, unavailable = 1 << 6, 1 << 5
	if b[1]&scanning == 0 || b[1]&unavailable != 0 {
		return state{}, nil
	}
	s := state{valid: true, raw: b[0]}
	if len(b) > 2 {
		s.bits = uint16(b[2])
	}
	if len(b) > 3 {
		s.bits |= uint16(b[3]&0x7f) << 8
	}
	return s, nil
}

func (s state) has(bit int) bool { return s.bits>>bit&1 == 1 }

// The states of a power supply sensor. Source: IPMI 2.0, table 42-3, type 08h.
const (
	bitPresent = iota
	bitFailure
	bitPredictive
	bitInputLost
	bitInputLostOrOut
	bitInputOut
	bitConfig
)

const inputBits = 1<<bitInputLost | 1<<bitInputLostOrOut | 1<<bitInputOut

// presence is what is known of whether a supply is in its bay.
type presence int

const (
	presenceUnknown presence = iota
	present
	absent
)

// supplyState decides what a status sensor means. mask is which states the sensor's
// record says it has: where presence is among them, a clear presence bit is an empty
// bay, whatever else is left standing from before the supply was pulled; where it is
// not, no bit at all means no fault. elsewhere is what a separate presence sensor says.
func supplyState(s state, mask uint16, elsewhere presence) dodai.PSUState {
	reports := mask>>bitPresent&1 == 1
	switch {
	case elsewhere == absent:
		return dodai.PSUAbsent
	case !s.valid:
		return dodai.PSUUnknown
	case reports && !s.has(bitPresent) && elsewhere == presenceUnknown:
		return dodai.PSUAbsent
	case s.has(bitInputLost) || s.has(bitInputLostOrOut):
		return dodai.PSUInputLost // before failed: without input it cannot but fail
	case s.has(bitFailure) || s.has(bitConfig):
		return dodai.PSUFailed
	case s.has(bitPredictive):
		return dodai.PSUPredictive
	case s.has(bitInputOut):
		return dodai.PSUWarning
	default:
		return dodai.PSUOK // bit 7, inactive, is a spare: in order
	}
}

// inputState is what the sensor says of the input; only a sensor that has input states
// can say that it is in order.
func inputState(s state, mask uint16, supply dodai.PSUState) dodai.InputState {
	switch {
	case !s.valid || supply == dodai.PSUAbsent || supply == dodai.PSUUnknown:
		return dodai.InputUnknown
	case s.has(bitInputLost) || s.has(bitInputLostOrOut):
		return dodai.InputLost
	case s.has(bitInputOut):
		return dodai.InputOutOfRange
	case mask&inputBits != 0:
		return dodai.InputOK
	default:
		return dodai.InputUnknown
	}
}

// presenceOf reads a presence sensor: type 25h, or generic reading type 08h.
// Source: IPMI 2.0, tables 42-2 and 42-3.
func presenceOf(s sensor, st state) presence {
	switch {
	case !st.valid:
		return presenceUnknown
	case s.reading == readPresence && st.has(1), s.reading == readSpecific && st.has(0):
		return present
	case s.reading == readPresence && st.has(0), s.reading == readSpecific && st.has(1):
		return absent
	default:
		return presenceUnknown
	}
}

// redundancyOffsets has a row per state of reading type 0Bh; severity orders them.
// Source: IPMI 2.0, table 42-2.
var redundancyOffsets = []struct {
	state    dodai.RedundancyState
	reported string
}{
	{dodai.RedundancyFull, "Fully Redundant"},
	{dodai.RedundancyLost, "Redundancy Lost"},
	{dodai.RedundancyDegraded, "Redundancy Degraded"},
	{dodai.RedundancyLost, "Non-redundant: Sufficient Resources from Redundant"},
	{dodai.RedundancyLost, "Non-redundant: Sufficient Resources from Insufficient"},
	{dodai.RedundancyInsufficient, "Non-redundant: Insufficient Resources"},
	{dodai.RedundancyDegraded, "Redundancy Degraded from Fully Redundant"},
	{dodai.RedundancyDegraded, "Redundancy Degraded from Non-redundant"},
}

var redundancySeverity = []dodai.RedundancyState{
	dodai.RedundancyUnknown, dodai.RedundancyFull, dodai.RedundancyDegraded, dodai.RedundancyLost, dodai.RedundancyInsufficient,
}

// redundancyState takes the worst of the states that are set together; none is unknown.
func redundancyState(s state) (worst dodai.RedundancyState, reported string) {
	worst = dodai.RedundancyUnknown
	if !s.valid {
		return worst, ""
	}
	var words []string
	for bit, row := range redundancyOffsets {
		if !s.has(bit) {
			continue
		}
		words = append(words, row.reported)
		if slices.Index(redundancySeverity, row.state) > slices.Index(redundancySeverity, worst) {
			worst = row.state
		}
	}
	return worst, strings.Join(words, ", ")
}

// redundancyByCount decides where no sensor says anything: with one supply fitted there
// is none; with several of which at most one works it is lost. That two that work could
// carry each other's load cannot be told by counting.
func redundancyByCount(psus []dodai.PSU) dodai.RedundancyState {
	fitted, working, unknown := 0, 0, 0
	for _, p := range psus {
		switch p.State {
		case dodai.PSUAbsent:
			continue
		case dodai.PSUUnknown:
			unknown++
			continue
		case dodai.PSUOK, dodai.PSUWarning, dodai.PSUPredictive:
			working++
		}
		fitted++
	}
	switch {
	case unknown > 0, len(psus) == 0, working > 1:
		return dodai.RedundancyUnknown
	case fitted <= 1:
		return dodai.RedundancyNone
	default:
		return dodai.RedundancyLost
	}
}

// The states of a power unit that an operator wants to read about. They change no
// supply's state: "AC lost" of the whole unit is seen only once the power is back.
// Source: IPMI 2.0, table 42-3, type 09h.
var unitNotes = map[int]string{
	2: "240 VA power down", 3: "interlock power down", 4: "AC lost",
	5: "soft power control failure", 6: "failure detected", 7: "failure predicted",
}
