package megatec

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/internal/serialline"
)

const (
	onLine      = "(230.4 230.4 230.4 021 50.0 27.4 25.0 00001001\r"
	onBatt      = "(000.0 000.0 230.4 021 50.0 24.0 25.0 10001001\r"
	ratingReply = "#230.0 004 024.0 50.0\r"
	idReply     = "#DODAI           SIM 1000   V1.00     \r"
)

// unit is a scripted peer on pipes and virtual time. It answers request after request; a
// part of a reply may start with a pause, "500ms:". An empty reply is silence, "hang up"
// ends the connection.
type unit struct {
	answer func(query string) []string
	asked  []string
	dials  int
}

func (u *unit) dial(context.Context) (serialline.Conn, error) {
	u.dials++
	ours, theirs := net.Pipe()
	go u.serve(theirs)
	return ours, nil
}

func (u *unit) serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(conn)
	for {
		query, err := lines.ReadString('\r')
		if err != nil {
			return
		}
		query = strings.TrimSuffix(query, "\r")
		u.asked = append(u.asked, query)
		for _, part := range u.answer(query) {
			if pause, text, ok := strings.Cut(part, ":"); ok {
				d, _ := time.ParseDuration(pause)
				time.Sleep(d)
				part = text
			}
			if part == "hang up" {
				return
			}
			if _, err := conn.Write([]byte(part)); err != nil {
				return
			}
		}
	}
}

// typical answers as a well-behaved unit.
func typical(query string) []string {
	switch query {
	case "Q1":
		return []string{"200ms:" + onLine}
	case "I":
		return []string{"150ms:" + idReply}
	case "F":
		return []string{"90ms:" + ratingReply}
	}
	return []string{query + "\r"}
}

// with answers as typical, but for one query.
func with(query string, parts ...string) func(string) []string {
	return func(q string) []string {
		if q == query {
			return parts
		}
		return typical(q)
	}
}

