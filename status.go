package dodai

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
)

// Status is the set of flags in NUT's ups.status. The zero value means that the
// device said nothing about its state: unknown, which is neither OL nor OB.
type Status uint32

// The status flags, in NUT's spelling.
const (
	OL      Status = 1 << iota // input present and in range; says nothing about the output
	OB                         // input absent or out of range, the load runs from the battery
	LB                         // battery low by the UPS's own rule
	HB                         // battery voltage high
	RB                         // the battery must be replaced; the reported runtime is worthless
	CHRG                       // charging: evidence that the input is present
	DISCHRG                    // discharging; alone with OL it is not an outage
	BYPASS                     // load fed straight from the line, no battery behind it
	CAL                        // runtime calibration: the UPS discharges on purpose
	TEST                       // self-test running
	OFF                        // output off; the input's state is not implied
	OVER                       // overload
	TRIM                       // reducing a high input
	BOOST                      // raising a low input
	FSD                        // forced shutdown announced
	ALARM                      // something stands in ups.alarm
	ECO                        // high-efficiency mode
)

// statusWords has one row per flag, in the order in which String prints them.
var statusWords = []struct {
	flag Status
	word string
}{
	{FSD, "FSD"}, {OL, "OL"}, {OB, "OB"}, {LB, "LB"}, {HB, "HB"}, {RB, "RB"},
	{CHRG, "CHRG"}, {DISCHRG, "DISCHRG"}, {BYPASS, "BYPASS"}, {CAL, "CAL"}, {TEST, "TEST"},
	{OFF, "OFF"}, {OVER, "OVER"}, {TRIM, "TRIM"}, {BOOST, "BOOST"}, {ALARM, "ALARM"}, {ECO, "ECO"},
}

// statusAliases are words single NUT drivers invented; the right-hand side is what
// a decision has to take them for. Source: the words seen in NUT's device dumps.
var statusAliases = map[string]Status{
	"DEPLETED": LB, "SD": FSD, "OVERHEAT": ALARM, "COMMFAULT": ALARM,
	"HE": ECO, "ESS": ECO, "BY": BYPASS, "ACFAIL": OB,
}

// StatusFlags lists every single flag, in printing order.
func StatusFlags() []Status {
	flags := make([]Status, len(statusWords))
	for i, w := range statusWords {
		flags[i] = w.flag
	}
	return flags
}

// ParseStatus reads a blank-separated ups.status. Words it does not know are
// returned in unknown and otherwise ignored, as RFC 9271 asks of a client; the
// placeholder WAIT (no data yet) sets nothing.
func ParseStatus(s string) (status Status, unknown []string) {
	for word := range strings.FieldsSeq(s) {
		flag, ok := statusFlag(word)
		if !ok {
			unknown = append(unknown, word)
		}
		status |= flag
	}
	return status, unknown
}

func statusFlag(word string) (Status, bool) {
	if word == "WAIT" {
		return 0, true
	}
	for _, w := range statusWords {
		if w.word == word {
			return w.flag, true
		}
	}
	flag, ok := statusAliases[word]
	return flag, ok
}

// Has reports whether every flag of f is set in s.
func (s Status) Has(f Status) bool { return s&f == f }

// Any reports whether at least one flag of f is set in s.
func (s Status) Any(f Status) bool { return s&f != 0 }

// Words returns the flags as NUT spells them, never nil.
func (s Status) Words() []string {
	words := make([]string, 0, bits.OnesCount32(uint32(s)))
	for _, w := range statusWords {
		if s.Has(w.flag) {
			words = append(words, w.word)
		}
	}
	return words
}

// String returns the words blank-separated; an unknown status is empty.
func (s Status) String() string { return strings.Join(s.Words(), " ") }

// MarshalJSON writes a list of words: ["OL","CHRG"].
func (s Status) MarshalJSON() ([]byte, error) { return json.Marshal(s.Words()) }

// UnmarshalJSON reads what MarshalJSON writes. A word it does not know is an error,
// because our own JSON never holds one.
func (s *Status) UnmarshalJSON(data []byte) error {
	var words []string
	if err := json.Unmarshal(data, &words); err != nil {
		return fmt.Errorf("ups.status: %w", err)
	}
	status, unknown := ParseStatus(strings.Join(words, " "))
	if len(unknown) > 0 {
		return fmt.Errorf("ups.status: unknown word %q", unknown[0])
	}
	*s = status
	return nil
}
