package killpower

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// RTCDir is where the kernel shows the machine's clocks.
const RTCDir = "/sys/class/rtc"

// ErrNoRTC: the machine has no clock that could wake it.
var ErrNoRTC = errors.New("no clock that can wake the machine")

// Bounds of an alarm. Most clocks know no date and wake within a day only; a machine that
// is to be woken before it is off is not.
const (
	MaxWake = 23 * time.Hour
	MinWake = 5 * time.Minute
)

// RTC is a clock that runs while the machine is off.
//
// Its alarm is in the clock's own seconds since 1970 (since_epoch), which are not those of
// the system: a clock that keeps local time is hours away from it.
// Source: Linux, Documentation/admin-guide/rtc.rst, "SYSFS interface".
type RTC struct{ dir string }

// Wake is an alarm.
type Wake struct {
	At int64 `json:"at"` // in seconds of the RTC; 0: not set
	// Was is somebody else's alarm that had to give way; 0: there was none.
	Was int64 `json:"was,omitempty"`
	// Foreign: somebody else's earlier alarm wakes the machine, and was left alone.
	Foreign bool `json:"foreign,omitempty"`
}

// FindRTC returns the first clock below root (RTCDir) that has an alarm; ErrNoRTC: none has.
func FindRTC(root string) (RTC, error) {
	alarms, err := filepath.Glob(filepath.Join(root, "rtc*", "wakealarm")) // in order
	if err != nil || len(alarms) == 0 {
		return RTC{}, fmt.Errorf("%w below %s", ErrNoRTC, root)
	}
	return RTC{dir: filepath.Dir(alarms[0])}, nil
}

// Wake sets the alarm so long from now, within MinWake and MaxWake, or to before.At where the
// same shutdown has set it already and that is far enough ahead. An alarm of somebody else
// that comes earlier is left alone: it wakes the machine, too. A later one gives way, and
// Was remembers it.
func (r RTC) Wake(before Wake, in time.Duration) (Wake, error) {
	now, err := r.number("since_epoch")
	if err != nil {
		return Wake{}, err
	}
	set, err := r.number("wakealarm")
	if err != nil {
		return Wake{}, err
	}
	w := Wake{At: now + int64(min(max(in, MinWake), MaxWake)/time.Second), Was: before.Was}
	if !before.Foreign && before.At >= now+int64(MinWake/time.Second) {
		w.At = before.At
	}
	switch {
	case set <= now, !before.Foreign && near(set, before.At): // none, rung, or ours
	case set <= w.At:
		return Wake{At: set, Foreign: true}, nil
	default:
		w.Was = set
	}
	if err := r.set(w.At); err != nil {
		if set > now {
			err = errors.Join(err, r.set(set)) // nobody would remember the one that was there
		}
		return Wake{}, err
	}
	return w, nil
}

// Clear takes back what Wake has set, and gives the alarm that had to give way its place
// again. An alarm that is not w's stays.
func (r RTC) Clear(w Wake) error {
	if w.Foreign || w.At == 0 {
		return nil
	}
	now, err := r.number("since_epoch")
	if err != nil {
		return err
	}
	set, err := r.number("wakealarm")
	if err != nil || !near(set, w.At) {
		return err
	}
	if w.Was > now {
		return r.set(w.Was)
	}
	return r.write("0")
}

// accuracy is how far a clock may round an alarm: some know minutes alone.
const accuracy = 60

func near(a, b int64) bool { return a-b <= accuracy && b-a <= accuracy }

// set replaces the alarm, and asks the clock whether it took it: some forget silently.
func (r RTC) set(at int64) error {
	if err := r.write("0"); err != nil { // the kernel refuses to replace one that is armed
		return err
	}
	if err := r.write(strconv.FormatInt(at, 10)); err != nil {
		return err
	}
	got, err := r.number("wakealarm")
	if err == nil && !near(got, at) {
		err = fmt.Errorf("%s: the alarm is %d after it was set to %d: the clock did not take it", r.dir, got, at)
	}
	return err
}

func (r RTC) write(text string) error {
	f, err := os.OpenFile(filepath.Join(r.dir, "wakealarm"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("set the alarm to %s: %w", text, err)
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set the alarm to %s: %w", text, err)
	}
	return nil
}

// number reads a file of the clock; an empty one, as without an alarm, is 0.
func (r RTC) number(name string) (int64, error) {
	path := filepath.Join(r.dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("read the clock: %s holds %q, want seconds", path, text)
	}
	return n, nil
}