// onUnit runs test in a bubble with a driver on u.
func onUnit(t *testing.T, u *unit, opts map[string]string, test func(t *testing.T, poll func(within time.Duration) (dodai.Reading, error))) {
	synctest.Test(t, func(t *testing.T) {
		full := map[string]string{"port": "/dev/null"}
		maps.Copy(full, opts)
		opened, err := Factory.Open("u1", full, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		d := opened.(*driver)
		d.dial = u.dial
		defer d.Close()
		test(t, func(within time.Duration) (dodai.Reading, error) {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			return d.Poll(ctx)
		})
	})
}

func TestPollAsksStatusFirst(t *testing.T) {
	u := &unit{answer: typical}
	onUnit(t, u, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
		for range 3 {
			r, err := poll(time.Second)
			if err != nil || r.Status != dodai.OL {
				t.Fatalf("Poll = %+v, %v: want OL", r, err)
			}
			want := dodai.Device{Manufacturer: "DODAI", Model: "SIM 1000", Firmware: "V1.00"}
			if r.Device != want || len(r.Notes) != 0 {
				t.Errorf("device %+v, notes %q: want %+v and none", r.Device, r.Notes, want)
			}
		}
		want := []string{"Q1", "I", "F", "Q1", "Q1"}
		if diff := cmp.Diff(want, u.asked); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

func TestSwitches(t *testing.T) {
	u := &unit{answer: with("QS", onLine)}
	opts := map[string]string{"dialect": "qs", "novendor": "yes", "norating": "yes"}
	onUnit(t, u, opts, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
		for range 2 {
			if _, err := poll(time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"QS", "QS"}; !slices.Equal(u.asked, want) {
			t.Errorf("asked %q, want %q", u.asked, want)
		}
	})
}

// Nothing is asked beside the status while the mains are gone.
func TestOnBatteryOnlyTheStatus(t *testing.T) {
	gone := true
	u := &unit{answer: func(q string) []string {
		if q == "Q1" && gone {
			return []string{onBatt}
		}
		return typical(q)
	}}
	onUnit(t, u, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
		for range 2 {
			if r, err := poll(time.Second); err != nil || r.Status != dodai.OB {
				t.Fatalf("Poll = %+v, %v: want OB", r, err)
			}
		}
		gone = false
		poll(time.Second)
		if want := []string{"Q1", "Q1", "Q1", "I", "F"}; !slices.Equal(u.asked, want) {
			t.Errorf("asked %q, want %q", u.asked, want)
		}
	})
}

// A unit that does not answer I costs one wait and a note, never the status; F comes when
// no late answer to I can be taken for one to F; I is not asked again.
func TestSilentOnIdentity(t *testing.T) {
	u := &unit{answer: with("I")}
	onUnit(t, u, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
		begin := time.Now()
		for i := range 5 {
			r, err := poll(time.Second)
			if err != nil || r.Status != dodai.OL || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "query I") {
				t.Fatalf("Poll %d = %+v, %v: want OL and a note on I", i, r, err)
			}
			if took := time.Since(begin).Round(10 * time.Millisecond); i == 0 && took != 700*time.Millisecond {
				t.Errorf("first poll took %v, want 200 ms and %v", took, infoWait)
			}
			time.Sleep(700 * time.Millisecond)
		}
		want := []string{"Q1", "I", "Q1", "Q1", "Q1", "F", "Q1"}
		if diff := cmp.Diff(want, u.asked); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

// A unit that hangs on F goes on answering after it was switched off and on. The error
// says what to do, and F is never asked again.
func TestHangsOnRatings(t *testing.T) {
	hung := false
	u := &unit{answer: func(q string) []string {
		if hung = hung || q == "F"; hung {
			return nil
		}
		return typical(q)
	}}
	onUnit(t, u, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
		if r, err := poll(1500 * time.Millisecond); err != nil || len(r.Notes) != 1 {
			t.Fatalf("first poll = %+v, %v: want a reading with a note", r, err)
		}
		for range maxMisses {
			_, err := poll(1500 * time.Millisecond)
			if e, ok := errors.AsType[*drivers.Error](err); !ok || !errors.Is(err, drivers.ErrUnreachable) || !strings.Contains(e.Hint, "norating") {
				t.Fatalf("Poll of the hung unit = %v: want ErrUnreachable with a hint at norating", err)
			}
		}
		synctest.Wait()
		hung = false
		time.Sleep(2 * time.Second)
		if _, err := poll(1500 * time.Millisecond); err != nil {
			t.Fatalf("Poll after a restart of the unit: %v", err)
		}
		if n := len(slices.DeleteFunc(slices.Clone(u.asked), func(q string) bool { return q != "F" })); n != 1 {
			t.Errorf("F was asked %d times in %q, want once", n, u.asked)
		}
		if u.dials != 2 {
			t.Errorf("the port was opened %d times, want once more after %d misses", u.dials, maxMisses)
		}
	})
}

// What stands around a good frame on the wire does no harm.
func TestRepliesWithNoise(t *testing.T) {
	tests := []struct {
		name  string
		parts []string
	}{
		{"plain", []string{onBatt}},
		{"byte by byte", strings.Split(onBatt, "")},
		{"line feed behind", []string{onBatt + "\n"}},
		{"line feed and NUL before", []string{"\n\x00\x00" + onBatt}},
		{"NUL inside", []string{onBatt[:10] + "\x00" + onBatt[10:]}},
		{"garbage before the mark", []string{"\xff\x80x" + onBatt}},
		{"empty lines before", []string{"\r\r" + onBatt}},
		{"the cable's echo before", []string{"Q1\r", "50ms:" + onBatt}},
		{"a frame that broke off before", []string{onLine[:20] + onBatt}},
		{"a noise line before", []string{"0 27.4 25.0 00001001\r", "100ms:" + onBatt}},
		{"a late identity before", []string{"#MAKER (EUROPE)  M          1         \r" + onBatt}},
		{"a pause inside", []string{onBatt[:20], "250ms:" + onBatt[20:]}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onUnit(t, &unit{answer: with("Q1", tt.parts...)}, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
				if r, err := poll(time.Second); err != nil || r.Status != dodai.OB {
					t.Errorf("Poll = %+v, %v: want OB", r, err)
				}
			})
		})
	}
}

