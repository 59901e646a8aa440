package killpower

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dodai-agent/dodai/drivers"
)

// FileName is the state's name in the run directory.
const FileName = "killpower.json"

// stateVersion changes with what the fields mean. A daemon is never followed by the late
// command of another version but in the middle of an upgrade, and then nothing is cut.
const stateVersion = 1

// Bounds of what a state may hold. They are far beyond what the daemon writes.
const (
	maxFile = 1 << 20
	maxUPS  = 64
	maxOff  = 2 * time.Hour
	maxOn   = 24 * time.Hour
	maxUp   = 50 * 365 * 24 * time.Hour
)

// maxAge is far beyond what any way down takes. What is older was left behind by a daemon
// that was ended before it could take it back, and the next power-off is somebody else's.
const maxAge = 12 * time.Hour

// State is what the late command has to know. Instants are on the clock that counts from
// the boot (CLOCK_BOOTTIME).
type State struct {
	Version int           `json:"version"`
	BootID  string        `json:"boot_id"` // another boot's state is none
	At      time.Duration `json:"at"`      // when it was written
	Reason  string        `json:"reason"`  // as policy.Reason
	Text    string        `json:"text,omitempty"`
	// End is when the battery was expected to be empty; 0: nothing credible said so.
	End time.Duration `json:"end,omitempty"`
	// Wake says that the clock is to wake the machine; nil: it is not. Its At is 0 until
	// the clock was set.
	Wake *Wake `json:"wake,omitempty"`
	// UPS are those that carry this host, directly or behind another UPS, and those that it
	// is named to cut.
	UPS []UPS `json:"ups"`
}

// UPS is one UPS as the late command needs it.
type UPS struct {
	Name    string            `json:"name"`
	Driver  string            `json:"driver"`
	Options map[string]string `json:"options,omitempty"` // the driver's, secrets included
	// Local: it is reached without the network. Others the daemon has to tell.
	Local bool `json:"local,omitempty"`
	// Feeds: a power supply of this host hangs on it.
	Feeds bool   `json:"feeds,omitempty"`
	FedBy string `json:"fed_by,omitempty"` // the UPS it takes its input from
	// Cut is what it is to be told; nil: this host is not named to cut it.
	Cut *drivers.Cut `json:"cut,omitempty"`
	// Told is set once the daemon has told it.
	Told *Told `json:"told,omitempty"`
	// Mains is what the daemon saw last. For a UPS behind the network there is nothing else.
	Mains Mains `json:"mains,omitempty"`
}

// Told is a cut as the UPS took it.
type Told struct {
	At time.Duration `json:"at"` // the instant of the command
	drivers.Cut
}

// Dark is when the output goes, Back the earliest instant at which it returns.
func (t Told) Dark() time.Duration { return t.At + t.Off }
func (t Told) Back() time.Duration { return t.At + t.Off + t.On }

// Errors of Read.
var (
	// ErrNoState: there is none, as after a shutdown for which no power was the cause.
	ErrNoState = errors.New("no state of a shutdown caused by power")
	// ErrState wraps what is wrong with one that must not be believed.
	ErrState = errors.New("state of the kill power refused")
)

// Write puts s in the place of the state in dir, which it makes where it is missing. Only
// the owner can read it. s.Version is set.
func Write(dir string, s *State) error { return WriteFor(dir, s, -1) }

// WriteFor is Write by root for a daemon that is not: gid may read it, too. It refuses a
// state that Read would. gid -1: nobody else may.
func WriteFor(dir string, s *State, gid int) error {
	s.Version = stateVersion
	if err := s.check(); err != nil {
		return fmt.Errorf("kill power: %w: %w", ErrState, err)
	}
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("kill power: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("kill power: %w", err)
	}
	f, err := os.CreateTemp(dir, FileName+".*") // 0600
	if err != nil {
		return fmt.Errorf("kill power: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil && gid >= 0 {
		err = errors.Join(f.Chown(-1, gid), f.Chmod(0o640))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, FileName))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it holds secrets
		return fmt.Errorf("kill power: %w", err)
	}
	return nil
}

// Remove takes the state away. It is no error where there is none.
func Remove(dir string) error {
	if err := os.Remove(filepath.Join(dir, FileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kill power: %w", err)
	}
	return nil
}

// Read reads the state in dir for the boot called bootID at its instant now. The error is
// ErrNoState where there is none, and wraps ErrState where it is of another boot, too old,
// damaged, or could have been written or read by somebody else than its owner: root, or who asks.
func Read(dir, bootID string, now time.Duration) (*State, error) {
	path := filepath.Join(dir, FileName)
	data, err := readOwn(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoState
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrState, path, err)
	}
	s, err := parse(data)
	if err == nil {
		err = s.belongs(bootID, now)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, path, err)
	}
	return s, nil
}

