package killpower

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// clock makes the files of a clock below a folder: since_epoch in its own seconds and an
// alarm, 0 for none.
func clock(t *testing.T, root, name string, now, alarm int64) string {
	t.Helper()
	dir := filepath.Join(root, name)
	text := ""
	if alarm != 0 {
		text = fmt.Sprintln(alarm)
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "since_epoch"), fmt.Appendln(nil, now), 0o644),
		os.WriteFile(filepath.Join(dir, "wakealarm"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func alarmOf(t *testing.T, dir string) int64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "wakealarm"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(data)) == "" {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFindRTC(t *testing.T) {
	root := t.TempDir()
	if _, err := FindRTC(root); !errors.Is(err, ErrNoRTC) {
		t.Errorf("without a clock: %v, want ErrNoRTC", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "rtc0"), 0o755); err != nil { // without an alarm
		t.Fatal(err)
	}
	if _, err := FindRTC(root); !errors.Is(err, ErrNoRTC) {
		t.Errorf("a clock without an alarm: %v, want ErrNoRTC", err)
	}
	clock(t, root, "rtc2", 1000, 0)
	want := clock(t, root, "rtc1", 1000, 0)
	if got, err := FindRTC(root); err != nil || got.dir != want {
		t.Errorf("found %q, %v: want %s", got.dir, err, want)
	}
}

func TestWake(t *testing.T) {
	const now = 1_000_000_000 // of a clock that is years away from the system's
	in := 30 * time.Minute
	tests := []struct {
		name   string
		alarm  int64
		before Wake
		in     time.Duration
		want   Wake
	}{
		{"none set", 0, Wake{}, in, Wake{At: now + 1800}},
		{"one has rung", now - 10, Wake{}, in, Wake{At: now + 1800}},
		{"somebody's, earlier", now + 600, Wake{}, in, Wake{At: now + 600, Foreign: true}},
		{"somebody's, later", now + 7200, Wake{}, in, Wake{At: now + 1800, Was: now + 7200}},
		{"ours", now + 1000, Wake{At: now + 1000}, in, Wake{At: now + 1000}},
		{"ours, rounded by the clock", now + 1020, Wake{At: now + 1000}, in, Wake{At: now + 1000}},
		{"ours, forgotten", 0, Wake{At: now + 1000, Was: now + 7200}, in, Wake{At: now + 1000, Was: now + 7200}},
		{"ours, too near by now", now + 100, Wake{At: now + 100}, in, Wake{At: now + 1800}},
		{"somebody's, left alone before", now + 600, Wake{At: now + 600, Foreign: true}, in, Wake{At: now + 600, Foreign: true}},
		{"too soon", 0, Wake{}, time.Second, Wake{At: now + 300}},
		{"too late for a clock without date", 0, Wake{}, 100 * time.Hour, Wake{At: now + 23*3600}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := clock(t, root, "rtc0", now, tt.alarm)
			r, err := FindRTC(root)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Wake(tt.before, tt.in)
			if err != nil || got != tt.want {
				t.Fatalf("Wake = %+v, %v: want %+v", got, err, tt.want)
			}
			if set := alarmOf(t, dir); set != got.At {
				t.Errorf("the clock has %d, want %d", set, got.At)
			}
			if err := r.Clear(got); err != nil {
				t.Fatal(err)
			}
			want := got.Was
			if got.Foreign {
				want = got.At
			}
			if set := alarmOf(t, dir); set != want {
				t.Errorf("after Clear the clock has %d, want %d", set, want)
			}
		})
	}
}

// TestWakeRefused: a clock that does not take the new alarm keeps the one it had. The limit
// on the size of files makes one that takes nine digits and not ten.
func TestWakeRefused(t *testing.T) {
	const now, set = 999_999_800, 999_999_900
	root := t.TempDir()
	dir := clock(t, root, "rtc0", now, set)
	r, err := FindRTC(root)
	if err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(len("999999900\n")), Max: old.Max}))
	w, err := r.Wake(Wake{At: set}, time.Hour)
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
	if err == nil || w != (Wake{}) {
		t.Errorf("Wake = %+v, %v: want an error alone", w, err)
	}
	if got := alarmOf(t, dir); got != set {
		t.Errorf("the clock has %d, want %d as before", got, set)
	}
}

// TestClearLeavesOthers: an alarm set after ours is somebody's.
func TestClearLeavesOthers(t *testing.T) {
	root := t.TempDir()
	dir := clock(t, root, "rtc0", 1000, 90000)
	r, err := FindRTC(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []Wake{{}, {At: 5000}} {
		if err := r.Clear(w); err != nil || alarmOf(t, dir) != 90000 {
			t.Errorf("Clear(%+v) = %v, alarm %d: want it left alone", w, err, alarmOf(t, dir))
		}
	}
}

func TestWakeFails(t *testing.T) {
	tests := []struct {
		name, want string
		spoil      func(t *testing.T, dir string)
	}{
		{"no time", "since_epoch", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "since_epoch"))) }},
		{"not a time", `holds "noon"`, func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "since_epoch"), []byte("noon\n"), 0o644))
		}},
		{"alarm cannot be read", "wakealarm", func(t *testing.T, dir string) {
			must(t, errors.Join(os.Remove(filepath.Join(dir, "wakealarm")), os.Mkdir(filepath.Join(dir, "wakealarm"), 0o755)))
		}},
		{"alarm is not kept", "did not take it", func(t *testing.T, dir string) {
			must(t, errors.Join(os.Remove(filepath.Join(dir, "wakealarm")), os.Symlink("/dev/null", filepath.Join(dir, "wakealarm"))))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := clock(t, root, "rtc0", 1000, 0)
			tt.spoil(t, dir)
			r, err := FindRTC(root)
			if err != nil {
				t.Fatal(err)
			}
			if w, err := r.Wake(Wake{}, time.Hour); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Wake = %+v, %v: want an error with %q", w, err, tt.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWakeIn(t *testing.T) {
	for _, tt := range []struct{ left, want time.Duration }{
		{0, time.Hour}, {-time.Minute, time.Hour}, {3 * time.Minute, 21 * time.Minute}, {50 * time.Hour, MaxWake},
	} {
		if got := WakeIn(tt.left); got != tt.want {
			t.Errorf("WakeIn(%v) = %v, want %v", tt.left, got, tt.want)
		}
	}
}