func TestBadReplies(t *testing.T) {
	const rest = 90 * time.Millisecond // of half a reply, which is slept through
	tests := []struct {
		name  string
		parts []string
		want  error
		hint  string
		took  time.Duration
	}{
		{"silence", nil, drivers.ErrUnreachable, "", time.Second},
		{"echo", []string{"Q1\r"}, drivers.ErrProtocol, "dialect", idleGap},
		{"Voltronic's NAK", []string{"(NAK\r"}, drivers.ErrProtocol, "dialect", 0},
		{"Hunnox's NAK", []string{"UPS No Ack\r"}, drivers.ErrProtocol, "dialect", 0},
		{"half a reply", []string{onLine[:25]}, drivers.ErrUnreachable, "", rest + idleGap},
		{"a frame cut short and ended", []string{onLine[:25] + "\r"}, drivers.ErrProtocol, "", 0},
		{"garbage in lines", []string{"xyz\rabc\r"}, drivers.ErrProtocol, "", idleGap},
		{"garbage without end", strings.SplitAfter(strings.Repeat("xyzz", 300), "z"), drivers.ErrProtocol, "", 0},
		{"hangs up", []string{onLine[:25], "hang up"}, drivers.ErrUnreachable, "", rest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onUnit(t, &unit{answer: with("Q1", tt.parts...)}, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
				begin := time.Now()
				r, err := poll(5 * time.Second)
				e, ok := errors.AsType[*drivers.Error](err)
				if !ok || !errors.Is(err, tt.want) || e.Driver != "megatec" || e.Device != "u1" || e.Op != "read Q1 reply" {
					t.Fatalf("Poll = %+v, %v: want %v of device u1", r, err, tt.want)
				}
				if !strings.Contains(e.Hint, tt.hint) {
					t.Errorf("hint %q, want %q in it", e.Hint, tt.hint)
				}
				if took := time.Since(begin).Round(10 * time.Millisecond); took != tt.took {
					t.Errorf("Poll took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

// A reply that comes after its request was given up is never taken for the next one's.
func TestLateReplies(t *testing.T) {
	for _, late := range []string{"1.1s", "1.5s", "1.9s"} {
		for _, gap := range []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 850 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, asked again after %v", late, gap), func(t *testing.T) {
				first := true
				u := &unit{answer: func(q string) []string {
					if q == "Q1" && first {
						first = false
						return append([]string{late + ":" + onLine[:1]}, "100ms:"+onLine[1:30], "100ms:"+onLine[30:])
					}
					return []string{"200ms:" + onBatt}
				}}
				onUnit(t, u, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
					if _, err := poll(1500 * time.Millisecond); !errors.Is(err, drivers.ErrUnreachable) {
						t.Fatalf("first poll: %v, want ErrUnreachable", err)
					}
					for i := range 3 {
						time.Sleep(gap)
						r, err := poll(1500 * time.Millisecond)
						if err == nil && r.Status != dodai.OB {
							t.Fatalf("poll %d took the late reply: %+v", i+2, r)
						}
						if err == nil {
							return
						}
					}
					t.Error("no good reading within three polls")
				})
			})
		}
	}
}

// Noise and a late identity do not end the wait for a late status.
func TestLateReplyBehindNoise(t *testing.T) {
	for _, noise := range []string{idReply, "\xff\xfe\r", "Q1\r"} {
		first := true
		u := &unit{answer: func(string) []string {
			if !first {
				return []string{onBatt}
			}
			first = false
			return []string{"1.1s:" + noise, "500ms:" + onLine}
		}}
		onUnit(t, u, nil, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
			if _, err := poll(1500 * time.Millisecond); !errors.Is(err, drivers.ErrUnreachable) {
				t.Fatalf("first poll: %v, want ErrUnreachable", err)
			}
			if r, err := poll(1500 * time.Millisecond); err != nil || r.Status != dodai.OB {
				t.Errorf("behind %q: Poll = %v, %v: want OB", noise, r.Status, err)
			}
		})
	}
}

// The end of the context ends a poll that waits, whatever it waits for.
func TestContext(t *testing.T) {
	u := &unit{answer: with("Q1")}
	onUnit(t, u, map[string]string{"reply_timeout": "5s"}, func(t *testing.T, poll func(time.Duration) (dodai.Reading, error)) {
		for _, within := range []time.Duration{400 * time.Millisecond, 300 * time.Millisecond} { // waits for a reply, then for the late one
			begin := time.Now()
			_, err := poll(within)
			if took := time.Since(begin); took != within || !errors.Is(err, drivers.ErrUnreachable) || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Poll within %v took %v: %v, want ErrUnreachable for the deadline", within, took, err)
			}
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &unit{answer: with("Q1")}
		d := newDriver(drivers.Config{Device: "u1", Log: slog.New(slog.DiscardHandler)}, settings{status: "Q1", reply: 5 * time.Second}, u.dial)
		defer d.Close()
		for range 2 { // waits for a reply, then for the late one
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(123*time.Millisecond, cancel)
			begin := time.Now()
			_, err := d.Poll(ctx)
			if took := time.Since(begin); took != 123*time.Millisecond || !errors.Is(err, drivers.ErrUnreachable) || !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled Poll took %v: %v, want ErrUnreachable for the cancel after 123 ms", took, err)
			}
		}
	})
}

func TestOptions(t *testing.T) {
	tests := []struct{ key, value string }{
		{"baud", "fast"}, {"baud", "50"}, {"cablepower", "full"}, {"dialect", "q9"}, {"novendor", "maybe"}, {"norating", "2"},
		{"nofsd", "x"}, {"reply_timeout", "1"}, {"reply_timeout", "1h"}, {"battery_nominal", "-24"}, {"battery_low", "NaN"},
		{"battery_low", "27"}, // not below battery_high
	}
	for _, tt := range tests {
		opts := map[string]string{"port": "/dev/ttyS0", "battery_high": "26", tt.key: tt.value}
		_, err := Factory.Open("u1", opts, nil)
		if o, ok := errors.AsType[*drivers.OptionError](err); !ok || o.Key != tt.key {
			t.Errorf("%s=%s: %v, want an OptionError for it", tt.key, tt.value, err)
		}
	}
}

func TestMissingPort(t *testing.T) {
	d, err := Factory.Open("u1", map[string]string{"port": t.TempDir() + "/ttyUSB9"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Poll(t.Context())
	if e, ok := errors.AsType[*drivers.Error](err); !ok || !errors.Is(err, drivers.ErrUnreachable) || e.Hint == "" {
		t.Errorf("Poll without an adapter: %v, want ErrUnreachable with a hint", err)
	}
}