// readOwn reads a file that nobody but its owner can touch. What is checked is what is
// read: a link is not followed, a pipe does not hold it up.
func readOwn(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, errors.New("it is a symbolic link, want a file")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is %v, want a regular file", info.Mode().Type())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if uid := os.Geteuid(); st.Uid != 0 && int(st.Uid) != uid {
		return nil, fmt.Errorf("it belongs to user %d, want root or user %d, who asks", st.Uid, uid)
	}
	if mode := info.Mode().Perm(); mode&0o037 != 0 {
		return nil, fmt.Errorf("its mode is %04o, want 0600, or 0640 for the daemon's group: others could have written or read it", mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	return data, err
}

// parse reads a state and checks what it says by itself.
func parse(data []byte) (*State, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var s State
	if err := dec.Decode(&s); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows on the state")
	}
	return &s, s.check()
}

func (s *State) check() error {
	switch {
	case s.Version != stateVersion:
		return fmt.Errorf("version %d, want %d", s.Version, stateVersion)
	case s.At <= 0 || s.At > maxUp || s.End < 0 || s.End > maxUp:
		return fmt.Errorf("written at %v, battery's end at %v: want instants since the boot", s.At, s.End)
	case len(s.UPS) > maxUPS:
		return fmt.Errorf("%d UPSes, want at most %d", len(s.UPS), maxUPS)
	case s.Wake != nil && (s.Wake.At < 0 || s.Wake.Was < 0):
		return fmt.Errorf("wake at %d, before it %d: want seconds of the RTC", s.Wake.At, s.Wake.Was)
	}
	names := map[string]bool{}
	for i := range s.UPS {
		u := &s.UPS[i]
		if u.Name == "" || u.Driver == "" || names[u.Name] {
			return fmt.Errorf("UPS %d is called %q with driver %q: want a name of its own and a driver", i+1, u.Name, u.Driver)
		}
		names[u.Name] = true
		if err := u.check(); err != nil {
			return fmt.Errorf("UPS %s: %w", u.Name, err)
		}
	}
	return nil
}

func (u *UPS) check() error {
	if u.Cut != nil && !sane(*u.Cut) {
		return fmt.Errorf("cut after %v, return after %v: want up to %v and %v", u.Cut.Off, u.Cut.On, maxOff, maxOn)
	}
	if u.Told != nil && (!sane(u.Told.Cut) || u.Told.At <= 0 || u.Told.At > maxUp) {
		return fmt.Errorf("told at %v to cut after %v and return after %v: want an instant since the boot, up to %v and %v", u.Told.At, u.Told.Off, u.Told.On, maxOff, maxOn)
	}
	switch u.Mains {
	case "", MainsPresent, MainsAbsent, MainsUnknown:
		return nil
	}
	return fmt.Errorf("mains %q, want %s, %s or %s", u.Mains, MainsPresent, MainsAbsent, MainsUnknown)
}

func sane(c drivers.Cut) bool {
	return c.Off >= 0 && c.Off <= maxOff && c.On >= 0 && c.On <= maxOn
}

func (s *State) belongs(bootID string, now time.Duration) error {
	switch {
	case bootID == "" || s.BootID != bootID:
		return fmt.Errorf("it is of boot %q, this is boot %q", s.BootID, bootID)
	case s.At > now:
		return fmt.Errorf("it was written at %v of this boot, and it is %v only", s.At, now)
	case now-s.At > maxAge:
		return fmt.Errorf("it was written %v ago, want at most %v: left behind by an outage that is over", now-s.At, maxAge)
	}
	return nil
}

// Names are the UPSes that this host is named to cut.
func (s *State) Names() []string {
	var names []string
	for _, u := range s.UPS {
		if u.Cut != nil {
			names = append(names, u.Name)
		}
	}
	return names
}

// Boottime is the clock that a State's instants are on: it counts from the boot, also
// while the machine is suspended.
func Boottime() time.Duration {
	var ts unix.Timespec
	// It cannot fail: the clock is in every Linux and ts is ours.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}

// Inherit takes over what an earlier state of the same shutdown knows: what UPSes were told,
// and the alarm that was set.
func (s *State) Inherit(old *State) {
	for i := range s.UPS {
		if u := find(old.UPS, s.UPS[i].Name); u != nil {
			s.UPS[i].Told = u.Told
		}
	}
	if s.Wake != nil && old.Wake != nil {
		s.Wake = old.Wake
	}
}
