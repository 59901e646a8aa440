package bootlog

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const boot = "0123456789abcdef0123456789abcdef"

// line is an entry as journalctl prints it, at so many microseconds.
func line(us, more string) string {
	return `{"__CURSOR":"s=1;i=2","_BOOT_ID":"` + boot + `","__REALTIME_TIMESTAMP":"1700000057250000","__MONOTONIC_TIMESTAMP":"` + us + `"` + more + "}\n"
}

const (
	stopped   = `,"MESSAGE_ID":"d93fb3c9c24d451a97cea615ce59c00b"`
	flushStop = `,"MESSAGE_ID":"de5b426a63be47a7b6ac3eaac82e2f6f","UNIT":"systemd-journal-flush.service"`
	flushOver = `,"MESSAGE_ID":"9d1aaa27d60140bd96365438aad20286","UNIT":"systemd-journal-flush.service"`
	otherStop = `,"MESSAGE_ID":"de5b426a63be47a7b6ac3eaac82e2f6f","UNIT":"ssh.service"`
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		out  string
		want End
	}{
		"journald was stopped":               {line("1000000", otherStop) + line("57250000", stopped), End{57250 * time.Millisecond, Stopped}},
		"it let go of /var":                  {line("1000000", otherStop) + line("2000000", flushStop) + line("2500000", ""), End{2500 * time.Millisecond, Released}},
		"it kept /var and was stopped":       {line("2000000", flushStop) + line("2500000", flushOver) + line("3000000", stopped), End{3 * time.Second, Stopped}},
		"it kept /var and the power went":    {line("2000000", flushStop) + line("2500000", flushOver), End{2500 * time.Millisecond, BrokeOff}},
		"it broke off":                       {line("1000000", otherStop) + line("2000000", ""), End{2 * time.Second, BrokeOff}},
		"journald was stopped and went on":   {line("1000000", stopped) + line("2000000", ""), End{2 * time.Second, BrokeOff}},
		"a message id twice":                 {line("1", `,"MESSAGE_ID":["a","b"],"UNIT":[1,2]`), End{time.Microsecond, BrokeOff}},
		"nothing but time":                   {line("0", `,"MESSAGE_ID":null`), End{0, BrokeOff}},
		"empty lines and no end of the last": {"\n" + line("1000000", "") + "\n" + strings.TrimSpace(line("2000000", stopped)), End{2 * time.Second, Stopped}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := parse([]byte(tt.out), boot); err != nil || got != tt.want {
				t.Errorf("parse = %+v, %v; want %+v\n%s", got, err, tt.want, tt.out)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct {
		out  string
		want error
	}{
		"nothing":               {"", ErrNone},
		"empty lines":           {"\n \n", ErrNone},
		"no JSON":               {"-- No entries --\n", ErrOutput},
		"half a line":           {line("1", "")[:40], ErrOutput},
		"another boot":          {strings.ReplaceAll(line("1", ""), boot, strings.Repeat("a", 32)), ErrOutput},
		"no boot":               {`{"__MONOTONIC_TIMESTAMP":"1"}`, ErrOutput},
		"no time":               {`{"_BOOT_ID":"` + boot + `"}`, ErrOutput},
		"a negative time":       {line("-1", ""), ErrOutput},
		"a time that overflows": {line("18446744073709551615", ""), ErrOutput},
		"a number for the time": {strings.ReplaceAll(line("1", ""), `"1"`, "1"), ErrOutput},
		"one of many is wrong":  {line("1", "") + "x\n" + line("2", stopped), ErrOutput},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := parse([]byte(tt.out), boot); !errors.Is(err, tt.want) || got != (End{}) {
				t.Errorf("parse = %+v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	for how, want := range map[How]time.Duration{Stopped: afterStopped, Released: afterReleased, BrokeOff: 0} {
		if e := (End{How: how}); e.After() != want || e.Clean() != (want > 0) {
			t.Errorf("%s: allowance %v, clean %v; want %v", how, e.After(), e.Clean(), want)
		}
	}
}

// Whatever comes, there is an error of the known kinds or an end that the text holds.
func FuzzParse(f *testing.F) {
	f.Add(line("1000000", otherStop) + line("57250000", stopped))
	f.Add(line("1000000", flushStop) + line("1500000", ""))
	f.Add(line("9223372036854775", ""))
	f.Add(line("9223372036854776", `,"MESSAGE_ID":[1,2],"UNIT":null`))
	f.Add("-- No entries --")
	f.Fuzz(func(t *testing.T, out string) {
		end, err := parse([]byte(out), boot)
		if err != nil {
			if !errors.Is(err, ErrNone) && !errors.Is(err, ErrOutput) || end != (End{}) {
				t.Fatalf("parse(%q) = %+v, %v", out, end, err)
			}
			return
		}
		if end.At < 0 || !strings.Contains(out, boot) {
			t.Fatalf("parse(%q) = %+v", out, end)
		}
		if end.How == Stopped && !strings.Contains(out, msgJournalStopped) && !strings.Contains(out, `\u`) {
			t.Fatalf("parse(%q) = %+v without journald's word", out, end)
		}
	})
}
