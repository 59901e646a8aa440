package bootlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Message ids of systemd's journal catalog.
const (
	msgJournalStopped = "d93fb3c9c24d451a97cea615ce59c00b" // SD_MESSAGE_JOURNAL_STOP
	msgUnitStopping   = "de5b426a63be47a7b6ac3eaac82e2f6f" // SD_MESSAGE_UNIT_STOPPING
	msgUnitStopped    = "9d1aaa27d60140bd96365438aad20286" // SD_MESSAGE_UNIT_STOPPED
)

// flushUnit makes journald let go of /var when it is stopped.
const flushUnit = "systemd-journal-flush.service"

// entry is what matters of one entry. A field that was given more than once is an array
// in journalctl's JSON, one that is no text an array of bytes: neither is meant here.
type entry struct {
	Monotonic string `json:"__MONOTONIC_TIMESTAMP"` // µs
	BootID    string `json:"_BOOT_ID"`
	MessageID text   `json:"MESSAGE_ID"`
	Unit      text   `json:"UNIT"`
}

// text is a field that may be anything; what is no string is empty.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
	}
	return nil
}

// parse reads the last entries of a boot, one JSON object a line, oldest first. boot is
// its id without dashes.
func parse(out []byte, boot string) (End, error) {
	var end End
	var last entry
	flushing := false
	n := 0
	for line := range bytes.Lines(out) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		e, at, err := parseEntry(line, boot)
		if err != nil {
			return End{}, err
		}
		n++
		if e.Unit == flushUnit {
			flushing = e.MessageID == msgUnitStopping || flushing && e.MessageID != msgUnitStopped
		}
		last, end.At = e, max(end.At, at)
	}
	switch {
	case n == 0:
		return End{}, fmt.Errorf("%w: it has no entry", ErrNone)
	case last.MessageID == msgJournalStopped:
		end.How = Stopped
	case flushing:
		end.How = Released
	default:
		end.How = BrokeOff
	}
	return end, nil
}

func parseEntry(line []byte, boot string) (entry, time.Duration, error) {
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return e, 0, fmt.Errorf("%w: entry %.80q: %w", ErrOutput, line, err)
	}
	if e.BootID != boot {
		return e, 0, fmt.Errorf("%w: an entry of boot %.40q, want %s", ErrOutput, e.BootID, boot)
	}
	us, err := strconv.ParseUint(e.Monotonic, 10, 64)
	if err != nil || us > math.MaxInt64/1000 {
		return e, 0, fmt.Errorf("%w: __MONOTONIC_TIMESTAMP %.40q, want microseconds", ErrOutput, e.Monotonic)
	}
	return e, time.Duration(us) * time.Microsecond, nil
}
