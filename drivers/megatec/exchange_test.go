package megatec

import (
	"bytes"
	"errors"
	"testing"

	"github.com/dodai-agent/dodai/drivers"
)

// However the bytes of a reply are cut into reads, the same frame comes out of them; it
// starts with the mark and is one line.
func FuzzInbox(f *testing.F) {
	f.Add([]byte(onLine), uint8(7), false)
	f.Add([]byte("Q1\r\x00\n"+onBatt), uint8(1), false)
	f.Add([]byte(onLine[:20]+onBatt), uint8(3), false)
	f.Add([]byte("(NAK\r"), uint8(2), false)
	f.Add([]byte(idReply+ratingReply), uint8(5), true)
	f.Fuzz(func(t *testing.T, data []byte, cut uint8, info bool) {
		query, mark := []byte("Q1"), byte('(')
		if info {
			query, mark = []byte("I"), '#'
		}
		feed := func(size int) (frame []byte, err error, answered bool) {
			in := inbox{query: query, mark: mark}
			for rest := data[:min(len(data), 4*maxFrame)]; len(rest) > 0 && frame == nil && err == nil; {
				n := min(size, len(rest))
				frame, err = in.add(rest[:n])
				rest = rest[n:]
			}
			if frame == nil && err == nil && in.explain(errors.New("x")) == nil {
				t.Errorf("%q explains an error away", data)
			}
			return frame, err, in.answered()
		}
		whole, wholeErr, _ := feed(len(data) + 1)
		parts, partsErr, answered := feed(int(cut) + 1)
		if !bytes.Equal(whole, parts) || (wholeErr == nil) != (partsErr == nil) {
			t.Errorf("%q is %q, %v in one piece and %q, %v in pieces of %d", data, whole, wholeErr, parts, partsErr, cut+1)
		}
		if wholeErr != nil && !errors.Is(wholeErr, drivers.ErrProtocol) {
			t.Errorf("%q: %v, want ErrProtocol", data, wholeErr)
		}
		if parts != nil && (parts[0] != mark || bytes.ContainsAny(parts, "\r\n\x00") || !answered) {
			t.Errorf("%q gives the frame %q, answered %v", data, parts, answered)
		}
	})
}

func TestNAK(t *testing.T) {
	for line, want := range map[string]bool{
		"(NAK": true, "NAK": true, "UPS No Ack": true, "#SNAKE           NAK 1000   V1.00": false, onLine: false, "": false,
	} {
		if got := isNAK([]byte(line)); got != want {
			t.Errorf("isNAK(%q) = %v, want %v", line, got, want)
		}
	}
}
